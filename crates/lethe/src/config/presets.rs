//! Published recipes: `presets/DATA/METHOD.toml`, the keys of a `--config` file and a table `[preset]` with their source
//! and the accuracy where one was published. What differs stands in the first line, but for bf16 where they have f16.

use serde::{Deserialize, Serialize};

use crate::encoders::EncoderSpec;
use crate::error::{Error, Result};

/// Where a recipe was published, and what it reached there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    pub source: String,
    /// Top-1 in percent on the test images; none where the source gives none.
    pub accuracy: Option<f64>,
    /// How that was measured.
    pub protocol: Option<String>,
}

pub struct Preset {
    /// `DATA/METHOD`.
    pub name: &'static str,
    text: &'static str,
}

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        &[$(Preset { name: $name, text: include_str!(concat!("../../presets/", $name, ".toml")) }),*]
    };
}

pub const PRESETS: &[Preset] = presets![
    "cifar10/simclr",
    "cifar10/moco-v2",
    "cifar10/moco-v3",
    "cifar10/byol",
    "cifar10/simsiam",
    "cifar10/barlow-twins",
    "cifar10/vicreg",
    "cifar10/swav",
    "cifar10/dino",
    "cifar10/w-mse",
    "cifar10/ressl",
    "cifar10/nnclr",
    "cifar10/dcl",
    "cifar10/dclw",
    "cifar10/mae",
    "cifar10/supcon",
    "cifar10/supervised",
    "cifar10/corinfomax",
    "cifar10/mmcr",
    "cifar10/emp-ssl",
    "imagenet/mec",
    "imagenet/tico",
    "imagenet/relic",
    "imagenet/simdino",
    "imagenet/i-jepa",
];

/// # Errors
/// When there is no preset of this name; the hint lists them.
pub fn find(name: &str) -> Result<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        Error::usage(format!("unknown preset {name:?}")).hint(format!("one of: {}", names.join(", ")))
    })
}

impl Preset {
    /// The settings for its own encoder, or for `another` without what that has not: a stem, patches, pooling.
    ///
    /// # Errors
    /// When there is no such encoder.
    pub fn settings(&self, another: Option<&str>) -> Result<toml::Table> {
        let mut table = self.read().0;
        if let Some(name) = another {
            let size = table["image_size"].as_integer().expect("a test reads every preset");
            let has = EncoderSpec { name: name.to_owned(), ..EncoderSpec::default() }.resolved(size as u32)?;
            let lacks = [
                ("stem", has.stem.is_none()),
                ("patch", has.patch.is_none()),
                ("drop_path", has.patch.is_none()),
                ("pool", has.pool.is_none()),
                ("layer_scale", has.layer_scale.is_none()),
            ];
            table.retain(|key, _| !lacks.iter().any(|(lacking, lacks)| *lacks && *key == **lacking));
        }
        Ok(table)
    }

    /// The settings, and where they are from.
    pub fn read(&self) -> (toml::Table, Published) {
        let mut table: toml::Table = self.text.parse().expect("a test reads every preset");
        let published = table.remove("preset").expect("a test reads every preset");
        (table, published.try_into().expect("a test reads every preset"))
    }
}
