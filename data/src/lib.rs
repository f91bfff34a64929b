//! Reads and writes volumes, arrays, images and data sets.
//!
//! Arrays in memory follow the convention described in [`volume`]. For a malformed file, every reader returns an error
//! that names the file and the field; none panics, hangs, or uses more memory than the size of the file can justify
//! (see [`limits`]).
//!
//! ```
//! use segcal_data::{Grid, Volume, nifti};
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("scan.nii.gz");
//! // 2 slices of 3 rows of 4 voxels of 1 x 1 x 5 mm; x points to the patient's right. Arrays are [channels, d, h, w].
//! let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]];
//! let scan = Volume::new((0..24_u8).map(f32::from).collect(), 1, Grid::new([2, 3, 4], affine, 1)?);
//! nifti::write(&path, &scan)?;
//! let read = segcal_data::read_image(&path)?;
//! assert_eq!((read.grid.spacing_mm(), read.data[[0, 1, 0, 0]]), ([5.0, 1.0, 1.0], 12.0));
//! # Ok::<(), segcal_core::Error>(())
//! ```
//!
//! [`Dataset`] finds the cases in a folder, [`prepare`] converts published data sets to its layout, and [`phantom`]
//! generates a data set whose true posterior is known. An [`Observer`] follows long-running work.

pub mod checkpoint;
pub mod config;
pub mod convert;
pub mod dataset;
mod failure;
pub mod formats;
mod gzip;
pub mod hash;
pub mod limits;
mod lock;
pub mod made;
pub mod names;
pub mod nifti;
pub mod npy;
pub mod number;
pub mod observer;
pub mod orientation;
pub mod output;
pub mod part;
pub mod phantom;
pub mod png;
pub mod prepare;
mod properties;
pub mod resample;
mod scatter;
pub mod volume;
pub mod xml;

use std::path::Path;

use segcal_core::{Context, Error, Result};

pub use dataset::{Case, Dataset};
pub use nifti::{SpacingDoubt, SpacingFrom};
pub use observer::Observer;
pub use orientation::Axes;
pub use volume::{Grid, Volume};

/// The file extensions of images and label maps, longest first.
pub const ENDINGS: [&str; 9] = [".nii.gz", ".hdr.gz", ".nii", ".hdr", ".png", ".mha", ".mhd", ".nrrd", ".nhdr"];

/// The extension of an image file, one of [`ENDINGS`].
pub fn ending(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
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

/// How a file is read, by its extension.
enum Format {
    Nifti,
    Png,
    /// MetaImage or NRRD.
    Text,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        match ending(path) {
            Some(".png") => Ok(Self::Png),
            Some(ending) if formats::ENDINGS.contains(&ending) => Ok(Self::Text),
            Some(_) => Ok(Self::Nifti),
            None => Err(unknown_ending(path, "")),
        }
    }
}

/// The name of the case that a file belongs to: the file name without its [`ending`]; see [`names::without_ending`].
pub fn case_name(path: &Path) -> Option<String> {
    names::without_ending(path, &ENDINGS)
}

/// The remedy for one folder per case with one file per class, as TotalSegmentator writes them.
pub const ONE_FILE_A_CASE: &str = "give one label map per case (TotalSegmentator --ml writes it), or one file per \
                                   class named CASE_0 (background), CASE_1 …";

/// The first case folder in `root` that contains one file per class, named after the classes: several volumes directly
/// in it, or in its subfolder `segmentations`. `None` if there is no such folder.
pub fn folder_of_classes(root: &Path) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(root).ok()?.flatten().map(|entry| entry.path());
    let several = |folder: &std::path::PathBuf| {
        let inside = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        inside.filter(|path| path.is_file() && !names::is_hidden(path) && ending(path).is_some()).count() > 1
    };
    let folders = entries.filter(|path| path.is_dir() && !names::is_hidden(path));
    folders.filter_map(|case| [case.join("segmentations"), case].into_iter().find(several)).min()
}

/// Reads an image; its extension decides the format: NIfTI, PNG, MetaImage or NRRD. Channels come first; PNG is
/// converted to grey.
///
/// # Errors
/// The extension is unknown, or the file is malformed.
pub fn read_image(path: &Path) -> Result<Volume<f32>> {
    match Format::of(path)? {
        Format::Png => png::read_image(path),
        Format::Text => formats::read_image(path),
        Format::Nifti => nifti::read_image(path),
    }
}

/// Equivalent to [`read_image`] followed by [`Volume::reoriented`], without a second copy where the format allows it.
///
/// # Errors
/// Those of [`read_image`].
pub fn read_image_along(path: &Path, axes: Axes) -> Result<Volume<f32>> {
    match Format::of(path)? {
        Format::Nifti => nifti::read_image_along(path, axes),
        _ => read_image(path).map(|volume| if volume.grid.axes() == axes { volume } else { volume.reoriented(axes) }),
    }
}

/// Reads a label map; its extension decides the format: NIfTI, PNG (the palette index or grey value is the label),
/// MetaImage or NRRD.
///
/// # Errors
/// The extension is unknown, the file is malformed, or it contains a value that is not a label.
pub fn read_labels(path: &Path) -> Result<Volume<i32>> {
    match Format::of(path)? {
        Format::Png => png::read_labels(path),
        Format::Text => formats::read_labels(path),
        Format::Nifti => nifti::read_labels(path),
    }
}

/// The grid of an image and its number of channels, from the header only (except for PNG, which is decoded).
///
/// # Errors
/// Those of [`read_image`].
pub fn read_grid(path: &Path) -> Result<(Grid, usize)> {
    match Format::of(path)? {
        Format::Png => png::read_image(path).map(|image| (image.grid, 1)),
        Format::Text => formats::read_header(path).map(|(grid, channels, _)| (grid, channels)),
        Format::Nifti => {
            let header = nifti::read_header(path)?;
            Ok((header.grid().at(path.display())?, header.extent().1))
        }
    }
}

/// The two voxel sizes of a NIfTI file whose header contradicts itself; `None` for other files and for files that
/// cannot be read.
pub fn spacing_doubt(path: &Path) -> Option<SpacingDoubt> {
    match Format::of(path) {
        Ok(Format::Nifti) => nifti::read_header(path).ok()?.spacing_doubt(),
        _ => None,
    }
}

/// The grid of an image; if its header gives two voxel sizes, `from` decides which is used.
///
/// # Errors
/// Those of [`read_image`].
pub fn grid_from(path: &Path, from: SpacingFrom, grid: Grid) -> Result<Grid> {
    match (Format::of(path)?, from) {
        (Format::Nifti, SpacingFrom::Pixdim) => nifti::read_header(path)?.grid_from(from).at(path.display()),
        _ => Ok(grid),
    }
}

/// Writes a volume; the extension decides the format: `.nii`, `.nii.gz`, `.mha` or `.nrrd`.
///
/// # Errors
/// The extension is not one of these, or the file cannot be written.
pub fn write<T: number::ToFile>(path: &Path, volume: &Volume<T>) -> Result<()> {
    if formats::is_known(path) { formats::write(path, volume) } else { nifti::write(path, volume) }
}

/// The error for a file whose extension is neither in [`ENDINGS`] nor in `also`.
pub fn unknown_ending(path: &Path, also: &str) -> Error {
    let name = path.to_string_lossy().to_ascii_lowercase();
    let half = name.trim_end_matches(".gz").strip_suffix(".img").is_some();
    let remedy = if half {
        "give the .hdr file of the pair".into()
    } else {
        format!("expected one of {}{also}", ENDINGS.join(" "))
    };
    Error::new("unrecognised file extension").at(path.display()).help(remedy)
}
