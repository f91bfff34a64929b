//! Elementary functions of f32 as branch-free polynomials, so that loops over them vectorise.
//!
//! Bounds, in units in the last place of the result, over all f32 (subnormal numbers included, infinities and NaN as
//! in IEEE 754): exp 2, log 2, log1p 2, tanh 4, pow 4 for a base >= 0. Nothing here uses a fused multiply-add, so
//! every instruction set gives the same bits.
//!
//! The coefficients are minimax fits computed for this file; `backends/fits.py` reproduces them. The weight converts
//! the error of the polynomial into the relative error of the function:
//!
//! | for | polynomial of | fits | degree | interval | weight | error |
//! |---|---|---|---|---|---|---|
//! | exp | `r` | `(e^r - 1 - r) / r^2` | 4 | `[-ln 2 / 2, ln 2 / 2]` | `r^2 / e^r` | 3.8e-9 |
//! | log, log1p | `f` | `(ln(1 + f) - f + f^2 / 2) / f^3` | 7 | `[sqrt(1/2) - 1, sqrt(2) - 1]` | `f^3 / ln(1 + f)` | 7.8e-9 |
//! | tanh | `z = x^2` | `(tanh(x) / x - 1) / z` | 4 | `[0, 0.625^2]` | `z` | 4.6e-9 |
//! | log2 of pow | `z = s^2` | `(log2((1 + s) / (1 - s)) / s - 2 / ln 2) / z` | 3 | `[0, 0.17157^2]` | `z` | 1.4e-11 |
//! | exp2 of pow | `r` | `2^r` | 7 | `[-1/2, 1/2]` | `2^-r` | 4.0e-11 |

use std::ops::{Add, Div, Mul, Neg, Sub};

use segcal_core::Elem;

/// An `f32` whose elementary functions vectorise.
#[derive(Clone, Copy, Debug, Default)]
#[repr(transparent)]
pub(crate) struct Fast(pub(crate) f32);

macro_rules! operator {
    ($trait:ident, $method:ident, $operator:tt) => {
        impl $trait for Fast {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(self.0 $operator other.0)
            }
        }
    };
}
operator!(Add, add, +);
operator!(Sub, sub, -);
operator!(Mul, mul, *);
operator!(Div, div, /);

impl Neg for Fast {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl PartialEq for Fast {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl PartialOrd for Fast {
    #[inline(always)]
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.0.partial_cmp(&other.0)
    }
    #[inline(always)]
    fn lt(&self, other: &Self) -> bool {
        self.0 < other.0
    }
    #[inline(always)]
    fn le(&self, other: &Self) -> bool {
        self.0 <= other.0
    }
    #[inline(always)]
    fn gt(&self, other: &Self) -> bool {
        self.0 > other.0
    }
    #[inline(always)]
    fn ge(&self, other: &Self) -> bool {
        self.0 >= other.0
    }
}

impl Elem for Fast {
    const ZERO: Self = Self(0.0);
    const ONE: Self = Self(1.0);
    #[inline(always)]
    fn of(x: f64) -> Self {
        Self(x as f32)
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self.0.into()
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.abs())
    }
    #[inline(always)]
    fn exp(self) -> Self {
        Self(exp(self.0))
    }
    #[inline(always)]
    fn ln(self) -> Self {
        Self(log(self.0))
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        Self(log1p(self.0))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.sqrt())
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        Self(tanh(self.0))
    }
    #[inline(always)]
    fn floor(self) -> Self {
        Self(self.0.floor())
    }
    #[inline(always)]
    fn pow(self, y: Self) -> Self {
        Self(pow(self.0, y.0))
    }
}

/// `c[0] + c[1] x + c[2] x^2 + ...` by Horner's rule.
macro_rules! polynomial {
    ($x:expr, $last:expr $(,)?) => { $last };
    ($x:expr, $first:expr, $($rest:expr),+ $(,)?) => { $first + $x * polynomial!($x, $($rest),+) };
}

/// ln 2 in two parts; the first has 15 bits, so that its product with an exponent is exact.
const LN2_HIGH: f32 = 0.693_145_75;
const LN2_LOW: f32 = 1.428_606_8e-6;
/// Adding and then subtracting 1.5 * 2^23 rounds a small f32 to an integer; in between, the low bits hold that integer.
const ROUND: f32 = 12_582_912.0;
/// The same for f64: 1.5 * 2^52.
const ROUND_WIDE: f64 = 6_755_399_441_055_744.0;
/// Bits of the square root of 1/2, below which a mantissa is not reduced.
const SQRT_HALF: i32 = 0x3f35_04f3;

#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// 2^n for n in -126..=127.
#[inline(always)]
fn two_to(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}

/// `e^x = 2^n e^r` with r in `[-ln 2 / 2, ln 2 / 2]`. The power of two is applied in two halves, so that subnormal
/// results are rounded.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = clamp(x, -105.0, 89.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let n = shifted.to_bits() as i32 - ROUND.to_bits() as i32;
    let r = (x - whole * LN2_HIGH) - whole * LN2_LOW;
    let tail = polynomial!(r, 0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_717, 0.001_381_459_5);
    let power = 1.0 + (r + r * r * tail);
    // For NaN, n has arbitrary bits, but the result is NaN for any factor.
    let half = n >> 1;
    power * two_to(half) * two_to(n - half)
}

/// `ln m = f - f^2 / 2 + f^3 P(f)` with `f = m - 1` for m in `[sqrt(1/2), sqrt(2))`; this is the part after f.
#[inline(always)]
fn log_tail(f: f32) -> f32 {
    let p = polynomial!(
        f,
        0.333_333_3,
        -0.250_008_2,
        0.200_012_27,
        -0.166_233_57,
        0.142_017_59,
        -0.131_601_83,
        0.127_615_75,
        -0.076_344_95,
    );
    f * f * (f * p - 0.5)
}

/// Exponent and mantissa of a normal x, the mantissa in `[sqrt(1/2), sqrt(2))`.
#[inline(always)]
fn split(x: f32) -> (f32, f32) {
    let above = (x.to_bits() as i32).wrapping_sub(SQRT_HALF);
    let mantissa = f32::from_bits(((above & 0x007f_ffff) + SQRT_HALF) as u32);
    ((above >> 23) as f32, mantissa)
}

/// The logarithm if its argument is 0, negative, infinite or NaN, else `inside`.
#[inline(always)]
fn log_edges(x: f32, inside: f32) -> f32 {
    let y = if x == f32::INFINITY { x } else { inside };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x >= 0.0 { y } else { f32::NAN }
}

/// `ln x = e ln 2 + ln m`. Subnormal numbers are scaled up first.
#[inline(always)]
pub(crate) fn log(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 16_777_216.0 } else { x };
    let (exponent, mantissa) = split(scaled);
    let exponent = if subnormal { exponent - 24.0 } else { exponent };
    let f = mantissa - 1.0;
    log_edges(x, exponent * LN2_HIGH + (f + (exponent * LN2_LOW + log_tail(f))))
}

/// `ln(1 + x) = ln u + c / u`, with `u = 1 + x` rounded and c the rounding error; without a reduction, x itself is used
/// as `u - 1`.
#[inline(always)]
pub(crate) fn log1p(x: f32) -> f32 {
    let u = 1.0 + x;
    let (exponent, mantissa) = split(u);
    let lost = if u >= 2.0 { 1.0 - (u - x) } else { x - (u - 1.0) };
    let reduced = exponent != 0.0;
    let f = if reduced { mantissa - 1.0 } else { x };
    let c = if reduced { lost / u } else { 0.0 };
    let y = exponent * LN2_HIGH + (f + (exponent * LN2_LOW + c + log_tail(f)));
    let y = if x.abs() < 1e-9 { x } else { y };
    log_edges(u, y)
}

/// An odd polynomial near 0, `1 - 2 / (e^2|x| + 1)` elsewhere.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let z = x * x;
    let t = polynomial!(z, -0.333_332_84, 0.133_314_91, -0.053_743_497, 0.020_650_588, -0.005_717_045);
    let near = x + x * z * t;
    let far = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
    if size < 0.625 { near } else { far.copysign(x) }
}

/// `x^y = 2^(y log2 x)` for x >= 0, computed in f64, in which the product keeps enough bits. NaN for x < 0.
#[inline(always)]
pub(crate) fn pow(x: f32, y: f32) -> f32 {
    let power = exp2_wide(f64::from(y) * log2_wide(x));
    if y == 0.0 || x == 1.0 { 1.0 } else { power }
}

/// log2 of an f32 to 1e-11, through `ln((1 + s) / (1 - s)) = 2 s + s^3 L(s^2)`.
#[inline(always)]
fn log2_wide(x: f32) -> f64 {
    const SQRT_HALF_WIDE: i64 = 0x3fe6_a09e_0000_0000;
    let above = (f64::from(x).to_bits() as i64).wrapping_sub(SQRT_HALF_WIDE);
    let mantissa = f64::from_bits(((above & 0x000f_ffff_ffff_ffff) + SQRT_HALF_WIDE) as u64);
    // The exponent of an f32 fits into the low bits of a shifted f64: a conversion that works on every instruction set.
    let exponent = f64::from_bits((ROUND_WIDE.to_bits() as i64 + (above >> 52)) as u64) - ROUND_WIDE;
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let z = s * s;
    let tail = polynomial!(
        z,
        std::f64::consts::LOG2_E * 2.0,
        0.961_796_679_193_01,
        0.577_082_852_140_495_5,
        0.411_706_334_974_154_8,
        0.340_218_505_0,
    );
    let y = exponent + s * tail;
    let y = if x == f32::INFINITY { f64::INFINITY } else { y };
    let y = if x == 0.0 { f64::NEG_INFINITY } else { y };
    if x >= 0.0 { y } else { f64::NAN }
}

/// 2^t to 1e-10, rounded to f32.
#[inline(always)]
fn exp2_wide(t: f64) -> f32 {
    let t = if t < -200.0 { -200.0 } else { t };
    let t = if t > 200.0 { 200.0 } else { t };
    let shifted = t + ROUND_WIDE;
    let r = t - (shifted - ROUND_WIDE);
    let power = polynomial!(
        r,
        0.999_999_999_961_682_4,
        0.693_147_180_728_451_9,
        0.240_226_511_981_528_17,
        0.055_504_103_534_252_454,
        0.009_618_027_254_214_34,
        0.001_333_392_258_564_999,
        0.000_154_692_909_994_692_72,
        0.000_015_201_916_093_543_23,
    );
    let n = (shifted.to_bits() as i64).wrapping_sub(ROUND_WIDE.to_bits() as i64);
    (power * f64::from_bits((n.wrapping_add(1023) << 52) as u64)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units in the last place of the f32 nearest to `exact`.
    fn ulp(value: f32, exact: f64) -> f64 {
        let nearest = exact as f32;
        if nearest.is_nan() || nearest.is_infinite() || value.is_nan() || value.is_infinite() {
            let same = value == nearest || value.is_nan() && nearest.is_nan();
            return if same { 0.0 } else { f64::INFINITY };
        }
        let spacing = (f64::from(nearest.abs().next_up()) - f64::from(nearest.abs())).min(2f64.powi(104));
        (f64::from(value) - exact).abs() / spacing
    }

    /// The worst error over every `step`-th bit pattern, with its argument.
    fn worst(step: usize, fast: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in (0..=u32::MAX).step_by(step) {
            let x = f32::from_bits(bits);
            let error = ulp(fast(x), exact(f64::from(x)));
            if error > worst.0 {
                worst = (error, x);
            }
        }
        worst
    }

    fn check(name: &str, bound: f64, step: usize, fast: fn(f32) -> f32, exact: fn(f64) -> f64) {
        let (error, at) = worst(step, fast, exact);
        println!("{name}: {error:.3} ULP at {at:e}");
        assert!(error <= bound, "{name}: {error} ULP at {at:e} ({:#x})", at.to_bits());
        for x in [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE, 1e-45, f32::MAX]
        {
            let error = ulp(fast(x), exact(f64::from(x)));
            assert!(error <= bound, "{name}: {error} ULP at {x:e}");
        }
    }

    /// Name, bound, tested function, exact function.
    type Case = (&'static str, f64, fn(f32) -> f32, fn(f64) -> f64);

    const FUNCTIONS: [Case; 4] = [
        ("exp", 2.0, exp, f64::exp),
        ("log", 2.0, log, f64::ln),
        ("log1p", 2.0, log1p, f64::ln_1p),
        ("tanh", 4.0, tanh, f64::tanh),
    ];

    #[test]
    fn errors_stay_within_the_bounds() {
        for (name, bound, fast, exact) in FUNCTIONS {
            check(name, bound, 1_201, fast, exact);
        }
    }

    #[test]
    #[ignore = "every f32: some minutes"]
    fn errors_stay_within_the_bounds_for_every_number() {
        for (name, bound, fast, exact) in FUNCTIONS {
            check(name, bound, 1, fast, exact);
        }
    }

    #[test]
    fn powers_stay_within_the_bound() {
        let exponents = [0.0, 0.5, 1.0, 2.0, 3.0, -1.0, -2.5, 0.013, 17.3, 1e-20, 200.0, -200.0, f32::NAN];
        for y in exponents {
            let (error, at) = worst(20_011, |x| pow(x.abs(), y), |x| x.abs().powf(f64::from(y)));
            assert!(error <= 4.0, "{at:e}^{y}: {error} ULP");
            for x in [0.0, 1.0, 0.999_999_94, f32::INFINITY, f32::NAN, 1e-45, f32::MAX] {
                let error = ulp(pow(x, y), f64::from(x).powf(f64::from(y)));
                assert!(error <= 4.0, "{x:e}^{y}: {error} ULP");
            }
        }
        assert!(pow(-1.5, 2.0).is_nan());
    }
}
