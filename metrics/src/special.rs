//! The special functions needed by tests and intervals, to a relative accuracy of about 1e-14.

/// `ln Gamma(halves / 2)` by the recurrence from `Gamma(1/2) = sqrt(pi)` and `Gamma(1) = 1`.
fn ln_gamma_of_halves(halves: u32) -> f64 {
    let start = if halves.is_multiple_of(2) { 0.0 } else { 0.5 * std::f64::consts::PI.ln() };
    let first = 2 - halves % 2;
    (first..halves).step_by(2).map(|n| (f64::from(n) / 2.0).ln()).sum::<f64>() + start
}

/// Regularised upper incomplete gamma function `Q(halves / 2, x)` for `x >= 0`: series below `a + 1`, continued
/// fraction above (Lentz).
fn gamma_q(halves: u32, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let a = f64::from(halves) / 2.0;
    let front = (a * x.ln() - x - ln_gamma_of_halves(halves)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (a.recip(), a.recip(), a);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return 1.0 - front * sum;
    }
    let (mut b, mut c) = (x + 1.0 - a, f64::MAX);
    let mut d = b.recip();
    let mut fraction = d;
    for i in 1..10_000 {
        let numerator = -f64::from(i) * (f64::from(i) - a);
        b += 2.0;
        d = (numerator * d + b).recip();
        c = b + numerator / c;
        fraction *= c * d;
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    front * fraction
}

/// Probability that a chi-square variable with this many degrees of freedom exceeds `x`.
pub(crate) fn chi_square_survival(degrees: u32, x: f64) -> f64 {
    gamma_q(degrees, x / 2.0)
}

/// Standard normal distribution function.
pub(crate) fn normal_cdf(z: f64) -> f64 {
    let tail = 0.5 * gamma_q(1, 0.5 * z * z);
    if z < 0.0 { tail } else { 1.0 - tail }
}

/// Inverse of [`normal_cdf`]; infinite at 0 and 1.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return if p <= 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // Bisection: 80 halvings of an interval of length 80 reach the last place, and callers need only a few quantiles.
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if normal_cdf(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn textbook_values() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(normal_cdf(0.0), 0.5);
        close(normal_cdf(1.0), 0.841_344_746_068_542_9);
        close(normal_cdf(-1.959_963_984_540_054), 0.025);
        close(normal_quantile(0.975), 1.959_963_984_540_054);
        close(chi_square_survival(2, 3.0), (-1.5_f64).exp());
        close(chi_square_survival(4, 3.0), 2.5 * (-1.5_f64).exp());
        close(chi_square_survival(1, 3.841_458_820_694_124), 0.05);
        close(chi_square_survival(7, 14.067_140_449_340_17), 0.05);
    }

    #[test]
    fn the_quantile_is_the_inverse() {
        for p in [1e-6, 0.01, 0.3, 0.5, 0.9, 0.999] {
            assert!((normal_cdf(normal_quantile(p)) - p).abs() < 1e-13, "{p}");
        }
        assert!(normal_quantile(0.0).is_infinite() && normal_quantile(1.0).is_infinite());
    }
}
