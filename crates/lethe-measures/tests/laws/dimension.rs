//! TwoNN and IdEst, and the copies that they leave out.

use lethe_measures::{Copies, MeasureError, copies, dimension_of_trees, idest, tree_length, two_nn};
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
    let copied = concatenate(Axis(0), &[z.view(), z.slice(s![..100, ..]), z.slice(s![..100, ..])]).unwrap();
    assert_eq!(two_nn(copied.view()), two_nn(z.view()));
    let twice = concatenate(Axis(0), &[z.view(), z.view()]).unwrap();
    assert_eq!(two_nn(twice.view()), two_nn(z.view()));
    assert_eq!(idest(twice.view(), 0), idest(z.view(), 0));
    let few = concatenate(Axis(0), &vec![z.slice(s![..4, ..]); 20]).unwrap();
    assert_eq!(two_nn(few.view()), Err(MeasureError::TooFewDistinctRows { found: 4, needed: 10 }));
    assert_eq!(idest(few.view(), 0), Err(MeasureError::TooFewDistinctRows { found: 4, needed: 32 }));
}

/// 2,000 x 64 Gaussian rows, 5 % of them copies: with the copies IdEst would read 22 where it reads 35 without.
#[test]
fn copies_are_left_out_of_trees() {
    let z = normal(2000, 64, 9);
    let mut copied = z.clone();
    copied.slice_mut(s![1900.., ..]).assign(&z.slice(s![..100, ..]));
    let (without, with) = (idest(z.view(), 0).unwrap(), idest(copied.view(), 0).unwrap());
    assert!((with / without - 1.0).abs() < 0.03, "{with} with copies, {without} without");
    let nearly = &copied + &(1e-7 * normal(2000, 64, 10));
    let with = idest(nearly.view(), 0).unwrap();
    assert!((with / without - 1.0).abs() < 0.03, "{with} with near copies, {without} without");
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

#[test]
fn copies_are_counted() {
    let z = normal(800, 30, 11);
    let found = |z: &Array2<f64>| on_any_threads(|| copies(z.view()).unwrap());
    assert_eq!(found(&z), Copies { copied: 0, nearly: 0, kept: (0..800).collect() });
    // Row 5 three times more, row 700 once before itself, row 20 and row 21 nearly, row 22 not so near.
    let mut copied = z.clone();
    for (to, from, noise) in
        [(300, 5, 0.0), (301, 5, 0.0), (799, 5, 0.0), (30, 700, 0.0), (40, 20, 1e-7), (500, 21, 1e-6), (501, 22, 1e-3)]
    {
        let near = &z.row(from) + &(noise * &normal(1, 30, to as u64).row(0));
        copied.row_mut(to).assign(&near);
    }
    let gone = [300, 301, 799, 700, 40, 500];
    let kept: Vec<usize> = (0..800).filter(|row| !gone.contains(row)).collect();
    let expected = Copies { copied: 4, nearly: 2, kept };
    assert_eq!(found(&copied), expected);
    // Moving, turning, stretching, and one far row.
    assert_eq!(found(&(&copied + 1000.0)), expected);
    assert_eq!(found(&(1e-60 * &copied)), expected);
    let turned = copied.dot(&rotation(30));
    assert_eq!((found(&turned).copied, found(&turned).nearly), (4, 2));
    copied.row_mut(0).fill(1e12);
    assert_eq!(found(&copied), expected);
    // -0 is 0, and a column of zeros is as any other.
    let mut zeros = Array2::<f64>::zeros((6, 3));
    zeros.row_mut(3).fill(-0.0);
    assert_eq!(found(&zeros), Copies { copied: 5, nearly: 0, kept: vec![0] });
    assert_eq!(found(&Array2::ones((1, 1))), Copies { copied: 0, nearly: 0, kept: vec![0] });
    // Tiny rows, whose squares are lost.
    assert_eq!(found(&(1e-200 * &z)).kept.len(), 800);
}

/// Every pair by itself, on rows of which many are near others: heaps of some twenty times the distance that counts.
#[test]
fn near_copies_in_a_crowd_are_those_of_all_pairs() {
    let heaps = Array2::from_shape_fn((3000, 5), |(i, j)| ((i % 60) * (j + 3)) as f64 % 7.0 + 0.0);
    let z = &heaps + &(5e-5 * normal(3000, 5, 12));
    let found = on_any_threads(|| copies(z.view()).unwrap());
    let distance = |i: usize, j: usize| (&z.row(i) - &z.row(j)).mapv(|x| x * x).sum().sqrt();
    let mut some: Vec<f64> = (0..2000).map(|i| distance(i, (i * 7 + 1) % 3000)).collect();
    some.sort_by(f64::total_cmp);
    let count = |limit: f64| (0..3000).filter(|&i| (0..i).any(|j| distance(i, j) <= limit)).count();
    // The typical distance is drawn, so the limit is known to a few per cent only.
    let (fewer, more) = (count(0.85e-5 * some[1000]), count(1.15e-5 * some[1000]));
    assert!(fewer > 100 && more < 2900 && (fewer..=more).contains(&found.nearly), "{fewer} {} {more}", found.nearly);
    assert_eq!(found.copied, 0);
    assert_eq!(found.kept.len() + found.nearly, 3000);
}
