//! Equal-mass metrics of all regions of a volume at once, exactly and in bounded memory, and a mergeable state.
//!
//! A column is a class, or the largest probability. A first pass over a column counts it by cell and group (see
//! [`super::codes`], [`super::group`]). The cuts of a region fall into a few of its cells; a second pass gathers only
//! the values in those cells. For a cell without a cut, count, hits and sum are sufficient.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::bins::{Bin, MOST_CLASSES};
use super::cells::Cells;
use super::codes::OPEN_BITS;
use super::column::Column;
use super::counters::{Counters, coarse};
use super::fine::Fine;
use super::group::{self, Group};
use super::mass::{EqualMassFigures, Gap, cut_groups, gaps};
use super::region::Region;
use super::voxels::Voxels;

/// Number of low bits that are dropped for a stored cell: 16 cells from one power of two to the next.
const STORED_BITS: u32 = 19;

/// Equal-mass bins of any number of volumes, by region: counts, hits and exact sums of stored cells, bit-identical for
/// any order of merging.
///
/// The metrics of one volume are exact and are returned by [`EqualMass::add`]. Those of the state treat the voxels of a
/// stored cell as equal: probabilities for which `p`, or above 1/2 `1 - p`, agree to one part in 16. Only the regions
/// of [`Region::COMMON`] are stored, and for more than [`MOST_CLASSES`] classes only the largest probability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EqualMass {
    classes: usize,
    bins: usize,
    /// The columns of each region: the largest probability, then the classes.
    regions: BTreeMap<Region, Vec<Cells>>,
}

impl EqualMass {
    /// Creates an empty state.
    ///
    /// # Panics
    /// There is no class or no bin.
    pub fn new(classes: usize, bins: usize) -> Self {
        assert!(classes > 0 && bins > 0, "{classes} classes, {bins} bins");
        let columns = if classes > MOST_CLASSES { 1 } else { classes + 1 };
        let regions = Region::COMMON.map(|region| (region, vec![Cells::default(); columns]));
        Self { classes, bins, regions: regions.into() }
    }

    /// Adds a volume and returns its exact metrics for each region that contains a voxel.
    ///
    /// Values must be probabilities; [`super::Calibration::add`] checks this.
    ///
    /// # Panics
    /// The number of classes differs from that of the state.
    pub fn add(&mut self, voxels: &Voxels<'_>) -> BTreeMap<Region, EqualMassFigures> {
        assert_eq!(voxels.p.classes(), self.classes, "classes");
        let mut found: BTreeMap<Region, (Vec<Gap>, Vec<Vec<Gap>>)> = BTreeMap::new();
        let mut counters = Counters::new(group::count(self.classes));
        for number in std::iter::once(self.classes).chain(0..self.classes) {
            let column = Column { voxels, number };
            let (regions, gaps) = measure(&column, &mut counters, self.bins);
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

    /// The metrics of a region over all volumes; `None` if the region is not stored, with `tace` NaN if the classes are
    /// not stored.
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

/// Cells by region, and equal-mass bins by region.
type Measured = (BTreeMap<Region, Cells>, Vec<(Region, Vec<Gap>)>);

fn measure(column: &Column<'_>, counters: &mut Counters, bins: usize) -> Measured {
    let groups = coarse(column, counters);
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
    let fine = Fine::gather(column, &members, &cuts);
    let resolve = |(region, cells): (&Region, &Cells)| {
        (*region, gaps(&fine.resolved(cells, &cuts[region], &members[region]), bins))
    };
    let gaps = regions.par_iter().map(resolve).collect();
    (regions, gaps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::bins::THRESHOLD;
    use crate::volume::{Label, Probabilities};
    use proptest::prelude::*;

    /// Sorts all values; takes the mean over all orders of equal values.
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
        // Few distinct values, so that many are equal; and many distinct ones.
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

    /// Sums of many parts equal those of a single pass.
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
