//! Winograd by weight: `G^T [sum over tiles (A y A^T) * (B^T x B)] G`, the adjoint of the forward transform.

use rayon::prelude::*;
use segcal_core::Shape;

use super::super::memory::{Scratch, Shared};
use super::super::simd::{Job, Level, Simd};
use super::gemm::{Panels, product};
use super::transform::{Input, KernelAdjoint, OutputAdjoint, both};
use super::{BLOCK, Layout, POINTS, RUN, SIDE, TASKS, Tiles, points};

/// Floats that the chunks' sums may take.
const SUMS: usize = 1 << 22;

/// The problem: the gradient of a `[out, in, kd, 3, 3]` weight.
pub(in super::super) struct Weight<'a> {
    /// Input of the convolution.
    pub(in super::super) x: (&'a [f32], Shape),
    /// Gradient of its output.
    pub(in super::super) y: (&'a [f32], Shape),
    /// Place of tap 0 for output 0.
    pub(in super::super) offset: [isize; 3],
    /// Depth of the kernel.
    pub(in super::super) kernel_depth: usize,
}

/// Where sums over tiles lie: `[batch][chunk][point][kd][in][lane of the chunk]`.
#[derive(Clone, Copy)]
struct Sums {
    /// Vectors of a chunk of output channels, 1 or 2.
    wide: usize,
    /// Lanes of a chunk.
    lanes: usize,
    /// Chunks.
    chunks: usize,
    /// Distance between slices of the kernel.
    slice: usize,
    /// Distance between points.
    plane: usize,
}

impl Sums {
    /// Numbers of a chunk.
    fn chunk(self) -> usize {
        POINTS * self.plane
    }
}

impl Weight<'_> {
    /// Writes the gradient.
    pub(in super::super) fn run(&self, level: Level, w: &mut [f32]) {
        let (ins, outs, kd) = (self.x.1.c(), self.y.1.c(), self.kernel_depth);
        let vectors = outs.div_ceil(level.lanes());
        let wide = if vectors.is_multiple_of(2) { 2 } else { 1 };
        let (lanes, slice) = (wide * level.lanes(), ins.next_multiple_of(4) * wide * level.lanes());
        let sums = Sums { wide, lanes, chunks: vectors / wide, slice, plane: kd * slice + 16 };

        // A batch is a run of consecutive (block, slice) items, whose sums one buffer holds.
        let tiles = Tiles::new(self.y.1);
        let blocks = tiles.blocks(BLOCK);
        let items = blocks.len() * self.y.1.spatial()[0];
        let size = sums.chunks * sums.chunk();
        let batch = items.div_ceil((SUMS / size).clamp(1, TASKS)).max(1);
        let batches = items.div_ceil(batch);
        let step = sums.chunks.div_ceil(TASKS.div_ceil(batches.max(1)));
        let parts = sums.chunks.div_ceil(step);
        let mut scratch = Scratch::call();
        let [all] = scratch.split([batches * size]);
        let shared = Shared::new(all);
        (0..batches * parts).into_par_iter().for_each(|task| {
            let (batch_of, part) = (task / parts, task % parts);
            let chunks = part * step..sums.chunks.min((part + 1) * step);
            let at = batch_of * size + chunks.start * sums.chunk();
            // SAFETY: tasks differ in batch or chunks.
            let to = unsafe { shared.part(at, chunks.len() * sums.chunk()) };
            let items = batch_of * batch..items.min((batch_of + 1) * batch);
            level.run(Task { all: self, sums, tiles: &tiles, blocks: &blocks, items, chunks, to });
        });

        let all = &*all;
        let w = Shared::new(w);
        (0..sums.chunks * ins).into_par_iter().for_each(|task| {
            let (chunk, channel) = (task / ins, task % ins);
            level.run(Finish { all: self, sums, batches: all.chunks_exact(size), chunk, channel, w });
        });
    }
}

/// A batch of items for some chunks of output channels.
struct Task<'a> {
    all: &'a Weight<'a>,
    sums: Sums,
    tiles: &'a Tiles,
    blocks: &'a [std::ops::Range<usize>],
    items: std::ops::Range<usize>,
    chunks: std::ops::Range<usize>,
    to: &'a mut [f32],
}

impl Job for Task<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { all, sums, tiles, blocks, items, chunks, to } = self;
        let (ins, outs, kd) = (all.x.1.c(), all.y.1.c(), all.kernel_depth);
        let most = blocks[0].len();
        let samples = Layout::new(most, ins.next_multiple_of(S::LANES));
        let grads = Layout { row: sums.lanes, plane: most.next_multiple_of(4) * sums.lanes + 16 };
        let mut scratch = Scratch::task();
        let lens = [kd * samples.len(), grads.len(), 6 * (SIDE * RUN + 2) * S::LANES];
        let [v, z, stage] = scratch.split(lens);
        to.fill(0.0);
        let depth = all.y.1.spatial()[0];
        let mut next = (usize::MAX, 0);
        for item in items {
            let (number, slice) = (item / depth, item % depth);
            let runs = tiles.runs(blocks[number].clone());
            if next.0 != number {
                next = (number, 0);
            }
            let first = slice as isize + all.offset[0];
            let inside =
                |k: usize| usize::try_from(first + k as isize).ok().filter(|&from| from < all.x.1.spatial()[0]);
            for from in (0..kd).filter_map(inside) {
                if from >= next.1 {
                    let to = &mut v[from % kd * samples.len()..][..samples.len()];
                    let offset = [all.offset[1], all.offset[2]];
                    // SAFETY: the instruction set is there; `to` and `stage` are as large as `points` asks.
                    unsafe { points::<S, Input, 6>(all.x, 0..ins, from, offset, &runs, samples, to, stage) };
                    next.1 = from + 1;
                }
            }
            for (chunk, to) in chunks.clone().zip(to.chunks_exact_mut(sums.chunk())) {
                let channels = chunk * sums.lanes..outs.min((chunk + 1) * sums.lanes);
                // SAFETY: as above.
                unsafe { points::<S, OutputAdjoint, 4>(all.y, channels, slice, [0, 0], &runs, grads, z, stage) };
                for (k, from) in (0..kd).filter_map(|k| Some((k, inside(k)?))) {
                    for point in 0..POINTS {
                        let panels = Panels {
                            a: v[from % kd * samples.len() + point * samples.plane..].as_ptr(),
                            a_strides: [1, samples.row],
                            b: z[point * grads.plane..].as_ptr(),
                            segments: &[(0, 0)],
                            depth: blocks[number].len(),
                            c: to[point * sums.plane + k * sums.slice..].as_mut_ptr(),
                            add: true,
                        };
                        // SAFETY: the instruction set is there; the samples' channels and the sums' rows are rounded
                        // up to a multiple of four.
                        unsafe {
                            match sums.wide {
                                2 => product::<S, 2>(panels, ins),
                                _ => product::<S, 1>(panels, ins),
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Adds the batches of one chunk and input channel in order, and transforms the sum to the kernel's gradient.
struct Finish<'a> {
    all: &'a Weight<'a>,
    sums: Sums,
    batches: std::slice::ChunksExact<'a, f32>,
    chunk: usize,
    channel: usize,
    w: Shared<'a>,
}

impl Job for Finish<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { all, sums, batches, chunk, channel, w } = self;
        let (ins, outs, kd) = (all.x.1.c(), all.y.1.c(), all.kernel_depth);
        let (mut u, mut g) = ([0.0f32; POINTS * 16], [0.0f32; 9 * 16]);
        for k in 0..kd {
            for v in 0..sums.wide {
                let at = chunk * sums.chunk() + k * sums.slice + channel * sums.lanes + v * S::LANES;
                u.fill(0.0);
                for batch in batches.clone() {
                    for point in 0..POINTS {
                        let from = &batch[at + point * sums.plane..][..S::LANES];
                        // SAFETY: the instruction set is there; both are a vector long.
                        unsafe {
                            let sum = u.as_mut_ptr().add(point * S::LANES);
                            S::store(sum, S::add(S::load(sum), S::load(from.as_ptr())));
                        }
                    }
                }
                // SAFETY: the instruction set is there; 36 vectors become nine.
                unsafe {
                    let strides = [3 * S::LANES, S::LANES];
                    both::<S, KernelAdjoint, 6, 3>(u.as_ptr(), [6 * S::LANES, S::LANES], g.as_mut_ptr(), strides);
                }
                let first = chunk * sums.lanes + v * S::LANES;
                for lane in 0..S::LANES.min(outs.saturating_sub(first)) {
                    let at = (((first + lane) * ins + channel) * kd + k) * 9;
                    // SAFETY: tasks differ in chunk or input channel.
                    let to = unsafe { w.part(at, 9) };
                    for (t, to) in to.iter_mut().enumerate() {
                        *to = g[t * S::LANES + lane];
                    }
                }
            }
        }
    }
}
