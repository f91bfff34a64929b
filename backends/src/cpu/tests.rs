//! What the tests of the operations share, and comparisons of every operation with the reference.

use std::sync::Arc;

use proptest::prelude::*;
use segcal_core::{Backend, Reference, Shape};

use super::Cpu;

/// Reproducible numbers in `-1 .. 1`, with repetitions and zeros.
pub(super) fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            if state.is_multiple_of(11) { 0.0 } else { (state >> 8) as f32 / (1 << 23) as f32 - 1.0 }
        })
        .collect()
}

/// Whether two lists of numbers agree to `tolerance`, relative to the larger of 1 and the exact value.
#[track_caller]
pub(super) fn close(found: &[f32], exact: &[f64], tolerance: f64) {
    assert_eq!(found.len(), exact.len());
    for (place, (&found, &exact)) in found.iter().zip(exact).enumerate() {
        let found = f64::from(found);
        let same = found == exact || found.is_nan() && exact.is_nan();
        assert!(same || (found - exact).abs() <= tolerance * exact.abs().max(1.0), "{place}: {found}, not {exact}");
    }
}

/// Backends with different numbers of threads.
pub(super) fn counts_of_threads() -> impl Iterator<Item = Cpu> {
    use std::sync::OnceLock;
    static BACKENDS: OnceLock<Vec<Cpu>> = OnceLock::new();
    let backends = BACKENDS.get_or_init(|| [1, 2, 3, 5].map(|threads| Cpu::new(Some(threads)).unwrap()).into());
    backends.iter().cloned()
}

/// The same numbers for the reference.
pub(super) fn exactly(x: &[f32]) -> Arc<Vec<f64>> {
    Reference.upload(x.iter().map(|&x| f64::from(x)).collect())
}

/// Shapes of at most `most` elements or so, some of them 2-D, some with extents of 1.
pub(super) fn shapes_for(most: usize) -> impl Strategy<Value = Shape> {
    let extent = || prop_oneof![Just(1usize), 1..6usize, 1..20usize];
    let width = prop_oneof![Just(1usize), 1..20usize, 120..300usize];
    ([extent(), extent(), extent(), extent()], width).prop_map(move |([n, c, d, h], w)| {
        let mut dims = [n, c, d, h, w];
        for axis in 0..4 {
            while dims[axis] > 1 && dims.iter().product::<usize>() > most * 20 {
                dims[axis] = dims[axis].div_ceil(2);
            }
        }
        Shape::from_dims(dims)
    })
}

mod against_reference {
    use segcal_core::{Border, Fold, Geometry, Index, Interpolation, Program, Rank, Sampling, Window, axis};

    use super::*;
    use crate::cpu::isa::for_each_level;

    /// Compares an operation with the reference, for every instruction set and number of threads; the bits must not
    /// depend on either. `act` gets the backend and its inputs.
    fn compare<const N: usize>(
        inputs: &[(Vec<f32>, Shape); N],
        tolerance: f64,
        fast: impl Fn(&Cpu, [segcal_core::View<'_, Cpu>; N]) -> Vec<crate::CpuBuffer>,
        slow: impl Fn([segcal_core::View<'_, Reference>; N]) -> Vec<Arc<Vec<f64>>>,
    ) {
        let exact: [_; N] = std::array::from_fn(|i| exactly(&inputs[i].0));
        let exact = slow(std::array::from_fn(|i| (&exact[i], inputs[i].1)));
        let mut first: Option<Vec<Vec<u32>>> = None;
        for_each_level(|_| {
            for cpu in counts_of_threads() {
                let buffers: [_; N] = std::array::from_fn(|i| cpu.upload(inputs[i].0.clone()));
                let found = fast(&cpu, std::array::from_fn(|i| (&buffers[i], inputs[i].1)));
                assert_eq!(found.len(), exact.len());
                found.iter().zip(&exact).for_each(|(found, exact)| close(found, exact, tolerance));
                let bits: Vec<Vec<u32>> = found.iter().map(|y| y.iter().map(|y| y.to_bits()).collect()).collect();
                assert!(*first.get_or_insert_with(|| bits.clone()) == bits, "other bits");
            }
        });
    }

    fn input(shape: Shape, seed: u32) -> (Vec<f32>, Shape) {
        (numbers(shape.len(), seed), shape)
    }

    /// Which axes are 1, as bits.
    fn masked(shape: Shape, mask: u8) -> Shape {
        Shape::from_dims(std::array::from_fn(|axis| if mask >> axis & 1 == 1 { 1 } else { shape.dims()[axis] }))
    }

    /// Extent and start of a box along each axis, as shares of what is possible.
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
                |cpu, [a, b]| vec![cpu.place(&[(a, start), (b, other_start), (a, start)], whole), cpu.place(&[(b, other_start)], whole)],
                |[a, b]| vec![Reference.place(&[(a, start), (b, other_start), (a, start)], whole), Reference.place(&[(b, other_start)], whole)],
            );
        }

        #[test]
        fn pooling(shape in shapes_for(300), size in [1..4usize, 1..5, 1..5], stride in [1..4usize, 1..4, 1..5], tiles in any::<bool>()) {
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
        fn ranks(shape in shapes_for(30), size in [1..4usize, 1..6, 1..6], rank in 0.0..1.0f64, mode in any::<bool>(), levels in 2..40u8) {
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

    /// Larger than a chunk, so that threads share the work.
    #[test]
    fn large_tensors() {
        let shape = Shape::new(2, 5, 3, 70, 140);
        let program = Program::with_outputs(|p| vec![p.input(0).exp(), p.input(0).square() * p.input(1)]);
        for mask in [0b11111, 0b11100, 0b11101, 0b00010, 0b00011, 0b10111, 0b01111] {
            let out = masked(shape, mask);
            for fold in [Fold::Sum, Fold::Max] {
                compare(
                    &[input(shape, 1), input(masked(shape, 0b11101), 2)],
                    1e-6,
                    |cpu, views| cpu.reduce(fold, &program, &[], &views, shape, out),
                    |views| Reference.reduce(fold, &program, &[], &views, shape, out),
                );
            }
        }
        let short = Shape::new(40, 64, 2, 5, 5);
        for mask in [0b11111, 0b11100, 0b11101, 0b00010, 0b10000, 0b01111] {
            let out = masked(short, mask);
            compare(
                &[input(short, 1), input(masked(short, 0b11101), 2)],
                1e-6,
                |cpu, views| cpu.reduce(Fold::Sum, &program, &[], &views, short, out),
                |views| Reference.reduce(Fold::Sum, &program, &[], &views, short, out),
            );
        }
        let window = Window::tiles([1, 2, 2]);
        let pooled = window.output(shape).unwrap();
        let up = Sampling::resize(pooled.spatial(), shape.spatial(), Interpolation::Nearest);
        compare(
            &[input(shape, 3)],
            1e-6,
            |cpu, [x]| {
                let (y, index) = cpu.max_pool(x, &window, pooled);
                let large = cpu.resample((&y, pooled), &up, shape);
                let back = cpu.resample_adjoint(x, &up, pooled);
                let unpooled = cpu.max_unpool((&y, pooled), (&index, pooled), &window, shape);
                let both = cpu.place(&[(x, [0; 5]), ((&large, shape), [0, 5, 0, 0, 0])], shape.with(axis::C, 10));
                vec![y, large, back, unpooled, both]
            },
            |[x]| {
                let (y, index) = Reference.max_pool(x, &window, pooled);
                let large = Reference.resample((&y, pooled), &up, shape);
                let back = Reference.resample_adjoint(x, &up, pooled);
                let unpooled = Reference.max_unpool((&y, pooled), (&index, pooled), &window, shape);
                let both = Reference.place(&[(x, [0; 5]), ((&large, shape), [0, 5, 0, 0, 0])], shape.with(axis::C, 10));
                vec![y, large, back, unpooled, both]
            },
        );
        let volume = Shape::new(1, 2, 40, 50, 30);
        let (mut mask, _) = input(volume, 4);
        for mask in &mut mask {
            *mask = f32::from(*mask > 0.999);
        }
        compare(
            &[(mask, volume)],
            1.2e-7,
            |cpu, [mask]| vec![cpu.distance(mask, [2.5, 0.8, 1.1])],
            |[mask]| vec![Reference.distance(mask, [2.5, 0.8, 1.1])],
        );
    }

    #[test]
    fn nan_infinity_and_nothing() {
        let shape = Shape::new(1, 1, 1, 2, 3);
        let x = vec![1.0, f32::NAN, f32::NEG_INFINITY, f32::INFINITY, -2.0, 0.0];
        let identity = Program::new(|p| p.input(0));
        compare(
            &[(x, shape)],
            0.0,
            |cpu, [x]| {
                let mut y = cpu.reduce(Fold::Max, &identity, &[], &[x], shape, masked(shape, 0b01000));
                y.extend(cpu.reduce(Fold::Max, &identity, &[], &[x], shape, masked(shape, 0b10000)));
                let (maximum, index) = cpu.max_pool(x, &Window::tiles([1, 1, 3]), Shape::new(1, 1, 1, 2, 1));
                y.extend([maximum, index]);
                y.push(cpu.rank_filter(x, [1, 1, 2], Rank::Nth(1), Shape::new(1, 1, 1, 2, 2)));
                y
            },
            |[x]| {
                let mut y = Reference.reduce(Fold::Max, &identity, &[], &[x], shape, masked(shape, 0b01000));
                y.extend(Reference.reduce(Fold::Max, &identity, &[], &[x], shape, masked(shape, 0b10000)));
                let (maximum, index) = Reference.max_pool(x, &Window::tiles([1, 1, 3]), Shape::new(1, 1, 1, 2, 1));
                y.extend([maximum, index]);
                y.push(Reference.rank_filter(x, [1, 1, 2], Rank::Nth(1), Shape::new(1, 1, 1, 2, 2)));
                y
            },
        );
    }

    /// No operation panics on a shape without elements.
    #[test]
    fn empty_tensors() {
        let identity = Program::new(|p| p.input(0));
        let up = Sampling::resize([1, 2, 2], [1, 4, 4], Interpolation::Linear);
        for empty in [Shape::new(0, 2, 1, 4, 4), Shape::new(2, 0, 1, 4, 4)] {
            let channels = masked(empty, 0b11101);
            compare(
                &[input(empty, 1), input(Shape::new(2, empty.c(), 1, 1, 1), 2)],
                0.0,
                |cpu, [x, w]| {
                    let mut y = cpu.map(&identity, &[], &[x], empty);
                    y.extend(cpu.reduce(Fold::Sum, &identity, &[], &[x], empty, channels));
                    y.extend(cpu.reduce(Fold::Max, &identity, &[], &[x], empty, channels));
                    y.push(cpu.slice(x, [0; 5], empty));
                    y.push(cpu.place(&[(x, [0; 5])], Shape::new(2, 2, 1, 4, 4)));
                    y.push(cpu.conv(x, w, &Geometry::VALID, empty.with(axis::C, 2)));
                    y.push(cpu.conv_weight(
                        x,
                        (&cpu.upload(vec![1.0; empty.n() * 32]), empty.with(axis::C, 2)),
                        &Geometry::VALID,
                        w.1,
                    ));
                    let pooled = empty.with_spatial([1, 2, 2]);
                    let (maximum, index) = cpu.max_pool(x, &Window::tiles([1, 2, 2]), pooled);
                    y.push(cpu.max_unpool((&maximum, pooled), (&index, pooled), &Window::tiles([1, 2, 2]), empty));
                    y.push(cpu.resample((&maximum, pooled), &up, empty));
                    y.push(cpu.resample_adjoint(x, &up, pooled));
                    y.push(cpu.rank_filter(x, [1, 2, 2], Rank::Mode, empty.with_spatial([1, 3, 3])));
                    y.extend(cpu.bincount(x, &[x], 3));
                    y.push(cpu.take((&cpu.upload(vec![1.0]), Shape::SCALAR), x));
                    y.push(cpu.distance(x, [1.0; 3]));
                    y
                },
                |[x, w]| {
                    let mut y = Reference.map(&identity, &[], &[x], empty);
                    y.extend(Reference.reduce(Fold::Sum, &identity, &[], &[x], empty, channels));
                    y.extend(Reference.reduce(Fold::Max, &identity, &[], &[x], empty, channels));
                    y.push(Reference.slice(x, [0; 5], empty));
                    y.push(Reference.place(&[(x, [0; 5])], Shape::new(2, 2, 1, 4, 4)));
                    y.push(Reference.conv(x, w, &Geometry::VALID, empty.with(axis::C, 2)));
                    y.push(Reference.conv_weight(
                        x,
                        (&Arc::new(vec![1.0; empty.n() * 32]), empty.with(axis::C, 2)),
                        &Geometry::VALID,
                        w.1,
                    ));
                    y.extend((0..3).map(|_| Arc::new(Vec::new())));
                    let pooled = Arc::new(Vec::new());
                    y[7] = pooled.clone();
                    y.push(pooled);
                    y.extend(Reference.bincount(x, &[x], 3));
                    y.extend((0..2).map(|_| Arc::new(Vec::new())));
                    y
                },
            );
        }
        let bare = Shape::new(1, 1, 1, 0, 5);
        let cpu = Cpu::default();
        let nothing = cpu.upload(Vec::new());
        assert!(cpu.distance((&nothing, bare), [1.0; 3]).is_empty());
        assert_eq!(cpu.resample((&nothing, bare), &up, Shape::new(1, 1, 1, 1, 2)).to_vec(), [0.0; 2]);
        assert_eq!(cpu.bincount((&nothing, bare), &[], 3).len(), 0);
        assert!(cpu.bincount((&nothing, bare), &[(&nothing, bare)], 0)[0].is_empty());
    }
}
