//! Five-axis tensors, fused pointwise programs and gradients over a small [`Backend`] trait.
//!
//! # Ten minutes
//!
//! **Shapes.** Every tensor has the axes `[n, c, d, h, w]`. 2-D data has `d = 1`, a scalar is all ones, a label map has
//! `c = 1`. Two shapes are compatible if, on each axis, they are equal or one of them is 1 ([`Shape`]).
//!
//! **Programs.** A pointwise function is written with [`Expr`] handles and ordinary operators. It becomes a
//! [`Program`], a short list of opcodes that a backend runs in one pass over memory. Its derivative ([`Program::vjp`])
//! is also a program.
//!
//! **Operations.** [`ops`] holds everything that acts on tensors: [`ops::map`] and [`ops::sum`] run programs,
//! [`ops::conv`] and its family convolve, and so on. Each operation is defined next to its gradient.
//!
//! **Gradients.** Nothing is recorded unless an input is [`Tensor::tracked`]. [`Tensor::backward`] consumes a scalar
//! and returns the gradients of all tracked leaves.
//!
//! **Backends.** [`Backend`] is a contract of 17 operations, closed under adjoint. [`Reference`] defines its meaning,
//! in f64 and plain loops. Fast backends live in `segcal-backends`; code written against this crate runs on all of
//! them.
//!
//! A per-pixel classifier, trained for a hundred steps:
//!
//! ```
//! use segcal_core::{Backend, Geometry, Reference, Result, Rng, Shape, Tensor, axis, ops, stable};
//!
//! /// Mean cross entropy of logits `[n, K, d, h, w]` with labels `[n, 1, d, h, w]`.
//! fn cross_entropy<B: Backend>(logits: &Tensor<B>, labels: &Tensor<B>) -> Tensor<B> {
//!     let log_softmax = stable::log_softmax(logits);
//!     let pixels = labels.shape().len() as f64;
//!     // 1 where the channel equals the label: a coordinate compared with an input.
//!     ops::sum_all(&[&log_softmax, labels], |p| {
//!         p.input(1).equals(p.coord(axis::C)).select(-p.input(0), 0.0) * (1.0 / pixels)
//!     })
//! }
//!
//! fn main() -> Result<()> {
//!     let rng = Rng::new(1);
//!     let shape = Shape::new(1, 1, 1, 8, 8);
//!     let image = Tensor::new(&Reference, shape, (0..64).map(|i| rng.uniform(i) - 0.5).collect());
//!     let labels = ops::map(&[&image], |p| p.input(0).lt(0.0));
//!
//!     // A 1x1 convolution from one channel to two classes: weight [out, in, kd, kh, kw].
//!     let mut weight = Tensor::zeros(&Reference, Shape::new(2, 1, 1, 1, 1));
//!     let mut loss = f64::NAN;
//!     for _ in 0..100 {
//!         let leaf = weight.tracked();
//!         let logits = ops::conv(&image, &leaf, &Geometry::VALID);
//!         let total = cross_entropy(&logits, &labels);
//!         loss = total.item()?;
//!         let gradients = total.backward();
//!         // A runtime scalar, so that changing the learning rate does not create a new program.
//!         let gradient = gradients.of(&leaf).expect("the loss depends on the weight");
//!         weight = ops::map_over(weight.shape(), &[2.0], &[&weight, gradient], |p| {
//!             p.input(0) - p.scalar(0) * p.input(1)
//!         });
//!     }
//!     assert!(loss < 0.3, "{loss}");
//!     Ok(())
//! }
//! ```
//!
//! Next: [`Backend`] for the contract, and the source of [`ops::map`] for an operation defined with its gradient.

#[cfg(feature = "ndarray")]
mod array;
mod backend;
mod elem;
pub mod error;
mod grad;
pub mod memory;
mod nearest;
mod opcode;
pub mod ops;
pub mod program;
mod reference;
mod rng;
mod saved;
mod shape;
pub mod stable;
mod tensor;

pub use backend::{Backend, Fold, NO_DISTANCE, Rank, View};
pub use elem::Elem;
pub use error::{Context, Error, Printable, Result};
pub use grad::{Grads, Leaf, custom};
pub use nearest::nearest;
pub use opcode::{Argument, Opcode, Rounding, Smoothness};
pub use program::{Builder, Expr, Program, Step};
pub use reference::Reference;
pub use rng::Rng;
pub use shape::{Border, Geometry, Index, Interpolation, Sampling, Shape, Window, axis};
pub use tensor::Tensor;
