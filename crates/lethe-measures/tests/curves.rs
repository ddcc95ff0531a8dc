//! Onsets, choices and rank correlations: against NumPy and SciPy, by `golden/curves/make.py`, and what must hold for
//! any curve.

use lethe_measures::{
    COMBINATION, CRITERIA, Criterion, Curves, Direction, Draw, Estimate, LEAST_REPLICATES, MeasureError, Onset, Rule,
    best, choose_by_mean_rank, kendall_tau, onsets, rank_correlation, spearman_rho,
};
use ndarray::{Array2, Array3, ArrayD, Axis, Ix2, Ix3, array, s};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use safetensors::{Dtype, SafeTensors};

fn case() -> SafeTensors<'static> {
    SafeTensors::deserialize(include_bytes!("golden/curves/case.safetensors")).expect("a safetensors file")
}

fn array(case: &SafeTensors, name: &str) -> ArrayD<f64> {
    let view = case.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (values, _) = view.data().as_chunks::<8>();
    let values: Vec<f64> = match view.dtype() {
        Dtype::F64 => values.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect(),
        Dtype::I64 => values.iter().map(|&bytes| i64::from_le_bytes(bytes) as f64).collect(),
        other => panic!("{name}: {other:?} is not used here"),
    };
    ArrayD::from_shape_vec(view.shape(), values).expect("its own shape")
}

fn list(case: &SafeTensors, name: &str) -> Vec<f64> {
    array(case, name).into_iter().collect()
}

fn assert_close(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{what}: {found} for {expected}");
}

fn assert_interval(what: &str, found: Estimate, expected: &[f64]) {
    for (found, &expected) in [found.value, found.low, found.high].into_iter().zip(expected) {
        assert_close(what, found, expected);
    }
}

#[test]
fn onsets_and_choices_are_numpys() {
    let case = case();
    let names: Vec<String> =
        case.names().into_iter().filter_map(|name| name.strip_suffix("/curves")).map(str::to_owned).collect();
    assert_eq!(names.len(), 6);
    let mut seen = 0;
    for name in names {
        let of = |key: &str| array(&case, &format!("{name}/{key}"));
        let means = of("curves").into_dimensionality::<Ix2>().unwrap();
        let replicates = of("replicates").into_dimensionality::<Ix3>().unwrap();
        let curves =
            Curves::from_replicates(&list(&case, &format!("{name}/epochs")), means.view(), replicates.view()).unwrap();
        let expected = of("onsets").into_dimensionality::<Ix2>().unwrap();
        for (stage, (found, expected)) in onsets(&curves).into_iter().zip(expected.outer_iter()).enumerate() {
            let place = format!("{name}, stage {stage}");
            let Some(found) = found else {
                assert!(expected[0] > 0.025 && expected[1].is_nan(), "{place}");
                continue;
            };
            seen += 1;
            let Onset { checkpoint, epoch, interval: [low, high], abrupt, rise, p } = found;
            let values = [p, low, high, epoch, checkpoint as f64, f64::from(abrupt)];
            for (found, &expected) in values.into_iter().zip(expected) {
                assert_close(&place, found, expected);
            }
            assert_interval(&place, rise, &expected.to_vec()[6..]);
        }
        let choice = best(&curves, curves.stages() - 1, Direction::Higher).unwrap();
        assert_eq!(choice.best as f64, of("best")[0], "{name}");
        let as_good: Vec<f64> = choice.as_good.iter().map(|&good| f64::from(good)).collect();
        assert_eq!(as_good, list(&case, &format!("{name}/as_good")), "{name}");
        assert!(choice.as_good[choice.earliest] && !choice.as_good[..choice.earliest].contains(&true));
        let losses = of("losses").into_dimensionality::<Ix2>().unwrap();
        for (found, expected) in choice.losses.iter().zip(losses.outer_iter()) {
            assert_interval(&name, *found, &expected.to_vec());
        }
    }
    assert_eq!(seen, 5);
}

#[test]
fn rank_correlations_are_scipys() {
    let case = case();
    for index in 0..6 {
        let [x, y, tau, rho] = ["x", "y", "tau", "rho"].map(|key| list(&case, &format!("ranks/{index}/{key}")));
        assert!((kendall_tau(&x, &y).unwrap() - tau[0]).abs() < 1e-12, "{index}");
        assert!((spearman_rho(&x, &y).unwrap() - rho[0]).abs() < 1e-12, "{index}");
    }
}

/// Differences of images `[1, checkpoints, images]` with means `curve`, errors that last from one checkpoint to the
/// next.
fn images(curve: &[f64], images: usize, seed: u64) -> Array3<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut differences = Array3::zeros((1, curve.len(), images));
    for image in 0..images {
        let mut error: f64 = StandardNormal.sample(&mut rng);
        for (at, mean) in curve.iter().enumerate() {
            let fresh: f64 = StandardNormal.sample(&mut rng);
            error = 0.8 * error + 0.6 * fresh;
            differences[(0, at, image)] = mean + error;
        }
    }
    differences
}

const EPOCHS: [f64; 8] = [0.0, 10.0, 20.0, 40.0, 60.0, 100.0, 200.0, 300.0];
const STEP: [f64; 8] = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];

fn of_images(differences: &Array3<f64>) -> Curves {
    Curves::from_images(&EPOCHS, &[differences.view()], Draw::Images, 999, 0).unwrap()
}

#[test]
fn an_onset_moves_with_its_curve() {
    let differences = images(&STEP, 400, 1);
    let found = onsets(&of_images(&differences))[0].unwrap();
    assert_eq!((found.checkpoint, found.abrupt, found.interval[1]), (4, true, 60.0));
    assert!(found.interval[0] >= 20.0 && found.p < 0.01, "{found:?}");
    assert!(found.rise.low > 0.7 && found.rise.high < 1.3, "{found:?}");

    // What images keep over all checkpoints, be it an offset or their own, is no rise, and no unit matters.
    let lasting = Array3::from_shape_fn(differences.dim(), |(_, _, image)| 5.0 + (image % 7) as f64);
    let moved = onsets(&of_images(&(0.01 * (&differences + &lasting))))[0].unwrap();
    assert_eq!((moved.interval, moved.epoch, moved.checkpoint), (found.interval, found.epoch, found.checkpoint));
    assert!((moved.rise.value - 0.01 * found.rise.value).abs() < 1e-12);
    let falling = onsets(&of_images(&-&differences))[0];
    assert_eq!(falling, None, "a fall is no onset");

    // A stage without a rise beside it makes the claim weaker, never stronger.
    let flat = images(&[0.0; 8], 400, 2);
    let both = ndarray::concatenate(Axis(0), &[differences.view(), flat.view()]).unwrap();
    let both = onsets(&of_images(&both));
    assert_eq!(both[0].unwrap().interval[1], found.interval[1]);
    assert!(both[0].unwrap().p >= found.p && both[1].is_none());
}

/// A rise that is there from the first checkpoint on shows against a column of zeros.
#[test]
fn zeros_before_the_curve_are_the_level_of_a_random_split() {
    let differences = images(&[1.0; 8], 400, 3);
    assert_eq!(onsets(&of_images(&differences))[0], None);
    let mut with_zeros = Array3::zeros((1, 8, 400));
    with_zeros.slice_mut(s![.., 1.., ..]).assign(&differences.slice(s![.., 1.., ..]));
    let found = onsets(&of_images(&with_zeros))[0].unwrap();
    assert_eq!((found.checkpoint, found.interval), (1, [found.interval[0], 10.0]));
}

#[test]
fn what_does_not_vary_has_no_onset() {
    let constant = Array3::from_elem((2, 8, 30), 3.0);
    let curves = Curves::from_images(&EPOCHS, &[constant.view()], Draw::Images, 199, 0).unwrap();
    assert_eq!(onsets(&curves), [None, None]);
    assert_eq!(best(&curves, 0, Direction::Higher), Err(MeasureError::AllEqual));
    let two = images(&[0.0, 1.0], 100, 4);
    let two = Curves::from_images(&[0.0, 5.0], &[two.view()], Draw::Images, 199, 0).unwrap();
    let found = onsets(&two)[0].unwrap();
    assert_eq!((found.checkpoint, found.interval), (1, [0.0, 5.0]), "two checkpoints say between them");
}

/// One run: the standard error of a mean. Several: no less than that, and more the more the runs differ.
#[test]
fn replicates_spread_as_means_do() {
    let run = images(&STEP, 200, 5);
    let error = |curves: &Curves| (curves.difference(0, 7, 0).high - curves.difference(0, 7, 0).low) / 2.0 / 1.96;
    let change = &run.slice(s![0, 7, ..]) - &run.slice(s![0, 0, ..]);
    let expected = change.std(1.0) / 200f64.sqrt();
    let one = error(&Curves::from_images(&EPOCHS, &[run.view()], Draw::Images, 4999, 0).unwrap());
    assert!((one / expected - 1.0).abs() < 0.05, "{one} for {expected}");
    // The same images in every run: three runs know no more of images than one.
    let same = error(
        &Curves::from_images(&EPOCHS, &[run.view(), run.view(), run.view()], Draw::ImagesAndRuns, 4999, 0).unwrap(),
    );
    assert!((same / expected - 1.0).abs() < 0.05, "{same} for {expected}");
    let differing =
        error(&Curves::from_images(&EPOCHS, &[run.view(), (3.0 * &run).view()], Draw::ImagesAndRuns, 4999, 0).unwrap());
    assert!(differing > 5.0 * expected, "{differing}");
}

#[test]
fn the_earliest_that_is_as_good() {
    // Accuracy rises to a level at the fourth checkpoint; the gap grows to the end.
    let accuracy = of_images(&images(&[0.0, 0.4, 0.8, 1.2, 1.2, 1.2, 1.2, 1.25], 400, 6));
    let gap = of_images(&images(&[0.0, 0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5], 400, 7));
    let choice = best(&accuracy, 0, Direction::Higher).unwrap();
    assert_eq!(choice.earliest, 3);
    assert!(choice.best > 3 && choice.losses[3].low < 0.0 && choice.losses[3].high < 0.3, "{choice:?}");
    assert!(choice.losses[1].low > 0.5, "{choice:?}");
    let spared = choice.spared(&gap, 0).unwrap();
    assert!(spared.low > 0.3 && (spared.value - 0.5 * (choice.best - 3) as f64).abs() < 0.3, "{spared:?}");
    let miss = choice.miss(1);
    assert_eq!((miss.epochs, miss.epochs_to_as_good), (10.0 - EPOCHS[choice.best], 30.0));
    assert_eq!(choice.miss(5).epochs_to_as_good, 0.0);
    assert_eq!(choice.miss(choice.best).regret, Estimate { value: 0.0, low: 0.0, high: 0.0 });

    let lower = of_images(&images(&[2.0, 1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0], 400, 8));
    assert_eq!(best(&lower, 0, Direction::Lower).unwrap().earliest, 2);
    let others = Curves::from_images(&[0.0, 1.0], &[images(&[0.0, 1.0], 30, 9).view()], Draw::Images, 199, 0).unwrap();
    assert!(choice.spared(&others, 0).is_err());
}

/// The truly best checkpoint is in the set at least 95 times in 100, where all are nearly as good and the best one seen
/// often is another.
#[test]
fn the_set_holds_the_best() {
    let truth = [0.0, 0.05, 0.1, 0.15, 0.2, 0.18, 0.15, 0.1];
    let holds = |seed| {
        let curves =
            Curves::from_images(&EPOCHS, &[images(&truth, 200, seed).view()], Draw::Images, 199, seed).unwrap();
        let choice = best(&curves, 0, Direction::Higher).unwrap();
        (choice.as_good[4], choice.best == 4)
    };
    let trials: Vec<(bool, bool)> = (100..500).map(holds).collect();
    let held = trials.iter().filter(|(held, _)| *held).count();
    let hit = trials.iter().filter(|(_, hit)| *hit).count();
    assert!(held >= 380 && hit < 300, "{held} held, {hit} hit");
}

#[test]
fn intervals_of_rank_correlations() {
    let x: Vec<f64> = (0..20).map(f64::from).collect();
    let y: Vec<f64> = x.iter().map(|x| x + 8.0 * (2.3 * x).sin()).collect();
    let found = rank_correlation(&x, &y, None, 0, 0).unwrap();
    // tanh(atanh(r) -+ 1.96 se) by hand.
    let z = 1.959_963_984_540_054;
    let by_hand =
        |r: f64, variance: f64| [(r.atanh() - z * variance.sqrt()).tanh(), (r.atanh() + z * variance.sqrt()).tanh()];
    let (tau, rho) = (found.kendall.value, found.spearman.value);
    assert_eq!([found.kendall.low, found.kendall.high], by_hand(tau, 0.437 / 16.0));
    assert_eq!([found.spearman.low, found.spearman.high], by_hand(rho, (1.0 + rho * rho / 2.0) / 17.0));

    // Runs that agree within themselves and disagree with one another.
    let runs: Vec<u32> = (0..20).map(|at| at / 5).collect();
    let sign = |run: u32| if run == 0 { -1.0 } else { 1.0 };
    let y: Vec<f64> = x.iter().zip(&runs).map(|(x, &run)| sign(run) * x).collect();
    let pooled = rank_correlation(&x, &y, Some(&runs), 999, 0).unwrap().kendall;
    assert_eq!(pooled.high, 1.0);
    assert!(pooled.low < pooled.value && pooled.value < pooled.high, "{pooled:?}");
    assert_eq!(rank_correlation(&x, &x, None, 0, 0).unwrap().kendall.high, 1.0);
    assert!(rank_correlation(&x, &x, None, 0, 0).unwrap().kendall.low < 0.96);

    assert_eq!(kendall_tau(&[1.0, 1.0], &[1.0, 2.0]), Err(MeasureError::AllEqual));
    assert!(kendall_tau(&[], &[]).is_err() && spearman_rho(&[1.0], &[2.0]).is_err());
    assert!(spearman_rho(&[1.0, f64::NAN], &[2.0, 1.0]).is_err() && kendall_tau(&[1.0, 2.0], &[2.0]).is_err());
    assert!(rank_correlation(&x[..4], &y[..4], None, 0, 0).is_err());
    assert!(rank_correlation(&x, &y, Some(&runs[1..]), 99, 0).is_err());
    assert!(rank_correlation(&x, &y, Some(&runs), 0, 0).is_err());
}

#[test]
fn criteria_choose_by_their_rules() {
    let choose = |rule, better, curve: &[f64]| Criterion { name: "", better, rule, why: "" }.choose(curve);
    let bumps = [0.0, 2.0, 1.0, 1.5, 1.0, 5.0, 4.0, 4.6, 4.7];
    assert_eq!(choose(Rule::Extreme, Direction::Higher, &bumps), Ok(5));
    assert_eq!(choose(Rule::Extreme, Direction::Lower, &bumps), Ok(0));
    assert_eq!(choose(Rule::Nearest(1.4), Direction::Lower, &bumps), Ok(3));
    assert_eq!(choose(Rule::FirstPeak, Direction::Higher, &bumps), Ok(1));
    assert_eq!(choose(Rule::FirstPeak, Direction::Higher, &[1.0, 2.0, 2.0, 3.0, 4.0]), Ok(4));
    assert_eq!(choose(Rule::BeforeDecline(0.1), Direction::Higher, &bumps), Ok(1));
    assert_eq!(choose(Rule::BeforeDecline(0.3), Direction::Higher, &bumps), Ok(5));
    assert_eq!(choose(Rule::Settled(0.2), Direction::Lower, &bumps), Ok(5));
    assert_eq!(choose(Rule::Settled(0.01), Direction::Lower, &bumps), Ok(8));
    for criterion in CRITERIA {
        assert_eq!(criterion.choose(&[1.0, 1.0]), Err(MeasureError::AllEqual));
        assert!(criterion.choose(&[]).is_err() && criterion.choose(&[0.0, f64::INFINITY]).is_err());
        assert!(criterion.choose(&bumps).unwrap() < bumps.len());
    }
    assert!(COMBINATION.iter().all(|name| CRITERIA.iter().any(|criterion| criterion.name == *name)));

    let (up, down) = ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 3.0]);
    assert_eq!(choose_by_mean_rank(&[(&up, Direction::Higher)]), Ok(3));
    assert_eq!(choose_by_mean_rank(&[(&up, Direction::Higher), (&down, Direction::Lower)]), Ok(3), "ties share a rank");
    assert_eq!(choose_by_mean_rank(&[(&up, Direction::Higher), (&up, Direction::Lower)]), Ok(0), "the first of equals");
    assert!(choose_by_mean_rank(&[]).is_err());
    assert!(choose_by_mean_rank(&[(&up, Direction::Higher), (&up[1..], Direction::Lower)]).is_err());
}

#[test]
fn what_is_no_curve_is_named() {
    let refused = |epochs: &[f64], differences: &Array3<f64>, replicates| {
        Curves::from_images(epochs, &[differences.view()], Draw::Images, replicates, 0).unwrap_err().to_string()
    };
    let mut run = images(&STEP, 30, 1);
    assert_eq!(refused(&EPOCHS, &run, 50), "50 replicates are too few, expected at least 199");
    assert_eq!(refused(&EPOCHS[1..], &run, 199), "7 epochs, expected 8");
    let mut epochs = EPOCHS;
    epochs[4] = 40.0;
    assert_eq!(refused(&epochs, &run, 199), "epoch 4 is not after the one before it");
    epochs[4] = f64::NAN;
    assert_eq!(refused(&epochs, &run, 199), "the value in row 0, column 4 is NaN");
    assert_eq!(refused(&[0.0], &images(&[1.0], 30, 1), 199), "1 checkpoints are too few, expected at least 2");
    assert_eq!(refused(&EPOCHS, &images(&STEP, 0, 1), 199), "0 rows are too few, expected at least 20");
    assert_eq!(
        refused(&EPOCHS, &Array3::zeros((0, 8, 30)), 199),
        "the matrix has 0 rows of 8 columns, expected at least one of each"
    );
    run[(0, 3, 7)] = f64::NAN;
    assert_eq!(refused(&EPOCHS, &run, 199), "the value in row 3, column 7 is NaN");
    run[(0, 3, 7)] = 1e300;
    assert!(Curves::from_images(&EPOCHS, &[run.view()], Draw::Images, 199, 0).is_err());
    assert!(Curves::from_images(&EPOCHS, &[], Draw::Images, 199, 0).is_err());
    let (first, second) = (images(&STEP, 30, 1), images(&STEP, 40, 1));
    assert!(Curves::from_images(&EPOCHS, &[first.view(), second.view()], Draw::Images, 199, 0).is_err());

    let (curve, mut replicates) = (array![[1.0, 2.0]], Array3::zeros((LEAST_REPLICATES, 1, 2)));
    assert!(Curves::from_replicates(&[0.0, 1.0], curve.view(), replicates.view()).is_ok());
    replicates[(9, 0, 1)] = f64::INFINITY;
    let error = Curves::from_replicates(&[0.0, 1.0], curve.view(), replicates.view()).unwrap_err();
    assert_eq!(error, MeasureError::NonFinite { row: 9, column: 1, value: f64::INFINITY });
    let other = Array2::zeros((2, 2));
    assert!(Curves::from_replicates(&[0.0, 1.0], other.view(), replicates.view()).is_err());
}
