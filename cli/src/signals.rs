//! Signals: training stops at its next step, and exceeding the file-size limit is a write error.
//!
//! Only work that holds a [`Listening`] handles SIGINT and SIGTERM; they end everything else at once, which is safe
//! because files are written under a temporary name and then renamed. A second signal ends the listener at once, too.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use segcal_core::{Error, Result};

/// A signal asked the program to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// Number of the signal.
    signal: i32,
}

impl Interrupted {
    /// The exit status by which shells report a signal: 130 for SIGINT, 143 for SIGTERM.
    #[expect(clippy::cast_possible_truncation, reason = "signals have numbers up to 64")]
    pub const fn status(self) -> u8 {
        128 + self.signal as u8
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.signal {
            2 => write!(f, "interrupted by Ctrl-C"),
            15 => write!(f, "stopped by SIGTERM"),
            other => write!(f, "stopped by signal {other}"),
        }
    }
}

impl std::error::Error for Interrupted {}

/// The exit status of an error that a signal caused.
pub fn status(error: &Error) -> Option<u8> {
    interrupted(error).map(Interrupted::status)
}

/// The signal that caused an error, if any.
pub fn interrupted(error: &Error) -> Option<Interrupted> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
            return Some(*interrupted);
        }
        source = error.source();
    }
    None
}

/// While this value lives, SIGINT and SIGTERM are recorded for [`check`].
#[derive(Debug)]
pub struct Listening(());

impl Listening {
    /// Starts listening.
    ///
    /// # Errors
    /// The system refuses to register the signals.
    pub fn start() -> Result<Self> {
        platform::register()?;
        platform::listen(true);
        Ok(Self(()))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        platform::listen(false);
    }
}

/// Checks for a signal; called at each step of work that listens.
///
/// # Errors
/// [`Interrupted`], if a signal has arrived since listening began.
pub fn check() -> Result<()> {
    match platform::asked() {
        0 => Ok(()),
        signal => Err(Error::from_source(Interrupted { signal })),
    }
}

/// Turns writing beyond the file-size limit (`ulimit -f`) into an error instead of the end of the process.
///
/// # Errors
/// The system refuses to register the signal.
pub fn survive_file_size_limit() -> Result<()> {
    platform::survive_file_size_limit()
}

/// Makes a process that aborts for lack of memory exit with status 1, after the line that reports it, instead of dying
/// by a signal. Only for the program: a library must leave this decision to its host.
///
/// # Errors
/// The system refuses to register the signal.
pub fn give_up_with_a_status() -> Result<()> {
    platform::give_up_with_a_status()
}

/// Reports that this many bytes could not be allocated, and ends the process. Allocates nothing itself.
pub fn out_of_memory(bytes: usize) -> ! {
    static SAID: AtomicBool = AtomicBool::new(false);
    // One thread reports; when it aborts, the others end with it.
    while SAID.swap(true, Ordering::SeqCst) {
        std::thread::yield_now();
    }
    let mut line = [0; 200];
    let mut rest = &mut line[..];
    let mib = bytes as f64 / f64::from(1 << 20);
    let what = "of memory could not be allocated";
    let remedy = "give the process more memory, or use fewer --threads";
    // The line fits the buffer. If it cannot be written, there is nobody to tell.
    let _ = writeln!(rest, "error: {mib:.3} MiB {what} ({remedy})");
    let left = rest.len();
    let _ = std::io::stderr().write_all(&line[..line.len() - left]);
    std::process::abort()
}

#[cfg(unix)]
mod platform {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, LazyLock, OnceLock};

    use segcal_core::{Context, Result};
    use signal_hook::consts::{SIGABRT, SIGINT, SIGTERM, SIGXFSZ};
    use signal_hook::flag;

    /// Number of the signal that arrived; 0 if none.
    static ASKED: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);
    /// Whether a signal ends the process at once: nobody listens, or it is the second one.
    static AT_ONCE: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));

    /// Registers the handlers once per process. They cannot be removed, but without a listener they do what the system
    /// would do.
    pub(super) fn register() -> Result<()> {
        static DONE: OnceLock<()> = OnceLock::new();
        if DONE.get().is_some() {
            return Ok(());
        }
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds AT_ONCE unset, and sets it for the second.
            flag::register_conditional_default(signal, AT_ONCE.clone()).at("signals")?;
            flag::register_usize(signal, ASKED.clone(), signal as usize).at("signals")?;
            flag::register(signal, AT_ONCE.clone()).at("signals")?;
        }
        let _ = DONE.set(());
        Ok(())
    }

    pub(super) fn listen(yes: bool) {
        ASKED.store(0, Ordering::SeqCst);
        AT_ONCE.store(!yes, Ordering::SeqCst);
    }

    pub(super) fn asked() -> i32 {
        i32::try_from(ASKED.load(Ordering::SeqCst)).unwrap_or(0)
    }

    pub(super) fn survive_file_size_limit() -> Result<()> {
        // With any handler the write itself fails, and is reported like every other failed write.
        flag::register(SIGXFSZ, Arc::default()).map(drop).at("signals")
    }

    pub(super) fn give_up_with_a_status() -> Result<()> {
        let always = Arc::new(AtomicBool::new(true));
        flag::register_conditional_shutdown(SIGABRT, 1, always).map(drop).at("signals")
    }
}

#[cfg(not(unix))]
mod platform {
    use segcal_core::Result;

    pub(super) fn register() -> Result<()> {
        Ok(())
    }

    pub(super) fn listen(_yes: bool) {}

    pub(super) fn asked() -> i32 {
        0
    }

    pub(super) fn survive_file_size_limit() -> Result<()> {
        Ok(())
    }

    pub(super) fn give_up_with_a_status() -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_found_behind_places_and_markers() {
        let error = Error::from_source(Interrupted { signal: 15 }).at("epoch 3").help("continue with --resume");
        assert_eq!(status(&error), Some(143));
        assert_eq!(error.to_string(), "epoch 3: stopped by SIGTERM (continue with --resume)");
        assert_eq!(status(&Error::new("x")), None);
    }
}
