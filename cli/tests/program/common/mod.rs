//! What the tests of the program share.

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

/// The epoch that a checkpoint says it is of.
pub(crate) fn stored_epoch(path: &Path) -> usize {
    segcal_data::checkpoint::load(path).unwrap().value("epoch").unwrap().parse().unwrap()
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Names of the NIfTI files in a folder, in order.
pub(crate) fn volumes(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".nii.gz")).collect();
    names.sort();
    names
}

/// Whether this process runs the test `name` (`module::function`) and nothing else; if not, runs it so, and passes if it
/// does. For tests of what belongs to a process: its threads, memory, signals, or record of files.
pub(crate) fn alone(name: &str) -> bool {
    const VARIABLE: &str = "SEGCAL_TEST_ALONE";
    if std::env::var_os(VARIABLE).is_some_and(|only| only == name) {
        return true;
    }
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this).args(["--exact", name, "--nocapture"]).env(VARIABLE, name).output().unwrap();
    let passed = output.status.success() && stdout(&output).contains("1 passed");
    assert!(passed, "{name} by itself: {}\n{}{}", output.status, stdout(&output), stderr(&output));
    false
}

/// Standard output as text.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A path inside a folder, whose parent is there.
pub(crate) fn path_in(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a path inside the folder")).unwrap();
    path
}
