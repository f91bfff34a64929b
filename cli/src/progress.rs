//! Progress output, all of it on standard error: a bar on a terminal, plain lines otherwise.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use segcal_core::Printable;

/// Minimum time between two plain lines, and the silence before the first sign of life.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// All bars of the process, so that a line can be printed above them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Prints one line on standard error, above any bar, with control characters escaped. A closed standard error is
/// ignored.
pub fn line(text: &str) {
    let text = Printable(text);
    *heard() = Instant::now();
    BARS.suspend(|| {
        let _ = writeln!(std::io::stderr(), "{text}");
    });
}

/// When the last line was printed.
static HEARD: LazyLock<Mutex<Instant>> = LazyLock::new(|| Mutex::new(Instant::now()));

fn heard() -> MutexGuard<'static, Instant> {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Number of bars on the terminal.
static SHOWN: AtomicUsize = AtomicUsize::new(0);

/// Prints a sign of life while nothing else is printed: after 2 seconds without a line or a bar, after 4 more, 8, and
/// so on up to a minute. Dropping it ends its thread.
#[derive(Debug)]
pub struct Heartbeat {
    /// Closing this channel wakes and ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How often the thread checks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The longest time without a sign of life.
const LONGEST_SILENCE: Duration = Duration::from_mins(1);

impl Heartbeat {
    /// Starts the thread, or does nothing if `quiet`.
    pub fn start(quiet: bool) -> Self {
        if quiet {
            return Self { stop: None, thread: None };
        }
        let (stop, stopped) = channel();
        let (started, mut pause) = (Instant::now(), LINE_EVERY);
        *heard() = started;
        // If no thread can be started, the program works without signs of life.
        let thread = std::thread::Builder::new().name("heartbeat".into()).spawn(move || {
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                let silent = heard().elapsed();
                if silent >= pause && SHOWN.load(Ordering::Relaxed) == 0 {
                    line(&format!("working ... ({} s)", started.elapsed().as_secs()));
                    pause = (2 * pause).min(LONGEST_SILENCE);
                }
            }
        });
        Self { stop: Some(stop), thread: thread.ok() }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The progress of a number of steps. Dropping it removes the bar from a terminal.
#[derive(Debug)]
pub struct Progress(Display);

#[derive(Debug)]
enum Display {
    Silent,
    Bar(ProgressBar),
    Lines(Lines),
}

#[derive(Debug)]
struct Lines {
    what: String,
    total: usize,
    done: AtomicUsize,
    started: Instant,
    printed: Mutex<Instant>,
}

impl Progress {
    /// Shows `total` steps of `what`, or nothing if `quiet`.
    pub fn new(what: &str, total: usize, quiet: bool) -> Self {
        Self(if quiet {
            Display::Silent
        } else if std::io::stderr().is_terminal() {
            let bar = BARS.add(ProgressBar::new(total as u64));
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {eta} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(what.to_owned());
            SHOWN.fetch_add(1, Ordering::Relaxed);
            Display::Bar(bar)
        } else {
            let now = Instant::now();
            let (done, printed) = (AtomicUsize::new(0), Mutex::new(now));
            Display::Lines(Lines { what: what.into(), total, done, started: now, printed })
        })
    }

    /// Counts one more step as done; `now` names it briefly.
    pub fn step(&self, now: impl std::fmt::Display) {
        match &self.0 {
            Display::Silent => {}
            Display::Bar(bar) => {
                bar.set_message(Printable(&now.to_string()).to_string());
                bar.inc(1);
            }
            Display::Lines(lines) => lines.step(&now),
        }
    }
}

impl Lines {
    fn step(&self, now: &dyn std::fmt::Display) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let Ok(mut printed) = self.printed.lock() else { return };
        if printed.elapsed() >= LINE_EVERY {
            let seconds = self.started.elapsed().as_secs();
            line(&format!("{} {done}/{} after {seconds} s: {now}", self.what, self.total));
            *printed = Instant::now();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.0 {
            bar.finish_and_clear();
            SHOWN.fetch_sub(1, Ordering::Relaxed);
            BARS.remove(bar);
        }
    }
}

/// Sends `log` messages of `level` and above to standard error.
pub(crate) fn start_messages(level: log::LevelFilter) {
    struct Messages;
    impl log::Log for Messages {
        fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
            // Other libraries' messages are shown only at debug level, and their traces (pages for each shader) not
            // even then.
            let detailed = log::max_level() == log::LevelFilter::Debug && metadata.level() <= log::Level::Info;
            metadata.target().starts_with("segcal") || detailed
        }
        fn log(&self, record: &log::Record<'_>) {
            if !self.enabled(record.metadata()) {
                return;
            }
            match record.level() {
                log::Level::Error => line(&format!("error: {}", record.args())),
                log::Level::Warn => {
                    let warning = format!("warning: {}", record.args());
                    if is_news(&SAID, &warning) {
                        line(&warning);
                    }
                }
                _ => line(&record.args().to_string()),
            }
        }
        fn flush(&self) {}
    }
    // A second call in one process only changes the level.
    let _ = log::set_logger(&Messages);
    log::set_max_level(level);
}

/// The warnings already shown.
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Whether this warning appears for the first time: every training of a comparison would repeat those about its data.
fn is_news(said: &Mutex<BTreeSet<String>>, warning: &str) -> bool {
    said.lock().unwrap_or_else(PoisonError::into_inner).insert(warning.to_owned())
}

/// Reports a panic, which is a bug in segcal, in one line, unless `RUST_BACKTRACE` asks for the details.
pub(crate) fn report_panics_in_one_line() {
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let payload = panic.payload();
            let what = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
            let what = what.unwrap_or("unknown").replace('\n', " ");
            line(&format!("error: internal error at {place}: {what} (this is a bug in segcal: please report it)"));
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_shown_once() {
        let said = Mutex::default();
        assert_eq!(["a", "b", "a", "b", "a"].map(|warning| is_news(&said, warning)), [true, true, false, false, false]);
    }

    #[test]
    fn steps_of_all_threads_are_counted() {
        let progress = Progress(Display::Lines(Lines {
            what: "cases".into(),
            total: 20,
            done: AtomicUsize::new(0),
            started: Instant::now(),
            printed: Mutex::new(Instant::now()),
        }));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5).for_each(|case| progress.step(case)));
            }
        });
        let Display::Lines(lines) = &progress.0 else { unreachable!() };
        assert_eq!(lines.done.load(Ordering::Relaxed), 20);
    }

    #[test]
    fn silence_is_broken_and_a_quiet_program_keeps_it() {
        assert!(Heartbeat::start(true).thread.is_none());
        let heartbeat = Heartbeat::start(false);
        let started = *heard();
        std::thread::sleep(LINE_EVERY + 3 * LOOK_EVERY);
        assert!(*heard() >= started + LINE_EVERY, "nothing was said");
        let dropped = Instant::now();
        drop(heartbeat);
        assert!(dropped.elapsed() < LINE_EVERY, "the thread is woken and ends");
    }
}
