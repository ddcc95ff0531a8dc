//! The measures against NumPy, by `golden/measures/make.py`.

use lethe_measures::{Groups, MEASURES, Measure, Rows, class_rates, knn, lidar, pair_rates};
use ndarray::Array2;
use safetensors::{Dtype, SafeTensors};

fn case() -> SafeTensors<'static> {
    SafeTensors::deserialize(include_bytes!("golden/measures/case.safetensors")).expect("a safetensors file")
}

fn numbers(case: &SafeTensors, name: &str) -> Vec<f64> {
    let view = case.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (values, _) = view.data().as_chunks::<8>();
    match view.dtype() {
        Dtype::F64 => values.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect(),
        Dtype::I64 => values.iter().map(|&bytes| i64::from_le_bytes(bytes) as f64).collect(),
        other => panic!("{name}: {other:?} is not used here"),
    }
}

fn number(case: &SafeTensors, name: &str) -> f64 {
    numbers(case, name)[0]
}

fn labels(case: &SafeTensors, name: &str) -> Vec<u32> {
    numbers(case, name).into_iter().map(|label| label as u32).collect()
}

fn matrix(case: &SafeTensors, name: &str) -> Array2<f64> {
    let values = numbers(case, name);
    let columns = case.tensor(name).expect("just read").shape()[1];
    Array2::from_shape_vec((values.len() / columns, columns), values).expect("whole rows")
}

/// The names of the matrices, which are those of their tensors up to `/z`.
fn matrices(case: &SafeTensors) -> Vec<String> {
    let mut names: Vec<String> =
        case.names().into_iter().filter_map(|name| name.strip_suffix("/z")).map(str::to_owned).collect();
    names.sort();
    assert_eq!(names.len(), 9);
    names
}

fn measure(name: &str) -> &'static Measure {
    MEASURES.iter().find(|measure| measure.name == name).unwrap_or_else(|| panic!("no measure {name}"))
}

/// A difference of two rates is as exact as they are, so it is held to their size.
fn assert_close(what: &str, found: f64, expected: f64, scale: f64) {
    let error = (found - expected).abs() / scale.abs().max(expected.abs());
    assert!(error < 1e-9, "{what}: {found} for {expected}, relative error {error:e}");
}

#[test]
fn every_measure_of_every_matrix_is_numpys() {
    let case = case();
    for name in matrices(&case) {
        let (z, labels) = (matrix(&case, &format!("{name}/z")), labels(&case, &format!("{name}/labels")));
        let eps2 = number(&case, &format!("{name}/eps2"));
        let mut taken = Vec::new();
        for (groups, place) in
            [(Groups::None, "rows"), (Groups::Pairs, "by_pair"), (Groups::Labels(&labels), "by_class")]
        {
            let rows = Rows::new(z.view(), groups, eps2).expect("fine rows");
            for measure in MEASURES {
                let key = format!("{name}/{place}/{}", measure.name);
                if case.tensor(&key).is_err() {
                    continue;
                }
                taken.push(measure.name);
                let (found, expected) = ((measure.of)(&rows), number(&case, &key));
                if expected.is_nan() {
                    assert!(found.is_err(), "{key}: {found:?}");
                    continue;
                }
                let scale = if measure.name == "coding_rate_reduction" {
                    number(&case, &format!("{name}/rows/coding_rate"))
                } else {
                    expected
                };
                assert_close(&key, found.expect("a number"), expected, scale);
            }
        }
        for measure in MEASURES {
            assert!(taken.contains(&measure.name), "{} has no golden value", measure.name);
        }
        let key = format!("{name}/lidar_3_views");
        if case.tensor(&key).is_ok() {
            let expected = number(&case, &key);
            assert_close(&key, lidar(z.view(), 3).expect("a number"), expected, expected);
        }
    }
}

/// The functions, and `Rows` that keep what they share, are two ways to the same numbers.
#[test]
fn the_table_gives_what_the_functions_give() {
    let case = case();
    for name in matrices(&case) {
        let (z, labels) = (matrix(&case, &format!("{name}/z")), labels(&case, &format!("{name}/labels")));
        let rows = |groups| Rows::new(z.view(), groups, 0.5).expect("fine rows");
        let pairs = rows(Groups::Pairs);
        for (name, function) in [
            ("rankme", lethe_measures::rankme as fn(_) -> _),
            ("effective_rank", lethe_measures::effective_rank),
            ("alpha_req", lethe_measures::alpha_req),
            ("uniformity", lethe_measures::uniformity),
            ("alignment", lethe_measures::alignment),
            ("lidar", |z| lidar(z, 2)),
            ("coding_rate", |z| lethe_measures::coding_rate(z, 0.5)),
        ] {
            assert_eq!((measure(name).of)(&pairs), function(z.view()), "{name}");
        }
        for (groups, rates) in
            [(Groups::Pairs, pair_rates(z.view(), 0.5)), (Groups::Labels(&labels), class_rates(z.view(), &labels, 0.5))]
        {
            let (rows, rates) = (rows(groups), rates.expect("rates"));
            assert_eq!((measure("coding_rate").of)(&rows), Ok(rates.coding_rate));
            assert_eq!((measure("compressed_rate").of)(&rows), Ok(rates.compressed_rate));
            assert_eq!((measure("coding_rate_reduction").of)(&rows), Ok(rates.coding_rate_reduction()));
        }
    }
}

#[test]
fn knn_votes_as_lightly_and_scikit_learn() {
    let case = case();
    let [bank, query] = ["knn/bank", "knn/query"].map(|name| matrix(&case, name).mapv(|x| x as f32));
    let [bank_labels, query_labels] = ["knn/bank_labels", "knn/query_labels"].map(|name| labels(&case, name));
    let [ks, temperatures, against, leave_one_out] =
        ["knn/k", "knn/temperature", "knn/against", "knn/leave_one_out"].map(|name| numbers(&case, name));
    assert_eq!(ks.len(), 6);
    for i in 0..ks.len() {
        let (k, t) = (ks[i] as usize, temperatures[i]);
        let found = knn::against(bank.view(), &bank_labels, query.view(), &query_labels, k, t);
        assert_eq!(found, Ok(against[i]), "k {k}, T {t}");
        let found = knn::leave_one_out(bank.view(), &bank_labels, k, t);
        assert_eq!(found, Ok(leave_one_out[i]), "leave-one-out, k {k}, T {t}");
    }
}
