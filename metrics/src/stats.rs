//! Means and percentiles.

/// The mean, summed in the given order; NaN if there is no value.
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), value| (sum + value, count + 1));
    sum / count as f64
}

/// The mean of the values that are not NaN; NaN if there is none.
pub fn mean_defined(values: impl Iterator<Item = f64>) -> f64 {
    mean(values.filter(|value| !value.is_nan()))
}

/// The percentile of ascending values by linear interpolation between closest ranks: at rank `(n - 1) percent / 100`.
///
/// # Panics
/// There is no value.
#[expect(clippy::cast_possible_truncation, reason = "a rank, below the number of values")]
pub fn percentile(ascending: &[f64], percent: f64) -> f64 {
    let rank = (ascending.len() - 1) as f64 * percent / 100.0;
    let below = ascending[rank.floor() as usize];
    let above = ascending[rank.ceil() as usize];
    let part = rank - rank.floor();
    // Interpolating from the nearer end makes both ends exact.
    if part < 0.5 { below + (above - below) * part } else { above - (above - below) * (1.0 - part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate() {
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 50.0), 2.0);
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 75.0), 3.0);
        assert_eq!(percentile(&[5.0], 95.0), 5.0);
    }

    #[test]
    fn means_by_hand() {
        assert_eq!(mean_defined([1.0, f64::NAN, 3.0].into_iter()), 2.0);
        assert!(mean(std::iter::empty()).is_nan());
    }
}
