//! The opcode table: the single definition of every pointwise function in the project.
//!
//! A row holds everything there is to know about a function:
//!
//! | field | meaning |
//! |---|---|
//! | `arity` | number of arguments, 1 to 3 |
//! | `rust` | the function, for any [`Elem`](crate::Elem) |
//! | `expr` | the method of [`Expr`] that applies it, and its doc; `operator` if a trait of `std::ops` or a hand-written method applies it |
//! | `wgsl` | the WGSL expression, with `{0}`, `{1}`, `{2}` for the arguments; `with` adds a helper function that WGSL lacks |
//! | `slopes` | gradients of the arguments `a, b, c`, given the value `y` and its gradient `g`; `None` if there is none |
//! | `smooth` | [`Smoothness`] |
//! | `domain` | the allowed range of each argument ([`Argument`]) |
//! | `cpu`, `gpu` | the largest error of the f32 backends for the given arguments ([`Rounding`]) |
//!
//! Everything that deals with opcodes is generated from this table or iterates over it: [`Opcode`], the methods of
//! [`Expr`], the CPU's loops (through [`for_each_opcode!`](crate::for_each_opcode)), the GPU's shaders, the tests and
//! the fuzzers. Adding a function takes one new row. If it cannot be composed from existing functions, it also takes
//! one new method of [`Elem`](crate::Elem), which a backend may override with a faster one.
//!
//! Comparisons return 1 for true and 0 for false, and a comparison with NaN is false. `Min` and `Max` propagate a NaN
//! in their first argument, so that `x.max(0)` does not hide it. If the arguments are equal they take (and
//! differentiate) the second one, so that the derivative of `x.max(0)` at 0 is 0.

use crate::program::Expr;

/// How far the result of an opcode may be from the exact value of the function at its (rounded) arguments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rounding {
    /// No rounding at all.
    Exact,
    /// The nearest representable number, as IEEE 754 requires of + - * / and the square root.
    Nearest,
    /// At most this many units in the last place.
    Ulps(f64),
    /// At most this much, whatever the value.
    Absolute(f64),
}

/// Where a function has a derivative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Smoothness {
    /// Everywhere inside its domain.
    Smooth,
    /// Piecewise linear: everywhere except at the joins, where the slopes pick one piece.
    Pieces,
    /// Piecewise constant: it is not differentiated.
    Steps,
}

/// The allowed range of an argument of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Any value.
    Any,
    /// At least 0.
    NonNegative,
    /// Greater than -1.
    AboveMinusOne,
    /// Any value except 0.
    NonZero,
}

/// Calls the macro `$rows` with the whole table. The Rust functions refer to a type `E: Elem`, which must be in scope
/// where the macro is called.
#[macro_export]
macro_rules! for_each_opcode {
    ($rows:ident) => {
        $rows! {
            Neg {
                arity: 1, rust: |a, _b, _c| -a, expr: operator neg,
                wgsl: "-{0}",
                slopes: |_a, _b, _c, _y, g| [Some(-g), None, None],
                smooth: Smooth, domain: [Any, Any, Any], cpu: |_a, _b| Exact, gpu: |_a, _b| Exact,
            }
            Abs {
                arity: 1, rust: |a, _b, _c| a.abs(), expr: method abs "|x|.",
                wgsl: "abs({0})",
                slopes: |a, _b, _c, _y, g| [Some(g * a.sign()), None, None],
                smooth: Pieces, domain: [Any, Any, Any], cpu: |_a, _b| Exact, gpu: |_a, _b| Exact,
            }
            Exp {
                arity: 1, rust: |a, _b, _c| a.exp(), expr: method exp "e^x.",
                wgsl: "exp({0})",
                slopes: |_a, _b, _c, y, g| [Some(g * y), None, None],
                smooth: Smooth, domain: [Any, Any, Any],
                cpu: |_a, _b| Ulps(2.0), gpu: |a, _b| Ulps(3.0 + 2.0 * a.abs()),
            }
            Log {
                arity: 1, rust: |a, _b, _c| a.ln(), expr: method ln "Natural logarithm.",
                wgsl: "log({0})",
                slopes: |a, _b, _c, _y, g| [Some(g / a), None, None],
                smooth: Smooth, domain: [NonNegative, Any, Any], cpu: |_a, _b| Ulps(2.0), gpu: |a, _b| wgsl_log(a),
            }
            Log1p {
                arity: 1, rust: |a, _b, _c| a.ln_1p(), expr: method ln_1p "ln(1 + x).",
                wgsl: "log1p_({0})" with LOG1P,
                slopes: |a, _b, _c, _y, g| [Some(g / (a + 1.0)), None, None],
                smooth: Smooth, domain: [AboveMinusOne, Any, Any],
                cpu: |_a, _b| Ulps(2.0), gpu: |a, _b| wgsl_log(1.0 + a),
            }
            Sqrt {
                arity: 1, rust: |a, _b, _c| a.sqrt(), expr: method sqrt "Square root.",
                wgsl: "sqrt({0})",
                slopes: |_a, _b, _c, y, g| [Some(g * 0.5 / y), None, None],
                smooth: Smooth, domain: [NonNegative, Any, Any], cpu: |_a, _b| Nearest, gpu: |_a, _b| Ulps(3.0),
            }
            Tanh {
                arity: 1, rust: |a, _b, _c| a.tanh(), expr: method tanh "Hyperbolic tangent.",
                wgsl: "tanh({0})",
                slopes: |_a, _b, _c, y, g| [Some(g * (1.0 - y * y)), None, None],
                smooth: Smooth, domain: [Any, Any, Any], cpu: |_a, _b| Ulps(4.0), gpu: |_a, _b| Absolute(1e-5),
            }
            Floor {
                arity: 1, rust: |a, _b, _c| a.floor(), expr: method floor "Largest integer that does not exceed x.",
                wgsl: "floor({0})",
                slopes: |_a, _b, _c, _y, _g| [None, None, None],
                smooth: Steps, domain: [Any, Any, Any], cpu: |_a, _b| Exact, gpu: |_a, _b| Exact,
            }
            Add {
                arity: 2, rust: |a, b, _c| a + b, expr: operator add,
                wgsl: "({0} + {1})",
                slopes: |_a, _b, _c, _y, g| [Some(g), Some(g), None],
                smooth: Smooth, domain: [Any, Any, Any], cpu: |_a, _b| Nearest, gpu: |_a, _b| Nearest,
            }
            Sub {
                arity: 2, rust: |a, b, _c| a - b, expr: operator sub,
                wgsl: "({0} - {1})",
                slopes: |_a, _b, _c, _y, g| [Some(g), Some(-g), None],
                smooth: Smooth, domain: [Any, Any, Any], cpu: |_a, _b| Nearest, gpu: |_a, _b| Nearest,
            }
            Mul {
                arity: 2, rust: |a, b, _c| a * b, expr: operator mul,
                wgsl: "({0} * {1})",
                slopes: |a, b, _c, _y, g| [Some(g * b), Some(g * a), None],
                smooth: Smooth, domain: [Any, Any, Any], cpu: |_a, _b| Nearest, gpu: |_a, _b| Nearest,
            }
            Div {
                arity: 2, rust: |a, b, _c| a / b, expr: operator div,
                wgsl: "({0} / {1})",
                slopes: |_a, b, _c, y, g| [Some(g / b), Some(-(g * y / b)), None],
                smooth: Smooth, domain: [Any, NonZero, Any], cpu: |_a, _b| Nearest, gpu: |_a, _b| Ulps(2.5),
            }
            Min {
                arity: 2, rust: |a, b, _c| if a >= b { b } else { a },
                expr: method min "The smaller of two; at equality the second, which then gets the whole gradient.",
                wgsl: "select({0}, {1}, {0} >= {1})",
                slopes: |a, b, _c, _y, g| [Some(a.lt(b).select(g, 0.0)), Some(a.lt(b).select(0.0, g)), None],
                smooth: Pieces, domain: [Any, Any, Any], cpu: |_a, _b| Exact, gpu: |_a, _b| Exact,
            }
            Max {
                arity: 2, rust: |a, b, _c| if a <= b { b } else { a },
                expr: method max "The larger of two; at equality the second, which then gets the whole gradient.",
                wgsl: "select({0}, {1}, {0} <= {1})",
                slopes: |a, b, _c, _y, g| [Some(b.lt(a).select(g, 0.0)), Some(b.lt(a).select(0.0, g)), None],
                smooth: Pieces, domain: [Any, Any, Any], cpu: |_a, _b| Exact, gpu: |_a, _b| Exact,
            }
            Pow {
                arity: 2, rust: |a, b, _c| a.pow(b), expr: operator pow,
                wgsl: "pow_({0}, {1})" with POW,
                slopes: |a, b, _c, y, g| [
                    Some(g * b * a.pow(b - 1.0)),
                    Some(a.lt(f64::from(f32::MIN_POSITIVE)).select(0.0, g * y * a.max(f64::from(f32::MIN_POSITIVE)).ln())),
                    None,
                ],
                smooth: Smooth, domain: [NonNegative, Any, Any], cpu: |_a, _b| Ulps(4.0), gpu: |a, b| wgsl_pow(a, b),
            }
            Lt {
                arity: 2, rust: |a, b, _c| if a < b { E::ONE } else { E::ZERO }, expr: method lt "1 where x < y, else 0.",
                wgsl: "f32({0} < {1})",
                slopes: |_a, _b, _c, _y, _g| [None, None, None],
                smooth: Steps, domain: [Any, Any, Any], cpu: |_a, _b| Exact, gpu: |_a, _b| Exact,
            }
            Le {
                arity: 2, rust: |a, b, _c| if a <= b { E::ONE } else { E::ZERO }, expr: method le "1 where x <= y, else 0.",
                wgsl: "f32({0} <= {1})",
                slopes: |_a, _b, _c, _y, _g| [None, None, None],
                smooth: Steps, domain: [Any, Any, Any], cpu: |_a, _b| Exact, gpu: |_a, _b| Exact,
            }
            Eq {
                arity: 2, rust: |a, b, _c| if a == b { E::ONE } else { E::ZERO }, expr: method equals "1 where x = y, else 0.",
                wgsl: "f32({0} == {1})",
                slopes: |_a, _b, _c, _y, _g| [None, None, None],
                smooth: Steps, domain: [Any, Any, Any], cpu: |_a, _b| Exact, gpu: |_a, _b| Exact,
            }
            Select {
                arity: 3, rust: |a, b, c| if a == E::ZERO { c } else { b },
                expr: method select "The first operand where x is not 0, else the second.",
                wgsl: "select({2}, {1}, {0} != 0.0)",
                slopes: |a, _b, _c, _y, g| [None, Some(a.select(g, 0.0)), Some(a.select(0.0, g))],
                smooth: Pieces, domain: [Any, Any, Any], cpu: |_a, _b| Exact, gpu: |_a, _b| Exact,
            }
        }
    };
}

/// `log(1 + x)`. In [-1/2, 1] it is computed from the series of `2 atanh(x / (2 + x))`, which does not cancel and does
/// not depend on the order in which a compiler adds; outside, `log` itself is accurate.
const LOG1P: &str = "\
fn log1p_(x: f32) -> f32 {
    if x < -0.5 || x > 1.0 {
        return log(1.0 + x);
    }
    let s = x / (2.0 + x);
    let q = s * s;
    let tail = 1.0 / 9.0 + q * (1.0 / 11.0 + q * (1.0 / 13.0 + q * (1.0 / 15.0 + q * (1.0 / 17.0))));
    return 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * tail))));
}
";

/// `x^y` for x >= 0, with `0^0 = 1` and `0^y` infinite for y < 0; WGSL leaves both undefined.
const POW: &str = "\
fn pow_(x: f32, y: f32) -> f32 {
    if y == 0.0 {
        return 1.0;
    }
    if x == 0.0 {
        return select(x, 1.0 / x, y < 0.0);
    }
    return pow(x, y);
}
";

/// The error bound of WGSL for a logarithm; it is absolute near 1.
fn wgsl_log(x: f64) -> Rounding {
    if near_one(x) { Rounding::Absolute((-21f64).exp2()) } else { Rounding::Ulps(3.0) }
}

/// `exp2(e)` with `e = y log2 x`: an error of `e`, times ln 2, is a relative error of the power.
fn wgsl_pow(x: f64, y: f64) -> Rounding {
    let exponent = if x > 0.0 { (y * x.log2()).abs() } else { 0.0 };
    // 2^-21 is four units in the last place of 1; ln 2 < 3/4.
    let of_log = if near_one(x) { 3.0 * y.abs() } else { 0.75 * 3.0 * exponent };
    Rounding::Ulps(3.0 + 2.0 * exponent + 0.5 * exponent + of_log)
}

fn near_one(x: f64) -> bool {
    (0.5..=2.0).contains(&x)
}

macro_rules! define {
    ($($name:ident {
        arity: $arity:literal, rust: |$a:ident, $b:ident, $c:ident| $rust:expr, expr: $kind:ident $method:ident $($doc:literal)?,
        wgsl: $wgsl:literal $(with $helper:ident)?,
        slopes: |$da:ident, $db:ident, $dc:ident, $dy:ident, $dg:ident| $slopes:expr,
        smooth: $smooth:ident, domain: [$($domain:ident),*],
        cpu: |$ca:ident, $cb:ident| $cpu:expr, gpu: |$ga:ident, $gb:ident| $gpu:expr,
    })*) => {
        /// A pointwise function of one to three numbers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Opcode {
            $(#[doc = concat!("WGSL `", $wgsl, "`; accuracy `", stringify!($cpu), "` on the CPU, `", stringify!($gpu),
                "` on the GPU.")] $name,)*
        }

        impl Opcode {
            /// Every opcode, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name in the table.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Number of arguments, 1 to 3.
            pub const fn arity(self) -> usize {
                match self { $(Self::$name => $arity,)* }
            }

            /// The WGSL expression, with `{0}`, `{1}`, `{2}` for the arguments.
            pub const fn wgsl(self) -> &'static str {
                match self { $(Self::$name => $wgsl,)* }
            }

            /// The definition of the function that [`Opcode::wgsl`] calls, if WGSL lacks it.
            pub const fn wgsl_helper(self) -> Option<&'static str> {
                match self { $(Self::$name => { let helper: &[&str] = &[$($helper)?]; helper.first().copied() })* }
            }

            /// Where the function has a derivative.
            pub const fn smoothness(self) -> Smoothness {
                match self { $(Self::$name => Smoothness::$smooth,)* }
            }

            /// The allowed ranges of the arguments; those beyond the arity are not read.
            pub const fn domain(self) -> [Argument; 3] {
                match self { $(Self::$name => [$(Argument::$domain),*],)* }
            }

            /// The largest error at these arguments, on the CPU in f32 and by [`Reference`](crate::Reference) in f64.
            pub fn cpu_rounding(self, [a, b, _]: [f64; 3]) -> Rounding {
                use Rounding::{Exact, Nearest, Ulps};
                match self { $(Self::$name => { let ($ca, $cb) = (a, b); $cpu })* }
            }

            /// The largest error at these arguments in a shader, as bounded by the WGSL specification.
            pub fn gpu_rounding(self, [a, b, _]: [f64; 3]) -> Rounding {
                use Rounding::{Absolute, Exact, Nearest, Ulps};
                match self { $(Self::$name => { let ($ga, $gb) = (a, b); $gpu })* }
            }

            /// The value of the function; arguments beyond the arity are not read.
            #[inline]
            pub fn eval<E: crate::Elem>(self, args: [E; 3]) -> E {
                match self { $(Self::$name => { let [$a, $b, $c] = args; $rust })* }
            }

            /// Gradients of the arguments, given their expressions `a, b, c`, the value `y` and its gradient `g`;
            /// `None` if there is none.
            pub fn derivative<'b>(self, [a, b, c]: [Expr<'b>; 3], y: Expr<'b>, g: Expr<'b>) -> [Option<Expr<'b>>; 3] {
                match self { $(Self::$name => { let ($da, $db, $dc, $dy, $dg) = (a, b, c, y, g); $slopes })* }
            }
        }
    };
}

for_each_opcode!(define);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_are_the_functions_that_the_text_calls() {
        for opcode in Opcode::ALL {
            let called = opcode.wgsl_helper().map(|text| text.split(['(', ' ']).nth(1).unwrap_or_default());
            assert!(called.is_none_or(|name| opcode.wgsl().starts_with(name)), "{opcode:?} {called:?}");
            assert_eq!(opcode.wgsl().contains("_("), called.is_some(), "{opcode:?}");
        }
    }

    #[test]
    fn what_has_steps_has_no_slopes() {
        for opcode in Opcode::ALL {
            crate::Program::new(|p| {
                let args = [0, 1, 2].map(|i| p.input(i));
                let slopes = opcode.derivative(args, p.input(3), p.input(4));
                let any = slopes.iter().any(Option::is_some);
                assert_eq!(any, opcode.smoothness() != Smoothness::Steps, "{opcode:?}");
                assert!(slopes[opcode.arity()..].iter().all(Option::is_none), "{opcode:?}");
                p.input(0)
            });
        }
    }
}
