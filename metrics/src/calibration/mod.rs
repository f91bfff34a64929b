//! Calibration: the deviation of probabilities from frequencies, per region, in one pass.
//!
//! [`Calibration`] holds integer counters and exact fixed-point sums of every [`Region`], so that states of tiles, cases
//! and processes merge to the same bits in any order. [`RegionBins`] is what it holds of one region; the figures are
//! methods on it. [`EqualMass`] adds the figures whose bins hold equal numbers of voxels. Only what occurs takes room:
//! the size of a state grows with the classes that a volume holds and with its voxels, not with the square of the number
//! of classes.
//!
//! Bins are `(l, u]` with edges `i / n` rounded to f32, and 0 belongs to the first: a probability stored as the f32
//! nearest to an edge lies on the edge. Sums are in units of 2^-40: each addend is rounded to the nearest unit (error
//! at most 2^-41, about 4.5e-13; a probability of 2^-17 or more is exact), and adding is exact.

mod bins;
mod cells;
mod codes;
mod column;
mod counters;
mod equal_mass;
mod fine;
mod fixed;
mod group;
mod mass;
mod pass;
mod quiet;
mod region;
mod region_bins;
mod tally;
mod voxels;

pub use bins::{Bin, DEFAULT_BINS, DEFAULT_THRESHOLD, MOST_CLASSES, THRESHOLD, edges};
pub use equal_mass::EqualMass;
pub use fixed::FixedSum;
pub use mass::EqualMassFigures;
pub use pass::Calibration;
pub use region::Region;
pub use region_bins::RegionBins;
pub use voxels::Voxels;

#[cfg(test)]
mod tests;
