//! Arrays of numpy, borrowed without a copy. The package has made them contiguous, in native byte order.

use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use segcal_core::Shape;
use segcal_losses::calculator::Numbers;

/// An array of floating-point numbers in either precision.
#[derive(FromPyObject)]
pub(crate) enum Floats<'py> {
    Single(PyReadonlyArrayDyn<'py, f32>),
    Double(PyReadonlyArrayDyn<'py, f64>),
}

impl Floats<'_> {
    pub(crate) fn numbers(&self) -> PyResult<Numbers<'_>> {
        Ok(match self {
            Self::Single(array) => Numbers::Single(array.as_slice()?),
            Self::Double(array) => Numbers::Double(array.as_slice()?),
        })
    }

    pub(crate) fn extents(&self) -> &[usize] {
        match self {
            Self::Single(array) => array.shape(),
            Self::Double(array) => array.shape(),
        }
    }
}

/// The five extents of a batch `(B, C, *spatial)` with two or three spatial axes.
pub(crate) fn batch_shape(name: &str, extents: &[usize]) -> PyResult<Shape> {
    match *extents {
        [n, c, h, w] => Ok(Shape::new(n, c, 1, h, w)),
        [n, c, d, h, w] => Ok(Shape::new(n, c, d, h, w)),
        _ => Err(PyValueError::new_err(format!(
            "{name}: expected shape (B, C, H, W) or (B, C, D, H, W), got {extents:?}"
        ))),
    }
}

/// The same for labels `(B, *spatial)`.
pub(crate) fn labels_shape(name: &str, extents: &[usize]) -> PyResult<Shape> {
    match *extents {
        [n, h, w] => Ok(Shape::new(n, 1, 1, h, w)),
        [n, d, h, w] => Ok(Shape::new(n, 1, d, h, w)),
        _ => Err(PyValueError::new_err(format!("{name}: expected shape (B, H, W) or (B, D, H, W), got {extents:?}"))),
    }
}

/// Number of classes and of voxels of each case, of scores `(B, C, *spatial)` and labels `(B, *spatial)`; neither is 0.
pub(crate) fn cases(name: &str, scores: &[usize], labels: &[usize]) -> PyResult<(usize, usize)> {
    let problem = match *scores {
        [b, c, ref spatial @ ..] if b > 0 && c > 0 && spatial.iter().all(|&extent| extent > 0) => {
            if labels.split_first() == Some((&b, spatial)) {
                return Ok((c, spatial.iter().product()));
            }
            format!("labels: expected shape {:?} for {name} {scores:?}, got {labels:?}", [&[b], spatial].concat())
        }
        _ => format!("{name}: expected shape (B, C, *spatial) and at least one voxel, got {scores:?}"),
    };
    Err(PyValueError::new_err(problem))
}
