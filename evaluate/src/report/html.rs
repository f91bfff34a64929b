//! The page: what matters at a glance, the worst cases, every figure with its interval, the plots, the definitions.

use crate::verdict::Found;
use segcal_metrics::definitions::METRICS;
use segcal_metrics::metric::{Better, Metric};

use super::plot::{Plot, Section};
use super::plots::worst_first;
use crate::Failure;
use crate::cohort::{Cohort, Kind, Row};
use crate::scores::Scores;
use crate::state::Prediction;
use crate::units::LengthUnit;
use segcal_data::output::{self, escape};

const STYLE: &str = include_str!("style.css");

/// The whole page as one file.
pub fn page(cohort: &Cohort, plots: &[Plot]) -> String {
    let mut page = head(cohort);
    page += &glance(cohort);
    page += &empty_masks(cohort);
    page += &worst_cases(cohort, plots);
    page += &structures(cohort, plots);
    page += &calibration(cohort, plots);
    page += &logits(cohort, plots);
    let used = METRICS.iter().filter(|metric| cohort.rows.iter().any(|row| row.metric.key == metric.key));
    page += &definitions(used, cohort.length_unit());
    page += &settings(cohort);
    document("segcal evaluation", &page)
}

/// A page as one file that needs no other.
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
        "<h1>Evaluation of {of}{cases}</h1>\n<p class=\"lead\">Figures are means over cases; brackets hold 95 % \
         bootstrap intervals over cases (BCa). segcal {}.</p>\n{}",
        env!("CARGO_PKG_VERSION"),
        left_out(cohort)
    )
}

/// The cases that no figure holds.
fn left_out(cohort: &Cohort) -> String {
    let line = |failure: &Failure| format!("<br>{}: {}", escape(&failure.case), escape(&failure.error));
    let lines: String = cohort.failed.iter().map(line).collect();
    if lines.is_empty() {
        return lines;
    }
    let cases = output::counted(cohort.failed.len(), "case");
    format!("<p class=\"warn\"><b>{cases} left out</b> of every figure below.{lines}</p>\n")
}

/// What a reader with one minute needs: overlap, distance and volume of each structure, and whether the confidence holds.
fn glance(cohort: &Cohort) -> String {
    let agreement = format!("Surface agreement (NSD, {})", cohort.tolerance());
    let columns = [
        ("dsc", "Overlap (DSC)"),
        ("hd95_max", "Distance (HD95)"),
        ("hd95_pooled", "Distance (HD95, pooled)"),
        ("nsd", &agreement),
        ("volume_error", "Volume error"),
    ];
    let structures = cohort.structures();
    let held = |key: &str| structures.iter().any(|of| cohort.row(Kind::Structure, of, key).is_some());
    // The two HD95 agree closely; one is enough here.
    let shown: Vec<_> =
        columns.into_iter().filter(|(key, _)| held(key) && !(*key == "hd95_pooled" && held("hd95_max"))).collect();
    let heads: String = shown.iter().map(|(_, title)| format!("<th class=\"n\">{title}</th>")).collect();
    let line = |of: &&str| {
        let cells: String =
            shown.iter().map(|(key, _)| glance_cell(cohort, cohort.row(Kind::Structure, of, key))).collect();
        format!("<tr><td>{}</td>{cells}</tr>\n", escape(&cohort.name(of)))
    };
    let lines: String = structures.iter().map(line).collect();
    format!(
        "<h2>At a glance</h2>\n{}<div class=\"wide\"><table><thead><tr><th>Structure</th>{heads}</tr></thead>\n{lines}</table></div>\n",
        confidence_in_words(cohort)
    )
}

/// A mean with its unit, interval beneath.
fn glance_cell(cohort: &Cohort, row: Option<&Row>) -> String {
    let Some(row) = row else { return "<td class=\"n\">&ndash;</td>".into() };
    let value = |value: f64| match row.metric.key {
        _ if !value.is_finite() => shown(value),
        "volume_error" => format!("{:+.1} %", 100.0 * value),
        _ if row.metric.unit == "1" => format!("{value:.3}"),
        _ => format!("{value:.2} {}", cohort.unit(row.metric)),
    };
    let interval = row
        .interval
        .map_or_else(String::new, |[low, high]| format!("<br><small>[{}, {}]</small>", value(low), value(high)));
    format!("<td class=\"n\"><b>{}</b>{interval}</td>", value(row.summary.mean))
}

/// Whether confidence and accuracy agree, where the choice of voxels does not look at the reference.
fn confidence_in_words(cohort: &Cohort) -> String {
    let sentences: Vec<String> = Found::each(cohort).iter().map(Found::in_words).collect();
    match sentences.split_first() {
        None => String::new(),
        Some((first, others)) => {
            let others: String = others.iter().map(|sentence| format!("; {sentence}")).collect();
            format!("<p class=\"plain\">The predictions are <b>{first}</b>{others}.</p>\n")
        }
    }
}

/// What no mean shows.
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
        "<p class=\"warn\"><b>Empty masks.</b> {}. They count by the rule <b>{}</b>; the bounds in the table of structures \
         show how much that matters: what has no value counts as perfect in one, as a penalty in the other (the grid's \
         diagonal for a distance; what the rule gives, where that is worse).</p>\n",
        lines.join("; "),
        cohort.plan().empty.name()
    )
}

/// Whether more or less is better: an arrow, or nothing.
pub fn arrow(metric: &Metric) -> &'static str {
    match metric.better {
        _ if !metric.judges() => "",
        Better::Higher => "&uarr;",
        Better::Lower => "&darr;",
        Better::Zero => "&rarr; 0",
    }
}

fn structures(cohort: &Cohort, plots: &[Plot]) -> String {
    let table = figures(cohort, Kind::Structure);
    format!(
        "<h2>Structures</h2>\n<p class=\"lead\">Overlap and surface distance of each structure. Arrows say which way is \
         better.</p>\n{table}{}",
        section_of(Section::Cases, plots)
    )
}

fn calibration(cohort: &Cohort, plots: &[Plot]) -> String {
    if !cohort.rows.iter().any(|row| row.kind == Kind::Region) {
        return "<h2>Calibration</h2>\n<p class=\"lead\">Label maps hold no confidence: calibration is measured from \
                probabilities or logits.</p>\n"
            .into();
    }
    let band = cohort.band();
    let mut html = format!(
        "<h2>Calibration</h2>\n<p class=\"lead\">How far the stated probabilities agree with how often they are right, by \
         region: all voxels; predicted, where a structure is predicted; near, within {band} of the predicted boundary; each \
         predicted structure. The papers' regions are conditional on the reference: foreground, where the reference has a \
         structure; union, where reference or prediction has one; boundary, within {band} of the reference's boundary; \
         each structure of the reference. Nobody is calibrated given the answer: even the true posterior is \
         over-confident there.</p>\n{}",
        figures(cohort, Kind::Region)
    );
    let parts = [
        (
            Section::Reliability,
            "Reliability",
            "Bars: how often the voxels of a bin are right, and the gap to their mean probability: orange where the model is \
             over-confident, light blue where it is under-confident. Dots: frequency at the mean probability; on the dashed \
             diagonal both agree. Beneath: how many voxels each bin holds, on a logarithmic axis.",
        ),
        (
            Section::Confidence,
            "Confidence of right and wrong voxels",
            "Shares of the right and of the wrong voxels by their largest probability. A model that knows when it errs has \
             its wrong voxels at the left.",
        ),
    ];
    for (section, title, lead) in parts {
        let shown = section_of(section, plots);
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
        "Only probabilities were given, so their logarithms stand for the logits: they differ by a number that is the same \
         for all classes of a voxel. Each curve is the distribution of one class's logarithm."
    };
    format!("<h3>Logits by true class</h3>\n<p class=\"lead\">{what}</p>\n{shown}")
}

/// One line a metric, one column a structure or region.
fn figures(cohort: &Cohort, kind: Kind) -> String {
    let rows: Vec<&Row> = cohort.rows.iter().filter(|row| row.kind == kind).collect();
    let mut names: Vec<&str> = rows.iter().map(|row| row.of.as_str()).collect();
    names.dedup();
    let shown = |name: &str| match name.strip_prefix("structure:") {
        Some(label) => format!("structure {}", cohort.name(label)),
        None => cohort.name(name),
    };
    let heads: String = names.iter().map(|name| format!("<th class=\"n\">{}</th>", escape(&shown(name)))).collect();
    let metrics = METRICS.iter().filter(|metric| rows.iter().any(|row| row.metric.key == metric.key));
    let lines: String = metrics
        .map(|metric| {
            let cells: String = names.iter().map(|name| cell(cohort.row(kind, name, metric.key))).collect();
            let definition = escape(metric.definition);
            let key = cohort.headed(metric);
            format!("<tr><td class=\"key\" title=\"{definition}\">{key} {}</td>{cells}</tr>\n", arrow(metric))
        })
        .collect();
    format!("<div class=\"wide\"><table><thead><tr><th></th>{heads}</tr></thead>\n{lines}</table></div>\n")
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
pub fn shown(value: f64) -> String {
    if value.is_nan() {
        "&ndash;".into()
    } else if value.is_infinite() {
        if value > 0.0 { "&infin;".into() } else { "&minus;&infin;".into() }
    } else if value != 0.0 && value.abs() < 1e-3 {
        format!("{value:.1e}")
    } else {
        format!("{value:.4}")
    }
}

/// The plots of a section.
pub fn section_of(section: Section, plots: &[Plot]) -> String {
    let figures: String = plots.iter().filter(|plot| plot.section == section).map(figure).collect();
    if figures.is_empty() { figures } else { format!("<div class=\"plots\">{figures}</div>\n") }
}

/// A drawing, what it shows, and where it lies as a file.
fn figure(plot: &Plot) -> String {
    let class = if plot.width > 400 { " class=\"broad\"" } else { "" };
    // Three drawings of the usual width fit beside each other.
    let width = if plot.width > 400 { plot.width.min(740) } else { 345 };
    format!(
        "<figure{class} style=\"width:{width}px\" id=\"{}\">{}<figcaption>{}</figcaption></figure>\n",
        escape(&plot.name),
        plot.svg.trim(),
        escape(&plot.caption),
    )
}

/// The five worst cases by overlap of each structure, with slices of the worst of them.
fn worst_cases(cohort: &Cohort, plots: &[Plot]) -> String {
    let mut html = String::new();
    for of in cohort.structures() {
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
                value(Kind::Region, "foreground", "ece", case),
            ];
            let cells: String = cells.iter().map(|cell| format!("<td class=\"n\">{cell}</td>")).collect();
            format!("<tr><td>{}</td>{cells}</tr>\n", escape(&cohort.cases[case].case))
        };
        let lines: String = order.iter().take(5).map(line).collect();
        html += &format!(
            "<h3>Structure {}</h3>\n<table><thead><tr><th>Case</th><th class=\"n\">dsc</th><th class=\"n\">{headed}</th>\
             <th class=\"n\">ece, foreground</th></tr></thead>\n{lines}</table>\n",
            escape(&cohort.name(of))
        );
        let own = |plot: &&Plot| plot.section == Section::Worst && plot.of == of;
        let figures: String = plots.iter().filter(own).map(figure).collect();
        html += &format!("<div class=\"plots\">{figures}</div>\n");
    }
    if html.is_empty() {
        return html;
    }
    format!(
        "<h2>Worst cases</h2>\n<p class=\"lead\">The cases of least overlap, and of the worst of them the slice with most \
         voxels in one contour only, seen as radiologists see it. The map shows the largest probability of each voxel: dark \
         is doubt.</p>\n{html}"
    )
}

/// The definitions of the metrics that are used, as a table.
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
        "<h2>Definitions</h2>\n<table><thead><tr><th>metric</th><th>unit</th><th>definition</th><th>source</th></tr></thead>\n\
         {lines}</table>\n<p class=\"note\">Surface: mask minus its erosion by the face cross; outside the grid is \
         background. Distances between voxel centres. Bins (l, u], a probability of 0 in the first.</p>\n"
    )
}

/// Everything else that a number depends on.
fn settings(cohort: &Cohort) -> String {
    let measure = &cohort.measure;
    let given = match measure.kind {
        Prediction::Scores(Scores::Probabilities) => "probabilities",
        Prediction::Scores(Scores::Logits) => "logits, through softmax",
        Prediction::Segmentation => "label maps",
    };
    let distances = match cohort.length_unit() {
        LengthUnit::Mm => "in mm, by the voxel size of the labels",
        LengthUnit::Voxels => "in voxels, every voxel of size 1",
    };
    let document = cohort.to_json();
    let word = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    let unions = |(name, labels): (&String, &Vec<u16>)| format!("{name} = {labels:?}");
    let mut rows = vec![
        ("program", format!("segcal {}", env!("CARGO_PKG_VERSION"))),
        ("predictions", given.into()),
        ("definitions", word("convention")),
        ("empty masks", word("empty_policy")),
        ("bins", measure.bins.to_string()),
        ("tolerance of nsd", cohort.tolerance()),
        ("band of the boundary", cohort.band()),
        ("distances", distances.into()),
        ("seed of the bootstrap", cohort.plan().seed.to_string()),
    ];
    if !measure.unions.is_empty() {
        rows.push(("unions of labels", measure.unions.iter().map(unions).collect::<Vec<_>>().join(", ")));
    }
    let lines: String = rows.iter().map(|(key, value)| format!("<dt>{key}</dt><dd>{}</dd>\n", escape(value))).collect();
    format!(
        "<h2>Settings and files</h2>\n<dl>\n{lines}</dl>\n<p class=\"note\">Figures of single cases: cases.csv. Every plot lies \
         in the folder plots as SVG and PNG, with the numbers behind it as CSV.</p>\n"
    )
}
