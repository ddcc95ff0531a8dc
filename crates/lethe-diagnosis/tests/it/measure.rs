//! `measure F`, run as users run it.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use insta::assert_snapshot;
use lethe_data::feature_file::write;
use ndarray::Array2;
use serde_json::{Number, Value};

use crate::support::{program, refused, shown, text};

/// Features with a decaying spectrum around three centres: row `i` and row `i + n/2` are near, and of class `i % 3`.
fn features(n: usize, d: usize) -> Array2<f32> {
    Array2::from_shape_fn((n, d), |(i, j)| {
        let (image, j) = ((i % (n / 2)) as f32, j as f32 + 1.0);
        let class = image % 3.0;
        (class * j).cos() + ((image * image + 2.0) * j).sin() * 1.5 / j + 0.1 * ((i as f32 + 0.3) * j * j).sin()
    })
}

fn labels(n: usize) -> Vec<u32> {
    (0..n).map(|i| (i % (n / 2) % 3) as u32).collect()
}

fn save(path: &Path, matrix: Array2<f32>, labels: Option<&[u32]>) {
    write(path, &[(String::new(), matrix)], labels).expect("written");
}

/// The text without the folder's name.
fn within(folder: &Path, output: &str) -> String {
    output.replace(&format!("{}/", text(folder)), "")
}

/// Floats to eight digits: the last ones depend on the processor.
fn rounded(json: &str) -> String {
    fn round(value: &mut Value) {
        match value {
            Value::Number(number) if number.is_f64() => {
                let digits = format!("{:.7e}", number.as_f64().expect("a float"));
                *number = Number::from_f64(digits.parse().expect("a number")).expect("finite");
            }
            Value::Object(map) => map.values_mut().for_each(round),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(json).expect("one JSON object");
    round(&mut value);
    serde_json::to_string_pretty(&value).expect("JSON")
}

#[test]
fn a_table_of_one_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.npy");
    save(&path, features(60, 16), Some(&labels(60)));
    let out = shown(&["measure", text(&path)]);
    assert_snapshot!(within(folder.path(), &out), @r#"
    f.npy: eps2 0.5, grouped by nothing
    ┌───────────────────┬──────────────────────┐
    │ measure           ┆ value                │
    ╞═══════════════════╪══════════════════════╡
    │ n                 ┆ 60                   │
    │ d                 ┆ 16                   │
    │ coding_rate       ┆ 4.6699               │
    │ rankme            ┆ 8.0338 of at most 16 │
    │ effective_rank    ┆ 7.7492 of at most 16 │
    │ stable_rank       ┆ 2.1173 of at most 16 │
    │ nesum             ┆ 1.8788 of at most 16 │
    │ alpha_req         ┆ 3.3190               │
    │ uniformity        ┆ -1.5369              │
    │ self_cluster      ┆ 0.2103               │
    │ two_nn            ┆ 1.4252               │
    │ silhouette        ┆ 0.4281               │
    │ cluster_stability ┆ 0.7867               │
    │ dse_pooled        ┆ 0.7883               │
    │ clid              ┆ 0.8891               │
    │ idest             ┆ 2.0636               │
    └───────────────────┴──────────────────────┘
    "#);
    let label_path = folder.path().join("f.labels.npy");
    let out = shown(&["measure", text(&path), "--labels", text(&label_path), "--eps2", "0.1"]);
    assert_snapshot!(within(folder.path(), &out), @r#"
    f.npy: eps2 0.1, grouped by labels
    ┌───────────────────────┬──────────────────────┐
    │ measure               ┆ value                │
    ╞═══════════════════════╪══════════════════════╡
    │ n                     ┆ 60                   │
    │ d                     ┆ 16                   │
    │ coding_rate           ┆ 9.1574               │
    │ compressed_rate       ┆ 5.8076               │
    │ coding_rate_reduction ┆ 3.3499               │
    │ rankme                ┆ 8.0338 of at most 16 │
    │ effective_rank        ┆ 7.7492 of at most 16 │
    │ stable_rank           ┆ 2.1173 of at most 16 │
    │ nesum                 ┆ 1.8788 of at most 16 │
    │ alpha_req             ┆ 3.3190               │
    │ uniformity            ┆ -1.5369              │
    │ self_cluster          ┆ 0.2103               │
    │ two_nn                ┆ 1.4252               │
    │ silhouette            ┆ 0.4281               │
    │ cluster_stability     ┆ 0.7867               │
    │ dse_pooled            ┆ 0.7883               │
    │ clid                  ┆ 0.8891               │
    │ idest                 ┆ 2.0636               │
    └───────────────────────┴──────────────────────┘
    "#);
}

#[test]
fn json_of_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.npy");
    save(&path, features(60, 16), None);
    let out = shown(&["measure", text(&path), "--pairs", "--json"]);
    assert_snapshot!(within(folder.path(), &rounded(&out)), @r#"
    {
      "file": "f.npy",
      "eps2": 0.5,
      "groups": "pairs",
      "n": 60,
      "d": 16,
      "copied_rows": 0,
      "nearly_copied_rows": 0,
      "measures": {
        "coding_rate": 4.6698692,
        "compressed_rate": 1.7986393,
        "coding_rate_reduction": 2.8712299,
        "rankme": 8.0338295,
        "effective_rank": 7.749185,
        "stable_rank": 2.1173346,
        "nesum": 1.8787506,
        "alpha_req": 3.3190359,
        "uniformity": -1.5368877,
        "self_cluster": 0.21026549,
        "two_nn": 1.4252183,
        "silhouette": 0.42814464,
        "cluster_stability": 0.78669555,
        "dse_pooled": 0.78828434,
        "clid": 0.88907615,
        "idest": 2.0636457,
        "alignment": 0.013845101,
        "unitmem": null
      },
      "ceilings": {
        "rankme": 16,
        "effective_rank": 16,
        "stable_rank": 16,
        "nesum": 16
      },
      "variants": {
        "effective_rank": "of the column-centred rows",
        "alpha_req": "eigenvalues 10 to 100",
        "two_nn": "raw rows, of copies the first only, the largest 10 % of ratios left out, line through the origin",
        "silhouette": "unit rows, the tightest of 5 runs of k-means in 10 clusters, seed 0",
        "cluster_stability": "unit rows, mean adjusted mutual information of 5 runs of k-means in 10 clusters, seed 0",
        "dse_pooled": "Lethe's own for pooled unit rows, not the paper's: 24 clusters, seed 0, no part within images",
        "clid": "unit rows in floor(sqrt(n)) clusters by k-means, a random half predicts the other, seed 0; ID over d, where the paper compares many models",
        "idest": "raw rows, of copies the first only, trees of n, n/2, n/4, n/8 and n/16 rows, 5 subsamples of each size below n, seed 0"
      },
      "skipped": {
        "unitmem": "the value in row 1, column 1 is -7.141e-1, expected none below zero"
      }
    }
    "#);
}

#[test]
fn every_stage_of_a_safetensors_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.safetensors");
    let stages = [("stem", 6), ("stage1", 12), ("stage2", 24)];
    let stages: Vec<_> = stages.iter().map(|&(name, d)| (name.to_owned(), features(60, d))).collect();
    write(&path, &stages, Some(&labels(60))).expect("written");
    let out = shown(&["measure", text(&path)]);
    assert_snapshot!(within(folder.path(), &out), @r#"
    f.safetensors: eps2 0.5, grouped by labels
    ┌───────────────────────┬─────────────────────┬──────────────────────┬──────────────────────┐
    │ measure               ┆ stem                ┆ stage1               ┆ stage2               │
    ╞═══════════════════════╪═════════════════════╪══════════════════════╪══════════════════════╡
    │ n                     ┆ 60                  ┆ 60                   ┆ 60                   │
    │ d                     ┆ 6                   ┆ 12                   ┆ 24                   │
    │ coding_rate           ┆ 2.7787              ┆ 4.1279               ┆ 5.4666               │
    │ compressed_rate       ┆ 2.0177              ┆ 2.6662               ┆ 3.2658               │
    │ coding_rate_reduction ┆ 0.7610              ┆ 1.4617               ┆ 2.2008               │
    │ rankme                ┆ 4.8714 of at most 6 ┆ 7.1170 of at most 12 ┆ 9.1827 of at most 24 │
    │ effective_rank        ┆ 4.4990 of at most 6 ┆ 6.7669 of at most 12 ┆ 9.0169 of at most 24 │
    │ stable_rank           ┆ 1.8953 of at most 6 ┆ 2.0510 of at most 12 ┆ 2.0839 of at most 24 │
    │ nesum                 ┆ 1.7688 of at most 6 ┆ 1.8375 of at most 12 ┆ 1.7736 of at most 24 │
    │ alpha_req             ┆ -                   ┆ 4.8715               ┆ 3.5763               │
    │ uniformity            ┆ -1.6722             ┆ -1.6058              ┆ -1.4477              │
    │ self_cluster          ┆ 0.1252              ┆ 0.1849               ┆ 0.2382               │
    │ two_nn                ┆ 0.9641              ┆ 1.3793               ┆ 1.5374               │
    │ silhouette            ┆ 0.5456              ┆ 0.4525               ┆ 0.3974               │
    │ cluster_stability     ┆ 0.8252              ┆ 0.8264               ┆ 0.8034               │
    │ dse_pooled            ┆ 1.1601              ┆ 0.9158               ┆ 0.6489               │
    │ clid                  ┆ 0.9607              ┆ 0.9149               ┆ 0.8641               │
    │ idest                 ┆ 1.8456              ┆ 1.9992               ┆ 2.0705               │
    └───────────────────────┴─────────────────────┴──────────────────────┴──────────────────────┘
    "#);
    let said = String::from_utf8(program(&["measure", text(&path)]).stderr).expect("UTF-8");
    assert!(said.ends_with("alpha_req of stem: only 6 directions have variance, expected at least 11\n"), "{said}");
    let out = shown(&["measure", text(&path), "--json"]);
    let json: Value = serde_json::from_str(&out).expect("one JSON object");
    assert_eq!(json["groups"], "labels");
    assert_eq!(
        json["tensors"].as_object().expect("an object").keys().collect::<Vec<_>>(),
        ["stem", "stage1", "stage2"]
    );
    assert!(json["tensors"]["stem"]["measures"]["alpha_req"].is_null());

    let out = shown(&["measure", text(&path), "--json", "--key", "stem", "--pairs"]);
    assert_snapshot!(within(folder.path(), &rounded(&out)), @r#"
    {
      "file": "f.safetensors",
      "eps2": 0.5,
      "groups": "pairs",
      "n": 60,
      "d": 6,
      "copied_rows": 0,
      "nearly_copied_rows": 0,
      "measures": {
        "coding_rate": 2.7786665,
        "compressed_rate": 1.2937826,
        "coding_rate_reduction": 1.4848839,
        "rankme": 4.8714164,
        "effective_rank": 4.4989824,
        "stable_rank": 1.8952605,
        "nesum": 1.7688136,
        "alpha_req": null,
        "uniformity": -1.6722324,
        "self_cluster": 0.12516176,
        "two_nn": 0.96411248,
        "silhouette": 0.54559636,
        "cluster_stability": 0.82522866,
        "dse_pooled": 1.1601249,
        "clid": 0.96068541,
        "idest": 1.8455918,
        "alignment": 0.0083240203,
        "unitmem": null
      },
      "ceilings": {
        "rankme": 6,
        "effective_rank": 6,
        "stable_rank": 6,
        "nesum": 6
      },
      "variants": {
        "effective_rank": "of the column-centred rows",
        "two_nn": "raw rows, of copies the first only, the largest 10 % of ratios left out, line through the origin",
        "silhouette": "unit rows, the tightest of 5 runs of k-means in 10 clusters, seed 0",
        "cluster_stability": "unit rows, mean adjusted mutual information of 5 runs of k-means in 10 clusters, seed 0",
        "dse_pooled": "Lethe's own for pooled unit rows, not the paper's: 24 clusters, seed 0, no part within images",
        "clid": "unit rows in floor(sqrt(n)) clusters by k-means, a random half predicts the other, seed 0; ID over d, where the paper compares many models",
        "idest": "raw rows, of copies the first only, trees of n, n/2, n/4, n/8 and n/16 rows, 5 subsamples of each size below n, seed 0"
      },
      "skipped": {
        "alpha_req": "only 6 directions have variance, expected at least 11",
        "unitmem": "the value in row 1, column 1 is -7.141e-1, expected none below zero"
      }
    }
    "#);
    let error = refused(&["measure", text(&path), "--key", "stage9"], 2);
    assert_snapshot!(within(folder.path(), &error), @"error: f.safetensors: --key stage9: no 2-D float tensor of that name, but labels I64 [60], stem F32 [60, 6], stage1 F32 [60, 12], stage2 F32 [60, 24]");
}

#[test]
fn what_is_wrong_with_a_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.npy");
    let fails = |args: &[&str]| {
        let args: Vec<&str> = ["measure", text(&path)].iter().chain(args).copied().collect();
        within(folder.path(), &refused(&args, 1))
    };
    let mut matrix = features(60, 16);
    matrix[(17, 3)] = f32::NAN;
    save(&path, matrix, None);
    assert_snapshot!(fails(&[]), @r"
    error: f.npy: the value in row 17, column 3 is NaN
      hint: rows and columns count from 0
    ");

    save(&path, features(61, 16), Some(&labels(60)));
    assert_snapshot!(fails(&["--pairs"]), @r"
    error: f.npy: 61 rows do not fall into groups of 2 views
      hint: --pairs takes row i and row i + n/2 as views of one image
    ");
    assert_snapshot!(fails(&["--labels", text(&folder.path().join("f.labels.npy"))]), @"error: f.npy: 60 labels for 61 rows");

    std::fs::write(&path, "0.1,0.2\n0.3,0.4\n").expect("written");
    assert_snapshot!(fails(&[]), @r#"
    error: f.npy: is neither .npy, .npz nor safetensors
      hint: numpy.save("F.npy", features) writes one
    "#);
    std::fs::remove_file(&path).expect("removed");
    assert_snapshot!(fails(&[]), @"error: f.npy: no such file or folder");
}

#[test]
fn wrong_usage() {
    assert_snapshot!(refused(&["measure", "f.npy", "--eps2", "0"], 2), @r"
    error: invalid value '0' for '--eps2 <EPS2>': expected a positive number

    For more information, try '--help'.
    ");
    assert_snapshot!(refused(&["measure", "f.npy", "--pairs", "--labels", "l.npy"], 2), @r"
    error: the argument '--pairs' cannot be used with '--labels <L.npy>'

    Usage: lethe-diagnosis measure --pairs <FILE>

    For more information, try '--help'.
    ");
}

#[test]
fn only_the_measures_that_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.npy");
    save(&file, features(60, 12), None);
    let measures = |args: &[&str]| -> Vec<(String, f64)> {
        let json = shown(&[&["measure", text(&file), "--json"], args].concat());
        let json: Value = serde_json::from_str(&json).unwrap();
        let measures = json["measures"].as_object().unwrap().iter();
        measures.map(|(name, value)| (name.clone(), value.as_f64().unwrap_or(f64::NAN))).collect()
    };
    let all = measures(&["--pairs"]);
    let some = measures(&["--pairs", "--only", "two_nn,compressed_rate, rankme"]);
    assert_eq!(some.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["compressed_rate", "rankme", "two_nn"]);
    for (name, value) in &some {
        let (_, expected) = all.iter().find(|(other, _)| other == name).unwrap();
        assert!((value / expected - 1.0).abs() < 1e-9, "{name}: {value}, with all others {expected}");
    }
    let plain = ["measure", text(&file), "--only"];
    assert_snapshot!(refused(&[&plain[..], &["lidar"]].concat(), 2), @r#"
    error: --only lidar: it needs 10 views or more
      hint: `lethe diagnose --features` takes files with more views
    "#);
    assert_snapshot!(refused(&[&plain[..], &["rankme,rank"]].concat(), 2), @r#"
    error: --only: unknown measure "rank"
      hint: lethe measure --list has them
    "#);
}

#[test]
fn copied_rows_are_counted_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.npy");
    let mut matrix = features(60, 16);
    for row in [10, 11] {
        let copied = matrix.row(3).to_owned();
        matrix.row_mut(row).assign(&copied);
    }
    save(&file, matrix, None);
    let output = program(&["measure", text(&file)]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("warning: 2 rows are copies of another row and 0 are nearly so"), "{said}");
    let json: Value = serde_json::from_str(&shown(&["measure", text(&file), "--json"])).unwrap();
    assert_eq!((&json["copied_rows"], &json["nearly_copied_rows"]), (&2.into(), &0.into()));
}

#[test]
fn what_takes_long_is_left_out_unless_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.npy");
    let matrix =
        Array2::from_shape_fn((100_000, 2), |(i, j)| ((i * i) as f32 * 0.37 + j as f32).sin() + (i as f32).cos());
    save(&file, matrix, None);
    let json: Value = serde_json::from_str(&shown(&["measure", text(&file), "--json"])).unwrap();
    let skipped: Vec<&String> = json["skipped"].as_object().unwrap().keys().collect();
    assert_eq!(skipped, ["alpha_req", "uniformity", "two_nn", "silhouette", "clid", "idest"]);
    assert_eq!(json["skipped"]["two_nn"], "100000 rows of 2 take about 25 s; --only two_nn takes it");
    assert!(json["measures"]["two_nn"].is_null() && json["measures"]["rankme"].as_f64().is_some());
    // What is named, or all with --costly, is begun at any cost: it does not end at once without a number.
    for asked in [&["--only", "two_nn"][..], &["--costly"]] {
        let program = env!("CARGO_BIN_EXE_lethe-diagnosis");
        let mut running =
            Command::new(program).args(["measure", text(&file)]).args(asked).stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(2));
        let ended = running.try_wait().unwrap();
        running.kill().unwrap();
        let mut said = String::new();
        running.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        running.wait().unwrap();
        assert!(
            ended.is_none() || said.contains("two_nn") && !said.contains("two_nn           ┆ -"),
            "{asked:?}: {said}"
        );
    }
    let said = refused(&["measure", text(&file), "--costly", "--only", "two_nn"], 2);
    assert!(said.contains("--costly") && said.contains("--only"), "{said}");
}

#[test]
fn the_list_needs_no_file() {
    let printed = shown(&["measure", "--list"]);
    let names = lethe_measures::MEASURES.iter().map(|measure| measure.name);
    assert!(names.clone().all(|name| printed.contains(name)), "{printed}");
    let json: Value = serde_json::from_str(&shown(&["measure", "--list", "--json"])).unwrap();
    assert_eq!(json.as_array().unwrap().len(), names.count());
    assert_eq!(json[0]["measure"], "coding_rate");
    refused(&["measure"], 2);
}
