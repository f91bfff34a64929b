//! Statistics of the training cases of a data set.

use rayon::prelude::*;
use segcal_core::{Context, Error, Result};
use segcal_data::observer::{self, Observer, Steps};
use segcal_data::{self as data, Case, Dataset};

use crate::frame::box_of;
use crate::normalise::percentiles;
use crate::prepared::read_channels;

/// Maximum number of foreground voxels of a case whose intensities are used; if there are more, that many are taken at
/// equal distances in the list.
const MOST_VOXELS: usize = 1 << 20;

/// Statistics of the training cases of a data set.
#[derive(Clone, Debug)]
pub struct Fingerprint {
    /// Names of the channels; empty if the data set does not name them.
    pub channels: Vec<String>,
    /// Number of channels.
    pub channel_count: usize,
    /// Names of the classes, the background first.
    pub classes: Vec<String>,
    /// The ignore label: voxels without annotation.
    pub ignored: Option<i32>,
    /// Number of validation cases.
    pub validation: usize,
    /// Voxel size of each case along `[d, h, w]`, in mm; none if a case has none.
    pub spacings: Option<Vec<[f64; 3]>>,
    /// Extent of each case after cropping to the nonzero voxels.
    pub extents: Vec<[usize; 3]>,
    /// Share of each case's voxels that was kept.
    pub kept: Vec<f64>,
    /// For each channel: percentiles 0.5 and 99.5, mean and standard deviation of the foreground voxels of all cases.
    pub intensities: Vec<[f64; 4]>,
    /// Number of voxels of each class in all cases.
    pub voxels: Vec<u64>,
    /// Number of cases that contain each class.
    pub holding: Vec<usize>,
}

/// Statistics of one case.
struct Seen {
    spacing: Option<[f64; 3]>,
    extent: [usize; 3],
    kept: f64,
    /// Intensities of the foreground voxels, channel by channel.
    foreground: Vec<Vec<f32>>,
    voxels: Vec<u64>,
}

impl Fingerprint {
    /// Reads every training case once.
    ///
    /// # Errors
    /// A case cannot be read, the cases differ in their number of channels, or the observer asks to stop.
    pub fn of(data: &Dataset, observer: &dyn Observer) -> Result<Self> {
        let steps = Steps::begin(observer, "fingerprint", data.train.len());
        let look = |case: &Case| -> Result<Seen> {
            observer::check(observer)?;
            let seen = Seen::of(case, data.classes.len()).at(&case.name)?;
            steps.step(&case.name);
            Ok(seen)
        };
        let seen: Vec<Seen> = data.train.par_iter().map(look).collect::<Result<_>>()?;
        let channel_count = seen[0].foreground.len();
        if let Some((other, case)) =
            seen.iter().zip(&data.train).find(|(seen, _)| seen.foreground.len() != channel_count)
        {
            let problem = format!("has {} channels, but the first case has {channel_count}", other.foreground.len());
            return Err(Error::new(problem).at(&case.name));
        }
        let sum = |class: usize| seen.iter().map(|case| case.voxels[class]).sum();
        let holding = |class: usize| seen.iter().filter(|case| case.voxels[class] > 0).count();
        Ok(Self {
            channels: data.channels.clone(),
            channel_count,
            classes: data.classes.clone(),
            ignored: data.ignore_label,
            validation: data.val.len(),
            spacings: seen.iter().map(|case| case.spacing).collect(),
            extents: seen.iter().map(|case| case.extent).collect(),
            kept: seen.iter().map(|case| case.kept).collect(),
            voxels: (0..data.classes.len()).map(sum).collect(),
            holding: (0..data.classes.len()).map(holding).collect(),
            intensities: (0..channel_count).map(|channel| intensities(&seen, channel)).collect(),
        })
    }

    /// A short description of the cases.
    pub fn in_words(&self) -> String {
        let channels =
            if self.channels.is_empty() { String::new() } else { format!(" ({})", self.channels.join(", ")) };
        let total: u64 = self.voxels.iter().sum();
        let class = |class: usize| {
            let share = 100.0 * self.voxels[class] as f64 / total.max(1) as f64;
            format!("{} {share:.2} % of the voxels, in {} cases", self.classes[class], self.holding[class])
        };
        let classes: Vec<String> = (1..self.classes.len()).map(class).collect();
        let cases = self.extents.len();
        format!("{cases} training cases, channels: {}{channels}; {}", self.channel_count, classes.join("; "))
    }
}

impl Seen {
    fn of(case: &Case, classes: usize) -> Result<Self> {
        let image = read_channels(case)?;
        let path = case.label.as_ref().ok_or_else(|| Error::new("has no label"))?;
        let label = data::read_labels(path)?;
        image.grid.expect_same("the image", &label.grid, "the label").at(path.display())?;
        let (_, extent) = box_of(&image);
        let [whole, cut] = [image.grid.extent, extent].map(|extent| extent.iter().product::<usize>());
        let mut voxels = vec![0; classes];
        let labels = label.values();
        for class in labels.iter().filter_map(|&label| usize::try_from(label).ok()).filter(|&class| class < classes) {
            voxels[class] += 1;
        }
        let structure =
            |voxel: &usize| usize::try_from(labels[*voxel]).is_ok_and(|class| (1..classes).contains(&class));
        let inside: Vec<usize> = (0..whole).filter(structure).collect();
        let step = inside.len().div_ceil(MOST_VOXELS).max(1);
        let channel = |channel: &[f32]| inside.iter().step_by(step).map(|&voxel| channel[voxel]).collect();
        Ok(Self {
            spacing: image.grid.sized.then(|| image.grid.spacing_mm()),
            extent,
            kept: cut as f64 / whole as f64,
            foreground: image.values().chunks_exact(whole).map(channel).collect(),
            voxels,
        })
    }
}

/// Percentiles 0.5 and 99.5, mean and standard deviation of the foreground voxels of all cases.
fn intensities(seen: &[Seen], channel: usize) -> [f64; 4] {
    let all: Vec<f32> = seen.iter().flat_map(|case| &case.foreground[channel]).copied().collect();
    let (low, high) = percentiles(&all, 0.5, 99.5);
    let count = all.len().max(1) as f64;
    let mean = all.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let variance = all.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
    [f64::from(low), f64::from(high), mean, variance.sqrt()]
}

/// The number at a percentile, interpolated between ranks as in NumPy.
pub(super) fn percentile(numbers: impl Iterator<Item = f64>, percent: f64) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    let rank = percent / 100.0 * (sorted.len() - 1) as f64;
    let (low, share) = (sorted[rank as usize], rank.fract());
    low + share * (sorted[(rank as usize + 1).min(sorted.len() - 1)] - low)
}
