//! The page: what was measured, the figures with their intervals, the plots, the worst cases, the definitions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use segcal_metrics::definitions::{Better, METRICS, Metric};

use super::plots::Plot;
use crate::evaluate::cohort::{Cohort, Kind, Row};

const STYLE: &str = "
:root { --ink: #1a1a1a; --faint: #666; --line: #d8d8d8; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p.lead, figcaption, .note { color: var(--faint); }
table { border-collapse: collapse; margin: .6rem 0; } th, td { padding: .25rem .8rem .25rem 0; text-align: left; }
th { border-bottom: 2px solid var(--line); font-weight: 600; } td { border-bottom: 1px solid var(--line); }
td.key { white-space: nowrap; } small { color: var(--faint); }
td.n { text-align: right; vertical-align: top; font-variant-numeric: tabular-nums; white-space: nowrap; } th.n { text-align: right; }
.wide { overflow-x: auto; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; width: 330px; break-inside: avoid; }
figure svg { width: 100%; height: auto; } figcaption { font-size: .85rem; } a { color: #0072b2; }
.warn { border-left: 4px solid #d55e00; padding: .3rem .8rem; background: #fdf3ec; }
@media print { body { max-width: none; margin: 0; font-size: 11px; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
";

/// The whole page as one file.
pub(super) fn page(cohort: &Cohort, plots: &[Plot]) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>segcal evaluation</title><style>{STYLE}</style></head><body>\n"
    );
    page += &head(cohort);
    page += &empty_masks(cohort);
    page += &figures(cohort, Kind::Structure, "Structures", "Overlap and surface distance of each structure.");
    page += &figures(
        cohort,
        Kind::Region,
        "Calibration",
        "How far the stated probabilities agree with how often they are right, by region.",
    );
    for section in ["Reliability", "Cases"] {
        page += &section_of(section, plots);
    }
    page += &worst_cases(cohort);
    page += &definitions(cohort);
    page + "</body></html>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn head(cohort: &Cohort) -> String {
    let document = cohort.to_json();
    let word = |key: &str| escape(document[key].as_str().unwrap_or_default());
    format!(
        "<h1>Evaluation of {} cases</h1>\n<p class=\"lead\">segcal {}, definitions: {}, empty masks: {}. Means over \
         cases; brackets hold 95 % bootstrap intervals over cases (BCa). Arrows say which way is better.</p>\n",
        cohort.cases.len(),
        word("version"),
        word("convention"),
        word("empty_policy")
    )
}

/// What no mean shows.
fn empty_masks(cohort: &Cohort) -> String {
    let of_dsc = cohort.rows.iter().filter(|row| row.metric.key == "dsc");
    let lines: Vec<String> = of_dsc
        .filter_map(|row| {
            let empty = &row.summary.empty;
            let any = empty.prediction + empty.reference + empty.both > 0;
            any.then(|| {
                format!(
                    "structure {}: {} cases with an empty prediction, {} with an empty reference, {} with both",
                    escape(&row.of),
                    empty.prediction,
                    empty.reference,
                    empty.both
                )
            })
        })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    format!(
        "<p class=\"warn\"><b>Empty masks.</b> {}. How they count is stated above; the \
         bounds hold the mean whatever the rule.</p>\n",
        lines.join("; ")
    )
}

fn arrow(metric: &Metric) -> &'static str {
    match metric.better {
        Better::Higher => "&uarr;",
        Better::Lower => "&darr;",
        Better::Zero => "&rarr; 0",
    }
}

/// One line a metric, one column a structure or region.
fn figures(cohort: &Cohort, kind: Kind, title: &str, lead: &str) -> String {
    let rows: Vec<&Row> = cohort.rows.iter().filter(|row| row.kind == kind).collect();
    let mut names: Vec<&str> = rows.iter().map(|row| row.of.as_str()).collect();
    names.dedup();
    if names.is_empty() {
        return String::new();
    }
    let heads: String = names.iter().map(|name| format!("<th class=\"n\">{}</th>", escape(name))).collect();
    let metrics = METRICS.iter().filter(|metric| rows.iter().any(|row| row.metric.key == metric.key));
    let lines: String = metrics
        .map(|metric| {
            let unit = if metric.unit == "1" { String::new() } else { format!(" ({})", metric.unit) };
            let cells: String = names.iter().map(|name| cell(cohort.row(kind, name, metric.key))).collect();
            let definition = escape(metric.definition);
            format!(
                "<tr><td class=\"key\" title=\"{definition}\">{}{unit} {}</td>{cells}</tr>\n",
                metric.key,
                arrow(metric)
            )
        })
        .collect();
    format!(
        "<h2>{title}</h2>\n<p class=\"lead\">{lead}</p>\n<div class=\"wide\"><table><tr><th></th>{heads}</tr>\n\
         {lines}</table></div>\n"
    )
}

/// Mean, interval beneath, and the bounds where an empty mask leaves the mean open.
fn cell(row: Option<&Row>) -> String {
    let Some(row) = row else { return "<td class=\"n\">&ndash;</td>".into() };
    let mut lines = vec![shown(row.summary.mean)];
    if let Some([low, high]) = row.interval {
        lines.push(format!("<small>[{}, {}]</small>", shown(low), shown(high)));
    }
    let (worst, best) = (row.summary.worst, row.summary.best);
    if row.kind == Kind::Structure && worst != best {
        lines.push(format!("<small>bounds {} to {}</small>", shown(worst), shown(best)));
    }
    if row.summary.cases != row.values.len() as u64 {
        lines.push(format!("<small>{} of {} cases</small>", row.summary.cases, row.values.len()));
    }
    format!("<td class=\"n\">{}</td>", lines.join("<br>"))
}

/// Four digits where they mean something.
fn shown(value: f64) -> String {
    if value.is_nan() {
        "&ndash;".into()
    } else if value != 0.0 && value.abs() < 1e-3 {
        format!("{value:.1e}")
    } else {
        format!("{value:.4}")
    }
}

fn section_of(section: &str, plots: &[Plot]) -> String {
    let figures: Vec<String> = plots
        .iter()
        .filter(|plot| plot.section == section)
        .map(|plot| {
            format!(
                "<figure>{}<figcaption>{} <a download=\"{}.png\" href=\"data:image/png;base64,{}\">PNG</a></figcaption></figure>",
                plot.svg,
                escape(&plot.caption),
                plot.name,
                STANDARD.encode(&plot.png)
            )
        })
        .collect();
    if figures.is_empty() {
        return String::new();
    }
    format!("<h2>{section}</h2>\n<div class=\"plots\">{}</div>\n", figures.join("\n"))
}

/// The five worst cases by overlap of each structure, with their calibration.
fn worst_cases(cohort: &Cohort) -> String {
    let mut html = String::new();
    for row in cohort.rows.iter().filter(|row| row.metric.key == "dsc") {
        let mut order: Vec<usize> = (0..cohort.cases.len()).filter(|&case| !row.values[case].is_nan()).collect();
        order.sort_by(|&a, &b| row.values[a].total_cmp(&row.values[b]));
        let value = |kind: Kind, of: &str, key: &str, case: usize| {
            cohort.row(kind, of, key).map_or_else(|| "&ndash;".into(), |row| shown(row.values[case]))
        };
        let lines: String = order
            .iter()
            .take(5)
            .map(|&case| {
                format!(
                    "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
                    escape(&cohort.cases[case].case),
                    shown(row.values[case]),
                    value(Kind::Structure, &row.of, "hd95_max", case),
                    value(Kind::Region, "foreground", "ece", case)
                )
            })
            .collect();
        html += &format!(
            "<table><tr><th>Structure {}</th><th class=\"n\">dsc</th><th class=\"n\">hd95_max</th>\
             <th class=\"n\">ece, foreground</th></tr>\n{lines}</table>\n",
            escape(&row.of)
        );
    }
    if html.is_empty() { html } else { format!("<h2>Worst cases</h2>\n{html}") }
}

fn definitions(cohort: &Cohort) -> String {
    let used = METRICS.iter().filter(|metric| cohort.rows.iter().any(|row| row.metric.key == metric.key));
    let lines: String = used
        .map(|metric| {
            let unit = if metric.unit == "1" { "&ndash;" } else { metric.unit };
            let fields = (metric.key, unit, escape(metric.definition), escape(metric.source));
            format!("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n", fields.0, fields.1, fields.2, fields.3)
        })
        .collect();
    format!(
        "<h2>Definitions</h2>\n<table><tr><th>metric</th><th>unit</th><th>definition</th><th>source</th></tr>\n\
         {lines}</table>\n<p class=\"note\">Surface: mask minus its erosion by the face cross; outside the grid is \
         background. Distances between voxel centres. Figures of single cases: cases.csv.</p>\n"
    )
}
