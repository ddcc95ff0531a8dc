//! Each state of a diagnosis, and what the terminal, `diagnosis.json` and the page say of it.

use crate::support::{Encoder, diagnosed};
use lethe_diagnosis::findings::{Doubt, Keep, Memorises, Since};
use lethe_diagnosis::report::{ReportInput, page};
use lethe_diagnosis::{Diagnosis, Relation, words};

/// The start and five checkpoints of a run whose memory is `memory` of the share of its epochs.
fn run(memory: impl Fn(f64) -> f64) -> Vec<Encoder> {
    (0..6).map(|i| Encoder { memory: memory(f64::from(i) / 5.0), ..Encoder::new(20 * i) }).collect()
}

/// All that a page says, without markup.
fn text_of(page: &str) -> String {
    let mut text = String::new();
    let mut within = false;
    for c in page.chars() {
        match c {
            '<' => within = true,
            '>' => {
                within = false;
                text.push(' ');
            }
            c if !within => text.push(c),
            _ => {}
        }
    }
    text.replace("&amp;", "&").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The summary is what JSON and the terminal show; the page shows the same answers and the same reasons.
fn expect_one_voice(d: &Diagnosis) {
    let json: Diagnosis = serde_json::from_str(&serde_json::to_string(d).unwrap()).unwrap();
    assert_eq!(json.summary, words::summary(d), "the words of the file are the words of its findings");
    assert_eq!(json.findings, d.findings, "findings survive the file");
    let page = text_of(&page(&ReportInput { diagnosis: Some(d.clone()), ..ReportInput::default() }));
    for (line, answer) in d.summary.lines().zip(words::answers(d)) {
        let said = [answer.question, &answer.answer, &answer.why].join(" ");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains(&said), "the page does not say: {said}\n\n{page}");
        assert!(line.starts_with(answer.question) && line.contains(answer.why.trim()), "{line}");
    }
}

#[test]
fn seen_at_once_and_since_when() {
    let d = diagnosed(&run(|share| if share >= 0.6 { 0.5 } else { 0.0 }), Relation::RandomSplit);
    let Memorises::Yes { most } = &d.findings.memorises else { panic!("{:?}", d.findings.memorises) };
    assert_eq!(most.stage, "head");
    assert!(most.membership.low > 0.5 && most.above_control.unwrap().low > 0.0);
    let Since::Onsets { onsets } = &d.findings.since else { panic!("{:?}", d.findings.since) };
    assert_eq!(onsets.len(), 1);
    assert!(onsets[0].abrupt && onsets[0].epoch.low <= 60.0 && onsets[0].epoch.high >= 40.0, "{onsets:?}");
    assert!(d.summary.starts_with("Does it memorise? Yes. In head at epoch"), "{}", d.summary);
    expect_one_voice(&d);
}

#[test]
fn none_seen() {
    let d = diagnosed(&run(|_| 0.0), Relation::RandomSplit);
    assert!(matches!(d.findings.memorises, Memorises::NoneSeen { .. }), "{:?}", d.findings);
    assert_eq!(d.findings.since, Since::NoneSeen);
    assert!(d.findings.stages.is_empty());
    assert!(d.summary.starts_with("Does it memorise? None seen."), "{}", d.summary);
    assert!(d.summary.contains("In which stage? None."), "{}", d.summary);
    expect_one_voice(&d);
}

#[test]
fn only_the_start_tells_the_sides_apart() {
    let mut encoders = run(|_| 0.0);
    encoders[0].other_kind = 0.5;
    let d = diagnosed(&encoders, Relation::RandomSplit);
    assert!(matches!(d.findings.memorises, Memorises::NoneSeen { .. }), "{:?}", d.findings.memorises);
    assert!(d.findings.doubts.iter().any(|doubt| matches!(doubt, Doubt::SidesDifferInKind { .. })));
    assert!(d.summary.contains("The two sides differ in kind: the untrained start already tells them apart"));
    expect_one_voice(&d);
}

#[test]
fn sides_of_another_kind_are_no_memory() {
    // Every encoder tells the sides apart, the untrained one as well as the trained ones.
    let encoders: Vec<Encoder> = run(|_| 0.0).into_iter().map(|e| Encoder { other_kind: 0.4, ..e }).collect();
    for relation in [Relation::RandomSplit, Relation::Unknown] {
        let d = diagnosed(&encoders, relation);
        assert!(matches!(d.findings.memorises, Memorises::NoneSeen { .. }), "{:?}", d.findings.memorises);
        assert!(d.findings.doubts.iter().any(|doubt| matches!(doubt, Doubt::SidesDifferInKind { .. })));
        expect_one_voice(&d);
    }
}

#[test]
fn it_memorises_or_the_two_sides_differ() {
    let d = diagnosed(&run(|share| 0.5 * share), Relation::Unknown);
    assert!(matches!(d.findings.memorises, Memorises::YesOrSidesDiffer { .. }), "{:?}", d.findings.memorises);
    assert!(d.summary.contains("It memorises, or the two sides differ"), "{}", d.summary);
    assert!(d.summary.contains("--hold-out") && d.summary.contains("--random-split"), "says what to do: {}", d.summary);
    expect_one_voice(&d);
}

#[test]
fn without_a_control_no_plain_yes() {
    let encoders: Vec<Encoder> = run(|share| 0.5 * share).split_off(1);
    let d = diagnosed(&encoders, Relation::RandomSplit);
    assert!(matches!(d.findings.memorises, Memorises::YesOrSidesDiffer { .. }), "{:?}", d.findings.memorises);
    assert!(d.findings.doubts.contains(&Doubt::NoControl));
    expect_one_voice(&d);
}

#[test]
fn not_abrupt() {
    // Ever faster: no abrupt onset explains the curve.
    let d = diagnosed(
        &run(|share| 0.65 * share.powi(4)).into_iter().map(|e| Encoder { images: 1000, ..e }).collect::<Vec<_>>(),
        Relation::RandomSplit,
    );
    let Since::Onsets { onsets } = &d.findings.since else { panic!("{:?}", d.findings.since) };
    assert!(!onsets[0].abrupt, "{onsets:?}");
    assert!(d.summary.contains("Since when? By epoch"), "{}", d.summary);
    assert!(!d.summary.contains("Since when? After epoch"), "{}", d.summary);
    expect_one_voice(&d);
}

#[test]
fn one_checkpoint() {
    let d = diagnosed(&run(|share| 0.5 * share)[5..], Relation::RandomSplit);
    assert_eq!(d.findings.since, Since::OneCheckpoint);
    assert_eq!(d.findings.keep, Keep::OneCheckpoint);
    expect_one_voice(&d);
}

#[test]
fn too_few_images() {
    let encoders: Vec<Encoder> = run(|share| 0.9 * share).into_iter().map(|e| Encoder { images: 30, ..e }).collect();
    let d = diagnosed(&encoders, Relation::RandomSplit);
    assert!(matches!(d.findings.memorises, Memorises::TooFewImages { images: 30, needed: 50 }));
    assert!(d.cells.iter().all(|cell| cell.memorisation.is_some()), "the numbers stand");
    assert!(d.summary.starts_with("Does it memorise? Too few images."), "{}", d.summary);
    expect_one_voice(&d);
}

#[test]
fn collapsed() {
    let mut encoders = run(|_| 0.0);
    encoders[5].collapsed = true;
    let d = diagnosed(&encoders, Relation::RandomSplit);
    assert!(matches!(&d.findings.memorises, Memorises::Collapsed { checkpoint: 5, .. }), "{:?}", d.findings.memorises);
    assert!(d.summary.starts_with("Does it memorise? Collapsed."), "{}", d.summary);
    expect_one_voice(&d);
}

#[test]
fn the_untrained_start_is_never_kept() {
    // The start retrieves best, as an untrained network may.
    let mut encoders = run(|_| 0.0);
    for (i, encoder) in encoders.iter_mut().enumerate() {
        encoder.quality = if i == 0 { 2.0 } else { 0.4 + 0.1 * i as f64 };
    }
    let d = diagnosed(&encoders, Relation::RandomSplit);
    assert!(!d.choices.is_empty());
    for choice in &d.choices {
        assert!(choice.checkpoint > 0, "{} keeps the start", choice.criterion);
        assert!(choice.earliest.as_ref().is_none_or(|earliest| earliest.checkpoint > 0));
    }
    let Keep::Checkpoint { best, .. } = d.findings.keep else { panic!("{:?}", d.findings.keep) };
    assert_eq!(best, 5);
    expect_one_voice(&d);
}

#[test]
fn the_earliest_as_good_stays_within_the_margin() {
    let mut encoders = run(|_| 0.0);
    for (encoder, quality) in encoders.iter_mut().zip([0.2, 0.3, 0.6, 1.1, 1.1, 1.1]) {
        *encoder = Encoder { quality, images: 1000, ..encoder.clone() };
    }
    let d = diagnosed(&encoders, Relation::RandomSplit);
    let Keep::Checkpoint { earliest, loss, margin, .. } = d.findings.keep else { panic!("{:?}", d.findings.keep) };
    assert!(loss.high <= margin || loss.value == 0.0, "{loss:?}");
    assert_eq!(earliest, 3, "epoch 60 is as good as the last; epoch 40 is much worse");
}
