//! A config as text: tables of keys, each below the reason for its value.

use segcal_core::Result;
use segcal_data::config as keys;
use toml::{Table, Value};

use crate::settings::{OPEN, Settings};

/// Maximum length of a comment line.
const WIDTH: usize = 110;

/// A key of the config, its value, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The key, dotted.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Why.
    pub reason: String,
}

impl Decision {
    /// Creates a decision.
    pub fn new(key: impl Into<String>, value: impl Into<Value>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), reason: reason.into() }
    }

    fn table(&self) -> &str {
        self.key.rsplit_once('.').map_or("", |(table, _)| table)
    }
}

/// The settings that the decisions describe.
pub(super) fn settings(decisions: &[Decision]) -> Result<Settings> {
    let mut table = Settings::known_keys();
    for Decision { key, value, .. } in decisions {
        let over = keys::parse_override(&format!("{key}={value}"))?;
        keys::lay_named(&mut table, over, &Settings::default().to_table(), &OPEN)?;
    }
    Settings::from_stored(table)
}

/// The config as a file: first the keys outside of tables, then table by table.
pub(super) fn config(decisions: &[Decision]) -> String {
    let mut tables: Vec<&str> = Vec::new();
    decisions.iter().map(Decision::table).filter(|table| !table.is_empty()).for_each(|table| {
        if !tables.contains(&table) {
            tables.push(table);
        }
    });
    let mut text = String::new();
    for table in [""].into_iter().chain(tables) {
        if !table.is_empty() {
            text += &format!("\n[{table}]\n");
        }
        for decision in decisions.iter().filter(|decision| decision.table() == table) {
            let key = decision.key.rsplit('.').next().unwrap_or_default();
            let line = Table::from_iter([(key.to_owned(), decision.value.clone())]);
            text += &comment(&decision.reason);
            text += &line.to_string();
        }
    }
    text
}

/// Wraps words into comment lines.
fn comment(words: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in words.split_whitespace() {
        if lines.last().is_some_and(|line| line.len() + word.len() + 1 > WIDTH) {
            lines.push("#".into());
        }
        let line = lines.last_mut().expect("there is a line");
        line.push(' ');
        line.push_str(word);
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_a_config_of_the_decisions() {
        let decisions = [
            Decision::new("epochs", 7, "seven"),
            Decision::new("samples.kind", "patches", "word ".repeat(40)),
            Decision::new("loss.name", "nacl", "why not"),
            Decision::new("samples.size", vec![8, 16, 24], "fits"),
        ];
        let text = config(&decisions);
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(text.contains("# seven\nepochs = 7\n") && text.contains("\n[samples]\n# word word"), "{text}");
        let table: Table = text.parse().unwrap();
        let mut known = Settings::known_keys();
        keys::lay_named(&mut known, table, &Settings::default().to_table(), &OPEN).unwrap();
        let read = Settings::from_stored(known).unwrap();
        assert_eq!(read, settings(&decisions).unwrap());
        assert_eq!((read.epochs, &read.samples.size[..]), (7, &[8, 16, 24][..]));
    }
}
