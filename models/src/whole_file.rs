//! Atomic writes: a temporary file in the same folder is written, synced and renamed, and the folder is synced.
//!
//! Everything that the project stores goes through [`write()`]. [`recorded`] reports the disk operations in order, so
//! that a test can simulate the losses of a power cut.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Writes a file atomically: it appears complete or not at all. Until then any previous file stays; a symbolic link of
/// that name is replaced, never followed. A failure leaves no temporary file behind.
///
/// # Errors
/// Those of `fill`, and those of a folder or disk that cannot be written.
pub fn write<E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let folder = folder_of(path);
    let (beside, file) = create_beside(folder)?;
    let written = fill_and_sync(&beside, file, fill).and_then(|()| {
        note(|| Step::Rename { from: beside.clone(), to: path.into() });
        Ok(fs::rename(&beside, path)?)
    });
    if written.is_err() {
        // Only the message of the first failure matters.
        note(|| Step::Remove(beside.clone()));
        let _ = fs::remove_file(&beside);
    } else {
        // The rename itself must survive a power cut.
        sync_folder(folder);
    }
    written
}

/// Creates a folder and its missing parents, and syncs their names to disk.
///
/// # Errors
/// One of them cannot be created, or is a file.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(path)?;
    // `a` stands for `./a`, whose ancestors end with an empty path.
    missing.iter().filter(|made| !made.as_os_str().is_empty()).for_each(|made| sync_folder(folder_of(made)));
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Syncs the names in a folder to disk. Not every file system supports that.
fn sync_folder(folder: &Path) {
    if let Ok(handle) = File::open(folder) {
        note(|| Step::SyncFolder(folder.into()));
        let _ = handle.sync_all();
    }
}

fn fill_and_sync<E: From<io::Error>>(
    beside: &Path,
    file: File,
    fill: impl FnOnce(&mut dyn Write) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut out = BufWriter::with_capacity(1 << 16, Noting { path: beside, file });
    fill(&mut out)?;
    let noting = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    note(|| Step::Sync(beside.into()));
    Ok(noting.file.sync_all()?)
}

/// Creates a file under a hidden name that no other process on this machine uses. It is locked while it is written, so
/// that [`remove_unfinished`] can tell it from one whose writer was killed. It has the permissions of any new file.
fn create_beside(folder: &Path) -> io::Result<(PathBuf, File)> {
    for attempt in 0_u64.. {
        let path = folder.join(format!(".segcal-{}-{attempt}{UNFINISHED}", std::process::id()));
        match File::create_new(&path) {
            // Left by a killed process with the same id, or created by another thread.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => {
                // If files cannot be locked, none is considered abandoned either.
                let _ = file.try_lock();
                note(|| Step::Create(path.clone()));
                return Ok((path, file));
            }
        }
    }
    unreachable!("there are fewer files than numbers")
}

/// Extension of files that are being written.
const UNFINISHED: &str = ".part";

/// Removes what killed processes left unfinished in a folder; files of running processes are locked and stay. Files
/// that cannot be removed do no harm.
pub fn remove_unfinished(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(".segcal-") && name.ends_with(UNFINISHED) && is_abandoned(&entry) {
            note(|| Step::Remove(entry.path()));
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether no process is writing the file.
fn is_abandoned(entry: &fs::DirEntry) -> bool {
    // Links and pipes are never ours.
    entry.file_type().is_ok_and(|kind| kind.is_file())
        && File::options().write(true).open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
}

/// A disk operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creates an empty file of this name.
    Create(PathBuf),
    /// Appends bytes to the file.
    Append(PathBuf, Vec<u8>),
    /// Syncs the bytes of the file.
    Sync(PathBuf),
    /// Renames a file, replacing any file of the new name.
    Rename {
        /// The old name.
        from: PathBuf,
        /// The new name.
        to: PathBuf,
    },
    /// Syncs the names in the folder.
    SyncFolder(PathBuf),
    /// Removes the file.
    Remove(PathBuf),
}

/// The operations since the recording began; `None` while nobody records.
static STEPS: Mutex<Option<Vec<Step>>> = Mutex::new(None);

/// Runs `work` and returns its result together with the operations of [`write()`] and [`remove_unfinished`] meanwhile,
/// in any thread of the process, in order. Recordings wait for each other and must not be nested.
pub fn recorded<T>(work: impl FnOnce() -> T) -> (T, Vec<Step>) {
    static RECORDING: Mutex<()> = Mutex::new(());
    let _alone = RECORDING.lock().unwrap_or_else(PoisonError::into_inner);
    *steps() = Some(Vec::new());
    let result = work();
    (result, steps().take().unwrap_or_default())
}

fn note(step: impl FnOnce() -> Step) {
    if let Some(steps) = steps().as_mut() {
        steps.push(step());
    }
}

fn steps() -> MutexGuard<'static, Option<Vec<Step>>> {
    STEPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that records the bytes written to it.
struct Noting<'a> {
    path: &'a Path,
    file: File,
}

impl Write for Noting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        note(|| Step::Append(self.path.into(), bytes[..count].to_vec()));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_synced_before_they_get_their_name_and_the_name_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let (written, steps) = recorded(|| write::<io::Error>(&path, |out| out.write_all(b"whole")));
        written.unwrap();
        // Other tests of the process write elsewhere meanwhile.
        let mine = |step: &&Step| match step {
            Step::Create(at) | Step::Append(at, _) | Step::Sync(at) | Step::Remove(at) => at.starts_with(folder.path()),
            Step::Rename { to, .. } => to == &path,
            Step::SyncFolder(at) => at == folder.path(),
        };
        let steps: Vec<&Step> = steps.iter().filter(mine).collect();
        let [Step::Create(at), rest @ ..] = &steps[..] else { panic!("{steps:?}") };
        let wanted = [
            Step::Append(at.clone(), b"whole".to_vec()),
            Step::Sync(at.clone()),
            Step::Rename { from: at.clone(), to: path },
            Step::SyncFolder(folder.path().into()),
        ];
        assert_eq!(rest, wanted.iter().collect::<Vec<_>>());
    }

    #[test]
    fn folders_are_made_and_their_names_synced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let (made, steps) = recorded(|| create_folder(&path));
        made.unwrap();
        assert!(path.is_dir());
        for parent in [folder.path().join("a"), folder.path().into()] {
            assert!(steps.contains(&Step::SyncFolder(parent)), "{steps:?}");
        }
        create_folder(&path).unwrap();
        fs::write(path.join("file"), "").unwrap();
        assert!(create_folder(&path.join("file")).is_err());
    }

    #[test]
    fn a_failure_leaves_what_was_there_and_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        write::<io::Error>(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write(&path, |out| {
            out.write_all(b"new")?;
            Err(io::Error::other("stop"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "stop");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(folder.path().join(".segcal-7-0.part"), "half").unwrap();
        remove_unfinished(folder.path());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_being_written_is_not_taken_for_a_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        write::<io::Error>(&path, |out| {
            remove_unfinished(folder.path());
            out.write_all(b"whole")
        })
        .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }
}
