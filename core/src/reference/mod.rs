//! The executable specification of [`Backend`]: every method as the most obvious loops, in f64.
//!
//! It is slow on purpose: each function follows the formula in the doc of its method, and the fast backends are tested
//! against it. Operations that are adjoint to each other share one loop over the pairs of elements that they connect,
//! so that they cannot disagree about the pairs.

mod conv;
mod count;
mod distance;
mod layout;
mod map;
mod pool;
mod rank;
mod resample;

use std::borrow::Cow;
use std::sync::Arc;

use crate::{Backend, Fold, Geometry, Index, Program, Rank, Result, Sampling, Shape, View, Window};

/// The backend that is correct by inspection: f64, one thread, plain loops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Backend for Reference {
    type Elem = f64;
    type Buffer = Arc<Vec<f64>>;

    fn name(&self) -> &'static str {
        "reference"
    }

    fn arithmetic(&self) -> String {
        self.name().into()
    }

    fn upload<'a>(&self, data: impl Into<Cow<'a, [f64]>>) -> Self::Buffer {
        Arc::new(data.into().into_owned())
    }

    fn download(&self, buffer: &Self::Buffer) -> Result<Vec<f64>> {
        Ok(buffer.to_vec())
    }

    fn map(&self, program: &Program, scalars: &[f64], inputs: &[View<'_, Self>], out: Shape) -> Vec<Self::Buffer> {
        share(map::map(program, scalars, &views(inputs), out))
    }

    fn reduce(
        &self,
        fold: Fold,
        program: &Program,
        scalars: &[f64],
        inputs: &[View<'_, Self>],
        domain: Shape,
        out: Shape,
    ) -> Vec<Self::Buffer> {
        share(map::reduce(fold, program, scalars, &views(inputs), domain, out))
    }

    fn slice(&self, x: View<'_, Self>, start: Index, out: Shape) -> Self::Buffer {
        Arc::new(layout::slice(view(x), start, out))
    }

    fn place(&self, parts: &[(View<'_, Self>, Index)], out: Shape) -> Self::Buffer {
        let parts: Vec<_> = parts.iter().map(|&(part, start)| (view(part), start)).collect();
        Arc::new(layout::place(&parts, out))
    }

    fn conv(&self, x: View<'_, Self>, w: View<'_, Self>, geometry: &Geometry, out: Shape) -> Self::Buffer {
        Arc::new(conv::conv(view(x), view(w), geometry, out))
    }

    fn conv_transpose(
        &self,
        y: View<'_, Self>,
        w: View<'_, Self>,
        geometry: &Geometry,
        x_shape: Shape,
    ) -> Self::Buffer {
        Arc::new(conv::conv_transpose(view(y), view(w), geometry, x_shape))
    }

    fn conv_weight(&self, x: View<'_, Self>, y: View<'_, Self>, geometry: &Geometry, w_shape: Shape) -> Self::Buffer {
        Arc::new(conv::conv_weight(view(x), view(y), geometry, w_shape))
    }

    fn max_pool(&self, x: View<'_, Self>, window: &Window, out: Shape) -> (Self::Buffer, Self::Buffer) {
        let (y, index) = pool::max_pool(view(x), window, out);
        (Arc::new(y), Arc::new(index))
    }

    fn max_unpool(&self, y: View<'_, Self>, index: View<'_, Self>, window: &Window, x_shape: Shape) -> Self::Buffer {
        Arc::new(pool::max_unpool(view(y), view(index), window, x_shape))
    }

    fn resample(&self, x: View<'_, Self>, sampling: &Sampling, out: Shape) -> Self::Buffer {
        Arc::new(resample::resample(view(x), sampling, out))
    }

    fn resample_adjoint(&self, y: View<'_, Self>, sampling: &Sampling, x_shape: Shape) -> Self::Buffer {
        Arc::new(resample::resample_adjoint(view(y), sampling, x_shape))
    }

    fn rank_filter(&self, x: View<'_, Self>, size: [usize; 3], rank: Rank, out: Shape) -> Self::Buffer {
        Arc::new(rank::rank_filter(view(x), size, rank, out))
    }

    fn bincount(&self, bins: View<'_, Self>, weights: &[View<'_, Self>], count: usize) -> Vec<Self::Buffer> {
        share(weights.iter().map(|&weight| count::bincount(view(bins), view(weight), count)).collect())
    }

    fn take(&self, table: View<'_, Self>, index: View<'_, Self>) -> Self::Buffer {
        Arc::new(count::take(view(table), view(index)))
    }

    fn distance(&self, mask: View<'_, Self>, spacing: [f64; 3]) -> Self::Buffer {
        Arc::new(distance::distance(view(mask), spacing))
    }
}

/// A [`View`] whose buffer is a slice.
type Array<'a> = (&'a [f64], Shape);

fn view((buffer, shape): View<'_, Reference>) -> Array<'_> {
    debug_assert_eq!(buffer.len(), shape.len(), "a buffer of {} values read as {shape}", buffer.len());
    (buffer, shape)
}

fn views<'a>(inputs: &[View<'a, Reference>]) -> Vec<Array<'a>> {
    inputs.iter().map(|&input| view(input)).collect()
}

fn share(outputs: Vec<Vec<f64>>) -> Vec<Arc<Vec<f64>>> {
    outputs.into_iter().map(Arc::new).collect()
}

/// Calls `visit` with every coordinate of a shape, in memory order.
fn for_each_place(shape: Shape, mut visit: impl FnMut(Index)) {
    let [n_extent, c_extent, d_extent, h_extent, w_extent] = shape.dims();
    for n in 0..n_extent {
        for c in 0..c_extent {
            for d in 0..d_extent {
                for h in 0..h_extent {
                    for w in 0..w_extent {
                        visit([n, c, d, h, w]);
                    }
                }
            }
        }
    }
}

/// Calls `visit` with every `[d, h, w]` below the extents, in memory order.
fn for_each_voxel([d, h, w]: [usize; 3], mut visit: impl FnMut([usize; 3])) {
    for_each_place(Shape::new(1, 1, d, h, w), |[_, _, d, h, w]| visit([d, h, w]));
}

/// The memory offset of a coordinate; strides may be 0.
fn offset(strides: Index, at: Index) -> usize {
    (0..5).map(|axis| strides[axis] * at[axis]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_uploaded_is_downloaded() {
        let buffer = Reference.upload(vec![1.0, -2.5]);
        assert_eq!(Reference.download(&buffer).unwrap(), vec![1.0, -2.5]);
        assert_eq!(Reference.name(), "reference");
    }

    #[test]
    fn places_come_in_the_order_of_memory() {
        let shape = Shape::new(2, 1, 3, 2, 4);
        let mut visited = Vec::new();
        for_each_place(shape, |at| visited.push(shape.offset(at)));
        assert_eq!(visited, (0..shape.len()).collect::<Vec<_>>());
        let mut voxels = Vec::new();
        for_each_voxel([1, 2, 2], |at| voxels.push(at));
        assert_eq!(voxels, vec![[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]);
    }
}
