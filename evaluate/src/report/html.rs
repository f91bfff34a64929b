//! The page: an overview, the worst cases, every metric with its interval, the plots, the definitions.

use segcal_metrics::definitions::METRICS;
use segcal_metrics::metric::Metric;

use super::cases::{self, MOST_CASES};
use super::first;
use super::plot::{Plot, Section};
use super::plots::worst_first;
use super::words::{arrow, shown};
use crate::Failure;
use crate::cohort::{Cohort, Kind, Row};
use crate::scores::Scores;
use crate::state::Prediction;
use crate::units::LengthUnit;
use segcal_data::{
    hash,
    output::{self, escape},
};

const STYLE: &str = include_str!("style.css");

/// The sections that a page may have, in order: their name in links, and their title.
const SECTIONS: [(&str, &str); 7] = [
    ("glance", "At a glance"),
    ("calibration", "Calibration"),
    ("structures", "Structures"),
    ("worst", "Worst cases"),
    ("cases", "Cases"),
    ("definitions", "Definitions"),
    ("settings", "Settings"),
];

/// Number of structures whose worst cases are shown unfolded.
const UNFOLDED: usize = 2;

/// Metrics side by side in one table: as many as fit the width of a printed page.
const COLUMNS: usize = 6;

/// The whole page as one file.
pub fn page(cohort: &Cohort, plots: &[Plot]) -> String {
    let mut page = first::screen(cohort, &first_diagram(plots).map_or_else(String::new, figure));
    page += &empty_masks(cohort);
    page += &calibration(cohort, plots);
    page += &logits(cohort, plots);
    page += &structures(cohort, plots);
    page += &worst_cases(cohort, plots);
    page += &cases::table(cohort);
    let used = METRICS.iter().filter(|metric| cohort.rows.iter().any(|row| row.metric.key == metric.key));
    page += &definitions(used, cohort.length_unit());
    page += &settings(cohort);
    document("segcal evaluation", &(head(cohort) + &contents(&page) + &page))
}

/// Links to the sections that the page has.
fn contents(page: &str) -> String {
    let held = SECTIONS.iter().filter(|(name, _)| page.contains(&format!("<h2 id=\"{name}\">")));
    let links: Vec<String> = held.map(|(name, title)| format!("<a href=\"#{name}\">{title}</a>")).collect();
    format!("<nav>{}</nav>\n", links.join(" "))
}

/// A page as one self-contained file.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>\n{STYLE}</style></head><body>\n{body}</body></html>\n"
    )
}

fn head(cohort: &Cohort) -> String {
    let (measured, failed) = (cohort.cases.len(), cohort.failed.len());
    let of = if failed == 0 { String::new() } else { format!("{measured} of ") };
    let cases = output::counted(measured + failed, "case");
    format!(
        "<h1>Evaluation of {of}{cases}</h1>\n<p class=\"lead\">Values are means over cases; brackets show 95 % \
         BCa bootstrap intervals over cases. segcal {}.</p>\n{}",
        env!("CARGO_PKG_VERSION"),
        left_out(cohort)
    )
}

/// The cases that failed and are in none of the results.
fn left_out(cohort: &Cohort) -> String {
    let line = |failure: &Failure| format!("<br>{}: {}", escape(&failure.case), escape(&failure.error));
    let lines: String = cohort.failed.iter().take(MOST_CASES).map(line).collect();
    if lines.is_empty() {
        return lines;
    }
    let cases = output::counted(cohort.failed.len(), "case");
    let others = match cohort.failed.len().saturating_sub(MOST_CASES) {
        0 => String::new(),
        more => format!("<br>{more} more: summary.json"),
    };
    format!("<p class=\"warn\"><b>{cases} left out</b> of all results below.{lines}{others}</p>\n")
}

/// The reliability diagram of the first screen: that of the predicted foreground, or of all voxels if nothing is
/// predicted.
fn first_diagram(plots: &[Plot]) -> Option<&Plot> {
    let named = |name: &str| plots.iter().find(|plot| plot.name == name);
    named("reliability-predicted").or_else(|| named("reliability-all"))
}

/// Counts of empty masks, which means do not show.
fn empty_masks(cohort: &Cohort) -> String {
    let of_dsc = cohort.rows.iter().filter(|row| row.metric.key == "dsc");
    let lines: Vec<String> = of_dsc
        .filter_map(|row| {
            let empty = &row.summary.empty;
            (empty.any() > 0).then(|| {
                format!(
                    "{}: false negative in {}, false positive in {}, absent from both in {} of {} cases",
                    escape(&cohort.name(&row.of)),
                    empty.prediction,
                    empty.reference,
                    empty.both,
                    empty.cases()
                )
            })
        })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    format!(
        "<p class=\"warn\"><b>Empty masks.</b> {}. They are scored by the rule <b>{}</b>; the bounds in the table of structures \
         show how much this choice matters: undefined values count as perfect in one bound and as a penalty in the other \
         (the grid's diagonal for a distance, or the rule's own value where that is worse).</p>\n",
        lines.join("; "),
        cohort.plan().empty.name()
    )
}

fn structures(cohort: &Cohort, plots: &[Plot]) -> String {
    let table = figures(cohort, Kind::Structure);
    format!(
        "<h2 id=\"structures\">Structures</h2>\n<p class=\"lead\">Overlap and surface distance of each structure. Arrows show which direction is \
         better.</p>\n{table}{}",
        section_of(Section::Cases, plots)
    )
}

fn calibration(cohort: &Cohort, plots: &[Plot]) -> String {
    if !cohort.rows.iter().any(|row| row.kind == Kind::Region) {
        return "<h2 id=\"calibration\">Calibration</h2>\n<p class=\"lead\">Label maps carry no confidence: calibration can only be measured \
                from probabilities or logits.</p>\n"
            .into();
    }
    let band = cohort.band();
    let mut html = format!(
        "<h2 id=\"calibration\">Calibration</h2>\n<p class=\"lead\">How well the predicted probabilities match the observed frequencies, by \
         region: all voxels; predicted, where a structure is predicted; near, within {band} of the predicted boundary; and \
         each predicted structure. The papers' regions are conditional on the reference: foreground, where the reference \
         has a structure; union, where reference or prediction has one; boundary, within {band} of the reference's \
         boundary; and each structure of the reference. No model is calibrated conditional on the answer: even the true \
         posterior is over-confident there.</p>\n{}",
        figures(cohort, Kind::Region)
    );
    let parts = [
        (
            Section::Reliability,
            "Reliability",
            "Bars: the observed frequency in each bin, and its gap to the mean probability: orange where the model is \
             over-confident, light blue where it is under-confident. Dots: frequency against mean probability; the dashed \
             diagonal marks perfect agreement. Below: the number of voxels in each bin, on a logarithmic axis.",
        ),
        (
            Section::Confidence,
            "Confidence of right and wrong voxels",
            "Distribution of the largest probability over the right and over the wrong voxels. A model that knows when it \
             errs has its wrong voxels on the left.",
        ),
    ];
    for (section, title, lead) in parts {
        let first = first_diagram(plots).map(|plot| &plot.name);
        let shown = gallery(plots.iter().filter(|plot| plot.section == section && Some(&plot.name) != first));
        if !shown.is_empty() {
            html += &format!("<h3>{title}</h3>\n<p class=\"lead\">{lead}</p>\n{shown}");
        }
    }
    html
}

fn logits(cohort: &Cohort, plots: &[Plot]) -> String {
    let shown = section_of(Section::Logits, plots);
    if shown.is_empty() {
        return String::new();
    }
    let what = if cohort.measure.kind == Prediction::Scores(Scores::Logits) {
        "Each curve is the distribution of one class's logit."
    } else {
        "Only probabilities were given, so their logarithms stand in for the logits: the two differ by a constant that is \
         the same for all classes of a voxel. Each curve is the distribution of one class's log probability."
    };
    format!("<h3>Logits by true class</h3>\n<p class=\"lead\">{what}</p>\n{shown}")
}

/// One row per structure or region, split into as many tables as the metrics need to fit a printed page.
fn figures(cohort: &Cohort, kind: Kind) -> String {
    let rows: Vec<&Row> = cohort.rows.iter().filter(|row| row.kind == kind).collect();
    let mut names: Vec<&str> = rows.iter().map(|row| row.of.as_str()).collect();
    names.dedup();
    let metrics: Vec<&Metric> =
        METRICS.iter().filter(|metric| rows.iter().any(|row| row.metric.key == metric.key)).collect();
    let tables = metrics.len().div_ceil(COLUMNS).max(1);
    metrics.chunks(metrics.len().div_ceil(tables).max(1)).map(|metrics| part(cohort, kind, &names, metrics)).collect()
}

/// One table: some of the metrics of every structure or region.
fn part(cohort: &Cohort, kind: Kind, names: &[&str], metrics: &[&Metric]) -> String {
    let head = |metric: &&Metric| {
        let (definition, key) = (escape(metric.definition), cohort.headed(metric));
        let title = metric.title;
        format!("<th class=\"n\" title=\"{definition}\">{title}<br><small>{key} {}</small></th>", arrow(metric))
    };
    let heads: String = metrics.iter().map(head).collect();
    let name = |name: &str| match name.split_once(':') {
        Some(("structure", label)) => format!("structure {}", cohort.name(label)),
        Some(("predicted", label)) => format!("predicted as {}", cohort.name(label)),
        _ => cohort.name(name),
    };
    let line = |of: &&str| {
        let cells: String = metrics.iter().map(|metric| cell(cohort.row(kind, of, metric.key))).collect();
        format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", escape(&name(of)))
    };
    let lines: String = names.iter().map(line).collect();
    let what = if kind == Kind::Structure { "Structure" } else { "Region" };
    format!(
        "<div class=\"wide\"><table class=\"even\"><thead><tr><th>{what}</th>{heads}</tr></thead>\n<tbody>\n\
         {lines}</tbody></table></div>\n"
    )
}

/// The mean with its interval below, and the bounds if empty masks leave the mean open.
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

/// The plots of a section.
pub fn section_of(section: Section, plots: &[Plot]) -> String {
    gallery(plots.iter().filter(|plot| plot.section == section))
}

/// Plots side by side.
fn gallery<'a>(plots: impl Iterator<Item = &'a Plot>) -> String {
    let figures: String = plots.map(figure).collect();
    if figures.is_empty() { figures } else { format!("<div class=\"plots\">{figures}</div>\n") }
}

/// A drawing with its caption.
fn figure(plot: &Plot) -> String {
    let class = if plot.width > 400 { " class=\"broad\"" } else { "" };
    // Three drawings of the usual width fit side by side.
    let width = if plot.width > 400 { plot.width.min(740) } else { 345 };
    format!(
        "<figure{class} style=\"width:{width}px\" id=\"{}\">{}<figcaption>{}</figcaption></figure>\n",
        escape(&plot.name),
        plot.svg.trim(),
        escape(&plot.caption),
    )
}

/// The five cases with the lowest overlap for each structure, with slices of the worst of them.
fn worst_cases(cohort: &Cohort, plots: &[Plot]) -> String {
    let mut html = String::new();
    for (number, of) in cohort.structures().into_iter().enumerate() {
        let folded = number >= UNFOLDED;
        let order = worst_first(cohort, of);
        if order.is_empty() {
            continue;
        }
        let value = |kind: Kind, of: &str, key: &str, case: usize| {
            cohort.row(kind, of, key).map_or_else(|| "&ndash;".into(), |row| shown(row.values[case]))
        };
        let distance = if cohort.row(Kind::Structure, of, "hd95_max").is_some() { "hd95_max" } else { "hd95_pooled" };
        let headed = cohort.row(Kind::Structure, of, distance).map(|row| cohort.headed(row.metric)).unwrap_or_default();
        let line = |&case: &usize| {
            let cells = [
                value(Kind::Structure, of, "dsc", case),
                value(Kind::Structure, of, distance, case),
                value(Kind::Region, "predicted", "ece", case),
            ];
            let cells: String = cells.iter().map(|cell| format!("<td class=\"n\">{cell}</td>")).collect();
            format!("<tr><td>{}</td>{cells}</tr>\n", escape(&cohort.cases[case].name))
        };
        let lines: String = order.iter().take(5).map(line).collect();
        html += &format!(
            "{}\n<table><thead><tr><th>Case</th><th class=\"n\">dsc</th><th class=\"n\">{headed}</th>\
             <th class=\"n\">ece, predicted</th></tr></thead>\n{lines}</table>\n",
            worst_head(&cohort.name(of), folded)
        );
        let own = |plot: &&Plot| plot.section == Section::Worst && plot.of == of;
        let figures: String = plots.iter().filter(own).map(figure).collect();
        html += &format!("<div class=\"plots\">{figures}</div>\n{}", if folded { "</details>\n" } else { "" });
    }
    if html.is_empty() {
        return html;
    }
    format!(
        "<h2 id=\"worst\">Worst cases</h2>\n<p class=\"lead\">The cases with the lowest overlap, and for the worst of them the slice \
         where the contours differ most, in radiological convention. The map shows the largest probability of each voxel: \
         darker is less certain.</p>\n{html}"
    )
}

/// The heading of a structure's worst cases; if they are folded, a click unfolds them.
fn worst_head(name: &str, folded: bool) -> String {
    let name = escape(name);
    if folded { format!("<details><summary>Structure {name}</summary>") } else { format!("<h3>Structure {name}</h3>") }
}

/// A table of the definitions of the metrics used.
pub fn definitions<'a>(used: impl Iterator<Item = &'a Metric>, lengths: LengthUnit) -> String {
    let lines: String = used
        .map(|metric| {
            let unit = if metric.unit == "1" { "&ndash;" } else { lengths.of(metric) };
            let fields = (metric.key, unit, escape(metric.definition), escape(metric.source));
            format!(
                "<tr><td class=\"key\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                fields.0, fields.1, fields.2, fields.3
            )
        })
        .collect();
    format!(
        "<h2 id=\"definitions\">Definitions</h2>\n<table><thead><tr><th>metric</th><th>unit</th><th>definition</th><th>source</th></tr></thead>\n\
         {lines}</table>\n<p class=\"note\">Surface: the mask minus its erosion by the face cross; outside the grid is \
         background. Distances are between voxel centres. Bins are (l, u]; a probability of 0 falls in the first.</p>\n"
    )
}

/// One checksum over all predictions, references and images. Reports with different checksums were made from different
/// files.
fn fingerprint(cohort: &Cohort) -> String {
    hash::of_lines(cohort.cases.iter().map(|case| &*case.checksums).filter(|sums| !sums.is_empty()))
}

/// Everything else that the results depend on.
fn settings(cohort: &Cohort) -> String {
    let measure = &cohort.measure;
    let given = match measure.kind {
        Prediction::Scores(Scores::Probabilities) => "probabilities",
        Prediction::Scores(Scores::Logits) => "logits, through softmax",
        Prediction::Segmentation => "label maps",
    };
    let distances = match cohort.length_unit() {
        LengthUnit::Mm => "in mm, from the voxel size of the labels",
        LengthUnit::Voxels => "in voxels, each of size 1",
    };
    let unions = |(name, labels): (&String, &Vec<u16>)| format!("{name} = {labels:?}");
    let mut rows = vec![
        ("program", format!("segcal {}", env!("CARGO_PKG_VERSION"))),
        ("predictions", given.into()),
        ("definitions", cohort.plan().convention.name().into()),
        ("empty masks", cohort.plan().empty.name().into()),
        ("bins", measure.bins.to_string()),
        ("NSD tolerance", cohort.tolerance()),
        ("boundary band", cohort.band()),
        ("distances", distances.into()),
        ("bootstrap seed", cohort.plan().seed.to_string()),
        ("files read (SHA-256)", fingerprint(cohort)),
    ];
    if !measure.unions.is_empty() {
        rows.push(("unions of labels", measure.unions.iter().map(unions).collect::<Vec<_>>().join(", ")));
    }
    let lines: String = rows.iter().map(|(key, value)| format!("<dt>{key}</dt><dd>{}</dd>\n", escape(value))).collect();
    format!(
        "<h2 id=\"settings\">Settings and files</h2>\n<dl>\n{lines}</dl>\n<p class=\"note\">Metrics of single cases: cases.csv. Every plot is \
         in the folder plots as SVG and PNG, with its data as CSV.</p>\n"
    )
}
