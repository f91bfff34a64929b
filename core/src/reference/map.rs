//! `map` and `reduce`: one evaluation of the program at each coordinate of the domain.

use super::{Array, for_each_place, offset};
use crate::{Fold, Index, Program, Shape, Step};

/// `y_j[i] = program_j(inputs[i], scalars, i)`.
pub(super) fn map(program: &Program, scalars: &[f64], inputs: &[Array<'_>], out: Shape) -> Vec<Vec<f64>> {
    let mut outputs = vec![Vec::with_capacity(out.len()); program.outputs().len()];
    let mut evaluator = Evaluator::new(program, scalars, inputs);
    for_each_place(out, |at| {
        for (output, value) in outputs.iter_mut().zip(evaluator.at(at)) {
            output.push(value);
        }
    });
    outputs
}

/// `y_j[o] = fold over i of program_j(inputs[i], scalars, i)`. As in a pooling window, NaN counts as the largest value.
pub(super) fn reduce(
    fold: Fold,
    program: &Program,
    scalars: &[f64],
    inputs: &[Array<'_>],
    domain: Shape,
    out: Shape,
) -> Vec<Vec<f64>> {
    let (start, combine): (f64, fn(f64, f64) -> f64) = match fold {
        Fold::Sum => (0.0, |sum, value| sum + value),
        Fold::Max => (f64::NEG_INFINITY, |max, value| if value > max || value.is_nan() { value } else { max }),
    };
    let mut outputs = vec![vec![start; out.len()]; program.outputs().len()];
    let strides = out.broadcast_strides();
    let mut evaluator = Evaluator::new(program, scalars, inputs);
    for_each_place(domain, |at| {
        let place = offset(strides, at);
        for (output, value) in outputs.iter_mut().zip(evaluator.at(at)) {
            output[place] = combine(output[place], value);
        }
    });
    outputs
}

/// [`Program::eval`] over broadcast views, without an allocation per element.
struct Evaluator<'a> {
    program: &'a Program,
    scalars: &'a [f64],
    inputs: Vec<(&'a [f64], Index)>,
    values: Vec<f64>,
}

impl<'a> Evaluator<'a> {
    fn new(program: &'a Program, scalars: &'a [f64], inputs: &[Array<'a>]) -> Self {
        let inputs = inputs.iter().map(|&(data, shape)| (data, shape.broadcast_strides())).collect();
        Self { program, scalars, inputs, values: vec![0.0; program.steps().len()] }
    }

    /// The outputs at one coordinate of the domain.
    fn at(&mut self, at: Index) -> impl Iterator<Item = f64> {
        for (number, step) in self.program.steps().iter().enumerate() {
            self.values[number] = match *step {
                Step::Const(bits) => f64::from_bits(bits),
                Step::Input(i) => {
                    let (data, strides) = self.inputs[i];
                    data[offset(strides, at)]
                }
                Step::Scalar(i) => self.scalars[i],
                Step::Coord(axis) => at[axis] as f64,
                Step::Apply(opcode, args) => opcode.eval(args.map(|arg| self.values[arg])),
            };
        }
        self.program.outputs().iter().map(|&output| self.values[output])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis;

    #[test]
    fn map_broadcasts_its_inputs_and_reads_scalars_and_coordinates() {
        let program = Program::with_outputs(|p| {
            let (x, bias) = (p.input(0), p.input(1));
            vec![x * p.scalar(0) + bias, x + p.coord(axis::H) * 10.0 + p.coord(axis::W)]
        });
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let bias = [100.0, 200.0];
        let inputs: [Array<'_>; 2] = [(&x, Shape::new(1, 1, 1, 2, 3)), (&bias, Shape::new(1, 1, 1, 2, 1))];
        let outputs = map(&program, &[-1.0], &inputs, Shape::new(1, 1, 1, 2, 3));
        assert_eq!(outputs[0], [99.0, 98.0, 97.0, 196.0, 195.0, 194.0]);
        assert_eq!(outputs[1], [1.0, 3.0, 5.0, 14.0, 16.0, 18.0]);
    }

    #[test]
    fn map_repeats_samples_and_channels() {
        let sum = Program::new(|p| p.input(0) + p.input(1));
        let inputs: [Array<'_>; 2] =
            [(&[1.0, 2.0], Shape::new(2, 1, 1, 1, 1)), (&[10.0, 20.0], Shape::new(1, 2, 1, 1, 1))];
        assert_eq!(map(&sum, &[], &inputs, Shape::new(2, 2, 1, 1, 1)), [[11.0, 21.0, 12.0, 22.0]]);
    }

    #[test]
    fn the_evaluator_agrees_with_eval() {
        let program = Program::new(|p| p.input(0).le(0.5).select(p.input(0).exp(), p.scalar(0) - p.coord(axis::C)));
        let shape = Shape::new(1, 3, 1, 1, 2);
        let x = [0.1, 0.9, 0.5, 2.0, -1.0, 0.7];
        let outputs = map(&program, &[7.0], &[(&x, shape)], shape);
        for place in 0..shape.len() {
            assert_eq!(outputs[0][place], program.eval(&[x[place]], &[7.0], shape.coordinate(place))[0]);
        }
    }

    #[test]
    fn reduce_folds_the_axes_that_become_one() {
        let square = Program::with_outputs(|p| vec![p.input(0).square(), -p.input(0)]);
        let domain = Shape::new(1, 2, 1, 2, 2);
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let per_channel = reduce(Fold::Sum, &square, &[], &[(&x, domain)], domain, Shape::new(1, 2, 1, 1, 1));
        assert_eq!(per_channel, [[30.0, 174.0], [-10.0, -26.0]]);
        let over_channels = reduce(Fold::Max, &square, &[], &[(&x, domain)], domain, Shape::new(1, 1, 1, 2, 2));
        assert_eq!(over_channels, [[25.0, 36.0, 49.0, 64.0], [-1.0, -2.0, -3.0, -4.0]]);
    }

    #[test]
    fn reduce_counts_a_broadcast_input_at_each_place() {
        let identity = Program::new(|p| p.input(0) * 1.0);
        let sum =
            reduce(Fold::Sum, &identity, &[], &[(&[2.0], Shape::SCALAR)], Shape::new(2, 1, 1, 3, 1), Shape::SCALAR);
        assert_eq!(sum, [[12.0]]);
    }

    #[test]
    fn the_maximum_of_numbers_with_a_nan_is_nan() {
        let identity = Program::new(|p| p.input(0));
        let shape = Shape::new(1, 1, 1, 1, 3);
        let max = reduce(Fold::Max, &identity, &[], &[(&[1.0, f64::NAN, 2.0], shape)], shape, Shape::SCALAR);
        assert!(max[0][0].is_nan());
    }
}
