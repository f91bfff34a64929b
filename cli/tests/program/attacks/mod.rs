//! What an attacker, an accident or a mistake put in, and what the program says: one line, and the right status.

mod arithmetic;
mod classes;
mod inputs;
mod memory;
mod results;
mod runs;
mod stale;
mod stored;

use std::path::Path;
use std::process::{Command, Output};

use super::common::stderr;

/// Runs the program quietly, with at most `mib` MiB of addresses, so that what asks for more ends as an error.
fn limited(mib: u64, arguments: &[&str]) -> Output {
    let script = format!("ulimit -v {}; exec \"$0\" -q \"$@\"", mib << 10);
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_segcal")]).args(arguments);
    command.output().expect("the shell starts")
}

/// Runs the program, which is to end with `status` and one line that holds all of `words`.
fn refused(status: i32, arguments: &[&str], words: &[&str]) -> String {
    let output = limited(4096, arguments);
    let text = stderr(&output);
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
    assert_eq!(errors.len(), 1, "{arguments:?}: {text}");
    assert!(!text.contains("this is a bug"), "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{word} is missing: {text}"));
    text
}

/// Runs the program, which is to do all of it.
fn done(arguments: &[&str]) -> Output {
    let output = limited(4096, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    output
}

/// The names of the files in a folder that are being written.
fn leftovers(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            found.extend(leftovers(&entry.path()));
        } else if name.starts_with('.') && [".part", ".lock"].iter().any(|ending| name.ends_with(ending)) {
            found.push(name);
        }
    }
    found
}
