//! Progress reports and cancellation of long-running work.
//!
//! The libraries print nothing, draw no progress bars and handle no signals. They pass [`Event`]s to an [`Observer`]; a
//! program displays them as it likes, and may stop the work at its next step.

use std::fmt;
use std::time::Instant;

use segcal_core::{Error, Result};

/// What happens during long-running work.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// `steps` steps of `work` begin.
    Began {
        /// Name of the work, such as `evaluate`.
        work: &'a str,
        /// Number of steps.
        steps: usize,
    },
    /// One more step is done.
    Step {
        /// Name of the work.
        work: &'a str,
        /// A short description of the step, such as a case or a loss.
        now: &'a dyn fmt::Display,
    },
    /// The work has ended, whether or not all its steps were done.
    Ended {
        /// Name of the work.
        work: &'a str,
    },
    /// One case failed and was left out; the others continue.
    CaseFailed(&'a Error),
    /// A line of progress for the user to read, such as the metrics of an epoch.
    Line(&'a dyn fmt::Display),
    /// How time was spent, for a timeline.
    Span(Span<'a>),
}

/// A stretch of time spent on one thing, as the process that reports it sees it.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// Where it belongs in a timeline, such as `compute`; spans of one lane do not overlap.
    pub lane: &'a str,
    /// What was done.
    pub work: &'a str,
    /// Number of bytes sent to other processes.
    pub bytes: usize,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
}

impl<'a> Span<'a> {
    /// Computing that began then and ends now.
    pub fn of_computing(work: &'a str, began: Instant) -> Self {
        Self { lane: "compute", work, bytes: 0, began, ended: Instant::now() }
    }
}

/// Follows long-running work; several threads may report at once.
pub trait Observer: Sync {
    /// Called for each event.
    fn event(&self, event: Event<'_>);

    /// Returns the reason to stop, if any; called at each step of work that can be resumed.
    fn stop(&self) -> Option<Error> {
        None
    }
}

/// An observer that ignores everything and never stops the work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event<'_>) {}
}

/// The steps of one piece of work; dropping the value ends the work.
pub struct Steps<'a> {
    observer: &'a dyn Observer,
    work: String,
}

impl<'a> Steps<'a> {
    /// Begins `steps` steps of `work`.
    pub fn begin(observer: &'a dyn Observer, work: impl Into<String>, steps: usize) -> Self {
        let work = work.into();
        observer.event(Event::Began { work: &work, steps });
        Self { observer, work }
    }

    /// Who follows the work.
    pub fn observer(&self) -> &'a dyn Observer {
        self.observer
    }

    /// Reports that one more step is done; `now` describes it.
    pub fn step(&self, now: impl fmt::Display) {
        self.observer.event(Event::Step { work: &self.work, now: &now });
    }
}

impl Drop for Steps<'_> {
    fn drop(&mut self) {
        self.observer.event(Event::Ended { work: &self.work });
    }
}

/// Marks an error as the observer's request to stop.
#[derive(Debug)]
struct Interruption(Error);

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Interruption {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0)
    }
}

/// Returns an error if the observer asks to stop.
///
/// # Errors
/// The observer's reason to stop, recognised by [`is_interruption`].
pub fn check(observer: &dyn Observer) -> Result<()> {
    observer.stop().map_or(Ok(()), |reason| Err(Error::from_source(Interruption(reason))))
}

/// Whether an error is the observer's request to stop, as opposed to a failure.
pub fn is_interruption(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<Interruption>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Observer for Heard {
        fn event(&self, event: Event<'_>) {
            let text = match event {
                Event::Began { work, steps } => format!("{work} of {steps}"),
                Event::Step { work, now } => format!("{work}: {now}"),
                Event::Ended { work } => format!("end of {work}"),
                Event::CaseFailed(error) => error.to_string(),
                Event::Line(line) => line.to_string(),
                Event::Span(span) => span.work.to_owned(),
            };
            self.0.lock().unwrap().push(text);
        }

        fn stop(&self) -> Option<Error> {
            Some(Error::new("enough"))
        }
    }

    #[test]
    fn steps_begin_and_end() {
        let heard = Heard::default();
        Steps::begin(&heard, "epoch", 2).step(1);
        assert_eq!(*heard.0.lock().unwrap(), ["epoch of 2", "epoch: 1", "end of epoch"]);
    }

    #[test]
    fn a_wish_to_stop_is_known_behind_locations_and_is_no_failure() {
        assert!(check(&Silent).is_ok());
        let error = check(&Heard::default()).unwrap_err().at("epoch 3").help("resume");
        assert!(is_interruption(&error));
        assert_eq!(error.to_string(), "epoch 3: enough (resume)");
        assert!(!is_interruption(&Error::new("enough")));
    }
}
