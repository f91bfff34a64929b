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
