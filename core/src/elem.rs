//! The two number types a backend may compute in.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// `f32` or `f64`: what the opcode table and the generic loops need of a number.
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
    fn abs(self) -> Self;
    /// e^x.
    #[must_use]
    fn exp(self) -> Self;
    /// Natural logarithm.
    #[must_use]
    fn ln(self) -> Self;
    /// ln(1 + x), accurate near 0.
    #[must_use]
    fn ln_1p(self) -> Self;
    /// Square root.
    #[must_use]
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    #[must_use]
    fn tanh(self) -> Self;
    /// Largest integer that is not above x.
    #[must_use]
    fn floor(self) -> Self;
    /// x^y.
    #[must_use]
    fn pow(self, y: Self) -> Self;
}

macro_rules! elem {
    ($float:ty) => {
        impl Elem for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            fn of(x: f64) -> Self {
                x as $float
            }
            fn f64(self) -> f64 {
                self.into()
            }
            fn abs(self) -> Self {
                <$float>::abs(self)
            }
            fn exp(self) -> Self {
                <$float>::exp(self)
            }
            fn ln(self) -> Self {
                <$float>::ln(self)
            }
            fn ln_1p(self) -> Self {
                <$float>::ln_1p(self)
            }
            fn sqrt(self) -> Self {
                <$float>::sqrt(self)
            }
            fn tanh(self) -> Self {
                <$float>::tanh(self)
            }
            fn floor(self) -> Self {
                <$float>::floor(self)
            }
            fn pow(self, y: Self) -> Self {
                <$float>::powf(self, y)
            }
        }
    };
}

elem!(f32);
elem!(f64);
