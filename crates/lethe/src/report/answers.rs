//! The four questions a diagnosis is asked, and what its intervals bear of an answer.

use super::charts::{self, checkpoints};
use super::definitions::definition;
use super::numbers::{in_table, with_interval};
use crate::diagnose::{Cell, Choice, Diagnosis, Estimate, Onset};

const GAP: &str = "memorisation_gap";
const VIEW_RETRIEVAL: &str = "view_retrieval";

pub(super) struct Answer {
    pub(super) question: &'static str,
    pub(super) answer: String,
    pub(super) why: String,
}

pub(super) fn answers(d: &Diagnosis) -> [Answer; 4] {
    let gaps = Gaps::of(d);
    let answer = |question, (answer, why): (String, String)| Answer { question, answer, why };
    [
        answer("Does it memorise?", does(d, &gaps)),
        answer("In which stage?", stage(d, &gaps)),
        answer("Since when?", since(d, &gaps)),
        answer("What to keep?", keep(d)),
    ]
}

/// The gaps of a diagnosis, sorted by what their intervals say.
struct Gaps<'a> {
    measured: Vec<&'a Cell>,
    /// The whole interval above 0, largest gap first.
    above: Vec<&'a Cell>,
    below: Vec<&'a Cell>,
}

impl<'a> Gaps<'a> {
    fn of(d: &'a Diagnosis) -> Self {
        let mut measured: Vec<&Cell> = d.cells.iter().filter(|cell| gap(cell).value.is_finite()).collect();
        measured.sort_by(|a, b| gap(b).value.total_cmp(&gap(a).value));
        let those = |of: fn(Estimate) -> bool| measured.iter().copied().filter(|cell| of(gap(cell))).collect();
        Self { above: those(|gap| gap.low > 0.0), below: those(|gap| gap.high < 0.0), measured }
    }

    /// Those of trained encoders.
    fn memorised(&self, d: &Diagnosis) -> Vec<&'a Cell> {
        self.above.iter().copied().filter(|cell| !untrained(d, cell)).collect()
    }
}

fn untrained(d: &Diagnosis, cell: &Cell) -> bool {
    d.checkpoints[cell.checkpoint].epoch == Some(0)
}

/// A gap without an interval says nothing of 0.
fn gap(cell: &Cell) -> Estimate {
    let [low, high] = cell.gap_interval.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
    Estimate { value: cell.memorisation_gap.unwrap_or(f64::NAN), low, high }
}

fn shown(cell: &Cell) -> String {
    with_interval(gap(cell).value, cell.gap_interval)
}

/// `epoch 40`, or `checkpoint resnet-a`.
fn at(d: &Diagnosis, checkpoint: usize) -> String {
    let (axis, names) = checkpoints(d);
    format!("{axis} {}", names[checkpoint])
}

/// `stage3 0.080 (0.069 to 0.092)`.
fn named(cell: &Cell) -> String {
    format!("{} {}", cell.stage, in_table(gap(cell)))
}

fn place(d: &Diagnosis, cell: &Cell) -> String {
    format!("{} at {}", cell.stage, at(d, cell.checkpoint))
}

fn does(d: &Diagnosis, gaps: &Gaps) -> (String, String) {
    let Some(largest) = gaps.measured.first() else {
        let why = "No unseen images were given, so nothing here tells memorising from learning: repeat with \
                   `lethe diagnose --unseen`.";
        return ("Not known".into(), why.into());
    };
    let mut doubts = String::new();
    if let Some(cell) = gaps.above.iter().find(|cell| untrained(d, cell)) {
        doubts += &format!(
            " But the untrained encoder shows a gap too ({}): the two sets of images differ in more than training.",
            place(d, cell)
        );
    } else if let Some(cell) = gaps.above.iter().find(|cell| Some(&cell.stage) == d.stages.first()) {
        doubts += &format!(
            " But {} shows a gap too, where memorisation is not expected: the two sets of images may differ in more than \
             training.",
            cell.stage
        );
    }
    if let Some(cell) = gaps.below.first() {
        doubts += &format!(
            " In {} new images are held closer than training images, {}: the two sets of images differ.",
            place(d, cell),
            shown(cell)
        );
    }
    let memorised = gaps.memorised(d);
    let Some(most) = memorised.first() else {
        let why = format!(
            "No memorisation gap of the trained encoder lies above zero; the largest is {} in {}.{doubts}",
            shown(largest),
            place(d, largest)
        );
        return ("None seen".into(), why);
    };
    let mut why = format!(
        "Two views of a training image lie closer together than two views of a new image, by {} in {}.",
        shown(most),
        place(d, most)
    );
    if let Some(membership) = &most.membership {
        let Estimate { value, low, high } = membership.auc;
        why += &format!(
            " By that distance alone a training image is told from a new one with AUC {}; 0.5 is guessing.",
            with_interval(value, Some([low, high]))
        );
    }
    let answer = match (doubts.is_empty(), gaps.above.iter().any(|cell| untrained(d, cell))) {
        (true, _) => "Yes",
        (false, false) => "Yes, with a doubt",
        (false, true) => "Not clear",
    };
    (answer.into(), why + &doubts)
}

/// By the checkpoint with the largest gap: every stage whose interval reaches that of the largest one.
fn stage(d: &Diagnosis, gaps: &Gaps) -> (String, String) {
    if gaps.measured.is_empty() {
        return ("Not known".into(), "That takes unseen images.".into());
    }
    let memorised = gaps.memorised(d);
    let Some(most) = memorised.first() else {
        return ("None".into(), "In no stage does a gap lie above zero at any checkpoint.".into());
    };
    let there: Vec<&Cell> = d.stages.iter().filter_map(|stage| charts::cell(d, most.checkpoint, stage)).collect();
    let told = |cell: &&&Cell| gap(cell).low > 0.0;
    let level = |cell: &&&Cell| gap(cell).high >= gap(most).low;
    let names = |cells: Vec<&&Cell>| cells.iter().map(|cell| cell.stage.clone()).collect::<Vec<_>>();
    let leading = names(there.iter().filter(told).filter(level).collect());
    let mut why = format!("At {}: ", at(d, most.checkpoint));
    why += &match leading.len() {
        1 => format!("the gap is largest in {}, {}.", most.stage, shown(most)),
        _ => format!("the gap is largest in {}, {}; that of {} cannot be told from it.", most.stage, shown(most), {
            listed(&leading.iter().filter(|name| **name != most.stage).cloned().collect::<Vec<_>>())
        }),
    };
    let smaller: Vec<String> = there.iter().filter(told).filter(|cell| !level(cell)).map(|cell| named(cell)).collect();
    if !smaller.is_empty() {
        why += &format!(" Smaller, but above zero: {}.", listed(&smaller));
    }
    let none = names(there.iter().filter(|cell| !told(cell)).collect());
    if !none.is_empty() {
        why += &format!(" None seen in {}.", listed(&none));
    }
    (listed(&leading), why)
}

fn since(d: &Diagnosis, gaps: &Gaps) -> (String, String) {
    let unknown = |why: &str| ("Not known".to_owned(), why.to_owned());
    if gaps.measured.is_empty() {
        return unknown("That takes unseen images.");
    }
    if d.checkpoints.len() < 2 {
        return unknown("That takes checkpoints of several epochs; here is one.");
    }
    if d.checkpoints.iter().any(|row| row.epoch.is_none()) {
        return unknown("The checkpoints do not say their epochs.");
    }
    let mut onsets: Vec<&Onset> = d.onsets.iter().filter(|onset| onset.of == GAP).collect();
    onsets.sort_by(|a, b| a.epoch.total_cmp(&b.epoch));
    let Some(first) = onsets.first() else {
        let why = if gaps.memorised(d).is_empty() {
            "In no stage does the gap grow beyond doubt."
        } else {
            "There is a gap, but in no stage does it grow beyond doubt from one checkpoint to another."
        };
        return ("None seen".into(), why.into());
    };
    let [low, high] = first.interval;
    let answer = if first.abrupt {
        format!("After epoch {:.0} (95\u{a0}% interval {low:.0} to {high:.0})", first.epoch)
    } else {
        format!("By epoch {high:.0} at the latest")
    };
    let apart = onsets[1..].iter().all(|onset| onset.interval[0] >= high);
    let mut why = format!("{} {}.", if apart && onsets.len() > 1 { "First in" } else { "In" }, first.stage);
    if !first.abrupt {
        why += &format!(
            " The gap does not set in abruptly there, so the 95\u{a0}% interval begins with the first checkpoint: {low:.0} \
             to {high:.0}."
        );
    }
    let others: Vec<String> = onsets[1..]
        .iter()
        .map(|onset| {
            let [low, high] = onset.interval;
            if onset.abrupt {
                format!("in {} after epoch {:.0} ({low:.0} to {high:.0})", onset.stage, onset.epoch)
            } else {
                format!("in {} gradually ({low:.0} to {high:.0})", onset.stage)
            }
        })
        .collect();
    if !others.is_empty() {
        why += &format!(" Also {}.", listed(&others));
        if !apart {
            why += " Which of them comes first the intervals do not tell.";
        }
    }
    (answer, why)
}

fn keep(d: &Diagnosis) -> (String, String) {
    let chosen = d
        .choices
        .iter()
        .find(|choice| choice.criterion == VIEW_RETRIEVAL)
        .or_else(|| d.choices.iter().find(|choice| !choice.needs_labels));
    let Some(choice) = chosen else {
        let why = if d.checkpoints.len() < 2 {
            "There is one checkpoint only."
        } else {
            "To choose takes unseen images, and checkpoints that say their epochs, oldest first."
        };
        return ("Not known".into(), why.into());
    };
    let best = at(d, choice.checkpoint);
    let kept = choice.earliest.as_ref().map_or(choice.checkpoint, |earliest| earliest.checkpoint);
    let mut answer = capital(&at(d, kept));
    let by = criterion(choice);
    let by = if choice.criterion == VIEW_RETRIEVAL { by.to_lowercase() } else { by };
    let mut why = format!("Without labels, by {by} on unseen images: {best} is the best");
    match &choice.earliest {
        None => why += ".",
        Some(earliest) if earliest.checkpoint == choice.checkpoint => {
            why += ", and every earlier one is measurably worse.";
        }
        Some(earliest) => {
            why += &format!(", {} the earliest that is not measurably worse; ", at(d, earliest.checkpoint));
            why += &spared(earliest.spared);
        }
    }
    if let Some(stage) = &choice.stage {
        answer += &format!(", {stage}");
        why += &format!(" Of the stages at {best}, {stage} is the best (no interval).");
    }
    (answer, why)
}

fn spared(Estimate { value, low, high }: Estimate) -> String {
    let told = match (low > 0.0, high < 0.0) {
        (true, _) => "it memorises less",
        (_, true) => "it memorises more",
        _ => "whether it memorises less is not told",
    };
    let change = if value < 0.0 {
        format!("larger by {}", with_interval(-value, Some([-high, -low])))
    } else {
        format!("smaller by {}", with_interval(value, Some([low, high])))
    };
    format!("{told}: its gap is {change}.")
}

/// How far the criteria without labels miss the best checkpoint by labels.
pub(super) struct Missed {
    pub(super) best: String,
    /// Criterion, its key, and epochs off.
    pub(super) epochs: Vec<(String, String, String)>,
}

pub(super) fn missed(d: &Diagnosis) -> Option<Missed> {
    let best = d.choices.iter().find(|choice| choice.needs_labels)?;
    let off = |choice: &Choice| {
        let epochs = choice.by_knn()?.epochs;
        let text = if epochs == 0.0 { "0".into() } else { format!("{epochs:+.0}").replace('-', "−") };
        Some((criterion(choice), choice.criterion.clone(), text))
    };
    let epochs: Vec<_> = d.choices.iter().filter(|choice| !choice.needs_labels).filter_map(off).collect();
    let mut text = format!("by {} {} is the best", criterion(best), at(d, best.checkpoint));
    if let Some(earliest) = best.earliest.as_ref().filter(|earliest| earliest.checkpoint != best.checkpoint) {
        text += &format!(", {} the earliest as good", at(d, earliest.checkpoint));
    }
    Some(Missed { best: text, epochs })
}

/// What a criterion is called.
pub(super) fn criterion(choice: &Choice) -> String {
    criterion_name(&choice.criterion)
}

/// The name of a measure, the short one where it has two: "DSE".
pub(super) fn criterion_name(key: &str) -> String {
    let Some(known) = definition(key) else { return key.into() };
    let within = known.name.split_once('(').and_then(|(_, rest)| rest.split([',', ')']).next());
    match key.split_once('-') {
        Some((_, detail)) => format!("{} ({detail})", known.name),
        None => within.unwrap_or(known.name).into(),
    }
}

fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
