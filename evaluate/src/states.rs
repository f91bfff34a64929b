//! The folder `states` of an evaluation: one file for each finished case. An interrupted run is resumed from these
//! files, and parts are merged from them. A state is tied to the files it was measured from, by their paths and
//! checksums.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::inputs::Pair;
use super::layout::Layout;
use super::slices::Slice;
use super::stamps;
use super::state::{CaseState, Measure};
use crate::one_a_thread;
use segcal_data::hash::{self, Hash};
use segcal_data::output::{self, OutputFolder};
use segcal_data::{self as data, limits, nifti};

/// Name of the folder.
const FOLDER: &str = "states";

/// The file of an evaluation that is written last and lists the states and tables that belong to it.
pub const SUMMARY: &str = "summary.json";

/// Name of the state file of a case in the folder of an evaluation.
pub fn name_of(layout: Layout, case: &str) -> String {
    layout.file(FOLDER, case, "json")
}

/// Checks that the evaluation in a folder was completed, and that its states are exactly those listed in its
/// `summary.json`, by their SHA-256.
///
/// # Errors
/// There is no summary, or it is malformed; or a state is missing, not listed, or was changed.
pub fn expect_whole(folder: &Path) -> Result<()> {
    #[derive(Deserialize)]
    struct Summary {
        files: Option<BTreeMap<String, String>>,
    }
    let path = folder.join(SUMMARY);
    if !folder.join(FOLDER).is_dir() {
        return list(folder).map(drop);
    }
    if !path.is_file() {
        return Err(Error::new("there is no summary.json: the evaluation was not completed")
            .at(folder.display())
            .help("run the same command with --resume to complete it"));
    }
    let Summary { files } = read_streamed(&path)?;
    // Summaries of earlier versions do not list files.
    let Some(mut files) = files else { return Ok(()) };
    let listed = |state: PathBuf| {
        let name = state.strip_prefix(folder).unwrap_or(&state).to_string_lossy().replace('\\', "/");
        let expected = files.remove(&name).ok_or_else(|| changed("is not of", &path, &state))?;
        Ok((state, expected))
    };
    let listed = list(folder)?.into_iter().map(listed).collect::<Result<Vec<_>>>()?;
    one_a_thread(&listed, |(state, hash)| expect(state, hash, &path).map(drop)).into_iter().collect::<Result<()>>()?;
    match files.keys().find(|name| name.starts_with(FOLDER)) {
        Some(name) => Err(changed("is missing from", &path, &folder.join(name))),
        None => Ok(()),
    }
}

/// Reads a JSON file of any length, without holding its text in memory.
///
/// # Errors
/// It cannot be read, or lacks a field.
pub fn read_streamed<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let read = || serde_json::from_reader(BufReader::new(limits::open(path)?.0)).map_err(Error::from_source);
    read().at(path.display())
}

/// Checks that a state is the one listed in a summary or a record, and returns its bytes.
fn expect(state: &Path, hash: &str, told_by: &Path) -> Result<Vec<u8>> {
    if !state.is_file() {
        return Err(changed("is missing from", told_by, state));
    }
    let bytes = limits::read(state)?;
    if hash::of_bytes(&bytes) == hash { Ok(bytes) } else { Err(changed("was changed after", told_by, state)) }
}

fn changed(what: &str, told_by: &Path, at: &Path) -> Error {
    let error = Error::new(format!("{what} the evaluation of {}", told_by.display())).at(at.display());
    error.help("evaluate the cases again")
}

/// One case, with the settings of its measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// [`SCHEMA`].
    schema: String,
    /// The settings of the measurement.
    pub measure: Measure,
    /// The results.
    pub state: CaseState,
}

/// The format of the files; its number changes with their content.
const SCHEMA: &str = "segcal.state/2";

/// What follows the content of a state: the field with the SHA-256 of the JSON document without this field.
const SEAL: &str = ",\"sha256\":\"";

impl Stored {
    /// A case with the settings of its measurement.
    pub fn new(measure: Measure, state: CaseState) -> Self {
        Self { schema: SCHEMA.into(), measure, state }
    }

    /// Reads the file; numbers are restored bit for bit.
    ///
    /// # Errors
    /// It is missing or malformed, or a state of another version.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&limits::read(path)?).at(path.display())
    }

    /// Reads the file, if it is the one listed in the record of a part.
    ///
    /// # Errors
    /// It is not, or as for [`Stored::read`].
    pub fn read_listed(path: &Path, hash: &str, record: &Path) -> Result<Self> {
        Self::parse(&expect(path, hash, record)?).at(path.display())
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|error| Error::new(format!("is not UTF-8: {error}")))?;
        // If it is of another version, that is the reason for every other error.
        let content = unsealed(text).or_else(|error| expect_version(text).and(Err(error)))?;
        match serde_json::from_str(&content) {
            Ok(Self { schema, measure, state }) if schema == SCHEMA => Ok(Self { schema, measure, state }),
            read => expect_version(text).and_then(|()| read.map_err(Error::from_source)),
        }
    }

    /// Writes the state of a case into the folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, folder: &OutputFolder, layout: Layout) -> Result<()> {
        let text = serde_json::to_string(self).map_err(Error::from_source)?;
        output::write_text(&state_of(folder, layout, &self.state.case)?, &sealed(&text))
    }

    /// Checks that the settings and the files are those of the state.
    fn expect(&self, measure: &Measure, pairs: &BTreeMap<&str, &Pair>) -> Result<()> {
        let state = &self.state;
        let Some(pair) = pairs.get(state.case.as_str()) else {
            return Err(Error::new("belongs to a case that is not in these folders")
                .help("evaluate without --resume, which removes it, or choose another --out"));
        };
        let remedy = "use the same options, or another --out";
        if self.measure != *measure {
            let problem = format!("was measured with different settings ({})", self.measure.differences(measure));
            return Err(Error::new(problem).help(remedy));
        }
        let now = [pair.prediction.first(), &pair.reference].map(located);
        if [&state.prediction, &state.reference] != [&now[0], &now[1]] {
            let problem = format!("was measured from {} and {}", state.prediction, state.reference);
            return Err(Error::new(problem).help(remedy));
        }
        Ok(())
    }
}

/// Checks that a text is not a state of another version.
fn expect_version(text: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        schema: String,
        #[serde(default)]
        measure: Option<IgnoredAny>,
    }
    let head: Head = serde_json::from_str(text).map_err(Error::from_source)?;
    if head.measure.is_none() || head.schema == SCHEMA {
        return Ok(());
    }
    let version = if head.schema.is_empty() { "an earlier segcal" } else { &head.schema };
    Err(Error::new(format!("is a state of {version}, this segcal reads {SCHEMA}"))
        .help("evaluate the case again, without --resume"))
}

/// Appends the hash of a JSON object's text as its last field.
fn sealed(object: &str) -> String {
    let open = object.strip_suffix('}').unwrap_or(object);
    format!("{open}{SEAL}{}\"}}", hash::of_bytes(object.as_bytes()))
}

/// Removes the hash of [`sealed`], after checking it.
fn unsealed(text: &str) -> Result<String> {
    let changed =
        |what: &str| Error::new(what).help("the file was changed or damaged: remove it and evaluate with --resume");
    let (open, seal) = text.rsplit_once(SEAL).ok_or_else(|| changed("the state has no hash"))?;
    let object = format!("{open}}}");
    let hash = hash::of_bytes(object.as_bytes());
    if seal.strip_suffix("\"}").is_some_and(|stored| stored == hash) {
        return Ok(object);
    }
    Err(changed("the state does not match its stored hash"))
}

/// The path of the state of a case.
///
/// # Errors
/// The case's name is not a file name.
pub fn state_of(folder: &OutputFolder, layout: Layout, case: &str) -> Result<PathBuf> {
    folder.file(name_of(layout, case))
}

/// The path of the voxels of a case's slices.
///
/// # Errors
/// The case's name is not a file name.
pub fn slices_of(folder: &OutputFolder, layout: Layout, case: &str) -> Result<PathBuf> {
    folder.file(layout.file(FOLDER, case, "npz"))
}

/// The slices whose voxels are stored beside the state of a case. The rest of the state is not read.
///
/// # Errors
/// The state cannot be read or is malformed.
pub fn slices(folder: &OutputFolder, layout: Layout, case: &str) -> Result<Vec<Slice>> {
    #[derive(Deserialize)]
    struct Document {
        state: State,
    }
    #[derive(Deserialize)]
    struct State {
        slices: Vec<Slice>,
    }
    let path = state_of(folder, layout, case)?;
    let document: Document =
        serde_json::from_slice(&limits::read(&path)?).map_err(Error::from_source).at(path.display())?;
    Ok(document.state.slices)
}

/// The state files of an evaluation, by name.
///
/// # Errors
/// There is no folder of states, or it cannot be read.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, shards) = inside(&folder.join(FOLDER))?;
    for shard in shards {
        found.extend(inside(&shard)?.0);
    }
    found.sort();
    Ok(found)
}

/// The state files directly inside a folder, and the folders that may hold more.
fn inside(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut found, mut shards) = (Vec::new(), Vec::new());
    let entries = fs::read_dir(folder)
        .map_err(|error| Error::from(error).help("give a folder that segcal evaluate wrote"))
        .at(folder.display())?;
    for entry in entries {
        let path = entry.at(folder.display())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if Layout::has_shard(&name) && path.is_dir() {
            shards.push(path);
        } else if !name.starts_with('.') && name.ends_with(".json") {
            // Files that begin with a dot are left over from an interrupted write.
            found.push(path);
        }
    }
    Ok((found, shards))
}

/// Checks the stored states of these cases against their files and settings. Nothing is written.
///
/// # Errors
/// A state is malformed or does not belong to this evaluation.
pub fn expect_own_of(folder: &Path, layout: Layout, pairs: &[Pair], measure: &Measure) -> Result<()> {
    let by_name = pairs.iter().map(|pair| (pair.case.as_str(), pair)).collect();
    let paths = pairs.iter().map(|pair| folder.join(name_of(layout, &pair.case)));
    paths
        .filter(|path| path.is_file())
        .try_for_each(|path| Stored::read(&path)?.expect(measure, &by_name).at(path.display()))
}

/// Checks all states in the folder against the files, settings and cases. Nothing is written. States of cases without a
/// pair are not checked.
///
/// # Errors
/// A state is malformed or does not belong to this evaluation.
pub fn expect_own(folder: &Path, pairs: &[Pair], unpaired: &[(String, Error)], measure: &Measure) -> Result<()> {
    if !folder.join(FOLDER).is_dir() {
        return Ok(());
    }
    let pairs = pairs.iter().map(|pair| (pair.case.as_str(), pair)).collect();
    let unpaired: BTreeSet<&str> = unpaired.iter().map(|(case, _)| case.as_str()).collect();
    for path in list(folder)? {
        let stored = Stored::read(&path)?;
        if !unpaired.contains(stored.state.case.as_str()) {
            stored.expect(measure, &pairs).at(path.display())?;
        }
    }
    Ok(())
}

/// Removes the states of all other cases, and those stored where another layout puts them, so that none is mistaken for
/// a state of this evaluation. Files that are not states are left alone.
///
/// # Errors
/// The folder cannot be read or written.
pub fn keep_only(folder: &OutputFolder, layout: Layout, cases: &BTreeSet<&str>) -> Result<()> {
    if !folder.path().join(FOLDER).is_dir() {
        return Ok(());
    }
    for path in list(folder.path())? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let is_own = cases.contains(&*name) && path == folder.path().join(name_of(layout, &name));
        if !is_own && is_state(&path) {
            remove_file_and_slices(&path)?;
            stamps::remove(folder, layout, &name)?;
        }
    }
    Ok(())
}

/// Whether a file is a state, possibly of another version.
fn is_state(path: &Path) -> bool {
    let document = limits::read_text(path).ok().and_then(|text| serde_json::from_str(&text).ok());
    document.is_some_and(|document: serde_json::Value| ["measure", "state"].iter().all(|key| document[key].is_object()))
}

/// Removes everything stored for a case.
///
/// # Errors
/// The folder cannot be written.
pub fn remove(folder: &OutputFolder, layout: Layout, case: &str) -> Result<()> {
    remove_file_and_slices(&state_of(folder, layout, case)?)?;
    stamps::remove(folder, layout, case)
}

fn remove_file_and_slices(state: &Path) -> Result<()> {
    // The state implies that the slices exist, so it is removed first.
    output::remove_file(state)?;
    output::remove_file(&state.with_extension("npz"))
}

/// The canonical path of a file: its own name in the resolved path of its folder.
pub fn located(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let real = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    real.join(path.file_name().unwrap_or_default()).display().to_string()
}

/// SHA-256 of each file of a case: prediction, reference and image.
///
/// # Errors
/// A file cannot be read.
pub fn checksums(pair: &Pair) -> Result<Vec<String>> {
    let files = pair.prediction.all().iter().chain(pair.references()).chain(&pair.image);
    files.map(|path| checksum(path)).collect()
}

/// The checksum of a file. For a pair of header and data file, it covers both.
fn checksum(path: &Path) -> Result<String> {
    let mut hash = Hash::default();
    hash.file(path)?;
    if matches!(data::ending(path), Some(".hdr" | ".hdr.gz")) {
        hash.file(&nifti::image_of(path)?)?;
    }
    Ok(hash.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_name_however_it_is_spelled() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().canonicalize().unwrap();
        fs::create_dir(folder.join("p")).unwrap();
        let expected = folder.join("p/a.nii").display().to_string();
        for spelled in ["p/a.nii", "./p/a.nii", "p/../p/a.nii", "p/./a.nii"] {
            assert_eq!(located(&root.path().join(spelled)), expected);
        }
    }

    #[test]
    fn files_that_are_no_states_stay() {
        let root = tempfile::tempdir().unwrap();
        let folder = OutputFolder::create(root.path()).unwrap();
        for (name, text) in
            [("a.json", r#"{"measure": {}, "state": {}}"#), ("b.json", r#"{"other": 1}"#), ("c.json", "")]
        {
            fs::write(folder.file(Path::new(FOLDER).join(name)).unwrap(), text).unwrap();
        }
        keep_only(&folder, Layout::of(3), &BTreeSet::from(["a"])).unwrap();
        assert_eq!(list(root.path()).unwrap().len(), 3);
        keep_only(&folder, Layout::of(3), &BTreeSet::new()).unwrap();
        let left: Vec<_> = list(root.path()).unwrap().iter().map(|path| path.file_stem().unwrap().to_owned()).collect();
        assert_eq!(left, ["b", "c"]);
    }

    #[test]
    fn states_of_very_many_cases_lie_in_folders_of_their_own() {
        let root = tempfile::tempdir().unwrap();
        let folder = OutputFolder::create(root.path()).unwrap();
        let (few, many) = (Layout::of(10_000), Layout::of(10_001));
        for (layout, case) in [(few, "a"), (many, "a"), (many, "b")] {
            fs::write(state_of(&folder, layout, case).unwrap(), r#"{"measure": {}, "state": {}}"#).unwrap();
        }
        assert_eq!(list(root.path()).unwrap().len(), 3);
        keep_only(&folder, many, &BTreeSet::from(["a", "b"])).unwrap();
        assert_eq!(
            list(root.path()).unwrap(),
            [root.path().join("states/3e/b.json"), root.path().join("states/ca/a.json")]
        );
    }

    #[test]
    fn a_pair_of_header_and_data_is_one_file() {
        let root = tempfile::tempdir().unwrap();
        let [header, data] = ["a.hdr", "a.img"].map(|name| root.path().join(name));
        fs::write(&header, "header").unwrap();
        assert!(checksum(&header).is_err());
        fs::write(&data, "data").unwrap();
        let first = checksum(&header).unwrap();
        assert_eq!(first.len(), 64);
        fs::write(&data, "other").unwrap();
        assert_ne!(checksum(&header).unwrap(), first);
    }
}
