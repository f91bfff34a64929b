//! The fast paths against plain loops in f64.

use super::simd::Level;
use super::{Path, conv_by, conv_transpose_by, conv_weight_by};
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

/// A small generator: the tests need nothing but variety.
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

    /// Calls `f` with the places in `x`, `w` and `y` of every product.
    fn products(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (per_in, per_out) = (self.ws.c(), self.ws.n() / self.g.groups);
        for yi in 0..self.ys.len() {
            let [n, o, od, oh, ow] = self.ys.coordinate(yi);
            for c in 0..per_in {
                for t in 0..self.ws.voxels() {
                    let [_, _, td, th, tw] = self.ws.coordinate(t);
                    let place = |a: usize, o: usize, t: usize| {
                        let place = (o * self.g.stride[a] + t * self.g.dilation[a]).checked_sub(self.g.pad[a])?;
                        (place < self.xs.spatial()[a]).then_some(place)
                    };
                    let (Some(d), Some(h), Some(w)) = (place(0, od, td), place(1, oh, th), place(2, ow, tw)) else {
                        continue;
                    };
                    let xi = self.xs.offset([n, o / per_out * per_in + c, d, h, w]);
                    f(xi, (o * per_in + c) * self.ws.voxels() + t, yi);
                }
            }
        }
    }

    /// The three results in f64, each with the sum of the products' magnitudes: the scale of its rounding.
    fn reference(&self) -> [Vec<(f64, f64)>; 3] {
        let mut out = [self.ys.len(), self.xs.len(), self.ws.len()].map(|len| vec![(0.0, 0.0); len]);
        let mut add = |which: usize, at: usize, product: f64| {
            out[which][at].0 += product;
            out[which][at].1 += product.abs();
        };
        self.products(|xi, wi, yi| {
            let (x, w, y) = (self.x[xi] as f64, self.w[wi] as f64, self.y[yi] as f64);
            add(0, yi, x * w);
            add(1, xi, y * w);
            add(2, wi, x * y);
        });
        out
    }

    /// The three results at a level, from outputs full of NaN.
    fn fast(&self, path: Path, level: Level) -> [Vec<f32>; 3] {
        let [mut y, mut x, mut w] = [self.ys.len(), self.xs.len(), self.ws.len()].map(|len| vec![f32::NAN; len]);
        conv_by(path, level, (&self.x, self.xs), (&self.w, self.ws), &self.g, (&mut y, self.ys));
        conv_transpose_by(path, level, (&self.y, self.ys), (&self.w, self.ws), &self.g, (&mut x, self.xs));
        conv_weight_by(path, level, (&self.x, self.xs), (&self.y, self.ys), &self.g, (&mut w, self.ws));
        [y, x, w]
    }

    /// Prints the errors of Winograd.
    fn compare(&self) {
        let reference = self.reference();
        for level in Level::available() {
            for (name, (fast, exact)) in
                ["y", "x", "w"].iter().zip(self.fast(Path::Winograd, level).iter().zip(&reference))
            {
                let mut worst = (0.0f64, 0.0f64);
                for (&value, &(exact, scale)) in fast.iter().zip(exact) {
                    worst.0 = worst.0.max((value as f64 - exact).abs());
                    assert!(value.is_finite());
                    worst.1 = worst.1.max(scale);
                }
                let units = worst.0 / worst.1 * 2f64.powi(24);
                assert!(units < 60.0, "{level:?} {name} {units} {} {} {:?}", self.xs, self.ws, self.g);
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
    while cases < 300 {
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
    for round in 0..60 {
        let depth = if round % 3 == 0 { 1 + random.below(3) } else { 1 };
        let d = if depth == 1 { 1 } else { 1 + random.below(7) };
        let xs = Shape::new(1 + random.below(3), 1 + random.below(40), d, 1 + random.below(30), 1 + random.below(40));
        let ws = Shape::new(1 + random.below(40), xs.c(), depth, 3, 3);
        let g = Geometry { pad: std::array::from_fn(|_| random.below(4)), ..Geometry::VALID };
        if let Some(case) = Case::new(&mut random, xs, ws, g) {
            case.compare();
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let mut random = Random(3);
    let (xs, ws) = (Shape::new(3, 24, 1, 40, 37), Shape::new(20, 24, 1, 3, 3));
    let case = Case::new(&mut random, xs, ws, Geometry::same([1, 3, 3])).unwrap();
    for path in [Path::Direct, Path::Winograd] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| case.fast(path, Level::best()).map(|v| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>()))
        };
        assert_eq!(run(1), run(5), "{path:?}");
    }
}
