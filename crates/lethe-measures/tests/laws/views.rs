//! The numbers of memorisation from views of both sides: what must not change them, and what must.

use lethe_measures::{
    Cell, MeasureError, Memorisation, StageViews, class_rate_gap, membership_above_control, memorisation, shift_test,
};
use ndarray::{Array1, Array2, Array3, ArrayView2, Axis, s};

use crate::support::{assert_close, normal, on_any_threads, rotation};

/// q views of n images `[q, n, d]`: an image's own place, and noise of size `noise` around it.
pub(crate) fn views(q: usize, n: usize, d: usize, noise: f64, seed: u64) -> Array3<f64> {
    let places = normal(n, d, 10 * seed + 1);
    let noises = normal(q * n, d, 10 * seed + 2).into_shape_with_order((q, n, d)).unwrap();
    &places + &(noise * noises)
}

fn numbers(train: &Array3<f64>, unseen: &Array3<f64>) -> Memorisation {
    let stage = StageViews::new(train.view(), unseen.view()).unwrap();
    let (distances, retrieval) = (stage.distances(), stage.retrieval(0));
    let cell = Cell { distances: &distances, retrieval: Some(&retrieval) };
    memorisation(&[cell], train.len_of(Axis(1)) == unseen.len_of(Axis(1)), 0).unwrap()[0]
}

/// All ends of all numbers.
fn flat(found: &Memorisation) -> Vec<f64> {
    let estimates = [
        found.membership,
        found.memorisation_gap,
        found.relative_gap.unwrap(),
        found.d_train,
        found.d_unseen,
        found.d_between,
        found.retrieval_gap.unwrap(),
    ];
    estimates.iter().flat_map(|estimate| [estimate.value, estimate.low, estimate.high]).collect()
}

#[test]
fn what_is_no_memorisation_changes_no_number() {
    for unseen in [60, 90] {
        let (train, unseen) = (views(3, 60, 12, 0.6, 1), views(3, unseen, 12, 0.9, 2));
        let found = flat(&numbers(&train, &unseen));
        let rotate = |side: &Array3<f64>| {
            let (q, n, d) = side.dim();
            let rows = side.view().into_shape_with_order((q * n, d)).unwrap();
            rows.dot(&rotation(d)).into_shape_with_order((q, n, d)).unwrap()
        };
        let mean: Array1<f64> = {
            let sum = |side: &Array3<f64>| side.mean_axis(Axis(0)).unwrap().sum_axis(Axis(0));
            (sum(&train) + sum(&unseen)) / (train.len_of(Axis(1)) + unseen.len_of(Axis(1))) as f64
        };
        type Change<'a> = (&'a str, Box<dyn Fn(&Array3<f64>) -> Array3<f64> + 'a>);
        let changes: Vec<Change> = vec![
            ("a constant", Box::new(|side| side + 40.0)),
            ("a scale", Box::new(|side| 1e-3 * side)),
            ("a rotation", Box::new(rotate)),
            ("a contraction towards the mean", Box::new(|side| 0.01 * (side - &mean) + &mean)),
        ];
        for (what, change) in changes {
            for (found, expected) in flat(&numbers(&change(&train), &change(&unseen))).into_iter().zip(&found) {
                assert!((found - expected).abs() < 1e-9, "{what}: {found} for {expected}");
            }
        }
    }
}

/// Both close the gap; only how near the views of training images lie tells which it was.
#[test]
fn a_worse_fit_is_told_from_generalising() {
    let (near, far) = (0.4, 0.9);
    let numbers = |train: f64, unseen: f64| numbers(&views(4, 400, 16, train, 3), &views(4, 400, 16, unseen, 4));
    let (memorises, worse, generalises) = (numbers(near, far), numbers(far, far), numbers(near, near));
    assert!(memorises.memorisation_gap.low > 0.0 && memorises.membership.low > 0.5);
    for closed in [worse, generalises] {
        assert!(closed.memorisation_gap.low < 0.0 && closed.memorisation_gap.high > 0.0);
        assert!(closed.membership.low < 0.5 && closed.membership.high > 0.5);
    }
    assert!(worse.d_train.low > memorises.d_train.high);
    assert!(generalises.d_train.low < memorises.d_train.high && generalises.d_train.high > memorises.d_train.low);
    assert!(generalises.d_unseen.high < memorises.d_unseen.low);
}

#[test]
fn fifty_against_two_thousand_images_of_one_law_are_at_chance() {
    // Far from the origin, where one side's own mean would count.
    let auc = |seed: u64| {
        let (train, unseen) = (views(2, 50, 8, 1.0, 20 + seed), views(2, 2000, 8, 1.0, 60 + seed));
        numbers(&(train + 5.0), &(unseen + 5.0)).membership.value
    };
    let draws = 40;
    let mean = (0..draws).map(auc).sum::<f64>() / draws as f64;
    // The area of 50 against many images has an error of 0.041.
    assert!((mean - 0.5).abs() < 3.0 * 0.041 / f64::from(draws as u32).sqrt(), "{mean}");
}

/// Distances by their definition, image by image and pair by pair.
#[test]
fn sums_over_pairs_are_those_of_the_definition() {
    let (train, mut unseen) = (views(3, 7, 5, 0.5, 5), views(3, 9, 5, 0.5, 6));
    let mean = (train.sum_axis(Axis(0)).sum_axis(Axis(0)) + unseen.sum_axis(Axis(0)).sum_axis(Axis(0))) / 48.0;
    // A view that is the mean, once the mean is that of all: a centre of the caller's.
    unseen.slice_mut(s![1, 4, ..]).assign(&mean);
    let stage = StageViews::around(train.view(), unseen.view(), mean.view()).unwrap();
    let found = stage.distances();
    assert_eq!(found.zero_rows, [0, 1]);
    let unit = |row: ndarray::ArrayView1<f64>| {
        let row = &row - &mean;
        let length = row.dot(&row).sqrt();
        if length > 1e-6 { row / length } else { 0.0 * row }
    };
    let distance = |a: ndarray::ArrayView1<f64>, b: ndarray::ArrayView1<f64>| (unit(a) - unit(b)).mapv(|x| x * x).sum();
    for (side, found) in [(&train, &found.train), (&unseen, &found.unseen)] {
        for (i, found) in found.iter().enumerate() {
            let pairs =
                [(0, 1), (0, 2), (1, 2)].map(|(a, b)| distance(side.slice(s![a, i, ..]), side.slice(s![b, i, ..])));
            assert_close(*found, pairs.iter().sum::<f64>() / 3.0);
        }
    }
    let mut all = Vec::new();
    for i in 0..9 {
        let mut own = Vec::new();
        for j in (0..9).filter(|j| *j != i) {
            for (a, b) in (0..3).flat_map(|a| (0..3).map(move |b| (a, b))) {
                own.push(distance(unseen.slice(s![a, i, ..]), unseen.slice(s![b, j, ..])));
            }
        }
        assert_close(found.between_of[i], own.iter().sum::<f64>() / own.len() as f64);
        all.extend(own);
    }
    assert_close(found.between, all.iter().sum::<f64>() / all.len() as f64);
}

/// Retrieval by its definition, of float64 and of float32, and with cosines that float32 cannot tell apart.
#[test]
fn retrieval_is_that_of_float64() {
    let (train, unseen) = (views(3, 300, 6, 0.5, 7), views(3, 300, 6, 0.8, 8));
    // Images of the second half of the training side lie on top of those of the first but for 1e-7.
    let mut train = train;
    let (first, mut second) = train.multi_slice_mut((s![.., ..150, ..], s![.., 150.., ..]));
    second.assign(&(&first + &(1e-7 * &second)));
    let stage = StageViews::new(train.view(), unseen.view()).unwrap();
    let found = on_any_threads(|| stage.retrieval(0));
    for (side, found) in [(&train, &found.train), (&unseen, &found.unseen)] {
        let units: Vec<Array2<f64>> = side.outer_iter().map(|rows| unit_rows(rows, stage.centre())).collect();
        let mut expected = vec![0.0; 300];
        for (a, b) in (0..3).flat_map(|a| (0..3).map(move |b| (a, b))).filter(|(a, b)| a != b) {
            let cosines = units[a].dot(&units[b].t());
            for (i, row) in cosines.outer_iter().enumerate() {
                let found = (0..300).all(|j| j == i || row[j] + 1e-12 < row[i]);
                expected[i] += f64::from(u8::from(found)) / 6.0;
            }
        }
        found.iter().zip(expected).for_each(|(found, expected)| assert_close(*found, expected));
    }
    assert!(found.train.iter().sum::<f64>() > 30.0, "near twins are told apart now and then");
    let single = [train.mapv(|x| x as f32), unseen.mapv(|x| x as f32)];
    let of_single = StageViews::new(single[0].view(), single[1].view()).unwrap().retrieval(0);
    of_single.unseen.iter().zip(&found.unseen).for_each(|(single, double)| assert_close(*single, *double));
}

fn unit_rows(rows: ArrayView2<f64>, centre: ndarray::ArrayView1<f64>) -> Array2<f64> {
    let rows = &rows - &centre;
    let lengths = rows.map_axis(Axis(1), |row| row.dot(&row).sqrt()).insert_axis(Axis(1));
    rows / lengths
}

#[test]
fn galleries_have_the_same_size() {
    let (train, unseen) = (views(2, 40, 4, 0.5, 9), views(2, 700, 4, 0.5, 10));
    let stage = StageViews::new(train.view(), unseen.view()).unwrap();
    let found = stage.retrieval(1);
    assert_eq!((found.train.len(), found.unseen.len()), (40, 40));
    let mean = |seed: u64| stage.retrieval(seed).unseen.iter().sum::<f64>() / 40.0;
    let over_draws = (0..20).map(mean).sum::<f64>() / 20.0;
    let of_train = found.train.iter().sum::<f64>() / 40.0;
    assert!((over_draws - of_train).abs() < 0.2, "{over_draws} for {of_train}");
}

/// Every encoder tells the sides apart, as they differ in kind: the cell has no more of it than its control.
#[test]
fn a_control_takes_the_difference_of_the_sides() {
    let sides = |train: f64, unseen: f64, seed: u64| {
        let (train, unseen) = (views(4, 300, 16, train, seed), views(4, 300, 16, unseen, seed + 1));
        StageViews::new(train.view(), unseen.view()).unwrap().distances()
    };
    let (control, alike, memorises) = (sides(0.5, 0.7, 11), sides(0.5, 0.7, 13), sides(0.3, 0.9, 11));
    let cells = [&alike, &memorises, &control];
    let found = membership_above_control(&cells, &[&control; 3], true, 0).unwrap();
    assert!(found[0].low < 0.0 && found[0].high > 0.0, "{:?}", found[0]);
    assert!(found[1].low > 0.0, "{:?}", found[1]);
    assert_eq!(found[2].value, 0.0);
    assert!(found[2].low <= 0.0 && found[2].low > -0.01);
    assert!(matches!(membership_above_control(&cells, &[&control], true, 0), Err(MeasureError::Length { .. })));
}

#[test]
fn more_cells_have_wider_intervals() {
    let distances: Vec<_> = (0..12)
        .map(|seed| {
            let (train, unseen) = (views(2, 80, 6, 0.5, 30 + 2 * seed), views(2, 80, 6, 0.7, 31 + 2 * seed));
            StageViews::new(train.view(), unseen.view()).unwrap().distances()
        })
        .collect();
    let cells: Vec<Cell> = distances.iter().map(|distances| Cell { distances, retrieval: None }).collect();
    let (alone, together) = (memorisation(&cells[..1], true, 0).unwrap(), memorisation(&cells, true, 0).unwrap());
    let width = |found: &Memorisation| found.memorisation_gap.high - found.memorisation_gap.low;
    assert_eq!(alone[0].membership.value, together[0].membership.value);
    let wider = width(&together[0]) / width(&alone[0]);
    // Twelve cells without correlation: Student's t of 79 degrees at 2.86 for 1.96 normal errors.
    assert!((1.45..1.56).contains(&wider), "{wider}");
    // Copies of one cell are one cell.
    let copies = memorisation(&[cells[0]; 12], true, 0).unwrap();
    let wider = width(&copies[0]) / width(&alone[0]);
    assert!((0.95..1.05).contains(&wider), "{wider}");
}

#[test]
fn sides_that_do_not_go_together_are_named() {
    let of = |q, n, d| views(q, n, d, 0.5, 1);
    let error = |train: &Array3<f64>, unseen: &Array3<f64>| StageViews::new(train.view(), unseen.view()).err();
    let fine = of(2, 5, 3);
    assert_eq!(
        error(&fine, &of(3, 5, 3)),
        Some(MeasureError::Length { what: "views of unseen images", found: 3, expected: 2 })
    );
    assert_eq!(error(&fine, &of(2, 5, 4)), Some(MeasureError::Columns { first: 3, second: 4 }));
    assert_eq!(error(&of(1, 5, 3), &of(1, 5, 3)), Some(MeasureError::TooFew { what: "views", found: 1, needed: 2 }));
    assert_eq!(error(&fine, &of(2, 1, 3)), Some(MeasureError::TooFewRows { rows: 1, needed: 2 }));
    let mut broken = fine.clone();
    broken[(1, 2, 1)] = f64::INFINITY;
    assert_eq!(error(&fine, &broken), Some(MeasureError::NonFinite { row: 7, column: 1, value: f64::INFINITY }));
    let uneven = StageViews::new(fine.view(), broken.slice(s![.., ..2, ..])).unwrap().distances();
    let cell = Cell { distances: &uneven, retrieval: None };
    assert_eq!(memorisation(&[cell], true, 0), Err(MeasureError::RowCounts { first: 5, second: 2 }));
    assert_eq!(memorisation(&[], true, 0), Err(MeasureError::Empty { rows: 0, columns: 0 }));
}

#[test]
fn a_collapsed_stage_is_at_chance() {
    let (train, unseen) = (Array3::<f32>::from_elem((2, 60, 4), 0.3), Array3::<f32>::from_elem((2, 60, 4), 0.3));
    let stage = StageViews::new(train.view(), unseen.view()).unwrap();
    let (distances, retrieval) = (stage.distances(), stage.retrieval(0));
    assert_eq!(distances.zero_rows, [120, 120]);
    let found = memorisation(&[Cell { distances: &distances, retrieval: Some(&retrieval) }], true, 0).unwrap()[0];
    assert_eq!((found.membership.value, found.memorisation_gap.value, found.relative_gap), (0.5, 0.0, None));
    assert_eq!(found.retrieval_gap.unwrap().value, 0.0);
}

#[test]
fn a_shift_of_the_mean_is_seen_and_none_is_not() {
    for (n, d) in [(150, 20), (40, 300)] {
        let sides = [normal(n, d, 3), normal(n, d, 4)];
        let none = shift_test(sides[0].view(), sides[1].view(), 0).unwrap();
        assert!(none.p > 0.05 && (none.auc - 0.5).abs() < 0.1, "{none:?}");
        let moved = &sides[0] + &(0.05 * normal(1, d, 5).mapv(|x| x + 5.0));
        let shift = on_any_threads(|| shift_test(moved.view(), sides[1].view(), 0).unwrap());
        assert!(shift.p <= 0.005 && shift.auc > 0.7, "{shift:?}");
    }
    // Columns of zeros, more of them than rows, change the way but not the outcome.
    let [train, unseen] = [5, 6].map(|seed| normal(30, 20, seed));
    let wide = |side: &Array2<f64>| ndarray::concatenate![Axis(1), side.dot(&rotation(20)), Array2::zeros((30, 80))];
    let found = shift_test(train.view(), unseen.view(), 0).unwrap();
    let moved = shift_test((40.0 + 1e3 * wide(&train)).view(), (40.0 + 1e3 * wide(&unseen)).view(), 0).unwrap();
    assert_close(moved.auc, found.auc);
    assert_close(moved.p, found.p);

    let same = Array2::ones((20, 4));
    assert_eq!(shift_test(same.view(), same.view(), 0), Err(MeasureError::NoVariance));
    let few = normal(9, 4, 1);
    assert_eq!(shift_test(same.view(), few.view(), 0), Err(MeasureError::TooFewRows { rows: 9, needed: 10 }));
}

#[test]
fn classes_are_compared_with_equal_counts() {
    // Classes of different sizes on the two sides, from one law: only their counts differ.
    let side = |counts: [usize; 3], seed: u64| {
        let labels: Vec<u32> = counts.iter().enumerate().flat_map(|(class, &n)| vec![class as u32; n]).collect();
        let noise = normal(labels.len(), 10, seed);
        let z =
            Array2::from_shape_fn(noise.dim(), |(i, j)| noise[(i, j)] + if j as u32 == labels[i] { 3.0 } else { 0.0 });
        (z, labels)
    };
    let (train, of_train) = side([100, 30, 21], 1);
    let (unseen, of_unseen) = side([40, 70, 80], 2);
    let labels = [&of_train[..], &of_unseen[..]];
    let found = class_rate_gap([train.view(), unseen.view()], labels, 0.5, 1, 0).unwrap();
    assert_eq!(found.images, 20 + 15 + 10);
    assert!(found.gap.low < 0.0 && found.gap.high > 0.0, "{found:?}");
    assert!(found.placebo.low < 0.0 && found.placebo.high > 0.0, "{found:?}");
    // Training classes further apart.
    let apart =
        Array2::from_shape_fn(train.dim(), |(i, j)| train[(i, j)] + if j as u32 == of_train[i] { 4.0 } else { 0.0 });
    let found = class_rate_gap([apart.view(), unseen.view()], labels, 0.5, 1, 0).unwrap();
    assert!(found.gap.low > 0.0, "{found:?}");
    let error = class_rate_gap([train.view(), unseen.view()], [&of_train, &vec![9; 190]], 0.5, 1, 0);
    assert!(matches!(error, Err(MeasureError::TooFew { .. })));
}
