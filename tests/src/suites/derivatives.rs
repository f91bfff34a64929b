//! Derivative programs of random programs against five-point stencils, place by place.

use std::cell::Cell;

use proptest::prelude::*;
use segcal_core::{Program, Smoothness, Step};

use super::Report;
use super::random::{Guard, INPUTS, SCALARS, opcode_program, recipe, run};

/// Largest difference between derivative and stencil, relative to one plus the derivative.
const TOLERANCE: f64 = 1e-7;

/// Derivatives of random programs in each input. Places where the stencil crosses a kink, or where two stencils
/// differ because the function bends too much, say nothing about the derivative; they must stay the exception.
pub fn check() -> Report {
    let (compared, all) = (Cell::new(0), Cell::new(0));
    let points = prop::collection::vec(prop::array::uniform3(-1.5..1.5f64), 1..=15);
    let mut report = run("random derivatives", 256, (recipe(10), points), |(recipe, points)| {
        let program = recipe.program(Guard::Smooth);
        for inputs in points {
            for wanted in 0..INPUTS {
                all.set(all.get() + 1);
                let Some(expected) = expected(&program, &inputs, wanted) else { continue };
                compared.set(compared.get() + 1);
                agrees(derivative(&program, &inputs, wanted), expected)
                    .map_err(|what| format!("in input {wanted} at {inputs:?}: {what}: {program:?}"))?;
            }
        }
        Ok(())
    });
    report.check("random derivatives, compared", || {
        let share = f64::from(compared.get()) / f64::from(all.get());
        if share > 0.7 { Ok(()) } else { Err(format!("only a share of {share:.2} of the places was compared")) }
    });
    report
}

fn agrees(derivative: f64, expected: f64) -> Result<(), String> {
    if (derivative - expected).abs() <= TOLERANCE * (1.0 + expected.abs()) {
        return Ok(());
    }
    Err(format!("derivative {derivative:e}, stencil {expected:e}"))
}

/// The derivative program's value, for the sum of the outputs.
fn derivative(program: &Program, inputs: &[f64], wanted: usize) -> f64 {
    let mut arguments = inputs[..program.inputs()].to_vec();
    arguments.resize(program.inputs() + program.outputs().len(), 1.0);
    program.vjp(&[wanted]).eval(&arguments, &SCALARS, [0; 5])[0]
}

/// The stencil's derivative of the sum of the outputs, where it can be trusted.
fn expected(program: &Program, inputs: &[f64], wanted: usize) -> Option<f64> {
    let slopes = slopes(program);
    let home = pieces(&slopes, program, &trace(program, inputs));
    let at = |offset: f64| {
        let mut moved = inputs.to_vec();
        moved[wanted] += offset;
        let values = trace(program, &moved);
        let sum: f64 = program.outputs().iter().map(|&output| values[output]).sum();
        (pieces(&slopes, program, &values) == home && sum.abs() < 1e4).then_some(sum)
    };
    let (coarse, fine) = (stencil(&at, 2e-3)?, stencil(&at, 1e-3)?);
    ((coarse - fine).abs() <= 0.1 * TOLERANCE * (1.0 + fine.abs())).then_some(fine)
}

/// `(f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12h`, where all four are known.
fn stencil(f: &impl Fn(f64) -> Option<f64>, h: f64) -> Option<f64> {
    Some((f(-2.0 * h)? - 8.0 * f(-h)? + 8.0 * f(h)? - f(2.0 * h)?) / (12.0 * h))
}

/// All steps of a program at the origin.
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

/// Which piece each step is in that has several: its slopes tell, or the value where it is constant in pieces.
fn pieces(slopes: &[Option<Program>], program: &Program, values: &[f64]) -> Vec<Vec<u64>> {
    let piece = |(number, step): (usize, &Step)| {
        let Step::Apply(opcode, args) = *step else { return Vec::new() };
        match (opcode.smoothness(), &slopes[number]) {
            (Smoothness::Steps, _) => vec![values[number].to_bits()],
            (_, Some(slopes)) => {
                let mut arguments: Vec<f64> = args[..opcode.arity()].iter().map(|&arg| values[arg]).collect();
                arguments.push(1.0);
                slopes.eval(&arguments, &[], [0; 5]).into_iter().map(f64::to_bits).collect()
            }
            _ => Vec::new(),
        }
    };
    program.steps().iter().enumerate().map(piece).collect()
}

/// For each step that is linear in pieces, its partial derivatives as one program.
fn slopes(program: &Program) -> Vec<Option<Program>> {
    let of_step = |step: &Step| match *step {
        Step::Apply(opcode, _) if opcode.smoothness() == Smoothness::Pieces => {
            Some(opcode_program(opcode).vjp(&(0..opcode.arity()).collect::<Vec<_>>()))
        }
        _ => None,
    };
    program.steps().iter().map(of_step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_derivative_is_found() {
        let program = Program::new(|p| p.input(0).exp() * p.input(1));
        let (inputs, exact) = ([0.5, 2.0, 0.0], 2.0 * 0.5f64.exp());
        let stencil = expected(&program, &inputs, 0).unwrap();
        assert_eq!(agrees(exact, stencil), Ok(()));
        assert!(agrees(exact * (1.0 + 1e-6), stencil).is_err());
        assert!(agrees(f64::NAN, stencil).is_err());
    }

    #[test]
    fn a_stencil_across_a_kink_is_not_trusted() {
        let kink = Program::new(|p| p.input(0).abs());
        assert_eq!(expected(&kink, &[1e-3, 0.0, 0.0], 0), None);
        assert!(expected(&kink, &[0.1, 0.0, 0.0], 0).is_some());
    }
}
