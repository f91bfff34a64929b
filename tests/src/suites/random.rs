//! Random programs and random convolutions. The same ones on every run.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use segcal_core::{Argument, Backend, Builder, Expr, Geometry, Opcode, Program, Rng, Shape};

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

/// Random programs over every opcode: parity. Where they compare rounded numbers the outcome is open; that must stay
/// the exception.
pub fn programs<B: Backend>(backend: &B, accuracy: &Accuracy) -> Report {
    let (open, all) = (Cell::new(0), Cell::new(0));
    let shape = Shape::new(1, 2, 1, 3, 7);
    let numbers = prop::collection::vec(-3.0..3.0f64, INPUTS * shape.len());
    let mut report = run("random programs", 192, (recipe(16), numbers), |(recipe, numbers)| {
        let program = recipe.program(Guard::Domains);
        let arrays = numbers.chunks(shape.len()).map(|data| Array::new(shape, data.iter().copied())).collect();
        let op = Op::Map { program, scalars: SCALARS.to_vec(), out: shape };
        let [some_open, of_all] = parity::count_open(backend, accuracy, &Case::new("random", op, arrays))?;
        open.set(open.get() + some_open);
        all.set(all.get() + of_all);
        Ok(())
    });
    report.check("random programs, decided", || {
        let share = open.get() as f64 / f64::max(1.0, all.get() as f64);
        if share < 0.1 { Ok(()) } else { Err(format!("a share of {share:.2} of the numbers is open")) }
    });
    report
}

/// The program of one opcode: `opcode(input 0, input 1, input 2)`.
pub fn opcode_program(opcode: Opcode) -> Program {
    Program::new(|p| opcode.apply([0, 1, 2].map(|i| p.input(i))))
}

/// Number of inputs of a random program.
pub(super) const INPUTS: usize = 3;
/// Its runtime scalars.
pub(super) const SCALARS: [f64; 2] = [0.75, -1.25];

/// How a random program keeps its arguments where the opcode is defined and its values of moderate size.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Guard {
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

    /// The opcode, its arguments moved into its domain, and small ones for what grows faster than a product (for
    /// products too, where the value is to stay small).
    pub fn apply(self, opcode: Opcode, args: [Expr<'_>; 3]) -> Expr<'_> {
        let growth = opcode.eval([8.0f64; 3]).abs();
        let steep = growth > 64.0 || growth == 64.0 && self == Self::Smooth;
        let domain = opcode.domain();
        let args = std::array::from_fn(|number| {
            let arg = if steep { args[number].tanh() } else { args[number] };
            if domain[number] == Argument::Any { arg } else { self.positive(arg) }
        });
        let value = opcode.apply(args);
        if growth == 64.0 && !steep { value * 0.5 } else { value }
    }
}

/// What a random program is made of: opcodes, and for each argument how far back it lies.
#[derive(Clone, Debug)]
pub(super) struct Recipe(Vec<(Opcode, [usize; 3])>);

impl Recipe {
    pub(super) fn program(&self, guard: Guard) -> Program {
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

pub(super) fn recipe(longest: usize) -> impl Strategy<Value = Recipe> {
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

/// What draws as many random values as stated, the same ones on every run, and shrinks one that fails.
pub(super) fn runner(count: u32) -> TestRunner {
    let config = Config { cases: count, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Runs a property on as many random values as stated; a failure names the smallest value that shows it.
pub(super) fn run<S: Strategy>(
    name: &str,
    count: u32,
    strategy: S,
    property: impl Fn(S::Value) -> Result<(), String>,
) -> Report {
    let mut report = Report::default();
    report.check(name, || {
        let outcome = runner(count).run(&strategy, |value| property(value).map_err(TestCaseError::fail));
        outcome.map_err(|error| error.to_string())
    });
    report
}

#[cfg(test)]
mod tests {
    use super::*;

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
