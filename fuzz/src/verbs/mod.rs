//! Whole verbs on changed files: each input is a process with a limit on memory and time.
//!
//! [`scene`] makes one file of every kind and the commands that read it; [`change`] changes a file so that it keeps its
//! form: a field of a header, a token of a text, a chunk with its checksum. What a process may do is in [`Finding`].

pub mod change;
pub mod scene;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use segcal_core::Rng;

use scene::{Scene, Task};

/// Memory that a process may map, in MiB: what the program maps at its start, and some hundred times the largest file.
const MEMORY_MIB: u64 = 1024;

/// Longer than any of these commands takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A promise that was broken.
#[derive(Debug)]
pub struct Finding {
    /// What the process did.
    pub what: String,
    /// The folder with the changed file and the command.
    pub folder: PathBuf,
}

/// Tries inputs until the time is over; gives their number, and what broke a promise.
///
/// # Errors
/// The scene cannot be made, or the disk cannot be written.
pub fn search(program: &Path, length: Duration, seed: u64, keep: &Path) -> std::io::Result<(u64, Vec<Finding>)> {
    let scene = Scene::make(program)?;
    let (started, mut tried, mut findings) = (Instant::now(), 0, Vec::new());
    while started.elapsed() < length {
        let rng = Rng::new(seed).stream(tried);
        let task = &scene.tasks[rng.below(0, scene.tasks.len())];
        if let Some(what) = attempt(program, &scene, task, rng.stream(1))? {
            let folder = keep.join(format!("{seed}-{tried}"));
            fs::create_dir_all(&folder)?;
            fs::copy(scene.victim(task), folder.join(task.name()))?;
            fs::write(folder.join("COMMAND"), format!("{}\n{what}\n", task.arguments.join(" ")))?;
            findings.push(Finding { what, folder });
        }
        scene.restore(task)?;
        tried += 1;
    }
    Ok((tried, findings))
}

/// Changes a file, runs its command, and says which promise was broken.
fn attempt(program: &Path, scene: &Scene, task: &Task, rng: Rng) -> std::io::Result<Option<String>> {
    let bytes = fs::read(scene.original(task))?;
    fs::write(scene.victim(task), change::changed(task.name(), &bytes, rng))?;
    let script = format!("ulimit -v {}; exec \"$0\" -q --threads 1 \"$@\"", MEMORY_MIB << 10);
    let log = scene.path("log");
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .arg(program)
        .args(&task.arguments)
        .current_dir(scene.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .spawn()?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(Some(format!("no end after {} s", PATIENCE.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    Ok(judge(status.code(), &said))
}

/// Which promise a status and what was said break.
fn judge(status: Option<i32>, said: &str) -> Option<String> {
    let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
    match status {
        Some(1 | 2) if said.contains("this is a bug") || said.contains("panicked") => Some(said.trim().to_owned()),
        // `check` says on standard output what is wrong.
        Some(0 | 1) => None,
        Some(2) if errors > 0 => None,
        Some(status) => Some(format!("status {status}: {}", said.trim())),
        None => Some(format!("ended by a signal: {}", said.trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_aborts_and_silence_are_findings() {
        assert_eq!(judge(Some(0), ""), None);
        assert_eq!(judge(Some(2), "error: a.nii: no\n"), None);
        for (status, said) in [
            (Some(101), "error: internal error at x (this is a bug of segcal: please report it)"),
            (Some(134), "memory allocation of 1 bytes failed"),
            (Some(2), ""),
            (Some(2), "error: internal error at x (this is a bug of segcal: please report it)"),
            (None, ""),
        ] {
            assert!(judge(status, said).is_some(), "{status:?} {said}");
        }
    }
}
