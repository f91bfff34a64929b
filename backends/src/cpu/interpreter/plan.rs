//! The plan for running a program over a domain: how axes are merged and where every value is stored.

use segcal_core::{Program, Shape, Step};

use super::super::Array;
use super::BLOCK;
use super::axes::{Axis, merge_axes};

/// If rows are shorter than this, blocks span several rows.
const SHORT: usize = 128;

/// Where the value of a step is stored while a block is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A single number for the whole row.
    Row,
    /// The memory of an input.
    Borrowed(usize),
    /// Scratch memory.
    Register(usize),
    /// The memory of an output.
    Output(usize),
}

/// A program bound to its inputs and a domain.
pub(in crate::cpu) struct Plan<'a> {
    pub(super) program: &'a Program,
    pub(super) inputs: Vec<&'a [f32]>,
    /// Merged axes, outermost first. After the strides of the inputs, each has the stride of the target of the fold.
    pub(in crate::cpu) axes: Vec<Axis>,
    /// Whether blocks stay within one row.
    pub(super) long_rows: bool,
    pub(super) places: Vec<Place>,
    pub(super) registers: usize,
    /// Values of constants and scalars, by step.
    pub(super) fixed: Vec<f32>,
}

impl<'a> Plan<'a> {
    /// A plan that writes its outputs to memory.
    pub(in crate::cpu) fn writing(program: &'a Program, scalars: &[f64], inputs: &[Array<'a>], domain: Shape) -> Self {
        Self::new(program, scalars, inputs, domain, Shape::SCALAR, true)
    }

    /// A plan whose outputs are folded to the shape `target`.
    pub(in crate::cpu) fn folding(
        program: &'a Program,
        scalars: &[f64],
        inputs: &[Array<'a>],
        domain: Shape,
        target: Shape,
    ) -> Self {
        Self::new(program, scalars, inputs, domain, target, false)
    }

    fn new(
        program: &'a Program,
        scalars: &[f64],
        inputs: &[Array<'a>],
        domain: Shape,
        target: Shape,
        writes: bool,
    ) -> Self {
        let used = |input| program.steps().contains(&Step::Input(input));
        let mut views: Vec<Shape> =
            inputs.iter().enumerate().map(|(i, &(_, shape))| if used(i) { shape } else { Shape::SCALAR }).collect();
        views.push(target);
        let axes = merge_axes(domain, &views, std::array::from_fn(|axis| program.uses_coord(axis)));
        let long_rows = axes.len() == 1 || axes[axes.len() - 1].extent >= SHORT;
        let fixed = program.steps().iter().map(|step| match *step {
            Step::Const(bits) => f64::from_bits(bits) as f32,
            Step::Scalar(i) => scalars[i] as f32,
            _ => 0.0,
        });
        let fixed = fixed.collect();
        let inputs = inputs.iter().map(|&(data, _)| data).collect();
        let mut plan = Self { program, inputs, axes, long_rows, places: Vec::new(), registers: 0, fixed };
        plan.assign_places(writes);
        plan
    }

    /// Extent of a row.
    pub(in crate::cpu) fn row(&self) -> usize {
        self.axes[self.axes.len() - 1].extent
    }

    /// Whether blocks stay within one row.
    pub(in crate::cpu) fn long_rows(&self) -> bool {
        self.long_rows
    }

    /// Number of outputs.
    pub(in crate::cpu) fn outputs(&self) -> usize {
        self.program.outputs().len()
    }

    /// Length of the longest block from `start` on, of at most `len` elements.
    pub(in crate::cpu) fn block_from(&self, start: usize, len: usize) -> usize {
        let within_row = if self.long_rows { self.row() - start % self.row() } else { len };
        len.min(within_row).min(BLOCK)
    }

    fn assign_places(&mut self, writes: bool) {
        let (steps, outputs) = (self.program.steps(), self.program.outputs());
        let last_use = last_uses(self.program);
        let mut free: Vec<usize> = Vec::new();
        for (number, &step) in steps.iter().enumerate() {
            let mut place = self.natural_place(step);
            if place.is_none() {
                let output = outputs.iter().position(|&output| output == number).filter(|_| writes);
                place = Some(output.map_or_else(|| self.register(&mut free), Place::Output));
            }
            self.places.extend(place);
            if let Step::Apply(opcode, args) = step {
                for (i, &arg) in args[..opcode.arity()].iter().enumerate() {
                    match self.places[arg] {
                        Place::Register(register) if last_use[arg] == number && !args[..i].contains(&arg) => {
                            free.push(register);
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn register(&mut self, free: &mut Vec<usize>) -> Place {
        Place::Register(free.pop().unwrap_or_else(|| {
            self.registers += 1;
            self.registers - 1
        }))
    }

    /// Where the value of a step is stored if it needs no work per element.
    fn natural_place(&self, step: Step) -> Option<Place> {
        let inner = &self.axes[self.axes.len() - 1];
        match step {
            Step::Const(_) | Step::Scalar(_) => Some(Place::Row),
            Step::Input(i) if self.long_rows => {
                Some(if inner.strides[i] == 0 { Place::Row } else { Place::Borrowed(i) })
            }
            Step::Input(i) if self.axes.iter().all(|axis| axis.strides[i] == 0) => Some(Place::Row),
            Step::Input(i) => self.is_whole(i).then_some(Place::Borrowed(i)),
            Step::Coord(axis) => {
                let position = self.axes.iter().position(|merged| merged.coordinate == Some(axis));
                let varies = position.is_some_and(|at| !self.long_rows || at + 1 == self.axes.len());
                (!varies).then_some(Place::Row)
            }
            Step::Apply(opcode, args) => {
                let constant = args[..opcode.arity()].iter().all(|&arg| self.places[arg] == Place::Row);
                constant.then_some(Place::Row)
            }
        }
    }

    /// Whether an input is contiguous over the whole domain.
    fn is_whole(&self, input: usize) -> bool {
        let mut natural = 1;
        self.axes.iter().rev().all(|axis| {
            let fits = axis.strides[input] == natural;
            natural *= axis.extent;
            fits
        })
    }
}

/// For each step, the last step that uses it; outputs are used until the end.
fn last_uses(program: &Program) -> Vec<usize> {
    let mut last: Vec<usize> = (0..program.steps().len()).collect();
    for (number, step) in program.steps().iter().enumerate() {
        if let Step::Apply(opcode, args) = *step {
            args[..opcode.arity()].iter().for_each(|&arg| last[arg] = number);
        }
    }
    program.outputs().iter().for_each(|&output| last[output] = usize::MAX);
    last
}
