//! From bytes to what a target needs, and the ways of reading that several targets share.

use std::path::Path;

use segcal_core::Result;

/// Bytes that are taken one after the other; behind the last come zeros.
#[derive(Debug)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// All of these.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether none is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A number below `count`, at most 256.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    /// One of the items.
    pub fn pick<'b, T>(&mut self, items: &'b [T]) -> &'b T {
        &items[self.below(items.len())]
    }

    /// A number in `[-2, 2)`, in steps of 1/64: exact in f32.
    pub fn small(&mut self) -> f64 {
        f64::from(self.byte()) / 64.0 - 2.0
    }

    /// A number of either sign: mostly moderate, sometimes large or tiny, always finite and exact in f32.
    pub fn number(&mut self) -> f64 {
        let scale = *self.pick(&[1.0, 1.0, 1.0, 1.0, 4.0, 64.0, 4096.0, 1.0 / 4096.0]);
        self.small() * scale
    }

    /// All that is left.
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// The text before and behind the first line `---`, anything that is no UTF-8 replaced.
pub fn two_texts(bytes: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(bytes);
    text.split_once("\n---\n").map_or_else(|| (text.to_string(), String::new()), |(a, b)| (a.into(), b.into()))
}

/// Calls `read` with a file of this name and content; an error must name the file and be one line.
///
/// # Panics
/// An error does not; or the machine has no room for temporary files.
pub fn with_file<T>(name: &str, content: &[u8], read: impl FnOnce(&Path) -> Result<T>) -> Option<T> {
    let folder = tempfile::tempdir().expect("room for temporary files");
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("room for temporary files");
    answered(name, read(&path))
}

/// The value of a result; an error must name the file and be one line.
///
/// # Panics
/// The error does not.
pub fn answered<T>(name: &str, result: Result<T>) -> Option<T> {
    result
        .map_err(|error| {
            let message = error.to_string();
            assert!(message.contains(name), "the error does not name {name}: {message}");
            assert!(!message.contains('\n'), "the error has several lines: {message}");
        })
        .ok()
}
