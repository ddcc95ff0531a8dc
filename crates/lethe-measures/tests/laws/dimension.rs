//! TwoNN and IdEst.

use lethe_measures::{MeasureError, dimension_of_trees, idest, tree_length, two_nn};
use ndarray::{Array2, Axis, concatenate, s};

use crate::support::{assert_close, normal, on_any_threads, rotation, uniform};

/// In the first columns of 12, turned.
fn embedded(z: &Array2<f64>) -> Array2<f64> {
    let mut wide = Array2::zeros((z.nrows(), 12));
    wide.slice_mut(s![.., ..z.ncols()]).assign(z);
    wide.dot(&rotation(12))
}

fn sphere(n: usize, d: usize, seed: u64) -> Array2<f64> {
    let z = normal(n, d + 1, seed);
    let lengths = z.map_axis(Axis(1), |row| row.dot(&row).sqrt());
    &z / &lengths.insert_axis(Axis(1))
}

#[test]
fn cubes_and_spheres_have_their_dimension() {
    for d in [1, 2, 4] {
        for z in [embedded(&uniform(1200, d, 1)), embedded(&sphere(1200, d, 2))] {
            let (neighbours, trees) = (two_nn(z.view()).unwrap(), idest(z.view(), 0).unwrap());
            assert!((neighbours / d as f64 - 1.0).abs() < 0.12, "two_nn: {neighbours} for {d}");
            assert!((trees / d as f64 - 1.0).abs() < 0.12, "idest: {trees} for {d}");
        }
    }
}

#[test]
fn turning_moving_and_scaling_leave_the_dimension() {
    let z = uniform(300, 6, 3);
    let moved = 1e-3 * z.dot(&rotation(6)) + 7.0;
    assert!((two_nn(moved.view()).unwrap() / two_nn(z.view()).unwrap() - 1.0).abs() < 1e-7);
    assert!((idest(moved.view(), 0).unwrap() / idest(z.view(), 0).unwrap() - 1.0).abs() < 1e-7);
    assert_close(tree_length(moved.view()).unwrap(), 1e-3 * tree_length(z.view()).unwrap());
}

/// What their documentation says of many dimensions.
#[test]
fn many_dimensions_read_too_few() {
    let z = normal(1000, 50, 4);
    let (neighbours, trees) = (two_nn(z.view()).unwrap(), idest(z.view(), 0).unwrap());
    assert!((24.0..36.0).contains(&neighbours), "{neighbours}");
    assert!((12.0..45.0).contains(&trees), "{trees}");
}

#[test]
fn copies_are_left_out_of_neighbours() {
    let z = uniform(600, 3, 5);
    let alone = two_nn(z.slice(s![100.., ..])).unwrap();
    let copied =
        concatenate(Axis(0), &[z.slice(s![100.., ..]), z.slice(s![..100, ..]), z.slice(s![..100, ..])]).unwrap();
    assert!((two_nn(copied.view()).unwrap() / alone - 1.0).abs() < 0.15);
    let twice = concatenate(Axis(0), &[z.view(), z.view()]).unwrap();
    assert_eq!(two_nn(twice.view()), Err(MeasureError::TooFewDistinctRows { found: 0, needed: 10 }));
}

/// The first row of a block, the last of another and those between.
#[test]
fn neighbours_are_found_across_blocks() {
    let z = uniform(1100, 4, 6);
    let mut ratios: Vec<f64> = (0..1100)
        .map(|i| {
            let others = (0..1100).filter(|&j| j != i);
            let mut far: Vec<f64> = others.map(|j| (&z.row(i) - &z.row(j)).mapv(|x| x * x).sum().sqrt()).collect();
            far.sort_by(f64::total_cmp);
            far[1] / far[0]
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let points: Vec<(f64, f64)> = (0..990).map(|i| (ratios[i].ln(), -(1.0 - (i + 1) as f64 / 1100.0).ln())).collect();
    let expected = points.iter().map(|(x, y)| x * y).sum::<f64>() / points.iter().map(|(x, _)| x * x).sum::<f64>();
    assert_close(on_any_threads(|| two_nn(z.view()).unwrap()), expected);
}

#[test]
fn a_tree_of_points_on_a_line_is_as_long_as_the_line() {
    let along = uniform(500, 1, 7);
    let (low, high) = along.iter().fold((1.0f64, 0.0f64), |(low, high), &x| (low.min(x), high.max(x)));
    assert_close(tree_length(embedded(&along).view()).unwrap(), high - low);
    assert_close(tree_length(Array2::<f64>::eye(40).view()).unwrap(), 39.0 * 2f64.sqrt());
    assert_eq!(tree_length(uniform(1, 3, 1).view()), Ok(0.0));
}

#[test]
fn subsamples_are_those_of_the_seed() {
    let z = uniform(400, 3, 8);
    let found = on_any_threads(|| idest(z.view(), 1).unwrap());
    assert_eq!(idest(z.view(), 1), Ok(found));
    assert_ne!(idest(z.view(), 2), Ok(found));
}

#[test]
fn trees_of_equal_sizes_count_once() {
    let growth = |d: f64, m: usize| (m as f64).powf((d - 1.0) / d);
    let trees: Vec<(usize, f64)> = [30, 60, 60, 60, 240].iter().map(|&m| (m, growth(3.0, m))).collect();
    assert_close(dimension_of_trees(&trees).unwrap(), 3.0);
    assert_close(dimension_of_trees(&[(10, 1.0), (40, 1.0), (40, 4.0)]).unwrap(), 2.0);
    assert!(
        matches!(dimension_of_trees(&[(10, 1.0), (20, 4.0)]), Err(MeasureError::TreeGrowth { slope }) if slope > 1.9)
    );
    assert_eq!(dimension_of_trees(&[(10, 1.0), (10, 4.0)]), Err(MeasureError::TooFewRows { rows: 1, needed: 2 }));
    assert_eq!(dimension_of_trees(&[(10, 1.0), (20, 0.0)]), Err(MeasureError::NoVariance));
}

#[test]
fn what_has_no_dimension_is_named() {
    assert_eq!(two_nn(Array2::<f64>::eye(30).view()), Err(MeasureError::EqualDistances));
    assert_eq!(two_nn(uniform(9, 2, 1).view()), Err(MeasureError::TooFewDistinctRows { found: 9, needed: 10 }));
    assert_eq!(idest(uniform(31, 2, 1).view(), 0), Err(MeasureError::TooFewRows { rows: 31, needed: 32 }));
    assert_eq!(idest(Array2::<f64>::ones((40, 2)).view(), 0), Err(MeasureError::NoVariance));
    assert!(matches!(idest(Array2::<f64>::eye(64).view(), 0), Err(MeasureError::TreeGrowth { .. })));
    let mut z = uniform(40, 2, 1);
    z[(5, 1)] = f64::NAN;
    for error in [two_nn(z.view()), idest(z.view(), 0), tree_length(z.view())] {
        assert!(matches!(error, Err(MeasureError::NonFinite { row: 5, column: 1, .. })));
    }
}
