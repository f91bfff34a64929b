//! Five-axis tensors, fused pointwise programs and gradients over a small [`Backend`] trait.
#![doc(html_no_source)]

mod backend;
mod elem;
pub mod error;
mod grad;
mod nearest;
mod opcode;
pub mod ops;
pub mod program;
mod reference;
mod rng;
mod shape;
pub mod stable;
mod tensor;

pub use backend::{Backend, Fold, NO_DISTANCE, Rank, View};
pub use elem::Elem;
pub use error::{Context, Error, Result};
pub use grad::{Grads, custom};
pub use nearest::nearest;
pub use opcode::Opcode;
pub use program::{Builder, Expr, Program, Step};
pub use reference::Reference;
pub use rng::Rng;
pub use shape::{Border, Geometry, Index, Interpolation, Sampling, Shape, Window, axis};
pub use tensor::Tensor;
