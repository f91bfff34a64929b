//! Gradients of tensor operations.
//!
//! [`check`] compares the gradient along a random direction with a five-point stencil, in f64; [`parity`] compares
//! values and gradients of any backend with those of [`Reference`]. Both go through the same list of [`functions`].
//! Layers, losses and priors can be checked alike: write them as a [`Function`].

mod functions;

pub use functions::functions;
use segcal_core::{Backend, Grads, Reference, Rng, Tensor, ops};

use super::{Accuracy, Array, Report};

/// Largest difference from the stencil, relative to the length of the gradient: the size that a derivative along a
/// random direction typically has.
const TOLERANCE: f64 = 1e-7;
/// Step of the stencil, whose own error is of the order of its fourth power.
const STEP: f64 = 1e-3;
/// Roundings that a number of the list's functions and gradients may have behind it.
const ROUNDINGS: f64 = 256.0;

/// From tensors to a tensor of any shape.
type Map<B> = Box<dyn Fn(&[Tensor<B>]) -> Tensor<B>>;

/// A differentiable function with inputs at which to check it.
///
/// The inputs must lie away from kinks by more than the stencil's reach, some `2e-3` times a normal number.
pub struct Function<B: Backend> {
    name: String,
    inputs: Vec<Array>,
    f: Map<B>,
}

impl<B: Backend> Function<B> {
    /// A function of tensors that hold the inputs.
    pub fn new(name: impl Into<String>, inputs: Vec<Array>, f: impl Fn(&[Tensor<B>]) -> Tensor<B> + 'static) -> Self {
        Self { name: name.into(), inputs, f: Box::new(f) }
    }

    /// Name of the function.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The inputs as tensors, moved by `step` along random directions.
    fn tensors(&self, backend: &B, step: f64) -> Vec<Tensor<B>> {
        let moved = |(input, direction): (&Array, Array)| {
            let data: Vec<f64> = input.data.iter().zip(&direction.data).map(|(x, v)| x + step * v).collect();
            Tensor::from_f64(backend, input.shape, &data)
        };
        self.inputs.iter().zip(self.directions()).map(moved).collect()
    }

    fn directions(&self) -> Vec<Array> {
        let rng = Rng::new(0xd1);
        self.inputs.iter().enumerate().map(|(i, input)| Array::normal(input.shape, rng.stream(i as u64))).collect()
    }

    /// The output folded to a scalar with random weights, so that each of its numbers has a gradient of its own.
    fn scalar(&self, inputs: &[Tensor<B>]) -> Tensor<B> {
        let output = (self.f)(inputs);
        let weights = Array::normal(output.shape(), Rng::new(0x5ca1));
        let weights = Tensor::from_f64(output.backend(), weights.shape, &weights.data);
        ops::sum_all(&[&output, &weights], |p| p.input(0) * p.input(1))
    }

    /// Gradients of the scalar with respect to the inputs for which `tracked` says so.
    fn gradients(&self, backend: &B, tracked: impl Fn(usize) -> bool) -> Vec<Option<Vec<f64>>> {
        let inputs = self.tensors(backend, 0.0);
        let inputs = inputs.iter().enumerate().map(|(i, x)| if tracked(i) { x.tracked() } else { x.clone() });
        let inputs: Vec<Tensor<B>> = inputs.collect();
        let gradients: Grads<B> = self.scalar(&inputs).backward();
        inputs.iter().map(|input| gradients.of(input).map(host)).collect()
    }
}

fn host<B: Backend>(tensor: &Tensor<B>) -> Vec<f64> {
    tensor.to_f64().unwrap_or_else(|error| panic!("download: {error}"))
}

/// Every function of the list against stencils.
pub fn check<B: Backend<Elem = f64>>(backend: &B) -> Report {
    let mut report = Report::default();
    for function in functions() {
        report.check(function.name(), || check_function(backend, &function));
    }
    report
}

/// One function: the gradient along a random direction against a five-point stencil, and the gradient of each input
/// alone against that with all inputs tracked.
///
/// # Errors
/// The derivative, the stencil's value and the largest difference allowed.
pub fn check_function<B: Backend<Elem = f64>>(backend: &B, function: &Function<B>) -> Result<(), String> {
    let gradients = function.gradients(backend, |_| true);
    let mut along = 0.0;
    let mut square = 0.0;
    for (number, (gradient, direction)) in gradients.iter().zip(function.directions()).enumerate() {
        let gradient = gradient.as_ref().ok_or_else(|| format!("input {number} has no gradient"))?;
        along += gradient.iter().zip(&direction.data).map(|(g, v)| g * v).sum::<f64>();
        square += gradient.iter().map(|g| g * g).sum::<f64>();
        alone(backend, function, number, gradient)?;
    }
    let at = |steps: f64| host(&function.scalar(&function.tensors(backend, steps * STEP)))[0];
    let stencil = (at(-2.0) - 8.0 * at(-1.0) + 8.0 * at(1.0) - at(2.0)) / (12.0 * STEP);
    let allowed = TOLERANCE * square.sqrt().max(stencil.abs());
    // Written so that a NaN on either side fails.
    if (along - stencil).abs() <= allowed && square > 0.0 {
        return Ok(());
    }
    Err(format!("derivative {along:e}, stencil {stencil:e}, difference allowed {allowed:.1e}"))
}

fn alone<B: Backend>(backend: &B, function: &Function<B>, number: usize, expected: &[f64]) -> Result<(), String> {
    let gradients = function.gradients(backend, |i| i == number);
    let others = gradients.iter().enumerate().filter(|(i, gradient)| *i != number && gradient.is_some()).count();
    if others > 0 {
        return Err(format!("with input {number} tracked alone, others have gradients"));
    }
    let gradient = gradients[number].as_ref().ok_or_else(|| format!("input {number} alone has no gradient"))?;
    within(gradient, expected, 1e-13).map_err(|what| format!("input {number} tracked alone: {what}"))
}

/// Values and gradients of every function of the list on the backend and on [`Reference`]: they may differ by
/// 256 roundings of the largest number of each.
pub fn parity<B: Backend>(backend: &B, accuracy: &Accuracy) -> Report {
    let mut report = Report::default();
    for (function, reference) in functions::<B>().iter().zip(functions::<Reference>()) {
        report.check(function.name(), || compare(backend, function, &reference, ROUNDINGS * accuracy.unit));
    }
    report
}

fn compare<B: Backend>(
    backend: &B,
    function: &Function<B>,
    reference: &Function<Reference>,
    tolerance: f64,
) -> Result<(), String> {
    let value = host(&(function.f)(&function.tensors(backend, 0.0)));
    let expected = host(&(reference.f)(&reference.tensors(&Reference, 0.0)));
    within(&value, &expected, tolerance).map_err(|what| format!("value: {what}"))?;
    let gradients = function.gradients(backend, |_| true);
    let expected = reference.gradients(&Reference, |_| true);
    for (number, (gradient, expected)) in gradients.iter().zip(&expected).enumerate() {
        let (Some(gradient), Some(expected)) = (gradient, expected) else {
            return Err(format!("input {number} has no gradient"));
        };
        within(gradient, expected, tolerance).map_err(|what| format!("gradient {number}: {what}"))?;
    }
    Ok(())
}

/// Whether all numbers agree to a share of the largest.
fn within(found: &[f64], expected: &[f64], tolerance: f64) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("{} numbers instead of {}", found.len(), expected.len()));
    }
    let largest = expected.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
    let agrees = |i: usize| (found[i] - expected[i]).abs() <= tolerance * largest;
    let wrong = (0..found.len()).find(|&i| !agrees(i));
    wrong.map_or(Ok(()), |i| Err(format!("{:e} instead of {:e} at {i}, of at most {largest:e}", found[i], expected[i])))
}

#[cfg(test)]
mod tests {
    use segcal_core::{Rank, Shape, custom};

    use super::*;

    #[test]
    fn a_wrong_gradient_is_found() {
        let x = Array::normal(Shape::new(1, 2, 1, 3, 4), Rng::new(1));
        let wrong = |factor: f64| {
            Function::<Reference>::new("wrong", vec![x.clone()], move |x| {
                let y = ops::map(&[&x[0].detach()], |p| p.input(0).square());
                let values = x[0].detach();
                custom(&[&x[0]], &y, move |g| vec![Some(ops::map(&[g, &values], |p| p.input(0) * p.input(1) * factor))])
            })
        };
        assert_eq!(check_function(&Reference, &wrong(2.0)), Ok(()));
        assert!(check_function(&Reference, &wrong(2.0 + 1e-6)).is_err());
        assert!(check_function(&Reference, &wrong(f64::NAN)).is_err());
    }

    #[test]
    fn what_is_not_differentiable_is_not_tracked() {
        let x = Tensor::full(&Reference, Shape::new(1, 1, 1, 3, 3), 1.0).tracked();
        assert!(!ops::one_hot(&x, 2).is_tracked());
        assert!(!ops::rank_filter(&x, [1, 3, 3], Rank::Nth(4)).is_tracked());
        assert!(!ops::distance(&x, [1.0; 3]).is_tracked());
        assert!(!x.detach().is_tracked());
    }

    #[test]
    fn names_are_unique() {
        let functions = functions::<Reference>();
        let names: std::collections::HashSet<&str> = functions.iter().map(Function::name).collect();
        assert_eq!(names.len(), functions.len());
    }
}
