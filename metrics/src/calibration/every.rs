//! Bins of equal mass for every region of a volume at once.
//!
//! As [`EqualMass::of`] for each region, to the same bits (values of one cell without a cut are summed in another order,
//! but exactly), but the volume is walked over twice in all and not twice for each region: voxels are counted by atom
//! (see [`super::atom`]), and the regions are put together from the counts. Inside a coarse cell that holds no cut only
//! count, hits and sum matter; inside one that does, the value follows from the bits, so that a count is enough.

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

use super::THRESHOLD;
use super::atom::{atom, atoms, members};
use super::equal_mass::{EqualMass, EqualMassFigures, OPEN, OPEN_BITS, cut_cells, gaps};
use super::fixed::units;
use super::region::{Bin, Region};
use crate::volume::{BLOCK, Label, Probabilities, raise};

/// Coarse cells from 2^-12 to 1; the first holds everything below it too. A class's probability is counted above 1e-3
/// only, and the largest of up to 4000 that sum to 1 lies above, so that the first cell never holds a cut.
const FIRST: u32 = (0x3980_0000 >> OPEN_BITS) - 1;
const CELLS: usize = ((0x3f80_0000 >> OPEN_BITS) - FIRST) as usize + 1;

/// Most classes for which the first cell is as said.
const MOST_CLASSES: usize = 4000;

/// Counters of one worker in the second pass.
const FINE_COUNTERS: usize = 1 << 22;

/// Counters that are walked over in the time that one value takes to be sorted.
const SORTED: usize = 16;

/// Voxels after which sums of units could overflow 64 bits.
const SPAN: usize = 1 << 23;

/// Bit of a voxel's flags: in the boundary band.
const IN_BAND: u8 = 1;
/// Bit of a voxel's flags: another class than the background is predicted.
const PREDICTED: u8 = 2;

#[derive(Clone, Copy, Default)]
struct Counter {
    sum: u64,
    count: u32,
    hits: u32,
}

/// How often one value is a miss and a hit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Value {
    bits: u32,
    misses: u32,
    hits: u32,
}

/// A volume with what places its voxels into regions.
struct Volume<'a> {
    p: Probabilities<'a>,
    reference: &'a [Label],
    flags: Vec<u8>,
}

/// The figures of every region of [`Region::every`], in that order.
///
/// Values must be probabilities, as [`super::Calibration::add`] checks.
///
/// # Panics
/// The volumes differ in size.
pub fn every_region(p: Probabilities<'_>, reference: &[Label], band: &[bool], bins: usize) -> Vec<EqualMassFigures> {
    assert_eq!((p.voxels(), p.voxels()), (reference.len(), band.len()), "voxels");
    let regions = Region::every(p.classes());
    if p.classes() > MOST_CLASSES {
        return regions.into_iter().map(|region| of_one(p, reference, band, bins, region)).collect();
    }
    let flags = (0..reference.len()).into_par_iter().map(|voxel| flags_of(p, voxel, band[voxel])).collect();
    let volume = Volume { p, reference, flags };
    let mut found = vec![Vec::new(); regions.len()];
    for number in 0..=p.classes() {
        let coarse = volume.coarse(number);
        let columns: Vec<BTreeMap<u32, Bin>> = regions.iter().map(|&region| joined(&coarse, region)).collect();
        let cuts: Vec<Vec<u32>> = columns.iter().map(|column| cut_cells(column, bins)).collect();
        let fine = volume.fine(number, &cuts, &coarse);
        let each = regions.par_iter().zip(columns).zip(cuts).map(|((&region, column), cuts)| {
            let groups = resolved(region, &column, &cuts, &fine);
            gaps(groups.iter(), bins)
        });
        let each: Vec<_> = each.collect();
        found.iter_mut().zip(each).for_each(|(columns, gaps)| columns.push(gaps));
    }
    found.iter().map(|columns| EqualMassFigures::new(columns)).collect()
}

/// The groups of a region, ascending by value: one for each coarse cell, but for cells with a cut one for each value.
fn resolved(region: Region, column: &BTreeMap<u32, Bin>, cuts: &[u32], fine: &[Vec<Value>]) -> Vec<Bin> {
    let mut groups = Vec::with_capacity(column.len());
    for (&key, bin) in column {
        if cuts.binary_search(&key).is_err() {
            groups.push(*bin);
            continue;
        }
        let mut counts = vec![[0_u64; 2]; OPEN];
        for (_, values) in fine.iter().enumerate().filter(|(atom, _)| holds(region, *atom)) {
            let from = values.partition_point(|value| value.bits < key);
            for value in values[from..].iter().take_while(|value| value.bits < key + OPEN as u32) {
                let counts = &mut counts[(value.bits - key) as usize];
                counts[0] += u64::from(value.misses);
                counts[1] += u64::from(value.hits);
            }
        }
        for (bits, [misses, hits]) in (key..).zip(counts).filter(|(_, counts)| *counts != [0, 0]) {
            let mut bin = Bin { count: misses + hits, hits, ..Bin::default() };
            bin.sum.add_repeated(units(f64::from(f32::from_bits(bits))), bin.count);
            groups.push(bin);
        }
    }
    groups
}

/// The plain way.
fn of_one(p: Probabilities<'_>, reference: &[Label], band: &[bool], bins: usize, region: Region) -> EqualMassFigures {
    let inside = |voxel: usize| {
        let predicted = flags_of(p, voxel, false) & PREDICTED != 0;
        region.contains(reference[voxel], predicted.into(), band[voxel])
    };
    let inside: Vec<bool> = (0..reference.len()).into_par_iter().map(inside).collect();
    EqualMass::of(p, reference, &inside, bins).figures()
}

/// Of equal probabilities the first class is the prediction.
fn flags_of(p: Probabilities<'_>, voxel: usize, in_band: bool) -> u8 {
    let background = p.values()[voxel];
    let predicted = (1..p.classes()).any(|k| p.values()[k * p.voxels() + voxel] > background);
    IN_BAND * u8::from(in_band) + PREDICTED * u8::from(predicted)
}

fn holds(region: Region, atom: usize) -> bool {
    let (reference, prediction, in_band) = members(atom);
    region.contains(reference, prediction, in_band)
}

/// The counts of a region, by the key of the cell.
fn joined(atoms: &[Vec<(u32, Bin)>], region: Region) -> BTreeMap<u32, Bin> {
    let mut column = BTreeMap::new();
    for (_, cells) in atoms.iter().enumerate().filter(|(atom, _)| holds(region, *atom)) {
        for (key, bin) in cells {
            column.entry(*key).or_insert_with(Bin::default).merge(bin);
        }
    }
    column
}

impl Volume<'_> {
    /// Non-empty coarse cells of each atom, ascending.
    fn coarse(&self, number: usize) -> Vec<Vec<(u32, Bin)>> {
        let atoms = atoms(self.p.classes());
        let mut total = vec![Bin::default(); atoms * CELLS];
        for start in (0..self.reference.len()).step_by(SPAN) {
            let span = start..(start + SPAN).min(self.reference.len());
            let parts = pieces(&span).into_par_iter().map(|piece| {
                let mut counters = vec![Counter::default(); atoms * CELLS];
                self.visit(number, piece, |atom, value, hit| {
                    let counter = &mut counters[atom * CELLS + cell(value.to_bits())];
                    counter.sum += units(f64::from(value));
                    counter.count += 1;
                    counter.hits += u32::from(hit);
                });
                counters
            });
            for counters in parts.collect::<Vec<_>>() {
                for (bin, counter) in total.iter_mut().zip(counters).filter(|(_, counter)| counter.count > 0) {
                    bin.count += u64::from(counter.count);
                    bin.hits += u64::from(counter.hits);
                    bin.sum.add_units(counter.sum);
                }
            }
        }
        let filled = |cells: &[Bin]| {
            let filled = cells.iter().enumerate().filter(|(_, bin)| bin.count > 0);
            filled.map(|(cell, bin)| ((FIRST + cell as u32) << OPEN_BITS, *bin)).collect()
        };
        total.chunks(CELLS).map(filled).collect()
    }

    /// For each atom the counts by all bits, ascending, inside the cells of any region's cuts.
    fn fine(&self, number: usize, cuts: &[Vec<u32>], coarse: &[Vec<(u32, Bin)>]) -> Vec<Vec<Value>> {
        let atoms = atoms(self.p.classes());
        let mut cells: Vec<u32> = cuts.iter().flatten().copied().collect();
        cells.sort_unstable();
        cells.dedup();
        let inside = coarse.iter().flatten().filter(|(key, _)| cells.binary_search(key).is_ok());
        // Few voxels are sorted more quickly than a counter of each possible value is walked over.
        if inside.map(|(_, bin)| bin.count).sum::<u64>() as usize * SORTED <= atoms * cells.len() * OPEN {
            return self.sorted(number, &cells);
        }
        let mut fine = vec![Vec::new(); atoms];
        let at_once = (FINE_COUNTERS / (2 * atoms * OPEN)).clamp(1, usize::from(u8::MAX));
        for cells in cells.chunks(at_once) {
            let mut slots = vec![u8::MAX; CELLS];
            cells.iter().enumerate().for_each(|(slot, &key)| slots[cell(key)] = slot as u8);
            let places = cells.len() * OPEN;
            let parts = pieces(&(0..self.reference.len())).into_par_iter().map(|piece| {
                // Misses and hits of each value.
                let mut counters = vec![[0_u32; 2]; atoms * places];
                self.visit(number, piece, |atom, value, hit| {
                    let bits = value.to_bits();
                    let slot = slots[cell(bits)];
                    if slot != u8::MAX {
                        counters[atom * places + usize::from(slot) * OPEN + bits as usize % OPEN][usize::from(hit)] +=
                            1;
                    }
                });
                counters
            });
            let total = parts.reduce_with(|mut a, b| {
                a.iter_mut().flatten().zip(b.iter().flatten()).for_each(|(a, b)| *a += b);
                a
            });
            for (place, [misses, hits]) in
                total.into_iter().flatten().enumerate().filter(|(_, counts)| *counts != [0, 0])
            {
                let bits = cells[place % places / OPEN] + (place % OPEN) as u32;
                fine[place / places].push(Value { bits, misses, hits });
            }
        }
        fine
    }

    /// As [`Volume::fine`], by sorting the values themselves.
    fn sorted(&self, number: usize, cells: &[u32]) -> Vec<Vec<Value>> {
        let mut held = vec![false; CELLS];
        cells.iter().for_each(|&key| held[cell(key)] = true);
        let parts = pieces(&(0..self.reference.len())).into_par_iter().map(|piece| {
            let mut values = Vec::new();
            self.visit(number, piece, |atom, value, hit| {
                let bits = value.to_bits();
                if held[cell(bits)] {
                    values.push((atom as u32, bits, hit));
                }
            });
            values
        });
        let mut values = parts.collect::<Vec<_>>().concat();
        values.par_sort_unstable();
        let mut fine: Vec<Vec<Value>> = vec![Vec::new(); atoms(self.p.classes())];
        for (atom, bits, hit) in values {
            let own = &mut fine[atom as usize];
            if own.last().is_none_or(|value| value.bits != bits) {
                own.push(Value { bits, misses: 0, hits: 0 });
            }
            if let Some(value) = own.last_mut() {
                *(if hit { &mut value.hits } else { &mut value.misses }) += 1;
            }
        }
        fine
    }

    /// Hands on atom, probability and hit of each voxel that counts in a column: a class, or last the largest probability.
    fn visit(&self, number: usize, piece: Range<usize>, mut each: impl FnMut(usize, f32, bool)) {
        let place = |voxel: usize| {
            let flags = self.flags[voxel];
            let label = self.reference[voxel];
            (atom(label, Label::from(flags & PREDICTED != 0), flags & IN_BAND != 0), label)
        };
        // Adding 0 makes a negative zero positive, whose pattern is 0.
        let clamped = |value: f32| value.clamp(0.0, 1.0) + 0.0;
        if number < self.p.classes() {
            for (voxel, &value) in piece.clone().zip(&self.p.class(number)[piece]) {
                let value = clamped(value);
                if value > THRESHOLD {
                    let (atom, label) = place(voxel);
                    each(atom, value, usize::from(label) == number);
                }
            }
            return;
        }
        for start in piece.clone().step_by(BLOCK) {
            let block = start..(start + BLOCK).min(piece.end);
            let mut largest = self.p.class(0)[block.clone()].to_vec();
            let mut predicted = vec![0; largest.len()];
            for k in 1..self.p.classes() {
                raise(&mut largest, &mut predicted, &self.p.class(k)[block.clone()], k as Label);
            }
            for ((voxel, value), predicted) in block.zip(largest).zip(predicted) {
                let (atom, label) = place(voxel);
                each(atom, clamped(value), label == predicted);
            }
        }
    }
}

/// The coarse cell of a pattern.
#[inline]
fn cell(bits: u32) -> usize {
    ((bits >> OPEN_BITS).max(FIRST) - FIRST) as usize
}

/// As many parts as there are threads, but no more than eight, since each has counters of its own.
fn pieces(range: &Range<usize>) -> Vec<Range<usize>> {
    let step = range.len().div_ceil(rayon::current_num_threads().min(8)).max(BLOCK);
    range.clone().step_by(step).map(|start| start..(start + step).min(range.end)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normalised(scores: &[[f32; 3]]) -> Vec<f32> {
        let class = |k: usize| scores.iter().map(move |score| score[k] / score.iter().sum::<f32>());
        (0..3).flat_map(class).collect()
    }

    fn same(a: f64, b: f64) -> bool {
        a == b || a.is_nan() && b.is_nan()
    }

    proptest! {
        #[test]
        fn the_regions_are_those_of_the_plain_way(
            voxels in prop::collection::vec(
                // Few different values, so that many are equal; and many different ones.
                (prop_oneof![prop::array::uniform3((0_u8..4).prop_map(f32::from)), prop::array::uniform3(0.0_f32..1.0)],
                 0..3_u16, any::<bool>()),
                1..400,
            ),
            bins in 1..20_usize,
        ) {
            let scores: Vec<[f32; 3]> = voxels.iter().map(|voxel| voxel.0.map(|score| score + 1e-4)).collect();
            let values = normalised(&scores);
            let p = Probabilities::new(&values, 3);
            let labels: Vec<Label> = voxels.iter().map(|voxel| voxel.1).collect();
            let band: Vec<bool> = voxels.iter().map(|voxel| voxel.2).collect();
            let all = every_region(p, &labels, &band, bins);
            for (region, state) in Region::every(3).into_iter().zip(all) {
                let plain = of_one(p, &labels, &band, bins, region);
                prop_assert!(same(state.aece, plain.aece), "{region}: {} {}", state.aece, plain.aece);
                prop_assert!(same(state.tace, plain.tace), "{region}: {} {}", state.tace, plain.tace);
            }
        }
    }

    /// Many voxels of few values are counted, not sorted.
    #[test]
    fn counting_is_sorting() {
        let rng = segcal_core::Rng::new(8);
        let scores: Vec<[f32; 3]> =
            (0..40_000).map(|i| std::array::from_fn(|k| 0.9 + 1e-3 * rng.uniform(3 * i + k as u64) as f32)).collect();
        let values = normalised(&scores);
        let p = Probabilities::new(&values, 3);
        let labels: Vec<Label> = (0..40_000).map(|i| (i % 3) as Label).collect();
        let band: Vec<bool> = (0..40_000).map(|i| i % 5 == 0).collect();
        let volume = Volume { p, reference: &labels, flags: (0..40_000).map(|i| flags_of(p, i, band[i])).collect() };
        for number in 0..4 {
            let coarse = volume.coarse(number);
            let cuts = vec![cut_cells(&joined(&coarse, Region::All), 15)];
            let counted = volume.fine(number, &cuts, &coarse);
            let sorted = volume.sorted(number, &cuts[0]);
            assert!(counted.iter().any(|values| values.len() > 1000), "the cells hold most voxels");
            assert_eq!(counted, sorted);
        }
        for (region, figures) in Region::every(3).into_iter().zip(every_region(p, &labels, &band, 15)) {
            let plain = of_one(p, &labels, &band, 15, region);
            assert!(same(figures.aece, plain.aece) && same(figures.tace, plain.tace), "{region}");
        }
    }

    #[test]
    fn exact_ones_and_zeros() {
        let values = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        let (p, labels) = (Probabilities::new(&values, 2), [0, 1, 1]);
        let states = every_region(p, &labels, &[false; 3], 15);
        assert_eq!(states[0].aece.to_bits(), of_one(p, &labels, &[false; 3], 15, Region::All).aece.to_bits());
        assert!(states[3].aece.is_nan(), "no voxel in the band");
    }
}
