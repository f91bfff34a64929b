//! What metrics are called on a page, and how many digits of a number are shown.

use segcal_metrics::metric::{Better, Metric};

/// Titles of the metrics, whose keys stand beneath.
const TITLES: [(&str, &str); 26] = [
    ("dsc", "Overlap (Dice)"),
    ("iou", "Overlap (IoU)"),
    ("sensitivity", "Sensitivity"),
    ("precision", "Precision"),
    ("volume_error", "Volume error"),
    ("hd", "Hausdorff distance"),
    ("hd95_max", "95 % distance, larger direction"),
    ("hd95_pooled", "95 % distance, directions pooled"),
    ("asd", "Mean distance, prediction to reference"),
    ("assd", "Mean distance, directions pooled"),
    ("masd", "Mean distance, mean of directions"),
    ("nsd", "Surface agreement"),
    ("ece", "Calibration error"),
    ("mce", "Largest error of a bin"),
    ("ace", "Error, bins weighted equally"),
    ("aece", "Error, bins of equal mass"),
    ("cece_mean", "Error by class, mean"),
    ("cece_sum", "Error by class, sum"),
    ("tace", "Error by class, equal mass"),
    ("tcece", "Error by class, above a threshold"),
    ("brier", "Brier score"),
    ("brier_foreground", "Brier score, structure or not"),
    ("brier_plus", "Brier score, reference structures"),
    ("nll", "Negative log-likelihood"),
    ("accuracy", "Accuracy"),
    ("confidence", "Mean confidence"),
];

/// A metric's title in words; its key, where it has none.
pub fn title(metric: &Metric) -> &'static str {
    TITLES.iter().find(|(key, _)| *key == metric.key).map_or(metric.key, |(_, title)| title)
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

/// As many digits as mean something: four decimals of small errors, fewer of large numbers.
pub fn shown(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        "&ndash;".into()
    } else if value.is_infinite() {
        if value > 0.0 { "&infin;".into() } else { "&minus;&infin;".into() }
    } else if value != 0.0 && size < 1e-3 {
        format!("{value:.1e}")
    } else if size < 0.1 {
        format!("{value:.4}")
    } else if size < 10.0 {
        format!("{value:.3}")
    } else {
        format!("{value:.2}")
    }
}

/// A share in percentage points, with its sign.
pub fn points(share: f64) -> String {
    if share.is_finite() { format!("{:+.1}", 100.0 * share) } else { "&ndash;".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use segcal_metrics::definitions::METRICS;

    #[test]
    fn every_metric_has_a_title_and_every_title_a_metric() {
        assert!(METRICS.iter().all(|metric| title(metric) != metric.key));
        assert!(TITLES.iter().all(|(key, _)| METRICS.iter().any(|metric| metric.key == *key)));
    }

    #[test]
    fn digits_by_size() {
        let numbers = [0.00012, 0.02094, 0.7368, 7.7121, 123.456, f64::NAN];
        assert_eq!(numbers.map(shown), ["1.2e-4", "0.0209", "0.737", "7.712", "123.46", "&ndash;"]);
    }
}
