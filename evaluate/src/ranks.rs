//! Ranks of methods by several metrics, from which tables of ranks are computed.

use segcal_metrics::ranking::{Setting, Ties, friedman_rank};
use segcal_metrics::stats::mean_defined;

use super::methods::Column;

/// Each method's mean of a metric over the cases that have a value.
pub fn means(column: &Column) -> Vec<f64> {
    column.values.iter().map(|values| mean_defined(values.iter().copied())).collect()
}

/// One setting from the [`means`] of a metric.
pub fn of_means(column: &Column) -> Setting {
    Setting { better: column.better(), values: means(column) }
}

/// One setting from the values of a metric in one case; `None` if every method's value is undefined.
pub fn of_case(column: &Column, case: usize) -> Option<Setting> {
    let values: Vec<f64> = column.values.iter().map(|values| values[case]).collect();
    let defined = values.iter().any(|value| !value.is_nan());
    defined.then(|| Setting { better: column.better(), values })
}

/// For each case, the mean rank of each method over the metrics, all of which are of the same cases. A metric that is
/// undefined for every method in a case has no rank there, and a case without any metric is left out.
pub fn within_cases(columns: &[&Column], ties: Ties) -> Vec<Vec<f64>> {
    let cases = columns.first().map_or(0, |column| column.values[0].len());
    (0..cases)
        .map(|case| columns.iter().filter_map(|column| of_case(column, case)).collect::<Vec<Setting>>())
        .filter(|settings| !settings.is_empty())
        .map(|settings| friedman_rank(&settings, ties))
        .collect()
}
