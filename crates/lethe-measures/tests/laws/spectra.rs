//! Rates, ranks, alignment, uniformity and neighbours.

use lethe_measures::{
    Groups, MEASURES, MeasureError, Rows, alignment, alpha_req, class_rates, coding_rate, effective_rank, knn, lidar,
    nesum, rankme, self_cluster, stable_rank, uniformity, view_rates,
};
use ndarray::{Array1, Array2, Axis, concatenate};

use crate::support::{assert_close, heaps, normal, rotation};

#[test]
fn rotation_and_row_scale_leave_the_rates_unchanged() {
    let z = normal(90, 20, 1);
    let labels: Vec<u32> = (0..90).map(|i| i % 4).collect();
    let scale = Array1::from_iter((0..90).map(|i| 0.1 + f64::from(i))).insert_axis(Axis(1));
    let moved = &z.dot(&rotation(20)) * &scale;
    let (before, after) =
        (class_rates(z.view(), &labels, 0.5).unwrap(), class_rates(moved.view(), &labels, 0.5).unwrap());
    assert_close(after.coding_rate, before.coding_rate);
    assert_close(after.compressed_rate, before.compressed_rate);
    assert_close(
        view_rates(moved.view(), 2, 0.1).unwrap().compressed_rate,
        view_rates(z.view(), 2, 0.1).unwrap().compressed_rate,
    );
    assert!(before.coding_rate_reduction() > 0.1);
}

#[test]
fn pairs_are_classes_of_two() {
    for (n, d) in [(60, 10), (20, 70)] {
        let z = normal(n, d, 2);
        let labels: Vec<u32> = (0..n).map(|i| (i % (n / 2)) as u32).collect();
        for eps2 in [0.05, 0.5] {
            let (pairs, classes) =
                (view_rates(z.view(), 2, eps2).unwrap(), class_rates(z.view(), &labels, eps2).unwrap());
            assert_close(pairs.coding_rate, classes.coding_rate);
            assert_close(pairs.compressed_rate, classes.compressed_rate);
        }
    }
}

#[test]
fn one_class_has_nothing_to_reduce() {
    let z = normal(40, 12, 3);
    assert_close(class_rates(z.view(), &[9; 40], 0.5).unwrap().coding_rate_reduction(), 0.0);
}

#[test]
fn identical_rows_have_the_least_coding_rate() {
    let row = normal(1, 32, 4);
    let z = concatenate(Axis(0), &vec![row.view(); 50]).unwrap();
    assert_close(coding_rate(z.view(), 0.5).unwrap(), 0.5 * (1.0f64 + 32.0 / 0.5).ln());
    let rates = view_rates(z.view(), 2, 0.5).unwrap();
    assert_close(rates.compressed_rate, 0.5 * (1.0f64 + 2.0 * 32.0).ln());
    assert_close(alignment(z.view(), 2).unwrap(), 0.0);
    assert_close(uniformity(z.view()).unwrap(), 0.0);
    assert_eq!(effective_rank(Array2::<f64>::ones((9, 3)).view()), Err(MeasureError::NoVariance));
}

#[test]
fn orthonormal_rows_are_of_full_rank() {
    let z = rotation(60);
    let p = 1.0 / 60.0 + 1e-7;
    assert_close(rankme(z.view()).unwrap(), (-60.0 * p * f64::ln(p)).exp());
    assert_close(coding_rate(z.view(), 0.5).unwrap(), 30.0 * f64::ln(1.0 + 1.0 / 0.5));
    assert_close(uniformity(z.view()).unwrap(), -4.0);
}

#[test]
fn the_rank_of_gaussian_rows_nears_their_dimension() {
    let z = normal(6000, 24, 5);
    for rank in [rankme(z.view()).unwrap(), effective_rank(z.view()).unwrap()] {
        assert!((23.9..24.01).contains(&rank), "{rank}");
    }
}

#[test]
fn scale_and_offset() {
    let z = normal(200, 30, 6);
    let moved = 1e-3 * &z + 5.0;
    assert_close(effective_rank(moved.view()).unwrap(), effective_rank(z.view()).unwrap());
    assert!((alpha_req(moved.view()).unwrap() - alpha_req(z.view()).unwrap()).abs() < 1e-9);
    assert_close(rankme((1e-3 * &z).view()).unwrap(), rankme(z.view()).unwrap());
    assert!(rankme(moved.view()).unwrap() < 2.0, "RankMe does not centre");
}

#[test]
fn alpha_is_the_exponent_of_a_power_law() {
    let root = Array2::from_diag(&Array1::from_iter((1..=120).map(|j| f64::from(j).powf(-0.6))));
    let z = concatenate(Axis(0), &[root.view(), (-&root).view()]).unwrap().dot(&rotation(120));
    assert_close(alpha_req(z.view()).unwrap(), 1.2);
}

#[test]
fn far_values_do_not_break_the_solvers() {
    let z = normal(80, 20, 7);
    for scale in [1e-60, 1e60] {
        let scaled = scale * &z;
        assert_close(rankme(scaled.view()).unwrap(), rankme(z.view()).unwrap());
        assert_close(coding_rate(scaled.view(), 0.5).unwrap(), coding_rate(z.view(), 0.5).unwrap());
        assert!(lidar(scaled.view(), 10).unwrap().is_finite());
    }
    assert_eq!(
        rankme((1e101 * Array2::<f64>::ones((2, 2))).view()),
        Err(MeasureError::TooLarge { row: 0, column: 0, value: 1e101 })
    );
}

#[test]
fn neither_strides_nor_blocks_matter() {
    let z = normal(700, 300, 8);
    let mut columns = Array2::zeros((300, 700));
    columns.assign(&z.t());
    let transposed = columns.t();
    assert_close(rankme(transposed).unwrap(), rankme(z.view()).unwrap());
    assert_close(uniformity(transposed).unwrap(), uniformity(z.view()).unwrap());
    let u = Array2::from_shape_fn(z.dim(), |(i, j)| z[(i, j)] / z.row(i).dot(&z.row(i)).sqrt());
    let mut potentials = 0.0;
    for i in 0..700 {
        for j in 0..i {
            potentials += (4.0 * u.row(i).dot(&u.row(j)) - 4.0).exp();
        }
    }
    assert_close(uniformity(z.view()).unwrap(), (potentials / (350.0 * 699.0)).ln());
}

/// `informative` of 128 directions tell images apart, with twice the deviation of a view: `views` of each of `images`.
fn views_of_images(informative: usize, images: usize, views: usize) -> Array2<f64> {
    let (centres, noise) = (normal(images, informative, 20), normal(images * views, 128, 21));
    Array2::from_shape_fn((images * views, 128), |(i, j)| {
        let centre = if j < informative { 2.0 * centres[(i % images, j)] } else { 0.0 };
        centre + noise[(i, j)]
    })
}

/// The paper's setting, 50 views of 1,000 images; and ten views, with which the number is higher but grows with the
/// directions. With two views it would not.
#[test]
fn lidar_counts_the_directions_that_tell_images_apart() {
    for (informative, expected) in [(8, 12.3), (32, 34.4), (96, 92.2)] {
        let found = lidar(views_of_images(informative, 1000, 50).view(), 50).unwrap();
        assert!((found / expected - 1.0).abs() < 0.02, "{informative}: {found} for {expected}");
    }
    let with_ten = [8, 32, 96].map(|informative| lidar(views_of_images(informative, 1000, 10).view(), 10).unwrap());
    assert!(with_ten.is_sorted() && with_ten[1] > 1.2 * with_ten[0], "{with_ten:?}");
}

/// By the definition, every pair of views of every image.
#[test]
fn alignment_is_over_all_pairs_of_views() {
    let z = normal(40, 6, 22);
    let u = &z / &z.map_axis(Axis(1), |row| row.dot(&row).sqrt()).insert_axis(Axis(1));
    let mut sum = 0.0;
    for (image, v, w) in (0..10).flat_map(|image| (0..4).flat_map(move |v| (0..v).map(move |w| (image, v, w)))) {
        sum += (&u.row(10 * v + image) - &u.row(10 * w + image)).mapv(|x| x * x).sum();
    }
    assert_close(alignment(z.view(), 4).unwrap(), sum / 60.0);
    let rows = Rows::new(z.view(), Groups::Views(4), 0.5).unwrap();
    let of = |name: &str| MEASURES.iter().find(|measure| measure.name == name).unwrap().of;
    assert_close(of("alignment")(&rows).unwrap(), sum / 60.0);
    // Views that lie together to the last digits keep theirs.
    let near = concatenate(Axis(0), &[z.view(), (&z + &(1e-9 * normal(40, 6, 23))).view()]).unwrap();
    let found = alignment(near.view(), 2).unwrap();
    assert!((1e-19..1e-17).contains(&found), "{found:e}");
}

#[test]
fn views_are_classes_of_their_number() {
    for (n, d, views) in [(60, 10, 3), (20, 70, 5), (40, 6, 10)] {
        let z = normal(n, d, 24);
        let labels: Vec<u32> = (0..n).map(|i| (i % (n / views)) as u32).collect();
        for eps2 in [0.05, 0.5] {
            let by_view = view_rates(z.view(), views, eps2).unwrap();
            let classes = class_rates(z.view(), &labels, eps2).unwrap();
            assert_close(by_view.coding_rate, classes.coding_rate);
            assert_close(by_view.compressed_rate, classes.compressed_rate);
        }
    }
}

#[test]
fn ranks_of_long_directions() {
    let z = rotation(60);
    assert_close(stable_rank(z.view()).unwrap(), 60.0);
    let stretched = z.dot(&Array2::from_diag(&Array1::from_iter((0..60).map(|i| if i == 0 { 3.0 } else { 1.0 }))));
    assert_close(stable_rank(stretched.view()).unwrap(), (9.0 + 59.0) / 9.0);
    let spread = normal(500, 12, 25);
    let moved = 1e-3 * spread.dot(&rotation(12)) + 5.0;
    assert_close(nesum(moved.view()).unwrap(), nesum(spread.view()).unwrap());
    assert!(stable_rank(moved.view()).unwrap() < 1.1, "the stable rank does not centre");
    let centred = &spread - &spread.mean_axis(Axis(0)).unwrap();
    assert_close(nesum(spread.view()).unwrap(), stable_rank(centred.view()).unwrap());
    for scale in [1e-60, 1e99] {
        assert_close(stable_rank((scale * &spread).view()).unwrap(), stable_rank(spread.view()).unwrap());
    }
}

#[test]
fn self_clustering_is_0_for_even_rows_and_1_for_one_line() {
    for (n, d) in [(3000, 20), (60, 300)] {
        let found = self_cluster(normal(n, d, 26).view()).unwrap();
        assert!(found.abs() < 0.003, "{found}");
    }
    let line = normal(50, 1, 27).dot(&normal(1, 9, 28));
    assert_close(self_cluster(line.view()).unwrap(), 1.0);
    assert_close(self_cluster(Array2::<f64>::eye(30).view()).unwrap(), (30.0 - 59.0) / (900.0 - 59.0));
    let z = heaps(200, 6, 3, 29);
    let scale = Array1::from_iter((0..200).map(|i| 0.1 + f64::from(i))).insert_axis(Axis(1));
    assert_close(self_cluster((&z.dot(&rotation(6)) * &scale).view()).unwrap(), self_cluster(z.view()).unwrap());
}

/// The label that the k nearest of `bank` vote for, by a full sort.
fn brute_force(bank: &Array2<f32>, labels: &[u32], query: usize, k: usize, t: f32) -> u32 {
    let row = |i: usize| bank.row(i).mapv(f64::from);
    let length = |i: usize| row(i).dot(&row(i)).sqrt();
    let mut near: Vec<(f64, usize)> = (0..bank.nrows())
        .filter(|&i| i != query)
        .map(|i| (row(i).dot(&row(query)) / length(i) / length(query), i))
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut votes = [0.0; 10];
    for &(c, i) in &near[..k] {
        votes[labels[i] as usize] += (c / f64::from(t)).exp();
    }
    (0..10).fold(0, |best, label| if votes[label] > votes[best] { label } else { best }) as u32
}

#[test]
fn knn_is_a_full_sort() {
    let labels: Vec<u32> = (0..900u32).map(|i| i * i % 7).collect();
    let centres = normal(10, 16, 9);
    let noise = normal(900, 16, 10);
    let z = Array2::from_shape_fn((900, 16), |(i, j)| (centres[(labels[i] as usize, j)] + 1.5 * noise[(i, j)]) as f32);
    for k in [1, 20, 200] {
        let right = (0..900).filter(|&i| brute_force(&z, &labels, i, k, 0.1) == labels[i]).count();
        let found = knn::leave_one_out(z.view(), &labels, k, 0.1).map(|right| knn::accuracy(&right)).unwrap();
        assert!((0.3..0.98).contains(&found), "{found}");
        assert_eq!(found, right as f64 / 900.0, "k {k}");
        let own =
            knn::against(z.view(), &labels, z.view(), &labels, k, 0.1).map(|right| knn::accuracy(&right)).unwrap();
        assert!(own >= found && (k > 1 || own == 1.0), "a row in its own bank finds itself");
    }
}

/// Equal cosines: the lower row is nearer; equal votes: the lower label wins. A small temperature overflows nothing.
#[test]
fn knn_ties_are_settled_by_order() {
    let bank = Array2::<f32>::ones((6, 3));
    let vote = |labels: &[u32], k, expected| {
        assert_eq!(knn::against(bank.view(), labels, bank.view(), &[expected; 6], k, 1e-4), Ok(vec![true; 6]));
    };
    vote(&[7, 7, 2, 2, 2, 2], 2, 7);
    vote(&[7, 7, 2, 2, 2, 2], 4, 2);
    vote(&[4_000_000_000, 5, 5, 5, 5, 5], 1, 4_000_000_000);
    assert_eq!(
        knn::against(bank.view(), &[1; 6], bank.view(), &[0; 6], 1, 0.1),
        Ok(vec![false; 6]),
        "a label the bank lacks"
    );
}

#[test]
fn what_cannot_be_measured_is_named() {
    let z = normal(10, 12, 11);
    let with = |row: usize, column: usize, value: f64| {
        let mut z = z.clone();
        z[(row, column)] = value;
        z
    };
    assert_eq!(rankme(with(3, 7, f64::NAN).view()).unwrap_err().to_string(), "the value in row 3, column 7 is NaN");
    assert_eq!(
        lidar(with(9, 0, f64::NEG_INFINITY).view(), 10).unwrap_err().to_string(),
        "the value in row 9, column 0 is -inf"
    );
    let mut zero = z.clone();
    zero.row_mut(4).fill(0.0);
    assert_eq!(coding_rate(zero.view(), 0.5), Err(MeasureError::ZeroRow { row: 4 }));
    assert!(rankme(zero.view()).is_ok(), "RankMe needs no direction of a row");
    assert_eq!(rankme((0.0 * &z).view()), Err(MeasureError::AllZero));
    assert_eq!(rankme(Array2::zeros((0, 4)).view()), Err(MeasureError::Empty { rows: 0, columns: 4 }));
    assert_eq!(alignment(normal(7, 3, 1).view(), 2), Err(MeasureError::UnevenViews { rows: 7, views: 2 }));
    assert_eq!(lidar(normal(31, 3, 1).view(), 10), Err(MeasureError::UnevenViews { rows: 31, views: 10 }));
    assert_eq!(lidar(normal(10, 3, 1).view(), 10), Err(MeasureError::TooFewRows { rows: 10, needed: 20 }));
    assert_eq!(lidar(z.view(), 1), Err(MeasureError::TooFewViews { views: 1, needed: 10 }));
    assert_eq!(
        lidar(normal(90, 3, 1).view(), 9).unwrap_err().to_string(),
        "9 views of every image are too few, expected at least 10"
    );
    assert_eq!(alignment(z.view(), 1), Err(MeasureError::TooFewViews { views: 1, needed: 2 }));
    assert_eq!(self_cluster(normal(1, 3, 1).view()), Err(MeasureError::TooFewRows { rows: 1, needed: 2 }));
    assert_eq!(self_cluster(normal(3, 1, 1).view()), Err(MeasureError::TooFewColumns { columns: 1, needed: 2 }));
    assert_eq!(self_cluster(zero.view()), Err(MeasureError::ZeroRow { row: 4 }));
    assert_eq!(stable_rank((0.0 * &z).view()), Err(MeasureError::AllZero));
    assert_eq!(nesum(Array2::<f64>::ones((9, 3)).view()), Err(MeasureError::NoVariance));
    assert_eq!(uniformity(normal(1, 3, 1).view()), Err(MeasureError::TooFewRows { rows: 1, needed: 2 }));
    assert_eq!(alpha_req(z.view()), Err(MeasureError::TooFewDirections { found: 9, needed: 11 }));
    assert_eq!(class_rates(z.view(), &[0; 9], 0.5), Err(MeasureError::LabelsLength { labels: 9, rows: 10 }));
    assert_eq!(coding_rate(z.view(), 0.0), Err(MeasureError::NotPositive { name: "eps2", value: 0.0 }));
    assert!(Rows::new(z.view(), Groups::Labels(&[1; 11]), 0.5).is_err());
    for (views, error) in [
        (0, MeasureError::TooFewViews { views: 0, needed: 2 }),
        (1, MeasureError::TooFewViews { views: 1, needed: 2 }),
        (3, MeasureError::UnevenViews { rows: 10, views: 3 }),
    ] {
        assert_eq!(Rows::new(z.view(), Groups::Views(views), 0.5).err(), Some(error));
    }

    let z = z.mapv(|x| x as f32);
    assert_eq!(knn::leave_one_out(z.view(), &[0; 10], 10, 0.1), Err(MeasureError::TooFewRows { rows: 10, needed: 11 }));
    assert!(knn::leave_one_out(z.view(), &[0; 10], 0, 0.1).is_err());
    assert!(knn::leave_one_out(z.view(), &[0; 10], 1, f64::NAN).is_err());
    assert!(knn::against(z.view(), &[0; 10], Array2::ones((3, 4)).view(), &[0; 3], 1, 0.1).is_err());
}
