//! Fuzz targets that are ordinary programs too.
//!
//! A target is a function of bytes that panics where a promise is broken. The list of all is [`targets::TARGETS`];
//! `replay` runs stored inputs through them, `mutate` changed ones, and cargo-fuzz searches by coverage. `fuzz/README.md`
//! has the commands.

pub mod input;
pub mod mutation;
pub mod targets;
pub mod verbs;
