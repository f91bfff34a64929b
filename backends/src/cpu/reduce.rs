//! `reduce`: one pass over the domain; sums use f64 accumulators.
//!
//! The domain is split into pieces that depend only on its shape. Each piece is folded in memory order, in fixed lanes,
//! and the pieces are joined in order, so the bits do not depend on the threads. Three traversals serve all layouts:
//! along long rows that are folded, down columns if the rows are kept, and through short rows in one stream.

use std::marker::PhantomData;

use segcal_core::{Fold, Program, Shape};

use super::fold::{Folding, Maximum, Sum, joined};
use super::interpreter::{BLOCK, Machine, Plan, for_each_row};
use super::{Array, Block, CHUNK, Cpu};

/// Maximum number of rows that are folded onto one block in one piece.
const DEEP: usize = 64;

/// `y_j[o] = fold over i of program_j(inputs[i], scalars, i)`.
pub(super) fn reduce(
    cpu: &Cpu,
    fold: Fold,
    program: &Program,
    scalars: &[f64],
    inputs: &[Array<'_>],
    domain: Shape,
    out: Shape,
) -> Vec<Block> {
    let mut outputs: Vec<Block> = program.outputs().iter().map(|_| cpu.block(out.len())).collect();
    if domain.len() == 0 || outputs.is_empty() {
        let nothing = match fold {
            Fold::Sum => Sum::START as f32,
            Fold::Max => Maximum::START,
        };
        outputs.iter_mut().for_each(|output| output.fill(nothing));
        return outputs;
    }
    let plan = Plan::folding(program, scalars, inputs, domain, out);
    let layout = Layout::new(&plan, inputs.len());
    match fold {
        Fold::Sum => Folder::<Sum>::new(cpu, &plan, &layout).run(&mut outputs),
        Fold::Max => Folder::<Maximum>::new(cpu, &plan, &layout).run(&mut outputs),
    }
    outputs
}

/// Which of the merged axes are folded.
struct Layout {
    /// `(extent, step through the domain)` of the axes that are kept, except the row.
    kept: Vec<(usize, usize)>,
    /// The same for the axes that are folded.
    folded: Vec<(usize, usize)>,
    row: usize,
    row_is_folded: bool,
    /// Index of the target of the fold in the strides of an axis.
    target: usize,
}

impl Layout {
    fn new(plan: &Plan<'_>, target: usize) -> Self {
        let (row, outer) = plan.axes.split_last().expect("there is always a row");
        let mut layout = Self {
            kept: Vec::new(),
            folded: Vec::new(),
            row: row.extent,
            row_is_folded: row.strides[target] == 0,
            target,
        };
        let mut step = row.extent;
        for axis in outer.iter().rev() {
            let list = if axis.strides[target] == 0 { &mut layout.folded } else { &mut layout.kept };
            list.insert(0, (axis.extent, step));
            step *= axis.extent;
        }
        layout
    }
}

/// Number of elements of a list of axes.
fn count(axes: &[(usize, usize)]) -> usize {
    axes.iter().map(|&(extent, _)| extent).product()
}

/// The offset in the domain of the `index`-th element of a list of axes.
fn position(axes: &[(usize, usize)], mut index: usize) -> usize {
    let mut position = 0;
    for &(extent, step) in axes.iter().rev() {
        position += index % extent * step;
        index /= extent;
    }
    position
}

struct Folder<'a, F> {
    cpu: &'a Cpu,
    plan: &'a Plan<'a>,
    layout: &'a Layout,
    folding: PhantomData<fn() -> F>,
}

impl<'a, F: Folding> Folder<'a, F> {
    fn new(cpu: &'a Cpu, plan: &'a Plan<'a>, layout: &'a Layout) -> Self {
        Self { cpu, plan, layout, folding: PhantomData }
    }

    fn run(&self, outputs: &mut [Block]) {
        match (self.plan.long_rows(), self.layout.row_is_folded) {
            (true, true) => self.rows(outputs),
            (true, false) => self.columns(outputs),
            (false, _) => self.stream(outputs),
        }
    }

    /// Each kept element folds its own rows, split into pieces of [`CHUNK`] elements.
    fn rows(&self, outputs: &mut [Block]) {
        let (kept, count_outputs) = (count(&self.layout.kept), outputs.len());
        let length = count(&self.layout.folded) * self.layout.row;
        let pieces = length.div_ceil(CHUNK);
        let mut partial = vec![F::START; kept * pieces * count_outputs];
        let group = (CHUNK / length).max(1);
        let tasks: Vec<_> = partial.chunks_mut(group * count_outputs).enumerate().collect();
        self.cpu.for_each_with(
            tasks,
            || Machine::new(self.plan),
            |machine, (task, partial)| {
                for (i, sums) in partial.chunks_mut(count_outputs).enumerate() {
                    let (place, piece) = ((task * group + i) / pieces, (task * group + i) % pieces);
                    self.piece_of_row(machine, place, piece * CHUNK..length.min((piece + 1) * CHUNK), sums);
                }
            },
        );
        for (j, output) in outputs.iter_mut().enumerate() {
            for (value, partial) in output.iter_mut().zip(partial.chunks(pieces * count_outputs)) {
                *value = joined::<F>(partial.iter().skip(j).step_by(count_outputs));
            }
        }
    }

    fn piece_of_row(
        &self,
        machine: &mut Machine<'_, '_>,
        place: usize,
        piece: std::ops::Range<usize>,
        sums: &mut [F::Part],
    ) {
        let origin = position(&self.layout.kept, place);
        let mut at = piece.start;
        while at < piece.end {
            let (row, within) = (at / self.layout.row, at % self.layout.row);
            let domain_start = origin + position(&self.layout.folded, row) + within;
            let len = self.plan.block_from(domain_start, piece.end - at);
            machine.compute(domain_start, len);
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum = F::join(*sum, F::block(machine.value(j, domain_start, len), len));
            }
            at += len;
        }
    }

    /// Rows are kept: blocks of a row are folded over the other axes, in pieces of at most [`DEEP`] rows.
    fn columns(&self, outputs: &mut [Block]) {
        let pieces = count(&self.layout.folded).div_ceil(DEEP);
        if pieces == 1 {
            return self.columns_into(outputs.iter_mut().map(|output| &mut output[..]).collect(), F::finish);
        }
        let mut partial = vec![vec![F::START; pieces * outputs[0].len()]; outputs.len()];
        self.columns_into(partial.iter_mut().map(|partial| &mut partial[..]).collect(), |sums, part| {
            part.copy_from_slice(sums);
        });
        for (output, partial) in outputs.iter_mut().zip(&partial) {
            self.join_pieces(output, partial);
        }
    }

    /// Writes every piece, in the order of the pieces, to `targets`.
    fn columns_into<T: Send>(&self, targets: Vec<&mut [T]>, finish: fn(&[F::Part], &mut [T])) {
        let (row, block) = (self.layout.row, BLOCK);
        let blocks = row.div_ceil(block);
        let mut tasks: Vec<Vec<&mut [T]>> = Vec::new();
        for target in targets {
            let parts = target.chunks_mut(row).flat_map(|row| row.chunks_mut(block));
            for (task, part) in parts.enumerate() {
                if task == tasks.len() {
                    tasks.push(Vec::new());
                }
                tasks[task].push(part);
            }
        }
        self.cpu.for_each_with(
            tasks.into_iter().enumerate().collect(),
            || (Machine::new(self.plan), vec![F::START; block * self.plan.outputs()]),
            |(machine, sums), (task, mut parts)| {
                let sums = &mut sums[..parts.len() * parts[0].len()];
                self.column(machine, task / blocks, task % blocks * block, sums);
                for (part, sums) in parts.iter_mut().zip(sums.chunks(sums.len() / self.plan.outputs())) {
                    finish(sums, part);
                }
            },
        );
    }

    /// Folds one piece of the columns below some neighbouring elements of a row; `sums` holds one output after the
    /// other.
    fn column(&self, machine: &mut Machine<'_, '_>, row: usize, within: usize, sums: &mut [F::Part]) {
        let (kept, len) = (count(&self.layout.kept), sums.len() / self.plan.outputs());
        let (piece, place) = (row / kept, row % kept);
        let origin = position(&self.layout.kept, place) + within;
        let rows = piece * DEEP..count(&self.layout.folded).min((piece + 1) * DEEP);
        for row in rows.clone() {
            let domain_start = origin + position(&self.layout.folded, row);
            machine.compute(domain_start, len);
            let fold = if row == rows.start { F::begin } else { F::extend };
            for (j, sums) in sums.chunks_mut(len).enumerate() {
                fold(machine.value(j, domain_start, len), sums);
            }
        }
    }

    /// Rows are short: the domain is streamed in pieces of its outermost axis, each with its own sums.
    fn stream(&self, outputs: &mut [Block]) {
        let (extent, folded) = (self.plan.axes[0].extent, self.plan.axes[0].strides[self.layout.target] == 0);
        let len = outputs[0].len();
        let slab = count(&self.layout.kept) * count(&self.layout.folded) * self.layout.row / extent;
        // Pieces of a folded axis each have a copy of the target: at most an eighth of the domain in total.
        let least = if folded { (8 * len).div_ceil(slab) } else { 1 };
        let thick = CHUNK.div_ceil(slab).max(least).min(extent);
        let pieces = extent.div_ceil(thick);
        let step = self.plan.axes[0].strides[self.layout.target];
        let places = |piece: usize| if folded { len } else { step * thick.min(extent - piece * thick) };
        let mut partial: Vec<Vec<F::Part>> =
            (0..pieces).map(|piece| vec![F::START; places(piece) * outputs.len()]).collect();
        self.cpu.for_each_with(
            partial.iter_mut().enumerate().collect(),
            || Machine::new(self.plan),
            |machine, (piece, sums)| {
                let slabs = piece * thick..extent.min((piece + 1) * thick);
                self.stream_slabs(machine, slabs.start * slab..slabs.end * slab, slabs.start * step, sums);
            },
        );
        for (j, output) in outputs.iter_mut().enumerate() {
            let parts = partial.iter().map(|sums| sums.chunks(sums.len() / self.plan.outputs()).nth(j).unwrap_or(&[]));
            let parts: Vec<F::Part> = parts.flatten().copied().collect();
            if folded {
                self.join_pieces(output, &parts);
            } else {
                F::finish(&parts, output);
            }
        }
    }

    /// Folds a range of the domain onto sums whose first element is element `origin` of the target.
    fn stream_slabs(
        &self,
        machine: &mut Machine<'_, '_>,
        range: std::ops::Range<usize>,
        origin: usize,
        sums: &mut [F::Part],
    ) {
        let (target, outputs) = (self.layout.target, self.plan.outputs());
        let places = sums.len() / outputs;
        let mut at = range.start;
        while at < range.end {
            let len = self.plan.block_from(at, range.end - at);
            machine.compute(at, len);
            for (j, sums) in sums.chunks_mut(places).enumerate() {
                let value = machine.value(j, at, len);
                let mut done = 0;
                for_each_row(&self.plan.axes, at, len, |axes, index, part| {
                    let place: usize =
                        axes.iter().zip(index).map(|(axis, i)| axis.strides[target] * i).sum::<usize>() - origin;
                    let value = value.part(done, part);
                    if self.layout.row_is_folded {
                        sums[place] = F::join(sums[place], F::block(value, part));
                    } else {
                        F::extend(value, &mut sums[place..place + part]);
                    }
                    done += part;
                });
            }
            at += len;
        }
    }

    /// Combines pieces that each hold the whole target.
    fn join_pieces(&self, output: &mut [f32], pieces: &[F::Part]) {
        let len = output.len();
        self.cpu.chunks(output, CHUNK / 8, |chunk, output| {
            for (i, value) in output.iter_mut().enumerate() {
                *value = joined::<F>(pieces.iter().skip(chunk * (CHUNK / 8) + i).step_by(len));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use segcal_core::{Backend, axis};

    use super::*;

    fn identity() -> Program {
        Program::new(|p| p.input(0))
    }

    #[test]
    fn sums_and_maxima_by_hand() {
        let cpu = Cpu::default();
        let domain = Shape::new(1, 2, 1, 2, 2);
        let x = cpu.upload(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let square = Program::with_outputs(|p| vec![p.input(0).square(), -p.input(0)]);
        let folded = |fold, out: Shape| -> Vec<Vec<f32>> {
            cpu.reduce(fold, &square, &[], &[(&x, domain)], domain, out).iter().map(|y| y.to_vec()).collect()
        };
        assert_eq!(folded(Fold::Sum, Shape::new(1, 2, 1, 1, 1)), [[30.0, 174.0], [-10.0, -26.0]]);
        assert_eq!(folded(Fold::Max, Shape::new(1, 1, 1, 2, 2)), [[25.0, 36.0, 49.0, 64.0], [-1.0, -2.0, -3.0, -4.0]]);
        assert_eq!(folded(Fold::Sum, Shape::SCALAR), [[204.0], [-36.0]]);
    }

    /// An f32 accumulator would stop at 2^24.
    #[test]
    fn a_long_sum_of_ones_is_exact() {
        let (cpu, domain) = (Cpu::default(), Shape::new(1, 1, 1, 5000, 5001));
        let one = cpu.upload(vec![1.0]);
        let numbers = Program::new(|p| p.input(0) + p.coord(axis::W) * 0.0);
        let sum = cpu.reduce(Fold::Sum, &numbers, &[], &[(&one, Shape::SCALAR)], domain, Shape::SCALAR);
        assert_eq!(sum[0].to_vec(), [25_005_000.0]);
    }

    #[test]
    fn nothing_sums_to_zero_and_has_no_maximum() {
        let (cpu, domain) = (Cpu::default(), Shape::new(0, 2, 1, 3, 3));
        let x = cpu.upload(&[]);
        let folded =
            |fold| cpu.reduce(fold, &identity(), &[], &[(&x, domain)], domain, Shape::new(1, 2, 1, 1, 1))[0].to_vec();
        assert_eq!(folded(Fold::Sum), [0.0; 2]);
        assert_eq!(folded(Fold::Max), [f32::NEG_INFINITY; 2]);
    }
}
