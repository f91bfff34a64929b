//! Methods by network, and as shares of a sum.

use segcal_core::Result;
use segcal_evaluate::report::charts::{Bars, Series, Shares};
use segcal_evaluate::report::plot::{Plot, Section};
use segcal_metrics::metric::Metric;

use crate::compare::results::Results;
use crate::compare::tables;
use crate::output::Csv;

pub(super) fn of(results: &Results<'_>) -> Result<Vec<Plot>> {
    let mut plots = Vec::new();
    let arms = &results.plan.arms;
    for metric in &results.plan.metrics {
        for first in
            (0..arms.len()).filter(|&number| arms[number].cases_of == number && !arms[number].network.is_empty())
        {
            plots.push(bars(results, first, metric)?);
        }
        if arms.len() > 1 && (metric.key == "dsc" || metric.key == "ece") {
            plots.push(shares(results, metric)?);
        }
    }
    Ok(plots)
}

/// Bars of each method, grouped by network, on one data set (MbLS Fig. 7).
fn bars(results: &Results<'_>, first: usize, metric: &Metric) -> Result<Plot> {
    let arms: Vec<usize> =
        (0..results.plan.arms.len()).filter(|&arm| results.plan.arms[arm].cases_of == first).collect();
    let series = |(method, name): (usize, &String)| {
        let value = |&arm: &usize| {
            let spread = results.headline(results.row_of(method), arm, 0.0, metric);
            [spread.mean(), spread.sd()]
        };
        Series { name: name.clone(), values: arms.iter().map(value).collect() }
    };
    let series: Vec<Series> = results.methods.iter().map(|method| &method.name).enumerate().map(series).collect();
    let groups: Vec<String> = arms.iter().map(|&arm| results.plan.arms[arm].network.clone()).collect();
    let mut csv = Csv::new(&["method", "network", "mean", "sd"]);
    for series in &series {
        groups.iter().zip(&series.values).for_each(|(group, [mean, sd])| csv.row(&[&series.name, group, mean, sd]));
    }
    let dataset = &results.plan.arms[first].dataset;
    let on = if dataset.is_empty() { String::new() } else { format!("{dataset}: ") };
    let file = if dataset.is_empty() { metric.key.to_owned() } else { format!("{}-{dataset}", metric.key) };
    let title = format!("{on}{}, {}", metric.key, tables::of(results, metric));
    let caption =
        format!("{title}: means over the seeds by network, with error bars of one standard deviation, without noise.");
    let chart = Bars { title, unit: results.lengths_at(first).headed(metric), groups, series };
    Plot::new(&format!("network-{file}"), Section::Networks, caption, &chart, csv)
}

/// Each data set with each network as one bar of the methods' shares (MbLS Fig. 9).
fn shares(results: &Results<'_>, metric: &Metric) -> Result<Plot> {
    let groups: Vec<String> = results.plan.arms.iter().map(crate::compare::plan::Arm::name).collect();
    let names: Vec<String> = results.methods.iter().map(|method| method.name.clone()).collect();
    let of_method = |method: usize| {
        let value = |arm: usize| results.headline(results.row_of(method), arm, 0.0, metric).mean();
        (0..groups.len()).map(value).collect::<Vec<f64>>()
    };
    let values: Vec<Vec<f64>> = (0..names.len()).map(of_method).collect();
    let mut csv = Csv::new(&["method", "of", "mean"]);
    for (name, values) in names.iter().zip(&values) {
        groups.iter().zip(values).for_each(|(group, value)| csv.row(&[name, group, value]));
    }
    let better = if metric.key == "dsc" { "a larger share is better" } else { "a smaller share is better" };
    let title = format!("{}: shares of the methods", metric.key);
    let caption = format!("{title}, {better}.");
    Plot::new(
        &format!("shares-{}", metric.key),
        Section::Shares,
        caption,
        &Shares { title, groups, names, values },
        csv,
    )
}
