//! Runs epoch after epoch: on its own, into a run folder, or alongside the rank that writes one.

use segcal_core::{Backend, Error, Result};
use segcal_data::observer::{Observer, is_interruption};
use segcal_losses::Criterion;

use crate::patience;
use crate::record::EpochRecord;
use crate::run_folder::RunFolder;
use crate::stopped::{is_stopped, stopped};

impl<B: Backend, L: Criterion> super::Trainer<'_, B, L> {
    /// Trains the remaining epochs, and returns the figures of each.
    ///
    /// # Errors
    /// A case cannot be read, a number is not finite, the device fails, or the observer asks to stop.
    pub fn run(&mut self, observer: &dyn Observer) -> Result<Vec<EpochRecord>> {
        let mut records = Vec::new();
        while self.epoch < self.settings.epochs && !patience::is_over(self.settings, &records) {
            records.push(self.run_epoch(observer)?);
            self.epoch += 1;
        }
        Ok(records)
    }

    /// The same, writing logs and checkpoints after each epoch.
    ///
    /// # Errors
    /// As [`Self::run`], or the folder cannot be written. Everything written before stays usable; once an epoch is
    /// finished, [`is_stopped`] recognises the error.
    pub fn run_in(&mut self, folder: &mut RunFolder, observer: &dyn Observer) -> Result<()> {
        let outcome = self.run_epochs(folder, observer);
        self.with_what_is_kept(outcome)
    }

    /// Adds to an error which epochs are kept, and how to continue.
    fn with_what_is_kept(&self, outcome: Result<()>) -> Result<()> {
        let kept = match self.epoch {
            0 => "no epoch was done yet".to_owned(),
            1 => "epoch 1 is kept".to_owned(),
            done => format!("epochs 1 to {done} are kept"),
        };
        outcome.map_err(|error| {
            let go_on = format!("{kept}; the same command with --resume continues from there");
            if is_interruption(&error) {
                error.help(go_on)
            } else if self.epoch > 0 || is_stopped(&error) {
                stopped(error).help(go_on)
            } else {
                error
            }
        })
    }

    fn run_epochs(&mut self, folder: &mut RunFolder, observer: &dyn Observer) -> Result<()> {
        while self.goes_on(!patience::is_over(self.settings, folder.records()))? {
            let mut record = self.run_epoch(observer)?;
            record.hashes.weights = self.weights_hash()?;
            let link = folder.record(record)?;
            if folder.newest_is_best() {
                self.checkpoint(&link).save(&folder.best()?)?;
            }
            // Before the last checkpoint, which marks the epoch as finished, so that a finished run has the curves of
            // all epochs.
            folder.draw()?;
            self.checkpoint(&link).save(&folder.last()?)?;
            self.epoch += 1;
        }
        patience::announce(self.settings, self.epoch, observer);
        Ok(())
    }

    /// Trains the same epochs alongside rank 0, which calls [`Self::run_in`]; writes nothing.
    ///
    /// # Errors
    /// As [`Self::run_in`].
    pub fn run_beside(&mut self, observer: &dyn Observer) -> Result<()> {
        let outcome = self.run_epochs_beside(observer);
        self.with_what_is_kept(outcome)
    }

    fn run_epochs_beside(&mut self, observer: &dyn Observer) -> Result<()> {
        while self.goes_on(true)? {
            self.run_epoch(observer)?;
            self.epoch += 1;
        }
        Ok(())
    }

    /// Whether to train another epoch: rank 0 decides by its `wishes`, if any epochs are left. All ranks call this
    /// together, and must have the same weights.
    fn goes_on(&self, wishes: bool) -> Result<bool> {
        let wishes = wishes && self.epoch < self.settings.epochs;
        if self.ranks.size() == 1 {
            return Ok(wishes);
        }
        let all = self.ranks.gather(format!("{}{}", u8::from(wishes), self.weights_hash()?).as_bytes())?;
        match all.iter().position(|own| own.get(1..) != all[0].get(1..)) {
            None => Ok(all[0].first() == Some(&b'1')),
            Some(rank) => Err(Error::new(format!("the weights of rank {rank} differ from those of rank 0"))
                .at(format!("after epoch {}", self.epoch))
                .help("pin the instruction set of the weakest machine with --isa, or check for faulty memory")),
        }
    }
}
