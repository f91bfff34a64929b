//! `docs/definitions.md` knows every metric.

use segcal_metrics::definitions::METRICS;

#[test]
fn every_metric_has_a_row_with_its_unit() {
    let page = include_str!("../../../docs/definitions.md");
    for metric in METRICS {
        let start = format!("| `{}` | ", metric.key);
        let row = page.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no row {start}"));
        let cells: Vec<&str> = row.split(" | ").collect();
        // Key, formula, for calibration mean or sum, unit, source.
        assert_eq!(cells[cells.len() - 2], metric.unit, "{row}");
    }
}
