//! Adjusted mutual information: Vinh, Epps and Bailey 2010, "Information Theoretic Measures for Clusterings Comparison"
//! (JMLR 11), with the arithmetic mean of the entropies, as scikit-learn has it.

use crate::error::{MeasureError, Result};

/// How far two labellings of the same rows agree beyond chance: `(I - E[I]) / ((H(a) + H(b))/2 - E[I])`, I their mutual
/// information, `E[I]` its mean over random labellings with the same cluster sizes. 1 for the same clusters under any
/// names, near 0 for independent ones, and it may be slightly negative. Labels need not be consecutive.
///
/// `O(n log n + k n)` time for `k` clusters of the larger labelling.
///
/// # Errors
/// No labels, or another number of labels.
pub fn adjusted_mutual_information(a: &[u32], b: &[u32]) -> Result<f64> {
    if a.is_empty() {
        return Err(MeasureError::Empty { rows: 0, columns: 1 });
    }
    if a.len() != b.len() {
        return Err(MeasureError::LabelsLength { labels: b.len(), rows: a.len() });
    }
    let (mut pairs, mut sorted_a, mut sorted_b) =
        (a.iter().copied().zip(b.iter().copied()).collect::<Vec<_>>(), a.to_vec(), b.to_vec());
    let (a, b) = (sizes(&mut sorted_a), sizes(&mut sorted_b));
    let joint = sizes(&mut pairs);
    if joint.len() == a.len() && joint.len() == b.len() {
        return Ok(1.0);
    }
    let n = pairs.len() as f64;
    let (entropy_a, entropy_b, joint) = (entropy(&a, n), entropy(&b, n), entropy(&joint, n));
    let expected = expected_information(&a, &b, pairs.len());
    let room = 0.5 * (entropy_a + entropy_b) - expected;
    // As scikit-learn: where chance leaves no room for agreement, not 0/0.
    let room = if room < 0.0 { room.min(-f64::EPSILON) } else { room.max(f64::EPSILON) };
    Ok((entropy_a + entropy_b - joint - expected) / room)
}

/// How often each value occurs.
fn sizes<T: Ord>(values: &mut [T]) -> Vec<usize> {
    values.sort_unstable();
    values.chunk_by(|a, b| a == b).map(<[T]>::len).collect()
}

fn entropy(sizes: &[usize], n: f64) -> f64 {
    sizes.iter().map(|&size| size as f64 / n).map(|p| -p * p.ln()).sum()
}

/// Mean mutual information under the hypergeometric model of chance; Vinh et al., equation 24a.
fn expected_information(a: &[usize], b: &[usize], n: usize) -> f64 {
    let ln_factorial = ln_factorials(n);
    let total = n as f64;
    let mut expected = 0.0;
    for &a in a {
        for &b in b {
            let fixed = ln_factorial[a] + ln_factorial[b] + ln_factorial[n - a] + ln_factorial[n - b] - ln_factorial[n];
            for both in (a + b).saturating_sub(n).max(1)..=a.min(b) {
                let ways = fixed
                    - ln_factorial[both]
                    - ln_factorial[a - both]
                    - ln_factorial[b - both]
                    - ln_factorial[n + both - a - b];
                let both = both as f64;
                expected += both / total * (total * both / (a as f64 * b as f64)).ln() * ways.exp();
            }
        }
    }
    expected
}

/// ln 0! to ln n!, summed with the rounding carried along: at n = 50,000 they are some 500,000.
fn ln_factorials(n: usize) -> Vec<f64> {
    let (mut sum, mut carried) = (0.0, 0.0);
    let mut all = vec![0.0];
    all.extend((1..=n).map(|i| {
        let term = (i as f64).ln() - carried;
        let next = sum + term;
        carried = (next - sum) - term;
        sum = next;
        sum
    }));
    all
}
