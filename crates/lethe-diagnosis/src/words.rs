//! The findings in words. Every sentence about a finding stands here: the terminal, `diagnosis.json`, the page, `undo`
//! and the demo show these.

use lethe_measures::Estimate;

use super::diagnosis::Diagnosis;
use super::findings::{ControlKind, Doubt, Findings, Keep, Memorises, OnsetFinding, Place, Since};
use super::records::{Repaired, StepRow};

/// A question with its answer and what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub question: &'static str,
    /// A few words.
    pub answer: String,
    /// Whole sentences.
    pub why: String,
}

/// The answers to the four questions.
pub fn answers(d: &Diagnosis) -> [Answer; 4] {
    let answer = |question, (answer, why): (String, String)| Answer { question, answer, why };
    let found = &d.findings;
    [
        answer("Does it memorise?", memorises(d, found)),
        answer("In which stage?", stages(d, found)),
        answer("Since when?", since(found)),
        answer("What to keep?", keep(d, found)),
    ]
}

/// The four answers, a line for each.
pub fn summary(d: &Diagnosis) -> String {
    let line = |Answer { question, answer, why }: &Answer| format!("{question} {answer}. {why}").trim_end().to_owned();
    answers(d).each_ref().map(line).join("\n")
}

/// `epoch 40`, or the name of a checkpoint that does not say.
fn at(d: &Diagnosis, checkpoint: usize) -> String {
    d.checkpoint_name(checkpoint)
}

fn place(d: &Diagnosis, place: &Place) -> String {
    format!("{} at {}", place.stage, at(d, place.checkpoint))
}

/// `the untrained start`.
pub(crate) fn control_name(kind: ControlKind) -> &'static str {
    match kind {
        ControlKind::UntrainedStart => "the untrained start",
        ControlKind::FreshEncoder => "an untrained encoder of the same shape",
        ControlKind::Reference => "the reference encoder",
    }
}

fn memorises(d: &Diagnosis, found: &Findings) -> (String, String) {
    let (answer, mut why) = match &found.memorises {
        Memorises::NotMeasured => (
            "Not known",
            "No unseen images were given. Give some with --unseen, or hold images out with `lethe pretrain --hold-out \
             N`."
            .to_owned(),
        ),
        Memorises::TooFewImages { images, needed } => (
            "Too few images",
            format!("There are {images} images a side. A verdict needs {needed}. The numbers stand in the table."),
        ),
        Memorises::Collapsed { checkpoint, stage } => (
            "Collapsed",
            format!(
                "At {} the features of {stage} are the same for most images, so images cannot be told apart by them.",
                at(d, *checkpoint)
            ),
        ),
        Memorises::NoneSeen { most } => ("None seen", none_seen(d, most)),
        Memorises::Yes { most } => ("Yes", evidence(d, most)),
        Memorises::YesOrSidesDiffer { most } => (
            "It memorises, or the two sides differ",
            format!(
                "{} Nothing says that the two sides are a random split of one set. To decide, use images that were \
                 held out at random (`lethe pretrain --hold-out N`), pass --random-split if the sides are such a \
                 split, or give an encoder that never saw the images with --reference.",
                evidence(d, most)
            ),
        ),
    };
    for doubt in &found.doubts {
        why.push(' ');
        why.push_str(&doubtful(d, doubt));
    }
    (answer.to_owned(), why)
}

fn none_seen(d: &Diagnosis, most: &Place) -> String {
    let control = d.control.as_ref().map(|control| format!(" and better than {}", control_name(control.kind)));
    format!(
        "In no stage are training images told from unseen ones better than by chance{}. The largest AUC is {} in {}; \
         0.5 is chance.",
        control.unwrap_or_default(),
        with_interval(most.membership),
        place(d, most)
    )
}

fn evidence(d: &Diagnosis, most: &Place) -> String {
    let mut text = format!(
        "In {} training images are told from unseen ones with AUC {}; 0.5 is chance.",
        place(d, most),
        with_interval(most.membership)
    );
    if let (Some(control), Some(found), Some(above)) = (&d.control, most.control, most.above_control) {
        let name = control_name(control.kind);
        text += &format!(
            " {} has AUC {}, so the encoder adds {}.",
            capital(name),
            with_interval(found),
            with_interval(above)
        );
    }
    if let Some(gap) = most.relative_gap {
        text += &format!(
            " The views of an unseen image lie further apart than those of a training image by {} of the distance \
             between images.",
            percent_with_interval(gap)
        );
    }
    text
}

fn doubtful(d: &Diagnosis, doubt: &Doubt) -> String {
    match doubt {
        Doubt::SidesDifferInKind { stage, membership, control } => format!(
            "The two sides differ in kind: {} already tells them apart in {stage}, with AUC {}.",
            control_name(*control),
            with_interval(*membership)
        ),
        Doubt::Shift { stage, auc, p } => format!(
            "The two sides may differ in kind: plain features of {stage} in an encoder that never saw them tell them \
             apart, with AUC {auc:.3} (p = {p:.3})."
        ),
        Doubt::UnseenCloser { checkpoint, stage, membership } => format!(
            "In {stage} at {} the views of unseen images lie closer together than those of training images, with AUC \
             {}, so the two sides differ.",
            at(d, *checkpoint),
            with_interval(*membership)
        ),
        Doubt::FilesDiffer { difference } => {
            format!("The files of the two sides differ, which alone can tell them apart: {difference}.")
        }
        Doubt::CopiesLeftOut { pairs: 1 } => "One image that is on both sides was left out of both.".to_owned(),
        Doubt::CopiesLeftOut { pairs } => format!("{pairs} images that are on both sides were left out of both."),
        Doubt::NoControl => "There was no control, so the sides may differ without any training.".to_owned(),
    }
}

fn stages(d: &Diagnosis, found: &Findings) -> (String, String) {
    let Some(most) = found.memorises.place().filter(|_| found.memorises.is_seen()) else {
        return match &found.memorises {
            Memorises::NoneSeen { .. } => ("None".into(), String::new()),
            _ => ("Not known".into(), String::new()),
        };
    };
    let named = |of: &dyn Fn(&super::findings::StageFinding) -> bool| -> Vec<String> {
        found.stages.iter().filter(|stage| of(stage)).map(|stage| stage.stage.clone()).collect()
    };
    let leading = named(&|stage| stage.leading);
    let mut why = format!("At {} the AUC is largest in {}", at(d, most.checkpoint), most.stage);
    let beside: Vec<String> = leading.iter().filter(|name| **name != most.stage).cloned().collect();
    why += &match beside.as_slice() {
        [] => ".".to_owned(),
        beside => format!("; that of {} cannot be told from it.", listed(beside)),
    };
    let smaller: Vec<String> = found
        .stages
        .iter()
        .filter(|stage| stage.seen && !stage.leading)
        .map(|stage| format!("{} {}", stage.stage, in_brackets(stage.membership)))
        .collect();
    if !smaller.is_empty() {
        why += &format!(" It is smaller, but seen, in {}.", listed(&smaller));
    }
    let none = named(&|stage| !stage.seen);
    if !none.is_empty() {
        why += &format!(" None is seen in {}.", listed(&none));
    }
    (listed(&leading), why)
}

fn since(found: &Findings) -> (String, String) {
    let unknown = |why: &str| ("Not known".to_owned(), why.to_owned());
    match &found.since {
        Since::NoneSeen => match &found.memorises {
            Memorises::NoneSeen { .. } => ("None seen".into(), String::new()),
            _ => unknown(""),
        },
        Since::OneCheckpoint => unknown("There is one checkpoint. An onset needs checkpoints of several epochs."),
        Since::EpochsUnknown => unknown("The checkpoints do not say their epochs."),
        Since::NoRise => unknown("It is seen, but in no stage does it grow beyond doubt between two checkpoints."),
        Since::Onsets { onsets } => {
            let first = &onsets[0];
            let others = &onsets[1..];
            let apart = others.iter().all(|onset| onset.epoch.low >= first.epoch.high);
            let mut why = format!("{} {}.", if apart && !others.is_empty() { "First in" } else { "In" }, first.stage);
            if !first.abrupt {
                why += &format!(
                    " It grows gradually there, so the 95 % interval begins with the first checkpoint: {:.0} to {:.0}.",
                    first.epoch.low, first.epoch.high
                );
            }
            if !others.is_empty() {
                why += &format!(" Also in {}.", listed(&others.iter().map(onset).collect::<Vec<_>>()));
                if !apart {
                    why += " The intervals do not tell which of them comes first.";
                }
            }
            (first_onset(first), why)
        }
    }
}

fn first_onset(onset: &OnsetFinding) -> String {
    let Estimate { value, low, high } = onset.epoch;
    match onset.abrupt {
        true => format!("After epoch {value:.0} (95 % interval {low:.0} to {high:.0})"),
        false => format!("By epoch {high:.0} at the latest"),
    }
}

/// `stage4 after epoch 40 (20 to 60)`.
pub(crate) fn onset(onset: &OnsetFinding) -> String {
    let Estimate { value, low, high } = onset.epoch;
    match onset.abrupt {
        true => format!("{} after epoch {value:.0} ({low:.0} to {high:.0})", onset.stage),
        false => format!("{} by epoch {high:.0} at the latest", onset.stage),
    }
}

/// Since when the mean gap of several runs grows in a stage.
pub fn onset_of_runs(found: &super::Onset) -> String {
    let found = OnsetFinding { stage: found.stage.clone(), epoch: found.epoch, abrupt: found.abrupt };
    format!("The mean gap of these runs grows in {}.", onset(&found))
}

fn keep(d: &Diagnosis, found: &Findings) -> (String, String) {
    match &found.keep {
        Keep::OneCheckpoint => ("Not known".into(), "There is one trained checkpoint.".into()),
        Keep::NotMeasured => (
            "Not known".into(),
            "A choice needs unseen images, and checkpoints that say their epochs, oldest first.".into(),
        ),
        Keep::Checkpoint { best, earliest, loss, margin, least_margin, spared, stage } => {
            let mut why =
                format!("By view retrieval on unseen images {} is the best trained checkpoint.", at(d, *best));
            if earliest == best {
                why += &format!(" No earlier one is shown to be at most {} worse.", points(*margin));
            } else {
                why += &format!(
                    " {} is the earliest that is shown to be at most {} worse: it retrieves {} fewer.",
                    capital(&at(d, *earliest)),
                    points(*margin),
                    points_with_interval(*loss)
                );
                if let Some(spared) = spared {
                    why += &format!(" {}", gap_spared(*spared));
                }
            }
            if let Some(least) = least_margin.filter(|_| earliest == best) {
                why += &format!(" The least margin that these images can show is {}.", points(least));
            }
            let mut answer = capital(&at(d, *earliest));
            if let Some(stage) = stage {
                answer += &format!(", {stage}");
                why += &format!(" There, {stage} has the best view retrieval (no interval).");
            }
            (answer, why)
        }
    }
}

/// What the gap of the earliest checkpoint is beside that of the best.
fn gap_spared(spared: Estimate) -> String {
    match spared {
        Estimate { low, .. } if low > 0.0 => format!("Its memorisation gap is smaller by {}.", with_interval(spared)),
        Estimate { value, low, high } if high < 0.0 => {
            let more = Estimate { value: -value, low: -high, high: -low };
            format!("Its memorisation gap is larger by {}.", with_interval(more))
        }
        _ => format!("Its memorisation gap is not measurably smaller: the difference is {}.", with_interval(spared)),
    }
}

/// What a repair did and what it cost. `steps` are the lines of its `undo.jsonl`.
pub fn repair_answers(repaired: &Repaired, steps: &[StepRow]) -> Vec<Answer> {
    let did = match changed(repaired.changes.membership) {
        Changed::Fell => "It removed memorisation",
        Changed::Rose => "It added memorisation",
        Changed::NotMeasurably => "Nothing that can be measured",
    };
    let did = Answer { question: "What did the repair do?", answer: did.into(), why: self::repaired(repaired) };
    std::iter::once(did).chain(cost(steps)).collect()
}

fn cost(steps: &[StepRow]) -> Option<Answer> {
    let last = steps.last().filter(|last| steps.iter().all(|row| row.repair == last.repair))?;
    Some(Answer {
        question: "What did it cost?",
        answer: format!("{:.0} passes", last.passes),
        why: format!(
            "The repair ({}) took {} steps and {:.0} s. A pass is one way of a batch forward and backward through the \
             late stages.",
            last.repair, last.step, last.seconds
        ),
    })
}

/// How a number moved, by the interval of its change.
enum Changed {
    Fell,
    Rose,
    NotMeasurably,
}

fn changed(change: Estimate) -> Changed {
    match change {
        Estimate { high, .. } if high < 0.0 => Changed::Fell,
        Estimate { low, .. } if low > 0.0 => Changed::Rose,
        _ => Changed::NotMeasurably,
    }
}

/// What a repair did, in two sentences: one on memorisation, one on the features' use.
pub fn repaired(repaired: &Repaired) -> String {
    let changes = &repaired.changes;
    let memorisation = match changed(changes.membership) {
        Changed::Fell => "The repair removed memorisation in the last stage",
        Changed::Rose => "The repair added memorisation in the last stage",
        Changed::NotMeasurably => "The repair did not measurably change memorisation in the last stage",
    };
    let retrieval = match changed(changes.view_retrieval) {
        Changed::Fell => "View retrieval on unseen images fell",
        Changed::Rose => "View retrieval on unseen images rose",
        Changed::NotMeasurably => "View retrieval on unseen images did not measurably change",
    };
    format!(
        "{memorisation}: AUC {:.3} to {:.3}, a change of {}. {retrieval}: {} to {}, a change of {}.",
        repaired.before.membership,
        repaired.after.membership,
        with_interval(changes.membership),
        percent(repaired.before.view_retrieval),
        percent(repaired.after.view_retrieval),
        points_with_interval(changes.view_retrieval),
    )
}

/// `0.140 (95 % interval 0.124 to 0.156)`.
pub fn with_interval(Estimate { value, low, high }: Estimate) -> String {
    format!("{value:.3} (95 % interval {low:.3} to {high:.3})")
}

/// `0.140 (0.124 to 0.156)`.
pub fn in_brackets(Estimate { value, low, high }: Estimate) -> String {
    format!("{value:.3} ({low:.3} to {high:.3})")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn percent_with_interval(Estimate { value, low, high }: Estimate) -> String {
    format!("{:.1} % (95 % interval {:.1} to {:.1})", 100.0 * value, 100.0 * low, 100.0 * high)
}

fn points(share: f64) -> String {
    format!("{:.1} points", 100.0 * share)
}

fn points_with_interval(Estimate { value, low, high }: Estimate) -> String {
    format!("{:.1} points (95 % interval {:.1} to {:.1})", 100.0 * value, 100.0 * low, 100.0 * high)
}

/// `stage2, stage3 and stage4`.
pub(crate) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// With a capital first letter.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
