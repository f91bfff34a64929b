//! Runs programs over blocks of elements: the loops of [`kernel`](super::kernel) one after the other, on values that
//! stay in the L1 cache.
//!
//! Axes over which every input is contiguous or constant are merged. The innermost merged axis is a row: within a row
//! an input is either a borrowed slice or a single number, and steps that depend only on such numbers are computed once
//! per row. If rows are short, blocks span several rows and broadcast inputs are written out.

mod axes;
mod machine;
mod plan;

pub(super) use axes::for_each_row;
pub(super) use machine::Machine;
pub(super) use plan::Plan;

/// Maximum number of elements in a block: few enough for the registers to stay in a near cache, and many enough to make
/// the overhead outside the loops negligible.
pub(super) const BLOCK: usize = 1024;
