//! One pass over all pairs of rows for uniformity, the two nearest neighbours and the silhouette together: the product
//! of two rows is what costs, and every pair is multiplied once.

use ndarray::{Array2, ArrayView1, ArrayView2};
use rayon::prelude::*;

use crate::distances::{Distances, Nearest};

/// What the measures of pairs need of all pairs.
pub(crate) struct Pairs {
    /// Sum over i < j of exp(-2 ||u_i - u_j||^2), unit rows u.
    pub(crate) potential: f64,
    /// Ratio of the distances to the second and the first neighbour, of every raw row that is kept.
    pub(crate) ratios: Vec<f64>,
    /// `[n, k]`: sums of the distances of a unit row to those of each cluster.
    pub(crate) by_cluster: Array2<f64>,
}

/// Of the rows of one block: what they have gathered from the blocks seen so far.
struct Gathered {
    potential: f64,
    nearest: Vec<Nearest>,
    /// `[k, rows]`.
    by_cluster: Array2<f64>,
}

impl Gathered {
    fn new(rows: usize, clusters: usize) -> Self {
        let nearest = vec![Nearest::default(); rows];
        Self { potential: 0.0, nearest, by_cluster: Array2::zeros((clusters, rows)) }
    }

    fn merge(&mut self, other: &Self) {
        self.potential += other.potential;
        for (own, other) in self.nearest.iter_mut().zip(&other.nearest) {
            other.0.iter().for_each(|&(square, row)| own.see(square, row));
        }
        self.by_cluster += &other.by_cluster;
    }
}

/// The longest row may be so many times the shortest: their square divides the digits that unit rows have left.
const LENGTHS: f64 = 1e3;
/// Squares of the rows around their mean have at least this share of those of the rows: below it the rounding of a
/// length shows in the distance of two unit rows.
const SPREAD: f64 = 1e-12;
/// Squares of shorter rows would come near the end of the range of float64.
const SHORTEST: f64 = 1e-100;

/// Of raw rows and their clusters, numbers below `clusters`, one a row; or of no clusters. Only the rows `kept` are
/// neighbours and have them. Nothing where the distances of the unit rows do not follow from those of the raw ones to
/// ten digits.
///
/// A block of rows meets all later ones at a time and gathers in their order, so that the outcome is the same for any
/// number of threads.
pub(crate) fn pairs(z: ArrayView2<f64>, kept: &[usize], labels: &[u32], clusters: usize) -> Option<Pairs> {
    let n = z.nrows();
    let lengths: Vec<f64> = z.outer_iter().map(|row: ArrayView1<f64>| row.dot(&row).sqrt()).collect();
    let shortest = lengths.iter().copied().fold(f64::INFINITY, f64::min);
    if shortest < SHORTEST || lengths.iter().any(|length| *length > LENGTHS * shortest) {
        return None;
    }
    let distances = Distances::new(z);
    let whole: f64 = lengths.iter().map(|length| length * length).sum();
    if distances.spread() < SPREAD * whole {
        return None;
    }
    let mut neighbour = vec![false; n];
    kept.iter().for_each(|&row| neighbour[row] = true);
    let pass = Pass { distances, lengths, neighbour, labels: (clusters > 0).then_some(labels), clusters };
    let starts = pass.distances.starts();
    let mut blocks: Vec<Gathered> =
        starts.iter().map(|&start| Gathered::new(pass.distances.rows_from(start), clusters)).collect();
    for (place, &i) in starts.iter().enumerate() {
        let later = blocks[place..].par_iter_mut().zip(&starts[place..]);
        let parts: Vec<Gathered> = later.map(|(block, &j)| pass.meet(i, j, block)).collect();
        parts.iter().for_each(|part| blocks[place].merge(part));
    }

    let mut by_cluster = Array2::zeros((n, clusters));
    for (&start, block) in starts.iter().zip(&blocks) {
        by_cluster.slice_mut(ndarray::s![start..start + block.nearest.len(), ..]).assign(&block.by_cluster.t());
    }
    let (distances, neighbour) = (&pass.distances, &pass.neighbour);
    let ratios = starts.par_iter().zip(&blocks).flat_map_iter(|(&start, block)| {
        let rows = block.nearest.iter().enumerate().map(move |(k, nearest)| (start + k, nearest));
        rows.filter(|(row, _)| neighbour[*row]).filter_map(|(row, nearest)| nearest.ratio(row, distances))
    });
    Some(Pairs { potential: blocks.iter().map(|block| block.potential).sum(), ratios: ratios.collect(), by_cluster })
}

struct Pass<'a> {
    distances: Distances,
    lengths: Vec<f64>,
    /// Which rows are kept.
    neighbour: Vec<bool>,
    labels: Option<&'a [u32]>,
    clusters: usize,
}

impl Pass<'_> {
    /// The rows from `i` meet those from `j`, which gather in `others` unless they are the same; gives what the rows
    /// from `i` gather.
    fn meet(&self, i: usize, j: usize, others: &mut Gathered) -> Gathered {
        let block = self.distances.squared(i, j);
        let (rows, columns) = block.dim();
        let mut own = Gathered::new(rows, self.clusters);
        let mut unit = vec![0.0; columns];
        for (k, squares) in block.outer_iter().enumerate() {
            let row = i + k;
            let squares = squares.to_slice().expect("standard layout");
            for (l, (&square, &neighbour)) in squares.iter().zip(&self.neighbour[j..]).enumerate() {
                if neighbour && row != j + l {
                    own.nearest[k].see(square, j + l);
                }
            }
            // ||u - v||^2 = (||a - b||^2 - (|a| - |b|)^2) / (|a| |b|) for the unit rows u, v of a, b.
            let length = self.lengths[row];
            for ((unit, square), other) in unit.iter_mut().zip(squares).zip(&self.lengths[j..]) {
                let between = length - other;
                *unit = ((square - between * between) / (length * other)).max(0.0);
            }
            if i == j {
                unit[k] = 0.0;
            }
            let potential: f64 = unit.iter().map(|square| (-2.0 * square).exp()).sum();
            own.potential += if i == j { 0.5 * (potential - 1.0) } else { potential };
            if i != j && self.neighbour[row] {
                for (nearest, &square) in others.nearest.iter_mut().zip(squares) {
                    nearest.see(square, row);
                }
            }
            let Some(labels) = self.labels else { continue };
            unit.iter_mut().for_each(|square| *square = square.sqrt());
            for (distance, &label) in unit.iter().zip(&labels[j..]) {
                own.by_cluster[(label as usize, k)] += distance;
            }
            if i != j {
                let mut sums = others.by_cluster.row_mut(labels[row] as usize);
                let sums = sums.as_slice_mut().expect("standard layout");
                sums.iter_mut().zip(&unit).for_each(|(sum, distance)| *sum += distance);
            }
        }
        own
    }
}
