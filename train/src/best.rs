//! The best checkpoint when a run is continued: it must be intact, and can replace a damaged last checkpoint.

use segcal_core::{Error, Result};

use super::run::Verified;
use super::run_folder::RunFolder;
use super::settings::Settings;

/// Adds to the error of an unusable last checkpoint what can be done about it.
pub(super) fn offer_best(error: &Error, folder: &RunFolder, settings: &Settings) -> Error {
    let best = folder.best().and_then(|best| Ok((Verified::open(&best, settings)?.epoch, best)));
    let remedy = match best {
        Ok((epoch, best)) => {
            format!(
                "{} is intact: copy it over last.safetensors, then --resume continues after epoch {epoch}",
                best.display()
            )
        }
        Err(_) => "best.safetensors is not intact either: start a new run with out=FOLDER".to_owned(),
    };
    Error::new(error.to_string()).help(remedy)
}

/// Refuses a run whose best checkpoint is missing or damaged: the run could be finished, but not used.
///
/// # Errors
/// The best checkpoint is missing or damaged.
pub(super) fn expect_best(folder: &RunFolder, done: usize, settings: &Settings) -> Result<()> {
    let best = folder.best()?;
    let found = if best.exists() {
        Verified::open(&best, settings).map(drop)
    } else {
        Err(Error::new("is missing").at(best.display()))
    };
    found.map_err(|error| {
        let remedy = if folder.best_epoch() == Some(done) {
            "last.safetensors is intact and of the same epoch: copy it to best.safetensors"
        } else {
            "restore it from a copy, or start a new run with out=FOLDER"
        };
        Error::new(error.to_string()).help(remedy)
    })
}
