//! `dataset.json`, `splits.json` and `splits_final.json`.

use std::io::Read;
use std::path::Path;

use segcal_core::{Context, Error, Result};
use serde_json::{Map, Value};

use crate::limits;
use crate::output;

/// The largest text file that is read; lists of a hundred thousand cases have some 10 MB.
const MAX_BYTES: u64 = 1 << 26;

/// What `dataset.json` says.
#[derive(Debug, Default)]
pub(super) struct Description {
    pub(super) classes: Vec<String>,
    pub(super) ignore_label: Option<i32>,
    pub(super) channels: Vec<String>,
    /// Whether channels are files of their own, because `channel_names` is there.
    pub(super) channel_files: bool,
    pub(super) file_ending: Option<String>,
    pub(super) lists: Option<Lists>,
}

/// The lists of the decathlon: image and, if known, label.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) train: Vec<(String, Option<String>)>,
    pub(super) val: Vec<(String, Option<String>)>,
    pub(super) test: Vec<(String, Option<String>)>,
}

impl Description {
    /// Reads `dataset.json`; without one, nothing is said.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let path = root.join("dataset.json");
        match read_json(&path)? {
            None => Ok(Self::default()),
            Some(Value::Object(fields)) => Self::parse(&fields).at(path.display()),
            Some(_) => Err(Error::new("an object { … } is expected").at(path.display())),
        }
    }

    fn parse(fields: &Map<String, Value>) -> Result<Self> {
        let (classes, ignore_label) = match fields.get("labels") {
            None => (Vec::new(), None),
            Some(labels) => class_names(labels).at("labels")?,
        };
        let channels = ["channel_names", "modality", "channels"].into_iter().find(|key| fields.contains_key(*key));
        let lists = match fields.get("training") {
            Some(Value::Array(_)) => Some(Lists {
                train: list(fields, "training")?,
                val: list(fields, "validation")?,
                test: list(fields, "test")?,
            }),
            _ => None,
        };
        Ok(Self {
            classes,
            ignore_label,
            channels: channels.map_or(Ok(Vec::new()), |key| channel_names(&fields[key]).at(key))?,
            channel_files: fields.contains_key("channel_names"),
            file_ending: fields.get("file_ending").and_then(Value::as_str).map(str::to_owned),
            lists,
        })
    }
}

/// Which case belongs to which part.
#[derive(Debug, Default)]
pub(super) struct Division {
    pub(super) file: String,
    pub(super) train: Vec<String>,
    pub(super) val: Vec<String>,
    pub(super) test: Vec<String>,
}

impl Division {
    /// Reads `splits.json`, or one fold of `splits_final.json`, if there is one of them.
    pub(super) fn read(root: &Path, fold: usize) -> Result<Option<Self>> {
        for name in ["splits.json", "splits_final.json"] {
            let path = root.join(name);
            if let Some(value) = read_json(&path)? {
                return Self::parse(&value, fold, path.display().to_string()).at(path.display()).map(Some);
            }
        }
        Ok(None)
    }

    fn parse(value: &Value, fold: usize, file: String) -> Result<Self> {
        let part = match value {
            Value::Array(folds) => folds.get(fold).ok_or_else(|| {
                let there = output::counted(folds.len(), "fold");
                Error::new(format!("fold {fold} is asked for, {there} there")).help("folds count from 0")
            })?,
            _ if fold > 0 => {
                return Err(Error::new(format!("fold {fold} is asked for, but this file divides the data set once"))
                    .help("leave fold at 0, or write a list of folds [{train, val}, …]"));
            }
            other => other,
        };
        let fields = part.as_object().ok_or_else(|| Error::new("an object {train, val, test} is expected"))?;
        let names = |key: &str| -> Result<Vec<String>> {
            let items = fields.get(key).map_or(Some(&[][..]), |list| list.as_array().map(Vec::as_slice));
            let names = items.and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
            names.ok_or_else(|| Error::new("a list of case names is expected").at(key))
        };
        let division = Self { file, train: names("train")?, val: names("val")?, test: names("test")? };
        if division.train.is_empty() && division.val.is_empty() && division.test.is_empty() {
            return Err(Error::new("it names no case").help("lists train, val and test of case names are expected"));
        }
        Ok(division)
    }
}

/// Reads a JSON file; `None` if there is none.
fn read_json(path: &Path) -> Result<Option<Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let (mut file, size) = limits::open(path).at(path.display())?;
    if size > MAX_BYTES {
        return Err(Error::new(format!("{size} bytes are too long")).at(path.display()));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).at(path.display())?;
    serde_json::from_str(&text).map(Some).map_err(Error::from_source).at(path.display())
}

/// Class names by number and the ignored label, from `{"0": "background", …}` or `{"background": 0, …}`.
fn class_names(labels: &Value) -> Result<(Vec<String>, Option<i32>)> {
    let fields = labels.as_object().ok_or_else(|| Error::new("an object of names and numbers is expected"))?;
    let (mut names, mut ignored) = (Vec::new(), None);
    for (key, value) in fields {
        let (name, number) = match (value, key.parse::<i32>()) {
            (Value::String(name), Ok(number)) => (name.clone(), number),
            (Value::Number(number), _) => {
                let whole = number.as_i64().and_then(|number| number.try_into().ok());
                (key.clone(), whole.ok_or_else(|| Error::new(format!("{number} is no label")).at(key))?)
            }
            (Value::Array(_), _) => {
                return Err(Error::new("classes made of several labels (regions) are not understood here")
                    .at(key)
                    .help("give each class one label"));
            }
            _ => return Err(Error::new(format!("{value} is neither a name nor a label")).at(key)),
        };
        if name == "ignore" {
            ignored = Some(number);
        } else {
            names.push((number, name));
        }
    }
    names.sort_unstable();
    match names.iter().zip(0..).find(|((number, _), expected)| number != expected) {
        Some(((number, name), expected)) => Err(Error::new(format!("{name} is {number} where {expected} is expected"))
            .help("number the classes 0, 1, 2 … without gaps, 0 for the background")),
        None => Ok((names.into_iter().map(|(_, name)| name).collect(), ignored)),
    }
}

/// Channel names by number, from `{"0": "T1", …}`.
fn channel_names(channels: &Value) -> Result<Vec<String>> {
    let expected = || Error::new("an object {\"0\": name, …} without gaps is expected");
    let fields = channels.as_object().ok_or_else(expected)?;
    (0..fields.len())
        .map(|index| fields.get(&index.to_string()).and_then(Value::as_str).map(str::to_owned).ok_or_else(expected))
        .collect()
}

/// A list of cases: `{image, label}`, or the image alone.
fn list(fields: &Map<String, Value>, key: &str) -> Result<Vec<(String, Option<String>)>> {
    let Some(Value::Array(items)) = fields.get(key) else { return Ok(Vec::new()) };
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
    let entry = |(index, item): (usize, &Value)| {
        let image = item.as_str().map(str::to_owned).or_else(|| text(item, "image"));
        let image = image
            .ok_or_else(|| Error::new("neither a path nor an object {image, label}").at(format!("{key}[{index}]")))?;
        Ok((image, text(item, "label")))
    };
    items.iter().enumerate().map(entry).collect()
}
