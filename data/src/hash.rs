//! SHA-256 hashes, by which runs, comparisons and evaluations record what they were made from.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use segcal_core::{Context, Elem, Result};
use sha2::{Digest, Sha256};

use crate::limits;

/// The SHA-256 of a file, as printed by `sha256sum`.
///
/// # Errors
/// The file cannot be read; the message names it.
pub fn of_file(path: &Path) -> Result<String> {
    let mut hash = Hash::default();
    let read = limits::open(path).and_then(|(file, length)| hash.content(file, length));
    read.at(path.display())?;
    Ok(hash.hex())
}

/// The SHA-256 of some bytes, in hexadecimal.
pub fn of_bytes(bytes: &[u8]) -> String {
    let mut hash = Hash::default();
    hash.0.update(bytes);
    hash.hex()
}

/// The SHA-256 of some texts joined by line ends, in hexadecimal.
pub fn of_lines<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Hash::default();
    for (number, text) in texts.enumerate() {
        if number > 0 {
            hash.0.update(b"\n");
        }
        hash.0.update(text.as_bytes());
    }
    hash.hex()
}

/// An incremental hash; each part is preceded by its length, so that different sequences of parts never hash the same
/// bytes.
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
        // An f32 is hashed as a double, which represents it exactly.
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.f64().to_le_bytes()).collect();
        self.bytes(numbers.len(), &bytes);
    }

    /// Adds the content of a file.
    ///
    /// # Errors
    /// The file cannot be read; the message names it.
    pub fn file(&mut self, path: &Path) -> Result<()> {
        self.read(path).at(path.display())
    }

    fn read(&mut self, path: &Path) -> Result<()> {
        let (file, length) = limits::open(path)?;
        self.0.update(length.to_le_bytes());
        self.content(file, length)
    }

    /// Adds the bytes of a file of this length; at most one more, so that a file that is still growing is not read
    /// forever.
    fn content(&mut self, file: File, length: u64) -> Result<()> {
        let (mut file, mut bytes) = (file.take(length + 1), vec![0; 1 << 16]);
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

    /// The hash of everything added, in hexadecimal.
    pub fn hex(self) -> String {
        self.0.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256_of_lengths_and_bytes() {
        // Eight zero bytes and no content: the published digest of 00 00 00 00 00 00 00 00.
        let mut hash = Hash::default();
        hash.text("");
        assert_eq!(hash.hex(), "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
        let of = |parts: &[&str]| {
            let mut hash = Hash::default();
            parts.iter().for_each(|part| hash.text(part));
            hash.hex()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of_lines(["ab", "", "c"].into_iter()), of_bytes(b"ab\n\nc"));
        assert_eq!(of_lines(std::iter::empty()), of_bytes(b""));
    }
}
