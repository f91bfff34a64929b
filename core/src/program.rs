//! Pointwise programs: short lists of opcodes over inputs, constants, runtime scalars and coordinates.
//!
//! A [`Program`] is written with [`Expr`] handles and ordinary operators, shares equal subexpressions, folds
//! constants and drops what no output needs. [`Program::vjp`] is again a program, which recomputes what it needs, so
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

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::{Elem, Index, Opcode};

/// One step of a program. Arguments are numbers of earlier steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A constant, as the bits of a double.
    Const(u64),
    /// The element of an input tensor.
    Input(usize),
    /// A number given at run time, so that a new learning rate is not a new program.
    Scalar(usize),
    /// The coordinate along an axis of the domain.
    Coord(usize),
    /// An opcode of earlier steps; arguments beyond its arity are 0.
    Apply(Opcode, [usize; 3]),
}

/// A pointwise function from some inputs and scalars to some outputs; see the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    steps: Vec<Step>,
    outputs: Vec<usize>,
    inputs: usize,
    scalars: usize,
}

impl Program {
    /// A program with one output.
    pub fn new(write: impl FnOnce(&Builder) -> Expr<'_>) -> Self {
        Self::with_outputs(|builder| vec![write(builder)])
    }

    /// A program with any number of outputs.
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

    /// The outputs at one place: the meaning of a program, one number at a time.
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

    /// The same program with input `from` read as input `to`; what is then equal is shared.
    #[must_use]
    pub fn unify(&self, from: usize, to: usize) -> Self {
        let unified = |&step: &Step| if step == Step::Input(from) { Step::Input(to) } else { step };
        let renamed = Self { steps: self.steps.iter().map(unified).collect(), ..self.clone() };
        renamed.select(&(0..self.outputs.len()).collect::<Vec<_>>())
    }

    /// The gradient program for the inputs in `wanted`.
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

    /// The same program with further outputs: the derivatives of output `of` in the inputs in `wanted`, in that order.
    ///
    /// What a value and its slope have in common is then computed once.
    #[must_use]
    pub fn with_slopes(&self, of: usize, wanted: &[usize]) -> Self {
        let builder = Builder::default();
        let steps = builder.replay(self);
        let seed = [(self.outputs[of], builder.constant(1.0))];
        let slopes = self.walk_back(&builder, &steps, seed.into_iter(), wanted);
        let outputs = self.outputs.iter().map(|&output| steps[output].step);
        builder.finish(&outputs.chain(slopes).collect::<Vec<_>>())
    }

    /// Steps that hold the gradients of the wanted inputs, for some steps with theirs; `steps` is `self` in the builder.
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

/// The steps of a program while it is written.
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

    /// A constant. A runtime scalar is better for a number that changes between calls.
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

    /// A constant for an opcode of constants, else the step itself.
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

    /// The program of what the outputs need, renumbered.
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

/// A value inside a program that is being written. Copyable; `+ - * /` and the methods add steps.
#[derive(Clone, Copy)]
pub struct Expr<'b> {
    builder: &'b Builder,
    step: usize,
}

/// What stands for a value in an expression: an [`Expr`] or a constant.
pub trait Operand<'b> {
    /// The value in the builder of `other`.
    fn expr(self, other: Expr<'b>) -> Expr<'b>;
}

impl<'b> Operand<'b> for Expr<'b> {
    fn expr(self, _: Expr<'b>) -> Expr<'b> {
        self
    }
}

impl<'b> Operand<'b> for f64 {
    fn expr(self, other: Expr<'b>) -> Expr<'b> {
        other.builder.constant(self)
    }
}

impl<'b> Expr<'b> {
    fn apply(self, opcode: Opcode, b: impl Operand<'b>, c: impl Operand<'b>) -> Self {
        let args = [self.step, b.expr(self).step, c.expr(self).step];
        self.builder.push(Step::Apply(opcode, args))
    }

    fn unary(self, opcode: Opcode) -> Self {
        self.builder.push(Step::Apply(opcode, [self.step, 0, 0]))
    }

    fn binary(self, opcode: Opcode, b: impl Operand<'b>) -> Self {
        let b = b.expr(self);
        self.builder.push(Step::Apply(opcode, [self.step, b.step, 0]))
    }

    fn is(self, value: f64) -> bool {
        self.builder.value(self.step) == Some(value)
    }

    /// |x|.
    #[must_use]
    pub fn abs(self) -> Self {
        self.unary(Opcode::Abs)
    }

    /// e^x.
    #[must_use]
    pub fn exp(self) -> Self {
        self.unary(Opcode::Exp)
    }

    /// Natural logarithm.
    #[must_use]
    pub fn ln(self) -> Self {
        self.unary(Opcode::Log)
    }

    /// ln(1 + x).
    #[must_use]
    pub fn ln_1p(self) -> Self {
        self.unary(Opcode::Log1p)
    }

    /// Square root.
    #[must_use]
    pub fn sqrt(self) -> Self {
        self.unary(Opcode::Sqrt)
    }

    /// Hyperbolic tangent.
    #[must_use]
    pub fn tanh(self) -> Self {
        self.unary(Opcode::Tanh)
    }

    /// Largest integer that is not above x.
    #[must_use]
    pub fn floor(self) -> Self {
        self.unary(Opcode::Floor)
    }

    /// -1, 0 or 1.
    #[must_use]
    pub fn sign(self) -> Self {
        self.builder.constant(0.0).lt(self) - self.lt(0.0)
    }

    /// x^2.
    #[must_use]
    pub fn square(self) -> Self {
        self * self
    }

    /// The smaller of two; of equals the second, which then gets the whole gradient.
    #[must_use]
    pub fn min(self, other: impl Operand<'b>) -> Self {
        self.binary(Opcode::Min, other)
    }

    /// The larger of two; of equals the second, which then gets the whole gradient.
    #[must_use]
    pub fn max(self, other: impl Operand<'b>) -> Self {
        self.binary(Opcode::Max, other)
    }

    /// x^y for x >= 0. A constant exponent of 0 to 4 becomes products, which are exact to a rounding each and many
    /// times faster.
    #[must_use]
    pub fn pow(self, exponent: impl Operand<'b>) -> Self {
        let exponent = exponent.expr(self);
        match self.builder.value(exponent.step) {
            Some(0.0) => self.builder.constant(1.0),
            Some(1.0) => self,
            Some(2.0) => self.square(),
            Some(3.0) => self.square() * self,
            Some(4.0) => self.square().square(),
            _ => self.binary(Opcode::Pow, exponent),
        }
    }

    /// 1 where x < y, else 0.
    #[must_use]
    pub fn lt(self, other: impl Operand<'b>) -> Self {
        self.binary(Opcode::Lt, other)
    }

    /// 1 where x <= y, else 0.
    #[must_use]
    pub fn le(self, other: impl Operand<'b>) -> Self {
        self.binary(Opcode::Le, other)
    }

    /// 1 where x = y, else 0.
    #[must_use]
    pub fn equals(self, other: impl Operand<'b>) -> Self {
        self.binary(Opcode::Eq, other)
    }

    /// `yes` where x is not 0, else `no`.
    #[must_use]
    pub fn select(self, yes: impl Operand<'b>, no: impl Operand<'b>) -> Self {
        self.apply(Opcode::Select, yes, no)
    }
}

impl Neg for Expr<'_> {
    type Output = Self;
    fn neg(self) -> Self {
        self.unary(Opcode::Neg)
    }
}

/// Operators between expressions and constants, with the identities `x + 0`, `x * 1` and the like folded away.
macro_rules! operator {
    ($trait:ident, $method:ident, $left:expr, $right:expr) => {
        impl<'b, T: Operand<'b>> $trait<T> for Expr<'b> {
            type Output = Self;
            fn $method(self, other: T) -> Self {
                let other = other.expr(self);
                match ($left as Option<f64>, $right as Option<f64>) {
                    (_, Some(identity)) if other.is(identity) => self,
                    (Some(identity), _) if self.is(identity) => other,
                    _ => self.binary(Opcode::$trait, other),
                }
            }
        }

        impl<'b> $trait<Expr<'b>> for f64 {
            type Output = Expr<'b>;
            fn $method(self, other: Expr<'b>) -> Expr<'b> {
                $trait::$method(self.expr(other), other)
            }
        }
    };
}

operator!(Add, add, Some(0.0), Some(0.0));
operator!(Sub, sub, None, Some(0.0));
operator!(Mul, mul, Some(1.0), Some(1.0));
operator!(Div, div, None, Some(1.0));

#[cfg(test)]
mod tests;
