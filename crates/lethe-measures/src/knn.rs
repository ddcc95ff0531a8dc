//! Weighted k-nearest-neighbour classification: Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric
//! Instance Discrimination" (arXiv 1805.01978), section 3.4; the protocol of `lightly`'s `knn_predict`.
//!
//! The k rows of the bank with the greatest cosine c to the query vote for their label with weight exp(c / T); usual
//! are k = 200 or 20 and T = 0.1 (0.07 in the paper). Ties go to the lower row of the bank and to the lower label, so
//! the outcome does not depend on the number of threads.

use std::cmp::Reverse;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::error::{MeasureError, Result, positive};
use crate::rows::check_labels;

/// Cosines that a thread holds at a time: 32 MiB.
const COSINES: usize = 1 << 23;

/// Whether the k nearest *other* rows vote for a row's label, for every row of `z` `[n, d]`.
///
/// # Errors
/// `k` of 0 or above n - 1, a temperature that is not positive, another number of labels than rows, not finite, a row
/// of zeros.
pub fn leave_one_out(z: ArrayView2<f32>, labels: &[u32], k: usize, temperature: f64) -> Result<Vec<bool>> {
    check_labels(z.nrows(), labels)?;
    let unit = unit_rows(z)?;
    let bank = Bank::new(unit.view(), labels, k, temperature, 1)?;
    Ok(bank.right(unit.view(), labels, |query, row| query == row))
}

/// Whether the k nearest rows of `bank` `[n, d]` vote for a row's label, for every row of `query` `[m, d]`.
///
/// # Errors
/// `k` of 0 or above n, a temperature that is not positive, another number of labels than rows, another number of
/// columns, not finite, a row of zeros.
pub fn against(
    bank: ArrayView2<f32>,
    bank_labels: &[u32],
    query: ArrayView2<f32>,
    query_labels: &[u32],
    k: usize,
    temperature: f64,
) -> Result<Vec<bool>> {
    if bank.ncols() != query.ncols() {
        return Err(MeasureError::Columns { first: bank.ncols(), second: query.ncols() });
    }
    check_labels(bank.nrows(), bank_labels)?;
    check_labels(query.nrows(), query_labels)?;
    let (bank, query) = (unit_rows(bank)?, unit_rows(query)?);
    let bank = Bank::new(bank.view(), bank_labels, k, temperature, 0)?;
    Ok(bank.right(query.view(), query_labels, |_, _| false))
}

/// The share of right answers, 0 to 1.
pub fn accuracy(right: &[bool]) -> f64 {
    right.iter().filter(|&&right| right).count() as f64 / right.len() as f64
}

struct Bank<'a> {
    unit: ArrayView2<'a, f32>,
    /// The labels that occur, in order.
    names: Vec<u32>,
    /// For every row the index of its label in `names`.
    labels: Vec<usize>,
    k: usize,
    temperature: f64,
}

impl<'a> Bank<'a> {
    fn new(unit: ArrayView2<'a, f32>, labels: &[u32], k: usize, temperature: f64, left_out: usize) -> Result<Self> {
        positive("temperature", temperature)?;
        positive("k", k as f64)?;
        if k.saturating_add(left_out) > unit.nrows() {
            return Err(MeasureError::TooFewRows { rows: unit.nrows(), needed: k.saturating_add(left_out) });
        }
        let mut names = labels.to_vec();
        names.sort_unstable();
        names.dedup();
        let labels = labels.iter().map(|label| names.binary_search(label).expect("one of the names")).collect();
        Ok(Self { unit, names, labels, k, temperature })
    }

    /// `left_out(query, row)`: whether a row of the bank may not vote on a query.
    fn right(
        &self,
        query: ArrayView2<f32>,
        labels: &[u32],
        left_out: impl Fn(usize, usize) -> bool + Sync,
    ) -> Vec<bool> {
        let block = (COSINES / self.unit.nrows()).clamp(16, 256);
        let blocks: Vec<usize> = (0..query.nrows()).step_by(block).collect();
        let right = |start: &usize| {
            let end = (start + block).min(query.nrows());
            let cosines = query.slice(s![*start..end, ..]).dot(&self.unit.t());
            let mut keys = Vec::with_capacity(self.unit.nrows());
            let rows = (*start..end).zip(cosines.outer_iter());
            rows.map(|(i, cosines)| self.vote(cosines, |row| left_out(i, row), &mut keys) == labels[i])
                .collect::<Vec<bool>>()
        };
        blocks.par_iter().flat_map_iter(right).collect()
    }

    /// The label that wins. `keys` is scratch memory.
    fn vote(&self, cosines: ArrayView1<f32>, left_out: impl Fn(usize) -> bool, keys: &mut Vec<u64>) -> u32 {
        keys.clear();
        keys.extend(cosines.iter().enumerate().filter(|(row, _)| !left_out(*row)).map(|(row, c)| nearness(*c, row)));
        keys.select_nth_unstable_by_key(self.k - 1, |&key| Reverse(key));
        let nearest = &mut keys[..self.k];
        nearest.sort_unstable_by_key(|&key| Reverse(key));
        let row = |key: u64| (u32::MAX - key as u32) as usize;
        let largest = f64::from(cosines[row(nearest[0])]);
        let mut votes = vec![0.0; self.names.len()];
        for &key in &*nearest {
            let cosine = f64::from(cosines[row(key)]);
            votes[self.labels[row(key)]] += ((cosine - largest) / self.temperature).exp();
        }
        let winner = (1..votes.len()).fold(0, |best, label| if votes[label] > votes[best] { label } else { best });
        self.names[winner]
    }
}

/// A key that grows with the cosine and, between equal cosines, falls with the row.
fn nearness(cosine: f32, row: usize) -> u64 {
    let bits = cosine.to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(ordered) << 32 | u64::from(u32::MAX - row as u32)
}

fn unit_rows(z: ArrayView2<f32>) -> Result<Array2<f32>> {
    let (rows, columns) = z.dim();
    if rows == 0 || columns == 0 {
        return Err(MeasureError::Empty { rows, columns });
    }
    let mut unit = z.as_standard_layout().into_owned();
    for (row, mut values) in unit.axis_iter_mut(Axis(0)).enumerate() {
        let square: f64 = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        if !square.is_finite() {
            let column = values.iter().position(|value| !value.is_finite()).expect("float32 squares fit float64");
            return Err(MeasureError::NonFinite { row, column, value: f64::from(values[column]) });
        }
        if square == 0.0 {
            return Err(MeasureError::ZeroRow { row });
        }
        let length = square.sqrt();
        values.mapv_inplace(|value| (f64::from(value) / length) as f32);
    }
    Ok(unit)
}
