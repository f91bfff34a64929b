use super::*;
use crate::Smoothness;

#[test]
fn equal_subexpressions_are_shared_and_constants_folded() {
    let program = Program::new(|p| {
        let x = p.input(0);
        (x + 1.0) * (x + 1.0) + p.constant(2.0) * p.constant(3.0) * 1.0
    });
    assert_eq!(program.steps().len(), 6, "x, 1, x + 1, square, 6, sum: {program:?}");
    assert_eq!(program.eval(&[2.0], &[], [0; 5]), vec![15.0]);
}

#[test]
fn what_no_output_needs_is_dropped() {
    let both = Program::with_outputs(|p| vec![p.input(0).exp(), p.input(1).ln() * p.scalar(2)]);
    assert_eq!((both.inputs(), both.scalars()), (2, 3));
    let first = both.select(&[0]);
    assert_eq!((first.inputs(), first.scalars(), first.steps().len()), (1, 0, 2));
}

#[test]
fn maximum_keeps_a_nan_and_has_slope_zero_at_the_kink() {
    let relu = Program::new(|p| p.input(0).max(0.0));
    assert!(relu.eval(&[f64::NAN], &[], [0; 5])[0].is_nan());
    let slope = relu.vjp(&[0]);
    let at = |x: f64| slope.eval(&[x, 1.0], &[], [0; 5])[0];
    assert_eq!((at(-1.0), at(0.0), at(1.0)), (0.0, 0.0, 1.0));
}

#[test]
fn small_whole_powers_are_products() {
    for exponent in [0.0, 1.0, 2.0, 3.0, 4.0] {
        let program = Program::new(|p| p.input(0).pow(exponent));
        assert!(!program.steps().iter().any(|step| matches!(step, Step::Apply(Opcode::Pow, _))), "{exponent}");
        assert_eq!(program.eval(&[3.0], &[], [0; 5]), vec![f64::powf(3.0, exponent)]);
    }
}

#[test]
fn an_input_that_does_not_matter_has_gradient_zero() {
    let program = Program::new(|p| p.input(0) * 2.0 + p.coord(4));
    assert_eq!(program.vjp(&[0]).eval(&[1.0, 5.0], &[], [0; 5]), vec![10.0]);
    assert_eq!(Program::new(|p| p.input(1) * 1.0).vjp(&[0]).eval(&[1.0, 2.0, 5.0], &[], [0; 5]), vec![0.0]);
}

#[test]
fn slopes_come_after_the_outputs_and_share_their_steps() {
    let program = Program::with_outputs(|p| vec![p.input(1), (p.input(0) * 2.0).exp() * p.input(1)]);
    let both = program.with_slopes(1, &[0, 1, 2]);
    let power = 6.0f64.exp();
    assert_eq!(both.eval(&[3.0, 5.0], &[], [0; 5]), vec![5.0, power * 5.0, power * 5.0 * 2.0, power, 0.0]);
    let powers = both.steps().iter().filter(|step| matches!(step, Step::Apply(Opcode::Exp, _))).count();
    assert_eq!(powers, 1);
}

#[test]
fn unified_inputs_share_what_becomes_equal() {
    let program = Program::new(|p| p.input(0).exp() * p.input(2).exp());
    let unified = program.unify(2, 0);
    assert_eq!((unified.inputs(), unified.steps().len()), (1, 3));
    assert_eq!(unified.eval(&[1.0], &[], [0; 5]), vec![1f64.exp() * 1f64.exp()]);
}

/// Compares every differentiable opcode of the table with a five-point stencil.
#[test]
fn derivatives_of_the_table_match_finite_differences() {
    let arguments = [[0.7, 1.3, 0.4], [1.9, 0.6, -0.8], [0.2, 2.4, 1.1]];
    for &opcode in Opcode::ALL {
        if opcode.smoothness() == Smoothness::Steps {
            continue;
        }
        let program = Program::new(|p| opcode.apply([0, 1, 2].map(|i| p.input(i))));
        for at in arguments {
            for wanted in 0..opcode.arity() {
                let f = |step: f64| {
                    let mut moved = at;
                    moved[wanted] += step;
                    program.eval(&moved[..program.inputs()], &[], [0; 5])[0]
                };
                let h = 1e-3;
                let stencil = (f(-2.0 * h) - 8.0 * f(-h) + 8.0 * f(h) - f(2.0 * h)) / (12.0 * h);
                let mut inputs = at[..program.inputs()].to_vec();
                inputs.push(1.0);
                let exact = program.vjp(&[wanted]).eval(&inputs, &[], [0; 5])[0];
                assert!((exact - stencil).abs() <= 1e-9 * (1.0 + exact.abs()), "{opcode:?} {wanted} {exact} {stencil}");
            }
        }
    }
}
