//! Device behaviour other than computing: large tensors, many bindings, errors, memory, counters, reproducible bits.

use segcal_core::{Fold, Geometry, Program, Tensor, axis, ops};

use super::*;

/// More workgroups than fit along one axis, and more bytes than one binding exposes, with the limits of the device.
#[test]
fn a_tensor_above_one_binding_and_one_row_of_workgroups() {
    if cards().is_none() {
        return;
    }
    let gpu = Gpu::restricted(None, GUARD_WORDS, |_| {}).unwrap();
    let limits = gpu.adapter().limits;
    let words = limits.binding_bytes / 4 + 12_345;
    if words > 1 << 26 {
        eprintln!("skipped: one binding of this card exposes {} bytes", limits.binding_bytes);
        return;
    }
    let shape = Shape::new(1, 1, 1, words as usize / 4096, 4096);
    assert!(shape.len() as u64 * 4 > limits.binding_bytes && shape.len() / 256 > limits.groups_per_axis as usize);
    let program = Program::new(|p| p.coord(axis::H) + p.coord(axis::W));
    let x = gpu.map(&program, &[], &[], shape).pop().unwrap();
    let rows = Program::new(|p| (p.input(0) - p.coord(axis::H)).equals(p.coord(axis::W)));
    let right = gpu.reduce(Fold::Sum, &rows, &[], &[(&x, shape)], shape, shape.with(axis::H, 1));
    let right = gpu.download(&right[0]).unwrap();
    assert!(right.iter().all(|&count| count as usize == shape.dims()[axis::H]), "{right:?}");
    let last = [0, 0, 0, shape.dims()[axis::H] - 1, 4000];
    let corner = gpu.slice((&x, shape), last, Shape::new(1, 1, 1, 1, 96));
    let first = (last[3] + last[4]) as f32;
    assert_eq!(gpu.download(&corner).unwrap()[..3], [first, first + 1.0, first + 2.0]);
}

/// Inputs beyond the number of bindings are packed; outputs beyond it are computed in several passes.
#[test]
fn a_program_with_more_arrays_than_bindings() {
    if cards().is_none() {
        return;
    }
    let gpu = Gpu::restricted(None, GUARD_WORDS, |limits| limits.bindings = 8).unwrap();
    let shape = Shape::new(2, 3, 1, 4, 5);
    let shapes = [shape, Shape::new(1, 3, 1, 1, 1), Shape::new(2, 1, 1, 4, 5)];
    let arrays: Vec<Array> = (0..20).map(|seed| Array::whole(shapes[seed % 3], seed as u64)).collect();
    let program = Program::with_outputs(|p| {
        let sum = (1..20).fold(p.input(0), |sum, number| sum + p.input(number));
        (0..12).map(|number| sum * f64::from(number) + p.input(number as usize)).collect()
    });
    let buffers: Vec<Buffer> = arrays.iter().map(|array| array.upload(&gpu)).collect();
    let views: Vec<View<'_, Gpu>> = buffers.iter().zip(&arrays).map(|(buffer, array)| (buffer, array.shape)).collect();
    let host: Vec<_> = arrays.iter().map(|array| (Reference.upload(array.data.clone()), array.shape)).collect();
    let host_views: Vec<View<'_, Reference>> = host.iter().map(|(buffer, shape)| (buffer, *shape)).collect();
    let out = Shape::new(1, 3, 1, 1, 1);
    let mapped =
        gpu.map(&program, &[], &views, shape).into_iter().zip(Reference.map(&program, &[], &host_views, shape));
    let reduced = gpu.reduce(Fold::Sum, &program, &[], &views, shape, out);
    let expected = Reference.reduce(Fold::Sum, &program, &[], &host_views, shape, out);
    for (found, expected) in mapped.chain(reduced.into_iter().zip(expected)) {
        let found: Vec<f64> = gpu.download(&found).unwrap().into_iter().map(f64::from).collect();
        assert_eq!(found, *expected);
    }
}

#[test]
fn a_budget_that_does_not_suffice_is_an_error_that_names_the_operation() {
    if cards().is_none() {
        return;
    }
    let gpu = Gpu::restricted(Some(1 << 20), 0, |_| {}).unwrap();
    let half = Shape::new(1, 1, 1, 1, 100_000);
    let x = Tensor::full(&gpu, half, 1.0);
    let y = ops::map(&[&x], |p| p.input(0) + 1.0);
    let z = ops::map(&[&x, &y], |p| p.input(0) + p.input(1));
    let message = ops::sum_all(&[&z], |p| p.input(0)).item().unwrap_err().to_string();
    assert!(message.starts_with("gpu: map: ") && message.contains("of the budget of 1.0 MiB"), "{message}");
    // Buffers from before the failure are intact, and returned memory can be used again.
    drop(z);
    assert_eq!(ops::sum_all(&[&y], |p| p.input(0)).item().unwrap(), 200_000.0);
    drop(y);
    let z = ops::map(&[&x], |p| p.input(0) * 3.0);
    assert_eq!(ops::sum_all(&[&z], |p| p.input(0)).item().unwrap(), 300_000.0);
}

#[test]
fn a_buffer_that_no_card_has_is_an_error() {
    let Some([gpu, _]) = cards() else { return };
    let shape = Shape::new(1 << 10, 1 << 10, 1, 1, 1 << 10);
    let largest = gpu.adapter().limits.buffer_bytes;
    if largest < shape.len() as u64 * 4 {
        let message = Tensor::zeros(gpu, shape).to_vec().unwrap_err().to_string();
        assert!(message.starts_with("gpu: map: a tensor of 4096.0 MiB exceeds the largest buffer"), "{message}");
    }
    let message = Tensor::zeros(gpu, shape.with(axis::D, 4)).to_vec().unwrap_err().to_string();
    assert!(message.starts_with("gpu: map: 4294967296 elements are more than a shader can index"), "{message}");
    let one = Tensor::full(gpu, Shape::SCALAR, 1.0);
    let program = Program::new(|p| p.input(0));
    let domain = shape.with(axis::D, 4);
    let sum = gpu.reduce(Fold::Sum, &program, &[], &[one.view()], domain, Shape::SCALAR);
    assert!(gpu.download(&sum[0]).unwrap_err().to_string().starts_with("gpu: reduce: 4294967296 elements"));
}

#[test]
fn an_error_of_the_device_names_the_operation_and_spoils_only_what_depends_on_it() {
    if cards().is_none() {
        return;
    }
    let gpu = &Gpu::restricted(None, GUARD_WORDS, |_| {}).unwrap();
    let before = Tensor::full(gpu, Shape::SCALAR, 2.0);
    let invalid = "@compute @workgroup_size(1) fn main() { undefined(); }";
    gpu.0.report(invalid);
    let after = ops::map(&[&before], |p| p.input(0) * 2.0);
    let last = ops::map(&[&after, &before], |p| p.input(0) + p.input(1));
    let message = last.item().unwrap_err().to_string();
    assert!(message.starts_with("gpu: map: "), "{message}");
    assert_eq!(before.item().unwrap(), 2.0);
}

/// Memory that is returned and reused while work on it is still only recorded.
#[test]
fn reused_memory_is_not_written_before_it_was_read() {
    let Some([gpu, _]) = cards() else { return };
    let shape = Shape::new(1, 1, 1, 1, 1000);
    let mut sum = Tensor::zeros(gpu, shape);
    for step in 1..=50 {
        let x = Tensor::new(gpu, shape, vec![step as f32; 1000]);
        let double = ops::map(&[&x], |p| p.input(0) * 2.0);
        sum = ops::map(&[&sum, &double], |p| p.input(0) + p.input(1));
    }
    assert_eq!(sum.to_vec().unwrap(), vec![2550.0; 1000]);
}

/// Convolution, weight gradient, sums and maxima of numbers whose sums are rounded.
fn step(gpu: &Gpu) -> Vec<f32> {
    let fraction = |i: usize| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5;
    let (x_shape, w_shape) = (Shape::new(2, 5, 1, 33, 31), Shape::new(7, 5, 1, 3, 3));
    let x = Tensor::new(gpu, x_shape, (0..x_shape.len()).map(fraction).collect());
    let w = Tensor::new(gpu, w_shape, (0..w_shape.len()).map(|i| fraction(i + 5)).collect()).tracked();
    let y = ops::conv(&x, &w, &Geometry::same([1, 3, 3]));
    let loss = ops::mean_all(&[&y], |p| p.input(0).square().ln_1p());
    let bins = ops::map(&[&x], |p| (p.input(0) * 10.0).floor() + 5.0);
    let counts = ops::bincount(&bins, &x, 10);
    let value = loss.detach();
    let gradient = loss.backward().take(&w).unwrap();
    [value, gradient, counts].iter().flat_map(|tensor| tensor.to_vec().unwrap()).collect()
}

#[test]
fn the_same_bits_every_time_and_nothing_new_after_the_first() {
    let Some([gpu, narrow]) = cards() else { return };
    let bits = |gpu| step(gpu).iter().map(|number| number.to_bits()).collect::<Vec<u32>>();
    let first = bits(gpu);
    assert_eq!(first, bits(narrow), "bits do not depend on bindings and rows of workgroups");
    let alone = Gpu::restricted(None, 0, |_| {}).unwrap();
    assert_eq!(first, bits(&alone));
    let before = alone.counters();
    assert_eq!(first, bits(&alone));
    let during = alone.counters() - before;
    assert_eq!((during.pipelines, during.allocations), (0, 0), "{during}");
    assert!(during.dispatches > 5 && during.uploaded > 0 && during.submissions > 0, "{during}");
    assert_eq!(during.downloaded, first.len() as u64 * 4);
}

#[test]
fn a_new_scalar_and_a_new_shape_compile_nothing() {
    let Some([gpu, _]) = cards() else { return };
    let program = Program::new(|p| p.input(0) * p.scalar(0) + p.input(1) * 0.123);
    let run = |rate: f64, channels: usize, width: usize| {
        let shape = Shape::new(2, channels, 1, 4, width);
        let (x, bias) = (Array::whole(shape, 1), Array::whole(Shape::new(1, channels, 1, 1, 1), 2));
        let (device_x, device_bias) = (x.upload(gpu), bias.upload(gpu));
        gpu.map(&program, &[rate], &[(&device_x, shape), (&device_bias, bias.shape)], shape);
    };
    run(0.1, 3, 5);
    let pipelines = gpu.0.pipelines_of(&program);
    assert_eq!(pipelines, 1);
    run(0.2, 3, 5);
    run(0.3, 4, 7);
    assert_eq!(gpu.0.pipelines_of(&program), 1);
}

#[test]
fn an_empty_tensor_is_nothing() {
    let Some([gpu, _]) = cards() else { return };
    let empty = Tensor::new(gpu, Shape::new(0, 3, 1, 1, 1), Vec::new());
    let sum = ops::sum(&[&empty], Shape::new(1, 3, 1, 1, 1), |p| p.input(0));
    assert_eq!(sum.to_vec().unwrap(), vec![0.0; 3]);
    assert_eq!(ops::map(&[&empty], |p| p.input(0) + 1.0).to_vec().unwrap(), Vec::<f32>::new());
}

/// Threads that share a card do not affect each other's results.
#[test]
fn several_threads_at_once() {
    let Some([gpu, _]) = cards() else { return };
    let work = |thread: usize| {
        let shape = Shape::new(1, 2, 1, 5, 7 + thread);
        for round in 0..10 {
            let x = Tensor::new(gpu, shape, (0..shape.len()).map(|i| (i + round) as f32).collect());
            let sum = ops::sum_all(&[&x], |p| p.input(0) + 1.0).item().unwrap();
            let count = shape.len();
            assert_eq!(sum as usize, count * (count - 1) / 2 + count * (round + 1));
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|thread| drop(scope.spawn(move || work(thread)))));
}
