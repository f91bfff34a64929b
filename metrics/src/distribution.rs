//! Distributions of logits by true class: the numbers behind the papers' logit figures.

use rayon::prelude::*;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::overlap::within;
use crate::volume::{BLOCK, Label, Probabilities};

/// For each pair of true class and logit channel, a histogram over a fixed range. Integers: merging in any order gives
/// the same counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogitDistribution {
    classes: usize,
    range: [f32; 2],
    bins: usize,
    /// `[true class][channel][below, bins..., at or above the end]`.
    counts: Vec<u64>,
}

impl LogitDistribution {
    /// No voxel yet; `bins` equal bins `[l, u)` between the ends of `range`.
    ///
    /// # Panics
    /// There is no class or no bin, or the range is empty or not finite.
    pub fn new(classes: usize, range: [f32; 2], bins: usize) -> Self {
        assert!(classes > 0 && bins > 0, "{classes} classes, {bins} bins");
        assert!(range[0] < range[1] && range.iter().all(|end| end.is_finite()), "the range {range:?}");
        Self { classes, range, bins, counts: vec![0; classes * classes * (bins + 2)] }
    }

    /// Adds a volume: logits `[k, d, h, w]` and reference labels `[d, h, w]`, without the voxels of the label `ignored`.
    ///
    /// # Errors
    /// A label is not below the number of classes, or a logit is NaN. Nothing is added then.
    ///
    /// # Panics
    /// The volumes differ in size, or the number of classes is not that of the state.
    pub fn add(&mut self, logits: Probabilities<'_>, reference: &[Label], ignored: Option<Label>) -> Result<()> {
        self.add_mapped(logits, reference, ignored, |logit| logit)
    }

    /// Adds a volume of probabilities, whose logarithms stand for the logits: they differ from logits by a number that is
    /// the same for all channels of a voxel. A probability below 2^-126 counts as 2^-126.
    ///
    /// # Errors
    /// As [`LogitDistribution::add`].
    ///
    /// # Panics
    /// As [`LogitDistribution::add`].
    pub fn add_logarithms(&mut self, p: Probabilities<'_>, reference: &[Label], ignored: Option<Label>) -> Result<()> {
        self.add_mapped(p, reference, ignored, |p| p.max(f32::MIN_POSITIVE).ln())
    }

    fn add_mapped(
        &mut self,
        logits: Probabilities<'_>,
        reference: &[Label],
        ignored: Option<Label>,
        map: impl Fn(f32) -> f32 + Sync,
    ) -> Result<()> {
        assert_eq!((logits.classes(), logits.voxels()), (self.classes, reference.len()), "classes and voxels");
        within(reference, self.classes, ignored).map_err(|error| error.at("reference"))?;
        if logits.values().par_iter().any(|logit| logit.is_nan()) {
            return Err(Error::new("a logit is NaN").help("repair or leave out the case"));
        }
        let zero = || vec![0; self.counts.len()];
        let blocks = (0..reference.len().div_ceil(BLOCK)).into_par_iter();
        let counts = blocks.fold(zero, |mut counts, block| {
            let at = block * BLOCK..((block + 1) * BLOCK).min(reference.len());
            for channel in 0..self.classes {
                for (&logit, &label) in logits.class(channel)[at.clone()].iter().zip(&reference[at.clone()]) {
                    if Some(label) != ignored {
                        counts[self.row(label, channel) + self.place(map(logit))] += 1;
                    }
                }
            }
            counts
        });
        let total: Vec<u64> = counts.reduce(zero, |mut a, b| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        });
        self.counts.iter_mut().zip(total).for_each(|(own, new)| *own += new);
        Ok(())
    }

    /// Number of classes.
    pub const fn classes(&self) -> usize {
        self.classes
    }

    /// The edges of the bins, one more than there are bins.
    pub fn edges(&self) -> Vec<f64> {
        let [low, high] = self.range.map(f64::from);
        (0..=self.bins).map(|bin| low + (high - low) * bin as f64 / self.bins as f64).collect()
    }

    fn row(&self, label: Label, channel: usize) -> usize {
        (usize::from(label) * self.classes + channel) * (self.bins + 2)
    }

    /// 0 below the range, `bins + 1` at or above its end.
    #[expect(clippy::cast_possible_truncation, reason = "at most the number of bins")]
    fn place(&self, logit: f32) -> usize {
        let [low, high] = self.range.map(f64::from);
        let share = (f64::from(logit) - low) / (high - low);
        if share < 0.0 { 0 } else { ((share * self.bins as f64) as usize).min(self.bins) + 1 }
    }

    /// Adds the voxels of another part of the same evaluation.
    ///
    /// # Panics
    /// The classes, ranges or bins differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!((self.classes, self.range, self.bins), (other.classes, other.range, other.bins), "same histograms");
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, new)| *own += new);
    }

    /// The counts of one channel over the voxels of one true class: below the range, each bin, at or above its end.
    ///
    /// # Panics
    /// There is no such class or channel.
    pub fn counts(&self, label: Label, channel: usize) -> &[u64] {
        assert!(usize::from(label) < self.classes && channel < self.classes, "class {label}, channel {channel}");
        &self.counts[self.row(label, channel)..][..self.bins + 2]
    }

    /// The quantile `share` (0 to 1) of one channel over the voxels of one true class, linear inside its bin, at an end
    /// of the range where it lies beyond; NaN without voxels. Off by at most the width of a bin inside the range.
    ///
    /// # Panics
    /// There is no such class or channel.
    pub fn quantile(&self, label: Label, channel: usize, share: f64) -> f64 {
        let counts = self.counts(label, channel);
        let wanted = share * counts.iter().sum::<u64>() as f64;
        let [low, high] = self.range.map(f64::from);
        let mut before = 0.0;
        for (place, count) in counts.iter().map(|&count| count as f64).enumerate() {
            if count > 0.0 && before + count >= wanted {
                let bins = place as f64 - 1.0 + (wanted - before) / count;
                return low + (high - low) * (bins / self.bins as f64).clamp(0.0, 1.0);
            }
            before += count;
        }
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand_and_parts() {
        // Two channels, four voxels.
        let logits = [-3.0, 0.0, 0.5, 9.0, 1.0, 1.0, -1.0, 2.0];
        let labels = [0, 0, 1, 1];
        let mut state = LogitDistribution::new(2, [-2.0, 2.0], 4);
        state.add(Probabilities::new(&logits, 2), &labels, None).unwrap();
        assert_eq!(state.counts(0, 0), [1, 0, 0, 1, 0, 0]);
        assert_eq!(state.counts(1, 0), [0, 0, 0, 1, 0, 1]);
        assert_eq!(state.counts(1, 1), [0, 0, 1, 0, 0, 1], "the end is outside");
        let part = |voxel: usize| {
            let mut part = LogitDistribution::new(2, [-2.0, 2.0], 4);
            part.add(Probabilities::new(&[logits[voxel], logits[4 + voxel]], 2), &labels[voxel..=voxel], None).unwrap();
            part
        };
        let mut parts = part(3);
        for voxel in [1, 0, 2] {
            parts.merge(&part(voxel));
        }
        assert_eq!(parts, state);
        assert!(state.add(Probabilities::new(&[f32::NAN, 0.0], 2), &[0], None).is_err());
    }

    #[test]
    fn logarithms_of_probabilities_by_hand() {
        let mut state = LogitDistribution::new(2, [-4.0, 0.0], 4);
        state.add_logarithms(Probabilities::new(&[0.0, 0.5, 1.0, 0.5], 2), &[1, 0], None).unwrap();
        assert_eq!(state.counts(1, 0), [1, 0, 0, 0, 0, 0], "ln 2^-126 = -87");
        assert_eq!(state.counts(1, 1), [0, 0, 0, 0, 0, 1], "ln 1 is at the end");
        assert_eq!(state.counts(0, 0), [0, 0, 0, 0, 1, 0], "ln 0.5 = -0.69");
        assert_eq!(state.edges(), [-4.0, -3.0, -2.0, -1.0, 0.0]);
    }

    #[test]
    fn quantiles_are_within_a_bin_of_sorting() {
        let rng = segcal_core::Rng::new(4);
        let mut logits: Vec<f32> = (0..5000).map(|i| 3.0 * rng.normal(i) as f32).collect();
        let mut state = LogitDistribution::new(1, [-20.0, 20.0], 400);
        state.add(Probabilities::new(&logits, 1), &vec![0; logits.len()], None).unwrap();
        logits.sort_by(f32::total_cmp);
        for share in [0.01, 0.25, 0.5, 0.75, 0.99] {
            let exact = f64::from(logits[(share * 5000.0) as usize]);
            assert!((state.quantile(0, 0, share) - exact).abs() <= 0.1, "{share}");
        }
        assert!(LogitDistribution::new(1, [0.0, 1.0], 2).quantile(0, 0, 0.5).is_nan());
    }
}
