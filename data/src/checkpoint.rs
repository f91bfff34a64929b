//! Checkpoints on disk: only regular files that fit into memory are read, failures to write are write failures, and
//! parameters can be hashed.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::path::Path;

use segcal_core::{Backend, Context, Result, memory};
use segcal_models::{self as models, Parameters, Stored};

use crate::failure::write_failure;
use crate::hash::Hash;
use crate::limits;

/// Reads a checkpoint; see [`models::load`].
///
/// # Errors
/// Those of [`models::load`]; the file is not a regular file, or is too large for the free memory.
pub fn load(path: &Path) -> Result<Stored> {
    let (_, size) = limits::open(path).at(path.display())?;
    // Memory holds the numbers both as stored and as doubles.
    memory::expect(size.saturating_mul(3), "the checkpoint").at(path.display())?;
    models::load(path)
}

/// Writes a checkpoint; see [`models::save`].
///
/// # Errors
/// Those of [`models::save`]; if the disk or folder cannot be written, the error is a write failure.
pub fn save<B: Backend>(
    path: &Path,
    groups: &[(&str, &Parameters<B>)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    models::save(path, groups, metadata).map_err(|error| {
        match error.source().and_then(<dyn StdError>::downcast_ref::<std::io::Error>) {
            Some(source) => write_failure(source).at(path.display()),
            None => error,
        }
    })
}

/// Adds names, extents and numbers to a hash. Numbers are hashed as doubles, so that every backend that stores them
/// exactly gives the same hash.
///
/// # Errors
/// The device cannot be read.
pub fn add_to<B: Backend>(hash: &mut Hash, parameters: &Parameters<B>) -> Result<()> {
    for parameter in parameters.iter() {
        hash.text(&parameter.name);
        hash.extents(&parameter.dims);
        hash.numbers(&parameter.value.to_vec()?);
    }
    Ok(())
}
