//! The contract between `core` and the machine: one trait, no optional methods, closed under adjoint.
//!
//! A method's doc is its meaning: formula, shapes, adjoint, and what is not differentiable. The executable meaning is
//! [`Reference`](crate::Reference). `core` has checked every shape before it calls; a backend may rely on that.

use std::borrow::Cow;

use crate::{Elem, Geometry, Index, Program, Result, Sampling, Shape, Window};

/// A buffer with the shape in which to read it.
pub type View<'a, B> = (&'a <B as Backend>::Buffer, Shape);

/// What a reduction does with the values that share an output place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fold {
    /// Their sum; 0 if there is none.
    Sum,
    /// Their maximum.
    Max,
}

/// Which value of a window a rank filter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rank {
    /// The `k`-th smallest, from 0: 0 is the minimum, `len - 1` the maximum, `len / 2` the median of an odd count.
    Nth(usize),
    /// The most frequent value; of several, the smallest.
    Mode,
}

/// What [`Backend::distance`] answers where a volume has no marked voxel at all. Exact in f32.
pub const NO_DISTANCE: f64 = 1_267_650_600_228_229_401_496_703_205_376.0; // 2^100

/// A device: memory, and the closed set of operations that everything is made of.
///
/// Results must not depend on the number of threads. Buffers are contiguous in the order of [`Shape`].
pub trait Backend: Clone + Send + Sync + 'static {
    /// The number type of every buffer.
    type Elem: Elem;
    /// Shared memory: cloning is cheap and does not copy.
    type Buffer: Clone + Send + Sync + 'static;

    /// A short name for messages: `reference`, `cpu`, `gpu`.
    fn name(&self) -> &'static str;

    /// What the bits of results depend on beside the inputs, for records of runs and for people: the name, and where
    /// that is not enough what else, such as `cpu avx2`.
    fn arithmetic(&self) -> String;

    /// Moves host numbers to the device: those of a vector or of a borrowed slice, copied at most once.
    fn upload<'a>(&self, data: impl Into<Cow<'a, [Self::Elem]>>) -> Self::Buffer;

    /// Moves a buffer to the host. The only call that waits, and the only one that can fail: errors of earlier
    /// asynchronous work appear here.
    ///
    /// # Errors
    /// The device was lost, ran out of memory or refused an earlier operation.
    fn download(&self, buffer: &Self::Buffer) -> Result<Vec<Self::Elem>>;

    /// One buffer of shape `out` for each output of the program: `y_j[i] = program_j(inputs[i], scalars, i)`.
    ///
    /// Inputs are read by broadcasting over `out`. Adjoint: `map` (or `reduce`, for broadcast inputs) of
    /// [`Program::vjp`].
    fn map(&self, program: &Program, scalars: &[f64], inputs: &[View<'_, Self>], out: Shape) -> Vec<Self::Buffer>;

    /// `y_j[o] = fold over i of program_j(inputs[i], scalars, i)` for all `i` of `domain` that agree with `o` on the
    /// axes where `out` is not folded.
    ///
    /// Each axis of `out` is 1 (folded) or equal to that of `domain`. Sums run in a fixed blocked order that depends
    /// on the shapes alone. Adjoint: `map` of the vjp with the gradient broadcast; of `Max`, the same on the places
    /// that attain the maximum.
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

    /// Zero, plus every part at its start: `y[start_p + i] += part_p[i]`, in the order of the list; overlaps add.
    /// Adjoint: [`Backend::slice`] of each part.
    fn place(&self, parts: &[(View<'_, Self>, Index)], out: Shape) -> Self::Buffer;

    /// Cross-correlation, as deep-learning libraries call convolution:
    /// `y[n, o, p] = sum over c, t of x[n, g c_g + c, p stride - pad + t dilation] w[o, c, t]`, with `x` 0 outside;
    /// `g` is the group of `o`, and `c` runs over the channels of one group.
    ///
    /// `x` is `[n, in, d, h, w]`, `w` is `[out, in / groups, kd, kh, kw]`. Linear in both; adjoints:
    /// [`Backend::conv_transpose`] in `x`, [`Backend::conv_weight`] in `w`.
    fn conv(&self, x: View<'_, Self>, w: View<'_, Self>, geometry: &Geometry, out: Shape) -> Self::Buffer;

    /// The adjoint of [`Backend::conv`] in its input, and an up-sampling layer of its own: from `y` (the output's
    /// shape) to `x_shape`, `x[n, c, p'] = sum of y[n, o, p] w[o, c, t]` over all `o, p, t` with
    /// `p stride - pad + t dilation = p'`. Adjoints: `conv` in `y`, `conv_weight` in `w`.
    fn conv_transpose(&self, y: View<'_, Self>, w: View<'_, Self>, geometry: &Geometry, x_shape: Shape)
    -> Self::Buffer;

    /// The adjoint of [`Backend::conv`] in its weight:
    /// `w[o, c, t] = sum over n, p of x[n, g c_g + c, p stride - pad + t dilation] y[n, o, p]`.
    /// Adjoints: `conv_transpose` in `x`, `conv` in `y`.
    fn conv_weight(&self, x: View<'_, Self>, y: View<'_, Self>, geometry: &Geometry, w_shape: Shape) -> Self::Buffer;

    /// Maximum of each window, and its place in the window (`(id size_h + ih) size_w + iw`, the first of equals), both
    /// of shape `out`. NaN counts as the largest. Adjoint: [`Backend::max_unpool`].
    fn max_pool(&self, x: View<'_, Self>, window: &Window, out: Shape) -> (Self::Buffer, Self::Buffer);

    /// Zero, plus each value at the place its index names: the adjoint of [`Backend::max_pool`]. Where windows
    /// overlap, values add. `index` is what `max_pool` gave.
    fn max_unpool(&self, y: View<'_, Self>, index: View<'_, Self>, window: &Window, x_shape: Shape) -> Self::Buffer;

    /// `y[n, c, o] = interpolation of x[n, c, .] at sampling.matrix [o, 1]`; see [`Sampling`].
    /// Adjoint: [`Backend::resample_adjoint`].
    fn resample(&self, x: View<'_, Self>, sampling: &Sampling, out: Shape) -> Self::Buffer;

    /// The adjoint of [`Backend::resample`]: each value goes back to the voxels it was mixed of, with their weights.
    /// Adjoint: `resample`.
    fn resample_adjoint(&self, y: View<'_, Self>, sampling: &Sampling, x_shape: Shape) -> Self::Buffer;

    /// The value of the given rank in each window of `x` that fits (stride 1, no padding, as
    /// [`Window::sliding`]): shape `[n, c, d - kd + 1, h - kh + 1, w - kw + 1]`. Not differentiable, by contract.
    fn rank_filter(&self, x: View<'_, Self>, size: [usize; 3], rank: Rank, out: Shape) -> Self::Buffer;

    /// For each weight view the sums `y[b] = sum of weight[i] over all i with bins[i] = b`, of shape
    /// `[1, 1, 1, 1, count]`. Bins and weights have one shape; a bin number outside `0..count` counts nowhere.
    /// Adjoint in the weights: [`Backend::take`].
    fn bincount(&self, bins: View<'_, Self>, weights: &[View<'_, Self>], count: usize) -> Vec<Self::Buffer>;

    /// `y[i] = table[index[i]]`, in the shape of `index`; 0 where the index is outside the table. `table` is
    /// `[1, 1, 1, 1, count]`. Adjoint in the table: [`Backend::bincount`].
    fn take(&self, table: View<'_, Self>, index: View<'_, Self>) -> Self::Buffer;

    /// Exact Euclidean distance from each voxel centre to the nearest voxel of the same volume `[n, c]` whose mask is
    /// not 0, with voxels of `spacing = [d, h, w]`, in the unit of `spacing`; 0 on the mask, [`NO_DISTANCE`]
    /// everywhere if the volume's mask is empty. Not differentiable, by contract.
    fn distance(&self, mask: View<'_, Self>, spacing: [f64; 3]) -> Self::Buffer;
}
