//! The measures against NumPy, by `golden/measures/make.py`.

use lethe_measures::{
    Groups, MEASURES, Measure, Rows, adjusted_mutual_information, class_rates, cluster_learnability, copies,
    debiased_linear_cka, dimension_of_trees, dse_pooled_of_clusters, knn, lidar, linear_cka, lloyd, membership,
    membership_change, silhouette, sslmem, tree_length, two_nn, unitmem, view_rates,
};
use ndarray::{Array2, Array3, ArrayView2, Axis, stack};
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

/// These draw from a seed, which NumPy cannot repeat: the parts that do not draw have golden values of their own.
const DRAWN: [&str; 5] = ["silhouette", "cluster_stability", "dse_pooled", "clid", "idest"];

fn measure(name: &str) -> &'static Measure {
    MEASURES.iter().find(|measure| measure.name == name).unwrap_or_else(|| panic!("no measure {name}"))
}

/// A difference of two rates is as exact as they are, so it is held to their size.
fn assert_close(what: &str, found: f64, expected: f64, scale: f64) {
    let error = (found - expected).abs() / scale.abs().max(expected.abs());
    assert!(error < 1e-9, "{what}: {found} for {expected}, relative error {error:e}");
}

fn unit(z: ArrayView2<f64>) -> Array2<f64> {
    let lengths = z.map_axis(Axis(1), |row| row.dot(&row).sqrt());
    &z / &lengths.insert_axis(Axis(1))
}

/// Pairs as `[images, views, units]`.
fn stacked(z: ArrayView2<f64>) -> Array3<f64> {
    let (first, second) = z.split_at(Axis(0), z.nrows() / 2);
    stack(Axis(1), &[first, second]).expect("halves of one shape")
}

#[test]
fn every_measure_of_every_matrix_is_numpys() {
    let case = case();
    for name in matrices(&case) {
        let (z, labels) = (matrix(&case, &format!("{name}/z")), labels(&case, &format!("{name}/labels")));
        let eps2 = number(&case, &format!("{name}/eps2"));
        let mut taken = Vec::new();
        for (groups, place) in [
            (Groups::None, "rows"),
            (Groups::Views(2), "by_pair"),
            (Groups::Views(3), "by_3_views"),
            (Groups::Views(10), "by_10_views"),
            (Groups::Labels(&labels), "by_class"),
        ] {
            if matches!(groups, Groups::Views(views) if z.nrows() % views > 0) {
                continue;
            }
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
        let divides = |measure: &&Measure| measure.name != "lidar" || z.nrows().is_multiple_of(10);
        for measure in MEASURES.iter().filter(|measure| !DRAWN.contains(&measure.name)).filter(divides) {
            assert!(taken.contains(&measure.name), "{} of {name} has no golden value", measure.name);
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
        let pairs = rows(Groups::Views(2));
        for (name, function) in [
            ("rankme", lethe_measures::rankme as fn(_) -> _),
            ("effective_rank", lethe_measures::effective_rank),
            ("alpha_req", lethe_measures::alpha_req),
            ("uniformity", lethe_measures::uniformity),
            ("two_nn", two_nn),
            ("idest", |z| lethe_measures::idest(z, 0)),
            ("stable_rank", lethe_measures::stable_rank),
            ("nesum", lethe_measures::nesum),
            ("self_cluster", lethe_measures::self_cluster),
            ("dse_pooled", |z| lethe_measures::dse_pooled(z, 24, 0).map(|dse| dse.total())),
            ("clid", |z| lethe_measures::clid(z, 0).map(|clid| clid.total())),
            ("cluster_stability", |z| lethe_measures::cluster_stability(unit(z).view(), 10, 5, 0)),
            ("unitmem", |z| unitmem(stacked(z).view()).map(|unitmem| unitmem.mean())),
            ("alignment", |z| lethe_measures::alignment(z, 2)),
            ("lidar", |z| lidar(z, 2)),
            ("coding_rate", |z| lethe_measures::coding_rate(z, 0.5)),
        ] {
            match ((measure(name).of)(&pairs), function(z.view())) {
                (Ok(found), Ok(alone)) => {
                    // The table takes the centred spectrum from the raw Gram matrix.
                    assert!((found / alone - 1.0).abs() < 1e-9, "{name}: {found}, alone {alone}");
                }
                (found, alone) => assert_eq!(found, alone, "{name}"),
            }
        }
        for (groups, rates) in [
            (Groups::Views(2), view_rates(z.view(), 2, 0.5)),
            (Groups::Labels(&labels), class_rates(z.view(), &labels, 0.5)),
        ] {
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
        let found = knn::against(bank.view(), &bank_labels, query.view(), &query_labels, k, t)
            .map(|right| knn::accuracy(&right));
        assert_eq!(found, Ok(against[i]), "k {k}, T {t}");
        let found = knn::leave_one_out(bank.view(), &bank_labels, k, t).map(|right| knn::accuracy(&right));
        assert_eq!(found, Ok(leave_one_out[i]), "leave-one-out, k {k}, T {t}");
    }
}

/// Singular values by way of a Gram matrix lose what lies below 1e-6 of the largest, which one matrix is made to show.
#[test]
fn clusters_of_every_matrix_are_numpys() {
    let case = case();
    for name in matrices(&case) {
        let (z, labels) = (matrix(&case, &format!("{name}/z")), labels(&case, &format!("{name}/labels")));
        let found = dse_pooled_of_clusters(z.view(), &labels).expect("parts");
        let expected = numbers(&case, &format!("{name}/dse"));
        for (found, expected) in [found.between, found.dimension, found.within].into_iter().zip(expected) {
            let tolerance = if name == "down_to_1e-8" { 1e-5 } else { 1e-9 };
            assert!((found / expected - 1.0).abs() < tolerance, "{name}: {found} for {expected}");
        }
        let first: Vec<usize> = (0..z.nrows()).step_by(2).collect();
        let found = cluster_learnability(z.view(), &labels, &first).expect("a share");
        assert_eq!(found, number(&case, &format!("{name}/learnability")), "{name}");
        let (found, expected) = (silhouette(z.view(), &labels), number(&case, &format!("{name}/silhouette")));
        assert_close(&format!("{name}/silhouette"), found.expect("a number"), expected, 1.0);
        let (found, expected) = (tree_length(z.view()), number(&case, &format!("{name}/tree_length")));
        assert_close(&format!("{name}/tree_length"), found.expect("a number"), expected, expected);
    }
}

#[test]
fn lloyds_rounds_are_scikit_learns() {
    let case = case();
    let rows = matrix(&case, "kmeans/rows");
    for (start, place) in [("kmeans/start", "kmeans/found"), ("kmeans/far_start", "kmeans/far_found")] {
        let found = lloyd(rows.view(), matrix(&case, start).view()).expect("clusters");
        assert_eq!(found.labels, labels(&case, &format!("{place}/labels")), "{place}");
        assert_close(place, found.inertia, number(&case, &format!("{place}/inertia")), 1.0);
        let centres = matrix(&case, &format!("{place}/centres"));
        assert!((&found.centres - &centres).iter().all(|difference| difference.abs() < 1e-12), "{place}");
    }
}

#[test]
fn adjusted_mutual_information_is_scikit_learns() {
    let case = case();
    let (labellings, scores) = (matrix(&case, "ami/labellings"), matrix(&case, "ami/scores"));
    let labellings = labellings.mapv(|label| label as u32);
    for ((i, j), expected) in scores.indexed_iter() {
        let [a, b] = [i, j].map(|k| labellings.row(k).to_vec());
        let found = adjusted_mutual_information(&a, &b).expect("a number");
        assert!((found - expected).abs() < 1e-9, "{i}, {j}: {found} for {expected}");
    }
}

#[test]
fn trees_of_given_subsamples_give_numpys_dimension() {
    let case = case();
    let points = matrix(&case, "noise_floor/z");
    let subsamples = numbers(&case, "idest/subsamples");
    let mut rest = subsamples.iter().map(|&row| row as usize);
    let mut trees = Vec::new();
    for (size, expected) in numbers(&case, "idest/sizes").into_iter().zip(numbers(&case, "idest/lengths")) {
        let rows: Vec<usize> = rest.by_ref().take(size as usize).collect();
        let length = tree_length(points.select(Axis(0), &rows).view()).expect("a length");
        assert_close("a tree", length, expected, expected);
        trees.push((rows.len(), length));
    }
    assert_eq!(trees.len(), 9);
    let expected = number(&case, "idest/dimension");
    assert_close("idest", dimension_of_trees(&trees).expect("a number"), expected, expected);
}

#[test]
fn copies_are_those_that_numpy_finds() {
    let case = case();
    let z = matrix(&case, "copies/rows");
    let found = copies(z.view()).expect("copies");
    let kept: Vec<usize> = numbers(&case, "copies/kept").into_iter().map(|row| row as usize).collect();
    assert_eq!((found.copied as f64, &found.kept), (number(&case, "copies/copied"), &kept));
    assert_eq!(found.nearly, z.nrows() - kept.len() - found.copied);
    let expected = number(&case, "copies/two_nn_of_kept");
    assert_close("TwoNN", two_nn(z.view()).expect("a number"), expected, expected);
}

#[test]
fn alignment_of_two_matrices_is_numpys() {
    let case = case();
    for name in ["long", "related", "wide"] {
        let [x, y] = ["x", "y"].map(|side| matrix(&case, &format!("cka/{name}/{side}")));
        assert_close(
            name,
            linear_cka(x.view(), y.view()).expect("a number"),
            number(&case, &format!("cka/{name}/cka")),
            0.0,
        );
        let expected = number(&case, &format!("cka/{name}/debiased"));
        assert_close(name, debiased_linear_cka(x.view(), y.view()).expect("a number"), expected, 1.0);
    }
}

#[test]
fn memorisation_is_scored_as_in_the_authors_code() {
    let case = case();
    for images in [12, 13] {
        let activations = matrix(&case, &format!("unitmem/{images}/activations"));
        let activations = activations.into_shape_with_order((images, 3, 8)).expect("3 views of 8 units");
        let found = unitmem(activations.view()).expect("numbers");
        assert_eq!(found.dead, 1);
        for (found, expected) in found.of_units.iter().zip(numbers(&case, &format!("unitmem/{images}/of_units"))) {
            assert_close("unitmem", *found, expected, 1.0);
        }
    }
    let found = sslmem(&numbers(&case, "sslmem/with"), &numbers(&case, "sslmem/without")).expect("numbers");
    for (found, expected) in found.of_images.iter().zip(numbers(&case, "sslmem/of_images")) {
        assert_close("sslmem", *found, expected, 1.0);
    }
}

#[test]
fn membership_is_scikit_learns_and_delongs() {
    let case = case();
    let (members, others) = (numbers(&case, "membership/members"), numbers(&case, "membership/others"));
    let found = membership(&members, &others, false).expect("rates");
    let (auc, error) = (number(&case, "membership/auc"), number(&case, "membership/error"));
    assert_close("auc", found.auc.value, auc, 1.0);
    // DeLong's error on the logit scale, times a quantile of Student's t for some 300 images; the end towards chance with
    // the error of one image more a side at 0.5.
    let logit = |area: f64| (area / (1.0 - area)).ln();
    let reach = (logit(found.auc.high) - logit(auc)) * auc * (1.0 - auc) / error;
    assert!((1.965..1.97).contains(&reach), "{reach}");
    let error = error.hypot((auc - 0.5) / 150.0).hypot((auc - 0.5) / 230.0);
    assert_close("lower end", logit(found.auc.low), logit(auc) - reach * error / (auc * (1.0 - auc)), 1.0);

    let scores = |name: &str| numbers(&case, &format!("membership/{name}"));
    let (members_after, others_after) = (scores("members_after"), scores("others_after"));
    let found = membership_change([&members, &others], [&members_after, &others_after], false).expect("rates");
    let (change, error) = (number(&case, "membership/change"), number(&case, "membership/change_error"));
    assert_close("change", found.value, change, 1.0);
    // As wide as DeLong's interval but for the bend of the two areas' own.
    let reach = 0.5 * (found.high - found.low) / error;
    assert!((1.93..1.99).contains(&reach), "{reach}");
}
