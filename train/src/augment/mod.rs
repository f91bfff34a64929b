//! Random changes of training samples, drawn from counters: the same for the same seed, epoch and sample, whatever the number
//! of threads and wherever a run was interrupted.

mod orientation;

pub use orientation::Orientation;
