//! Equal-width bins.

use serde::{Deserialize, Serialize};

use super::fixed::FixedSum;

/// Default number of bins, as in the papers.
pub const DEFAULT_BINS: usize = 15;

/// Probabilities at or below this are excluded from `tace` and `tcece` by default (CRaC, section 3).
pub const THRESHOLD: f32 = 1e-3;

/// The same threshold in 64 bits: the f64 nearest to 1e-3.
pub const DEFAULT_THRESHOLD: f64 = 1e-3;

/// With more classes than this, states keep only data that grows with the number of classes, not with its square.
pub const MOST_CLASSES: usize = 20;

/// How far outside [0, 1] a value may be and still count as rounding error; it is clamped.
pub(super) const TOLERANCE: f32 = 1e-3;

/// Number of cells that the first bin is split into: exact zeros, values up to the threshold, values above it.
pub(super) const FIRST_BIN_CELLS: usize = 3;

/// The number of cells for a number of bins.
pub(super) const fn cells(bins: usize) -> usize {
    bins + FIRST_BIN_CELLS - 1
}

/// The edges `i / bins` of `bins` equal-width bins, rounded to f32: `bins + 1` numbers.
pub fn edges(bins: usize) -> Vec<f32> {
    (0..=bins).map(|edge| edge as f32 / bins as f32).collect()
}

/// The contents of one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// Number of voxels.
    pub count: u64,
    /// Number of correct voxels: the predicted label or class equals the reference label.
    pub hits: u64,
    /// Sum of their probabilities.
    pub sum: FixedSum,
}

impl Bin {
    /// Mean probability; NaN for an empty bin.
    pub fn confidence(&self) -> f64 {
        self.sum.mean(self.count)
    }

    /// Share of hits; NaN for an empty bin.
    pub fn accuracy(&self) -> f64 {
        self.hits as f64 / self.count as f64
    }

    /// |accuracy - confidence|; NaN for an empty bin.
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
