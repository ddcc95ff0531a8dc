//! The page: written by the real program, opened in headless Chromium.

use std::path::Path;
use std::process::{Command, Output};

use insta::assert_snapshot;
use lethe_data::Fault;
use lethe_diagnosis::findings::{Keep, Memorises, Since};
use lethe_diagnosis::records::{BothSides, Changes, Kind, MetricRow, Repaired, Seen, StepRow};
use lethe_diagnosis::report::{BeforeAfter, BeforeAfterRow, Better};
use lethe_diagnosis::{
    Cell, CheckpointRow, Choice, Control, ControlKind, Diagnosis, Earliest, Estimate, Findings, ImageScore, Judged,
    LossGap, Memorisation, Onset, Relation, Side, Sides, conclude, words,
};
use lethe_measures::{ClassRateGap, Shift, TruePositives};
use serde_json::json;

use crate::browser::{browse, chromium, measured};

const STAGES: [&str; 5] = ["stem", "stage1", "stage2", "stage3", "stage4"];
const EPOCHS: [u32; 6] = [0, 20, 40, 60, 80, 100];
/// A name that would run, were it not escaped.
const EVIL: &str = "<script>alert('1')</script>\"&";

/// A cell as a run that over-fits gives it: abruptly, in the late stages, after epoch 40.
fn cell(checkpoint: usize, stage: usize) -> Cell {
    let time = checkpoint as f64 / 5.0;
    let depth = stage as f64 / 4.0;
    let wobble = ((checkpoint * 7 + stage * 13) % 5) as f64 / 5.0 - 0.4;
    let memorised = depth.powi(2) / (1.0 + (-14.0 * (time - 0.55)).exp());
    let gap = 0.14 * memorised + 0.004 * wobble;
    let learned = 1.0 - (-4.0 * time).exp();
    let side = |unseen: f64| {
        let rate = 18.0 * 2f64.powf(depth * 2.0) * (1.0 + 0.4 * learned) - unseen * 1.5 * memorised;
        let pair_compressed = 3.1 - 0.4 * learned + unseen * gap;
        let accuracy = 0.24 + (0.16 + 0.3 * depth) * learned + 0.01 * wobble;
        let accuracy = accuracy + if unseen > 0.0 { -0.07 * memorised } else { 0.25 * memorised + 0.02 };
        let named = |entries: &[(&str, f64)]| entries.iter().map(|(key, value)| ((*key).to_string(), *value)).collect();
        Side {
            measures: named(&[
                ("coding_rate", rate),
                ("rankme", 14.0 + 40.0 * depth * (0.3 + learned) - 4.0 * unseen * memorised),
                ("effective_rank", 12.0 + 38.0 * depth * (0.3 + learned)),
                ("alpha_req", 2.1 - 0.9 * learned * (0.4 + depth) + 0.05 * wobble),
                ("uniformity", -0.8 - 2.2 * depth * learned + 0.2 * unseen * memorised),
            ]),
            by_class: named(&[
                ("coding_rate", rate),
                ("compressed_rate", rate * (0.8 - 0.3 * learned * depth)),
                ("coding_rate_reduction", rate * (0.2 + 0.3 * learned * depth)),
            ]),
            by_pair: named(&[
                ("coding_rate", rate * 1.05),
                ("compressed_rate", pair_compressed),
                ("coding_rate_reduction", rate * 1.05 - pair_compressed),
                ("alignment", 0.62 - 0.35 * learned - if unseen > 0.0 { 0.0 } else { gap }),
                ("lidar", 20.0 + 60.0 * depth * learned),
            ]),
            accuracy: named(&[("knn-20", accuracy), ("knn-200", accuracy - 0.02), ("linear", accuracy + 0.04)]),
            ..Side::default()
        }
    };
    let room = 0.006 + 0.01 * memorised;
    Cell {
        checkpoint,
        stage: STAGES[stage].into(),
        train: side(0.0),
        unseen: Some(side(1.0)),
        memorisation: Some(memorised_by(gap, room)),
        membership_above_control: (checkpoint > 0).then(|| around(2.0 * gap, 2.0 * room)),
        class_rate_gap: (stage == 4).then(|| ClassRateGap {
            gap: around(gap, room),
            placebo: around(0.001, room),
            images: 100,
        }),
        collapsed: false,
        transfer: Some(0.2 + 0.1 * learned * depth),
        cka_stage: (stage > 0).then_some(0.9 - 0.3 * learned * depth),
        cka_checkpoint: (checkpoint > 0).then_some(0.7 + 0.3 * learned),
        batch_gradient_norm_squared: None,
        reference: None,
    }
}

/// What a gap of that size goes with.
fn memorised_by(gap: f64, room: f64) -> Memorisation {
    Memorisation {
        membership: around(0.5 + 2.0 * gap, 2.0 * room),
        true_positives: TruePositives::At1Percent(around(0.01 + gap.max(0.0), 0.005)),
        memorisation_gap: around(gap, room),
        relative_gap: Some(around(gap / 1.9, room / 1.9)),
        d_train: around(0.6 - gap, 0.01),
        d_unseen: around(0.6, 0.01),
        d_between: around(1.9, 0.01),
        retrieval_gap: Some(around(gap / 2.0, room)),
    }
}

fn around(value: f64, half: f64) -> Estimate {
    Estimate { value, low: value - half, high: value + half }
}

fn choices() -> Vec<Choice> {
    let choice = |criterion: &str, needs_labels, checkpoint: usize, earliest: Option<usize>| Choice {
        criterion: criterion.into(),
        needs_labels,
        checkpoint,
        earliest: earliest.map(|checkpoint| Earliest {
            checkpoint,
            loss: around(0.004, 0.01),
            margin: 0.03,
            least_margin: Some(0.02),
            spared: Some(around(0.03, 0.008)),
        }),
        stage: earliest.map(|_| STAGES[3].into()),
        judged: ["knn-20", "transfer"]
            .map(|truth| {
                let judged = Judged {
                    epochs: f64::from(EPOCHS[checkpoint]) - f64::from(EPOCHS[3]),
                    epochs_to_as_good: 0.0,
                    regret: around(0.01, 0.02),
                    kendall: Some(around(0.6, 0.3)),
                    spearman: Some(around(0.7, 0.2)),
                };
                (truth.to_owned(), judged)
            })
            .into_iter()
            .filter(|_| !needs_labels)
            .collect(),
    };
    let last = EPOCHS.len() - 1;
    vec![
        choice("view_retrieval", false, last, Some(3)),
        choice("knn-20", true, 3, Some(2)),
        choice("rankme", false, last, None),
        choice("combination", false, 2, None),
    ]
}

fn images(which: &str) -> Vec<ImageScore> {
    let image = |i: u32| ImageScore {
        name: format!("{which}/{EVIL}/{i}.png"),
        score: 0.3 - 0.01 * f64::from(i),
        copies: Some(if i < 2 { 1 + i as usize } else { 0 }),
    };
    (0..16).map(image).collect()
}

fn diagnosis() -> Diagnosis {
    let cells: Vec<Cell> = (0..EPOCHS.len()).flat_map(|c| (0..STAGES.len()).map(move |s| cell(c, s))).collect();
    let control = Control {
        kind: ControlKind::UntrainedStart,
        path: None,
        stages: cells[..STAGES.len()].iter().filter_map(|cell| cell.memorisation).collect(),
        shift: Vec::new(),
    };
    told(Diagnosis {
        lethe: "0.1.0".into(),
        encoder: "resnet18-w16".into(),
        settings: [
            ("data", json!("cifar10@n=5000")),
            ("unseen", json!("cifar10-test")),
            ("eps2", json!(0.5)),
            ("classes", json!(EVIL)),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into_iter()
        .collect(),
        stages: STAGES.map(String::from).into(),
        checkpoints: EPOCHS
            .map(|epoch| CheckpointRow {
                path: format!("checkpoints/epoch-{epoch:04}.safetensors"),
                epoch: Some(epoch),
                loss_gap: (epoch == 100).then(|| LossGap {
                    train: 4.31,
                    unseen: 4.52,
                    gap: 0.21,
                    interval: Some(around(0.21, 0.04)),
                    batches: 8,
                }),
            })
            .into(),
        sides: Some(Sides { images: 1000, views: 10, relation: Relation::RandomSplit, copies: None, difference: None }),
        control: Some(control),
        cells,
        onsets: [(3, 2), (4, 2)]
            .map(|(stage, checkpoint)| Onset {
                of: "memorisation_gap".into(),
                stage: STAGES[stage].into(),
                checkpoint,
                epoch: Estimate {
                    value: f64::from(EPOCHS[checkpoint - 1]),
                    low: f64::from(EPOCHS[checkpoint - 1]),
                    high: f64::from(EPOCHS[checkpoint]),
                },
                abrupt: true,
                rise: around(0.05, 0.01),
                p: 0.001,
            })
            .into(),
        choices: choices(),
        most_memorised: images("most"),
        random_images: images("drawn"),
        findings: Findings {
            memorises: Memorises::NotMeasured,
            stages: Vec::new(),
            since: Since::NoneSeen,
            keep: Keep::NotMeasured,
            doubts: Vec::new(),
        },
        summary: String::new(),
    })
}

/// With the findings of its numbers, and their words.
fn told(mut diagnosis: Diagnosis) -> Diagnosis {
    diagnosis.findings = conclude(&diagnosis);
    diagnosis.summary = words::summary(&diagnosis);
    diagnosis
}

/// What a repair of the last stage did.
fn repaired() -> Repaired {
    let seen = |gap: f64, rate: f64, found: f64| Seen {
        images: 500,
        membership: 0.5 + 2.0 * gap,
        memorisation_gap: gap,
        relative_gap: gap / 1.9,
        d_train: 0.6 - gap,
        d_unseen: 0.6,
        coding_rate_reduction: BothSides { train: rate, unseen: rate - 1.0 },
        view_retrieval: found,
    };
    Repaired {
        before: seen(0.14, 98.2, 0.91),
        after: seen(0.08, 104.9, 0.905),
        changes: Changes {
            membership: around(-0.12, 0.03),
            memorisation_gap: around(-0.06, 0.015),
            relative_gap: around(-0.032, 0.008),
            d_train: around(0.06, 0.01),
            d_unseen: around(0.0, 0.01),
            view_retrieval: around(-0.005, 0.02),
        },
    }
}

fn lines<T: serde::Serialize>(rows: impl Iterator<Item = T>) -> String {
    rows.map(|row| serde_json::to_string(&row).expect("JSON") + "\n").collect()
}

/// A folder as `lethe demo` leaves it, with `EVIL` wherever a text comes from the user.
fn fixture(folder: &Path) {
    let metrics = (0..1900u32).map(|step| {
        let t = f64::from(step) / 1900.0;
        let noise = f64::from(step * 7919 % 101) / 101.0 - 0.5;
        MetricRow {
            kind: Kind::Step,
            epoch: 1 + step / 19,
            step: u64::from(step),
            loss: 4.3 + 1.9 * (-5.0 * t).exp() + 0.08 * noise,
            terms: [("nt_xent".to_string(), 4.3)].into_iter().collect(),
            lr: 0.06 * (t / 0.1).min(1.0) * (0.5 + 0.5 * (std::f64::consts::PI * t).cos()),
            spread: 0.9 - 0.3 * (-20.0 * t).exp(),
            images_per_s: 812.0 + 40.0 * noise,
            data_wait: 0.02 + 0.01 * noise,
            seconds: f64::from(step) * 0.31,
        }
    });
    let undo = ["umm", "continue"].into_iter().flat_map(|repair| {
        (0..200u32).map(move |step| {
            let t = f64::from(step) / 200.0;
            let gain = if repair == "umm" { 6.0 } else { 0.5 };
            let terms = [
                ("ssl", 4.31 + 0.05 * t),
                ("js", 0.11 * (-3.0 * t * gain / 6.0).exp()),
                ("coding_rate_reduction", 55.0 + gain * (1.0 - (-4.0 * t).exp())),
                ("outer", -50.0 - gain * t),
            ];
            StepRow {
                kind: Kind::Step,
                step: u64::from(step) + 1,
                epoch: 1 + step / 39,
                repair: repair.into(),
                terms: terms.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                grad_norm: 1.3 - 0.6 * t,
                lr: 3e-4 * (1.0 - t),
                passes: 5.0 * f64::from(step),
                seconds: 0.8 * t,
            }
        })
    });
    let row = |what: &str, before, after, unit: &str, better| BeforeAfterRow {
        what: what.into(),
        before,
        after,
        change: None,
        unit: unit.into(),
        better,
    };
    let before_after = BeforeAfter {
        rows: vec![
            row("k-NN (20), unseen images", 0.623, 0.641, "%", Better::Higher),
            BeforeAfterRow {
                change: Some(Estimate { value: 0.004, low: -0.003, high: 0.011 }),
                ..row("linear probe, unseen images", 0.664, 0.668, "%", Better::Higher)
            },
            row("linear probe, correlation broken", 0.412, 0.405, "%", Better::Higher),
            row("memorisation gap, stage4", 0.141, 0.082, "", Better::Lower),
            row("coding rate R, stage4", 98.2, 104.9, "", Better::Neither),
        ],
    };
    let bad = (0..3).map(|i| Fault { name: format!("train/{EVIL}/{i}.jpg"), reason: "truncated JPEG".into() });
    let config = format!(
        "# the run\nmethod = \"simclr\"\nencoder = \"resnet18-w16\"\ndata = \"cifar10@n=5000\"\nepochs = 100\nseed = \
         0\nlr = 0.06\n\n[method-settings]\ntemperature = 0.5\nnote = '''{EVIL}'''\n"
    );
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("a writable folder");
    write("config.toml", config);
    write("metrics.jsonl", lines(metrics) + "{\"epoch\":99,\"st");
    write("diagnosis.json", serde_json::to_string(&diagnosis()).expect("JSON"));
    write("undo.jsonl", lines(undo));
    write("before_after.json", serde_json::to_string(&before_after).expect("JSON"));
    write("evaluation.json", json!({"train": EVIL, "test_images": 10000, "rows": [{"stage": "stage4", "accuracy": {"knn-20": 0.641, "linear": 0.668}}]}).to_string());
    write("bad_samples.jsonl", lines(bad));
}

fn program(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lethe-diagnosis"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the program runs")
}

/// The exit code and what a user sees of a failing `report`.
fn failure(folder: &Path, arguments: &[&str]) -> String {
    let output = program(folder, arguments);
    format!("exit {}\n{}", output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).trim_end())
}

fn report(folder: &Path) -> String {
    let output = program(folder, &["report", "."]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "./report.html\n");
    std::fs::read_to_string(folder.join("report.html")).expect("the page")
}

#[test]
fn every_part_is_there_and_every_text_escaped() {
    let folder = tempfile::tempdir().expect("a folder");
    fixture(folder.path());
    let page = report(folder.path());
    for part in [
        "Where and when",
        "Which checkpoint to keep",
        "Onsets",
        "Memorisation",
        "By the method's own loss",
        "By the coding rate of classes",
        "Most memorised images",
        "By depth",
        "By stage and epoch",
        "The repair",
        "Training",
        "Bad samples",
        "Settings",
        "What is measured",
        "Before you conclude",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    for (key, title) in [
        ("membership", "Membership AUC"),
        ("view_distance", "Distance of views D"),
        ("memorisation_gap", "Memorisation gap"),
        ("relative_gap", "Relative gap"),
        ("retrieval_gap", "Retrieval gap"),
        ("coding_rate_reduction", "Class dR, training less unseen images"),
        ("knn", "k-NN accuracy (20), training less unseen images"),
        ("cka", "Linear CKA with the stage before"),
        ("cka", "Linear CKA with the checkpoint before"),
        ("alignment", "Alignment distance"),
        ("knn", "k-NN accuracy (20)"),
        ("knn", "k-NN accuracy (200)"),
        ("linear", "Linear probe accuracy"),
        ("transfer", "Transfer"),
        ("coding_rate", "Coding rate R"),
        ("rankme", "RankMe"),
        ("effective_rank", "Effective rank"),
        ("alpha_req", "alpha-ReQ"),
        ("uniformity", "Uniformity"),
        ("coding_rate_reduction", "Coding rate reduction dR by class"),
        ("coding_rate_reduction", "Coding rate reduction dR by pair"),
    ] {
        let linked = format!("<figcaption><b><a href=\"#def-{key}\">{title}</a></b>");
        assert!(page.contains(&linked), "no picture of {title} that links to its definition");
    }
    for title in ["Divergence from uniform (JS)", "Loss", "Waiting for data"] {
        assert!(page.contains(&format!("<figcaption><b>{title}</b>")), "no chart of {title}");
    }
    for link in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().expect("a link")) {
        assert_eq!(page.matches(&format!(" id=\"{link}\"")).count(), 1, "{link} leads nowhere");
    }
    let (maps, table) = (page.find("id=\"maps\"").unwrap(), page.find("id=\"memorisation\"").unwrap());
    let next = page[maps + 1..].find("<section").unwrap();
    assert!(
        page[maps + 1 + next..].starts_with("<section id=\"memorisation\""),
        "the table stands below the maps: {table}"
    );
    for measure in lethe_measures::MEASURES {
        assert!(page.contains(&format!("<div id=\"def-{}\"><dt>{}", measure.name, measure.title)), "{}", measure.name);
    }
    assert!(!page.contains("<p class=\"formula\"></p>"), "a measure without a formula");
    assert!(page.contains("The last line of metrics.jsonl is cut off"), "no word on the line that a kill cut off");
    assert_eq!(page.matches("<g class=\"cell\" tabindex=\"0\"").count(), 6 * STAGES.len() * EPOCHS.len());
    assert_eq!(page.matches("<g class=\"span ").count(), 6, "both onsets are marked in three charts");
    assert_eq!(page.matches("<span class=\"copies\">1 copy</span>").count(), 2, "one image of each list");
    assert_eq!(page.matches("<span class=\"copies\">2 copies</span>").count(), 2);
    // 66.4 to 66.8 % in an interval that holds 0.
    assert!(page.contains("0.4 (−0.3 to 1.1) points"), "no interval of a change");
    assert_eq!(page.matches("not told apart").count(), 1);
    assert!(page.contains("of 5 numbers 2 got better, 1 worse"));
    assert!(page.contains("Pictures are missing: cifar10: lethe does not download data sets"), "why no pictures");

    assert!(!page.contains("<script"), "a name of the user became markup");
    assert_eq!(page.matches("&lt;script&gt;alert").count(), 3 + 3 + 32, "three files, three settings, the images");
}

#[test]
fn the_page_asks_for_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    fixture(folder.path());
    let page = report(folder.path());
    assert!(page.contains("default-src 'none'; style-src 'unsafe-inline'; img-src data:\""));
    for load in
        [" src=", "url(", "@import", "<link", "<iframe", "<object", "<embed", "<img", "http://", "https://", "xlink:"]
    {
        assert!(!page.contains(load), "{load} may load something");
    }
    for link in page.split(" href=\"").skip(1) {
        assert!(link.starts_with('#'), "a link leaves the page: {}", &link[..20]);
    }
}

/// The answers of a page as a reader sees them.
fn answers(diagnosis: &Diagnosis) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let json = serde_json::to_string(diagnosis).expect("JSON");
    std::fs::write(folder.path().join("diagnosis.json"), json).expect("a writable folder");
    answers_of(&report(folder.path()))
}

fn answers_of(page: &str) -> String {
    let list =
        page.split("<dl class=\"answers\">").nth(1).and_then(|rest| rest.split("</dl>").next()).expect("answers");
    let text = list.replace("</b><p>", "\n    ").replace("</dt><dd><b>", " ").replace("</dd></div>", "\n");
    let mut plain = String::new();
    let mut within = false;
    for letter in text.chars() {
        match letter {
            '<' => within = true,
            '>' => within = false,
            _ if !within => plain.push(letter),
            _ => {}
        }
    }
    plain.replace('\u{a0}', " ").trim_end().into()
}

#[test]
fn memorising_is_told_by_stage_and_epoch() {
    assert_snapshot!(answers(&diagnosis()), @r#"
    Does it memorise? Yes
        In stage4 at epoch 100 training images are told from unseen ones with AUC 0.779 (95 % interval 0.748 to 0.811); 0.5 is chance. The untrained start has AUC 0.500 (95 % interval 0.488 to 0.512), so the encoder adds 0.279 (95 % interval 0.248 to 0.311). The views of an unseen image lie further apart than those of a training image by 7.4 % (95 % interval 6.5 to 8.2) of the distance between images.
    In which stage? stage4
        At epoch 100 the AUC is largest in stage4. It is smaller, but seen, in stage1 0.519 (0.506 to 0.532), stage2 0.568 (0.551 to 0.585) and stage3 0.660 (0.637 to 0.684). None is seen in stem.
    Since when? After epoch 20 (95 % interval 20 to 40)
        In stage3. Also in stage4 after epoch 20 (20 to 40). The intervals do not tell which of them comes first.
    What to keep? Epoch 60, stage3
        By view retrieval on unseen images epoch 100 is the best trained checkpoint. Epoch 60 is the earliest that is shown to be at most 3.0 points worse: it retrieves 0.4 points (95 % interval -0.6 to 1.4) fewer. Its memorisation gap is smaller by 0.030 (95 % interval 0.022 to 0.038). There, stage3 has the best view retrieval (no interval).
    "#);
}

#[test]
fn none_seen_is_an_answer() {
    let mut none = diagnosis();
    none.onsets.clear();
    for cell in &mut none.cells {
        let found = memorised_by(0.001 * cell.checkpoint as f64, 0.012);
        (cell.memorisation, cell.membership_above_control) = (Some(found), Some(around(0.002, 0.024)));
    }
    assert_snapshot!(answers(&told(none)), @r#"
    Does it memorise? None seen
        In no stage are training images told from unseen ones better than by chance and better than the untrained start. The largest AUC is 0.510 (95 % interval 0.486 to 0.534) in stage4 at epoch 100; 0.5 is chance.
    In which stage? None
    Since when? None seen
    What to keep? Epoch 60, stage3
        By view retrieval on unseen images epoch 100 is the best trained checkpoint. Epoch 60 is the earliest that is shown to be at most 3.0 points worse: it retrieves 0.4 points (95 % interval -0.6 to 1.4) fewer. Its memorisation gap is smaller by 0.030 (95 % interval 0.022 to 0.038). There, stage3 has the best view retrieval (no interval).
    "#);
}

#[test]
fn without_unseen_images_nothing_is_told() {
    let mut blind = diagnosis();
    (blind.onsets, blind.choices) = (Vec::new(), Vec::new());
    (blind.sides, blind.control) = (None, None);
    for cell in &mut blind.cells {
        (cell.unseen, cell.memorisation, cell.membership_above_control) = (None, None, None);
    }
    assert_snapshot!(answers(&told(blind)), @r#"
    Does it memorise? Not known
        No unseen images were given. Give some with --unseen, or hold images out with `lethe pretrain --hold-out N`.
    In which stage? Not known
    Since when? Not known
    What to keep? Not known
        A choice needs unseen images, and checkpoints that say their epochs, oldest first.
    "#);
}

#[test]
fn checkpoints_without_epochs_do_not_say_since_when() {
    let mut foreign = diagnosis();
    (foreign.onsets, foreign.choices) = (Vec::new(), Vec::new());
    foreign.checkpoints.iter_mut().for_each(|row| row.epoch = None);
    assert_snapshot!(answers(&told(foreign)), @r#"
    Does it memorise? Yes
        In stage4 at checkpoints/epoch-0100.safetensors training images are told from unseen ones with AUC 0.779 (95 % interval 0.748 to 0.811); 0.5 is chance. The untrained start has AUC 0.500 (95 % interval 0.488 to 0.512), so the encoder adds 0.279 (95 % interval 0.248 to 0.311). The views of an unseen image lie further apart than those of a training image by 7.4 % (95 % interval 6.5 to 8.2) of the distance between images.
    In which stage? stage4
        At checkpoints/epoch-0100.safetensors the AUC is largest in stage4. It is smaller, but seen, in stage1 0.519 (0.506 to 0.532), stage2 0.568 (0.551 to 0.585) and stage3 0.660 (0.637 to 0.684). None is seen in stem.
    Since when? Not known
        The checkpoints do not say their epochs.
    What to keep? Not known
        A choice needs unseen images, and checkpoints that say their epochs, oldest first.
    "#);
}

#[test]
fn one_checkpoint_has_stages_only() {
    let mut single = diagnosis();
    (single.onsets, single.choices) = (Vec::new(), Vec::new());
    single.checkpoints.drain(..5);
    single.cells.retain(|cell| cell.checkpoint == 5);
    single.cells.iter_mut().for_each(|cell| cell.checkpoint = 0);
    assert_snapshot!(answers(&told(single)), @r#"
    Does it memorise? Yes
        In stage4 at epoch 100 training images are told from unseen ones with AUC 0.779 (95 % interval 0.748 to 0.811); 0.5 is chance. The untrained start has AUC 0.500 (95 % interval 0.488 to 0.512), so the encoder adds 0.279 (95 % interval 0.248 to 0.311). The views of an unseen image lie further apart than those of a training image by 7.4 % (95 % interval 6.5 to 8.2) of the distance between images.
    In which stage? stage4
        At epoch 100 the AUC is largest in stage4. It is smaller, but seen, in stage1 0.519 (0.506 to 0.532), stage2 0.568 (0.551 to 0.585) and stage3 0.660 (0.637 to 0.684). None is seen in stem.
    Since when? Not known
        There is one checkpoint. An onset needs checkpoints of several epochs.
    What to keep? Not known
        There is one trained checkpoint.
    "#);
}

#[test]
fn an_onset_that_is_not_abrupt_has_no_beginning() {
    let mut slow = diagnosis();
    slow.onsets[0].abrupt = false;
    slow.onsets[0].epoch = Estimate { low: 0.0, high: 60.0, ..slow.onsets[0].epoch };
    slow.choices[0].earliest.as_mut().expect("an earliest").spared = Some(around(-0.01, 0.02));
    let slow = told(slow);
    let said = answers(&slow);
    let since = said.split("Since when? ").nth(1).expect("an answer");
    assert_snapshot!(since, @r#"
    By epoch 60 at the latest
        In stage3. It grows gradually there, so the 95 % interval begins with the first checkpoint: 0 to 60. Also in stage4 after epoch 20 (20 to 40). The intervals do not tell which of them comes first.
    What to keep? Epoch 60, stage3
        By view retrieval on unseen images epoch 100 is the best trained checkpoint. Epoch 60 is the earliest that is shown to be at most 3.0 points worse: it retrieves 0.4 points (95 % interval -0.6 to 1.4) fewer. Its memorisation gap is not measurably smaller: the difference is -0.010 (95 % interval -0.030 to 0.010). There, stage3 has the best view retrieval (no interval).
    "#);
}

/// What a difference before training, or in the first stage, says of the two sets of images.
#[test]
fn gaps_that_are_no_memory_raise_doubts() {
    let first = |doubtful: Diagnosis| answers(&told(doubtful)).lines().take(2).collect::<Vec<_>>().join("\n");
    let mut start = diagnosis();
    let found = memorised_by(0.05, 0.005);
    start.cells[4].memorisation = Some(found);
    start.control.as_mut().unwrap().stages[4] = found;
    assert_snapshot!(first(start), @r#"
    Does it memorise? Yes
        In stage4 at epoch 100 training images are told from unseen ones with AUC 0.779 (95 % interval 0.748 to 0.811); 0.5 is chance. The untrained start has AUC 0.600 (95 % interval 0.590 to 0.610), so the encoder adds 0.279 (95 % interval 0.248 to 0.311). The views of an unseen image lie further apart than those of a training image by 7.4 % (95 % interval 6.5 to 8.2) of the distance between images. The two sides differ in kind: the untrained start already tells them apart in stage4, with AUC 0.600 (95 % interval 0.590 to 0.610).
    "#);
    let mut early = diagnosis();
    early.control.as_mut().unwrap().shift = vec![Some(Shift { auc: 0.63, p: 0.005 }), None, None, None, None];
    assert_snapshot!(first(early), @r#"
    Does it memorise? Yes
        In stage4 at epoch 100 training images are told from unseen ones with AUC 0.779 (95 % interval 0.748 to 0.811); 0.5 is chance. The untrained start has AUC 0.500 (95 % interval 0.488 to 0.512), so the encoder adds 0.279 (95 % interval 0.248 to 0.311). The views of an unseen image lie further apart than those of a training image by 7.4 % (95 % interval 6.5 to 8.2) of the distance between images. The two sides may differ in kind: plain features of stem in an encoder that never saw them tell them apart, with AUC 0.630 (p = 0.005).
    "#);
    let mut closer = diagnosis();
    closer.cells[3 * STAGES.len() + 1].memorisation = Some(memorised_by(-0.05, 0.005));
    assert_snapshot!(first(closer), @r#"
    Does it memorise? Yes
        In stage4 at epoch 100 training images are told from unseen ones with AUC 0.779 (95 % interval 0.748 to 0.811); 0.5 is chance. The untrained start has AUC 0.500 (95 % interval 0.488 to 0.512), so the encoder adds 0.279 (95 % interval 0.248 to 0.311). The views of an unseen image lie further apart than those of a training image by 7.4 % (95 % interval 6.5 to 8.2) of the distance between images. In stage1 at epoch 60 the views of unseen images lie closer together than those of training images, with AUC 0.400 (95 % interval 0.390 to 0.410), so the two sides differ.
    "#);
}

#[test]
fn chromium_draws_it_wide_and_narrow_light_and_dark() {
    let Some(chromium) = chromium() else { return };
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("first-run");
    std::fs::create_dir(&folder).expect("a folder");
    fixture(&folder);
    let page = report(&folder);
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.html"), &page).expect("a writable folder");
    for (width, dark) in [(360, false), (1600, true)] {
        let seen = measured(&chromium, scratch.path(), &page, width, dark);
        let number = |key: &str| seen[key].as_f64().unwrap_or_else(|| panic!("{key} in {seen}"));
        assert_eq!(number("paper") < 0.1, dark, "{seen}: the theme is followed");
        assert!(number("charts") >= 30.0 && number("empty") == 0.0, "{seen}: every chart has a size");
        assert!(number("lines") > 150.0, "{seen}: the curves are drawn");
        assert!(number("scroll") <= f64::from(width), "{seen}: nothing is wider than the window");
        assert!(number("letters") >= 9.0, "{seen}: letters of charts are at least 9 px");
        assert!(number("text") >= 7.0 && number("muted") >= 4.5 && number("curves") >= 2.5, "{seen}: contrast");
        assert_eq!(number("said"), 1.0, "{seen}: the cell in focus says its numbers, and no other");
        assert!(number("readout") <= 370.0, "{seen}: what a cell says is within its map");
        assert_eq!(seen["named"], true, "{seen}: every chart is told in words");

        // Kept for people to look at.
        let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{width}.png"));
        let more = [
            format!("--screenshot={}", picture.display()),
            format!("--window-size={width},1200"),
            format!("--blink-settings=preferredColorScheme={}", i32::from(!dark)),
        ];
        browse(&chromium, &scratch.path().join("profile"), &folder.join("report.html"), &more);
        let picture = image::open(&picture).expect("a screenshot").to_rgb8();
        let mut colours: Vec<_> = picture.pixels().map(|pixel| pixel.0).collect();
        colours.sort_unstable();
        colours.dedup();
        assert!(colours.len() > 100, "the screenshot shows only {} colours", colours.len());
    }
}

/// A folder as the demo leaves it: a run, its diagnosis, a repair.
#[test]
fn a_repair_is_told_right_after_whether_there_is_anything_to_repair() {
    let folder = tempfile::tempdir().expect("a folder");
    fixture(folder.path());
    let undone = folder.path().join("undone");
    std::fs::create_dir(&undone).expect("a folder");
    std::fs::write(undone.join("undo.json"), serde_json::to_string(&repaired()).unwrap()).expect("a file");
    let all = std::fs::read_to_string(folder.path().join("undo.jsonl")).expect("the steps");
    let own: Vec<&str> = all.lines().filter(|line| line.contains("\"umm\"")).collect();
    std::fs::remove_file(folder.path().join("undo.jsonl")).expect("removed");
    std::fs::write(undone.join("undo.jsonl"), own.join("\n") + "\n").expect("a file");
    let page = report(folder.path());
    let said = answers_of(&page);
    let story: Vec<&str> = said.lines().filter(|line| line.contains("? ")).collect();
    assert_snapshot!(story.join("\n"), @r#"
    Does it memorise? Yes
    What did the repair do? It removed memorisation
    What did it cost? 995 passes
    In which stage? stage4
    Since when? After epoch 20 (95 % interval 20 to 40)
    What to keep? Epoch 60, stage3
    "#);
    assert!(said.contains(&words::repaired(&repaired())), "the page says what undo and the demo say: {said}");
    assert!(said.contains("The repair (umm) took 200 steps and 1 s."), "{said}");
    assert!(page.contains("k-NN (20), unseen images"), "the demo's own table is kept");
    assert_eq!(page.matches("Before and after the repair: ").count(), 0, "the sentence has taken the card's place");
}

#[test]
fn parts_of_an_input_make_a_page_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a writable folder");
    let row = |epoch, loss: f64| {
        json!({"kind": "epoch", "epoch": epoch, "step": 19 * epoch, "loss": loss, "terms": {"invariance": 1.0, "variance": loss},
            "lr": 0.1, "spread": 0.9, "images_per_s": 90.0, "data_wait": 0.0, "seconds": 1.0})
    };
    write("metrics.jsonl", &lines([row(1, 5.0), row(2, 4.0)].into_iter()));
    let page = report(folder.path());
    assert!(page.contains("Loss by step") && page.contains("invariance") && !page.contains("The repair"));

    let mut foreign = diagnosis();
    foreign.checkpoints.iter_mut().for_each(|row| row.epoch = None);
    for cell in &mut foreign.cells {
        (cell.unseen, cell.memorisation) = (None, None);
        cell.train.accuracy.clear();
        cell.train.measures.insert(EVIL.into(), 1.0);
    }
    foreign.sides = None;
    write("diagnosis.json", &serde_json::to_string(&told(foreign)).expect("JSON"));
    let page = report(folder.path());
    assert!(page.contains("No unseen images were given") && page.contains("epoch-0100"));
    assert!(!page.contains("<script"), "a key of the diagnosis became markup");

    let empty = told(Diagnosis {
        stages: Vec::new(),
        checkpoints: Vec::new(),
        cells: Vec::new(),
        onsets: Vec::new(),
        choices: Vec::new(),
        ..diagnosis()
    });
    write("diagnosis.json", &serde_json::to_string(&empty).expect("JSON"));
    report(folder.path());
}

#[test]
fn a_folder_above_shows_what_lies_below() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["umm", "continue"] {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
        std::fs::write(
            folder.path().join(name).join("undo.jsonl"),
            format!(
                "{}\n",
                json!({"kind": "step", "step": 1, "epoch": 1, "repair": name, "ssl": 4.0, "grad_norm": 1.0, "lr": 0.1, "passes": 1.0, "seconds": 1.0})
            ),
        )
        .expect("a file");
        std::fs::write(folder.path().join(name).join("evaluation.json"), "{}").expect("a file");
    }
    let output = program(folder.path(), &["report", ".", "--out", "page.html", "--json"]);
    assert_snapshot!(String::from_utf8_lossy(&output.stdout), @r#"
        {
          "report": "page.html",
          "files": [
            "continue/undo.jsonl",
            "umm/undo.jsonl"
          ],
          "notes": [
            "There are several evaluation.json here (continue/evaluation.json, umm/evaluation.json), so none is shown: ask for a report of one of the folders."
          ]
        }
    "#);
    assert!(folder.path().join("page.html").is_file() && !folder.path().join("report.html").exists());
}

#[test]
fn errors_name_the_file_and_the_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let case = |name: &str, file: &str, bytes: &[u8]| {
        let place = folder.path().join(name);
        std::fs::create_dir(&place).expect("a folder");
        std::fs::write(place.join(file), bytes).expect("a file");
        let text = failure(folder.path(), &["report", name]);
        assert!(!place.join("report.html").exists(), "no page was written");
        text
    };
    assert_snapshot!(failure(folder.path(), &["report", "nowhere"]), @r#"
        exit 1
        error: nowhere: no such file or folder
    "#);
    assert_snapshot!(case("empty", "notes.txt", b""), @r#"
        exit 1
        error: empty: nothing to report: no config.toml, metrics.jsonl, diagnosis.json, scores.json, undo.jsonl, before_after.json or evaluation.json
          hint: give the --out folder of `lethe pretrain`, `diagnose`, `undo` or `demo`
    "#);
    assert_snapshot!(case("metrics", "metrics.jsonl", b"\n{\"kind\":\"step\",\"epoch\":\"one\"}\n"), @r#"
        exit 1
        error: metrics/metrics.jsonl: line 2: invalid type: string "one", expected u32
    "#);
    assert_snapshot!(case("undo", "undo.jsonl", b"\n\nnonsense\n"), @r#"
        exit 1
        error: undo/undo.jsonl: line 3: not JSON (expected ident)
    "#);
    assert_snapshot!(case("diagnosis", "diagnosis.json", b"{\n \"lethe\": \"0.1.0\",\n \"encoder\": 3\n}"), @r#"
        exit 1
        error: diagnosis/diagnosis.json: line 3: invalid type: integer `3`, expected a string
    "#);
    assert_snapshot!(case("before", "before_after.json", b"{\"rows\":[{\"what\":\"k\",\"before\":1,\"after\":2,\"better\":\"up\"}]}"), @r#"
        exit 1
        error: before/before_after.json: line 1: unknown variant `up`, expected one of `higher`, `lower`, `neither`
    "#);
    assert_snapshot!(case("config", "config.toml", b"epochs = 1\nlr = = 2\n"), @r#"
        exit 1
        error: config/config.toml: line 2: extra `=`, expected nothing
    "#);
    assert_snapshot!(case("bytes", "evaluation.json", b"\xff\xfe"), @r#"
        exit 1
        error: bytes/evaluation.json: not UTF-8 text
    "#);
    let mut beyond = diagnosis();
    beyond.onsets[1].checkpoint = 9;
    assert_snapshot!(case("beyond", "diagnosis.json", serde_json::to_string(&beyond).expect("JSON").as_bytes()), @r#"
        exit 1
        error: beyond/diagnosis.json: speaks of checkpoint 9, counted from 0, but has 6
    "#);
    let good = tempfile::tempdir().expect("a folder");
    fixture(good.path());
    assert_snapshot!(failure(good.path(), &["report", ".", "--out", "no/such/page.html"]), @r#"
        exit 1
        error: no/such/page.html: cannot be written: no such file or folder
          hint: make its folder first
    "#);
}
