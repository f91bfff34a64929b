//! Programs: every opcode and its derivative, fused chains of the kind that losses and layers use, every broadcast,
//! and folds over every combination of axes.

use segcal_core::{Argument, Builder, Expr, Fold, Opcode, Program, Shape, axis, stable};

use super::{SHAPES, rng};
use crate::suites::random::opcode_program;
use crate::suites::{Array, Case, Op};

/// A program with the range of its inputs.
struct Sample {
    name: String,
    program: Program,
    scalars: Vec<f64>,
    ranges: Vec<(f64, f64)>,
}

impl Sample {
    fn arrays(&self, shape: Shape) -> Vec<Array> {
        let rng = rng(&self.name);
        let array = |(number, &(low, high))| Array::uniform(shape, rng.stream(number as u64), low, high);
        self.ranges.iter().enumerate().map(array).collect()
    }

    fn map(&self, shape: Shape) -> Case {
        let op = Op::Map { program: self.program.clone(), scalars: self.scalars.clone(), out: shape };
        Case::new(format!("{}, {shape}", self.name), op, self.arrays(shape))
    }

    fn fold(&self, fold: Fold, domain: Shape, out: Shape) -> Case {
        let op = Op::Reduce { fold, program: self.program.clone(), scalars: self.scalars.clone(), domain, out };
        Case::new(format!("{fold:?} of {}, {domain} to {out}", self.name), op, self.arrays(domain))
    }
}

pub(super) fn map() -> Vec<Case> {
    let ragged = Shape::new(2, 3, 1, 5, 7);
    let opcodes = Opcode::ALL.iter().flat_map(|&opcode| opcode_samples(opcode)).map(|sample| sample.map(ragged));
    let fused = fused().into_iter().flat_map(|sample| SHAPES.map(|shape| sample.map(shape)));
    let mut cases: Vec<Case> = opcodes.chain(fused).chain(broadcasts()).collect();
    cases.extend([
        ties(),
        powers_of_zero(),
        nothing_but_coordinates(),
        an_input_that_is_not_read(),
        long(),
        large(),
        relu_of_nan(),
    ]);
    cases
}

pub(super) fn reduce() -> Vec<Case> {
    let domain = Shape::new(2, 3, 5, 4, 7);
    let mut cases = Vec::new();
    for folded in 0..32 {
        let out = ones_along(domain, folded);
        for fold in [Fold::Sum, Fold::Max] {
            cases.extend([weighted_product(fold, domain, out), identity().fold(fold, domain, out)]);
        }
    }
    for shape in SHAPES {
        cases.extend(fused().iter().flat_map(|sample| {
            [
                sample.fold(Fold::Sum, shape, Shape::SCALAR),
                sample.fold(Fold::Max, shape, Shape::SCALAR.with(axis::W, shape.dims()[axis::W])),
            ]
        }));
    }
    cases.extend(large_folds());
    cases
}

/// The shape with extent 1 along the axes whose bit is set.
fn ones_along(shape: Shape, axes: u32) -> Shape {
    (0..5).filter(|axis| axes >> axis & 1 == 1).fold(shape, |shape, axis| shape.with(axis, 1))
}

/// Ranges of an opcode's arguments: of moderate size, and those where accuracy is known to be hard.
fn ranges(opcode: Opcode) -> Vec<Vec<(f64, f64)>> {
    let moderate = opcode.domain().into_iter().take(opcode.arity()).map(|domain| match domain {
        Argument::Any => (-4.0, 4.0),
        Argument::NonNegative => (0.01, 4.0),
        Argument::AboveMinusOne => (-0.9, 4.0),
        Argument::NonZero => (0.1, 4.0),
    });
    let hard = match opcode {
        Opcode::Exp => vec![vec![(-80.0, 80.0)], vec![(-1e-3, 1e-3)]],
        Opcode::Log => vec![vec![(0.9, 1.1)], vec![(1e-30, 1e-20)], vec![(1e10, 1e30)]],
        Opcode::Log1p => vec![vec![(-1e-4, 1e-4)], vec![(1e3, 1e9)]],
        Opcode::Sqrt => vec![vec![(1e-30, 1e-20)], vec![(1e10, 1e30)]],
        Opcode::Tanh => vec![vec![(-1e-3, 1e-3)], vec![(-30.0, 30.0)]],
        Opcode::Pow => vec![vec![(0.0, 1.0), (0.5, 6.0)], vec![(0.999, 1.001), (-99.0, 99.0)]],
        Opcode::Div => vec![vec![(-1.0, 1.0), (-1e10, -1e3)]],
        Opcode::Floor => vec![vec![(-1e6, 1e6)]],
        _ => Vec::new(),
    };
    [moderate.collect()].into_iter().chain(hard).collect()
}

/// The opcode alone, and all its partial derivatives as one program.
fn opcode_samples(opcode: Opcode) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (number, ranges) in ranges(opcode).into_iter().enumerate() {
        let name = format!("{} of range {number}", opcode.name());
        let program = opcode_program(opcode);
        let derivative = program.vjp(&(0..opcode.arity()).collect::<Vec<_>>());
        let mut with_gradient = ranges.clone();
        with_gradient.push((-2.0, 2.0));
        samples.push(Sample {
            name: format!("derivative of {name}"),
            program: derivative,
            scalars: vec![],
            ranges: with_gradient,
        });
        samples.push(Sample { name, program, scalars: vec![], ranges });
    }
    samples
}

fn sample(name: &str, scalars: &[f64], ranges: &[(f64, f64)], f: impl FnOnce(&Builder) -> Vec<Expr<'_>>) -> Sample {
    Sample {
        name: name.to_owned(),
        program: Program::with_outputs(f),
        scalars: scalars.to_vec(),
        ranges: ranges.to_vec(),
    }
}

fn identity() -> Sample {
    sample("the numbers", &[], &[(-4.0, 4.0)], |p| vec![p.input(0)])
}

/// Chains as layers, losses and optimisers write them.
fn fused() -> Vec<Sample> {
    let normal = (-3.0, 3.0);
    vec![
        identity(),
        sample("leaky ReLU of an affine map", &[0.01], &[normal, (0.5, 2.0), normal], |p| {
            let y = p.input(0) * p.input(1) + p.input(2);
            vec![y.max(y * p.scalar(0))]
        }),
        sample("softmax term", &[], &[normal, (3.0, 5.0)], |p| vec![(p.input(0) - p.input(1)).exp()]),
        sample("softplus and sigmoid", &[], &[(-40.0, 40.0)], |p| {
            vec![stable::softplus(p.input(0)), stable::sigmoid(p.input(0))]
        }),
        sample("focal term", &[2.0], &[(0.05, 0.95)], |p| {
            vec![-((1.0 - p.input(0)).pow(p.scalar(0)) * p.input(0).ln())]
        }),
        sample("Adam", &[0.9, 0.999, 1e-3], &[normal, normal, normal, (0.01, 1.0)], |p| {
            let [x, g, m, v] = [0, 1, 2, 3].map(|i| p.input(i));
            let m = p.scalar(0) * m + (1.0 - p.scalar(0)) * g;
            let v = p.scalar(1) * v + (1.0 - p.scalar(1)) * g.square();
            vec![x - p.scalar(2) * m / (v.sqrt() + 1e-8), m, v]
        }),
        sample("checkerboard by coordinates", &[3.0], &[normal], |p| {
            let total = (0..5).fold(p.constant(0.0), |sum, axis| sum + p.coord(axis));
            let odd = total - 2.0 * (total * 0.5).floor();
            vec![odd.select(p.input(0), p.scalar(0)), total]
        }),
        sample("six inputs, two outputs", &[], &[normal; 6], |p| {
            let sum = (1..6).fold(p.input(0), |sum, i| sum + p.input(i));
            vec![sum, (0..6).fold(p.constant(1.0), |product, i| product * (p.input(i) * 0.5))]
        }),
    ]
}

/// A second input that is repeated along each combination of axes.
fn broadcasts() -> Vec<Case> {
    let full = Shape::new(2, 3, 4, 5, 7);
    let program = Program::new(|p| p.input(0) * p.input(1) + p.input(1));
    let case = |axes| {
        let small = ones_along(full, axes);
        let arrays = vec![Array::normal(full, rng("full")), Array::normal(small, rng("small"))];
        Case::new(
            format!("{small} over {full}"),
            Op::Map { program: program.clone(), scalars: vec![], out: full },
            arrays,
        )
    };
    let outer = Case::new(
        "outer product of two that are both repeated",
        Op::Map { program: program.clone(), scalars: vec![], out: full },
        vec![
            Array::normal(full.with_spatial([1, 1, 7]), rng("outer")),
            Array::normal(Shape::new(1, 3, 4, 5, 1), rng("outer 2")),
        ],
    );
    (0..32).map(case).chain([outer]).collect()
}

/// Comparisons, minima and maxima of numbers that are often equal, and zero of either sign.
fn ties() -> Case {
    let shape = Shape::new(1, 1, 1, 8, 11);
    let program = Program::with_outputs(|p| {
        let (a, b) = (p.input(0), p.input(1));
        vec![
            a.lt(b) + 2.0 * a.le(b) + 4.0 * a.equals(b),
            a.min(b) - 0.5 * a.max(b),
            a.select(b, 7.0),
            a.sign() + a.abs() + (a * 0.5).floor(),
        ]
    });
    let a = Array::integers(shape, rng("ties a"), -2, 2);
    let signed_zeros = a.map(|value| if value == 0.0 { -0.0 } else { value });
    let op = Op::Map { program, scalars: vec![], out: shape };
    Case::new("ties and signed zeros", op, vec![signed_zeros, Array::integers(shape, rng("ties b"), -2, 2)])
}

/// `0^b` and its derivatives, which are 0 for `b > 1`.
fn powers_of_zero() -> Case {
    let shape = Shape::new(1, 1, 1, 1, 6);
    let power = opcode_program(Opcode::Pow);
    let arrays = [vec![0.0; 6], vec![1.5, 2.0, 2.5, 3.0, 4.0, 10.0], vec![1.0; 6]];
    let arrays = arrays.into_iter().map(|numbers| Array::new(shape, numbers)).collect();
    Case::new(
        "derivatives of powers of 0",
        Op::Map { program: power.vjp(&[0, 1]), scalars: vec![], out: shape },
        arrays,
    )
}

fn nothing_but_coordinates() -> Case {
    let shape = Shape::new(2, 3, 4, 5, 6);
    let program = Program::with_outputs(|p| {
        let place = (0..5).fold(p.constant(0.0), |place, axis| place * shape.dims()[axis] as f64 + p.coord(axis));
        vec![place, p.scalar(1), p.constant(-2.5)]
    });
    Case::new("no input at all", Op::Map { program, scalars: vec![9.0, 0.1], out: shape }, Vec::new())
}

fn an_input_that_is_not_read() -> Case {
    let shape = Shape::new(1, 2, 1, 3, 5);
    let arrays = (0..3).map(|number| Array::normal(shape, rng("unread").stream(number))).collect();
    let program = Program::new(|p| p.input(1) * 2.0);
    Case::new("inputs that are not read", Op::Map { program, scalars: vec![], out: shape }, arrays)
}

/// More steps than registers, with values that live long.
fn long() -> Case {
    let shape = Shape::new(1, 2, 1, 4, 9);
    let program = Program::with_outputs(|p| {
        let terms: Vec<Expr<'_>> =
            (0..60).map(|i| (p.input(i % 3) * (0.1 + 0.01 * i as f64)).tanh() + p.input((i + 1) % 3)).collect();
        let forward = terms.iter().copied().reduce(|sum, term| sum * 0.5 + term).expect("terms");
        let backward = terms.iter().rev().copied().reduce(|sum, term| sum * 0.5 - term).expect("terms");
        vec![forward, backward]
    });
    let arrays = (0..3).map(|number| Array::normal(shape, rng("long").stream(number))).collect();
    Case::new("a long program", Op::Map { program, scalars: vec![], out: shape }, arrays)
}

fn large() -> Case {
    let shape = Shape::new(1, 3, 1, 151, 157);
    let program = Program::new(|p| p.input(0) * p.input(1) + p.coord(axis::W));
    let arrays = vec![Array::normal(shape, rng("large")), Array::normal(Shape::new(1, 3, 1, 1, 1), rng("large bias"))];
    Case::new("large", Op::Map { program, scalars: vec![], out: shape }, arrays)
}

fn relu_of_nan() -> Case {
    let x = Array::new(Shape::new(1, 1, 1, 1, 4), [f64::NAN, -1.0, 2.0, 0.0]);
    let program = Program::with_outputs(|p| vec![p.input(0).max(0.0), p.input(0).min(0.0), p.input(0).lt(1.0)]);
    Case::new("max and min keep a NaN", Op::Map { program, scalars: vec![], out: x.shape }, vec![x])
}

/// Two outputs of an input and one that is repeated over the domain.
fn weighted_product(fold: Fold, domain: Shape, out: Shape) -> Case {
    let program =
        Program::with_outputs(|p| vec![p.input(0) * p.input(1) * p.scalar(0), p.input(0).square() + p.coord(axis::C)]);
    let op = Op::Reduce { fold, program, scalars: vec![0.25], domain, out };
    let arrays = vec![Array::normal(domain, rng("weighted")), Array::normal(Shape::new(1, 3, 1, 1, 1), rng("weights"))];
    Case::new(format!("{fold:?} of a weighted product, {domain} to {out}"), op, arrays)
}

/// Longer than any block: whole numbers, whose sum is exact in any order, and others.
fn large_folds() -> Vec<Case> {
    let folds: [(Shape, Shape); 6] = [
        (Shape::new(1, 1, 1, 1, 70_001), Shape::SCALAR),
        (Shape::new(1, 2, 33, 31, 37), Shape::new(1, 2, 1, 1, 1)),
        (Shape::new(1, 2, 33, 31, 37), Shape::new(1, 1, 33, 31, 37)),
        (Shape::new(4, 70, 1, 13, 15), Shape::new(1, 70, 1, 1, 1)),
        (Shape::new(300, 1, 1, 3, 50), Shape::new(1, 1, 1, 3, 50)),
        (Shape::new(2, 5000, 1, 1, 3), Shape::new(2, 1, 1, 1, 3)),
    ];
    let case = |(domain, out): (Shape, Shape)| {
        let op = |fold| Op::Reduce { fold, program: Program::new(|p| p.input(0)), scalars: vec![], domain, out };
        let whole = Array::integers(domain, rng("large fold"), -20, 20);
        let normal = Array::normal(domain, rng("large fold"));
        [
            Case::new(format!("Sum of whole numbers, {domain} to {out}"), op(Fold::Sum), vec![whole]),
            Case::new(format!("Sum of normal numbers, {domain} to {out}"), op(Fold::Sum), vec![normal.clone()]),
            Case::new(format!("Max of normal numbers, {domain} to {out}"), op(Fold::Max), vec![normal]),
        ]
    };
    folds.into_iter().flat_map(case).collect()
}
