//! The table of measures as a whole.

use lethe_measures::{
    Ceiling, Groups, MEASURES, Measure, MeasureError, Needs, Rows, Step, affordable, budget, reference, seconds,
};
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
        for groups in [Groups::None, Groups::Views(2), Groups::Views(10), Groups::Labels(&labels)] {
            let Ok(rows) = Rows::new(z.view(), groups, 0.5) else {
                assert!(z.nrows() % 2 == 1 || z.nrows() % 10 > 0);
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
        for measure in MEASURES.iter().filter(|measure| measure.steps.contains(&Step::Pairs)) {
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
    assert_eq!(named("unitmem").needs, Needs::Views(2));
    assert_eq!(named("lidar").needs.shown(), "10 views or more");
}

fn named(name: &str) -> &'static Measure {
    MEASURES.iter().find(|measure| measure.name == name).expect("a measure")
}

#[test]
fn groups_that_are_too_few_views_are_refused() {
    let z = normal(60, 5, 1);
    let rows = |groups| Rows::new(z.view(), groups, 0.5).unwrap();
    let lidar = named("lidar");
    assert_eq!((lidar.of)(&rows(Groups::Views(6))), Err(MeasureError::TooFewViews { views: 6, needed: 10 }));
    assert!(!lidar.needs.met_by(Groups::Views(6)) && lidar.needs.met_by(Groups::Views(10)));
    for name in ["lidar", "alignment", "unitmem"] {
        assert_eq!((named(name).of)(&rows(Groups::None)), Err(MeasureError::NoViews));
        assert!(!named(name).needs.met_by(Groups::Labels(&[0; 60])));
    }
    assert!(named("compressed_rate").needs.met_by(Groups::Views(6)));
}

/// Rows as even as they can be come near the ceiling of every rank, and nothing exceeds it.
#[test]
fn ranks_reach_their_ceilings_and_stay_below() {
    let ceilings = |n: usize, d: usize, groups| {
        let (centred, lifted) = (normal(n, d, 13), normal(n, d, 13) + 0.01);
        let rows = Rows::new(lifted.view(), groups, 0.5).unwrap();
        assert_eq!(centred.dim(), (n, d));
        let ranks = MEASURES.iter().filter(|measure| measure.needs.met_by(groups));
        let ranks = ranks.filter_map(|measure| measure.ceiling.map(|ceiling| (measure, ceiling)));
        ranks.map(|(m, c)| (m.name, (m.of)(&rows).unwrap(), c.of(&rows))).collect::<Vec<_>>()
    };
    let names = |found: &[(&'static str, f64, usize)]| found.iter().map(|(name, _, _)| *name).collect::<Vec<_>>();
    let few = ceilings(10, 64, Groups::None);
    assert_eq!(names(&few), ["rankme", "effective_rank", "stable_rank", "nesum"]);
    assert_eq!(few.iter().map(|(_, _, ceiling)| *ceiling).collect::<Vec<_>>(), [10, 9, 10, 9]);
    let views = ceilings(60, 64, Groups::Views(10));
    assert_eq!(views.last().map(|(name, _, ceiling)| (*name, *ceiling)), Some(("lidar", 5)));
    assert_eq!(Ceiling::CentredImages.shown(), "min(images - 1, d)");
    for found in [few, views, ceilings(4000, 6, Groups::None)] {
        for (name, value, ceiling) in found {
            assert!(value <= ceiling as f64 * (1.0 + 1e-4), "{name}: {value} of {ceiling}");
            assert!(value >= 0.2 * ceiling as f64, "{name}: {value} of {ceiling}");
        }
    }
}

#[test]
fn what_is_taken_unasked_stays_within_its_budget() {
    let all: Vec<&Measure> = MEASURES.iter().collect();
    let names = |measures: &[&Measure]| measures.iter().map(|measure| measure.name).collect::<Vec<_>>();
    for n in [10, 1_000, 20_000, 50_000, 1_000_000] {
        for d in [2, 64, 1_024, 8_192] {
            let (taken, left) = affordable(&all, n, d);
            assert_eq!(taken.len() + left.len(), all.len());
            assert!(seconds(&taken, n, d) <= budget(n, d));
            // None that would still have fitted is left out.
            for (measure, alone) in left {
                assert_eq!(alone, measure.seconds(n, d));
                let more: Vec<&Measure> = taken.iter().copied().chain([measure]).collect();
                assert!(seconds(&more, n, d) > budget(n, d), "{} of {n} x {d}", measure.name);
            }
        }
    }
    let (taken, left) = affordable(&all, 2_000, 128);
    assert!(left.is_empty(), "{:?} of few rows", names(&taken));
    // What two measures share is counted once.
    let (rankme, nesum) = (named("rankme"), named("nesum"));
    assert_eq!(seconds(&[rankme, nesum], 20_000, 1_024), rankme.seconds(20_000, 1_024));
    assert_eq!(affordable(&[], 10, 10).0.len(), 0);
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
