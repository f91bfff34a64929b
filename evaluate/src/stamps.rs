//! File metadata of a measured case, `stamps/CASE.json`. As long as the metadata is the same, the files are known to be
//! unchanged without reading them. Stamps are not results: they are valid on one machine only, and may be deleted.

use std::path::{Path, PathBuf};

use segcal_core::{Error, Result};
use segcal_data::output::{self, OutputFolder};
use segcal_data::{self as data, limits, nifti};
use serde::{Deserialize, Serialize};

use super::inputs::Pair;
use super::layout::Layout;

/// Size in bytes, the times of the last change of content (mtime) and of anything (ctime) in seconds and nanoseconds,
/// and the inode.
pub type Stamp = (u64, [i64; 2], [i64; 2], u64);

/// The stamps of the files of a case, and their checksums.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamps {
    files: Vec<Stamp>,
    checksums: Vec<String>,
}

/// The stamps of the files of a case that is about to be read; `None` if the system provides none, or if a file changed
/// so recently that another change could have the same time.
pub fn of(pair: &Pair) -> Option<Vec<Stamp>> {
    files(pair).iter().map(|path| stamp(path)).collect()
}

/// Every file of a case.
fn files(pair: &Pair) -> Vec<PathBuf> {
    let named = pair.prediction.all().iter().chain(pair.references()).chain(&pair.image);
    let with_data = |path: &PathBuf| {
        let is_pair = matches!(data::ending(path), Some(".hdr" | ".hdr.gz"));
        let data = if is_pair { nifti::image_of(path).ok() } else { None };
        std::iter::once(path.clone()).chain(data)
    };
    named.flat_map(with_data).collect()
}

#[cfg(unix)]
fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    use std::time::{SystemTime, UNIX_EPOCH};
    const RECENT: i64 = 1;
    let file = path.metadata().ok()?;
    let (content, any) = ([file.mtime(), file.mtime_nsec()], [file.ctime(), file.ctime_nsec()]);
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    (content[0].max(any[0]) < now - RECENT).then(|| (file.size(), content, any, file.ino()))
}

#[cfg(not(unix))]
fn stamp(_: &Path) -> Option<Stamp> {
    None
}

/// Whether, judging by their stamps, the files of a case still have these checksums.
pub fn stand(folder: &OutputFolder, layout: Layout, pair: &Pair, checksums: &[String]) -> bool {
    let stored = limits::read_text(&folder.path().join(name(layout, &pair.case))).ok();
    let stored: Option<Stamps> = stored.and_then(|text| serde_json::from_str(&text).ok());
    stored.is_some_and(|stored| stored.checksums == checksums && of(pair).is_some_and(|now| now == stored.files))
}

/// Stores the stamps of files that have these checksums.
///
/// # Errors
/// The folder cannot be written.
pub fn note(
    folder: &OutputFolder,
    (layout, case): (Layout, &str),
    stamps: Option<Vec<Stamp>>,
    checksums: &[String],
) -> Result<()> {
    let Some(files) = stamps else { return remove(folder, layout, case) };
    let stamps = Stamps { files, checksums: checksums.to_vec() };
    let text = serde_json::to_string(&stamps).map_err(Error::from_source)?;
    output::write_text(&folder.file(name(layout, case))?, &text)
}

/// Removes the stamps of a case, if there are any.
///
/// # Errors
/// The folder cannot be written.
pub fn remove(folder: &OutputFolder, layout: Layout, case: &str) -> Result<()> {
    output::remove_file(&folder.path().join(name(layout, case)))
}

fn name(layout: Layout, case: &str) -> String {
    layout.file("stamps", case, "json")
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::inputs::Files;

    #[test]
    fn a_file_is_known_until_anything_about_it_changes() {
        let root = tempfile::tempdir().unwrap();
        let [prediction, reference] = ["p.npy", "y.npy"].map(|name| root.path().join(name));
        fs::write(&prediction, "abc").unwrap();
        fs::write(&reference, "abc").unwrap();
        let (case, masks, image) = ("a".to_owned(), None, None);
        let pair = Pair { case, prediction: Files::One(prediction.clone()), reference, masks, image };
        assert_eq!(of(&pair), None, "too new to tell from a change");
        std::thread::sleep(Duration::from_millis(2100));
        let (folder, few) = (OutputFolder::create(root.path().join("out")).unwrap(), Layout::of(1));
        // Stamps count for their checksums, whatever these are: no file is read.
        let sums = ["of the prediction".to_owned(), "of the reference".to_owned()];
        note(&folder, (few, "a"), of(&pair), &sums).unwrap();
        assert!(stand(&folder, few, &pair, &sums));
        assert!(!stand(&folder, few, &pair, &sums[..1]));
        fs::write(&prediction, "abd").unwrap();
        std::thread::sleep(Duration::from_millis(2100));
        assert!(!stand(&folder, few, &pair, &sums), "the same size, another time");
        note(&folder, (few, "a"), of(&pair), &sums).unwrap();
        assert!(stand(&folder, few, &pair, &sums));
        remove(&folder, few, "a").unwrap();
        assert!(!stand(&folder, few, &pair, &sums));
    }
}
