//! Ranking methods over several metrics, data sets and cases.
//!
//! A [`Setting`] is one column of a table: a metric on a data set, with one value per method. Ranks start at 1, the
//! best; a missing value (NaN) ranks last. The caller chooses how ties are ranked with [`Ties`].

use rayon::prelude::*;
use segcal_core::Rng;
use serde::{Deserialize, Serialize};

use crate::bootstrap::Interval;
use crate::metric::Better;
use crate::special::chi_square_survival;
use crate::stats::{mean, mean_defined, percentile};

/// How equal values are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// Each gets the smallest of their ranks (competition ranking); this reproduces the CRaC paper's tables.
    Minimum,
    /// Each gets the mean of their ranks; Friedman's test is defined this way.
    Mean,
}

impl Ties {
    /// The name used on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minimum => "min",
            Self::Mean => "mean",
        }
    }
}

/// One column of a table of results: a value per method.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The better direction of the metric.
    pub better: Better,
    /// One value per method; NaN if it is missing.
    pub values: Vec<f64>,
}

impl Setting {
    /// The rank of each method.
    pub fn ranks(&self, ties: Ties) -> Vec<f64> {
        let badness = |value: &f64| match self.better {
            Better::Higher => -value,
            Better::Lower => *value,
            Better::Zero => value.abs(),
        };
        ascending_ranks(&self.values.iter().map(badness).collect::<Vec<f64>>(), ties)
    }
}

/// Ranks of values in ascending order, from 1; NaN values are the largest and equal each other.
pub fn ascending_ranks(values: &[f64], ties: Ties) -> Vec<f64> {
    // Whether `a` ranks before `b`: NaN never ranks before anything, and everything else ranks before NaN.
    let before = |a: f64, b: f64| a < b || (b.is_nan() && !a.is_nan());
    let rank = |&value: &f64| {
        let smaller = values.iter().filter(|&&other| before(other, value)).count();
        let equal = values.iter().filter(|&&other| !before(other, value) && !before(value, other)).count();
        match ties {
            Ties::Minimum => (smaller + 1) as f64,
            Ties::Mean => smaller as f64 + (equal + 1) as f64 / 2.0,
        }
    };
    values.iter().map(rank).collect()
}

/// Sum rank: the sum of the ranks of each method over the settings.
///
/// # Panics
/// The settings have different numbers of methods.
pub fn sum_rank(settings: &[Setting], ties: Ties) -> Vec<f64> {
    let mut sums = vec![0.0; settings.first().map_or(0, |setting| setting.values.len())];
    for setting in settings {
        assert_eq!(setting.values.len(), sums.len(), "every setting has every method");
        sums.iter_mut().zip(setting.ranks(ties)).for_each(|(sum, rank)| *sum += rank);
    }
    sums
}

/// Friedman rank, as the CRaC paper calls it: the mean of the ranks of each method over the settings.
///
/// # Panics
/// The settings have different numbers of methods.
pub fn friedman_rank(settings: &[Setting], ties: Ties) -> Vec<f64> {
    sum_rank(settings, ties).into_iter().map(|sum| sum / settings.len() as f64).collect()
}

/// Mean case rank (NACL): per case the mean of the ranks over its settings, then the mean over cases. The outer list
/// is the cases, the inner one their settings.
///
/// # Panics
/// The settings have different numbers of methods.
pub fn mean_case_rank(cases: &[Vec<Setting>], ties: Ties) -> Vec<f64> {
    let methods = cases.first().and_then(|case| case.first()).map_or(0, |setting| setting.values.len());
    let per_case: Vec<Vec<f64>> = cases.iter().map(|case| friedman_rank(case, ties)).collect();
    (0..methods).map(|method| mean(per_case.iter().map(|ranks| ranks[method]))).collect()
}

/// Friedman's test of the hypothesis that all methods rank equally.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Friedman {
    /// Mean rank of each method, ties getting the mean rank.
    pub mean_ranks: Vec<f64>,
    /// The statistic, corrected for ties.
    pub chi_square: f64,
    /// One less than the number of methods.
    pub degrees: u32,
    /// Probability of a statistic at least this large if all methods were equivalent, by the chi-square approximation.
    pub p_value: f64,
}

/// Friedman 1937: with `m` settings, `k` methods and mean ranks `R_j`, `chi^2 = 12 m / (k (k + 1)) (sum R_j^2 - k (k +
/// 1)^2 / 4) / (1 - sum over settings and ties (t^3 - t) / (m (k^3 - k)))`.
///
/// It is NaN if all methods tie in every setting.
///
/// # Panics
/// There are fewer than two methods, or the settings have different numbers of them.
#[expect(clippy::cast_possible_truncation, reason = "a number of methods")]
pub fn friedman(settings: &[Setting]) -> Friedman {
    let mean_ranks = friedman_rank(settings, Ties::Mean);
    let (m, k) = (settings.len() as f64, mean_ranks.len() as f64);
    assert!(k >= 2.0, "at least two methods");
    // The mean of t^2 - 1 over the members of ties of size t is the sum of t^3 - t over the ties.
    let tied = |setting: &Setting| {
        let (low, mean) = (setting.ranks(Ties::Minimum), setting.ranks(Ties::Mean));
        let size = |(low, mean): (&f64, &f64)| 2.0 * (mean - low) + 1.0;
        low.iter().zip(&mean).map(|pair| size(pair).powi(2) - 1.0).sum::<f64>()
    };
    let correction = 1.0 - settings.iter().map(tied).sum::<f64>() / (m * (k.powi(3) - k));
    let spread = mean_ranks.iter().map(|rank| rank * rank).sum::<f64>() - k * (k + 1.0).powi(2) / 4.0;
    let chi_square = 12.0 * m / (k * (k + 1.0)) * spread / correction;
    let degrees = mean_ranks.len() as u32 - 1;
    Friedman { mean_ranks, chi_square, degrees, p_value: chi_square_survival(degrees, chi_square) }
}

/// The per-case values of one setting: for each method, its value for each case (NaN if undefined).
#[derive(Clone, Debug, PartialEq)]
pub struct CaseValues {
    /// The better direction of the metric.
    pub better: Better,
    /// The group of cases (data set) that the values belong to; settings of one group share their bootstrap draws.
    pub group: usize,
    /// `values[method][case]`.
    pub values: Vec<Vec<f64>>,
}

/// Percentile bootstrap intervals of the Friedman rank of each method, over cases.
///
/// Each replicate draws cases with replacement within each group, recomputes the mean of every method over the drawn
/// cases (ignoring undefined values), and ranks the means.
///
/// # Panics
/// There is no setting, no replicate, or methods or cases of a group differ in number.
pub fn friedman_rank_intervals(
    settings: &[CaseValues],
    ties: Ties,
    replicates: usize,
    seed: u64,
    level: f64,
) -> Vec<Interval> {
    assert!(replicates > 0 && !settings.is_empty(), "nothing to draw");
    let ranks = |draw: &dyn Fn(&CaseValues, usize) -> usize| {
        let drawn_mean = |setting: &CaseValues, values: &[f64]| {
            mean_defined((0..values.len()).map(|place| values[draw(setting, place)]))
        };
        let drawn = |setting: &CaseValues| Setting {
            better: setting.better,
            values: setting.values.iter().map(|values| drawn_mean(setting, values)).collect(),
        };
        friedman_rank(&settings.iter().map(drawn).collect::<Vec<_>>(), ties)
    };
    let replicate = |number: usize| {
        let rng = Rng::new(seed).stream(number as u64);
        ranks(&|setting, place| rng.stream(setting.group as u64).below(place as u64, setting.values[0].len()))
    };
    let drawn: Vec<Vec<f64>> = (0..replicates).into_par_iter().map(replicate).collect();
    let tail = 50.0 * (1.0 - level);
    let interval = |(method, estimate): (usize, f64)| {
        let mut values: Vec<f64> = drawn.iter().map(|ranks| ranks[method]).collect();
        values.sort_unstable_by(f64::total_cmp);
        Interval { estimate, lower: percentile(&values, tail), upper: percentile(&values, 100.0 - tail) }
    };
    ranks(&|_, place| place).into_iter().enumerate().map(interval).collect()
}

/// Holm's correction for multiple tests (Holm 1979): with `m` p-values in ascending order, the i-th (from 0) becomes
/// the largest of `(m - j) p_j` over `j <= i`, at most 1. NaN stays NaN; it counts as a test and is sorted last.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let (mut corrected, mut largest) = (vec![f64::NAN; p_values.len()], 0.0_f64);
    for (smaller, &test) in order.iter().enumerate().filter(|(_, test)| !p_values[**test].is_nan()) {
        largest = largest.max((p_values.len() - smaller) as f64 * p_values[test]).min(1.0);
        corrected[test] = largest;
    }
    corrected
}

#[cfg(test)]
mod tests;
