//! Shared memory that goes back to a pool, so that a training step allocates nothing after the first.

use std::ops::{Deref, DerefMut};
use std::panic::resume_unwind;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use segcal_core::{Error, memory};

use super::arena::{Arena, Extent};

/// Shared, immutable f32 memory. The memory returns to its pool with the last handle.
#[derive(Clone)]
pub struct Buffer(Held);

#[derive(Clone)]
enum Held {
    Block(Arc<Block>),
    /// Nothing, for want of memory.
    Failure(Failure),
}

impl Buffer {
    /// A buffer that holds nothing, because of a failure.
    pub(crate) fn failed(failure: Failure) -> Self {
        Self(Held::Failure(failure))
    }

    /// Why it holds nothing, if it does not.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match &self.0 {
            Held::Block(_) => None,
            Held::Failure(failure) => Some(failure),
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match &self.0 {
            Held::Block(block) => block,
            Held::Failure(_) => &[],
        }
    }
}

/// Why a buffer does not hold what it should. It is passed on to all that is computed from it, and becomes an error
/// when that is downloaded.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    op: &'static str,
    what: Arc<str>,
}

impl Failure {
    pub(crate) fn new(op: &'static str, shortage: &Shortage) -> Self {
        let Shortage { asked, used, problem } = shortage;
        let free = memory::free().map_or_else(String::new, |free| format!(", {} are free", memory::in_words(free)));
        let [asked, used] = [asked, used].map(|bytes| memory::in_words(*bytes));
        Self { op, what: format!("{asked} of memory cannot be reserved beside {used} in use{free}: {problem}").into() }
    }

    pub(crate) fn error(&self) -> Error {
        let help = "use smaller batches or patches, or let the process have more memory";
        memory::shortage(&*self.what).at(self.op).at("cpu").help(help)
    }
}

/// What the system refused, in bytes. It unwinds an operation up to [`Cpu`](super::Cpu), which makes it a [`Failure`].
pub(crate) struct Shortage {
    asked: u64,
    used: u64,
    problem: std::io::Error,
}

/// Memory that nobody else sees yet: what an operation writes before it is shared as a [`Buffer`].
pub(crate) struct Block {
    start: NonNull<f32>,
    len: usize,
    extent: Extent,
    pool: Arc<Pool>,
}

// SAFETY: a block owns its extent of the pool's memory like a boxed slice does.
unsafe impl Send for Block {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Block {}

impl Block {
    /// Shares the memory; nobody writes to it any more.
    pub(crate) fn share(self) -> Buffer {
        Buffer(Held::Block(Arc::new(self)))
    }
}

impl Deref for Block {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: the extent holds at least `len` numbers, initialised since the system zeroed its segment; no other
        // block has any part of it until this one is dropped, and the pool it keeps alive owns the segment.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and the exclusive reference makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.lock().give_back(self.extent);
    }
}

/// The memory of one backend and its clones; it returns to the system with the last of them and of their buffers.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Arena>);

impl Pool {
    /// Memory for `len` numbers with arbitrary contents. Unwinds with a [`Shortage`] if the system has none.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Block {
        let (taken, used) = {
            let mut arena = self.lock();
            (arena.take(len), arena.used())
        };
        match taken {
            Ok((extent, start)) => {
                let start = NonNull::new(start).expect("memory of the system does not start at 0");
                Block { start, len, extent, pool: self.clone() }
            }
            // No panic, which would print a message: this is an error on its way.
            Err(problem) => resume_unwind(Box::new(Shortage { asked: len as u64 * 4, used, problem })),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arena> {
        // The lists stay consistent between statements, so a panic elsewhere leaves nothing broken.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_round_finds_its_memory_where_the_first_left_it() {
        let pool = Arc::new(Pool::default());
        let round = || {
            let sizes = [1000, 70_000, 3, 0, 70_001, 1_000_000];
            let shared: Vec<Buffer> = sizes.map(|len| pool.take(len).share()).into();
            assert!(shared.iter().zip(sizes).all(|(buffer, len)| buffer.len() == len));
            shared.iter().map(|buffer| buffer.as_ptr().addr()).collect::<Vec<_>>()
        };
        assert_eq!(round(), round());
    }

    #[test]
    fn memory_returns_with_the_last_handle_and_is_aligned() {
        let pool = Arc::new(Pool::default());
        let mut block = pool.take(100);
        block.fill(7.0);
        let address = block.as_ptr();
        assert_eq!(address.addr() % 64, 0);
        let first = block.share();
        let second = first.clone();
        drop(first);
        assert_eq!(second[99], 7.0);
        assert_ne!(pool.take(97).as_ptr(), address, "still in use");
        drop(second);
        assert_eq!(pool.take(97).as_ptr(), address);
    }

    #[test]
    fn a_buffer_outlives_its_backend() {
        let pool = Arc::new(Pool::default());
        let mut block = pool.take(5);
        block.fill(2.0);
        let buffer = block.share();
        drop(pool);
        assert_eq!(buffer.iter().sum::<f32>(), 10.0);
    }
}
