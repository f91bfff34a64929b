//! The accuracy that a backend documents, and what follows from it for the value of a program.

use segcal_core::{Elem, Index, Opcode, Program, Step};

use super::random::opcode_program;

/// How far an opcode's result may lie from the exact function of its (rounded) arguments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rounding {
    /// No rounding at all.
    Exact,
    /// The nearest number, as IEEE 754 demands of + - * /.
    Nearest,
    /// So many units in the last place.
    Ulps(f64),
    /// So much at most, whatever the value.
    Absolute(f64),
}

/// What a backend promises about its numbers.
#[derive(Clone, Copy)]
pub struct Accuracy {
    /// Largest relative error of rounding to the number type: 2^-24 for f32.
    pub unit: f64,
    /// The same for the accumulators of `reduce`.
    pub accumulator: f64,
    /// Whether 3x3 convolutions without stride, dilation and groups may be computed in transformed tiles of 4 x 4
    /// outputs (Winograd's minimal filtering), whose roundings spread over the tile.
    pub tiles: bool,
    /// Largest error of a source coordinate of `resample`, in voxels.
    pub coordinate: f64,
    /// Rounds a double to the number type.
    pub round: fn(f64) -> f64,
    /// The opcode's accuracy at these arguments with this value.
    pub opcode: fn(Opcode, [f64; 3], f64) -> Rounding,
}

impl Accuracy {
    /// f64 throughout, such as [`Reference`](segcal_core::Reference); a few ULP for functions of the standard library.
    pub const F64: Self = Self {
        unit: F64_UNIT,
        accumulator: F64_UNIT,
        tiles: false,
        coordinate: COORDINATE_F64,
        round: |x| x,
        opcode: |opcode, _, _| cpu_rounding(opcode),
    };

    /// f32 with f64 accumulators and coordinates, and convolution in tiles: the CPU column of the opcode table.
    pub const CPU: Self = Self { unit: F32_UNIT, tiles: true, round: |x| f32::of(x).f64(), ..Self::F64 };

    /// f32 throughout: the GPU column of the opcode table, whose bounds are those of the WGSL specification.
    pub const GPU: Self = Self {
        unit: F32_UNIT,
        accumulator: F32_UNIT,
        tiles: false,
        coordinate: COORDINATE_F32,
        round: |x| f32::of(x).f64(),
        opcode: gpu_rounding,
    };
}

const F32_UNIT: f64 = 1.0 / (1u64 << 24) as f64;
const F64_UNIT: f64 = 1.0 / (1u64 << 53) as f64;
/// Four roundings of a coordinate below 1024.
const COORDINATE_F64: f64 = 4.0 * 1024.0 * F64_UNIT;
const COORDINATE_F32: f64 = 4.0 * 1024.0 * F32_UNIT;

/// The table's accuracy for f32 on the CPU.
fn cpu_rounding(opcode: Opcode) -> Rounding {
    match opcode {
        Opcode::Neg
        | Opcode::Abs
        | Opcode::Floor
        | Opcode::Min
        | Opcode::Max
        | Opcode::Lt
        | Opcode::Le
        | Opcode::Eq
        | Opcode::Select => Rounding::Exact,
        Opcode::Add | Opcode::Sub | Opcode::Mul | Opcode::Div | Opcode::Sqrt => Rounding::Nearest,
        Opcode::Exp | Opcode::Log | Opcode::Log1p => Rounding::Ulps(2.0),
        Opcode::Tanh | Opcode::Pow => Rounding::Ulps(4.0),
    }
}

/// The table's accuracy for f32 on the GPU.
fn gpu_rounding(opcode: Opcode, args: [f64; 3], _value: f64) -> Rounding {
    let log = |x: f64| if near_one(x) { Rounding::Absolute((-21f64).exp2()) } else { Rounding::Ulps(3.0) };
    match opcode {
        Opcode::Exp => Rounding::Ulps(3.0 + 2.0 * args[0].abs()),
        Opcode::Log => log(args[0]),
        Opcode::Log1p => log(1.0 + args[0]),
        Opcode::Sqrt => Rounding::Ulps(3.0),
        Opcode::Tanh => Rounding::Absolute(1e-5),
        Opcode::Div => Rounding::Ulps(2.5),
        Opcode::Pow => gpu_pow(args[0], args[1]),
        _ => cpu_rounding(opcode),
    }
}

/// exp2(e) with `e = y log2 x`: an error of `e` is, times ln 2, a relative error of the power.
fn gpu_pow(x: f64, y: f64) -> Rounding {
    let exponent = if x > 0.0 { (y * x.log2()).abs() } else { 0.0 };
    // 2^-21 is four units in the last place of 1; ln 2 < 3/4.
    let of_log = if near_one(x) { 3.0 * y.abs() } else { 0.75 * 3.0 * exponent };
    Rounding::Ulps(3.0 + 2.0 * exponent + 0.5 * exponent + of_log)
}

fn near_one(x: f64) -> bool {
    (0.5..=2.0).contains(&x)
}

/// A value of a program with the largest error that the documented accuracy allows it; the error is infinite where
/// rounding may turn a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounded {
    pub(crate) value: f64,
    pub(crate) error: f64,
}

/// Evaluates one program many times and follows the errors to first order through its steps.
pub(crate) struct ErrorAnalysis<'a> {
    program: &'a Program,
    accuracy: &'a Accuracy,
    scalars: Vec<Bounded>,
    /// For each step, the partial derivatives of its opcode as one program with an output per argument.
    partials: Vec<Option<Program>>,
    steps: Vec<Bounded>,
}

impl<'a> ErrorAnalysis<'a> {
    pub(crate) fn new(program: &'a Program, scalars: &[f64], accuracy: &'a Accuracy) -> Self {
        let scalars = scalars.iter().map(|&scalar| rounded(scalar, accuracy)).collect();
        let partials = program.steps().iter().map(|&step| match step {
            Step::Apply(opcode, _) if is_smooth(opcode) => {
                let arguments: Vec<usize> = (0..opcode.arity()).collect();
                Some(opcode_program(opcode).vjp(&arguments))
            }
            _ => None,
        });
        Self { program, accuracy, scalars, partials: partials.collect(), steps: Vec::new() }
    }

    /// The outputs for exact inputs at one place.
    pub(crate) fn at(&mut self, inputs: &[f64], at: Index) -> impl Iterator<Item = Bounded> {
        self.steps.clear();
        for number in 0..self.program.steps().len() {
            let exact = |value| Bounded { value, error: 0.0 };
            let bounded = match self.program.steps()[number] {
                Step::Const(bits) => rounded(f64::from_bits(bits), self.accuracy),
                Step::Input(i) => exact(inputs[i]),
                Step::Scalar(i) => self.scalars[i],
                Step::Coord(axis) => exact(at[axis] as f64),
                Step::Apply(opcode, args) => self.apply(opcode, args, number),
            };
            self.steps.push(bounded);
        }
        self.program.outputs().iter().map(|&output| self.steps[output])
    }

    fn apply(&self, opcode: Opcode, args: [usize; 3], number: usize) -> Bounded {
        let args = args.map(|arg| self.steps.get(arg).copied().unwrap_or(Bounded { value: 0.0, error: 0.0 }));
        let values = args.map(|arg| arg.value);
        let value = opcode.eval(values);
        let inherited = match &self.partials[number] {
            Some(partials) => smooth_error(partials, &args[..opcode.arity()]),
            None => branch_error(opcode, args),
        };
        // A product with 0 of something that is undecided is undecided, not undefined.
        let inherited = if inherited.is_nan() { f64::INFINITY } else { inherited };
        Bounded { value, error: inherited + self.own_error(opcode, values, value, inherited) }
    }

    /// The rounding of the step itself.
    fn own_error(&self, opcode: Opcode, args: [f64; 3], value: f64, inherited: f64) -> f64 {
        // Below the smallest normal number the unit in the last place no longer shrinks, or the result is 0.
        let magnitude = value.abs().max(f64::from(f32::MIN_POSITIVE));
        match (self.accuracy.opcode)(opcode, args, value) {
            Rounding::Exact => 0.0,
            Rounding::Nearest if inherited == 0.0 && value == (self.accuracy.round)(value) => 0.0,
            Rounding::Nearest => magnitude * self.accuracy.unit,
            Rounding::Ulps(ulps) => 2.0 * ulps * magnitude * self.accuracy.unit,
            Rounding::Absolute(error) => error,
        }
    }
}

fn rounded(value: f64, accuracy: &Accuracy) -> Bounded {
    Bounded { value, error: (value - (accuracy.round)(value)).abs() }
}

/// Opcodes whose errors follow their derivative; the others choose between their arguments or compare them.
fn is_smooth(opcode: Opcode) -> bool {
    !matches!(
        opcode,
        Opcode::Abs | Opcode::Min | Opcode::Max | Opcode::Floor | Opcode::Lt | Opcode::Le | Opcode::Eq | Opcode::Select
    )
}

/// Sum of |partial derivative| times error, with a hundredth more for the terms of second order.
fn smooth_error(partials: &Program, args: &[Bounded]) -> f64 {
    if args.iter().all(|arg| arg.error == 0.0) {
        return 0.0;
    }
    let mut inputs: Vec<f64> = args.iter().map(|arg| arg.value).collect();
    inputs.push(1.0);
    let slopes = partials.eval(&inputs, &[], [0; 5]);
    1.01 * slopes
        .iter()
        .zip(args)
        .filter(|(_, arg)| arg.error > 0.0)
        .map(|(slope, arg)| slope.abs() * arg.error)
        .sum::<f64>()
}

fn branch_error(opcode: Opcode, [a, b, c]: [Bounded; 3]) -> f64 {
    let undecided = |yes: bool| if yes { f64::INFINITY } else { 0.0 };
    let inexact = a.error + b.error > 0.0;
    match opcode {
        Opcode::Abs => a.error,
        Opcode::Min | Opcode::Max => a.error.max(b.error),
        Opcode::Floor => undecided(a.error > 0.0 && (a.value - a.error).floor() != (a.value + a.error).floor()),
        Opcode::Select if a.error > 0.0 && a.value.abs() <= a.error => {
            if b == c {
                b.error
            } else {
                f64::INFINITY
            }
        }
        Opcode::Select => {
            if a.value == 0.0 {
                c.error
            } else {
                b.error
            }
        }
        _ => undecided(inexact && (a.value - b.value).abs() <= a.error + b.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(program: &Program, inputs: &[f64], scalars: &[f64]) -> f64 {
        ErrorAnalysis::new(program, scalars, &Accuracy::CPU).at(inputs, [0; 5]).next().unwrap().error
    }

    #[test]
    fn exact_arithmetic_has_no_error() {
        let program = Program::new(|p| p.input(0) * p.input(1) + 0.5);
        assert_eq!(error(&program, &[3.0, 5.0], &[]), 0.0);
        assert!(error(&Program::new(|p| p.input(0) + 0.1), &[1.0], &[]) > 0.0, "0.1 is rounded");
        assert!(error(&Program::new(|p| p.scalar(0) * p.input(0)), &[3.0], &[1.0 / 3.0]) > 0.0);
    }

    #[test]
    fn cancellation_keeps_the_absolute_error() {
        let program = Program::new(|p| p.input(0).exp() - p.scalar(0));
        let e = std::f64::consts::E;
        let bound = error(&program, &[1.0], &[e]);
        assert!(bound >= 4.0 * e * F32_UNIT && bound < 8.0 * e * F32_UNIT, "{bound}");
    }

    #[test]
    fn a_comparison_of_rounded_numbers_may_be_undecided() {
        let program = Program::new(|p| (p.input(0) * 3.0 + 0.1).lt(p.scalar(0)));
        assert_eq!(error(&program, &[1.0], &[3.1]), f64::INFINITY);
        assert_eq!(error(&program, &[1.0], &[3.2]), 0.0);
    }

    /// Each bound against what f32 arithmetic really does.
    #[test]
    fn f32_evaluation_stays_within_its_bounds() {
        let program = Program::new(|p| {
            let x = p.input(0);
            ((x * 1.7).exp() / (x.square() + 0.3) - x.tanh() * 2.1).max(x * 0.1).sqrt() + p.scalar(0) * x
        });
        for i in 0..1000 {
            let x = f64::from(0.003f32 * i as f32);
            let bounded = ErrorAnalysis::new(&program, &[0.7], &Accuracy::CPU).at(&[x], [0; 5]).next().unwrap();
            let single = program.eval(&[x as f32], &[0.7f32], [0; 5])[0];
            assert!((f64::from(single) - bounded.value).abs() <= bounded.error, "{x}: {single} {bounded:?}");
            assert!(bounded.error < 4e-6 * (1.0 + bounded.value.abs()), "{x}: {bounded:?}");
        }
    }
}
