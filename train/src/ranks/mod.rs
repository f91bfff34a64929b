//! Several processes that train one network.
//!
//! They know each other by one operation, [`Ranks::gather`]. Who computes what is in [`deal`], in which order sums are made
//! in [`tree`], how tensors travel in `wire`, what all must have in common in `passport`.

pub mod deal;
#[cfg(feature = "mpi")]
pub mod mpi;
pub(crate) mod passport;
pub(crate) mod share;
#[cfg(test)]
mod tests;
pub mod tree;
pub(crate) mod wire;

use segcal_core::{Error, Result};

/// One of several processes that train together, numbered from 0.
pub trait Ranks: Send + Sync {
    /// The number of this one.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// What each gives, in the order of the ranks. All must call it, in the same order; it returns when all have.
    ///
    /// # Errors
    /// Another one has ended, or this one is asked to.
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Says that all have done what they came for.
    fn finish(&self) {}
}

/// The only process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![own.to_vec()])
    }
}

/// The outcome here, if it is a success on all ranks; else the error here, or the first one elsewhere.
pub(crate) fn agree<T>(ranks: &dyn Ranks, outcome: Result<T>) -> Result<T> {
    if ranks.size() == 1 {
        return outcome;
    }
    let told = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let all = ranks.gather(told.as_bytes());
    let value = outcome?;
    match all?.into_iter().enumerate().find(|(_, told)| !told.is_empty()) {
        None => Ok(value),
        Some((rank, told)) => Err(Error::new(String::from_utf8_lossy(&told)).at(format!("rank {rank}"))),
    }
}
