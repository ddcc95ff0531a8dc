//! What a trial says, in Markdown: the primary comparisons, the outcomes that the plan calls short, and all of every base.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::plan::{Base, NOTHING, Plan, matches};
use super::results::Results;
use super::statistics::{Difference, holm, paired};

/// The parts of a cell's line that hold outcomes.
const PARTS: [&str; 3] = ["memorisation", "memorisation_held_out", "accuracy"];

/// The value of an outcome by seed, of one base and repair.
pub(crate) fn by_seed(results: &Results, plan: &Plan, base: &str, repair: &str, outcome: &str) -> BTreeMap<u64, f64> {
    let value =
        |seed: u64| results.by_cell.get(&format!("{base}/{repair}/{seed}"))?.pointer(&format!("/{outcome}"))?.as_f64();
    plan.seeds.iter().filter_map(|&seed| Some((seed, value(seed)?))).collect()
}

/// `first` less `second`, of every seed that has both.
fn differences(first: &BTreeMap<u64, f64>, second: &BTreeMap<u64, f64>) -> Vec<f64> {
    first.iter().filter_map(|(seed, value)| Some(value - second.get(seed)?)).collect()
}

/// What these [`differences`] say; nothing of fewer than two.
pub(crate) fn difference(first: &BTreeMap<u64, f64>, second: &BTreeMap<u64, f64>) -> Option<Difference> {
    paired(&differences(first, second))
}

pub(crate) fn mean(values: &BTreeMap<u64, f64>) -> Option<f64> {
    (!values.is_empty()).then(|| values.values().sum::<f64>() / values.len() as f64)
}

pub(crate) fn markdown(plan: &Plan, results: &Results) -> String {
    let mut text = format!("{} of {} cells.\n", results.by_cell.len(), plan.cells().len());
    text += &primary(plan, results);
    let has_lines = |base: &&Base| results.by_cell.values().any(|line| line["base"] == base.name.as_str());
    let bases: Vec<&Base> = plan.bases.iter().filter(has_lines).collect();
    for base in bases.iter().filter(|_| !plan.short.is_empty()) {
        let known: Vec<String> = PARTS.iter().flat_map(|part| outcomes(results, base, part)).collect();
        let columns: Vec<String> = plan.short.iter().filter(|outcome| known.contains(outcome)).cloned().collect();
        let _ = write!(text, "\n### {}, in short\n{}", base.name, comparisons(plan, results, base, "", &columns));
    }
    for base in bases {
        text += &of_base(plan, results, base);
    }
    text
}

/// The comparisons that the plan has named, whose p values are corrected together.
fn primary(plan: &Plan, results: &Results) -> String {
    let Some(primary) = &plan.primary else { return String::new() };
    let mut rows = Vec::new();
    for base in plan.bases.iter().filter(|base| matches(&primary.bases, &base.name)) {
        for outcome in &primary.outcomes {
            for [first, second] in &primary.compare {
                let of = |repair: &str| by_seed(results, plan, &base.name, repair, outcome);
                if let Some(found) = difference(&of(first), &of(second)) {
                    rows.push((format!("| {} | {outcome} | {first} - {second} ", base.name), outcome, found));
                }
            }
        }
    }
    let corrected = holm(&rows.iter().map(|row| row.2.p).collect::<Vec<_>>());
    let mut text =
        "\n### Primary outcomes\n\n| base | outcome | comparison | seeds | difference, 95 % interval | p | Holm |\n"
            .to_owned();
    text += "|---|---|---|---|---|---|---|\n";
    for ((place, outcome, found), holm) in rows.iter().zip(corrected) {
        let shown = interval(found, outcome);
        let _ = writeln!(text, "{place}| {} | {shown} | {:.4} | {holm:.4} |", found.pairs, found.p);
    }
    text
}

/// A row a comparison of repairs, a column an outcome, whose name lacks the beginning `part/`.
fn comparisons(plan: &Plan, results: &Results, base: &Base, part: &str, outcomes: &[String]) -> String {
    let of = |repair: &str, outcome: &str| by_seed(results, plan, &base.name, repair, outcome);
    let headers: Vec<&str> =
        outcomes.iter().map(|outcome| outcome.strip_prefix(part).unwrap_or(outcome).trim_start_matches('/')).collect();
    let mut text = format!("\n| {part} | {} |\n|---{}|\n", headers.join(" | "), "|---".repeat(headers.len()));
    let mut row = |name: &str, cell: &dyn Fn(&String) -> Option<String>| {
        let cells: Vec<String> = outcomes.iter().map(|outcome| cell(outcome).unwrap_or_else(|| "-".into())).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    };
    row(NOTHING, &|outcome| Some(number(mean(&of(NOTHING, outcome))?, outcome, false)));
    for [first, second] in compared(plan, results, base) {
        let change = |outcome: &String| match differences(&of(first, outcome), &of(second, outcome)).as_slice() {
            [] => None,
            same if same.iter().all(|&change| change == 0.0) => Some("same".into()),
            [one] => Some(number(*one, outcome, true)),
            several => Some(interval(&paired(several)?, outcome)),
        };
        row(&format!("{first} - {second}"), &change);
    }
    text
}

/// Every repair with nothing, then the pairs that the plan has named; of those that the base has cells of.
fn compared<'a>(plan: &'a Plan, results: &Results, base: &Base) -> Vec<[&'a str; 2]> {
    let others = plan.repairs.iter().map(|repair| repair.name.as_str()).filter(|&name| name != NOTHING);
    let mut pairs: Vec<[&str; 2]> = others.map(|name| [name, NOTHING]).collect();
    for [first, second] in plan.primary.iter().flat_map(|primary| &primary.compare) {
        if !pairs.contains(&[first, second]) {
            pairs.push([first, second]);
        }
    }
    pairs.retain(|pair| pair.iter().all(|repair| has_cells(results, base, repair)));
    pairs
}

fn has_cells(results: &Results, base: &Base, repair: &str) -> bool {
    results.by_cell.values().any(|line| line["base"] == base.name.as_str() && line["repair"] == repair)
}

/// For memorisation and for accuracy the outcomes that any repair changes; then what the repairs cost.
fn of_base(plan: &Plan, results: &Results, base: &Base) -> String {
    let of = |repair: &str, outcome: &str| by_seed(results, plan, &base.name, repair, outcome);
    // The frozen stages stay as they are.
    let changes = |outcome: &String| {
        let of = |[first, second]: [&str; 2]| differences(&of(first, outcome), &of(second, outcome));
        compared(plan, results, base).into_iter().flat_map(of).any(|change| change != 0.0)
    };
    let mut text = format!("\n### {}\n", base.name);
    for part in PARTS {
        let outcomes: Vec<String> = outcomes(results, base, part).into_iter().filter(changes).collect();
        if !outcomes.is_empty() {
            text += &comparisons(plan, results, base, part, &outcomes);
        }
    }
    text += "\n| repair | seeds | steps | passes | seconds |\n|---|---|---|---|---|\n";
    for repair in plan.repairs.iter().filter(|repair| repair.name != NOTHING && has_cells(results, base, &repair.name))
    {
        let of = |what: &str| by_seed(results, plan, &base.name, &repair.name, &format!("undo/{what}"));
        let shown = |what: &str| mean(&of(what)).map_or("-".into(), |mean| format!("{mean:.1}"));
        let cells = plan
            .seeds
            .iter()
            .filter(|seed| results.by_cell.contains_key(&format!("{}/{}/{seed}", base.name, repair.name)));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            repair.name,
            cells.count(),
            shown("steps"),
            shown("passes"),
            shown("seconds")
        );
    }
    text
}

/// The paths of all numbers of a part of a base's lines, in their order.
fn outcomes(results: &Results, base: &Base, part: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for line in results.by_cell.values().filter(|line| line["base"] == base.name.as_str()) {
        walk(part, &line[part], &mut paths);
    }
    paths
}

fn walk(path: &str, value: &Value, paths: &mut Vec<String>) {
    match value {
        Value::Object(parts) => parts.iter().for_each(|(name, part)| walk(&format!("{path}/{name}"), part, paths)),
        Value::Number(_) if !paths.iter().any(|known| known == path) => paths.push(path.into()),
        _ => {}
    }
}

/// Accuracies in points of a hundred.
fn number(value: f64, outcome: &str, sign: bool) -> String {
    let (value, digits) = if outcome.starts_with("accuracy") { (100.0 * value, 2) } else { (value, 4) };
    if sign { format!("{value:+.digits$}") } else { format!("{value:.digits$}") }
}

fn interval(found: &Difference, outcome: &str) -> String {
    let end = |value| number(value, outcome, true);
    format!("{} [{}, {}]", end(found.mean), end(found.mean - found.half), end(found.mean + found.half))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_paired_by_seed_and_corrected_in_the_plans_family() {
        let plan = Plan::parse(
            "seeds = [0, 1, 2, 3]
            base = [{ name = 'b', method = 'simclr', data = 'd', unseen = 'u', pretrain = { encoder = 'e', epochs = 1 } }]
            repair = [{ name = 'nothing' }, { name = 'umm' }, { name = 'continue' }]
            judge = []
            short = ['memorisation/stage4/gap', 'accuracy/unseen/linear/stage4', 'accuracy/broken/linear/stage4']
            primary = { outcomes = ['memorisation/stage4/gap'], compare = [['umm', 'nothing'], ['umm', 'continue']] }",
        )
        .unwrap();
        let gaps = [("nothing", [0.1, 0.2, 0.3]), ("umm", [0.05, 0.14, 0.26]), ("continue", [0.1, 0.2, 0.2])];
        let mut results = Results { by_cell: BTreeMap::new(), foreign: 0 };
        for (repair, gaps) in gaps {
            for (seed, gap) in gaps.into_iter().enumerate() {
                let line = json!({
                    "base": "b",
                    "repair": repair,
                    "memorisation": { "stage2": { "gap": 0.1 }, "stage4": { "gap": gap, "gap_interval": [0.0, 1.0] } },
                    "accuracy": { "unseen": { "linear": { "stage4": 0.5 + gap } } },
                    "undo": (repair != "nothing").then(|| json!({ "steps": 10, "seconds": 1.25 })),
                });
                results.by_cell.insert(format!("b/{repair}/{seed}"), line);
            }
        }
        // By SciPy: ttest_rel([.05, .14, .26], [.1, .2, .3]) has p 0.013072 and interval (-0.074841, -0.025159), against
        // [.1, .2, .2] p 0.706895, (-0.182069, 0.148735).
        let expected = "\
9 of 12 cells.

### Primary outcomes

| base | outcome | comparison | seeds | difference, 95 % interval | p | Holm |
|---|---|---|---|---|---|---|
| b | memorisation/stage4/gap | umm - nothing | 3 | -0.0500 [-0.0748, -0.0252] | 0.0131 | 0.0261 |
| b | memorisation/stage4/gap | umm - continue | 3 | -0.0167 [-0.1821, +0.1487] | 0.7069 | 0.7069 |

### b, in short

|  | memorisation/stage4/gap | accuracy/unseen/linear/stage4 |
|---|---|---|
| nothing | 0.2000 | 70.00 |
| umm - nothing | -0.0500 [-0.0748, -0.0252] | -5.00 [-7.48, -2.52] |
| continue - nothing | -0.0333 [-0.1768, +0.1101] | -3.33 [-17.68, +11.01] |
| umm - continue | -0.0167 [-0.1821, +0.1487] | -1.67 [-18.21, +14.87] |

### b

| memorisation | stage4/gap |
|---|---|
| nothing | 0.2000 |
| umm - nothing | -0.0500 [-0.0748, -0.0252] |
| continue - nothing | -0.0333 [-0.1768, +0.1101] |
| umm - continue | -0.0167 [-0.1821, +0.1487] |

| accuracy | unseen/linear/stage4 |
|---|---|
| nothing | 70.00 |
| umm - nothing | -5.00 [-7.48, -2.52] |
| continue - nothing | -3.33 [-17.68, +11.01] |
| umm - continue | -1.67 [-18.21, +14.87] |

| repair | seeds | steps | passes | seconds |
|---|---|---|---|---|
| umm | 3 | 10.0 | - | 1.2 |
| continue | 3 | 10.0 | - | 1.2 |
";
        assert_eq!(markdown(&plan, &results), expected);
    }

    #[test]
    fn a_trial_that_is_half_done_compares_the_seeds_that_both_have() {
        let plan = Plan::parse(
            "seeds = [0, 1]
            base = [{ name = 'b', method = 'simclr', data = 'd', unseen = 'u', pretrain = { encoder = 'e', epochs = 1 } }]
            repair = [{ name = 'nothing' }, { name = 'umm' }]
            judge = []",
        )
        .unwrap();
        let line = |repair: &str, frozen: f64, gap: f64| {
            let stages = json!({ "stage2": { "gap": frozen }, "stage4": { "gap": gap } });
            json!({ "base": "b", "repair": repair, "memorisation": stages })
        };
        let cells = [
            ("b/nothing/0", line("nothing", 0.25, 0.25)),
            ("b/nothing/1", line("nothing", 0.75, 0.75)),
            ("b/umm/0", line("umm", 0.25, 0.125)),
        ];
        let by_cell = cells.map(|(name, line)| (name.to_owned(), line)).into_iter().collect();
        let said = markdown(&plan, &Results { by_cell, foreign: 0 });
        let expected = "| memorisation | stage4/gap |\n|---|---|\n| nothing | 0.5000 |\n| umm - nothing | -0.1250 |\n";
        assert!(said.contains(expected), "{said}");
    }
}
