//! The loops: runs the steps of a plan, block by block.

use segcal_core::Step;

use super::super::kernel::{Operand, apply};
use super::super::math::Fast;
use super::BLOCK;
use super::axes::{Axis, for_each_row};
use super::plan::{Place, Plan};

/// The state of one thread that runs a plan.
pub(in crate::cpu) struct Machine<'p, 'a> {
    plan: &'p Plan<'a>,
    registers: Vec<Vec<f32>>,
    /// Values of the steps that are constant in this row, by step.
    row_values: Vec<f32>,
    /// The row that `row_values` and `starts` belong to.
    row: usize,
    /// Where the row starts in each input.
    starts: Vec<usize>,
}

impl<'p, 'a> Machine<'p, 'a> {
    pub(in crate::cpu) fn new(plan: &'p Plan<'a>) -> Self {
        let registers = vec![vec![0.0; BLOCK]; plan.registers];
        let starts = vec![0; plan.inputs.len()];
        let mut machine = Self { plan, registers, row_values: plan.fixed.clone(), row: 0, starts };
        machine.enter_row(0);
        machine
    }

    /// Computes elements `start .. start + outs[0].len()` of the domain, in memory order.
    pub(in crate::cpu) fn write(&mut self, start: usize, outs: &mut [&mut [f32]]) {
        let len = outs[0].len();
        let mut done = 0;
        while done < len {
            let block = self.plan.block_from(start + done, len - done);
            self.run(start + done, block, outs, done);
            self.copy_shared_outputs(start + done, block, outs, done);
            done += block;
        }
    }

    /// Computes a block of a folding plan; [`Machine::value`] then returns the outputs.
    pub(in crate::cpu) fn compute(&mut self, start: usize, len: usize) {
        self.run(start, len, &mut [], 0);
    }

    /// An output of the last computed block.
    pub(in crate::cpu) fn value(&self, output: usize, start: usize, len: usize) -> Operand<'_> {
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

    /// Copies outputs that are an input, a constant, or the same as another output.
    fn copy_shared_outputs(&self, start: usize, len: usize, outs: &mut [&mut [f32]], at: usize) {
        for (output, &step) in self.plan.program.outputs().iter().enumerate() {
            if self.plan.places[step] != Place::Output(output) {
                let result = std::mem::take(&mut outs[output]);
                self.operand(step, start, len, outs, at).copy_to(&mut result[at..at + len]);
                outs[output] = result;
            }
        }
    }

    /// Finds where a row starts in each input, and the values that are constant in the row.
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
