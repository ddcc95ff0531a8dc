//! UMM: its objectives and one whole step against PyTorch, its hypergradients against theory, its loop against promises.

use std::ops::ControlFlow;

use lethe::encoders::{Encoder, EncoderSpec, Part, Stem};
use lethe::methods::coding_rate::{coding_rate, compressed_rate, pair_coding_rate_reduction};
use lethe::methods::{self, Method, Views};
use lethe::nn::{Gradients, Mode, Weights, is_buffer};
use lethe::rng::{Purpose, once};
use lethe::undo::alignment::{Divergence, alignment};
use lethe::undo::groups::Groups;
use lethe::undo::hypergradient::{self, Bilevel, Hypergradient, InnerOptimizer, Objective, Product, Solver};
use lethe::undo::matching::moment_distance;
use lethe::undo::outer::RateOf;
use lethe::undo::{
    Batch, BatchNorm, Batches, Event, Problem, Settings, StepRow, Subject, Undone, inner::inner, outer::outer, undo,
};
use tch::{Device, Kind, Tensor};

use crate::golden::{assert_close, load, relative_error};
use crate::support::{methods_for_parts, small_settings};

const ROUNDING: f64 = 1e-9;

/// A pre-trained encoder of a kind with its method, and views to repair it on.
pub(crate) struct Case {
    pub(crate) encoder: Box<dyn Encoder>,
    pub(crate) method: Box<dyn Method>,
    pub(crate) weights: Weights,
    pub(crate) head: Weights,
    pub(crate) views: Views,
}

impl Case {
    /// Random weights and noise; `n` images of 16 pixels.
    pub(crate) fn random(method: &str, settings: toml::Table, kind: Kind, n: i64) -> Self {
        let encoder = EncoderSpec::new("resnet18-w4", Stem::Cifar).build().unwrap();
        let method = (methods::find(method).unwrap().build)(&settings).unwrap();
        let mut rng = once(7, Purpose::Init);
        let weights = encoder.init(&mut rng).to_kind(kind);
        let head = method.init(Part::whole(encoder.as_ref()).dim(), &mut rng).to_kind(kind);
        let views: Vec<Tensor> = (0..2).map(|view| noise(&[n, 3, 16, 16], view).to_kind(kind)).collect();
        let labels = Tensor::arange(n, (Kind::Int64, Device::Cpu)).remainder(3);
        let views = Views { labels: Some(labels), ..views.into() };
        Self { encoder, method, weights, head, views }
    }

    pub(crate) fn simclr(kind: Kind, n: i64) -> Self {
        Self::random("simclr", toml::toml! { proj_hidden_dim = 32 proj_output_dim = 16 }, kind, n)
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            encoder: self.encoder.as_ref(),
            method: self.method.as_ref(),
            weights: &self.weights,
            head: &self.head,
            others: &[],
        }
    }

    fn late_weights(&self, late: &Part) -> Weights {
        let mut w = late.weights(&self.weights);
        w.extend(self.head.filter(|_| true));
        let mut w = w.copy().trainable();
        self.method.teach(&mut w);
        w
    }

    fn early(&self, part: &Part) -> Views {
        let w = self.weights.frozen();
        tch::no_grad(|| self.views.map(|x| part.forward(&w, x, Mode::Eval)))
    }

    pub(crate) fn on(self, device: Device) -> Self {
        let (weights, head) = (self.weights.to_device(device), self.head.to_device(device));
        Self { weights, head, views: crate::gpu::on(&self.views, device), ..self }
    }

    /// Repairs on the same views again and again.
    pub(crate) fn undo(&self, settings: &Settings) -> (Undone, Vec<StepRow>) {
        let mut rows = Vec::new();
        let mut epoch = |_| -> Box<dyn Iterator<Item = lethe::Result<Views>>> {
            Box::new(std::iter::once(Ok(self.views.map(Tensor::shallow_clone))))
        };
        let batches = Batches { per_epoch: 1, epoch: &mut epoch, held_out: None };
        let undone = undo(&self.subject(), settings, batches, None, &mut |event| {
            if let Event::Step(row) = event {
                rows.push(row.clone());
            }
            Ok(ControlFlow::Continue(()))
        });
        (undone.unwrap(), rows)
    }
}

/// Standard normal numbers, a function of `seed`.
pub(crate) fn noise(shape: &[i64], seed: u32) -> Tensor {
    use rand_distr::{Distribution, StandardNormal};
    let mut rng = lethe::rng::keyed(3, Purpose::Sample, 0, 0, seed);
    let values: Vec<f64> = (0..shape.iter().product::<i64>()).map(|_| StandardNormal.sample(&mut rng)).collect();
    Tensor::from_slice(&values).view(shape)
}

const NOTHING: Objective = &|_| unreachable!("replaced");

/// One step of gradient descent; neumann and cg with exact products.
const PLAIN: Bilevel = Bilevel {
    inner: NOTHING,
    outer: NOTHING,
    alpha: 0.1,
    steps: 1,
    optimizer: InnerOptimizer::Sgd,
    solver: Solver { product: Product::Exact, steps: 5 },
};

pub(crate) fn bits(w: &Weights) -> Vec<(String, Vec<u8>)> {
    w.iter()
        .map(|(name, t)| {
            let t = t.contiguous();
            let mut bytes = vec![0; t.numel() * t.kind().elt_size_in_bytes()];
            t.copy_data_u8(&mut bytes, t.numel());
            (name.to_owned(), bytes)
        })
        .collect()
}

pub(crate) fn flat(tensors: &[Tensor]) -> Tensor {
    Tensor::cat(&tensors.iter().map(|t| t.detach().flatten(0, -1)).collect::<Vec<_>>(), 0)
}

pub(crate) fn parameters(w: &Weights) -> Gradients {
    w.parameters().map(|(_, t)| t.detach()).collect()
}

fn difference(a: &[Tensor], b: &[Tensor]) -> f64 {
    relative_error(&flat(a), &flat(b))
}

mod against_pytorch {
    use super::*;

    struct Golden {
        tensors: Weights,
        case: Case,
        settings: Settings,
    }

    fn golden() -> Golden {
        let tensors = load("undo");
        let number = |name: &str| tensors.get(&format!("settings.{name}")).double_value(&[]);
        let settings = Settings {
            alpha: number("alpha"),
            beta: number("beta"),
            lambda: number("lambda"),
            eps2: number("eps2"),
            lr: number("lr"),
            hypergradient: "finite-difference".into(),
            optimizer: "sgd".into(),
            epochs: 1,
            batch_size: 6,
            ..Settings::default()
        };
        let encoder = EncoderSpec::new("resnet18-w2", Stem::Cifar).build().unwrap();
        let table = toml::Table::from_iter([("temperature".to_owned(), number("temperature").into())]);
        let method = (methods::find("simclr").unwrap().build)(&table).unwrap();
        // In the file the late parameters come in torchvision's order too, the head last.
        let all = tensors.under("weights.").to_kind(Kind::Double);
        let weights = all.filter(|name| !name.starts_with("projector."));
        let head = all.filter(|name| name.starts_with("projector."));
        let names: Vec<String> = encoder.init(&mut once(0, Purpose::Init)).names().map(str::to_owned).collect();
        let weights = names.iter().map(|name| (name.clone(), weights.get(name).shallow_clone())).collect();
        let head = ["0.weight", "0.bias", "2.weight", "2.bias"]
            .map(|name| format!("projector.{name}"))
            .into_iter()
            .map(|name| (name.clone(), head.get(&name).shallow_clone()))
            .collect();
        let views = tensors.get("views").to_kind(Kind::Double).unbind(0).into();
        Golden { tensors, case: Case { encoder, method, weights, head, views }, settings }
    }

    /// As `sampled` of make.py.
    fn sampled(values: &[Tensor]) -> Tensor {
        let values = flat(values);
        Tensor::cat(&[values.slice(0, None, None, 16), values.norm().view([1])], 0)
    }

    #[test]
    fn objectives_and_their_gradients() {
        let Golden { tensors, case, settings } = golden();
        let (front, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
        let early = case.early(&front);
        assert_close("early features", &Tensor::stack(&early.inputs, 0), tensors.get("early"), ROUNDING);
        let problem =
            Problem { method: case.method.as_ref(), late: &late, settings: &settings, teacher: None, held_out: None };
        let w = case.late_weights(&late);

        let at_theta = inner(&problem, &w, &early, Mode::TrainKeepStats).unwrap();
        assert_close("L_ssl", &at_theta.ssl.total, tensors.get("ssl"), ROUNDING);
        assert_close("JS", at_theta.divergence.as_ref().unwrap(), tensors.get("js"), ROUNDING);
        assert_close("L_in", &at_theta.total, tensors.get("inner"), ROUNDING);
        let slope = w.gradients(&at_theta.total, false).unwrap();
        assert_close("gradient of L_in", &flat(&slope), tensors.get("inner_gradient"), ROUNDING);

        let loss = outer(&problem, &w, &early, Mode::TrainKeepStats).unwrap();
        assert_close("dR", &loss.added.coding_rate_reduction, tensors.get("reduction"), ROUNDING);
        let gradient = w.gradients(&loss.added.coding_rate_reduction, false).unwrap();
        assert_close("gradient of dR", &sampled(&gradient), tensors.get("reduction_gradient"), ROUNDING);

        let star = w.plus(-settings.alpha, &slope);
        assert_close("theta*", &sampled(&parameters(&star)), tensors.get("star"), ROUNDING);
        let loss = outer(&problem, &star, &early, Mode::TrainKeepStats).unwrap();
        assert_close("dR at theta*", &loss.added.coding_rate_reduction, tensors.get("star_reduction"), ROUNDING);
        assert_close("L_out", &loss.total, tensors.get("outer"), ROUNDING);
    }

    #[test]
    fn hypergradients() {
        let Golden { tensors, case, settings } = golden();
        let (front, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
        let early = case.early(&front);
        let problem =
            Problem { method: case.method.as_ref(), late: &late, settings: &settings, teacher: None, held_out: None };
        let w = case.late_weights(&late);
        let bilevel = Bilevel {
            inner: &|w| Ok(inner(&problem, w, &early, Mode::TrainKeepStats)?.total),
            outer: &|w| Ok(outer(&problem, w, &early, Mode::TrainKeepStats)?.total),
            alpha: settings.alpha,
            ..PLAIN
        };
        let of = |name| (hypergradient::find(name).unwrap().of)(&bilevel, &w).unwrap();
        assert_close("first-order", &sampled(&of("first-order")), tensors.get("first_order"), ROUNDING);
        let found = flat(&of("finite-difference"));
        assert_close("finite-difference", &found, tensors.get("finite_difference"), ROUNDING);
    }

    /// The whole outer objective along random directions, batch-norm in training mode and the alignment of second order
    /// inside: its central differences know nothing of Hessians.
    #[test]
    fn exact_is_the_derivative_of_the_whole_outer_objective() {
        let Golden { case, settings, .. } = golden();
        let (front, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
        let early = case.early(&front);
        let problem =
            Problem { method: case.method.as_ref(), late: &late, settings: &settings, teacher: None, held_out: None };
        let w = case.late_weights(&late);
        for steps in [1, 2] {
            let bilevel = Bilevel {
                inner: &|w| Ok(inner(&problem, w, &early, Mode::TrainKeepStats)?.total),
                outer: &|w| Ok(outer(&problem, w, &early, Mode::TrainKeepStats)?.total),
                alpha: settings.alpha,
                steps,
                ..PLAIN
            };
            let value = |w: &Weights| {
                let mut w = w.copy();
                for _ in 0..steps {
                    let slope = w.gradients(&(bilevel.inner)(&w).unwrap(), false).unwrap();
                    w = w.plus(-settings.alpha, &slope);
                }
                (bilevel.outer)(&w).unwrap().double_value(&[])
            };
            let found = (hypergradient::find("exact").unwrap().of)(&bilevel, &w).unwrap();
            let cruder = (hypergradient::find("first-order").unwrap().of)(&bilevel, &w).unwrap();
            for phase in [0, 1, 2] {
                let direction: Vec<Tensor> =
                    parameters(&w).iter().enumerate().map(|(i, p)| noise(&p.size(), 100 * phase + i as u32)).collect();
                let h = 1e-7;
                let difference = (value(&w.plus(h, &direction)) - value(&w.plus(-h, &direction))) / (2.0 * h);
                let along = |gradient: &[Tensor]| flat(gradient).dot(&flat(&direction)).double_value(&[]);
                let error = (along(&found) / difference - 1.0).abs();
                assert!(
                    error < 1e-6,
                    "K={steps}, direction {phase}: {} for {difference}, error {error:e}",
                    along(&found)
                );
                assert!((along(&cruder) / difference - 1.0).abs() > 1e-2, "the Hessian matters here");
            }
        }
    }

    #[test]
    fn a_whole_step() {
        let Golden { tensors, case, settings } = golden();
        let (undone, rows) = case.undo(&settings);
        let (_, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
        let mut after = late.weights(&undone.weights);
        let statistics: Vec<Tensor> =
            after.iter().filter(|(name, _)| name.contains("running")).map(|(_, t)| t.shallow_clone()).collect();
        assert_close("running statistics", &flat(&statistics), tensors.get("after_statistics"), ROUNDING);
        after.extend(undone.head);
        assert_close("parameters", &sampled(&parameters(&after.trainable())), tensors.get("after"), ROUNDING);

        let [row] = rows.as_slice() else { panic!("one step, {} rows", rows.len()) };
        for (key, name) in [
            ("ssl", "ssl"),
            ("js", "js"),
            ("inner", "inner"),
            ("outer", "outer"),
            ("coding_rate_reduction", "star_reduction"),
        ] {
            assert_close(key, &Tensor::from(row.terms[key]), tensors.get(name), ROUNDING);
        }
        assert_close("grad_norm", &Tensor::from(row.grad_norm), &tensors.get("finite_difference").norm(), ROUNDING);
    }
}

mod hypergradients {
    use super::*;

    fn of(name: &str) -> Hypergradient {
        hypergradient::find(name).unwrap().of
    }

    /// L_in = x'Ax/2 - b'x, L_out = |x - c|^2/2 with x made of two tensors; its hypergradient is M^K (theta_K - c),
    /// M = I - alpha A.
    fn quadratic(name: &str, steps: usize) -> (Tensor, Tensor) {
        let n = 5;
        let root = noise(&[n, n], 0);
        let a = root.matmul(&root.tr()) / n as f64;
        let (b, c, theta, alpha) = (noise(&[n], 1), noise(&[n], 2), noise(&[n], 3), 0.1);
        let x = |w: &Weights| Tensor::cat(&[w.get("first"), w.get("second")], 0);
        let inner = |w: &Weights| {
            let x = x(w);
            Ok(0.5 * x.dot(&a.mv(&x)) - b.dot(&x))
        };
        let outer = |w: &Weights| Ok(0.5 * (x(w) - &c).square().sum(Kind::Double));
        let mut w = Weights::new();
        w.insert("first", theta.narrow(0, 0, 2).copy().set_requires_grad(true));
        w.insert("second", theta.narrow(0, 2, 3).copy().set_requires_grad(true));
        let bilevel = Bilevel { inner: &inner, outer: &outer, alpha, steps, ..PLAIN };
        let found = flat(&of(name)(&bilevel, &w).unwrap());

        let m = Tensor::eye(n, (Kind::Double, Device::Cpu)) - alpha * &a;
        let mut end = theta.copy();
        for _ in 0..steps {
            end = &end - alpha * (a.mv(&end) - &b);
        }
        let g = end - c;
        let exact = (0..steps).fold(g.copy(), |v, _| m.mv(&v));
        (found, if name == "first-order" { g } else { exact })
    }

    #[test]
    fn meet_theory_on_a_quadratic() {
        for steps in [1, 2, 5] {
            for name in ["first-order", "exact"] {
                let (found, expected) = quadratic(name, steps);
                assert_close(&format!("{name}, K={steps}"), &found, &expected, 1e-12);
            }
            let (found, expected) = quadratic("finite-difference", steps);
            assert_close(&format!("finite-difference, K={steps}"), &found, &expected, 1e-9);
            let (found, expected) = quadratic("forward-difference", steps);
            assert_close(&format!("forward-difference, K={steps}"), &found, &expected, 1e-9);
        }
    }

    #[test]
    fn finite_differences_are_of_second_order_on_a_curved_inner_loss() {
        // L_in = sum x^4 / 4 has the Hessian diag(3 x^2), and differences of x^3 with a width h an error of h^2 v^2.
        let theta = noise(&[4], 4).set_requires_grad(true);
        let mut w = Weights::new();
        w.insert("x", theta.shallow_clone());
        let inner = |w: &Weights| Ok(0.25 * w.get("x").pow_tensor_scalar(4).sum(Kind::Double));
        let outer = |w: &Weights| Ok(0.5 * w.get("x").square().sum(Kind::Double));
        let alpha = 0.1;
        let found = &of("finite-difference")(&Bilevel { inner: &inner, outer: &outer, alpha, ..PLAIN }, &w).unwrap()[0];
        let theta = theta.detach();
        let g = &theta - alpha * theta.pow_tensor_scalar(3);
        let exact = &g * (1.0 - 3.0 * alpha * theta.square());
        let e: Tensor = 0.01 / g.norm();
        let error = alpha * e.square() * g.pow_tensor_scalar(3);
        assert_close("value and error", found, &(exact - error), 1e-9);
    }

    /// L_in = x'Ax/2 - b'x and L_out = |x - c|^2/2 at alpha times the largest eigenvalue `reach`: the hypergradient of
    /// the proximal problem is (I + alpha K A)^-1 (theta_K - c).
    fn proximal(name: &str, steps: usize, reach: f64, product: Product, solver_steps: usize) -> f64 {
        let n = 5;
        let root = noise(&[n, n], 0);
        let a = root.matmul(&root.tr()) / n as f64;
        let largest = a.linalg_eigvalsh("L").max().double_value(&[]);
        let (b, c, theta, alpha) = (noise(&[n], 1), noise(&[n], 2), noise(&[n], 3), reach / largest);
        let inner = |w: &Weights| {
            let x = w.get("x");
            Ok(0.5 * x.dot(&a.mv(x)) - b.dot(x))
        };
        let outer = |w: &Weights| Ok(0.5 * (w.get("x") - &c).square().sum(Kind::Double));
        let mut w = Weights::new();
        w.insert("x", theta.copy().set_requires_grad(true));
        let bilevel = Bilevel {
            inner: &inner,
            outer: &outer,
            alpha,
            steps,
            solver: Solver { product, steps: solver_steps },
            ..PLAIN
        };
        let found = flat(&of(name)(&bilevel, &w).unwrap());

        let end = (0..steps).fold(theta, |x, _| &x - alpha * (a.mv(&x) - &b));
        let m = Tensor::eye(n, (Kind::Double, Device::Cpu)) + alpha * steps as f64 * &a;
        relative_error(&found, &m.inverse().mv(&(end - c)))
    }

    #[test]
    fn implicit_ones_solve_the_proximal_problem_at_every_step_size() {
        // Beyond 2 the inner steps themselves diverge, and so does the plain Neumann series from 1/K on.
        for reach in [0.01, 0.5, 1.5, 2.5, 20.0] {
            for steps in [1, 2, 5] {
                for product in [Product::Exact, Product::FiniteDifference, Product::ForwardDifference] {
                    let rounding = if product == Product::Exact { 1e-10 } else { 1e-6 };
                    let what = format!("alpha lambda_max {reach}, K={steps}, {product:?}");
                    let cg = proximal("cg", steps, reach, product, 8);
                    assert!(cg < rounding, "cg, {what}: {cg:e}");
                    let neumann = proximal("neumann", steps, reach, product, 3000);
                    assert!(neumann < rounding, "neumann, {what}: {neumann:e}");
                }
            }
        }
    }

    #[test]
    fn five_products_leave_an_error_that_more_make_smaller() {
        for name in ["neumann", "cg"] {
            let errors = [1, 2, 4].map(|products| proximal(name, 2, 2.5, Product::Exact, products));
            assert!(errors[0] > 1.5 * errors[1] && errors[1] > 1.5 * errors[2], "{name}: {errors:?}");
            assert!(errors[2] < if name == "cg" { 0.1 } else { 0.3 }, "{name}: {errors:?}");
        }
    }

    #[test]
    fn implicit_ones_fall_back_to_the_first_order_where_the_proximal_problem_has_no_minimum() {
        let mut w = Weights::new();
        w.insert("x", Tensor::from_slice(&[1.0, -2.0]).set_requires_grad(true));
        // H = -2 I, M = (1 - 2 alpha) I
        let inner = |w: &Weights| Ok(-w.get("x").square().sum(Kind::Double));
        let outer = |w: &Weights| Ok(w.get("x").sum(Kind::Double));
        for name in ["neumann", "cg"] {
            let at = |alpha| {
                let bilevel = Bilevel { inner: &inner, outer: &outer, alpha, ..PLAIN };
                Vec::<f64>::try_from(&of(name)(&bilevel, &w).unwrap()[0]).unwrap()
            };
            assert!(at(0.25).iter().all(|x| (x - 2.0).abs() < 1e-12), "{name}: {:?}", at(0.25));
            assert_eq!(at(0.75), [1.0, 1.0], "{name}");
        }
    }

    /// Adam of PyTorch, written down: what `alpha` steps of the objective lead to.
    fn adam(w: &Weights, inner: Objective, alpha: f64, steps: i32) -> Weights {
        let mut w = w.copy();
        let zeros = || w.parameters().map(|(_, t)| t.detach().zeros_like()).collect::<Vec<_>>();
        let (mut first, mut second) = (zeros(), zeros());
        for t in 1..=steps {
            let slope = w.gradients(&inner(&w).unwrap(), false).unwrap();
            let update = |((m, v), g): ((&mut Tensor, &mut Tensor), &Tensor)| {
                *m = 0.9 * &*m + 0.1 * g;
                *v = 0.999 * &*v + 0.001 * g.square();
                (&*m / (1.0 - 0.9f64.powi(t))) / ((&*v / (1.0 - 0.999f64.powi(t))).sqrt() + 1e-8)
            };
            let step: Vec<Tensor> = first.iter_mut().zip(&mut second).zip(&slope).map(update).collect();
            w = w.plus(-alpha, &step).copy();
        }
        w
    }

    #[test]
    fn those_through_the_steps_of_adam_are_the_derivative_of_the_whole() {
        let x = |w: &Weights| Tensor::cat(&[w.get("first"), w.get("second")], 0);
        let (a, c) = (noise(&[5, 5], 20), noise(&[5], 21));
        let inner = |w: &Weights| Ok((a.mv(&x(w)).square() + 1.0).log().sum(Kind::Double));
        let outer = |w: &Weights| Ok(0.5 * (x(w) - &c).square().sum(Kind::Double));
        let mut w = Weights::new();
        w.insert("first", noise(&[2], 22).set_requires_grad(true));
        w.insert("second", noise(&[3], 23).set_requires_grad(true));
        for steps in [1, 2, 5] {
            let optimizer = InnerOptimizer::Adam;
            let bilevel = Bilevel { inner: &inner, outer: &outer, alpha: 0.05, steps, optimizer, ..PLAIN };
            let found = |name: &str| flat(&of(name)(&bilevel, &w).unwrap());
            let value = |w: &Weights| outer(&adam(w, &inner, 0.05, steps as i32)).unwrap().double_value(&[]);
            let h = 1e-6;
            let differences: Vec<f64> = (0..5)
                .map(|i| {
                    let unit = Tensor::eye(5, (Kind::Double, Device::Cpu)).get(i) * h;
                    let unit = unit.split_with_sizes([2, 3], 0);
                    (value(&w.plus(1.0, &unit)) - value(&w.plus(-1.0, &unit))) / (2.0 * h)
                })
                .collect();
            let differences = Tensor::from_slice(&differences);
            assert_close(&format!("exact, K={steps}"), &found("exact"), &differences, 1e-7);
            assert_close(&format!("finite-difference, K={steps}"), &found("finite-difference"), &differences, 1e-3);
            let cruder = relative_error(&found("first-order"), &differences);
            assert!(
                if steps == 1 { cruder < 1e-6 } else { cruder > 1e-2 },
                "K={steps}: first order is off by {cruder:e}"
            );
        }
    }

    #[test]
    fn the_finite_difference_is_the_darts_step_of_betty_with_its_missing_alpha() {
        let golden = load("betty");
        let of_golden = |name: &str| [0, 1].map(|i| golden.get(&format!("{name}{i}")).copy());
        let (x, y, vector, implicit) = (golden.get("x"), golden.get("y"), of_golden("vector"), of_golden("implicit"));
        let inner = |w: &Weights| {
            let prediction = x.matmul(w.get("first")).tanh().mv(w.get("second"));
            Ok((prediction - y).square().mean(Kind::Double) / 2.0)
        };
        let outer = |w: &Weights| Ok(flat_graph(&[w.get("first"), w.get("second")]).dot(&flat(&vector)));
        let mut w = Weights::new();
        let [first, second] = of_golden("theta");
        w.insert("first", first.set_requires_grad(true));
        w.insert("second", second.set_requires_grad(true));
        for alpha in [0.1, 1.0] {
            let bilevel = Bilevel { inner: &inner, outer: &outer, alpha, ..PLAIN };
            let found = flat(&of("finite-difference")(&bilevel, &w).unwrap());
            assert_close(&format!("alpha {alpha}"), &((found - flat(&vector)) / alpha), &flat(&implicit), 1e-9);
        }
    }

    fn flat_graph(tensors: &[&Tensor]) -> Tensor {
        Tensor::cat(&tensors.iter().map(|t| t.flatten(0, -1)).collect::<Vec<_>>(), 0)
    }

    #[test]
    fn a_zero_gradient_stays_zero() {
        let mut w = Weights::new();
        w.insert("x", Tensor::from_slice(&[1.0, 2.0]).set_requires_grad(true));
        let bilevel = Bilevel {
            inner: &|w| Ok(w.get("x").square().sum(Kind::Double)),
            outer: &|w| Ok(w.get("x").sum(Kind::Double) * 0.0),
            ..PLAIN
        };
        for entry in hypergradient::HYPERGRADIENTS {
            let found = (entry.of)(&bilevel, &w).unwrap();
            assert_eq!(Vec::<f64>::try_from(&found[0]).unwrap(), [0.0, 0.0], "{}", entry.name);
        }
    }

    #[test]
    fn an_unknown_one_is_a_wrong_usage_that_names_the_known() {
        let error = hypergradient::find("newton").err().unwrap();
        assert_eq!(error.exit.code(), 2);
        assert_eq!(
            error.hint.unwrap(),
            "one of: forward-difference, finite-difference, exact, first-order, neumann, cg"
        );
    }
}

mod objectives {
    use super::*;

    #[test]
    fn divergence_is_0_for_equal_norms_bounded_by_ln_2_and_blind_to_scale() {
        let equal = Tensor::full([8], 3e-7, (Kind::Double, Device::Cpu));
        assert!(Divergence::Js.from_uniform(&equal).double_value(&[]).abs() < 1e-15);
        let norms = Tensor::from_slice(&[1.0, 2.0, 0.5, 7.0]);
        let (value, scaled) = (Divergence::Js.from_uniform(&norms), Divergence::Js.from_uniform(&(&norms * 1e-6)));
        assert_close("scale", &scaled, &value, 1e-12);
        let single = Tensor::from_slice(&[0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]).set_requires_grad(true);
        let value = Divergence::Js.from_uniform(&single);
        value.backward();
        // p is all on one view: 1/2 ln(2n/(n+1)) + 1/2 (ln(2/(1+n))/n + (n-1)/n ln 2), n = 8
        let n = 8.0f64;
        let expected =
            0.5 * (2.0 * n / (n + 1.0)).ln() + 0.5 * ((2.0 / (1.0 + n)).ln() / n + (n - 1.0) / n * 2f64.ln());
        assert!((value.double_value(&[]) - expected).abs() < 1e-12);
        assert!(single.grad().isfinite().all().int64_value(&[]) == 1, "the gradient is finite");
    }

    #[test]
    fn alignment_is_differentiated_through_the_gradient_norms() {
        // L = sum_i a_i tanh(w z_i): dL/dz_i = a_i w (1 - tanh^2(w z_i)); JS moves with w only through these norms.
        let (a, z) = (noise(&[6, 1], 5), noise(&[6, 1], 6));
        let js = |w: f64| {
            let w = Tensor::from(w).set_requires_grad(true);
            let z = z.copy().set_requires_grad(true);
            let loss = (&a * (&w * &z).tanh()).sum(Kind::Double);
            (alignment(&loss, &[z], Divergence::Js).unwrap(), w)
        };
        let (value, w) = js(1.5);
        value.backward();
        let h = 1e-5;
        let difference = (js(1.5 + h).0 - js(1.5 - h).0) / (2.0 * h);
        assert!(difference.double_value(&[]).abs() > 1e-2, "{difference}");
        assert_close("gradient", &w.grad(), &difference, 1e-6);
    }

    #[test]
    fn beta_changes_the_gradient() {
        for kind in [Kind::Float, Kind::Double] {
            let case = Case::simclr(kind, 8);
            let (front, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
            let early = case.early(&front);
            let w = case.late_weights(&late);
            let gradient = |beta| {
                let settings = Settings { beta, ..Settings::default() };
                let problem = Problem {
                    method: case.method.as_ref(),
                    late: &late,
                    settings: &settings,
                    teacher: None,
                    held_out: None,
                };
                let loss = inner(&problem, &w, &early, Mode::TrainKeepStats).unwrap();
                let gradient = w.gradients(&loss.total, false).unwrap();
                assert!(gradient.iter().all(|g| g.isfinite().all().int64_value(&[]) == 1), "{kind:?}, beta {beta}");
                gradient
            };
            let (without, one, hundred) = (gradient(0.0), gradient(1.0), gradient(100.0));
            let (by_one, by_hundred) = (difference(&one, &without), difference(&hundred, &without));
            assert!(by_one > 1e-3, "{kind:?}: beta 1 moves the gradient by {by_one:e} only");
            assert!(by_hundred > 0.5, "{kind:?}: beta 100 moves the gradient by {by_hundred:e} only");
            let ratio = by_hundred / by_one;
            assert!((ratio - 100.0).abs() < 1.0, "{kind:?}: the alignment enters linearly, but the ratio is {ratio}");
        }
    }

    #[test]
    fn coding_rate_is_that_of_the_definition_and_blind_to_scale_and_rotation() {
        for (m, d) in [(6, 10), (10, 6)] {
            let z = noise(&[m, d], 7);
            let unit = &z / z.norm_scalaropt_dim(2.0, [1], true);
            let matrix =
                Tensor::eye(d, (Kind::Double, Device::Cpu)) + d as f64 / (m as f64 * 0.5) * unit.tr().matmul(&unit);
            let value = coding_rate(&z, 0.5).unwrap();
            assert_close("definition", &value, &(0.5 * matrix.logdet()), 1e-12);
            let (q, _) = Tensor::linalg_qr(&noise(&[d, d], 8), "reduced");
            assert_close("rotation", &coding_rate(&(3.0 * z.matmul(&q)), 0.5).unwrap(), &value, 1e-12);
        }
    }

    #[test]
    fn coding_rates_are_those_of_the_measures() {
        for (n, d) in [(5, 4), (3, 16), (40, 24)] {
            let (z1, z2) = (noise(&[n, d], 11), noise(&[n, d], 12) * 3.0);
            let z = Tensor::cat(&[&z1, &z2], 0);
            let values = Vec::<f64>::try_from(z.flatten(0, -1)).unwrap();
            let rows = ndarray::Array2::from_shape_vec((2 * n as usize, d as usize), values).unwrap();
            for eps2 in [0.1, 0.5] {
                let rates = lethe_measures::view_rates(rows.view(), 2, eps2).unwrap();
                let of = |found: Tensor, expected: f64| {
                    let found = found.double_value(&[]);
                    assert!((found - expected).abs() < 1e-10, "{n}x{d}, eps2 {eps2}: {found} {expected}");
                };
                of(coding_rate(&z, eps2).unwrap(), rates.coding_rate);
                of(pair_coding_rate_reduction(&z1, &z2, eps2).unwrap(), rates.coding_rate_reduction());
            }
        }
    }

    #[test]
    fn pair_reduction_has_the_gradient_of_its_finite_differences() {
        let (z1, z2) = (noise(&[5, 4], 9), noise(&[5, 4], 10));
        let of = |z1: &Tensor| pair_coding_rate_reduction(z1, &z2, 0.5).unwrap();
        let leaf = z1.copy().set_requires_grad(true);
        of(&leaf).backward();
        let h = 1e-5;
        let differences: Vec<f64> = (0..20)
            .map(|i| {
                let unit = Tensor::eye(20, (Kind::Double, Device::Cpu)).get(i).view([5, 4]) * h;
                ((of(&(&z1 + &unit)) - of(&(&z1 - &unit))) / (2.0 * h)).double_value(&[])
            })
            .collect();
        assert_close("gradient", &leaf.grad().flatten(0, -1), &Tensor::from_slice(&differences), 1e-8);
    }

    fn assert_value_and_gradients(golden: &Weights, name: &str, value: &Tensor, leaves: &[&Tensor]) {
        assert_close(name, value, golden.get(name), 1e-12);
        for (i, gradient) in Tensor::run_backward(&[value], leaves, false, false).iter().enumerate() {
            let name = format!("{name}.gradient{i}");
            assert_close(&name, gradient, golden.get(&name), 1e-10);
        }
    }

    #[test]
    fn the_parts_are_those_of_pytorch() {
        let golden = load("umm_parts");
        let leaf = |name: &str| golden.get(name).copy().set_requires_grad(true);
        let norms = leaf("norms");
        assert_value_and_gradients(&golden, "kl", &Divergence::Kl.from_uniform(&norms), &[&norms]);

        let (z1, z2) = (leaf("z1"), leaf("z2"));
        let owner = Tensor::cat(&[golden.get("groups"), golden.get("groups")], 0);
        let groups: Vec<Tensor> = (0..3).map(|j| owner.eq(j).nonzero().flatten(0, -1)).collect();
        let z = Tensor::cat(&[&z1, &z2], 0);
        let reduction = coding_rate(&z, 0.5).unwrap() - compressed_rate(&z, &groups, 0.5).unwrap();
        assert_value_and_gradients(&golden, "grouped", &reduction, &[&z1, &z2]);

        // The clusters of the early features are these groups.
        let encoder = EncoderSpec::new("resnet18-w2", Stem::Cifar).build().unwrap();
        let net = Part::whole(encoder.as_ref());
        let early = golden.get("early").unbind(0);
        let clustered = Groups::KMeans(3).coding_rate_reduction([&z1, &z2], &early, &net, 0.5, 0).unwrap();
        assert_value_and_gradients(&golden, "grouped", &clustered, &[&z1, &z2]);

        let (a, b) = (leaf("a"), leaf("b"));
        assert_value_and_gradients(&golden, "match", &moment_distance(&a, &b), &[&a, &b]);
    }

    #[test]
    fn lambda_raises_the_coding_rate_reduction_of_the_projections() {
        let case = Case::simclr(Kind::Float, 16);
        let reduction = |lambda| {
            let settings = Settings { lambda, beta: 1.0, epochs: 20, lr: 1e-3, ..Settings::default() };
            let (undone, _) = case.undo(&settings);
            let (front, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
            let early = case.early(&front);
            let mut w = late.weights(&undone.weights);
            w.extend(undone.head);
            let loss = case.method.loss(&late, &w, &early, Mode::TrainKeepStats).unwrap();
            let [z1, z2] = loss.projections.as_slice() else { panic!("two views") };
            pair_coding_rate_reduction(z1, z2, settings.eps2).unwrap().double_value(&[])
        };
        let (without, with) = (reduction(0.0), reduction(1.0));
        assert!(with > without + 0.05 * without.abs(), "dR {without} without lambda, {with} with lambda 1");
    }
}

mod switches {
    use super::*;

    /// Gradient of one step of a repair at the weights of `case`.
    fn step(case: &Case, settings: &Settings, held_out: Option<&Views>) -> Gradients {
        let (front, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
        let problem = Problem { method: case.method.as_ref(), late: &late, settings, teacher: None, held_out };
        let w = case.late_weights(&late);
        let early = case.early(&front);
        let training = lethe::undo::find(&settings.repair).unwrap().training.as_ref().unwrap();
        (training.step)(&problem, &w, &Batch { images: &early, early: &early }).unwrap().gradients
    }

    fn other_early(case: &Case) -> Views {
        let (front, _) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
        let w = case.weights.frozen();
        let view = |i: u32| front.forward(&w, &noise(&[8, 3, 16, 16], 50 + i), Mode::Eval);
        vec![view(0), view(1)].into()
    }

    #[test]
    fn every_one_changes_the_gradient() {
        let case = Case::simclr(Kind::Double, 8);
        let base = || Settings { beta: 1.0, lambda: 0.5, inner_steps: 2, batch_size: 8, ..Settings::default() };
        let held_out = other_early(&case);
        let with = |settings: &Settings, held: bool| step(&case, settings, held.then_some(&held_out));
        let (plain, held) = (with(&base(), false), with(&base(), true));
        assert!(difference(&with(&base(), false), &plain) == 0.0, "a step repeats");
        assert!(difference(&held, &plain) > 1e-2, "held-out images");
        let variants = [
            ("divergence", Settings { divergence: Divergence::Kl, ..base() }),
            ("repair", Settings { repair: "joint".into(), ..base() }),
            ("rate_of", Settings { rate_of: RateOf::Representations, ..base() }),
            ("batch_norm", Settings { batch_norm: BatchNorm::Frozen, ..base() }),
            ("groups", Settings { groups: Groups::KMeans(3), ..base() }),
            ("inner_optimizer", Settings { inner_optimizer: InnerOptimizer::Adam, ..base() }),
        ];
        for (what, settings) in variants {
            for (held, plain) in [(false, &plain), (true, &held)] {
                let by = difference(&with(&settings, held), plain);
                assert!(by > 1e-3, "{what}: {by:e}");
            }
        }
        let matched = Settings { matching: 10.0, outer_data: Some("there".into()), ..base() };
        assert!(difference(&with(&matched, true), &held) > 1e-3, "match");
        let implicit = |hessian| Settings { hypergradient: "cg".into(), hessian, ..base() };
        let exact = with(&implicit(Product::Exact), false);
        let by = difference(&with(&implicit(Product::FiniteDifference), false), &exact);
        assert!(by > 0.0 && by < 0.5, "the kind of product: {by:e}");
    }

    #[test]
    fn the_outer_loss_is_made_of_what_they_name() {
        let case = Case::simclr(Kind::Double, 8);
        let (front, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
        let (early, held_out) = (case.early(&front), other_early(&case));
        let w = case.late_weights(&late);
        let settings = Settings {
            lambda: 0.5,
            rate_of: RateOf::Representations,
            matching: 3.0,
            outer_data: Some("there".into()),
            ..Settings::default()
        };
        let mode = Mode::TrainKeepStats;
        let of = |views: &Views| views.inputs.iter().map(|x| late.represent(&w, x, mode)).collect::<Vec<_>>();
        let (training, unseen) = (of(&early), of(&held_out));
        let reduction = pair_coding_rate_reduction(&unseen[0], &unseen[1], settings.eps2).unwrap();
        let distance = moment_distance(&Tensor::cat(&training, 0), &Tensor::cat(&unseen, 0));
        let ssl = case.method.loss(&late, &w, &held_out, mode).unwrap().total;
        let expected = ssl - 0.5 * reduction + 3.0 * distance;
        let problem = Problem {
            method: case.method.as_ref(),
            late: &late,
            settings: &settings,
            teacher: None,
            held_out: Some(&held_out),
        };
        assert_close("L_out", &outer(&problem, &w, &early, mode).unwrap().total, &expected, ROUNDING);
    }

    #[test]
    fn joint_is_the_gradient_of_both_objectives_at_the_weights() {
        let case = Case::simclr(Kind::Double, 8);
        let (front, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
        let (early, w) = (case.early(&front), case.late_weights(&late));
        let settings = Settings { repair: "joint".into(), beta: 3.0, lambda: 0.5, ..Settings::default() };
        let problem =
            Problem { method: case.method.as_ref(), late: &late, settings: &settings, teacher: None, held_out: None };
        let first = inner(&problem, &w, &early, Mode::TrainKeepStats).unwrap().total;
        let second = outer(&problem, &w, &early, Mode::TrainKeepStats).unwrap().added.coding_rate_reduction;
        let expected = w.gradients(&(first - 0.5 * second), false).unwrap();
        assert!(difference(&step(&case, &settings, None), &expected) < ROUNDING);
    }

    #[test]
    fn frozen_batch_norm_keeps_its_statistics_and_uses_them() {
        for repair in ["umm", "joint", "continue"] {
            let case = Case::simclr(Kind::Float, 8);
            let settings =
                |batch_norm| Settings { repair: repair.into(), batch_norm, epochs: 2, ..Settings::default() };
            let moved = |batch_norm| {
                let (undone, rows) = case.undo(&settings(batch_norm));
                let name = "layer4.1.bn2.running_mean";
                (*undone.weights.get(name) != *case.weights.get(name), rows[0].terms["ssl"])
            };
            let ((live, live_ssl), (frozen, frozen_ssl)) = (moved(BatchNorm::Live), moved(BatchNorm::Frozen));
            assert!(live && !frozen, "{repair}");
            let (front, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
            let w = case.late_weights(&late);
            let eval = case.method.loss(&late, &w, &case.early(&front), Mode::Eval).unwrap().total.double_value(&[]);
            assert!((frozen_ssl - eval).abs() < 1e-6 && (live_ssl - eval).abs() > 1e-6, "{repair}");
        }
    }

    #[test]
    fn every_method_is_a_base_on_real_images() {
        use lethe::loader::{Loader, LoaderSettings, Order};
        use lethe::views::{Normalize, augmentation};
        let jpegs = crate::support::jpegs();
        let dataset = lethe::data::open(crate::support::text(&jpegs.join("train"))).unwrap();
        for entry in methods_for_parts() {
            let mut case = Case::random(entry.name, small_settings(entry.name), Kind::Float, 2);
            let augment = augmentation(entry.recipe.augmentation, 32, Normalize::named("cifar10").unwrap()).unwrap();
            let settings = LoaderSettings { batch_size: 32, order: Order::Shuffled, ..LoaderSettings::default() };
            let loader = Loader::new(dataset.clone(), augment, settings).unwrap();
            case.views = Views::of(&loader.epoch(0, 0).next().unwrap().unwrap(), Device::Cpu, Kind::Float);
            for repair in ["umm", "joint"] {
                let settings =
                    Settings { repair: repair.into(), epochs: 1, groups: Groups::KMeans(4), ..Settings::default() };
                let (undone, rows) = case.undo(&settings);
                assert!(undone.stopped.is_none(), "{} {repair}: {:?}", entry.name, undone.stopped);
                assert!(rows[0].terms["js"] > 0.0 && rows[0].terms["coding_rate_reduction"] > 0.0, "{}", entry.name);
                assert_ne!(*undone.weights.get("layer4.1.conv2.weight"), *case.weights.get("layer4.1.conv2.weight"));
            }
        }
    }
}

mod the_loop {
    use super::*;

    #[test]
    fn a_teacher_is_made_anew_from_the_student_and_follows_it() {
        let table = toml::toml! { proj_hidden_dim = 16 proj_output_dim = 8 pred_hidden_dim = 16 };
        let mut case = Case::random("byol", table, Kind::Float, 8);
        case.head.insert("teacher.layer1.0.conv1.weight", Tensor::full([1], f64::NAN, (Kind::Float, Device::Cpu)));
        let (undone, _) = case.undo(&Settings { epochs: 2, ..Settings::default() });
        let late = |name: &str| ["layer3", "layer4", "projector"].iter().any(|part| name.starts_with(part));
        let teacher = undone.head.under("teacher.");
        assert!(teacher.names().all(late), "the teacher is of the late stages and the projector");
        let moved = |name: &str, from: &Weights, to: &Weights| (from.get(name) - to.get(name)).norm().double_value(&[]);
        for (name, before) in case.weights.iter().filter(|(name, _)| late(name) && name.ends_with("conv1.weight")) {
            let student = (undone.weights.get(name) - before).norm().double_value(&[]);
            let teacher = moved(name, &teacher, &case.weights);
            assert!(teacher > 0.0 && teacher < student, "{name}: teacher moved {teacher}, student {student}");
        }
    }

    #[test]
    fn every_method_and_hypergradient_runs_in_both_precisions() {
        for entry in methods_for_parts() {
            for hypergradient in hypergradient::HYPERGRADIENTS {
                for kind in [Kind::Float, Kind::Double] {
                    let case = Case::random(entry.name, small_settings(entry.name), kind, 8);
                    let settings = Settings {
                        hypergradient: hypergradient.name.into(),
                        split: "stage3".into(),
                        inner_steps: 2,
                        epochs: 1,
                        ..Settings::default()
                    };
                    let (undone, rows) = case.undo(&settings);
                    let what = format!("{} {} {kind:?}", entry.name, hypergradient.name);
                    assert!(undone.stopped.is_none(), "{what}: {:?}", undone.stopped);
                    assert!(rows[0].terms["js"] > 0.0 && rows[0].grad_norm > 0.0, "{what}");
                }
            }
        }
    }

    #[test]
    fn beta_0_leaves_the_alignment_out() {
        let case = Case::simclr(Kind::Float, 8);
        let (_, rows) = case.undo(&Settings { beta: 0.0, epochs: 1, ..Settings::default() });
        assert!(!rows[0].terms.contains_key("js"));
        assert_eq!(rows[0].terms["inner"], rows[0].terms["ssl"]);
    }

    #[test]
    fn the_same_seed_gives_the_same_bits() {
        let case = Case::simclr(Kind::Float, 8);
        let run = || case.undo(&Settings { epochs: 3, ..Settings::default() }).0;
        let (one, two) = (run(), run());
        assert_eq!(bits(&one.weights), bits(&two.weights));
        assert_eq!(bits(&one.head), bits(&two.head));
    }

    #[test]
    fn a_number_that_is_not_finite_stops_it_with_the_last_good_weights() {
        let case = Case::simclr(Kind::Float, 8);
        let mut epoch = |epoch: u32| -> Box<dyn Iterator<Item = lethe::Result<Views>>> {
            let scale = if epoch == 14 { f64::NAN } else { 1.0 };
            Box::new(std::iter::once(Ok(case.views.map(|x| x * scale))))
        };
        let batches = Batches { per_epoch: 1, epoch: &mut epoch, held_out: None };
        let settings = Settings { epochs: 40, ..Settings::default() };
        let mut rows = Vec::new();
        let undone = undo(&case.subject(), &settings, batches, None, &mut |event| {
            if let Event::Step(row) = event {
                rows.push(row.step);
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        let stopped = undone.stopped.expect("it stops");
        assert!(stopped.what.starts_with("step 15: inner is NaN"), "{}", stopped.what);
        assert_eq!(rows, (1..=14).collect::<Vec<_>>(), "the good steps are recorded");
        for (name, tensor) in undone.weights.iter().chain(undone.head.iter()) {
            assert!(tensor.to_kind(Kind::Double).isfinite().all().int64_value(&[]) == 1, "{name}");
        }
        let name = "layer4.1.conv2.weight";
        assert_ne!(*undone.weights.get(name), *case.weights.get(name), "they are those after step 10, not the first");
    }

    #[test]
    fn who_watches_may_end_it_after_an_epoch() {
        let case = Case::simclr(Kind::Float, 8);
        let mut epoch = |_| -> Box<dyn Iterator<Item = lethe::Result<Views>>> {
            Box::new((0..2).map(|_| Ok(case.views.map(Tensor::shallow_clone))))
        };
        let batches = Batches { per_epoch: 2, epoch: &mut epoch, held_out: None };
        let settings = Settings { repair: "continue".into(), epochs: 5, ..Settings::default() };
        let undone = undo(&case.subject(), &settings, batches, None, &mut |event| {
            let over = matches!(event, Event::Epoch(end) if end.epoch == 3 && end.reached.step == 6);
            Ok(if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        let undone = undone.unwrap();
        assert_eq!((undone.steps, undone.stopped.is_none()), (6, true));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let case = Case::simclr(Kind::Float, 8);
        let what = |settings: Settings| {
            let batches = Batches { per_epoch: 1, epoch: &mut |_| Box::new(std::iter::empty()), held_out: None };
            let error =
                undo(&case.subject(), &settings, batches, None, &mut |_| Ok(ControlFlow::Continue(()))).unwrap_err();
            assert_eq!(error.exit.code(), 2);
            error.what
        };
        let default = Settings::default;
        assert_eq!(what(Settings { eps2: 0.0, ..default() }), "--eps2 0: expected a number above 0");
        assert_eq!(what(Settings { beta: -1.0, ..default() }), "--beta -1: expected a number of at least 0");
        assert_eq!(what(Settings { inner_steps: 0, ..default() }), "--inner-steps 0: expected at least 1");
        assert_eq!(what(Settings { repair: "pray".into(), ..default() }), "unknown repair \"pray\"");
        assert_eq!(
            what(Settings { split: "stage4".into(), ..default() }),
            "--split stage4: no stage is left to train after the last one"
        );
    }

    #[test]
    fn no_buffer_is_handed_to_the_optimiser() {
        let case = Case::simclr(Kind::Float, 8);
        let (_, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
        assert!(case.late_weights(&late).parameters().all(|(name, _)| !is_buffer(name)));
    }
}

mod the_program {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::support::{lethe_err, lethe_ok, temp_dir, text};

    const DATA: &str = "shapes:n=96,size=16";

    fn pretrained(folder: &Path) -> PathBuf {
        let run = folder.join("run");
        let settings = "--method simclr --encoder resnet18-w4 --epochs 1 --batch-size 32 --threads 1";
        let mut args = vec!["pretrain", "--data", DATA, "--out", text(&run)];
        args.extend(settings.split(' '));
        lethe_ok(&args);
        run.join("checkpoints/epoch-0001.safetensors")
    }

    fn command<'a>(checkpoint: &'a str, out: &'a str, more: &'a [&str]) -> Vec<&'a str> {
        let mut args = vec!["undo", checkpoint, "--data", DATA, "--out", out, "--epochs", "2", "--batch-size", "32"];
        args.extend(["--threads", "1"]);
        args.extend(more);
        args
    }

    #[test]
    fn undoes_a_run_of_its_own_and_keeps_its_hands_off_the_checkpoint() {
        let folder = temp_dir();
        let checkpoint = pretrained(folder.path());
        let before = std::fs::read(&checkpoint).unwrap();
        let out = folder.path().join("undone");
        let json = lethe_ok(&command(text(&checkpoint), text(&out), &["--json"]));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["repair"], "umm");
        assert_eq!(json["steps"], 6);
        assert_eq!(std::fs::read(&checkpoint).unwrap(), before);

        let lines = std::fs::read_to_string(out.join("undo.jsonl")).unwrap();
        let rows: Vec<StepRow> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.iter().map(|row| row.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        let names: Vec<&str> = rows[0].terms.keys().map(String::as_str).collect();
        assert_eq!(names, ["inner", "ssl", "js", "outer", "coding_rate_reduction"]);

        let open = |path: &Path| lethe::checkpoint::open(path).unwrap();
        let (old, new) = (open(&checkpoint), open(&out.join("undone.safetensors")));
        assert_eq!((new.meta.method.as_deref(), new.meta.image_size), (Some("simclr"), Some(16)));
        assert_eq!(new.meta.normalize, old.meta.normalize);
        for (name, tensor) in new.encoder.iter() {
            let late = name.starts_with("layer3") || name.starts_with("layer4");
            assert_eq!(*tensor != *old.encoder.get(name), late, "{name}");
        }
        let state = lethe::checkpoint::open_state(&out.join("undone.state.safetensors")).unwrap();
        assert!(state.head.find("projector.2.weight").is_some());
        assert_eq!(state.progress["repair"], "umm");
        // The result is a checkpoint like any other: it can be undone again, by the other repair.
        let again = folder.path().join("again");
        let table = lethe_ok(&command(text(&out.join("undone.safetensors")), text(&again), &["--repair", "continue"]));
        assert!(table.contains("ssl") && table.contains("continue: 6 steps"), "{table}");
    }

    #[test]
    fn every_switch_of_a_part_runs_in_the_program() {
        let folder = temp_dir();
        let checkpoint = pretrained(folder.path());
        let out = folder.path().join("undone");
        let switches = "--head new --batch-norm frozen --divergence kl --rate-of representations --groups kmeans:4 \
            --outer-data shapes:n=40,size=16,seed=9 --match 2 --inner-optimizer adam --inner-steps 2 --overwrite";
        let mut more: Vec<&str> = switches.split_whitespace().collect();
        lethe_ok(&command(text(&checkpoint), text(&out), &more));
        let log = std::fs::read_to_string(out.join("undo.jsonl")).unwrap();
        let rows: Vec<StepRow> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let names: Vec<&str> = rows[0].terms.keys().map(String::as_str).collect();
        assert_eq!(names, ["inner", "ssl", "kl", "outer", "coding_rate_reduction", "match"]);
        let settings = std::fs::read_to_string(out.join("undo.toml")).unwrap();
        let kept: toml::Table = settings.parse().unwrap();
        assert_eq!(kept["groups"].as_str(), Some("kmeans:4"));
        assert_eq!(kept["match"].as_float(), Some(2.0));
        // The new head is not the checkpoint's, and the same seed repeats all of it.
        let first = std::fs::read(out.join("undone.safetensors")).unwrap();
        lethe_ok(&command(text(&checkpoint), text(&out), &more));
        assert_eq!(std::fs::read(out.join("undone.safetensors")).unwrap(), first);
        more[1] = "pretrained";
        lethe_ok(&command(text(&checkpoint), text(&out), &more));
        assert_ne!(std::fs::read(out.join("undone.safetensors")).unwrap(), first);

        let refused = |more: &[&str]| lethe_err(&command(text(&checkpoint), text(&out), more), 2);
        insta::assert_snapshot!(refused(&["--match", "1"]), @r"
        error: --match 1: there is nothing to match
          hint: name held-out images with --outer-data
        ");
        insta::assert_snapshot!(refused(&["--groups", "kmeans:40"]), @"error: --groups kmeans:40: a batch has 32 images");
        insta::assert_snapshot!(refused(&["--hypergradient", "cg", "--inner-optimizer", "adam"]), @r"
        error: --hypergradient cg: needs --inner-optimizer sgd
          hint: it solves the proximal problem that steps of plain gradient descent stand for
        ");
        assert!(refused(&["--groups", "kmeans:1"]).contains("expected pairs, or kmeans:K with K of at least 2"));
    }

    #[test]
    fn split_auto_cuts_before_the_first_stage_with_an_onset() {
        use lethe::diagnose::Diagnosis;
        use lethe_diagnosis::Onset;
        let folder = temp_dir();
        let checkpoint = pretrained(folder.path());
        let run = folder.path().join("run");
        let out = folder.path().join("undone");
        let auto = command(text(&checkpoint), text(&out), &["--split", "auto"]);
        let hide = |error: String| error.replace(text(&std::fs::canonicalize(&run).unwrap()), "RUN");
        insta::assert_snapshot!(hide(lethe_err(&auto, 2)), @r"
        error: RUN/checkpoints/epoch-0001.safetensors: its run has no diagnosis to choose by
          hint: lethe diagnose RUN --unseen D --out RUN/diagnosis, or name one with --diagnosis FILE
        ");

        lethe_ok(&[
            "diagnose",
            text(&run),
            "--unseen",
            "shapes:n=64,size=16,seed=5",
            "--out",
            text(&run.join("diagnosis")),
            "--threads",
            "1",
        ]);
        let file = run.join("diagnosis/diagnosis.json");
        let mut diagnosis: Diagnosis = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let mut with = |stages: &[&str]| {
            let onset = |stage: &&str| {
                let json = serde_json::json!({
                    "of": "memorisation_gap", "stage": stage, "checkpoint": 0,
                    "epoch": { "value": 0.5, "low": 0.0, "high": 1.0 },
                    "abrupt": true, "rise": { "value": 1.0, "low": 0.5, "high": 1.5 }, "p": 0.001,
                });
                serde_json::from_value::<Onset>(json).unwrap()
            };
            diagnosis.onsets = stages.iter().map(onset).collect();
            std::fs::write(&file, serde_json::to_vec(&diagnosis).unwrap()).unwrap();
        };
        with(&[]);
        insta::assert_snapshot!(hide(lethe_err(&auto, 1)), @r"
        error: --split auto: RUN/diagnosis/diagnosis.json: none seen: no stage has an onset of the memorisation gap
          hint: name a stage with --split to cut all the same
        ");
        with(&["stem"]);
        assert!(lethe_err(&auto, 1).contains("at the first stage already"));
        assert!(!out.exists());
        with(&["stage4", "stage3"]);
        lethe_ok(&auto);
        let kept: toml::Table = std::fs::read_to_string(out.join("undo.toml")).unwrap().parse().unwrap();
        assert_eq!(kept["split"].as_str(), Some("stage2"));
    }

    #[test]
    fn wrong_use_is_named_before_anything_is_written() {
        let folder = temp_dir();
        let checkpoint = pretrained(folder.path());
        let out = folder.path().join("undone");
        let refused = |more: &[&str], code| lethe_err(&command(text(&checkpoint), text(&out), more), code);
        let split = refused(&["--split", "stage9"], 2);
        insta::assert_snapshot!(split, @r"
        error: --split stage9: resnet18-w4 (cifar stem) has no such stage
          hint: split after one of: stem, stage1, stage2, stage3
        ");
        insta::assert_snapshot!(refused(&["--eps2", "0"], 2), @"error: --eps2 0: expected a number above 0");
        assert!(refused(&["--repair", "pray"], 2).contains("umm, joint, continue"));
        assert!(refused(&["--normalize", "mars"], 2).contains("mars"));
        assert!(!out.exists());
        std::fs::create_dir(&out).unwrap();
        std::fs::write(out.join("thesis.txt"), "mine").unwrap();
        assert!(refused(&[], 2).contains("this folder is not empty"));
        lethe_ok(&command(text(&checkpoint), text(&out), &["--overwrite", "--repair", "continue"]));
        assert_eq!(std::fs::read_to_string(out.join("thesis.txt")).unwrap(), "mine");
    }

    #[test]
    fn a_foreign_checkpoint_gets_a_new_head_which_is_said() {
        let folder = temp_dir();
        let foreign = folder.path().join("foreign.safetensors");
        let case = Case::simclr(Kind::Float, 2);
        let all: Vec<(&str, Tensor)> = case.weights.iter().map(|(name, t)| (name, t.detach())).collect();
        Tensor::write_safetensors(&all, &foreign).unwrap();
        let out = folder.path().join("undone");
        let unsaid = lethe_err(&command(text(&foreign), text(&out), &[]), 2);
        assert!(unsaid.contains("does not say which method trained it"), "{unsaid}");
        let output = crate::support::lethe(&command(text(&foreign), text(&out), &["--method", "vicreg"]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.contains("has no vicreg head: a new one is trained along"), "{said}");
    }
}
