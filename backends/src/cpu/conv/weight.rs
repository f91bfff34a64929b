//! Gradient of a convolution with respect to its weight, for any geometry.
//!
//! Idea: with the samples and outputs of a tile laid out as the same flat sequence (see [`stencil`](super::stencil)),
//! the gradient of each weight is a dot product of the outputs with the samples at the distance of the tap. A register
//! block of output channels x (in, tap) pairs shares the loads: `OUTS + PAIRS` loads for `OUTS PAIRS` multiply-adds.
//! Columns that are not outputs are zero in the sequence of outputs. If windows do not overlap (1x1 kernels, and
//! up-sampling layers), the pairs are equally spaced, and a whole tile is one matrix product: with enough output
//! channels and pairs, packed panels without sums across lanes are 1.2 to 1.6 times faster.
//!
//! Blocking: the tiles of all images are split into chunks of consecutive tiles, depending only on the shape. A task
//! sums the tiles of one chunk for some output channels; the sums of the chunks are then added in order.
//!
//! Accuracy: a sum over `P` positions runs in `LANES` interleaved chains per tile (one chain in a matrix product),
//! whose sums are added tile by tile, then chunk by chunk: the number of consecutive roundings is at most
//! `P_tile / LANES + tiles + chunks + 8` (`P_tile + tiles + chunks`), instead of `P`, and the error is at most that
//! many times `2^-24 sum |x y|`.

use rayon::prelude::*;
use segcal_core::Shape;

use super::super::isa::Level;
use super::memory::{Scratch, Shared};
use super::simd::{Job, Simd};
use super::stencil::{Stencil, Tile};

/// Maximum number of scratch floats for the samples and outputs of one task.
const SAMPLES: usize = 3 << 15;
/// Target number of tasks; see `direct`.
const TASKS: usize = 32;
/// Maximum number of floats for the sums of all chunks.
const SUMS: usize = 1 << 22;

/// Number of output channels and of pairs from which a matrix product is faster.
const ENOUGH: usize = 64;

/// The problem.
pub(super) struct Weight<'a> {
    /// The stencil of the forward convolution.
    pub(super) stencil: Stencil,
    /// Extents of the kernel.
    pub(super) kernel: [usize; 3],
    /// Number of groups.
    pub(super) groups: usize,
    /// Channels of one group, in and out.
    pub(super) channels: [usize; 2],
    /// Input of the convolution.
    pub(super) x: (&'a [f32], Shape),
    /// Gradient of its output.
    pub(super) y: (&'a [f32], Shape),
}

impl Weight<'_> {
    /// Writes the gradient, `[out, in / groups, kd, kh, kw]`.
    pub(super) fn run(&self, level: Level, w: &mut [f32]) {
        let [ins, outs] = self.channels;
        let one = Tile { start: [0; 2], size: [1; 2] };
        let slices = self.stencil.channel(one).div_ceil(self.stencil.row().max(1)).max(1);
        let tiles = self.stencil.tiles((SAMPLES / (ins * slices + outs).max(1)).max(64));
        let items = self.x.1.n() * tiles.len();
        let chunk = items.div_ceil((SUMS / w.len().max(1)).clamp(1, TASKS)).max(1);
        let chunks = items.div_ceil(chunk);
        let step = outs.div_ceil(TASKS.div_ceil((chunks * self.groups).max(1))).next_multiple_of(4);
        let parts = outs.div_ceil(step);
        let mut sums = vec![0.0; chunks * w.len()];
        let shared = Shared::new(&mut sums);
        (0..chunks * self.groups * parts).into_par_iter().for_each(|task| {
            let (chunk_of, group, part) = (task / parts / self.groups, task / parts % self.groups, task % parts);
            let outs = part * step..outs.min((part + 1) * step);
            let per_out = w.len() / self.y.1.c().max(1);
            let at = chunk_of * w.len() + (group * self.channels[1] + outs.start) * per_out;
            // SAFETY: tasks differ in chunk, group or output channels.
            let sums = unsafe { shared.part(at, outs.len() * per_out) };
            let items = chunk_of * chunk..items.min((chunk_of + 1) * chunk);
            level.run(Task { all: self, tiles: &tiles, items, group, outs, sums, matrices: level.fuses() });
        });
        let len = w.len();
        w.par_chunks_mut(4096).enumerate().for_each(|(i, w)| {
            w.fill(0.0);
            for sums in sums.chunks_exact(len) {
                for (w, sum) in w.iter_mut().zip(&sums[4096 * i..]) {
                    *w += sum;
                }
            }
        });
    }
}

/// A chunk of tiles for some output channels of a group.
struct Task<'a> {
    all: &'a Weight<'a>,
    tiles: &'a [Tile],
    items: std::ops::Range<usize>,
    group: usize,
    outs: std::ops::Range<usize>,
    sums: &'a mut [f32],
    /// Whether matrix products may use a library that selects the best instruction set of the machine. Its result
    /// matches the bits of this level only if the level has a fused multiply-add, which the library then uses too.
    matrices: bool,
}

impl Job for Task<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Task { all, tiles, items, group, outs, sums, matrices } = self;
        let stencil = &all.stencil;
        let [ins, _] = all.channels;
        for item in items {
            let (image, tile) = (item / tiles.len(), tiles[item % tiles.len()]);
            let taps = stencil.taps(all.kernel, tile);
            let (channel, flat) = (stencil.channel(tile), stencil.flat(tile));
            let width = flat.next_multiple_of(S::LANES);
            let places: Vec<usize> = (0..ins).flat_map(|c| taps.iter().map(move |&(_, at)| c * channel + at)).collect();
            let mut scratch = Scratch::task();
            let [samples, ys] = scratch.split([ins * channel + S::LANES, outs.len() * width]);
            let ((x, xs), (y, shape)) = (all.x, all.y);
            let first = (image * xs.c() + group * ins) * xs.voxels();
            for (x, to) in x[first..].chunks_exact(xs.voxels()).zip(samples.chunks_exact_mut(channel).take(ins)) {
                stencil.gather(x, tile, to);
            }
            // Beyond the last sample the outputs are zero, but zero times a leftover NaN would not be.
            samples[ins * channel..].fill(0.0);
            let first = (image * shape.c() + group * all.channels[1] + outs.start) * shape.voxels();
            for (y, to) in y[first..].chunks_exact(shape.voxels()).zip(ys.chunks_exact_mut(width)) {
                stencil.spread(y, tile, &mut to[..flat]);
                to[flat..].fill(0.0);
            }
            if let Some(apart) = regular(&places, outs.len()).filter(|_| matrices) {
                product([samples, ys], [outs.len(), flat, places.len()], [width, apart], sums);
                continue;
            }
            // SAFETY: the level's instruction set is available; places are at most `ins channel - flat`, so
            // `place + width` stays inside the samples and their `LANES` of slack.
            unsafe {
                if S::ROWS == 8 {
                    dots::<S, 4, 6>(samples, ys, &places, width, sums);
                } else {
                    dots::<S, 2, 4>(samples, ys, &places, width, sums);
                }
            }
        }
    }
}

/// The distance between the offsets of the pairs, if they are equally spaced and if there are enough pairs and output
/// channels (`outs`) for a matrix product.
fn regular(places: &[usize], outs: usize) -> Option<usize> {
    let apart = places.get(1)?.checked_sub(places[0])?;
    let equal = places[0] == 0 && places.windows(2).all(|pair| pair[1].checked_sub(pair[0]) == Some(apart));
    (equal && outs >= ENOUGH && places.len() >= ENOUGH).then_some(apart)
}

/// `sums[o][k] += sum over p < depth of ys[o][p] samples[k apart + p]`, `ys` in rows of `width`.
fn product([samples, ys]: [&[f32]; 2], [outs, depth, pairs]: [usize; 3], [width, apart]: [usize; 2], sums: &mut [f32]) {
    assert!(outs * pairs <= sums.len() && depth <= width && outs * width <= ys.len());
    assert!((pairs - 1) * apart + depth <= samples.len());
    let (ys, samples, stride) = (ys.as_ptr(), samples.as_ptr(), |step: usize| step as isize);
    // SAFETY: the assertions ensure that the last element of each of the three matrices is inside its slice.
    unsafe {
        matrixmultiply::sgemm(
            outs,
            depth,
            pairs,
            1.0,
            ys,
            stride(width),
            1,
            samples,
            1,
            stride(apart),
            1.0,
            sums.as_mut_ptr(),
            stride(pairs),
            1,
        );
    }
}

/// `sums[o][k] += sum over p of ys[o][p] samples[places[k] + p]`.
///
/// # Safety
/// The instruction set is available, and `places[k] + width <= samples.len()`.
#[inline(always)]
unsafe fn dots<S: Simd, const OUTS: usize, const PAIRS: usize>(
    samples: &[f32],
    ys: &[f32],
    places: &[usize],
    width: usize,
    sums: &mut [f32],
) {
    let outs = ys.len() / width;
    for o in (0..outs).step_by(OUTS) {
        // Blocks that extend beyond the end repeat their last row or pair; those sums are dropped.
        let rows: [&[f32]; OUTS] = std::array::from_fn(|i| &ys[(o + i).min(outs - 1) * width..][..width]);
        for k in (0..places.len()).step_by(PAIRS) {
            let pairs: [&[f32]; PAIRS] =
                std::array::from_fn(|j| &samples[places[(k + j).min(places.len() - 1)]..][..width]);
            // SAFETY: all slices are `width` long, a multiple of `LANES`.
            let block = unsafe { dot_block::<S, OUTS, PAIRS>(rows, pairs, width) };
            for (i, row) in block.iter().enumerate().take(outs - o) {
                for (j, sum) in row.iter().enumerate().take(places.len() - k) {
                    sums[(o + i) * places.len() + k + j] += sum;
                }
            }
        }
    }
}

/// The register block of [`dots`].
///
/// # Safety
/// The instruction set is available; all slices have `width` elements, a multiple of `LANES`.
#[inline(always)]
unsafe fn dot_block<S: Simd, const OUTS: usize, const PAIRS: usize>(
    rows: [&[f32]; OUTS],
    pairs: [&[f32]; PAIRS],
    width: usize,
) -> [[f32; PAIRS]; OUTS] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let rows = rows.map(<[f32]>::as_ptr);
        let pairs = pairs.map(<[f32]>::as_ptr);
        let mut sums = [[S::splat(0.0); PAIRS]; OUTS];
        for p in (0..width).step_by(S::LANES) {
            let mut y = [S::splat(0.0); OUTS];
            for i in 0..OUTS {
                y[i] = S::load(rows[i].add(p));
            }
            for j in 0..PAIRS {
                let x = S::load(pairs[j].add(p));
                for i in 0..OUTS {
                    sums[i][j] = S::fma(y[i], x, sums[i][j]);
                }
            }
        }
        let mut out = [[0.0; PAIRS]; OUTS];
        for i in 0..OUTS {
            for j in 0..PAIRS {
                out[i][j] = S::sum(sums[i][j]);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_at_equal_distances_are_a_product_if_there_are_enough() {
        let places: Vec<usize> = (0..ENOUGH).map(|k| 7 * k).collect();
        assert_eq!(regular(&places, ENOUGH), Some(7));
        assert_eq!(regular(&places, ENOUGH - 1), None);
        assert_eq!(regular(&places[1..], ENOUGH), None, "one pair too few, and the first is not at 0");
        let mut uneven = places.clone();
        uneven[5] += 1;
        assert_eq!(regular(&uneven, ENOUGH), None);
        let falling: Vec<usize> = places.iter().rev().copied().collect();
        assert_eq!(regular(&falling, ENOUGH), None);
        assert_eq!(regular(&[0], ENOUGH), None);
    }

    #[test]
    fn the_product_adds_to_what_is_there() {
        let (samples, ys) = ([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 10.0, f32::NAN, 100.0, 0.5, f32::NAN]);
        let mut sums = [1000.0; 4];
        product([&samples, &ys], [2, 2, 2], [3, 2], &mut sums);
        assert_eq!(sums, [1021.0, 1043.0, 1101.0, 1302.0]);
    }
}
