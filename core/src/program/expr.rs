//! Values in a program that is being written, and the operators between them.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::{Builder, Step};
use crate::{Opcode, for_each_opcode};

/// A value in a program that is being written. It is `Copy`; `+ - * /` and the methods add steps.
#[derive(Clone, Copy)]
pub struct Expr<'b> {
    pub(super) builder: &'b Builder,
    pub(super) step: usize,
}

/// An operand of an expression: an [`Expr`] or a constant.
pub trait Operand<'b> {
    /// Converts the operand to a value in the builder of `other`.
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
    fn ternary(self, opcode: Opcode, b: impl Operand<'b>, c: impl Operand<'b>) -> Self {
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

    /// x^y for x >= 0. A constant exponent of 0, 1, 2, 3 or 4 becomes products, which cost one rounding each and are
    /// many times faster.
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
}

impl Neg for Expr<'_> {
    type Output = Self;
    fn neg(self) -> Self {
        self.unary(Opcode::Neg)
    }
}

/// Operators between expressions and constants; identities such as `x + 0` and `x * 1` are folded away.
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

/// Defines the method for a row of the opcode table; operators, and `pow` with its identities, are written by hand.
macro_rules! method {
    (operator $($row:tt)*) => {};
    (method 1 $opcode:ident $method:ident $doc:literal) => {
        #[doc = $doc]
        #[must_use]
        pub fn $method(self) -> Self {
            self.unary(Opcode::$opcode)
        }
    };
    (method 2 $opcode:ident $method:ident $doc:literal) => {
        #[doc = $doc]
        #[must_use]
        pub fn $method(self, other: impl Operand<'b>) -> Self {
            self.binary(Opcode::$opcode, other)
        }
    };
    (method 3 $opcode:ident $method:ident $doc:literal) => {
        #[doc = $doc]
        #[must_use]
        pub fn $method(self, second: impl Operand<'b>, third: impl Operand<'b>) -> Self {
            self.ternary(Opcode::$opcode, second, third)
        }
    };
}

/// Calls that method.
macro_rules! call {
    (1 $method:ident $a:ident $b:ident $c:ident) => {
        $a.$method()
    };
    (2 $method:ident $a:ident $b:ident $c:ident) => {
        $a.$method($b)
    };
    (3 $method:ident $a:ident $b:ident $c:ident) => {
        $a.$method($b, $c)
    };
}

macro_rules! methods {
    ($($opcode:ident {
        arity: $arity:tt, rust: |$a:ident, $b:ident, $c:ident| $rust:expr, expr: $kind:ident $method:ident $($doc:literal)?,
        wgsl: $($rest:tt)*
    })*) => {
        impl<'b> Expr<'b> {
            $(method! { $kind $arity $opcode $method $($doc)? })*
        }

        impl Opcode {
            /// Applies the opcode to expressions; those beyond its arity are not used.
            #[must_use]
            pub fn apply(self, [a, b, c]: [Expr<'_>; 3]) -> Expr<'_> {
                match self { $(Self::$opcode => call!($arity $method a b c),)* }
            }
        }
    };
}

for_each_opcode!(methods);
