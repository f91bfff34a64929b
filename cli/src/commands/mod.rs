//! The verbs. Each is one file with its arguments and `run`; the list at the end of this file registers it.
//!
//! A new verb: a file `commands/<verb>.rs` with
//! - a module doc (`//! …`),
//! - `pub struct Args` deriving `clap::Args`, whose doc is the help text and whose
//!   `#[command(after_help = "Example:\n  segcal <verb> …")]` shows an example,
//! - `pub fn run(args: &Args, common: &Common) -> Result<Outcome>`,
//!
//! and one line in the list.

use clap::Subcommand;
use segcal_core::{Error, Result};

use crate::{Common, progress};

/// How a verb ended, if not with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done: exit status 0.
    Done,
    /// Some cases failed and were reported; the results of the others are kept: exit status 1.
    SomeFailed,
}

impl Outcome {
    /// The outcome when this many cases failed.
    pub const fn of(failed: usize) -> Self {
        if failed == 0 { Self::Done } else { Self::SomeFailed }
    }
}

/// Reports errors of single cases as they happen and counts them.
///
/// ```
/// use segcal::commands::{Cases, Outcome};
/// let mut cases = Cases::default();
/// assert_eq!(cases.keep(Ok(3)), Some(3));
/// assert_eq!(cases.outcome(), Outcome::Done);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Cases {
    failed: usize,
}

impl Cases {
    /// Returns the value of a case that succeeded; prints and counts the error of one that failed.
    pub fn keep<T>(&mut self, case: Result<T>) -> Option<T> {
        case.map_err(|error| self.fail(&error)).ok()
    }

    /// Prints and counts the error of a case.
    pub fn fail(&mut self, error: &Error) {
        progress::line(&format!("error: {error}"));
        self.failed += 1;
    }

    /// Number of cases that failed.
    pub const fn failed(&self) -> usize {
        self.failed
    }

    /// [`Outcome::SomeFailed`] if any case failed.
    pub const fn outcome(&self) -> Outcome {
        Outcome::of(self.failed)
    }
}

macro_rules! verbs {
    ($($Verb:ident $module:ident,)*) => {
        $(pub mod $module;)*

        /// Every verb with its arguments.
        #[derive(Subcommand, Debug)]
        #[expect(missing_docs, reason = "a variant doc would replace the help text, which is the doc of its Args")]
        pub enum Verb {
            $($Verb($module::Args),)*
        }

        impl Verb {
            /// Runs the verb.
            ///
            /// # Errors
            /// Unreadable input, or a result that cannot be written.
            pub fn run(&self, common: &Common) -> Result<Outcome> {
                match self {
                    $(Self::$Verb(args) => $module::run(args, common),)*
                }
            }
        }
    };
}

// The order is that of `segcal --help`.
verbs! {
    Demo demo,
    Phantom phantom,
    Prepare prepare,
    Plan plan,
    Train train,
    Predict predict,
    Export export,
    Evaluate evaluate,
    Compare compare,
    Merge merge,
    Rank rank,
    Calibrate calibrate,
    Info info,
    Check check,
    Convert convert,
    Loss loss,
    Network network,
    Prior prior,
    Verify verify,
    List list,
    Schema schema,
    Devices devices,
    Completions completions,
    Man man,
}
