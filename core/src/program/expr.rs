//! Values of a program that is being written, and the operators between them.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::{Builder, Step};
use crate::Opcode;

/// A value inside a program that is being written. Copyable; `+ - * /` and the methods add steps.
#[derive(Clone, Copy)]
pub struct Expr<'b> {
    pub(super) builder: &'b Builder,
    pub(super) step: usize,
}

/// What stands for a value in an expression: an [`Expr`] or a constant.
pub trait Operand<'b> {
    /// The value in the builder of `other`.
    fn expr(self, other: Expr<'b>) -> Expr<'b>;
}

impl<'b> Operand<'b> for Expr<'b> {
    fn expr(self, _: Expr<'b>) -> Expr<'b> {
        self
    }
}

impl<'b> Operand<'b> for f64 {
    fn expr(self, other: Expr<'b>) -> Expr<'b> {
        other.builder.constant(self)
    }
}

impl<'b> Expr<'b> {
    fn apply(self, opcode: Opcode, b: impl Operand<'b>, c: impl Operand<'b>) -> Self {
        let args = [self.step, b.expr(self).step, c.expr(self).step];
        self.builder.push(Step::Apply(opcode, args))
    }

    fn unary(self, opcode: Opcode) -> Self {
        self.builder.push(Step::Apply(opcode, [self.step, 0, 0]))
    }

    fn binary(self, opcode: Opcode, b: impl Operand<'b>) -> Self {
        let b = b.expr(self);
        self.builder.push(Step::Apply(opcode, [self.step, b.step, 0]))
    }

    fn is(self, value: f64) -> bool {
        self.builder.value(self.step) == Some(value)
    }

    /// |x|.
    #[must_use]
    pub fn abs(self) -> Self {
        self.unary(Opcode::Abs)
    }

    /// e^x.
    #[must_use]
    pub fn exp(self) -> Self {
        self.unary(Opcode::Exp)
    }

    /// Natural logarithm.
    #[must_use]
    pub fn ln(self) -> Self {
        self.unary(Opcode::Log)
    }

    /// ln(1 + x).
    #[must_use]
    pub fn ln_1p(self) -> Self {
        self.unary(Opcode::Log1p)
    }

    /// Square root.
    #[must_use]
    pub fn sqrt(self) -> Self {
        self.unary(Opcode::Sqrt)
    }

    /// Hyperbolic tangent.
    #[must_use]
    pub fn tanh(self) -> Self {
        self.unary(Opcode::Tanh)
    }

    /// Largest integer that is not above x.
    #[must_use]
    pub fn floor(self) -> Self {
        self.unary(Opcode::Floor)
    }

    /// -1, 0 or 1.
    #[must_use]
    pub fn sign(self) -> Self {
        self.builder.constant(0.0).lt(self) - self.lt(0.0)
    }

    /// x^2.
    #[must_use]
    pub fn square(self) -> Self {
        self * self
    }

    /// The smaller of two; of equals the second, which then gets the whole gradient.
    #[must_use]
    pub fn min(self, other: impl Operand<'b>) -> Self {
        self.binary(Opcode::Min, other)
    }

    /// The larger of two; of equals the second, which then gets the whole gradient.
    #[must_use]
    pub fn max(self, other: impl Operand<'b>) -> Self {
        self.binary(Opcode::Max, other)
    }

    /// x^y for x >= 0. A constant exponent of 0 to 4 becomes products, which are exact to a rounding each and many
    /// times faster.
    #[must_use]
    pub fn pow(self, exponent: impl Operand<'b>) -> Self {
        let exponent = exponent.expr(self);
        match self.builder.value(exponent.step) {
            Some(0.0) => self.builder.constant(1.0),
            Some(1.0) => self,
            Some(2.0) => self.square(),
            Some(3.0) => self.square() * self,
            Some(4.0) => self.square().square(),
            _ => self.binary(Opcode::Pow, exponent),
        }
    }

    /// 1 where x < y, else 0.
    #[must_use]
    pub fn lt(self, other: impl Operand<'b>) -> Self {
        self.binary(Opcode::Lt, other)
    }

    /// 1 where x <= y, else 0.
    #[must_use]
    pub fn le(self, other: impl Operand<'b>) -> Self {
        self.binary(Opcode::Le, other)
    }

    /// 1 where x = y, else 0.
    #[must_use]
    pub fn equals(self, other: impl Operand<'b>) -> Self {
        self.binary(Opcode::Eq, other)
    }

    /// `yes` where x is not 0, else `no`.
    #[must_use]
    pub fn select(self, yes: impl Operand<'b>, no: impl Operand<'b>) -> Self {
        self.apply(Opcode::Select, yes, no)
    }
}

impl Neg for Expr<'_> {
    type Output = Self;
    fn neg(self) -> Self {
        self.unary(Opcode::Neg)
    }
}

/// Operators between expressions and constants, with the identities `x + 0`, `x * 1` and the like folded away.
macro_rules! operator {
    ($trait:ident, $method:ident, $left:expr, $right:expr) => {
        impl<'b, T: Operand<'b>> $trait<T> for Expr<'b> {
            type Output = Self;
            fn $method(self, other: T) -> Self {
                let other = other.expr(self);
                match ($left as Option<f64>, $right as Option<f64>) {
                    (_, Some(identity)) if other.is(identity) => self,
                    (Some(identity), _) if self.is(identity) => other,
                    _ => self.binary(Opcode::$trait, other),
                }
            }
        }

        impl<'b> $trait<Expr<'b>> for f64 {
            type Output = Expr<'b>;
            fn $method(self, other: Expr<'b>) -> Expr<'b> {
                $trait::$method(self.expr(other), other)
            }
        }
    };
}

operator!(Add, add, Some(0.0), Some(0.0));
operator!(Sub, sub, None, Some(0.0));
operator!(Mul, mul, Some(1.0), Some(1.0));
operator!(Div, div, None, Some(1.0));
