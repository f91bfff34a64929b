//! Streams of random numbers, one for each purpose, so that none depends on how many numbers another used.

/// Order and positions of an epoch's blocks.
pub(super) const EPOCHS: u64 = 1;
/// The two views of a step.
pub(super) const VIEWS: u64 = 2;
/// Dropout of a step.
pub(super) const DROPOUT: u64 = 3;
/// Flips and turns of an epoch's blocks.
pub(super) const ORIENTATIONS: u64 = 4;
/// The operators that change an epoch's blocks.
pub(super) const CHANGES: u64 = 5;
