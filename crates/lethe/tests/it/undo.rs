//! UMM: its objectives and one whole step against PyTorch, its hypergradients against theory, its loop against promises.

use std::ops::ControlFlow;

use lethe::encoders::{Encoder, EncoderSpec, Part, Stem};
use lethe::methods::{self, Method};
use lethe::nn::{Gradients, Mode, Weights, is_buffer};
use lethe::rng::{Purpose, once};
use lethe::undo::alignment::{alignment, divergence_from_uniform};
use lethe::undo::coding_rate::{coding_rate, pair_coding_rate_reduction};
use lethe::undo::hypergradient::{self, Bilevel, Hypergradient};
use lethe::undo::{Batches, Event, Problem, Settings, StepRow, Subject, Undone, inner::inner, outer::outer, undo};
use tch::{Device, Kind, Tensor};

use crate::golden::{assert_close, load, relative_error};

const ROUNDING: f64 = 1e-9;

/// A pre-trained encoder of a kind with its method, and views to repair it on.
pub(crate) struct Case {
    pub(crate) encoder: Box<dyn Encoder>,
    pub(crate) method: Box<dyn Method>,
    pub(crate) weights: Weights,
    pub(crate) head: Weights,
    pub(crate) views: Vec<Tensor>,
}

impl Case {
    /// Random weights and noise; `n` images of 16 pixels.
    pub(crate) fn random(method: &str, settings: toml::Table, kind: Kind, n: i64) -> Self {
        let encoder = EncoderSpec::new("resnet18-w4", Stem::Cifar).build().unwrap();
        let method = (methods::find(method).unwrap().build)(&settings).unwrap();
        let mut rng = once(7, Purpose::Init);
        let weights = encoder.init(&mut rng).to_kind(kind);
        let head = method.init(Part::whole(encoder.as_ref()).dim(), &mut rng).to_kind(kind);
        let views = (0..2).map(|view| noise(&[n, 3, 16, 16], view).to_kind(kind)).collect();
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

    fn early(&self, part: &Part) -> Vec<Tensor> {
        let w = self.weights.frozen();
        tch::no_grad(|| self.views.iter().map(|x| part.forward(&w, x, Mode::Eval)).collect())
    }

    /// Repairs on the same views again and again.
    fn undo(&self, settings: &Settings) -> (Undone, Vec<StepRow>) {
        let mut rows = Vec::new();
        let mut epoch = |_| -> Box<dyn Iterator<Item = lethe::Result<Vec<Tensor>>>> {
            Box::new(std::iter::once(Ok(self.views.iter().map(Tensor::shallow_clone).collect())))
        };
        let batches = Batches { per_epoch: 1, epoch: &mut epoch };
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
fn noise(shape: &[i64], seed: u32) -> Tensor {
    use rand_distr::{Distribution, StandardNormal};
    let mut rng = lethe::rng::keyed(3, Purpose::Sample, 0, 0, seed);
    let values: Vec<f64> = (0..shape.iter().product::<i64>()).map(|_| StandardNormal.sample(&mut rng)).collect();
    Tensor::from_slice(&values).view(shape)
}

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
        let views = tensors.get("views").to_kind(Kind::Double).unbind(0);
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
        assert_close("early features", &Tensor::stack(&early, 0), tensors.get("early"), ROUNDING);
        let problem = Problem { method: case.method.as_ref(), late: &late, settings: &settings, teacher: None };
        let w = case.late_weights(&late);

        let at_theta = inner(&problem, &w, &early, Mode::TrainKeepStats).unwrap();
        assert_close("L_ssl", &at_theta.ssl, tensors.get("ssl"), ROUNDING);
        assert_close("JS", at_theta.js.as_ref().unwrap(), tensors.get("js"), ROUNDING);
        assert_close("L_in", &at_theta.total, tensors.get("inner"), ROUNDING);
        let slope = w.gradients(&at_theta.total, false).unwrap();
        assert_close("gradient of L_in", &flat(&slope), tensors.get("inner_gradient"), ROUNDING);

        let loss = outer(&problem, &w, &early, Mode::TrainKeepStats).unwrap();
        assert_close("dR", &loss.coding_rate_reduction, tensors.get("reduction"), ROUNDING);
        let gradient = w.gradients(&loss.coding_rate_reduction, false).unwrap();
        assert_close("gradient of dR", &sampled(&gradient), tensors.get("reduction_gradient"), ROUNDING);

        let star = w.plus(-settings.alpha, &slope);
        assert_close("theta*", &sampled(&parameters(&star)), tensors.get("star"), ROUNDING);
        let loss = outer(&problem, &star, &early, Mode::TrainKeepStats).unwrap();
        assert_close("dR at theta*", &loss.coding_rate_reduction, tensors.get("star_reduction"), ROUNDING);
        assert_close("L_out", &loss.total, tensors.get("outer"), ROUNDING);
    }

    #[test]
    fn hypergradients() {
        let Golden { tensors, case, settings } = golden();
        let (front, late) = Part::cut(case.encoder.as_ref(), "stage2").unwrap();
        let early = case.early(&front);
        let problem = Problem { method: case.method.as_ref(), late: &late, settings: &settings, teacher: None };
        let w = case.late_weights(&late);
        let bilevel = Bilevel {
            inner: &|w| Ok(inner(&problem, w, &early, Mode::TrainKeepStats)?.total),
            outer: &|w| Ok(outer(&problem, w, &early, Mode::TrainKeepStats)?.total),
            alpha: settings.alpha,
            steps: 1,
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
        let problem = Problem { method: case.method.as_ref(), late: &late, settings: &settings, teacher: None };
        let w = case.late_weights(&late);
        for steps in [1, 2] {
            let bilevel = Bilevel {
                inner: &|w| Ok(inner(&problem, w, &early, Mode::TrainKeepStats)?.total),
                outer: &|w| Ok(outer(&problem, w, &early, Mode::TrainKeepStats)?.total),
                alpha: settings.alpha,
                steps,
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
        let bilevel = Bilevel { inner: &inner, outer: &outer, alpha, steps };
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
        let found =
            &of("finite-difference")(&Bilevel { inner: &inner, outer: &outer, alpha, steps: 1 }, &w).unwrap()[0];
        let theta = theta.detach();
        let g = &theta - alpha * theta.pow_tensor_scalar(3);
        let exact = &g * (1.0 - 3.0 * alpha * theta.square());
        let e: Tensor = 0.01 / g.norm();
        let error = alpha * e.square() * g.pow_tensor_scalar(3);
        assert_close("value and error", found, &(exact - error), 1e-9);
    }

    #[test]
    fn a_zero_gradient_stays_zero() {
        let mut w = Weights::new();
        w.insert("x", Tensor::from_slice(&[1.0, 2.0]).set_requires_grad(true));
        let bilevel = Bilevel {
            inner: &|w| Ok(w.get("x").square().sum(Kind::Double)),
            outer: &|w| Ok(w.get("x").sum(Kind::Double) * 0.0),
            alpha: 0.1,
            steps: 1,
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
        assert_eq!(error.hint.unwrap(), "one of: forward-difference, finite-difference, exact, first-order");
    }
}

mod objectives {
    use super::*;

    #[test]
    fn divergence_is_0_for_equal_norms_bounded_by_ln_2_and_blind_to_scale() {
        let equal = Tensor::full([8], 3e-7, (Kind::Double, Device::Cpu));
        assert!(divergence_from_uniform(&equal).double_value(&[]).abs() < 1e-15);
        let norms = Tensor::from_slice(&[1.0, 2.0, 0.5, 7.0]);
        let (value, scaled) = (divergence_from_uniform(&norms), divergence_from_uniform(&(&norms * 1e-6)));
        assert_close("scale", &scaled, &value, 1e-12);
        let single = Tensor::from_slice(&[0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]).set_requires_grad(true);
        let value = divergence_from_uniform(&single);
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
            (alignment(&loss, &[z]).unwrap(), w)
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
                let problem = Problem { method: case.method.as_ref(), late: &late, settings: &settings, teacher: None };
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
                let rates = lethe_measures::pair_rates(rows.view(), eps2).unwrap();
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
        let small = toml::toml! { proj_hidden_dim = 16 proj_output_dim = 8 };
        for entry in methods::METHODS {
            for hypergradient in hypergradient::HYPERGRADIENTS {
                for kind in [Kind::Float, Kind::Double] {
                    let case = Case::random(entry.name, small.clone(), kind, 8);
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
        let mut epoch = |epoch: u32| -> Box<dyn Iterator<Item = lethe::Result<Vec<Tensor>>>> {
            let scale = if epoch == 14 { f64::NAN } else { 1.0 };
            Box::new(std::iter::once(Ok(case.views.iter().map(|x| x * scale).collect())))
        };
        let batches = Batches { per_epoch: 1, epoch: &mut epoch };
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
        let mut epoch = |_| -> Box<dyn Iterator<Item = lethe::Result<Vec<Tensor>>>> {
            Box::new((0..2).map(|_| Ok(case.views.iter().map(Tensor::shallow_clone).collect())))
        };
        let batches = Batches { per_epoch: 2, epoch: &mut epoch };
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
            let batches = Batches { per_epoch: 1, epoch: &mut |_| Box::new(std::iter::empty()) };
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
        assert!(refused(&["--repair", "pray"], 2).contains("umm, continue"));
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
