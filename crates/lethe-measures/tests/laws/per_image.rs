//! Numbers that every row or image has by itself.

use lethe_measures::{class_rate_terms, class_rates, view_retrieval};
use ndarray::{Array2, Axis, concatenate};

use crate::support::{assert_close, heaps, normal, rotation};

fn reduction(z: &Array2<f64>, labels: &[u32]) -> f64 {
    class_rates(z.view(), labels, 0.5).unwrap().coding_rate_reduction()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// With few columns and with more columns than rows of a class, or than rows at all.
#[test]
fn the_terms_of_the_class_rates_have_their_mean_and_are_derivatives() {
    for d in [3, 20, 90] {
        let n = 60;
        let z = heaps(n, d, 4, 1);
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 4).collect();
        let terms = class_rate_terms(z.view(), &labels, 0.5).unwrap();
        let whole = reduction(&z, &labels);
        assert_close(mean(&terms), whole);
        // One more row beside 200 copies of all is a small step in its direction.
        let copies = 200;
        let many = concatenate(Axis(0), &vec![z.view(); copies]).unwrap();
        let many_labels = labels.repeat(copies);
        assert_close(reduction(&many, &many_labels), whole);
        for row in [0, 17, 42] {
            let more = concatenate(Axis(0), &[many.view(), z.slice(ndarray::s![row..=row, ..])]).unwrap();
            let labels = [&many_labels[..], &labels[row..=row]].concat();
            let step = (reduction(&more, &labels) - whole) * (n * copies + 1) as f64;
            let influence = terms[row] - whole;
            assert!((step - influence).abs() < 1e-3 * (1.0 + influence.abs()), "{d}, {row}: {step} for {influence}");
        }
    }
}

/// Drawn anew, dR spreads as much as the mean of the terms says.
#[test]
fn the_spread_of_the_terms_is_that_of_the_reduction() {
    let (n, d) = (300, 6);
    let labels: Vec<u32> = (0..n as u32).map(|i| i % 3).collect();
    let centres = 1.5 * normal(3, d, 99);
    let draw = |seed: u64| {
        let noise = normal(n, d, seed);
        Array2::from_shape_fn((n, d), |(i, j)| centres[(i % 3, j)] + noise[(i, j)])
    };
    let found: Vec<f64> = (0..200).map(|seed| reduction(&draw(seed), &labels)).collect();
    let error = (found.iter().map(|x| (x - mean(&found)).powi(2)).sum::<f64>() / 199.0).sqrt();
    // The classes are of fixed size here: within a class, the terms spread around their own mean.
    let said: Vec<f64> = (0..20)
        .map(|seed| {
            let terms = class_rate_terms(draw(1000 + seed).view(), &labels, 0.5).unwrap();
            let mut square = 0.0;
            for class in 0..3 {
                let own: Vec<f64> = terms.iter().skip(class).step_by(3).copied().collect();
                square += own.iter().map(|x| (x - mean(&own)).powi(2)).sum::<f64>();
            }
            square.sqrt() / n as f64
        })
        .collect();
    assert!((mean(&said) / error - 1.0).abs() < 0.15, "{} for {error}", mean(&said));
}

#[test]
fn views_that_lie_together_are_found_and_others_are_not() {
    let images = normal(300, 8, 3);
    let near = &images + &(1e-6 * normal(300, 8, 4));
    let pairs = |second: &Array2<f64>| concatenate(Axis(0), &[images.view(), second.view()]).unwrap();
    assert_eq!(view_retrieval(pairs(&near).view()).unwrap(), vec![1.0; 300]);
    let strangers = view_retrieval(pairs(&normal(300, 8, 5)).view()).unwrap();
    assert!(mean(&strangers) < 0.02, "{}", mean(&strangers));
    // Turning and stretching change no cosine.
    let blurred = pairs(&(&images + &(0.3 * normal(300, 8, 6))));
    let found = view_retrieval(blurred.view()).unwrap();
    assert!(0.3 < mean(&found) && mean(&found) < 1.0 && found.contains(&0.5), "{}", mean(&found));
    assert_eq!(view_retrieval((3.0 * blurred.dot(&rotation(8))).view()).unwrap(), found);
    // All the same: nobody is nearest.
    assert_eq!(view_retrieval(Array2::ones((40, 3)).view()).unwrap(), vec![0.0; 20]);
    // Every image by itself, by the definition.
    let unit = &blurred / &blurred.map_axis(Axis(1), |row| row.dot(&row).sqrt()).insert_axis(Axis(1));
    let cosines = unit.slice(ndarray::s![..300, ..]).dot(&unit.slice(ndarray::s![300.., ..]).t());
    for (i, found) in found.iter().enumerate() {
        let there = (0..300).all(|j| j == i || cosines[(i, j)] < cosines[(i, i)]);
        let back = (0..300).all(|j| j == i || cosines[(j, i)] < cosines[(i, i)]);
        assert_eq!(*found, (f64::from(u8::from(there)) + f64::from(u8::from(back))) / 2.0, "{i}");
    }
}
