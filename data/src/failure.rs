//! Write failures, which end a program with a different exit status from read errors.

use std::fmt;
use std::io;

use segcal_core::Error;

/// Marks an error as a write failure.
#[derive(Debug)]
pub(crate) struct WriteFailure(String);

impl WriteFailure {
    pub(crate) fn of(error: &io::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for WriteFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot be written: {}", self.0)
    }
}

impl std::error::Error for WriteFailure {}

/// The error for a result that cannot be written: exit status 1, not 2.
pub fn write_failure(error: &io::Error) -> Error {
    Error::from_source(WriteFailure::of(error)).help("check the free space and the folder permissions")
}

/// Whether an error came from writing a result, as opposed to unreadable input or wrong usage.
pub fn is_write_failure(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        // The error wrapped by an io::Error is not its `source`; `get_ref` returns it.
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<WriteFailure>() || inside.is_some_and(<dyn std::error::Error + Send + Sync>::is::<WriteFailure>) {
            return true;
        }
        source = error.source();
    }
    false
}
