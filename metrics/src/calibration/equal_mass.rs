//! Bins of equal mass, exact and in bounded memory.
//!
//! Bin `r` of `R` holds the voxels of rank `floor(r n / R)` up to `floor((r + 1) n / R)` in ascending order of
//! probability, so bins differ by at most one voxel. Voxels of equal probability have no order: where a cut falls among
//! them, their hits are shared in proportion, which is the mean over all orders.
//!
//! No voxel is kept. A first pass counts probabilities by the upper bits of their f32 pattern (cells of relative width
//! 2^-9, about 65,000). The cuts fall into at most `R - 1` of these; a second pass over the same volumes counts those
//! by all bits. All counters are integers, so volumes may come in any order, and states merge to the same bits.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::THRESHOLD;
use super::fixed::units;
use super::region::Bin;
use crate::volume::{Label, Probabilities, raise};

/// Bits of the f32 pattern that a coarse cell leaves open.
pub(super) const OPEN_BITS: u32 = 14;
pub(super) const OPEN: usize = 1 << OPEN_BITS;

/// Number of coarse cells of [0, 1].
const CELLS: usize = (ONE >> OPEN_BITS) as usize + 1;
/// Bit pattern of 1, the largest probability.
const ONE: u32 = 0x3f80_0000;

/// Voxels per task: few enough that a sum of units fits in 64 bits.
const TASK: usize = 1 << 20;

/// Probabilities of a region, counted by value, for the largest probability and for each class (of these only what is
/// above the threshold of [`EqualMassFigures::tace`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EqualMass {
    bins: usize,
    /// One for each class, then one for the largest probability. Keys are bit patterns, ascending as the values do;
    /// those of a coarse cell have their open bits 0.
    columns: Vec<BTreeMap<u32, Bin>>,
}

/// The cells into which the cuts of an [`EqualMass`] fall, counted by all bits in a second pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boundaries {
    /// For each column the coarse keys, ascending.
    cells: Vec<Vec<u32>>,
    columns: Vec<BTreeMap<u32, Bin>>,
}

impl EqualMass {
    /// No voxel yet.
    ///
    /// # Panics
    /// There is no class or no bin.
    pub fn new(classes: usize, bins: usize) -> Self {
        assert!(classes > 0 && bins > 0, "{classes} classes, {bins} bins");
        Self { bins, columns: vec![BTreeMap::new(); classes + 1] }
    }

    /// Both passes over one volume: probabilities `[k, d, h, w]`, reference labels `[d, h, w]`, the voxels that count.
    ///
    /// # Panics
    /// The volumes differ in size.
    pub fn of(p: Probabilities<'_>, reference: &[Label], region: &[bool], bins: usize) -> Self {
        let mut coarse = Self::new(p.classes(), bins);
        coarse.add(p, reference, region);
        let mut boundaries = coarse.boundaries();
        boundaries.add(p, reference, region);
        coarse.resolve(&boundaries)
    }

    /// First pass over one volume. Values must be probabilities, as [`super::Calibration::add`] checks.
    ///
    /// # Panics
    /// The volumes differ in size, or the number of classes is not that of the state.
    pub fn add(&mut self, p: Probabilities<'_>, reference: &[Label], region: &[bool]) {
        assert_eq!(p.classes() + 1, self.columns.len(), "classes");
        for (number, column) in self.columns.iter_mut().enumerate() {
            let counts = count(p, reference, region, number, CELLS, |bits| Some((bits >> OPEN_BITS) as usize));
            for (cell, bin) in counts.iter().enumerate().filter(|(_, bin)| bin.count > 0) {
                column.entry((cell as u32) << OPEN_BITS).or_default().merge(bin);
            }
        }
    }

    /// Adds the voxels of another part of the same evaluation.
    ///
    /// # Panics
    /// The numbers of classes or bins differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!((self.bins, self.columns.len()), (other.bins, other.columns.len()), "bins, classes");
        merge(&mut self.columns, &other.columns);
    }

    /// What the second pass has to look at: no voxel yet.
    pub fn boundaries(&self) -> Boundaries {
        let cells = self.columns.iter().map(|column| cut_cells(column, self.bins)).collect();
        Boundaries { cells, columns: vec![BTreeMap::new(); self.columns.len()] }
    }

    /// The exact state, once the second pass has seen the same volumes as the first.
    ///
    /// # Panics
    /// The second pass has not seen the same voxels.
    #[must_use]
    pub fn resolve(&self, boundaries: &Boundaries) -> Self {
        let mut exact = self.clone();
        for (number, column) in exact.columns.iter_mut().enumerate() {
            let coarse: u64 =
                boundaries.cells[number].iter().filter_map(|cell| column.remove(cell)).map(count_of).sum();
            let fine: u64 = boundaries.columns[number].values().copied().map(count_of).sum();
            assert_eq!(coarse, fine, "the second pass has seen other voxels than the first");
        }
        merge(&mut exact.columns, &boundaries.columns);
        exact
    }

    /// The figures: exact after [`EqualMass::resolve`]; before it, the voxels of a cell of relative width 2^-9 count as
    /// equal.
    pub fn figures(&self) -> EqualMassFigures {
        let columns = self.columns.iter().map(|column| gaps(column.values(), self.bins)).collect::<Vec<_>>();
        EqualMassFigures::new(&columns)
    }
}

/// The figures whose bins hold equal numbers of voxels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EqualMassFigures {
    /// Expected calibration error of the largest probability with bins of equal mass: `sum over bins of
    /// (n_r / n) |accuracy - mean confidence|`; NaN without voxels.
    pub aece: f64,
    /// Thresholded adaptive calibration error (CRaC, appendix B): per class the plain mean over bins of
    /// |frequency - mean probability|, mean over the classes that have a probability above the threshold; NaN if none.
    pub tace: f64,
}

impl EqualMassFigures {
    /// From count and gap of the bins of each class and, last, of the largest probability.
    pub(super) fn new(columns: &[Vec<(f64, f64)>]) -> Self {
        let (classes, top) = columns.split_at(columns.len() - 1);
        let total: f64 = top[0].iter().map(|&(count, _)| count).sum();
        let filled = classes.iter().filter(|column| !column.is_empty());
        Self {
            aece: top[0].iter().map(|&(count, gap)| count * gap).sum::<f64>() / total,
            tace: crate::empty::mean(filled.map(|column| crate::empty::mean(column.iter().map(|&(_, gap)| gap)))),
        }
    }
}

impl Boundaries {
    /// Second pass over one volume.
    ///
    /// # Panics
    /// The volumes differ in size, or the number of classes is not that of the state.
    pub fn add(&mut self, p: Probabilities<'_>, reference: &[Label], region: &[bool]) {
        assert_eq!(p.classes() + 1, self.columns.len(), "classes");
        for (number, (cells, column)) in self.cells.iter().zip(&mut self.columns).enumerate() {
            let mut slots = vec![u8::MAX; CELLS];
            // Cuts beyond the 254th fall through to further passes over the volume.
            for cells in cells.chunks(usize::from(u8::MAX)) {
                slots.fill(u8::MAX);
                for (slot, &cell) in cells.iter().enumerate() {
                    slots[(cell >> OPEN_BITS) as usize] = slot as u8;
                }
                let place = |bits: u32| match slots[(bits >> OPEN_BITS) as usize] {
                    u8::MAX => None,
                    slot => Some(usize::from(slot) * OPEN + bits as usize % OPEN),
                };
                let counts = count(p, reference, region, number, cells.len() * OPEN, place);
                for (place, bin) in counts.iter().enumerate().filter(|(_, bin)| bin.count > 0) {
                    column.entry(cells[place / OPEN] + (place % OPEN) as u32).or_default().merge(bin);
                }
            }
        }
    }

    /// Adds the voxels of another part of the same evaluation.
    ///
    /// # Panics
    /// The two come from different first passes.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.cells, other.cells, "second passes of different first passes");
        merge(&mut self.columns, &other.columns);
    }
}

fn count_of(bin: Bin) -> u64 {
    bin.count
}

fn merge(own: &mut [BTreeMap<u32, Bin>], other: &[BTreeMap<u32, Bin>]) {
    for (own, other) in own.iter_mut().zip(other) {
        for (&key, bin) in other {
            own.entry(key).or_default().merge(bin);
        }
    }
}

/// First rank of each bin, and the total.
fn cuts(total: u64, bins: usize) -> impl Iterator<Item = u64> {
    (0..=bins as u128).map(move |bin| (bin * u128::from(total) / bins as u128) as u64)
}

/// The keys of a column that have a cut strictly inside.
pub(super) fn cut_cells(column: &BTreeMap<u32, Bin>, bins: usize) -> Vec<u32> {
    let total = column.values().map(|bin| bin.count).sum();
    let cuts: Vec<u64> = cuts(total, bins).collect();
    let mut start = 0;
    let holds_cut = |(&key, bin): (&u32, &Bin)| {
        let end = start + bin.count;
        let next = cuts.partition_point(|&cut| cut <= start);
        start = end;
        (cuts.get(next).is_some_and(|&cut| cut < end)).then_some(key)
    };
    column.iter().filter_map(holds_cut).collect()
}

/// Count and |accuracy - confidence| of each non-empty bin of equal mass, from groups of equal values, ascending.
pub(super) fn gaps<'a>(groups: impl Iterator<Item = &'a Bin> + Clone, bins: usize) -> Vec<(f64, f64)> {
    let total: u64 = groups.clone().map(|bin| bin.count).sum();
    let cuts: Vec<u64> = cuts(total, bins).collect();
    let mut excess = vec![0.0; bins];
    let (mut bin, mut rank) = (0, 0);
    for group in groups {
        let (end, excess_of_one) = (rank + group.count, (group.hits as f64 - group.sum.value()) / group.count as f64);
        while rank < end {
            while cuts[bin + 1] <= rank {
                bin += 1;
            }
            let taken = cuts[bin + 1].min(end) - rank;
            excess[bin] += excess_of_one * taken as f64;
            rank += taken;
        }
    }
    let counts = cuts.windows(2).map(|cut| (cut[1] - cut[0]) as f64);
    let filled = counts.zip(excess).filter(|&(count, _)| count > 0.0);
    filled.map(|(count, excess)| (count, excess.abs() / count)).collect()
}

/// Counters of one task.
#[derive(Clone, Copy, Default)]
struct Counter {
    sum: u64,
    count: u32,
    hits: u32,
}

/// Counts the voxels of a region by the place of their bit pattern; column `number` is a class or, last, the largest
/// probability.
fn count(
    p: Probabilities<'_>,
    reference: &[Label],
    region: &[bool],
    number: usize,
    places: usize,
    place: impl Fn(u32) -> Option<usize> + Sync,
) -> Vec<Bin> {
    assert_eq!((p.voxels(), p.voxels()), (reference.len(), region.len()), "voxels");
    let is_top = number == p.classes();
    let tasks = (0..reference.len().div_ceil(TASK)).into_par_iter();
    let zero = || vec![Bin::default(); places];
    let counted = tasks.fold(zero, |mut total, task| {
        let at = task * TASK..((task + 1) * TASK).min(reference.len());
        let (mut largest, mut predicted) = (Vec::new(), Vec::new());
        if is_top {
            largest = p.class(0)[at.clone()].to_vec();
            predicted = vec![0; largest.len()];
            for k in 1..p.classes() {
                raise(&mut largest, &mut predicted, &p.class(k)[at.clone()], k as Label);
            }
        }
        let values = if is_top { &largest } else { &p.class(number)[at.clone()] };
        let threshold = if is_top { -1.0 } else { THRESHOLD };
        let mut counters = vec![Counter::default(); places];
        let voxels = values.iter().zip(&reference[at.clone()]).zip(&region[at]).enumerate();
        for (voxel, ((&value, &label), &inside)) in voxels {
            let value = value.clamp(0.0, 1.0);
            // Adding 0 makes a negative zero positive, whose pattern is 0.
            let Some(at) = (inside && value > threshold).then(|| place((value + 0.0).to_bits())).flatten() else {
                continue;
            };
            counters[at].sum += units(f64::from(value));
            counters[at].count += 1;
            counters[at].hits += u32::from(label == if is_top { predicted[voxel] } else { number as Label });
        }
        for (bin, counter) in total.iter_mut().zip(counters) {
            bin.count += u64::from(counter.count);
            bin.hits += u64::from(counter.hits);
            bin.sum.add_units(counter.sum);
        }
        total
    });
    counted.reduce(zero, |mut a, b| {
        a.iter_mut().zip(&b).for_each(|(a, b)| a.merge(b));
        a
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sorts everything, and takes the mean over the two orders of equal values (hits first, hits last) where at most
    /// one pair is equal.
    fn sorted(mut samples: Vec<(f32, bool)>, bins: usize) -> Vec<(f64, f64)> {
        samples.sort_by(|a, b| a.0.total_cmp(&b.0));
        let n = samples.len();
        let bin = |r: usize| &samples[r * n / bins..(r + 1) * n / bins];
        let filled = (0..bins).map(bin).filter(|bin| !bin.is_empty());
        filled
            .map(|bin| {
                let excess: f64 = bin.iter().map(|&(p, hit)| f64::from(u8::from(hit)) - f64::from(p)).sum();
                (bin.len() as f64, excess.abs() / bin.len() as f64)
            })
            .collect()
    }

    #[test]
    fn by_hand() {
        // Two classes, four voxels; the largest probabilities 0.5, 0.625, 0.75, 1 are right, wrong, right, right.
        let values = [0.5, 0.375, 0.75, 1.0, 0.5, 0.625, 0.25, 0.0];
        let state = EqualMass::of(Probabilities::new(&values, 2), &[0, 0, 0, 0], &[true; 4], 2);
        assert_eq!(state.figures().aece, f64::midpoint((1.0 - 1.125_f64).abs() / 2.0, (2.0 - 1.75) / 2.0));
        // Class 0: (.375 .5 | .75 1), all hits; class 1 without its zero: (.25 | .5 .625), no hits.
        let tace = f64::midpoint(f64::midpoint(0.5625, 0.125), f64::midpoint(0.25, 0.5625));
        assert_eq!(state.figures().tace, tace);
    }

    #[test]
    fn equal_values_share_their_hits() {
        let values = [0.5, 0.5, 0.5, 0.5];
        let state = EqualMass::of(Probabilities::new(&values, 1), &[0, 0, 0, 0], &[true; 4], 3);
        assert_eq!(state.figures().aece, 0.5);
        let nothing = EqualMass::of(Probabilities::new(&values, 1), &[0; 4], &[false; 4], 3);
        assert!(nothing.figures().aece.is_nan() && nothing.figures().tace.is_nan());
    }

    proptest! {
        #[test]
        fn both_passes_equal_sorting(
            bits in prop::collection::btree_map(0x3a83_126f_u32..=ONE, 0..2_u16, 1..300),
            bins in 1..40_usize,
        ) {
            let samples: Vec<(f32, bool)> = bits.iter().map(|(&b, &y)| (f32::from_bits(b), y == 0)).collect();
            let values: Vec<f32> = samples.iter().map(|sample| sample.0).collect();
            let labels: Vec<Label> = bits.values().copied().collect();
            let p = Probabilities::new(&values, 1);
            let state = EqualMass::of(p, &labels, &vec![true; labels.len()], bins);
            let expected = sorted(samples, bins);
            let n: f64 = expected.iter().map(|bin| bin.0).sum();
            let aece = expected.iter().map(|(count, gap)| count * gap).sum::<f64>() / n;
            let tace = expected.iter().map(|(_, gap)| gap).sum::<f64>() / expected.len() as f64;
            prop_assert!((state.figures().aece - aece).abs() < 1e-11, "{} {}", state.figures().aece, aece);
            prop_assert!((state.figures().tace - tace).abs() < 1e-11, "{} {}", state.figures().tace, tace);
        }

        #[test]
        fn parts_merge_to_the_same_bits(samples in prop::collection::vec((0.0_f32..=1.0, 0..2_u16), 2..200)) {
            let (values, labels): (Vec<f32>, Vec<Label>) = samples.into_iter().unzip();
            let (cut, all) = (values.len() / 2, vec![true; values.len()]);
            let whole = EqualMass::of(Probabilities::new(&values, 1), &labels, &all, 15);
            let parts = [
                (Probabilities::new(&values[cut..], 1), &labels[cut..]),
                (Probabilities::new(&values[..cut], 1), &labels[..cut]),
            ];
            let mut coarse = EqualMass::new(1, 15);
            for (p, labels) in parts {
                let mut part = EqualMass::new(1, 15);
                part.add(p, labels, &all[..labels.len()]);
                coarse.merge(&part);
            }
            let mut boundaries = coarse.boundaries();
            for (p, labels) in parts {
                let mut part = coarse.boundaries();
                part.add(p, labels, &all[..labels.len()]);
                boundaries.merge(&part);
            }
            prop_assert_eq!(coarse.resolve(&boundaries), whole);
        }
    }
}
