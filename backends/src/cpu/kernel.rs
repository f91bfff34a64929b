//! One tight loop for each opcode and each kind of operand, generated from the opcode table.

use segcal_core::{Elem, Opcode, for_each_opcode};

use super::isa::wide;
use super::math::Fast;

/// What an opcode reads over a block of elements.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand<'a> {
    /// One value per element.
    Each(&'a [f32]),
    /// The same value for every element.
    All(f32),
}

impl Operand<'_> {
    /// The operand restricted to `len` of its elements.
    pub(crate) fn part(self, start: usize, len: usize) -> Self {
        match self {
            Self::Each(values) => Self::Each(&values[start..start + len]),
            Self::All(value) => Self::All(value),
        }
    }

    /// Writes the values of the operand to `out`.
    pub(crate) fn copy_to(self, out: &mut [f32]) {
        match self {
            Self::Each(values) => out.copy_from_slice(values),
            Self::All(value) => out.fill(value),
        }
    }
}

/// An operand whose kind is known at compile time.
trait Source: Copy {
    /// Cuts the operand to exactly `len` elements, so that the loop needs no bounds checks.
    fn cut(self, len: usize) -> Self;
    fn get(self, place: usize) -> Fast;
}

impl Source for &[f32] {
    #[inline(always)]
    fn cut(self, len: usize) -> Self {
        &self[..len]
    }
    #[inline(always)]
    fn get(self, place: usize) -> Fast {
        Fast(self[place])
    }
}

impl Source for f32 {
    #[inline(always)]
    fn cut(self, _: usize) -> Self {
        self
    }
    #[inline(always)]
    fn get(self, _: usize) -> Fast {
        Fast(self)
    }
}

/// A row of the opcode table as a type.
trait Point {
    fn at(a: Fast, b: Fast, c: Fast) -> Fast;
}

#[inline(always)]
fn each<P: Point>(a: impl Source, b: impl Source, c: impl Source, out: &mut [f32]) {
    let len = out.len();
    let (a, b, c) = (a.cut(len), b.cut(len), c.cut(len));
    for place in 0..len {
        out[place] = P::at(a.get(place), b.get(place), c.get(place)).0;
    }
}

#[inline(always)]
fn unary<P: Point>(a: Operand<'_>, out: &mut [f32]) {
    match a {
        Operand::Each(a) => each::<P>(a, 0.0, 0.0, out),
        Operand::All(a) => out.fill(P::at(Fast(a), Fast(0.0), Fast(0.0)).0),
    }
}

#[inline(always)]
fn binary<P: Point>(a: Operand<'_>, b: Operand<'_>, out: &mut [f32]) {
    use Operand::{All, Each};
    match (a, b) {
        (Each(a), Each(b)) => each::<P>(a, b, 0.0, out),
        (Each(a), All(b)) => each::<P>(a, b, 0.0, out),
        (All(a), Each(b)) => each::<P>(a, b, 0.0, out),
        (All(a), All(b)) => out.fill(P::at(Fast(a), Fast(b), Fast(0.0)).0),
    }
}

#[inline(always)]
fn ternary<P: Point>([a, b, c]: [Operand<'_>; 3], out: &mut [f32]) {
    use Operand::{All, Each};
    match (a, b, c) {
        (Each(a), Each(b), Each(c)) => each::<P>(a, b, c, out),
        (Each(a), Each(b), All(c)) => each::<P>(a, b, c, out),
        (Each(a), All(b), Each(c)) => each::<P>(a, b, c, out),
        (Each(a), All(b), All(c)) => each::<P>(a, b, c, out),
        (All(a), Each(b), Each(c)) => each::<P>(a, b, c, out),
        (All(a), Each(b), All(c)) => each::<P>(a, b, c, out),
        (All(a), All(b), Each(c)) => each::<P>(a, b, c, out),
        (All(a), All(b), All(c)) => out.fill(P::at(Fast(a), Fast(b), Fast(c)).0),
    }
}

macro_rules! define {
    ($($name:ident { arity: $arity:literal, rust: |$a:ident, $b:ident, $c:ident| $rust:expr, $($rest:tt)* })*) => {
        type E = Fast;

        $(
            struct $name;
            impl Point for $name {
                #[inline(always)]
                fn at($a: E, $b: E, $c: E) -> E {
                    $rust
                }
            }
        )*

        wide! {
            /// Writes `opcode(args)` to each element of `out`; arguments beyond the arity are not read.
            pub(crate) fn apply(opcode: Opcode, args: [Operand<'_>; 3], out: &mut [f32]) {
                match opcode {
                    $(Opcode::$name => match $arity {
                        1 => unary::<$name>(args[0], out),
                        2 => binary::<$name>(args[0], args[1], out),
                        _ => ternary::<$name>(args, out),
                    },)*
                }
            }
        }
    };
}

for_each_opcode!(define);

#[cfg(test)]
mod tests {
    use segcal_core::Argument;

    use super::*;
    use crate::cpu::isa::for_each_level;

    /// Numbers that cover every special case: signs, kinks, subnormal, huge, infinite and NaN.
    fn numbers() -> Vec<f32> {
        let mut numbers = vec![0.0, -0.0, 1.0, -1.0, 1e-42, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.5];
        numbers.extend((0..90).map(|i| ((i * 37 % 91) as f32 - 45.0) * 0.37));
        numbers
    }

    fn same(a: f32, b: f32) -> bool {
        a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
    }

    fn operand(kinds: usize, bit: usize, values: &[f32]) -> Operand<'_> {
        if kinds >> bit & 1 == 1 { Operand::All(values[7]) } else { Operand::Each(values) }
    }

    /// Every opcode, operand kind and instruction set gives the same bits as evaluating one element at a time.
    #[test]
    fn loops_agree_with_single_evaluations() {
        let a = numbers();
        let b: Vec<f32> = a.iter().rev().copied().collect();
        let c: Vec<f32> = a.iter().cycle().skip(31).take(a.len()).copied().collect();
        let mut out = vec![0.0; a.len()];
        for_each_level(|level| {
            for &opcode in Opcode::ALL {
                for kinds in 0..8 {
                    let pick = |bit: usize, values: &[f32], place: usize| {
                        values[if kinds >> bit & 1 == 1 { 7 } else { place }]
                    };
                    let operands = [operand(kinds, 0, &a), operand(kinds, 1, &b), operand(kinds, 2, &c)];
                    apply(opcode, operands, &mut out);
                    for place in 0..a.len() {
                        let args = [pick(0, &a, place), pick(1, &b, place), pick(2, &c, place)];
                        let expected = opcode.eval(args.map(Fast)).0;
                        assert!(same(out[place], expected), "{level:?} {opcode:?} {args:?} {} {expected}", out[place]);
                    }
                }
            }
        });
    }

    /// Checks the documented accuracy of each opcode against f64.
    #[test]
    fn opcodes_agree_with_double_precision() {
        for &opcode in Opcode::ALL {
            for &a in &numbers() {
                for &b in &numbers()[..40] {
                    let outside = opcode.domain()[0] == Argument::NonNegative && a.is_sign_negative();
                    let found = opcode.eval([Fast(a), Fast(b), Fast(0.25)]).0;
                    let exact = opcode.eval([f64::from(a), f64::from(b), 0.25]) as f32;
                    let close =
                        same(found, exact) || found == exact || (found - exact).abs() <= 5e-7 * exact.abs() + 6e-45;
                    let undefined = outside && (found.is_nan() || found.abs() == exact.abs());
                    assert!(close || undefined, "{opcode:?} {a:e} {b:e}: {found:e}, not {exact:e}");
                }
            }
        }
    }
}
