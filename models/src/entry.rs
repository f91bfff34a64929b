//! Entries of the list of networks.

use segcal_core::Result;
use serde_json::{Map, Value};

use crate::network::NetworkConfig;
use crate::plan::Planned;

/// An entry of the list: a named network configuration.
pub struct NetworkEntry {
    /// Its name in a config.
    pub name: &'static str,
    /// A one-line description.
    pub doc: &'static str,
    /// The paper that describes it, and those that used it.
    pub paper: &'static str,
    /// The public code that it reproduces.
    pub source: &'static str,
    /// Its own keys, each with its meaning.
    pub keys: &'static [(&'static str, &'static str)],
    /// The keys with their values; null if a value follows from others.
    pub preset: fn() -> Value,
    /// Values for a small network of the same kind, for tests and trials.
    pub small: fn() -> Value,
    /// Builds it from a config that contains every key.
    pub(crate) build: fn(&NetworkConfig) -> Result<Planned>,
}

impl NetworkEntry {
    /// Returns the config with the values of `small`.
    pub fn small_config(&self) -> NetworkConfig {
        let Value::Object(keys) = (self.small)() else { unreachable!("keys are a table") };
        NetworkConfig { keys, ..NetworkConfig::named(self.name) }
    }

    /// Returns its own keys with their values.
    pub fn values(&self) -> Map<String, Value> {
        let Value::Object(values) = (self.preset)() else { unreachable!("a preset is a table") };
        values
    }
}
