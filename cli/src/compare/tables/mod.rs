//! A comparison as CSV, JSON, Markdown, LaTeX and text.

mod document;
mod printed;
mod text;

use segcal_core::Result;
use segcal_evaluate::ranking::Ranking;
use segcal_metrics::metric::Metric;

use super::plan::plain;
use super::results::{Level, Results, Spread, deviation, places};
use crate::output::{self, Csv, OutputFolder};

pub use document::to_json;
pub use printed::{latex, markdown};
pub use text::{measured_on, notes, text};

/// The name of the mean over the structures, alongside the names of single ones.
const MEAN: &str = "mean";

/// Writes every table except the summary that programs read.
///
/// # Errors
/// The folder cannot be written.
pub fn write(results: &Results<'_>, folder: &OutputFolder) -> Result<()> {
    let write = |name: &str, text: &str| output::write_text(&folder.file(name)?, text);
    write("results.csv", &results_csv(results))?;
    write("summary.csv", &summary_csv(results))?;
    write("ranks.csv", &ranks_csv(results))?;
    write("differences.csv", &differences_csv(results))?;
    if !results.trials.is_empty() {
        write("sensitivity.csv", &sensitivity_csv(results))?;
    }
    write("tables.md", &markdown(results))?;
    write("tables.tex", &latex(results))
}

/// A table whose rows begin with data set and network if the plan has several.
struct Long {
    csv: Csv,
    wide: bool,
}

impl Long {
    fn new(results: &Results<'_>, columns: &[&str]) -> Self {
        let wide = results.plan.is_wide();
        let first: &[&str] = if wide { &["dataset", "network"] } else { &[] };
        Self { csv: Csv::new(&[first, columns].concat()), wide }
    }

    fn row(&mut self, results: &Results<'_>, arm: usize, fields: &[&dyn std::fmt::Display]) {
        let arm = &results.plan.arms[arm];
        let first: &[&dyn std::fmt::Display] = if self.wide { &[&arm.dataset, &arm.network] } else { &[] };
        self.csv.row(&[first, fields].concat());
    }
}

/// `results.csv`: every mean of every evaluation, in long form.
fn results_csv(results: &Results<'_>) -> String {
    let columns = ["method", "seed", "noise", "structure", "region", "metric", "value", "unit"];
    let mut csv = Long::new(results, &columns);
    for figure in &results.figures {
        let (name, of) = (&results.rows[figure.row].name, &figure.of);
        let fields: [&dyn std::fmt::Display; 8] =
            [name, &figure.seed, &figure.noise, &of.structure, &of.region, &of.metric.key, &of.value, &of.unit];
        csv.row(results, figure.arm, &fields);
    }
    csv.csv.finish()
}

/// `summary.csv`: mean and standard deviation over the seeds of the plan's metrics, of each structure, of their mean, and
/// of the plan's region; of the mean and the region also the standard deviation over the cases.
fn summary_csv(results: &Results<'_>) -> String {
    let columns = ["method", "noise", "structure", "region", "metric", "unit", "mean", "sd", "seeds", "sd_cases"];
    let mut csv = Long::new(results, &columns);
    for level in &results.levels {
        for (row, of_row) in results.rows.iter().enumerate() {
            for (place, metric) in results.plan.metrics.iter().enumerate() {
                for (of, spread) in spreads(results, row, level, metric) {
                    let cases =
                        if of == MEAN || of == results.plan.region { case_sd(level, row, place) } else { f64::NAN };
                    let (structure, region) =
                        if metric.per_structure() { (of, String::new()) } else { (String::new(), of) };
                    let (mean, sd, seeds) = (spread.mean(), spread.sd(), spread.values.len());
                    let (key, unit, name) = (metric.key, results.lengths_at(level.arm).of(metric), &of_row.name);
                    let fields: [&dyn std::fmt::Display; 10] =
                        [name, &level.noise, &structure, &region, &key, &unit, &mean, &sd, &seeds, &cases];
                    csv.row(results, level.arm, &fields);
                }
            }
        }
    }
    csv.csv.finish()
}

/// A metric's values: the mean over the structures and each of them, or the one of the region.
fn spreads(results: &Results<'_>, row: usize, level: &Level, metric: &Metric) -> Vec<(String, Spread)> {
    let head = results.headline(row, level.arm, level.noise, metric);
    if !metric.per_structure() {
        return vec![(results.plan.region.clone(), head)];
    }
    let each = results.structures(level.arm).into_iter().map(|label| {
        let spread = results.spread(row, level.arm, level.noise, metric, &label);
        (label, spread)
    });
    std::iter::once((MEAN.to_owned(), head)).chain(each).collect()
}

/// Standard deviation over the cases of the plan's metric with index `place`, averaged over the seeds within each case.
pub fn case_sd(level: &Level, row: usize, place: usize) -> f64 {
    let values = &level.columns[place].values[row];
    deviation(&values.iter().copied().filter(|value| !value.is_nan()).collect::<Vec<_>>())
}

/// `ranks.csv`: the rank table at each level of noise, over all data sets and networks.
fn ranks_csv(results: &Results<'_>) -> String {
    let mut csv = Csv::new(&["noise", "method", "column", "mean", "rank", "mean_case_rank", "lower", "upper"]);
    let missing = f64::NAN;
    for (noise, ranking) in results.plan.noise.iter().zip(&results.overall) {
        for (method, name) in ranking.methods.iter().enumerate() {
            for column in &ranking.columns {
                let (mean, rank, cases) = (column.means[method], column.ranks[method], column.case_ranks[method]);
                csv.row(&[noise, name, &ranking.name(column), &mean, &rank, &cases, &missing, &missing]);
            }
            let (case, friedman) = (&ranking.case_ranks[method], &ranking.friedman_ranks[method]);
            let none = String::new();
            csv.row(&[noise, name, &"sum rank", &none, &ranking.sum_ranks[method], &none, &missing, &missing]);
            csv.row(&[noise, name, &"mean case rank", &none, &none, &case.estimate, &case.lower, &case.upper]);
            let (low, high) = (friedman.lower, friedman.upper);
            csv.row(&[noise, name, &"Friedman rank", &none, &friedman.estimate, &none, &low, &high]);
            csv.row(&[noise, name, &"final rank", &none, &ranking.final_ranks[method], &none, &missing, &missing]);
        }
    }
    csv.finish()
}

/// `differences.csv`: the differences of every two methods in every metric, on each data set and over all of them.
fn differences_csv(results: &Results<'_>) -> String {
    let mut csv = Csv::new(&["noise", "column", "first", "second", "difference", "lower", "upper", "p", "p_holm"]);
    for (noise, ranking) in results.plan.noise.iter().zip(&results.overall) {
        let name = |method: usize| &ranking.methods[method];
        for column in &ranking.columns {
            for pair in &column.pairs {
                let ([a, b], of) = (pair.methods, &pair.difference);
                let fields: [&dyn std::fmt::Display; 9] = [
                    noise,
                    &ranking.name(column),
                    name(a),
                    name(b),
                    &of.estimate,
                    &of.lower,
                    &of.upper,
                    &pair.test.p_value,
                    &pair.corrected,
                ];
                csv.row(&fields);
            }
        }
        for pair in &ranking.over_datasets {
            let ([a, b], of, column) = (pair.methods, &pair.difference, format!("all {}", pair.metric.key));
            csv.row(&[noise, &column, name(a), name(b), &of.estimate, &of.lower, &of.upper, &f64::NAN, &f64::NAN]);
        }
    }
    csv.finish()
}

/// `sensitivity.csv`: the results of every grid value on the validation part.
fn sensitivity_csv(results: &Results<'_>) -> String {
    let mut csv = Long::new(results, &["method", "value", "metric", "mean", "sd", "seeds", "chosen"]);
    for tried in &results.trials {
        let method = results.methods[tried.method];
        let (value, chosen) = (values_of(results, tried.method, tried.trial), is_chosen(results, tried));
        for (metric, spread) in results.plan.metrics.iter().zip(&tried.values) {
            let (mean, sd, seeds) = (spread.mean(), spread.sd(), spread.values.len());
            csv.row(results, tried.arm, &[&method.name, &value, &metric.key, &mean, &sd, &seeds, &chosen]);
        }
    }
    csv.csv.finish()
}

/// Whether a trial is the one that is evaluated.
pub fn is_chosen(results: &Results<'_>, tried: &super::results::Tried) -> bool {
    results.chosen[tried.method][tried.arm] == tried.trial
}

/// `lambda = 0.1`, for people.
pub fn values_of(results: &Results<'_>, method: usize, trial: usize) -> String {
    let values = results.methods[method].trials[trial].values.iter();
    values.map(|(key, value)| format!("{key} = {}", plain(value))).collect::<Vec<_>>().join(", ")
}

/// A metric of every row.
pub fn column(results: &Results<'_>, level: &Level, metric: &Metric) -> Vec<Spread> {
    (0..results.rows.len()).map(|row| results.headline(row, level.arm, level.noise, metric)).collect()
}

/// The same for the methods alone, without maps.
pub fn column_of_methods(results: &Results<'_>, level: &Level, metric: &Metric) -> Vec<Spread> {
    let row = |method: usize| results.row_of(method);
    (0..results.methods.len()).map(|method| results.headline(row(method), level.arm, level.noise, metric)).collect()
}

/// The places of the rows by their means over the seeds.
pub fn marks(metric: &Metric, spreads: &[Spread]) -> Vec<Option<usize>> {
    places(metric.better, &spreads.iter().map(Spread::mean).collect::<Vec<_>>())
}

/// The ranks of a table's last columns, with their names and digits.
pub fn rank_columns(ranking: &Ranking) -> [(&'static str, Vec<f64>, usize); 4] {
    let estimates = |of: &[segcal_metrics::bootstrap::Interval]| of.iter().map(|of| of.estimate).collect();
    [
        ("sum rank", ranking.sum_ranks.clone(), 0),
        ("mean case rank", estimates(&ranking.case_ranks), 3),
        ("Friedman rank", estimates(&ranking.friedman_ranks), 3),
        ("final rank", ranking.final_ranks.clone(), 0),
    ]
}

/// What a metric is measured on.
pub fn of(results: &Results<'_>, metric: &Metric) -> String {
    if metric.per_structure() { "mean of the structures".into() } else { format!("region {}", results.plan.region) }
}
