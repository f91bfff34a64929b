//! Label priors: one file each. Shared here: patches, borders and filters of one-hot labels.
//!
//! A patch of 3 is 3 x 3 in 2-D (`d = 1`) and 3 x 3 x 3 in 3-D.

pub mod mean;

use segcal_core::{Backend, Geometry, Shape, Tensor, axis, ops};

use crate::{Param, Range};

/// The parameter of every patch.
pub(crate) const PATCH: Param =
    Param::new("patch", "3", Range::Odd(1.0, 15.0), "extent of the label patch along each spatial axis, in pixels");

/// What the patch holds where it leaves the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outside {
    /// Class 0, the background.
    Background,
    /// The nearest pixel of the image.
    Nearest,
}

/// Extents `[d, h, w]` of a patch around each pixel of a map of this shape.
pub(crate) fn patch_extents(patch: usize, shape: Shape) -> [usize; 3] {
    [if shape.spatial()[0] == 1 { 1 } else { patch }, patch, patch]
}

/// A map with the pixels that patches reach beyond its border.
pub(crate) fn extend<B: Backend>(map: &Tensor<B>, extents: [usize; 3], outside: Outside) -> Tensor<B> {
    let margin = extents.map(|extent| extent / 2);
    match outside {
        Outside::Background => ops::pad(map, margin, margin),
        Outside::Nearest => ops::replicate_pad(map, margin),
    }
}

/// The label map filtered class by class: `y[k] = sum over the patch of weight * [label = k]`, with `weights` in the
/// order of the patch `[d, h, w]`.
pub(crate) fn filter_labels<B: Backend>(
    labels: &Tensor<B>,
    classes: usize,
    extents: [usize; 3],
    weights: &[f64],
    outside: Outside,
) -> Tensor<B> {
    let [kd, kh, kw] = extents;
    let one_hot = ops::one_hot(&extend(labels, extents, outside), classes);
    let kernel = Tensor::from_f64(labels.backend(), Shape::new(1, 1, kd, kh, kw), weights);
    let kernel = ops::map_over(Shape::new(classes, 1, kd, kh, kw), &[], &[&kernel], |p| p.input(0));
    let geometry = Geometry { groups: classes, ..Geometry::VALID };
    let filtered = ops::conv(&one_hot, &kernel, &geometry);
    debug_assert_eq!(filtered.shape(), labels.shape().with(axis::C, classes));
    filtered
}
