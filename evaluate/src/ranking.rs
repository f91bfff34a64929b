//! Ranks of methods by their evaluations of the same cases, with intervals and tests.

use segcal_core::{Error, Result};
use segcal_data::output::number;
use segcal_metrics::bootstrap::{Bootstrap, Interval};
use segcal_metrics::ranking::{
    CaseValues, Friedman, Setting, Ties, ascending_ranks, friedman, friedman_rank, friedman_rank_intervals, holm,
    sum_rank,
};
use segcal_metrics::stats::mean_defined;
use segcal_metrics::wilcoxon::{SignedRank, signed_rank};
use serde_json::{Map, Value, json};

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
    /// Structures over which overlap and surface metrics are averaged; empty: every single label.
    pub structures: Vec<String>,
    /// The rank of equal values.
    pub ties: Ties,
    /// Number of bootstrap replicates.
    pub replicates: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// The methods' evaluations of one data set.
pub struct Group {
    /// Name of the data set; empty where there is one alone.
    pub name: String,
    /// The methods, in the same order in every group.
    pub methods: Vec<Method>,
}

/// Every figure of a comparison.
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
    options: Options,
}

/// What is known of one data set.
pub struct GroupFigures {
    /// Its name; empty where there is one alone.
    pub name: String,
    /// Number of cases.
    pub cases: usize,
    /// Structures that overlap and surface metrics are averaged over.
    pub structures: Vec<String>,
}

/// One metric on one data set.
pub struct ColumnFigures {
    /// Number of the data set.
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
    /// Every two methods.
    pub pairs: Vec<Pair>,
}

/// Two methods under one metric.
pub struct Pair {
    /// Numbers of the methods.
    pub methods: [usize; 2],
    /// Mean of first less second.
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
    /// The methods of a group were evaluated on different cases or structures, the groups have different methods, or a
    /// metric is defined nowhere.
    pub fn new(options: &Options, groups: &[Group]) -> Result<Self> {
        let methods = method_names(groups)?;
        let figures: Vec<GroupFigures> = groups.iter().map(|group| GroupFigures::new(group, options)).collect();
        let mut columns = Vec::new();
        for (number, (group, figures)) in groups.iter().zip(&figures).enumerate() {
            for metric in methods::metrics(&options.metrics)? {
                let region = [options.region.clone()];
                let subjects = if metric.per_structure() { figures.structures.as_slice() } else { &region };
                columns.push(ColumnFigures::new(number, methods::column(&group.methods, metric, subjects)?, options)?);
            }
        }
        let ties = options.ties;
        let settings: Vec<Setting> = columns.iter().map(ColumnFigures::setting).collect();
        let values: Vec<CaseValues> = columns.iter().map(ColumnFigures::case_values).collect();
        Ok(Self {
            methods,
            sum_ranks: sum_rank(&settings, ties),
            friedman_ranks: friedman_rank_intervals(&values, ties, options.replicates, options.seed, LEVEL),
            final_ranks: ascending_ranks(&friedman_rank(&settings, ties), ties),
            case_ranks: case_ranks(&columns, figures.len(), options),
            over_metrics: friedman(&settings),
            groups: figures,
            columns,
            options: options.clone(),
        })
    }

    /// A column's name: the metric's key, behind the data set's name where there are several.
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
            let help = "give the folders of the same methods in the same order; the name of a folder is the method's";
            Err(Error::new(problem).at(&other.name).help(help))
        }
    }
}

impl GroupFigures {
    fn new(group: &Group, options: &Options) -> Self {
        let first = &group.methods[0];
        let structures = if options.structures.is_empty() { first.labels() } else { options.structures.clone() };
        Self { name: group.name.clone(), cases: first.cases().count(), structures }
    }
}

/// The mean over the cases of all data sets of the [`ranks::within_cases`]; cases are drawn within each data set.
fn case_ranks(columns: &[ColumnFigures], groups: usize, options: &Options) -> Vec<Interval> {
    let of_group = |group: usize| {
        let own = columns.iter().filter(|figures| figures.group == group).map(|figures| &figures.column);
        ranks::within_cases(&own.collect::<Vec<_>>(), options.ties)
    };
    let per_case: Vec<Vec<Vec<f64>>> = (0..groups).map(of_group).collect();
    let counts: Vec<usize> = per_case.iter().map(Vec::len).collect();
    let interval = |method: usize| {
        let ranks: Vec<f64> = per_case.iter().flatten().map(|ranks| ranks[method]).collect();
        let mean = |sample: &[usize]| mean_defined(sample.iter().map(|&case| ranks[case]));
        let (replicates, seed) = (options.replicates, options.seed);
        let drawn = match counts[..] {
            [_] => Bootstrap::of_mean(&ranks, replicates, seed),
            _ => Bootstrap::stratified(&counts, replicates, seed, mean),
        };
        drawn.bca(LEVEL)
    };
    (0..columns[0].means.len()).map(interval).collect()
}

impl ColumnFigures {
    fn new(group: usize, column: Column, options: &Options) -> Result<Self> {
        let setting = ranks::of_means(&column);
        let means = setting.values.clone();
        if means.iter().all(|mean| mean.is_nan()) {
            let problem = format!("{} is defined for no case of any method", column.metric.key);
            return Err(Error::new(problem).help("choose other metrics, or another --empty for evaluate"));
        }
        let blocks: Vec<Setting> =
            (0..column.values[0].len()).filter_map(|case| ranks::of_case(&column, case)).collect();
        Ok(Self {
            group,
            ranks: setting.ranks(options.ties),
            case_ranks: friedman_rank(&blocks, options.ties),
            over_cases: friedman(&blocks),
            pairs: pairs(&column, options),
            means,
            column,
        })
    }

    fn setting(&self) -> Setting {
        Setting { better: self.column.better(), values: self.means.clone() }
    }

    fn case_values(&self) -> CaseValues {
        CaseValues { better: self.column.better(), group: self.group, values: self.column.values.clone() }
    }
}

fn pairs(column: &Column, options: &Options) -> Vec<Pair> {
    let count = column.values.len();
    let two = (0..count).flat_map(|a| (a + 1..count).map(move |b| [a, b]));
    let mut pairs: Vec<Pair> = two
        .map(|[a, b]| {
            let (first, second) = (&column.values[a], &column.values[b]);
            let difference = Bootstrap::of_difference(first, second, options.replicates, options.seed).bca(LEVEL);
            let test = signed_rank(first, second);
            Pair { methods: [a, b], difference, test, corrected: f64::NAN }
        })
        .collect();
    let p_values: Vec<f64> = pairs.iter().map(|pair| pair.test.p_value).collect();
    pairs.iter_mut().zip(holm(&p_values)).for_each(|(pair, corrected)| pair.corrected = corrected);
    pairs
}

impl Ranking {
    /// The document `segcal.ranking/1`.
    pub fn to_json(&self) -> Value {
        let options = &self.options;
        let by_method = |figure: &dyn Fn(usize) -> Value| -> Value {
            let pairs = self.methods.iter().enumerate().map(|(method, name)| (name.clone(), figure(method)));
            pairs.collect::<Map<_, _>>().into()
        };
        let metric = |figures: &ColumnFigures| {
            let mut entry = json!({
                "metric": figures.column.metric.key,
                "unit": figures.column.unit,
                "mean": by_method(&|method| number(figures.means[method])),
                "rank": by_method(&|method| number(figures.ranks[method])),
                "mean_case_rank": by_method(&|method| number(figures.case_ranks[method])),
                "missed": by_method(&|method| figures.column.missed[method].into()),
                "left_out": figures.column.left_out,
                "friedman_over_cases": test(&figures.over_cases),
                "pairs": figures.pairs.iter().map(|pair| self.pair(pair)).collect::<Vec<_>>(),
            });
            if self.groups.len() > 1 {
                entry["dataset"] = self.groups[figures.group].name.clone().into();
            }
            entry
        };
        let mut document = json!({
            "schema": "segcal.ranking/1",
            "version": env!("CARGO_PKG_VERSION"),
            "methods": self.methods,
            "cases": self.groups.iter().map(|group| group.cases).sum::<usize>(),
            "structures": self.groups[0].structures,
            "region": options.region,
            "ties": options.ties.name(),
            "replicates": options.replicates,
            "seed": options.seed,
            "sum_rank": by_method(&|method| number(self.sum_ranks[method])),
            "mean_case_rank": by_method(&|method| interval(&self.case_ranks[method])),
            "friedman_rank": by_method(&|method| interval(&self.friedman_ranks[method])),
            "final_rank": by_method(&|method| number(self.final_ranks[method])),
            "friedman_over_metrics": test(&self.over_metrics),
            "metrics": self.columns.iter().map(metric).collect::<Vec<_>>(),
        });
        if self.groups.len() > 1 {
            let group = |group: &GroupFigures| json!({ "name": group.name, "cases": group.cases, "structures": group.structures });
            document["datasets"] = self.groups.iter().map(group).collect();
            document.as_object_mut().map(|document| document.remove("structures"));
        }
        document
    }

    fn pair(&self, pair: &Pair) -> Value {
        let [a, b] = pair.methods.map(|method| self.methods[method].as_str());
        json!({
            "first": a,
            "second": b,
            "difference": interval(&pair.difference),
            "wilcoxon": { "pairs": pair.test.pairs, "p": number(pair.test.p_value), "p_holm": number(pair.corrected) },
        })
    }
}

fn test(test: &Friedman) -> Value {
    json!({ "chi_square": number(test.chi_square), "degrees": test.degrees, "p": number(test.p_value) })
}

fn interval(of: &Interval) -> Value {
    json!({ "estimate": number(of.estimate), "interval95": [number(of.lower), number(of.upper)] })
}
