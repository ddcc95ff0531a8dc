//! The table of measures as a whole.

use lethe_measures::{Cost, Groups, MEASURES, Needs, Rows, reference};
use ndarray::{Array2, Axis, concatenate};

use crate::support::{heaps, normal, uniform};

/// Whatever the rows, a measure is a number or a reason.
#[test]
fn no_rows_give_nan_or_a_panic() {
    let copies = concatenate(Axis(0), &vec![normal(2, 5, 1).view(); 30]).unwrap();
    let matrices: Vec<Array2<f64>> = vec![
        Array2::zeros((60, 5)),
        Array2::ones((60, 5)),
        Array2::ones((1, 1)),
        Array2::eye(60),
        normal(1, 5, 2),
        normal(2, 5, 3),
        normal(50, 1, 4),
        normal(64, 5, 5),
        normal(8, 60, 6),
        uniform(64, 3, 7),
        heaps(60, 4, 2, 8),
        copies,
        Array2::from_shape_fn((60, 4), |(i, j)| if i == j { 1.0 } else { 0.0 }),
        1e99 * normal(60, 5, 9),
        1e-170 * normal(60, 5, 10),
        1e-320 * normal(60, 5, 11),
        Array2::from_shape_fn((60, 5), |(i, j)| if i == 7 { 1e99 } else { (i * j) as f64 * 1e-99 }),
        1e6 + 1e-10 * normal(60, 5, 12),
    ];
    for (i, z) in matrices.iter().enumerate() {
        let labels: Vec<u32> = (0..z.nrows() as u32).map(|row| row % 3).collect();
        for groups in [Groups::None, Groups::Pairs, Groups::Labels(&labels)] {
            let Ok(rows) = Rows::new(z.view(), groups, 0.5) else {
                assert!(z.nrows() % 2 == 1);
                continue;
            };
            let in_one_pass = Rows::new(z.view(), groups, 0.5).unwrap().in_one_pass(true);
            for measure in MEASURES.iter().filter(|measure| measure.needs.met_by(groups)) {
                let together = (measure.of)(&in_one_pass);
                let Ok(value) = (measure.of)(&rows) else {
                    assert!(together.is_err(), "{} of matrix {i}: {together:?}", measure.name);
                    continue;
                };
                assert!(value.is_finite(), "{} of matrix {i} is {value}", measure.name);
                let together = together.unwrap();
                let error = (together - value).abs() / value.abs().max(1e-3);
                assert!(error < 1e-6, "{} of matrix {i} is {value}, in one pass {together}", measure.name);
            }
        }
    }
}

/// Several blocks, the last one short, and rows of different lengths.
#[test]
fn one_pass_over_all_pairs_finds_what_each_measure_finds_alone() {
    for (n, d, offset) in [(1300, 20, 0.0), (700, 6, 3.0), (512, 30, 0.5)] {
        let mut z = normal(n, d, 5) + offset;
        z.outer_iter_mut().enumerate().for_each(|(i, mut row)| row *= 1.0 + (i % 7) as f64);
        let copy = z.row(3).to_owned();
        z.row_mut(n - 1).assign(&copy);
        let rows = || Rows::new(z.view(), Groups::None, 0.5).unwrap();
        let (alone, together) = (rows(), rows().in_one_pass(true));
        for measure in MEASURES.iter().filter(|measure| measure.cost == Cost::Pairs) {
            let [alone, together] = [&alone, &together].map(|rows| (measure.of)(rows).unwrap());
            // A copy's distance of 0 is the root of a rounding in both.
            assert!((together / alone - 1.0).abs() < 1e-9, "{}: {alone} alone, {together}", measure.name);
        }
    }
}

#[test]
fn rows_say_what_they_are() {
    for (i, measure) in MEASURES.iter().enumerate() {
        assert!(MEASURES[..i].iter().all(|other| other.name != measure.name && other.title != measure.title));
        for text in [measure.title, measure.formula, measure.paper, measure.fails] {
            assert!(!text.is_empty() && !text.ends_with('.'), "{}: {text}", measure.name);
        }
    }
    let named = |name: &str| MEASURES.iter().find(|measure| measure.name == name).expect("a measure");
    assert_eq!(named("unitmem").needs, Needs::Pairs);
    assert_eq!(named("idest").cost, Cost::Tree);
}

#[test]
fn costs_are_in_order() {
    let costs = [Cost::Spectrum, Cost::Clusters, Cost::Pairs, Cost::Tree];
    assert!(costs.is_sorted());
    let at = costs.map(|cost| cost.multiplications(50_000, 2048));
    assert!(at.is_sorted() && at[0] > 1e11);
    assert_eq!(costs.map(|cost| cost.affordable(50_000, 2048)), [true, true, true, false]);
    assert_eq!(costs.map(|cost| cost.affordable(100_000, 2048)), [true, true, false, false]);
    assert_eq!(costs.map(|cost| cost.affordable(10_000, 2048)), [true; 4]);
}

#[test]
fn the_page_of_measures_is_that_of_the_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/measures.md");
    if std::env::var_os("LETHE_BLESS").is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let rewrite = "docs/measures.md: `LETHE_BLESS=1 cargo test -p lethe-measures --test laws` rewrites it";
    assert!(written == reference(), "{rewrite}");
}
