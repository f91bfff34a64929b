//! The page of a comparison: methods side by side, ranks, cases, noise, what was compared and where the files are.

use std::collections::BTreeSet;

use segcal_core::Result;
use segcal_metrics::bootstrap::Interval;
use segcal_metrics::metric::Metric;

use segcal_evaluate::described::Described;
use segcal_evaluate::ranking::{ColumnFigures, Ranking};
use segcal_evaluate::report::html::{definitions, document, section_of};
use segcal_evaluate::report::plot::{Plot, Section};
use segcal_evaluate::report::words::{arrow, shown};
use segcal_evaluate::report::write_plots;

use super::figures;
use super::results::{Folder, Level, Results, Spread, Tried};
use super::tables::{column, column_of_methods, is_chosen, marks, measured_on, notes, of, rank_columns, values_of};
use crate::output::{self, OutputFolder, counted, escape};

/// Writes `report.html`, and each plot as `plots/*.svg`, `.png` and `.csv`.
///
/// # Errors
/// The folder cannot be written.
pub fn write(results: &Results<'_>, folder: &OutputFolder) -> Result<()> {
    let plots = figures::of(results)?;
    write_plots(&plots, folder)?;
    output::write_text(&folder.file("report.html")?, &page(results, &plots))
}

fn page(results: &Results<'_>, plots: &[Plot]) -> String {
    let mut body = head(results);
    body += &ranks(results, plots);
    let clean: Vec<&Level> = results.levels.iter().filter(|level| level.noise == 0.0).collect();
    for level in &clean {
        let arm = results.plan.arms[level.arm].name();
        let title = if arm.is_empty() { "Methods".to_owned() } else { format!("Methods on {arm}") };
        body += &format!("<h2>{}</h2>\n{}", escape(&title), main_table(results, level));
        body += &structures(results, level);
    }
    for (section, title, lead) in SECTIONS {
        let shown = section_of(section, plots);
        if !shown.is_empty() {
            body += &format!("<h2>{title}</h2>\n<p class=\"lead\">{lead}</p>\n{shown}");
        }
        if section == Section::Sensitivity && !results.trials.is_empty() {
            body += &trials(results);
        }
    }
    if results.plan.noise.len() > 1 {
        body += &noise(results, plots);
    }
    body += &methods(results);
    body += &definitions(results.plan.metrics.iter().copied(), results.lengths());
    body += &settings(results);
    document("segcal comparison", &body)
}

const SECTIONS: [(Section, &str, &str); 5] = [
    (
        Section::Subject,
        "One subject",
        "The same slice for every method: contours of reference and prediction, the largest class probability of each \
         voxel, and the reliability diagram of the subject's foreground. Without noise, first seed.",
    ),
    (
        Section::Networks,
        "Networks",
        "The same losses with each network: means over the seeds, with error bars of one standard deviation.",
    ),
    (
        Section::Shares,
        "Shares",
        "Each bar is one data set with one network; a method's share of the bar is its mean divided by the sum of all means.",
    ),
    (
        Section::Sensitivity,
        "Sensitivity",
        "The result of each grid value on the validation part: means over the seeds, with error bars of one standard \
         deviation. The test part was evaluated only with the chosen value.",
    ),
    (
        Section::Cases,
        "Cases",
        "Every case, averaged over the seeds, without noise. Boxes show quartiles; whiskers reach the furthest case within \
         1.5 interquartile ranges.",
    ),
];

fn head(results: &Results<'_>) -> String {
    let plan = results.plan;
    let mut html = format!(
        "<h1>Comparison of {}</h1>\n<p class=\"lead\">{}; {} per method. Values are means over the cases, then mean \
         &plusmn; standard deviation over the seeds. segcal {}.</p>\n",
        counted(results.methods.len(), "method"),
        escape(&measured_on(results).join("; ")),
        counted(plan.seeds.len(), "training"),
        env!("CARGO_PKG_VERSION")
    );
    let notes = notes(results);
    let lines: Vec<String> = notes.lines().filter(|line| !line.is_empty()).map(escape).collect();
    if !lines.is_empty() {
        html += &format!("<p class=\"warn\">{}</p>\n", lines.join("<br>\n"));
    }
    html
}

/// The ranks of every method over all columns, and in each.
fn ranks(results: &Results<'_>, plots: &[Plot]) -> String {
    let ranking = &results.overall[0];
    format!(
        "<h2>Ranks</h2>\n<p class=\"lead\">Ranks of every method in every column, without noise: 1 is the best; equal values \
         share the smaller rank. The sum rank and the Friedman rank are the sum and the mean over the columns; the final rank \
         orders the methods by their Friedman ranks. The mean case rank averages the ranks within each case, after averaging \
         over the seeds. Brackets show 95 % bootstrap intervals over cases, resampled within each data set.</p>\n{}{}{}",
        ranks_over_all(ranking),
        ranks_by_column(ranking),
        section_of(Section::Ranks, plots)
    )
}

fn ranks_over_all(ranking: &Ranking) -> String {
    let columns = rank_columns(ranking);
    let heads: String =
        columns.iter().map(|(name, ..)| format!("<th class=\"n\">{}</th>", name.replace(' ', "<br>"))).collect();
    let intervals = [None, Some(&ranking.case_ranks), Some(&ranking.friedman_ranks), None];
    let line = |method: usize| {
        let cell = |((_, ranks, digits), of): (&(_, Vec<f64>, usize), Option<&Vec<Interval>>)| {
            let (text, place) = (format!("{:.digits$}", ranks[method]), ranked_place(ranks, method));
            let interval = of.map_or_else(String::new, |of| {
                format!(" <small>[{:.2}, {:.2}]</small>", of[method].lower, of[method].upper)
            });
            format!("<td class=\"n\">{}{interval}</td>", emphasised(text, place, ranks.len()))
        };
        let cells: String = columns.iter().zip(intervals).map(cell).collect();
        format!("<tr><td>{}</td>{cells}</tr>\n", escape(&ranking.methods[method]))
    };
    let lines: String = (0..ranking.methods.len()).map(line).collect();
    format!("<div class=\"wide\"><table><thead><tr><th>Method</th>{heads}</tr></thead>\n{lines}</table></div>\n")
}

/// One row for each column: there may be many columns, but few methods.
fn ranks_by_column(ranking: &Ranking) -> String {
    let heads: String =
        ranking.methods.iter().map(|method| format!("<th class=\"n\">{}</th>", escape(method))).collect();
    let line = |column: &ColumnFigures| {
        let cell = |method: usize| {
            let (text, place) = (column.ranks[method].to_string(), ranked_place(&column.ranks, method));
            format!("<td class=\"n\">{}</td>", emphasised(text, place, column.ranks.len()))
        };
        let cells: String = (0..ranking.methods.len()).map(cell).collect();
        format!("<tr><td>{}</td>{cells}</tr>\n", escape(&ranking.name(column)))
    };
    let lines: String = ranking.columns.iter().map(line).collect();
    format!("<div class=\"wide\"><table><thead><tr><th>Column</th>{heads}</tr></thead>\n{lines}</table></div>\n")
}

fn ranked_place(ranks: &[f64], method: usize) -> Option<usize> {
    super::results::places(segcal_metrics::metric::Better::Lower, ranks)[method]
}

/// Bold for the best, underlined for the second of at least three.
fn emphasised(text: String, place: Option<usize>, count: usize) -> String {
    match place {
        Some(1) => format!("<b>{text}</b>"),
        Some(2) if count > 2 => format!("<u>{text}</u>"),
        _ => text,
    }
}

/// The means of every metric, the best marked as the papers do, and the ranks.
fn main_table(results: &Results<'_>, level: &Level) -> String {
    let metrics = &results.plan.metrics;
    let heads: String =
        metrics.iter().map(|metric| head_of(results, level.arm, metric, &of(results, metric))).collect();
    let columns: Vec<Vec<String>> =
        metrics.iter().map(|metric| cells(metric, &column(results, level, metric))).collect();
    let ranks = rank_columns(&level.ranking);
    let line = |row: usize| {
        let of = &results.rows[row];
        let figures: String = columns.iter().map(|cells| cells[row].clone()).collect();
        let rank = |(_, ranks, digits): &(_, Vec<f64>, usize)| {
            let text = if of.map.is_some() { String::new() } else { format!("{:.digits$}", ranks[of.method]) };
            let place = ranked_place(ranks, of.method).filter(|_| of.map.is_none());
            format!("<td class=\"n\">{}</td>", emphasised(text, place, ranks.len()))
        };
        let ranks: String = ranks[..3].iter().map(rank).collect();
        format!("<tr><td>{}</td>{figures}{ranks}</tr>\n", escape(&of.name))
    };
    let lines: String = (0..results.rows.len()).map(line).collect();
    let maps = if results.plan.calibrate.is_empty() {
        ""
    } else {
        " Maps were fitted on the validation part; their rows are not ranked."
    };
    format!(
        "<p class=\"lead\">Without noise. Best in bold, second best underlined; arrows show which direction is better.{maps}</p>\n\
         <div class=\"wide\"><table><thead><tr><th>Method</th>{heads}<th class=\"n\">sum<br>rank</th>\
         <th class=\"n\">mean case<br>rank</th><th class=\"n\">Friedman<br>rank</th></tr></thead>\n{lines}</table></div>\n\
         <p class=\"note\">The spread over seeds shows how much trainings differ, not how much patients do: standard \
         deviations over cases are in tables.md, intervals of differences over cases in differences.csv.</p>\n"
    )
}

/// Every value of every grid, the chosen one marked.
fn trials(results: &Results<'_>) -> String {
    let metrics = &results.plan.metrics;
    let heads: String = metrics.iter().map(|metric| head_of(results, 0, metric, "validation")).collect();
    let line = |tried: &Tried| {
        let (method, arm) = (&results.methods[tried.method].name, results.plan.arms[tried.arm].name());
        let value =
            |spread: &Spread| format!("<td class=\"n\">{}</td>", with_deviation(shown(spread.mean()), spread.sd()));
        let figures: String = if tried.values.is_empty() {
            "<td class=\"n\">failed</td>".repeat(metrics.len())
        } else {
            tried.values.iter().map(value).collect()
        };
        let values = escape(&values_of(results, tried.method, tried.trial));
        let values = if is_chosen(results, tried) { format!("<b>{values}</b>") } else { values };
        format!("<tr><td>{}</td><td>{}</td><td>{values}</td>{figures}</tr>\n", escape(method), escape(&arm))
    };
    let lines: String = results.trials.iter().map(line).collect();
    format!(
        "<div class=\"wide\"><table><thead><tr><th>Method</th><th>on</th><th>value (chosen: bold)</th>{heads}</tr></thead>\n\
         {lines}</table></div>\n"
    )
}

fn head_of(results: &Results<'_>, arm: usize, metric: &Metric, of: &str) -> String {
    let definition = escape(metric.definition);
    let (key, way) = (results.lengths_at(arm).headed(metric), arrow(metric));
    format!("<th class=\"n\" title=\"{definition}\">{key} {way}<br><small>{}</small></th>", escape(of))
}

/// The table cells of a metric, one for each row.
fn cells(metric: &Metric, spreads: &[Spread]) -> Vec<String> {
    let marked = |(spread, place): (&Spread, Option<usize>)| {
        let mean = emphasised(shown(spread.mean()), place, spreads.len());
        format!("<td class=\"n\">{}</td>", with_deviation(mean, spread.sd()))
    };
    spreads.iter().zip(marks(metric, spreads)).map(marked).collect()
}

fn with_deviation(mean: String, sd: f64) -> String {
    if sd.is_nan() { mean } else { format!("{mean} <small>&plusmn; {}</small>", shown(sd)) }
}

/// The same table for each structure.
fn structures(results: &Results<'_>, level: &Level) -> String {
    let metrics: Vec<&Metric> = results.plan.metrics.iter().copied().filter(|metric| metric.per_structure()).collect();
    let labels = results.structures(level.arm);
    if metrics.is_empty() || labels.len() < 2 {
        return String::new();
    }
    let folder = results.parts[level.arm].measured.cases.iter().find_map(|case| case.label.as_ref()?.parent());
    let names = folder.map(|labels| Described::beside(labels).names).unwrap_or_default();
    let name = |label: &String| match label.parse().ok().and_then(|number: u16| names.get(&number)) {
        Some(name) => format!("{label} {name}"),
        None => label.clone(),
    };
    let (mut heads, mut columns) = (String::new(), Vec::new());
    for label in &labels {
        for metric in &metrics {
            heads += &head_of(results, level.arm, metric, &name(label));
            let of = |row: usize| results.spread(row, level.arm, 0.0, metric, label);
            columns.push(cells(metric, &(0..results.rows.len()).map(of).collect::<Vec<_>>()));
        }
    }
    let line = |method: usize| {
        let figures: String = columns.iter().map(|cells| cells[method].clone()).collect();
        format!("<tr><td>{}</td>{figures}</tr>\n", escape(&results.rows[method].name))
    };
    let lines: String = (0..results.rows.len()).map(line).collect();
    format!(
        "<h3>By structure</h3>\n<div class=\"wide\"><table><thead><tr><th>Method</th>{heads}</tr></thead>\n{lines}</table>\
         </div>\n"
    )
}

/// Robustness to noise: for each arm a table of each metric and of the sum rank, with one column per level, and the
/// plots.
fn noise(results: &Results<'_>, plots: &[Plot]) -> String {
    let heads: String =
        results.plan.noise.iter().map(|noise| format!("<th class=\"n\">&sigma; = {noise}</th>")).collect();
    let table = |title: &str, columns: &[Vec<String>]| {
        let line = |method: usize| {
            let figures: String = columns.iter().map(|cells| cells[method].clone()).collect();
            format!("<tr><td>{}</td>{figures}</tr>\n", escape(&results.methods[method].name))
        };
        let lines: String = (0..results.methods.len()).map(line).collect();
        format!(
            "<h3>{title}</h3>\n<div class=\"wide\"><table><thead><tr><th>Method</th>{heads}</tr></thead>\n{lines}</table>\
             </div>\n"
        )
    };
    let mut tables = String::new();
    for arm in 0..results.plan.arms.len() {
        let levels: Vec<&Level> = results.levels.iter().filter(|level| level.arm == arm).collect();
        let name = results.plan.arms[arm].name();
        let on = if name.is_empty() { String::new() } else { format!("{}: ", escape(&name)) };
        for metric in &results.plan.metrics {
            let column = |level: &&Level| cells(metric, &column_of_methods(results, level, metric));
            let key = results.lengths_at(arm).headed(metric);
            let title = format!("{on}{key} {}, {}", arrow(metric), escape(&of(results, metric)));
            tables += &table(&title, &levels.iter().map(column).collect::<Vec<_>>());
        }
        let ranks = |level: &&Level| {
            level.ranking.sum_ranks.iter().map(|rank| format!("<td class=\"n\">{rank}</td>")).collect()
        };
        tables += &table(&format!("{on}Sum rank"), &levels.iter().map(ranks).collect::<Vec<_>>());
    }
    format!(
        "<h2>Robustness to noise</h2>\n<p class=\"lead\">Gaussian noise of standard deviation &sigma; is added to the images \
         of the cases, which are scaled to [0, 1]; nothing is clipped. Training never used this noise. The noise of a case is \
         the same for every method.</p>\n{}<details><summary>Tables</summary>{tables}</details>\n",
        section_of(Section::Noise, plots)
    )
}

/// The methods, with links to their evaluations.
fn methods(results: &Results<'_>) -> String {
    let line = |(number, method): (usize, &&crate::compare::plan::Method)| {
        let keys = method.keys.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ");
        let own = |of: &&Folder| results.rows[of.row].method == number;
        let parts: BTreeSet<(usize, u64)> = results.folders.iter().filter(own).map(|of| (of.arm, of.seed)).collect();
        let links = |&(arm, seed): &(usize, u64)| {
            let own = results.folders.iter().filter(own).filter(|of| (of.arm, of.seed) == (arm, seed));
            let link = |of: &Folder| {
                let path = of.evaluation.strip_prefix(&results.plan.out).unwrap_or(&of.evaluation).join("report.html");
                let map = results.rows[of.row].map.map_or_else(String::new, |map| format!("{} ", map.name()));
                let href = escape(&path.display().to_string());
                format!("<a href=\"{href}\">{map}&sigma; = {}</a>", of.noise)
            };
            let arm = results.plan.arms[arm].name();
            let on = if arm.is_empty() { String::new() } else { format!("{}, ", escape(&arm)) };
            format!("{on}seed {seed}: {}", own.map(link).collect::<Vec<_>>().join(", "))
        };
        let links = parts.iter().map(links).collect::<Vec<_>>().join("<br>");
        format!("<tr><td>{}</td><td class=\"key\">{}</td><td>{links}</td></tr>\n", escape(&method.name), escape(&keys))
    };
    let lines: String = results.methods.iter().enumerate().map(line).collect();
    format!(
        "<h2>What was compared</h2>\n<p class=\"lead\">The training config keys in which each method differs from the shared \
         ones (plan.toml), and the reports of its evaluations.</p>\n<details><summary>Keys and reports</summary>\
         <div class=\"wide\"><table><thead><tr><th>Method</th><th>keys</th><th>evaluations</th></tr></thead>\n{lines}</table>\
         </div></details>\n<details><summary>Shared keys</summary><pre>{}</pre></details>\n",
        escape(&results.plan.resolved["train"].as_table().map(ToString::to_string).unwrap_or_default())
    )
}

fn settings(results: &Results<'_>) -> String {
    let plan = results.plan;
    let list = |values: Vec<String>| values.join(", ");
    let rows = [
        ("program", format!("segcal {}", env!("CARGO_PKG_VERSION"))),
        ("data", measured_on(results).join("; ")),
        ("seeds", list(plan.seeds.iter().map(ToString::to_string).collect())),
        ("noise", list(plan.noise.iter().map(ToString::to_string).collect())),
        ("region of calibration", plan.region.clone()),
        ("empty masks", plan.empty.name().to_owned()),
    ];
    let lines: String = rows.iter().map(|(key, value)| format!("<dt>{key}</dt><dd>{}</dd>\n", escape(value))).collect();
    format!(
        "<h2>Settings and files</h2>\n<dl>\n{lines}</dl>\n<p class=\"note\">results.csv contains every mean of every evaluation; \
         summary.csv and summary.json, the mean and standard deviation over the seeds; ranks.csv and differences.csv, ranks \
         and differences with intervals; tables.md and tables.tex, the tables; plan.toml, the complete plan. The folder plots \
         contains every plot as SVG and PNG, with its data as CSV.</p>\n"
    )
}
