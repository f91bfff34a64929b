//! Layers: one file each. A layer is a description; its numbers are in the [`Parameters`](crate::Parameters).

mod activation;
mod conv;
mod norm;
mod pool;
mod unit;
mod upsample;

pub use activation::Activation;
pub use conv::Conv;
pub use norm::Norm;
pub use pool::max_pool;
pub use unit::Unit;
pub use upsample::{Upsample, Upsampling};

/// Whether a forward pass is for training or for use. Only batch normalisation makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics normalise, and the running ones take note of them.
    Train,
    /// Running statistics normalise.
    Evaluate,
}
