//! What the list of networks says of each.

use segcal_core::Result;
use serde_json::{Map, Value};

use crate::network::NetworkConfig;
use crate::plan::Planned;

/// A network of the list: a configuration that has a name.
pub struct NetworkEntry {
    /// What a config calls it.
    pub name: &'static str,
    /// What it is, in one line.
    pub doc: &'static str,
    /// The paper that describes it, and those that used it.
    pub paper: &'static str,
    /// The public code that it equals.
    pub source: &'static str,
    /// Its own keys, each with what it means.
    pub keys: &'static [(&'static str, &'static str)],
    /// The keys with their values; null where a value follows from others.
    pub preset: fn() -> Value,
    /// Values that make a small network of the same kind, for tests and trials.
    pub small: fn() -> Value,
    /// Makes it from a config that has every key.
    pub(crate) build: fn(&NetworkConfig) -> Result<Planned>,
}

impl NetworkEntry {
    /// The network with the values of `small`.
    pub fn small_config(&self) -> NetworkConfig {
        let Value::Object(keys) = (self.small)() else { unreachable!("keys are a table") };
        NetworkConfig { keys, ..NetworkConfig::named(self.name) }
    }

    /// Its own keys with their values.
    pub fn values(&self) -> Map<String, Value> {
        let Value::Object(values) = (self.preset)() else { unreachable!("a preset is a table") };
        values
    }
}
