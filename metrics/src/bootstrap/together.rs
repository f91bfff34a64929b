//! Statistics of several columns of the same cases that share every draw: a case is drawn once for all of them, which
//! takes most of the time with very many cases.

use std::collections::BTreeMap;

use rayon::prelude::*;
use segcal_core::Rng;

use super::{Bootstrap, Interval, means_without};
use crate::stats::mean;

/// Number of columns that should share a draw: the values of one case are then a few cache lines, and the table stays
/// small.
pub const TOGETHER: usize = 32;

/// The BCa interval of the mean of each metric, over its values that are not NaN: that of [`Bootstrap::of_mean`] of
/// those values, bit for bit.
pub fn mean_intervals(metrics: &[&[f64]], replicates: usize, seed: u64, level: f64) -> Vec<Interval> {
    let mut by_count: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (number, values) in metrics.iter().enumerate() {
        by_count.entry(defined(values).count()).or_default().push(number);
    }
    let mut intervals = vec![Interval { estimate: f64::NAN, lower: f64::NAN, upper: f64::NAN }; metrics.len()];
    for (cases, numbers) in by_count {
        for numbers in numbers.chunks(TOGETHER) {
            let own: Vec<&[f64]> = numbers.iter().map(|&number| metrics[number]).collect();
            let drawn = means(&own, cases, replicates, seed);
            let interval = |place: usize| {
                let values: Vec<f64> = defined(own[place]).collect();
                let replicates = drawn.iter().skip(place).step_by(own.len()).copied().collect();
                let jackknife = (0..cases).map(means_without(&values)).collect();
                Bootstrap::of_values(mean(values.iter().copied()), replicates, jackknife).bca(level)
            };
            let found: Vec<Interval> = (0..own.len()).into_par_iter().map(interval).collect();
            numbers.iter().zip(found).for_each(|(&number, found)| intervals[number] = found);
        }
    }
    intervals
}

fn defined(values: &[f64]) -> impl Iterator<Item = f64> {
    values.iter().copied().filter(|value| !value.is_nan())
}

/// The means over the cases of each replicate, `[replicate][metric]`. Each metric has `cases` defined values.
fn means(metrics: &[&[f64]], cases: usize, replicates: usize, seed: u64) -> Vec<f64> {
    let width = metrics.len();
    let mut table = vec![0.0; cases * width];
    for (place, values) in metrics.iter().enumerate() {
        table.chunks_exact_mut(width).zip(defined(values)).for_each(|(row, value)| row[place] = value);
    }
    let mut sums = replicate_sums(&table, width, replicates, seed);
    sums.iter_mut().for_each(|sum| *sum /= cases as f64);
    sums
}

/// The sums over the cases that [`Bootstrap::new`] draws for each replicate, `[replicate][column]`, of a table
/// `[case][column]`. They are added in the order of the draw.
///
/// # Panics
/// `columns` is 0, or does not divide the length of the table.
pub fn replicate_sums(table: &[f64], columns: usize, replicates: usize, seed: u64) -> Vec<f64> {
    assert!(columns > 0 && table.len().is_multiple_of(columns), "{} numbers in {columns} columns", table.len());
    let cases = table.len() / columns;
    let mut sums = vec![0.0; replicates * columns];
    sums.par_chunks_exact_mut(columns).enumerate().for_each(|(number, sums)| {
        let rng = Rng::new(seed).stream(number as u64);
        for draw in 0..cases as u64 {
            let at = rng.below(draw, cases) * columns;
            sums.iter_mut().zip(&table[at..at + columns]).for_each(|(sum, value)| *sum += value);
        }
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 70 metrics of 30 cases, some with undefined or infinite values, against the bootstrap of each.
    #[test]
    fn intervals_together_are_those_of_each_metric_to_the_bit() {
        let value = |metric: u64, case: u64| match (metric % 7, case % 5) {
            (1, 0) | (2, 1 | 3) | (5, 1..) => f64::NAN,
            (3, 4) => f64::INFINITY,
            (4, _) => 0.25,
            _ => Rng::new(metric).normal(case) - 0.5,
        };
        let metrics: Vec<Vec<f64>> = (0..70).map(|metric| (0..30).map(|case| value(metric, case)).collect()).collect();
        let metrics: Vec<&[f64]> = metrics.iter().map(Vec::as_slice).chain([&[][..], &[f64::NAN]]).collect();
        // The sign of a NaN does not matter.
        let bits =
            |of: Interval| [of.estimate, of.lower, of.upper].map(|end| if end.is_nan() { 0 } else { end.to_bits() });
        let together = mean_intervals(&metrics, 100, 3, 0.95);
        for (values, together) in metrics.iter().zip(together) {
            let values: Vec<f64> = defined(values).collect();
            assert_eq!(bits(together), bits(Bootstrap::of_mean(&values, 100, 3).bca(0.95)), "{values:?}");
        }
    }
}
