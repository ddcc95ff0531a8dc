//! Ranks of values.

/// Ranks from 1, equal values sharing the mean of theirs.
pub(crate) fn mid_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        equal.iter().for_each(|&at| ranks[at] = below as f64 + (equal.len() + 1) as f64 / 2.0);
        below += equal.len();
    }
    ranks
}
