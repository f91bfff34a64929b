//! The page of the demo: four reliability diagrams side by side, with a sentence for each.

use std::path::PathBuf;

use segcal_core::Result;
use segcal_data::output::OutputFolder;
use segcal_evaluate::report::html::{document, section_of};
use segcal_evaluate::report::plot::{Plot, Section};
use segcal_evaluate::report::plots;
use segcal_evaluate::report::words::{points, shown};
use segcal_metrics::calibration::Region;

use super::Arm;
use crate::output::{self, escape};

const LEAD: &str = "<p class=\"lead\">Synthetic volumes with two structures, blurred borders and noise. The same network is trained on \
    four of them with cross entropy and with a calibration loss; the first is also recalibrated with a temperature fitted on six \
    other volumes. Everything here is measured on twelve volumes that no network has seen, where a structure is predicted. \
    Where a bar reaches the diagonal, accuracy equals confidence.</p>\n";

/// Writes `report.html` and returns its path.
pub(super) fn write(arms: &[Arm], folder: &OutputFolder) -> Result<PathBuf> {
    let mut diagrams = Vec::new();
    for arm in arms {
        if let Some(plot) = plots::reliability(&arm.cohort, Region::Predicted)? {
            let caption = format!("{}: {}.", arm.title, arm.in_words());
            diagrams.push(Plot { name: format!("reliability-{}", arm.name), caption, ..plot });
        }
    }
    let body = format!(
        "<h1>The same network, four ways</h1>\n{LEAD}{}<div style=\"max-width:46rem\">{}</div>",
        table(arms),
        section_of(Section::Reliability, &diagrams)
    );
    let path = folder.file("report.html")?;
    output::write_text(&path, &document("segcal demo", &body))?;
    Ok(path)
}

fn table(arms: &[Arm]) -> String {
    let line = |arm: &Arm| {
        let [dsc, ece] = arm.figures().map(|(_, value)| format!("<td class=\"n\">{}</td>", shown(value)));
        let excess = arm.found().map_or_else(
            || "<td class=\"n\">&ndash;</td><td></td>".into(),
            |found| {
                let excess = found.verdict.excess;
                let [mean, low, high] = [excess.estimate, excess.lower, excess.upper].map(points);
                format!(
                    "<td class=\"n\"><b>{mean}</b> <small>[{low}, {high}]</small></td><td>{}</td>",
                    found.verdict.call.name()
                )
            },
        );
        let change = arm.change(&arms[0]).map_or_else(
            || "<td class=\"n\">&ndash;</td>".into(),
            |change| {
                let [mean, low, high] = [change.estimate, change.lower, change.upper].map(points);
                format!("<td class=\"n\"><b>{mean}</b> <small>[{low}, {high}]</small></td>")
            },
        );
        let title = escape(&arm.title);
        format!(
            "<tr><td><a href=\"evaluation-{}/report.html\">{title}</a></td>{dsc}{ece}{excess}{change}</tr>\n",
            arm.name
        )
    };
    let lines: String = arms.iter().map(line).collect();
    format!(
        "<div class=\"wide\"><table><thead><tr><th></th><th class=\"n\">Dice<br><small>&uarr;</small></th>\
         <th class=\"n\">ECE<br><small>mean of cases &darr;</small></th><th class=\"n\">Confidence &minus; accuracy<br>\
         <small>points [99 %] &rarr; 0</small></th><th>Verdict</th>\
         <th class=\"n\">Change<br><small>from cross entropy, points [99 %]</small></th></tr></thead>\n{lines}</table></div>\n"
    )
}
