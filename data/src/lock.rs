//! A lock file by which the processes on a machine agree on one writer.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_models::whole_file;

use crate::failure::write_failure;

/// Name of the lock file in a folder.
pub(crate) const LOCK: &str = ".lock";

/// How often the file may be removed by previous holders while it is being locked.
const ATTEMPTS: usize = 100;

/// A held lock. It is released when the value is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    /// Kept open.
    file: File,
    /// The lock file to remove on release.
    remove: Option<PathBuf>,
    /// Whether others may hold the lock as well.
    shared: bool,
}

impl Lock {
    /// Takes the lock, unless another process holds it; with `remove`, the file is removed when the lock is released.
    ///
    /// # Errors
    /// The file cannot be created, or is not a regular file: a link could lead anywhere, and a pipe would block
    /// forever.
    pub(crate) fn take(path: &Path, remove: bool) -> Result<Option<Self>> {
        Self::taken(path, remove, File::try_lock)
    }

    /// Takes a shared lock: others may share it, but nobody may hold it exclusively. The last holder removes the file
    /// and the unfinished files of killed writers.
    ///
    /// # Errors
    /// Those of [`Lock::take`].
    pub(crate) fn share(path: &Path) -> Result<Option<Self>> {
        let mut lock = Self::taken(path, true, File::try_lock_shared)?;
        lock.iter_mut().for_each(|lock| lock.shared = true);
        Ok(lock)
    }

    fn taken(
        path: &Path,
        remove: bool,
        lock: fn(&File) -> std::result::Result<(), TryLockError>,
    ) -> Result<Option<Self>> {
        for _ in 0..ATTEMPTS {
            if let Ok(metadata) = path.symlink_metadata()
                && !metadata.is_file()
            {
                let what = if metadata.is_symlink() { "is a symbolic link" } else { "is not a regular file" };
                return Err(Error::new(what).at(path.display()).help("remove it: it is not a lock of this program"));
            }
            // Never truncated: whatever file has this name, its content does not matter to the lock.
            let file = File::options().create(true).write(true).truncate(false).open(path);
            let file = file.map_err(|error| write_failure(&error)).at(path.display())?;
            match lock(&file) {
                Ok(()) if is_at(&file, path) => {
                    let remove = remove.then(|| path.into());
                    return Ok(Some(Self { file, remove, shared: false }));
                }
                // The previous holder has removed the file meanwhile.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).at(path.display()),
            }
        }
        Ok(None)
    }
}

impl Lock {
    /// Releases a share; returns whether it was the last one, in which case the file is now locked exclusively.
    fn is_the_last_at(&self, path: &Path) -> bool {
        self.file.unlock().is_ok() && self.file.try_lock().is_ok() && is_at(&self.file, path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while the lock is held, so that nobody else's lock file is removed. A leftover file does no harm.
        if let Some(path) = &self.remove
            && (!self.shared || self.is_the_last_at(path))
        {
            if let (true, Some(folder)) = (self.shared, path.parent()) {
                remove_unfinished(folder);
            }
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes unfinished files of killed writers, in a folder and in its direct subfolders. The caller must hold the
/// folder's lock exclusively.
pub(crate) fn remove_unfinished(folder: &Path) {
    whole_file::remove_unfinished(folder);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // The type of the entry itself: links are not followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            whole_file::remove_unfinished(&entry.path());
        }
    }
}

/// Whether the open file is still the one at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |metadata: io::Result<std::fs::Metadata>| metadata.ok().map(|it| (it.dev(), it.ino()));
    number(file.metadata()) == number(path.symlink_metadata())
}

/// Where an open file cannot be removed, it is still at its path.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}
