//! The best checkpoint of a run that goes on: whole, and what it is worth where the last one is not.

use segcal_core::{Error, Result};

use super::run::Verified;
use super::run_folder::RunFolder;
use super::settings::Settings;

/// The error of a last checkpoint that cannot be used, with what can be done about it.
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

/// Refuses a run whose best checkpoint is missing or damaged: it could be finished, but not used.
///
/// # Errors
/// It is.
pub(super) fn expect_best(folder: &RunFolder, done: usize, settings: &Settings) -> Result<()> {
    let best = folder.best()?;
    let found = if best.exists() {
        Verified::open(&best, settings).map(drop)
    } else {
        Err(Error::new("is missing").at(best.display()))
    };
    found.map_err(|error| {
        let remedy = if folder.best_epoch() == Some(done) {
            "last.safetensors is of the same epoch and whole: copy it to best.safetensors"
        } else {
            "restore it from a copy, or start a new run with out=FOLDER"
        };
        Error::new(error.to_string()).help(remedy)
    })
}
