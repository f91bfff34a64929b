//! From data sets as they are published to the layout of nnU-Net: which scans there are, what their labels mean, which
//! part each person belongs to, and on which grid the papers worked.
//!
//! A [`Recipe`] knows one layout on disk. It finds scans and says what the papers say about classes, sizes and splits;
//! reading, relabelling, resizing, dividing and writing are the same for all. To add one, write `recipes/<name>.rs` and
//! a line in [`RECIPES`].

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
    /// What it shows.
    pub title: &'static str,
    /// What is expected on disk.
    pub layout: &'static str,
    /// Where split and size come from.
    pub source: &'static str,
    /// Voxels along `[d, h, w]` that are cut out about the middle of the structures; 0 keeps an axis as it is.
    pub crop: [usize; 3],
    /// Voxels along `[d, h, w]` that scans are resized to then; 0 keeps an axis as it is.
    pub size: [usize; 3],
    /// Patients to train on, to validate on and to test on.
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

/// What only some layouts leave open.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Endings of the names of images (BIDS suffixes), one for each channel.
    pub images: Vec<String>,
    /// Endings of the names of labels, one for each structure.
    pub labels: Vec<String>,
}

impl Choices {
    /// Refuses choices where there is none.
    ///
    /// # Errors
    /// Something was chosen.
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
    /// The part of each scan, in their order, where the data set itself divides them.
    pub parts: Option<Vec<Part>>,
}

impl Cohort {
    /// A cohort whose channels and classes are known beforehand.
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
    /// Whom it shows: scans of one person stay in one part.
    pub subject: String,
    /// One file for each channel, or one file with all.
    pub images: Vec<PathBuf>,
    /// The label.
    pub label: Label,
    /// Size of a pixel `[y, x]` in mm, where the image itself does not say.
    pub pixel_mm: Option<[f64; 2]>,
}

impl Scan {
    /// A scan whose files say where they lie. Signs that are awkward in file names become `_`.
    pub fn new(name: &str, subject: &str, images: Vec<PathBuf>, label: Label) -> Self {
        Self { name: tree::plain(name), subject: subject.into(), images, label, pixel_mm: None }
    }
}

/// How the structures of a scan are stored.
#[derive(Debug)]
pub enum Label {
    /// Not at all.
    Unknown,
    /// A map of numbers. Each pair says which number becomes which class; the other numbers stay.
    Map(PathBuf, &'static [(i32, i32)]),
    /// Masks for each structure from class 1 on: what lies above half the largest value of a mask belongs to it.
    Masks(Vec<Vec<PathBuf>>),
}
