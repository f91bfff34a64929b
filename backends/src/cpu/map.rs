//! `map`: runs programs over chunks of the output, in parallel.

use segcal_core::{Program, Shape};

use super::interpreter::{Machine, Plan};
use super::{Array, Block, CHUNK, Cpu};

/// `y_j[i] = program_j(inputs[i], scalars, i)`.
pub(super) fn map(cpu: &Cpu, program: &Program, scalars: &[f64], inputs: &[Array<'_>], out: Shape) -> Vec<Block> {
    let mut outputs: Vec<Block> = program.outputs().iter().map(|_| cpu.block(out.len())).collect();
    if out.len() == 0 || outputs.is_empty() {
        return outputs;
    }
    let plan = Plan::writing(program, scalars, inputs, out);
    let mut tasks: Vec<Task<'_>> =
        (0..out.len()).step_by(CHUNK).map(|start| Task { start, outs: Vec::new() }).collect();
    for output in &mut outputs {
        for (task, part) in tasks.iter_mut().zip(output.chunks_mut(CHUNK)) {
            task.outs.push(part);
        }
    }
    cpu.for_each_with(tasks, || Machine::new(&plan), |machine, mut task| machine.write(task.start, &mut task.outs));
    outputs
}

/// The part of every output that one thread computes at a time.
struct Task<'a> {
    start: usize,
    outs: Vec<&'a mut [f32]>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use segcal_core::{Backend, Builder, Expr, Reference, axis};

    use super::*;
    use crate::cpu::isa::for_each_level;
    use crate::cpu::tests::{close, counts_of_threads, exactly, numbers, shapes_for};

    fn normalise() -> Program {
        Program::new(|p| {
            let normal = (p.input(0) - p.input(1)) * p.input(2) * p.input(3) + p.input(4);
            normal.max(normal * p.scalar(0))
        })
    }

    #[test]
    fn affine_and_leaky_relu_by_hand() {
        let cpu = Cpu::default();
        let x = cpu.upload(vec![1.0, 3.0, 5.0, 7.0]);
        let (row, one) = (Shape::new(1, 1, 1, 2, 2), Shape::SCALAR);
        let numbers = [4.0, 0.5, 2.0, 1.0].map(|number| cpu.upload(vec![number]));
        let inputs = [(&x, row), (&numbers[0], one), (&numbers[1], one), (&numbers[2], one), (&numbers[3], one)];
        let y = cpu.map(&normalise(), &[0.01], &inputs, row);
        assert_eq!(cpu.download(&y[0]).unwrap(), [-0.02, 0.0, 2.0, 4.0]);
    }

    #[test]
    fn outputs_may_be_inputs_numbers_and_equal() {
        let program = Program::with_outputs(|p| {
            let sum = p.input(0) + p.input(1);
            vec![p.input(0), sum, p.constant(2.5), sum * 2.0, sum, p.scalar(0), p.input(1)]
        });
        let cpu = Cpu::default();
        let (x, b) = (cpu.upload(vec![1.0, 2.0]), cpu.upload(vec![10.0]));
        let shape = Shape::new(1, 1, 1, 1, 2);
        let y = cpu.map(&program, &[-1.0], &[(&x, shape), (&b, Shape::SCALAR)], shape);
        let y: Vec<Vec<f32>> = y.iter().map(|y| y.to_vec()).collect();
        let expected = [[1.0, 2.0], [11.0, 12.0], [2.5, 2.5], [22.0, 24.0], [11.0, 12.0], [-1.0, -1.0], [10.0, 10.0]];
        assert_eq!(y, expected);
    }

    #[test]
    fn empty_domains_give_empty_outputs() {
        let cpu = Cpu::default();
        let empty = cpu.upload(&[]);
        let shape = Shape::new(2, 0, 1, 3, 4);
        assert!(cpu.map(&normalise(), &[0.0], &[(&empty, shape); 5], shape)[0].is_empty());
    }

    /// A program with every kind of leaf and many opcodes, whose values stay moderate.
    fn write_mixture<'b>(p: &'b Builder, choices: &[u8]) -> Vec<Expr<'b>> {
        let mut values = vec![p.input(0), p.input(1), p.scalar(0), p.constant(0.75)];
        for &choice in choices {
            let a = values[usize::from(choice) % values.len()];
            let b = values[usize::from(choice / 3) % values.len()];
            values.push(match choice % 13 {
                0 => a + b,
                1 => a - b,
                2 => (a * b).tanh(),
                3 => a.max(b),
                4 => a.min(b),
                5 => a.tanh().exp(),
                6 => (a.square() + 0.5).ln(),
                7 => a.lt(b).select(a, b),
                8 => p.coord(axis::W) * 0.01 + a,
                9 => p.coord(axis::C) * 0.1 - b,
                10 => a.abs().sqrt(),
                11 => p.input(2) + a,
                _ => -a,
            });
        }
        let last = values.len() - 1;
        vec![values[last], values[last / 2 + 1], values[last]]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn random_programs_agree_with_the_reference(
            domain in shapes_for(200),
            masks in [any::<u8>(), any::<u8>(), any::<u8>()],
            choices in proptest::collection::vec(any::<u8>(), 1..14),
            seed in any::<u32>(),
        ) {
            let program = Program::with_outputs(|p| write_mixture(p, &choices));
            let shapes = masks.map(|mask| Shape::from_dims(std::array::from_fn(|axis| {
                if mask >> axis & 1 == 1 { 1 } else { domain.dims()[axis] }
            })));
            let data: Vec<Vec<f32>> =
                shapes.iter().enumerate().map(|(i, shape)| numbers(shape.len(), seed.wrapping_add(i as u32))).collect();
            let exact_data: Vec<_> = data.iter().map(|x| exactly(x)).collect();
            let exact_views: Vec<_> = exact_data.iter().zip(shapes).collect();
            let exact = Reference.map(&program, &[0.3], &exact_views, domain);
            for_each_level(|_| {
                for cpu in counts_of_threads() {
                    let buffers: Vec<_> = data.iter().map(|x| cpu.upload(x.clone())).collect();
                    let views: Vec<_> = buffers.iter().zip(shapes).collect();
                    let found = cpu.map(&program, &[0.3], &views, domain);
                    for (found, exact) in found.iter().zip(&exact) {
                        close(found, exact, 1e-4);
                    }
                }
            });
        }
    }

    #[test]
    fn large_domains_agree_with_the_reference_across_chunks() {
        let domain = Shape::new(2, 3, 1, 150, 131);
        let channel = Shape::new(1, 3, 1, 1, 1);
        let x = numbers(domain.len(), 5);
        let statistics: Vec<Vec<f32>> = (0..4).map(|i| numbers(3, i)).collect();
        let cpu = Cpu::default();
        let buffers: Vec<_> = std::iter::once(&x).chain(&statistics).map(|x| cpu.upload(x.clone())).collect();
        let shapes = [domain, channel, channel, channel, channel];
        let views: Vec<_> = buffers.iter().zip(shapes).collect();
        let y = cpu.map(&normalise(), &[0.01], &views, domain);
        for place in 0..domain.len() {
            let c = domain.coordinate(place)[1];
            let s = |i: usize| statistics[i][c];
            let normal = (x[place] - s(0)) * s(1) * s(2) + s(3);
            assert_eq!(y[0][place], normal.max(normal * 0.01), "{place}");
        }
    }
}
