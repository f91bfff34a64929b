//! The figures of a comparison.

mod networks;
mod ranks;
mod sensitivity;
mod subject;
mod trade;

use segcal_core::Result;
use segcal_metrics::metric::Metric;

use segcal_evaluate::report::charts::{Boxes, Line, Lines};
use segcal_evaluate::report::plot::{Plot, Section};

use super::results::{Level, Results};
use super::tables;
use crate::output::Csv;

/// Every figure.
///
/// # Errors
/// The drawing library fails.
pub fn of(results: &Results<'_>) -> Result<Vec<Plot>> {
    let mut plots = ranks::of(results)?;
    plots.extend(networks::of(results)?);
    plots.extend(sensitivity::of(results)?);
    plots.extend(subject::of(results)?);
    plots.extend(trade::of(results)?);
    for arm in 0..results.plan.arms.len() {
        for (place, metric) in results.plan.metrics.iter().enumerate() {
            plots.extend(cases_plot(results, arm, place, metric)?);
        }
        if results.plan.noise.len() > 1 {
            for metric in &results.plan.metrics {
                plots.push(noise_plot(results, arm, metric)?);
            }
        }
    }
    Ok(plots)
}

/// `dsc, mean of the structures, hippocampus`, and the ending of a file name.
pub(super) fn titled(results: &Results<'_>, arm: usize, metric: &Metric) -> (String, String) {
    let (name, of) = (results.plan.arms[arm].name(), tables::of(results, metric));
    let title = if name.is_empty() { format!("{}, {of}", metric.key) } else { format!("{name}: {}, {of}", metric.key) };
    let file =
        if name.is_empty() { metric.key.to_owned() } else { format!("{}-{}", metric.key, name.replace(' ', "-")) };
    (title, file)
}

/// A box for each row: every case, averaged over the seeds, without noise.
fn cases_plot(results: &Results<'_>, arm: usize, place: usize, metric: &Metric) -> Result<Option<Plot>> {
    let column = &results.at(arm, 0.0).columns[place];
    let finite = |values: &Vec<f64>| values.iter().copied().filter(|value| value.is_finite()).collect::<Vec<_>>();
    let named = results.rows.iter().zip(&column.values);
    let groups = named.clone().map(|(row, values)| (row.name.clone(), finite(values)));
    let groups: Vec<(String, Vec<f64>)> = groups.filter(|(_, values)| !values.is_empty()).collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let mut csv = Csv::new(&["method", "value"]);
    for (row, values) in named {
        values.iter().for_each(|value| csv.row(&[&row.name, value]));
    }
    let (title, file) = titled(results, arm, metric);
    let caption = format!("{title}: each dot is a case, averaged over the seeds, without noise.");
    let chart = Boxes { title, unit: results.lengths_at(arm).headed(metric), groups };
    Plot::new(&format!("box-{file}"), Section::Cases, caption, &chart, csv).map(Some)
}

/// A line for each method: means over the seeds against the noise.
fn noise_plot(results: &Results<'_>, arm: usize, metric: &Metric) -> Result<Plot> {
    let mut csv = Csv::new(&["method", "noise", "mean", "sd"]);
    let levels: Vec<&Level> = results.levels.iter().filter(|level| level.arm == arm).collect();
    let line = |(method, name): (usize, &String)| {
        let point = |level: &&Level| {
            let spread = results.headline(results.row_of(method), arm, level.noise, metric);
            [level.noise, spread.mean(), spread.sd()]
        };
        Line { name: name.clone(), points: levels.iter().map(point).collect() }
    };
    let lines: Vec<Line> = results.methods.iter().map(|method| &method.name).enumerate().map(line).collect();
    for line in &lines {
        for [noise, mean, sd] in &line.points {
            csv.row(&[&line.name, noise, mean, sd]);
        }
    }
    let (title, file) = titled(results, arm, metric);
    let caption = format!("{title}: mean over the seeds, with error bars of one standard deviation, side by side.");
    let chart = Lines {
        title,
        along: "standard deviation of the noise".into(),
        unit: results.lengths_at(arm).headed(metric),
        methods: lines,
    };
    Plot::new(&format!("noise-{file}"), Section::Noise, caption, &chart, csv)
}
