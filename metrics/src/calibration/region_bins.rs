//! Bins and sums of one region, and its metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bins::{Bin, FIRST_BIN_CELLS, cells};
use super::cells::Cells;
use super::fixed::FixedSum;
use crate::stats::mean;
use crate::volume::Label;

/// Bins and sums of one region. Every metric is NaN for a region without voxels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionBins {
    pub(super) classes: usize,
    pub(super) bins: usize,
    pub(super) voxels: u64,
    pub(super) correct: u64,
    /// Number of voxels of each reference label that occurs.
    pub(super) labels: BTreeMap<Label, u64>,
    /// Cells of the largest probability.
    pub(super) top: Cells,
    /// Cells of each class's probability, numbered class by class; `None` if they are not stored.
    pub(super) each: Option<Cells>,
    pub(super) nll: FixedSum,
    pub(super) zero_likelihood: u64,
    pub(super) brier: FixedSum,
    pub(super) brier_foreground: FixedSum,
    /// The part of `brier_foreground` from voxels whose reference label is not 0.
    pub(super) brier_plus: FixedSum,
}

impl RegionBins {
    pub(super) fn new(classes: usize, bins: usize) -> Self {
        Self {
            classes,
            bins,
            voxels: 0,
            correct: 0,
            labels: BTreeMap::new(),
            top: Cells::default(),
            each: Some(Cells::default()),
            nll: FixedSum::default(),
            zero_likelihood: 0,
            brier: FixedSum::default(),
            brier_foreground: FixedSum::default(),
            brier_plus: FixedSum::default(),
        }
    }

    /// Adds the voxels of another part of the same evaluation. Data that one of the parts lacks is dropped.
    ///
    /// # Panics
    /// The numbers of classes or bins differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!((self.bins, self.classes), (other.bins, other.classes), "bins, classes");
        self.voxels += other.voxels;
        self.correct += other.correct;
        other.labels.iter().for_each(|(label, new)| *self.labels.entry(*label).or_default() += new);
        self.top.merge(&other.top);
        match (&mut self.each, &other.each) {
            (Some(own), Some(new)) => own.merge(new),
            (own, _) => *own = None,
        }
        self.nll.merge(other.nll);
        self.zero_likelihood += other.zero_likelihood;
        self.brier.merge(other.brier);
        self.brier_foreground.merge(other.brier_foreground);
        self.brier_plus.merge(other.brier_plus);
    }

    /// Drops the bins of each class: the classwise metrics become NaN, and the size no longer depends on the number of
    /// classes.
    pub(super) fn drop_classes(&mut self) {
        self.each = None;
    }

    /// Number of voxels of the region.
    pub const fn voxels(&self) -> u64 {
        self.voxels
    }

    /// Number of bins.
    pub const fn bins(&self) -> usize {
        self.bins
    }

    /// Number of voxels of each reference label that occurs in the region.
    pub const fn label_counts(&self) -> &BTreeMap<Label, u64> {
        &self.labels
    }

    /// Whether the bins of each class are stored; states with many classes store them for few regions only.
    pub const fn has_classes(&self) -> bool {
        self.each.is_some()
    }

    /// Voxels whose reference label has a probability below 2^-126, which `nll` counts as 2^-126.
    pub const fn zero_likelihood(&self) -> u64 {
        self.zero_likelihood
    }

    /// The bins of the largest probability.
    pub fn top_bins(&self) -> Vec<Bin> {
        joined(&dense(self.top.between(0, u32::MAX), 0, cells(self.bins)))
    }

    /// For each bin of the largest probability, the hits minus the sum of the probabilities. `ece` is the sum of their
    /// absolute values divided by the number of voxels, also after adding those of several volumes.
    pub fn excesses(&self) -> Vec<f64> {
        self.top_bins().iter().map(|bin| bin.hits as f64 - bin.sum.value()).collect()
    }

    /// The bins of class `k`'s probability; a hit is a voxel with label `k`. All bins are empty if they are not stored.
    pub fn class_bins(&self, k: usize) -> Vec<Bin> {
        joined(&self.class_cells(k))
    }

    fn class_cells(&self, k: usize) -> Vec<Bin> {
        let from = k * cells(self.bins);
        let numbers = [from, from + cells(self.bins)].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        let held = self.each.as_ref().map_or(&[][..], |each| each.between(numbers[0], numbers[1]));
        dense(held, numbers[0], cells(self.bins))
    }

    /// Sum over the first `classes` classes of a metric of their cells; NaN if they are not stored or there is no
    /// voxel. A class whose cells are all empty counts 0.
    fn over_classes(&self, classes: usize, figure: impl Fn(&[Bin]) -> f64) -> f64 {
        let Some(each) = self.each.as_ref().filter(|_| self.voxels > 0) else { return f64::NAN };
        let mut held: Vec<usize> = each.iter().map(|cell| cell.0 as usize / cells(self.bins)).collect();
        held.dedup();
        held.into_iter().take_while(|&k| k < classes).map(|k| figure(&self.class_cells(k))).sum()
    }

    /// Expected calibration error of the largest probability.
    pub fn ece(&self) -> f64 {
        weighted_gap(&self.top_bins(), self.voxels)
    }

    /// Largest gap of a non-empty bin.
    pub fn mce(&self) -> f64 {
        let gaps = self.top_bins().into_iter().filter(|bin| bin.count > 0).map(|bin| bin.gap());
        gaps.fold(f64::NAN, f64::max)
    }

    /// Plain mean of the gaps of non-empty bins.
    pub fn ace(&self) -> f64 {
        mean(self.top_bins().into_iter().filter(|bin| bin.count > 0).map(|bin| bin.gap()))
    }

    /// Classwise ECE, mean over all classes.
    pub fn cece_mean(&self) -> f64 {
        self.cece_sum() / self.classes as f64
    }

    /// Classwise ECE, sum over all classes.
    pub fn cece_sum(&self) -> f64 {
        self.over_classes(self.classes, |cells| weighted_gap(&joined(cells), self.voxels))
    }

    /// Thresholded classwise ECE, mean over all classes, as the code of CRaC computes its "TACE". A class whose
    /// probabilities are all at or below the threshold counts 0.
    pub fn tcece(&self) -> f64 {
        self.over_classes(self.classes, above_threshold) / self.classes as f64
    }

    /// The authors' classwise metrics `(CECE, "TACE")`: means over the classes up to the largest reference label
    /// present, where a probability of exactly 0 is in no bin.
    pub fn authors_classwise(&self) -> (f64, f64) {
        let Some((&largest, _)) = self.labels.last_key_value() else { return (f64::NAN, f64::NAN) };
        let classes = usize::from(largest) + 1;
        let without_zeros = |cells: &[Bin]| {
            let mut bins = cells[FIRST_BIN_CELLS - 1..].to_vec();
            bins[0].merge(&cells[1]);
            weighted_gap(&bins, self.voxels)
        };
        let mean = |figure: &dyn Fn(&[Bin]) -> f64| self.over_classes(classes, figure) / classes as f64;
        (mean(&without_zeros), mean(&above_threshold))
    }

    /// Brier score: sum over classes, mean over voxels.
    pub fn brier(&self) -> f64 {
        self.brier.mean(self.voxels)
    }

    /// Brier score of foreground against background.
    pub fn brier_foreground(&self) -> f64 {
        self.brier_foreground.mean(self.voxels)
    }

    /// Stratified Brier score: over voxels whose reference label is not 0.
    pub fn brier_plus(&self) -> f64 {
        self.brier_plus.mean(self.labels.range(1..).map(|(_, count)| count).sum())
    }

    /// Negative log-likelihood of the reference labels, nats per voxel.
    pub fn nll(&self) -> f64 {
        self.nll.mean(self.voxels)
    }

    /// Share of voxels whose most probable class is the reference label.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.voxels as f64
    }

    /// Mean of the largest probability.
    pub fn confidence(&self) -> f64 {
        let mut all = Bin::default();
        self.top.iter().for_each(|(_, bin)| all.merge(bin));
        all.confidence()
    }
}

/// All cells, including empty ones; `first` is the number of the first.
fn dense(held: &[(u32, Bin)], first: u32, cells: usize) -> Vec<Bin> {
    let mut all = vec![Bin::default(); cells];
    held.iter().for_each(|(number, bin)| all[(number - first) as usize] = *bin);
    all
}

/// The bins: the cells, with those of the first bin merged.
fn joined(cells: &[Bin]) -> Vec<Bin> {
    let mut bins = cells[FIRST_BIN_CELLS - 1..].to_vec();
    cells[..FIRST_BIN_CELLS - 1].iter().for_each(|cell| bins[0].merge(cell));
    bins
}

/// ECE of the probabilities above the threshold; 0 if there is none.
fn above_threshold(cells: &[Bin]) -> f64 {
    let retained = &cells[FIRST_BIN_CELLS - 1..];
    let count = retained.iter().map(|bin| bin.count).sum();
    if count == 0 { 0.0 } else { weighted_gap(retained, count) }
}

/// `sum over bins of count / total |accuracy - confidence|`; NaN for a total of 0.
fn weighted_gap(bins: &[Bin], total: u64) -> f64 {
    let weighted = bins.iter().map(|bin| (bin.hits as f64 - bin.sum.value()).abs());
    weighted.sum::<f64>() / total as f64
}
