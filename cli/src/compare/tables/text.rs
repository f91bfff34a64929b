//! What a comparison prints.

use segcal_metrics::metric::Metric;

use super::{column, marks, rank_columns};
use crate::compare::results::{Level, Results, Spread};
use crate::output::{self, counted};

/// The printed text: a table for each data set, network and level of noise, and the ranks over all of them.
pub fn text(results: &Results<'_>) -> String {
    let plan = results.plan;
    let seeds: Vec<String> = plan.seeds.iter().map(ToString::to_string).collect();
    let seeds = if seeds.len() == 1 { format!("seed {}", seeds[0]) } else { format!("seeds {}", seeds.join(", ")) };
    let mut text = format!(
        "{}, {seeds}; mean ± standard deviation over the seeds, * marks the best of a column\n",
        measured_on(results).join("; ")
    );
    for level in &results.levels {
        let noise = if level.noise == 0.0 { "without noise".into() } else { format!("noise {}", level.noise) };
        let arm = plan.arms[level.arm].name();
        let title = if arm.is_empty() { noise } else { format!("{arm}, {noise}") };
        text += &format!("\n{title}\n{}", output::table(&level_table(results, level)));
    }
    if plan.is_wide() {
        text += &format!("\nranks over all columns, without noise\n{}", output::table(&overall(results)));
    }
    for tried in results.trials.iter().filter(|tried| super::is_chosen(results, tried)) {
        let (method, arm) = (&results.methods[tried.method].name, plan.arms[tried.arm].name());
        let on = if arm.is_empty() { String::new() } else { format!(" on {arm}") };
        let values = super::values_of(results, tried.method, tried.trial);
        text += &format!("\n{method}{on}: {values}, chosen by the validation DSC\n");
    }
    text += &notes(results);
    text + &format!("\n{}\n", plan.out.join("report.html").display())
}

/// `25 cases of the test part of hippocampus`, for each data set.
pub fn measured_on(results: &Results<'_>) -> Vec<String> {
    let own = results.plan.arms.iter().enumerate().filter(|(number, arm)| arm.cases_of == *number);
    let of = own.map(|(number, _)| {
        let part = &results.parts[number].measured;
        let data = results.plan.settings(number).data.display();
        format!("{} of the {} part of {data}", counted(part.cases.len(), "case"), part.name)
    });
    of.collect()
}

fn level_table(results: &Results<'_>, level: &Level) -> Vec<Vec<String>> {
    let metrics = &results.plan.metrics;
    let ranks = rank_columns(&level.ranking);
    let mut head = vec!["method".to_owned()];
    head.extend(metrics.iter().map(|metric| results.lengths_at(level.arm).headed(metric)));
    head.extend(ranks[..3].iter().map(|(name, ..)| (*name).to_owned()));
    let columns: Vec<Vec<Spread>> = metrics.iter().map(|metric| column(results, level, metric)).collect();
    let marks: Vec<Vec<Option<usize>>> =
        metrics.iter().zip(&columns).map(|(metric, spreads)| marks(metric, spreads)).collect();
    let row = |number: usize| {
        let row = &results.rows[number];
        let mut line = vec![row.name.clone()];
        for (spreads, marks) in columns.iter().zip(&marks) {
            let mark = if marks[number] == Some(1) { "*" } else { "" };
            line.push(format!("{}{mark}", shown(&spreads[number])));
        }
        let rank = |(_, ranks, digits): &(_, Vec<f64>, usize)| format!("{:.digits$}", ranks[row.method]);
        line.extend(ranks[..3].iter().filter(|_| row.map.is_none()).map(rank));
        line
    };
    std::iter::once(head).chain((0..results.rows.len()).map(row)).collect()
}

fn overall(results: &Results<'_>) -> Vec<Vec<String>> {
    let ranking = &results.overall[0];
    let ranks = rank_columns(ranking);
    let head = std::iter::once("method".to_owned()).chain(ranks.iter().map(|(name, ..)| (*name).to_owned())).collect();
    let row = |(method, name): (usize, &String)| {
        let rank = |(_, ranks, digits): &(_, Vec<f64>, usize)| format!("{:.digits$}", ranks[method]);
        std::iter::once(name.clone()).chain(ranks.iter().map(rank)).collect()
    };
    std::iter::once(head).chain(ranking.methods.iter().enumerate().map(row)).collect()
}

/// Mean, and the standard deviation where there is one.
fn shown(spread: &Spread) -> String {
    let (mean, sd) = (spread.mean(), spread.sd());
    match (mean.is_nan(), sd.is_nan()) {
        (true, _) => "–".into(),
        (_, true) => format!("{mean:.4}"),
        _ => format!("{mean:.4} ± {sd:.4}"),
    }
}

/// What the numbers do not show: missed structures, failures, and results on the part that was also used to choose the
/// epoch.
pub fn notes(results: &Results<'_>) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (number, parts) in results.parts.iter().enumerate() {
        if parts.measured.name == "validation" && results.plan.arms[number].cases_of == number {
            lines.push(untested(results, number));
        }
    }
    let missed: Vec<String> = results.levels.iter().flat_map(|level| missed(results, level)).collect();
    if !missed.is_empty() {
        lines.extend(missed);
        lines.push(
            "Cases with a missed structure rank last but are not in the means; a mean over no cases is shown as –. Set \
             empty = \"penalise\" in the plan to count them."
                .into(),
        );
    }
    lines.extend(results.failed.iter().map(|failed| format!("Left out because it failed: {failed}")));
    lines.iter().map(|line| format!("\n{line}")).collect::<String>() + if lines.is_empty() { "" } else { "\n" }
}

fn untested(results: &Results<'_>, number: usize) -> String {
    let name = &results.plan.arms[number].dataset;
    let of = if name.is_empty() { String::new() } else { format!(" of {name}") };
    let mut chose = vec!["the best epoch of each training"];
    if !results.trials.is_empty() {
        chose.push("the values of the grids");
    }
    if !results.plan.calibrate.is_empty() {
        chose.push("the maps");
    }
    let chose = chose.join(" and ");
    format!("The test part{of} has no labels: these are the validation cases, which were also used to choose {chose}.")
}

fn missed(results: &Results<'_>, level: &Level) -> Vec<String> {
    let (noise, arm) = (level.noise, results.plan.arms[level.arm].name());
    let on = if arm.is_empty() { String::new() } else { format!("{arm}, ") };
    let cases = results.parts[level.arm].measured.cases.len();
    let of_column = |(metric, column): (&&'static Metric, &segcal_evaluate::methods::Column)| {
        let missed = results.rows.iter().zip(&column.missed).filter(|(_, missed)| **missed > 0);
        let missed: Vec<String> = missed.map(|(row, missed)| format!("{} in {missed}", row.name)).collect();
        let (key, missed) = (metric.key, (!missed.is_empty()).then(|| missed.join(", "))?);
        Some(format!("{on}noise {noise}, {key}: cases with a missed structure, out of {cases}: {missed}."))
    };
    results.plan.metrics.iter().zip(&level.columns).filter_map(of_column).collect()
}
