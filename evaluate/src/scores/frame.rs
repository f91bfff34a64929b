//! The grid or array shape of scores.

use segcal_core::{Error, Result};
use segcal_data::Grid;

/// The grid or array shape of scores, so that other scores can be written in the same form.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The grid of a NIfTI file.
    Grid(Grid),
    /// The shape of an array, class first.
    Array {
        /// The shape.
        shape: Vec<usize>,
        /// Whether the array was in a `.npz` archive.
        archive: bool,
    },
}

impl Frame {
    /// The grid. That of an array has no voxel size.
    pub fn grid(&self) -> Grid {
        match self {
            Self::Grid(grid) => grid.clone(),
            Self::Array { shape, .. } => Grid::unknown(spatial(shape, 1).unwrap_or_default()),
        }
    }

    /// The frame of scores with this number of classes.
    pub(super) fn with_classes(mut self, classes: usize) -> Self {
        if let Self::Array { shape, .. } = &mut self {
            shape[0] = classes;
        }
        self
    }
}

/// The spatial extents of an array shape after its first `leading` axes: `[(d,) h, w]`.
pub(super) fn spatial(shape: &[usize], leading: usize) -> Result<[usize; 3]> {
    match shape.get(leading..) {
        Some(&[h, w]) => Ok([1, h, w]),
        Some(&[d, h, w]) => Ok([d, h, w]),
        _ => Err(Error::new(format!("expected a 2-D or 3-D array, got shape {shape:?}"))
            .help("it must have two or three spatial axes")),
    }
}
