//! The one pass over a volume that fills every bin of every region.
//!
//! Voxels are counted by kind: reference label, prediction and flags. A stretch of a volume holds few kinds, which get a
//! slot of dense counters each; when the slots run out, or a block ends, what they hold goes to the groups of their kind
//! (see [`super::group`]), of which only what occurs is kept. Inside a slot the reference label is one number, so the
//! class bins need no counter of hits.

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::bins::{Bin, MOST_CLASSES, THRESHOLD, cells};
use super::cells::Cells;
use super::fixed::units;
use super::group::{self, Group};
use super::region::Region;
use super::region_bins::RegionBins;
use super::voxels::{IGNORED, Voxels};
use crate::volume::{BLOCK, Label, Probabilities};

/// Voxels between two flushes of the packed counters, which hold this many: a sum of 2^11 values of at most 2^40 units
/// needs 52 bits, a count up to 2^11 the 12 above them.
const CHUNK: usize = 1 << 11;
const SUM_BITS: u32 = 52;

/// Slots of one task: at most this many, and at most so many counters, but at least two.
const MOST_SLOTS: usize = 64;
const COUNTERS: usize = 1 << 17;

/// How far outside [0, 1] a value may lie and still count as rounding; it is clamped.
const TOLERANCE: f32 = 1e-3;

/// The calibration state of any number of volumes: integers and exact sums, the same bits in any order of merging.
///
/// ```
/// use segcal_metrics::calibration::{Calibration, Region};
/// use segcal_metrics::volume::Probabilities;
/// let values = [0.9, 0.6, 0.2, 0.1, 0.4, 0.8]; // two classes, three voxels
/// let mut state = Calibration::new(2, 15);
/// state.add(Probabilities::new(&values, 2), &[0, 1, 1], None).unwrap();
/// let all = state.region(Region::All);
/// assert!((all.accuracy() - 2.0 / 3.0).abs() < 1e-12);
/// assert!((all.ece() - (0.1 + 0.6 + 0.2) / 3.0).abs() < 1e-7);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    classes: usize,
    bins: usize,
    /// The regions that hold a voxel.
    regions: BTreeMap<Region, RegionBins>,
}

impl Calibration {
    /// No voxel yet, for `classes` classes and `bins` equal-width bins.
    ///
    /// # Panics
    /// There is no class, or the number of bins is not in 1 to 1000 (the threshold of `tcece` must lie in the first).
    pub fn new(classes: usize, bins: usize) -> Self {
        assert!(classes > 0 && (1..=1000).contains(&bins), "{classes} classes, {bins} bins");
        Self { classes, bins, regions: BTreeMap::new() }
    }

    /// Number of classes.
    pub const fn classes(&self) -> usize {
        self.classes
    }

    /// Number of equal-width bins.
    pub const fn bins(&self) -> usize {
        self.bins
    }

    /// Adds a volume: probabilities `[k, d, h, w]`, reference labels `[d, h, w]`, and the voxels of the boundary band,
    /// if [`Region::Boundary`] is wanted. [`Calibration::add_voxels`] knows of more.
    ///
    /// # Errors
    /// A label is not below the number of classes, or a probability is NaN or outside [0, 1] by more than 1e-3. Nothing
    /// is added then.
    ///
    /// # Panics
    /// The volumes differ in size, or the number of classes is not that of the state.
    pub fn add(&mut self, p: Probabilities<'_>, reference: &[Label], band: Option<&[bool]>) -> Result<()> {
        let prediction = p.argmax();
        let voxels = Voxels::new(p, reference, &prediction, None);
        self.add_voxels(&band.into_iter().fold(voxels, Voxels::with_boundary))
    }

    /// Adds the voxels of a volume.
    ///
    /// # Errors
    /// As [`Calibration::add`]; the label of an ignored voxel may be any.
    ///
    /// # Panics
    /// The number of classes is not that of the state.
    pub fn add_voxels(&mut self, voxels: &Voxels<'_>) -> Result<()> {
        assert_eq!(voxels.p.classes(), self.classes, "classes");
        voxels.expect_labels().map_err(|error| error.at("reference"))?;
        let blocks = (0..voxels.reference.len().div_ceil(BLOCK)).into_par_iter();
        let tallies = blocks.fold(
            || Tally::new(voxels, self.bins),
            |mut tally, block| {
                tally.block(block * BLOCK..((block + 1) * BLOCK).min(voxels.reference.len()));
                tally
            },
        );
        let total = tallies.map(|tally| (tally.groups, tally.invalid)).reduce_with(|(mut a, x), (b, y)| {
            b.into_iter().for_each(|(group, bins)| add(&mut a, group, &bins));
            (a, x || y)
        });
        let Some((groups, invalid)) = total else { return Ok(()) };
        if invalid {
            return Err(Error::new("a probability is NaN or outside [0, 1]")
                .help("logits must go through softmax first; repair or leave out a case with NaN"));
        }
        for (number, bins) in groups {
            group::regions(number).into_iter().for_each(|region| add(&mut self.regions, region, &bins));
        }
        Ok(())
    }

    /// Adds the voxels of another part of the same evaluation.
    ///
    /// # Panics
    /// The numbers of classes or bins differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!((self.classes, self.bins), (other.classes, other.bins), "classes, bins");
        other.regions.iter().for_each(|(&region, bins)| add(&mut self.regions, region, bins));
    }

    /// The bins and sums of one region. [`Region::Boundary`] and [`Region::Near`] hold the voxels of the bands that were
    /// given.
    pub fn region(&self, region: Region) -> RegionBins {
        self.regions.get(&region).cloned().unwrap_or_else(|| RegionBins::new(self.classes, self.bins))
    }

    /// As it is stored: of more than [`MOST_CLASSES`] classes without the bins of each class in the regions of single
    /// structures, whose classwise figures are NaN from then on. The size then grows with the number of classes, not with
    /// its square.
    #[must_use]
    pub fn compact(mut self) -> Self {
        if self.classes > MOST_CLASSES {
            let single = self.regions.iter_mut().filter(|(region, _)| !Region::COMMON.contains(region));
            single.for_each(|(_, bins)| bins.drop_classes());
        }
        self
    }
}

/// Adds to the bins under a key.
fn add<K: Ord>(map: &mut BTreeMap<K, RegionBins>, key: K, bins: &RegionBins) {
    match map.get_mut(&key) {
        Some(own) => own.merge(bins),
        None => {
            map.insert(key, bins.clone());
        }
    }
}

/// What makes a voxel's counters its own.
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
    /// Whether the chunk holds a voxel of it.
    touched: bool,
    scores: Scores,
    /// Cells `[row][cell]` of the classes, then of the largest probability.
    rows: Vec<Bin>,
    total: RegionBins,
}

/// What one task has counted, and its working memory for one chunk.
struct Tally<'a> {
    voxels: &'a Voxels<'a>,
    bins: usize,
    groups: BTreeMap<Group, RegionBins>,
    invalid: bool,
    slots: Vec<Slot>,
    most_slots: usize,
    /// Packed counters `[slot][row][cell]`: the count above [`SUM_BITS`], the sum below. Rows as in the slots.
    table: Vec<u64>,
    /// Start of each voxel's slot in the table.
    base: Vec<u32>,
    top: Vec<f32>,
    /// Sum over classes of p^2.
    squares: Vec<f64>,
    /// Sum of p over the classes but the background.
    foreground: Vec<f64>,
    cell: Vec<u32>,
    packed: Vec<u64>,
}

impl<'a> Tally<'a> {
    fn new(voxels: &'a Voxels<'a>, bins: usize) -> Self {
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

    fn block(&mut self, block: Range<usize>) {
        let mut start = block.start;
        while start < block.end {
            let placed = self.place(start..(start + CHUNK).min(block.end));
            if placed == 0 {
                self.empty_slots();
                continue;
            }
            self.chunk(&(start..start + placed));
            start += placed;
        }
        self.empty_slots();
    }

    /// Finds each voxel's slot, up to the first for which there is none left; gives their number.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a place in the table, which has at most COUNTERS or two slots"
    )]
    fn place(&mut self, at: Range<usize>) -> usize {
        let stride = self.stride();
        let mut last: Option<(Kind, usize)> = None;
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
            self.base[i] = (slot * stride) as u32;
        }
        at.len()
    }

    /// Ignored voxels are of one kind, which ends in no group.
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
            self.invalid |= bin(values, self.bins, &mut self.cell, &mut self.packed);
            let weight = f64::from(u8::from(k > 0));
            for ((square, foreground), &value) in self.squares.iter_mut().zip(&mut self.foreground).zip(values) {
                *square += f64::from(value).powi(2);
                *foreground += weight * f64::from(value);
            }
            self.scatter(at.len(), k);
        }
        let predictions = self.voxels.prediction[at.clone()].iter();
        for ((top, &prediction), voxel) in self.top.iter_mut().zip(predictions).zip(at.clone()) {
            *top = self.voxels.p.class(usize::from(prediction))[voxel];
        }
        bin(&self.top[..at.len()], self.bins, &mut self.cell, &mut self.packed);
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

    /// Moves what the slots hold into the groups, and forgets their kinds.
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

/// Adds packed counters to bins and clears them; `right` says whether they count as hits. Gives the number of voxels.
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

/// The cell and the packed counter of each value; whether any is not a probability.
///
/// With `r = round(n p)` the bin of `p` is `r` if `p` is at or below the edge `r / n`, else `r + 1`, counted from 1,
/// and 0 for `p = 0`: exact, since only the comparison decides. Adding 2^23 rounds to a whole number, which then
/// stands in the low bits. The threshold moves everything above it one cell on. No branch, so the loop vectorises.
fn bin(values: &[f32], bins: usize, cell: &mut [u32], packed: &mut [u64]) -> bool {
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
        *cell = number + u32::from(p > edge) + u32::from(p > THRESHOLD);
        *packed = units(f64::from(p)) + (1 << SUM_BITS);
    }
    !valid
}

#[cfg(test)]
mod tests {
    use super::super::bins::edges;
    use super::*;
    use proptest::prelude::*;

    fn cell_of(p: f32, bins: usize) -> usize {
        let (mut cell, mut packed) = ([0], [0]);
        assert!(!bin(&[p], bins, &mut cell, &mut packed), "{p} is a probability");
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

    #[test]
    fn what_is_not_a_probability_is_refused() {
        let mut state = Calibration::new(2, 15);
        for bad in [f32::NAN, 1.5, -0.1, f32::INFINITY] {
            let error = state.add(Probabilities::new(&[bad, 0.5], 2), &[0], None).expect_err("not a probability");
            assert!(error.to_string().contains("outside [0, 1]"), "{error}");
        }
        assert_eq!(state, Calibration::new(2, 15), "nothing was added");
    }
}
