//! A comparison as CSV, JSON and text.

use segcal_metrics::metric::{Better, Metric};
use serde_json::{Map, Value, json};

use super::results::{Level, Results, Spread, places};
use crate::output::{self, Csv, number};

/// The name of the mean over the structures, beside those of single ones.
const MEAN: &str = "mean";

/// `results.csv`: every mean of every evaluation, in long form.
pub fn results_csv(results: &Results<'_>) -> String {
    let mut csv = Csv::new(&["method", "seed", "noise", "structure", "region", "metric", "value", "unit"]);
    for figure in &results.figures {
        let (name, metric) = (&results.methods[figure.method].name, figure.metric.key);
        let (structure, region) = (&figure.structure, &figure.region);
        csv.row(&[name, &figure.seed, &figure.noise, structure, region, &metric, &figure.value, &figure.unit]);
    }
    csv.finish()
}

/// `summary.csv`: mean and standard deviation over the seeds of the plan's metrics, of each structure, of their mean, and
/// of the plan's region.
pub fn summary_csv(results: &Results<'_>) -> String {
    let mut csv = Csv::new(&["method", "noise", "structure", "region", "metric", "unit", "mean", "sd", "seeds"]);
    for level in &results.levels {
        for (number, method) in results.methods.iter().enumerate() {
            for metric in &results.plan.metrics {
                for (of, spread) in spreads(results, number, level.noise, metric) {
                    let (structure, region) =
                        if metric.per_structure() { (of, String::new()) } else { (String::new(), of) };
                    let (mean, sd, seeds) = (spread.mean(), spread.sd(), spread.values.len());
                    let (key, unit) = (metric.key, results.lengths().of(metric));
                    csv.row(&[&method.name, &level.noise, &structure, &region, &key, &unit, &mean, &sd, &seeds]);
                }
            }
        }
    }
    csv.finish()
}

/// A metric's figures: the mean over the structures and each of them, or the one of the region.
fn spreads(results: &Results<'_>, method: usize, noise: f64, metric: &Metric) -> Vec<(String, Spread)> {
    let head = results.headline(method, noise, metric);
    if !metric.per_structure() {
        return vec![(results.plan.region.clone(), head)];
    }
    let each = results.labels().into_iter().map(|label| {
        let spread = results.spread(method, noise, metric, &label);
        (label, spread)
    });
    std::iter::once((MEAN.to_owned(), head)).chain(each).collect()
}

/// `summary.json`.
pub fn to_json(results: &Results<'_>) -> Value {
    let plan = results.plan;
    let metric = |metric: &&Metric| {
        let better = match metric.better {
            Better::Higher => "higher",
            Better::Lower => "lower",
            Better::Zero => "zero",
        };
        let of = if metric.per_structure() { "mean over structures" } else { plan.region.as_str() };
        let unit = results.lengths().of(metric);
        json!({ "metric": metric.key, "unit": unit, "better": better, "of": of, "definition": metric.definition })
    };
    json!({
        "schema": "segcal.comparison/1",
        "version": env!("CARGO_PKG_VERSION"),
        "data": plan.methods[0].settings.data,
        "part": results.part.name,
        "cases": results.part.cases.len(),
        "seeds": plan.seeds,
        "noise": plan.noise.iter().map(|&level| number(level)).collect::<Vec<_>>(),
        "region": plan.region,
        "empty_policy": plan.empty.name(),
        "metrics": plan.metrics.iter().map(metric).collect::<Vec<_>>(),
        "methods": results.methods.iter().map(|method| (method.name.clone(), json!(method.keys))).collect::<Map<_, _>>(),
        "results": results.levels.iter().map(|level| level_json(results, level)).collect::<Vec<_>>(),
        "failed": results.failed,
    })
}

fn level_json(results: &Results<'_>, level: &Level) -> Value {
    let by_method = |figure: &dyn Fn(usize) -> Value| -> Value {
        let pairs = results.methods.iter().enumerate().map(|(number, method)| (method.name.clone(), figure(number)));
        pairs.collect::<Map<_, _>>().into()
    };
    let metrics = |figure: &dyn Fn(usize, &Metric) -> Value| -> Value {
        let pairs = results.plan.metrics.iter().enumerate();
        pairs.map(|(place, metric)| (metric.key.to_owned(), figure(place, metric))).collect::<Map<_, _>>().into()
    };
    let spread = |of: &Spread| {
        let seeds: Vec<Value> = of.values.iter().map(|&value| number(value)).collect();
        json!({ "mean": number(of.mean()), "sd": number(of.sd()), "seeds": seeds })
    };
    let structures = |method: usize| {
        let of_label = |label: &String| {
            let own = results.plan.metrics.iter().filter(|metric| metric.per_structure());
            let own =
                own.map(|metric| (metric.key.to_owned(), spread(&results.spread(method, level.noise, metric, label))));
            (label.clone(), own.collect::<Map<_, _>>().into())
        };
        results.labels().iter().map(of_label).collect::<Map<String, Value>>().into()
    };
    json!({
        "noise": number(level.noise),
        "methods": by_method(&|method| metrics(&|_, metric| spread(&results.headline(method, level.noise, metric)))),
        "structures": by_method(&structures),
        "missed": by_method(&|method| metrics(&|place, _| level.columns[place].missed[method].into())),
        "ranks": by_method(&|method| metrics(&|place, _| number(level.ranks[place][method]))),
        "sum_rank": by_method(&|method| number(level.sum_ranks[method])),
        "mean_case_rank": by_method(&|method| number(level.case_ranks[method])),
        "friedman_rank": by_method(&|method| number(level.friedman_ranks[method])),
    })
}

/// What is printed: a table for each level of noise.
pub fn text(results: &Results<'_>) -> String {
    let plan = results.plan;
    let seeds: Vec<String> = plan.seeds.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "{} of the {} part of {}, {}; mean ± standard deviation over the seeds, * the best of a column\n",
        counted(results.part.cases.len(), "case"),
        results.part.name,
        plan.methods[0].settings.data.display(),
        if seeds.len() == 1 { format!("seed {}", seeds[0]) } else { format!("seeds {}", seeds.join(", ")) }
    );
    for level in &results.levels {
        let title = if level.noise == 0.0 { "without noise".into() } else { format!("noise {}", level.noise) };
        text += &format!("\n{title}\n{}", output::table(&level_table(results, level)));
    }
    text += &notes(results);
    text + &format!("\n{}\n", plan.out.join("report.html").display())
}

/// `1 case`, `2 cases`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn level_table(results: &Results<'_>, level: &Level) -> Vec<Vec<String>> {
    let metrics = &results.plan.metrics;
    let mut head = vec!["method".to_owned()];
    head.extend(metrics.iter().map(|metric| results.lengths().headed(metric)));
    head.extend(["sum rank", "mean case rank", "Friedman rank"].map(str::to_owned));
    let columns: Vec<Vec<Spread>> = metrics.iter().map(|metric| column(results, level.noise, metric)).collect();
    let marks: Vec<Vec<Option<usize>>> =
        metrics.iter().zip(&columns).map(|(metric, spreads)| marks(metric, spreads)).collect();
    let row = |method: usize| {
        let mut row = vec![results.methods[method].name.clone()];
        for (spreads, marks) in columns.iter().zip(&marks) {
            let mark = if marks[method] == Some(1) { "*" } else { "" };
            row.push(format!("{}{mark}", shown(&spreads[method])));
        }
        row.push(level.sum_ranks[method].to_string());
        row.extend([level.case_ranks[method], level.friedman_ranks[method]].map(|rank| format!("{rank:.3}")));
        row
    };
    std::iter::once(head).chain((0..results.methods.len()).map(row)).collect()
}

/// A metric of every method.
pub fn column(results: &Results<'_>, noise: f64, metric: &Metric) -> Vec<Spread> {
    (0..results.methods.len()).map(|method| results.headline(method, noise, metric)).collect()
}

/// The places of the methods by the means over the seeds.
pub fn marks(metric: &Metric, spreads: &[Spread]) -> Vec<Option<usize>> {
    places(metric.better, &spreads.iter().map(Spread::mean).collect::<Vec<_>>())
}

/// Mean, and the standard deviation where there is one.
pub(super) fn shown(spread: &Spread) -> String {
    let (mean, sd) = (spread.mean(), spread.sd());
    match (mean.is_nan(), sd.is_nan()) {
        (true, _) => "–".into(),
        (_, true) => format!("{mean:.4}"),
        _ => format!("{mean:.4} ± {sd:.4}"),
    }
}

/// What the numbers do not show: structures that were missed, what failed, and figures on the part that chose the epoch.
pub fn notes(results: &Results<'_>) -> String {
    let mut lines: Vec<String> = Vec::new();
    if results.part.name == "validation" {
        lines.push(
            "The test part has no labels: these are the validation cases, which chose the best epoch of each training as well."
                .into(),
        );
    }
    let cases = results.part.cases.len() * results.plan.seeds.len();
    let before = lines.len();
    for level in &results.levels {
        for column in &level.columns {
            let missed = results.methods.iter().zip(&column.missed).filter(|(_, missed)| **missed > 0);
            let missed: Vec<String> = missed.map(|(method, missed)| format!("{} in {missed}", method.name)).collect();
            if !missed.is_empty() {
                let (noise, key) = (level.noise, column.metric.key);
                lines.push(format!(
                    "Noise {noise}, {key}: missed a structure, of {cases} cases: {}.",
                    missed.join(", ")
                ));
            }
        }
    }
    if lines.len() > before {
        lines.push(
            "Cases with a missed structure rank last but are not in the means, and a mean without any case is –: empty = \
             \"penalise\" in the plan counts them."
                .into(),
        );
    }
    lines.extend(results.failed.iter().map(|failed| format!("Left out, as it failed: {failed}")));
    lines.iter().map(|line| format!("\n{line}")).collect::<String>() + if lines.is_empty() { "" } else { "\n" }
}
