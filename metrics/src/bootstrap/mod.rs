//! Bootstrap confidence intervals over cases: percentile and BCa, for any statistic of a set of cases.
//!
//! Cases are drawn with replacement. Replicate `r` uses its own stream of the counter-based generator, so the same seed
//! gives the same interval for any number of threads. Source: Efron and Tibshirani 1993, chapters 13 and 14.

mod together;

pub use together::{TOGETHER, mean_intervals, replicate_sums};

use rayon::prelude::*;
use segcal_core::Rng;
use serde::{Deserialize, Serialize};

use crate::special::{normal_cdf, normal_quantile};
use crate::stats::{mean_defined, percentile};

/// Default number of replicates.
pub const DEFAULT_REPLICATES: usize = 2000;

/// An estimate with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The statistic of all cases.
    pub estimate: f64,
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

/// The bootstrap distribution of a statistic.
#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrap {
    estimate: f64,
    /// Statistics of the replicates, ascending, without NaN values.
    replicates: Vec<f64>,
    /// Leave-one-out statistics.
    jackknife: Vec<f64>,
}

impl Bootstrap {
    /// Draws `replicates` samples of `cases` cases and computes `figure` for each sample, given as case numbers in the
    /// order of the draw. `figure` may return NaN (for a sample without any defined case); such replicates do not
    /// count.
    pub fn new(cases: usize, replicates: usize, seed: u64, figure: impl Fn(&[usize]) -> f64 + Sync) -> Self {
        Self::drawn(cases, replicates, seed, |rng| drawn(rng, cases), &figure, others(cases, &figure))
    }

    /// As [`Bootstrap::new`], for a statistic whose leave-one-out values `without` computes directly: with many cases,
    /// recomputing them with `figure` would take most of the time.
    pub fn leaving_out(
        cases: usize,
        replicates: usize,
        seed: u64,
        figure: impl Fn(&[usize]) -> f64 + Sync,
        without: impl Fn(usize) -> f64 + Sync,
    ) -> Self {
        Self::drawn(cases, replicates, seed, |rng| drawn(rng, cases), figure, without)
    }

    /// As [`Bootstrap::leaving_out`], for cases in several groups (data sets), numbered group by group: each replicate
    /// draws as many cases from each group as the group has.
    pub fn stratified(
        groups: &[usize],
        replicates: usize,
        seed: u64,
        figure: impl Fn(&[usize]) -> f64 + Sync,
        without: impl Fn(usize) -> f64 + Sync,
    ) -> Self {
        let draw = |rng: Rng| {
            let first = |group: usize| groups[..group].iter().sum::<usize>();
            let of_group = |(group, &cases): (usize, &usize)| {
                let rng = rng.stream(group as u64);
                (0..cases as u64).map(move |draw| first(group) + rng.below(draw, cases)).collect::<Vec<_>>()
            };
            groups.iter().enumerate().flat_map(of_group).collect()
        };
        let cases = groups.iter().sum();
        Self::drawn(cases, replicates, seed, draw, figure, without)
    }

    fn drawn(
        cases: usize,
        replicates: usize,
        seed: u64,
        draw: impl Fn(Rng) -> Vec<usize> + Sync,
        figure: impl Fn(&[usize]) -> f64 + Sync,
        without: impl Fn(usize) -> f64 + Sync,
    ) -> Self {
        let all: Vec<usize> = (0..cases).collect();
        let replicate = |number: usize| figure(&draw(Rng::new(seed).stream(number as u64)));
        let drawn = if cases == 0 { 0 } else { replicates };
        let values = (0..drawn).into_par_iter().map(replicate).collect();
        Self::of_values(figure(&all), values, (0..cases).into_par_iter().map(&without).collect())
    }

    /// The distribution with this estimate, these statistics of replicates, and these leave-one-out statistics.
    pub fn of_values(estimate: f64, mut replicates: Vec<f64>, mut jackknife: Vec<f64>) -> Self {
        replicates.retain(|value| !value.is_nan());
        replicates.sort_unstable_by(f64::total_cmp);
        jackknife.retain(|value| !value.is_nan());
        Self { estimate, replicates, jackknife }
    }

    /// Bootstraps the mean of one value per case, without NaN values.
    pub fn of_mean(values: &[f64], replicates: usize, seed: u64) -> Self {
        let figure = |sample: &[usize]| mean_defined(sample.iter().map(|&case| values[case]));
        Self::leaving_out(values.len(), replicates, seed, figure, means_without(values))
    }

    /// Bootstraps the mean paired difference `a - b`, without cases where either value is missing.
    ///
    /// # Panics
    /// The two differ in length.
    pub fn of_difference(a: &[f64], b: &[f64], replicates: usize, seed: u64) -> Self {
        assert_eq!(a.len(), b.len(), "paired values");
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        Self::of_mean(&differences, replicates, seed)
    }

    /// Statistics of the replicates, ascending.
    pub fn replicates(&self) -> &[f64] {
        &self.replicates
    }

    /// The percentile interval at a level such as 0.95: quantiles of the replicates.
    pub fn percentile(&self, level: f64) -> Interval {
        let tail = (1.0 - level) / 2.0;
        self.between(tail, 1.0 - tail)
    }

    /// The bias-corrected and accelerated interval at this level.
    ///
    /// With `z0 = quantile(share of replicates below the estimate)`, where ties count half, and
    /// `a = sum d^3 / (6 (sum d^2)^1.5)` from the jackknife deviations `d`, the ends are the replicates' quantiles at
    /// `cdf(z0 + (z0 + z) / (1 - a (z0 + z)))`. If all replicates are on one side of the estimate, or the jackknife
    /// values do not vary, this is undefined and the percentile interval is returned.
    pub fn bca(&self, level: f64) -> Interval {
        let below = self.replicates.partition_point(|&value| value < self.estimate);
        let not_above = self.replicates.partition_point(|&value| value <= self.estimate);
        let z0 = normal_quantile((below + not_above) as f64 / (2 * self.replicates.len()) as f64);
        let centre = self.jackknife.iter().sum::<f64>() / self.jackknife.len() as f64;
        let moment = |power: i32| self.jackknife.iter().map(|value| (centre - value).powi(power)).sum::<f64>();
        let acceleration = moment(3) / (6.0 * moment(2).powf(1.5));
        if !(z0.is_finite() && acceleration.is_finite()) {
            return self.percentile(level);
        }
        let end = |tail: f64| {
            let z = z0 + normal_quantile(tail);
            normal_cdf(z0 + z / (1.0 - acceleration * z))
        };
        let tail = (1.0 - level) / 2.0;
        self.between(end(tail), end(1.0 - tail))
    }

    /// The studentised interval of the mean of one value per case, for few cases. The quantiles of
    /// `(mean* - mean) / se*` over the replicates replace those of Student's t, so the coverage is close to the level
    /// from about five cases on, where the other intervals are too short. Efron and Tibshirani 1993, chapter 12.5.
    ///
    /// NaN values are ignored. The ends are infinite for fewer than three values, or if too few replicates vary.
    pub fn studentised_mean(values: &[f64], replicates: usize, seed: u64, level: f64) -> Interval {
        let defined: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        let (estimate, error) = mean_and_error(defined.iter().copied(), defined.len());
        let draw = |sample: &mut Vec<f64>, number: usize| {
            let rng = Rng::new(seed).stream(number as u64);
            sample.clear();
            sample.extend((0..defined.len() as u64).map(|draw| defined[rng.below(draw, defined.len())]));
            let (mean, error) = mean_and_error(sample.iter().copied(), defined.len());
            (mean - estimate) / error
        };
        let open = Interval { estimate, lower: f64::NEG_INFINITY, upper: f64::INFINITY };
        if defined.len() < 3 {
            return open;
        }
        if error == 0.0 {
            return Interval { estimate, lower: estimate, upper: estimate };
        }
        let drawn = (0..replicates).into_par_iter().map_init(Vec::new, draw);
        let mut t: Vec<f64> = drawn.filter(|t| t.is_finite()).collect();
        if t.len() < replicates / 2 {
            return open;
        }
        t.sort_unstable_by(f64::total_cmp);
        let tail = 50.0 * (1.0 - level);
        let end = |percent: f64| estimate - error * percentile(&t, percent);
        Interval { estimate, lower: end(100.0 - tail), upper: end(tail) }
    }

    fn between(&self, low: f64, high: f64) -> Interval {
        let at = |share: f64| match self.replicates.as_slice() {
            [] => f64::NAN,
            values => percentile(values, 100.0 * share),
        };
        Interval { estimate: self.estimate, lower: at(low), upper: at(high) }
    }
}

/// Draws as many case numbers as there are cases, with replacement.
fn drawn(rng: Rng, cases: usize) -> Vec<usize> {
    (0..cases as u64).map(|draw| rng.below(draw, cases)).collect()
}

/// The statistic of all cases except one.
fn others(cases: usize, figure: impl Fn(&[usize]) -> f64) -> impl Fn(usize) -> f64 {
    move |left_out| figure(&(0..cases).filter(|&case| case != left_out).collect::<Vec<usize>>())
}

/// The mean of the values that are not NaN without that of one case. It is computed from the sum over all cases, so all of
/// them take linear time; it differs from the mean of the others by the rounding of that sum.
pub fn means_without(values: &[f64]) -> impl Fn(usize) -> f64 + Sync {
    let defined = || values.iter().copied().filter(|value| !value.is_nan());
    let (sum, count) = (defined().sum::<f64>(), defined().count() as f64);
    move |case| match values[case] {
        own if own.is_nan() => sum / count,
        own if sum.is_finite() => (sum - own) / (count - 1.0),
        _ => others(values.len(), |sample: &[usize]| mean_defined(sample.iter().map(|&case| values[case])))(case),
    }
}

/// Mean of `count` values and its standard error, with `count - 1` degrees of freedom.
fn mean_and_error(values: impl Iterator<Item = f64> + Clone, count: usize) -> (f64, f64) {
    let count = count as f64;
    let centre = values.clone().sum::<f64>() / count;
    let squares: f64 = values.map(|value| (value - centre).powi(2)).sum();
    (centre, (squares / (count - 1.0) / count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_drawn_apart() {
        // Two groups of one case each: every sample consists of both cases.
        let mean = |sample: &[usize]| mean_defined(sample.iter().map(|&case| [2.0, 4.0][case]));
        let interval = Bootstrap::stratified(&[1, 1], 50, 3, mean, means_without(&[2.0, 4.0]));
        assert!(interval.replicates().iter().all(|&mean| mean == 3.0));
        assert_eq!(interval.jackknife, [4.0, 2.0]);
        let count =
            |sample: &[usize]| sample.iter().filter(|&&case| case < 3).count() as f64 + 10.0 * sample.len() as f64;
        let counts = Bootstrap::stratified(&[3, 5], 50, 3, count, others(8, count));
        assert!(counts.replicates().iter().all(|&count| count == 83.0));
    }

    #[test]
    fn a_constant_has_an_interval_of_no_width() {
        let interval = Bootstrap::of_mean(&[2.0; 7], 200, 1).bca(0.95);
        assert_eq!(interval, Interval { estimate: 2.0, lower: 2.0, upper: 2.0 });
    }

    #[test]
    fn a_mean_without_one_case_is_that_of_the_others() {
        let values: Vec<f64> = (0..40).map(|i| if i == 7 { f64::NAN } else { Rng::new(2).normal(i) }).collect();
        let mean = |sample: &[usize]| mean_defined(sample.iter().map(|&case| values[case]));
        let (at_once, each) = (Bootstrap::of_mean(&values, 200, 3), Bootstrap::new(values.len(), 200, 3, mean));
        assert_eq!(at_once.replicates, each.replicates);
        // Sums of 40 numbers near 1 are accurate to 40 roundings.
        let close = at_once.jackknife.iter().zip(&each.jackknife).all(|(a, b)| (a - b).abs() < 40.0 * f64::EPSILON);
        assert!(close && at_once.jackknife.len() == 40);
        let infinite = Bootstrap::of_mean(&[1.0, f64::INFINITY, 3.0], 10, 1);
        assert_eq!(infinite.jackknife, [f64::INFINITY, 2.0, f64::INFINITY]);
    }

    #[test]
    fn no_case_no_number() {
        let interval = Bootstrap::of_mean(&[], 100, 1).percentile(0.95);
        assert!(interval.estimate.is_nan() && interval.lower.is_nan() && interval.upper.is_nan());
        let undefined = Bootstrap::of_mean(&[f64::NAN, 3.0], 100, 1);
        assert_eq!(undefined.percentile(0.95).estimate, 3.0);
        assert!(undefined.replicates().len() < 100, "samples of the undefined case alone do not count");
    }

    #[test]
    fn the_seed_decides_and_the_threads_do_not() {
        let values: Vec<f64> = (0..20).map(|i| f64::from(i * i % 7)).collect();
        let with = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| Bootstrap::of_mean(&values, 300, seed))
        };
        assert_eq!(with(1, 5), with(3, 5));
        assert_ne!(with(1, 5), with(1, 6));
    }

    /// The mean of n normal numbers: half the width of the 95 % interval is 1.96 / sqrt(n), up to about 10 % for the
    /// sample's own standard deviation (n = 200) and the replicates.
    #[test]
    fn the_width_for_normal_numbers() {
        let values: Vec<f64> = (0..200).map(|i| Rng::new(3).normal(i)).collect();
        let bootstrap = Bootstrap::of_mean(&values, 4000, 9);
        for interval in [bootstrap.percentile(0.95), bootstrap.bca(0.95)] {
            let width = (interval.upper - interval.lower) / (2.0 * 1.96 / 200_f64.sqrt());
            assert!((width - 1.0).abs() < 0.2, "{width}");
        }
    }

    /// All 27 samples of three cases: the percentile and BCa ends are known in the limit of many replicates.
    #[test]
    fn three_cases_against_enumeration() {
        let values = [0.0, 1.0, 5.0];
        let mut means: Vec<f64> = (0..27).map(|i| (values[i % 3] + values[i / 3 % 3] + values[i / 9]) / 3.0).collect();
        means.sort_by(f64::total_cmp);
        let bootstrap = Bootstrap::of_mean(&values, 20_000, 2);
        let interval = bootstrap.percentile(0.8);
        assert_eq!(interval.lower, means[2], "10 % of 27: the third smallest");
        assert_eq!(interval.upper, means[24]);
        // The limits of the quantile levels that BCa uses.
        let below = means.iter().filter(|&&mean| mean < 2.0).count();
        let equal = means.iter().filter(|&&mean| mean == 2.0).count();
        let z0 = normal_quantile((below as f64 + equal as f64 / 2.0) / 27.0);
        let d = [3.0 - 2.0, 2.5 - 2.0, 0.5 - 2.0].map(|left_out: f64| -left_out);
        let a = d.iter().map(|d| d.powi(3)).sum::<f64>() / (6.0 * d.iter().map(|d| d * d).sum::<f64>().powf(1.5));
        let end = |tail: f64| {
            let z = z0 + normal_quantile(tail);
            (27.0 * normal_cdf(z0 + z / (1.0 - a * z))).floor() as usize
        };
        let bca = bootstrap.bca(0.8);
        assert_eq!((bca.lower, bca.upper), (means[end(0.1)], means[end(0.9)]));
    }

    /// SciPy's `bootstrap` with 200,000 replicates. The density of the mean at the ends is about 0.13, so a quantile of
    /// 20,000 replicates has a standard error of sqrt(0.05 * 0.95 / 20,000) / 0.13 = 0.012; four of them.
    #[test]
    fn intervals_as_scipy() {
        let values =
            [0.512, 4.078, 2.032, 4.346, 5.242, 2.172, 1.661, 0.495, 2.285, 0.558, 1.164, 5.072, 2.128, 4.661, 2.625];
        let bootstrap = Bootstrap::of_mean(&values, 20_000, 3);
        let near = |interval: Interval, lower: f64, upper: f64| {
            assert!((interval.lower - lower).abs() < 0.048 && (interval.upper - upper).abs() < 0.048, "{interval:?}");
        };
        near(bootstrap.bca(0.9), 1.944_21, 3.325_40);
        near(bootstrap.percentile(0.9), 1.924_93, 3.303_54);
    }

    #[test]
    fn paired_differences_are_narrower_than_unpaired() {
        let a: Vec<f64> = (0..30).map(|i| f64::from(i) + 0.5).collect();
        let b: Vec<f64> = (0..30).map(f64::from).collect();
        let interval = Bootstrap::of_difference(&a, &b, 200, 4).percentile(0.95);
        assert_eq!((interval.estimate, interval.lower, interval.upper), (0.5, 0.5, 0.5));
    }

    /// For eight normal numbers the 95 % interval of Student's t misses the mean 5 times in 100; the other intervals
    /// miss it twice as often.
    #[test]
    fn the_studentised_interval_covers_the_mean_of_few_values() {
        let misses = (0..300).filter(|&trial| {
            let values: Vec<f64> = (0..8).map(|i| Rng::new(trial).normal(i)).collect();
            let interval = Bootstrap::studentised_mean(&values, 1000, 1, 0.95);
            !(interval.lower..=interval.upper).contains(&0.0)
        });
        let misses = misses.count();
        assert!((3..=30).contains(&misses), "{misses} of 300");
        let two = Bootstrap::studentised_mean(&[1.0, 2.0], 100, 1, 0.95);
        assert_eq!((two.estimate, two.lower), (1.5, f64::NEG_INFINITY));
        assert_eq!(Bootstrap::studentised_mean(&[2.0; 5], 100, 1, 0.95).upper, 2.0);
    }
}
