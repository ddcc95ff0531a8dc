//! Top-1 retrieval of an image by its other view, on both sides of a diagnosis: an encoder that knows an image finds it
//! again more often. It does not depend on lengths or on the scale of a distance.

use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::random::Draws;
use crate::stage_views::StageViews;

/// Rows of one block of cosines.
const BLOCK: usize = 256;
/// Cosines of float32 that are nearer than this are computed again in float64.
const UNSURE: f32 = 2e-5;
/// Cosines of float64 that are nearer than this are equal.
const EQUAL: f64 = 1e-12;

/// How often an image is found, 0 to 1, by side.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrievalHits {
    /// Of every image of the training side's gallery.
    pub train: Vec<f64>,
    /// Of every image of the unseen side's gallery.
    pub unseen: Vec<f64>,
}

impl<T: Copy + Into<f64> + Sync + Send> StageViews<'_, T> {
    /// For every image the share of its q(q-1) ordered pairs of views in which the second view lies nearer to the first,
    /// by cosine, than the second view of any other image of its side does. Ties are misses, as are rows of zeros.
    ///
    /// The galleries have the same size: of the larger side a subset that the seed draws, in the order of the images.
    ///
    /// `O(q^2 n^2 d)` in float32, a product for two ordered pairs; what float32 cannot decide is decided in float64, so
    /// that the outcome is that of float64.
    pub fn retrieval(&self, seed: u64) -> RetrievalHits {
        let least = self.images()[0].min(self.images()[1]);
        let [train, unseen] = [0, 1].map(|side| {
            let images = self.images()[side];
            let gallery =
                if images == least { (0..images).collect() } else { Draws::keyed(seed, 0).subset(images, least) };
            self.hits(side, &gallery)
        });
        RetrievalHits { train, unseen }
    }

    fn hits(&self, side: usize, gallery: &[usize]) -> Vec<f64> {
        let views = self.views();
        let units: Vec<Array2<f32>> =
            (0..views).map(|view| self.units(side, view, gallery).mapv(|value| value as f32)).collect();
        let mut hits = vec![0u32; gallery.len()];
        for first in 0..views {
            for second in first + 1..views {
                let [there, back] = leads(units[first].view(), units[second].view());
                for (leads, query, other) in [(there, first, second), (back, second, first)] {
                    let found = self.decided(side, gallery, &leads, query, other);
                    hits.iter_mut().zip(found).for_each(|(hits, found)| *hits += u32::from(found));
                }
            }
        }
        let pairs = (views * (views - 1)) as f64;
        hits.into_iter().map(|hits| f64::from(hits) / pairs).collect()
    }

    /// Whether the own cosine of every query leads, where float32 does not say in float64.
    fn decided(&self, side: usize, gallery: &[usize], leads: &[f32], query: usize, other: usize) -> Vec<bool> {
        let mut found: Vec<bool> = leads.iter().map(|&lead| lead > UNSURE).collect();
        let unsure: Vec<usize> = (0..leads.len()).filter(|&at| leads[at].abs() <= UNSURE).collect();
        if unsure.is_empty() {
            return found;
        }
        let images: Vec<usize> = unsure.iter().map(|&at| gallery[at]).collect();
        let (queries, others) = (self.units(side, query, &images), self.units(side, other, gallery));
        let block = |(queries, at): (ArrayView2<f64>, &[usize])| {
            let cosines = queries.dot(&others.t());
            let lead = |(row, &own): (ndarray::ArrayView1<f64>, &usize)| {
                row.iter().enumerate().all(|(other, cosine)| other == own || cosine + EQUAL < row[own])
            };
            cosines.outer_iter().zip(at).map(lead).collect::<Vec<bool>>()
        };
        let blocks: Vec<(ArrayView2<f64>, &[usize])> =
            queries.axis_chunks_iter(Axis(0), BLOCK).zip(unsure.chunks(BLOCK)).collect();
        let exact: Vec<bool> = blocks.into_par_iter().flat_map_iter(block).collect();
        unsure.iter().zip(exact).for_each(|(&at, exact)| found[at] = exact);
        found
    }
}

/// By how much the cosine of row i of one matrix with row i of the other leads those with all other rows of the other:
/// of the rows of the first, and of the second.
fn leads(first: ArrayView2<f32>, second: ArrayView2<f32>) -> [Vec<f32>; 2] {
    let n = first.nrows();
    let starts: Vec<usize> = (0..n).step_by(BLOCK).collect();
    let block = |&start: &usize| {
        let cosines = first.slice(s![start..(start + BLOCK).min(n), ..]).dot(&second.t());
        let cosines = cosines.as_standard_layout();
        let mut own = Vec::with_capacity(cosines.nrows());
        let mut best_of_row = Vec::with_capacity(cosines.nrows());
        let mut best_of_column = vec![f32::NEG_INFINITY; n];
        for (row, cosines) in cosines.outer_iter().enumerate() {
            let cosines = cosines.to_slice().expect("standard layout");
            let (before, rest) = cosines.split_at(start + row);
            let (this, after) = rest.split_first().expect("its own");
            let best = |cosines: &[f32]| cosines.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            own.push(*this);
            best_of_row.push(best(before).max(best(after)));
            raise(&mut best_of_column, before);
            raise(&mut best_of_column[start + row + 1..], after);
        }
        (own, best_of_row, best_of_column)
    };
    let blocks: Vec<_> = starts.par_iter().map(block).collect();
    let mut best_of_column = vec![f32::NEG_INFINITY; n];
    let (mut own, mut best_of_row) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for (of_block, of_row, of_column) in blocks {
        own.extend(of_block);
        best_of_row.extend(of_row);
        raise(&mut best_of_column, &of_column);
    }
    [best_of_row, best_of_column].map(|best| own.iter().zip(best).map(|(own, best)| own - best).collect())
}

fn raise(best: &mut [f32], cosines: &[f32]) {
    best.iter_mut().zip(cosines).for_each(|(best, &cosine)| *best = best.max(cosine));
}
