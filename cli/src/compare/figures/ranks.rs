//! Ranks as heat maps, and overlap and calibration around a centre.

use segcal_core::Result;
use segcal_evaluate::ranking::Ranking;
use segcal_evaluate::report::charts::{Heat, Radar};
use segcal_evaluate::report::plot::{Plot, Section};

use crate::compare::results::Results;
use crate::compare::tables::rank_columns;
use crate::output::Csv;

pub(super) fn of(results: &Results<'_>) -> Result<Vec<Plot>> {
    let ranking = &results.overall[0];
    let mut plots = Vec::new();
    if ranking.methods.len() > 1 {
        let [sum, case, ..] = rank_columns(ranking);
        let by_mean: Vec<&Vec<f64>> = ranking.columns.iter().map(|column| &column.ranks).collect();
        plots.push(heat(ranking, "rank", "Ranks by the means, and their sum", &by_mean, &sum)?);
        let by_case: Vec<&Vec<f64>> = ranking.columns.iter().map(|column| &column.case_ranks).collect();
        plots.push(heat(ranking, "case-rank", "Mean ranks within cases, and over all columns", &by_case, &case)?);
    }
    for (key, title, inverted) in [("dsc", "DSC", false), ("ece", "1 - ECE", true)] {
        plots.extend(radar(results, key, title, inverted)?);
    }
    Ok(plots)
}

/// Ranks of every method in every column and over all of them (NACL Fig. 1, MbLS Fig. 3).
fn heat(
    ranking: &Ranking,
    name: &str,
    title: &str,
    columns: &[&Vec<f64>],
    (over_all, totals, _): &(&'static str, Vec<f64>, usize),
) -> Result<Plot> {
    let mut names: Vec<String> = ranking.columns.iter().map(|column| ranking.name(column)).collect();
    names.push((*over_all).to_owned());
    let row = |method: usize| columns.iter().map(|of| of[method]).chain([totals[method]]).collect::<Vec<f64>>();
    let values: Vec<Vec<f64>> = (0..ranking.methods.len()).map(row).collect();
    let mut csv = Csv::new(&["method", "column", "rank"]);
    for (method, values) in ranking.methods.iter().zip(&values) {
        names.iter().zip(values).for_each(|(column, rank)| csv.row(&[method, column, rank]));
    }
    let digits = if name == "rank" { 0 } else { 2 };
    let (title, rows) = (title.to_owned(), ranking.methods.clone());
    let caption = format!("{title}: darker is better; each column has its own scale. Without noise.");
    Plot::new(
        &format!("heat-{name}"),
        Section::Ranks,
        caption,
        &Heat { title, rows, columns: names, values, digits },
        csv,
    )
}

/// A metric of every method on every data set with every network, and of each of their structures if these are fewer
/// than three (MbLS Fig. 2). `None` if there are fewer than three axes.
fn radar(results: &Results<'_>, key: &str, title: &str, inverted: bool) -> Result<Option<Plot>> {
    let Some(metric) = results.plan.metrics.iter().find(|metric| metric.key == key) else { return Ok(None) };
    let value = |value: f64| if inverted { 1.0 - value } else { value };
    let mut axes: Vec<(String, Vec<f64>)> = Vec::new();
    for (number, arm) in results.plan.arms.iter().enumerate() {
        let rows = || (0..results.methods.len()).map(|method| results.row_of(method));
        let of = |of: Option<&str>| {
            let mean = |row: usize| match of {
                None => results.headline(row, number, 0.0, metric).mean(),
                Some(of) => results.spread(row, number, 0.0, metric, of).mean(),
            };
            rows().map(mean).map(value).collect::<Vec<f64>>()
        };
        if results.plan.arms.len() > 2 {
            axes.push((arm.name(), of(None)));
            continue;
        }
        for structure in results.structures(number) {
            let own = if metric.per_structure() { structure.clone() } else { format!("structure:{structure}") };
            axes.push((format!("{} {structure}", arm.name()).trim().to_owned(), of(Some(&own))));
        }
    }
    axes.retain(|(_, values)| values.iter().any(|value| value.is_finite()));
    if axes.len() < 3 {
        return Ok(None);
    }
    let names: Vec<String> = results.methods.iter().map(|method| method.name.clone()).collect();
    let mut csv = Csv::new(&["method", "axis", "value"]);
    for (axis, values) in &axes {
        names.iter().zip(values).for_each(|(name, value)| csv.row(&[name, axis, value]));
    }
    let of_method = |method: usize| axes.iter().map(|(_, values)| values[method]).collect();
    let values = (0..names.len()).map(of_method).collect();
    let caption = format!("{title}: further outwards is better. Means over cases and seeds, without noise.");
    let chart = Radar { title: title.into(), axes: axes.into_iter().map(|(name, _)| name).collect(), names, values };
    Plot::new(&format!("radar-{key}"), Section::Ranks, caption, &chart, csv).map(Some)
}
