//! Helpers for the tests of the operations: numbers, shapes, and the comparison with the reference.

mod extremes;
mod operations;

use std::sync::Arc;

use proptest::prelude::*;
use segcal_core::{Backend, Reference, Shape, View};

use super::isa::for_each_level;
use super::{Buffer, Cpu};

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

/// Checks that two lists of numbers agree to `tolerance`, relative to the larger of 1 and the exact value.
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

/// The same values, for the reference.
pub(super) fn exactly(x: &[f32]) -> Arc<Vec<f64>> {
    Reference.upload(x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>())
}

/// Shapes of about `most` elements at most, some of them 2-D, some with extents of 1.
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

/// Compares an operation with the reference, for every instruction set and number of threads; the bits must not depend
/// on either. `fast` and `slow` receive the same inputs.
fn compare<const N: usize>(
    inputs: &[(Vec<f32>, Shape); N],
    tolerance: f64,
    fast: impl Fn(&Cpu, [View<'_, Cpu>; N]) -> Vec<Buffer>,
    slow: impl Fn([View<'_, Reference>; N]) -> Vec<Arc<Vec<f64>>>,
) {
    let exact: [_; N] = std::array::from_fn(|i| exactly(&inputs[i].0));
    let exact = slow(std::array::from_fn(|i| (&exact[i], inputs[i].1)));
    let mut first: Option<Vec<Vec<u32>>> = None;
    for_each_level(|_| {
        for cpu in counts_of_threads() {
            let buffers: [_; N] = std::array::from_fn(|i| cpu.upload(&inputs[i].0));
            let found = fast(&cpu, std::array::from_fn(|i| (&buffers[i], inputs[i].1)));
            assert_eq!(found.len(), exact.len());
            found.iter().zip(&exact).for_each(|(found, exact)| close(found, exact, tolerance));
            let bits: Vec<Vec<u32>> = found.iter().map(|y| y.iter().map(|y| y.to_bits()).collect()).collect();
            assert!(*first.get_or_insert_with(|| bits.clone()) == bits, "the bits differ");
        }
    });
}

fn input(shape: Shape, seed: u32) -> (Vec<f32>, Shape) {
    (numbers(shape.len(), seed), shape)
}

/// Sets the axes in the bit mask to 1.
fn masked(shape: Shape, mask: u8) -> Shape {
    Shape::from_dims(std::array::from_fn(|axis| if mask >> axis & 1 == 1 { 1 } else { shape.dims()[axis] }))
}
