//! Memory that kernels write: outputs shared by tasks, and scratch that a thread keeps.

use std::cell::RefCell;
use std::marker::PhantomData;

/// An output that several tasks fill, each its own places.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: the methods that touch memory are unsafe and ask that no two tasks use the same place.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Borrows the whole output.
    pub(super) fn new(out: &'a mut [f32]) -> Self {
        Self { start: out.as_mut_ptr(), len: out.len(), life: PhantomData }
    }

    /// A part of the output.
    ///
    /// # Safety
    /// While the part lives, no other task reads or writes its places.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the caller promises that parts are disjoint")]
    pub(super) unsafe fn part(&self, start: usize, len: usize) -> &mut [f32] {
        assert!(start + len <= self.len, "a task writes inside its output");
        // SAFETY: inside the borrowed slice, and disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with one scratch slice of each length, at the start of a cache line, with arbitrary finite or
/// non-finite contents. The memory stays with the thread for the next call; `f` must not call `scratch` again.
#[inline(always)]
pub(super) fn scratch<const N: usize, R>(lens: [usize; N], f: impl FnOnce([&mut [f32]; N]) -> R) -> R {
    let lines: usize = lens.iter().map(|len| len.div_ceil(16)).sum();
    // Taken out, not borrowed: should `f` ever re-enter through a stolen task, it finds an empty store, not a panic.
    let mut store = SCRATCH.take();
    if store.len() < lines {
        store.resize(lines, Line([0.0; 16]));
    }
    // SAFETY: `Line` is 16 floats without padding, so the vector is `16 len` initialised floats.
    let mut rest = unsafe { std::slice::from_raw_parts_mut(store.as_mut_ptr().cast::<f32>(), 16 * store.len()) };
    let slices = lens.map(|len| {
        let (head, tail) = std::mem::take(&mut rest).split_at_mut(16 * len.div_ceil(16));
        rest = tail;
        &mut head[..len]
    });
    let result = f(slices);
    SCRATCH.set(store);
    result
}
