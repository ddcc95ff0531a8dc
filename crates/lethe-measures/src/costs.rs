//! What measures cost, by rows and columns: a committed table, so that what is taken unasked is the same on every
//! machine and in every run.
//!
//! The seconds are those of two cores of an AMD EPYC with AVX2 and 32 MiB of cache. `benches/costs.py` measures them
//! and NumPy's singular value decomposition anew, and prints the table.

use crate::measures::Measure;
use crate::spectrum;

/// A part of the work, which measures share: what two measures need is done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Singular values of the raw rows and of the centred ones.
    Spectra,
    /// Unit rows, and the Gram matrix of their smaller side.
    UnitGram,
    /// Of the coding rate, by a Cholesky decomposition of that Gram matrix.
    Determinant,
    /// The compressed rate, by classes or views.
    Groups,
    /// One pass over all pairs of rows.
    Pairs,
    /// Five runs of k-means in 10 clusters.
    Clusterings,
    /// One run of k-means in 24 clusters, and the singular values of each.
    DenseClusters,
    /// Minimum spanning trees.
    Trees,
    /// Copied rows.
    Copies,
    /// A pass over the views.
    Views,
    /// Covariances between and within images, and the eigenvalues of one whitened by the other.
    Whitening,
    /// k-means in sqrt(n) clusters, and the nearest neighbours of half of the rows in the other half.
    Learnability,
}

/// `seconds * n^rows * d^columns * min(n, d)^side`.
struct Term {
    seconds: f64,
    rows: f64,
    columns: f64,
    side: f64,
}

const fn term(seconds: f64, rows: f64, columns: f64, side: f64) -> Term {
    Term { seconds, rows, columns, side }
}

fn sum(terms: &[Term], n: usize, d: usize) -> f64 {
    let (n, d) = (n as f64, d as f64);
    let one = |term: &Term| term.seconds * n.powf(term.rows) * d.powf(term.columns) * n.min(d).powf(term.side);
    terms.iter().map(one).sum()
}

/// NumPy's `np.linalg.svd(z, compute_uv=False)`: the singular values alone, for which the full decomposition is taken a
/// third of the way.
const NUMPY_SVD: &[Term] = &[term(4.72e-11, 1.0, 1.0, 1.0), term(5.69e-11, 0.0, 0.0, 3.0)];

/// What a decomposition adds to the [spectra](Step::Spectra) of a matrix that is small enough for one, where it is
/// ill-conditioned: that is not known beforehand.
const DECOMPOSITION: &[Term] = &[term(3.75e-10, 1.0, 1.0, 1.0)];

impl Step {
    fn terms(self) -> &'static [Term] {
        match self {
            Step::Spectra => const { &[term(2.03e-11, 1.0, 1.0, 1.0), term(2.37e-13, 0.0, 0.0, 4.0)] },
            Step::UnitGram => const { &[term(6.27e-9, 1.0, 1.0, 0.0), term(1.38e-11, 1.0, 1.0, 1.0)] },
            Step::Determinant => const { &[term(1.07e-8, 0.0, 0.0, 2.0), term(7.77e-12, 0.0, 0.0, 3.0)] },
            Step::Groups => const { &[term(5.21e-9, 1.0, 1.0, 0.0), term(3.13e-11, 1.0, 1.0, 1.0)] },
            Step::Pairs => const { &[term(2.42e-9, 2.0, 0.0, 0.0), term(1.62e-11, 2.0, 1.0, 0.0)] },
            Step::Clusterings => const { &[term(2.11e-9, 1.6, 1.0, 0.0)] },
            Step::DenseClusters => const { &[term(1.48e-8, 1.3, 1.0, 0.0), term(2.52e-13, 0.0, 0.0, 4.0)] },
            Step::Trees => const { &[term(5.34e-11, 2.2, 1.0, 0.0)] },
            Step::Copies => const { &[term(1.35e-9, 1.0, 1.0, 0.0)] },
            Step::Views => const { &[term(9.82e-9, 1.0, 1.0, 0.0)] },
            Step::Whitening => const { &[term(5.74e-11, 1.0, 2.0, 0.0), term(5.89e-11, 0.0, 3.0, 0.0)] },
            Step::Learnability => {
                const { &[term(1.19e-9, 1.5, 1.0, 0.0), term(1.07e-9, 2.0, 0.0, 0.0), term(4.92e-12, 2.0, 1.0, 0.0)] }
            }
        }
    }

    /// Of `n` rows of `d` columns.
    pub fn seconds(self, n: usize, d: usize) -> f64 {
        let decomposition = if self == Step::Spectra && spectrum::decomposes((n, d)) { DECOMPOSITION } else { &[] };
        sum(self.terms(), n, d) + sum(decomposition, n, d)
    }
}

impl Measure {
    /// What it takes by itself, for `n` rows of `d` columns.
    pub fn seconds(&self, n: usize, d: usize) -> f64 {
        self.steps.iter().map(|step| step.seconds(n, d)).sum()
    }
}

/// What some measures take together, each of their steps once, for `n` rows of `d` columns.
pub fn seconds(measures: &[&Measure], n: usize, d: usize) -> f64 {
    let mut steps: Vec<Step> = Vec::new();
    for step in measures.iter().flat_map(|measure| measure.steps) {
        if !steps.contains(step) {
            steps.push(*step);
        }
    }
    steps.iter().map(|step| step.seconds(n, d)).sum()
}

/// The seconds that a program may spend unasked on `n` rows of `d` columns: 10, or twice what NumPy takes for the
/// singular values, whichever is more.
pub fn budget(n: usize, d: usize) -> f64 {
    (2.0 * sum(NUMPY_SVD, n, d)).max(10.0)
}

/// The measures to take unasked of `n` rows of `d` columns, and those to leave out, each with the seconds that it would
/// take by itself: in the order given every measure is taken with which all taken so far stay within the [`budget`].
pub fn affordable<'a>(measures: &[&'a Measure], n: usize, d: usize) -> (Vec<&'a Measure>, Vec<(&'a Measure, f64)>) {
    let (mut taken, mut left_out) = (Vec::new(), Vec::new());
    for &measure in measures {
        taken.push(measure);
        if seconds(&taken, n, d) > budget(n, d) {
            taken.pop();
            left_out.push((measure, measure.seconds(n, d)));
        }
    }
    (taken, left_out)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::Instant;

    use ndarray::Array2;

    use super::*;
    use crate::random::Draws;
    use crate::rows::{Groups, Rows};
    use crate::{clid, dse_pooled, idest, lidar, unitmem};

    const STEPS: [Step; 12] = [
        Step::Spectra,
        Step::UnitGram,
        Step::Determinant,
        Step::Groups,
        Step::Pairs,
        Step::Clusterings,
        Step::DenseClusters,
        Step::Trees,
        Step::Copies,
        Step::Views,
        Step::Whitening,
        Step::Learnability,
    ];

    /// Those of `benches/costs.py`.
    const SIZES: [(usize, usize); 9] = [
        (2_000, 128),
        (1_000, 1_000),
        (2_000, 512),
        (5_000, 512),
        (20_000, 128),
        (2_000, 2_048),
        (20_000, 1_024),
        (50_000, 512),
        (50_000, 2_048),
    ];

    /// Classes that overlap, in columns of falling spread, as features of an encoder are, and a column that is dead.
    fn features(n: usize, d: usize) -> Array2<f64> {
        let mut draws = Draws::keyed(n as u64, d as u64);
        let mut noise = || (0..4).map(|_| draws.uniform() - 0.5).sum::<f64>();
        let centres = Array2::from_shape_simple_fn((20, d), &mut noise);
        let value = |(i, j)| (noise() + 0.5 * centres[(i % 20, j)]) / ((j + 1) as f64).sqrt();
        let mut z = Array2::from_shape_fn((n, d), value);
        z.column_mut(d - 1).fill(0.0);
        z
    }

    /// One step of fresh rows, what it builds on being there.
    fn time(step: Step, z: &Array2<f64>) -> f64 {
        let labels: Vec<u32> = (0..z.nrows() as u32).map(|i| i % 20).collect();
        let groups = match step {
            Step::Groups => Groups::Labels(&labels),
            Step::Views | Step::Whitening => Groups::Views(10),
            _ => Groups::None,
        };
        let positive = (step == Step::Views).then(|| z.mapv(f64::abs));
        let rows = Rows::new(positive.as_ref().unwrap_or(z).view(), groups, 0.5).unwrap().in_one_pass(true);
        match step {
            Step::Determinant | Step::DenseClusters => drop(rows.unit_gram().unwrap()),
            Step::Pairs => drop((rows.tightest().unwrap(), rows.copies())),
            Step::Trees => drop(rows.copies()),
            Step::Learnability => drop(rows.unit().unwrap()),
            _ => {}
        }
        let start = Instant::now();
        match step {
            Step::Spectra => drop(black_box(rows.singular_values())),
            Step::UnitGram => drop(black_box(rows.unit_gram())),
            Step::Determinant => drop(black_box(rows.coding_rate())),
            Step::Groups => drop(black_box(rows.compressed_rate())),
            Step::Pairs => drop(black_box(rows.together().map(|pairs| pairs.potential))),
            Step::Clusterings => drop(black_box(rows.clusterings().map(<[_]>::len))),
            Step::DenseClusters => drop(black_box(dse_pooled::of_rows(&rows, 24, 0))),
            Step::Trees => drop(black_box(idest::of_rows(&rows, 0))),
            Step::Copies => drop(black_box(rows.copies())),
            Step::Views => drop(black_box(unitmem::of_rows(&rows))),
            Step::Whitening => drop(black_box(lidar::of_rows(&rows))),
            Step::Learnability => drop(black_box(clid::learnability_of_unit(rows.unit().unwrap(), 0))),
        }
        start.elapsed().as_secs_f64()
    }

    /// Writes a line a step and size: step, rows, columns, seconds measured (the least of three), seconds of the table.
    #[test]
    #[ignore = "takes ten minutes of a quiet machine: benches/costs.py runs it"]
    #[expect(clippy::print_stdout, reason = "benches/costs.py reads it")]
    fn costs() {
        for (n, d) in SIZES {
            let z = features(n, d);
            for step in STEPS {
                let said = step.seconds(n, d);
                if said > 60.0 {
                    continue;
                }
                let repeats = if said > 5.0 { 1 } else { 3 };
                let seconds = (0..repeats).map(|_| time(step, &z)).fold(f64::INFINITY, f64::min);
                println!("{step:?} {n} {d} {seconds:.6} {said:.6}");
            }
        }
    }
}
