//! Bins of equal width.

use serde::{Deserialize, Serialize};

use super::fixed::FixedSum;

/// Number of bins by default, as in the papers.
pub const DEFAULT_BINS: usize = 15;

/// Probabilities at or below this are left out of `tace` and `tcece` by default (CRaC, section 3).
pub const THRESHOLD: f32 = 1e-3;

/// The same in 64 bits, as it is written.
pub const DEFAULT_THRESHOLD: f64 = 1e-3;

/// Classes beyond which states keep only what grows with the number of classes, not with its square.
pub const MOST_CLASSES: usize = 20;

/// How far outside [0, 1] a value may lie and still count as rounding; it is clamped.
pub(super) const TOLERANCE: f32 = 1e-3;

/// Number of cells that the first bin is kept in: exact zeros, up to the threshold, above it.
pub(super) const FIRST_BIN_CELLS: usize = 3;

/// Number of cells for a number of bins.
pub(super) const fn cells(bins: usize) -> usize {
    bins + FIRST_BIN_CELLS - 1
}

/// The edges `i / bins` of `bins` equal-width bins, rounded to f32: `bins + 1` numbers.
pub fn edges(bins: usize) -> Vec<f32> {
    (0..=bins).map(|edge| edge as f32 / bins as f32).collect()
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
