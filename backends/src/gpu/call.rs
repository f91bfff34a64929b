//! The description of one dispatch.

use super::buffer::Buffer;
use super::kernel::Code;
use super::params::Params;

/// One dispatch.
pub(super) struct Call<'a> {
    /// The method of [`Backend`](segcal_core::Backend) that requests it, for messages.
    pub(super) op: &'static str,
    pub(super) code: Code,
    pub(super) reads: &'a [&'a Buffer],
    pub(super) writes: &'a [&'a Buffer],
    pub(super) params: &'a Params,
    pub(super) groups: usize,
    /// Arithmetic operations, for timing.
    pub(super) operations: u64,
}

impl Call<'_> {
    /// The arrays read, then the arrays written.
    pub(super) fn arrays(&self) -> impl Iterator<Item = &Buffer> {
        self.reads.iter().chain(self.writes).copied()
    }

    /// Minimum memory traffic: each array once.
    pub(super) fn bytes(&self) -> u64 {
        self.arrays().map(|array| array.len() as u64 * 4).sum()
    }
}
