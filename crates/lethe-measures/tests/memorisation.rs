//! The numbers of memorisation against NumPy and SciPy, by `golden/memorisation/make.py`.

use lethe_measures::{
    Cell, Estimate, StageViews, TruePositives, ViewDistances, membership_above_control, memorisation,
};
use ndarray::{Array2, Array3, ArrayD, Axis, Ix2, Ix3, Ix4};
use safetensors::{Dtype, SafeTensors};

fn case() -> SafeTensors<'static> {
    SafeTensors::deserialize(include_bytes!("golden/memorisation/case.safetensors")).expect("a safetensors file")
}

fn array(case: &SafeTensors, name: &str) -> ArrayD<f64> {
    let view = case.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(view.dtype(), Dtype::F64, "{name}");
    let values = view.data().as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
    ArrayD::from_shape_vec(view.shape(), values).expect("its own shape")
}

fn list(case: &SafeTensors, name: &str) -> Vec<f64> {
    array(case, name).into_iter().collect()
}

fn views(case: &SafeTensors, name: &str) -> Array3<f64> {
    array(case, name).into_dimensionality::<Ix3>().expect("[q, n, d]")
}

fn assert_all_close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-10, "{what}: {found} for {expected}");
    }
}

fn assert_estimate(what: &str, found: Estimate, expected: &[f64]) {
    assert_all_close(what, &[found.value, found.low, found.high], expected);
}

#[test]
fn the_numbers_of_a_stage_are_numpys() {
    let case = case();
    let names: Vec<String> =
        case.names().into_iter().filter_map(|name| name.strip_suffix("/train")).map(str::to_owned).collect();
    assert_eq!(names.len(), 7);
    for name in names {
        let of = |key: &str| list(&case, &format!("{name}/{key}"));
        let (train, unseen) = (views(&case, &format!("{name}/train")), views(&case, &format!("{name}/unseen")));
        let stage = StageViews::new(train.view(), unseen.view()).expect("fine views");
        let (distances, retrieval) = (stage.distances(), stage.retrieval(0));
        let zeros = distances.zero_rows.map(|zeros| zeros as f64);
        for (key, found) in [
            ("d_i_train", &distances.train[..]),
            ("d_i_unseen", &distances.unseen),
            ("between_of", &distances.between_of),
            ("zero_rows", &zeros),
        ] {
            assert_all_close(&format!("{name}/{key}"), found, &of(key));
        }
        let paired = of("paired")[0] > 0.0;
        let cell = Cell { distances: &distances, retrieval: Some(&retrieval) };
        let found = memorisation(&[cell], paired, 0).expect("numbers")[0];
        for (key, found) in [
            ("membership", found.membership),
            ("memorisation_gap", found.memorisation_gap),
            ("relative_gap", found.relative_gap.expect("some distance")),
            ("d_train", found.d_train),
            ("d_unseen", found.d_unseen),
            ("d_between", found.d_between),
        ] {
            assert_estimate(&format!("{name}/{key}"), found, &of(key));
        }
        let expected = of("true_positives");
        match found.true_positives {
            TruePositives::TooFew { missing } => assert_eq!(missing as f64, expected[1], "{name}"),
            TruePositives::At10Percent(share) => {
                assert_eq!(expected[0], 0.1, "{name}");
                assert_estimate(&name, share, &expected[1..]);
            }
            TruePositives::At1Percent(share) => {
                assert_eq!(expected[0], 0.01, "{name}");
                assert_estimate(&name, share, &expected[1..]);
            }
        }
        if train.len_of(Axis(1)) == unseen.len_of(Axis(1)) {
            assert_all_close(&name, &retrieval.train, &of("hits_train"));
            assert_all_close(&name, &retrieval.unseen, &of("hits_unseen"));
            assert_estimate(&name, found.retrieval_gap.expect("retrieval"), &of("retrieval_gap"));
        }
        let control = format!("{name}/control");
        if case.tensor(&control).is_ok() {
            let control = array(&case, &control).into_dimensionality::<Ix4>().expect("[2, q, n, d]");
            let [first, second] = [0, 1].map(|side| control.index_axis(Axis(0), side));
            let control = StageViews::new(first, second).expect("fine views").distances();
            let found = membership_above_control(&[&distances], &[&control], paired, 0).expect("a difference");
            assert_estimate(&format!("{name}/above_control"), found[0], &of("above_control"));
        }
    }
}

/// The means of nine correlated cells have errors of which 1,999 draws say how many hold together.
#[test]
fn a_family_of_cells_reaches_as_far_as_numpys() {
    let case = case();
    let terms: Array2<f64> = array(&case, "family/terms").into_dimensionality::<Ix2>().expect("[cells, n]");
    let images = terms.ncols();
    let distances: Vec<ViewDistances> = terms
        .outer_iter()
        .map(|terms| ViewDistances {
            train: terms.iter().map(|term| 2.0 + 0.1 * term).collect(),
            unseen: vec![2.0; images],
            between: 2.0,
            between_of: vec![2.0; images],
            zero_rows: [0, 0],
        })
        .collect();
    let cells: Vec<Cell> = distances.iter().map(|distances| Cell { distances, retrieval: None }).collect();
    let expected = list(&case, "family/critical")[0];
    let mut sum = 0.0;
    for seed in 0..10 {
        let found = memorisation(&cells, true, seed).expect("numbers");
        let reaches: Vec<f64> = found
            .iter()
            .zip(terms.outer_iter())
            .map(|(found, terms)| {
                (found.d_train.high - found.d_train.value) / (0.1 * terms.std(1.0) / (images as f64).sqrt())
            })
            .collect();
        assert!(reaches.iter().all(|reach| (reach / reaches[0] - 1.0).abs() < 1e-9));
        assert!((reaches[0] / expected - 1.0).abs() < 0.04, "{} for {expected}", reaches[0]);
        sum += reaches[0];
    }
    assert!((sum / 10.0 / expected - 1.0).abs() < 0.012, "{} for {expected}", sum / 10.0);
}
