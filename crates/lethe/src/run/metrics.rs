//! `metrics.jsonl` and the same numbers as TensorBoard events.

use std::fs::File;
use std::io::Write;

use lethe_diagnosis::records::{Kind, MetricRow};

use super::{RunFolder, tensorboard::EventFile};
use crate::error::{At, Error, Result};
use crate::files;

pub struct Metrics {
    file: File,
    path: std::path::PathBuf,
    events: EventFile,
}

impl Metrics {
    /// Continues the metrics of a run after `step`; rows of later steps (written, but lost with the checkpoint that
    /// would have held them) are dropped. Also gives back the seconds the run has taken so far.
    pub fn resume_at(folder: &RunFolder, step: u64) -> Result<(Self, f64)> {
        let path = folder.metrics_path();
        let old = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).at(&path),
        };
        let mut kept = String::new();
        let mut seconds = 0.0;
        for line in old.lines() {
            // A line cut off by a kill does not parse; it belongs to a later step than any checkpoint.
            let Ok(row) = serde_json::from_str::<MetricRow>(line) else { continue };
            if row.step <= step {
                seconds = row.seconds;
                kept.push_str(line);
                kept.push('\n');
            }
        }
        files::write_atomically(&path, kept.as_bytes())?;
        let file = File::options().append(true).open(&path).at(&path)?;
        Ok((Self { file, path, events: EventFile::create(&folder.path)? }, seconds))
    }

    pub fn write(&mut self, row: &MetricRow) -> Result<()> {
        let mut line = serde_json::to_string(row).map_err(|error| Error::failed(error.to_string()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).at(&self.path)?;
        let prefix = match row.kind {
            Kind::Step => "step",
            Kind::Epoch => "epoch",
        };
        let terms = row.terms.iter().map(|(name, value)| (name.as_str(), *value));
        let scalars = [
            ("loss", row.loss),
            ("lr", row.lr),
            ("spread", row.spread),
            ("images_per_s", row.images_per_s),
            ("data_wait", row.data_wait),
        ];
        for (name, value) in scalars.into_iter().chain(terms) {
            self.events.scalar(&format!("{prefix}/{name}"), row.step, value as f32)?;
        }
        self.events.flush()
    }
}
