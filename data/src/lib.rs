//! Volumes, arrays, images and data sets: what is read and written.
//!
//! The one convention for arrays in memory is that of [`volume`]. Every reader here answers a malformed file with an
//! error that names the file and the field; none panics, hangs, or takes more memory than the file's size can justify
//! (see [`limits`]).

pub mod config;
pub mod dataset;
mod gzip;
pub mod hash;
pub mod limits;
pub mod nifti;
pub mod npy;
pub mod number;
pub mod observer;
pub mod orientation;
pub mod output;
pub mod phantom;
pub mod png;
pub mod prepare;
mod scatter;
pub mod volume;

use std::path::Path;

use segcal_core::{Error, Result};

pub use dataset::{Case, Dataset};
pub use observer::Observer;
pub use orientation::Axes;
pub use volume::{Grid, Volume};

/// The file endings that hold an image or a label map, longest first.
pub const ENDINGS: [&str; 5] = [".nii.gz", ".hdr.gz", ".nii", ".hdr", ".png"];

/// The ending of an image file, one of [`ENDINGS`].
pub fn ending(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    ENDINGS.into_iter().find(|ending| name.ends_with(ending) && name.len() > ending.len())
}

/// The file name without its [`ending`].
///
/// ```
/// assert_eq!(segcal_data::stem("scans/a.v1.nii.gz".as_ref()), Some("a.v1"));
/// ```
pub fn stem(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    Some(&name[..name.len() - ending(path)?.len()])
}

/// Reads an image, by the ending of its name: NIfTI or PNG. Channels come first; PNG is turned to grey.
///
/// # Errors
/// The ending is unknown, or the file is malformed.
pub fn read_image(path: &Path) -> Result<Volume<f32>> {
    match ending(path) {
        Some(".png") => png::read_image(path),
        Some(_) => nifti::read_image(path),
        None => Err(unknown_ending(path, "")),
    }
}

/// Reads a label map, by the ending of its name: NIfTI or PNG (whose palette index or grey value is the label).
///
/// # Errors
/// The ending is unknown, the file is malformed, or it holds a value that is no label.
pub fn read_labels(path: &Path) -> Result<Volume<i32>> {
    match ending(path) {
        Some(".png") => png::read_labels(path),
        Some(_) => nifti::read_labels(path),
        None => Err(unknown_ending(path, "")),
    }
}

/// The error of a name with another ending than [`ENDINGS`] and those that are known `also`.
pub fn unknown_ending(path: &Path, also: &str) -> Error {
    let name = path.to_string_lossy().to_ascii_lowercase();
    let half = name.trim_end_matches(".gz").strip_suffix(".img").is_some();
    let remedy =
        if half { "name the .hdr of the pair".into() } else { format!("known are {}{also}", ENDINGS.join(" ")) };
    Error::new("the ending of the name is none that is known here").at(path.display()).help(remedy)
}
