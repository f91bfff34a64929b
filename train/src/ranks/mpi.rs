//! Ranks that are processes started by `mpirun`.
//!
//! MPI's calls are made by two threads, one for each kind of exchange, in turn, so an implementation that allows calls
//! from several threads, but only one at a time, suffices. Neither blocks inside a call: it polls whether the exchange is
//! done and sleeps in between, so that waiting ranks leave the processors to those that compute. While waiting for such a
//! thread, the caller checks whether the process has been asked to end: when a rank dies, `mpirun` asks the others to
//! end.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use mpi::datatype::PartitionMut;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
use mpi::{Count, Threading};
use segcal_core::{Error, Result, memory};

use super::Ranks;

/// Maximum number of bytes in one MPI exchange, over all ranks: MPI counts in 31 bits.
const PIECE: usize = 1 << 30;
/// How long a rank sleeps between two polls: short compared to a step, long compared to a poll.
const PAUSE: Duration = Duration::from_micros(100);
/// How often a waiting rank checks whether it has been asked to end.
const LOOK: Duration = Duration::from_millis(50);

/// Whether the process has been asked to end, and why.
pub type Stop = Box<dyn Fn() -> Option<Error> + Send + Sync>;

/// This process as one of the ranks started together.
pub struct Mpi {
    rank: usize,
    size: usize,
    stop: Stop,
    /// For [`Ranks::gather`] and [`Ranks::gather_aside`]; each makes one exchange at a time.
    lines: [Mutex<Line>; 2],
}

/// The channels to a thread that makes calls, and back.
struct Line {
    /// When this is dropped, the thread ends; when both have ended, this process leaves the other ranks.
    ask: Option<Sender<Vec<u8>>>,
    answer: Receiver<Vec<Vec<u8>>>,
}

/// Their other ends.
struct Served {
    asked: Receiver<Vec<u8>>,
    answer: Sender<Vec<Vec<u8>>>,
}

impl Line {
    fn laid() -> (Mutex<Self>, Served) {
        let ((ask, asked), (answer, answered)) = (channel(), channel());
        (Mutex::new(Self { ask: Some(ask), answer: answered }), Served { asked, answer })
    }
}

impl Mpi {
    /// Joins the other ranks. While this process waits for them, `stop` reports whether it has been asked to end.
    ///
    /// # Errors
    /// MPI was already initialised in this process or does not allow calls from several threads, or no thread can be
    /// started.
    pub fn start(stop: Stop) -> Result<Self> {
        let ((line, served), (line_aside, served_aside)) = (Line::laid(), Line::laid());
        let (place, placed) = channel();
        let thread = move || {
            let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Serialized) else { return };
            if !matches!(threading, Threading::Serialized | Threading::Multiple) {
                let _ = place.send(Err(Error::new("this MPI does not allow calls from several threads")));
                return;
            }
            let open = [&served, &served_aside].map(|served| served.answer.clone());
            serve_both(&universe.world(), served, &served_aside, &place);
            // Waits for the other ranks; the channels to this process are closed only afterwards.
            drop(universe);
            drop(open);
        };
        Builder::new().name("mpi-aside".into()).spawn(thread).map_err(|error| no_thread(&error))?;
        let placed = placed.recv().unwrap_or_else(|_| Err(Error::new("MPI was already initialised in this process")));
        let (rank, size) = placed?;
        Ok(Self { rank, size, stop, lines: [line, line_aside] })
    }

    fn exchange(&self, line: &Mutex<Line>, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let ended = || Error::new("the thread that communicates with the other ranks has ended");
        let line = line.lock().map_err(|_| ended())?;
        line.ask.as_ref().and_then(|ask| ask.send(own.to_vec()).ok()).ok_or_else(ended)?;
        loop {
            match line.answer.recv_timeout(LOOK) {
                Ok(all) => return Ok(all),
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(reason) = (self.stop)() {
                        return Err(reason.at(format!("rank {}, waiting for the others", self.rank)));
                    }
                }
            }
        }
    }
}

fn no_thread(error: &std::io::Error) -> Error {
    memory::shortage(format!("cannot start a thread for MPI: {error}"))
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.exchange(&self.lines[0], own)
    }

    fn gather_aside(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.exchange(&self.lines[1], own)
    }

    fn finish(&self) {
        let mut lines: Vec<MutexGuard<'_, Line>> = self.lines.iter().filter_map(|line| line.lock().ok()).collect();
        lines.iter_mut().for_each(|line| line.ask = None);
        // The threads send nothing more; the channels close when both have ended.
        lines.iter().for_each(|line| drop(line.answer.recv()));
    }
}

impl Drop for Mpi {
    /// If [`Ranks::finish`] was not called, something went wrong: the threads are left running and end with the process.
    fn drop(&mut self) {
        for line in &mut self.lines {
            if let Some(ask) = line.get_mut().ok().and_then(|line| line.ask.take()) {
                std::mem::forget(ask);
            }
        }
    }
}

/// Tells the process its place, and serves both lines until they are closed, each by its own thread and communicator.
fn serve_both(world: &SimpleCommunicator, served: Served, aside: &Served, place: &Sender<Result<(usize, usize)>>) {
    let (rank, size, calls) = (world.rank() as usize, world.size() as usize, Mutex::default());
    let copy = Caller { ranks: &world.duplicate(), size, calls: &calls };
    std::thread::scope(|scope| {
        let calls = &calls;
        let main = move || Caller { ranks: &SimpleCommunicator::world(), size, calls }.serve(&served);
        let started = Builder::new().name("mpi".into()).spawn_scoped(scope, main);
        let failed = started.is_err();
        // Nobody is listening if the process has given up.
        let _ = place.send(started.map(|_| (rank, size)).map_err(|error| no_thread(&error)));
        if !failed {
            copy.serve(aside);
        }
    });
}

/// A thread that makes calls. It holds `calls` during each.
struct Caller<'a> {
    ranks: &'a SimpleCommunicator,
    size: usize,
    calls: &'a Mutex<()>,
}

impl Caller<'_> {
    /// Serves requests until the channel closes.
    fn serve(&self, served: &Served) {
        while let Ok(own) = served.asked.recv() {
            if served.answer.send(self.gathered(&own)).is_err() {
                return;
            }
        }
    }

    /// Gathers the bytes of every rank: first their lengths, then the bytes piece by piece.
    fn gathered(&self, own: &[u8]) -> Vec<Vec<u8>> {
        let lengths = self.exchanged(&(own.len() as u64).to_le_bytes(), &vec![8; self.size]);
        let length = |&length| u64::from_le_bytes(length) as usize;
        let lengths: Vec<usize> = lengths.as_chunks().0.iter().map(length).collect();
        let mut all: Vec<Vec<u8>> = lengths.iter().map(|&length| Vec::with_capacity(length)).collect();
        let piece = PIECE / self.size;
        for start in (0..lengths.iter().copied().max().unwrap_or(0)).step_by(piece) {
            let counts: Vec<usize> = lengths.iter().map(|length| length.saturating_sub(start).min(piece)).collect();
            let part = &own[own.len().min(start)..own.len().min(start + piece)];
            let found = self.exchanged(part, &counts);
            let mut rest = &found[..];
            for (all, &count) in all.iter_mut().zip(&counts) {
                let (own, more) = rest.split_at(count);
                all.extend(own);
                rest = more;
            }
        }
        all
    }

    /// One exchange of at most [`PIECE`] bytes, to which rank `i` contributes `counts[i]`.
    fn exchanged(&self, own: &[u8], counts: &[usize]) -> Vec<u8> {
        let mut all = vec![0; counts.iter().sum()];
        let starts = counts.iter().scan(0, |next, &count| Some(std::mem::replace(next, *next + count) as Count));
        let starts: Vec<Count> = starts.collect();
        let counts: Vec<Count> = counts.iter().map(|&n| n as Count).collect();
        let mut parts = PartitionMut::new(&mut all[..], counts, starts);
        mpi::request::scope(|scope| {
            let mut request = {
                let _call = self.call();
                self.ranks.immediate_all_gather_varcount_into(scope, own, &mut parts)
            };
            loop {
                let tested = {
                    let _call = self.call();
                    request.test()
                };
                let Err(unfinished) = tested else { return };
                request = unfinished;
                std::thread::sleep(PAUSE);
            }
        });
        all
    }

    fn call(&self) -> MutexGuard<'_, ()> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
