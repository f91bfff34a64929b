//! The differentiable operations of `core`, each at inputs away from its kinks.

use segcal_core::{
    Argument, Backend, Border, Geometry, Index, Interpolation, Opcode, Rng, Sampling, Shape, Smoothness, Tensor,
    Window, axis, ops, stable,
};

use super::Function;
use crate::suites::Array;

/// Every differentiable operation, with each way of calling it that has a gradient of its own.
pub fn functions<B: Backend>() -> Vec<Function<B>> {
    let families = [opcodes(), programs(), reductions(), layouts(), convolutions(), pooling(), resampling(), counts()];
    families.into_iter().flatten().chain(stable_forms()).chain(graphs()).collect()
}

const IMAGE: Shape = Shape::new(2, 3, 1, 4, 5);
const VOLUME: Shape = Shape::new(1, 2, 3, 4, 5);

fn normal(shape: Shape, seed: u64) -> Array {
    Array::normal(shape, Rng::new(seed))
}

fn between(shape: Shape, seed: u64, low: f64, high: f64) -> Array {
    Array::uniform(shape, Rng::new(seed), low, high)
}

/// Numbers of which any two differ by a tenth at least, none nearer to 0 than a twentieth.
fn separated(shape: Shape, seed: u64) -> Array {
    let order = Rng::new(seed).permutation(shape.len());
    let middle = 0.5 * (shape.len() - 1) as f64 + if shape.len() % 2 == 1 { 0.5 } else { 0.0 };
    Array::new(shape, order.into_iter().map(|place| 0.1 * (place as f64 - middle)))
}

/// Every opcode that has a derivative, at arguments where it has one.
fn opcodes<B: Backend>() -> Vec<Function<B>> {
    let differentiable = Opcode::ALL.iter().filter(|opcode| opcode.smoothness() != Smoothness::Steps);
    differentiable.map(|&opcode| opcode_function(opcode)).collect()
}

fn opcode_function<B: Backend>(opcode: Opcode) -> Function<B> {
    let argument = |(number, domain): (u64, Argument)| match (domain, opcode.smoothness()) {
        (Argument::Any, Smoothness::Smooth) => normal(IMAGE, number),
        (Argument::Any, _) => separated(IMAGE, number).map(|x| if number == 1 { x } else { 0.91 * x + 0.05 }),
        (Argument::NonNegative | Argument::NonZero, _) => between(IMAGE, number, 0.3, 3.0),
        (Argument::AboveMinusOne, _) => between(IMAGE, number, -0.7, 3.0),
    };
    let mut arguments: Vec<Array> =
        (1..).zip(&opcode.domain()[..opcode.arity()]).map(|(n, &d)| argument((n, d))).collect();
    // A condition has no gradient: it is a coordinate.
    let condition = opcode == Opcode::Select;
    if condition {
        arguments.remove(0);
    } else if opcode.smoothness() == Smoothness::Pieces {
        arguments = apart(arguments);
    }
    Function::new(opcode.name(), arguments, move |x| {
        let inputs: Vec<&Tensor<B>> = x.iter().collect();
        ops::map(&inputs, |p| {
            if condition {
                return opcode.apply([p.coord(axis::W) - 2.0, p.input(0), p.input(1)]);
            }
            opcode.apply([0, 1, 2].map(|i| p.input(i)))
        })
    })
}

/// The second of two arrays, moved away from the first where they nearly meet.
fn apart(mut arguments: Vec<Array>) -> Vec<Array> {
    let [first, second] = &mut arguments[..] else { return arguments };
    for (a, b) in first.data.iter().zip(&mut second.data) {
        if (*a - *b).abs() < 0.05 {
            *b = f64::from((*a + 0.1) as f32);
        }
    }
    arguments
}

fn programs<B: Backend>() -> Vec<Function<B>> {
    let scalar = |seed| normal(Shape::SCALAR, seed);
    let per_channel = |seed| normal(Shape::new(1, 3, 1, 1, 1), seed);
    vec![
        Function::new("map: affine per channel", vec![normal(IMAGE, 1), per_channel(2), per_channel(3)], |x| {
            ops::map(&[&x[0], &x[1], &x[2]], |p| (p.input(0) * p.input(1) + p.input(2)).tanh())
        }),
        Function::new(
            "map: outer product",
            vec![normal(Shape::new(2, 1, 1, 4, 1), 1), normal(Shape::new(1, 3, 1, 1, 5), 2)],
            |x| ops::map(&[&x[0], &x[1]], |p| p.input(0) * p.input(1)),
        ),
        Function::new("map: an input twice", vec![normal(IMAGE, 1), scalar(2)], |x| {
            ops::map(&[&x[0], &x[1], &x[0]], |p| p.input(0) * p.input(1) + p.input(2).square())
        }),
        Function::new(
            "map_over: larger domain, scalars, coordinates",
            vec![normal(Shape::new(2, 1, 1, 4, 5), 1), scalar(2)],
            |x| {
                ops::map_over(IMAGE, &[0.7], &[&x[0], &x[1]], |p| {
                    (p.input(0) * p.scalar(0) * p.coord(axis::C)).tanh() + p.input(1) * p.coord(axis::W)
                })
            },
        ),
        Function::new("maps: two outputs", vec![normal(IMAGE, 1), per_channel(2)], |x| {
            let both = ops::maps(IMAGE, &[], &[&x[0], &x[1]], |p| {
                let y = p.input(0) * p.input(1);
                vec![y.tanh(), y.square() + p.input(0)]
            });
            ops::map(&[&both[0], &both[1]], |p| p.input(0) * p.input(1))
        }),
        Function::new("maps: one output of two", vec![normal(IMAGE, 1), per_channel(2)], |x| {
            ops::maps(IMAGE, &[], &[&x[0], &x[1]], |p| vec![p.input(0), p.input(0) * p.input(1).exp()]).swap_remove(1)
        }),
        Function::new("sum_of", vec![normal(IMAGE, 1), normal(IMAGE, 2), normal(IMAGE, 3)], ops::sum_of),
        Function::new("reshape", vec![normal(IMAGE, 1)], |x| {
            ops::map(&[&x[0].reshape(Shape::new(1, 6, 2, 2, 5))], |p| p.input(0).square() + p.coord(axis::C))
        }),
    ]
}

fn reductions<B: Backend>() -> Vec<Function<B>> {
    let folds = [
        Shape::SCALAR,
        Shape::new(1, 3, 1, 1, 1),
        Shape::new(2, 1, 1, 4, 5),
        Shape::new(2, 3, 1, 1, 1),
        Shape::new(1, 1, 1, 1, 5),
        IMAGE,
    ];
    let sums = folds.map(|out| {
        let inputs = vec![normal(IMAGE, 1), normal(Shape::new(1, 3, 1, 1, 5), 2)];
        Function::new(format!("sum to {out}"), inputs, move |x| {
            ops::sum(&[&x[0], &x[1]], out, |p| (p.input(0) * p.input(1)).tanh() + p.input(0).square())
        })
    });
    let maxima = folds
        .map(|out| Function::new(format!("max to {out}"), vec![separated(IMAGE, 1)], move |x| ops::max(&x[0], out)));
    let whole = [
        Function::new("sum_all", vec![normal(IMAGE, 1)], |x: &[Tensor<B>]| {
            ops::sum_all(&[&x[0]], |p| p.input(0).exp())
        }),
        Function::new("mean_all", vec![normal(IMAGE, 1), normal(Shape::SCALAR, 2)], |x: &[Tensor<B>]| {
            ops::mean_all(&[&x[0], &x[1]], |p| p.input(0).square() * p.input(1))
        }),
    ];
    sums.into_iter().chain(maxima).chain(whole).collect()
}

fn layouts<B: Backend>() -> Vec<Function<B>> {
    let concat = |along: usize| {
        let inputs = vec![normal(VOLUME, 1), normal(VOLUME.with(along, 2), 2), normal(VOLUME.with(along, 1), 3)];
        Function::new(format!("concat along axis {along}"), inputs, move |x: &[Tensor<B>]| {
            ops::concat(&[&x[0], &x[1], &x[2]], along)
        })
    };
    let mut functions: Vec<Function<B>> = (0..5).map(concat).collect();
    functions.extend([
        Function::new("slice", vec![normal(VOLUME, 1)], |x| {
            ops::slice(&x[0], [0, 1, 1, 0, 2], Shape::new(1, 1, 2, 4, 2))
        }),
        Function::new("place, overlapping", vec![normal(IMAGE, 1), normal(Shape::new(1, 2, 1, 3, 3), 2)], |x| {
            let starts: [Index; 2] = [[0, 0, 0, 1, 1], [1, 1, 0, 2, 0]];
            ops::place(&[(&x[0], starts[0]), (&x[1], starts[1])], Shape::new(2, 3, 1, 6, 6))
        }),
        Function::new("place, one tensor twice", vec![normal(IMAGE, 1)], |x| {
            ops::place(&[(&x[0], [0; 5]), (&x[0], [0, 0, 0, 1, 2])], Shape::new(2, 3, 1, 5, 7))
        }),
        Function::new("pad", vec![normal(VOLUME, 1)], |x| ops::pad(&x[0], [1, 0, 2], [0, 3, 1])),
    ]);
    functions
}

/// Name, x, w, stride, pad, dilation, groups.
type Row = (&'static str, [usize; 5], [usize; 5], [usize; 3], [usize; 3], [usize; 3], usize);

#[rustfmt::skip]
const GEOMETRIES: &[Row] = &[
    ("3x3", [2, 3, 1, 5, 6], [4, 3, 1, 3, 3], [1; 3], [0, 1, 1], [1; 3], 1),
    ("3x3 of 14 channels", [1, 14, 1, 5, 6], [13, 14, 1, 3, 3], [1; 3], [0, 1, 1], [1; 3], 1),
    ("3x3x3", [1, 2, 3, 4, 5], [2, 2, 3, 3, 3], [1; 3], [1; 3], [1; 3], 1),
    ("2x2 stride 2", [1, 2, 1, 6, 4], [3, 2, 1, 2, 2], [1, 2, 2], [0; 3], [1; 3], 1),
    ("strided, dilated, a rest", [1, 2, 1, 8, 9], [2, 2, 1, 3, 2], [1, 2, 3], [0, 1, 0], [1, 2, 3], 1),
    ("groups", [2, 4, 1, 4, 5], [6, 2, 1, 3, 3], [1; 3], [0, 1, 1], [1; 3], 2),
    ("depthwise", [1, 3, 2, 4, 5], [3, 1, 1, 3, 3], [1; 3], [0, 1, 1], [1; 3], 3),
];

fn convolutions<B: Backend>() -> Vec<Function<B>> {
    let both = |&(name, x, w, stride, pad, dilation, groups): &Row| {
        let geometry = Geometry { stride, pad, dilation, groups };
        let (x, w) = (Shape::from_dims(x), Shape::from_dims(w));
        let y = geometry.output(x, w).unwrap_or_else(|| panic!("{name}: the shapes do not fit"));
        [
            Function::new(format!("conv {name}"), vec![normal(x, 1), normal(w, 2)], move |t: &[Tensor<B>]| {
                ops::conv(&t[0], &t[1], &geometry)
            }),
            Function::new(
                format!("conv_transpose {name}"),
                vec![normal(y, 1), normal(w, 2)],
                move |t: &[Tensor<B>]| ops::conv_transpose(&t[0], &t[1], &geometry, x),
            ),
        ]
    };
    GEOMETRIES.iter().flat_map(both).collect()
}

fn pooling<B: Backend>() -> Vec<Function<B>> {
    let windows = [
        ("2x2", Window::tiles([1, 2, 2])),
        ("3x3 overlapping", Window { size: [1, 3, 3], stride: [1, 1, 2] }),
        ("sliding in 3-D", Window::sliding([2, 2, 2])),
    ];
    let pool = |(name, window)| {
        Function::new(format!("max_pool {name}"), vec![separated(VOLUME, 1)], move |x: &[Tensor<B>]| {
            ops::max_pool(&x[0], &window)
        })
    };
    windows.into_iter().map(pool).collect()
}

fn resampling<B: Backend>() -> Vec<Function<B>> {
    let turned = Sampling {
        matrix: [[1.0, 0.1, 0.0, -0.2], [0.1, 0.9, -0.3, 0.7], [0.0, 0.3, 0.9, -0.4]],
        interpolation: Interpolation::Linear,
        border: Border::Zero,
    };
    let repeated = Sampling { border: Border::Clamp, ..turned };
    let mut functions = Vec::new();
    for (name, sampling) in [("zeros outside", turned), ("edges repeated", repeated)] {
        functions.push(Function::new(
            format!("resample, {name}"),
            vec![normal(VOLUME, 1)],
            move |x: &[Tensor<B>]| ops::resample(&x[0], &sampling, [3, 5, 4]),
        ));
    }
    for interpolation in [Interpolation::Nearest, Interpolation::Linear] {
        functions.push(Function::new(format!("upsample, {interpolation:?}"), vec![normal(VOLUME, 1)], move |x| {
            ops::upsample(&x[0], [1, 2, 3], interpolation)
        }));
    }
    functions.push(Function::new("replicate_pad", vec![normal(VOLUME, 1)], |x| ops::replicate_pad(&x[0], [1, 0, 2])));
    functions
}

fn counts<B: Backend>() -> Vec<Function<B>> {
    let bins = |backend: &B| Tensor::from_f64(backend, IMAGE, &Array::integers(IMAGE, Rng::new(9), -1, 7).data);
    vec![
        Function::new("bincount", vec![normal(IMAGE, 1)], move |x: &[Tensor<B>]| {
            ops::bincount(&bins(x[0].backend()), &x[0], 7)
        }),
        Function::new("take", vec![normal(Shape::new(1, 1, 1, 1, 7), 1)], move |x: &[Tensor<B>]| {
            ops::take(&x[0], &bins(x[0].backend()))
        }),
    ]
}

fn stable_forms<B: Backend>() -> Vec<Function<B>> {
    let logits = || normal(IMAGE, 1).map(|x| 3.0 * x);
    vec![
        Function::new("log_sum_exp", vec![logits()], |x| stable::log_sum_exp(&x[0])),
        Function::new("log_softmax", vec![logits()], |x| stable::log_softmax(&x[0])),
        Function::new("softmax", vec![logits()], |x| stable::softmax(&x[0])),
        Function::new("sigmoid", vec![logits()], |x| ops::map(&[&x[0]], |p| stable::sigmoid(p.input(0)))),
        Function::new("softplus", vec![separated(IMAGE, 1)], |x| ops::map(&[&x[0]], |p| stable::softplus(p.input(0)))),
        Function::new("log_sigmoid", vec![separated(IMAGE, 1)], |x| {
            ops::map(&[&x[0]], |p| stable::log_sigmoid(p.input(0)))
        }),
        Function::new("xlogy", vec![between(IMAGE, 1, 0.2, 1.0), between(IMAGE, 2, 0.2, 1.0)], |x| {
            ops::map(&[&x[0], &x[1]], |p| stable::xlogy(p.input(0), p.input(1)))
        }),
    ]
}

/// Graphs with more than one path from the input to the loss.
fn graphs<B: Backend>() -> Vec<Function<B>> {
    vec![
        Function::new("two paths that meet", vec![normal(IMAGE, 1)], |x| {
            let left = ops::map(&[&x[0]], |p| p.input(0).tanh());
            let right = ops::sum(&[&x[0], &left], Shape::new(1, 3, 1, 1, 1), |p| p.input(0) * p.input(1));
            ops::map(&[&left, &right, &x[0]], |p| p.input(0) * p.input(1) + p.input(2))
        }),
        Function::new(
            "a block of a network",
            vec![normal(IMAGE, 1), normal(Shape::new(4, 3, 1, 3, 3), 2), normal(Shape::new(1, 4, 1, 1, 1), 3)],
            |x| {
                let y = ops::conv(&x[0], &x[1], &Geometry::same([1, 3, 3]));
                let statistics = y.shape().with_spatial([1; 3]);
                let mean = ops::sum(&[&y], statistics, |p| p.input(0) * 0.05);
                let variance = ops::sum(&[&y, &mean], statistics, |p| (p.input(0) - p.input(1)).square() * 0.05);
                let y = ops::map(&[&y, &mean, &variance, &x[2]], |p| {
                    (p.input(0) - p.input(1)) / (p.input(2) + 1e-2).sqrt() * p.input(3)
                });
                stable::log_softmax(&y)
            },
        ),
    ]
}
