//! What a suite found: every failure, not the first.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One case that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Name of the case.
    pub case: String,
    /// What was wrong: the worst deviation and its bound, where there is one.
    pub what: String,
}

/// The outcome of a suite.
#[derive(Clone, Debug, Default)]
#[must_use = "a report that nobody reads tests nothing"]
pub struct Report {
    checked: usize,
    failures: Vec<Failure>,
}

impl Report {
    /// Runs one check and notes how it went; a panic is a failure like any other.
    pub fn check(&mut self, case: &str, check: impl FnOnce() -> Result<(), String>) {
        self.checked += 1;
        let outcome = catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| Err(panic_text(panic.as_ref())));
        if let Err(what) = outcome {
            self.failures.push(Failure { case: case.to_owned(), what });
        }
    }

    /// Adds the outcome of another suite.
    pub fn extend(&mut self, other: Self) {
        self.checked += other.checked;
        self.failures.extend(other.failures);
    }

    /// Number of checks that ran.
    pub fn checked(&self) -> usize {
        self.checked
    }

    /// Everything that did not hold.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Panics with the whole report if anything failed, or if nothing ran.
    pub fn assert_clean(&self) {
        assert!(self.checked > 0, "the suite checked nothing");
        assert!(self.failures.is_empty(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} of {} checks failed", self.failures.len(), self.checked)?;
        for Failure { case, what } in &self.failures {
            writeln!(f, "  {case}: {what}")?;
        }
        Ok(())
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_kept() {
        let mut report = Report::default();
        report.check("good", || Ok(()));
        report.check("bad", || Err("deviates".to_owned()));
        report.check("broken", || panic!("no {}", "way"));
        assert_eq!((report.checked(), report.failures().len()), (3, 2));
        assert_eq!(report.to_string(), "2 of 3 checks failed\n  bad: deviates\n  broken: panicked: no way\n");
    }

    #[test]
    #[should_panic(expected = "the suite checked nothing")]
    fn an_empty_suite_is_not_clean() {
        Report::default().assert_clean();
    }
}
