//! The results of one epoch.

use std::fmt::Display;

use segcal_data::output::Number;
use serde::{Deserialize, Serialize};

use super::chain::Link;

/// The results of one epoch.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: usize,
    /// Learning rate of the epoch.
    pub learning_rate: f64,
    /// Mean over the batches of the loss and each of its terms, by name; `loss` is the total.
    pub loss: Vec<(String, f64)>,
    /// Mean foreground DSC of the validation volumes; NaN if no volume contains a structure.
    pub dsc: Number,
    /// DSC of each structure, averaged over the validation volumes that contain it.
    pub dsc_by_structure: Vec<(String, Number)>,
    /// Mean foreground ECE of the validation volumes.
    pub ece: Number,
    /// The state of the loss (multipliers), by name; empty for most losses.
    pub state: Vec<(String, Vec<f64>)>,
    /// Seconds of training, without validation.
    pub seconds: f64,
    /// Training samples per second.
    pub images_per_second: f64,
    /// Proof of the epoch; its chain is filled in by [`RunFolder::record`](super::run_folder::RunFolder::record).
    pub hashes: Link,
}

/// A finished training.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Finished {
    /// The epoch whose weights are used for prediction, from 1: the first one with the largest mean foreground DSC on
    /// the validation volumes, or the last if there are none.
    pub best_epoch: Option<usize>,
    /// The results of each epoch.
    pub epochs: Vec<EpochRecord>,
}

impl Finished {
    /// The results of the best epoch.
    pub fn best(&self) -> Option<&EpochRecord> {
        self.epochs.get(self.best_epoch?.checked_sub(1)?)
    }
}

impl EpochRecord {
    /// The results in one line for people.
    pub fn line(&self) -> String {
        let terms: Vec<String> = self.loss.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        let pace = format!("{:.1} s, {:.0} images/s", self.seconds, self.images_per_second);
        if self.dsc.0.is_nan() && self.ece.0.is_nan() {
            // No validation cases, or none that contains a structure.
            return format!("{}, {pace}", terms.join(", "));
        }
        format!("{}, DSC {:.4}, ECE {:.4}, {pace}", terms.join(", "), self.dsc.0, self.ece.0)
    }

    /// The epoch's fields of `metrics.csv`: without times, so that the same run gives the same bytes.
    pub(super) fn fields(&self) -> Vec<&dyn Display> {
        let mut row: Vec<&dyn Display> = vec![&self.epoch, &self.learning_rate];
        row.extend(self.loss.iter().map(|(_, value)| value as &dyn Display));
        row.extend([&self.dsc.0 as &dyn Display, &self.ece.0]);
        row.extend(self.dsc_by_structure.iter().map(|(_, value)| &value.0 as &dyn Display));
        row
    }

    /// The same, as the text that the hash chain covers.
    pub(super) fn row(&self) -> String {
        self.fields().iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}
