//! Programs over blocks of places: the loops of [`kernel`](super::kernel) one after the other, on numbers that stay
//! in the first-level cache.
//!
//! Axes over which every input is contiguous or constant are merged. What is left of the innermost axis is a row:
//! within a row an input is either a slice, which is borrowed, or one number, and steps of such numbers alone are
//! done once a row. Where rows are short, blocks run across them and broadcast inputs are written out.

use segcal_core::{Program, Shape, Step};

use super::Array;
use super::kernel::{Operand, apply};
use super::math::Fast;

/// Below this length of a row, blocks run across rows.
const SHORT: usize = 128;

/// The most places in a block: few enough for the registers to stay in a near cache, many enough for the work beside the
/// loops not to count.
pub(super) const BLOCK: usize = 1024;

/// Where the value of a step is while a block is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// One number for the whole row.
    Row,
    /// The memory of an input.
    Borrowed(usize),
    /// Scratch memory.
    Register(usize),
    /// The memory of an output.
    Output(usize),
}

/// Some neighbouring axes of the domain that every view passes through with one stride.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) extent: usize,
    /// Step in memory of each view.
    pub(super) strides: Vec<usize>,
    /// The axis of the domain whose coordinate is used, if there is one.
    coordinate: Option<usize>,
}

/// Merges the axes of `domain`, outermost first. Axes of extent 1 vanish, and those marked stay alone.
pub(super) fn merge_axes(domain: Shape, views: &[Shape], alone: [bool; 5]) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    for axis in (0..5).rev().filter(|&axis| domain.dims()[axis] != 1) {
        let extent = domain.dims()[axis];
        let strides: Vec<usize> = views.iter().map(|view| view.broadcast_strides()[axis]).collect();
        let continues = |inner: &Axis| strides.iter().zip(&inner.strides).all(|(&o, &i)| o == i * inner.extent);
        match axes.last_mut() {
            Some(inner) if !alone[axis] && inner.coordinate.is_none() && continues(inner) => inner.extent *= extent,
            _ => axes.push(Axis { extent, strides, coordinate: alone[axis].then_some(axis) }),
        }
    }
    if axes.is_empty() {
        axes.push(Axis { extent: 1, strides: vec![0; views.len()], coordinate: None });
    }
    axes.reverse();
    axes
}

/// A program bound to its inputs and a domain.
pub(super) struct Plan<'a> {
    program: &'a Program,
    inputs: Vec<&'a [f32]>,
    /// Merged axes, outermost first; after the inputs, each has the stride of the fold's target.
    pub(super) axes: Vec<Axis>,
    /// Whether blocks stay within rows.
    long_rows: bool,
    places: Vec<Place>,
    registers: usize,
    /// Values of constants and scalars, by step.
    fixed: Vec<f32>,
}

impl<'a> Plan<'a> {
    /// A plan that writes its outputs to memory.
    pub(super) fn writing(program: &'a Program, scalars: &[f64], inputs: &[Array<'a>], domain: Shape) -> Self {
        Self::new(program, scalars, inputs, domain, Shape::SCALAR, true)
    }

    /// A plan whose outputs are folded to the shape `target`.
    pub(super) fn folding(
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
    pub(super) fn row(&self) -> usize {
        self.axes[self.axes.len() - 1].extent
    }

    /// Whether blocks stay within rows.
    pub(super) fn long_rows(&self) -> bool {
        self.long_rows
    }

    /// Number of outputs.
    pub(super) fn outputs(&self) -> usize {
        self.program.outputs().len()
    }

    /// The longest block from `start` on, of at most `len` places.
    pub(super) fn block_from(&self, start: usize, len: usize) -> usize {
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

    /// Where a step's value lies without work at every place, if anywhere.
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

/// For each step, the last one that uses it; outputs are used to the end.
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

/// The state of one thread that runs a plan.
pub(super) struct Machine<'p, 'a> {
    plan: &'p Plan<'a>,
    registers: Vec<Vec<f32>>,
    /// Values of the steps that are one number in this row, by step.
    row_values: Vec<f32>,
    /// The row that `row_values` and `starts` are of.
    row: usize,
    /// Where the row starts in each input.
    starts: Vec<usize>,
}

impl<'p, 'a> Machine<'p, 'a> {
    pub(super) fn new(plan: &'p Plan<'a>) -> Self {
        let registers = vec![vec![0.0; BLOCK]; plan.registers];
        let starts = vec![0; plan.inputs.len()];
        let mut machine = Self { plan, registers, row_values: plan.fixed.clone(), row: 0, starts };
        machine.enter_row(0);
        machine
    }

    /// Computes places `start .. start + outs[0].len()` of the domain, in the order of memory.
    pub(super) fn write(&mut self, start: usize, outs: &mut [&mut [f32]]) {
        let len = outs[0].len();
        let mut done = 0;
        while done < len {
            let block = self.plan.block_from(start + done, len - done);
            self.run(start + done, block, outs, done);
            self.copy_shared_outputs(start + done, block, outs, done);
            done += block;
        }
    }

    /// Computes a block of a folding plan; [`Machine::value`] then tells the outputs.
    pub(super) fn compute(&mut self, start: usize, len: usize) {
        self.run(start, len, &mut [], 0);
    }

    /// An output of the block that was computed last.
    pub(super) fn value(&self, output: usize, start: usize, len: usize) -> Operand<'_> {
        self.operand(self.plan.program.outputs()[output], start, len, &[], 0)
    }

    fn run(&mut self, start: usize, len: usize, outs: &mut [&mut [f32]], at: usize) {
        let row = if self.plan.long_rows { start / self.plan.row() } else { 0 };
        if row != self.row {
            self.enter_row(row);
        }
        for number in 0..self.plan.places.len() {
            match self.plan.places[number] {
                Place::Row | Place::Borrowed(_) => {}
                Place::Register(register) => {
                    let mut result = std::mem::take(&mut self.registers[register]);
                    self.step(number, start, outs, at, &mut result[..len]);
                    self.registers[register] = result;
                }
                Place::Output(output) => {
                    let result = std::mem::take(&mut outs[output]);
                    self.step(number, start, outs, at, &mut result[at..at + len]);
                    outs[output] = result;
                }
            }
        }
    }

    /// One step over a block.
    fn step(&self, number: usize, start: usize, outs: &[&mut [f32]], at: usize, result: &mut [f32]) {
        match self.plan.program.steps()[number] {
            Step::Apply(opcode, args) => {
                let mut operands = [Operand::All(0.0); 3];
                for (operand, &arg) in operands.iter_mut().zip(&args).take(opcode.arity()) {
                    *operand = self.operand(arg, start, result.len(), outs, at);
                }
                apply(opcode, operands, result);
            }
            Step::Input(input) => self.write_input(input, start, result),
            Step::Coord(axis) => self.write_coordinate(axis, start, result),
            Step::Const(_) | Step::Scalar(_) => unreachable!("one number for the whole row"),
        }
    }

    fn operand<'s>(&'s self, step: usize, start: usize, len: usize, outs: &'s [&mut [f32]], at: usize) -> Operand<'s> {
        match self.plan.places[step] {
            Place::Row => Operand::All(self.row_values[step]),
            Place::Register(register) => Operand::Each(&self.registers[register][..len]),
            Place::Output(output) => Operand::Each(&outs[output][at..at + len]),
            Place::Borrowed(input) => {
                let from = if self.plan.long_rows { self.starts[input] + start % self.plan.row() } else { start };
                Operand::Each(&self.plan.inputs[input][from..from + len])
            }
        }
    }

    /// Outputs that are an input, one number, or the same as another output.
    fn copy_shared_outputs(&self, start: usize, len: usize, outs: &mut [&mut [f32]], at: usize) {
        for (output, &step) in self.plan.program.outputs().iter().enumerate() {
            if self.plan.places[step] != Place::Output(output) {
                let result = std::mem::take(&mut outs[output]);
                self.operand(step, start, len, outs, at).copy_to(&mut result[at..at + len]);
                outs[output] = result;
            }
        }
    }

    /// Finds where a row starts in each input, and the values that are one number in it.
    fn enter_row(&mut self, row: usize) {
        self.row = row;
        let outer = &self.plan.axes[..self.plan.axes.len() - 1];
        let mut coordinates = [0.0; 5];
        self.starts.fill(0);
        let mut rest = row;
        for axis in outer.iter().rev() {
            let index = rest % axis.extent;
            rest /= axis.extent;
            for (start, stride) in self.starts.iter_mut().zip(&axis.strides) {
                *start += index * stride;
            }
            if let Some(axis) = axis.coordinate {
                coordinates[axis] = index as f32;
            }
        }
        for (number, step) in self.plan.program.steps().iter().enumerate() {
            if self.plan.places[number] != Place::Row {
                continue;
            }
            match *step {
                Step::Input(i) => self.row_values[number] = self.plan.inputs[i][self.starts[i]],
                Step::Coord(axis) => self.row_values[number] = coordinates[axis],
                Step::Apply(opcode, args) => {
                    self.row_values[number] = opcode.eval(args.map(|arg| Fast(self.row_values[arg]))).0;
                }
                Step::Const(_) | Step::Scalar(_) => {}
            }
        }
    }

    /// Writes out an input that is broadcast over short rows.
    fn write_input(&self, input: usize, start: usize, result: &mut [f32]) {
        let data = self.plan.inputs[input];
        let within = self.plan.axes[self.plan.axes.len() - 1].strides[input];
        let mut done = 0;
        for_each_row(&self.plan.axes, start, result.len(), |axes, at, len| {
            let from: usize = axes.iter().zip(at).map(|(axis, index)| axis.strides[input] * index).sum();
            let part = &mut result[done..done + len];
            match within {
                0 => part.fill(data[from]),
                _ => part.copy_from_slice(&data[from..from + len]),
            }
            done += len;
        });
    }

    /// Writes out the coordinate along an axis.
    fn write_coordinate(&self, axis: usize, start: usize, result: &mut [f32]) {
        let varies = |merged: &Axis| merged.coordinate == Some(axis);
        let position = self.plan.axes.iter().position(varies).expect("the axis is longer than 1");
        let step = usize::from(position + 1 == self.plan.axes.len());
        let mut done = 0;
        for_each_row(&self.plan.axes, start, result.len(), |_, at, len| {
            let part = &mut result[done..done + len];
            part.iter_mut().enumerate().for_each(|(i, value)| *value = (at[position] + step * i) as f32);
            done += len;
        });
    }
}

/// Cuts `len` places of the domain into parts within rows; `visit` gets the coordinate of each part's start and its
/// length.
pub(super) fn for_each_row(axes: &[Axis], start: usize, len: usize, mut visit: impl FnMut(&[Axis], &[usize], usize)) {
    let mut at = [0; 5];
    let at = &mut at[..axes.len()];
    let mut rest = start;
    for (index, axis) in at.iter_mut().zip(axes).rev() {
        *index = rest % axis.extent;
        rest /= axis.extent;
    }
    let last = axes.len() - 1;
    let mut left = len;
    while left > 0 {
        let part = left.min(axes[last].extent - at[last]);
        visit(axes, at, part);
        left -= part;
        at[last] = 0;
        for outer in (0..last).rev() {
            at[outer] += 1;
            if at[outer] < axes[outer].extent {
                break;
            }
            at[outer] = 0;
        }
    }
}
