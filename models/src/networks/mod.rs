//! The networks, one file each, and THE list of them.

use segcal_core::{Backend, Error, Result, nearest};

use crate::entry::NetworkEntry;
use crate::network::{Network, NetworkConfig};

macro_rules! list {
    ($($file:ident)+) => {
        $(mod $file;)+

        /// The entries of each file.
        const FILES: &[&[NetworkEntry]] = &[$($file::ENTRIES),+];
    };
}

list! {
    unet
    attunet
    unetpp
    unetpp_nested
    resunet
    transunet
    dynunet
    nnunet
}

/// Every network.
pub fn networks() -> impl Iterator<Item = &'static NetworkEntry> {
    FILES.iter().copied().flatten()
}

/// The network that a config describes.
///
/// # Errors
/// An unknown name, or inconsistent values; the message names the key.
pub fn build<B: Backend>(config: &NetworkConfig) -> Result<Box<dyn Network<B>>> {
    let Some(entry) = networks().find(|entry| entry.name == config.name) else { return Err(unknown(&config.name)) };
    let network = (entry.build)(&config.over((entry.preset)())?)?;
    Ok(Box::new(network))
}

/// Adapts a config to images of these extents: a network with a fixed image size takes theirs, unless the config sets
/// one.
#[must_use]
pub fn fitted_to(config: NetworkConfig, [_, h, _]: [usize; 3]) -> NetworkConfig {
    const KEY: &str = "image";
    let fixed = networks().any(|entry| entry.name == config.name && entry.keys.iter().any(|(key, _)| *key == KEY));
    if fixed && !config.keys.contains_key(KEY) { config.with(KEY, h) } else { config }
}

fn unknown(name: &str) -> Error {
    let known: Vec<&str> = networks().map(|entry| entry.name).collect();
    let error = Error::new(format!("unknown network \"{name}\"")).at("name");
    match nearest(name, known.iter().copied()) {
        Some(near) => error.help(format!("did you mean {near}?")),
        None => error.help(format!("choose one of {}", known.join(", "))),
    }
}
