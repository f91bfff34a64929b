//! `<A x, y> = <x, A' y>` for each pair of adjoint methods, on the backend itself.
//!
//! Both sides are computed by the backend and multiplied out in f64. The tolerance is what the accuracy allows the two
//! results: `sum |y_i| bound_i(A x) + sum |x_j| bound_j(A' y)`.

use segcal_core::{Backend, Fold, Index, Program, Reference, Rng, Shape};

use super::bounds::bounds;
use super::{Accuracy, Array, Case, Op, Report};

/// Checks every identity that the cases give rise to.
pub fn check<B: Backend>(backend: &B, accuracy: &Accuracy, cases: &[Case]) -> Report {
    let mut report = Report::default();
    for case in cases {
        for identity in identities(case) {
            let name = format!("<{}, y> = <x, {}>", case.name, identity.adjoints[0].0.op.method());
            report.check(&name, || identity.check(backend, accuracy));
        }
    }
    report
}

/// `<A (x_1, x_2, ..), y> = sum of <A_i' y, x_i>`: a linear map, `y`, and the partial adjoints with their `x_i`.
pub(crate) struct Identity {
    forward: Case,
    y: Array,
    adjoints: Vec<(Case, Array)>,
}

impl Identity {
    /// # Errors
    /// Both sides and the largest difference that the accuracy allows.
    pub(crate) fn check<B: Backend>(&self, backend: &B, accuracy: &Accuracy) -> Result<(), String> {
        let (left, mut bound) = product(&self.forward, &self.y, backend, accuracy);
        let mut right = 0.0;
        for (adjoint, x) in &self.adjoints {
            let (part, part_bound) = product(adjoint, x, backend, accuracy);
            right += part;
            bound += part_bound;
        }
        // The products themselves are summed in f64.
        bound += 1e-12 * (1.0 + left.abs());
        if (left - right).abs() <= bound {
            return Ok(());
        }
        Err(format!("{left:e} and {right:e} differ by {:.2e}, bound {bound:.2e}", (left - right).abs()))
    }
}

/// `<output, weights>`, and how far it may be off.
fn product<B: Backend>(case: &Case, weights: &Array, backend: &B, accuracy: &Accuracy) -> (f64, f64) {
    let output = case.run(backend);
    let bounds = bounds(case, accuracy, &output);
    let weighted = |numbers: &[f64], weight: fn(f64) -> f64| {
        assert_eq!(numbers.len(), weights.data.len(), "{}: the output does not fit", case.name);
        numbers.iter().zip(&weights.data).map(|(number, &by)| number * weight(by)).sum::<f64>()
    };
    (weighted(&output[0], |by| by), weighted(&bounds[0], f64::abs))
}

/// The identities that a case of a linear method gives rise to; none for other methods.
pub(crate) fn identities(case: &Case) -> Vec<Identity> {
    let arrays = &case.arrays;
    let random = |shape| Array::normal(shape, Rng::new(0xad01).stream(shape.len() as u64));
    let pair = |op: Op, adjoint_arrays: Vec<Array>, x: &Array, y: &Array| Identity {
        forward: case.clone(),
        y: y.clone(),
        adjoints: vec![(Case::new("adjoint", op, adjoint_arrays), x.clone())],
    };
    match &case.op {
        Op::Conv { geometry, out } => {
            let (x, w, y, geometry) = (&arrays[0], &arrays[1], random(*out), *geometry);
            let to_x = Op::ConvTranspose { geometry, out: x.shape };
            let to_w = Op::ConvWeight { geometry, out: w.shape };
            vec![pair(to_x, vec![y.clone(), w.clone()], x, &y), pair(to_w, vec![x.clone(), y.clone()], w, &y)]
        }
        Op::Slice { start, out } => {
            let (x, y) = (&arrays[0], random(*out));
            vec![pair(Op::Place { starts: vec![*start], out: x.shape }, vec![y.clone()], x, &y)]
        }
        Op::Place { starts, out } => vec![place_identity(case, starts, random(*out))],
        Op::Resample { sampling, out } => {
            let (x, y) = (&arrays[0], random(*out));
            vec![pair(Op::ResampleAdjoint { sampling: *sampling, out: x.shape }, vec![y.clone()], x, &y)]
        }
        Op::Take => {
            let (table, index, y) = (&arrays[0], &arrays[1], random(arrays[1].shape));
            vec![pair(Op::Bincount { count: table.shape.len() }, vec![index.clone(), y.clone()], table, &y)]
        }
        // At a fixed index pooling is linear, and at x itself it gives the maxima.
        Op::MaxPool { window, out } if arrays[0].data.iter().all(|value| value.is_finite()) => {
            let (x, y) = (&arrays[0], random(*out));
            let index = Array::new(*out, case.run(&Reference).swap_remove(1));
            vec![pair(Op::MaxUnpool { window: *window, out: x.shape }, vec![y.clone(), index], x, &y)]
        }
        Op::Reduce { fold: Fold::Sum, domain, out, .. } => vec![broadcast_identity(*domain, *out, random)],
        _ => Vec::new(),
    }
}

/// Each part is cut out again.
fn place_identity(case: &Case, starts: &[Index], y: Array) -> Identity {
    let cut = |(part, &start): (&Array, &Index)| {
        let slice = Op::Slice { start, out: part.shape };
        (Case::new("adjoint", slice, vec![y.clone()]), part.clone())
    };
    let adjoints = case.arrays.iter().zip(starts).map(cut).collect();
    Identity { forward: case.clone(), y, adjoints }
}

/// The sum over some axes is the adjoint of repeating along them.
fn broadcast_identity(domain: Shape, out: Shape, random: impl Fn(Shape) -> Array) -> Identity {
    let identity = || Program::new(|p| p.input(0));
    let (x, y) = (random(domain), random(out));
    let sum = Op::Reduce { fold: Fold::Sum, program: identity(), scalars: Vec::new(), domain, out };
    let repeat = Op::Map { program: identity(), scalars: Vec::new(), out: domain };
    Identity {
        forward: Case::new("identity", sum, vec![x.clone()]),
        adjoints: vec![(Case::new("repeat", repeat, vec![y.clone()]), x)],
        y,
    }
}
