//! The one pass over a volume that fills every bin of every region.
//!
//! Voxels are counted by atom (see [`super::atom`]). Inside an atom the reference label is one number, so the class bins
//! need no counter of hits.

use std::ops::Range;

use rayon::prelude::*;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::THRESHOLD;
use super::atom::{atom, atoms, members};
use super::fixed::units;
use super::region::{Bin, Region, RegionBins, cells};
use crate::overlap::within;
use crate::volume::{BLOCK, Label, Probabilities, raise};

/// Voxels between two flushes. The packed counters below hold this many: a sum of 2^11 values of at most 2^40 units
/// needs 52 bits, a count up to 2^11 the 12 above them.
const CHUNK: usize = 1 << 11;
const SUM_BITS: u32 = 52;

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
    atoms: Vec<RegionBins>,
}

impl Calibration {
    /// No voxel yet, for `classes` classes and `bins` equal-width bins.
    ///
    /// # Panics
    /// There is no class, or the number of bins is not in 1 to 1000 (the threshold of `tcece` must lie in the first).
    pub fn new(classes: usize, bins: usize) -> Self {
        assert!(classes > 0 && (1..=1000).contains(&bins), "{classes} classes, {bins} bins");
        Self { classes, bins, atoms: vec![RegionBins::new(classes, bins); atoms(classes)] }
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
    /// if [`Region::Boundary`] is wanted.
    ///
    /// # Errors
    /// A label is not below the number of classes, or a probability is NaN or outside [0, 1] by more than 1e-3. Nothing
    /// is added then.
    ///
    /// # Panics
    /// The volumes differ in size, or the number of classes is not that of the state.
    pub fn add(&mut self, p: Probabilities<'_>, reference: &[Label], band: Option<&[bool]>) -> Result<()> {
        assert_eq!((p.classes(), p.voxels()), (self.classes, reference.len()), "classes and voxels");
        assert!(band.is_none_or(|band| band.len() == reference.len()), "a band of another size");
        within(reference, self.classes).map_err(|error| error.at("reference"))?;
        let volume = Volume { p, reference, band, bins: self.bins };
        let blocks = (0..reference.len().div_ceil(BLOCK)).into_par_iter();
        let tallies = blocks.fold(
            || Tally::new(volume),
            |mut tally, block| {
                let end = ((block + 1) * BLOCK).min(reference.len());
                (block * BLOCK..end).step_by(CHUNK).for_each(|start| tally.chunk(start..(start + CHUNK).min(end)));
                tally
            },
        );
        let total = tallies.map(|tally| (tally.atoms, tally.invalid)).reduce_with(|(mut a, x), (b, y)| {
            a.iter_mut().zip(&b).for_each(|(a, b)| a.merge(b));
            (a, x || y)
        });
        let Some((atoms, invalid)) = total else { return Ok(()) };
        if invalid {
            return Err(Error::new("a probability is NaN or outside [0, 1]")
                .help("logits must go through softmax first; repair or leave out a case with NaN"));
        }
        self.atoms.iter_mut().zip(&atoms).for_each(|(own, new)| own.merge(new));
        Ok(())
    }

    /// Adds the voxels of another part of the same evaluation.
    ///
    /// # Panics
    /// The numbers of classes or bins differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!((self.classes, self.bins), (other.classes, other.bins), "classes, bins");
        self.atoms.iter_mut().zip(&other.atoms).for_each(|(own, new)| own.merge(new));
    }

    /// The bins and sums of one region. [`Region::Boundary`] holds the voxels of the bands that were given.
    pub fn region(&self, region: Region) -> RegionBins {
        let mut total = RegionBins::new(self.classes, self.bins);
        for (number, atom) in self.atoms.iter().enumerate() {
            let (reference, prediction, in_band) = members(number);
            if region.contains(reference, prediction, in_band) {
                total.merge(atom);
            }
        }
        total
    }
}

#[derive(Clone, Copy)]
struct Volume<'a> {
    p: Probabilities<'a>,
    reference: &'a [Label],
    band: Option<&'a [bool]>,
    bins: usize,
}

#[derive(Clone, Copy, Default)]
struct Scores {
    nll: u64,
    zero_likelihood: u64,
    brier: u64,
    brier_foreground: u64,
}

/// What one task has counted, and its working memory for one chunk.
struct Tally<'a> {
    volume: Volume<'a>,
    atoms: Vec<RegionBins>,
    invalid: bool,
    /// Packed counters `[atom][row][cell]`: the count above [`SUM_BITS`], the sum below. Rows are the classes, then the
    /// largest probability where it is wrong, then where it is right.
    table: Vec<u64>,
    /// Which atoms the chunk holds.
    touched: Vec<bool>,
    /// Start of each voxel's atom in the table.
    base: Vec<u32>,
    top: Vec<f32>,
    prediction: Vec<Label>,
    /// Sum over classes of p^2.
    squares: Vec<f64>,
    /// Sum of p over the classes but the background.
    foreground: Vec<f64>,
    /// Sums of each atom over one chunk, in units; 2^11 voxels of at most 88 nats fit in 58 bits.
    scores: Vec<Scores>,
    cell: Vec<u32>,
    packed: Vec<u64>,
}

impl<'a> Tally<'a> {
    fn new(volume: Volume<'a>) -> Self {
        let (classes, bins) = (volume.p.classes(), volume.bins);
        let atoms = atoms(classes);
        Self {
            volume,
            atoms: vec![RegionBins::new(classes, bins); atoms],
            invalid: false,
            table: vec![0; atoms * (classes + 2) * cells(bins)],
            touched: vec![false; atoms],
            base: vec![0; CHUNK],
            top: vec![0.0; CHUNK],
            prediction: vec![0; CHUNK],
            squares: vec![0.0; CHUNK],
            foreground: vec![0.0; CHUNK],
            scores: vec![Scores::default(); atoms],
            cell: vec![0; CHUNK],
            packed: vec![0; CHUNK],
        }
    }

    fn chunk(&mut self, at: Range<usize>) {
        let classes = self.volume.p.classes();
        self.argmax(&at);
        self.place(&at);
        self.squares[..at.len()].fill(0.0);
        self.foreground[..at.len()].fill(0.0);
        for k in 0..classes {
            let values = &self.volume.p.class(k)[at.clone()];
            self.invalid |= bin(values, self.volume.bins, &mut self.cell, &mut self.packed);
            let weight = f64::from(u8::from(k > 0));
            for ((square, foreground), &value) in self.squares.iter_mut().zip(&mut self.foreground).zip(values) {
                *square += f64::from(value).powi(2);
                *foreground += weight * f64::from(value);
            }
            self.scatter(at.len(), |_, _| k);
        }
        bin(&self.top[..at.len()], self.volume.bins, &mut self.cell, &mut self.packed);
        let reference = &self.volume.reference[at.clone()];
        self.scatter(at.len(), |i, prediction| classes + usize::from(prediction == reference[i]));
        self.scores(&at);
        self.flush();
    }

    /// The largest probability and its class.
    fn argmax(&mut self, at: &Range<usize>) {
        let p = self.volume.p;
        let (top, prediction) = (&mut self.top[..at.len()], &mut self.prediction[..at.len()]);
        top.copy_from_slice(&p.class(0)[at.clone()]);
        prediction.fill(0);
        for k in 1..p.classes() {
            raise(top, prediction, &p.class(k)[at.clone()], k as Label);
        }
    }

    /// Finds each voxel's atom.
    fn place(&mut self, at: &Range<usize>) {
        let stride = self.table.len() / self.touched.len();
        let reference = &self.volume.reference[at.clone()];
        let band = self.volume.band.map(|band| &band[at.clone()]);
        for (i, (base, (&reference, &prediction))) in
            self.base.iter_mut().zip(reference.iter().zip(&self.prediction)).enumerate()
        {
            let atom = atom(reference, prediction, band.is_some_and(|band| band[i]));
            self.touched[atom] = true;
            *base = (atom * stride) as u32;
        }
    }

    /// Adds the packed values to the counters of the row that `row` names for each voxel.
    #[inline]
    fn scatter(&mut self, len: usize, row: impl Fn(usize, Label) -> usize) {
        let cells = cells(self.volume.bins);
        let voxels = self.base[..len].iter().zip(&self.cell).zip(&self.packed).zip(&self.prediction);
        for (i, (((&base, &cell), &packed), &prediction)) in voxels.enumerate() {
            self.table[base as usize + row(i, prediction) * cells + cell as usize] += packed;
        }
    }

    /// Proper scores of each voxel: Brier, foreground Brier, log-likelihood.
    fn scores(&mut self, at: &Range<usize>) {
        let stride = self.table.len() / self.touched.len();
        let (p, voxels) = (self.volume.p.values(), self.volume.p.voxels());
        let smallest = f64::from(f32::MIN_POSITIVE);
        for (i, &label) in self.volume.reference[at.clone()].iter().enumerate() {
            let own = f64::from(p[usize::from(label) * voxels + at.start + i]).clamp(0.0, 1.0);
            let miss = self.foreground[i] - f64::from(u8::from(label != 0));
            let scores = &mut self.scores[self.base[i] as usize / stride];
            scores.brier += units((self.squares[i] - 2.0 * own + 1.0).clamp(0.0, 2.0));
            scores.brier_foreground += units((miss * miss).min(1.0));
            if own < 1.0 {
                scores.zero_likelihood += u64::from(own < smallest);
                scores.nll += units(-own.max(smallest).ln());
            }
        }
    }

    /// Moves the packed counters into the atoms.
    fn flush(&mut self) {
        let (classes, cells) = (self.volume.p.classes(), cells(self.volume.bins));
        let stride = (classes + 2) * cells;
        for number in 0..self.touched.len() {
            if !std::mem::take(&mut self.touched[number]) {
                continue;
            }
            let (label, atom) = (usize::from(members(number).0), &mut self.atoms[number]);
            let scores = std::mem::take(&mut self.scores[number]);
            atom.nll.add_units(scores.nll);
            atom.zero_likelihood += scores.zero_likelihood;
            atom.brier.add_units(scores.brier);
            atom.brier_foreground.add_units(scores.brier_foreground);
            atom.brier_plus.add_units(if label == 0 { 0 } else { scores.brier_foreground });
            let rows = self.table[number * stride..(number + 1) * stride].chunks_mut(cells);
            for (row, counters) in rows.enumerate() {
                let right = row == label || row == classes + 1;
                let own = if row < classes { &mut atom.classes[row] } else { &mut atom.top };
                let count = empty_into(counters, own, right);
                atom.voxels += if row == 0 { count } else { 0 };
                atom.labels[label] += if row == 0 { count } else { 0 };
                atom.correct += if row == classes + 1 { count } else { 0 };
            }
        }
    }
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
    use super::super::edges;
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
