//! Distributions of logits by true class, with their means and mean magnitudes: the data behind the papers' logit
//! figures (MbLS, Fig. 4; NACL, Fig. 2; CRaC, Fig. 2).

use rayon::prelude::*;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::calibration::FixedSum;
use crate::overlap::within;
use crate::volume::{BLOCK, Label, Probabilities};

/// For each pair of true class and logit channel, a histogram over a fixed range and the sums of its positive and of
/// its negative logits in units of 2^-40. These are integers, so merging in any order gives the same result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogitDistribution {
    classes: usize,
    range: [f32; 2],
    bins: usize,
    /// `[true class][channel][below, bins..., at or above the end]`.
    counts: Vec<u64>,
    /// `[true class][channel]`: sums of the magnitudes of the positive and of the negative logits. Empty if a part was
    /// counted by an earlier version, which had no sums.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sums: Vec<[FixedSum; 2]>,
}

/// Larger magnitudes are clamped to this value when summed, so that they fit into 64 bits.
const LARGEST: f64 = (1_u32 << 20) as f64;

/// The counts and sums of one thread.
type Counted = (Vec<u64>, Vec<[FixedSum; 2]>);

impl LogitDistribution {
    /// Creates an empty state with `bins` equal-width bins `[l, u)` between the ends of `range`.
    ///
    /// # Panics
    /// There is no class or no bin, or the range is empty or not finite.
    pub fn new(classes: usize, range: [f32; 2], bins: usize) -> Self {
        assert!(classes > 0 && bins > 0, "{classes} classes, {bins} bins");
        assert!(range[0] < range[1] && range.iter().all(|end| end.is_finite()), "the range {range:?}");
        let (counts, sums) =
            (vec![0; classes * classes * (bins + 2)], vec![[FixedSum::default(); 2]; classes * classes]);
        Self { classes, range, bins, counts, sums }
    }

    /// Adds a volume: logits `[k, d, h, w]` and reference labels `[d, h, w]`, without the voxels labelled `ignored`.
    ///
    /// # Errors
    /// A label is not below the number of classes, or a logit is NaN. In this case nothing is added.
    ///
    /// # Panics
    /// The volumes differ in size, or the number of classes differs from that of the state.
    pub fn add(&mut self, logits: Probabilities<'_>, reference: &[Label], ignored: Option<Label>) -> Result<()> {
        self.add_mapped(logits, reference, ignored, |logit| logit)
    }

    /// Adds a volume of probabilities and uses their logarithms as logits: these differ from the logits by a number
    /// that is the same for all channels of a voxel. A probability below 2^-126 counts as 2^-126.
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
            return Err(Error::new("a logit is NaN").help("repair or exclude the case"));
        }
        let zero = || (vec![0; self.counts.len()], vec![[FixedSum::default(); 2]; self.classes * self.classes]);
        let blocks = (0..reference.len().div_ceil(BLOCK)).into_par_iter();
        let counted = blocks.fold(zero, |(mut counts, mut sums): Counted, block| {
            let at = block * BLOCK..((block + 1) * BLOCK).min(reference.len());
            for channel in 0..self.classes {
                for (&logit, &label) in logits.class(channel)[at.clone()].iter().zip(&reference[at.clone()]) {
                    if Some(label) != ignored {
                        let logit = map(logit);
                        counts[self.row(label, channel) + self.place(logit)] += 1;
                        let sum = &mut sums[usize::from(label) * self.classes + channel];
                        sum[usize::from(logit < 0.0)].add_units(units(f64::from(logit).abs().min(LARGEST)));
                    }
                }
            }
            (counts, sums)
        });
        let total = counted.reduce(zero, |mut a, b| {
            add(&mut a, &b);
            a
        });
        let mut own = (std::mem::take(&mut self.counts), std::mem::take(&mut self.sums));
        add(&mut own, &total);
        (self.counts, self.sums) = own;
        Ok(())
    }

    /// Mean and mean magnitude of one channel over the voxels of one true class; `None` without voxels, or if a part
    /// was counted by a version that had no sums.
    ///
    /// # Panics
    /// The class or channel does not exist.
    pub fn means(&self, label: Label, channel: usize) -> Option<[f64; 2]> {
        let count: u64 = self.counts(label, channel).iter().sum();
        let known = self.sums.len() == self.classes * self.classes && count > 0;
        let [positive, negative] = *self.sums.get(usize::from(label) * self.classes + channel).filter(|_| known)?;
        let [positive, negative] = [positive.value(), negative.value()];
        Some([positive - negative, positive + negative].map(|sum| sum / count as f64))
    }

    /// Number of classes.
    pub const fn classes(&self) -> usize {
        self.classes
    }

    /// The edges of the bins: `bins + 1` numbers.
    pub fn edges(&self) -> Vec<f64> {
        let [low, high] = self.range.map(f64::from);
        (0..=self.bins).map(|bin| low + (high - low) * bin as f64 / self.bins as f64).collect()
    }

    fn row(&self, label: Label, channel: usize) -> usize {
        (usize::from(label) * self.classes + channel) * (self.bins + 2)
    }

    /// The index of a logit in a row: 0 below the range, `bins + 1` at or above its end.
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
        let known = !self.sums.is_empty() && self.sums.len() == other.sums.len();
        let mut own = (std::mem::take(&mut self.counts), std::mem::take(&mut self.sums));
        add(&mut own, &(other.counts.clone(), other.sums.clone()));
        (self.counts, self.sums) = own;
        if !known {
            self.sums.clear();
        }
    }

    /// The counts of one channel over the voxels of one true class: below the range, in each bin, at or above its end.
    ///
    /// # Panics
    /// The class or channel does not exist.
    pub fn counts(&self, label: Label, channel: usize) -> &[u64] {
        assert!(usize::from(label) < self.classes && channel < self.classes, "class {label}, channel {channel}");
        &self.counts[self.row(label, channel)..][..self.bins + 2]
    }

    /// The quantile `share` (0 to 1) of one channel over the voxels of one true class, interpolated linearly inside its
    /// bin and clamped to the range; NaN without voxels. Inside the range the error is at most the width of a bin.
    ///
    /// # Panics
    /// The class or channel does not exist.
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

fn add(own: &mut Counted, new: &Counted) {
    own.0.iter_mut().zip(&new.0).for_each(|(own, new)| *own += new);
    for (own, new) in own.1.iter_mut().flatten().zip(new.1.iter().flatten()) {
        own.merge(*new);
    }
}

/// A magnitude up to [`LARGEST`] in units of 2^-40, rounded to nearest.
#[expect(clippy::cast_possible_truncation, reason = "at most 2^60")]
fn units(magnitude: f64) -> u64 {
    (magnitude * (1_u64 << 40) as f64).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_by_hand_and_in_parts() {
        let logits = [-3.0, 0.25, 0.5, f32::INFINITY, 1.0, 1.5, -1.0, 2.0];
        let labels = [0, 0, 1, 0];
        let of = |voxels: &[usize]| {
            let mut state = LogitDistribution::new(2, [-2.0, 2.0], 4);
            for &voxel in voxels {
                let pair = [logits[voxel], logits[4 + voxel]];
                state.add(Probabilities::new(&pair, 2), &labels[voxel..=voxel], None).unwrap();
            }
            state
        };
        let state = of(&[0, 1, 2]);
        assert_eq!(state.means(0, 0), Some([-2.75 / 2.0, 3.25 / 2.0]));
        assert_eq!((state.means(1, 0), state.means(1, 1)), (Some([0.5, 0.5]), Some([-1.0, 1.0])));
        assert_eq!(of(&[0]).means(1, 0), None);
        assert_eq!(of(&[3]).means(0, 0), Some([LARGEST, LARGEST]));
        let mut parts = of(&[2]);
        parts.merge(&of(&[1]));
        parts.merge(&of(&[0]));
        assert_eq!(parts, state);
        // A state of an earlier version has no sums, and neither has the result of merging with it.
        let text = serde_json::to_value(of(&[0])).unwrap();
        let mut older: LogitDistribution = serde_json::from_value(text).unwrap();
        older.sums.clear();
        let mut merged = of(&[1]);
        merged.merge(&older);
        assert_eq!((merged.means(0, 0), merged.counts(0, 0).iter().sum::<u64>()), (None, 2));
    }

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
