//! Converts published data sets to the layout of nnU-Net: finds the scans, maps their labels to classes, assigns
//! patients to splits, and resamples to the grid that the papers used.
//!
//! A [`Recipe`] knows one layout on disk. It finds the scans and gives the classes, sizes and splits of the papers;
//! reading, relabelling, resizing, splitting and writing are the same for all. To add one, write `recipes/<name>.rs`
//! and add a line to [`RECIPES`].

mod frame;
mod job;
mod recipes;
mod sources;
pub mod split;
pub mod tree;
pub mod volumes;

use std::path::{Path, PathBuf};

use segcal_core::{Error, Result};

pub use frame::Frame;
pub use job::{Prepared, Request, prepare};
pub use split::{Folds, Part};

/// How a published data set is read.
pub struct Recipe {
    /// Its name on the command line.
    pub name: &'static str,
    /// What the images show.
    pub title: &'static str,
    /// The expected layout on disk.
    pub layout: &'static str,
    /// The source of the split and size.
    pub source: &'static str,
    /// Voxels along `[d, h, w]` to crop around the centre of the structures; 0 leaves an axis unchanged.
    pub crop: [usize; 3],
    /// Voxels along `[d, h, w]` that scans are then resized to; 0 leaves an axis unchanged.
    pub size: [usize; 3],
    /// Number of training, validation and test patients.
    pub split: [usize; 3],
    /// Finds the scans.
    pub find: fn(&Path, &Choices) -> Result<Cohort>,
}

/// Every recipe.
pub static RECIPES: &[Recipe] = &[
    recipes::acdc::RECIPE,
    recipes::bids::RECIPE,
    recipes::brats::RECIPE,
    recipes::busi::RECIPE,
    recipes::flare::RECIPE,
    recipes::la::RECIPE,
    recipes::mrbrains::RECIPE,
    recipes::msd::RECIPE,
    recipes::promise::RECIPE,
    recipes::wmh::RECIPE,
];

/// Choices that only some layouts need.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Name endings of the images (BIDS suffixes), one per channel.
    pub images: Vec<String>,
    /// Name endings of the labels, one per structure.
    pub labels: Vec<String>,
}

impl Choices {
    /// Returns an error if a choice was made for a layout that has none.
    ///
    /// # Errors
    /// A choice was made.
    pub fn expect_none(&self) -> Result<()> {
        if self.images.is_empty() && self.labels.is_empty() {
            return Ok(());
        }
        let option = if self.images.is_empty() { "--labels" } else { "--images" };
        Err(Error::new("only applies to --as bids").at(option).help("leave the option out"))
    }
}

/// The scans of a data set.
#[derive(Debug, Default)]
pub struct Cohort {
    /// Name of the data set.
    pub name: String,
    /// Names of the channels.
    pub channels: Vec<String>,
    /// Names of the classes; the index is the label, 0 the background.
    pub classes: Vec<String>,
    /// The ignore label (that of voxels without annotation), if there is one.
    pub ignore_label: Option<i32>,
    /// The scans.
    pub scans: Vec<Scan>,
    /// The part of each scan, in the order of `scans`, if the data set itself defines a split.
    pub parts: Option<Vec<Part>>,
}

impl Cohort {
    /// Creates a cohort whose channels and classes are known in advance.
    pub fn new(name: &str, channels: &[&str], classes: &[&str], scans: Vec<Scan>) -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self { name: name.into(), channels: owned(channels), classes: owned(classes), scans, ..Self::default() }
    }
}

/// One image with its label.
#[derive(Debug)]
pub struct Scan {
    /// Name of the case.
    pub name: String,
    /// The patient: all scans of one patient stay in one part.
    pub subject: String,
    /// One file per channel, or one file with all channels.
    pub images: Vec<PathBuf>,
    /// The label.
    pub label: Label,
    /// Pixel size `[y, x]` in mm, if the image itself does not give it.
    pub pixel_mm: Option<[f64; 2]>,
}

impl Scan {
    /// Creates a scan whose files give their own position in space. Characters that are awkward in file names become
    /// `_`.
    pub fn new(name: &str, subject: &str, images: Vec<PathBuf>, label: Label) -> Self {
        Self { name: tree::plain(name), subject: subject.into(), images, label, pixel_mm: None }
    }
}

/// How the labels of a scan are stored.
#[derive(Debug)]
pub enum Label {
    /// There are none.
    Unknown,
    /// A label map. Each pair maps a stored number to a class; the other numbers are unchanged.
    Map(PathBuf, &'static [(i32, i32)]),
    /// The masks of each structure, from class 1 on: voxels above half of a mask's largest value belong to the
    /// structure.
    Masks(Vec<Vec<PathBuf>>),
}
