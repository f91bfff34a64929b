//! The figures of equal mass of every region of a volume at once, exactly and in bounded memory; and a state of them that
//! merges.
//!
//! A column is a class, or the largest probability. A first walk over a column counts it by cell and group (see
//! [`super::group`]): a cell holds the probabilities `p` that agree in the upper bits of `p`, above a half in those of
//! `1 - p`, so that both ends are resolved alike. The cuts of a region fall into a few of its cells; a second walk gathers
//! the values in those alone. Inside a cell without a cut only count, hits and sum matter.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::bins::{Bin, MOST_CLASSES, THRESHOLD};
use super::cells::Cells;
use super::fixed::units;
use super::group::{self, Group};
use super::mass::{EqualMassFigures, Gap, cut_groups, gaps};
use super::region::Region;
use super::voxels::{IGNORED, Voxels};
use crate::volume::{BLOCK, Label};

/// Bits of a code that a cell leaves open: 256 cells from one power of two to the next.
const OPEN_BITS: u32 = 15;

/// Bits of a code that a stored cell leaves open: 16 cells from one power of two to the next.
const STORED_BITS: u32 = 19;

/// The code of a half, and twice it.
const HALF: u32 = 0x3f00_0000;
const MIRROR: u32 = 2 * HALF;

/// Bits of 2^-25, which stand for `1 - p = 0`: the next power of two below the smallest that 1 less a probability can be.
const NOTHING: u32 = 0x3300_0000;

/// First cell: everything below 2^-12. A class's probability is counted above 1e-3 only, and the largest of up to 4000 that
/// sum to 1 lies above, so it is nearly always empty.
const FIRST: u32 = (0x3980_0000 >> OPEN_BITS) - 1;
const CELLS: usize = (((MIRROR - NOTHING) >> OPEN_BITS) - FIRST) as usize + 1;

/// The part of a gathered value that is not its group.
const LOW: u64 = 0xffff_ffff;

/// Voxels after which sums of units could overflow 64 bits.
const SPAN: usize = 1 << 23;

/// A number that orders probabilities as they are, and tells all of them apart.
#[inline]
fn code(p: f32) -> u32 {
    if p < 0.5 {
        p.to_bits()
    } else {
        // Exact: 1 - p has no more places than p.
        MIRROR - (1.0 - p).to_bits().max(NOTHING)
    }
}

/// The probability of a code.
fn probability(code: u32) -> f32 {
    match MIRROR - code {
        _ if code < HALF => f32::from_bits(code),
        NOTHING => 1.0,
        rest => 1.0 - f32::from_bits(rest),
    }
}

#[inline]
fn cell(code: u32) -> u32 {
    (code >> OPEN_BITS).max(FIRST) - FIRST
}

/// Equal-mass bins of any number of volumes, by region: counts, hits and exact sums of stored cells, the same bits in any
/// order of merging.
///
/// The figures of one volume are exact, and [`EqualMass::add`] gives them. Those of the state treat the voxels of a stored
/// cell as equal: probabilities of which `p`, or above a half `1 - p`, agree to one part in 16. Only the regions of
/// [`Region::COMMON`] are kept, and of more than [`MOST_CLASSES`] classes only the largest probability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EqualMass {
    classes: usize,
    bins: usize,
    /// The columns of each region: the largest probability, then the classes.
    regions: BTreeMap<Region, Vec<Cells>>,
}

impl EqualMass {
    /// No voxel yet.
    ///
    /// # Panics
    /// There is no class or no bin.
    pub fn new(classes: usize, bins: usize) -> Self {
        assert!(classes > 0 && bins > 0, "{classes} classes, {bins} bins");
        let columns = if classes > MOST_CLASSES { 1 } else { classes + 1 };
        let regions = Region::COMMON.map(|region| (region, vec![Cells::default(); columns]));
        Self { classes, bins, regions: regions.into() }
    }

    /// Adds a volume, and gives its own figures, exactly: those of each region that holds a voxel.
    ///
    /// Values must be probabilities, as [`super::Calibration::add`] checks.
    ///
    /// # Panics
    /// The number of classes is not that of the state.
    pub fn add(&mut self, voxels: &Voxels<'_>) -> BTreeMap<Region, EqualMassFigures> {
        assert_eq!(voxels.p.classes(), self.classes, "classes");
        let mut found: BTreeMap<Region, (Vec<Gap>, Vec<Vec<Gap>>)> = BTreeMap::new();
        let mut counters = Counters::new(group::count(self.classes));
        for number in std::iter::once(self.classes).chain(0..self.classes) {
            let column = Column { voxels, number };
            let (regions, gaps) = column.measure(&mut counters, self.bins);
            for (region, cells) in regions {
                let at = (number + 1) % (self.classes + 1);
                if let Some(own) = self.regions.get_mut(&region).and_then(|columns| columns.get_mut(at)) {
                    own.merge(&cells.coarser(STORED_BITS - OPEN_BITS));
                }
            }
            for (region, gaps) in gaps {
                let (top, classes) = found.entry(region).or_default();
                if number == self.classes { *top = gaps } else { classes.push(gaps) }
            }
        }
        let figures = |(region, (top, classes)): (Region, (Vec<Gap>, Vec<Vec<Gap>>))| {
            (region, EqualMassFigures::new(&top, classes.iter()))
        };
        found.into_iter().map(figures).collect()
    }

    /// Adds the voxels of another part of the same evaluation.
    ///
    /// # Panics
    /// The numbers of classes or bins differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!((self.classes, self.bins), (other.classes, other.bins), "classes, bins");
        for (region, columns) in &other.regions {
            let own = self.regions.entry(*region).or_insert_with(|| vec![Cells::default(); columns.len()]);
            own.iter_mut().zip(columns).for_each(|(own, new)| own.merge(new));
        }
    }

    /// The figures of a region of all volumes together; `None` where they are not kept, `tace` NaN where the classes are
    /// not.
    pub fn figures(&self, region: Region) -> Option<EqualMassFigures> {
        let columns = self.regions.get(&region)?.iter();
        let gaps: Vec<Vec<Gap>> = columns.map(|cells| gaps(&bins_of(cells), self.bins)).collect();
        let (top, classes) = gaps.split_first()?;
        Some(EqualMassFigures::new(top, classes.iter()))
    }
}

fn bins_of(cells: &Cells) -> Vec<Bin> {
    cells.iter().map(|(_, bin)| *bin).collect()
}

/// A class, or with the number of classes the largest probability.
struct Column<'a> {
    voxels: &'a Voxels<'a>,
    number: usize,
}

#[derive(Clone, Copy, Default)]
struct Counter {
    sum: u64,
    count: u32,
    hits: u32,
}

/// Dense counters of each group and cell, made for a group when it is first met and used again for the next column.
struct Counters(Vec<Option<(bool, Vec<Counter>)>>);

impl Counters {
    fn new(groups: usize) -> Self {
        Self((0..groups).map(|_| None).collect())
    }

    #[inline]
    fn of(&mut self, group: Group) -> &mut [Counter] {
        let (used, counters) = self.0[group as usize].get_or_insert_with(|| (false, vec![Counter::default(); CELLS]));
        *used = true;
        counters
    }

    /// What was counted, by group; the counters are 0 again.
    fn take(&mut self) -> BTreeMap<Group, Cells> {
        let used = (0..).zip(&mut self.0).filter_map(|(group, own)| Some((group, own.as_mut().filter(|own| own.0)?)));
        let cells = |(group, own): (Group, &mut (bool, Vec<Counter>))| {
            own.0 = false;
            let mut cells = Cells::default();
            for (number, counter) in (0..).zip(&mut own.1) {
                let Counter { sum, count, hits } = std::mem::take(counter);
                let mut bin = Bin { count: count.into(), hits: hits.into(), ..Bin::default() };
                bin.sum.add_units(sum);
                cells.push(number, bin);
            }
            (group, cells)
        };
        used.map(cells).collect()
    }
}

/// Cells by region, and bins of equal mass by region.
type Measured = (BTreeMap<Region, Cells>, Vec<(Region, Vec<Gap>)>);

impl Column<'_> {
    fn measure(&self, counters: &mut Counters, bins: usize) -> Measured {
        let groups = self.coarse(counters);
        let mut regions: BTreeMap<Region, Cells> = BTreeMap::new();
        let mut members: BTreeMap<Region, Vec<Group>> = BTreeMap::new();
        for (&group, cells) in &groups {
            for region in group::regions(group) {
                regions.entry(region).or_default().merge(cells);
                members.entry(region).or_default().push(group);
            }
        }
        let cuts: BTreeMap<Region, Vec<u32>> =
            regions.iter().map(|(&region, cells)| (region, cut_groups(cells.iter(), bins))).collect();
        let fine = self.fine(&groups, &members, &cuts);
        let resolve = |(region, cells): (&Region, &Cells)| {
            (*region, gaps(&resolved(cells, &cuts[region], &members[region], &fine), bins))
        };
        let gaps = regions.par_iter().map(resolve).collect();
        (regions, gaps)
    }

    /// Counts by group and cell.
    fn coarse(&self, counters: &mut Counters) -> BTreeMap<Group, Cells> {
        let mut total: BTreeMap<Group, Cells> = BTreeMap::new();
        let add = |total: &mut BTreeMap<Group, Cells>, more: BTreeMap<Group, Cells>| {
            more.into_iter().for_each(|(group, cells)| total.entry(group).or_default().merge(&cells));
        };
        let count = |counters: &mut Counters, piece| {
            self.visit(piece, |voxel, value, hit| {
                let at = cell(code(value)) as usize;
                for group in self.groups(voxel) {
                    let counter = &mut counters.of(group)[at];
                    counter.sum += units(f64::from(value));
                    counter.count += 1;
                    counter.hits += u32::from(hit);
                }
            });
            counters.take()
        };
        for start in (0..self.voxels.reference.len()).step_by(SPAN) {
            let pieces = pieces(start, (start + SPAN).min(self.voxels.reference.len()));
            let (own, others) = pieces.split_at(1);
            let groups = counters.0.len();
            let parts = others.par_iter().map(|&piece| count(&mut Counters::new(groups), piece));
            let (own, parts) = rayon::join(
                || own.iter().map(|&piece| count(counters, piece)).collect::<Vec<_>>(),
                || parts.collect::<Vec<_>>(),
            );
            own.into_iter().chain(parts).for_each(|part| add(&mut total, part));
        }
        total
    }

    /// The values inside the cells with a cut of a region, as group, code and whether it is a hit in one number, ascending.
    fn fine(
        &self,
        groups: &BTreeMap<Group, Cells>,
        members: &BTreeMap<Region, Vec<Group>>,
        cuts: &BTreeMap<Region, Vec<u32>>,
    ) -> Vec<u64> {
        let mut wanted: BTreeMap<Group, BTreeSet<u32>> = BTreeMap::new();
        for (region, groups) in members {
            for group in groups {
                wanted.entry(*group).or_default().extend(&cuts[region]);
            }
        }
        let mut masks: Vec<Option<Vec<bool>>> =
            vec![None; groups.last_key_value().map_or(0, |(last, _)| *last as usize + 1)];
        for (group, cells) in wanted {
            let mut mask = vec![false; CELLS];
            cells.into_iter().for_each(|cell| mask[cell as usize] = true);
            masks[group as usize] = Some(mask);
        }
        let is_wanted =
            |group: Group, code: u32| masks[group as usize].as_ref().is_some_and(|mask| mask[cell(code) as usize]);
        let pieces = pieces(0, self.voxels.reference.len());
        // Counted first, so that the values are held once and nothing beside them.
        let count = |&piece: &[usize; 2]| {
            let mut count = 0;
            self.visit(piece, |voxel, value, _| {
                count += self.groups(voxel).filter(|&group| is_wanted(group, code(value))).count();
            });
            count
        };
        let counts: Vec<usize> = pieces.par_iter().map(count).collect();
        let mut values = vec![0_u64; counts.iter().sum()];
        let (mut parts, mut rest) = (Vec::with_capacity(pieces.len()), values.as_mut_slice());
        for (&piece, &count) in pieces.iter().zip(&counts) {
            let (own, others) = rest.split_at_mut(count);
            parts.push((piece, own));
            rest = others;
        }
        parts.into_par_iter().for_each(|(piece, own)| {
            let mut next = own.iter_mut();
            self.visit(piece, |voxel, value, hit| {
                let code = code(value);
                for group in self.groups(voxel).filter(|&group| is_wanted(group, code)) {
                    let value = u64::from(group) << 32 | u64::from(code) << 1 | u64::from(hit);
                    *next.next().expect("as many as were counted") = value;
                }
            });
        });
        values.par_sort_unstable();
        values
    }

    #[inline]
    fn groups(&self, voxel: usize) -> impl Iterator<Item = Group> {
        let Voxels { reference, prediction, flags, .. } = self.voxels;
        group::of(reference[voxel], prediction[voxel], flags[voxel])
    }

    /// Hands on number, probability and hit of each voxel that counts in the column.
    fn visit(&self, [start, end]: [usize; 2], mut each: impl FnMut(usize, f32, bool)) {
        let Voxels { p, reference, prediction, flags } = self.voxels;
        let judged = |voxel: usize| flags[voxel] & IGNORED == 0;
        // Adding 0 makes a negative zero positive, whose pattern is 0.
        let clamped = |value: f32| value.clamp(0.0, 1.0) + 0.0;
        if self.number < p.classes() {
            for (voxel, &value) in (start..end).zip(&p.class(self.number)[start..end]) {
                if value > THRESHOLD && judged(voxel) {
                    each(voxel, clamped(value), usize::from(reference[voxel]) == self.number);
                }
            }
            return;
        }
        let top = |voxel: usize, label: Label| p.values()[usize::from(label) * p.voxels() + voxel];
        for voxel in (start..end).filter(|&voxel| judged(voxel)) {
            let label = prediction[voxel];
            each(voxel, clamped(top(voxel, label)), label == reference[voxel]);
        }
    }
}

/// The groups of equal values of a region, ascending: one for each cell, but for cells with a cut one for each value.
#[expect(clippy::cast_possible_truncation, reason = "a code has 31 bits")]
fn resolved(cells: &Cells, cuts: &[u32], members: &[Group], fine: &[u64]) -> Vec<Bin> {
    let mut groups = Vec::new();
    for &(number, bin) in cells.iter() {
        if cuts.binary_search(&number).is_err() {
            groups.push(bin);
            continue;
        }
        let mut values: Vec<u64> = members.iter().flat_map(|&group| inside(fine, group, number)).collect();
        values.sort_unstable();
        for same in values.chunk_by(|a, b| a >> 1 == b >> 1) {
            let hits = same.iter().map(|value| value & 1).sum();
            let mut bin = Bin { count: same.len() as u64, hits, ..Bin::default() };
            // The code lies in the low 32 bits, less the bit of the hit.
            bin.sum.add_repeated(units(f64::from(probability((same[0] >> 1) as u32))), bin.count);
            groups.push(bin);
        }
    }
    groups
}

/// The values of a group inside a cell, without the group.
fn inside(fine: &[u64], group: Group, number: u32) -> impl Iterator<Item = u64> {
    let key = |value: &u64| ((value >> 32) as Group, cell((value & LOW) as u32 >> 1));
    let from = fine.partition_point(|value| key(value) < (group, number));
    let to = fine.partition_point(|value| key(value) <= (group, number));
    fine[from..to].iter().map(|value| value & LOW)
}

/// As many parts as there are threads, but no more than eight, since each has counters of its own.
fn pieces(start: usize, end: usize) -> Vec<[usize; 2]> {
    let step = (end - start).div_ceil(rayon::current_num_threads().min(8)).max(BLOCK);
    (start..end).step_by(step).map(|from| [from, (from + step).min(end)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Probabilities;
    use proptest::prelude::*;

    /// Sorts everything; of equal values the mean over all orders.
    fn sorted(mut samples: Vec<(f32, bool)>, bins: usize) -> Vec<Gap> {
        samples.sort_by(|a, b| a.0.total_cmp(&b.0));
        let shared: Vec<f64> = samples
            .iter()
            .map(|(p, _)| {
                let equal = || samples.iter().filter(|other| other.0 == *p);
                equal().filter(|other| other.1).count() as f64 / equal().count() as f64 - f64::from(*p)
            })
            .collect();
        let n = samples.len();
        let filled = (0..bins).map(|r| &shared[r * n / bins..(r + 1) * n / bins]).filter(|bin| !bin.is_empty());
        let gap = |bin: &[f64]| Gap { count: bin.len() as f64, gap: bin.iter().sum::<f64>().abs() / bin.len() as f64 };
        filled.map(gap).collect()
    }

    /// The definitions, region by region.
    fn plain(
        p: Probabilities<'_>,
        reference: &[Label],
        bands: &[[bool; 2]],
        bins: usize,
        region: Region,
    ) -> EqualMassFigures {
        let prediction = p.argmax();
        let inside: Vec<usize> = (0..reference.len())
            .filter(|&voxel| region.contains(reference[voxel], prediction[voxel], bands[voxel][0], bands[voxel][1]))
            .collect();
        let top =
            inside.iter().map(|&v| (p.class(usize::from(prediction[v]))[v], prediction[v] == reference[v])).collect();
        let class = |k: usize| {
            let values = inside.iter().map(|&v| (p.class(k)[v], usize::from(reference[v]) == k));
            sorted(values.filter(|(value, _)| *value > THRESHOLD).collect(), bins)
        };
        let classes: Vec<Vec<Gap>> = (0..p.classes()).map(class).collect();
        EqualMassFigures::new(&sorted(top, bins), classes.iter())
    }

    fn measure(
        p: Probabilities<'_>,
        reference: &[Label],
        bands: &[[bool; 2]],
        bins: usize,
    ) -> (EqualMass, BTreeMap<Region, EqualMassFigures>) {
        let prediction = p.argmax();
        let [boundary, near] = [0, 1].map(|which| bands.iter().map(|band| band[which]).collect::<Vec<bool>>());
        let voxels = Voxels::new(p, reference, &prediction, None).with_boundary(&boundary).with_near(&near);
        let mut state = EqualMass::new(p.classes(), bins);
        let figures = state.add(&voxels);
        (state, figures)
    }

    fn close(a: f64, b: f64, tolerance: f64) -> bool {
        (a - b).abs() < tolerance || a.is_nan() && b.is_nan()
    }

    #[test]
    fn codes_order_probabilities_and_tell_them_apart() {
        let mut before = None;
        for bits in (0x3980_0000..=0x3f80_0000_u32).step_by(211).chain(0x3f7f_ff00..=0x3f80_0000) {
            let p = f32::from_bits(bits);
            assert_eq!(probability(code(p)), p);
            let now = (p, code(p));
            if let Some((q, other)) = before.replace(now) {
                assert_eq!(q < p, other < now.1, "{q} {p}");
            }
            assert!((cell(code(p)) as usize) < CELLS);
        }
        assert_eq!((cell(code(1e-30)), cell(code(1.0)) as usize), (0, CELLS - 1));
    }

    #[test]
    fn by_hand() {
        // Two classes, four voxels; the largest probabilities 0.5, 0.625, 0.75, 1 are right, wrong, right, right.
        let values = [0.5, 0.375, 0.75, 1.0, 0.5, 0.625, 0.25, 0.0];
        let (_, figures) = measure(Probabilities::new(&values, 2), &[0; 4], &[[false; 2]; 4], 2);
        let all = figures[&Region::All];
        assert_eq!(all.aece, f64::midpoint((1.0 - 1.125_f64).abs() / 2.0, (2.0 - 1.75) / 2.0));
        // Class 0: (.375 .5 | .75 1), all hits; class 1 without its zero: (.25 | .5 .625), no hits.
        assert_eq!(all.tace, f64::midpoint(f64::midpoint(0.5625, 0.125), f64::midpoint(0.25, 0.5625)));
        assert!(!figures.contains_key(&Region::Boundary), "no voxel in the band");
    }

    #[test]
    fn equal_values_share_their_hits() {
        let values = [0.5, 0.5, 0.5, 0.5];
        let (state, figures) = measure(Probabilities::new(&values, 1), &[0; 4], &[[false; 2]; 4], 3);
        assert_eq!(figures[&Region::All].aece, 0.5);
        let nothing = state.figures(Region::Near).unwrap();
        assert!(nothing.aece.is_nan() && nothing.tace.is_nan());
    }

    fn voxels() -> impl Strategy<Value = Vec<([f32; 3], Label, [bool; 2])>> {
        // Few different values, so that many are equal; and many different ones.
        let scores =
            prop_oneof![prop::array::uniform3((0_u8..4).prop_map(f32::from)), prop::array::uniform3(0.0_f32..1.0)];
        prop::collection::vec((scores, 0..3_u16, any::<[bool; 2]>()), 1..200)
    }

    fn normalised(voxels: &[([f32; 3], Label, [bool; 2])]) -> Vec<f32> {
        let of = |k: usize, scores: &[f32; 3]| (scores[k] + 1e-4) / (scores.iter().sum::<f32>() + 3e-4);
        (0..3).flat_map(|k| voxels.iter().map(move |voxel| of(k, &voxel.0))).collect()
    }

    proptest! {
        #[test]
        fn every_region_is_sorting_its_voxels(voxels in voxels(), bins in 1..20_usize) {
            let values = normalised(&voxels);
            let p = Probabilities::new(&values, 3);
            let labels: Vec<Label> = voxels.iter().map(|voxel| voxel.1).collect();
            let bands: Vec<[bool; 2]> = voxels.iter().map(|voxel| voxel.2).collect();
            let (_, found) = measure(p, &labels, &bands, bins);
            for region in Region::every(3) {
                let plain = plain(p, &labels, &bands, bins, region);
                let own = found.get(&region).copied().unwrap_or(EqualMassFigures::NONE);
                prop_assert!(close(own.aece, plain.aece, 1e-11), "{region}: {} {}", own.aece, plain.aece);
                prop_assert!(close(own.tace, plain.tace, 1e-11), "{region}: {} {}", own.tace, plain.tace);
            }
        }

        #[test]
        fn parts_merge_to_the_same_bits_in_any_order(voxels in voxels(), cut in 0..200_usize) {
            let part = |voxels: &[([f32; 3], Label, [bool; 2])]| {
                let values = normalised(voxels);
                let labels: Vec<Label> = voxels.iter().map(|voxel| voxel.1).collect();
                let bands: Vec<[bool; 2]> = voxels.iter().map(|voxel| voxel.2).collect();
                measure(Probabilities::new(&values, 3), &labels, &bands, 15).0
            };
            let (a, b) = voxels.split_at(cut.min(voxels.len()));
            let (mut forth, mut back) = (part(a), part(b));
            forth.merge(&part(b));
            back.merge(&part(a));
            prop_assert_eq!(&forth, &part(&voxels));
            prop_assert_eq!(&forth, &back);
            let text = serde_json::to_string(&forth).unwrap();
            prop_assert_eq!(serde_json::from_str::<EqualMass>(&text).unwrap(), forth);
        }
    }

    /// Values that agree to one part in 16 count as equal, which moves a cut by less than a cell.
    #[test]
    fn the_state_is_near_the_exact_figures() {
        let rng = segcal_core::Rng::new(8);
        let n = 200_000_usize;
        let p: Vec<f32> = (0..n).map(|i| (1.0 - rng.uniform(2 * i as u64).powi(6)) as f32).collect();
        let values: Vec<f32> = p.iter().copied().chain(p.iter().map(|p| 1.0 - p)).collect();
        let hit = |i: usize| rng.uniform(2 * i as u64 + 1) < f64::from(p[i]).powi(2);
        let labels: Vec<Label> = (0..n).map(|i| Label::from(!hit(i))).collect();
        let (state, figures) = measure(Probabilities::new(&values, 2), &labels, &vec![[false; 2]; n], 15);
        let (exact, stored) = (figures[&Region::All], state.figures(Region::All).unwrap());
        assert!(exact.aece > 0.01, "{}", exact.aece);
        assert!((exact.aece - stored.aece).abs() < 1e-3 * exact.aece, "{} {}", exact.aece, stored.aece);
        assert!((exact.tace - stored.tace).abs() < 1e-2 * exact.tace, "{} {}", exact.tace, stored.tace);
    }

    /// Sums of many parts are those of one walk.
    #[test]
    fn the_same_bits_for_any_number_of_threads() {
        let rng = segcal_core::Rng::new(9);
        let n = 200_000_usize;
        let p: Vec<f32> = (0..n).map(|i| rng.uniform(i as u64) as f32).collect();
        let values: Vec<f32> = p.iter().copied().chain(p.iter().map(|p| 1.0 - p)).collect();
        let labels: Vec<Label> = (0..n).map(|i| (i % 3 == 0).into()).collect();
        let bands: Vec<[bool; 2]> = (0..n).map(|i| [i % 5 == 0, i % 7 == 0]).collect();
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| measure(Probabilities::new(&values, 2), &labels, &bands, 15))
        };
        assert_eq!(with(1), with(3));
    }
}
