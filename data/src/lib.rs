//! Volumes, arrays, images and data sets: what is read and written.
//!
//! The one convention for arrays in memory is that of [`volume`]. Every reader here answers a malformed file with an
//! error that names the file and the field; none panics, hangs, or takes more memory than the file's size can justify
//! (see [`limits`]).
//!
//! ```
//! use segcal_data::{Grid, Volume, nifti};
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("scan.nii.gz");
//! // 2 slices of 3 rows of 4 voxels of 1 x 1 x 5 mm, the first axis to the patient's right: [channels, d, h, w].
//! let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]];
//! let scan = Volume::new((0..24_u8).map(f32::from).collect(), 1, Grid::new([2, 3, 4], affine, 1)?);
//! nifti::write(&path, &scan)?;
//! let read = segcal_data::read_image(&path)?;
//! assert_eq!((read.grid.spacing_mm(), read.data[[0, 1, 0, 0]]), ([5.0, 1.0, 1.0], 12.0));
//! # Ok::<(), segcal_core::Error>(())
//! ```
//!
//! [`Dataset`] finds the cases of a folder, [`prepare`] brings published data sets into its layout, [`phantom`] makes one
//! whose true posterior is known. An [`Observer`] follows long work.

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

/// The file endings that hold an image or a label map, longest first.
pub const ENDINGS: [&str; 9] = [".nii.gz", ".hdr.gz", ".nii", ".hdr", ".png", ".mha", ".mhd", ".nrrd", ".nhdr"];

/// The ending of an image file, one of [`ENDINGS`].
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

/// How a file is read, by the ending of its name.
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

/// The name of the case that a file is called after: without its [`ending`], as [`names::without_ending`] has it.
pub fn case_name(path: &Path) -> Option<String> {
    names::without_ending(path, &ENDINGS)
}

/// What is to be done with a folder for each case that holds one file for each class, as TotalSegmentator writes it.
pub const ONE_FILE_A_CASE: &str = "give one label map for each case (TotalSegmentator writes it with --ml), or one file a class \
                                   as CASE_0 (background), CASE_1 …";

/// The first folder of a case in `root` that holds one file for each class, named after the classes: several volumes that
/// lie in it, or in its folder `segmentations`. None where there is no such folder.
pub fn folder_of_classes(root: &Path) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(root).ok()?.flatten().map(|entry| entry.path());
    let several = |folder: &std::path::PathBuf| {
        let inside = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        inside.filter(|path| path.is_file() && !names::is_hidden(path) && ending(path).is_some()).count() > 1
    };
    let folders = entries.filter(|path| path.is_dir() && !names::is_hidden(path));
    folders.filter_map(|case| [case.join("segmentations"), case].into_iter().find(several)).min()
}

/// Reads an image, by the ending of its name: NIfTI, PNG, MetaImage or NRRD. Channels come first; PNG is turned to grey.
///
/// # Errors
/// The ending is unknown, or the file is malformed.
pub fn read_image(path: &Path) -> Result<Volume<f32>> {
    match Format::of(path)? {
        Format::Png => png::read_image(path),
        Format::Text => formats::read_image(path),
        Format::Nifti => nifti::read_image(path),
    }
}

/// As [`read_image`] and then [`Volume::reoriented`]; without a second copy where the format allows it.
///
/// # Errors
/// As [`read_image`].
pub fn read_image_along(path: &Path, axes: Axes) -> Result<Volume<f32>> {
    match Format::of(path)? {
        Format::Nifti => nifti::read_image_along(path, axes),
        _ => read_image(path).map(|volume| if volume.grid.axes() == axes { volume } else { volume.reoriented(axes) }),
    }
}

/// Reads a label map, by the ending of its name: NIfTI, PNG (whose palette index or grey value is the label), MetaImage or
/// NRRD.
///
/// # Errors
/// The ending is unknown, the file is malformed, or it holds a value that is not a label.
pub fn read_labels(path: &Path) -> Result<Volume<i32>> {
    match Format::of(path)? {
        Format::Png => png::read_labels(path),
        Format::Text => formats::read_labels(path),
        Format::Nifti => nifti::read_labels(path),
    }
}

/// Where the voxels of an image lie, and its number of channels; of all formats but PNG from the header alone.
///
/// # Errors
/// As [`read_image`].
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

/// Both sizes of a voxel, where the header of a NIfTI file gives two; none for other files and those that cannot be read.
pub fn spacing_doubt(path: &Path) -> Option<SpacingDoubt> {
    match Format::of(path) {
        Ok(Format::Nifti) => nifti::read_header(path).ok()?.spacing_doubt(),
        _ => None,
    }
}

/// The grid of an image whose voxels are as large as `from` says, where its header gives two sizes.
///
/// # Errors
/// As [`read_image`].
pub fn grid_from(path: &Path, from: SpacingFrom, grid: Grid) -> Result<Grid> {
    match (Format::of(path)?, from) {
        (Format::Nifti, SpacingFrom::Pixdim) => nifti::read_header(path)?.grid_from(from).at(path.display()),
        _ => Ok(grid),
    }
}

/// Writes a volume, by the ending of the name: `.nii`, `.nii.gz`, `.mha` or `.nrrd`.
///
/// # Errors
/// The ending is another one, or the file cannot be written.
pub fn write<T: number::ToFile>(path: &Path, volume: &Volume<T>) -> Result<()> {
    if formats::is_known(path) { formats::write(path, volume) } else { nifti::write(path, volume) }
}

/// The error of a name with another ending than [`ENDINGS`] and those that are known `also`.
pub fn unknown_ending(path: &Path, also: &str) -> Error {
    let name = path.to_string_lossy().to_ascii_lowercase();
    let half = name.trim_end_matches(".gz").strip_suffix(".img").is_some();
    let remedy =
        if half { "name the .hdr of the pair".into() } else { format!("known are {}{also}", ENDINGS.join(" ")) };
    Error::new("unrecognised file extension").at(path.display()).help(remedy)
}
