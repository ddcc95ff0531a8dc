//! Onsets of simulated curves, where the truth is known: how often the interval holds it, and how often there is a
//! false alarm.

use std::fmt::Write;

use lethe_measures::{Curves, onsets};
use ndarray::Array3;
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
}

const SHAPES: [Shape; 5] = [Shape::Step, Shape::Ramp, Shape::ShortRamp, Shape::Saturating, Shape::Hump];
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

/// Differences `[stages, checkpoints, images]` without a rise: an effect of each image that stays (all stages share a
/// part of it), errors that are strongly correlated over checkpoints and some that are not, both with heavy tails, and
/// all larger late in training.
fn noise(stages: usize, epochs: &[f64], images: usize, rng: &mut ChaCha8Rng) -> Array3<f64> {
    let mut differences = Array3::zeros((stages, epochs.len(), images));
    let memory = pick(&[0.5, 0.9, 0.98], rng);
    let (constant, loose, growth) = (3.0 * uniform(rng), uniform(rng), 2.0 * uniform(rng));
    let heavy = StudentT::new(3.0).expect("degrees of freedom");
    let last = epochs[epochs.len() - 1];
    for image in 0..images {
        let shared: f64 = heavy.sample(rng);
        for stage in 0..stages {
            let own: f64 = StandardNormal.sample(rng);
            let effect = constant * (shared + own);
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

#[test]
fn the_interval_holds_the_onset() {
    let found: Vec<_> = (0..CURVES)
        .into_par_iter()
        .map(|seed| {
            let trial = trial(seed);
            let curves = Curves::from_images(&trial.epochs, &[trial.differences.view()], REPLICATES, seed).unwrap();
            (onsets(&curves)[0], trial)
        })
        .collect();
    let report = |what: String, wanted: &dyn Fn(&Trial) -> bool| {
        let trials = found.iter().filter(|(_, trial)| wanted(trial)).count();
        let seen: Vec<_> =
            found.iter().filter(|(_, trial)| wanted(trial)).filter_map(|(o, t)| o.map(|o| (o, t))).collect();
        let held = seen.iter().filter(|(o, t)| (o.interval[0]..=o.interval[1]).contains(&t.onset)).count();
        let early = seen.iter().filter(|(o, t)| o.interval[1] < t.onset).count();
        let gradual = seen.iter().filter(|(o, _)| !o.abrupt).count();
        let mut widths: Vec<f64> = seen
            .iter()
            .map(|(o, t)| (o.interval[1] - o.interval[0]) / (t.epochs[t.epochs.len() - 1] - t.epochs[0]))
            .collect();
        widths.sort_by(f64::total_cmp);
        let mut off: Vec<f64> = seen
            .iter()
            .map(|(o, t)| (o.epoch - t.onset).abs() / (t.epochs[t.epochs.len() - 1] - t.epochs[0]))
            .collect();
        off.sort_by(f64::total_cmp);
        let mut cells: Vec<usize> = seen
            .iter()
            .map(|(o, t)| t.epochs.iter().filter(|&&at| at > o.interval[0] && at <= o.interval[1]).count())
            .collect();
        cells.sort();
        let share = |count: usize, of: usize| 100.0 * count as f64 / of as f64;
        let mut line = String::new();
        write!(
            line,
            "{what:<12} {trials:>5} seen {:5.1} % held {:5.1} % too early {:4.1} % not abrupt {:4.1} % width {:.3} ({} checkpoints) off {:.3}",
            share(seen.len(), trials),
            share(held, seen.len()),
            share(early, seen.len()),
            share(gradual, seen.len()),
            widths[widths.len() / 2],
            cells[cells.len() / 2],
            off[off.len() / 2],
        )
        .unwrap();
        eprintln!("{line}");
        (seen.len(), held)
    };
    for shape in SHAPES {
        report(format!("{shape:?}"), &|trial| trial.shape == shape);
    }
    for strength in STRENGTHS {
        report(format!("strength {strength}"), &|trial| trial.strength == strength);
    }
    for checkpoints in CHECKPOINTS {
        report(format!("{checkpoints} long"), &|trial| trial.epochs.len() == checkpoints);
    }
    let (seen, held) = report("all".into(), &|_| true);
    assert!(held * 100 >= 95 * seen, "{held} of {seen}");
}

#[test]
fn a_flat_curve_has_no_onset() {
    let alarms = (0..CURVES)
        .into_par_iter()
        .filter(|&seed| {
            let rng = &mut ChaCha8Rng::seed_from_u64(1 << 32 | seed);
            let (stages, images) = (pick(&[1, 2, 5], rng), pick(&[200, 500], rng));
            let epochs = epochs(pick(&CHECKPOINTS, rng), rng);
            let differences = noise(stages, &epochs, images, rng);
            let curves = Curves::from_images(&epochs, &[differences.view()], REPLICATES, seed).unwrap();
            onsets(&curves).iter().any(Option::is_some)
        })
        .count();
    eprintln!("{alarms} false alarms");
    assert!(alarms * 20 <= CURVES as usize, "{alarms} false alarms");
}
