//! The program's observer: shows what libraries report on standard error, and stops them on signals.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use segcal_core::Error;
use segcal_data::observer::{Event, Observer};

use crate::progress::{self, Progress};
use crate::signals;

/// Shows events on standard error and, while signals are listened for, stops the work on SIGINT and SIGTERM.
#[derive(Debug)]
pub struct Terminal {
    quiet: bool,
    /// Keyed by the name of the work.
    bars: Mutex<BTreeMap<String, Progress>>,
}

impl Terminal {
    /// Creates an observer that shows only errors if `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, bars: Mutex::default() }
    }

    fn bars(&self) -> MutexGuard<'_, BTreeMap<String, Progress>> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Terminal {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Began { work, steps } => {
                self.bars().insert(work.to_owned(), Progress::new(work, steps, self.quiet));
            }
            Event::Step { work, now } => {
                if let Some(bar) = self.bars().get(work) {
                    bar.step(now);
                }
            }
            Event::Ended { work } => drop(self.bars().remove(work)),
            Event::CaseFailed(error) => progress::line(&format!("error: {error}")),
            Event::Line(text) if !self.quiet => progress::line(&text.to_string()),
            _ => {}
        }
    }

    fn stop(&self) -> Option<Error> {
        signals::check().err()
    }
}
