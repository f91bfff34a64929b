//! Every operation on tensors that are larger than a chunk, have no elements, or hold non-finite values.

use segcal_core::{Fold, Geometry, Interpolation, Program, Rank, Sampling, Window, axis};

use super::*;

/// Tensors larger than a chunk, so that threads share the work.
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
    let nothing = cpu.upload(&[]);
    assert!(cpu.distance((&nothing, bare), [1.0; 3]).is_empty());
    assert_eq!(cpu.resample((&nothing, bare), &up, Shape::new(1, 1, 1, 1, 2)).to_vec(), [0.0; 2]);
    assert_eq!(cpu.bincount((&nothing, bare), &[], 3).len(), 0);
    assert!(cpu.bincount((&nothing, bare), &[(&nothing, bare)], 0)[0].is_empty());
}

#[test]
fn want_of_memory_is_the_error_of_a_download_and_passes_on() {
    let cpu = Cpu::new(Some(2)).unwrap();
    let huge = Shape::new(1 << 20, 1 << 20, 1 << 10, 1, 1);
    let full = |shape| cpu.map(&Program::new(|p| p.scalar(0)), &[1.0], &[], shape).pop().unwrap();
    let failed = full(huge);
    let sum = cpu.reduce(Fold::Sum, &Program::new(|p| p.input(0)), &[], &[(&failed, huge)], huge, Shape::SCALAR);
    for buffer in [&failed, &sum[0]] {
        let message = cpu.download(buffer).unwrap_err().to_string();
        assert!(message.starts_with("cpu: map: cannot reserve 4194304.0 GiB of memory ("), "{message}");
    }
    let fine = full(Shape::SCALAR);
    assert_eq!(cpu.download(&fine).unwrap(), [1.0], "the backend still works");
}

/// The bits of a convolution depend on the instruction set, but not on the machine or the number of threads.
#[test]
fn an_instruction_set_can_be_chosen_and_others_are_refused() {
    let best = Cpu::default();
    assert_eq!(
        best.clone().with_instruction_set(best.instruction_set()).unwrap().instruction_set(),
        best.instruction_set()
    );
    assert_eq!(best.clone().with_instruction_set("baseline").unwrap().instruction_set(), "baseline");
    let Err(error) = best.with_instruction_set("mmx") else { panic!("there is no such level") };
    assert!(error.to_string().contains("the instruction set \"mmx\""), "{error}");
}
