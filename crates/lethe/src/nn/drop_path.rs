//! Drop path, or stochastic depth (Huang et al. 2016, arXiv 1603.09382): images now and then skip a residual branch.

use std::cell::RefCell;

use rand::RngExt;
use tch::Tensor;

use crate::cuda;
use crate::rng::{self, Purpose, Rng};

/// What drops paths during a training step; the same seed drops the same ones.
pub struct DropPath {
    rate: f64,
    rng: RefCell<Rng>,
}

impl DropPath {
    /// `rate` is that of the last block; it rises from 0 at the first one in equal steps.
    pub fn new(rate: f64, seed: u64) -> Self {
        Self { rate, rng: RefCell::new(rng::keyed(seed, Purpose::DropPath, 0, 0, 0)) }
    }

    /// What a residual branch gives, `[n, ..]`, with some images of it zero and the others scaled up to the same mean; `depth`
    /// is that of its block, 0 for the first and 1 for the last.
    pub fn of(&self, branch: &Tensor, depth: f64) -> Tensor {
        let kept = 1.0 - self.rate * depth;
        if kept == 1.0 {
            return branch.shallow_clone();
        }
        let mut shape = vec![1; branch.dim()];
        shape[0] = branch.size()[0];
        let mut rng = self.rng.borrow_mut();
        let mask: Vec<f32> =
            (0..shape[0]).map(|_| if rng.random_bool(kept) { (1.0 / kept) as f32 } else { 0.0 }).collect();
        let mask = cuda::upload(&Tensor::from_slice(&mask).view(shape.as_slice()), branch.device());
        branch * mask.to_kind(branch.kind())
    }
}
