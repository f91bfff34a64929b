//! `dataset.json`, `splits.json` and `splits_final.json`.

use std::path::{Component, Path, PathBuf};

use segcal_core::{Context, Error, Result};
use serde_json::{Map, Value};

use super::region::Region;
use crate::{limits, names, output};

/// The largest text file that is read, in bytes; lists of a hundred thousand cases have about 10 MB.
const MAX_BYTES: u64 = 1 << 26;

/// The content of `dataset.json`.
#[derive(Debug, Default)]
pub(super) struct Description {
    pub(super) classes: Vec<String>,
    pub(super) ignore_label: Option<i32>,
    pub(super) regions: Vec<Region>,
    pub(super) channels: Vec<String>,
    /// Whether each channel is a separate file, because `channel_names` is given.
    pub(super) channel_files: bool,
    pub(super) file_ending: Option<String>,
    pub(super) lists: Option<Lists>,
}

/// A case in a list.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its name; `None` means that of the image.
    pub(super) name: Option<String>,
    pub(super) images: Vec<String>,
    pub(super) label: Option<String>,
}

/// Lists of cases.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) train: Vec<Entry>,
    pub(super) val: Vec<Entry>,
    pub(super) test: Vec<Entry>,
    /// Whether the lists are those of nnU-Net, with one file per channel and no test cases.
    pub(super) by_channel: bool,
}

impl Description {
    /// Reads `dataset.json`; if there is none, all fields are empty.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let path = root.join("dataset.json");
        match read_json(&path)? {
            None => Ok(Self::default()),
            Some(Value::Object(fields)) => Self::parse(&fields).at(path.display()),
            Some(_) => Err(Error::new("expected an object { … }").at(path.display())),
        }
    }

    fn parse(fields: &Map<String, Value>) -> Result<Self> {
        let order = fields.get("regions_class_order").map(class_order).transpose().at("regions_class_order")?;
        let Labels { classes, ignored, regions } = match fields.get("labels") {
            None => Labels::default(),
            Some(labels) => Labels::parse(labels, order.as_deref()).at("labels")?,
        };
        let channels = ["channel_names", "modality", "channels"].into_iter().find(|key| fields.contains_key(*key));
        let lists = match (fields.get("dataset"), fields.get("training")) {
            (Some(Value::Object(cases)), _) => {
                Some(Lists { train: named_cases(cases).at("dataset")?, by_channel: true, ..Lists::default() })
            }
            (_, Some(Value::Array(_))) => Some(Lists {
                train: list(fields, "training")?,
                val: list(fields, "validation")?,
                test: list(fields, "test")?,
                by_channel: false,
            }),
            _ => None,
        };
        Ok(Self {
            classes,
            ignore_label: ignored,
            regions,
            channels: channels.map_or(Ok(Vec::new()), |key| channel_names(&fields[key]).at(key))?,
            channel_files: fields.contains_key("channel_names"),
            file_ending: fields.get("file_ending").map(file_ending).transpose().at("file_ending")?,
            lists,
        })
    }
}

/// The split: which case belongs to which part.
#[derive(Debug, Default)]
pub(super) struct Division {
    pub(super) file: String,
    pub(super) train: Vec<String>,
    pub(super) val: Vec<String>,
    pub(super) test: Vec<String>,
}

impl Division {
    /// Reads `splits.json`, or one fold of `splits_final.json`; `None` if neither exists.
    pub(super) fn read(root: &Path, fold: usize) -> Result<Option<Self>> {
        let Some((path, value)) = Self::file(root)? else { return Ok(None) };
        Self::parse(&value, fold, path.display().to_string()).at(path.display()).map(Some)
    }

    /// The number of folds in that file: one if it contains a single split.
    pub(super) fn count(root: &Path) -> Result<Option<usize>> {
        Ok(Self::file(root)?.map(|(_, value)| value.as_array().map_or(1, Vec::len)))
    }

    fn file(root: &Path) -> Result<Option<(PathBuf, Value)>> {
        for name in ["splits.json", "splits_final.json"] {
            let path = root.join(name);
            if let Some(value) = read_json(&path)? {
                return Ok(Some((path, value)));
            }
        }
        Ok(None)
    }

    fn parse(value: &Value, fold: usize, file: String) -> Result<Self> {
        let part = match value {
            Value::Array(folds) => folds.get(fold).ok_or_else(|| {
                let there = output::counted(folds.len(), "fold");
                Error::new(format!("fold {fold} does not exist: the split has {there}"))
                    .help("folds are numbered from 0")
            })?,
            _ if fold > 0 => {
                return Err(Error::new(format!("fold {fold} does not exist: this file divides the data set once"))
                    .help("leave fold at 0, or write a list of folds [{train, val}, …]"));
            }
            other => other,
        };
        let fields = part.as_object().ok_or_else(|| Error::new("expected an object {train, val, test}"))?;
        let names = |key: &str| -> Result<Vec<String>> {
            let items = fields.get(key).map_or(Some(&[][..]), |list| list.as_array().map(Vec::as_slice));
            let names = items.and_then(|items| items.iter().map(|item| item.as_str().map(names::composed)).collect());
            names.ok_or_else(|| Error::new("expected a list of case names").at(key))
        };
        let division = Self { file, train: names("train")?, val: names("val")?, test: names("test")? };
        if division.train.is_empty() && division.val.is_empty() && division.test.is_empty() {
            return Err(Error::new("it names no cases").help("expected the lists train, val and test of case names"));
        }
        Ok(division)
    }
}

/// Reads a JSON file; `None` if there is none.
fn read_json(path: &Path) -> Result<Option<Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let (_, size) = limits::open(path).at(path.display())?;
    if size > MAX_BYTES {
        return Err(Error::new(format!("the file is too large: {size} bytes")).at(path.display()));
    }
    let text = limits::read_text(path)?;
    // Windows editors may write a byte order mark first.
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map(Some).map_err(Error::from_source).at(path.display())
}

/// The meaning of the labels.
#[derive(Default)]
struct Labels {
    /// Class names by label.
    classes: Vec<String>,
    ignored: Option<i32>,
    regions: Vec<Region>,
}

impl Labels {
    /// Parses `{"0": "background", …}`, `{"background": 0, …}`, or nnU-Net's regions:
    /// `{"whole": [1, 2], "core": [2], …}`.
    fn parse(labels: &Value, order: Option<&[i32]>) -> Result<Self> {
        let fields = labels.as_object().ok_or_else(|| Error::new("expected an object of names and numbers"))?;
        let mut named: Vec<(String, Vec<i32>)> = Vec::new();
        for (key, value) in fields {
            named.push(match (value, key.parse::<i32>()) {
                (Value::String(name), Ok(number)) => (name.clone(), vec![number]),
                (Value::Number(_), _) => (key.clone(), vec![whole(value).at(key)?]),
                (Value::Array(numbers), _) => (key.clone(), numbers.iter().map(whole).collect::<Result<_>>().at(key)?),
                _ => return Err(Error::new(format!("{value} is neither a name nor a label")).at(key)),
            });
        }
        let ignored = named.iter().find(|(name, _)| name == "ignore").and_then(|(_, labels)| labels.first().copied());
        named.retain(|(name, _)| name != "ignore");
        let of_regions = fields.values().any(Value::is_array);
        let regions = if of_regions { regions_of(&mut named, order)? } else { Vec::new() };
        let mut names: Vec<(i32, String)> =
            named.into_iter().filter_map(|(name, labels)| Some((*labels.first()?, name))).collect();
        names.sort_unstable();
        match names.iter().zip(0..).find(|((number, _), expected)| number != expected) {
            Some(((number, name), expected)) => {
                Err(Error::new(format!("{name} has the label {number}, expected {expected}"))
                    .help("number the classes 0, 1, 2 … without gaps, 0 for the background"))
            }
            None => Ok(Self { classes: names.into_iter().map(|(_, name)| name).collect(), ignored, regions }),
        }
    }
}

fn whole(value: &Value) -> Result<i32> {
    let number = value.as_i64().and_then(|number| number.try_into().ok());
    number.ok_or_else(|| Error::new(format!("{value} is not a label")))
}

fn class_order(value: &Value) -> Result<Vec<i32>> {
    let numbers = value.as_array().ok_or_else(|| Error::new("expected a list of labels"))?;
    numbers.iter().map(whole).collect()
}

/// Removes the regions from the named labels and leaves the labels that they combine: each is named after the region
/// that becomes it according to the class order, otherwise by its number.
fn regions_of(named: &mut Vec<(String, Vec<i32>)>, order: Option<&[i32]>) -> Result<Vec<Region>> {
    let background = |labels: &[i32]| labels == [0];
    let regions: Vec<(String, Vec<i32>)> = named.iter().filter(|(_, labels)| !background(labels)).cloned().collect();
    let order = order.ok_or_else(|| {
        Error::new("there are regions (classes that combine several labels), but no regions_class_order")
            .help("add \"regions_class_order\": [the label that each region becomes, in their order]")
    })?;
    if order.len() != regions.len() {
        let problem = format!("{} regions, but regions_class_order has {} labels", regions.len(), order.len());
        return Err(Error::new(problem).help("give one label per region, except for the background"));
    }
    let mut labels: Vec<i32> = regions.iter().flat_map(|(_, labels)| labels.iter().copied()).collect();
    labels.sort_unstable();
    labels.dedup();
    let name = |label: i32| {
        let becomes = order.iter().position(|&other| other == label);
        becomes.map_or_else(|| format!("label {label}"), |region| regions[region].0.clone())
    };
    named.retain(|(_, labels)| background(labels));
    named.extend(labels.into_iter().map(|label| (name(label), vec![label])));
    let region = |((name, labels), &becomes): ((String, Vec<i32>), &i32)| Region { name, labels, becomes };
    Ok(regions.iter().cloned().zip(order).map(region).collect())
}

/// Channel names by number, from `{"0": "T1", …}`.
fn channel_names(channels: &Value) -> Result<Vec<String>> {
    let expected = || Error::new("expected an object {\"0\": name, …} without gaps");
    let fields = channels.as_object().ok_or_else(expected)?;
    (0..fields.len())
        .map(|index| fields.get(&index.to_string()).and_then(Value::as_str).map(str::to_owned).ok_or_else(expected))
        .collect()
}

/// The cases of nnU-Net's key `dataset`: `{"CASE": {"images": [one per channel], "label": …}}`.
fn named_cases(cases: &Map<String, Value>) -> Result<Vec<Entry>> {
    let entry = |(name, case): (&String, &Value)| {
        let images = case.get("images").and_then(Value::as_array);
        let images: Option<Vec<String>> =
            images.and_then(|images| images.iter().map(|image| image.as_str().map(str::to_owned)).collect());
        let images = images.filter(|images| !images.is_empty());
        let images = images.ok_or_else(|| Error::new("expected a list of paths").at("images").at(name))?;
        let label = case.get("label").and_then(Value::as_str).map(str::to_owned);
        Ok(Entry { name: Some(names::composed(name)), images, label })
    };
    cases.iter().map(entry).collect()
}

/// The file extension, which must be a supported one.
fn file_ending(value: &Value) -> Result<String> {
    let ending = value.as_str().ok_or_else(|| Error::new(format!("{value} is not a string")))?;
    if crate::ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending)) {
        return Ok(ending.to_owned());
    }
    Err(Error::new(format!("files with the extension {ending} are not supported"))
        .help(format!("convert them to one of {}", crate::ENDINGS.join(" "))))
}

/// Returns an error if a path points outside the folder of the data set.
fn expect_inside(name: &str) -> Result<()> {
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(name).components().all(inside) {
        return Ok(());
    }
    Err(Error::new(format!("\"{name}\" points outside the folder of the data set"))
        .help("give paths relative to the folder of the data set"))
}

/// Parses a list of cases: `{image, label}`, or only the image.
fn list(fields: &Map<String, Value>, key: &str) -> Result<Vec<Entry>> {
    let Some(Value::Array(items)) = fields.get(key) else { return Ok(Vec::new()) };
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
    let entry = |(index, item): (usize, &Value)| {
        let image = item.as_str().map(str::to_owned).or_else(|| text(item, "image"));
        let image = image
            .ok_or_else(|| Error::new("expected a path or an object {image, label}").at(format!("{key}[{index}]")))?;
        let label = text(item, "label");
        for name in [&image].into_iter().chain(&label) {
            expect_inside(name).at(format!("{key}[{index}]"))?;
        }
        Ok(Entry { name: None, images: vec![image], label })
    };
    items.iter().enumerate().map(entry).collect()
}
