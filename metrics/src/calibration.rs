//! Calibration: how far probabilities are from frequencies, per region, in one pass.
//!
//! [`Calibration`] holds integer counters and exact fixed-point sums for small disjoint groups of voxels. Every region
//! ([`Region`]) is a union of such groups, so one pass serves all regions, and states of tiles, cases and processes
//! merge to the same bits in any order. [`RegionBins`] is the sum for one region; the figures are methods on it.
//! [`EqualMass`] adds the figures whose bins hold equal numbers of voxels.
//!
//! Bins are `(l, u]` with edges `i / n` rounded to f32, and 0 belongs to the first: a probability stored as the f32
//! nearest to an edge lies on the edge. Sums are in units of 2^-40: each addend is rounded to the nearest unit (error
//! at most 2^-41, about 4.5e-13; a probability of 2^-17 or more is exact), and adding is exact.

mod atom;
mod boundary;
mod equal_mass;
mod every;
mod fixed;
mod pass;
mod region;

pub use boundary::boundary_band;
pub use equal_mass::{Boundaries, EqualMass, EqualMassFigures};
pub use every::every_region;
pub use fixed::FixedSum;
pub use pass::Calibration;
pub use region::{Bin, Region, RegionBins};

/// Number of bins where nothing else is asked for, as in the papers.
pub const DEFAULT_BINS: usize = 15;

/// Probabilities at or below this are left out of `tace` and `tcece` (CRaC, section 3).
pub const THRESHOLD: f32 = 1e-3;

/// The edges `i / bins` of `bins` equal-width bins, rounded to f32: `bins + 1` numbers.
pub fn edges(bins: usize) -> Vec<f32> {
    (0..=bins).map(|edge| edge as f32 / bins as f32).collect()
}

#[cfg(test)]
mod tests;
