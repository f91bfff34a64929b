//! Memory that kernels write: outputs shared by tasks, and scratch memory kept per thread.

use std::cell::Cell;
use std::marker::PhantomData;

/// An output that several tasks fill, each writing its own elements.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: the methods that access memory are unsafe and require that no two tasks use the same element.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Borrows the whole output.
    pub(super) fn new(out: &'a mut [f32]) -> Self {
        Self { start: out.as_mut_ptr(), len: out.len(), life: PhantomData }
    }

    /// Returns a part of the output.
    ///
    /// # Safety
    /// While the part is borrowed, no other task reads or writes its elements.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the caller guarantees that parts are disjoint")]
    pub(super) unsafe fn part(&self, start: usize, len: usize) -> &mut [f32] {
        assert!(start + len <= self.len, "a task writes inside its output");
        // SAFETY: inside the borrowed slice, and the caller guarantees that parts are disjoint.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    /// The address of element `start`, from which the caller writes at most `len` elements.
    #[inline(always)]
    pub(super) fn pointer(&self, start: usize, len: usize) -> *mut f32 {
        assert!(start + len <= self.len, "a task writes inside its output");
        // SAFETY: inside the borrowed slice.
        unsafe { self.start.add(start) }
    }
}

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    static SCRATCH: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Memory that a thread keeps from one use to the next. It is a value rather than the argument of a closure, because
/// closures are separate functions and would not be compiled for the instruction set of the kernel that contains them.
pub(super) struct Scratch {
    lines: Vec<Line>,
}

impl Scratch {
    /// Takes the memory of the thread for one task. A second call at the same time returns fresh memory.
    pub(super) fn task() -> Self {
        Self { lines: SCRATCH.take() }
    }

    /// Returns one slice of each length, aligned to a cache line, with arbitrary (possibly non-finite) contents.
    pub(super) fn split<const N: usize>(&mut self, lens: [usize; N]) -> [&mut [f32]; N] {
        let lines: usize = lens.iter().map(|len| len.div_ceil(16)).sum();
        if self.lines.len() < lines {
            // Drops the old memory first, so that growing takes fresh zero pages instead of copying contents that
            // nobody reads.
            self.lines = Vec::new();
            self.lines = vec![Line([0.0; 16]); lines.next_power_of_two()];
        }
        // SAFETY: `Line` is 16 floats without padding, so the vector is `16 len` initialised floats.
        let mut rest =
            unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<f32>(), 16 * self.lines.len()) };
        lens.map(|len| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(16 * len.div_ceil(16));
            rest = tail;
            &mut head[..len]
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.lines));
    }
}
