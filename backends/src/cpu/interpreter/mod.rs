//! Programs over blocks of places: the loops of [`kernel`](super::kernel) one after the other, on numbers that stay
//! in the first-level cache.
//!
//! Axes over which every input is contiguous or constant are merged. What is left of the innermost axis is a row:
//! within a row an input is either a slice, which is borrowed, or one number, and steps of such numbers alone are
//! done once a row. Where rows are short, blocks run across them and broadcast inputs are written out.

mod axes;
mod machine;
mod plan;

pub(super) use axes::for_each_row;
pub(super) use machine::Machine;
pub(super) use plan::Plan;

/// The most places in a block: few enough for the registers to stay in a near cache, many enough for the work beside
/// the loops not to count.
pub(super) const BLOCK: usize = 1024;
