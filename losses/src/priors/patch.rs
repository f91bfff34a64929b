//! Building blocks of the priors: patches, borders and label filters.
//!
//! A patch of 3 is 3 x 3 in 2-D (`d = 1`) and 3 x 3 x 3 in 3-D.

use segcal_core::{Backend, Expr, Geometry, Rank, Shape, Tensor, axis, ops};

use crate::{Param, Range, Settings};

/// The parameter for the size of a patch.
pub(crate) const PATCH: Param =
    Param::new("patch", "3", Range::Odd(1.0, 15.0), "extent of the label patch along each spatial axis, in pixels");

/// What a patch contains outside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outside {
    /// Class 0, the background, with intensity 0.
    Background,
    /// The nearest pixel of the image.
    Nearest,
    /// No class.
    Nothing,
}

impl Outside {
    /// The rule of a convention: `authors` pads label maps with zeros; `paper` repeats the edge, because the formulas
    /// do not define pixels outside.
    pub(crate) fn of(settings: &Settings) -> Self {
        if settings.is_paper() { Self::Nearest } else { Self::Background }
    }
}

/// Extents `[d, h, w]` of a patch around each pixel of a map of this shape.
pub(crate) fn patch_extents(patch: usize, shape: Shape) -> [usize; 3] {
    [if shape.spatial()[0] == 1 { 1 } else { patch }, patch, patch]
}

/// Squared distance from the centre for each position of a patch, in the order `[d, h, w]`.
pub(crate) fn squared_radius(extents: [usize; 3]) -> impl Iterator<Item = f64> {
    let [kd, kh, kw] = extents;
    let patch = Shape::new(1, 1, kd, kh, kw);
    (0..patch.len()).map(move |place| {
        let at = patch.coordinate(place);
        (0..3).map(|axis| (at[2 + axis] as f64 - (extents[axis] / 2) as f64).powi(2)).sum()
    })
}

/// A map of labels or intensities, extended by the pixels that patches reach beyond its border.
pub(crate) fn extend<B: Backend>(map: &Tensor<B>, extents: [usize; 3], outside: Outside) -> Tensor<B> {
    let margin = extents.map(|extent| extent / 2);
    match outside {
        Outside::Nearest => ops::replicate_pad(map, margin),
        Outside::Background | Outside::Nothing => ops::pad(map, margin, margin),
    }
}

/// Filters the label map class by class: `y[k] = sum over the patch of weight * [label = k]`, with `weights` in the
/// order `[d, h, w]` of the patch.
pub(crate) fn filter_labels<B: Backend>(
    labels: &Tensor<B>,
    classes: usize,
    extents: [usize; 3],
    weights: &[f64],
    outside: Outside,
) -> Tensor<B> {
    if outside == Outside::Nothing {
        return filter_channels(&ops::one_hot(labels, classes), extents, weights);
    }
    let one_hot = ops::one_hot(&extend(labels, extents, outside), classes);
    depthwise(&one_hot, extents, weights, [0; 3])
}

/// Filters each channel with the same weights, with zeros outside.
pub(crate) fn filter_channels<B: Backend>(map: &Tensor<B>, extents: [usize; 3], weights: &[f64]) -> Tensor<B> {
    depthwise(map, extents, weights, extents.map(|extent| extent / 2))
}

fn depthwise<B: Backend>(map: &Tensor<B>, [kd, kh, kw]: [usize; 3], weights: &[f64], pad: [usize; 3]) -> Tensor<B> {
    let channels = map.shape().c();
    let kernel = Tensor::from_f64(map.backend(), Shape::new(1, 1, kd, kh, kw), weights);
    let kernel = ops::map_over(Shape::new(channels, 1, kd, kh, kw), &[], &[&kernel], |p| p.input(0) * 1.0);
    ops::conv(map, &kernel, &Geometry { groups: channels, pad, ..Geometry::VALID })
}

/// The one-hot code of the label with a given rank in each patch.
pub(crate) fn rank_of_labels<B: Backend>(
    labels: &Tensor<B>,
    classes: usize,
    patch: usize,
    outside: Outside,
    rank: impl FnOnce(usize) -> Rank,
) -> Tensor<B> {
    let extents = patch_extents(patch, labels.shape());
    let extended = extend(labels, extents, outside);
    ops::one_hot(&ops::rank_filter(&extended, extents, rank(extents.iter().product())), classes)
}

/// The image that some priors need; its presence has been checked when the input was validated.
pub(crate) fn need_image<B: Backend>(image: Option<&Tensor<B>>) -> &Tensor<B> {
    image.expect("this prior needs an image")
}

/// `tau_k = sum over the patch of weight(tap, I_i - I_c) [label_i = k]`, computed tap by tap.
pub(crate) fn contrast_filter<B: Backend>(
    labels: &Tensor<B>,
    classes: usize,
    image: &Tensor<B>,
    extents: [usize; 3],
    outside: Outside,
    weight: impl for<'b> Fn(usize, Expr<'b>) -> Expr<'b>,
) -> Tensor<B> {
    let (shape, [kd, kh, kw]) = (labels.shape(), extents);
    let domain = shape.with(axis::C, classes);
    let (near_labels, near_image) = (extend(labels, extents, outside), extend(image, extents, outside));
    let patch = Shape::new(1, 1, kd, kh, kw);
    (0..patch.len()).fold(Tensor::zeros(labels.backend(), domain), |sum, tap| {
        let at = patch.coordinate(tap);
        let (label, intensity) = (ops::slice(&near_labels, at, shape), ops::slice(&near_image, at, shape));
        ops::map(&[&sum, &label, &intensity, image], |p| {
            let contrast = p.input(2) - p.input(3);
            p.input(0) + p.input(1).equals(p.coord(axis::C)).select(weight(tap, contrast), 0.0)
        })
    })
}

/// The contrast filter with weights that do not depend on the position, divided by their sum over the patch.
pub(crate) fn likeness_filter<B: Backend>(
    labels: &Tensor<B>,
    classes: usize,
    image: &Tensor<B>,
    patch: usize,
    outside: Outside,
    weight: impl for<'b> Fn(Expr<'b>) -> Expr<'b>,
) -> Tensor<B> {
    let extents = patch_extents(patch, labels.shape());
    let mixed = contrast_filter(labels, classes, image, extents, outside, |_, contrast| weight(contrast));
    let total = ops::sum(&[&mixed], labels.shape(), |p| p.input(0));
    ops::map(&[&mixed, &total], |p| p.input(0) / p.input(1))
}
