//! Signals: a training run that is asked to stop ends at its next step, and a file-size limit is an error of writing.
//!
//! Only work that listens ([`Listening`]) handles SIGINT and SIGTERM; everything else is ended by them at once, which
//! is safe because files are written beside and renamed. A second signal ends the listener at once, too.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use segcal_core::{Error, Result};

/// Someone asked the program to stop.
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
            15 => write!(f, "asked to end (SIGTERM)"),
            other => write!(f, "stopped by signal {other}"),
        }
    }
}

impl std::error::Error for Interrupted {}

/// The exit status of an error that comes from a signal.
pub fn status(error: &Error) -> Option<u8> {
    interrupted(error).map(Interrupted::status)
}

/// The signal that an error comes from, if it does.
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

/// While it lives, SIGINT and SIGTERM are remembered for [`check`].
#[derive(Debug)]
pub struct Listening(());

impl Listening {
    /// Starts to listen.
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

/// Whether to go on; called at each step of work that listens.
///
/// # Errors
/// [`Interrupted`], if a signal has come since the listening began.
pub fn check() -> Result<()> {
    match platform::asked() {
        0 => Ok(()),
        signal => Err(Error::from_source(Interrupted { signal })),
    }
}

/// Makes writing beyond the limit of file sizes (`ulimit -f`) an error instead of the end of the process.
///
/// # Errors
/// The system refuses to register the signal.
pub fn survive_file_size_limit() -> Result<()> {
    platform::survive_file_size_limit()
}

/// Lets a process that gives up, because memory is not to be had, end with status 1 behind the line that says so, not by
/// a signal. For the program alone: a library leaves the process to its owner.
///
/// # Errors
/// The system refuses to register the signal.
pub fn give_up_with_a_status() -> Result<()> {
    platform::give_up_with_a_status()
}

/// Says that so many bytes are not to be had, and ends the process; allocates nothing.
pub fn out_of_memory(bytes: usize) -> ! {
    static SAID: AtomicBool = AtomicBool::new(false);
    // One thread speaks, and its end is that of the others.
    while SAID.swap(true, Ordering::SeqCst) {
        std::thread::yield_now();
    }
    let mut line = [0; 200];
    let mut rest = &mut line[..];
    let mib = bytes as f64 / f64::from(1 << 20);
    let what = "of memory cannot be had";
    let remedy = "let the process have more memory, or use fewer --threads";
    // It fits, and there is nobody to tell if it cannot be written.
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

    /// Number of the signal that came; 0 if none.
    static ASKED: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);
    /// Whether a signal ends the process at once: nobody listens, or it is the second one.
    static AT_ONCE: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));

    /// Registers once in a process: handlers cannot be taken back, but without a listener they do what the system does.
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
        let error = Error::from_source(Interrupted { signal: 15 }).at("epoch 3").help("go on with --resume");
        assert_eq!(status(&error), Some(143));
        assert_eq!(error.to_string(), "epoch 3: asked to end (SIGTERM) (go on with --resume)");
        assert_eq!(status(&Error::new("x")), None);
    }
}
