//! `segcal rank CSV…`.

use std::path::PathBuf;

use clap::ValueEnum;
use segcal_core::{Error, Result};
use segcal_metrics::bootstrap::{Bootstrap, DEFAULT_REPLICATES, Interval};
use segcal_metrics::ranking::{CaseValues, Friedman, Setting, Ties, friedman, friedman_rank_intervals, sum_rank};
use segcal_metrics::wilcoxon::{SignedRank, signed_rank};
use serde_json::{Map, Value, json};

use crate::evaluate::methods::{self, Column, Method};
use crate::evaluate::ranks;
use crate::output::{self, number};
use crate::{Common, Outcome};

/// Coverage of every interval.
const LEVEL: f64 = 0.95;

/// Rank methods by their evaluations of the same cases.
///
/// A method's value of a metric is the mean over cases of the mean over structures. Sum rank and Friedman rank (the mean
/// of the ranks) are over the metrics; the mean case rank is over the ranks within each case. Intervals come from
/// drawing cases again. Friedman's test over the cases says whether the methods differ at all, the paired differences
/// which of them do.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  segcal rank ce/evaluation nacl/evaluation crac/evaluation --metrics dsc,ece")]
pub struct Args {
    /// The `cases.csv` of each method, or the folder that holds it. The folder (or file) names the method.
    #[arg(required = true, num_args = 2.., value_name = "CSV")]
    pub tables: Vec<PathBuf>,
    /// What to rank by.
    #[arg(long, value_name = "KEY,…", value_delimiter = ',', default_value = "dsc,hd95_max,ece,cece_mean")]
    pub metrics: Vec<String>,
    /// Region of the calibration metrics.
    #[arg(long, value_name = "REGION", default_value = "foreground")]
    pub region: String,
    /// Structures over which overlap and surface metrics are averaged [default: every single label].
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub structures: Vec<String>,
    /// The rank of equal values: the smallest of theirs, as in the papers, or the mean.
    #[arg(long, value_enum, default_value = "min")]
    pub ties: TiesName,
    /// Number of bootstrap replicates.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_REPLICATES, value_parser = parse_replicates)]
    pub replicates: usize,
    /// Seed of the bootstrap.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// The rank of equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TiesName {
    /// The smallest of their ranks.
    Min,
    /// The mean of their ranks.
    Mean,
}

fn parse_replicates(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(replicates @ 1..=1_000_000) => Ok(replicates),
        _ => Err("a whole number from 1 to 1000000 is needed".into()),
    }
}

impl Args {
    const fn ties(&self) -> Ties {
        match self.ties {
            TiesName::Min => Ties::Minimum,
            TiesName::Mean => Ties::Mean,
        }
    }
}

/// Ranks, and prints tables or one JSON document.
///
/// # Errors
/// A table cannot be read, the methods were evaluated on different cases or structures, or nothing is defined.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let methods = methods::read(&args.tables)?;
    let ranking = Ranking::new(args, &methods)?;
    if common.json {
        output::print_json(&ranking.to_json(args))?;
    } else {
        output::print(&ranking.tables())?;
    }
    Ok(Outcome::Done)
}

/// Every figure of a comparison.
struct Ranking {
    methods: Vec<String>,
    cases: usize,
    structures: Vec<String>,
    columns: Vec<ColumnFigures>,
    sum_ranks: Vec<f64>,
    /// Friedman rank with its percentile interval.
    friedman_ranks: Vec<Interval>,
    /// Mean case rank with its BCa interval.
    case_ranks: Vec<Interval>,
    /// Friedman's test with the metrics as blocks.
    over_metrics: Friedman,
}

/// One metric.
struct ColumnFigures {
    column: Column,
    means: Vec<f64>,
    ranks: Vec<f64>,
    /// Friedman's test with the cases as blocks.
    over_cases: Friedman,
    pairs: Vec<Pair>,
}

/// Two methods under one metric.
struct Pair {
    methods: [usize; 2],
    /// Mean of first less second.
    difference: Interval,
    test: SignedRank,
    /// The p-value after Holm's correction for all pairs of the metric.
    corrected: f64,
}

impl Ranking {
    fn new(args: &Args, methods: &[Method]) -> Result<Self> {
        let structures = if args.structures.is_empty() { methods[0].labels() } else { args.structures.clone() };
        let region = [args.region.clone()];
        let columns: Vec<ColumnFigures> = methods::metrics(&args.metrics)?
            .into_iter()
            .map(|metric| {
                let subjects = if metric.per_structure() { structures.as_slice() } else { &region };
                ColumnFigures::new(methods::column(methods, metric, subjects)?, args)
            })
            .collect::<Result<_>>()?;
        let ties = args.ties();
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
            friedman_ranks: friedman_rank_intervals(&values, ties, args.replicates, args.seed, LEVEL),
            case_ranks: case_ranks(&columns, ties, args),
            over_metrics: friedman(&settings),
            columns,
        })
    }
}

/// The mean over the cases of the [`ranks::within_cases`].
fn case_ranks(columns: &[ColumnFigures], ties: Ties, args: &Args) -> Vec<Interval> {
    let per_case = ranks::within_cases(&columns.iter().map(|figures| &figures.column).collect::<Vec<_>>(), ties);
    let interval = |method: usize| {
        let ranks: Vec<f64> = per_case.iter().map(|ranks| ranks[method]).collect();
        Bootstrap::of_mean(&ranks, args.replicates, args.seed).bca(LEVEL)
    };
    (0..columns[0].means.len()).map(interval).collect()
}

impl ColumnFigures {
    fn new(column: Column, args: &Args) -> Result<Self> {
        let setting = ranks::of_means(&column);
        let means = setting.values.clone();
        if means.iter().all(|mean| mean.is_nan()) {
            let problem = format!("{} is defined for no case of any method", column.metric.key);
            return Err(Error::new(problem).help("choose other metrics, or another --empty for evaluate"));
        }
        let blocks: Vec<Setting> =
            (0..column.values[0].len()).filter_map(|case| ranks::of_case(&column, case)).collect();
        Ok(Self {
            ranks: setting.ranks(args.ties()),
            over_cases: friedman(&blocks),
            pairs: pairs(&column, args),
            means,
            column,
        })
    }

    fn setting(&self) -> Setting {
        Setting { better: self.column.better(), values: self.means.clone() }
    }
}

fn pairs(column: &Column, args: &Args) -> Vec<Pair> {
    let count = column.values.len();
    let two = (0..count).flat_map(|a| (a + 1..count).map(move |b| [a, b]));
    let mut pairs: Vec<Pair> = two
        .map(|[a, b]| {
            let (first, second) = (&column.values[a], &column.values[b]);
            let difference = Bootstrap::of_difference(first, second, args.replicates, args.seed).bca(LEVEL);
            let test = signed_rank(first, second);
            Pair { methods: [a, b], difference, test, corrected: f64::NAN }
        })
        .collect();
    let p_values: Vec<f64> = pairs.iter().map(|pair| pair.test.p_value).collect();
    pairs.iter_mut().zip(holm(&p_values)).for_each(|(pair, corrected)| pair.corrected = corrected);
    pairs
}

/// Holm 1979: of `m` p-values in ascending order the i-th (from 0) becomes the largest of `(m - j) p_j` over `j <= i`, at
/// most 1.
fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let (mut corrected, mut largest) = (vec![0.0; p_values.len()], 0.0_f64);
    for (place, &number) in order.iter().enumerate() {
        largest = largest.max((p_values.len() - place) as f64 * p_values[number]).min(1.0);
        corrected[number] = largest;
    }
    corrected
}

// What is shown.
impl Ranking {
    fn tables(&self) -> String {
        let mut text = format!("{} cases, structures {}\n\n", self.cases, self.structures.join(", "));
        text += &output::table(&self.methods_table());
        let test = |name: &str, test: &Friedman| {
            let p = probability(test.p_value);
            [name.to_owned(), format!("{:.3}", test.chi_square), test.degrees.to_string(), p]
        };
        let mut tests = vec![["Friedman's test", "chi-square", "df", "p"].map(str::to_owned)];
        tests.extend(
            self.columns
                .iter()
                .map(|figures| test(&format!("{} over cases", figures.column.metric.key), &figures.over_cases)),
        );
        tests.push(test("over metrics", &self.over_metrics));
        text += &format!("\n{}\n{}", output::table(&tests), output::table(&self.pairs_table()));
        text + &self.notes()
    }

    fn methods_table(&self) -> Vec<Vec<String>> {
        let mut head = vec!["method".to_owned()];
        for figures in &self.columns {
            head.extend([figures.column.metric.key.to_owned(), "rank".into()]);
        }
        head.extend(["sum rank", "mean case rank", "Friedman rank"].map(str::to_owned));
        let mut order: Vec<usize> = (0..self.methods.len()).collect();
        order.sort_by(|&a, &b| self.sum_ranks[a].total_cmp(&self.sum_ranks[b]));
        let with_interval = |of: &Interval| format!("{:.3} [{:.3}, {:.3}]", of.estimate, of.lower, of.upper);
        let row = |method: usize| {
            let mut row = vec![self.methods[method].clone()];
            for figures in &self.columns {
                row.extend([format!("{:.4}", figures.means[method]), figures.ranks[method].to_string()]);
            }
            row.push(self.sum_ranks[method].to_string());
            row.extend([&self.case_ranks[method], &self.friedman_ranks[method]].map(with_interval));
            row
        };
        std::iter::once(head).chain(order.into_iter().map(row)).collect()
    }

    fn pairs_table(&self) -> Vec<[String; 6]> {
        let head = ["metric", "difference", "mean", "95 % interval", "p (Wilcoxon)", "p (Holm)"].map(str::to_owned);
        let row = |figures: &ColumnFigures, pair: &Pair| {
            let [a, b] = pair.methods.map(|method| self.methods[method].as_str());
            let Interval { estimate, lower, upper } = pair.difference;
            [
                figures.column.metric.key.to_owned(),
                format!("{a} - {b}"),
                format!("{estimate:.4}"),
                format!("[{lower:.4}, {upper:.4}]"),
                probability(pair.test.p_value),
                probability(pair.corrected),
            ]
        };
        let rows = self.columns.iter().flat_map(|figures| figures.pairs.iter().map(move |pair| row(figures, pair)));
        std::iter::once(head).chain(rows).collect()
    }

    fn notes(&self) -> String {
        let mut text = String::new();
        for figures in &self.columns {
            let key = figures.column.metric.key;
            if figures.column.left_out > 0 {
                let count = figures.column.left_out;
                text +=
                    &format!("{key}: {count} structures of cases left out for all methods, there is nothing to find\n");
            }
            for (name, &missed) in self.methods.iter().zip(&figures.column.missed).filter(|(_, missed)| **missed > 0) {
                text += &format!(
                    "{key}: {name} missed a structure in {missed} cases; they rank last but are not in its mean \
                     (evaluate with --empty penalise to count them)\n"
                );
            }
        }
        if text.is_empty() { text } else { format!("\n{text}") }
    }

    fn to_json(&self, args: &Args) -> Value {
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
            "region": args.region,
            "ties": match args.ties { TiesName::Min => "min", TiesName::Mean => "mean" },
            "replicates": args.replicates,
            "seed": args.seed,
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

fn probability(p: f64) -> String {
    if p < 1e-4 { format!("{p:.1e}") } else { format!("{p:.4}") }
}

#[cfg(test)]
mod tests {
    use super::holm;

    #[test]
    fn holm_by_hand() {
        assert_eq!(holm(&[0.25, 0.125, 0.5]), [0.5, 0.375, 0.5]);
        assert_eq!(holm(&[0.75, 0.75]), [1.0, 1.0]);
    }
}
