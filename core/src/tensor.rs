//! Tensors: a shape, a shared buffer, and a gradient node if the tensor is tracked.

use std::fmt;
use std::sync::Arc;

use crate::grad::Node;
use crate::saved::Recipe;
use crate::{Backend, Elem, Error, Program, Result, Shape, View};

/// A five-axis array of numbers on a backend; see [`Shape`]. Cloning shares the values.
///
/// A tensor is *tracked* if it came from [`Tensor::tracked`] or from an operation on a tracked tensor; only then is
/// anything recorded for [`Tensor::backward`].
///
/// ```
/// use segcal_core::{Reference, Shape, Tensor, ops};
/// let x = Tensor::new(&Reference, Shape::new(1, 1, 1, 1, 3), vec![1.0, 2.0, 3.0]).tracked();
/// let loss = ops::sum_all(&[&x], |p| p.input(0).square());
/// assert_eq!(loss.item()?, 14.0);
/// let gradients = loss.backward();
/// assert_eq!(gradients.of(&x).unwrap().to_vec()?, vec![2.0, 4.0, 6.0]);
/// # Ok::<(), segcal_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor<B: Backend> {
    backend: B,
    buffer: B::Buffer,
    shape: Shape,
    pub(crate) node: Option<Arc<Node<B>>>,
    /// How to recompute the values; see [`Tensor::with_recipe`].
    pub(crate) recipe: Option<Recipe<B>>,
}

impl<B: Backend> Tensor<B> {
    /// Creates a tensor from values in the order of `shape`. Panics if their count is not `shape.len()`; for user data,
    /// use [`Tensor::from_user`].
    pub fn new(backend: &B, shape: Shape, data: Vec<B::Elem>) -> Self {
        assert_eq!(data.len(), shape.len(), "a tensor of shape {shape} needs {} values", shape.len());
        Self::from_buffer(backend, shape, backend.upload(data))
    }

    /// Like [`Tensor::new`], for doubles, which are rounded to the backend's number type.
    pub fn from_f64(backend: &B, shape: Shape, data: &[f64]) -> Self {
        Self::new(backend, shape, data.iter().map(|&x| B::Elem::of(x)).collect())
    }

    /// Like [`Tensor::new`], for user data.
    ///
    /// # Errors
    /// The number of values does not match the shape.
    pub fn from_user(backend: &B, shape: Shape, data: Vec<B::Elem>) -> Result<Self> {
        check_count(shape, data.len())?;
        Ok(Self::new(backend, shape, data))
    }

    /// Like [`Tensor::from_user`], for borrowed values, which are copied once, to the device.
    ///
    /// # Errors
    /// The number of values does not match the shape.
    pub fn from_slice(backend: &B, shape: Shape, data: &[B::Elem]) -> Result<Self> {
        check_count(shape, data.len())?;
        Ok(Self::from_buffer(backend, shape, backend.upload(data)))
    }

    /// Creates a tensor from a buffer of the backend.
    pub fn from_buffer(backend: &B, shape: Shape, buffer: B::Buffer) -> Self {
        Self { backend: backend.clone(), buffer, shape, node: None, recipe: None }
    }

    /// Creates a tensor with the same value everywhere.
    pub fn full(backend: &B, shape: Shape, value: f64) -> Self {
        let buffers = backend.map(&Program::new(|p| p.scalar(0)), &[value], &[], shape);
        Self::from_buffer(backend, shape, buffers.into_iter().next().expect("one output"))
    }

    /// Creates a tensor of zeros.
    pub fn zeros(backend: &B, shape: Shape) -> Self {
        Self::full(backend, shape, 0.0)
    }

    /// The backend that holds the values.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The buffer with its shape, as the methods of [`Backend`] take it.
    pub fn view(&self) -> View<'_, B> {
        (&self.buffer, self.shape)
    }

    /// Moves the values to the host. Waits for the device.
    ///
    /// # Errors
    /// As [`Backend::download`].
    pub fn to_vec(&self) -> Result<Vec<B::Elem>> {
        self.backend.download(&self.buffer)
    }

    /// Moves the values to the host, as doubles.
    ///
    /// # Errors
    /// As [`Backend::download`].
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        Ok(self.to_vec()?.into_iter().map(Elem::f64).collect())
    }

    /// Moves the value of a scalar to the host. Panics if the tensor is not a scalar.
    ///
    /// # Errors
    /// As [`Backend::download`].
    pub fn item(&self) -> Result<f64> {
        assert_eq!(self.shape, Shape::SCALAR, "item: the tensor is not a scalar");
        Ok(self.to_f64()?[0])
    }

    /// The same values with another shape of the same length; differentiable, and copies nothing.
    #[must_use]
    pub fn reshape(&self, shape: Shape) -> Self {
        assert_eq!(self.shape.len(), shape.len(), "reshape: {} does not fit {shape}", self.shape);
        let old = self.shape;
        let view = Self { shape, ..self.detach() };
        view.record(&[self], move |gradient| vec![Some(gradient.reshape(old))])
    }

    /// The same values without history: gradients stop here.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { node: None, recipe: None, ..self.clone() }
    }
}

impl<B: Backend> fmt::Debug for Tensor<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tracked = if self.node.is_some() { ", tracked" } else { "" };
        write!(f, "Tensor({}{}{tracked})", self.backend.name(), self.shape)
    }
}

fn check_count(shape: Shape, count: usize) -> Result<()> {
    if count == shape.len() {
        return Ok(());
    }
    Err(Error::new(format!("an array of shape {shape} needs {} values, got {count}", shape.len())))
}
