//! Checkpoints at the border: what is read is a regular file that fits into memory, what cannot be written is a write
//! failure, and numbers have a hash.

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
/// Those of [`models::load`]; it is not a regular file, or too large for the memory that is free.
pub fn load(path: &Path) -> Result<Stored> {
    let (_, size) = limits::open(path).at(path.display())?;
    // The numbers are held as they are stored and as doubles.
    memory::expect(size.saturating_mul(3), "the checkpoint").at(path.display())?;
    models::load(path)
}

/// Writes a checkpoint; see [`models::save`].
///
/// # Errors
/// Those of [`models::save`]; a disk or folder that cannot be written is a write failure.
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

/// Adds names, extents and numbers to a hash. The numbers count as doubles, so that every backend that holds them
/// exactly gives the same.
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
