//! Ranks of methods by their evaluations of the same cases, with intervals and tests.

use segcal_core::{Error, Result};
use segcal_data::output::number;
use segcal_metrics::bootstrap::{Bootstrap, Interval};
use segcal_metrics::ranking::{CaseValues, Friedman, Setting, Ties, friedman, friedman_rank_intervals, holm, sum_rank};
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

/// Every figure of a comparison.
pub struct Ranking {
    /// Names of the methods.
    pub methods: Vec<String>,
    /// Number of cases.
    pub cases: usize,
    /// Structures that overlap and surface metrics are averaged over.
    pub structures: Vec<String>,
    /// The metrics.
    pub columns: Vec<ColumnFigures>,
    /// Sum rank of each method.
    pub sum_ranks: Vec<f64>,
    /// Friedman rank with its percentile interval.
    pub friedman_ranks: Vec<Interval>,
    /// Mean case rank with its BCa interval.
    pub case_ranks: Vec<Interval>,
    /// Friedman's test with the metrics as blocks.
    pub over_metrics: Friedman,
    options: Options,
}

/// One metric.
pub struct ColumnFigures {
    /// The values of each method in each case.
    pub column: Column,
    /// Mean of each method.
    pub means: Vec<f64>,
    /// Rank of each method by its mean.
    pub ranks: Vec<f64>,
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
    /// Ranks these methods.
    ///
    /// # Errors
    /// The methods were evaluated on different cases or structures, or a metric is defined nowhere.
    pub fn new(options: &Options, methods: &[Method]) -> Result<Self> {
        let structures = if options.structures.is_empty() { methods[0].labels() } else { options.structures.clone() };
        let region = [options.region.clone()];
        let columns: Vec<ColumnFigures> = methods::metrics(&options.metrics)?
            .into_iter()
            .map(|metric| {
                let subjects = if metric.per_structure() { structures.as_slice() } else { &region };
                ColumnFigures::new(methods::column(methods, metric, subjects)?, options)
            })
            .collect::<Result<_>>()?;
        let ties = options.ties;
        let settings: Vec<Setting> = columns.iter().map(ColumnFigures::setting).collect();
        let values = |figures: &ColumnFigures| {
            let column = &figures.column;
            CaseValues { better: column.better(), group: 0, values: column.values.clone() }
        };
        let values: Vec<CaseValues> = columns.iter().map(values).collect();
        let cases = methods[0].cases().count();
        Ok(Self {
            methods: methods.iter().map(|method| method.name.clone()).collect(),
            cases,
            structures,
            sum_ranks: sum_rank(&settings, ties),
            friedman_ranks: friedman_rank_intervals(&values, ties, options.replicates, options.seed, LEVEL),
            case_ranks: case_ranks(&columns, ties, options),
            over_metrics: friedman(&settings),
            columns,
            options: options.clone(),
        })
    }
}

/// The mean over the cases of the [`ranks::within_cases`].
fn case_ranks(columns: &[ColumnFigures], ties: Ties, options: &Options) -> Vec<Interval> {
    let per_case = ranks::within_cases(&columns.iter().map(|figures| &figures.column).collect::<Vec<_>>(), ties);
    let interval = |method: usize| {
        let ranks: Vec<f64> = per_case.iter().map(|ranks| ranks[method]).collect();
        Bootstrap::of_mean(&ranks, options.replicates, options.seed).bca(LEVEL)
    };
    (0..columns[0].means.len()).map(interval).collect()
}

impl ColumnFigures {
    fn new(column: Column, options: &Options) -> Result<Self> {
        let setting = ranks::of_means(&column);
        let means = setting.values.clone();
        if means.iter().all(|mean| mean.is_nan()) {
            let problem = format!("{} is defined for no case of any method", column.metric.key);
            return Err(Error::new(problem).help("choose other metrics, or another --empty for evaluate"));
        }
        let blocks: Vec<Setting> =
            (0..column.values[0].len()).filter_map(|case| ranks::of_case(&column, case)).collect();
        Ok(Self {
            ranks: setting.ranks(options.ties),
            over_cases: friedman(&blocks),
            pairs: pairs(&column, options),
            means,
            column,
        })
    }

    fn setting(&self) -> Setting {
        Setting { better: self.column.better(), values: self.means.clone() }
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
            json!({
                "metric": figures.column.metric.key,
                "unit": figures.column.unit,
                "mean": by_method(&|method| number(figures.means[method])),
                "rank": by_method(&|method| number(figures.ranks[method])),
                "missed": by_method(&|method| figures.column.missed[method].into()),
                "left_out": figures.column.left_out,
                "friedman_over_cases": test(&figures.over_cases),
                "pairs": figures.pairs.iter().map(|pair| self.pair(pair)).collect::<Vec<_>>(),
            })
        };
        json!({
            "schema": "segcal.ranking/1",
            "version": env!("CARGO_PKG_VERSION"),
            "methods": self.methods,
            "cases": self.cases,
            "structures": self.structures,
            "region": options.region,
            "ties": match options.ties { Ties::Minimum => "min", Ties::Mean => "mean" },
            "replicates": options.replicates,
            "seed": options.seed,
            "sum_rank": by_method(&|method| number(self.sum_ranks[method])),
            "mean_case_rank": by_method(&|method| interval(&self.case_ranks[method])),
            "friedman_rank": by_method(&|method| interval(&self.friedman_ranks[method])),
            "friedman_over_metrics": test(&self.over_metrics),
            "metrics": self.columns.iter().map(metric).collect::<Vec<_>>(),
        })
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
