//! Proof of what a run did: for each epoch, a hash of what the network saw and of the resulting state, chained to the
//! previous epoch.
//!
//! `chain_e = SHA-256(chain_{e-1}, row_e, batches_e, state_e, arithmetic_e)`, where `row_e` is the epoch's row of
//! `metrics.csv`, `batches_e` hashes the batches in their order, `state_e` hashes weights, moments and multipliers, and
//! `arithmetic_e` names the backend and its instruction set. The log stores all of this for every epoch, and each
//! checkpoint for its own epoch. Two runs with the same last link saw the same data in the same order and are
//! bit-identical; a log or checkpoint that was changed or damaged is detected on resuming.

use segcal_core::{Backend, Error, Result};
use segcal_losses::State;
use segcal_models::Parameters;
use serde::{Deserialize, Serialize};

use segcal_data::checkpoint;
use segcal_data::hash::Hash;

/// Inputs and results of an epoch: hashes in hexadecimal, and the arithmetic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// [`Backend::arithmetic`] of the epoch; empty in runs from before it was recorded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arithmetic: String,
    /// Hash of the batches: cases, images and labels, in the order in which the network saw them.
    pub batches: String,
    /// Hash of weights, moments and multipliers after the epoch.
    pub weights: String,
    /// Hash of the previous link, the epoch's row of the table, and the three fields above.
    pub chain: String,
}

impl Link {
    /// Completes `made`, whose chain is still empty, as the link of an epoch with this row of the table, after the link
    /// `before`.
    pub fn after(before: Option<&Self>, row: &str, made: Self) -> Self {
        Self { chain: made.chained(before, row), ..made }
    }

    /// Whether the link follows from the previous one and the epoch's row of the table.
    pub fn follows(&self, before: Option<&Self>, row: &str) -> bool {
        self.chain == self.chained(before, row)
    }

    /// Refuses to continue with different arithmetic: the results would match those of neither.
    ///
    /// # Errors
    /// The epoch was computed with another backend or instruction set; the message names both.
    pub fn expect_arithmetic(&self, now: &str) -> Result<()> {
        if self.arithmetic.is_empty() || self.arithmetic == now {
            return Ok(());
        }
        let (backend, level) = self.arithmetic.split_once(' ').unwrap_or((&self.arithmetic, ""));
        let level = if level.is_empty() { String::new() } else { format!(" --isa {level}") };
        let problem =
            format!("the run was trained with {}, this is {now}, which gives different bits", self.arithmetic);
        Err(Error::new(problem).help(format!(
            "continue with --backend {backend}{level}, or start a new run with init=RUN/last.safetensors out=FOLDER"
        )))
    }

    fn chained(&self, before: Option<&Self>, row: &str) -> String {
        let mut hash = Hash::default();
        for part in [before.map_or("", |link| &link.chain), row, &self.batches, &self.weights] {
            hash.text(part);
        }
        if !self.arithmetic.is_empty() {
            hash.text(&self.arithmetic);
        }
        hash.hex()
    }
}

/// Hash of everything that determines the rest of a run: weights, the optimiser's state (`moments`), the loss's
/// `multipliers`.
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
        let made = |arithmetic: &str| Link {
            arithmetic: arithmetic.into(),
            batches: "b".into(),
            weights: "w".into(),
            ..Link::default()
        };
        let first = Link::after(None, "1,0.5", made("cpu avx2"));
        let second = Link::after(Some(&first), "2,0.25", made("cpu avx2"));
        assert!(first.follows(None, "1,0.5") && second.follows(Some(&first), "2,0.25"));
        assert!(!second.follows(None, "2,0.25") && !second.follows(Some(&first), "2,0.75"));
        assert!(!Link { weights: "v".into(), ..second.clone() }.follows(Some(&first), "2,0.25"));
        assert!(!Link { arithmetic: "cpu avx512".into(), ..second.clone() }.follows(Some(&first), "2,0.25"));
        assert_ne!(first.chain, second.chain);
    }

    #[test]
    fn other_arithmetic_is_refused_with_what_to_ask_for() {
        let of = |arithmetic: &str, now: &str| {
            let link = Link { arithmetic: arithmetic.into(), ..Link::default() };
            link.expect_arithmetic(now).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!((of("cpu avx2", "cpu avx2"), of("", "gpu")), (String::new(), String::new()));
        let level = of("cpu avx2", "cpu avx512");
        assert!(level.contains("with cpu avx2, this is cpu avx512"), "{level}");
        assert!(level.contains("--backend cpu --isa avx2"), "{level}");
        let backend = of("gpu", "cpu avx512");
        assert!(backend.contains("with gpu, this is cpu avx512") && backend.contains("--backend gpu,"), "{backend}");
    }
}
