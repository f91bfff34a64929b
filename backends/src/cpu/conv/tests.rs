//! Compares the fast paths with plain loops in f64.

use std::sync::Arc;

use super::{Operation, Path, conv_by, conv_transpose_by, conv_weight_by, path};
use crate::cpu::isa::Level;
use segcal_core::{Geometry, Shape};

/// One convolution with random numbers.
struct Case {
    xs: Shape,
    ws: Shape,
    ys: Shape,
    g: Geometry,
    x: Vec<f32>,
    w: Vec<f32>,
    y: Vec<f32>,
}

/// A small random generator: the tests need only variety.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 ^ self.0 >> 31) >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.next() % 2001) as f32 / 1000.0 - 1.0).collect()
    }
}

impl Case {
    fn new(random: &mut Random, xs: Shape, ws: Shape, g: Geometry) -> Option<Self> {
        let ys = g.output(xs, ws)?;
        let (x, w, y) = (random.numbers(xs.len()), random.numbers(ws.len()), random.numbers(ys.len()));
        Some(Self { xs, ws, ys, g, x, w, y })
    }

    /// Any geometry.
    fn any(random: &mut Random) -> Option<Self> {
        let groups = random.pick(&[1, 1, 1, 2, 3]);
        let (ins, outs) = (1 + random.below(10), 1 + random.below(13));
        let kernel: [usize; 3] = std::array::from_fn(|_| 1 + random.below(4));
        let flat = random.below(2) == 0;
        let spatial: [usize; 3] = std::array::from_fn(|a| if a == 0 && flat { 1 } else { 1 + random.below(14) });
        let g = Geometry {
            stride: std::array::from_fn(|_| random.pick(&[1, 1, 2, 3])),
            pad: std::array::from_fn(|_| random.below(4)),
            dilation: std::array::from_fn(|_| random.pick(&[1, 1, 2, 3])),
            groups,
        };
        let xs = Shape::new(1 + random.below(3), ins * groups, 1, 1, 1).with_spatial(spatial);
        let ws = Shape::new(outs * groups, ins, 1, 1, 1).with_spatial(kernel);
        Self::new(random, xs, ws, g)
    }

    /// Calls `f` with the offsets in `x`, `w` and `y` of every product.
    fn products(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (per_in, per_out, taps) = (self.ws.c(), self.ws.n() / self.g.groups, self.ws.voxels());
        let kernel: Vec<_> = (0..taps).map(|t| self.ws.coordinate(t)).collect();
        let place = |a: usize, o: usize, t: usize| {
            let place = (o * self.g.stride[a] + t * self.g.dilation[a]).checked_sub(self.g.pad[a])?;
            (place < self.xs.spatial()[a]).then_some(place)
        };
        for yi in 0..self.ys.len() {
            let [n, o, od, oh, ow] = self.ys.coordinate(yi);
            for (t, &[_, _, td, th, tw]) in kernel.iter().enumerate() {
                let (Some(d), Some(h), Some(w)) = (place(0, od, td), place(1, oh, th), place(2, ow, tw)) else {
                    continue;
                };
                let xi = self.xs.offset([n, o / per_out * per_in, d, h, w]);
                for c in 0..per_in {
                    f(xi + c * self.xs.voxels(), (o * per_in + c) * taps + t, yi);
                }
            }
        }
    }

    /// The three results in f64, each with the sum of the products' magnitudes: the scale of its rounding.
    fn reference(&self) -> [Vec<(f64, f64)>; 3] {
        let [mut ys, mut xs, mut ws] = [self.ys.len(), self.xs.len(), self.ws.len()].map(|len| vec![(0.0, 0.0); len]);
        let add = |sum: &mut (f64, f64), product: f64| {
            sum.0 += product;
            sum.1 += product.abs();
        };
        self.products(|xi, wi, yi| {
            let (x, w, y) = (self.x[xi] as f64, self.w[wi] as f64, self.y[yi] as f64);
            add(&mut ys[yi], x * w);
            add(&mut xs[xi], y * w);
            add(&mut ws[wi], x * y);
        });
        [ys, xs, ws]
    }

    /// The three results at a level, from outputs full of NaN.
    fn fast(&self, path: Path, level: Level) -> [Vec<f32>; 3] {
        let [mut y, mut x, mut w] = [self.ys.len(), self.xs.len(), self.ws.len()].map(|len| vec![f32::NAN; len]);
        let memory = Arc::default();
        conv_by(&memory, path, level, (&self.x, self.xs), (&self.w, self.ws), &self.g, (&mut y, self.ys));
        conv_transpose_by(&memory, path, level, (&self.y, self.ys), (&self.w, self.ws), &self.g, (&mut x, self.xs));
        conv_weight_by(&memory, path, level, (&self.x, self.xs), (&self.y, self.ys), &self.g, (&mut w, self.ws));
        [y, x, w]
    }

    fn assert_same_bits_on_any_threads(&self, path: Path) {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| self.fast(path, Level::best()).map(|v| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>()))
        };
        assert_eq!(run(1), run(5), "{path:?}");
    }

    /// The rounding error of each result, root mean square over the root mean square of the exact values.
    fn spread(&self, path: Path, level: Level) -> [f64; 3] {
        let reference = self.reference();
        let fast = self.fast(path, level);
        std::array::from_fn(|which| {
            let errors = fast[which].iter().zip(&reference[which]).map(|(&v, &(exact, _))| (v as f64 - exact).powi(2));
            let exact: f64 = reference[which].iter().map(|(exact, _)| exact.powi(2)).sum();
            (errors.sum::<f64>() / exact).sqrt()
        })
    }

    /// For each element of the three results, Winograd's bound without its constant: the length `K + 30` of the sum
    /// over channels or positions, times the sum of the magnitudes of one factor; those of the other are at most 1.
    fn winograd_scale(&self) -> [Vec<f64>; 3] {
        let magnitude = |v: &[f32]| v.iter().map(|x| x.abs() as f64).sum::<f64>();
        let (depth, row, taps) = (self.ws.spatial()[0], self.ws.c() * self.ws.voxels(), self.ws.voxels());
        let out = |o: usize| (depth * self.ws.c() + 30) as f64 * magnitude(&self.w[o * row..][..row]);
        let kernels = |c: usize| self.w.chunks(taps).skip(c).step_by(self.ws.c());
        let input = |c: usize| (depth * self.ws.n() + 30) as f64 * kernels(c).map(magnitude).sum::<f64>();
        let maps = |o: usize| self.y.chunks(self.ys.voxels()).skip(o).step_by(self.ys.c());
        let places = self.ys.n() * self.ys.voxels() + 30;
        let weight = |o: usize| places as f64 * maps(o).map(magnitude).sum::<f64>();
        let outs: Vec<f64> = (0..self.ws.n()).map(out).collect();
        let ins: Vec<f64> = (0..self.ws.c()).map(input).collect();
        let weights: Vec<f64> = (0..self.ws.n()).map(weight).collect();
        [
            (0..self.ys.len()).map(|i| outs[self.ys.coordinate(i)[1]]).collect(),
            (0..self.xs.len()).map(|i| ins[self.xs.coordinate(i)[1]]).collect(),
            (0..self.ws.len()).map(|i| weights[i / row]).collect(),
        ]
    }

    /// Asserts Winograd's documented bound.
    fn check_winograd(&self) {
        let (reference, scale) = (self.reference(), self.winograd_scale());
        for level in Level::available() {
            for (which, fast) in self.fast(Path::Winograd, level).iter().enumerate() {
                for (i, &value) in fast.iter().enumerate() {
                    let exact = reference[which][i].0;
                    let bound = 157.0 * 2f64.powi(-24) * scale[which][i];
                    assert!(
                        (value as f64 - exact).abs() <= bound,
                        "{level:?} {which}[{i}] = {value}, exact {exact}; x {} w {} {:?}",
                        self.xs,
                        self.ws,
                        self.g
                    );
                }
            }
        }
    }

    /// Asserts that every result is within `units` of 2^-24 times its scale.
    fn check(&self, path: Path, units: f64) {
        let reference = self.reference();
        for level in Level::available() {
            for (name, (fast, exact)) in ["y", "x", "w"].iter().zip(self.fast(path, level).iter().zip(&reference)) {
                for (i, (&value, &(exact, scale))) in fast.iter().zip(exact).enumerate() {
                    let error = (value as f64 - exact).abs();
                    assert!(
                        error <= units * scale * 2f64.powi(-24),
                        "{level:?} {name}[{i}] = {value}, exact {exact}; x {} w {} {:?}",
                        self.xs,
                        self.ws,
                        self.g
                    );
                }
            }
        }
    }
}

#[test]
fn any_geometry_equals_the_plain_loops() {
    let mut random = Random(1);
    let mut cases = 0;
    while cases < 200 {
        if let Some(case) = Case::any(&mut random) {
            case.check(
                Path::Direct,
                2.0 * (case.ws.voxels() * case.ws.c().max(case.ws.n())).max(case.ys.voxels()) as f64,
            );
            cases += 1;
        }
    }
}

#[test]
fn windows_side_by_side_equal_the_plain_loops() {
    let mut random = Random(7);
    for stride in [[1, 2, 2], [2, 2, 2], [1, 4, 4], [1, 1, 3], [2, 1, 1], [1, 3, 2]] {
        for groups in [1, 2] {
            let spatial = std::array::from_fn(|a| stride[a] * (3 + random.below(20)) + random.below(2));
            let xs = Shape::new(2, 3 * groups, 1, 1, 1).with_spatial(spatial);
            let ws = Shape::new(5 * groups, 3, 1, 1, 1).with_spatial(stride);
            let g = Geometry { stride, groups, ..Geometry::VALID };
            let case = Case::new(&mut random, xs, ws, g).unwrap();
            case.check(Path::Direct, 2.0 * (ws.voxels() * ws.n()).max(case.ys.voxels()) as f64);
        }
    }
}

/// Enough channels for the matrix product, and enough images for a task to have all output channels; the same bits for
/// any number of threads.
#[test]
fn many_channels_side_by_side_equal_the_plain_loops() {
    let mut random = Random(8);
    for (stride, spatial) in [([1; 3], [1, 9, 11]), ([1, 2, 2], [1, 9, 12]), ([2, 2, 2], [4, 6, 5])] {
        let (xs, ws) = (Shape::new(32, 70, 1, 1, 1).with_spatial(spatial), Shape::new(67, 70, 1, 1, 1));
        let ws = ws.with_spatial(stride);
        let case = Case::new(&mut random, xs, ws, Geometry { stride, ..Geometry::VALID }).unwrap();
        case.check(Path::Direct, 2.0 * (ws.voxels() * ws.c().max(ws.n())).max(case.ys.voxels()) as f64);
        case.assert_same_bits_on_any_threads(Path::Direct);
    }
}

#[test]
fn wide_maps_are_tiled() {
    let mut random = Random(2);
    for (xs, ws, pad) in [
        (Shape::new(2, 40, 1, 70, 67), Shape::new(9, 40, 1, 3, 3), [0, 1, 1]),
        (Shape::new(1, 17, 9, 40, 33), Shape::new(5, 17, 3, 3, 3), [1, 1, 1]),
        (Shape::new(1, 3, 1, 300, 200), Shape::new(1, 3, 1, 1, 1), [0, 0, 0]),
    ] {
        let case = Case::new(&mut random, xs, ws, Geometry { pad, ..Geometry::VALID }).unwrap();
        case.check(Path::Direct, 2.0 * (ws.voxels() * ws.c() + 2000) as f64);
    }
}

#[test]
fn winograd_equals_the_plain_loops() {
    let mut random = Random(4);
    for round in 0..30 {
        let depth = if round % 3 == 0 { 1 + random.below(3) } else { 1 };
        let d = if depth == 1 { 1 } else { 1 + random.below(5) };
        let channels = |random: &mut Random| random.pick(&[1, 3, 8, 16, 19, 32, 35]);
        let ins = channels(&mut random);
        let xs = Shape::new(1 + random.below(2), ins, d, 1 + random.below(20), 1 + random.below(25));
        let ws = Shape::new(channels(&mut random), ins, depth, 3, 3);
        let g = Geometry { pad: std::array::from_fn(|_| random.below(4)), ..Geometry::VALID };
        if let Some(case) = Case::new(&mut random, xs, ws, g) {
            case.check_winograd();
        }
    }
}

#[test]
fn winograd_in_blocks_and_chunks() {
    let mut random = Random(6);
    for (xs, ws) in [
        // Several blocks and strips; a single block with more channels than are held; slices in a ring.
        (Shape::new(2, 4, 1, 21, 150), Shape::new(3, 4, 1, 3, 3)),
        (Shape::new(2, 150, 1, 4, 5), Shape::new(70, 150, 1, 3, 3)),
        (Shape::new(1, 17, 20, 9, 10), Shape::new(18, 17, 3, 3, 3)),
    ] {
        Case::new(&mut random, xs, ws, Geometry::same(ws.spatial())).unwrap().check_winograd();
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let mut random = Random(3);
    let (xs, ws) = (Shape::new(3, 24, 1, 40, 37), Shape::new(20, 24, 1, 3, 3));
    let case = Case::new(&mut random, xs, ws, Geometry::same([1, 3, 3])).unwrap();
    for path in [Path::Direct, Path::Winograd] {
        case.assert_same_bits_on_any_threads(path);
    }
}

#[test]
fn the_typical_error_is_that_of_the_docs() {
    let mut random = Random(5);
    for (xs, outs, most) in [(Shape::new(2, 16, 1, 24, 24), 16, 8e-7), (Shape::new(2, 64, 1, 16, 16), 32, 9e-7)] {
        let ws = Shape::new(outs, xs.c(), 1, 3, 3);
        let case = Case::new(&mut random, xs, ws, Geometry::same([1, 3, 3])).unwrap();
        for level in Level::available() {
            let (direct, winograd) = (case.spread(Path::Direct, level), case.spread(Path::Winograd, level));
            assert!(winograd.iter().all(|&error| error < most), "{level:?} {winograd:?}");
            assert!(winograd.iter().zip(direct).take(2).all(|(w, d)| *w < 3.0 * d), "{winograd:?} {direct:?}");
        }
    }
}

#[test]
fn the_path_is_chosen_by_shape() {
    let maps = Shape::new(2, 16, 1, 24, 24);
    let same = Geometry::same([1, 3, 3]);
    let of = |outs, ins, k: [usize; 3], g: &Geometry, maps| {
        path(Operation::Map, Shape::new(outs, ins, 1, 1, 1).with_spatial(k), g, maps)
    };
    assert_eq!(of(16, 16, [1, 3, 3], &same, maps), Path::Winograd);
    assert_eq!(of(16, 16, [3, 3, 3], &Geometry::same([3; 3]), maps), Path::Winograd);
    assert_eq!(of(16, 1, [1, 3, 3], &same, maps), Path::Direct);
    assert_eq!(of(16, 16, [1, 5, 5], &same, maps), Path::Direct);
    assert_eq!(of(16, 16, [1, 3, 3], &Geometry { stride: [1, 2, 2], ..same }, maps), Path::Direct);
    assert_eq!(of(16, 16, [1, 3, 3], &Geometry { groups: 2, ..same }, maps), Path::Direct);
    assert_eq!(of(16, 16, [1, 3, 3], &same, maps.with_spatial([1, 2, 2])), Path::Direct);
}
