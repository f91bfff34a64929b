//! A backend that computes nothing: it counts what convolutions would multiply and add.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use segcal_core::{Backend, Fold, Geometry, Index, Program, Rank, Result, Sampling, Shape, View, Window};

/// Multiplications and additions of direct convolutions so far. Cloning shares the count; a buffer is only its length.
#[derive(Clone, Default)]
pub(crate) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(crate) fn operations(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Each number of `y` meets every tap of every channel of its group.
    fn convolution(&self, y: Shape, w: Shape, gives: Shape) -> usize {
        self.0.fetch_add(2 * (y.len() * w.c() * w.voxels()) as u64, Ordering::Relaxed);
        gives.len()
    }
}

impl Backend for Counter {
    type Elem = f32;
    type Buffer = usize;

    fn name(&self) -> &'static str {
        "count"
    }

    fn arithmetic(&self) -> String {
        self.name().into()
    }

    fn upload<'a>(&self, data: impl Into<Cow<'a, [f32]>>) -> usize {
        data.into().len()
    }

    fn download(&self, &len: &usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; len])
    }

    fn map(&self, program: &Program, _: &[f64], _: &[View<'_, Self>], out: Shape) -> Vec<usize> {
        vec![out.len(); program.outputs().len()]
    }

    fn reduce(&self, _: Fold, program: &Program, _: &[f64], _: &[View<'_, Self>], _: Shape, out: Shape) -> Vec<usize> {
        vec![out.len(); program.outputs().len()]
    }

    fn slice(&self, _: View<'_, Self>, _: Index, out: Shape) -> usize {
        out.len()
    }

    fn place(&self, _: &[(View<'_, Self>, Index)], out: Shape) -> usize {
        out.len()
    }

    fn conv(&self, _: View<'_, Self>, (_, w): View<'_, Self>, _: &Geometry, out: Shape) -> usize {
        self.convolution(out, w, out)
    }

    fn conv_transpose(&self, (_, y): View<'_, Self>, (_, w): View<'_, Self>, _: &Geometry, x_shape: Shape) -> usize {
        self.convolution(y, w, x_shape)
    }

    fn conv_weight(&self, _: View<'_, Self>, (_, y): View<'_, Self>, _: &Geometry, w_shape: Shape) -> usize {
        self.convolution(y, w_shape, w_shape)
    }

    fn max_pool(&self, _: View<'_, Self>, _: &Window, out: Shape) -> (usize, usize) {
        (out.len(), out.len())
    }

    fn max_unpool(&self, _: View<'_, Self>, _: View<'_, Self>, _: &Window, x_shape: Shape) -> usize {
        x_shape.len()
    }

    fn resample(&self, _: View<'_, Self>, _: &Sampling, out: Shape) -> usize {
        out.len()
    }

    fn resample_adjoint(&self, _: View<'_, Self>, _: &Sampling, x_shape: Shape) -> usize {
        x_shape.len()
    }

    fn rank_filter(&self, _: View<'_, Self>, _: [usize; 3], _: Rank, out: Shape) -> usize {
        out.len()
    }

    fn bincount(&self, _: View<'_, Self>, weights: &[View<'_, Self>], count: usize) -> Vec<usize> {
        vec![count; weights.len()]
    }

    fn take(&self, _: View<'_, Self>, (_, index): View<'_, Self>) -> usize {
        index.len()
    }

    fn distance(&self, (_, mask): View<'_, Self>, _: [f64; 3]) -> usize {
        mask.len()
    }
}

#[cfg(test)]
mod tests {
    use segcal_core::{Tensor, ops};

    use super::*;

    #[test]
    fn a_convolution_and_its_gradients_count_alike() {
        let counter = Counter::default();
        let x = Tensor::zeros(&counter, Shape::new(2, 4, 1, 6, 5)).tracked();
        let w = Tensor::zeros(&counter, Shape::new(8, 2, 1, 3, 3)).tracked();
        let y = ops::conv(&x, &w, &Geometry { groups: 2, ..Geometry::same([1, 3, 3]) });
        let once = 2 * (2 * 8 * 6 * 5) * (2 * 9);
        assert_eq!(counter.operations(), once);
        drop(ops::sum_all(&[&y], |p| p.input(0).square()).backward());
        assert_eq!(counter.operations(), 3 * once);
    }
}
