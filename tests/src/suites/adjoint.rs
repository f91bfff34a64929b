//! `<A x, y> = <x, A' y>` for each pair of adjoint methods, on the backend itself.
//!
//! Both sides are computed by the backend and multiplied out in f64. The tolerance is what the accuracy allows the two
//! results: `sum |y_i| bound_i(A x) + sum |x_j| bound_j(A' y)`.

use segcal_core::{Backend, Fold, Program, Reference, Rng, Shape};

use super::bounds::bounds;
use super::{Accuracy, Array, Case, Op, Report};

/// Checks every identity that the cases give rise to.
pub fn check<B: Backend>(backend: &B, accuracy: &Accuracy, cases: &[Case]) -> Report {
    let mut report = Report::default();
    for case in cases {
        for identity in identities(case) {
            let name = format!("<{}, y> = <x, {}>", case.name, identity.adjoint.op.method());
            report.check(&name, || identity.check(backend, accuracy));
        }
    }
    report
}

/// A linear map and its adjoint, with `x` the input of the one and `y` that of the other.
pub(crate) struct Identity {
    forward: Case,
    adjoint: Case,
    x: Array,
    y: Array,
}

impl Identity {
    /// # Errors
    /// Both sides and the largest difference that the accuracy allows.
    pub(crate) fn check<B: Backend>(&self, backend: &B, accuracy: &Accuracy) -> Result<(), String> {
        let (left, left_bound) = product(&self.forward, &self.y, backend, accuracy);
        let (right, right_bound) = product(&self.adjoint, &self.x, backend, accuracy);
        // The products themselves are summed in f64.
        let bound = left_bound + right_bound + 1e-12 * (1.0 + left.abs());
        if (left - right).abs() <= bound {
            return Ok(());
        }
        Err(format!("{left:e} and {right:e} differ by {:.2e}, bound {bound:.2e}", (left - right).abs()))
    }
}

/// `<output, weights>`, and how far it may be off.
fn product<B: Backend>(case: &Case, weights: &Array, backend: &B, accuracy: &Accuracy) -> (f64, f64) {
    let output = case.run(backend);
    let bounds = bounds(case, accuracy, &case.run(&Reference));
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
        adjoint: Case::new("adjoint", op, adjoint_arrays),
        x: x.clone(),
        y: y.clone(),
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
        Op::Place { starts, out } => place_identities(case, starts, &random(*out)),
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

/// One identity per part: the other parts are held at zero.
fn place_identities(case: &Case, starts: &[[usize; 5]], y: &Array) -> Vec<Identity> {
    let only = |part: usize| {
        let mut forward = case.clone();
        for (number, array) in forward.arrays.iter_mut().enumerate() {
            if number != part {
                *array = array.map(|_| 0.0);
            }
        }
        let x = case.arrays[part].clone();
        let cut = Op::Slice { start: starts[part], out: x.shape };
        Identity { forward, adjoint: Case::new("adjoint", cut, vec![y.clone()]), x, y: y.clone() }
    };
    (0..starts.len()).map(only).collect()
}

/// The sum over some axes is the adjoint of repeating along them.
fn broadcast_identity(domain: Shape, out: Shape, random: impl Fn(Shape) -> Array) -> Identity {
    let identity = || Program::new(|p| p.input(0));
    let (x, y) = (random(domain), random(out));
    let sum = Op::Reduce { fold: Fold::Sum, program: identity(), scalars: Vec::new(), domain, out };
    let repeat = Op::Map { program: identity(), scalars: Vec::new(), out: domain };
    Identity {
        forward: Case::new("identity", sum, vec![x.clone()]),
        adjoint: Case::new("repeat", repeat, vec![y.clone()]),
        x,
        y,
    }
}
