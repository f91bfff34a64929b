//! Tests of the GPU backend beyond the suites that every backend passes (those run in the crate `segcal-tests`).
//!
//! They use integers wherever sums are involved: their sums are exact in f32 in any order, so the results of the GPU
//! must equal those of the reference. Every buffer is followed by guard words that the download checks.

mod device;
mod faults;
mod methods;
mod profile;
mod shaders;
mod winograd;

use std::sync::OnceLock;

use proptest::prelude::*;
use segcal_core::{Backend, Reference, Shape, View};

use super::context::Context;
use super::{Buffer, Gpu, Limits, Options, adapters};

const GUARD_WORDS: usize = 64;

/// The card limited to three workgroups along one axis, so that most dispatches take several rows of them, and the same
/// card with bindings so small that a tensor of a few thousand elements takes several; `None` and a message if there is
/// no card.
fn cards() -> Option<&'static [Gpu; 2]> {
    static CARDS: OnceLock<Option<[Gpu; 2]>> = OnceLock::new();
    let open = |binding_bytes: Option<u64>| {
        let adjust = |limits: &mut Limits| {
            limits.groups_per_axis = 3;
            limits.binding_bytes = binding_bytes.unwrap_or(limits.binding_bytes);
        };
        Gpu::restricted(None, GUARD_WORDS, adjust).unwrap()
    };
    let both = || {
        if adapters().is_empty() {
            eprintln!("skipped: no graphics card (mesa-vulkan-drivers and libvulkan1 make one in software)");
            return None;
        }
        Some([open(None), open(Some(8 << 10))])
    };
    CARDS.get_or_init(both).as_ref()
}

/// A card that is not shared with other tests, of whose memory `memory_percent` may be filled.
fn own(memory_percent: u8) -> Option<Gpu> {
    cards()?;
    let context = Context::open(&Options::default(), |_| {}, GUARD_WORDS, memory_percent).unwrap();
    Some(Gpu(context.into()))
}

/// Values with a shape, exact in f32.
#[derive(Clone, Debug)]
struct Array {
    shape: Shape,
    data: Vec<f64>,
}

impl Array {
    /// Integers from -4 to 4 that depend on the seed.
    fn whole(shape: Shape, seed: u64) -> Self {
        Self::new(shape, |i| ((i * 7919 + seed * 104_729) * 2_654_435_761 % (1 << 39) / 128 % 9) as f64 - 4.0)
    }

    fn new(shape: Shape, f: impl Fn(u64) -> f64) -> Self {
        Self { shape, data: (0..shape.len() as u64).map(f).collect() }
    }

    fn upload(&self, gpu: &Gpu) -> Buffer {
        gpu.upload(self.data.iter().map(|&value| value as f32).collect::<Vec<_>>())
    }
}

/// An operation to run on two backends with the same arrays.
trait Call {
    fn call<B: Backend>(&self, backend: &B, views: &[View<'_, B>]) -> Vec<B::Buffer>;
}

/// Runs a call on the reference and on the card; each number may deviate by `tolerance` times its magnitude.
fn compare(call: &impl Call, arrays: &[Array], tolerance: f64) {
    if let Some([gpu, _]) = cards() {
        compare_on(gpu, call, arrays, tolerance);
    }
}

fn compare_on(gpu: &Gpu, call: &impl Call, arrays: &[Array], tolerance: f64) {
    let host: Vec<_> = arrays.iter().map(|array| (Reference.upload(array.data.clone()), array.shape)).collect();
    let views: Vec<View<'_, Reference>> = host.iter().map(|(buffer, shape)| (buffer, *shape)).collect();
    let expected = call.call(&Reference, &views);
    let device: Vec<_> = arrays.iter().map(|array| (array.upload(gpu), array.shape)).collect();
    let views: Vec<View<'_, Gpu>> = device.iter().map(|(buffer, shape)| (buffer, *shape)).collect();
    let found = call.call(gpu, &views);
    assert_eq!(found.len(), expected.len());
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let found = gpu.download(found).unwrap();
        assert_eq!(found.len(), expected.len());
        for (place, (&found, &expected)) in found.iter().zip(expected.iter()).enumerate() {
            let deviation = (f64::from(found) - expected).abs();
            let within = deviation <= tolerance * expected.abs();
            assert!(within, "output {number}, place {place}: {found} instead of {expected}");
        }
    }
}

/// `[d, h, w]` with extents from 1 to the given one.
fn extents(most: usize) -> impl Strategy<Value = [usize; 3]> {
    proptest::array::uniform3(1..=most)
}
