//! Layers: one file each. A layer is a description; its numbers are in the [`Parameters`](crate::Parameters).

mod activation;
mod attention;
mod block;
mod conv;
mod dropout;
mod joint_norm;
mod norm;
mod pool;
mod unit;
mod upsample;

pub use activation::Activation;
pub use attention::{Attention, Positions};
pub use block::Block;
pub use conv::Conv;
pub use dropout::Dropout;
pub use norm::{Norm, NormLayer};
pub use pool::{MaxPool, average_pool};
pub use unit::Unit;
pub use upsample::{Upsample, Upsampling};

/// Whether a forward pass is for training or for evaluation. Only batch normalisation and dropout behave differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Normalises with batch statistics and updates the running statistics.
    Train,
    /// Normalises with running statistics.
    Evaluate,
}
