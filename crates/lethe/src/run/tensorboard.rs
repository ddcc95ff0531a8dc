//! TensorBoard event files: records of length, masked CRC and a protocol-buffer `Event` (tensorflow/core/util/event.proto).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{At, Result};

pub(super) struct EventFile {
    out: BufWriter<File>,
    path: PathBuf,
}

impl EventFile {
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let seconds = now().as_secs();
        let path = folder.join(format!("events.out.tfevents.{seconds}.{}.lethe", std::process::id()));
        let mut events = Self { out: BufWriter::new(File::create(&path).at(&path)?), path };
        // Event { wall_time = 1, file_version = 3 }
        let mut event = wall_time();
        bytes_field(&mut event, 3, b"brain.Event:2");
        events.record(&event)?;
        events.flush()?;
        Ok(events)
    }

    pub(super) fn scalar(&mut self, tag: &str, step: u64, value: f32) -> Result<()> {
        // Summary.Value { tag = 1, simple_value = 2 }
        let mut summary_value = Vec::new();
        bytes_field(&mut summary_value, 1, tag.as_bytes());
        summary_value.push(2 << 3 | 5);
        summary_value.extend(value.to_le_bytes());
        // Summary { value = 1 }
        let mut summary = Vec::new();
        bytes_field(&mut summary, 1, &summary_value);
        // Event { wall_time = 1, step = 2, summary = 5 }
        let mut event = wall_time();
        event.push(2 << 3);
        varint(&mut event, step);
        bytes_field(&mut event, 5, &summary);
        self.record(&event)
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.out.flush().at(&self.path)
    }

    fn record(&mut self, data: &[u8]) -> Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let parts = [&length[..], &masked_crc(&length), data, &masked_crc(data)];
        parts.iter().try_for_each(|part| self.out.write_all(part)).at(&self.path)
    }
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn wall_time() -> Vec<u8> {
    let mut event = vec![1 << 3 | 1];
    event.extend(now().as_secs_f64().to_le_bytes());
    event
}

fn bytes_field(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn masked_crc(data: &[u8]) -> [u8; 4] {
    (crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)).to_le_bytes()
}
