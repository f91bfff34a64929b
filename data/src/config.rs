//! Configs: defaults, overridden by a TOML file and then by `key=value` arguments.
//!
//! A config is a table that starts as the defaults; first the file and then the overrides are merged into it. A key
//! that the defaults do not have is an error that suggests the nearest key, except inside tables whose keys are defined
//! elsewhere (the parameters of a loss). A table with the key `preset` may be given as just that word.

use std::path::Path;

use segcal_core::{Context, Error, Result, nearest};
use toml::{Table, Value};

use crate::limits;

/// The largest number of parts of a dotted key on the command line.
const MOST_PARTS: usize = 16;

/// Merges the file at `path`, if any, and the `overrides` (`a.b=value`) into `defaults`, and returns the table.
///
/// `open` names the tables that may contain keys that the defaults do not have. Parameters that [`lay_named`] removes
/// are logged.
///
/// # Errors
/// The file cannot be read or is not TOML; an override has no `=`; a key is unknown, or its value has a different type
/// from the default.
pub fn layered(defaults: &Table, path: Option<&Path>, overrides: &[String], open: &[&str]) -> Result<Table> {
    let mut table = defaults.clone();
    let Some(path) = path else {
        lay_named(&mut table, merged(overrides)?, defaults, open)?;
        return Ok(table);
    };
    lay_named(&mut table, read(path)?, defaults, open).at(path.display())?;
    for key in lay_named(&mut table, merged(overrides)?, defaults, open)? {
        let (table, _) = key.split_once('.').unwrap_or_default();
        log::warn!("{}: {key} is ignored, since {table}.name is overridden", path.display());
    }
    Ok(table)
}

/// Merges all overrides into one table; if a key is given twice, the later value is used.
///
/// # Errors
/// Those of [`parse_override`].
pub fn merged(overrides: &[String]) -> Result<Table> {
    let mut table = Table::new();
    for entry in overrides {
        merge(&mut table, parse_override(entry)?);
    }
    Ok(table)
}

fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => merge(inner, value),
            (Some(slot @ Value::String(_)), Value::Table(value)) => {
                let mut inner = preset(slot.clone());
                merge(&mut inner, value);
                *slot = Value::Table(inner);
            }
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

/// The key that a single word in place of a table is assigned to.
const PRESET: &str = "preset";

/// The table that a single word in its place stands for.
fn preset(word: Value) -> Table {
    Table::from_iter([(PRESET.to_owned(), word)])
}

/// Reads a TOML file.
///
/// # Errors
/// The file cannot be read or is not TOML.
pub fn read(path: &Path) -> Result<Table> {
    let text = limits::read_text(path)?;
    text.parse().map_err(|error| parse_error(&error)).at(path.display())
}

fn parse_error(error: &toml::de::Error) -> Error {
    Error::new(error.to_string().trim().replace('\n', " "))
}

/// Parses `a.b=value` into nested tables. A value that is not TOML is taken as a string, so that paths and names need
/// no quotes.
///
/// # Errors
/// There is no `=`, or a part of the key is empty.
pub fn parse_override(entry: &str) -> Result<Table> {
    let Some((key, value)) = entry.split_once('=') else {
        return Err(Error::new(format!("the argument \"{entry}\" is not of the form key=value"))
            .help("for example loss.name=nacl"));
    };
    let parsed = format!("v = {value}").parse::<Table>().ok().and_then(|mut table| table.remove("v"));
    let mut nested = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
    if key.split('.').count() > MOST_PARTS {
        return Err(Error::new(format!("a key has more than {MOST_PARTS} parts")).help("for example loss.name=nacl"));
    }
    for part in key.trim().rsplit('.') {
        if part.is_empty() {
            return Err(Error::new(format!("the key \"{key}\" has an empty part")).at(entry));
        }
        nested = Value::Table(Table::from_iter([(part.to_owned(), nested)]));
    }
    let Value::Table(table) = nested else { unreachable!("a key has at least one part") };
    Ok(table)
}

/// Parses `key=value` entries into a table; each key may be given once. The brackets of a list may be left out:
/// `widths=4,8`.
///
/// # Errors
/// An entry has no `=`, or a key is given twice.
pub fn table_of(entries: &[String]) -> Result<Table> {
    let mut table = Table::new();
    for entry in entries {
        let list = entry.split_once('=').filter(|(_, value)| value.contains(',') && !value.trim().starts_with('['));
        let entry = list.map_or_else(|| entry.clone(), |(key, value)| format!("{key}=[{value}]"));
        for (key, value) in parse_override(&entry)? {
            if table.insert(key.clone(), value).is_some() {
                return Err(Error::new("is given more than once").at(key).help("give each key once"));
            }
        }
    }
    Ok(table)
}

/// Like [`lay`], starting at the outermost table. If `over` gives an open table another `name` (another network, loss,
/// ...), the previous parameters are removed, except for the keys that `defaults` has. Returns the removed keys.
///
/// # Errors
/// A key is unknown, or its value has a different type from the one it replaces.
pub fn lay_named(base: &mut Table, over: Table, defaults: &Table, open: &[&str]) -> Result<Vec<String>> {
    let gone = open.iter().flat_map(|key| forget(key, base, &over, defaults)).collect();
    lay(base, over, "", open)?;
    Ok(gone)
}

/// Removes the parameters from the open table `key` that belong to a name that `over` replaces.
fn forget(key: &str, base: &mut Table, over: &Table, defaults: &Table) -> Vec<String> {
    let (Some(Value::Table(old)), Some(Value::Table(new))) = (base.get_mut(key), over.get(key)) else {
        return Vec::new();
    };
    let known =
        defaults.get(key).and_then(Value::as_table).filter(|known| known.get("name").is_some_and(Value::is_str));
    match known {
        Some(known) if new.get("name").is_some_and(|name| Some(name) != old.get("name")) => {
            let gone = old.keys().filter(|parameter| !known.contains_key(*parameter) && !new.contains_key(*parameter));
            let gone = gone.map(|parameter| format!("{key}.{parameter}")).collect();
            old.retain(|parameter, _| known.contains_key(parameter));
            gone
        }
        _ => Vec::new(),
    }
}

/// Merges `over` into `base`, whose keys are the only valid ones except in the tables of `open`; `prefix` is the name
/// of `base`.
///
/// # Errors
/// A key is unknown, or its value has a different type from the one it replaces.
pub fn lay(base: &mut Table, over: Table, prefix: &str, open: &[&str]) -> Result<()> {
    let is_open = open.contains(&prefix);
    for (key, value) in over {
        let full = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (base.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => lay(inner, value, &full, open)?,
            // The word replaces everything that was given before.
            (Some(Value::Table(inner)), word @ Value::String(_)) if inner.contains_key(PRESET) => *inner = preset(word),
            (Some(old), value) => *old = fitting(&full, old, value)?,
            (None, value) if is_open => {
                base.insert(key, value);
            }
            (None, _) => return Err(unknown_key(&full, &key, base.keys().map(String::as_str))),
        }
    }
    Ok(())
}

/// Converts `value` to the type of `old`; integers are accepted as floats.
fn fitting(key: &str, old: &Value, value: Value) -> Result<Value> {
    match (old, value) {
        (Value::Float(_), Value::Integer(whole)) => Ok(Value::Float(whole as f64)),
        (Value::Array(old), Value::Array(new)) => Ok(Value::Array(fitting_items(key, old, new)?)),
        (old, value) if old.same_type(&value) => Ok(value),
        (old, value) => {
            let problem = format!("{value} has the type {}, expected {}", value.type_str(), old.type_str());
            Err(Error::new(problem).at(key).help(format!("for example {key} = {old}")))
        }
    }
}

fn fitting_items(key: &str, old: &[Value], new: Vec<Value>) -> Result<Vec<Value>> {
    match old.first() {
        Some(first) => new.into_iter().map(|item| fitting(key, first, item)).collect(),
        None => Ok(new),
    }
}

/// The error for a key that is not among the known ones.
fn unknown_key<'a>(full: &str, key: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let known: Vec<&str> = known.collect();
    let error = Error::new("unknown config key").at(full);
    match nearest(key, known.iter().copied()) {
        Some(near) => error.help(format!("did you mean {near}?")),
        None => error.help(format!("known keys: {}", known.join(", "))),
    }
}

/// Deserialises a table; an error names the key.
///
/// # Errors
/// A key is unknown, missing or of the wrong type.
pub fn from_table<T: serde::de::DeserializeOwned>(table: Table) -> Result<T> {
    from_rest(table, &[])
}

/// Like [`from_table`], for the rest of a table whose keys `taken` have already been read.
///
/// # Errors
/// A key is unknown, missing or of the wrong type.
pub fn from_rest<T: serde::de::DeserializeOwned>(table: Table, taken: &[&str]) -> Result<T> {
    table.try_into().map_err(|error: toml::de::Error| serde_error(&error.to_string(), taken))
}

/// Rewrites serde's error about an unknown name to suggest the closest known one.
fn serde_error(message: &str, taken: &[&str]) -> Error {
    let mut names = message.split('`').skip(1).step_by(2);
    let Some(given) = names.next().filter(|_| message.starts_with("unknown")) else {
        return Error::new(message.trim().replace('\n', " "));
    };
    if message.starts_with("unknown field") {
        return unknown_key(given, given, names.chain(taken.iter().copied()));
    }
    let error = Error::new(message.trim().replace('\n', " "));
    match nearest(given, names) {
        Some(near) => error.help(format!("did you mean {near}?")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Table {
        "epochs = 3\nlr = 0.5\nsize = [1]\n[loss]\nname = \"ce\"\n[net]\nwidth = 4\n".parse().unwrap()
    }

    fn resolve(file: &str, overrides: &[&str]) -> Result<Table> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, file).unwrap();
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        layered(&defaults(), Some(&path), &overrides, &["loss"])
    }

    #[test]
    fn file_over_defaults_and_overrides_over_the_file() {
        let table = resolve("epochs = 5\nlr = 1", &["epochs=7", "loss.name=nacl", "loss.lambda=0.1"]).unwrap();
        assert_eq!(table["epochs"].as_integer(), Some(7));
        assert_eq!(table["lr"].as_float(), Some(1.0));
        assert_eq!(table["loss"]["name"].as_str(), Some("nacl"));
        assert_eq!(table["loss"]["lambda"].as_float(), Some(0.1));
        assert_eq!(table["net"]["width"].as_integer(), Some(4));
    }

    #[test]
    fn a_value_without_quotes_is_a_string() {
        assert_eq!(resolve("", &["loss.name=../some/path"]).unwrap()["loss"]["name"].as_str(), Some("../some/path"));
    }

    #[test]
    fn another_name_lets_go_of_the_parameters_of_the_one_before() {
        let file = "[loss]\nname = \"mbls\"\nmargin = 5\nlambda = 1\n";
        let loss = |overrides: &[&str]| resolve(file, overrides).unwrap()["loss"].to_string();
        assert_eq!(loss(&["loss.name=nacl"]), "{ name = \"nacl\" }");
        assert_eq!(loss(&["loss.lambda=2", "loss.name=nacl"]), "{ name = \"nacl\", lambda = 2 }");
        assert_eq!(loss(&["loss.name=mbls"]), loss(&[]));
        let mut base: Table = "[loss]\nname = \"mbls\"\nmargin = 5\n[net]\nwidth = 4\nbase = 8".parse().unwrap();
        // An open table whose defaults have no name is a table of names: no entry removes another.
        let over = merged(&["loss.name=ce".into(), "net.name=1".into()]).unwrap();
        assert_eq!(lay_named(&mut base, over, &defaults(), &["loss", "net"]).unwrap(), ["loss.margin"]);
        assert_eq!(base["net"].to_string(), "{ width = 4, base = 8, name = 1 }");
    }

    #[test]
    fn keys_that_were_read_before_are_known_too() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Rest {
            #[expect(dead_code, reason = "only its name matters")]
            beta1: f64,
        }
        let error =
            |entry: &str| from_rest::<Rest>(entry.parse().unwrap(), &["learning_rate"]).unwrap_err().to_string();
        assert_eq!(error("lr = 1"), "lr: unknown config key (known keys: beta1, learning_rate)");
        assert_eq!(error("learning_rat = 1"), "learning_rat: unknown config key (did you mean learning_rate?)");
    }

    #[test]
    fn mistakes_are_named() {
        let message = |file: &str, overrides: &[&str]| resolve(file, overrides).unwrap_err().to_string();
        assert!(message("epoch = 5", &[]).ends_with("epoch: unknown config key (did you mean epochs?)"));
        assert!(message("", &["net.widht=5"]).contains("did you mean width?"));
        assert!(message("", &["epochs"]).contains("not of the form key=value"));
        assert!(message("", &["epochs=many"]).contains("epochs: \"many\" has the type string, expected integer"));
        assert!(message("size = [\"x\"]", &[]).contains("size"));
        assert!(message("epochs = = 5", &[]).contains("c.toml"));
    }

    #[test]
    fn an_unknown_variant_is_answered_with_the_nearest() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Kind {
            Slices,
            Patches,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Holder {
            kind: Kind,
        }
        let parse = |text: &str| from_table::<Holder>(text.parse().unwrap());
        let message = parse("kind = \"patch\"").unwrap_err().to_string();
        assert!(message.contains("patch") && message.ends_with("(did you mean patches?)"), "{message}");
        assert!(matches!(parse("kind = \"slices\"").unwrap().kind, Kind::Slices));
    }
}
