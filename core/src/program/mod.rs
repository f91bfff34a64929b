//! Pointwise programs: short lists of opcodes over inputs, constants, runtime scalars and coordinates.
//!
//! A [`Program`] is written with [`Expr`] handles and ordinary operators. It shares equal subexpressions, folds
//! constants and drops steps that no output needs. [`Program::vjp`] is also a program and recomputes what it needs, so
//! a fused chain of functions stores nothing for its gradient.
//!
//! ```
//! use segcal_core::Program;
//! let sigmoid = Program::new(|p| 1.0 / (1.0 + (-p.input(0)).exp()));
//! assert_eq!(sigmoid.eval(&[0.0], &[], [0; 5]), vec![0.5]);
//! // Inputs of the derivative: x, then the gradient of the output.
//! let slope = sigmoid.vjp(&[0]);
//! assert_eq!(slope.eval(&[0.0, 1.0], &[], [0; 5]), vec![0.25]);
//! ```

mod expr;

use std::cell::RefCell;
use std::collections::HashMap;

use crate::{Elem, Index, Opcode};
pub use expr::{Expr, Operand};

/// One step of a program. Arguments are the numbers of earlier steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A constant, as the bits of a double.
    Const(u64),
    /// The element of an input tensor.
    Input(usize),
    /// A number passed at run time, so that changing the learning rate does not create a new program.
    Scalar(usize),
    /// The coordinate along an axis of the domain.
    Coord(usize),
    /// An opcode applied to earlier steps; arguments beyond its arity are 0.
    Apply(Opcode, [usize; 3]),
}

/// A pointwise function from inputs and scalars to outputs; see the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    steps: Vec<Step>,
    outputs: Vec<usize>,
    inputs: usize,
    scalars: usize,
}

impl Program {
    /// Builds a program with one output.
    pub fn new(write: impl FnOnce(&Builder) -> Expr<'_>) -> Self {
        Self::with_outputs(|builder| vec![write(builder)])
    }

    /// Builds a program with any number of outputs.
    pub fn with_outputs(write: impl FnOnce(&Builder) -> Vec<Expr<'_>>) -> Self {
        let builder = Builder::default();
        let outputs: Vec<usize> = write(&builder).iter().map(|output| output.step).collect();
        builder.finish(&outputs)
    }

    /// The steps, each after those it uses.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The steps whose values are the outputs.
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// One more than the largest input number used.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// One more than the largest scalar number used.
    pub fn scalars(&self) -> usize {
        self.scalars
    }

    /// Whether any step reads the coordinate along `axis`.
    pub fn uses_coord(&self, axis: usize) -> bool {
        self.steps.contains(&Step::Coord(axis))
    }

    /// Evaluates the outputs at one coordinate. This defines the meaning of a program, one element at a time.
    pub fn eval<E: Elem>(&self, inputs: &[E], scalars: &[E], at: Index) -> Vec<E> {
        let mut values = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            values.push(match *step {
                Step::Const(bits) => E::of(f64::from_bits(bits)),
                Step::Input(i) => inputs[i],
                Step::Scalar(i) => scalars[i],
                Step::Coord(axis) => E::of(at[axis] as f64),
                Step::Apply(opcode, args) => opcode.eval(args.map(|arg| values.get(arg).copied().unwrap_or_default())),
            });
        }
        self.outputs.iter().map(|&output| values[output]).collect()
    }

    /// The same program with only some of its outputs, in the order given.
    #[must_use]
    pub fn select(&self, outputs: &[usize]) -> Self {
        let builder = Builder::default();
        let steps = builder.replay(self);
        let outputs: Vec<usize> = outputs.iter().map(|&output| steps[self.outputs[output]].step).collect();
        builder.finish(&outputs)
    }

    /// The same program with input `from` replaced by input `to`; subexpressions that become equal are shared.
    #[must_use]
    pub fn unify(&self, from: usize, to: usize) -> Self {
        let unified = |&step: &Step| if step == Step::Input(from) { Step::Input(to) } else { step };
        let renamed = Self { steps: self.steps.iter().map(unified).collect(), ..self.clone() };
        renamed.select(&(0..self.outputs.len()).collect::<Vec<_>>())
    }

    /// The gradient program with respect to the inputs in `wanted`.
    ///
    /// Its inputs are those of `self` (as many as [`Program::inputs`]) followed by one gradient per output of `self`;
    /// its outputs are the gradients of the wanted inputs, in that order.
    #[must_use]
    pub fn vjp(&self, wanted: &[usize]) -> Self {
        let builder = Builder::default();
        let steps = builder.replay(self);
        let seeds =
            self.outputs.iter().enumerate().map(|(number, &output)| (output, builder.input(self.inputs + number)));
        let gradients = self.walk_back(&builder, &steps, seeds, wanted);
        builder.finish(&gradients)
    }

    /// The same program with additional outputs: the derivatives of output `of` with respect to the inputs in `wanted`,
    /// in that order.
    ///
    /// Steps that a value and its slope have in common are computed once.
    #[must_use]
    pub fn with_slopes(&self, of: usize, wanted: &[usize]) -> Self {
        let builder = Builder::default();
        let steps = builder.replay(self);
        let seed = [(self.outputs[of], builder.constant(1.0))];
        let slopes = self.walk_back(&builder, &steps, seed.into_iter(), wanted);
        let outputs = self.outputs.iter().map(|&output| steps[output].step);
        builder.finish(&outputs.chain(slopes).collect::<Vec<_>>())
    }

    /// Returns the steps that hold the gradients of the wanted inputs, given the gradients of some steps (`seeds`).
    /// `steps` are the steps of `self` in the builder.
    fn walk_back<'b>(
        &self,
        builder: &'b Builder,
        steps: &[Expr<'b>],
        seeds: impl Iterator<Item = (usize, Expr<'b>)>,
        wanted: &[usize],
    ) -> Vec<usize> {
        let matters = self.depends_on(wanted);
        let mut gradients: Vec<Option<Expr<'_>>> = vec![None; steps.len()];
        for (step, seed) in seeds {
            accumulate(&mut gradients[step], seed);
        }
        for number in (0..steps.len()).rev() {
            let (Step::Apply(opcode, args), Some(gradient)) = (self.steps[number], gradients[number]) else { continue };
            let derivative = opcode.derivative(args.map(|arg| steps[arg]), steps[number], gradient);
            for (&arg, term) in args.iter().zip(derivative).take(opcode.arity()) {
                if let (true, Some(term)) = (matters[arg], term) {
                    accumulate(&mut gradients[arg], term);
                }
            }
        }
        let of_input = |input| self.steps.iter().position(|&step| step == Step::Input(input));
        let gradient =
            |&input| of_input(input).and_then(|number| gradients[number]).unwrap_or(builder.constant(0.0)).step;
        wanted.iter().map(gradient).collect()
    }

    /// For each step, whether its value depends on one of the inputs.
    fn depends_on(&self, inputs: &[usize]) -> Vec<bool> {
        let mut depends = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            depends.push(match step {
                Step::Input(i) => inputs.contains(i),
                Step::Apply(opcode, args) => args[..opcode.arity()].iter().any(|&arg| depends[arg]),
                _ => false,
            });
        }
        depends
    }
}

fn accumulate<'b>(sum: &mut Option<Expr<'b>>, term: Expr<'b>) {
    *sum = Some(sum.map_or(term, |sum| sum + term));
}

/// Collects the steps of a program while it is being written.
#[derive(Default)]
pub struct Builder {
    steps: RefCell<Vec<Step>>,
    known: RefCell<HashMap<Step, usize>>,
}

impl Builder {
    /// The element of input `number`.
    pub fn input(&self, number: usize) -> Expr<'_> {
        self.push(Step::Input(number))
    }

    /// The runtime scalar `number`.
    pub fn scalar(&self, number: usize) -> Expr<'_> {
        self.push(Step::Scalar(number))
    }

    /// The coordinate along an axis of the domain, from 0.
    pub fn coord(&self, axis: usize) -> Expr<'_> {
        self.push(Step::Coord(axis))
    }

    /// A constant. For a number that changes between calls, use a runtime scalar.
    pub fn constant(&self, value: f64) -> Expr<'_> {
        self.push(Step::Const(value.to_bits()))
    }

    /// Copies the steps of a program into this builder.
    fn replay(&self, program: &Program) -> Vec<Expr<'_>> {
        let mut copies: Vec<Expr<'_>> = Vec::with_capacity(program.steps.len());
        for &step in &program.steps {
            let copy = match step {
                Step::Apply(opcode, args) => {
                    let args = args.map(|arg| copies.get(arg).map_or(0, |copy| copy.step));
                    self.push(Step::Apply(opcode, args))
                }
                leaf => self.push(leaf),
            };
            copies.push(copy);
        }
        copies
    }

    fn push(&self, step: Step) -> Expr<'_> {
        let step = self.fold(step);
        let mut steps = self.steps.borrow_mut();
        let number = *self.known.borrow_mut().entry(step).or_insert_with(|| {
            steps.push(step);
            steps.len() - 1
        });
        Expr { builder: self, step: number }
    }

    /// Folds an opcode applied to constants into a constant; returns any other step unchanged.
    fn fold(&self, step: Step) -> Step {
        let Step::Apply(opcode, args) = step else { return step };
        let mut values = [0.0; 3];
        for (value, &arg) in values.iter_mut().zip(&args).take(opcode.arity()) {
            match self.value(arg) {
                Some(constant) => *value = constant,
                None => return step,
            }
        }
        Step::Const(opcode.eval(values).to_bits())
    }

    fn value(&self, step: usize) -> Option<f64> {
        match self.steps.borrow()[step] {
            Step::Const(bits) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }

    /// Builds the program from the steps that the outputs need, renumbered.
    fn finish(&self, outputs: &[usize]) -> Program {
        let steps = self.steps.borrow();
        let mut needed = vec![false; steps.len()];
        outputs.iter().for_each(|&output| needed[output] = true);
        for number in (0..steps.len()).rev() {
            if let (true, Step::Apply(opcode, args)) = (needed[number], steps[number]) {
                args[..opcode.arity()].iter().for_each(|&arg| needed[arg] = true);
            }
        }
        let mut renumbered = vec![0; steps.len()];
        let mut kept = Vec::new();
        let (mut inputs, mut scalars) = (0, 0);
        for (number, &step) in steps.iter().enumerate().filter(|&(number, _)| needed[number]) {
            renumbered[number] = kept.len();
            kept.push(match step {
                Step::Apply(opcode, mut args) => {
                    args.iter_mut().take(opcode.arity()).for_each(|arg| *arg = renumbered[*arg]);
                    args[opcode.arity()..].fill(0);
                    Step::Apply(opcode, args)
                }
                leaf => leaf,
            });
            match step {
                Step::Input(i) => inputs = inputs.max(i + 1),
                Step::Scalar(i) => scalars = scalars.max(i + 1),
                _ => {}
            }
        }
        Program { steps: kept, outputs: outputs.iter().map(|&output| renumbered[output]).collect(), inputs, scalars }
    }
}

#[cfg(test)]
mod tests;
