//! Compares every method with the reference on random shapes: partial tiles, extents of 1, 1 to 70 channels.

use segcal_core::{Border, Fold, Geometry, Interpolation, Program, Rank, Sampling, Window, axis};

use super::*;

fn config() -> ProptestConfig {
    ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() }
}

struct Pointwise(Program, Shape);

impl Call for Pointwise {
    fn call<B: Backend>(&self, backend: &B, views: &[View<'_, B>]) -> Vec<B::Buffer> {
        backend.map(&self.0, &[3.0, -2.0], views, self.1)
    }
}

struct Reduction(Fold, Program, Shape, Shape);

impl Call for Reduction {
    fn call<B: Backend>(&self, backend: &B, views: &[View<'_, B>]) -> Vec<B::Buffer> {
        backend.reduce(self.0, &self.1, &[3.0, -2.0], views, self.2, self.3)
    }
}

/// A program with three inputs and two outputs, which are integers for integer inputs.
fn program() -> Program {
    Program::with_outputs(|p| {
        let (a, b, c) = (p.input(0), p.input(1), p.input(2));
        let sum = a * b + c * p.scalar(0) - p.coord(axis::H);
        vec![sum.max(p.scalar(1)), a.lt(b).select(c, p.coord(axis::C) - p.coord(axis::W) * 2.0)]
    })
}

/// The domain with the axes in `kept` as they are and the others 1.
fn part(domain: Shape, kept: [bool; 5]) -> Shape {
    Shape::from_dims(std::array::from_fn(|axis| if kept[axis] { domain.dims()[axis] } else { 1 }))
}

fn inputs(domain: Shape, kept: [[bool; 5]; 2]) -> Vec<Array> {
    let shapes = [domain, part(domain, kept[0]), part(domain, kept[1])];
    shapes.iter().zip(0..).map(|(&shape, seed)| Array::whole(shape, seed)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..config() })]

    #[test]
    fn map(n in 1..4usize, c in 1..70usize, [d, h, w] in extents(5), kept: [[bool; 5]; 2]) {
        let domain = Shape::new(n, c, d, h, w);
        compare(&Pointwise(program(), domain), &inputs(domain, kept), 0.0);
    }

    #[test]
    fn reduce(n in 1..4usize, c in 1..70usize, [d, h, w] in extents(6), kept: [[bool; 5]; 2], out: [bool; 5]) {
        let (domain, out) = (Shape::new(n, c, d, h, w), part(Shape::new(n, c, d, h, w), out));
        for fold in [Fold::Sum, Fold::Max] {
            compare(&Reduction(fold, program(), domain, out), &inputs(domain, kept), 0.0);
        }
    }
}

/// Sums with enough terms for blocks to be folded twice, by both shaders.
#[test]
fn reductions_of_many_terms() {
    let sum = Program::new(|p| p.input(0) * p.input(0));
    for domain in [Shape::new(1, 2, 1, 300, 301), Shape::new(3, 1, 9001, 1, 2)] {
        for out in [Shape::SCALAR, domain.with(axis::H, 1).with(axis::D, 1)] {
            let (sums, largest) = ((Fold::Sum, sum.clone()), (Fold::Max, sum.clone()));
            for (fold, program) in [sums, largest] {
                compare(&Reduction(fold, program, domain, out), &[Array::whole(domain, 1)], 0.0);
            }
        }
    }
}

struct Layout(Shape, [usize; 5], Shape);

impl Call for Layout {
    fn call<B: Backend>(&self, backend: &B, views: &[View<'_, B>]) -> Vec<B::Buffer> {
        let cut = backend.slice(views[0], self.1, self.2);
        let twice = backend.place(&[(views[0], [0; 5]), ((&cut, self.2), self.1)], self.0);
        let alone = backend.place(&[((&cut, self.2), self.1)], self.0);
        vec![cut, twice, alone]
    }
}

struct Convolutions(Geometry, [Shape; 3]);

impl Call for Convolutions {
    fn call<B: Backend>(&self, backend: &B, views: &[View<'_, B>]) -> Vec<B::Buffer> {
        let [x_shape, w_shape, y_shape] = self.1;
        vec![
            backend.conv(views[0], views[1], &self.0, y_shape),
            backend.conv_transpose(views[2], views[1], &self.0, x_shape),
            backend.conv_weight(views[0], views[2], &self.0, w_shape),
        ]
    }
}

fn geometry() -> impl Strategy<Value = Geometry> {
    let three = |range: std::ops::Range<usize>| proptest::array::uniform3(range);
    (three(1..4), three(0..3), three(1..4), 1..4usize).prop_map(|(stride, pad, dilation, groups)| Geometry {
        stride,
        pad,
        dilation,
        groups,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..config() })]

    #[test]
    fn slice_and_place(outer in proptest::array::uniform5(1..7usize), seed: [usize; 5], size: [usize; 5]) {
        let start: [usize; 5] = std::array::from_fn(|axis| seed[axis] % outer[axis]);
        let inner = std::array::from_fn(|axis| 1 + size[axis] % (outer[axis] - start[axis]));
        let outer = Shape::from_dims(outer);
        compare(&Layout(outer, start, Shape::from_dims(inner)), &[Array::whole(outer, 5)], 0.0);
    }

    #[test]
    fn convolutions(
        geometry in geometry(),
        n in 1..3usize,
        channels in proptest::array::uniform2(1..70usize),
        kernel in extents(3),
        spatial in extents(9),
    ) {
        let [inputs, outputs] = channels.map(|count| count.div_ceil(geometry.groups));
        let [d, h, w] = spatial;
        let x = Shape::new(n, inputs * geometry.groups, d, h, w);
        let weight = Shape::new(outputs * geometry.groups, inputs, kernel[0], kernel[1], kernel[2]);
        if let Some(y) = geometry.output(x, weight) {
            let arrays = [Array::whole(x, 1), Array::whole(weight, 2), Array::whole(y, 3)];
            compare(&Convolutions(geometry, [x, weight, y]), &arrays, 0.0);
        }
    }
}

/// Every method on tensors that take several bindings each.
#[test]
fn tensors_above_one_binding() {
    let Some([_, narrow]) = cards() else { return };
    let shape = Shape::new(2, 3, 3, 14, 15);
    let whole = |shape| Array::whole(shape, 1);
    let both = [whole(shape), Array::whole(shape, 2), whole(shape)];
    compare_on(narrow, &Pointwise(program(), shape), &both, 0.0);
    for out in [shape.with(axis::N, 1), shape.with(axis::W, 1)] {
        compare_on(narrow, &Reduction(Fold::Sum, program(), shape, out), &both, 0.0);
    }
    compare_on(narrow, &Layout(shape, [0, 0, 1, 0, 2], Shape::new(2, 3, 2, 14, 13)), &[whole(shape)], 0.0);
    let (weight, geometry) = (Shape::new(25, 3, 3, 3, 3), Geometry::same([3; 3]));
    let out = geometry.output(shape, weight).unwrap();
    let arrays = [whole(shape), whole(weight), whole(out)];
    compare_on(narrow, &Convolutions(geometry, [shape, weight, out]), &arrays, 0.0);
    let window = Window { size: [2, 3, 2], stride: [1, 1, 2] };
    compare_on(narrow, &Pooling(window, shape, window.output(shape).unwrap()), &[whole(shape)], 0.0);
    let (flip, shift) = ([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.5], [0.0, 1.0, 0.0, 0.0]], [0.25; 3]);
    let mixed = Sampling { matrix: flip, interpolation: Interpolation::Linear, border: Border::Clamp };
    for sampling in [Sampling::axes([1.0; 3], shift, Interpolation::Linear), mixed] {
        compare_on(narrow, &Resampling(sampling, shape, shape), &both[..2], 0.0);
    }
    let bins = both[0].clone();
    compare_on(narrow, &Counting(5), &[bins, both[1].clone(), whole(shape)], 0.0);
    let mask = Array::new(shape, |i| f64::from(u8::from(i % 97 == 5)));
    compare_on(narrow, &Distances([1.5, 1.0, 0.5]), &[mask], DISTANCE_TOLERANCE);
}

/// Two roundings of the spacing and its square, one sum per axis, a root of 3 ULP.
const DISTANCE_TOLERANCE: f64 = 5.0 * f32::EPSILON as f64;

/// A sum over enough elements to be split into parts.
#[test]
fn the_weight_gradient_of_a_larger_image() {
    let (x, weight) = (Shape::new(2, 3, 1, 40, 41), Shape::new(5, 3, 1, 3, 3));
    let geometry = Geometry::same([1, 3, 3]);
    let y = geometry.output(x, weight).unwrap();
    let arrays = [Array::whole(x, 1), Array::whole(weight, 2), Array::whole(y, 3)];
    compare(&Convolutions(geometry, [x, weight, y]), &arrays, 0.0);
}

struct Pooling(Window, Shape, Shape);

impl Call for Pooling {
    fn call<B: Backend>(&self, backend: &B, views: &[View<'_, B>]) -> Vec<B::Buffer> {
        let (y, index) = backend.max_pool(views[0], &self.0, self.2);
        let back = backend.max_unpool((&y, self.2), (&index, self.2), &self.0, self.1);
        let median = backend.rank_filter(views[0], self.0.size, Rank::Nth(self.0.len() / 2), self.out());
        let mode = backend.rank_filter(views[0], self.0.size, Rank::Mode, self.out());
        vec![y, index, back, median, mode]
    }
}

impl Pooling {
    fn out(&self) -> Shape {
        Window::sliding(self.0.size).output(self.1).unwrap()
    }
}

struct Resampling(Sampling, Shape, Shape);

impl Call for Resampling {
    fn call<B: Backend>(&self, backend: &B, views: &[View<'_, B>]) -> Vec<B::Buffer> {
        let y = backend.resample(views[0], &self.0, self.2);
        let back = backend.resample_adjoint(views[1], &self.0, self.1);
        vec![y, back]
    }
}

struct Counting(usize);

impl Call for Counting {
    fn call<B: Backend>(&self, backend: &B, views: &[View<'_, B>]) -> Vec<B::Buffer> {
        let mut sums = backend.bincount(views[0], &[views[1], views[2]], self.0);
        let table = Shape::SCALAR.with(axis::W, self.0);
        let taken = backend.take((&sums[0], table), views[0]);
        sums.push(taken);
        sums
    }
}

struct Distances([f64; 3]);

impl Call for Distances {
    fn call<B: Backend>(&self, backend: &B, views: &[View<'_, B>]) -> Vec<B::Buffer> {
        vec![backend.distance(views[0], self.0)]
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn pools_and_ranks(
        n in 1..3usize,
        c in 1..9usize,
        spatial in extents(9),
        size in extents(4),
        stride in extents(4),
    ) {
        let [d, h, w] = std::array::from_fn(|axis| spatial[axis].max(size[axis]));
        let (x, window) = (Shape::new(n, c, d, h, w), Window { size, stride });
        compare(&Pooling(window, x, window.output(x).unwrap()), &[Array::whole(x, 3)], 0.0);
    }

    /// Multiples of 1/4 have exact weights.
    #[test]
    fn resampling_along_each_axis(
        c in 1..9usize,
        spatial in [extents(6), extents(9)],
        quarters in [proptest::array::uniform3(-6..9i32), proptest::array::uniform3(-9..9i32)],
        linear: bool,
        clamp: bool,
    ) {
        let [scale, offset] = quarters.map(|axes| axes.map(|quarter| f64::from(quarter) / 4.0));
        let interpolation = if linear { Interpolation::Linear } else { Interpolation::Nearest };
        let border = if clamp { Border::Clamp } else { Border::Zero };
        let sampling = Sampling { border, ..Sampling::axes(scale, offset, interpolation) };
        let [x, y] = spatial.map(|[d, h, w]| Shape::new(2, c, d, h, w));
        compare(&Resampling(sampling, x, y), &[Array::whole(x, 1), Array::whole(y, 2)], 0.0);
    }

    #[test]
    fn resampling_along_a_matrix(
        spatial in [extents(6), extents(7)],
        quarters in proptest::array::uniform12(-6..7i32),
        linear: bool,
        clamp: bool,
    ) {
        let mut matrix = [[0.0; 4]; 3];
        for (number, quarter) in quarters.into_iter().enumerate() {
            matrix[number / 4][number % 4] = f64::from(quarter) / 4.0;
        }
        let interpolation = if linear { Interpolation::Linear } else { Interpolation::Nearest };
        let border = if clamp { Border::Clamp } else { Border::Zero };
        let [x, y] = spatial.map(|[d, h, w]| Shape::new(1, 3, d, h, w));
        let sampling = Sampling { matrix, interpolation, border };
        compare(&Resampling(sampling, x, y), &[Array::whole(x, 1), Array::whole(y, 2)], 0.0);
    }

    #[test]
    fn counts(len in 1..9000usize, count in prop_oneof![1..20usize, 200..600usize]) {
        let shape = Shape::new(1, 1, 1, 1, len);
        let between = |i: u64| if i.is_multiple_of(11) { 0.5 } else { 0.0 };
        let bins = Array::new(shape, |i| (i * 31 % (count as u64 + 3)) as f64 - 1.0 + between(i));
        compare(&Counting(count), &[bins, Array::whole(shape, 1), Array::new(shape, |_| 1.0)], 0.0);
    }

    #[test]
    fn distances(
        n in 1..3usize,
        [d, h, w] in extents(9),
        rare in 1..60u64,
        spacing in proptest::array::uniform3(0.5..3.0f64),
    ) {
        let mask = Array::new(Shape::new(n, 2, d, h, w), |i| f64::from(u8::from(i * 2_654_435_761 % 61 >= rare)));
        compare(&Distances(spacing), &[mask], DISTANCE_TOLERANCE);
    }
}
