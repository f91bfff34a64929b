//! What the tests of the program share.
#![allow(dead_code, reason = "each test file uses its own part")]

#[cfg(unix)]
pub(crate) mod training;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of shared data: `SEGCAL_DATA`, or `shared` beside the project.
pub(crate) fn shared() -> Option<PathBuf> {
    let folder = match std::env::var_os("SEGCAL_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    };
    folder.is_dir().then_some(folder)
}

/// Runs the program.
pub(crate) fn segcal(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_segcal")).args(arguments).output().expect("the program starts")
}

/// Standard output as text.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
