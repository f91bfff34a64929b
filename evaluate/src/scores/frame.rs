//! Where scores lie.

use segcal_core::{Error, Result};
use segcal_data::Grid;

/// Where scores lie, so that others can be written to the same place.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The grid of a NIfTI file.
    Grid(Grid),
    /// The shape of an array, class first.
    Array {
        /// The shape.
        shape: Vec<usize>,
        /// Whether it was one of a `.npz`.
        archive: bool,
    },
}

impl Frame {
    /// The grid; that of an array has no voxel size.
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
        _ => {
            Err(Error::new(format!("expected a 2-D or 3-D array, got shape {shape:?}"))
                .help("two or three spatial axes"))
        }
    }
}
