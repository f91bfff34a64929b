//! Equal-mass bins, from groups of equal values.
//!
//! Bin `r` of `R` contains the voxels of rank `floor(r n / R)` up to `floor((r + 1) n / R)` in ascending order of
//! probability, so bins differ by at most one voxel. Voxels of equal probability have no order: if a cut falls among
//! them, their hits are divided in proportion, which is the mean over all orders. Whole groups are added exactly, so
//! the metrics do not depend on how values without a cut among them are grouped.

use serde::{Deserialize, Serialize};

use super::bins::Bin;
use crate::stats::mean;

/// The metrics whose bins contain equal numbers of voxels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EqualMassFigures {
    /// Expected calibration error of the largest probability with equal-mass bins:
    /// `sum over bins of (n_r / n) |accuracy - mean confidence|`; NaN without voxels.
    pub aece: f64,
    /// Thresholded adaptive calibration error (CRaC, appendix B): per class the plain mean over bins of
    /// |frequency - mean probability|, mean over the classes that have a probability above the threshold; NaN if none.
    pub tace: f64,
}

impl EqualMassFigures {
    /// The metrics of a region without voxels.
    pub const NONE: Self = Self { aece: f64::NAN, tace: f64::NAN };

    /// Computes the metrics from the bins of the largest probability and of each class.
    pub(super) fn new<'a>(top: &[Gap], classes: impl Iterator<Item = &'a Vec<Gap>>) -> Self {
        let total: f64 = top.iter().map(|gap| gap.count).sum();
        let filled = classes.filter(|column| !column.is_empty());
        Self {
            aece: top.iter().map(|gap| gap.count * gap.gap).sum::<f64>() / total,
            tace: mean(filled.map(|column| mean(column.iter().map(|gap| gap.gap)))),
        }
    }
}

/// A non-empty equal-mass bin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Gap {
    pub(super) count: f64,
    /// |accuracy - mean probability|.
    pub(super) gap: f64,
}

/// The first rank of each bin, followed by the total.
#[expect(clippy::cast_possible_truncation, reason = "at most the total")]
fn cuts(total: u64, bins: usize) -> Vec<u64> {
    let wide = u128::from(total);
    // At most the total, so it fits.
    (0..=bins as u128).map(|bin| (bin * wide / bins as u128) as u64).collect()
}

/// The numbers of the groups, ascending by value, with a cut strictly inside.
pub(super) fn cut_groups<'a>(groups: impl Iterator<Item = &'a (u32, Bin)> + Clone, bins: usize) -> Vec<u32> {
    let cuts = cuts(groups.clone().map(|(_, bin)| bin.count).sum(), bins);
    let mut start = 0;
    let holds_cut = |(number, bin): &(u32, Bin)| {
        let end = start + bin.count;
        let next = cuts.partition_point(|&cut| cut <= start);
        start = end;
        cuts.get(next).is_some_and(|&cut| cut < end).then_some(*number)
    };
    groups.filter_map(holds_cut).collect()
}

/// The bins of some groups of equal values, ascending.
pub(super) fn gaps(groups: &[Bin], bins: usize) -> Vec<Gap> {
    let cuts = cuts(groups.iter().map(|group| group.count).sum(), bins);
    let (mut whole, mut shared) = (vec![Bin::default(); bins], vec![0.0; bins]);
    let (mut bin, mut rank) = (0, 0);
    for group in groups {
        let end = rank + group.count;
        let excess_of_one = (group.hits as f64 - group.sum.value()) / group.count as f64;
        while rank < end {
            while cuts[bin + 1] <= rank {
                bin += 1;
            }
            let taken = cuts[bin + 1].min(end) - rank;
            if taken == group.count {
                whole[bin].merge(group);
            } else {
                shared[bin] += excess_of_one * taken as f64;
            }
            rank += taken;
        }
    }
    let filled = (0..bins).map(|bin| ((cuts[bin + 1] - cuts[bin]) as f64, bin)).filter(|&(count, _)| count > 0.0);
    let excess = |bin: usize| whole[bin].hits as f64 - whole[bin].sum.value() + shared[bin];
    filled.map(|(count, bin)| Gap { count, gap: excess(bin).abs() / count }).collect()
}
