//! Volumes ready for the network: read, normalised and checked against their labels.

use std::path::PathBuf;

use segcal_core::{Context, Error, Result};

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

/// Reads and normalises one image: its channels, checked to lie on one grid.
///
/// # Errors
/// A file is malformed, holds NaN or infinity, or the channels lie on different grids.
pub fn prepare_image(case: &Case, input: &Input) -> Result<Volume<f32>> {
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
        let mut data = volume.data.into_raw_vec_and_offset().0;
        scale(&mut data, &volume.grid, input);
        values.append(&mut data);
    }
    let Some((grid, _)) = first else { return Err(Error::new("the case has no image")) };
    Ok(Volume::new(values, channels, grid))
}

/// Refuses an image that has another number of channels than the network takes.
pub(super) fn expect_channels(image: &Volume<f32>, taken: usize) -> Result<()> {
    if image.channels() == taken {
        return Ok(());
    }
    let problem = format!("the image has {} channels, but the network takes {taken}", image.channels());
    Err(Error::new(problem).help("a fourth axis of a file, such as time, counts as channels: give one file a channel"))
}

/// The same for an image in memory, `[channels, d, h, w]`.
///
/// # Errors
/// An intensity is not finite.
pub fn prepare_volume(mut image: Volume<f32>, input: &Input) -> Result<Volume<f32>> {
    let grid = image.grid.clone();
    let extent = image.data.shape();
    if extent[1..] != grid.extent {
        let problem = format!("an image of shape {extent:?} does not fit a grid of {:?} voxels", grid.extent);
        return Err(Error::new(problem).help("give [channels, d, h, w]"));
    }
    if !image.data.is_standard_layout() {
        image.data = image.data.as_standard_layout().into_owned();
    }
    let values = image.data.as_slice_mut().expect("put into standard layout above");
    if let Some(bad) = values.iter().find(|x| !x.is_finite()) {
        return Err(Error::new(format!("the image holds the value {bad}")).help("replace NaN and infinity first"));
    }
    scale(values, &grid, input);
    Ok(image)
}

/// Normalises each channel by itself.
fn scale(values: &mut [f32], grid: &Grid, input: &Input) {
    values.chunks_mut(grid.extent.iter().product()).for_each(|channel| normalise(channel, input.clip_percentiles));
}

/// Shifts and scales to `[0, 1]` between two percentiles; values beyond are clipped. A constant image becomes 0.
fn normalise(values: &mut [f32], [low, high]: [f64; 2]) {
    let (low, high) = percentiles(values, low, high);
    let (range, scale) = if high > low { (high - low, 1.0 / (high - low)) } else { (0.0, 0.0) };
    if range.is_finite() && scale.is_finite() {
        values.iter_mut().for_each(|value| *value = ((*value - low) * scale).clamp(0.0, 1.0));
    } else {
        // At the ends of f32 the range or its inverse overflows, and infinity times 0 is not a number.
        let (low, range) = (f64::from(low), f64::from(high) - f64::from(low));
        values.iter_mut().for_each(|value| *value = ((f64::from(*value) - low) / range).clamp(0.0, 1.0) as f32);
    }
}

/// The values at two percentiles, interpolated between ranks as NumPy does; 0 and 100 are minimum and maximum.
fn percentiles(values: &[f32], low: f64, high: f64) -> (f32, f32) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mut sorted = values.to_vec();
    let mut at = |percent: f64| {
        let rank = percent / 100.0 * (values.len() - 1) as f64;
        let (_, &mut lower, above) = sorted.select_nth_unstable_by(rank as usize, f32::total_cmp);
        let upper = above.iter().copied().fold(f32::INFINITY, f32::min);
        match rank.fract() {
            0.0 => lower,
            share if (upper - lower).is_finite() => lower + (upper - lower) * share as f32,
            share => (f64::from(lower) + (f64::from(upper) - f64::from(lower)) * share) as f32,
        }
    };
    (at(low), at(high))
}

/// Reads a labelled case.
///
/// # Errors
/// Those of [`prepare_image`]; there is no label, it lies on another grid, or it holds neither a class of `classes` nor
/// the label to ignore.
pub fn prepare(case: &Case, input: &Input, classes: &Classes) -> Result<Prepared> {
    let image = prepare_image(case, input).at(&case.name)?;
    let path = case.label.as_ref().ok_or_else(|| Error::new("has no label").at(&case.name))?;
    let label = data::read_labels(path)?;
    if label.channels() != 1 {
        let problem = format!("holds {} volumes where a label map has one", label.channels());
        return Err(Error::new(problem).at(path.display()).help("give the volume that belongs to the image"));
    }
    image.grid.expect_same("the image", &label.grid, "the label").at(path.display()).at(&case.name)?;
    classes.expect(&label).at(path.display())?;
    Ok(Prepared { name: case.name.clone(), image, label })
}

/// What labels of a data set may be.
#[derive(Clone, Copy, Debug)]
pub struct Classes {
    /// Number of classes, the background included.
    pub count: usize,
    /// The label of voxels that count nowhere.
    pub ignored: Option<i32>,
}

impl Classes {
    /// Refuses a label that is neither a class nor the one to ignore.
    fn expect(&self, label: &Volume<i32>) -> Result<()> {
        let Some(bad) = label.values().iter().find(|&&label| !self.holds(label)) else { return Ok(()) };
        let count = self.count;
        Err(Error::new(format!("holds the label {bad}, but there are {count} classes, 0 to {}", count - 1))
            .help("correct the label, or the list of labels in dataset.json"))
    }

    fn holds(&self, label: i32) -> bool {
        Some(label) == self.ignored || usize::try_from(label).is_ok_and(|class| class < self.count)
    }

    /// Whether a label is of a structure.
    pub(super) fn is_foreground(&self, label: i32) -> bool {
        label != 0 && Some(label) != self.ignored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalising_maps_the_percentiles_to_zero_and_one() {
        let mut values: Vec<f32> = (0..=100).map(|x| x as f32).collect();
        normalise(&mut values, [10.0, 90.0]);
        assert_eq!((values[0], values[10], values[50], values[90], values[100]), (0.0, 0.0, 0.5, 1.0, 1.0));
        assert_eq!(percentiles(&[4.0, 1.0, 2.0], 25.0, 100.0), (1.5, 4.0));
        let mut flat = vec![3.0; 4];
        normalise(&mut flat, [0.0, 100.0]);
        assert_eq!(flat, [0.0; 4]);
    }

    #[test]
    fn normalising_the_largest_and_smallest_numbers_gives_numbers() {
        let mut large = vec![-3e38_f32, 0.0, 3e38];
        normalise(&mut large, [0.0, 100.0]);
        assert_eq!(large, [0.0, 0.5, 1.0]);
        let mut small = vec![0.0_f32, 1e-45, 2.8e-45];
        normalise(&mut small, [0.0, 100.0]);
        assert_eq!(small, [0.0, 0.5, 1.0]);
        let mut between = vec![-3e38_f32, 3e38];
        normalise(&mut between, [25.0, 75.0]);
        assert_eq!(between, [0.0, 1.0]);
    }
}
