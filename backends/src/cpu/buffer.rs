//! Shared memory that returns to a pool, so that training steps after the first allocate nothing.

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
    /// No values, because memory ran out.
    Failure(Failure),
}

impl Buffer {
    /// A buffer without values, because of a failure.
    pub(crate) fn failed(failure: Failure) -> Self {
        Self(Held::Failure(failure))
    }

    /// Why the buffer has no values, if it has none.
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

/// Why a buffer has no values. The failure is passed on to everything computed from the buffer, and becomes an error on
/// download.
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
        Self { op, what: format!("cannot reserve {asked} of memory ({used} are in use{free}): {problem}").into() }
    }

    pub(crate) fn error(&self) -> Error {
        let help = "use smaller batches or patches, or give the process more memory";
        memory::shortage(&*self.what).at(self.op).at("cpu").help(help)
    }
}

/// The allocation that the system refused, in bytes. It unwinds an operation up to [`Cpu`](super::Cpu), which turns it
/// into a [`Failure`].
pub(crate) struct Shortage {
    asked: u64,
    used: u64,
    problem: std::io::Error,
}

/// Exclusively owned memory that an operation writes before it is shared as a [`Buffer`].
pub(crate) struct Block {
    start: NonNull<f32>,
    len: usize,
    extent: Extent,
    pool: Arc<Pool>,
}

// SAFETY: a block owns its extent of the pool's memory, as a boxed slice does.
unsafe impl Send for Block {}
// SAFETY: as above; shared references are only used for reading.
unsafe impl Sync for Block {}

impl Block {
    /// Shares the memory, which is not written any more.
    pub(crate) fn share(self) -> Buffer {
        Buffer(Held::Block(Arc::new(self)))
    }
}

impl Deref for Block {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: the extent holds at least `len` floats, which are initialised because the system zeroes new segments;
        // no other block has any part of it until this one is dropped, and the pool, which the block keeps alive, owns
        // the segment.
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

/// The memory of one backend and its clones. It returns to the system when the last of them and of their buffers is
/// dropped.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Arena>);

impl Pool {
    /// Takes memory for `len` floats with arbitrary contents. Unwinds with a [`Shortage`] if the system has none.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Block {
        let (taken, used) = {
            let mut arena = self.lock();
            (arena.take(len), arena.used())
        };
        match taken {
            Ok((extent, start)) => {
                let start = NonNull::new(start).expect("system memory does not start at address 0");
                Block { start, len, extent, pool: self.clone() }
            }
            // Not a panic, which would print a message: this becomes an error.
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
