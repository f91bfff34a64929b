//! Arrows and number formats.

use segcal_metrics::metric::{Better, Metric};

use crate::verdict;

/// An arrow that shows whether higher or lower is better; empty for metrics that do not judge.
pub fn arrow(metric: &Metric) -> &'static str {
    match metric.better {
        _ if !metric.judges() => "",
        Better::Higher => "&uarr;",
        Better::Lower => "&darr;",
        Better::Zero => "&rarr; 0",
    }
}

/// Formats a number with as many digits as are meaningful: four decimals for small errors, fewer for large numbers.
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

/// Formats a fraction in percentage points, with its sign.
pub fn points(share: f64) -> String {
    if share.is_finite() { verdict::points(share) } else { "&ndash;".into() }
}

/// A count with a comma before each three digits.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        assert_eq!([0, 999, 1_000, 43_500, 1_234_567].map(grouped), ["0", "999", "1,000", "43,500", "1,234,567"]);
    }

    #[test]
    fn digits_by_size() {
        let numbers = [0.00012, 0.02094, 0.7368, 7.7121, 123.456, f64::NAN];
        assert_eq!(numbers.map(shown), ["1.2e-4", "0.0209", "0.737", "7.712", "123.46", "&ndash;"]);
    }
}
