//! Merges the evaluations of several parts of a cohort into one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use segcal_core::{Error, Result};
use segcal_data::output::{self, OutputFolder};

use crate::cohort::{Cohort, Plan};
use crate::parts::{self, Record};
use crate::pooled::Pooled;
use crate::state::{CaseState, Measure};
use crate::states::{self, Stored};
use crate::{Failure, job, one_a_thread};

/// Merges the folders of evaluations, or of parts that share a folder, and writes the files of one evaluation of all
/// their cases. The result is bit for bit the same in any order of the folders.
///
/// # Errors
/// A folder contains no states, a part is missing, two folders contain the same case or were measured with different
/// settings, or the results cannot be written.
pub fn merge(folders: &[PathBuf], out: &Path, plan: Plan) -> Result<Cohort> {
    let sources = folders.iter().map(|folder| Source::read(folder)).collect::<Result<Vec<_>>>()?;
    parts::expect_all(sources.iter().flat_map(|source| &source.parts), plan)?;
    let Gathered { paths, states, measure, pooled } = gather(&sources)?;
    let failed = failures(&sources, &paths)?;
    let cohort = Cohort::new(states, pooled, measure, plan)?.without(failed);
    let folder = OutputFolder::exclusive(out)?;
    job::remove_results(&folder)?;
    let layout = cohort.layout();
    for (name, path) in &paths {
        copy_slices(path, &states::slices_of(&folder, layout, name)?)?;
        // Read again, since the counters of the gathered states were taken out.
        if *path != states::state_of(&folder, layout, name)? {
            Stored::read(path)?.write(&folder, layout)?;
        }
    }
    states::keep_only(&folder, layout, &paths.keys().map(String::as_str).collect())?;
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

    /// The states, each checked against the summary or the record of its part.
    fn states(&self) -> Result<Vec<PathBuf>> {
        if self.parts.is_empty() {
            return states_of(self.folder);
        }
        let told =
            self.parts.iter().flat_map(|part| part.states.iter().map(move |state| (part.file(self.folder), state)));
        told.map(|(record, (name, hash))| {
            let path = self.folder.join(name);
            states::expect(&path, hash, &record)?;
            Ok(path)
        })
        .collect()
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

/// The content of the states of all sources.
struct Gathered {
    /// The file of each case.
    paths: BTreeMap<String, PathBuf>,
    /// The states without their counters.
    states: Vec<CaseState>,
    /// How all of them were measured.
    measure: Measure,
    /// The counters of all cases.
    pooled: Pooled,
}

fn gather(sources: &[Source<'_>]) -> Result<Gathered> {
    let files: Vec<PathBuf> = sources.iter().map(Source::states).collect::<Result<Vec<_>>>()?.concat();
    let first = files.first().ok_or_else(|| Error::new("the folders contain no case"))?;
    let measure = Stored::read(first)?.measure;
    let pooled = Mutex::new(Pooled::default());
    let read = one_a_thread(&files, |path| {
        let mut stored = Stored::read(path)?;
        if stored.measure != measure {
            let problem = format!("was measured with different settings than {}", first.display());
            let remedy = format!("evaluate both with the same settings: {}", stored.measure.differences(&measure));
            return Err(Error::new(problem).at(path.display()).help(remedy));
        }
        // Added at once, so that only the counters of one case per thread are in memory.
        let counters = stored.state.take_counters();
        pooled.lock().unwrap_or_else(PoisonError::into_inner).add_all(&stored.state.case, counters);
        Ok(stored.state)
    });
    let states = read.into_iter().collect::<Result<Vec<CaseState>>>()?;
    let mut paths = BTreeMap::new();
    for (state, path) in states.iter().zip(&files) {
        if let Some(other) = paths.insert(state.case.clone(), path.clone()) {
            let problem = format!("the case {} is also in {}", state.case, other.display());
            return Err(Error::new(problem).at(path.display()).help("leave one of the two out"));
        }
    }
    Ok(Gathered { paths, states, measure, pooled: pooled.into_inner().unwrap_or_else(PoisonError::into_inner) })
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
fn failures<T>(sources: &[Source<'_>], cases: &BTreeMap<String, T>) -> Result<Vec<Failure>> {
    let mut failed = BTreeMap::new();
    for failure in sources.iter().map(Source::failures).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
        failed.entry(failure.case.clone()).or_insert(failure);
    }
    Ok(failed.into_values().filter(|failure| !cases.contains_key(&failure.case)).collect())
}
