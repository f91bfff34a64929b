//! Regions, their bins, and the figures.

use std::fmt;
use std::str::FromStr;

use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::FixedSum;
use crate::volume::Label;

/// Which voxels a calibration figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Region {
    /// Every voxel.
    All,
    /// Voxels whose reference label is not 0: the papers' region.
    Foreground,
    /// Voxels whose reference label or most probable class is not 0.
    Union,
    /// Voxels within the band around the reference boundary; see [`super::boundary_band`].
    Boundary,
    /// Voxels whose reference label is this one.
    Structure(Label),
}

impl Region {
    /// Whether a voxel belongs to the region.
    pub const fn contains(self, reference: Label, prediction: Label, in_band: bool) -> bool {
        match self {
            Self::All => true,
            Self::Foreground => reference != 0,
            Self::Union => reference != 0 || prediction != 0,
            Self::Boundary => in_band,
            Self::Structure(label) => reference == label,
        }
    }

    /// Every region of an evaluation with this many classes, in the order of the report.
    pub fn every(classes: usize) -> Vec<Self> {
        let common = [Self::All, Self::Foreground, Self::Union, Self::Boundary];
        common.into_iter().chain((1..classes as Label).map(Self::Structure)).collect()
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Foreground => f.write_str("foreground"),
            Self::Union => f.write_str("union"),
            Self::Boundary => f.write_str("boundary"),
            Self::Structure(label) => write!(f, "structure:{label}"),
        }
    }
}

impl FromStr for Region {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let structure = || text.strip_prefix("structure:")?.parse().ok().map(Self::Structure);
        let common = [Self::All, Self::Foreground, Self::Union, Self::Boundary];
        let named = common.into_iter().find(|region| region.to_string() == text);
        named.or_else(structure).ok_or_else(|| {
            Error::new(format!("'{text}' is not a region"))
                .help("all, foreground, union, boundary, or structure:k with a label k")
        })
    }
}

/// What fell into one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// Number of voxels.
    pub count: u64,
    /// Number of those that are right: predicted label or class equals the reference label.
    pub hits: u64,
    /// Sum of their probabilities.
    pub sum: FixedSum,
}

impl Bin {
    /// Mean probability; NaN of an empty bin.
    pub fn confidence(&self) -> f64 {
        self.sum.mean(self.count)
    }

    /// Share of hits; NaN of an empty bin.
    pub fn accuracy(&self) -> f64 {
        self.hits as f64 / self.count as f64
    }

    /// |accuracy - confidence|; NaN of an empty bin.
    pub fn gap(&self) -> f64 {
        (self.accuracy() - self.confidence()).abs()
    }

    /// Adds the voxels of another bin.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.hits += other.hits;
        self.sum.merge(other.sum);
    }
}

/// Number of cells that the first bin is kept in: exact zeros, up to the threshold of `tcece`, above it.
const FIRST_BIN_CELLS: usize = 3;

/// Number of cells for a number of bins.
pub(super) const fn cells(bins: usize) -> usize {
    bins + FIRST_BIN_CELLS - 1
}

/// Bins and sums of one region. Every figure is NaN for a region without voxels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionBins {
    pub(super) bins: usize,
    pub(super) voxels: u64,
    pub(super) correct: u64,
    /// Voxels of each reference label.
    pub(super) labels: Vec<u64>,
    /// Cells of the largest probability.
    pub(super) top: Vec<Bin>,
    /// Cells of each class's probability.
    pub(super) classes: Vec<Vec<Bin>>,
    pub(super) nll: FixedSum,
    pub(super) zero_likelihood: u64,
    pub(super) brier: FixedSum,
    pub(super) brier_foreground: FixedSum,
    /// The part of `brier_foreground` from voxels whose reference label is not 0.
    pub(super) brier_plus: FixedSum,
}

impl RegionBins {
    pub(super) fn new(classes: usize, bins: usize) -> Self {
        let empty = vec![Bin::default(); cells(bins)];
        Self {
            bins,
            voxels: 0,
            correct: 0,
            labels: vec![0; classes],
            top: empty.clone(),
            classes: vec![empty; classes],
            nll: FixedSum::default(),
            zero_likelihood: 0,
            brier: FixedSum::default(),
            brier_foreground: FixedSum::default(),
            brier_plus: FixedSum::default(),
        }
    }

    /// Adds the voxels of another part of the same evaluation.
    ///
    /// # Panics
    /// The numbers of classes or bins differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!((self.bins, self.labels.len()), (other.bins, other.labels.len()), "bins, classes");
        self.voxels += other.voxels;
        self.correct += other.correct;
        self.labels.iter_mut().zip(&other.labels).for_each(|(own, new)| *own += new);
        self.top.iter_mut().zip(&other.top).for_each(|(own, new)| own.merge(new));
        let cells = self.classes.iter_mut().flatten().zip(other.classes.iter().flatten());
        cells.for_each(|(own, new)| own.merge(new));
        self.nll.merge(other.nll);
        self.zero_likelihood += other.zero_likelihood;
        self.brier.merge(other.brier);
        self.brier_foreground.merge(other.brier_foreground);
        self.brier_plus.merge(other.brier_plus);
    }

    /// Number of voxels of the region.
    pub const fn voxels(&self) -> u64 {
        self.voxels
    }

    /// Number of bins.
    pub const fn bins(&self) -> usize {
        self.bins
    }

    /// Number of voxels of each reference label in the region.
    pub fn label_counts(&self) -> &[u64] {
        &self.labels
    }

    /// Voxels whose reference label has a probability below 2^-126, which `nll` counts as 2^-126.
    pub const fn zero_likelihood(&self) -> u64 {
        self.zero_likelihood
    }

    /// The bins of the largest probability.
    pub fn top_bins(&self) -> Vec<Bin> {
        joined(&self.top)
    }

    /// The bins of class `k`'s probability; a hit is a voxel of label `k`.
    pub fn class_bins(&self, k: usize) -> Vec<Bin> {
        joined(&self.classes[k])
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
        crate::empty::mean(self.top_bins().into_iter().filter(|bin| bin.count > 0).map(|bin| bin.gap()))
    }

    /// Classwise ECE, mean over all classes.
    pub fn cece_mean(&self) -> f64 {
        self.cece_sum() / self.classes.len() as f64
    }

    /// Classwise ECE, sum over all classes.
    pub fn cece_sum(&self) -> f64 {
        self.classes.iter().map(|cells| weighted_gap(&joined(cells), self.voxels)).sum()
    }

    /// Thresholded classwise ECE, mean over all classes, as the code of CRaC computes its "TACE". A class whose
    /// probabilities are all at or below the threshold counts 0.
    pub fn tcece(&self) -> f64 {
        if self.voxels == 0 {
            return f64::NAN;
        }
        self.classes.iter().map(|cells| above_threshold(cells)).sum::<f64>() / self.classes.len() as f64
    }

    /// The authors' classwise figures `(CECE, "TACE")`: means over the classes up to the largest reference label
    /// present, a probability of exactly 0 in no bin.
    pub fn authors_classwise(&self) -> (f64, f64) {
        let Some(largest) = self.labels.iter().rposition(|&count| count > 0) else { return (f64::NAN, f64::NAN) };
        let classes = &self.classes[..=largest];
        let without_zeros = |cells: &[Bin]| {
            let mut bins = cells[FIRST_BIN_CELLS - 1..].to_vec();
            bins[0].merge(&cells[1]);
            weighted_gap(&bins, self.voxels)
        };
        let mean = |figure: &dyn Fn(&[Bin]) -> f64| {
            classes.iter().map(|cells| figure(cells)).sum::<f64>() / classes.len() as f64
        };
        (mean(&without_zeros), mean(&above_threshold))
    }

    /// Brier score, summed over classes, mean over voxels.
    pub fn brier(&self) -> f64 {
        self.brier.mean(self.voxels)
    }

    /// Brier score of foreground against background.
    pub fn brier_foreground(&self) -> f64 {
        self.brier_foreground.mean(self.voxels)
    }

    /// Stratified Brier score: over voxels whose reference label is not 0.
    pub fn brier_plus(&self) -> f64 {
        self.brier_plus.mean(self.labels[1..].iter().sum())
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
        self.top.iter().for_each(|bin| all.merge(bin));
        all.confidence()
    }
}

/// The cells with those of the first bin joined.
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
