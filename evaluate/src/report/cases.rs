//! The list of cases, which the reader can sort and filter.

use segcal_data::output::escape;

use super::words::{grouped, points, shown};
use crate::cohort::{Cohort, Kind, Row};

/// Sorts the table by the column whose head is clicked, filters its rows by their first cell, and unfolds everything
/// for printing.
const SCRIPT: &str = include_str!("cases.js");

/// Number of cases that a page lists: with more, a browser is slow, and nobody reads them.
pub(super) const MOST_CASES: usize = 2000;

/// One row per case: the mean overlap and largest distance of its structures, and its calibration where a structure is
/// predicted. Of very many cases, those with the lowest overlap.
pub(super) fn table(cohort: &Cohort) -> String {
    let structures = cohort.structures();
    let rows =
        |key: &str| -> Vec<&Row> { structures.iter().filter_map(|of| cohort.row(Kind::Structure, of, key)).collect() };
    let overlaps = rows("dsc");
    let distances = ["hd95_max", "hd95_pooled"].map(rows).into_iter().find(|rows| !rows.is_empty()).unwrap_or_default();
    let [confidence, accuracy, ece] =
        ["confidence", "accuracy", "ece"].map(|key| cohort.row(Kind::Region, "predicted", key));
    let line = |case: usize| {
        let mut cells = cell(overlap(&overlaps, case), shown);
        cells += &cell(distances.iter().map(|row| row.values[case]).fold(f64::NAN, f64::max), shown);
        if let (Some(confidence), Some(accuracy), Some(ece)) = (confidence, accuracy, ece) {
            cells += &(cell(confidence.values[case] - accuracy.values[case], points) + &cell(ece.values[case], shown));
        }
        format!("<tr><td>{}</td>{cells}</tr>\n", escape(&cohort.cases[case].name))
    };
    let listed = worst(cohort.cases.len(), |case| overlap(&overlaps, case));
    let lead = match cohort.cases.len() {
        all if all > listed.len() => format!(
            "The {} of {} cases with the lowest mean overlap. ",
            grouped(listed.len() as u64),
            grouped(all as u64)
        ),
        _ => String::new(),
    };
    let lines: String = listed.into_iter().map(line).collect();
    let unit = cohort.length_unit().name();
    let mut heads = vec![
        ("Case", String::new()),
        ("Mean overlap", "DSC &uarr;".into()),
        ("Largest distance", format!("HD95, {unit} &darr;")),
    ];
    if ece.is_some() {
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
        "<h2 id=\"cases\">Cases</h2>\n<p class=\"lead\">{lead}Click a column title to sort. All metrics of every case: cases.csv.</p>\n\
         <p class=\"screen\"><input type=\"search\" placeholder=\"part of a case name\" aria-label=\"filter by name\"></p>\n\
         <div class=\"list\"><table class=\"sort\"><thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}</tbody></table></div>\n\
         <script>\n{SCRIPT}</script>\n"
    )
}

/// The mean overlap of the structures of a case; NaN if none has a value.
fn overlap(rows: &[&Row], case: usize) -> f64 {
    let defined: Vec<f64> = rows.iter().map(|row| row.values[case]).filter(|value| !value.is_nan()).collect();
    defined.iter().sum::<f64>() / defined.len() as f64
}

/// The numbers of the cases in their order, or of those with the lowest overlap if there are more than [`MOST_CASES`].
fn worst(cases: usize, overlap: impl Fn(usize) -> f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..cases).collect();
    if cases > MOST_CASES {
        let overlaps: Vec<f64> = order.iter().map(|&case| overlap(case)).collect();
        // Cases without a value last.
        let before = |a: f64, b: f64| a.is_nan().cmp(&b.is_nan()).then(a.total_cmp(&b));
        order.sort_by(|&a, &b| before(overlaps[a], overlaps[b]));
        order.truncate(MOST_CASES);
        order.sort_unstable();
    }
    order
}

/// A table cell with the number that its column is sorted by.
fn cell(value: f64, shown: impl Fn(f64) -> String) -> String {
    let key = if value.is_nan() { String::new() } else { format!(" data-by=\"{value:e}\"") };
    format!("<td class=\"n\"{key}>{}</td>", shown(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_cases_the_worst_are_listed_in_their_order() {
        assert_eq!(worst(MOST_CASES, |_| f64::NAN), (0..MOST_CASES).collect::<Vec<_>>());
        // Every second case has the overlap 1, and one has none.
        let overlap = |case: usize| if case == 4 { f64::NAN } else { (case % 2) as f64 };
        let listed = worst(2 * MOST_CASES, overlap);
        assert_eq!(listed.len(), MOST_CASES);
        assert_eq!(listed[..4], [0, 1, 2, 6], "one case with the overlap 1 in place of the one without");
        assert!(listed[2..].iter().all(|case| case % 2 == 0));
    }
}
