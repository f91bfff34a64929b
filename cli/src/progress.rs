//! What is seen while work goes on, all of it on standard error: a bar on a terminal, plain lines otherwise.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use segcal_core::Printable;

/// Time between two plain lines; also how long work may take without a word.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// All bars of the process, so that a line can be printed above them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Prints one line on standard error, above any bar; what could drive a terminal is escaped. A closed standard error is
/// no reason to stop.
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

/// Says that work goes on wherever nothing else does: after 2 seconds without a line or a bar, after 4 more, 8, and so
/// on up to a minute. Dropped, it is silent, and its thread has ended.
#[derive(Debug)]
pub struct Heartbeat {
    /// Closed, it wakes and ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How often the thread looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The longest time without a word.
const LONGEST_SILENCE: Duration = Duration::from_mins(1);

impl Heartbeat {
    /// Begins to listen, or does nothing if `quiet`.
    pub fn start(quiet: bool) -> Self {
        if quiet {
            return Self { stop: None, thread: None };
        }
        let (stop, stopped) = channel();
        let (started, mut pause) = (Instant::now(), LINE_EVERY);
        *heard() = started;
        // Where no thread can be had, silence is the smaller evil.
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

/// How far a number of steps has come. Dropped, it disappears from a terminal.
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

    /// One more step is done; `now` says what it was, briefly.
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

/// Sends the messages of the `log` macros to standard error, those of `level` and above.
pub(crate) fn start_messages(level: log::LevelFilter) {
    struct Messages;
    impl log::Log for Messages {
        fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
            // Other libraries' messages are of use only when every detail is asked for, their traces (pages for each
            // shader) not even then.
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

/// The warnings that were shown.
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// True the first time that it is asked of this warning: each training of a comparison finds the same in its data.
fn is_news(said: &Mutex<BTreeSet<String>>, warning: &str) -> bool {
    said.lock().unwrap_or_else(PoisonError::into_inner).insert(warning.to_owned())
}

/// A panic is a bug of ours: one line says so, unless `RUST_BACKTRACE` asks for the details.
pub(crate) fn report_panics_in_one_line() {
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let payload = panic.payload();
            let what = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
            let what = what.unwrap_or("unknown").replace('\n', " ");
            line(&format!("error: internal error at {place}: {what} (this is a bug of segcal: please report it)"));
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
