//! `images.csv` and the gallery: which images are memorised.

use std::collections::HashMap;
use std::path::Path;

use lethe_diagnosis::Diagnosis;
use ndarray::{Array1, Array2};

use crate::support::{Encoder, Given, names, shown, text};

/// Names that break a careless writer or reader, one of a kind each; the rest are plain.
fn hostile(side: &str, images: usize) -> Vec<String> {
    let odd = [
        "a,b.png",
        "say \"no\".png",
        "two\nlines.png",
        "cr\rlf\r\n.png",
        "",
        "  spaces ",
        "ü€😀.png",
        "=1+1",
        "'",
        "\t",
    ];
    let plain = names(side, images);
    odd.iter().map(|name| format!("{side}/{name}")).chain(plain.into_iter().skip(odd.len())).collect()
}

fn hostile_sides(images: usize) -> [Vec<String>; 2] {
    ["train", "unseen"].map(|side| hostile(side, images))
}

/// The header and the rows of a table.
fn table(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header = reader.headers().unwrap().iter().map(String::from).collect();
    let rows = reader.records().map(|row| row.unwrap().iter().map(String::from).collect()).collect();
    (header, rows)
}

fn diagnose(folder: &Path, encoders: &[Encoder], given: &Given, out: &str) -> Diagnosis {
    let files: Vec<_> = encoders.iter().map(|encoder| encoder.write(folder, "safetensors", given)).collect();
    let out = folder.join(out);
    let flags = ["diagnose", "--random-split", "--overwrite", "--out", text(&out), "--features"];
    shown(&flags.into_iter().chain(files.iter().map(|path| text(path))).collect::<Vec<_>>());
    Diagnosis::read(&out.join("diagnosis.json")).unwrap()
}

#[test]
fn a_row_for_each_image() {
    let folder = tempfile::tempdir().unwrap();
    let given = Given { names: Some(hostile_sides(80)), ..Given::default() };
    let start = Encoder { images: 80, other_kind: 0.3, ..Encoder::new(0) };
    let trained = Encoder { images: 80, memory: 0.5, quality: 1.3, ..Encoder::new(50) };
    diagnose(folder.path(), std::slice::from_ref(&start), &given, "start");
    diagnose(folder.path(), &[start, trained.clone()], &given, "both");

    let (header, rows) = table(&folder.path().join("both/images.csv"));
    let expected = [
        "side",
        "name",
        "score.stem",
        "score.head",
        "calibrated.stem",
        "calibrated.head",
        "nearest_on_other_side",
        "cosine",
        "copies",
    ];
    assert_eq!(header, expected);
    assert_eq!(rows.len(), 160);
    let [train, unseen] = hostile_sides(80);
    let read: Vec<[&str; 2]> = rows.iter().map(|row| [row[0].as_str(), row[1].as_str()]).collect();
    let given: Vec<[&str; 2]> =
        train.iter().map(|name| ["train", name]).chain(unseen.iter().map(|name| ["unseen", name])).collect();
    assert_eq!(read, given, "every name survives a CSV reader");

    // The score and the control's, each from a file of its own.
    let (start_header, start_rows) = table(&folder.path().join("start/images.csv"));
    assert_eq!(start_header.len(), header.len() - 2, "a start alone has no control to be calibrated by");
    let number = |text: &str| text.parse::<f64>().unwrap();
    for (row, of_start) in rows.iter().zip(&start_rows) {
        for stage in 0..2 {
            let calibrated = number(&row[2 + stage]) - number(&of_start[2 + stage]);
            assert!((number(&row[4 + stage]) - calibrated).abs() < 2e-6, "{row:?} {of_start:?}");
        }
        assert!(row[8].is_empty(), "nobody looked for copies");
    }
    let mean = |rows: &[Vec<String>], column: usize| {
        rows.iter().map(|row| number(&row[column])).sum::<f64>() / rows.len() as f64
    };
    assert!(mean(&rows[80..], 3).abs() < 1e-5, "scores are around the mean of unseen images");
    assert!(mean(&rows[..80], 3) > 0.05, "training images score higher");

    // Neighbours by another road: all cosines of centred rows in float64.
    let [train_side, unseen_side] = trained.sides(1).map(|side| side.plain.unwrap());
    let centre: Array1<f64> = (train_side.sum_axis(ndarray::Axis(0)) + unseen_side.sum_axis(ndarray::Axis(0))) / 160.0;
    let nearest = |row: ndarray::ArrayView1<f64>, bank: &Array2<f64>| {
        let own = &row - &centre;
        let cosines = bank.rows().into_iter().map(|other| {
            let other = &other - &centre;
            own.dot(&other) / (own.dot(&own) * other.dot(&other)).sqrt()
        });
        cosines.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
    };
    for (i, row) in rows.iter().enumerate() {
        let (own, bank, names) = match i < 80 {
            true => (train_side.row(i), &unseen_side, &unseen),
            false => (unseen_side.row(i - 80), &train_side, &train),
        };
        let (at, cosine) = nearest(own, bank);
        assert_eq!(row[6], names[at], "row {i}");
        assert!((number(&row[7]) - cosine).abs() < 2e-6, "row {i}");
    }
}

#[test]
fn copies_within_the_training_set_are_counted_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let encoders = [Encoder::new(0), Encoder { memory: 0.5, ..Encoder::new(50) }];
    let found = diagnose(folder.path(), &encoders, &Given::named(200), "first");
    let most = &found.most_memorised;
    assert_eq!((most.len(), found.random_images.len()), (16, 16));
    assert!(most.is_sorted_by(|a, b| a.score >= b.score), "highest first");

    // The three highest are one image that is there three times.
    let place: HashMap<String, usize> = names("train", 200).into_iter().zip(0..).collect();
    let mut digests = ["train", "unseen"].map(|side| names(side, 200));
    for image in &most[..3] {
        digests[0][place[&image.name]] = "the same pixels".into();
    }
    let given = Given { digests: Some(digests), ..Given::named(200) };
    let found = diagnose(folder.path(), &encoders, &given, "second");
    let copies: Vec<Option<usize>> = found.most_memorised.iter().map(|image| image.copies).collect();
    assert_eq!(copies[..4], [Some(2), Some(2), Some(2), Some(0)]);
    let (_, rows) = table(&folder.path().join("second/images.csv"));
    assert_eq!(rows.iter().filter(|row| row[8] == "2").count(), 3);
    assert_eq!(rows.iter().filter(|row| row[8] == "0").count(), 197);

    let page = std::fs::read_to_string(folder.path().join("second/report.html")).unwrap();
    let gallery =
        page.split("<section id=\"images\">").nth(1).and_then(|rest| rest.split("</section>").next()).unwrap();
    let random = found.random_images.iter().filter(|image| image.copies == Some(2)).count();
    assert_eq!(gallery.matches("<span class=\"copies\">2 copies</span>").count(), 3 + random);
    assert!(gallery.contains("scored by head at epoch 50"), "{gallery}");
    assert!(gallery.contains("The score of the same image in the untrained start is subtracted"), "{gallery}");
    assert!(gallery.contains("made from features, without the images"), "why there are no pictures: {gallery}");
    assert!(gallery.contains(&most[0].name) && gallery.contains(&found.random_images[15].name));

    let alone = diagnose(folder.path(), &encoders[1..], &Given::named(200), "third");
    let page = std::fs::read_to_string(folder.path().join("third/report.html")).unwrap();
    assert!(alone.control.is_none() && page.contains("There is no control, and some images have close views"));
}
