//! The command line: `--key value` pairs.

use std::collections::HashMap;

use segcal_core::{Error, Result};

/// `--key value` pairs; a key without a value is a flag.
pub(crate) struct Options(pub(crate) HashMap<String, String>);

impl Options {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut pairs = HashMap::new();
        let mut key: Option<String> = None;
        for argument in arguments {
            match (argument.strip_prefix("--"), key.take()) {
                (Some(name), previous) => {
                    previous.map(|flag| pairs.insert(flag, "true".to_owned()));
                    key = Some(name.to_owned());
                }
                (None, Some(name)) => drop(pairs.insert(name, argument)),
                (None, None) => return Err(Error::new(format!("\"{argument}\" stands without a key"))),
            }
        }
        key.map(|flag| pairs.insert(flag, "true".to_owned()));
        Ok(Self(pairs))
    }

    pub(crate) fn text(&self, key: &str, default: &str) -> String {
        self.0.get(key).cloned().unwrap_or_else(|| default.to_owned())
    }

    pub(crate) fn number(&self, key: &str, default: usize) -> Result<usize> {
        let text = self.text(key, &default.to_string());
        text.parse().map_err(|_| Error::new(format!("\"{text}\" is not a whole number")).at(format!("--{key}")))
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}
