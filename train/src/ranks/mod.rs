//! Several processes that train one network.
//!
//! They communicate by one operation, [`Ranks::gather`], which may run twice at the same time ([`Ranks::gather_aside`]).
//! [`deal`] decides which rank computes what, [`tree`] in which order terms are added, `wire` how tensors are encoded,
//! and `passport` checks what all ranks must have in common.
//! `sums` adds the gradients of all ranks and exchanges them while the backward pass goes on, through the thread of a
//! `queue`.

pub mod deal;
#[cfg(feature = "mpi")]
pub mod mpi;
pub(crate) mod passport;
pub(crate) mod queue;
pub(crate) mod share;
pub(crate) mod sums;
#[cfg(test)]
mod tests;
pub mod tree;
pub(crate) mod wire;

use segcal_core::{Error, Result};

/// One of several processes that train together, numbered from 0.
pub trait Ranks: Send + Sync {
    /// The number of this rank.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Returns the bytes of every rank, in rank order. All ranks must make the same sequence of calls; a call returns
    /// once all ranks have made it.
    ///
    /// # Errors
    /// Another rank has ended, or this one has been asked to end.
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// The same, independent of [`Ranks::gather`]: neither waits for calls of the other that have begun, and only calls
    /// of the same kind must have the same sequence on all ranks.
    ///
    /// # Errors
    /// As [`Ranks::gather`].
    fn gather_aside(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Ends the communication, after all ranks have finished their work.
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

    fn gather_aside(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.gather(own)
    }
}

/// Returns the outcome of this rank if all ranks succeed; otherwise this rank's error, or else that of the first rank
/// that failed.
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
