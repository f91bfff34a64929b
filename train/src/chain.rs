//! Proof of what a run did: for each epoch a hash of what the network saw and of what it became, chained to the epoch
//! before.
//!
//! `chain_e = SHA-256(chain_{e-1}, row_e, batches_e, state_e)`, where `row_e` is the epoch's row of `metrics.csv`,
//! `batches_e` hashes the batches in their order, and `state_e` hashes weights, moments and multipliers. The log holds
//! all three of each epoch, a checkpoint those of its own: two runs with the same last link saw the same data in the
//! same order and have the same bits, and a log or a checkpoint that was changed or damaged is found on resuming.

use segcal_core::{Backend, Error, Result};
use segcal_losses::State;
use segcal_models::Parameters;
use serde::{Deserialize, Serialize};

use segcal_data::checkpoint;
use segcal_data::hash::Hash;

/// The hashes of one epoch, in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Of the batches: cases, images and labels, in the order in which the network saw them.
    pub batches: String,
    /// Of weights, moments and multipliers after the epoch.
    pub weights: String,
    /// Of the link before, the epoch's row of the table, and the two above.
    pub chain: String,
}

impl Link {
    /// The link of an epoch with this row of the table, behind the link `before`.
    pub fn after(before: Option<&Self>, row: &str, batches: String, weights: String) -> Self {
        let chain = Self::chained(before, row, &batches, &weights);
        Self { batches, weights, chain }
    }

    /// Whether the link is what follows from the one before and the epoch's row of the table.
    pub fn follows(&self, before: Option<&Self>, row: &str) -> bool {
        self.chain == Self::chained(before, row, &self.batches, &self.weights)
    }

    fn chained(before: Option<&Self>, row: &str, batches: &str, weights: &str) -> String {
        let mut hash = Hash::default();
        for part in [before.map_or("", |link| &link.chain), row, batches, weights] {
            hash.text(part);
        }
        hash.hex()
    }
}

/// Hash of all that makes the rest of a run: weights, the optimiser's state (`moments`), the loss's `multipliers`.
///
/// # Errors
/// The device cannot be read.
pub fn weights<B: Backend>(parameters: &Parameters<B>, moments: &Parameters<B>, multipliers: &State) -> Result<String> {
    let mut hash = Hash::default();
    checkpoint::add_to(&mut hash, parameters)?;
    checkpoint::add_to(&mut hash, moments)?;
    hash.text(&serde_json::to_string(multipliers).map_err(Error::from_source)?);
    Ok(hash.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_holds_to_the_one_before_and_to_its_row() {
        let first = Link::after(None, "1,0.5", "b".into(), "w".into());
        let second = Link::after(Some(&first), "2,0.25", "b".into(), "w".into());
        assert!(first.follows(None, "1,0.5") && second.follows(Some(&first), "2,0.25"));
        assert!(!second.follows(None, "2,0.25") && !second.follows(Some(&first), "2,0.75"));
        assert!(!Link { weights: "v".into(), ..second.clone() }.follows(Some(&first), "2,0.25"));
        assert_ne!(first.chain, second.chain);
    }
}
