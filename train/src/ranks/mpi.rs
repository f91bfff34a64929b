//! Ranks that are processes started by `mpirun`.
//!
//! One thread makes all MPI calls, so an implementation without full thread support suffices. It never blocks inside a
//! call: it polls whether the exchange is done and sleeps in between, so that waiting ranks leave the processors to
//! those that compute. While waiting for this thread, the caller checks whether the process has been asked to end: when
//! a rank dies, `mpirun` asks the others to end.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
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
    /// One exchange at a time.
    line: Mutex<Line>,
}

/// The channels to the thread that makes the calls, and back.
struct Line {
    /// When this is dropped, the thread leaves the other ranks.
    ask: Option<Sender<Vec<u8>>>,
    answer: Receiver<Vec<Vec<u8>>>,
}

impl Mpi {
    /// Joins the other ranks. While this process waits for them, `stop` reports whether it has been asked to end.
    ///
    /// # Errors
    /// MPI was already initialised in this process, or no thread can be started.
    pub fn start(stop: Stop) -> Result<Self> {
        let (ask, asked) = channel();
        let (answer, answered) = channel();
        let (place, placed) = channel();
        let thread = move || {
            let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else { return };
            let world = universe.world();
            // Nobody is listening if the process has given up.
            let _ = place.send((world.rank() as usize, world.size() as usize));
            serve(&world, &asked, &answer);
            // Waits for the other ranks; `answer` is dropped only afterwards.
            drop(universe);
            drop(answer);
        };
        Builder::new()
            .name("mpi".into())
            .spawn(thread)
            .map_err(|error| memory::shortage(format!("cannot start a thread for MPI: {error}")))?;
        let (rank, size) = placed.recv().map_err(|_| Error::new("MPI was already initialised in this process"))?;
        let line = Line { ask: Some(ask), answer: answered };
        Ok(Self { rank, size, stop, line: Mutex::new(line) })
    }
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let ended = || Error::new("the thread that communicates with the other ranks has ended");
        let line = self.line.lock().map_err(|_| ended())?;
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

    fn finish(&self) {
        if let Ok(mut line) = self.line.lock() {
            line.ask = None;
            // The thread sends nothing more; the channel closes when the thread ends.
            let _ = line.answer.recv();
        }
    }
}

impl Drop for Mpi {
    /// If [`Ranks::finish`] was not called, something went wrong: the thread is left running and ends with the process.
    fn drop(&mut self) {
        if let Some(ask) = self.line.get_mut().ok().and_then(|line| line.ask.take()) {
            std::mem::forget(ask);
        }
    }
}

/// Serves requests until the channel closes.
fn serve(world: &SimpleCommunicator, asked: &Receiver<Vec<u8>>, answer: &Sender<Vec<Vec<u8>>>) {
    while let Ok(own) = asked.recv() {
        if answer.send(gathered(world, &own)).is_err() {
            return;
        }
    }
}

/// Gathers the bytes of every rank: first their lengths, then the bytes piece by piece.
fn gathered(world: &SimpleCommunicator, own: &[u8]) -> Vec<Vec<u8>> {
    let size = world.size() as usize;
    let lengths = exchanged(world, &(own.len() as u64).to_le_bytes(), &vec![8; size]);
    let lengths: Vec<usize> = lengths.as_chunks().0.iter().map(|&length| u64::from_le_bytes(length) as usize).collect();
    let mut all: Vec<Vec<u8>> = lengths.iter().map(|&length| Vec::with_capacity(length)).collect();
    let piece = PIECE / size;
    for start in (0..lengths.iter().copied().max().unwrap_or(0)).step_by(piece) {
        let counts: Vec<usize> = lengths.iter().map(|length| length.saturating_sub(start).min(piece)).collect();
        let part = &own[own.len().min(start)..own.len().min(start + piece)];
        let found = exchanged(world, part, &counts);
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
fn exchanged(world: &SimpleCommunicator, own: &[u8], counts: &[usize]) -> Vec<u8> {
    let mut all = vec![0; counts.iter().sum()];
    let starts = counts.iter().scan(0, |next, &count| Some(std::mem::replace(next, *next + count) as Count));
    let (starts, counts): (Vec<Count>, Vec<Count>) = (starts.collect(), counts.iter().map(|&n| n as Count).collect());
    let mut parts = PartitionMut::new(&mut all[..], counts, starts);
    mpi::request::scope(|scope| {
        let mut request = world.immediate_all_gather_varcount_into(scope, own, &mut parts);
        while let Err(unfinished) = request.test() {
            request = unfinished;
            std::thread::sleep(PAUSE);
        }
    });
    all
}
