//! Volumes ready for the network: read, cropped, normalised, resampled and checked against their labels.

use std::path::PathBuf;

use segcal_core::{Context, Error, Result};

use super::frame::Frame;
use super::normalise::normalise;
use super::settings::Input;
use segcal_data::{self as data, Case, Grid, Volume};

/// A volume ready for the network, with its label.
pub struct Prepared {
    /// Name of the case.
    pub name: String,
    /// Normalised image, `[channels, d, h, w]`.
    pub image: Volume<f32>,
    /// Classes, one channel; 0 everywhere if the case has no label.
    pub label: Volume<i32>,
}

impl Prepared {
    /// Whether the trainer can use the case.
    ///
    /// # Errors
    /// Image and label lie on different grids, a label is not one of `classes`, or an intensity is not finite.
    pub(super) fn check(&self, classes: &Classes) -> Result<()> {
        self.image.grid.expect_same("the image", &self.label.grid, "the label").at(&self.name)?;
        if let Some(bad) = self.image.values().iter().find(|x| !x.is_finite()) {
            return Err(Error::new(format!("the image holds the value {bad}")).at(&self.name));
        }
        classes.expect(&self.label).at(&self.name)
    }
}

/// An image ready for the network, and how it relates to the image of the file.
pub struct Ready {
    /// `[channels, d, h, w]` on the frame's grid.
    pub image: Volume<f32>,
    /// Maps the file's grid to that of the image, and back.
    pub frame: Frame,
}

impl Ready {
    /// Crops, normalises and resamples an image.
    fn of(image: Volume<f32>, input: &Input) -> Result<Self> {
        let frame = Frame::of(&image, input)?;
        let mut image = frame.cut(image)?;
        let extent = image.grid.extent;
        normalise(image.data.as_slice_mut().expect("volumes are in standard layout"), extent, input)?;
        Ok(Self { image: frame.resampled(image)?, frame })
    }
}

/// Reads and prepares one image.
///
/// # Errors
/// As [`read_channels`]; the settings name fewer channels, or request a voxel size for an image that has none.
pub fn prepare_image(case: &Case, input: &Input) -> Result<Ready> {
    Ready::of(read_channels(case)?, input)
}

/// Reads one image as stored: its channels, checked to lie on one grid.
///
/// # Errors
/// A file is malformed, contains NaN or infinity, or the channels lie on different grids.
pub fn read_channels(case: &Case) -> Result<Volume<f32>> {
    let mut values = Vec::new();
    let mut first: Option<(Grid, &PathBuf)> = None;
    let mut channels = 0;
    for path in &case.images {
        let volume = case.read_image(path)?;
        if let Some(bad) = volume.values().iter().find(|x| !x.is_finite()) {
            return Err(Error::new(format!("holds the value {bad}"))
                .at(path.display())
                .help("replace NaN and infinity in the image before training or predicting"));
        }
        match &first {
            None => first = Some((volume.grid.clone(), path)),
            Some((grid, other)) => grid.expect_same("the first channel", &volume.grid, "this one").at(format!(
                "{} and {}",
                other.display(),
                path.display()
            ))?,
        }
        channels += volume.channels();
        values.append(&mut volume.data.into_raw_vec_and_offset().0);
    }
    let Some((grid, _)) = first else { return Err(Error::new("the case has no image")) };
    Ok(Volume::new(values, channels, grid))
}

/// Refuses an image whose number of channels is not that of the network's input.
pub(super) fn expect_channels(image: &Volume<f32>, taken: usize) -> Result<()> {
    if image.channels() == taken {
        return Ok(());
    }
    let problem = format!("the image has {} channels, but the network takes {taken}", image.channels());
    Err(Error::new(problem)
        .help("a fourth axis of a file, such as time, counts as channels: give one file per channel"))
}

/// The same for an image in memory, `[channels, d, h, w]`.
///
/// # Errors
/// An intensity is not finite.
pub fn prepare_volume(mut image: Volume<f32>, input: &Input) -> Result<Ready> {
    let grid = image.grid.clone();
    let extent = image.data.shape();
    if extent[1..] != grid.extent {
        let problem = format!("an image of shape {extent:?} does not fit a grid of {:?} voxels", grid.extent);
        return Err(Error::new(problem).help("give [channels, d, h, w]"));
    }
    if !image.data.is_standard_layout() {
        image.data = image.data.as_standard_layout().into_owned();
    }
    if let Some(bad) = image.values().iter().find(|x| !x.is_finite()) {
        return Err(Error::new(format!("the image holds the value {bad}")).help("replace NaN and infinity first"));
    }
    Ready::of(image, input)
}

/// Reads a labelled case.
///
/// # Errors
/// Those of [`prepare_image`]; there is no label, it lies on another grid, or it contains a value that is neither a
/// class of `classes` nor the ignore label.
pub fn prepare(case: &Case, input: &Input, classes: &Classes) -> Result<Prepared> {
    let Ready { image, frame } = prepare_image(case, input).at(&case.name)?;
    let path = case.label.as_ref().ok_or_else(|| Error::new("has no label").at(&case.name))?;
    let label = data::read_labels(path)?;
    if label.channels() != 1 {
        let problem = format!("holds {} volumes where a label map has one", label.channels());
        return Err(Error::new(problem).at(path.display()).help("give the volume that belongs to the image"));
    }
    frame.whole.expect_same("the image", &label.grid, "the label").at(path.display()).at(&case.name)?;
    classes.expect(&label).at(path.display())?;
    let label = frame.label(label)?;
    Ok(Prepared { name: case.name.clone(), image, label })
}

/// The valid labels of a data set.
#[derive(Clone, Copy, Debug)]
pub struct Classes {
    /// Number of classes, including the background.
    pub count: usize,
    /// The ignore label.
    pub ignored: Option<i32>,
}

impl Classes {
    /// Refuses a label that is neither a class nor the ignore label.
    fn expect(&self, label: &Volume<i32>) -> Result<()> {
        let Some(bad) = label.values().iter().find(|&&label| !self.holds(label)) else { return Ok(()) };
        let count = self.count;
        Err(Error::new(format!("holds the label {bad}, but there are {count} classes, 0 to {}", count - 1))
            .help("correct the label, or the list of labels in dataset.json"))
    }

    fn holds(&self, label: i32) -> bool {
        Some(label) == self.ignored || usize::try_from(label).is_ok_and(|class| class < self.count)
    }

    /// Whether a label belongs to a structure.
    pub(super) fn is_foreground(&self, label: i32) -> bool {
        label != 0 && Some(label) != self.ignored
    }
}
