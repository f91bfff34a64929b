//! The SHA-256 of the source files of each case: `sources.json`, or one file per part while parts share a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use segcal_core::{Context, Result};

use super::{Label, Part, Scan};
use crate::hash::Hash;
use crate::output::{self, OutputFolder};
use crate::{limits, part};

/// Hashes by case.
type Hashes = BTreeMap<String, String>;

/// The hashes of the sources of existing cases, and of the sources now.
pub(super) struct Sources {
    files: Vec<PathBuf>,
    /// The hashes in each of `files`.
    before: Vec<Hashes>,
    now: Hashes,
}

impl Sources {
    /// The sources of these scans.
    ///
    /// # Errors
    /// The folder cannot be read. A scan that cannot be read is reported when its case is made.
    pub(super) fn of(folder: &OutputFolder, plan: &[(&Scan, Part)]) -> Result<Self> {
        let entries = std::fs::read_dir(folder.path()).at(folder.path().display())?;
        let is_one = |path: &PathBuf| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let named = stem == "sources" || stem.starts_with("sources-");
            named && path.extension().is_some_and(|ending| ending == "json")
        };
        let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_one).collect();
        let hashed = |(scan, _): &(&Scan, Part)| Some((scan.name.clone(), hash(scan).ok()?));
        let now = plan.par_iter().filter_map(hashed).collect();
        Ok(Self { before: files.iter().filter_map(|path| read(path)).collect(), files, now })
    }

    /// Whether the case of a scan in the folder was made from the current source files. If two files list it, it is
    /// unknown which is older, so both must match.
    pub(super) fn are_those_of(&self, scan: &Scan) -> bool {
        let mut told = self.before.iter().filter_map(|before| before.get(&scan.name)).peekable();
        self.now.get(&scan.name).is_some_and(|now| told.peek().is_some() && told.all(|before| before == now))
    }

    /// Records the sources of the cases of a part.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn note(&self, folder: &OutputFolder, part: part::Part) -> Result<()> {
        let of_part = || format!("sources-{}-of-{}.json", part.id(), part.count());
        let own = folder.file(if part.is_whole() { NAME.to_owned() } else { of_part() })?;
        if read(&own).as_ref() != Some(&self.now) {
            output::write_text(&own, &output::to_json(&self.now)?)?;
        }
        // The file for all cases replaces those of the parts.
        let mut told = self.files.iter().filter(|path| part.is_whole() && **path != own);
        told.try_for_each(|path| output::remove_file(path))
    }
}

/// The file for all cases.
const NAME: &str = "sources.json";

fn read(path: &Path) -> Option<Hashes> {
    serde_json::from_str(&limits::read_text(path).ok()?).ok()
}

fn hash(scan: &Scan) -> Result<String> {
    let mut hash = Hash::default();
    let labels: Vec<&PathBuf> = match &scan.label {
        Label::Unknown => Vec::new(),
        Label::Map(path, _) => vec![path],
        Label::Masks(masks) => masks.iter().flatten().collect(),
    };
    scan.images.iter().chain(labels).try_for_each(|path| hash.file(path))?;
    Ok(hash.hex())
}
