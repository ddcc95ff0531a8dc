//! Adam (Kingma & Ba 2015, arXiv 1412.6980) as an inner optimiser, and its derivative.

use tch::Tensor;

use crate::nn::Gradients;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;
/// Roots of second moments below it count as it: far below `EPS`, which decides there, and far above what f32 loses.
const LEAST_ROOT: f64 = 1e-16;

/// The moments after every step so far, the first from zero. Elementwise, u = (m / c1) / (r / c2 + eps) with
/// m the first moment, r the root of the second, and c1, c2 the corrections of their start from zero.
///
/// The preconditioner is not taken for a constant: with moments from zero it is anything but one (after the first step
/// 1 / |slope|, so that u is the slope's sign). `step_back` is the whole derivative.
#[derive(Default)]
pub(super) struct Adam {
    moments: Vec<Moments>,
    /// Derivatives with respect to the moments of the last step that is not gone back yet.
    back: Option<Moments>,
}

struct Moments {
    first: Gradients,
    root: Gradients,
}

impl Adam {
    /// The update u of a `slope`, to be subtracted alpha times.
    pub(super) fn step(&mut self, slope: &Gradients) -> Gradients {
        let before = self.moments.last();
        let first: Gradients = each(slope, |i, slope| match before {
            Some(before) => BETA1 * &before.first[i] + (1.0 - BETA1) * slope,
            None => (1.0 - BETA1) * slope,
        });
        let root: Gradients = each(slope, |i, slope| match before {
            Some(before) => (before.root[i].square() * BETA2 + slope.square() * (1.0 - BETA2)).sqrt(),
            None => slope.abs() * (1.0 - BETA2).sqrt(),
        });
        self.moments.push(Moments { first, root });
        let (c1, c2) = corrections(self.moments.len());
        let now = self.moments.last().expect("just made");
        each(&now.first, |i, first| first / c1 / (&now.root[i] / c2 + EPS))
    }

    /// The derivative of u'`along` of this and the later steps' u, each with its own `along`, with respect to the slope
    /// of this step. To be called from the last step back to the first.
    pub(super) fn step_back(&mut self, slope: &Gradients, along: &Gradients) -> Gradients {
        let (c1, c2) = corrections(self.moments.len());
        let Moments { first, root } = self.moments.pop().expect("a step for every step back");
        let denominator = each(&root, |_, root| root / c2 + EPS);
        let mut of_first = each(along, |i, along| along / (c1 * &denominator[i]));
        let mut of_root = each(&of_first, |i, of_first| -of_first * &first[i] / (c2 * &denominator[i]));
        if let Some(later) = self.back.take() {
            of_first = each(&of_first, |i, now| now + &later.first[i]);
            of_root = each(&of_root, |i, now| now + &later.root[i]);
        }
        let by_root = each(&of_root, |i, of_root| of_root / root[i].clamp_min(LEAST_ROOT));
        let of_slope = each(slope, |i, slope| (1.0 - BETA1) * &of_first[i] + (1.0 - BETA2) * slope * &by_root[i]);
        self.back = self.moments.last().map(|before| Moments {
            first: each(&of_first, |_, of_first| BETA1 * of_first),
            root: each(&by_root, |i, by_root| BETA2 * by_root * &before.root[i]),
        });
        of_slope
    }
}

/// What divides the moments and the roots of `steps` steps.
fn corrections(steps: usize) -> (f64, f64) {
    let power = |beta: f64| 1.0 - beta.powi(steps as i32);
    (power(BETA1), power(BETA2).sqrt())
}

fn each(tensors: &Gradients, f: impl Fn(usize, &Tensor) -> Tensor) -> Gradients {
    tensors.iter().enumerate().map(|(i, tensor)| f(i, tensor)).collect()
}
