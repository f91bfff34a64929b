//! Shapes of exactly five axes, and the geometry of windowed operations.

use std::fmt;

/// The names of the five axes, as indices into a [`Shape`].
pub mod axis {
    /// Sample of the batch.
    pub const N: usize = 0;
    /// Channel or class.
    pub const C: usize = 1;
    /// Depth; 1 for 2-D data.
    pub const D: usize = 2;
    /// Height.
    pub const H: usize = 3;
    /// Width; contiguous in memory.
    pub const W: usize = 4;
}

/// A position or an extent along `[n, c, d, h, w]`.
pub type Index = [usize; 5];

/// Extents along `[n, c, d, h, w]`. Every tensor has all five axes and is contiguous, with `w` varying fastest.
///
/// 2-D data has `d = 1`, a scalar is all ones, a label map has `c = 1`, a convolution weight is
/// `[out, in, kd, kh, kw]`. Two shapes are compatible if, on each axis, they are equal or one of them is 1.
///
/// ```
/// use segcal_core::Shape;
/// let image = Shape::new(2, 3, 1, 4, 5);
/// assert_eq!(image.len(), 120);
/// assert_eq!(image.broadcast(Shape::new(1, 3, 1, 1, 1)), Some(image));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape(Index);

impl Shape {
    /// The shape of a scalar: all ones.
    pub const SCALAR: Self = Self([1; 5]);

    /// The shape `[n, c, d, h, w]`.
    pub const fn new(n: usize, c: usize, d: usize, h: usize, w: usize) -> Self {
        Self([n, c, d, h, w])
    }

    /// The shape with these five extents.
    pub const fn from_dims(dims: Index) -> Self {
        Self(dims)
    }

    /// The five extents.
    pub const fn dims(self) -> Index {
        self.0
    }

    /// Number of samples.
    pub const fn n(self) -> usize {
        self.0[axis::N]
    }

    /// Number of channels.
    pub const fn c(self) -> usize {
        self.0[axis::C]
    }

    /// The spatial extents `[d, h, w]`.
    pub const fn spatial(self) -> [usize; 3] {
        [self.0[axis::D], self.0[axis::H], self.0[axis::W]]
    }

    /// Number of voxels in one channel, `d * h * w`.
    pub const fn voxels(self) -> usize {
        self.0[axis::D] * self.0[axis::H] * self.0[axis::W]
    }

    /// Number of elements.
    #[expect(clippy::len_without_is_empty, reason = "a shape is not a container")]
    pub const fn len(self) -> usize {
        self.0[0] * self.0[1] * self.voxels()
    }

    /// The same shape with a different extent along one axis.
    #[must_use]
    pub const fn with(mut self, axis: usize, extent: usize) -> Self {
        self.0[axis] = extent;
        self
    }

    /// The same shape with different spatial extents.
    #[must_use]
    pub const fn with_spatial(self, [d, h, w]: [usize; 3]) -> Self {
        Self([self.0[0], self.0[1], d, h, w])
    }

    /// The common shape of two compatible shapes, or `None` if they are not compatible.
    pub fn broadcast(self, other: Self) -> Option<Self> {
        let mut dims = [0; 5];
        for (axis, extent) in dims.iter_mut().enumerate() {
            *extent = match (self.0[axis], other.0[axis]) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Some(Self(dims))
    }

    /// Whether each axis is 1 or equal to that of `domain`, so that a view of this shape can be broadcast to `domain`.
    pub fn broadcasts_to(self, domain: Self) -> bool {
        self.0.iter().zip(domain.0).all(|(&own, extent)| own == 1 || own == extent)
    }

    /// Distance in memory between neighbours along each axis.
    pub const fn strides(self) -> Index {
        let [_, c, d, h, w] = self.0;
        [c * d * h * w, d * h * w, h * w, w, 1]
    }

    /// Strides for broadcasting a view of this shape to a larger domain: 0 along the axes that are repeated.
    pub fn broadcast_strides(self) -> Index {
        let mut strides = self.strides();
        for (stride, extent) in strides.iter_mut().zip(self.0) {
            if extent == 1 {
                *stride = 0;
            }
        }
        strides
    }

    /// The memory offset of a coordinate.
    pub fn offset(self, at: Index) -> usize {
        self.strides().iter().zip(at).map(|(stride, i)| stride * i).sum()
    }

    /// The coordinate at a memory offset; the inverse of [`Shape::offset`].
    pub fn coordinate(self, mut offset: usize) -> Index {
        let mut at = [0; 5];
        for axis in (0..5).rev() {
            at[axis] = offset % self.0[axis];
            offset /= self.0[axis];
        }
        at
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [n, c, d, h, w] = self.0;
        write!(f, "[{n}, {c}, {d}, {h}, {w}]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Stride, padding, dilation and groups of a convolution, per spatial axis `[d, h, w]`.
///
/// Along an axis of extent `l` with a kernel of `k` taps the output has
/// `(l + 2 pad - dilation (k - 1) - 1) / stride + 1` elements (rounded down), and output element `o` reads the input
/// elements `o * stride - pad + tap * dilation`; those outside the input count as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Step of the window.
    pub stride: [usize; 3],
    /// Number of implicit zeros on both sides.
    pub pad: [usize; 3],
    /// Distance between taps.
    pub dilation: [usize; 3],
    /// Channels are split into this many groups; output group `g` reads only input group `g`.
    pub groups: usize,
}

impl Geometry {
    /// Stride 1, no padding, no dilation, one group.
    pub const VALID: Self = Self { stride: [1; 3], pad: [0; 3], dilation: [1; 3], groups: 1 };

    /// Stride 1 with the padding that keeps the spatial extents, for odd kernel extents.
    pub const fn same(kernel: [usize; 3]) -> Self {
        Self { pad: [kernel[0] / 2, kernel[1] / 2, kernel[2] / 2], ..Self::VALID }
    }

    /// Output shape of a convolution of `x` with weight `w = [out, in / groups, kd, kh, kw]`, or `None` if the two do
    /// not fit or the window is larger than the padded input.
    pub fn output(&self, x: Shape, w: Shape) -> Option<Shape> {
        let fits = x.c() == w.c() * self.groups && w.n().is_multiple_of(self.groups);
        let mut out = [0; 3];
        for axis in 0..3 {
            let reach = self.dilation[axis] * w.spatial()[axis].checked_sub(1)? + 1;
            let room = (x.spatial()[axis] + 2 * self.pad[axis]).checked_sub(reach)?;
            out[axis] = room / self.stride[axis] + 1;
        }
        fits.then(|| Shape::new(x.n(), w.n(), out[0], out[1], out[2]))
    }
}

/// A pooling window per spatial axis `[d, h, w]`, without padding.
///
/// Along an axis of extent `l` the output has `(l - size) / stride + 1` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Extent of the window.
    pub size: [usize; 3],
    /// Step of the window.
    pub stride: [usize; 3],
}

impl Window {
    /// Adjacent windows: the stride equals the size.
    pub const fn tiles(size: [usize; 3]) -> Self {
        Self { size, stride: size }
    }

    /// A window at every position where it fits: the stride is 1.
    pub const fn sliding(size: [usize; 3]) -> Self {
        Self { size, stride: [1; 3] }
    }

    /// Output shape, or `None` if the window is larger than `x`.
    pub fn output(&self, x: Shape) -> Option<Shape> {
        let mut out = [0; 3];
        for axis in 0..3 {
            out[axis] = x.spatial()[axis].checked_sub(self.size[axis])? / self.stride[axis] + 1;
        }
        Some(x.with_spatial(out))
    }

    /// Number of voxels in one window.
    pub const fn len(&self) -> usize {
        self.size[0] * self.size[1] * self.size[2]
    }

    /// Whether the window contains no voxels.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How a resampled value is computed from its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// The voxel at `floor(s + 0.5)` along each axis.
    Nearest,
    /// The (tri)linear interpolation of the voxels around `s`.
    Linear,
}

/// Which values resampling uses outside the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Border {
    /// The source coordinate is clamped to `[0, extent - 1]`: the edge is repeated.
    Clamp,
    /// Voxels outside count as 0.
    Zero,
}

/// Where each output voxel of a resampling reads from: the source coordinate of output voxel `o` is
/// `s = matrix * [o, 1]`, both as `[d, h, w]` voxel indices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Three rows `[a_d, a_h, a_w, offset]`.
    pub matrix: [[f64; 4]; 3],
    /// How neighbours are interpolated.
    pub interpolation: Interpolation,
    /// Which values are used outside the grid.
    pub border: Border,
}

impl Sampling {
    /// Per-axis `s = scale * o + offset`, with repeated edges.
    pub const fn axes(scale: [f64; 3], offset: [f64; 3], interpolation: Interpolation) -> Self {
        let matrix =
            [[scale[0], 0.0, 0.0, offset[0]], [0.0, scale[1], 0.0, offset[1]], [0.0, 0.0, scale[2], offset[2]]];
        Self { matrix, interpolation, border: Border::Clamp }
    }

    /// Resamples from `input` to `output` voxels over the same extent of space, with voxel centres at half-integers
    /// (`align_corners = false` in other libraries): `s = (o + 1/2) input / output - 1/2`.
    pub fn resize(input: [usize; 3], output: [usize; 3], interpolation: Interpolation) -> Self {
        let scale = std::array::from_fn(|axis| input[axis] as f64 / output[axis] as f64);
        Self::axes(scale, scale.map(|s: f64| 0.5 * s - 0.5), interpolation)
    }

    /// The per-axis `(scale, offset)` if no axis depends on another, else `None`.
    pub fn separable(&self) -> Option<[(f64, f64); 3]> {
        let m = &self.matrix;
        let diagonal = (0..3).all(|row| (0..3).all(|col| row == col || m[row][col] == 0.0));
        diagonal.then(|| std::array::from_fn(|axis| (m[axis][axis], m[axis][3])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_and_coordinate_are_inverse() {
        let shape = Shape::new(2, 3, 4, 5, 6);
        for offset in 0..shape.len() {
            assert_eq!(shape.offset(shape.coordinate(offset)), offset);
        }
    }

    #[test]
    fn broadcasting_repeats_only_ones() {
        let a = Shape::new(2, 1, 1, 4, 5);
        assert_eq!(a.broadcast(Shape::new(1, 3, 1, 4, 1)), Some(Shape::new(2, 3, 1, 4, 5)));
        assert_eq!(a.broadcast(Shape::new(3, 3, 1, 4, 1)), None);
        assert!(a.broadcasts_to(Shape::new(2, 7, 1, 4, 5)));
        assert!(!a.broadcasts_to(Shape::new(2, 7, 1, 1, 5)));
    }

    #[test]
    fn convolution_output_extent() {
        let x = Shape::new(1, 4, 1, 9, 10);
        let w = Shape::new(6, 2, 1, 3, 3);
        let g = Geometry { stride: [1, 2, 2], pad: [0, 1, 1], dilation: [1, 1, 2], groups: 2 };
        assert_eq!(g.output(x, w), Some(Shape::new(1, 6, 1, 5, 4)));
        assert_eq!(Geometry::VALID.output(x, w), None, "channels do not fit without groups");
        assert_eq!(Geometry::same([1, 3, 3]).output(x, Shape::new(1, 4, 1, 3, 3)), Some(x.with(axis::C, 1)));
    }

    #[test]
    fn doubling_reads_a_quarter_voxel_off() {
        let up = Sampling::resize([1, 4, 4], [1, 8, 8], Interpolation::Linear);
        assert_eq!(up.separable(), Some([(1.0, 0.0), (0.5, -0.25), (0.5, -0.25)]));
    }
}
