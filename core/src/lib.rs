//! Five-axis tensors, fused pointwise programs and gradients over a small [`Backend`] trait.
#![doc(html_no_source)]

mod backend;
mod elem;
pub mod error;
mod opcode;
pub mod program;
mod shape;

pub use backend::{Backend, Fold, NO_DISTANCE, Rank, View};
pub use elem::Elem;
pub use error::{Context, Error, Result};
pub use opcode::Opcode;
pub use program::{Builder, Expr, Program, Step};
pub use shape::{Border, Geometry, Index, Interpolation, Sampling, Shape, Window, axis};
