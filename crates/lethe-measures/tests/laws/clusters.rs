//! k-means, agreement, silhouette, DSE and CLID.

use lethe_measures::{
    MeasureError, adjusted_mutual_information, clid, cluster_learnability, cluster_stability, dse_pooled,
    dse_pooled_of_clusters, kmeans, lloyd, silhouette, two_nn,
};
use ndarray::{Array2, Axis, array, concatenate};

use crate::support::{assert_close, heaps, normal, on_any_threads, rotation};

fn classes(n: usize, classes: usize) -> Vec<u32> {
    (0..n).map(|i| (i % classes) as u32).collect()
}

#[test]
fn heaps_apart_are_found() {
    let z = heaps(400, 8, 4, 1);
    let found = on_any_threads(|| kmeans(z.view(), 4, 0).unwrap());
    assert_eq!(adjusted_mutual_information(&found.labels, &classes(400, 4)), Ok(1.0));
    assert!(silhouette(z.view(), &found.labels).unwrap() > 0.8);
    assert_eq!(cluster_stability(z.view(), 4, 5, 0), Ok(1.0));
    let noise = cluster_stability(normal(400, 8, 2).view(), 4, 5, 0).unwrap();
    assert!((0.05..0.7).contains(&noise), "{noise}");
}

/// Labels are those of the nearest centre, centres the means of their rows, and the inertia is theirs; on rows far from
/// the origin too.
#[test]
fn clusters_are_at_rest() {
    let z = normal(1500, 5, 3) + 1000.0;
    let found = on_any_threads(|| kmeans(z.view(), 12, 7).unwrap());
    assert!(found.rounds < 300);
    let square = |i: usize, j: usize| (&z.row(i) - &found.centres.row(j)).mapv(|x| x * x).sum();
    let mut inertia = 0.0;
    for (i, &label) in found.labels.iter().enumerate() {
        let own = square(i, label as usize);
        assert!((0..12).all(|j| own <= square(i, j) + 1e-9));
        inertia += own;
    }
    assert!((found.inertia / inertia - 1.0).abs() < 1e-9);
    for j in 0..12u32 {
        let rows: Vec<usize> = (0..1500).filter(|&i| found.labels[i] == j).collect();
        let mean = z.select(Axis(0), &rows).mean_axis(Axis(0)).expect("no empty cluster");
        assert!((&mean - &found.centres.row(j as usize)).iter().all(|x| x.abs() < 1e-9));
    }
    assert_ne!(kmeans(z.view(), 12, 8).unwrap().labels, found.labels);
}

#[test]
fn a_row_between_two_centres_joins_the_first() {
    let z = array![[-1.0], [0.0], [1.0]];
    assert_eq!(lloyd(z.view(), array![[-1.0], [1.0]].view()).unwrap().labels, [0, 0, 1]);
    assert_eq!(lloyd(z.view(), array![[1.0], [-1.0]].view()).unwrap().labels, [1, 0, 0]);
}

/// The row that is farthest from its centre leaves it for the empty one; scikit-learn 1.9.1 ends here too.
#[test]
fn an_empty_cluster_takes_the_farthest_row() {
    let z = array![[-6.0], [-2.0], [-1.0], [0.0], [2.0], [5.0], [8.0], [9.0]];
    let found = lloyd(z.view(), array![[-6.0], [0.5], [500.0]].view()).unwrap();
    assert_eq!(found.labels, [0, 0, 1, 1, 1, 1, 2, 2]);
    assert!((&found.centres - &array![[-4.0], [1.5], [8.5]]).iter().all(|x| x.abs() < 1e-12));
}

#[test]
fn a_row_a_cluster_leaves_nothing_over() {
    let z = normal(20, 3, 4);
    let found = kmeans(z.view(), 20, 0).unwrap();
    assert!(found.inertia < 1e-12);
    let mut labels = found.labels;
    labels.sort_unstable();
    assert_eq!(labels, (0..20).collect::<Vec<u32>>());
}

#[test]
fn copies_fill_no_cluster() {
    let z = concatenate(Axis(0), &vec![normal(3, 4, 5).view(); 30]).unwrap();
    assert!(kmeans(z.view(), 3, 0).unwrap().inertia < 1e-12);
    assert_eq!(kmeans(z.view(), 4, 0), Err(MeasureError::TooFewDistinctRows { found: 3, needed: 4 }));
    let far = 100.0 * normal(5, 4, 6);
    assert!(lloyd(z.view(), far.view()).is_err());
}

#[test]
fn agreement_is_blind_to_names_and_order() {
    let a: Vec<u32> = (0..300u32).map(|i| i * i % 7).collect();
    let b: Vec<u32> = (0..300u32).map(|i| i / 60).collect();
    let renamed: Vec<u32> = a.iter().map(|label| u32::MAX - 5 * label).collect();
    assert_eq!(adjusted_mutual_information(&a, &renamed), Ok(1.0));
    let [ab, ba] = [(&a, &b), (&b, &a)].map(|(a, b)| adjusted_mutual_information(a, b).unwrap());
    assert_close(ab, ba);
    assert!(ab.abs() < 0.05, "{ab}");
    assert_eq!(adjusted_mutual_information(&[], &[]), Err(MeasureError::Empty { rows: 0, columns: 1 }));
    assert_eq!(adjusted_mutual_information(&a, &b[1..]), Err(MeasureError::LabelsLength { labels: 299, rows: 300 }));
}

#[test]
fn silhouettes_are_those_of_all_distances() {
    let z = heaps(1100, 6, 5, 7);
    let labels: Vec<u32> = (0..1100).map(|i| if i == 600 { 90 } else { (i % 5 + i / 900) as u32 }).collect();
    let far = |i: usize, j: usize| (&z.row(i) - &z.row(j)).mapv(|x| x * x).sum().sqrt();
    let mut expected = 0.0;
    for i in 0..1100 {
        let mean = |label: u32| {
            let others: Vec<usize> = (0..1100).filter(|&j| j != i && labels[j] == label).collect();
            others.iter().map(|&j| far(i, j)).sum::<f64>() / others.len() as f64
        };
        if i != 600 {
            let within = mean(labels[i]);
            let names = [0, 1, 2, 3, 4, 5, 90];
            let between = names.into_iter().filter(|&l| l != labels[i]).map(mean).fold(f64::INFINITY, f64::min);
            expected += (between - within) / within.max(between) / 1100.0;
        }
    }
    assert_close(on_any_threads(|| silhouette(z.view(), &labels).unwrap()), expected);
    assert_close(silhouette((3.0 * z.dot(&rotation(6)) + 4.0).view(), &labels).unwrap(), expected);
}

#[test]
fn structure_is_blind_to_rotation_and_row_scale() {
    let z = normal(120, 6, 8);
    let labels = classes(120, 5);
    let scaled = Array2::from_shape_fn((120, 6), |(i, j)| (0.5 + i as f64) * z[(i, j)]).dot(&rotation(6));
    let [a, b] = [&z, &scaled].map(|z| dse_pooled_of_clusters(z.view(), &labels).unwrap());
    for (a, b) in [(a.between, b.between), (a.dimension, b.dimension), (a.within, b.within), (a.total(), b.total())] {
        assert!((a - b).abs() < 1e-9);
    }
    let apart = dse_pooled(heaps(120, 6, 24, 9).view(), 24, 0).unwrap();
    let noise = dse_pooled(z.view(), 24, 0).unwrap();
    assert!(apart.within < noise.within && apart.total() > noise.total(), "{apart:?} {noise:?}");
    assert_eq!(dse_pooled(z.view(), 24, 0), Ok(on_any_threads(|| dse_pooled(z.view(), 24, 0).unwrap())));
}

/// Orthogonal pairs of equal rows: every part by hand.
#[test]
fn structure_of_four_corners() {
    let z = array![[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]];
    let found = dse_pooled_of_clusters(z.view(), &[0, 0, 1, 1]).unwrap();
    assert_close(found.between, 2f64.sqrt() / 0.5f64.sqrt());
    assert_close(found.dimension, 1.0);
    assert_close(found.within, 0.0);
}

#[test]
fn what_has_no_clusters_is_named() {
    let z = normal(30, 4, 10);
    let labels = classes(30, 3);
    assert_eq!(kmeans(z.view(), 0, 0), Err(MeasureError::NotPositive { name: "k", value: 0.0 }));
    assert_eq!(kmeans(z.view(), 31, 0), Err(MeasureError::TooFewRows { rows: 30, needed: 31 }));
    assert_eq!(lloyd(z.view(), normal(3, 5, 1).view()), Err(MeasureError::Columns { first: 4, second: 5 }));
    assert_eq!(silhouette(z.view(), &[7; 30]), Err(MeasureError::Clusters { clusters: 1, rows: 30 }));
    assert_eq!(silhouette(z.view(), &classes(30, 30)), Err(MeasureError::Clusters { clusters: 30, rows: 30 }));
    assert_eq!(silhouette(z.view(), &labels[1..]), Err(MeasureError::LabelsLength { labels: 29, rows: 30 }));
    assert_eq!(cluster_stability(z.view(), 3, 1, 0), Err(MeasureError::TooFewRuns { runs: 1, needed: 2 }));
    assert_eq!(cluster_stability(z.view(), 1, 3, 0), Err(MeasureError::Clusters { clusters: 1, rows: 30 }));
    assert_eq!(dse_pooled(z.view(), 16, 0), Err(MeasureError::TooFewRows { rows: 30, needed: 32 }));
    assert_eq!(dse_pooled(z.view(), 1, 0), Err(MeasureError::Clusters { clusters: 1, rows: 30 }));
    let ones = Array2::<f64>::ones((30, 4));
    assert_eq!(dse_pooled_of_clusters(ones.view(), &labels), Err(MeasureError::NoVariance));
    assert_eq!(silhouette(ones.view(), &labels), Ok(0.0));
    let mut zero = z.clone();
    zero.row_mut(3).fill(0.0);
    assert_eq!(dse_pooled(zero.view(), 3, 0), Err(MeasureError::ZeroRow { row: 3 }));
    let mut broken = z;
    broken[(2, 1)] = f64::INFINITY;
    assert!(matches!(kmeans(broken.view(), 3, 0), Err(MeasureError::NonFinite { row: 2, column: 1, .. })));
    assert!(matches!(silhouette(broken.view(), &labels), Err(MeasureError::NonFinite { .. })));
}

#[test]
fn clusters_apart_are_learnt_from_half_of_the_rows() {
    let z = heaps(400, 8, 20, 3);
    let found = on_any_threads(|| clid(z.view(), 0).unwrap());
    assert_eq!(found.learnability, 1.0);
    assert_eq!(found.dimension, two_nn(z.view()).unwrap());
    assert_close(found.relative_dimension, found.dimension / 8.0);
    assert_close(found.total(), 1.0 + found.dimension / 8.0);
    assert_eq!(clid((5.0 * z.dot(&rotation(8))).view(), 0).unwrap().learnability, 1.0);
    // Clusters that cut a cloud are learnt less well than those that are there.
    let noise = clid(normal(400, 8, 4).view(), 0).unwrap();
    assert!((0.2..0.8).contains(&noise.learnability), "{noise:?}");
    assert_ne!(clid(normal(400, 8, 4).view(), 1).unwrap().learnability, noise.learnability);
}

#[test]
fn half_of_the_rows_answer_for_the_others() {
    let z = array![[1.0, 0.1], [0.1, 1.0], [3.0, 0.0], [0.0, 2.0], [1.0, 0.9]];
    assert_eq!(cluster_learnability(z.view(), &[4, 5, 4, 5, 5], &[0, 1]), Ok(2.0 / 3.0));
    assert_eq!(
        cluster_learnability(z.view(), &[4, 5, 4, 5], &[0, 1]),
        Err(MeasureError::LabelsLength { labels: 4, rows: 5 })
    );
    for first in [&[][..], &[0, 1, 2, 3, 4]] {
        assert!(cluster_learnability(z.view(), &[4, 5, 4, 5, 5], first).is_err());
    }
    assert_eq!(clid(normal(8, 3, 1).view(), 0), Err(MeasureError::TooFewRows { rows: 8, needed: 9 }));
}
