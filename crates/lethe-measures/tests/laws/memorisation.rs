//! UnitMem, SSLMem, membership and the alignment of two encoders.

use lethe_measures::{
    Estimate, MeasureError, TruePositives, debiased_linear_cka, linear_cka, membership, sslmem, unitmem,
};
use ndarray::{Array2, Array3, Axis, concatenate};

use crate::support::{assert_close, normal, rotation};

#[test]
fn a_unit_that_one_image_excites_has_memorised_it() {
    // Unit 0 knows image 3, unit 1 answers to all alike, unit 2 to half of them, unit 3 is dead.
    let activations = Array3::from_shape_fn((9, 4, 4), |(image, view, unit)| match (unit, image) {
        (0, 3) => 1.0 + view as f64,
        (1, _) => 2.0,
        (2, _) => (image % 2) as f64,
        _ => 0.0,
    });
    let found = unitmem(activations.view()).unwrap();
    assert_eq!(found.of_units, [1.0, 0.0, 1.0, 0.0]);
    assert_eq!((found.dead, found.mean()), (1, 0.5));
    let scaled = unitmem((1e-3 * &activations).view()).unwrap();
    assert_close(scaled.mean(), found.mean());
    let three = activations.select(Axis(0), &[1, 2, 5]);
    assert_eq!(unitmem(three.view()).unwrap().of_units[2], 1.0 / 3.0, "the median of 1 and 0");
}

#[test]
fn scores_apart_tell_all_and_equal_ones_nothing() {
    let (low, high): (Vec<f64>, Vec<f64>) = ((0..50).map(f64::from).collect(), (60..90).map(f64::from).collect());
    let found = membership(&high, &low, false).unwrap();
    let Estimate { value, low: end, high: most } = found.auc;
    assert_eq!((value, most, found.true_positives), (1.0, 1.0, TruePositives::TooFew { missing: 50 }));
    // An overlap of 1 - 0.025^(1/30) leaves 30 images without it in 2.5 % of cases.
    assert_close(end, 0.025f64.powf(1.0 / 30.0));
    let Estimate { value, low: least, high: end } = membership(&low, &high, false).unwrap().auc;
    assert_eq!((value, least), (0.0, 0.0));
    assert_close(end, 1.0 - 0.025f64.powf(1.0 / 30.0));
    for paired in [false, true] {
        let found = membership(&[2.0; 30], &[2.0; 30], paired).unwrap();
        assert_eq!(found.auc, Estimate { value: 0.5, low: 0.5, high: 0.5 });
    }
}

#[test]
fn the_area_sees_only_the_order() {
    let (members, others) =
        (normal(80, 1, 1).into_raw_vec_and_offset().0, normal(120, 1, 2).into_raw_vec_and_offset().0);
    let found = membership(&members, &others, false).unwrap();
    let exp = |scores: &[f64]| scores.iter().map(|x| x.exp()).collect::<Vec<f64>>();
    assert_eq!(membership(&exp(&members), &exp(&others), false), Ok(found));
    let back = membership(&others, &members, false).unwrap().auc;
    assert_close(back.value, 1.0 - found.auc.value);
    assert_close(back.low, 1.0 - found.auc.high);
    let mut pairs = 0.0;
    members.iter().for_each(|a| others.iter().for_each(|b| pairs += f64::from(u8::from(a > b))));
    assert_close(found.auc.value, pairs / 9600.0);
}

/// One false positive in a hundred is allowed, two are not.
#[test]
fn a_threshold_admits_one_in_a_hundred() {
    let found = |members: &[f64], others: &[f64]| membership(members, others, false).unwrap().true_positives;
    let others: Vec<f64> = (0..1000).map(f64::from).collect();
    let rate = |score: f64| {
        let TruePositives::At1Percent(share) = found(&[score, 998.5], &others) else { panic!("1,000 are enough") };
        share.value
    };
    assert_eq!((rate(988.5), rate(989.0), rate(989.2)), (0.5, 0.5, 1.0));
    // A hundred allow ten of them.
    let TruePositives::At10Percent(share) = found(&[89.2, 88.9], &others[..100]) else { panic!("100 are enough") };
    assert_eq!(share.value, 0.5);
    assert!(share.low < 0.5 && share.high > 0.5);
    assert_eq!(found(&[98.5, 98.5], &others[..99]), TruePositives::TooFew { missing: 1 });
}

/// The area of two normal distributions 0.7 apart is the normal distribution function at 0.7 / sqrt(2).
#[test]
fn ninety_five_of_a_hundred_intervals_hold_the_area() {
    let held = (0..400).filter(|&seed| {
        let members = normal(60, 1, 2 * seed + 1).mapv(|x| x + 0.7).into_raw_vec_and_offset().0;
        let others = normal(90, 1, 2 * seed + 2).into_raw_vec_and_offset().0;
        let auc = membership(&members, &others, false).unwrap().auc;
        (auc.low..auc.high).contains(&0.689_694)
    });
    let held = held.count();
    assert!((365..=395).contains(&held), "{held} of 400");
}

#[test]
fn memorisation_changes_its_sign_with_the_encoders() {
    let (with, without) = ([0.1, 0.2, 0.5, 0.4], [0.3, 0.3, 0.4, 0.8]);
    let found = sslmem(&with, &without).unwrap();
    let expected = [0.4, 0.2, -0.2, 0.8];
    found.of_images.iter().zip(expected).for_each(|(found, expected)| assert_close(*found, expected));
    assert_close(found.mean(), 0.3);
    assert_close(sslmem(&without, &with).unwrap().mean(), -0.3);
    let tenth = [with, without].map(|distances| distances.map(|x| 0.1 * x));
    assert_close(sslmem(&tenth[0], &tenth[1]).unwrap().mean(), 0.3);
}

#[test]
fn encoders_equal_but_for_rotation_scale_and_offset_are_aligned() {
    for (n, d) in [(200, 20), (30, 90)] {
        let z = normal(n, d, 3);
        let moved = 1e-3 * z.dot(&rotation(d)) + 5.0;
        assert_close(linear_cka(z.view(), moved.view()).unwrap(), 1.0);
        assert_close(debiased_linear_cka(z.view(), moved.view()).unwrap(), 1.0);
        let other = normal(n, 11, 4);
        assert_close(linear_cka(z.view(), other.view()).unwrap(), linear_cka(other.view(), moved.view()).unwrap());
    }
    let far = 1e90 * normal(50, 4, 5);
    assert_close(linear_cka(far.view(), far.view()).unwrap(), 1.0);
}

/// Columns of zeros change nothing but the side whose product is taken.
#[test]
fn both_sides_give_the_same_alignment() {
    let [x, y] = [10, 11].map(|seed| normal(300, 40, seed));
    let wide = concatenate(Axis(1), &[x.view(), Array2::zeros((300, 2000)).view()]).unwrap();
    let related = &y + &x;
    for of in [linear_cka, debiased_linear_cka] {
        assert_close(of(wide.view(), related.view()).unwrap(), of(x.view(), related.view()).unwrap());
        let wider = concatenate(Axis(1), &[related.view(), Array2::zeros((300, 2000)).view()]).unwrap();
        assert_close(of(wide.view(), wider.view()).unwrap(), of(x.view(), related.view()).unwrap());
    }
}

#[test]
fn few_rows_align_anything_unless_debiased() {
    let [x, y] = [6, 7].map(|seed| normal(60, 200, seed));
    let (plain, debiased) = (linear_cka(x.view(), y.view()).unwrap(), debiased_linear_cka(x.view(), y.view()).unwrap());
    assert!(plain > 0.7 && debiased.abs() < 0.05, "{plain} {debiased}");
}

#[test]
fn what_has_no_memory_is_named() {
    let signed = Array3::from_shape_fn((3, 2, 2), |(i, j, k)| if (i, j, k) == (2, 1, 0) { -0.5 } else { 1.0 });
    assert_eq!(unitmem(signed.view()), Err(MeasureError::Negative { row: 2, column: 0, value: -0.5 }));
    assert!(matches!(unitmem((&signed * f64::NAN).view()), Err(MeasureError::NonFinite { .. })));
    assert_eq!(unitmem(Array3::ones((1, 2, 2)).view()), Err(MeasureError::TooFewRows { rows: 2, needed: 4 }));
    assert!(matches!(unitmem(Array3::ones((3, 0, 2)).view()), Err(MeasureError::Empty { .. })));

    assert_eq!(membership(&[1.0], &[1.0, 2.0], false), Err(MeasureError::TooFewRows { rows: 1, needed: 2 }));
    assert!(matches!(
        membership(&[1.0, 2.0], &[0.0, f64::NAN], true),
        Err(MeasureError::NonFinite { row: 1, column: 1, .. })
    ));
    assert_eq!(membership(&[1.0, 2.0, 3.0], &[0.0, 1.0], true), Err(MeasureError::RowCounts { first: 3, second: 2 }));
    assert_eq!(membership(&[f64::INFINITY, 2.0], &[f64::NEG_INFINITY, 1.0], false).unwrap().auc.value, 1.0);

    assert_eq!(sslmem(&[1.0], &[1.0, 2.0]), Err(MeasureError::RowCounts { first: 1, second: 2 }));
    assert_eq!(sslmem(&[1.0, 2.0], &[1.0, 2.0]), Err(MeasureError::NoVariance));
    assert_eq!(sslmem(&[1.0], &[1.0]), Err(MeasureError::TooFewRows { rows: 1, needed: 2 }));
    assert_eq!(sslmem(&[1.0, 0.0], &[1.0, -2.0]), Err(MeasureError::Negative { row: 1, column: 1, value: -2.0 }));
    assert!(matches!(
        sslmem(&[1.0, f64::INFINITY], &[1.0, 2.0]),
        Err(MeasureError::NonFinite { row: 1, column: 0, .. })
    ));

    let z = normal(10, 3, 8);
    let same = concatenate(Axis(0), &[z.slice(ndarray::s![..1, ..]); 10]).unwrap();
    assert_eq!(linear_cka(z.view(), same.view()), Err(MeasureError::NoVariance));
    assert_eq!(linear_cka(z.view(), Array2::ones((9, 3)).view()), Err(MeasureError::NoVariance));
    assert_eq!(linear_cka(z.view(), normal(9, 3, 1).view()), Err(MeasureError::RowCounts { first: 10, second: 9 }));
    let few = normal(3, 3, 9);
    assert_eq!(debiased_linear_cka(few.view(), few.view()), Err(MeasureError::TooFewRows { rows: 3, needed: 4 }));
}
