//! segcal from C: the functions of `include/segcal.h`, which is made from this crate.
//!
//! A function that can fail returns a [`SegcalStatus`]; [`segcal_error`] gives the text. Handles are opaque, arrays belong to
//! the caller. No panic crosses the border. Reading order: [`measure`], [`map`], [`model`].

pub mod error;
pub mod map;
pub mod measure;
mod memory;
pub mod model;

pub use error::{SegcalStatus, segcal_error};
