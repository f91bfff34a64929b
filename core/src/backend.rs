//! The contract between `core` and the hardware: one trait, no optional methods, closed under adjoint.
//!
//! The doc of a method specifies it: formula, shapes, adjoint, and what is not differentiable.
//! [`Reference`](crate::Reference) is the executable specification. `core` checks every shape before it calls a
//! backend, so a backend may rely on them.

use std::borrow::Cow;

use crate::{Elem, Geometry, Index, Program, Result, Sampling, Shape, Window};

/// A buffer, and the shape to read it with.
pub type View<'a, B> = (&'a <B as Backend>::Buffer, Shape);

/// How a reduction combines the values that share an output element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fold {
    /// Their sum; 0 if there are none.
    Sum,
    /// Their maximum.
    Max,
}

/// Which value of each window a rank filter returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rank {
    /// The `k`-th smallest value, counted from 0: 0 is the minimum, `len - 1` the maximum, `len / 2` the median if the
    /// count is odd.
    Nth(usize),
    /// The most frequent value; the smallest of them on a tie.
    Mode,
}

/// The value that [`Backend::distance`] returns if a volume has no marked voxels. Exact in f32.
pub const NO_DISTANCE: f64 = 1_267_650_600_228_229_401_496_703_205_376.0; // 2^100

/// A device: memory, and the closed set of operations that everything else is built from.
///
/// Results must not depend on the number of threads. Buffers are contiguous in the order of [`Shape`].
pub trait Backend: Clone + Send + Sync + 'static {
    /// The number type of every buffer.
    type Elem: Elem;
    /// Shared memory: cloning is cheap and does not copy.
    type Buffer: Clone + Send + Sync + 'static;

    /// A short name for messages: `reference`, `cpu`, `gpu`.
    fn name(&self) -> &'static str;

    /// What the bits of the results depend on besides the inputs, for run records and for display: the name, plus
    /// whatever else matters, such as `cpu avx2`.
    fn arithmetic(&self) -> String;

    /// Moves values from the host to the device. They come from a vector or a borrowed slice and are copied at most
    /// once.
    fn upload<'a>(&self, data: impl Into<Cow<'a, [Self::Elem]>>) -> Self::Buffer;

    /// Moves a buffer to the host. This is the only call that waits and the only one that can fail: errors of earlier
    /// asynchronous work are reported here.
    ///
    /// # Errors
    /// The device was lost, ran out of memory or refused an earlier operation.
    fn download(&self, buffer: &Self::Buffer) -> Result<Vec<Self::Elem>>;

    /// Computes one buffer of shape `out` for each output of the program: `y_j[i] = program_j(inputs[i], scalars, i)`.
    ///
    /// Inputs are broadcast to `out`. Adjoint: `map` (or `reduce`, for broadcast inputs) of [`Program::vjp`].
    fn map(&self, program: &Program, scalars: &[f64], inputs: &[View<'_, Self>], out: Shape) -> Vec<Self::Buffer>;

    /// `y_j[o] = fold over i of program_j(inputs[i], scalars, i)` for all `i` of `domain` that agree with `o` on the
    /// axes along which `out` is not folded.
    ///
    /// Each axis of `out` is 1 (folded) or equal to that of `domain`. Sums run in a fixed blocked order that depends
    /// only on the shapes. Adjoint: `map` of the vjp with the gradient broadcast; for `Max`, the same, restricted to
    /// the elements that attain the maximum.
    fn reduce(
        &self,
        fold: Fold,
        program: &Program,
        scalars: &[f64],
        inputs: &[View<'_, Self>],
        domain: Shape,
        out: Shape,
    ) -> Vec<Self::Buffer>;

    /// `y[o] = x[start + o]`. Adjoint: [`Backend::place`].
    fn slice(&self, x: View<'_, Self>, start: Index, out: Shape) -> Self::Buffer;

    /// Starts from zeros and adds every part at its start: `y[start_p + i] += part_p[i]`, in the order of the list;
    /// overlapping parts add. Adjoint: [`Backend::slice`] of each part.
    fn place(&self, parts: &[(View<'_, Self>, Index)], out: Shape) -> Self::Buffer;

    /// Cross-correlation, which deep-learning libraries call convolution:
    /// `y[n, o, p] = sum over c, t of x[n, g c_g + c, p stride - pad + t dilation] w[o, c, t]`, with `x` 0 outside; `g`
    /// is the group of `o`, and `c` runs over the channels of one group.
    ///
    /// `x` is `[n, in, d, h, w]`, `w` is `[out, in / groups, kd, kh, kw]`. Linear in both; adjoints:
    /// [`Backend::conv_transpose`] for `x`, [`Backend::conv_weight`] for `w`.
    fn conv(&self, x: View<'_, Self>, w: View<'_, Self>, geometry: &Geometry, out: Shape) -> Self::Buffer;

    /// The adjoint of [`Backend::conv`] with respect to its input, also usable as an up-sampling layer. Maps `y` (of
    /// the shape of the convolution's output) to `x_shape`: `x[n, c, p'] = sum of y[n, o, p] w[o, c, t]` over all
    /// `o, p, t` with `p stride - pad + t dilation = p'`. Adjoints: `conv` for `y`, `conv_weight` for `w`.
    fn conv_transpose(&self, y: View<'_, Self>, w: View<'_, Self>, geometry: &Geometry, x_shape: Shape)
    -> Self::Buffer;

    /// The adjoint of [`Backend::conv`] with respect to its weight:
    /// `w[o, c, t] = sum over n, p of x[n, g c_g + c, p stride - pad + t dilation] y[n, o, p]`. Adjoints:
    /// `conv_transpose` for `x`, `conv` for `y`.
    fn conv_weight(&self, x: View<'_, Self>, y: View<'_, Self>, geometry: &Geometry, w_shape: Shape) -> Self::Buffer;

    /// The maximum of each window and its index within the window (`(id size_h + ih) size_w + iw`, the first if several
    /// are equal), both of shape `out`. NaN counts as the largest value. Adjoint: [`Backend::max_unpool`].
    fn max_pool(&self, x: View<'_, Self>, window: &Window, out: Shape) -> (Self::Buffer, Self::Buffer);

    /// The adjoint of [`Backend::max_pool`]: starts from zeros and adds each value at the position given by its index.
    /// Where windows overlap, values add. `index` is the one that `max_pool` returned.
    fn max_unpool(&self, y: View<'_, Self>, index: View<'_, Self>, window: &Window, x_shape: Shape) -> Self::Buffer;

    /// `y[n, c, o] = interpolation of x[n, c, .] at sampling.matrix [o, 1]`; see [`Sampling`].
    /// Adjoint: [`Backend::resample_adjoint`].
    fn resample(&self, x: View<'_, Self>, sampling: &Sampling, out: Shape) -> Self::Buffer;

    /// The adjoint of [`Backend::resample`]: distributes each value back to the voxels it was interpolated from, with
    /// the same weights. Adjoint: `resample`.
    fn resample_adjoint(&self, y: View<'_, Self>, sampling: &Sampling, x_shape: Shape) -> Self::Buffer;

    /// The value of the given rank in each window that fits inside `x` (stride 1, no padding, as [`Window::sliding`]),
    /// of shape `[n, c, d - kd + 1, h - kh + 1, w - kw + 1]`. Not differentiable, by contract.
    fn rank_filter(&self, x: View<'_, Self>, size: [usize; 3], rank: Rank, out: Shape) -> Self::Buffer;

    /// Computes, for each weight view, the sums `y[b] = sum of weight[i] over all i with bins[i] = b`, of shape
    /// `[1, 1, 1, 1, count]`. Bins and weights have the same shape; bin numbers outside `0..count` are ignored. Adjoint
    /// with respect to the weights: [`Backend::take`].
    fn bincount(&self, bins: View<'_, Self>, weights: &[View<'_, Self>], count: usize) -> Vec<Self::Buffer>;

    /// `y[i] = table[index[i]]`, in the shape of `index`; 0 where the index is outside the table. `table` is
    /// `[1, 1, 1, 1, count]`. Adjoint with respect to the table: [`Backend::bincount`].
    fn take(&self, table: View<'_, Self>, index: View<'_, Self>) -> Self::Buffer;

    /// Exact Euclidean distance from each voxel centre to the centre of the nearest voxel of the same volume `[n, c]`
    /// whose mask is not 0. `spacing = [d, h, w]` is the voxel size, and the distance is in its unit; it is 0 on the
    /// mask, and [`NO_DISTANCE`] everywhere if the mask of the volume is empty. Not differentiable, by contract.
    fn distance(&self, mask: View<'_, Self>, spacing: [f64; 3]) -> Self::Buffer;
}
