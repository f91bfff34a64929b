//! Every operation on random shapes and arguments, compared with the reference. `map` and the convolutions are tested
//! next to their code.

use proptest::prelude::*;
use segcal_core::{Border, Fold, Index, Interpolation, Program, Rank, Sampling, Window, axis};

use super::*;

/// Extent and start of a box along each axis, as fractions of the possible range.
fn any_fractions() -> impl Strategy<Value = [[f64; 2]; 5]> {
    std::array::from_fn::<_, 5, _>(|_| [0.0..1.0, 0.0..1.0])
}

fn any_matrix() -> impl Strategy<Value = [[f64; 4]; 3]> {
    std::array::from_fn::<_, 3, _>(|_| [-1.0..1.0, -1.0..1.0, -1.0..1.0, -2.0..20.0])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn reduce(
        domain in shapes_for(300),
        masks in [any::<u8>(), any::<u8>(), any::<u8>()],
        max in any::<bool>(),
        coordinates in any::<bool>(),
    ) {
        let program = Program::with_outputs(|p| {
            let weight = if coordinates { p.coord(axis::H) * 0.1 + p.coord(axis::W) } else { p.constant(0.5) };
            vec![p.input(0) * p.input(1) + weight, p.input(0), p.input(1), p.scalar(0)]
        });
        let out = masked(domain, masks[2]);
        let fold = if max { Fold::Max } else { Fold::Sum };
        compare(
            &[input(masked(domain, masks[0]), 1), input(masked(domain, masks[1] & masks[0]), 2)],
            1e-6,
            |cpu, views| cpu.reduce(fold, &program, &[0.25], &views, domain, out),
            |views| Reference.reduce(fold, &program, &[0.25], &views, domain, out),
        );
    }

    #[test]
    fn slice_and_place(
        whole in shapes_for(300),
        fractions in any_fractions(),
        again in any_fractions(),
        full in any::<[u8; 2]>(),
    ) {
        let cut = |fractions: [[f64; 2]; 5], full: u8| -> (Index, Shape) {
            let extent = |axis: usize| if full >> axis & 1 == 1 { whole.dims()[axis] }
                else { 1 + (fractions[axis][0] * (whole.dims()[axis] as f64 - 1.0)) as usize };
            let start = |axis: usize| (fractions[axis][1] * (whole.dims()[axis] - extent(axis) + 1) as f64) as usize;
            (std::array::from_fn(start), Shape::from_dims(std::array::from_fn(extent)))
        };
        let (start, shape) = cut(fractions, full[0]);
        let (other_start, other) = cut(again, full[1]);
        compare(
            &[input(whole, 3)],
            0.0,
            |cpu, [x]| vec![cpu.slice(x, start, shape)],
            |[x]| vec![Reference.slice(x, start, shape)],
        );
        compare(
            &[input(shape, 4), input(other, 5)],
            1e-7,
            |cpu, [a, b]| {
                let overlapping = [(a, start), (b, other_start), (a, start)];
                vec![cpu.place(&overlapping, whole), cpu.place(&[(b, other_start)], whole)]
            },
            |[a, b]| {
                let overlapping = [(a, start), (b, other_start), (a, start)];
                vec![Reference.place(&overlapping, whole), Reference.place(&[(b, other_start)], whole)]
            },
        );
    }

    #[test]
    fn pooling(
        shape in shapes_for(300),
        size in [1..4usize, 1..5, 1..5],
        stride in [1..4usize, 1..4, 1..5],
        tiles in any::<bool>(),
    ) {
        let size = std::array::from_fn(|axis| size[axis].min(shape.spatial()[axis]));
        let window = if tiles { Window::tiles(size) } else { Window { size, stride } };
        let out = window.output(shape).unwrap();
        compare(
            &[input(shape, 6), input(out, 7)],
            1e-6,
            |cpu, [x, y]| {
                let (maximum, index) = cpu.max_pool(x, &window, out);
                let back = cpu.max_unpool(y, (&index, out), &window, shape);
                vec![maximum, index, back]
            },
            |[x, y]| {
                let (maximum, index) = Reference.max_pool(x, &window, out);
                let back = Reference.max_unpool(y, (&index, out), &window, shape);
                vec![maximum, index, back]
            },
        );
    }

    #[test]
    fn resampling(
        shape in shapes_for(100),
        to in [1..6usize, 1..30, 1..30],
        resize in 0..3u8,
        linear in any::<bool>(),
        zero in any::<bool>(),
        matrix in any_matrix(),
        diagonal in any::<bool>(),
    ) {
        let interpolation = if linear { Interpolation::Linear } else { Interpolation::Nearest };
        let from = shape.spatial();
        let to = match resize {
            0 => from.map(|extent| (extent * 2).min(300)),
            1 => from.map(|extent| extent.div_ceil(2)),
            _ => to,
        };
        let mut sampling = Sampling::resize(from, to, interpolation);
        if resize == 2 {
            sampling.matrix = matrix;
            for (row, column) in (0..3).flat_map(|row| (0..3).map(move |column| (row, column))) {
                if diagonal && row != column {
                    sampling.matrix[row][column] = 0.0;
                }
            }
        }
        sampling.border = if zero { Border::Zero } else { Border::Clamp };
        let shape = shape.with(axis::N, shape.n().min(2)).with(axis::C, shape.c().min(3));
        let out = shape.with_spatial(to);
        compare(
            &[input(shape, 8), input(out, 9)],
            2e-6 * (1.0 + (out.voxels() as f64 / shape.voxels() as f64)),
            |cpu, [x, y]| vec![cpu.resample(x, &sampling, out), cpu.resample_adjoint(y, &sampling, shape)],
            |[x, y]| vec![Reference.resample(x, &sampling, out), Reference.resample_adjoint(y, &sampling, shape)],
        );
    }

    #[test]
    fn ranks(
        shape in shapes_for(30),
        size in [1..4usize, 1..6, 1..6],
        rank in 0.0..1.0f64,
        mode in any::<bool>(),
        levels in 2..40u8,
    ) {
        let size: [usize; 3] = std::array::from_fn(|axis| size[axis].min(shape.spatial()[axis]));
        let count: usize = size.iter().product();
        let rank = if mode { Rank::Mode } else { Rank::Nth((rank * count as f64) as usize) };
        let out = Window::sliding(size).output(shape).unwrap();
        let (mut x, _) = input(shape, 10);
        for x in &mut x {
            *x = (*x * f32::from(levels)).round() + 0.0;
        }
        compare(
            &[(x, shape)],
            0.0,
            |cpu, [x]| vec![cpu.rank_filter(x, size, rank, out)],
            |[x]| vec![Reference.rank_filter(x, size, rank, out)],
        );
    }

    #[test]
    fn counting(shape in shapes_for(300), count in 1..200usize) {
        let (mut bins, _) = input(shape, 11);
        for bin in &mut bins {
            *bin = (*bin * 120.0).round() + if *bin > 0.99 { 0.5 } else { 20.0 };
        }
        compare(
            &[(bins, shape), input(shape, 12), input(shape, 13), input(Shape::new(1, 1, 1, 1, count), 14)],
            1e-6,
            |cpu, [bins, a, b, table]| {
                let mut sums = cpu.bincount(bins, &[a, b], count);
                sums.push(cpu.take(table, bins));
                sums
            },
            |[bins, a, b, table]| {
                let mut sums = Reference.bincount(bins, &[a, b], count);
                sums.push(Reference.take(table, bins));
                sums
            },
        );
    }

    #[test]
    fn distances(shape in shapes_for(100), spacing in [0.3..3.0f64, 0.3..3.0, 0.3..3.0], share in 0.0..1.0f32) {
        let (mut mask, _) = input(shape, 15);
        for mask in &mut mask {
            *mask = if mask.abs() > share.sqrt() { *mask } else { 0.0 };
        }
        compare(
            &[(mask, shape)],
            1.2e-7,
            |cpu, [mask]| vec![cpu.distance(mask, spacing)],
            |[mask]| vec![Reference.distance(mask, spacing)],
        );
    }
}
