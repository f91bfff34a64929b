//! The first screen: whether the predictions are calibrated, which structures are not, and what to do about it.

use segcal_data::output::escape;
use segcal_metrics::calibration::Region;
use segcal_metrics::verdict::{Call, Verdict};

use super::words::{points, shown};
use crate::cohort::{Cohort, Kind, Row};
use crate::scores::Scores;
use crate::state::Prediction;
use crate::verdict::Found;

/// Verdict, advice, and the table of structures with the reliability diagram beside it.
pub(super) fn screen(cohort: &Cohort, reliability: &str) -> String {
    let found = Found::each(cohort);
    format!(
        "<h2 id=\"glance\">At a glance</h2>\n{}{}<div class=\"beside\"><div class=\"wide\">{}</div>{reliability}</div>\n",
        in_words(&found),
        advice(cohort, &found),
        table(cohort)
    )
}

/// Whether confidence and accuracy agree, over regions that are chosen without looking at the reference.
fn in_words(found: &[Found]) -> String {
    let sentences: Vec<String> = found.iter().map(|found| found.in_words().replace(" %", "&nbsp;%")).collect();
    match sentences.split_first() {
        None => String::new(),
        Some((first, others)) => {
            let others: String = others.iter().map(|sentence| format!("; {sentence}")).collect();
            format!("<p class=\"plain\">The predictions are <b>{first}</b>{others}.</p>\n")
        }
    }
}

/// Overlap and distance of each structure, and its confidence against its accuracy where it is predicted.
fn table(cohort: &Cohort) -> String {
    let structures = cohort.structures();
    let held = |key: &&str| structures.iter().any(|of| cohort.row(Kind::Structure, of, key).is_some());
    let distance = ["hd95_max", "hd95_pooled"].into_iter().find(held);
    let scores = cohort.measure.kind != Prediction::Segmentation;
    let line = |of: &&str| {
        let overlap = mean(cohort, cohort.row(Kind::Structure, of, "dsc"));
        let distance = distance.map_or_else(String::new, |key| mean(cohort, cohort.row(Kind::Structure, of, key)));
        let calibration = if scores { calibration(cohort, of) } else { String::new() };
        let name = escape(&cohort.name(of));
        format!("<tr><th scope=\"row\">{name}</th>{overlap}{distance}{calibration}</tr>\n")
    };
    let lines: String = structures.iter().map(line).collect();
    let head = |title: &str, beneath: &str| format!("<th class=\"n\">{title}<br><small>{beneath}</small></th>");
    let mut heads = head("Overlap", "DSC &uarr;");
    if let Some(key) = distance {
        heads += &head("Distance", if key == "hd95_max" { "HD95 &darr;" } else { "HD95, pooled &darr;" });
    }
    if scores {
        heads += &(head("Confidence &minus; accuracy", "points [99 %] &rarr; 0") + &head("ECE", "&darr;"));
    }
    format!("<table><thead><tr><th>Structure</th>{heads}</tr></thead>\n<tbody>\n{lines}</tbody></table>")
}

/// A mean with its unit, and below it the interval in the same unit.
fn mean(cohort: &Cohort, row: Option<&Row>) -> String {
    let Some(row) = row else { return "<td class=\"n\">&ndash;</td>".into() };
    let ratio = row.metric.unit == "1";
    let digits = if ratio { 3 } else { 2 };
    let value = |value: f64| if value.is_finite() { format!("{value:.digits$}") } else { shown(value) };
    let unit = if ratio { String::new() } else { format!(" {}", cohort.unit(row.metric)) };
    let interval = row
        .interval
        .map_or_else(String::new, |[low, high]| format!("<br><small>[{}, {}]</small>", value(low), value(high)));
    format!("<td class=\"n\"><b>{}{unit}</b>{interval}</td>", value(row.summary.mean))
}

/// The excess confidence with its direction, and the ECE, over the voxels predicted to be the structure.
fn calibration(cohort: &Cohort, of: &str) -> String {
    let region = of
        .parse()
        .map_or_else(|_| format!("{of}/{}", Region::Predicted), |label| Region::PredictedAs(label).to_string());
    let Some(Verdict { excess, call }) = cohort.verdict(&region) else {
        return "<td class=\"n\">&ndash;</td><td class=\"n\">&ndash;</td>".into();
    };
    let (class, word) = match call {
        Call::Calibrated => ("", "interval includes 0"),
        Call::OverConfident => (" off", "&uarr; over-confident"),
        Call::UnderConfident => (" off", "&darr; under-confident"),
        Call::Undecided => ("", "too few cases"),
    };
    let interval = match call {
        Call::Undecided => String::new(),
        _ => format!(" [{}, {}]", points(excess.lower.max(-1.0)), points(excess.upper.min(1.0))),
    };
    format!(
        "<td class=\"n{class}\"><b>{}</b><small>{interval}</small><br><small>{word}</small></td>{}",
        points(excess.estimate),
        mean(cohort, cohort.row(Kind::Region, &region, "ece"))
    )
}

/// The advice that follows from the verdict.
fn advice(cohort: &Cohort, found: &[Found]) -> String {
    let Some(first) = found.first() else { return String::new() };
    let off = [Call::OverConfident, Call::UnderConfident];
    let text = match first.verdict.call {
        call if off.contains(&call) => correction(cohort, first.region),
        Call::Undecided => "Evaluate more cases: one or two are too few to estimate how far the mean is off.".into(),
        _ if found.iter().any(|found| off.contains(&found.verdict.call)) => format!(
            "Where a structure is predicted, no correction is needed. Over all voxels the mean confidence is off: if the \
             probability of background matters, {}",
            correction(cohort, Region::All)
        ),
        _ => "Nothing, judging by the mean confidence of these cases. Check the structures and the reliability \
              diagrams below: errors of opposite sign may cancel in a mean. Evaluate again for another scanner or hospital."
            .into(),
    };
    format!("<p class=\"do\"><b>What to do:</b> {text}</p>\n")
}

/// The two commands for post-hoc calibration, fitted over the region that the verdict is about.
fn correction(cohort: &Cohort, region: Region) -> String {
    let region = if region == Region::All { String::new() } else { format!(" --region {region}") };
    let scores = if cohort.measure.kind == Prediction::Scores(Scores::Logits) { "logits" } else { "probabilities" };
    format!(
        "fit a temperature on cases used neither in this evaluation nor in training, then apply it to these; overlap does \
         not change:<br><code>segcal calibrate fit temperature --{scores} HELD_OUT --labels HELD_OUT_LABELS{region} --out \
         map.json</code><br><code>segcal calibrate apply map.json --{scores} THESE --out calibrated</code><br>No \
         temperature is suggested here: it would be evaluated on the cases it was fitted to."
    )
}
