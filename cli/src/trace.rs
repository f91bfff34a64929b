//! A timeline of a training, in the trace format of Chrome, which <https://ui.perfetto.dev> opens.

use std::fmt::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use segcal_core::{Context, Error, Result};
use segcal_data::observer::{Event, Observer, Span};
use segcal_data::output::{write_atomic, write_failure};
use segcal_models::whole_file;
use serde_json::{Value, json};

use crate::terminal::Terminal;

/// Collects how this process spends its time, and passes all events on to the terminal.
#[derive(Debug)]
pub struct Trace {
    terminal: Terminal,
    rank: usize,
    /// The same moment by the clock of the spans and by that which processes share.
    start: (Instant, SystemTime),
    events: Mutex<Events>,
}

/// The lines of the file, and the lanes in them, which are numbered in order.
#[derive(Debug)]
struct Events {
    lines: String,
    lanes: Vec<String>,
}

impl Trace {
    /// A trace of the process that is this rank.
    pub fn new(terminal: Terminal, rank: usize) -> Self {
        let mut events = Events { lines: String::new(), lanes: Vec::new() };
        let name = format!("rank {rank}");
        events.add(&json!({"name": "process_name", "ph": "M", "pid": rank, "args": {"name": name}}));
        Self { terminal, rank, start: (Instant::now(), SystemTime::now()), events: Mutex::new(events) }
    }

    fn span(&self, span: &Span<'_>) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = events.lane(self.rank, span.lane);
        let (instant, time) = self.start;
        let start = time.duration_since(UNIX_EPOCH).unwrap_or_default() + span.began.duration_since(instant);
        let microseconds = |seconds: f64| (seconds * 1e7).round() / 10.0;
        events.add(&json!({
            "name": span.work, "ph": "X", "pid": self.rank, "tid": lane,
            "ts": microseconds(start.as_secs_f64()),
            "dur": microseconds(span.ended.duration_since(span.began).as_secs_f64()),
            "args": {"bytes": span.bytes},
        }));
    }

    /// Writes what was collected to the file `rank-N.json` of the folder.
    ///
    /// # Errors
    /// The folder or file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        whole_file::create_folder(folder).map_err(|error| write_failure(&error)).at(folder.display())?;
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        write_atomic(&folder.join(format!("rank-{}.json", self.rank)), |out| {
            write!(out, "[\n{}\n]\n", events.lines).map_err(Error::from_source)
        })
    }
}

impl Events {
    fn add(&mut self, event: &Value) {
        let comma = if self.lines.is_empty() { "" } else { ",\n" };
        // Writing to a string cannot fail.
        let _ = write!(self.lines, "{comma}{event}");
    }

    fn lane(&mut self, rank: usize, name: &str) -> usize {
        if let Some(number) = self.lanes.iter().position(|lane| lane == name) {
            return number;
        }
        let number = self.lanes.len();
        self.lanes.push(name.to_owned());
        self.add(&json!({"name": "thread_name", "ph": "M", "pid": rank, "tid": number, "args": {"name": name}}));
        number
    }
}

impl Observer for Trace {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Span(span) => self.span(&span),
            _ => self.terminal.event(event),
        }
    }

    fn stop(&self) -> Option<Error> {
        self.terminal.stop()
    }
}
