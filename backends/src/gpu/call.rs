//! What one dispatch is made of.

use super::buffer::Buffer;
use super::kernel::Code;
use super::params::Params;

/// One dispatch.
pub(super) struct Call<'a> {
    /// The operation of the trait that asks for it, for messages.
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
    /// What is read, then what is written.
    pub(super) fn arrays(&self) -> impl Iterator<Item = &Buffer> {
        self.reads.iter().chain(self.writes).copied()
    }

    /// Least traffic with memory: each array once.
    pub(super) fn bytes(&self) -> u64 {
        self.arrays().map(|array| array.len() as u64 * 4).sum()
    }
}
