//! Shared memory that goes back to a pool, so that a training step allocates nothing after the first.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// Alignment of every block in bytes: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;
/// What may lie unused beside a quarter of the largest amount ever in use, in numbers: 16 MiB.
const SLACK: usize = 1 << 22;

/// Shared, immutable f32 memory. The memory returns to its pool with the last handle.
#[derive(Clone)]
pub struct Buffer(Arc<Block>);

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

/// Memory that nobody else sees yet: what an operation writes before it is shared as a [`Buffer`].
pub(crate) struct Block {
    memory: ManuallyDrop<Memory>,
    len: usize,
    pool: Arc<Pool>,
}

impl Block {
    /// Shares the memory; nobody writes to it any more.
    pub(crate) fn share(self) -> Buffer {
        Buffer(Arc::new(self))
    }
}

impl Deref for Block {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.memory.numbers()[..self.len]
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory.numbers_mut()[..self.len]
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `memory` is taken once, here, and not used afterwards.
        let memory = unsafe { ManuallyDrop::take(&mut self.memory) };
        self.pool.give_back(memory);
    }
}

/// An aligned allocation of initialised numbers.
struct Memory {
    start: NonNull<f32>,
    capacity: usize,
}

// SAFETY: a `Memory` owns its allocation like a boxed slice does.
unsafe impl Send for Memory {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(capacity: usize) -> Self {
        let layout = Self::layout(capacity);
        // SAFETY: capacities are at least one alignment, so the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start.cast()).unwrap_or_else(|| handle_alloc_error(layout));
        Self { start, capacity }
    }

    fn layout(capacity: usize) -> Layout {
        Layout::array::<f32>(capacity).and_then(|layout| layout.align_to(ALIGNMENT)).expect("a tensor fits into memory")
    }

    fn numbers(&self) -> &[f32] {
        // SAFETY: the allocation holds `capacity` numbers, zeroed when it was made.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.capacity) }
    }

    fn numbers_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `numbers`, and the exclusive reference makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.capacity) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.capacity)) };
    }
}

/// Free memory in size classes.
///
/// A class is a length rounded up to one of eight steps per power of two, so at most an eighth is wasted. In use and
/// free together never exceed 5/4 of the largest amount ever in use plus 16 MiB: what was unused for longest goes
/// back to the system first.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Free>);

#[derive(Default)]
struct Free {
    classes: BTreeMap<usize, Class>,
    in_use: usize,
    unused: usize,
    most_in_use: usize,
    clock: u64,
    allocations: u64,
}

#[derive(Default)]
struct Class {
    stack: Vec<Memory>,
    last_use: u64,
}

impl Pool {
    /// Memory for `len` numbers with arbitrary contents.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Block {
        let capacity = capacity(len);
        let (found, surplus) = self.lock(|free| free.take(capacity));
        drop(surplus);
        let memory = found.unwrap_or_else(|| Memory::new(capacity));
        Block { memory: ManuallyDrop::new(memory), len, pool: self.clone() }
    }

    fn give_back(&self, memory: Memory) {
        let surplus = self.lock(|free| free.give_back(memory));
        drop(surplus);
    }

    /// How often memory was asked of the system.
    #[cfg(test)]
    pub(crate) fn allocations(&self) -> u64 {
        self.lock(|free| free.allocations)
    }

    fn lock<T>(&self, act: impl FnOnce(&mut Free) -> T) -> T {
        // The lists stay consistent between statements, so a panic elsewhere leaves nothing broken.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Free {
    /// A block of the class if there is one, and blocks to return to the system.
    fn take(&mut self, capacity: usize) -> (Option<Memory>, Vec<Memory>) {
        self.clock += 1;
        self.in_use += capacity;
        self.most_in_use = self.most_in_use.max(self.in_use);
        let class = self.classes.entry(capacity).or_default();
        class.last_use = self.clock;
        let found = class.stack.pop();
        match found {
            Some(_) => self.unused -= capacity,
            None => self.allocations += 1,
        }
        (found, self.surplus())
    }

    fn give_back(&mut self, memory: Memory) -> Vec<Memory> {
        self.clock += 1;
        self.in_use -= memory.capacity;
        self.unused += memory.capacity;
        let class = self.classes.entry(memory.capacity).or_default();
        class.last_use = self.clock;
        class.stack.push(memory);
        self.surplus()
    }

    /// Takes out blocks of the classes unused for longest until the bound holds.
    fn surplus(&mut self) -> Vec<Memory> {
        let bound = self.most_in_use + self.most_in_use / 4 + SLACK;
        let mut surplus = Vec::new();
        while self.in_use + self.unused > bound && self.unused > 0 {
            let oldest = self.classes.values_mut().filter(|class| !class.stack.is_empty()).min_by_key(|c| c.last_use);
            let Some(memory) = oldest.and_then(|class| class.stack.pop()) else { break };
            self.unused -= memory.capacity;
            surplus.push(memory);
        }
        surplus
    }
}

/// The length of the size class of `len` numbers.
fn capacity(len: usize) -> usize {
    let least = ALIGNMENT / size_of::<f32>();
    let step = (len.next_power_of_two() / 16).max(least);
    len.max(1).next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_at_most_an_eighth() {
        for len in (0..5000).chain([65_536, 65_537, 1_000_003, 7_846_180]) {
            let capacity = capacity(len);
            assert!(capacity >= len && capacity <= len + (len / 8).max(16), "{len} -> {capacity}");
        }
        assert_eq!(capacity(1 << 20), 1 << 20, "powers of two waste nothing");
    }

    #[test]
    fn the_second_round_allocates_nothing() {
        let pool = Arc::new(Pool::default());
        let round = || {
            let sizes = [1000, 70_000, 3, 0, 70_001, 1_000_000];
            let shared: Vec<Buffer> = sizes.map(|len| pool.take(len).share()).into();
            assert!(shared.iter().zip(sizes).all(|(buffer, len)| buffer.len() == len));
        };
        round();
        let first = pool.allocations();
        round();
        assert_eq!(pool.allocations(), first);
    }

    #[test]
    fn memory_returns_with_the_last_handle_and_is_aligned() {
        let pool = Arc::new(Pool::default());
        let mut block = pool.take(100);
        block.fill(7.0);
        let address = block.as_ptr();
        assert_eq!(address as usize % ALIGNMENT, 0);
        let first = block.share();
        let second = first.clone();
        drop(first);
        assert_eq!(second[99], 7.0);
        drop(second);
        assert_eq!(pool.take(97).as_ptr(), address, "same class");
    }

    #[test]
    fn unused_memory_is_bounded() {
        let pool = Arc::new(Pool::default());
        for step in 0..40 {
            drop(pool.take((2 + step) << 18));
        }
        let (in_use, unused, most) = pool.lock(|free| (free.in_use, free.unused, free.most_in_use));
        assert_eq!(in_use, 0);
        assert!(unused <= most + most / 4 + SLACK, "{unused} of {most}");
    }
}
