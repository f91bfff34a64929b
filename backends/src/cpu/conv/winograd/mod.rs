//! 3 x 3 convolutions by Winograd's F(4x4, 3x3): a quarter of the multiplications.
//!
//! Idea: outputs are split into tiles of 4 x 4. The 6 x 6 samples of a tile and the 3 x 3 kernels are transformed to 36
//! points (see [`transform`]). There, a convolution over channels is 36 small matrix products, and the products are
//! transformed back. The depth axis of a 3-D kernel is summed directly: its slices are further terms of the products.
//! The gradient with respect to the input is the same with the kernel flipped; the gradient with respect to the weight
//! uses the adjoint transforms, and its products sum over tiles.
//!
//! Blocking: lanes hold adjacent channels, so that every transform is vertical arithmetic on whole vectors, for maps of
//! any size. A task takes up to 48 tiles, transforms their samples once for all channels, then iterates over the output
//! channels in chunks of two vectors: 36 products, back-transform, store. For a 3-D kernel, the transformed slices of
//! samples are kept in a ring buffer while the task moves along the depth.
//!
//! Accuracy: a result that sums `K` products of each tap (`K = in kd`, by input `out kd`, by weight the number of
//! positions) differs from the exact one by at most `157 (K + 30) 2^-24 sum |w| max |x|`, the maximum over the samples
//! of its tile (by weight, `sum |y|` instead of `sum |w|`): the chain of the product and some thirty roundings of
//! constants and transforms, all amplified by at most `gamma^2 = 157` (see [`transform`]). In practice the error is far
//! smaller: on random numbers, the root mean square error is 2 to 2.5 times that of the direct kernel, about `5e-7` of
//! the result's root mean square for 16 channels and `8e-7` for 64 (by weight `7e-7`). The tests check both. Values
//! spread within a tile: a non-finite one makes its whole tile non-finite.

mod forward;
mod gemm;
mod lanes;
mod transform;
mod weight;

pub(super) use forward::Forward;
pub(super) use weight::Weight;

use super::simd::Simd;
use lanes::Window;
use segcal_core::Shape;
use transform::{Line, both};

/// Outputs of a tile along each axis.
const SIDE: usize = 4;
/// Points of a tile: six along each axis.
const POINTS: usize = 36;
/// Approximate number of tiles in a block: four register blocks.
const BLOCK: usize = 48;
/// Number of input channels whose transformed weights (or sums of these) a task holds at a time, so that they stay in
/// L2.
const HELD: usize = 128;
/// Maximum number of adjacent tiles that are staged together: long rows, so that memory is read in order.
const RUN: usize = 32;
/// Target number of tasks; see `direct`.
const TASKS: usize = 16;
/// The same if each task of a block transforms the samples of the block again.
const SHARES: usize = 8;

/// Adjacent tiles in one row of tiles of one image.
struct Run {
    image: usize,
    row: usize,
    column: usize,
    len: usize,
    /// Number of its first tile within the block.
    at: usize,
}

impl Run {
    /// Whether this run is directly below another one.
    fn continues(&self, above: &Self) -> bool {
        let place = |run: &Self, row| (run.image, row, run.column, run.len);
        place(self, self.row) == place(above, above.row + 1)
    }
}

/// The tiles of the output maps, numbered down strips of at most [`RUN`] columns, so that consecutive runs share
/// samples.
struct Tiles {
    images: usize,
    rows: usize,
    columns: usize,
    /// Columns of a strip.
    strip: usize,
}

impl Tiles {
    fn new(out: Shape) -> Self {
        let [_, h, w] = out.spatial();
        let columns = w.div_ceil(SIDE);
        let strip = columns.div_ceil(columns.div_ceil(RUN).max(1));
        Self { images: out.n(), rows: h.div_ceil(SIDE), columns, strip }
    }

    fn len(&self) -> usize {
        self.images * self.rows * self.columns
    }

    /// Splits the tiles into blocks of about `target` tiles, in whole rows of a strip.
    fn blocks(&self, target: usize) -> Vec<std::ops::Range<usize>> {
        let even = self.len().div_ceil(self.len().div_ceil(target).max(1));
        let size = (even + self.strip / 2) / self.strip.max(1) * self.strip;
        (0..self.len()).step_by(size.max(1)).map(|start| start..self.len().min(start + size)).collect()
    }

    /// The runs of a block.
    fn runs(&self, block: std::ops::Range<usize>) -> Vec<Run> {
        let (mut runs, mut tile) = (Vec::new(), block.start);
        while tile < block.end {
            let (image, place) = (tile / (self.rows * self.columns), tile % (self.rows * self.columns));
            let strip = place / (self.rows * self.strip) * self.strip;
            let width = (self.columns - strip).min(self.strip);
            let (row, column) = ((place - strip * self.rows) / width, (place - strip * self.rows) % width);
            let len = (width - column).min(block.end - tile);
            runs.push(Run { image, row, column: strip + column, len, at: tile - block.start });
            tile += len;
        }
        runs
    }
}

/// Layout of the points of a block of tiles: `[point][tile][channel]`, with strides that place neighbours in different
/// cache sets.
#[derive(Clone, Copy)]
struct Layout {
    /// Distance between tiles.
    row: usize,
    /// Distance between points.
    plane: usize,
}

impl Layout {
    /// Creates the layout for `tiles` tiles of `channels` channels, a multiple of the lanes.
    fn new(tiles: usize, channels: usize) -> Self {
        let row = if channels.is_multiple_of(128) { channels + 16 } else { channels };
        Self { row, plane: tiles.next_multiple_of(4) * row + 16 }
    }

    /// Total number of elements.
    fn len(self) -> usize {
        POINTS * self.plane
    }
}

/// The input of a transform to points.
struct Source<'a> {
    /// A map and its shape.
    map: (&'a [f32], Shape),
    /// Its channels.
    channels: std::ops::Range<usize>,
    /// Its slice.
    slice: usize,
    /// Offset from `4 row, 4 column` to the first row and column of a tile.
    offset: [isize; 2],
}

impl Source<'_> {
    /// Transforms `A` rows and columns of each tile of a block.
    ///
    /// # Safety
    /// The instruction set is available; `to` holds the layout, `stage` holds `A (4 RUN + 2) LANES` elements.
    #[inline(always)]
    unsafe fn points<S: Simd, T: Line<S, A, 6>, const A: usize>(
        &self,
        runs: &[Run],
        layout: Layout,
        to: &mut [f32],
        stage: &mut [f32],
    ) {
        for (block, channel) in self.channels.clone().step_by(S::LANES).enumerate() {
            for (number, run) in runs.iter().enumerate() {
                let kept = if number > 0 && run.continues(&runs[number - 1]) { A - SIDE } else { 0 };
                let start = [(SIDE * run.row) as isize + self.offset[0], (SIDE * run.column) as isize + self.offset[1]];
                let columns = SIDE * (run.len - 1) + A;
                // SAFETY: guaranteed by the caller; a run is at most `RUN` tiles, and tile `at + i` is inside the
                // layout.
                unsafe {
                    let size = columns * S::LANES;
                    std::ptr::copy(stage.as_ptr().add(SIDE * size), stage.as_mut_ptr(), kept * size);
                    let window = Window { map: self.map, image: run.image, channel, slice: self.slice, start, columns };
                    window.stage::<S>(kept..A, stage.as_mut_ptr());
                    for i in 0..run.len {
                        let from = stage.as_ptr().add(i * SIDE * S::LANES);
                        let to = to.as_mut_ptr().add((run.at + i) * layout.row + block * S::LANES);
                        let strides = [6 * layout.plane, layout.plane];
                        both::<S, T, A, 6>(from, [columns * S::LANES, S::LANES], to, strides);
                    }
                }
            }
        }
    }
}
