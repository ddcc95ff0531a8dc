//! The plan of a trial: bases x repairs x seeds, and the judges of every cell.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use glob::Pattern;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::shell::{At, Failure, Result};

/// The repair that leaves the base's last checkpoint as it is.
pub(crate) const NOTHING: &str = "nothing";

/// The stages whose accuracies a cell keeps: the usual cut and the last one.
pub(crate) const STAGES: &str = "stage2,stage4";

/// A plan in TOML. Texts may hold `{seed}`, and `{NAME}` for every `--set NAME=VALUE`; flags of a repair also `{run}`, the
/// folder of the base's run, and `{held-out}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) seeds: Vec<u64>,
    /// The outcomes of the short table of every base, of which a base shows those that it has.
    #[serde(default)]
    pub(crate) short: Vec<String>,
    /// What bases have in common.
    #[serde(default)]
    pretrain: toml::Table,
    #[serde(default)]
    undo: toml::Table,
    #[serde(default)]
    diagnose: toml::Table,
    #[serde(rename = "base")]
    pub(crate) bases: Vec<Base>,
    #[serde(rename = "repair")]
    pub(crate) repairs: Vec<Repair>,
    #[serde(rename = "judge")]
    pub(crate) judges: Vec<Judge>,
    pub(crate) primary: Option<Primary>,
    pub(crate) front: Option<Front>,
}

/// A pre-training: once for every seed.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Base {
    pub(crate) name: String,
    pub(crate) method: String,
    pub(crate) data: String,
    /// Images of the same source that it is not trained on: what memorisation is judged by.
    pub(crate) unseen: String,
    /// Others, which repairs may look at.
    #[serde(rename = "held-out")]
    pub(crate) held_out: Option<String>,
    /// More flags of `lethe pretrain`, over those that bases have in common.
    #[serde(default)]
    pub(crate) pretrain: toml::Table,
    /// Flags of `lethe undo` for every repair of this base, over those that bases have in common.
    #[serde(default)]
    pub(crate) undo: toml::Table,
    /// Flags of every `lethe diagnose`, over those that bases have in common.
    #[serde(default)]
    pub(crate) diagnose: toml::Table,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Repair {
    pub(crate) name: String,
    /// Whether it chooses by the diagnosis of the base's run, on the images held out.
    #[serde(default, rename = "diagnose-run")]
    pub(crate) diagnose_run: bool,
    /// Flags of `lethe undo`; `repair` is the name unless told.
    #[serde(default)]
    pub(crate) flags: toml::Table,
}

/// An evaluation of every checkpoint.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Judge {
    pub(crate) name: String,
    /// A glob: the bases that it judges.
    #[serde(default = "all")]
    pub(crate) bases: String,
    /// Labelled images that the protocols learn from.
    pub(crate) bank: String,
    /// Labelled images that they are asked about.
    pub(crate) question: String,
    pub(crate) protocols: String,
}

fn all() -> String {
    "*".into()
}

/// The comparisons whose p values are corrected together (Holm): of every outcome, in every base.
///
/// An outcome is a path into a cell's line: `memorisation/stage4/gap`, `accuracy/JUDGE/PROTOCOL/STAGE`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Primary {
    pub(crate) outcomes: Vec<String>,
    /// A glob: the bases that are asked.
    #[serde(default = "all")]
    pub(crate) bases: String,
    /// Pairs of repairs: the first one less the second one.
    pub(crate) compare: Vec<[String; 2]>,
}

/// What the plot shows: memorisation left against use.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Front {
    pub(crate) memorisation: String,
    /// For every base the first of these that its cells have.
    pub(crate) r#use: Vec<String>,
}

/// One base, repair and seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell<'a> {
    pub(crate) base: &'a Base,
    pub(crate) repair: &'a Repair,
    pub(crate) seed: u64,
}

impl Cell<'_> {
    pub(crate) fn name(&self) -> String {
        format!("{}/{}/{}", self.base.name, self.repair.name, self.seed)
    }
}

impl Plan {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).at(path)?;
        Self::parse(&text).map_err(|what| Failure::usage(format!("{}: {what}", path.display()), "cargo xtask help"))
    }

    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut plan: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for base in &mut plan.bases {
            let tables = [
                (&mut base.pretrain, &plan.pretrain),
                (&mut base.undo, &plan.undo),
                (&mut base.diagnose, &plan.diagnose),
            ];
            for (own, common) in tables {
                for (key, value) in common {
                    own.entry(key).or_insert_with(|| value.clone());
                }
            }
        }
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let lists = [
            ("base", self.bases.iter().map(|base| &base.name).collect::<Vec<_>>()),
            ("repair", self.repairs.iter().map(|repair| &repair.name).collect()),
            ("judge", self.judges.iter().map(|judge| &judge.name).collect()),
        ];
        for (what, names) in lists {
            for (i, name) in names.iter().enumerate() {
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                    return Err(format!("{what} {name:?}: a name has letters, digits, - _ . only"));
                }
                if names[..i].contains(name) {
                    return Err(format!("{what} {name} is there twice"));
                }
            }
        }
        for base in &self.bases {
            if let Some(key) = ["epochs", "encoder"].iter().find(|key| !base.pretrain.contains_key(**key)) {
                return Err(format!("base {}: pretrain lacks {key}", base.name));
            }
            if base.held_out.is_none() && self.repairs.iter().any(|repair| repair.diagnose_run) {
                return Err(format!(
                    "base {}: a repair needs the run's diagnosis, so held-out must be there",
                    base.name
                ));
            }
        }
        let globs =
            self.judges.iter().map(|judge| &judge.bases).chain(self.primary.iter().map(|primary| &primary.bases));
        for text in globs {
            Pattern::new(text).map_err(|error| format!("bases {text:?}: {error}"))?;
        }
        let named = |name: &String| self.repairs.iter().any(|repair| repair.name == *name);
        let compared = self.primary.iter().flat_map(|primary| primary.compare.iter().flatten());
        match compared.into_iter().find(|name| !named(name)) {
            Some(unknown) => Err(format!("primary compares {unknown}, which is no repair of this plan")),
            None => Ok(()),
        }
    }

    /// All cells, seeds outermost: a plan that is half done has fewer seeds of everything.
    pub(crate) fn cells(&self) -> Vec<Cell<'_>> {
        let of_seed = |seed| {
            let of_base = move |base| self.repairs.iter().map(move |repair| Cell { base, repair, seed });
            self.bases.iter().flat_map(of_base)
        };
        self.seeds.iter().flat_map(|&seed| of_seed(seed)).collect()
    }

    pub(crate) fn judges(&self, base: &Base) -> impl Iterator<Item = &Judge> {
        self.judges.iter().filter(|judge| matches(&judge.bases, &base.name))
    }

    /// A hash of all that the plan says about a cell: a line of a cell whose settings have changed is no longer its.
    pub(crate) fn settings(&self, cell: &Cell) -> String {
        let judges: Vec<&Judge> = self.judges(cell.base).collect();
        let text = serde_json::to_string(&(cell.base, cell.repair, judges)).expect("plain tables");
        digest(text.as_bytes())
    }
}

/// Twelve hexadecimal digits of a hash.
pub(crate) fn digest(content: &[u8]) -> String {
    Sha256::digest(content)[..6].iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Whether the glob `pattern`, which [`Plan::check`] has seen, takes `name`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name))
}

/// What `{NAME}` stands for.
pub(crate) type Values = BTreeMap<String, String>;

/// `template` with every `{NAME}` replaced.
pub(crate) fn fill(template: &str, values: &Values) -> Result<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err(Failure::usage(format!("{template:?}: {{ without }}"), "{seed} stands for the seed"));
        };
        let Some(value) = values.get(name) else {
            return Err(Failure::usage(format!("{template:?}: {{{name}}} is not set"), format!("--set {name}=VALUE")));
        };
        text += before;
        text += value;
        rest = after;
    }
    Ok(text + rest)
}

/// A table as flags: `--key value`, of true just `--key`, of false nothing.
pub(crate) fn flags(table: &toml::Table, values: &Values) -> Result<Vec<String>> {
    let mut flags = Vec::new();
    for (key, value) in table {
        let flag = format!("--{}", key.replace('_', "-"));
        let value = match value {
            toml::Value::Boolean(on) => {
                flags.extend(on.then_some(flag));
                continue;
            }
            toml::Value::String(text) => fill(text, values)?,
            toml::Value::Integer(_) | toml::Value::Float(_) => value.to_string(),
            _ => {
                return Err(Failure::usage(
                    format!("{key} = {value}: expected a text, number or switch"),
                    "cargo xtask help",
                ));
            }
        };
        flags.extend([flag, value]);
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn templates_are_filled_or_refused() {
        let values = values(&[("seed", "3"), ("cifar", "/c")]);
        assert_eq!(fill("{cifar}/train@n=5,seed={seed}1", &values).unwrap(), "/c/train@n=5,seed=31");
        assert_eq!(fill("plain}", &values).unwrap(), "plain}");
        let unset = fill("{stl}", &values).unwrap_err();
        assert_eq!(
            (unset.what.as_str(), unset.hint.as_deref()),
            ("\"{stl}\": {stl} is not set", Some("--set stl=VALUE"))
        );
        assert!(fill("{seed", &values).is_err());
    }

    #[test]
    fn tables_become_flags() {
        let table: toml::Table =
            toml::from_str("lr = 2e-3\nbatch-size = 125\nsave_every = 5\nfast = true\nslow = false\nof = '{run}/x'")
                .unwrap();
        let found = flags(&table, &values(&[("run", "r")])).unwrap();
        assert_eq!(found.join(" "), "--batch-size 125 --fast --lr 0.002 --of r/x --save-every 5");
        assert!(flags(&toml::from_str("a = [1]").unwrap(), &Values::new()).is_err());
    }

    #[test]
    fn bases_take_what_they_have_in_common_and_their_own_goes_over_it() {
        let text = "seeds = [0]
            pretrain = { epochs = 5, encoder = 'e' }
            base = [{ name = 'a', method = 'm', data = 'd', unseen = 'u', pretrain = { epochs = 7 } }]
            repair = []
            judge = []";
        let base = &Plan::parse(text).unwrap().bases[0];
        assert_eq!(base.pretrain.to_string(), "encoder = \"e\"\nepochs = 7\n");
    }

    #[test]
    fn plans_that_cannot_be_meant_are_refused() {
        let plan = |more: &str| {
            let base = "seeds = [0]\n[[base]]\nname = 'a'\nmethod = 'simclr'\ndata = 'd'\nunseen = 'u'\npretrain = { epochs = 1, encoder = 'e' }\n";
            let text = format!(
                "{base}[[repair]]\nname = 'nothing'\n[[judge]]\nname = 'j'\nbank = 'b'\nquestion = 'q'\nprotocols = 'linear'\n{more}"
            );
            Plan::parse(&text).map(drop)
        };
        assert_eq!(plan(""), Ok(()));
        assert_eq!(plan("[[repair]]\nname = 'nothing'"), Err("repair nothing is there twice".into()));
        assert_eq!(
            plan("[[repair]]\nname = 'a/b'"),
            Err("repair \"a/b\": a name has letters, digits, - _ . only".into())
        );
        let compare = "[primary]\noutcomes = []\ncompare = [['umm', 'nothing']]";
        assert_eq!(plan(compare), Err("primary compares umm, which is no repair of this plan".into()));
        let needs = "[[repair]]\nname = 'x'\ndiagnose-run = true";
        let lacks = "base a: a repair needs the run's diagnosis, so held-out must be there";
        assert_eq!(plan(needs), Err(lacks.into()));
        assert!(plan("[[repair]]\nname = 'x'\nlr = 3").unwrap_err().contains("unknown field `lr`"));
    }
}
