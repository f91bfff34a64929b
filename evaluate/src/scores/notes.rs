//! Warnings about a file that was read nevertheless.

use std::path::Path;

/// Warnings about one case. They are logged at once, and kept for its results.
#[derive(Debug)]
pub struct Notes<'a> {
    file: &'a Path,
    all: Vec<String>,
}

impl<'a> Notes<'a> {
    /// An empty list of warnings about this file.
    pub const fn of(file: &'a Path) -> Self {
        Self { file, all: Vec::new() }
    }

    /// Logs a warning and keeps it.
    pub fn warn(&mut self, text: String) {
        log::warn!("{}: {text}", self.file.display());
        self.all.push(text);
    }

    /// All warnings.
    pub fn into_all(self) -> Vec<String> {
        self.all
    }
}
