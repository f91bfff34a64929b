//! A file by which the processes of a machine agree on one writer.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};

use crate::failure::write_failure;

/// Name of the file in a folder.
pub(crate) const LOCK: &str = ".lock";

/// How often the file may be removed, by those who held it before, while it is being locked.
const ATTEMPTS: usize = 100;

/// A lock that is held: it ends with the value, or with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    /// Held open.
    _file: File,
    /// The file to remove at the end.
    remove: Option<PathBuf>,
}

impl Lock {
    /// Takes the lock, unless another process holds it; with `remove` the file goes with the lock.
    ///
    /// # Errors
    /// The file cannot be made, or is not a regular one: a link could lead anywhere, and a pipe would wait for ever.
    pub(crate) fn take(path: &Path, remove: bool) -> Result<Option<Self>> {
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
            match file.try_lock() {
                Ok(()) if is_at(&file, path) => {
                    return Ok(Some(Self { _file: file, remove: remove.then(|| path.into()) }));
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

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held, so that nobody else's goes. A file that stays does no harm.
        if let Some(path) = &self.remove {
            let _ = std::fs::remove_file(path);
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
