//! Tracks which memory is free: extents are split when memory is taken and merged when it is returned.

use std::collections::BTreeMap;

use memmap2::{MmapMut, MmapOptions};
use segcal_core::memory;

/// Number of floats in a cache line, which is also the widest vector: every extent starts and ends on a cache line.
const GRAIN: usize = 16;
/// Size of the first segment where addresses cost nothing, in floats: 32 GiB.
const FAR: usize = if cfg!(target_pointer_width = "64") { 1 << 33 } else { NEAR };
/// Size of the first segment where addresses are scarce, in floats: 64 MiB.
const NEAR: usize = 1 << 24;

/// Size of the first segment, in floats. A Linux system that never overcommits (`vm.overcommit_memory = 2`) counts
/// every reserved address as memory that is unavailable to others.
fn first() -> usize {
    let strict = || {
        let mode = std::fs::read_to_string("/proc/sys/vm/overcommit_memory");
        mode.is_ok_and(|mode| promises_no_more_than_it_has(&mode))
    };
    if cfg!(not(unix)) || strict() { NEAR } else { FAR }
}

fn promises_no_more_than_it_has(mode: &str) -> bool {
    mode.trim() == "2"
}

/// A piece of a segment, in floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    segment: usize,
    offset: usize,
    len: usize,
}

/// System memory in one segment, or a few if one is not enough, and the free extents in it.
///
/// A segment reserves addresses; the system provides memory page by page when it is first written. Memory is taken from
/// the lowest extent that fits, so pages are reused, and the resident memory is about the largest amount ever in use.
/// Different sizes share the memory: there are no size classes that could strand it.
#[derive(Default)]
pub(super) struct Arena {
    segments: Vec<MmapMut>,
    /// Lengths of the free extents by segment and offset; neighbours are merged.
    free: BTreeMap<(usize, usize), usize>,
    reserved: usize,
    /// Floats in use.
    used: usize,
    /// The maximum of `used` so far; the system already provides memory for it.
    peak: usize,
    /// How far `used` may grow before the system is asked again whether it has enough memory.
    vouched: usize,
}

impl Arena {
    /// Takes the lowest free extent with room for `len` floats. Returns it and a pointer to its start; the contents are
    /// arbitrary.
    ///
    /// # Errors
    /// The error of the system if it has no more memory.
    pub(super) fn take(&mut self, len: usize) -> std::io::Result<(Extent, *mut f32)> {
        let len = len.max(1).next_multiple_of(GRAIN);
        self.vouch(self.used.saturating_add(len))?;
        let fits = self.free.iter().find(|&(_, &room)| room >= len).map(|(&place, &room)| (place, room));
        let ((segment, offset), room) = match fits {
            Some(found) => found,
            None => self.reserve(len)?,
        };
        self.free.remove(&(segment, offset));
        if room > len {
            self.free.insert((segment, offset + len), room - len);
        }
        #[expect(clippy::cast_ptr_alignment, reason = "a segment starts on a page of memory")]
        let start = self.segments[segment].as_mut_ptr().cast::<f32>().wrapping_add(offset);
        self.used += len;
        self.peak = self.peak.max(self.used);
        Ok((Extent { segment, offset, len }, start))
    }

    /// Bytes in use.
    pub(super) fn used(&self) -> u64 {
        self.used as u64 * 4
    }

    /// Checks that the system has memory for this many floats in total. It reserves more addresses than it has memory
    /// for, and kills a process that writes to all of them.
    fn vouch(&mut self, numbers: usize) -> std::io::Result<()> {
        if numbers <= self.vouched {
            return Ok(());
        }
        let more = (numbers - self.peak) as u64 * 4;
        if memory::physical().is_some_and(|free| more > free) {
            return Err(std::io::ErrorKind::OutOfMemory.into());
        }
        self.vouched = numbers.saturating_add(NEAR / 4);
        Ok(())
    }

    /// Frees an extent and merges it with adjacent free extents.
    pub(super) fn give_back(&mut self, Extent { segment, mut offset, mut len }: Extent) {
        self.used -= len;
        if let Some(room) = self.free.remove(&(segment, offset + len)) {
            len += room;
        }
        let before = self.free.range(..(segment, offset)).next_back().map(|(&place, &room)| (place, room));
        if let Some(((same, start), room)) = before
            && (same, start + room) == (segment, offset)
        {
            (offset, len) = (start, room + len);
        }
        self.free.insert((segment, offset), len);
    }

    /// Reserves a new free segment for at least `len` floats, as large as all previous ones together, so that their
    /// number grows with the logarithm of the memory. If addresses are limited it takes about half of what is left, or
    /// `len`.
    fn reserve(&mut self, len: usize) -> std::io::Result<((usize, usize), usize)> {
        let map =
            |room: usize| MmapOptions::new().len(room.saturating_mul(size_of::<f32>())).no_reserve_swap().map_anon();
        let least = if self.segments.is_empty() { first() } else { self.reserved };
        let mut room = len.max(least);
        if map(room).is_err() {
            while room > len && map(room).is_err() {
                room = (room / 2).max(len);
            }
            room = (room / 2).next_multiple_of(GRAIN).max(len);
        }
        let memory = map(room)?;
        // One page fault and one TLB entry per 2 MiB. This is only a hint, so a refusal changes nothing.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        self.segments.push(memory);
        self.reserved += room;
        let place = (self.segments.len() - 1, 0);
        self.free.insert(place, room);
        Ok((place, room))
    }

    /// Segment, offset and length of each free extent.
    #[cfg(test)]
    pub(super) fn free_extents(&self) -> Vec<(usize, usize, usize)> {
        self.free.iter().map(|(&(segment, offset), &len)| (segment, offset, len)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Compared with a plain list of the extents in use: no two overlap, and when all are returned one free extent
        /// is left.
        #[test]
        fn extents_never_overlap_and_merge_again(
            steps in prop::collection::vec((0_usize..3_000_000, any::<prop::sample::Index>(), any::<bool>()), 1..80),
        ) {
            let mut arena = Arena::default();
            let mut used: Vec<Extent> = Vec::new();
            for (len, which, give) in steps {
                if give && !used.is_empty() {
                    arena.give_back(used.swap_remove(which.index(used.len())));
                    continue;
                }
                let (new, start) = arena.take(len).unwrap();
                prop_assert!(new.len >= len.max(1) && new.len < len + 2 * GRAIN && start.addr().is_multiple_of(64));
                let below = |a: &Extent, b: &Extent| a.offset + a.len <= b.offset;
                let apart = |old: &Extent| old.segment != new.segment || below(old, &new) || below(&new, old);
                prop_assert!(used.iter().all(apart), "{new:?} among {used:?}");
                used.push(new);
            }
            for extent in used {
                arena.give_back(extent);
            }
            prop_assert_eq!(arena.used(), 0);
            let whole = arena.free_extents();
            prop_assert_eq!(whole.len(), arena.segments.len());
            prop_assert_eq!(whole.iter().map(|&(_, _, len)| len).sum::<usize>(), arena.reserved);
        }
    }

    #[test]
    fn addresses_are_reserved_where_they_cost_nothing() {
        assert!(promises_no_more_than_it_has("2\n"));
        assert!(!promises_no_more_than_it_has("0\n") && !promises_no_more_than_it_has(""));
        let mut arena = Arena::default();
        arena.take(5).unwrap();
        assert_eq!(arena.reserved, first());
    }

    #[test]
    fn the_lowest_place_that_fits_is_taken() {
        let mut arena = Arena::default();
        let [a, b, c] = [100, 200, 300].map(|len| arena.take(len).unwrap().0);
        arena.give_back(a);
        assert_eq!(arena.take(150).unwrap().0.offset, c.offset + c.len, "too long for the hole");
        assert_eq!(arena.take(50).unwrap().0.offset, a.offset);
        arena.give_back(b);
        assert_eq!(arena.take(230).unwrap().0.offset, 64, "the rest of one hole and the whole of the next");
    }

    #[test]
    fn more_than_there_are_addresses_is_an_error_and_changes_nothing() {
        let mut arena = Arena::default();
        let kept = arena.take(100).unwrap().0;
        let before = arena.free_extents();
        assert!(arena.take(1 << 58).is_err());
        assert_eq!((arena.free_extents(), arena.used()), (before, kept.len as u64 * 4));
        assert!(arena.take(100).is_ok());
    }
}
