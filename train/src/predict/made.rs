//! What the files of a case were made of, so that a prediction that was interrupted can go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use segcal_core::Result;
use segcal_data::hash::{self, Hash};
use segcal_data::output::{self, OutputFolder};
use segcal_data::{Case, limits};
use serde::{Deserialize, Serialize};

/// The note of one case, `made-of/CASE.json`, which is written after its files.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    /// SHA-256 of the weights, the images and the options.
    made_of: String,
    /// The files below the folder of the results, and their bytes.
    files: BTreeMap<String, u64>,
}

/// The hash of everything that the files of every case are made of, but for its images.
pub(super) struct Recipe(String);

impl Recipe {
    /// Of the weights of these runs and these options.
    ///
    /// # Errors
    /// A run's files cannot be read.
    pub(super) fn of(runs: &[PathBuf], options: &str) -> Result<Self> {
        let mut hash = Hash::default();
        hash.text(options);
        for run in runs {
            hash.file(&run.join("best.safetensors"))?;
            hash.file(&run.join("config.toml"))?;
        }
        Ok(Self(hash.hex()))
    }

    fn of_case(&self, case: &Case) -> Result<String> {
        let mut hash = Hash::default();
        hash.text(&self.0);
        hash.text(&case.name);
        case.images.iter().try_for_each(|path| hash.file(path))?;
        Ok(hash.hex())
    }

    /// Whether the files of a case stand, made of the same.
    pub(super) fn stands(&self, case: &Case, files: &[PathBuf], folder: &OutputFolder) -> bool {
        let text = limits::read_text(&folder.path().join(name(case)));
        let Some(note) = text.ok().and_then(|text| serde_json::from_str::<Note>(&text).ok()) else { return false };
        // Images that cannot be read now are told of when the case is predicted.
        sizes(files, folder).is_some_and(|files| files == note.files)
            && self.of_case(case).is_ok_and(|made_of| made_of == note.made_of)
    }

    /// Removes the note of a case that is about to be made again.
    pub(super) fn forget(case: &Case, folder: &OutputFolder) -> Result<()> {
        output::remove_file(&folder.file(name(case))?)
    }

    /// Notes that the files of a case are written.
    pub(super) fn note(&self, case: &Case, files: &[PathBuf], folder: &OutputFolder) -> Result<()> {
        let note = Note { made_of: self.of_case(case)?, files: sizes(files, folder).unwrap_or_default() };
        output::write_text(&folder.file(name(case))?, &(output::to_json(&note)? + "\n"))
    }
}

/// A short name for an option's number or text.
pub(super) fn options(parts: &[&dyn std::fmt::Display]) -> String {
    hash::of_bytes(parts.iter().map(|part| format!("{part}\n")).collect::<String>().as_bytes())
}

fn name(case: &Case) -> PathBuf {
    Path::new("made-of").join(format!("{}.json", case.name))
}

fn sizes(files: &[PathBuf], folder: &OutputFolder) -> Option<BTreeMap<String, u64>> {
    let size = |file: &PathBuf| {
        let metadata = fs::metadata(folder.path().join(file)).ok().filter(fs::Metadata::is_file)?;
        Some((file.to_string_lossy().replace('\\', "/"), metadata.len()))
    };
    files.iter().map(size).collect()
}
