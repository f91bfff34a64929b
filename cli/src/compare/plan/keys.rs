//! Training config keys in a plan, and the plan's own values.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use segcal_core::{Context, Error, Result};
use segcal_data::config;
use segcal_train::settings::{OPEN, Settings};
use toml::{Table, Value};

/// Training config keys that the plan sets itself, and which of its own keys sets them.
pub(super) const GIVEN: [(&str, &str); 2] =
    [("seed", "the plan's key seeds sets the seeds"), ("out", "the plan's key out sets the folder")];
/// Names in the folder of a comparison that methods cannot have.
const RESULTS: [&str; 13] = [
    "plan.toml",
    "plots",
    "report.html",
    "results.csv",
    "summary.csv",
    "summary.json",
    "ranks.csv",
    "tables.md",
    "tables.tex",
    "sensitivity.csv",
    "differences.csv",
    "cases.csv",
    "missing.txt",
];

pub(super) fn text(table: &Table, key: &str) -> String {
    table[key].as_str().expect("laid over a text").to_owned()
}

pub(super) fn texts(table: &Table, key: &str) -> Result<Vec<String>> {
    let items = table[key].as_array().expect("laid over a list").iter();
    let found: Option<Vec<String>> = items.map(|item| item.as_str().map(str::to_owned)).collect();
    found.ok_or_else(|| Error::new("is not a list of names").at(key))
}

pub(super) fn seeds(table: &Table) -> Result<Vec<u64>> {
    let items = table["seeds"].as_array().expect("laid over a list").iter();
    let found: Option<Vec<u64>> = items.map(|item| item.as_integer()?.try_into().ok()).collect();
    let found = found.ok_or_else(|| Error::new("a seed is a whole number of at least 0"))?;
    if found.is_empty() || found.iter().collect::<BTreeSet<_>>().len() < found.len() {
        return Err(Error::new("is empty or contains a seed twice").help("for example seeds = [1, 2, 3]"));
    }
    Ok(found)
}

pub(super) fn folds(table: &Table) -> Result<Vec<usize>> {
    let items = table["folds"].as_array().expect("laid over a list").iter();
    let found: Option<Vec<usize>> = items.map(|item| item.as_integer()?.try_into().ok()).collect();
    let found = found.ok_or_else(|| Error::new("a fold is a whole number of at least 0"))?;
    if found.len() == 1 || found.iter().collect::<BTreeSet<_>>().len() < found.len() {
        return Err(
            Error::new("has only one fold or contains a fold twice").help("for example folds = [0, 1, 2, 3, 4]")
        );
    }
    Ok(found)
}

/// The levels in ascending order; 0 is always measured.
pub(super) fn noise(table: &Table) -> Result<Vec<f64>> {
    let items = table["noise"].as_array().expect("laid over a list").iter();
    let mut levels: Vec<f64> = items.filter_map(Value::as_float).collect();
    if let Some(bad) = levels.iter().find(|level| !(level.is_finite() && **level >= 0.0)) {
        return Err(
            Error::new(format!("{bad} is not a standard deviation")).help("images are scaled to [0, 1]: try 0.05")
        );
    }
    levels.push(0.0);
    levels.sort_by(f64::total_cmp);
    levels.dedup_by(|a, b| *a == *b);
    // Of 0 and -0 either may be left.
    levels[0] = 0.0;
    Ok(levels)
}

/// The training config that all share: defaults, `config`, the keys of `[train]`, and the overrides.
pub(super) fn base(table: &Table, path: &Path, overrides: &[String]) -> Result<Table> {
    let mut base = Settings::known_keys();
    let mut train = table["train"].as_table().expect("laid over a table").clone();
    match train.remove("config") {
        None => {}
        Some(Value::String(name)) => {
            let file = path.parent().unwrap_or(Path::new("")).join(name);
            lay(&mut base, config::read(&file)?).at(file.display()).at("train.config")?;
        }
        Some(other) => return Err(Error::new(format!("{other} is not a file name")).at("train.config")),
    }
    for (place, over) in [("train", train), ("command line", config::merged(overrides)?)] {
        refuse_given(&over).at(place)?;
        lay(&mut base, over).at(place)?;
    }
    Ok(base)
}

/// The shared config for display, without the keys that are only written if they differ from their defaults.
pub(super) fn shown(mut base: Table) -> Table {
    GIVEN.iter().for_each(|(given, _)| drop(base.remove(*given)));
    drop_unwritten(&mut base, &Settings::known_keys(), &Settings::default().to_table());
    base
}

/// Removes keys that have their default values and that a default config does not write.
fn drop_unwritten(table: &mut Table, known: &Table, written: &Table) {
    for (key, default) in known {
        match (table.get_mut(key), default, written.get(key)) {
            (Some(own), _, None) if own == default => drop(table.remove(key)),
            (Some(Value::Table(own)), Value::Table(known), Some(Value::Table(written))) => {
                drop_unwritten(own, known, written);
            }
            _ => {}
        }
    }
}

pub(super) fn refuse_given(table: &Table) -> Result<()> {
    match GIVEN.iter().find(|(key, _)| table.contains_key(*key)) {
        Some((key, remedy)) => Err(Error::new("cannot be set here").at(key).help(*remedy)),
        None => Ok(()),
    }
}

/// Lays keys of a training config over another.
pub(super) fn lay(base: &mut Table, over: Table) -> Result<()> {
    config::lay_named(base, over, &Settings::default().to_table(), &OPEN).map(drop)
}

/// Takes the name out of a table of a plan; it names a folder.
pub(super) fn take_name(keys: &mut Table, example: &str) -> Result<String> {
    let name = match keys.remove("name") {
        Some(Value::String(name)) => name,
        Some(other) => return Err(Error::new(format!("{other} is not text")).at("name")),
        None => return Err(Error::new("is missing").at("name").help(format!("for example name = \"{example}\""))),
    };
    check_name(&name).at("name")?;
    Ok(name)
}

/// Checks a name that becomes the name of a folder.
pub(super) fn check_name(name: &str) -> Result<()> {
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    // A method's folder contains folders with these names.
    let own = ["seed-", "run", "evaluation-", "predictions-", "map-"].iter().any(|start| name.starts_with(start));
    if !plain || own || name.starts_with('.') || name.contains(['/', '\\']) || RESULTS.contains(&name) {
        let error = Error::new(format!("\"{name}\" cannot be the name of a folder"));
        return Err(error.help("use letters, digits, - and _"));
    }
    Ok(())
}

/// Refuses a name that appears twice.
pub(super) fn expect_once<'a>(names: impl Iterator<Item = &'a String>, place: &str) -> Result<()> {
    let mut seen = BTreeSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(Error::new(format!("the name {name} appears twice")).at(place)),
        None => Ok(()),
    }
}
