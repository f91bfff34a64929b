//! The system allocator, for a program that reports why it gives up.

use std::alloc::{GlobalAlloc, Layout, System};

/// Allocations of at least this many bytes are made by code that handles failure, so running out of memory there is an
/// error; see [`segcal_core::memory`].
const LARGE: usize = 1 << 24;

/// The system allocator. If a small allocation fails the program cannot continue: `give_up` reports it and ends the
/// process. Larger allocations fail as they do with [`System`].
///
/// Meant as the `#[global_allocator]` of a program; a library must not decide to end the process.
#[derive(Clone, Copy, Debug)]
pub struct Allocator {
    /// Called with the number of bytes requested. It must not allocate.
    pub give_up: fn(usize) -> !,
}

impl Allocator {
    fn checked(&self, start: *mut u8, bytes: usize) -> *mut u8 {
        if start.is_null() && bytes < LARGE {
            (self.give_up)(bytes)
        }
        start
    }
}

// SAFETY: every allocation comes from `System` and is returned to it with the same layout.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's guarantees about `layout` are the ones that `System` requires.
        self.checked(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        self.checked(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; `start` came from `System`.
        self.checked(unsafe { System.realloc(start, layout, size) }, size)
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_pieces_that_are_not_to_be_had_are_given_up_for() {
        let allocator = Allocator { give_up: |bytes| panic!("{bytes}") };
        let mut one = 1;
        assert!(!allocator.checked(&raw mut one, 1).is_null());
        assert!(allocator.checked(std::ptr::null_mut(), LARGE).is_null());
        let given_up = std::panic::catch_unwind(|| allocator.checked(std::ptr::null_mut(), 5));
        assert_eq!(given_up.unwrap_err().downcast_ref::<String>().map(String::as_str), Some("5"));
    }
}
