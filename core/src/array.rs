//! Conversions between tensors and arrays of the `ndarray` crate.

use ndarray::{Array5, ArrayView, Dimension};

use crate::{Backend, Error, Result, Shape, Tensor};

impl<B: Backend> Tensor<B> {
    /// Creates a tensor from an array with one to five axes. They become the last axes of `[n, c, d, h, w]`; the axes
    /// before them have extent 1. An array in standard layout is copied once, to the device; any other array is first
    /// copied into standard order.
    ///
    /// ```
    /// use segcal_core::{Reference, Shape, Tensor};
    /// let image = ndarray::arr2(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    /// let x = Tensor::from_array(&Reference, &image.view())?;
    /// assert_eq!(x.shape(), Shape::new(1, 1, 1, 2, 3));
    /// assert_eq!(x.to_array()?[[0, 0, 0, 1, 2]], 6.0);
    /// # Ok::<(), segcal_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// The array has no axes, or more than five.
    pub fn from_array<D: Dimension>(backend: &B, array: &ArrayView<'_, B::Elem, D>) -> Result<Self> {
        let extents = array.shape();
        let missing = 5usize.checked_sub(extents.len()).filter(|&missing| missing < 5).ok_or_else(|| {
            Error::new(format!("expected an array of 1 to 5 axes, got shape {extents:?}")).help("reshape it")
        })?;
        let mut dims = [1; 5];
        dims[missing..].copy_from_slice(extents);
        let shape = Shape::from_dims(dims);
        match array.as_slice() {
            Some(numbers) => Self::from_slice(backend, shape, numbers),
            None => Self::from_user(backend, shape, array.iter().copied().collect()),
        }
    }

    /// Returns the values as an array `[n, c, d, h, w]` in standard layout, moved to the host as by [`Tensor::to_vec`]
    /// and not copied again.
    ///
    /// # Errors
    /// As [`Backend::download`].
    pub fn to_array(&self) -> Result<Array5<B::Elem>> {
        Array5::from_shape_vec(self.shape().dims(), self.to_vec()?).map_err(Error::from_source)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array, ArrayD, Axis, IxDyn};

    use super::*;
    use crate::Reference;

    #[test]
    fn views_in_any_layout_give_the_numbers_in_order() {
        let array = Array::from_shape_fn((2, 3, 4), |(d, h, w)| (100 * d + 10 * h + w) as f64);
        let whole = Tensor::from_array(&Reference, &array.view()).unwrap();
        assert_eq!(whole.shape(), Shape::new(1, 1, 2, 3, 4));
        assert_eq!(whole.to_vec().unwrap(), array.iter().copied().collect::<Vec<_>>());
        let slice = Tensor::from_array(&Reference, &array.index_axis(Axis(2), 1)).unwrap();
        assert_eq!(slice.to_vec().unwrap(), [1.0, 11.0, 21.0, 101.0, 111.0, 121.0]);
        let turned = Tensor::from_array(&Reference, &array.t()).unwrap();
        assert_eq!((turned.shape(), turned.to_vec().unwrap()[1]), (Shape::new(1, 1, 4, 3, 2), 100.0));
    }

    #[test]
    fn an_array_comes_back_as_it_went() {
        let array = Array::from_shape_fn((2, 1, 3, 2, 2), |(n, _, d, h, w)| (n + 2 * d + 7 * h + 20 * w) as f64);
        assert_eq!(Tensor::from_array(&Reference, &array.view()).unwrap().to_array().unwrap(), array);
    }

    #[test]
    fn other_counts_of_axes_are_refused() {
        for axes in [0, 6] {
            let array = ArrayD::<f64>::zeros(IxDyn(&vec![1; axes]));
            let message = Tensor::from_array(&Reference, &array.view()).unwrap_err().to_string();
            assert!(message.contains("1 to 5 axes"), "{message}");
        }
    }

    #[test]
    fn a_borrowed_slice_must_fit_its_shape() {
        assert!(Tensor::from_slice(&Reference, Shape::new(1, 1, 1, 1, 3), &[1.0; 3]).is_ok());
        assert!(Tensor::from_slice(&Reference, Shape::new(1, 1, 1, 1, 3), &[1.0; 2]).is_err());
    }
}
