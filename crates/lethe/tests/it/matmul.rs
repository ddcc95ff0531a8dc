//! `nn::matmul` against libtorch's own product, with first and second derivatives.

use lethe::nn;
use tch::{Device, Kind, Tensor};

fn numbers(shape: [i64; 2], kind: Kind, phase: f64) -> Tensor {
    let n = shape[0] * shape[1];
    ((Tensor::arange(n, (Kind::Double, Device::Cpu)) + 1.0).square() * 0.37 + phase).sin().view(shape).to_kind(kind)
}

/// The product, the gradients of a function of it, and those of a function of these.
fn all(product: &dyn Fn(&Tensor, &Tensor) -> Tensor, a: &Tensor, b: &Tensor) -> Vec<Tensor> {
    let y = product(a, b);
    let loss = (&y * y.cos()).sum(y.kind());
    let first = Tensor::run_backward(&[&loss], &[a, b], true, true);
    let sum = first.iter().map(|g| (g * g.sin()).sum(g.kind())).reduce(|a, b| a + b).expect("two gradients");
    let second = Tensor::run_backward(&[sum], &[a, b], false, false);
    std::iter::once(y).chain(first).chain(second).map(|t| t.detach().to_kind(Kind::Double)).collect()
}

#[test]
fn it_is_libtorchs_in_every_layout_and_precision() {
    for (kind, tolerance) in [(Kind::Double, 1e-13), (Kind::Float, 1e-5), (Kind::BFloat16, 0.03)] {
        for [n, k, m] in [[3, 4, 5], [70, 33, 129], [1, 4000, 40], [64, 512, 64]] {
            for (turned_a, turned_b) in [(false, false), (true, false), (false, true), (true, true)] {
                let made = |shape: [i64; 2], turned: bool, phase| {
                    let t = numbers(if turned { [shape[1], shape[0]] } else { shape }, kind, phase);
                    (if turned { t.tr() } else { t }).set_requires_grad(true)
                };
                let (a, b) = (made([n, k], turned_a, 0.2), made([k, m], turned_b, 0.9));
                let scale = (k as f64).sqrt().recip();
                let ours = all(&|a, b| nn::matmul(a, b) * scale, &a, &b);
                let theirs = all(&|a, b| a.matmul(b) * scale, &a, &b);
                for (i, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                    let error = (ours - theirs).norm().double_value(&[]) / theirs.norm().double_value(&[]);
                    assert!(
                        error < tolerance,
                        "{kind:?} {n} {k} {m} {turned_a} {turned_b}, {i}: relative error {error:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_gradient_that_is_one_number_everywhere_and_rows_with_gaps() {
    let (a, b) = (numbers([40, 60], Kind::Float, 0.1), numbers([60, 50], Kind::Float, 0.3));
    let a = a.set_requires_grad(true);
    // The gradient of a sum is one number without strides.
    let gradient = Tensor::run_backward(&[nn::matmul(&a, &b).sum(Kind::Float)], &[&a], false, false);
    let expected = b.sum_dim_intlist([1i64].as_slice(), true, Kind::Float).tr().expand_as(&a);
    assert!((&gradient[0] - expected).abs().max().double_value(&[]) < 1e-4);
    let gaps = a.detach().slice(1, 0, 60, 2);
    let difference = nn::matmul(&gaps, &b.slice(0, 0, 30, 1)) - gaps.contiguous().matmul(&b.slice(0, 0, 30, 1));
    assert!(difference.abs().max().double_value(&[]) < 1e-4);
}
