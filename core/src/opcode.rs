//! THE opcode table: every pointwise function of the project, once.
//!
//! A row is: name, arity, WGSL text (`{0}`, `{1}`, `{2}` stand for the arguments), Rust function, derivative, accuracy
//! of the f32 backends. Everything that deals with opcodes is generated from it: [`Opcode`], [`Opcode::eval`],
//! [`Opcode::derivative`], the CPU's loops (through [`for_each_opcode!`](crate::for_each_opcode)), the GPU's shaders
//! and the tests. A new function is one new row.
//!
//! Comparisons give 1 for true and 0 for false, and NaN compares false. `Min` and `Max` keep a NaN in their first
//! argument, so that `x.max(0)` does not hide one; at equality they take (and differentiate) the second argument, so
//! that the derivative of `x.max(0)` at 0 is 0.

use crate::program::Expr;

/// Calls the macro `$rows` with the whole table. The Rust functions are written over a type `E: Elem`, which the
/// place of expansion must have in scope.
#[macro_export]
macro_rules! for_each_opcode {
    ($rows:ident) => {
        $rows! {
            Neg, 1, "-{0}", |a, _b, _c| -a,
                |_a, _b, _c, _y, g| [Some(-g), None, None], "exact";
            Abs, 1, "abs({0})", |a, _b, _c| a.abs(),
                |a, _b, _c, _y, g| [Some(g * a.sign()), None, None], "exact; derivative 0 at 0";
            Exp, 1, "exp({0})", |a, _b, _c| a.exp(),
                |_a, _b, _c, y, g| [Some(g * y), None, None], "cpu 2 ULP; gpu (3 + 2 |x|) ULP, the WGSL bound";
            Log, 1, "log({0})", |a, _b, _c| a.ln(),
                |a, _b, _c, _y, g| [Some(g / a), None, None], "cpu 2 ULP; gpu 3 ULP outside [0.5, 2], 2^-21 absolute inside";
            Log1p, 1, "log1p_({0})", |a, _b, _c| a.ln_1p(),
                |a, _b, _c, _y, g| [Some(g / (a + 1.0)), None, None], "cpu 2 ULP; gpu as Log";
            Sqrt, 1, "sqrt({0})", |a, _b, _c| a.sqrt(),
                |_a, _b, _c, y, g| [Some(g * 0.5 / y), None, None], "cpu exact; gpu 3 ULP";
            Tanh, 1, "tanh({0})", |a, _b, _c| a.tanh(),
                |_a, _b, _c, y, g| [Some(g * (1.0 - y * y)), None, None], "cpu 4 ULP; gpu 1e-5 absolute";
            Floor, 1, "floor({0})", |a, _b, _c| a.floor(),
                |_a, _b, _c, _y, _g| [None, None, None], "exact; not differentiated";
            Add, 2, "({0} + {1})", |a, b, _c| a + b,
                |_a, _b, _c, _y, g| [Some(g), Some(g), None], "0.5 ULP";
            Sub, 2, "({0} - {1})", |a, b, _c| a - b,
                |_a, _b, _c, _y, g| [Some(g), Some(-g), None], "0.5 ULP";
            Mul, 2, "({0} * {1})", |a, b, _c| a * b,
                |a, b, _c, _y, g| [Some(g * b), Some(g * a), None], "0.5 ULP";
            Div, 2, "({0} / {1})", |a, b, _c| a / b,
                |_a, b, _c, y, g| [Some(g / b), Some(-(g * y / b)), None], "cpu 0.5 ULP; gpu 2.5 ULP";
            Min, 2, "select({0}, {1}, {0} >= {1})", |a, b, _c| if a >= b { b } else { a },
                |a, b, _c, _y, g| [Some(a.lt(b).select(g, 0.0)), Some(a.lt(b).select(0.0, g)), None], "exact";
            Max, 2, "select({0}, {1}, {0} <= {1})", |a, b, _c| if a <= b { b } else { a },
                |a, b, _c, _y, g| [Some(b.lt(a).select(g, 0.0)), Some(b.lt(a).select(0.0, g)), None], "exact";
            Pow, 2, "pow_({0}, {1})", |a, b, _c| a.pow(b),
                |a, b, _c, y, g| [
                    Some(g * b * a.pow(b - 1.0)),
                    Some(a.lt(f64::from(f32::MIN_POSITIVE)).select(0.0, g * y * a.max(f64::from(f32::MIN_POSITIVE)).ln())),
                    None,
                ], "cpu 4 ULP; gpu as exp2(y log2 x); x >= 0";
            Lt, 2, "f32({0} < {1})", |a, b, _c| if a < b { E::ONE } else { E::ZERO },
                |_a, _b, _c, _y, _g| [None, None, None], "exact; not differentiated";
            Le, 2, "f32({0} <= {1})", |a, b, _c| if a <= b { E::ONE } else { E::ZERO },
                |_a, _b, _c, _y, _g| [None, None, None], "exact; not differentiated";
            Eq, 2, "f32({0} == {1})", |a, b, _c| if a == b { E::ONE } else { E::ZERO },
                |_a, _b, _c, _y, _g| [None, None, None], "exact; not differentiated";
            Select, 3, "select({2}, {1}, {0} != 0.0)", |a, b, c| if a == E::ZERO { c } else { b },
                |a, _b, _c, _y, g| [None, Some(a.select(g, 0.0)), Some(a.select(0.0, g))], "exact: {1} where {0} is not 0, else {2}";
        }
    };
}

macro_rules! define {
    ($($name:ident, $arity:literal, $wgsl:literal, |$a:ident, $b:ident, $c:ident| $rust:expr,
       |$da:ident, $db:ident, $dc:ident, $dy:ident, $dg:ident| $derivative:expr, $accuracy:literal;)*) => {
        /// A pointwise function of one to three numbers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Opcode {
            $(#[doc = concat!("WGSL `", $wgsl, "`; ", $accuracy, ".")] $name,)*
        }

        impl Opcode {
            /// Every opcode, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Name as in the table.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Number of arguments, 1 to 3.
            pub const fn arity(self) -> usize {
                match self { $(Self::$name => $arity,)* }
            }

            /// WGSL expression with `{0}`, `{1}`, `{2}` for the arguments.
            pub const fn wgsl(self) -> &'static str {
                match self { $(Self::$name => $wgsl,)* }
            }

            /// Accuracy of the f32 backends.
            pub const fn accuracy(self) -> &'static str {
                match self { $(Self::$name => $accuracy,)* }
            }

            /// The value at the arguments; those beyond the arity are not read.
            #[inline]
            pub fn eval<E: crate::Elem>(self, args: [E; 3]) -> E {
                match self { $(Self::$name => { let [$a, $b, $c] = args; $rust })* }
            }

            /// Gradients of the arguments, given their expressions `a, b, c`, the value `y` and its gradient `g`;
            /// `None` where there is none.
            pub fn derivative<'b>(self, [a, b, c]: [Expr<'b>; 3], y: Expr<'b>, g: Expr<'b>) -> [Option<Expr<'b>>; 3] {
                match self { $(Self::$name => { let ($da, $db, $dc, $dy, $dg) = (a, b, c, y, g); $derivative })* }
            }
        }
    };
}

for_each_opcode!(define);
