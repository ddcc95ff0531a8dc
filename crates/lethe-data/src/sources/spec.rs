//! `key=value,key=value`, the settings within a `--data` argument.

use std::str::FromStr;

use crate::error::{Error, Result};

/// The settings of `text`; every key must be one of `known`. Errors name `whole`, the argument they stand in.
pub(super) struct Settings<'a> {
    whole: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Settings<'a> {
    pub(super) fn parse(whole: &'a str, text: &'a str, known: &[&str]) -> Result<Self> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(Error::usage(format!("{whole}: expected key=value, found {part:?}"))
                    .hint(format!("keys are {}", known.join(", "))));
            };
            let (key, value) = (key.trim(), value.trim());
            if !known.contains(&key) {
                return Err(Error::usage(format!("{whole}: unknown key {key:?}"))
                    .hint(format!("keys are {}", known.join(", "))));
            }
            if pairs.iter().any(|(earlier, _)| *earlier == key) {
                return Err(Error::usage(format!("{whole}: {key} is given twice")));
            }
            pairs.push((key, value));
        }
        Ok(Self { whole, pairs })
    }

    /// The value of `key`, if it is given; `expected` describes what it may be.
    pub(super) fn get<T: FromStr>(&self, key: &str, expected: &str) -> Result<Option<T>> {
        let Some((_, value)) = self.pairs.iter().find(|(found, _)| *found == key) else { return Ok(None) };
        match value.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Error::usage(format!("{}: {key} is {value:?}, expected {expected}", self.whole))),
        }
    }
}
