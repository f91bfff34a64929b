//! Parts of an evaluation that share a folder. Each writes the states of its cases and a record of them, so that
//! merging can verify that none is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_data::hash::Hash;
use segcal_data::limits;
use segcal_data::output::{self, OutputFolder};
use segcal_data::part::Part;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::cohort::Plan;

/// Name of the folder of the records.
const FOLDER: &str = "parts";

/// The format of the files.
const SCHEMA: &str = "segcal.part/1";

/// The record of what one part has measured: `parts/I-of-N.json`, which is written last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    schema: String,
    /// Number of the part, from 0.
    part: usize,
    /// Number of parts.
    of: usize,
    /// SHA-256 of the names of all cases that are split into parts.
    list: String,
    /// The options for summarising the cohort.
    plan: String,
    /// SHA-256 of each state, by its path in the folder.
    pub states: BTreeMap<String, String>,
    /// Cases of the part that could not be measured.
    pub failed: Vec<Failure>,
}

impl Record {
    /// The record of a part.
    pub fn new<'a>(
        part: Part,
        cases: impl Iterator<Item = &'a str>,
        plan: Plan,
        states: BTreeMap<String, String>,
        failed: Vec<Failure>,
    ) -> Self {
        let mut list = Hash::default();
        cases.for_each(|case| list.text(case));
        let (schema, list, plan) = (SCHEMA.into(), list.hex(), described(plan));
        Self { schema, part: part.id(), of: part.count(), list, plan, states, failed }
    }

    /// Writes it into the folder of the evaluation.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, folder: &OutputFolder) -> Result<()> {
        output::write_text(&folder.file(self.name())?, &(output::to_json(self)? + "\n"))
    }

    /// The path of the record.
    pub fn file(&self, folder: &Path) -> PathBuf {
        folder.join(self.name())
    }

    fn name(&self) -> PathBuf {
        Path::new(FOLDER).join(format!("{}-of-{}.json", self.part, self.of))
    }

    fn read(path: &Path) -> Result<Self> {
        let record: Self = serde_json::from_str(&limits::read_text(path)?).map_err(Error::from_source)?;
        if record.schema == SCHEMA && record.part < record.of {
            return Ok(record);
        }
        Err(Error::new(format!("is not a record of the format {SCHEMA}")).help("evaluate the part again"))
    }
}

/// The options of a plan, as given on the command line.
fn described(Plan { empty, convention, seed }: Plan) -> String {
    format!("--empty {} --convention {} --seed {seed}", empty.name(), convention.name())
}

/// The records in a folder; empty if no parts share it.
///
/// # Errors
/// A record cannot be read or is malformed, or the parts were split from different lists of cases.
pub fn read(folder: &Path) -> Result<Vec<Record>> {
    let paths = paths(folder)?;
    let records = paths.iter().map(|path| Record::read(path).at(path.display())).collect::<Result<Vec<_>>>()?;
    let deal = |record: &Record| (record.of, record.list.clone());
    if let Some(place) = (1..records.len()).find(|&place| deal(&records[place]) != deal(&records[0])) {
        let problem = format!("was split from a different list of cases than {}", paths[0].display());
        let remedy = "once all predictions exist, run the parts again with --resume";
        return Err(Error::new(problem).at(paths[place].display()).help(remedy));
    }
    Ok(records)
}

fn paths(folder: &Path) -> Result<Vec<PathBuf>> {
    let inside = folder.join(FOLDER);
    if !inside.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&inside).at(inside.display())?;
    let paths = entries.map(|entry| Ok(entry.at(inside.display())?.path())).collect::<Result<Vec<PathBuf>>>()?;
    let is_record = |path: &PathBuf| {
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        !hidden && path.extension().is_some_and(|ending| ending == "json")
    };
    let mut found: Vec<PathBuf> = paths.into_iter().filter(is_record).collect();
    found.sort();
    Ok(found)
}

/// Checks that no part is missing and that all were evaluated with the options of this plan.
///
/// # Errors
/// A part is missing or has other options. Missing parts are named.
pub fn expect_all<'a>(records: impl Iterator<Item = &'a Record>, plan: Plan) -> Result<()> {
    let mut deals: BTreeMap<(usize, &str), BTreeSet<usize>> = BTreeMap::new();
    for record in records {
        if record.plan != described(plan) {
            let problem = format!("part {} of {} was evaluated with {}", record.part, record.of, record.plan);
            return Err(Error::new(problem).help("merge with the same options"));
        }
        deals.entry((record.of, &record.list)).or_default().insert(record.part);
    }
    for ((of, _), parts) in deals {
        let missing: Vec<usize> = (0..of).filter(|part| !parts.contains(part)).collect();
        if let Some(first) = missing.first() {
            let problem = match &missing[..] {
                [only] => format!("part {only} of {of} is missing"),
                several => {
                    let several: Vec<String> = several.iter().map(ToString::to_string).collect();
                    format!("parts {} of {of} are missing", several.join(", "))
                }
            };
            let remedy = format!("complete the missing parts, for example --num-parts {of} --part-id {first} --resume");
            return Err(Error::new(problem).help(remedy));
        }
    }
    Ok(())
}

/// Removes the record of a part that is about to start, and the records of another number of parts.
///
/// # Errors
/// The folder cannot be read or written.
pub fn begin(folder: &OutputFolder, part: Part) -> Result<()> {
    for path in paths(folder.path())? {
        // A record that cannot be read is useless and is removed.
        let stays = Record::read(&path).is_ok_and(|record| record.of == part.count() && record.part != part.id());
        if !stays {
            output::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes the records of all parts, once the results cover all cases.
///
/// # Errors
/// The folder cannot be read or written.
pub fn remove(folder: &OutputFolder) -> Result<()> {
    paths(folder.path())?.iter().try_for_each(|path| output::remove_file(path))?;
    // A folder that contains other files is left alone.
    let _ = fs::remove_dir(folder.path().join(FOLDER));
    Ok(())
}
