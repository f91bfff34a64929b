//! Ranks methods by their evaluations of the same cases, with intervals and tests.

mod document;

use std::ops::Range;

use segcal_core::{Error, Result};
use segcal_metrics::bootstrap::{Bootstrap, Interval, means_without};
use segcal_metrics::metric::Metric;
use segcal_metrics::ranking::{
    CaseValues, Friedman, Setting, Ties, ascending_ranks, friedman, friedman_rank, friedman_rank_intervals, holm,
    sum_rank,
};
use segcal_metrics::stats::mean_defined;
use segcal_metrics::wilcoxon::{SignedRank, signed_rank};

use super::methods::{self, Column, Method};
use super::ranks;

/// Coverage of every interval.
const LEVEL: f64 = 0.95;

/// How methods are ranked.
#[derive(Clone, Debug)]
pub struct Options {
    /// Keys of the metrics.
    pub metrics: Vec<String>,
    /// Region of the calibration metrics.
    pub region: String,
    /// Structures over which overlap and surface metrics are averaged; empty for all single labels.
    pub structures: Vec<String>,
    /// How equal values are ranked.
    pub ties: Ties,
    /// Number of bootstrap replicates.
    pub replicates: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// The methods' evaluations of one data set.
pub struct Group {
    /// Name of the data set; empty if there is only one.
    pub name: String,
    /// The methods, in the same order in every group.
    pub methods: Vec<Method>,
    /// Structures over which overlap and surface metrics are averaged here; empty for those of the options.
    pub structures: Vec<String>,
    /// Index of the first group with the same cases (for example, the same patients with another network): their cases
    /// are drawn together. The group's own index if there is no earlier one.
    pub cases_of: usize,
}

/// All results of a comparison.
pub struct Ranking {
    /// Names of the methods.
    pub methods: Vec<String>,
    /// The data sets.
    pub groups: Vec<GroupFigures>,
    /// The metrics of every data set.
    pub columns: Vec<ColumnFigures>,
    /// Sum rank of each method.
    pub sum_ranks: Vec<f64>,
    /// Friedman rank with its percentile interval.
    pub friedman_ranks: Vec<Interval>,
    /// Rank of each method by its Friedman rank.
    pub final_ranks: Vec<f64>,
    /// Mean case rank with its BCa interval.
    pub case_ranks: Vec<Interval>,
    /// Friedman's test with the columns as blocks.
    pub over_metrics: Friedman,
    /// Every pair of methods under each metric over all data sets; empty for a single data set.
    pub over_datasets: Vec<Difference>,
    options: Options,
}

/// Two methods under one metric, over all data sets.
pub struct Difference {
    /// The metric.
    pub metric: &'static Metric,
    /// Indices of the methods.
    pub methods: [usize; 2],
    /// Mean over the data sets of the mean of first minus second; cases are drawn within each data set.
    pub difference: Interval,
}

/// One data set.
pub struct GroupFigures {
    /// Its name; empty if there is only one.
    pub name: String,
    /// Number of cases.
    pub cases: usize,
    /// See [`Group::cases_of`].
    pub cases_of: usize,
    /// Structures that overlap and surface metrics are averaged over.
    pub structures: Vec<String>,
}

/// One metric on one data set.
pub struct ColumnFigures {
    /// Index of the data set.
    pub group: usize,
    /// The values of each method in each case.
    pub column: Column,
    /// Mean of each method.
    pub means: Vec<f64>,
    /// Rank of each method by its mean.
    pub ranks: Vec<f64>,
    /// Mean over the cases of each method's rank in the case.
    pub case_ranks: Vec<f64>,
    /// Friedman's test with the cases as blocks.
    pub over_cases: Friedman,
    /// Every pair of methods.
    pub pairs: Vec<Pair>,
}

/// Two methods under one metric.
pub struct Pair {
    /// Indices of the methods.
    pub methods: [usize; 2],
    /// Mean of first minus second.
    pub difference: Interval,
    /// Wilcoxon's signed-rank test of the differences.
    pub test: SignedRank,
    /// The p-value after Holm's correction for all pairs of the metric.
    pub corrected: f64,
}

impl Ranking {
    /// Ranks methods over the metrics of one or several data sets.
    ///
    /// # Errors
    /// The methods of a group were evaluated on different cases or structures, or the groups have different methods.
    pub fn new(options: &Options, groups: &[Group]) -> Result<Self> {
        let methods = method_names(groups)?;
        let figures: Vec<GroupFigures> = groups.iter().map(|group| GroupFigures::new(group, options)).collect();
        let mut columns = Vec::new();
        for (number, (group, figures)) in groups.iter().zip(&figures).enumerate() {
            for metric in methods::metrics(&options.metrics)? {
                let region = [options.region.clone()];
                let subjects = if metric.per_structure() { figures.structures.as_slice() } else { &region };
                columns.push(ColumnFigures::new(number, methods::column(&group.methods, metric, subjects)?, options));
            }
        }
        let ties = options.ties;
        let settings: Vec<Setting> = columns.iter().map(ColumnFigures::setting).collect();
        let values: Vec<CaseValues> = columns.iter().map(|column| column.case_values(&figures)).collect();
        Ok(Self {
            methods,
            sum_ranks: sum_rank(&settings, ties),
            friedman_ranks: friedman_rank_intervals(&values, ties, options.replicates, options.seed, LEVEL),
            final_ranks: ascending_ranks(&friedman_rank(&settings, ties), ties),
            case_ranks: case_ranks(&columns, &figures, options),
            over_metrics: test_of(&settings),
            over_datasets: over_datasets(&columns, &figures, options)?,
            groups: figures,
            columns,
            options: options.clone(),
        })
    }

    /// Checks that every metric is defined somewhere; otherwise there is nothing to rank.
    ///
    /// # Errors
    /// A metric is undefined for every case of every method.
    pub fn expect_defined(&self) -> Result<()> {
        match self.columns.iter().find(|column| column.means.iter().all(|mean| mean.is_nan())) {
            None => Ok(()),
            Some(column) => {
                let problem = format!("{} is undefined for every case of every method", self.name(column));
                Err(Error::new(problem).help("choose other metrics, or evaluate with another --empty"))
            }
        }
    }

    /// The name of a column: the metric's key, preceded by the name of the data set if there are several.
    pub fn name(&self, column: &ColumnFigures) -> String {
        let (dataset, key) = (&self.groups[column.group].name, column.column.metric.key);
        if dataset.is_empty() { key.to_owned() } else { format!("{dataset} {key}") }
    }
}

/// The names of the methods, which every group has in the same order.
fn method_names(groups: &[Group]) -> Result<Vec<String>> {
    let names = |group: &Group| group.methods.iter().map(|method| method.name.clone()).collect::<Vec<String>>();
    let first = groups.first().map(names).unwrap_or_default();
    match groups.iter().find(|group| names(group) != first) {
        None => Ok(first),
        Some(other) => {
            let problem = format!("has the methods {}, not {}", names(other).join(", "), first.join(", "));
            let help = "give the folders of the same methods in the same order; methods are named after their folders";
            Err(Error::new(problem).at(&other.name).help(help))
        }
    }
}

impl GroupFigures {
    fn new(group: &Group, options: &Options) -> Self {
        let first = &group.methods[0];
        let given = [&group.structures, &options.structures].into_iter().find(|given| !given.is_empty());
        let structures = given.cloned().unwrap_or_else(|| first.labels());
        let (name, cases_of) = (group.name.clone(), group.cases_of);
        Self { name, cases: first.cases().count(), cases_of, structures }
    }
}

/// Friedman's test; with fewer than two methods its statistics are NaN.
fn test_of(settings: &[Setting]) -> Friedman {
    match settings.first() {
        Some(first) if first.values.len() > 1 => friedman(settings),
        _ => Friedman { mean_ranks: vec![1.0], chi_square: f64::NAN, degrees: 0, p_value: f64::NAN },
    }
}

/// The mean of [`ranks::within_cases`] over the cases of all data sets; cases are drawn within each data set.
fn case_ranks(columns: &[ColumnFigures], groups: &[GroupFigures], options: &Options) -> Vec<Interval> {
    let of_cases = |group: usize| {
        let own = columns.iter().filter(|figures| groups[figures.group].cases_of == group);
        ranks::within_cases(&own.map(|figures| &figures.column).collect::<Vec<_>>(), options.ties)
    };
    let first = (0..groups.len()).filter(|&group| groups[group].cases_of == group);
    let per_case: Vec<Vec<Vec<f64>>> = first.map(of_cases).collect();
    let counts: Vec<usize> = per_case.iter().map(Vec::len).collect();
    let interval = |method: usize| {
        let ranks: Vec<f64> = per_case.iter().flatten().map(|ranks| ranks[method]).collect();
        let mean = |sample: &[usize]| mean_defined(sample.iter().map(|&case| ranks[case]));
        let (replicates, seed) = (options.replicates, options.seed);
        let drawn = match counts[..] {
            [_] => Bootstrap::of_mean(&ranks, replicates, seed),
            _ => Bootstrap::stratified(&counts, replicates, seed, mean, means_without(&ranks)),
        };
        interval_of(&drawn)
    };
    (0..columns[0].means.len()).map(interval).collect()
}

/// The BCa interval; NaN if no replicate has a value.
fn interval_of(drawn: &Bootstrap) -> Interval {
    if drawn.replicates().is_empty() {
        return Interval { estimate: f64::NAN, lower: f64::NAN, upper: f64::NAN };
    }
    drawn.bca(LEVEL)
}

/// Every pair of methods under each metric: the mean over the groups of the mean paired difference. Cases are drawn
/// within each data set, once for all groups that share them.
fn over_datasets(columns: &[ColumnFigures], groups: &[GroupFigures], options: &Options) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    for metric in methods::metrics(&options.metrics)?.into_iter().filter(|_| groups.len() > 1) {
        let own: Vec<_> = columns.iter().filter(|figures| figures.column.metric.key == metric.key).collect();
        for methods in two_of(columns[0].means.len()) {
            found.push(Difference { metric, methods, difference: difference_of(&own, groups, methods, options) });
        }
    }
    Ok(found)
}

fn difference_of(
    columns: &[&ColumnFigures],
    groups: &[GroupFigures],
    [a, b]: [usize; 2],
    options: &Options,
) -> Interval {
    let strata: Vec<usize> = (0..groups.len()).filter(|&group| groups[group].cases_of == group).collect();
    let counts: Vec<usize> = strata.iter().map(|&group| groups[group].cases).collect();
    let place = |group: usize| strata.iter().position(|&of| of == groups[group].cases_of).unwrap_or(0);
    let first = |stratum: usize| counts[..stratum].iter().sum::<usize>();
    let differences = columns.iter().map(|figures| {
        let (values, stratum) = (&figures.column.values, place(figures.group));
        let differ: Vec<f64> = values[a].iter().zip(&values[b]).map(|(a, b)| a - b).collect();
        (first(stratum)..first(stratum) + counts[stratum], differ)
    });
    let differences: Vec<_> = differences.collect();
    let (replicates, seed, without) = (options.replicates, options.seed, mean_without(&differences));
    let mean = |sample: &[usize]| mean_of_groups(&differences, sample);
    interval_of(&Bootstrap::stratified(&counts, replicates, seed, mean, without))
}

/// The numbers of the cases of a group, and their values.
type OfGroup = (Range<usize>, Vec<f64>);

/// The mean over the groups of their means over the cases of a sample.
fn mean_of_groups(groups: &[OfGroup], sample: &[usize]) -> f64 {
    let of_group = |(cases, values): &OfGroup| {
        let own = sample.iter().filter(|case| cases.contains(case));
        mean_defined(own.map(|case| values[case - cases.start]))
    };
    mean_defined(groups.iter().map(of_group))
}

/// [`mean_of_groups`] of all cases but one.
fn mean_without(groups: &[OfGroup]) -> impl Fn(usize) -> f64 + Sync {
    let each: Vec<_> = groups
        .iter()
        .map(|(cases, values)| (cases, mean_defined(values.iter().copied()), means_without(values)))
        .collect();
    move |case| {
        let of_group = each.iter().map(
            |(cases, all, without)| {
                if cases.contains(&case) { without(case - cases.start) } else { *all }
            },
        );
        mean_defined(of_group)
    }
}

/// Every pair of indices below `count`.
fn two_of(count: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..count).flat_map(move |a| (a + 1..count).map(move |b| [a, b]))
}

impl ColumnFigures {
    fn new(group: usize, column: Column, options: &Options) -> Self {
        let setting = ranks::of_means(&column);
        let means = setting.values.clone();
        let blocks: Vec<Setting> =
            (0..column.values[0].len()).filter_map(|case| ranks::of_case(&column, case)).collect();
        Self {
            group,
            ranks: setting.ranks(options.ties),
            // Without cases there are no ranks.
            case_ranks: if blocks.is_empty() {
                vec![f64::NAN; means.len()]
            } else {
                friedman_rank(&blocks, options.ties)
            },
            over_cases: test_of(&blocks),
            pairs: pairs(&column, options),
            means,
            column,
        }
    }

    fn setting(&self) -> Setting {
        Setting { better: self.column.better(), values: self.means.clone() }
    }

    fn case_values(&self, groups: &[GroupFigures]) -> CaseValues {
        let group = groups[self.group].cases_of;
        CaseValues { better: self.column.better(), group, values: self.column.values.clone() }
    }
}

fn pairs(column: &Column, options: &Options) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = two_of(column.values.len())
        .map(|[a, b]| {
            let (first, second) = (&column.values[a], &column.values[b]);
            let drawn = Bootstrap::of_difference(first, second, options.replicates, options.seed);
            let difference = interval_of(&drawn);
            let test = signed_rank(first, second);
            Pair { methods: [a, b], difference, test, corrected: f64::NAN }
        })
        .collect();
    let p_values: Vec<f64> = pairs.iter().map(|pair| pair.test.p_value).collect();
    pairs.iter_mut().zip(holm(&p_values)).for_each(|(pair, corrected)| pair.corrected = corrected);
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three groups, two of which share their cases, with undefined values and a group of one case.
    #[test]
    fn a_mean_without_one_case_is_that_of_the_others() {
        let values =
            |scale: f64| (0..40).map(move |i| if i == 7 { f64::NAN } else { scale * (f64::from(i) * 0.7).sin() });
        let groups = [(0..40, values(1.0).collect()), (0..40, values(0.3).collect()), (40..41, vec![0.5])];
        let without = mean_without(&groups);
        for case in 0..41 {
            let others: Vec<usize> = (0..41).filter(|&other| other != case).collect();
            // Sums of 40 numbers of at most 1 are accurate to 40 roundings.
            let slow = mean_of_groups(&groups, &others);
            assert!((without(case) - slow).abs() < 40.0 * f64::EPSILON, "{case}: {} and {slow}", without(case));
        }
        assert!(mean_without(&groups[2..])(40).is_nan(), "no case is left");
    }
}
