//! Distances between all rows, a block at a time and never `n x n`.

use ndarray::{Array2, ArrayView2, Axis, s};

/// Rows of one side of a block: 512 x 512 squared distances are 2 MiB.
pub(crate) const BLOCK: usize = 512;

/// Rows around their mean, which loses fewer digits of a squared distance than rows far from the origin.
pub(crate) struct Distances {
    centred: Array2<f64>,
    squares: Vec<f64>,
}

impl Distances {
    pub(crate) fn new(z: ArrayView2<f64>) -> Self {
        let mean = z.mean_axis(Axis(0)).expect("checked: at least one row");
        let centred = (&z - &mean).as_standard_layout().into_owned();
        let squares = centred.outer_iter().map(|row| row.dot(&row)).collect();
        Self { centred, squares }
    }

    /// The first rows of the blocks.
    pub(crate) fn starts(&self) -> Vec<usize> {
        (0..self.squares.len()).step_by(BLOCK).collect()
    }

    /// Sum of the squares of the rows around their mean.
    pub(crate) fn spread(&self) -> f64 {
        self.squares.iter().sum()
    }

    /// Rows of the block from `start`.
    pub(crate) fn rows_from(&self, start: usize) -> usize {
        BLOCK.min(self.squares.len() - start)
    }

    /// Squared distances of the rows from `i` to those from `j`, a block each; good to about `1e-16 ||u|| ||v||`, so
    /// that of two rows alike is not quite 0.
    pub(crate) fn squared(&self, i: usize, j: usize) -> Array2<f64> {
        let rows = |start: usize| self.centred.slice(s![start..(start + BLOCK).min(self.squares.len()), ..]);
        let mut block = rows(i).dot(&rows(j).t());
        for (row, square) in block.outer_iter_mut().zip(&self.squares[i..]) {
            for (value, other) in row.into_iter().zip(&self.squares[j..]) {
                *value = (square + other - 2.0 * *value).max(0.0);
            }
        }
        block
    }

    /// The squared distance of two rows, exact for rows that are near.
    pub(crate) fn of(&self, i: usize, j: usize) -> f64 {
        squared(row(&self.centred, i), row(&self.centred, j))
    }
}

/// The two nearest rows seen, nearest first: squared distance and row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nearest(pub(crate) [(f64, usize); 2]);

impl Default for Nearest {
    fn default() -> Self {
        Self([(f64::INFINITY, usize::MAX); 2])
    }
}

impl Nearest {
    pub(crate) fn see(&mut self, square: f64, row: usize) {
        let Self(best) = self;
        if square < best[1].0 {
            best[1] = (square, row);
            if best[1].0 < best[0].0 {
                best.swap(0, 1);
            }
        }
    }

    /// Distance to the second of these neighbours of `row` over that to the first; nothing of a copy, or of fewer.
    pub(crate) fn ratio(&self, row: usize, distances: &Distances) -> Option<f64> {
        if self.0[1].1 == usize::MAX {
            return None;
        }
        let [a, b] = self.0.map(|(_, j)| distances.of(row, j));
        (a.min(b) > 0.0).then(|| (a.max(b) / a.min(b)).sqrt())
    }
}

fn row(rows: &Array2<f64>, i: usize) -> &[f64] {
    let d = rows.ncols();
    &rows.as_slice().expect("standard layout")[i * d..(i + 1) * d]
}

/// `||a - b||^2`, summed in four lanes.
pub(crate) fn squared(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    let mut lanes = [0.0; 4];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..4 {
            let difference = a[lane] - b[lane];
            lanes[lane] += difference * difference;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    lanes.iter().sum::<f64>() + rest
}
