//! The single pass over a volume that fills every bin of every region.
//!
//! Voxels are counted by kind: reference label, prediction and flags. A chunk of a volume contains few kinds, and each
//! gets a slot of dense counters. When the slots run out, or a block ends, their contents are added to the groups of
//! their kind (see [`super::group`]), of which only non-empty bins are stored. Inside a slot the reference label is
//! constant, so the class bins need no counter of hits.

use std::collections::BTreeMap;
use std::ops::Range;

use super::bins::{Bin, TOLERANCE, cells};
use super::cells::Cells;
use super::fixed::units;
use super::group::{self, Group};
use super::region_bins::RegionBins;
use super::voxels::{IGNORED, Voxels};
use crate::scan::CHUNK;
use crate::volume::Label;

/// Bits of the sum in a packed counter, which is flushed after every [`CHUNK`]: a sum of 2^11 values of at most 2^40
/// units needs 52 bits, and a count up to 2^11 the 12 bits above them.
const SUM_BITS: u32 = 52;
const _: () = assert!(CHUNK == 1 << 11, "as many as the counters hold");

/// Number of slots per task: at most this many, with at most `COUNTERS` counters in total, but at least two.
const MOST_SLOTS: usize = 64;
const COUNTERS: usize = 1 << 17;

/// Adds bins to those under a key.
pub(super) fn add<K: Ord>(map: &mut BTreeMap<K, RegionBins>, key: K, bins: &RegionBins) {
    match map.get_mut(&key) {
        Some(own) => own.merge(bins),
        None => {
            map.insert(key, bins.clone());
        }
    }
}

/// The properties that determine the counters of a voxel.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    reference: Label,
    prediction: Label,
    flags: u8,
}

/// Sums over one chunk, in units; 2^11 voxels of at most 88 nats fit in 58 bits.
#[derive(Clone, Copy, Default)]
struct Scores {
    nll: u64,
    zero_likelihood: u64,
    brier: u64,
    brier_foreground: u64,
}

/// The counters of one kind of voxel.
struct Slot {
    kind: Kind,
    /// Whether the chunk contains a voxel of this kind.
    touched: bool,
    scores: Scores,
    /// Cells `[row][cell]` of the classes, then of the largest probability.
    rows: Vec<Bin>,
    total: RegionBins,
}

/// The counts of one task, and its working memory for one chunk.
pub(super) struct Tally<'a> {
    voxels: &'a Voxels<'a>,
    bins: usize,
    pub(super) groups: BTreeMap<Group, RegionBins>,
    pub(super) invalid: bool,
    slots: Vec<Slot>,
    most_slots: usize,
    /// Packed counters `[slot][row][cell]`: the count above [`SUM_BITS`], the sum below. Rows as in the slots.
    table: Vec<u64>,
    /// Start of each voxel's slot in the table.
    base: Vec<u32>,
    /// The end of each run of voxels of one slot, and the slot's start in the table.
    runs: Vec<(usize, usize)>,
    top: Vec<f32>,
    /// Sum over classes of p^2.
    squares: Vec<f64>,
    /// Sum of p over the classes but the background.
    foreground: Vec<f64>,
    cell: Vec<u32>,
    packed: Vec<u64>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(voxels: &'a Voxels<'a>, bins: usize) -> Self {
        let stride = (voxels.p.classes() + 1) * cells(bins);
        let most_slots = (COUNTERS / stride).clamp(2, MOST_SLOTS);
        Self {
            voxels,
            bins,
            groups: BTreeMap::new(),
            invalid: false,
            slots: Vec::with_capacity(most_slots),
            most_slots,
            table: vec![0; most_slots * stride],
            base: vec![0; CHUNK],
            runs: Vec::with_capacity(CHUNK),
            top: vec![0.0; CHUNK],
            squares: vec![0.0; CHUNK],
            foreground: vec![0.0; CHUNK],
            cell: vec![0; CHUNK],
            packed: vec![0; CHUNK],
        }
    }

    fn stride(&self) -> usize {
        (self.voxels.p.classes() + 1) * cells(self.bins)
    }

    pub(super) fn block(&mut self, block: Range<usize>) {
        let mut start = block.start;
        while start < block.end {
            // Up to the next multiple of `CHUNK`, so that a chunk is quiet as a whole.
            let placed = self.place(start..((start / CHUNK + 1) * CHUNK).min(block.end));
            if placed == 0 {
                self.empty_slots();
                continue;
            }
            self.chunk(&(start..start + placed));
            start += placed;
        }
        self.empty_slots();
    }

    /// Finds the slot of each voxel, up to the first voxel for which no slot is left; returns the number of voxels
    /// placed.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a place in the table, which has at most COUNTERS or two slots"
    )]
    fn place(&mut self, at: Range<usize>) -> usize {
        let stride = self.stride();
        let mut last: Option<(Kind, usize)> = None;
        self.runs.clear();
        for (i, voxel) in at.clone().enumerate() {
            let kind = self.kind(voxel);
            let slot = match last {
                Some((same, slot)) if same == kind => slot,
                _ => match self.slot(kind) {
                    Some(slot) => slot,
                    None => return i,
                },
            };
            last = Some((kind, slot));
            let base = slot * stride;
            match self.runs.last_mut() {
                Some((end, same)) if *same == base => *end = i + 1,
                _ => self.runs.push((i + 1, base)),
            }
            self.base[i] = base as u32;
        }
        at.len()
    }

    /// Ignored voxels share one kind, which belongs to no group.
    fn kind(&self, voxel: usize) -> Kind {
        let flags = self.voxels.flags[voxel];
        if flags & IGNORED != 0 {
            return Kind { reference: 0, prediction: 0, flags: IGNORED };
        }
        Kind { reference: self.voxels.reference[voxel], prediction: self.voxels.prediction[voxel], flags }
    }

    fn slot(&mut self, kind: Kind) -> Option<usize> {
        let found = self.slots.iter().position(|slot| slot.kind == kind);
        let number = found.or_else(|| {
            let (classes, bins) = (self.voxels.p.classes(), self.bins);
            (self.slots.len() < self.most_slots).then(|| {
                let rows = vec![Bin::default(); (classes + 1) * cells(bins)];
                let (scores, total) = (Scores::default(), RegionBins::new(classes, bins));
                self.slots.push(Slot { kind, touched: false, scores, rows, total });
                self.slots.len() - 1
            })
        })?;
        self.slots[number].touched = true;
        Some(number)
    }

    fn chunk(&mut self, at: &Range<usize>) {
        let classes = self.voxels.p.classes();
        self.squares[..at.len()].fill(0.0);
        self.foreground[..at.len()].fill(0.0);
        for k in 0..classes {
            let values = &self.voxels.p.class(k)[at.clone()];
            let weight = f64::from(u8::from(k > 0));
            for ((square, foreground), &value) in self.squares.iter_mut().zip(&mut self.foreground).zip(values) {
                *square += f64::from(value).powi(2);
                *foreground += weight * f64::from(value);
            }
            if self.voxels.quiet.holds(k, at.start) {
                self.scatter_quiet(values, k);
            } else {
                self.invalid |= bin(values, self.bins, self.voxels.threshold, &mut self.cell, &mut self.packed);
                self.scatter(at.len(), k);
            }
        }
        let predictions = self.voxels.prediction[at.clone()].iter();
        for ((top, &prediction), voxel) in self.top.iter_mut().zip(predictions).zip(at.clone()) {
            *top = self.voxels.p.class(usize::from(prediction))[voxel];
        }
        bin(&self.top[..at.len()], self.bins, self.voxels.threshold, &mut self.cell, &mut self.packed);
        self.scatter(at.len(), classes);
        self.scores(at);
        self.flush();
    }

    /// Adds the packed values to the counters of a row.
    #[inline]
    fn scatter(&mut self, len: usize, row: usize) {
        let table = &mut self.table[row * cells(self.bins)..];
        for ((&base, &cell), &packed) in self.base[..len].iter().zip(&self.cell).zip(&self.packed) {
            table[base as usize + cell as usize] += packed;
        }
    }

    /// Adds values at or below the threshold to the counters of a row: zeros to its first cell, the others to its
    /// second. Runs are summed first, because consecutive updates of one counter would wait for each other.
    fn scatter_quiet(&mut self, values: &[f32], row: usize) {
        let table = &mut self.table[row * cells(self.bins)..];
        let mut start = 0;
        for &(end, base) in &self.runs {
            let (mut sum, mut above) = (0, 0);
            for &value in &values[start..end] {
                sum += units(f64::from(if value > 0.0 { value } else { 0.0 }));
                above += u64::from(value > 0.0);
            }
            table[base] += ((end - start) as u64 - above) << SUM_BITS;
            table[base + 1] += (above << SUM_BITS) + sum;
            start = end;
        }
    }

    /// Proper scores of each voxel: Brier, foreground Brier, log-likelihood.
    fn scores(&mut self, at: &Range<usize>) {
        let stride = self.stride();
        let (p, count) = (self.voxels.p.values(), self.voxels.p.voxels());
        let smallest = f64::from(f32::MIN_POSITIVE);
        for (i, voxel) in at.clone().enumerate() {
            let slot = &mut self.slots[self.base[i] as usize / stride];
            let label = slot.kind.reference;
            let own = f64::from(p[usize::from(label) * count + voxel]).clamp(0.0, 1.0);
            let miss = self.foreground[i] - f64::from(u8::from(label != 0));
            let scores = &mut slot.scores;
            scores.brier += units((self.squares[i] - 2.0 * own + 1.0).clamp(0.0, 2.0));
            scores.brier_foreground += units((miss * miss).min(1.0));
            if own < 1.0 {
                scores.zero_likelihood += u64::from(own < smallest);
                scores.nll += units(-own.max(smallest).ln());
            }
        }
    }

    /// Moves the packed counters into the slots that the chunk has touched.
    fn flush(&mut self) {
        let (classes, width, stride) = (self.voxels.p.classes(), cells(self.bins), self.stride());
        for (number, slot) in self.slots.iter_mut().enumerate() {
            if !std::mem::take(&mut slot.touched) {
                continue;
            }
            let Kind { reference, prediction, .. } = slot.kind;
            let scores = std::mem::take(&mut slot.scores);
            slot.total.nll.add_units(scores.nll);
            slot.total.zero_likelihood += scores.zero_likelihood;
            slot.total.brier.add_units(scores.brier);
            slot.total.brier_foreground.add_units(scores.brier_foreground);
            slot.total.brier_plus.add_units(if reference == 0 { 0 } else { scores.brier_foreground });
            let counters = self.table[number * stride..][..stride].chunks_mut(width);
            for (row, (counters, own)) in counters.zip(slot.rows.chunks_mut(width)).enumerate() {
                let right = if row == classes { reference == prediction } else { row == usize::from(reference) };
                let count = empty_into(counters, own, right);
                slot.total.voxels += if row == 0 { count } else { 0 };
            }
        }
    }

    /// Moves the contents of the slots into the groups, and frees the slots.
    fn empty_slots(&mut self) {
        let (classes, width) = (self.voxels.p.classes(), cells(self.bins));
        for Slot { kind, rows, mut total, .. } in self.slots.drain(..) {
            if kind.flags & IGNORED != 0 {
                continue;
            }
            let (each, top) = rows.split_at(classes * width);
            total.top = sparse(top);
            total.each = Some(sparse(each));
            total.correct = if kind.reference == kind.prediction { total.voxels } else { 0 };
            total.labels = [(kind.reference, total.voxels)].into();
            for group in group::of(kind.reference, kind.prediction, kind.flags) {
                add(&mut self.groups, group, &total);
            }
        }
    }
}

fn sparse(bins: &[Bin]) -> Cells {
    let mut cells = Cells::default();
    (0..).zip(bins).for_each(|(number, bin)| cells.push(number, *bin));
    cells
}

/// Adds packed counters to bins and clears them; `right` tells whether they count as hits. Returns the number of
/// voxels.
fn empty_into(counters: &mut [u64], bins: &mut [Bin], right: bool) -> u64 {
    let mut total = 0;
    for (counter, bin) in counters.iter_mut().zip(bins) {
        let packed = std::mem::take(counter);
        let count = packed >> SUM_BITS;
        bin.count += count;
        bin.hits += if right { count } else { 0 };
        bin.sum.add_units(packed & ((1 << SUM_BITS) - 1));
        total += count;
    }
    total
}

/// Computes the cell and the packed counter of each value; returns whether any value is not a probability.
///
/// With `r = round(n p)` the bin of `p` is `r` if `p` is at or below the edge `r / n`, else `r + 1`, counted from 1,
/// and 0 for `p = 0`: exact, since only the comparison decides. Adding 2^23 rounds to a whole number, which is then in
/// the low bits. Values above the threshold move one cell up. There is no branch, so the loop vectorises.
fn bin(values: &[f32], bins: usize, threshold: f32, cell: &mut [u32], packed: &mut [u64]) -> bool {
    const ROUND: f32 = 8_388_608.0; // 2^23
    let n = bins as f32;
    let mut valid = true;
    for ((&value, cell), packed) in values.iter().zip(cell).zip(packed) {
        valid &= (-TOLERANCE..=1.0 + TOLERANCE).contains(&value);
        let p = if value > 0.0 { value } else { 0.0 };
        let p = if p < 1.0 { p } else { 1.0 };
        let rounded = p * n + ROUND;
        let edge = (rounded - ROUND) / n;
        let number = rounded.to_bits() - ROUND.to_bits();
        *cell = number + u32::from(p > edge) + u32::from(p > threshold);
        *packed = units(f64::from(p)) + (1 << SUM_BITS);
    }
    !valid
}

#[cfg(test)]
mod tests {
    use super::super::bins::{THRESHOLD, edges};
    use super::*;
    use proptest::prelude::*;

    fn cell_of(p: f32, bins: usize) -> usize {
        let (mut cell, mut packed) = ([0], [0]);
        assert!(!bin(&[p], bins, THRESHOLD, &mut cell, &mut packed), "{p} is a probability");
        assert_eq!(packed[0] >> SUM_BITS, 1);
        cell[0] as usize
    }

    /// The definition: comparison with every edge.
    fn by_search(p: f32, bins: usize) -> usize {
        edges(bins).iter().filter(|&&edge| p > edge).count() + usize::from(p > THRESHOLD)
    }

    #[test]
    fn every_edge_and_its_neighbours() {
        for bins in [1, 2, 5, 10, 15, 20, 100, 999, 1000] {
            for edge in edges(bins) {
                for p in [edge.next_down(), edge, edge.next_up()] {
                    let p = p.clamp(0.0, 1.0);
                    assert_eq!(cell_of(p, bins), by_search(p, bins), "{p} in {bins} bins");
                }
            }
            assert_eq!(cell_of(1.0, bins), cells(bins) - 1);
        }
        assert_eq!((cell_of(0.0, 15), cell_of(-0.0, 15), cell_of(THRESHOLD, 15)), (0, 0, 1));
    }

    proptest! {
        #[test]
        fn bins_partition_the_probabilities(p in 0.0_f32..=1.0, bins in 1..1001_usize) {
            prop_assert_eq!(cell_of(p, bins), by_search(p, bins));
            prop_assert!(cell_of(p, bins) < cells(bins));
        }
    }
}
