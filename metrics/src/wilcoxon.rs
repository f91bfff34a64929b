//! Wilcoxon's signed-rank test for paired values of two methods on the same cases.

use serde::{Deserialize, Serialize};

use crate::ranking::{Ties, ascending_ranks};
use crate::special::normal_cdf;

/// Up to this many differences the exact distribution is enumerated.
const EXACT: usize = 50;

/// Result of the test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignedRank {
    /// Number of pairs with a non-zero difference; pairs without a difference or with a missing value are ignored.
    pub pairs: usize,
    /// Sum of the ranks of the positive differences `a - b`; ties get the mean rank.
    pub positive: f64,
    /// Sum of the ranks of the negative differences.
    pub negative: f64,
    /// Two-sided p-value; 1 if there is no difference.
    pub p_value: f64,
}

/// Tests whether paired values differ in location (two-sided).
///
/// Differences of 0 are dropped (Wilcoxon 1945). For up to 50 differences the p-value is exact for the given ranks,
/// including ties: the share of all `2^n` sign assignments whose rank sum is at least as far from the centre. Beyond
/// that, the normal approximation is used, with corrections for ties and continuity.
///
/// # Panics
/// The two differ in length.
pub fn signed_rank(a: &[f64], b: &[f64]) -> SignedRank {
    assert_eq!(a.len(), b.len(), "paired values");
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).filter(|d| !d.is_nan() && *d != 0.0).collect();
    let sizes: Vec<f64> = differences.iter().map(|difference| difference.abs()).collect();
    let ranks = ascending_ranks(&sizes, Ties::Mean);
    let total: f64 = ranks.iter().sum();
    let positive: f64 = ranks.iter().zip(&differences).filter(|(_, d)| **d > 0.0).map(|(rank, _)| rank).sum();
    let p_value = if ranks.len() <= EXACT { exact(&ranks, positive) } else { approximate(&ranks, positive) };
    SignedRank { pairs: ranks.len(), positive, negative: total - positive, p_value }
}

/// Share of all sign assignments whose sum of positive ranks is at least as far from the centre. It is computed in
/// integers, because doubled mean ranks are whole.
#[expect(clippy::cast_possible_truncation, reason = "doubled ranks of at most 50 pairs")]
fn exact(ranks: &[f64], positive: f64) -> f64 {
    let doubled: Vec<usize> = ranks.iter().map(|rank| (2.0 * rank) as usize).collect();
    let total: usize = doubled.iter().sum();
    let mut ways = vec![0_u64; total + 1];
    ways[0] = 1;
    for &rank in &doubled {
        for sum in (rank..=total).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let smaller = ((2.0 * positive) as usize).min(total - (2.0 * positive) as usize);
    let tail: u64 = ways[..=smaller].iter().sum();
    (2.0 * tail as f64 / 2_f64.powi(ranks.len() as i32)).min(1.0)
}

/// Normal approximation. The variance of the sum of signed ranks is `sum rank^2 / 4`, ties included.
fn approximate(ranks: &[f64], positive: f64) -> f64 {
    let middle = ranks.iter().sum::<f64>() / 2.0;
    let deviation = (ranks.iter().map(|rank| rank * rank).sum::<f64>() / 4.0).sqrt();
    let distance = ((positive - middle).abs() - 0.5).max(0.0);
    (2.0 * normal_cdf(-distance / deviation)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use segcal_core::Rng;

    #[test]
    fn all_in_one_direction() {
        let result = signed_rank(&[1.0, 2.0, 3.0, 4.0, 5.0], &[0.0; 5]);
        assert_eq!((result.positive, result.negative, result.p_value), (15.0, 0.0, 2.0 / 32.0));
    }

    #[test]
    fn equal_pairs_and_missing_values_are_left_out() {
        let result = signed_rank(&[1.0, 2.0, f64::NAN], &[1.0, 1.0, 0.0]);
        assert_eq!((result.pairs, result.p_value), (1, 1.0));
        assert_eq!(signed_rank(&[], &[]).p_value, 1.0);
    }

    /// Enumerates every assignment of signs.
    #[test]
    fn equals_enumeration_with_ties() {
        let differences = [1.0, -1.0, 2.0, 3.0, 3.0, -3.0, 4.0, 0.5];
        let result = signed_rank(&differences, &[0.0; 8]);
        let ranks = ascending_ranks(&differences.map(f64::abs), Ties::Mean);
        let middle = ranks.iter().sum::<f64>() / 2.0;
        let sum = |signs: usize| -> f64 { (0..8).filter(|bit| signs >> bit & 1 == 1).map(|bit| ranks[bit]).sum() };
        let far = (0..256).filter(|&signs| (sum(signs) - middle).abs() >= (result.positive - middle).abs()).count();
        assert_eq!(result.p_value, far as f64 / 256.0);
    }

    /// The excess kurtosis of the rank sum is -3.6 / n for large n, so at 50 pairs the normal tails are off by at most
    /// 2 * 0.072 / 24 * max |He3(z) phi(z)| = 2 * 0.003 * 0.551 = 0.0033 (Edgeworth's first term).
    #[test]
    fn the_approximation_joins_the_exact_value() {
        let ranks: Vec<f64> = (1..=50).map(f64::from).collect();
        let rng = Rng::new(8);
        for trial in 0..20 {
            let positive = ranks.iter().filter(|&&rank| rng.uniform(trial * 64 + rank as u64) < 0.6).sum();
            assert!((exact(&ranks, positive) - approximate(&ranks, positive)).abs() < 3.4e-3, "{positive}");
        }
    }
}
