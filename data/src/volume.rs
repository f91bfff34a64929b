//! Volumes in memory and their position in space.
//!
//! # Memory layout
//!
//! Arrays are `[c, d, h, w]` in standard layout: channel, z, y, x with x fastest. This is the order of the numbers in a
//! NIfTI file, so that nothing is transposed on reading. `w` is NIfTI's first axis (x, `i`), `h` its second, `d` its
//! third; any further axes of a file are flattened into `c`. Two-dimensional data have `d = 1`.
//!
//! [`Grid::extent`] and [`Grid::spacing_mm`] are `[d, h, w]`, too. Only the file's own coordinates are in the order x,
//! y, z: the columns of [`Grid::affine`] and the letters of [`Axes`].

use ndarray::{Array4, ArrayView3, Axis};
use segcal_core::{Error, Result, Shape};

use super::orientation::{Axes, Matrix3, column_lengths, determinant, orthogonal_factor};

/// The largest difference, in voxels, between two grids that are still considered the same.
const TOLERANCE_VOXELS: f64 = 0.05;

/// The voxel grid of a volume in space.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Number of voxels along `[d, h, w]`.
    pub extent: [usize; 3],
    /// Three rows `[a_x, a_y, a_z, offset]`: the centre of voxel `(x, y, z)` is at `affine * (x, y, z, 1)`, in mm, with
    /// the world axes pointing to the patient's right, anterior and superior (RAS).
    pub affine: [[f64; 4]; 3],
    /// NIfTI's code of that space: 0 unknown, 1 scanner, 2 aligned to another scan, 3 Talairach, 4 MNI 152.
    pub space: i16,
    /// Whether the file gives the voxel size. PNG and arrays do not: their voxel size is taken as 1 along each axis,
    /// and lengths are in voxels.
    pub sized: bool,
}

impl Grid {
    /// A grid for data whose voxel size and position in space are unknown.
    pub const fn unknown(extent: [usize; 3]) -> Self {
        let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
        Self { extent, affine, space: 0, sized: false }
    }

    /// Creates a grid with this affine.
    ///
    /// # Errors
    /// The affine is not finite, or maps the volume onto a plane.
    pub fn new(extent: [usize; 3], affine: [[f64; 4]; 3], space: i16) -> Result<Self> {
        let grid = Self { extent, affine, space, sized: true };
        if affine.iter().flatten().any(|x| !x.is_finite()) {
            return Err(Error::new(format!("the affine {affine:?} is not finite")));
        }
        let linear = grid.linear();
        let lengths = column_lengths(&linear);
        let volume = determinant(&linear).abs();
        if lengths.contains(&0.0) || volume <= 1e-6 * lengths.iter().product::<f64>() {
            return Err(Error::new(format!("the affine {affine:?} maps the volume onto a plane")));
        }
        Ok(grid)
    }

    /// Distance between neighbouring voxels along `[d, h, w]`, in mm; 1 if the file gives none.
    pub fn spacing_mm(&self) -> [f64; 3] {
        let [x, y, z] = column_lengths(&self.linear());
        [z, y, x]
    }

    /// The steps in space from one voxel to the next along `[d, h, w]`, in mm. They need not be orthogonal.
    pub fn steps_mm(&self) -> [[f64; 3]; 3] {
        let linear = self.linear();
        [2, 1, 0].map(|column| std::array::from_fn(|row| linear[row][column]))
    }

    /// The anatomical directions of the axes.
    pub fn axes(&self) -> Axes {
        Axes::of(&self.linear())
    }

    /// Whether any axis deviates from its world axis by more than a milliradian.
    pub fn oblique(&self) -> bool {
        let linear = self.linear();
        let lengths = column_lengths(&linear);
        let (axes, mut largest) = (self.axes(), 0.0_f64);
        for column in 0..3 {
            for row in (0..3).filter(|&row| row != axes.world[column]) {
                largest = largest.max(linear[row][column].abs() / lengths[column]);
            }
        }
        largest > 1e-3
    }

    /// Returns an error unless `other` is the same grid: the same extent, and corners that differ by at most a
    /// twentieth of a voxel.
    ///
    /// # Errors
    /// The grids differ; the message shows both under the given names.
    pub fn expect_same(&self, name: &str, other: &Self, other_name: &str) -> Result<()> {
        let smallest = self.spacing_mm().into_iter().fold(f64::INFINITY, f64::min);
        if self.extent == other.extent && self.largest_shift_mm(other) <= TOLERANCE_VOXELS * smallest {
            return Ok(());
        }
        Err(Error::new(format!("{name} has the grid {self}, but {other_name} has {other}"))
            .help("resample one onto the other, or check that they belong together"))
    }

    /// The largest distance in mm between the positions of a corner of the volume under the two affines.
    fn largest_shift_mm(&self, other: &Self) -> f64 {
        let mut largest = 0.0_f64;
        for corner in 0..8_usize {
            let [d, h, w] = std::array::from_fn(|axis| (corner >> axis & 1) * (self.extent[axis] - 1));
            let at = [w as f64, h as f64, d as f64, 1.0];
            let shift =
                |row: usize| -> f64 { (0..4).map(|k| (self.affine[row][k] - other.affine[row][k]) * at[k]).sum() };
            largest = largest.max((shift(0).powi(2) + shift(1).powi(2) + shift(2).powi(2)).sqrt());
        }
        largest
    }

    /// The grid after [`Volume::reoriented`].
    #[must_use]
    pub fn along(&self, axes: Axes) -> Self {
        let from = self.axes().to(axes);
        let mut grid = self.clone();
        for (axis, (own, turned)) in from.into_iter().enumerate() {
            let last = self.extent[2 - own] as f64 - 1.0;
            grid.extent[2 - axis] = self.extent[2 - own];
            for row in 0..3 {
                let step = self.affine[row][own];
                grid.affine[row][axis] = if turned { -step } else { step };
                grid.affine[row][3] += if turned { step * last } else { 0.0 };
            }
        }
        grid
    }

    /// The grid of `extent` voxels from `start` on, which may be outside this grid.
    ///
    /// # Errors
    /// The resulting grid is invalid.
    pub fn part(&self, start: [isize; 3], extent: [usize; 3]) -> Result<Self> {
        let mut affine = self.affine;
        for row in &mut affine {
            // Columns of the affine are x, y, z.
            row[3] += (0..3).map(|axis| row[axis] * start[2 - axis] as f64).sum::<f64>();
        }
        Ok(Self { sized: self.sized, ..Self::new(extent, affine, self.space)? })
    }

    /// The grid of `size` voxels that covers the same space: the centre of its first voxel is half a new step inside
    /// the outer face.
    ///
    /// # Errors
    /// A size is 0.
    pub fn resized(&self, size: [usize; 3]) -> Result<Self> {
        let mut affine = self.affine;
        for (axis, spatial) in [2, 1, 0].into_iter().enumerate() {
            let scale = self.extent[spatial] as f64 / size[spatial] as f64;
            for (row, old) in affine.iter_mut().zip(&self.affine) {
                row[axis] = old[axis] * scale;
                row[3] += old[axis] * (0.5 * scale - 0.5);
            }
        }
        Self::new(size, affine, self.space)
    }

    /// The columns of the affine without the offset.
    pub(super) fn linear(&self) -> Matrix3 {
        std::array::from_fn(|row| std::array::from_fn(|column| self.affine[row][column]))
    }

    /// The rotation (or reflection) nearest to the affine.
    pub(super) fn rotation(&self) -> Matrix3 {
        orthogonal_factor(&self.linear())
    }
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([d, h, w], [z, y, x]) = (self.extent, self.spacing_mm());
        if !self.sized {
            return write!(f, "{w} x {h} x {d} voxels of unknown size");
        }
        let origin = [self.affine[0][3], self.affine[1][3], self.affine[2][3]];
        write!(f, "{w} x {h} x {d} voxels of {x:.6} x {y:.6} x {z:.6} mm, {}, origin {origin:?}", self.axes())?;
        if self.oblique() { write!(f, ", directions {:?}", self.rotation()) } else { Ok(()) }
    }
}

/// Numbers on a grid, `[c, d, h, w]` in standard layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume<T> {
    /// The numbers. Always in standard layout.
    pub data: Array4<T>,
    /// Their grid in space.
    pub grid: Grid,
}

impl<T: Copy> Volume<T> {
    /// Creates a volume from numbers in memory order. Their count must be `channels` times the number of voxels.
    pub fn new(values: Vec<T>, channels: usize, grid: Grid) -> Self {
        let [d, h, w] = grid.extent;
        let data =
            Array4::from_shape_vec((channels, d, h, w), values).expect("the number of values is channels times voxels");
        Self { data, grid }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.data.len_of(Axis(0))
    }

    /// One channel, `[d, h, w]`.
    pub fn channel(&self, c: usize) -> ArrayView3<'_, T> {
        self.data.index_axis(Axis(0), c)
    }

    /// The shape as a tensor with one sample.
    pub fn shape(&self) -> Shape {
        Shape::new(1, self.channels(), 1, 1, 1).with_spatial(self.grid.extent)
    }

    /// All numbers in memory order.
    pub fn values(&self) -> &[T] {
        self.data.as_slice().expect("a volume is in standard layout")
    }

    /// The same volume with its axes permuted and flipped so that they point along (or closest to) `axes`. No value is
    /// interpolated; reorienting to the volume's own [`Grid::axes`] undoes it exactly.
    #[must_use]
    pub fn reoriented(&self, axes: Axes) -> Self {
        let from = self.grid.axes().to(axes);
        // Axis `2 - k` of `[d, h, w]` is file axis `k`; the channel axis comes first.
        let order: [usize; 3] = std::array::from_fn(|axis| 3 - from[2 - axis].0);
        let mut view = self.data.view().permuted_axes([0, order[0], order[1], order[2]]);
        for (axis, (_, turned)) in from.into_iter().enumerate() {
            if turned {
                view.invert_axis(Axis(3 - axis));
            }
        }
        Self { data: view.as_standard_layout().into_owned(), grid: self.grid.along(axes) }
    }

    /// Names the voxel at a memory offset in the file's own coordinates `(x, y, z)`, with the channel, for messages.
    pub(crate) fn place(extent: [usize; 3], offset: usize) -> String {
        let [d, h, w] = extent;
        let (voxel, channel) = (offset % (d * h * w), offset / (d * h * w));
        let (x, y, z) = (voxel % w, voxel / w % h, voxel / (w * h));
        if channel == 0 {
            format!("voxel ({x}, {y}, {z})")
        } else {
            format!("voxel ({x}, {y}, {z}), channel {channel}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skewed() -> Grid {
        let affine = [[0.1, -2.0, 0.0, 5.0], [1.0, 0.2, 0.1, -7.0], [0.0, 0.1, -3.0, 11.0]];
        Grid::new([4, 3, 2], affine, 1).unwrap()
    }

    fn counted(grid: Grid) -> Volume<i32> {
        let count = 2 * grid.extent.iter().product::<usize>();
        Volume::new((0..count as i32).collect(), 2, grid)
    }

    fn world(grid: &Grid, [d, h, w]: [usize; 3]) -> [f64; 3] {
        let at = [w as f64, h as f64, d as f64, 1.0];
        std::array::from_fn(|row| (0..4).map(|k| grid.affine[row][k] * at[k]).sum())
    }

    #[test]
    fn reorienting_moves_no_voxel_in_space_and_is_undone_exactly() {
        let volume = counted(skewed());
        assert_eq!(volume.grid.axes().to_string(), "ALI");
        for name in ["RAS", "LPS", "ALI", "SRP", "IAR"] {
            let axes: Axes = name.parse().unwrap();
            let turned = volume.reoriented(axes);
            assert_eq!(turned.grid.axes(), axes, "{name}");
            assert!(turned.data.is_standard_layout());
            for ((c, d, h, w), value) in turned.data.indexed_iter() {
                let place = world(&turned.grid, [d, h, w]);
                let original = volume.data.indexed_iter().find(|(_, other)| *other == value).unwrap().0;
                assert_eq!(original.0, c);
                let before = world(&volume.grid, [original.1, original.2, original.3]);
                assert!(place.iter().zip(before).all(|(a, b)| (a - b).abs() < 1e-12), "{name}: {place:?} {before:?}");
            }
            let back = turned.reoriented(volume.grid.axes());
            assert_eq!(back.data, volume.data, "{name}");
            assert!(back.grid.expect_same("a", &volume.grid, "b").is_ok());
        }
    }

    #[test]
    fn a_shift_of_a_tenth_of_a_voxel_is_an_error_that_shows_both() {
        let (a, mut b) = (skewed(), skewed());
        b.affine[0][3] += 0.04;
        assert!(a.expect_same("image", &b, "label").is_ok());
        b.affine[0][3] += 0.1;
        let message = a.expect_same("image", &b, "label").unwrap_err().to_string();
        assert!(message.contains("image") && message.contains("label") && message.contains("5.14"), "{message}");
        let mut c = skewed();
        c.extent = [4, 3, 3];
        assert!(a.expect_same("image", &c, "label").unwrap_err().to_string().contains("3 x 3 x 4"));
    }

    #[test]
    fn a_flat_or_infinite_affine_is_refused() {
        let mut affine = skewed().affine;
        affine[2] = [0.0, 0.0, 0.0, 1.0];
        assert!(Grid::new([1, 1, 1], affine, 1).is_err());
        affine[2][2] = f64::NAN;
        assert!(Grid::new([1, 1, 1], affine, 1).is_err());
    }
}
