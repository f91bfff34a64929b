//! The list of cases, which the reader can sort and filter.

use segcal_data::output::escape;

use super::words::{points, shown};
use crate::cohort::{Cohort, Kind};

/// Sorts the table by the column whose head is clicked, filters its rows by their first cell, and unfolds everything
/// for printing.
const SCRIPT: &str = include_str!("cases.js");

/// One row per case: the mean overlap and largest distance of its structures, and its calibration where a structure is
/// predicted.
pub(super) fn table(cohort: &Cohort) -> String {
    let structures = cohort.structures();
    let held = |key: &&str| structures.iter().any(|of| cohort.row(Kind::Structure, of, key).is_some());
    let distance = ["hd95_max", "hd95_pooled"].into_iter().find(held).unwrap_or("hd95_max");
    let region = |key: &str, case: usize| cohort.row(Kind::Region, "predicted", key).map(|row| row.values[case]);
    let line = |case: usize| {
        let of = |key: &str| {
            structures
                .iter()
                .filter_map(|of| Some(cohort.row(Kind::Structure, of, key)?.values[case]))
                .filter(|value| !value.is_nan())
                .collect::<Vec<f64>>()
        };
        let overlaps = of("dsc");
        let mut cells = cell(overlaps.iter().sum::<f64>() / overlaps.len() as f64, shown);
        cells += &cell(of(distance).into_iter().fold(f64::NAN, f64::max), shown);
        if let (Some(confidence), Some(accuracy), Some(ece)) =
            (region("confidence", case), region("accuracy", case), region("ece", case))
        {
            cells += &(cell(confidence - accuracy, points) + &cell(ece, shown));
        }
        format!("<tr><td>{}</td>{cells}</tr>\n", escape(&cohort.cases[case].case))
    };
    let lines: String = (0..cohort.cases.len()).map(line).collect();
    let unit = cohort.length_unit().name();
    let mut heads = vec![
        ("Case", String::new()),
        ("Mean overlap", "DSC &uarr;".into()),
        ("Largest distance", format!("HD95, {unit} &darr;")),
    ];
    if region("ece", 0).is_some() {
        heads.push(("Confidence &minus; accuracy", "predicted, points &rarr; 0".into()));
        heads.push(("ECE", "predicted &darr;".into()));
    }
    let head = |(number, (title, beneath)): (usize, &(&str, String))| {
        format!(
            "<th{}><button>{title}</button><br><small>{beneath}</small></th>",
            if number > 0 { " class=\"n\"" } else { "" }
        )
    };
    let heads: String = heads.iter().enumerate().map(head).collect();
    format!(
        "<h2 id=\"cases\">Cases</h2>\n<p class=\"lead\">Click a column title to sort. All metrics of every case: cases.csv.</p>\n\
         <p class=\"screen\"><input type=\"search\" placeholder=\"part of a case name\" aria-label=\"filter by name\"></p>\n\
         <div class=\"list\"><table class=\"sort\"><thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}</tbody></table></div>\n\
         <script>\n{SCRIPT}</script>\n"
    )
}

/// A table cell with the number that its column is sorted by.
fn cell(value: f64, shown: impl Fn(f64) -> String) -> String {
    let key = if value.is_nan() { String::new() } else { format!(" data-by=\"{value:e}\"") };
    format!("<td class=\"n\"{key}>{}</td>", shown(value))
}
