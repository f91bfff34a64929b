//! A file by which the processes of a machine agree on one writer.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_models::whole_file;

use crate::failure::write_failure;

/// Name of the file in a folder.
pub(crate) const LOCK: &str = ".lock";

/// How often the file may be removed, by those who held it before, while it is being locked.
const ATTEMPTS: usize = 100;

/// A lock that is held: it ends with the value, or with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    /// Held open.
    file: File,
    /// The file to remove at the end.
    remove: Option<PathBuf>,
    /// Whether others may hold it as well.
    shared: bool,
}

impl Lock {
    /// Takes the lock, unless another process holds it; with `remove` the file goes with the lock.
    ///
    /// # Errors
    /// The file cannot be made, or is not a regular one: a link could lead anywhere, and a pipe would wait for ever.
    pub(crate) fn take(path: &Path, remove: bool) -> Result<Option<Self>> {
        Self::taken(path, remove, File::try_lock)
    }

    /// The same beside others who take it so, and not beside one who takes it alone. The last of them removes the file,
    /// and what those who were killed had begun.
    ///
    /// # Errors
    /// As [`Lock::take`].
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
                return Err(Error::new(what).at(path.display()).help("remove it: nobody holds it"));
            }
            // Never truncated: whatever has this name, the lock is not its content.
            let file = File::options().create(true).write(true).truncate(false).open(path);
            let file = file.map_err(|error| write_failure(&error)).at(path.display())?;
            match lock(&file) {
                Ok(()) if is_at(&file, path) => {
                    let remove = remove.then(|| path.into());
                    return Ok(Some(Self { file, remove, shared: false }));
                }
                // The one who held it removed the file meanwhile.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).at(path.display()),
            }
        }
        Ok(None)
    }
}

impl Lock {
    /// Gives up a share: whether nobody else has one, and the file is locked alone now.
    fn is_the_last_at(&self, path: &Path) -> bool {
        self.file.unlock().is_ok() && self.file.try_lock().is_ok() && is_at(&self.file, path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held, so that nobody else's goes. A file that stays does no harm.
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

/// Removes what writers that were killed had begun, in a folder and in those directly inside. For one who holds its lock
/// alone.
pub(crate) fn remove_unfinished(folder: &Path) {
    whole_file::remove_unfinished(folder);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // The type of the entry itself: a link is not followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            whole_file::remove_unfinished(&entry.path());
        }
    }
}

/// Whether a file still has its name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |metadata: io::Result<std::fs::Metadata>| metadata.ok().map(|it| (it.dev(), it.ino()));
    number(file.metadata()) == number(path.symlink_metadata())
}

/// Where a file that is open cannot be removed, it still has its name.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}
