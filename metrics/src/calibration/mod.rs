//! Calibration: the deviation of probabilities from frequencies, per region, in one pass.
//!
//! [`Calibration`] holds integer counters and exact fixed-point sums for every [`Region`], so that states of tiles,
//! cases and processes merge to bit-identical results in any order. [`RegionBins`] is the part for one region; the
//! metrics are its methods. [`EqualMass`] provides the metrics whose bins contain equal numbers of voxels. Only data
//! that occurs is stored: the size of a state grows with the classes in a volume and with its voxels, not with the
//! square of the number of classes.
//!
//! Bins are `(l, u]` with edges `i / n` rounded to f32, and 0 belongs to the first bin: a probability stored as the f32
//! nearest to an edge is on the edge. Sums are in units of 2^-40: each addend is rounded to the nearest unit (error at
//! most 2^-41, about 4.5e-13; a probability of 2^-17 or more is exact), and addition is exact.

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
