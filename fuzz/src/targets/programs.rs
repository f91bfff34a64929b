//! Random programs: the CPU backend within its documented accuracy of the reference, the derivative program equal to
//! finite differences, and, with the feature `gpu`, both of them valid shaders.

use segcal_backends::Cpu;
use segcal_core::{Builder, Expr, Opcode, Program, Rng, Shape, Smoothness};
use segcal_tests::suites::random::Guard;
use segcal_tests::suites::{Accuracy, Array, Case, Op, parity};

use crate::input::Bytes;

/// Inputs of a program.
const INPUTS: usize = 3;
/// Its runtime scalars.
const SCALARS: [f64; 2] = [0.75, -1.25];
/// At most this many steps.
const LONGEST: usize = 12;

/// Any program agrees on `Cpu` and `Reference` and is valid WGSL, it and its derivative; one without kinks has the
/// derivative that stencils show.
pub fn target(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let seed = u64::from(bytes.byte());
    if bytes.byte() & 1 == 0 { agrees(&mut bytes, seed) } else { is_differentiated(&mut bytes, seed) }
}

fn agrees(bytes: &mut Bytes<'_>, seed: u64) {
    let program = program(bytes, Opcode::ALL);
    let shape = Shape::new(1, 2, 1, 2, 1 + bytes.below(9));
    #[cfg(feature = "gpu")]
    is_valid_wgsl(&program, shape);
    let arrays = (0..INPUTS as u64).map(|i| Array::uniform(shape, Rng::new(seed).stream(i), -2.0, 2.0)).collect();
    let op = Op::Map { program, scalars: SCALARS.to_vec(), out: shape };
    let case = Case::new("program", op, arrays);
    let outcome = parity::compare(&Cpu::default(), &Accuracy::CPU, &case);
    assert_eq!(outcome, Ok(()), "{case:?}");
}

/// The shaders of the program and of its derivative, inputs repeated along other axes than the sums run over.
#[cfg(feature = "gpu")]
fn is_valid_wgsl(program: &Program, shape: Shape) {
    let row = Shape::new(1, 1, 1, 1, shape.spatial()[2]);
    let folded = Shape::new(1, 2, 1, 1, 1);
    let wanted: Vec<usize> = (0..program.inputs()).collect();
    for program in [program, &program.vjp(&wanted)] {
        let views: Vec<Shape> = (0..program.inputs()).map(|input| [shape, row, folded][input % 3]).collect();
        segcal_backends::gpu::validate(program, shape, &views, folded).unwrap_or_else(|what| panic!("{what}"));
    }
}

/// Largest difference between derivative and stencil, relative to one plus the derivative. Values stay below 1e4, so
/// that the stencil's rounding is below 1e-8; where its two steps differ by more, it is not trusted.
const TOLERANCE: f64 = 1e-6;

fn is_differentiated(bytes: &mut Bytes<'_>, seed: u64) {
    // A choice by leaves of the program does not turn within the stencil's reach often enough to matter.
    let differentiable = |opcode: &Opcode| opcode.smoothness() == Smoothness::Smooth || *opcode == Opcode::Select;
    let smooth: Vec<Opcode> = Opcode::ALL.iter().copied().filter(differentiable).collect();
    let program = program(bytes, &smooth);
    let inputs: Vec<f64> = (0..INPUTS as u64).map(|i| Rng::new(seed).range(i, -1.5, 1.5)).collect();
    for wanted in 0..program.inputs() {
        let at = |step: f64| {
            let mut moved = inputs[..program.inputs()].to_vec();
            moved[wanted] += step;
            program.eval(&moved, &SCALARS[..program.scalars()], [0; 5])[0]
        };
        let stencil = |h: f64| (at(-2.0 * h) - 8.0 * at(-h) + 8.0 * at(h) - at(2.0 * h)) / (12.0 * h);
        let (coarse, fine) = (stencil(2e-3), stencil(1e-3));
        if (coarse - fine).abs() > 0.1 * TOLERANCE * (1.0 + fine.abs()) {
            continue;
        }
        let derivative = program.vjp(&[wanted]);
        let arguments = [&inputs[..program.inputs()], &[1.0]].concat();
        let exact = derivative.eval(&arguments, &SCALARS[..program.scalars()], [0; 5])[0];
        let close = (exact - fine).abs() <= TOLERANCE * (1.0 + fine.abs());
        assert!(close, "input {wanted} at {inputs:?}: {exact:e}, stencil {fine:e}: {program:?}");
    }
}

/// A program of these opcodes whose values grow at most twofold a step, with arguments where the opcodes are defined.
fn program(bytes: &mut Bytes<'_>, opcodes: &[Opcode]) -> Program {
    let steps = 1 + bytes.below(LONGEST);
    Program::new(|p| {
        let leaves = leaves(p);
        let mut values = leaves.clone();
        for _ in 0..steps {
            let opcode = *bytes.pick(opcodes);
            // What turns looks at leaves only, so that rounding cannot turn it.
            let turns = |number| opcode.smoothness() == Smoothness::Steps || opcode == Opcode::Select && number == 0;
            let args = [0, 1, 2].map(|number| {
                let from = if turns(number) { &leaves } else { &values };
                from[from.len() - 1 - bytes.below(from.len())]
            });
            values.push(Guard::Smooth.apply(opcode, args));
        }
        // Every input is one of the program's, so that each can be asked for.
        leaves[..INPUTS].iter().fold(values[values.len() - 1], |sum, &input| sum + input * 0.25)
    })
}

fn leaves(p: &Builder) -> Vec<Expr<'_>> {
    let inputs = (0..INPUTS).map(|i| p.input(i));
    inputs.chain((0..SCALARS.len()).map(|i| p.scalar(i))).chain([p.constant(0.5), p.coord(4) * 0.25]).collect()
}

/// Every opcode once, alone and in a chain, in both checks.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let chain = |seed: u8, check: u8, step: u8| {
        let steps = (0..LONGEST as u8).flat_map(|number| [number.wrapping_mul(step), number % 3, number, 1]);
        [seed, check, LONGEST as u8 - 1].into_iter().chain(steps).collect::<Vec<u8>>()
    };
    vec![
        ("agree_1", chain(1, 0, 1)),
        ("agree_5", chain(2, 0, 5)),
        ("agree_7", chain(3, 0, 7)),
        ("differentiate_1", chain(4, 1, 1)),
        ("differentiate_5", chain(5, 1, 5)),
        ("short", vec![0, 0, 0, 13]),
        ("empty", Vec::new()),
    ]
}
