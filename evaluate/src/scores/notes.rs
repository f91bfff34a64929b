//! What is to be known of a file that was read none the less.

use std::path::Path;

/// Warnings of one case. They are told at once, and kept for its results.
#[derive(Debug)]
pub struct Notes<'a> {
    file: &'a Path,
    all: Vec<String>,
}

impl<'a> Notes<'a> {
    /// No warning of this file yet.
    pub const fn of(file: &'a Path) -> Self {
        Self { file, all: Vec::new() }
    }

    /// Tells a warning and keeps it.
    pub fn warn(&mut self, text: String) {
        log::warn!("{}: {text}", self.file.display());
        self.all.push(text);
    }

    /// What was told.
    pub fn into_all(self) -> Vec<String> {
        self.all
    }
}
