//! How a training that had begun reports that it ended before its last epoch.

use std::fmt;

use segcal_core::Error;

/// Marks the error of a training that ended before its last epoch and whose finished epochs are kept.
#[derive(Debug)]
struct Stopped(Error);

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Stopped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0)
    }
}

/// The error of a training that had begun.
pub(super) fn stopped(error: Error) -> Error {
    Error::from_source(Stopped(error))
}

/// Whether the error ended a training that had begun (exit status 1), as opposed to one that could not begin.
pub fn is_stopped(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<Stopped>)
}

/// What ended a training that had begun, without the advice on how to continue: that depends on the caller.
pub fn cause(error: &Error) -> Option<String> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<Stopped>().map(ToString::to_string)
}
