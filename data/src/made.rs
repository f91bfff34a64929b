//! Records what the files of a case were made from, so that interrupted work on many cases can be resumed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use segcal_core::Result;
use serde::{Deserialize, Serialize};

use crate::hash::{self, Hash};
use crate::limits;
use crate::output::{self, OutputFolder};

/// The record of one case, `made-of/CASE.json`, which is written after its files.
#[derive(Debug, Serialize, Deserialize)]
pub struct Note {
    /// SHA-256 of the weights or the calibration map, the inputs and the options.
    made_of: String,
    /// The files, relative to the results folder, and their sizes in bytes.
    files: BTreeMap<String, u64>,
    /// Counts that were collected while they were made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
}

impl Note {
    /// The files, relative to the results folder.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(Path::new)
    }
}

/// The hash of everything that the files of every case are made from, except its own inputs.
pub struct Recipe(String);

impl Recipe {
    /// Hashes these options and these files: weights, or a calibration map.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of(options: &str, files: impl IntoIterator<Item = PathBuf>) -> Result<Self> {
        let mut hash = Hash::default();
        hash.text(options);
        files.into_iter().try_for_each(|path| hash.file(&path))?;
        Ok(Self(hash.hex()))
    }

    fn of_case(&self, case: &str, inputs: &[PathBuf]) -> Result<String> {
        let mut hash = Hash::default();
        hash.text(&self.0);
        hash.text(case);
        inputs.iter().try_for_each(|path| hash.file(path))?;
        Ok(hash.hex())
    }

    /// The record of a case whose files exist and were made from the same recipe and inputs.
    pub fn standing(&self, case: &str, inputs: &[PathBuf], folder: &OutputFolder) -> Option<Note> {
        let text = limits::read_text(&folder.path().join(name(case))).ok()?;
        let note: Note = serde_json::from_str(&text).ok()?;
        let files: Vec<PathBuf> = note.files().map(Path::to_path_buf).collect();
        // An input that cannot be read is reported when the case is made.
        let stands = sizes(&files, folder).is_some_and(|files| files == note.files)
            && self.of_case(case, inputs).is_ok_and(|made_of| made_of == note.made_of);
        stands.then_some(note)
    }

    /// Removes the record of a case that is about to be made again.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn forget(case: &str, folder: &OutputFolder) -> Result<()> {
        output::remove_file(&folder.file(name(case))?)
    }

    /// Records that the files of a case are written, with the counts.
    ///
    /// # Errors
    /// An input cannot be read, or the folder cannot be written.
    pub fn note(
        &self,
        (case, inputs): (&str, &[PathBuf]),
        files: &[PathBuf],
        counts: BTreeMap<String, u64>,
        folder: &OutputFolder,
    ) -> Result<()> {
        let files = sizes(files, folder).unwrap_or_default();
        let note = Note { made_of: self.of_case(case, inputs)?, files, counts };
        output::write_text(&folder.file(name(case))?, &(output::to_json(&note)? + "\n"))
    }
}

/// The hash of options, given as numbers or text.
pub fn options(parts: &[&dyn std::fmt::Display]) -> String {
    hash::of_bytes(parts.iter().map(|part| format!("{part}\n")).collect::<String>().as_bytes())
}

fn name(case: &str) -> PathBuf {
    Path::new("made-of").join(format!("{case}.json"))
}

fn sizes(files: &[PathBuf], folder: &OutputFolder) -> Option<BTreeMap<String, u64>> {
    let size = |file: &PathBuf| {
        let metadata = fs::metadata(folder.path().join(file)).ok().filter(fs::Metadata::is_file)?;
        Some((file.to_string_lossy().replace('\\', "/"), metadata.len()))
    };
    files.iter().map(size).collect()
}
