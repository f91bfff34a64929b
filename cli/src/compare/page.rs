//! The page of a comparison: methods side by side, ranks, cases, noise, what was compared and where everything lies.

use std::collections::BTreeSet;

use segcal_core::Result;
use segcal_metrics::metric::Metric;

use segcal_evaluate::report::charts::{Boxes, Line, Lines};
use segcal_evaluate::report::html::{arrow, definitions, document, section_of, shown};
use segcal_evaluate::report::plots::{Plot, Section};
use segcal_evaluate::report::write_plots;

use super::results::{Level, Results, Spread};
use super::tables::{column, counted, marks, notes};
use crate::output::{self, Csv, OutputFolder, escape};
use segcal_evaluate::described::Described;

/// Writes `report.html`, and each plot as `plots/*.svg`, `.png` and `.csv`.
///
/// # Errors
/// The folder cannot be written.
pub fn write(results: &Results<'_>, folder: &OutputFolder) -> Result<()> {
    let mut plots = Vec::new();
    for (place, metric) in results.plan.metrics.iter().enumerate() {
        plots.extend(cases_plot(results, place, metric)?);
    }
    if results.levels.len() > 1 {
        for metric in &results.plan.metrics {
            plots.push(noise_plot(results, metric)?);
        }
    }
    write_plots(&plots, folder)?;
    output::write_text(&folder.file("report.html")?, &page(results, &plots))
}

/// What a metric's figure is of.
fn of(results: &Results<'_>, metric: &Metric) -> String {
    if metric.per_structure() { "mean of the structures".into() } else { format!("region {}", results.plan.region) }
}

/// A box for each method: every case of every seed, without noise.
fn cases_plot(results: &Results<'_>, place: usize, metric: &Metric) -> Result<Option<Plot>> {
    let column = &results.levels[0].columns[place];
    let finite = |values: &Vec<f64>| values.iter().copied().filter(|value| value.is_finite()).collect::<Vec<_>>();
    let named = results.methods.iter().zip(&column.values);
    let groups = named.clone().map(|(method, values)| (method.name.clone(), finite(values)));
    let groups: Vec<(String, Vec<f64>)> = groups.filter(|(_, values)| !values.is_empty()).collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let mut csv = Csv::new(&["method", "value"]);
    for (method, values) in named {
        values.iter().for_each(|value| csv.row(&[&method.name, value]));
    }
    let of = of(results, metric);
    let chart = Boxes { title: format!("{}, {of}", metric.key), unit: results.lengths().headed(metric), groups };
    let caption = format!("{}, {of}: each case of each seed is a dot, without noise.", metric.key);
    Plot::new(&format!("box-{}", metric.key), Section::Cases, caption, &chart, csv).map(Some)
}

/// A line for each method: means over the seeds against the noise.
fn noise_plot(results: &Results<'_>, metric: &Metric) -> Result<Plot> {
    let mut csv = Csv::new(&["method", "noise", "mean", "sd"]);
    let line = |(number, name): (usize, &String)| {
        let point = |level: &Level| {
            let spread = results.headline(number, level.noise, metric);
            [level.noise, spread.mean(), spread.sd()]
        };
        Line { name: name.clone(), points: results.levels.iter().map(point).collect() }
    };
    let lines: Vec<Line> = results.methods.iter().map(|method| &method.name).enumerate().map(line).collect();
    for line in &lines {
        for [noise, mean, sd] in &line.points {
            csv.row(&[&line.name, noise, mean, sd]);
        }
    }
    let of = of(results, metric);
    let chart = Lines {
        title: format!("{}, {of}", metric.key),
        along: "standard deviation of the noise".into(),
        unit: results.lengths().headed(metric),
        methods: lines,
    };
    let caption = format!("{}, {of}: mean over the seeds, bars of one standard deviation, side by side.", metric.key);
    Plot::new(&format!("noise-{}", metric.key), Section::Noise, caption, &chart, csv)
}

fn page(results: &Results<'_>, plots: &[Plot]) -> String {
    let mut body = head(results);
    body += &main_table(results);
    body += &structures(results);
    body += &format!(
        "<h2>Cases</h2>\n<p class=\"lead\">Every case of every seed, without noise: quartiles, whiskers to the furthest case \
         within 1.5 interquartile ranges.</p>\n{}",
        section_of(Section::Cases, plots)
    );
    if results.levels.len() > 1 {
        body += &noise(results, plots);
    }
    body += &methods(results);
    body += &definitions(results.plan.metrics.iter().copied(), results.lengths());
    body += &settings(results);
    document("segcal comparison", &body)
}

fn head(results: &Results<'_>) -> String {
    let plan = results.plan;
    let mut html = format!(
        "<h1>Comparison of {}</h1>\n<p class=\"lead\">{} of the {} part of {}, {} of each method. Figures are means over the \
         cases, then mean &plusmn; standard deviation over the seeds. segcal {}.</p>\n",
        counted(results.methods.len(), "method"),
        counted(results.part.cases.len(), "case"),
        results.part.name,
        escape(&plan.methods[0].settings.data.display().to_string()),
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

/// The means of every metric, the best marked as the papers do, and the ranks.
fn main_table(results: &Results<'_>) -> String {
    let level = &results.levels[0];
    let metrics = &results.plan.metrics;
    let heads: String = metrics.iter().map(|metric| head_of(results, metric, &of(results, metric))).collect();
    let columns: Vec<Vec<String>> =
        metrics.iter().map(|metric| cells(metric, &column(results, level.noise, metric))).collect();
    let best = |ranks: &[f64]| ranks.iter().copied().fold(f64::INFINITY, f64::min);
    let ranks = [&level.sum_ranks, &level.case_ranks, &level.friedman_ranks];
    let line = |method: usize| {
        let figures: String = columns.iter().map(|cells| cells[method].clone()).collect();
        let rank = |(ranks, digits): (&&Vec<f64>, usize)| {
            let text = format!("{:.digits$}", ranks[method]);
            let bold = results.methods.len() > 1 && ranks[method] <= best(ranks);
            if bold { format!("<td class=\"n\"><b>{text}</b></td>") } else { format!("<td class=\"n\">{text}</td>") }
        };
        // Sums of whole ranks are whole.
        let ranks: String = ranks.iter().zip([0, 3, 3]).map(rank).collect();
        format!("<tr><td>{}</td>{figures}{ranks}</tr>\n", escape(&results.methods[method].name))
    };
    let lines: String = (0..results.methods.len()).map(line).collect();
    format!(
        "<h2>Methods</h2>\n<p class=\"lead\">Without noise. Best in bold, second best underlined; arrows say which way is \
         better.</p>\n<div class=\"wide\"><table><thead><tr><th>Method</th>{heads}<th class=\"n\">sum<br>rank</th>\
         <th class=\"n\">mean case<br>rank</th><th class=\"n\">Friedman<br>rank</th></tr></thead>\n{lines}</table></div>\n\
         <p class=\"note\">Ranks count from 1, the best, and equal values share the smaller rank. Sum rank and Friedman rank \
         are sum and mean of the ranks over the metrics; the mean case rank is that of the ranks within each case of each \
         seed. A spread over seeds says how far trainings differ, not how far patients do: <code>segcal rank</code> on the \
         evaluations of one seed gives intervals and tests over cases.</p>\n"
    )
}

fn head_of(results: &Results<'_>, metric: &Metric, of: &str) -> String {
    let definition = escape(metric.definition);
    let (key, way) = (results.lengths().headed(metric), arrow(metric));
    format!("<th class=\"n\" title=\"{definition}\">{key} {way}<br><small>{}</small></th>", escape(of))
}

/// A metric of every method as cells of a table.
fn cells(metric: &Metric, spreads: &[Spread]) -> Vec<String> {
    let marked = |(spread, place): (&Spread, Option<usize>)| {
        let mean = match place {
            Some(1) => format!("<b>{}</b>", shown(spread.mean())),
            Some(2) if spreads.len() > 2 => format!("<u>{}</u>", shown(spread.mean())),
            _ => shown(spread.mean()),
        };
        let sd = spread.sd();
        let sd = if sd.is_nan() { String::new() } else { format!(" <small>&plusmn; {}</small>", shown(sd)) };
        format!("<td class=\"n\">{mean}{sd}</td>")
    };
    spreads.iter().zip(marks(metric, spreads)).map(marked).collect()
}

/// The same of each structure.
fn structures(results: &Results<'_>) -> String {
    let metrics: Vec<&Metric> = results.plan.metrics.iter().copied().filter(|metric| metric.per_structure()).collect();
    let labels = results.labels();
    if metrics.is_empty() || labels.len() < 2 {
        return String::new();
    }
    let folder = results.part.cases.iter().find_map(|case| case.label.as_ref()?.parent());
    let names = folder.map(|labels| Described::beside(labels).names).unwrap_or_default();
    let name = |label: &String| match label.parse().ok().and_then(|number: u16| names.get(&number)) {
        Some(name) => format!("{label} {name}"),
        None => label.clone(),
    };
    let (mut heads, mut columns) = (String::new(), Vec::new());
    for label in &labels {
        for metric in &metrics {
            heads += &head_of(results, metric, &name(label));
            let of = |method: usize| results.spread(method, 0.0, metric, label);
            columns.push(cells(metric, &(0..results.methods.len()).map(of).collect::<Vec<_>>()));
        }
    }
    let line = |method: usize| {
        let figures: String = columns.iter().map(|cells| cells[method].clone()).collect();
        format!("<tr><td>{}</td>{figures}</tr>\n", escape(&results.methods[method].name))
    };
    let lines: String = (0..results.methods.len()).map(line).collect();
    format!(
        "<h3>By structure</h3>\n<div class=\"wide\"><table><thead><tr><th>Method</th>{heads}</tr></thead>\n{lines}</table>\
         </div>\n"
    )
}

/// Robustness: a table of each metric and of the sum rank, one column a level, and the plots.
fn noise(results: &Results<'_>, plots: &[Plot]) -> String {
    let heads: String =
        results.levels.iter().map(|level| format!("<th class=\"n\">&sigma; = {}</th>", level.noise)).collect();
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
    for metric in &results.plan.metrics {
        let column = |level: &Level| cells(metric, &column(results, level.noise, metric));
        let title = format!("{} {}, {}", results.lengths().headed(metric), arrow(metric), escape(&of(results, metric)));
        tables += &table(&title, &results.levels.iter().map(column).collect::<Vec<_>>());
    }
    let ranks = |level: &Level| level.sum_ranks.iter().map(|rank| format!("<td class=\"n\">{rank}</td>")).collect();
    tables += &table("Sum rank", &results.levels.iter().map(ranks).collect::<Vec<_>>());
    format!(
        "<h2>Robustness to noise</h2>\n<p class=\"lead\">Gaussian noise of standard deviation &sigma; added to the images of \
         the cases, which are scaled to [0, 1]; nothing is clipped. Trainings never saw it. The noise of a case is the same \
         for every method.</p>\n{}{tables}",
        section_of(Section::Noise, plots)
    )
}

/// What the methods are, and where their evaluations lie.
fn methods(results: &Results<'_>) -> String {
    let line = |(number, method): (usize, &&crate::compare::plan::Method)| {
        let keys = method.keys.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ");
        let seeds: BTreeSet<u64> = results.folders.iter().map(|(_, seed, ..)| *seed).collect();
        let links = |seed: &u64| {
            let own = results.folders.iter().filter(|(of, at, ..)| (*of, at) == (number, seed));
            let link = |(_, _, noise, folder): &(usize, u64, f64, std::path::PathBuf)| {
                let path = folder.strip_prefix(&results.plan.out).unwrap_or(folder).join("report.html");
                format!("<a href=\"{}\">&sigma; = {noise}</a>", escape(&path.display().to_string()))
            };
            format!("seed {seed}: {}", own.map(link).collect::<Vec<_>>().join(", "))
        };
        let links = seeds.iter().map(links).collect::<Vec<_>>().join("<br>");
        format!("<tr><td>{}</td><td class=\"key\">{}</td><td>{links}</td></tr>\n", escape(&method.name), escape(&keys))
    };
    let lines: String = results.methods.iter().enumerate().map(line).collect();
    format!(
        "<h2>What was compared</h2>\n<p class=\"lead\">The keys of the training config in which each method differs from what \
         all share (plan.toml), and the reports of its evaluations.</p>\n<div class=\"wide\"><table><thead><tr><th>Method</th>\
         <th>keys</th><th>evaluations</th></tr></thead>\n{lines}</table></div>\n<details><summary>What all share</summary>\
         <pre>{}</pre></details>\n",
        escape(&results.plan.resolved["train"].as_table().map(ToString::to_string).unwrap_or_default())
    )
}

fn settings(results: &Results<'_>) -> String {
    let plan = results.plan;
    let list = |values: Vec<String>| values.join(", ");
    let rows = [
        ("program", format!("segcal {}", env!("CARGO_PKG_VERSION"))),
        ("data", plan.methods[0].settings.data.display().to_string()),
        ("part", format!("{}, {} cases", results.part.name, results.part.cases.len())),
        ("seeds", list(plan.seeds.iter().map(ToString::to_string).collect())),
        ("noise", list(plan.noise.iter().map(ToString::to_string).collect())),
        ("region of calibration", plan.region.clone()),
        ("empty masks", plan.empty.name().to_owned()),
    ];
    let lines: String = rows.iter().map(|(key, value)| format!("<dt>{key}</dt><dd>{}</dd>\n", escape(value))).collect();
    format!(
        "<h2>Settings and files</h2>\n<dl>\n{lines}</dl>\n<p class=\"note\">results.csv holds every mean of every evaluation, \
         summary.csv and summary.json mean and standard deviation over the seeds, plan.toml the whole plan. Every plot lies in \
         the folder plots as SVG and PNG, with the numbers behind it as CSV.</p>\n"
    )
}
