//! Compares Winograd's algorithm with the direct sums of the reference, within its documented accuracy.

use segcal_core::Geometry;

use super::*;
use crate::gpu::winograd::Plan;

/// Numbers from -1 to 1 whose sums are rounded.
fn fractions(shape: Shape, seed: u64) -> Array {
    Array::new(shape, |i| {
        f64::from(((i * 7919 + seed * 104_729) * 2_654_435_761 % (1 << 31)) as f32 / (1u32 << 30) as f32) - 1.0
    })
}

/// Checks every output of both directions, `tiles` tiles at a time, and returns the root mean square error divided by
/// the root mean square of the result.
fn check(gpu: &Gpu, geometry: &Geometry, x: Shape, w: Shape, tiles: usize) -> [f64; 2] {
    let y = geometry.output(x, w).unwrap();
    let [xs, ws, ys] = [(x, 1), (w, 2), (y, 3)].map(|(shape, seed)| fractions(shape, seed));
    let [dx, dw, dy] = [&xs, &ws, &ys].map(|array| array.upload(gpu));
    let [hx, hw, hy] = [&xs, &ws, &ys].map(|array| Reference.upload(array.data.clone()));
    let mut plans = [Plan::forward(geometry, x, w, y), Plan::transpose(geometry, y, w, x)].map(Option::unwrap);
    plans.iter_mut().for_each(|plan| plan.held = 36 * (w.n() + w.c()) * tiles);
    let found = [plans[0].run(&gpu.0, "conv", &dx, &dw), plans[1].run(&gpu.0, "conv_transpose", &dy, &dw)];
    let expected =
        [Reference.conv((&hx, x), (&hw, w), geometry, y), Reference.conv_transpose((&hy, y), (&hw, w), geometry, x)];
    let depths = [w.c(), w.n()];
    std::array::from_fn(|way| {
        let found = gpu.download(&found[way]).unwrap();
        // No sum of weights is larger than this, and no sample larger than 1.
        let bound = 157.0 * (depths[way] + 45) as f64 / f64::from(1 << 24) * (9 * depths[way]) as f64;
        let (mut error, mut size) = (0.0, 0.0);
        for (place, (&found, &expected)) in found.iter().zip(expected[way].iter()).enumerate() {
            let deviation = f64::from(found) - expected;
            assert!(deviation.abs() <= bound, "way {way}, place {place}: {found} instead of {expected}");
            error += deviation * deviation;
            size += expected * expected;
        }
        (error / size).sqrt()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Partial tiles, maps of one voxel, padding that is narrower and wider than the kernel, several planes and
    /// bindings.
    #[test]
    fn both_directions(
        n in 1..4usize,
        channels in proptest::array::uniform2(1..30usize),
        [d, h, w] in extents(11),
        pad in proptest::array::uniform2(0..4usize),
        tiles in 1..40usize,
        narrow: bool,
    ) {
        let Some(cards) = cards() else { return Ok(()) };
        let geometry = Geometry { pad: [0, pad[0], pad[1]], ..Geometry::VALID };
        let (x, weight) = (Shape::new(n, channels[0], d.min(3), h, w), Shape::new(channels[1], channels[0], 1, 3, 3));
        if geometry.output(x, weight).is_some() {
            // The narrow bindings have room for the points of a few tiles.
            let tiles = if narrow { tiles.min(4) } else { tiles };
            for error in check(&cards[usize::from(narrow)], &geometry, x, weight, tiles) {
                prop_assert!(error < 2e-6, "{error:e}");
            }
        }
    }
}

/// 256 channels, from which the convolution uses this algorithm, with the documented root mean square error. The card
/// is not shared, because the test counts dispatches.
#[test]
fn many_channels_take_this_way_and_keep_the_documented_accuracy() {
    let Some(gpu) = &own(95) else { return };
    let (x, w) = (Shape::new(1, 256, 1, 6, 7), Shape::new(256, 256, 1, 3, 3));
    let geometry = Geometry::same([1, 3, 3]);
    for error in check(gpu, &geometry, x, w, 100) {
        assert!(error < 4e-6, "{error:e}");
    }
    let [xs, ws] = [fractions(x, 1).upload(gpu), fractions(w, 2).upload(gpu)];
    let before = gpu.counters();
    let y = gpu.conv((&xs, x), (&ws, w), &geometry, x);
    let back = gpu.conv_transpose((&xs, x), (&ws, w), &geometry, x);
    assert_eq!((gpu.counters() - before).dispatches, 8, "weight, samples, products, results, twice");
    let bits = |buffer: &Buffer| gpu.download(buffer).unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let directly = Plan::forward(&geometry, x, w, x).unwrap().run(&gpu.0, "conv", &xs, &ws);
    assert_eq!(bits(&y), bits(&directly));
    assert_eq!(bits(&back).len(), x.len());
}
