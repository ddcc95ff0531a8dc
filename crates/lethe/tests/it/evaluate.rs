//! Features, k-NN and the linear probe.

use lethe::evaluate::{LinearProbe, LinearSettings, lbfgs};
use ndarray::Array2;
use tch::{Device, Kind, Tensor};

use crate::golden;

fn rows(t: &Tensor) -> Array2<f32> {
    let (n, d) = t.size2().unwrap();
    Array2::from_shape_vec((n as usize, d as usize), Vec::try_from(t.to_kind(Kind::Float).view(-1)).unwrap()).unwrap()
}

fn labels(t: &Tensor) -> Vec<u32> {
    Vec::<i64>::try_from(t).unwrap().into_iter().map(|l| l as u32).collect()
}

#[test]
fn linear_probe_equals_scikit_learn() {
    let case = golden::load("linear");
    let (train, test) = (rows(case.get("train")), rows(case.get("test")));
    let digits = labels(case.get("labels"));
    let halves: Vec<u32> = digits.iter().map(|&digit| u32::from(digit >= 5)).collect();
    let value = |name: &str| case.get(name).double_value(&[]);
    for (name, labels, tolerance) in [("default", &digits, 1e-4), ("exact", &digits, 1e-8), ("binary", &halves, 1e-8)] {
        let (train_labels, test_labels) = labels.split_at(train.nrows());
        let settings = LinearSettings { tolerance, ..LinearSettings::default() };
        let probe = LinearProbe::fit(train.view(), train_labels, settings, Device::Cpu).unwrap();
        assert!(probe.converged, "{name}: {} iterations", probe.iterations);
        let exact = name != "default";

        let objective = probe.objective - value(&format!("{name}.objective"));
        assert!(objective.abs() < if exact { 1e-9 } else { 1e-4 }, "{name}: objective off by {objective:e}");
        for (side, found) in
            [("train", probe.accuracy(train.view(), train_labels)), ("test", probe.accuracy(test.view(), test_labels))]
        {
            let expected = value(&format!("{name}.{side}_accuracy"));
            let allowed = if exact { 1e-12 } else { 0.005 };
            assert!((found - expected).abs() <= allowed, "{name}.{side}: {found} for {expected}");
        }
        if exact {
            let found = probe.probabilities(test.slice(ndarray::s![..100, ..]));
            golden::assert_close(name, &found, case.get(&format!("{name}.probabilities")), 1e-6);
        }
        if name == "exact" {
            golden::assert_close("weights", &probe.weights(), case.get("exact.weight"), 1e-5);
            golden::assert_close("biases", &probe.biases(), case.get("exact.bias"), 1e-5);
        }
    }
}

#[test]
fn linear_probe_says_what_it_cannot_fit() {
    let fit = |x: Array2<f32>, labels: &[u32]| {
        LinearProbe::fit(x.view(), labels, LinearSettings::default(), Device::Cpu).unwrap_err().what
    };
    assert_eq!(
        fit(Array2::zeros((3, 2)), &[4, 4, 4]),
        "a linear probe needs at least two classes, the training labels have 1"
    );
    assert_eq!(
        fit(Array2::from_elem((2, 2), f32::NAN), &[0, 1]),
        "a linear probe needs finite features, these hold NaN or infinity"
    );
}

#[test]
fn lbfgs_finds_the_minimum_of_rosenbrock() {
    let rosenbrock = |x: &Tensor| {
        let v = Vec::<f64>::try_from(x).unwrap();
        let (a, b) = (1.0 - v[0], v[1] - v[0] * v[0]);
        let gradient = [-2.0 * a - 400.0 * v[0] * b, 200.0 * b];
        Ok((a * a + 100.0 * b * b, Tensor::from_slice(&gradient)))
    };
    let settings = lbfgs::Settings { max_iterations: 100, tolerance: 1e-9 };
    let minimum = lbfgs::minimize(rosenbrock, Tensor::from_slice(&[-1.2, 1.0]), settings).unwrap();
    assert!(minimum.converged && minimum.value < 1e-18, "{minimum:?}");
    let short = lbfgs::Settings { max_iterations: 3, tolerance: 1e-9 };
    assert!(!lbfgs::minimize(rosenbrock, Tensor::from_slice(&[-1.2, 1.0]), short).unwrap().converged);
}
