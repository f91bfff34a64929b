//! Operations on tensors. Each one checks shapes, calls the backend and records the adjoint.
//!
//! There is one file per family, and each operation is defined next to its gradient. A shape mismatch is a bug in the
//! caller: it panics with the operation, the argument and both shapes.

mod conv;
mod count;
mod label;
mod layout;
mod map;
mod pool;
mod reduce;
mod resample;

pub use conv::{conv, conv_transpose};
pub use count::{bincount, take};
pub use label::{distance, one_hot, rank_filter};
pub use layout::{concat, pad, place, slice};
pub use map::{map, map_over, maps, sum_of};
pub use pool::max_pool;
pub use reduce::{max, mean_all, sum, sum_all};
pub use resample::{replicate_pad, resample, upsample};

use crate::{Backend, Shape, Tensor};

/// The common shape of all inputs.
fn common_shape<B: Backend>(op: &str, inputs: &[&Tensor<B>]) -> Shape {
    inputs.iter().fold(Shape::SCALAR, |shape, input| {
        let joined = shape.broadcast(input.shape());
        joined.unwrap_or_else(|| panic!("{op}: an input of shape {} is not compatible with {shape}", input.shape()))
    })
}
