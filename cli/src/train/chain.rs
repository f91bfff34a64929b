//! Proof of what a run did: for each epoch a hash of what the network saw and of what it became, chained to the epoch
//! before.
//!
//! `chain_e = SHA-256(chain_{e-1}, row_e, batches_e, state_e)`, where `row_e` is the epoch's row of `metrics.csv`,
//! `batches_e` hashes the batches in their order, and `state_e` hashes weights, moments and multipliers. The log holds
//! all three of each epoch, a checkpoint those of its own: two runs with the same last link saw the same data in the
//! same order and have the same bits, and a log or a checkpoint that was changed or damaged is found on resuming.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use segcal_core::{Backend, Elem, Error, Result};
use segcal_losses::Objective;
use segcal_models::{Optimiser, Parameters};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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

/// A hash that grows; each part is preceded by its length, so that no two sequences of parts are alike.
#[derive(Default)]
pub struct Hash(Sha256);

impl Hash {
    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.len(), text.as_bytes());
    }

    /// Adds whole numbers, such as a shape.
    pub fn extents(&mut self, extents: &[usize]) {
        let bytes: Vec<u8> = extents.iter().flat_map(|&extent| (extent as u64).to_le_bytes()).collect();
        self.bytes(extents.len(), &bytes);
    }

    /// Adds numbers by their bits.
    pub fn numbers<E: Elem>(&mut self, numbers: &[E]) {
        // The bits of an f32 are those of its double, which is exact.
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.f64().to_le_bytes()).collect();
        self.bytes(numbers.len(), &bytes);
    }

    /// Adds the content of a file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn file(&mut self, path: &Path) -> Result<()> {
        let mut file = File::open(path)?;
        self.0.update(file.metadata()?.len().to_le_bytes());
        let mut bytes = vec![0; 1 << 16];
        loop {
            match file.read(&mut bytes)? {
                0 => return Ok(()),
                count => self.0.update(&bytes[..count]),
            }
        }
    }

    fn bytes(&mut self, length: usize, bytes: &[u8]) {
        self.0.update((length as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// What was added, in hexadecimal.
    pub fn hex(self) -> String {
        self.0.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Hash of all that makes the rest of a run: weights, moments and multipliers.
///
/// # Errors
/// The device cannot be read.
pub fn weights<B: Backend>(
    parameters: &Parameters<B>,
    optimiser: &Optimiser<B>,
    objective: &Objective,
) -> Result<String> {
    let mut hash = Hash::default();
    for group in [parameters, &optimiser.state()] {
        for parameter in group.iter() {
            hash.text(&parameter.name);
            hash.extents(&parameter.dims);
            hash.numbers(&parameter.value.to_vec()?);
        }
    }
    hash.text(&serde_json::to_string(&objective.state()).map_err(Error::from_source)?);
    Ok(hash.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256_of_lengths_and_bytes() {
        // Of eight zero bytes and nothing: the published digest of 00 00 00 00 00 00 00 00.
        let mut hash = Hash::default();
        hash.text("");
        assert_eq!(hash.hex(), "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
        let of = |parts: &[&str]| {
            let mut hash = Hash::default();
            parts.iter().for_each(|part| hash.text(part));
            hash.hex()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
    }

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
