//! Merges the evaluations of several parts of a cohort into one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use segcal_core::{Error, Result};
use segcal_data::output::{self, OutputFolder};

use crate::cohort::{Cohort, Collected, Plan};
use crate::parts::{self, Record};
use crate::state::Measure;
use crate::states::{self, Stored};
use crate::{Failure, job, one_a_thread};

/// Merges the folders of evaluations, or of parts that share a folder, and writes the files of one evaluation of all
/// their cases. The result is bit for bit the same in any order of the folders.
///
/// # Errors
/// A folder contains no states, a part is missing, two folders contain the same case or were measured with different
/// settings, or the results cannot be written.
pub fn merge(folders: &[PathBuf], out: &Path, plan: Plan) -> Result<Cohort> {
    let mut sources = folders.iter().map(|folder| Source::read(folder)).collect::<Result<Vec<_>>>()?;
    parts::expect_all(sources.iter().flat_map(|source| &source.parts), plan)?;
    let Gathered { files, names, collected, measure } = gather(&mut sources, plan)?;
    let paths = by_name(&names, &files)?;
    let failed = failures(&sources, &paths)?;
    let cohort = Cohort::new(collected, measure)?.without(failed);
    let folder = OutputFolder::exclusive(out)?;
    job::remove_results(&folder)?;
    let layout = cohort.layout();
    for (name, path) in &paths {
        copy_slices(path, &states::slices_of(&folder, layout, name)?)?;
        if *path != states::state_of(&folder, layout, name)? {
            Stored::read(path)?.write(&folder, layout)?;
        }
    }
    states::keep_only(&folder, layout, &paths.keys().copied().collect())?;
    job::write(&cohort, &folder)?;
    parts::remove(&folder)?;
    Ok(cohort)
}

/// A folder to merge.
struct Source<'a> {
    folder: &'a Path,
    /// The records of the parts that share it; empty if it is a single evaluation.
    parts: Vec<Record>,
}

impl<'a> Source<'a> {
    fn read(folder: &'a Path) -> Result<Self> {
        Ok(Self { folder, parts: parts::read(folder)? })
    }

    /// The states: of parts, as their records list them, which are emptied; otherwise those of the summary, against
    /// which they are checked.
    fn states(&mut self) -> Result<Vec<File>> {
        if self.parts.is_empty() {
            return Ok(states_of(self.folder)?.into_iter().map(|path| File { path, listed: None }).collect());
        }
        let mut files = Vec::new();
        for part in &mut self.parts {
            let record: Arc<Path> = part.file(self.folder).into();
            let listed = std::mem::take(&mut part.states).into_iter();
            files.extend(
                listed.map(|(name, hash)| File { path: self.folder.join(name), listed: Some((hash, record.clone())) }),
            );
        }
        Ok(files)
    }

    /// The cases that failed.
    fn failures(&self) -> Result<Vec<Failure>> {
        let summary = self.folder.join(states::SUMMARY);
        if self.parts.is_empty() && summary.is_file() {
            return Failure::read(&summary);
        }
        Ok(self.parts.iter().flat_map(|part| part.failed.clone()).collect())
    }
}

/// Copies the slices for the overlays of the report, if there are any, which are stored beside a state.
fn copy_slices(state: &Path, to: &Path) -> Result<()> {
    let from = state.with_extension("npz");
    if !from.is_file() || from == to {
        return Ok(());
    }
    let bytes = segcal_data::limits::read(&from)?;
    output::write_atomic(to, |out| Ok(out.write_all(&bytes)?))
}

/// A state to merge.
struct File {
    path: PathBuf,
    /// Its SHA-256 by the record of its part, and that record.
    listed: Option<(String, Arc<Path>)>,
}

impl File {
    fn read(&self) -> Result<Stored> {
        match &self.listed {
            None => Stored::read(&self.path),
            Some((hash, record)) => Stored::read_listed(&self.path, hash, record),
        }
    }
}

/// The content of the states of all sources.
struct Gathered {
    files: Vec<PathBuf>,
    /// The case of each file.
    names: Vec<String>,
    /// What the results need of the states.
    collected: Collected,
    /// How all of them were measured.
    measure: Measure,
}

fn gather(sources: &mut [Source<'_>], plan: Plan) -> Result<Gathered> {
    let mut files = Vec::new();
    for source in sources {
        files.extend(source.states()?);
    }
    let first = files.first().ok_or_else(|| Error::new("the folders contain no case"))?;
    let measure = first.read()?.measure;
    let collected = Mutex::new(Collected::new(plan, files.len()));
    let read = one_a_thread(&files, |file| {
        let stored = file.read()?;
        if stored.measure != measure {
            let problem = format!("was measured with different settings than {}", first.path.display());
            let remedy = format!("evaluate both with the same settings: {}", stored.measure.differences(&measure));
            return Err(Error::new(problem).at(file.path.display()).help(remedy));
        }
        let name = stored.state.case.clone();
        // Added at once, so that only the state of one case per thread is in memory.
        collected.lock().unwrap_or_else(PoisonError::into_inner).add(stored.state);
        Ok(name)
    });
    let names = read.into_iter().collect::<Result<Vec<String>>>()?;
    let collected = collected.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Gathered { files: files.into_iter().map(|file| file.path).collect(), names, collected, measure })
}

/// The file of each case.
fn by_name<'a>(names: &'a [String], files: &'a [PathBuf]) -> Result<BTreeMap<&'a str, &'a Path>> {
    let mut paths = BTreeMap::new();
    for (name, path) in names.iter().zip(files) {
        if let Some(other) = paths.insert(name.as_str(), path.as_path()) {
            let problem = format!("the case {name} is also in {}", other.display());
            return Err(Error::new(problem).at(path.display()).help("leave one of the two out"));
        }
    }
    Ok(paths)
}

/// The states in a folder; at least one.
fn states_of(folder: &Path) -> Result<Vec<PathBuf>> {
    states::expect_whole(folder)?;
    let found = states::list(folder)?;
    if found.is_empty() {
        return Err(Error::new("contains no state of a case").at(folder.display()).help("is its evaluation complete?"));
    }
    Ok(found)
}

/// The cases that any folder reports as failed and none has measured.
fn failures<T>(sources: &[Source<'_>], cases: &BTreeMap<&str, T>) -> Result<Vec<Failure>> {
    let mut failed = BTreeMap::new();
    for failure in sources.iter().map(Source::failures).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
        failed.entry(failure.case.clone()).or_insert(failure);
    }
    Ok(failed.into_values().filter(|failure| !cases.contains_key(failure.case.as_str())).collect())
}
