//! Counters pooled over all cases: reliability diagrams, distributions of logits, and metrics of the pooled voxels.

use std::collections::BTreeMap;

use segcal_data::output::Number;
use segcal_metrics::bootstrap::{Bootstrap, DEFAULT_REPLICATES, TOGETHER, replicate_sums};
use segcal_metrics::calibration::{Calibration, EqualMass, EqualMassFigures, Region};
use segcal_metrics::definitions::{Compute, rows};
use segcal_metrics::distribution::LogitDistribution;
use serde::{Deserialize, Serialize};

use super::scores::Scores;

/// Metrics of a region, by key.
type Figures = BTreeMap<String, Number>;

/// The counters of one case, or of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Bins of every region.
    pub calibration: Calibration,
    /// Bins of equal mass.
    pub equal_mass: EqualMass,
    /// Distributions of the logits; `None` if there are too many classes.
    pub logits: Option<Logits>,
}

/// Logits by true class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logits {
    /// The kind of the scores; for probabilities, their logarithms are counted.
    pub of: Scores,
    /// The counts.
    pub counts: LogitDistribution,
}

/// The counters of a cohort, bit for bit the same in whatever order the cases are added.
#[derive(Clone, Debug, Default)]
pub struct Pooled {
    total: Option<Counters>,
    /// Two differing numbers of classes, if there are any: such cases cannot be pooled.
    differing: Option<[usize; 2]>,
    /// The counters of each region that is a separate binary problem.
    problems: BTreeMap<String, Pooled>,
    /// The sums behind the ECE of each region.
    cases: BTreeMap<Region, Excesses>,
}

/// The sums behind the ECE of the cases that have a voxel in one region.
#[derive(Clone, Debug, Default)]
struct Excesses {
    /// The numbers of the cases, ascending.
    cases: Vec<usize>,
    voxels: Vec<u64>,
    /// `[case][bin]`, see [`segcal_metrics::calibration::RegionBins::excesses`].
    bins: Vec<f64>,
}

impl Pooled {
    /// Adds the counters of a case, whose number is larger than those of the cases before. Those with a name belong to a
    /// region that is a separate binary problem.
    pub fn add_all(&mut self, case: usize, counters: Vec<(String, Counters)>) {
        for (name, counters) in counters {
            let own = if name.is_empty() { &mut *self } else { self.problems.entry(name).or_default() };
            own.add(case, counters);
        }
    }

    /// The regions that are separate binary problems, each against the rest.
    pub const fn problems(&self) -> &BTreeMap<String, Self> {
        &self.problems
    }

    /// Adds the counters of a case; see [`Pooled::add_all`].
    pub fn add(&mut self, case: usize, counters: Counters) {
        self.add_excesses(case, &counters.calibration);
        let Some(total) = &mut self.total else {
            self.total = Some(counters);
            return;
        };
        let shape = |calibration: &Calibration| (calibration.classes(), calibration.bins());
        if shape(&total.calibration) != shape(&counters.calibration) {
            self.differing = Some([total.calibration.classes(), counters.calibration.classes()]);
            return;
        }
        total.calibration.merge(&counters.calibration);
        total.equal_mass.merge(&counters.equal_mass);
        match (&mut total.logits, counters.logits) {
            (Some(own), Some(new)) if own.of == new.of => own.counts.merge(&new.counts),
            (own, _) => *own = None,
        }
    }

    /// The counters of all cases; `None` if there are no scores or the numbers of classes differ.
    pub const fn counters(&self) -> Option<&Counters> {
        if self.differing.is_some() { None } else { self.total.as_ref() }
    }

    /// Two differing numbers of classes, if cases differ.
    pub const fn differing(&self) -> Option<[usize; 2]> {
        self.differing
    }

    /// The metrics of each region over the pooled voxels of all cases, as far as the counters provide them.
    pub fn figures(&self) -> BTreeMap<String, Figures> {
        let mut figures = BTreeMap::new();
        if let Some(counters) = self.counters() {
            let regions = Region::every(counters.calibration.classes()).into_iter();
            figures.extend(regions.map(|region| (region.to_string(), counters.figures(region))));
        }
        for (name, counters) in self.problems.iter().filter_map(|(name, pooled)| Some((name, pooled.counters()?))) {
            let regions = Region::COMMON.into_iter();
            figures.extend(regions.map(|region| (format!("{name}/{region}"), counters.figures(region))));
        }
        figures
    }

    /// Adds the sums of every region in which a case has a voxel.
    fn add_excesses(&mut self, case: usize, calibration: &Calibration) {
        for region in Region::every(calibration.classes()) {
            let bins = calibration.region(region);
            if bins.voxels() > 0 {
                let own = self.cases.entry(region).or_default();
                own.cases.push(case);
                own.voxels.push(bins.voxels());
                own.bins.extend(bins.excesses());
            }
        }
    }

    /// Forgets what only [`Pooled::ece_intervals`] needs.
    pub fn forget_cases(&mut self) {
        self.cases.clear();
        self.problems.values_mut().for_each(Self::forget_cases);
    }

    /// The 95 % BCa bootstrap interval of the pooled ECE, drawing cases with replacement, for each region that at least
    /// two cases have. `order` are the numbers of all cases, in the order in which they are numbered for the draws.
    pub fn ece_intervals(&self, order: &[usize], seed: u64) -> BTreeMap<String, [f64; 2]> {
        let mut intervals = BTreeMap::new();
        if self.differing.is_none() {
            let mut by_count: BTreeMap<usize, Vec<(&Region, &Excesses)>> = BTreeMap::new();
            for (region, own) in self.cases.iter().filter(|(_, own)| own.cases.len() > 1) {
                by_count.entry(own.cases.len()).or_default().push((region, own));
            }
            for regions in by_count.values() {
                let together = (TOGETHER / (1 + regions[0].1.width())).max(1);
                for regions in regions.chunks(together) {
                    let own: Vec<&Excesses> = regions.iter().map(|(_, own)| *own).collect();
                    let named = regions.iter().map(|(region, _)| region.to_string());
                    intervals.extend(named.zip(ece_intervals(&own, order, seed)));
                }
            }
        }
        for (name, pooled) in &self.problems {
            let own = pooled.ece_intervals(order, seed).into_iter();
            let common = own.filter(|(region, _)| Region::COMMON.iter().any(|common| common.to_string() == *region));
            intervals.extend(common.map(|(region, interval)| (format!("{name}/{region}"), interval)));
        }
        intervals
    }
}

impl Excesses {
    /// Number of bins.
    fn width(&self) -> usize {
        self.bins.len() / self.cases.len()
    }

    /// The bins and voxels of each case, in the given order of the cases.
    fn ordered(&self, order: &[usize]) -> impl Iterator<Item = (&[f64], f64)> {
        let places = order.iter().filter_map(|case| self.cases.binary_search(case).ok());
        let width = self.width();
        places.map(move |place| (&self.bins[place * width..(place + 1) * width], self.voxels[place] as f64))
    }
}

/// The intervals of the ECE in some regions that have equally many cases and so share their draws.
fn ece_intervals(regions: &[&Excesses], order: &[usize], seed: u64) -> Vec<[f64; 2]> {
    let bins = regions[0].width();
    let (width, columns) = (bins + 1, regions.len() * (bins + 1));
    // Row by row in the order of the cases: the bins of each region, followed by its voxels.
    let mut table = vec![0.0; regions[0].cases.len() * columns];
    for (number, region) in regions.iter().enumerate() {
        for (row, (own, voxels)) in table.chunks_exact_mut(columns).zip(region.ordered(order)) {
            let row = &mut row[number * width..(number + 1) * width];
            row[..bins].copy_from_slice(own);
            row[bins] = voxels;
        }
    }
    let mut all = vec![0.0; columns];
    for row in table.chunks_exact(columns) {
        all.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    let drawn = replicate_sums(&table, columns, DEFAULT_REPLICATES, seed);
    let interval = |number: usize| {
        let at = number * width..(number + 1) * width;
        let replicates = drawn.chunks_exact(columns).map(|sums| ece(&sums[at.clone()])).collect();
        let without = |row: &[f64]| {
            let others: Vec<f64> = all[at.clone()].iter().zip(&row[at.clone()]).map(|(all, own)| all - own).collect();
            ece(&others)
        };
        let jackknife = table.chunks_exact(columns).map(without).collect();
        let interval = Bootstrap::of_values(ece(&all[at.clone()]), replicates, jackknife).bca(0.95);
        [interval.lower, interval.upper]
    };
    (0..regions.len()).map(interval).collect()
}

/// The ECE from the sums of the bins, followed by the number of voxels, which is exact below 2^53.
fn ece(sums: &[f64]) -> f64 {
    let (voxels, bins) = sums.split_last().expect("bins and voxels");
    bins.iter().map(|sum| sum.abs()).sum::<f64>() / voxels
}

impl Counters {
    fn figures(&self, region: Region) -> Figures {
        let bins = self.calibration.region(region);
        let mass = self.equal_mass.figures(region).unwrap_or(EqualMassFigures::NONE);
        let classwise = ["cece_mean", "cece_sum", "tcece"];
        let figure = |key: &str, compute: Compute| match compute {
            Compute::Calibration(_) if classwise.contains(&key) && !bins.has_classes() => None,
            Compute::Calibration(figure) | Compute::Description(figure) => Some(figure(&bins)),
            Compute::EqualMass(_) if self.equal_mass.figures(region).is_none() => None,
            Compute::EqualMass(figure) => Some(figure(&mass)),
            _ => None,
        };
        rows()
            .filter_map(|(metric, compute)| Some((metric.key.to_owned(), Number(figure(metric.key, compute)?))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use segcal_core::Rng;
    use segcal_metrics::volume::{Label, Probabilities};

    use super::*;

    /// A case of 500 voxels whose accuracy is its confidence minus `excess`.
    fn counters(seed: u64, excess: f64) -> Counters {
        let rng = Rng::new(seed);
        let p: Vec<f32> = (0..500).map(|voxel| (0.5 + 0.5 * rng.uniform(voxel)) as f32).collect();
        let right = |(voxel, &p): (usize, &f32)| rng.stream(1).uniform(voxel as u64) < f64::from(p) - excess;
        let labels: Vec<Label> = p.iter().enumerate().map(right).map(Label::from).collect();
        let values: Vec<f32> = p.iter().map(|p| 1.0 - p).chain(p.iter().copied()).collect();
        let mut calibration = Calibration::new(2, 15);
        calibration.add(Probabilities::new(&values, 2), &labels, None).unwrap();
        Counters { calibration, equal_mass: EqualMass::new(2, 15), logits: None }
    }

    /// Cases in the given order; case `k` has the number `k` if the order is ascending.
    fn pooled(order: impl Iterator<Item = u64>) -> Pooled {
        let mut pooled = Pooled::default();
        order.enumerate().for_each(|(number, seed)| pooled.add(number, counters(seed, 0.02 * seed as f64)));
        pooled
    }

    /// The ECE of cases drawn from a region.
    fn drawn(pooled: &Pooled, region: Region, cases: &[usize]) -> f64 {
        let Excesses { voxels, bins, .. } = &pooled.cases[&region];
        let sum = |bin: usize| cases.iter().map(|case| bins[15 * case + bin]).sum::<f64>();
        let voxels: u64 = cases.iter().map(|&case| voxels[case]).sum();
        ece(&(0..15).map(sum).chain([voxels as f64]).collect::<Vec<_>>())
    }

    #[test]
    fn the_interval_of_the_pooled_ece_is_of_that_figure_and_of_no_order() {
        let ascending: Vec<usize> = (0..12).collect();
        let descending: Vec<usize> = (0..12).rev().collect();
        let mut forth = pooled(0..12);
        let estimate = forth.figures()["all"]["ece"].0;
        let own = drawn(&forth, Region::All, &ascending);
        assert!((own - estimate).abs() < 1e-12, "{own} and {estimate}");
        let intervals = forth.ece_intervals(&ascending, 0);
        let [lower, upper] = intervals["all"];
        assert!(lower < estimate && estimate < upper && upper - lower < 0.2, "{lower} {estimate} {upper}");
        assert_eq!(intervals, pooled((0..12).rev()).ece_intervals(&descending, 0));
        let each = |sample: &[usize]| drawn(&forth, Region::All, sample);
        let by_sample = Bootstrap::new(12, DEFAULT_REPLICATES, 0, each).bca(0.95);
        // The leave-one-out values of sums of 12 numbers near 1 differ by roundings.
        assert!((by_sample.lower - lower).abs() < 1e-12 && (by_sample.upper - upper).abs() < 1e-12);
        assert!(pooled(3..4).ece_intervals(&[0], 0).is_empty());
        forth.forget_cases();
        assert!(forth.ece_intervals(&ascending, 0).is_empty());
    }

    #[test]
    fn a_replicate_is_the_merge_of_its_cases() {
        let mut merged = counters(2, 0.04).calibration;
        for seed in [0, 2, 3] {
            merged.merge(&counters(seed, 0.02 * seed as f64).calibration);
        }
        let own = drawn(&pooled(0..4), Region::Predicted, &[2, 0, 2, 3]);
        assert!((own - merged.region(Region::Predicted).ece()).abs() < 1e-12);
    }
}
