//! Predictions from views of `ndarray`. Views in standard layout are borrowed, others are copied.

use std::borrow::Cow;

use ndarray::{ArrayView, ArrayView3, ArrayView4, Dimension};

use super::options::Prediction;
use crate::volume::Label;

#[expect(clippy::needless_pass_by_value, reason = "views are handed on by value, as ndarray does")]
impl<'a> Prediction<'a> {
    /// Class probabilities `[k, d, h, w]`.
    ///
    /// ```
    /// use ndarray::{Array3, Array4};
    /// use segcal_core::Reference;
    /// use segcal_metrics::measure::{Options, Prediction, measure};
    /// use segcal_metrics::volume::Grid;
    ///
    /// let p = Array4::from_elem((2, 4, 5, 6), 0.5_f32);
    /// let labels = Array3::from_elem((4, 5, 6), 0_u16);
    /// let reference = labels.as_slice().expect("standard layout");
    /// let grid = Grid::new([4, 5, 6], [3.0, 1.0, 1.0]);
    /// let figures = measure(&Reference, Prediction::probabilities(p.view()), reference, grid, &Options::default())?;
    /// assert_eq!(figures.regions["all"]["ece"], 0.5);
    /// # Ok::<(), segcal_core::Error>(())
    /// ```
    pub fn probabilities(view: ArrayView4<'a, f32>) -> Self {
        Self::Probabilities(values(&view))
    }

    /// Logits `[k, d, h, w]`.
    pub fn logits(view: ArrayView4<'a, f32>) -> Self {
        Self::Logits(values(&view))
    }

    /// A label map `[d, h, w]`.
    pub fn labels(view: ArrayView3<'a, Label>) -> Self {
        Self::Labels(values(&view))
    }
}

fn values<'a, T: Copy, D: Dimension>(view: &ArrayView<'a, T, D>) -> Cow<'a, [T]> {
    view.to_slice().map_or_else(|| Cow::Owned(view.iter().copied().collect()), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn only_another_layout_is_copied() {
        let map = Array3::from_shape_fn((2, 3, 4), |(d, h, w)| (100 * d + 10 * h + w) as Label);
        assert!(matches!(values(&map.view()), Cow::Borrowed(_)));
        let turned = map.t();
        let values = values(&turned.view());
        assert!(matches!(values, Cow::Owned(_)) && values[..3] == [0, 100, 10]);
    }
}
