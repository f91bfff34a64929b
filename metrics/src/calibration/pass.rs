//! The calibration state of volumes.

use std::collections::BTreeMap;

use rayon::prelude::*;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::bins::MOST_CLASSES;
use super::group;
use super::region::Region;
use super::region_bins::RegionBins;
use super::tally::{Tally, add};
use super::voxels::Voxels;
use crate::volume::{BLOCK, Label, Probabilities};

/// The calibration state of any number of volumes: integers and exact sums, bit-identical for any order of merging.
///
/// ```
/// use segcal_metrics::calibration::{Calibration, Region};
/// use segcal_metrics::volume::Probabilities;
/// let values = [0.9, 0.6, 0.2, 0.1, 0.4, 0.8]; // two classes, three voxels
/// let mut state = Calibration::new(2, 15);
/// state.add(Probabilities::new(&values, 2), &[0, 1, 1], None).unwrap();
/// let all = state.region(Region::All);
/// assert!((all.accuracy() - 2.0 / 3.0).abs() < 1e-12);
/// assert!((all.ece() - (0.1 + 0.6 + 0.2) / 3.0).abs() < 1e-7);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    classes: usize,
    bins: usize,
    /// The regions that contain a voxel.
    regions: BTreeMap<Region, RegionBins>,
}

impl Calibration {
    /// Creates an empty state for `classes` classes and `bins` equal-width bins.
    ///
    /// # Panics
    /// There is no class, or the number of bins is not in 1 to 1000 (the threshold of `tcece` must be in the first).
    pub fn new(classes: usize, bins: usize) -> Self {
        assert!(classes > 0 && (1..=1000).contains(&bins), "{classes} classes, {bins} bins");
        Self { classes, bins, regions: BTreeMap::new() }
    }

    /// Number of classes.
    pub const fn classes(&self) -> usize {
        self.classes
    }

    /// Number of equal-width bins.
    pub const fn bins(&self) -> usize {
        self.bins
    }

    /// Adds a volume: probabilities `[k, d, h, w]`, reference labels `[d, h, w]`, and the voxels of the boundary band,
    /// if [`Region::Boundary`] is needed. [`Calibration::add_voxels`] has more options.
    ///
    /// # Errors
    /// A label is not below the number of classes, or a probability is NaN or outside [0, 1] by more than 1e-3. In this
    /// case nothing is added.
    ///
    /// # Panics
    /// The volumes differ in size, or the number of classes differs from that of the state.
    pub fn add(&mut self, p: Probabilities<'_>, reference: &[Label], band: Option<&[bool]>) -> Result<()> {
        let prediction = p.argmax();
        let voxels = Voxels::new(p, reference, &prediction, None);
        self.add_voxels(&band.into_iter().fold(voxels, Voxels::with_boundary))
    }

    /// Adds the voxels of a volume.
    ///
    /// # Errors
    /// As [`Calibration::add`]; the label of an ignored voxel may have any value.
    ///
    /// # Panics
    /// The number of classes differs from that of the state.
    pub fn add_voxels(&mut self, voxels: &Voxels<'_>) -> Result<()> {
        assert_eq!(voxels.p.classes(), self.classes, "classes");
        voxels.expect_labels().map_err(|error| error.at("reference"))?;
        let blocks = (0..voxels.reference.len().div_ceil(BLOCK)).into_par_iter();
        let tallies = blocks.fold(
            || Tally::new(voxels, self.bins),
            |mut tally, block| {
                tally.block(block * BLOCK..((block + 1) * BLOCK).min(voxels.reference.len()));
                tally
            },
        );
        let total = tallies.map(|tally| (tally.groups, tally.invalid)).reduce_with(|(mut a, x), (b, y)| {
            b.into_iter().for_each(|(group, bins)| add(&mut a, group, &bins));
            (a, x || y)
        });
        let Some((groups, invalid)) = total else { return Ok(()) };
        if invalid {
            return Err(Error::new("a probability is NaN or outside [0, 1]")
                .help("apply softmax to logits first; repair or exclude a case with NaN"));
        }
        for (number, bins) in groups {
            group::regions(number).into_iter().for_each(|region| add(&mut self.regions, region, &bins));
        }
        Ok(())
    }

    /// Adds the voxels of another part of the same evaluation.
    ///
    /// # Panics
    /// The numbers of classes or bins differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!((self.classes, self.bins), (other.classes, other.bins), "classes, bins");
        other.regions.iter().for_each(|(&region, bins)| add(&mut self.regions, region, bins));
    }

    /// The bins and sums of one region. [`Region::Boundary`] and [`Region::Near`] contain the voxels of the bands that
    /// were passed.
    pub fn region(&self, region: Region) -> RegionBins {
        self.regions.get(&region).cloned().unwrap_or_else(|| RegionBins::new(self.classes, self.bins))
    }

    /// Reduces the state for storage: with more than [`MOST_CLASSES`] classes, the per-class bins of single-structure
    /// regions are dropped and their classwise metrics become NaN. The size then grows with the number of classes, not
    /// with its square.
    #[must_use]
    pub fn compact(mut self) -> Self {
        if self.classes > MOST_CLASSES {
            let single = self.regions.iter_mut().filter(|(region, _)| !Region::COMMON.contains(region));
            single.for_each(|(_, bins)| bins.drop_classes());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_probability_is_refused() {
        let mut state = Calibration::new(2, 15);
        for bad in [f32::NAN, 1.5, -0.1, f32::INFINITY] {
            let error = state.add(Probabilities::new(&[bad, 0.5], 2), &[0], None).expect_err("not a probability");
            assert!(error.to_string().contains("outside [0, 1]"), "{error}");
        }
        assert_eq!(state, Calibration::new(2, 15), "nothing was added");
    }
}
