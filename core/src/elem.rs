//! The two number types that a backend can compute with.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// `f32` or `f64`: the operations that the opcode table and the generic loops require of a number.
///
/// By default the functions are those of the standard library in double precision, rounded once. A backend with its own
/// number type overrides those it can compute faster.
pub trait Elem:
    Copy
    + Debug
    + Default
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Rounds a double to this type.
    #[must_use]
    fn of(x: f64) -> Self;
    /// The exact value as a double.
    fn f64(self) -> f64;
    /// |x|.
    #[must_use]
    #[inline]
    fn abs(self) -> Self {
        Self::of(self.f64().abs())
    }
    /// e^x.
    #[must_use]
    #[inline]
    fn exp(self) -> Self {
        Self::of(self.f64().exp())
    }
    /// Natural logarithm.
    #[must_use]
    #[inline]
    fn ln(self) -> Self {
        Self::of(self.f64().ln())
    }
    /// ln(1 + x), accurate near 0.
    #[must_use]
    #[inline]
    fn ln_1p(self) -> Self {
        Self::of(self.f64().ln_1p())
    }
    /// Square root. (Rounding the double-precision square root to f32 gives the f32 nearest to the exact value.)
    #[must_use]
    #[inline]
    fn sqrt(self) -> Self {
        Self::of(self.f64().sqrt())
    }
    /// Hyperbolic tangent.
    #[must_use]
    #[inline]
    fn tanh(self) -> Self {
        Self::of(self.f64().tanh())
    }
    /// Largest integer that does not exceed x.
    #[must_use]
    #[inline]
    fn floor(self) -> Self {
        Self::of(self.f64().floor())
    }
    /// x^y.
    #[must_use]
    #[inline]
    fn pow(self, y: Self) -> Self {
        Self::of(self.f64().powf(y.f64()))
    }
}

macro_rules! elem {
    ($float:ty) => {
        impl Elem for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            #[inline]
            fn of(x: f64) -> Self {
                x as $float
            }
            #[inline]
            fn f64(self) -> f64 {
                self.into()
            }
        }
    };
}

elem!(f32);
elem!(f64);
