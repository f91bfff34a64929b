//! The accuracy that a backend documents, and what follows from it for the value of a program.

use segcal_core::{Elem, Index, Opcode, Program, Rounding, Smoothness, Step};

use super::random::opcode_program;

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
    /// The opcode's accuracy at these arguments.
    pub opcode: fn(Opcode, [f64; 3]) -> Rounding,
}

impl Accuracy {
    /// f64 throughout, such as [`Reference`](segcal_core::Reference); a few ULP for functions of the standard library.
    pub const F64: Self = Self {
        unit: F64_UNIT,
        accumulator: F64_UNIT,
        tiles: false,
        coordinate: COORDINATE_F64,
        round: |x| x,
        opcode: Opcode::cpu_rounding,
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
        opcode: Opcode::gpu_rounding,
    };
}

const F32_UNIT: f64 = 1.0 / (1u64 << 24) as f64;
const F64_UNIT: f64 = 1.0 / (1u64 << 53) as f64;
/// Four roundings of a coordinate below 1024.
const COORDINATE_F64: f64 = 4.0 * 1024.0 * F64_UNIT;
const COORDINATE_F32: f64 = 4.0 * 1024.0 * F32_UNIT;

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
            Step::Apply(opcode, _) if opcode.smoothness() != Smoothness::Steps => {
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
        let given = &args[..opcode.arity()];
        let inherited = match &self.partials[number] {
            Some(partials) if opcode.smoothness() == Smoothness::Smooth => smooth_error(partials, given),
            partials => piece_error(opcode, partials.as_ref(), given, value),
        };
        // A product with 0 of something that is undecided is undecided, not undefined.
        let inherited = if inherited.is_nan() { f64::INFINITY } else { inherited };
        Bounded { value, error: inherited + self.own_error(opcode, values, value, inherited) }
    }

    /// The rounding of the step itself.
    fn own_error(&self, opcode: Opcode, args: [f64; 3], value: f64, inherited: f64) -> f64 {
        // Below the smallest normal number the unit in the last place no longer shrinks, or the result is 0.
        let magnitude = value.abs().max(f64::from(f32::MIN_POSITIVE));
        match (self.accuracy.opcode)(opcode, args) {
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

/// Sum of |partial derivative| times error, with a hundredth more for the terms of second order.
fn smooth_error(partials: &Program, args: &[Bounded]) -> f64 {
    if args.iter().all(|arg| arg.error == 0.0) {
        return 0.0;
    }
    let values: Vec<f64> = args.iter().map(|arg| arg.value).collect();
    1.01 * slopes(partials, &values)
        .iter()
        .zip(args)
        .filter(|(_, arg)| arg.error > 0.0)
        .map(|(slope, arg)| slope.abs() * arg.error)
        .sum::<f64>()
}

/// How far a function in pieces may move while its arguments move within their errors: along the steepest of the
/// pieces that they reach. Where it moves further it jumps, and all is open.
fn piece_error(opcode: Opcode, partials: Option<&Program>, args: &[Bounded], value: f64) -> f64 {
    let (mut steepest, mut furthest) = (0.0f64, 0.0f64);
    let [first, second, third] = candidates(args);
    for &a in &first {
        for &b in &second {
            for &c in &third {
                let at = [a, b, c];
                let errors = args.iter().map(|arg| arg.error);
                let along = partials.map(|partials| slopes(partials, &at[..args.len()]));
                let along = along.into_iter().flatten().zip(errors).filter(|(slope, _)| *slope != 0.0);
                steepest = steepest.max(along.map(|(slope, error)| slope.abs() * error).sum());
                let other: f64 = opcode.eval(at);
                let same = other == value || other.is_nan() && value.is_nan();
                let moved = if same { 0.0 } else { (other - value).abs() };
                furthest = furthest.max(if moved.is_nan() { f64::INFINITY } else { moved });
            }
        }
    }
    // The ends of an interval are rounded.
    let slack = if steepest > 0.0 { 4.0 * f64::EPSILON * value.abs() } else { 0.0 };
    if furthest <= steepest * (1.0 + 1e-9) + slack { steepest } else { f64::INFINITY }
}

/// The partial derivatives at the arguments.
fn slopes(partials: &Program, at: &[f64]) -> Vec<f64> {
    partials.eval(&[at, &[1.0]].concat(), &[], [0; 5])
}

/// For each argument the numbers that it may be, of those at which a function in pieces can turn: the value, the ends
/// of its interval, 0, and what the intervals of the first two have in common.
fn candidates(args: &[Bounded]) -> [Vec<f64>; 3] {
    let ends = |arg: &Bounded| [arg.value - arg.error, arg.value + arg.error];
    let common = args.get(..2).map(|pair| {
        let [[a_low, a_high], [b_low, b_high]] = [ends(&pair[0]), ends(&pair[1])];
        let (low, high) = (a_low.max(b_low), a_high.min(b_high));
        if low <= high { low.midpoint(high) } else { f64::NAN }
    });
    std::array::from_fn(|number| {
        let Some(arg) = args.get(number) else { return vec![0.0] };
        let within = |x: &f64| (x - arg.value).abs() <= arg.error;
        let special = [Some(0.0), common.filter(|_| number < 2)].into_iter().flatten().filter(within);
        let mut numbers = vec![arg.value];
        if arg.error > 0.0 {
            numbers.extend(ends(arg));
            numbers.extend(special);
        }
        numbers
    })
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

    fn error_of(opcode: Opcode, args: &[Bounded]) -> f64 {
        let wanted: Vec<usize> = (0..args.len()).collect();
        let partials = (opcode.smoothness() == Smoothness::Pieces).then(|| opcode_program(opcode).vjp(&wanted));
        let value = |number: usize| args.get(number).map_or(0.0, |arg| arg.value);
        piece_error(opcode, partials.as_ref(), args, opcode.eval([0, 1, 2].map(value)))
    }

    /// An opcode of at most two arguments with errors.
    fn apart(opcode: Opcode, [a, a_error]: [f64; 2], [b, b_error]: [f64; 2]) -> f64 {
        let args = [Bounded { value: a, error: a_error }, Bounded { value: b, error: b_error }];
        error_of(opcode, &args[..opcode.arity()])
    }

    #[test]
    fn functions_in_pieces_move_no_further_than_their_arguments() {
        assert_eq!(apart(Opcode::Abs, [0.0625, 0.125], [0.0; 2]), 0.125);
        assert_eq!(apart(Opcode::Max, [1.0, 0.125], [1.0625, 0.25]), 0.25);
        assert_eq!(apart(Opcode::Floor, [1.0625, 0.125], [0.0; 2]), f64::INFINITY);
        assert_eq!(apart(Opcode::Floor, [1.5, 0.125], [0.0; 2]), 0.0);
        // Neither value lies in the other's interval, but the intervals meet.
        assert_eq!(apart(Opcode::Eq, [1.0, 0.125], [1.1875, 0.125]), f64::INFINITY);
        assert_eq!(apart(Opcode::Eq, [1.0, 0.125], [1.3125, 0.125]), 0.0);
    }

    #[test]
    fn a_choice_is_open_where_its_condition_is() {
        let choice = |condition: [f64; 2], second: [f64; 2], third: [f64; 2]| {
            let args = [condition, second, third].map(|[value, error]| Bounded { value, error });
            error_of(Opcode::Select, &args)
        };
        assert_eq!(choice([1.0, 0.5], [2.0, 0.125], [9.0, 0.25]), 0.125);
        assert_eq!(choice([0.0, 0.0], [2.0, 0.125], [9.0, 0.25]), 0.25);
        assert_eq!(choice([0.25, 0.5], [2.0, 0.125], [9.0, 0.25]), f64::INFINITY);
        assert_eq!(choice([0.25, 0.5], [2.0, 0.0], [2.0, 0.0]), 0.0);
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
