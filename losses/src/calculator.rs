//! Evaluates a loss or a prior on arrays in memory: the input is checked here, then computed on any backend.
//!
//! ```
//! use segcal_core::{Reference, Shape};
//! use segcal_losses::calculator::{Arrays, Numbers};
//! use segcal_losses::{Convention, Given, Loss};
//! let loss = Loss::new("ce", &Given::new(), Convention::Authors)?;
//! let arrays = Arrays::new(Shape::new(1, 2, 1, 1, 2), Numbers::Double(&[2.0, -1.0, 0.0, 1.0]), Numbers::Double(&[0.0, 1.0]));
//! arrays.check(None, false)?;
//! let found = arrays.evaluate(&Reference, &loss, true)?;
//! assert!((found.value - (1.0 + (-2_f64).exp()).ln()).abs() < 1e-15);
//! assert_eq!(found.gradient.unwrap().len(), 4);
//! # Ok::<(), segcal_core::Error>(())
//! ```

use std::fmt;

use segcal_core::{Backend, Elem, Error, Result, Shape, Tensor, axis};

use crate::{Batch, Loss, Prior};

/// Numbers of an array in either precision, in C order.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// 32 bits each.
    Single(&'a [f32]),
    /// 64 bits each.
    Double(&'a [f64]),
}

impl Numbers<'_> {
    /// The number of elements.
    pub const fn len(self) -> usize {
        match self {
            Self::Single(values) => values.len(),
            Self::Double(values) => values.len(),
        }
    }

    /// Whether the array is empty.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The first number for which `wanted` is false.
    fn find_not(self, wanted: impl Fn(f64) -> bool) -> Option<f64> {
        match self {
            Self::Single(values) => values.iter().map(|&x| f64::from(x)).find(|&x| !wanted(x)),
            Self::Double(values) => values.iter().copied().find(|&x| !wanted(x)),
        }
    }

    /// Copies the numbers to a tensor of a backend, rounded to its number type. Panics if their count does not match
    /// the shape.
    pub fn tensor<B: Backend>(self, backend: &B, shape: Shape) -> Tensor<B> {
        let data = match self {
            Self::Single(values) => values.iter().map(|&x| B::Elem::of(f64::from(x))).collect(),
            Self::Double(values) => values.iter().map(|&x| B::Elem::of(x)).collect(),
        };
        Tensor::new(backend, shape, data)
    }
}

/// The inputs of a loss; see [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct Arrays<'a> {
    /// The shape of the logits, `[n, K, d, h, w]`.
    pub shape: Shape,
    /// `[n, K, d, h, w]`, finite.
    pub logits: Numbers<'a>,
    /// `[n, d, h, w]`, class numbers from 0, or the ignored label.
    pub labels: Numbers<'a>,
    /// `[n, d, h, w]`, for the image-driven priors.
    pub image: Option<Numbers<'a>>,
    /// Logits of a second view `[n, K, d, h, w]`.
    pub second: Option<Numbers<'a>>,
    /// `[n, d, h, w]`, 1 where both views contain the pixel; 1 everywhere if `None`.
    pub mask: Option<Numbers<'a>>,
}

/// The result of evaluating a loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The loss.
    pub value: f64,
    /// Its unweighted terms.
    pub terms: Vec<(&'static str, f64)>,
    /// d value / d logits in the order of the logits, if requested.
    pub gradient: Option<Vec<f64>>,
}

impl<'a> Arrays<'a> {
    /// Creates the inputs from logits of a shape and their labels.
    pub const fn new(shape: Shape, logits: Numbers<'a>, labels: Numbers<'a>) -> Self {
        Self { shape, logits, labels, image: None, second: None, mask: None }
    }

    /// Checks that the arrays form a batch: lengths match the shape, numbers are finite and labels are classes.
    /// `ignored` is the ignored label, which is allowed; `needs_image` makes the image required.
    ///
    /// # Errors
    /// The first array that fails the check; the message names it.
    pub fn check(&self, ignored: Option<f64>, needs_image: bool) -> Result<()> {
        let pixels = self.shape.with(axis::C, 1);
        check_finite("logits", self.logits, self.shape)?;
        check_labels("labels", self.labels, pixels, self.shape.c(), ignored)?;
        let others = [("image", self.image, pixels), ("second", self.second, self.shape), ("mask", self.mask, pixels)];
        for (name, numbers, shape) in others {
            numbers.map_or(Ok(()), |numbers| check_finite(name, numbers, shape))?;
        }
        if needs_image && self.image.is_none() {
            return Err(Error::new("missing, but this prior needs one")
                .at("image")
                .help("give the image that the labels belong to"));
        }
        Ok(())
    }

    /// Computes the value, the terms and, if requested, the gradient with respect to the logits.
    ///
    /// # Errors
    /// As [`Backend::download`].
    ///
    /// # Panics
    /// The lengths do not match the shape; see [`Arrays::check`].
    pub fn evaluate<B: Backend>(&self, backend: &B, loss: &Loss, gradient: bool) -> Result<Found> {
        self.with_batch(backend, |batch| {
            let value = loss.value(batch);
            let terms = value.terms.iter().map(|(name, term)| Ok((*name, term.item()?))).collect::<Result<_>>()?;
            let total = value.total.item()?;
            let gradient = gradient.then(|| {
                let found = value.total.is_tracked().then(|| value.total.backward());
                let found = found.as_ref().and_then(|gradients| gradients.of(batch.logits));
                found.map_or_else(|| Ok(vec![0.0; self.shape.len()]), Tensor::to_f64)
            });
            Ok(Found { value: total, terms, gradient: gradient.transpose()? })
        })
    }

    /// Passes a batch of the validation pass to a loss that keeps a state.
    ///
    /// # Errors
    /// As [`Backend::download`].
    pub fn observe<B: Backend>(&self, backend: &B, loss: &mut Loss) -> Result<()> {
        self.with_batch(backend, |batch| loss.observe(batch))
    }

    fn with_batch<B: Backend, T>(&self, backend: &B, act: impl FnOnce(&Batch<'_, B>) -> T) -> T {
        let pixels = self.shape.with(axis::C, 1);
        let logits = self.logits.tensor(backend, self.shape).tracked();
        let labels = self.labels.tensor(backend, pixels);
        let image = self.image.map(|image| image.tensor(backend, pixels));
        let second = self.second.map(|second| second.tensor(backend, self.shape));
        let ones = || Tensor::full(backend, pixels, 1.0);
        let mask = second.as_ref().map(|_| self.mask.map_or_else(ones, |mask| mask.tensor(backend, pixels)));
        let mut batch = Batch::new(&logits, &labels);
        if let Some(image) = &image {
            batch = batch.with_image(image);
        }
        if let (Some(second), Some(mask)) = (&second, &mask) {
            batch = batch.with_second(second, mask);
        }
        act(&batch)
    }
}

/// Computes the prior `[n, classes, d, h, w]` from labels `[n, 1, d, h, w]` in `0..classes`, and from an image of the
/// same shape if the prior reads one.
///
/// # Errors
/// A label is not a class, a length does not match the shape, the image is missing, or as [`Backend::download`].
pub fn prior<B: Backend>(
    backend: &B,
    prior: &Prior,
    (labels, shape): (Numbers<'_>, Shape),
    classes: usize,
    image: Option<Numbers<'_>>,
) -> Result<Vec<f64>> {
    check_labels("labels", labels, shape, classes, None)?;
    image.map_or(Ok(()), |image| check_finite("image", image, shape))?;
    if prior.own_spec().image && image.is_none() {
        return Err(Error::new("missing, but this prior needs one")
            .at("image")
            .help("give the image that the labels belong to"));
    }
    let image = image.map(|image| image.tensor(backend, shape));
    prior.value(&labels.tensor(backend, shape), classes, image.as_ref()).to_f64()
}

fn check_finite(name: impl fmt::Display, numbers: Numbers<'_>, shape: Shape) -> Result<()> {
    if numbers.len() != shape.len() {
        let problem = format!("holds {} numbers, but the shape {shape} needs {}", numbers.len(), shape.len());
        return Err(Error::new(problem).at(name));
    }
    if numbers.is_empty() {
        return Err(Error::new("the array is empty").at(name));
    }
    match numbers.find_not(f64::is_finite) {
        Some(bad) => Err(Error::new(format!("the array holds {bad}")).at(name).help("all numbers must be finite")),
        None => Ok(()),
    }
}

/// Checks that each label is a class number below `classes` or the ignored label.
///
/// # Errors
/// There is any other label, or the count does not match the shape. The error refers to the array as `name`.
pub fn check_labels(
    name: impl fmt::Display,
    numbers: Numbers<'_>,
    shape: Shape,
    classes: usize,
    ignored: Option<f64>,
) -> Result<()> {
    check_finite(&name, numbers, shape)?;
    let is_class = |label: f64| label.fract() == 0.0 && label >= 0.0 && label < classes as f64;
    match numbers.find_not(|label| is_class(label) || Some(label) == ignored) {
        None => Ok(()),
        Some(label) => {
            let problem = format!("the labels hold {label}, but the classes are 0 to {}", classes - 1);
            let whole = label.fract() == 0.0;
            let remedy =
                if whole { "map the labels to classes, or set ignore_index" } else { "labels must be whole numbers" };
            Err(Error::new(problem).at(name).help(remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use segcal_core::Reference;

    use super::*;
    use crate::{Convention, Given};

    const SHAPE: Shape = Shape::new(1, 2, 1, 1, 2);
    const LOGITS: [f64; 4] = [2.0, -1.0, 0.0, 1.0];

    fn problem(arrays: Arrays<'_>, needs_image: bool) -> String {
        arrays.check(Some(255.0), needs_image).unwrap_err().to_string()
    }

    #[test]
    fn each_error_names_the_array_and_the_value() {
        let good = Arrays::new(SHAPE, Numbers::Double(&LOGITS), Numbers::Double(&[0.0, 255.0]));
        good.check(Some(255.0), false).unwrap();
        assert!(problem(good, true).starts_with("image: missing"));
        assert!(
            problem(Arrays { labels: Numbers::Single(&[0.0, 2.0]), ..good }, false)
                .contains("labels: the labels hold 2")
        );
        assert!(problem(Arrays { labels: Numbers::Single(&[0.5, 1.0]), ..good }, false).contains("whole numbers"));
        assert!(
            problem(Arrays { logits: Numbers::Single(&[f32::NAN; 4]), ..good }, false)
                .contains("logits: the array holds NaN")
        );
        assert!(
            problem(Arrays { mask: Some(Numbers::Double(&[1.0])), ..good }, false).starts_with("mask: holds 1 numbers")
        );
    }

    #[test]
    fn both_precisions_give_the_same_for_numbers_that_both_hold() {
        let loss = Loss::new("nacl", &Given::new(), Convention::Authors).unwrap();
        let singles = LOGITS.map(|x| x as f32);
        let double = Arrays::new(SHAPE, Numbers::Double(&LOGITS), Numbers::Double(&[0.0, 1.0]));
        let single = Arrays::new(SHAPE, Numbers::Single(&singles), Numbers::Single(&[0.0, 1.0]));
        let [a, b] = [double, single].map(|arrays| arrays.evaluate(&Reference, &loss, true).unwrap());
        assert_eq!(a, b);
        assert!(double.evaluate(&Reference, &loss, false).unwrap().gradient.is_none());
    }
}
