//! The measures against NumPy, by `golden/measures/make.py`.

use lethe_measures::{Groups, MEASURES, Measure, Rows, class_rates, knn, lidar, pair_rates};
use ndarray::Array2;
use serde_json::Value;

fn case() -> Value {
    serde_json::from_str(include_str!("golden/measures/case.json")).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn labels(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|x| x as u32).collect()
}

fn matrix(values: &Value, d: usize) -> Array2<f64> {
    let values = numbers(values);
    Array2::from_shape_vec((values.len() / d, d), values).expect("whole rows")
}

fn size(value: &Value) -> usize {
    value.as_u64().expect("a size") as usize
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
    for case in case()["matrices"].as_array().expect("matrices") {
        let name = case["name"].as_str().expect("a name");
        let (z, labels) = (matrix(&case["z"], size(&case["d"])), labels(&case["labels"]));
        let eps2 = case["eps2"].as_f64().expect("a number");
        let rate = case["measures"]["coding_rate"].as_f64().expect("a number");
        let mut taken = Vec::new();
        for (groups, expected) in [
            (Groups::Pairs, &case["measures"]),
            (Groups::Pairs, &case["by_pair"]),
            (Groups::Labels(&labels), &case["by_class"]),
        ] {
            let rows = Rows::new(z.view(), groups, eps2).expect("fine rows");
            for (key, expected) in expected.as_object().expect("measures") {
                let found = (measure(key).of)(&rows);
                taken.push(key.as_str());
                match expected.as_f64() {
                    Some(expected) => {
                        let scale = if key == "coding_rate_reduction" { rate } else { expected };
                        assert_close(&format!("{name} {key}"), found.expect("a number"), expected, scale);
                    }
                    None => assert!(found.is_err(), "{name} {key}"),
                }
            }
        }
        for measure in MEASURES {
            assert!(taken.contains(&measure.name), "{} has no golden value", measure.name);
        }
        if let Some(expected) = case["lidar_3_views"].as_f64() {
            assert_close(&format!("{name} lidar, 3 views"), lidar(z.view(), 3).expect("a number"), expected, expected);
        }
    }
}

/// The functions, and `Rows` that keep what they share, are two ways to the same numbers.
#[test]
fn the_table_gives_what_the_functions_give() {
    for case in case()["matrices"].as_array().expect("matrices") {
        let (z, labels) = (matrix(&case["z"], size(&case["d"])), labels(&case["labels"]));
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
    let case = &case()["knn"];
    let d = size(&case["d"]);
    let [bank, query] = ["bank", "query"].map(|name| matrix(&case[name], d).mapv(|x| x as f32));
    let [bank_labels, query_labels] = ["bank_labels", "query_labels"].map(|name| labels(&case[name]));
    for setting in case["settings"].as_array().expect("settings") {
        let (k, t) = (size(&setting["k"]), setting["temperature"].as_f64().expect("a number"));
        let found = knn::against(bank.view(), &bank_labels, query.view(), &query_labels, k, t).expect("an accuracy");
        assert_eq!(Some(found), setting["against"].as_f64(), "k {k}, T {t}");
        let found = knn::leave_one_out(bank.view(), &bank_labels, k, t).expect("an accuracy");
        assert_eq!(Some(found), setting["leave_one_out"].as_f64(), "leave-one-out, k {k}, T {t}");
    }
}
