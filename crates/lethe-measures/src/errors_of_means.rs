//! Standard errors of means over images, of many cells at once, and how many of them hold together.

use ndarray::{Array2, Axis};

use crate::distributions::student_for_normal;
use crate::resampling::Family;

/// The errors of one number over all cells of a diagnosis.
pub(crate) struct ErrorsOfMeans {
    /// The standard error of every cell.
    pub(crate) error: Vec<f64>,
    /// How many standard errors of normal means hold all cells together.
    pub(crate) normal: f64,
    /// The same of every cell, with Student's t for an error that is itself estimated.
    pub(crate) critical: Vec<f64>,
}

impl ErrorsOfMeans {
    /// Of the sum of means over independent `blocks` of images, `[cells, images]` each. Two sides of images that went
    /// through the same draws are one block, of the sums of their terms; other sides are a block each.
    ///
    /// The degrees of freedom are images - 1 of one block, and those of Welch (1947) of two: for 50 images against
    /// 2,000 about 49, unless the larger side's error is the larger one.
    pub(crate) fn of(blocks: &[Array2<f64>], family: &Family) -> Self {
        let cells = blocks[0].nrows();
        let mut covariance = Array2::<f64>::zeros((cells, cells));
        // Sums over the blocks of the squared error, and of its square over the degrees of freedom.
        let mut parts = vec![[0.0, 0.0]; cells];
        for block in blocks {
            let images = block.ncols() as f64;
            let centred = block - &block.mean_axis(Axis(1)).expect("images").insert_axis(Axis(1));
            let of_block = centred.dot(&centred.t()) / (images * (images - 1.0));
            for (parts, square) in parts.iter_mut().zip(of_block.diag()) {
                parts[0] += square;
                parts[1] += square * square / (images - 1.0);
            }
            covariance += &of_block;
        }
        let normal = family.critical(covariance.view());
        let freedom = |[square, over]: [f64; 2]| if over > 0.0 { square * square / over } else { f64::INFINITY };
        let mut known = (f64::NAN, normal);
        let mut student = |freedom: f64| {
            if freedom.is_infinite() {
                return normal;
            }
            // All cells of one block have the same.
            if (known.0 - freedom).abs() > 1e-9 * freedom || known.0.is_nan() {
                known = (freedom, student_for_normal(normal, freedom));
            }
            known.1
        };
        Self {
            error: covariance.diag().mapv(f64::sqrt).to_vec(),
            critical: parts.into_iter().map(|parts| student(freedom(parts))).collect(),
            normal,
        }
    }

    /// How far the interval of a cell reaches.
    pub(crate) fn width(&self, cell: usize) -> f64 {
        self.critical[cell] * self.error[cell]
    }
}

/// The standard errors alone, of the same.
pub(crate) fn standard_errors(blocks: &[Array2<f64>]) -> Vec<f64> {
    let square = |block: &Array2<f64>| block.var_axis(Axis(1), 1.0) / block.ncols() as f64;
    let squares = blocks.iter().map(square).reduce(|sum, square| sum + square).expect("one block at least");
    squares.mapv(f64::sqrt).to_vec()
}

/// The terms of the two sides, `[cells, images]` each, as independent blocks.
pub(crate) fn blocks([train, unseen]: [Array2<f64>; 2], paired: bool) -> Vec<Array2<f64>> {
    if paired { vec![train + unseen] } else { vec![train, unseen] }
}
