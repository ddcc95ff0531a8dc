//! Onsets of simulated curves, where the truth is known: how often the interval holds it, and how often there is a
//! false alarm.

use lethe_measures::{Curves, Draw, Onset, onsets};
use ndarray::{Array2, Array3, Axis};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Exp1, StandardNormal, StudentT, Uniform};
use rayon::prelude::*;

const REPLICATES: usize = 399;
const CURVES: u64 = 1000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Step,
    /// Straight on to the last checkpoint.
    Ramp,
    /// Straight on for a while, then flat.
    ShortRamp,
    /// 1 - exp(-t / scale)
    Saturating,
    /// Up at once, and half of it down again.
    Hump,
    /// 3 u^2 - 2 u^3, u from 0 to 1: slowly at first, beyond what the interval promises.
    Smooth,
}

const SHAPES: [Shape; 6] = [Shape::Step, Shape::Ramp, Shape::ShortRamp, Shape::Saturating, Shape::Hump, Shape::Smooth];
/// The rise, in standard errors of the difference between the last checkpoint and the first.
const STRENGTHS: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 40.0];
const CHECKPOINTS: [usize; 6] = [5, 8, 12, 20, 30, 40];

struct Trial {
    shape: Shape,
    strength: f64,
    epochs: Vec<f64>,
    onset: f64,
    differences: Array3<f64>,
}

/// Numbers between 0 and 1.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    Uniform::new(0.0, 1.0).expect("a range").sample(rng)
}

fn pick<T: Copy>(of: &[T], rng: &mut ChaCha8Rng) -> T {
    of[(uniform(rng) * of.len() as f64) as usize]
}

fn epochs(checkpoints: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let even = |i: usize| i as f64 / (checkpoints - 1) as f64;
    match (uniform(rng) * 3.0) as usize {
        0 => (0..checkpoints).map(|i| (300.0 * even(i)).round()).collect(),
        1 => (0..checkpoints).map(|i| 1000f64.powf(even(i)) - 1.0).collect(),
        _ => {
            let step = |at: &f64| Some(at + 1.0 + (40.0 * uniform(rng)).round());
            std::iter::successors(Some(0.0), step).take(checkpoints).collect()
        }
    }
}

/// Differences `[stages, checkpoints, images]` without a rise: an offset (a split that is not random), an effect of
/// each image that stays (all stages share a part of it), errors that are strongly correlated over checkpoints and some
/// that are not, both with heavy tails, and all larger late in training.
fn noise(stages: usize, epochs: &[f64], images: usize, rng: &mut ChaCha8Rng) -> Array3<f64> {
    let mut differences = Array3::zeros((stages, epochs.len(), images));
    let memory = pick(&[0.5, 0.9, 0.98], rng);
    let (constant, loose, growth) = (3.0 * uniform(rng), uniform(rng), 2.0 * uniform(rng));
    let offset: f64 = StandardNormal.sample(rng);
    let heavy = StudentT::new(3.0).expect("degrees of freedom");
    let last = epochs[epochs.len() - 1];
    for image in 0..images {
        let shared: f64 = heavy.sample(rng);
        for stage in 0..stages {
            let own: f64 = StandardNormal.sample(rng);
            let effect = offset + constant * (shared + own);
            let tail: f64 = Exp1.sample(rng);
            let mut slow: f64 = StandardNormal.sample(rng);
            for (checkpoint, at) in epochs.iter().enumerate() {
                let fresh: f64 = StandardNormal.sample(rng);
                slow = memory * slow + (1.0f64 - memory * memory).sqrt() * fresh;
                let quick: f64 = if loose > 0.3 { heavy.sample(rng) } else { 0.0 };
                let scale = 1.0 + growth * at / last;
                differences[(stage, checkpoint, image)] = effect + scale * (slow * tail + loose * quick);
            }
        }
    }
    differences
}

fn trial(seed: u64) -> Trial {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let (shape, strength) = (pick(&SHAPES, rng), pick(&STRENGTHS, rng));
    let images = pick(&[200, 500, 1000], rng);
    let epochs = epochs(pick(&CHECKPOINTS, rng), rng);
    let mut differences = noise(1, &epochs, images, rng);
    let last = epochs.len() - 1;
    // In the middle of a stretch between checkpoints as often as on a checkpoint, and never behind the last but one.
    let stretch = (uniform(rng) * (last - 1) as f64) as usize;
    let onset = epochs[stretch] + (epochs[stretch + 1] - epochs[stretch]) * pick(&[0.0, 0.3, 0.8], rng);
    let scale = (epochs[last] - onset) * (0.1 + 0.4 * uniform(rng));
    let rise = |at: f64| {
        let since = at - onset;
        if since <= 0.0 {
            return 0.0;
        }
        match shape {
            Shape::Step => 1.0,
            Shape::Ramp => since / (epochs[last] - onset),
            Shape::ShortRamp => (since / scale).min(1.0),
            Shape::Saturating => 1.0 - (-since / scale).exp(),
            Shape::Smooth => {
                let u = since / (epochs[last] - onset);
                u * u * (3.0 - 2.0 * u)
            }
            Shape::Hump => 1.0 - 0.5 * since / (epochs[last] - onset),
        }
    };
    let change: Vec<f64> =
        (0..images).map(|image| differences[(0, last, image)] - differences[(0, 0, image)]).collect();
    let mean = change.iter().sum::<f64>() / images as f64;
    let error = (change.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (images * images) as f64).sqrt();
    for image in 0..images {
        // A few images are memorised much more than the rest.
        let own: f64 = Exp1.sample(rng);
        for (checkpoint, &at) in epochs.iter().enumerate() {
            differences[(0, checkpoint, image)] += strength * error * own * rise(at);
        }
    }
    Trial { shape, strength, epochs, onset, differences }
}

/// Of images, or, every other time, of replicates made elsewhere: means of images drawn with replacement.
fn curves(epochs: &[f64], differences: &Array3<f64>, seed: u64) -> Curves {
    let (stages, checkpoints, images) = differences.dim();
    if seed.is_multiple_of(2) || images > 500 {
        return Curves::from_images(epochs, &[differences.view()], Draw::Images, REPLICATES, seed).unwrap();
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let image = Uniform::new(0, images).expect("images");
    let mut counts = Array2::<f64>::zeros((REPLICATES, images));
    for mut row in counts.outer_iter_mut() {
        (0..images).for_each(|_| row[image.sample(&mut rng)] += 1.0 / images as f64);
    }
    let rows = differences.view().into_shape_with_order((stages * checkpoints, images)).unwrap();
    let replicates = counts.dot(&rows.t()).into_shape_with_order((REPLICATES, stages, checkpoints)).unwrap();
    let means = differences.mean_axis(Axis(2)).unwrap();
    Curves::from_replicates(epochs, means.view(), replicates.view()).unwrap()
}

/// What came of a number of trials.
struct Outcome {
    trials: usize,
    seen: usize,
    held: usize,
    /// Median width of the interval, as a share of the training.
    width: f64,
    line: String,
}

fn outcome(what: &str, trials: &[(Trial, Option<Onset>)], wanted: impl Fn(&Trial) -> bool) -> Outcome {
    let trials: Vec<_> = trials.iter().filter(|(trial, _)| wanted(trial)).collect();
    let seen: Vec<_> = trials.iter().filter_map(|(trial, onset)| onset.map(|onset| (trial, onset))).collect();
    let count = |is: &dyn Fn(&Trial, &Onset) -> bool| seen.iter().filter(|(trial, onset)| is(trial, onset)).count();
    let held = count(&|trial, Onset { interval: [low, high], .. }| *low <= trial.onset && trial.onset <= *high);
    let before = count(&|trial, onset| onset.interval[1] < trial.onset);
    let gradual = count(&|_, onset| !onset.abrupt);
    let median = |of: &dyn Fn(&Trial, &Onset) -> f64| {
        let mut values: Vec<f64> = seen.iter().map(|(trial, onset)| of(trial, onset)).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let whole = |trial: &Trial| trial.epochs[trial.epochs.len() - 1];
    let width = median(&|trial, onset| (onset.interval[1] - onset.interval[0]) / whole(trial));
    let off = median(&|trial, onset| (onset.epoch - trial.onset).abs() / whole(trial));
    let share = |part: usize, of: usize| 100.0 * part as f64 / of as f64;
    let line = format!(
        "{what:<15} {:>5} {:>6.1} {:>6.1} {:>7.1} {:>8.1} {width:>7.3} {off:>7.3}\n",
        trials.len(),
        share(seen.len(), trials.len()),
        share(held, seen.len()),
        share(before, seen.len()),
        share(gradual, seen.len()),
    );
    Outcome { trials: trials.len(), seen: seen.len(), held, width, line }
}

#[test]
#[expect(clippy::print_stderr, reason = "the numbers that the docs quote, with --nocapture")]
fn the_interval_holds_the_onset() {
    let trials: Vec<_> = (0..CURVES)
        .into_par_iter()
        .map(|seed| {
            let trial = trial(seed);
            let onset = onsets(&curves(&trial.epochs, &trial.differences, seed))[0];
            (trial, onset)
        })
        .collect();
    let mut table = String::from("                trials seen % held % early % gradual%  width     off\n");
    for shape in SHAPES {
        table += &outcome(&format!("{shape:?}"), &trials, |trial| trial.shape == shape).line;
    }
    for strength in STRENGTHS {
        let outcome = outcome(&format!("strength {strength}"), &trials, |trial| trial.strength == strength);
        table += &outcome.line;
        assert!(strength < 8.0 || outcome.seen == outcome.trials, "{table}");
    }
    for checkpoints in CHECKPOINTS {
        table += &outcome(&format!("{checkpoints} checkpoints"), &trials, |t| t.epochs.len() == checkpoints).line;
    }
    let all = outcome("all", &trials, |_| true);
    table += &all.line;
    eprintln!("{table}");
    assert!(all.held * 100 >= 95 * all.seen, "{table}");
    assert!(all.seen * 100 >= 75 * all.trials && all.width < 0.25, "{table}");
}

#[test]
#[expect(clippy::print_stderr, reason = "the number that the docs quote, with --nocapture")]
fn a_flat_curve_has_no_onset() {
    let alarms = (0..CURVES)
        .into_par_iter()
        .filter(|&seed| {
            let rng = &mut ChaCha8Rng::seed_from_u64(1 << 32 | seed);
            let (stages, images) = (pick(&[1, 2, 5], rng), pick(&[200, 500], rng));
            let epochs = epochs(pick(&CHECKPOINTS, rng), rng);
            let differences = noise(stages, &epochs, images, rng);
            onsets(&curves(&epochs, &differences, seed)).iter().any(Option::is_some)
        })
        .count();
    eprintln!("{alarms} false alarms in {CURVES}");
    assert!(alarms * 20 <= CURVES as usize, "{alarms} false alarms");
}

/// Three runs on the same images, with effects of images that they share and errors of their own.
#[test]
fn nor_have_three_flat_runs() {
    let alarms = |draw| {
        let alarm = |&seed: &u64| {
            let rng = &mut ChaCha8Rng::seed_from_u64(2 << 32 | seed);
            let epochs = epochs(pick(&CHECKPOINTS[..4], rng), rng);
            let shared = noise(2, &epochs, 200, rng);
            let runs: Vec<Array3<f64>> = (0..3).map(|_| &shared + &noise(2, &epochs, 200, rng)).collect();
            let views: Vec<_> = runs.iter().map(|run| run.view()).collect();
            let curves = Curves::from_images(&epochs, &views, draw, REPLICATES, seed).unwrap();
            onsets(&curves).iter().any(Option::is_some)
        };
        (0..200).into_par_iter().filter(alarm).count()
    };
    let (images, runs) = (alarms(Draw::Images), alarms(Draw::ImagesAndRuns));
    assert!(images <= 10 && runs <= images, "{images} and {runs} false alarms in 200");
}
