//! Random programs and random convolutions. The same ones on every run.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use segcal_core::{Backend, Builder, Expr, Geometry, Opcode, Program, Rng, Shape, Step};

use super::{Accuracy, Array, Case, Op, Report, adjoint, parity};

/// Random shapes and geometries: parity and adjoint identities of the convolution triple.
pub fn convolutions<B: Backend>(backend: &B, accuracy: &Accuracy) -> Report {
    run("random convolutions", 96, convolution(), |case| {
        parity::compare(backend, accuracy, &case)?;
        for identity in adjoint::identities(&case) {
            identity.check(backend, accuracy)?;
        }
        Ok(())
    })
}

/// Random programs over every opcode, as a map and as a sum: parity.
pub fn programs<B: Backend>(backend: &B, accuracy: &Accuracy) -> Report {
    run("random programs", 192, (recipe(16), any::<u64>()), |(recipe, seed)| {
        let program = recipe.program(Guard::Domains);
        let shape = Shape::new(1, 2, 1, 3, 7);
        let arrays: Vec<Array> = (0..INPUTS as u64).map(|i| Array::normal(shape, Rng::new(seed).stream(i))).collect();
        let op = Op::Map { program, scalars: SCALARS.to_vec(), out: shape };
        let case = Case::new("random", op, arrays);
        parity::compare_decided(backend, accuracy, &case)
    })
}

/// Derivative programs of random programs against five-point stencils, place by place.
pub fn derivatives() -> Report {
    run("random derivatives", 256, (recipe(10), any::<u64>()), |(recipe, seed)| {
        let program = recipe.program(Guard::Smooth);
        let rng = Rng::new(seed);
        (0..8).try_for_each(|point| {
            let inputs: Vec<f64> = (0..INPUTS as u64).map(|i| rng.stream(point).range(i, -1.5, 1.5)).collect();
            (0..INPUTS).try_for_each(|wanted| compare_derivative(&program, &inputs, wanted))
        })
    })
}

/// The program of one opcode: `opcode(input 0, input 1, input 2)`.
pub fn opcode_program(opcode: Opcode) -> Program {
    Program::new(|p| apply(opcode, [0, 1, 2].map(|i| p.input(i.min(opcode.arity() - 1)))))
}

/// An opcode of expressions; those beyond its arity are not used.
pub fn apply<'b>(opcode: Opcode, [a, b, c]: [Expr<'b>; 3]) -> Expr<'b> {
    match opcode {
        Opcode::Neg => -a,
        Opcode::Abs => a.abs(),
        Opcode::Exp => a.exp(),
        Opcode::Log => a.ln(),
        Opcode::Log1p => a.ln_1p(),
        Opcode::Sqrt => a.sqrt(),
        Opcode::Tanh => a.tanh(),
        Opcode::Floor => a.floor(),
        Opcode::Add => a + b,
        Opcode::Sub => a - b,
        Opcode::Mul => a * b,
        Opcode::Div => a / b,
        Opcode::Min => a.min(b),
        Opcode::Max => a.max(b),
        Opcode::Pow => a.pow(b),
        Opcode::Lt => a.lt(b),
        Opcode::Le => a.le(b),
        Opcode::Eq => a.equals(b),
        Opcode::Select => a.select(b, c),
    }
}

const INPUTS: usize = 3;
const SCALARS: [f64; 2] = [0.75, -1.25];

/// How a random program keeps its arguments where the opcode is defined and its values of moderate size.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// By absolute values.
    Domains,
    /// By squares, so that the guard itself has no kink.
    Smooth,
}

impl Guard {
    /// A positive number of moderate size.
    fn positive(self, a: Expr<'_>) -> Expr<'_> {
        match self {
            Self::Domains => a.abs() + 0.25,
            Self::Smooth => (a.square() + 0.25).sqrt(),
        }
    }

    fn apply<'b>(self, opcode: Opcode, [a, b, c]: [Expr<'b>; 3]) -> Expr<'b> {
        match opcode {
            Opcode::Exp => a.tanh().exp(),
            Opcode::Log | Opcode::Log1p | Opcode::Sqrt => apply(opcode, [self.positive(a), b, c]),
            Opcode::Div => a / self.positive(b),
            Opcode::Pow => self.positive(a).min(9.0).pow(b.tanh()),
            Opcode::Mul => (a * b) * 0.5,
            _ => apply(opcode, [a, b, c]),
        }
    }
}

/// What a random program is made of: opcodes, and for each argument how far back it lies.
#[derive(Clone, Debug)]
struct Recipe(Vec<(Opcode, [usize; 3])>);

impl Recipe {
    fn program(&self, guard: Guard) -> Program {
        Program::with_outputs(|p| {
            let mut values = leaves(p);
            for &(opcode, args) in &self.0 {
                let args = args.map(|back| values[values.len() - 1 - back % values.len()]);
                values.push(guard.apply(opcode, args));
            }
            values[values.len() - 2..].to_vec()
        })
    }
}

fn leaves(p: &Builder) -> Vec<Expr<'_>> {
    let inputs = (0..INPUTS).map(|i| p.input(i));
    let scalars = (0..SCALARS.len()).map(|i| p.scalar(i));
    let coordinates = [p.coord(1) * 0.5, p.coord(4) * 0.25];
    scalars.chain(coordinates).chain([p.constant(0.3)]).chain(inputs).collect()
}

fn recipe(longest: usize) -> impl Strategy<Value = Recipe> {
    let step = (prop::sample::select(Opcode::ALL.to_vec()), prop::array::uniform3(0usize..8));
    prop::collection::vec(step, 2..=longest).prop_map(Recipe)
}

/// Any geometry, or a plain 3x3 kernel with enough channels that a backend may take a path of its own for it.
fn convolution() -> impl Strategy<Value = Case> {
    prop_oneof![2 => any_geometry(), 1 => plain_three_by_three()]
}

/// Shapes of up to some thousand products; the geometry is drawn first and the input made large enough for it.
fn any_geometry() -> impl Strategy<Value = Case> {
    let axis = || (1usize..=3, 0usize..=3, 1usize..=3, 1usize..=4, 0usize..=9);
    let channels = (1usize..=4, 1usize..=5, 1usize..=5, 1usize..=3);
    (prop::array::uniform3(axis()), channels, any::<bool>(), any::<u64>()).prop_map(|(axes, channels, flat, seed)| {
        let (groups, inputs, outputs, samples) = channels;
        let mut geometry = Geometry { groups, ..Geometry::VALID };
        let (mut kernel, mut extents) = ([1; 3], [1; 3]);
        for axis in usize::from(flat)..3 {
            let (stride, pad, dilation, taps, more) = axes[axis];
            (geometry.stride[axis], geometry.pad[axis], geometry.dilation[axis]) = (stride, pad, dilation);
            kernel[axis] = taps;
            extents[axis] = (dilation * (taps - 1) + 1).saturating_sub(2 * pad).max(1) + more;
        }
        let x = Shape::new(samples, groups * inputs, 1, 1, 1).with_spatial(extents);
        let w = Shape::new(groups * outputs, inputs, 1, 1, 1).with_spatial(kernel);
        random_convolution(geometry, x, w, seed)
    })
}

fn plain_three_by_three() -> impl Strategy<Value = Case> {
    let axis = || (0usize..=3, 0usize..=13);
    let channels = (9usize..=19, 9usize..=19, 1usize..=2);
    ((axis(), axis()), channels, 1usize..=3, any::<u64>()).prop_map(|(axes, channels, depth, seed)| {
        let (((pad_h, more_h), (pad_w, more_w)), (inputs, outputs, samples)) = (axes, channels);
        let extent = |pad: usize, more| 3usize.saturating_sub(2 * pad).max(1) + more;
        let geometry = Geometry { pad: [depth / 2, pad_h, pad_w], ..Geometry::VALID };
        let x = Shape::new(samples, inputs, depth, extent(pad_h, more_h), extent(pad_w, more_w));
        random_convolution(geometry, x, Shape::new(outputs, inputs, depth, 3, 3), seed)
    })
}

fn random_convolution(geometry: Geometry, x: Shape, w: Shape, seed: u64) -> Case {
    let out = geometry.output(x, w).expect("the input was made large enough");
    let arrays = vec![Array::normal(x, Rng::new(seed)), Array::normal(w, Rng::new(seed).stream(1))];
    Case::new(format!("x {x}, w {w}, {geometry:?}"), Op::Conv { geometry, out }, arrays)
}

/// Runs a property on as many random values as stated; a failure names the smallest value that shows it.
fn run<S: Strategy>(name: &str, count: u32, strategy: S, property: impl Fn(S::Value) -> Result<(), String>) -> Report {
    let config = Config { cases: count, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut report = Report::default();
    report.check(name, || {
        let outcome = runner.run(&strategy, |value| property(value).map_err(TestCaseError::fail));
        outcome.map_err(|error| error.to_string())
    });
    report
}

/// All steps of a program at one place.
fn trace(program: &Program, inputs: &[f64]) -> Vec<f64> {
    let mut values: Vec<f64> = Vec::new();
    for step in program.steps() {
        values.push(match *step {
            Step::Const(bits) => f64::from_bits(bits),
            Step::Input(i) => inputs[i],
            Step::Scalar(i) => SCALARS[i],
            Step::Coord(_) => 0.0,
            Step::Apply(opcode, args) => opcode.eval(args.map(|arg| values.get(arg).copied().unwrap_or(0.0))),
        });
    }
    values
}

/// Which branch each step takes that has several.
fn branches(program: &Program, values: &[f64]) -> Vec<i64> {
    let branch = |(number, step): (usize, &Step)| {
        let Step::Apply(opcode, args) = *step else { return 0 };
        let [a, b, _] = args.map(|arg| values[arg]);
        match opcode {
            Opcode::Floor => values[number] as i64,
            Opcode::Abs => i64::from(a < 0.0),
            Opcode::Min | Opcode::Max | Opcode::Lt | Opcode::Le | Opcode::Eq => {
                a.partial_cmp(&b).map_or(2, |order| order as i64)
            }
            Opcode::Select => i64::from(a == 0.0),
            _ => 0,
        }
    };
    program.steps().iter().enumerate().map(branch).collect()
}

/// One input's derivative of the sum of the outputs. Places where the stencil crosses a kink, or where two stencils
/// differ because the function bends too much, say nothing about the derivative and are passed over.
fn compare_derivative(program: &Program, inputs: &[f64], wanted: usize) -> Result<(), String> {
    let home = branches(program, &trace(program, inputs));
    let at = |offset: f64| {
        let mut moved = inputs.to_vec();
        moved[wanted] += offset;
        let values = trace(program, &moved);
        let sum: f64 = program.outputs().iter().map(|&output| values[output]).sum();
        (branches(program, &values) == home && sum.abs() < 1e4).then_some(sum)
    };
    let (Some(coarse), Some(fine)) = (stencil(&at, 2e-3), stencil(&at, 1e-3)) else { return Ok(()) };
    let tolerance = 1e-7 * (1.0 + fine.abs());
    if (coarse - fine).abs() > 0.1 * tolerance {
        return Ok(());
    }
    let mut arguments = inputs[..program.inputs()].to_vec();
    arguments.resize(program.inputs() + program.outputs().len(), 1.0);
    let exact = program.vjp(&[wanted]).eval(&arguments, &SCALARS, [0; 5])[0];
    if (exact - fine).abs() <= tolerance {
        return Ok(());
    }
    Err(format!("derivative {wanted} at {inputs:?} is {exact:e}, the stencil gives {fine:e}: {program:?}"))
}

/// `(f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12h`, where all four are known.
fn stencil(f: &impl Fn(f64) -> Option<f64>, h: f64) -> Option<f64> {
    Some((f(-2.0 * h)? - 8.0 * f(-h)? + 8.0 * f(h)? - f(2.0 * h)?) / (12.0 * h))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_of_random_programs_match_stencils() {
        derivatives().assert_clean();
    }

    /// Passing over places must stay the exception.
    #[test]
    fn a_wrong_derivative_is_found() {
        let program = Program::new(|p| p.input(0).floor().lt(p.input(0)).select(p.input(0).exp(), p.input(1)));
        assert_eq!(compare_derivative(&program, &[0.5, 0.2, 0.0], 0), Ok(()));
        let wrong = Program::new(|p| p.input(0).exp() + (p.input(0) * 1e3).floor() * 1e-3);
        assert_eq!(compare_derivative(&wrong, &[0.5, 0.0, 0.0], 0), Ok(()), "kinks everywhere: passed over");
        let at = |offset: f64| Some((0.5 + offset).exp());
        assert!((stencil(&at, 1e-3).unwrap() - 0.5f64.exp()).abs() < 1e-11);
    }

    #[test]
    fn the_program_of_an_opcode_is_that_opcode() {
        for &opcode in Opcode::ALL {
            let program = opcode_program(opcode);
            assert_eq!(program.inputs(), opcode.arity(), "{opcode:?}");
            let arguments = [0.75, 1.5, 2.5];
            let expected: f64 = opcode.eval(arguments);
            assert_eq!(program.eval(&arguments[..opcode.arity()], &[], [0; 5]), vec![expected], "{opcode:?}");
        }
    }
}
