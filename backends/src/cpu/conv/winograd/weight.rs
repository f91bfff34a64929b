//! Winograd gradient by weight: `G^T [sum over tiles (A y A^T) * (B^T x B)] G`, the adjoint of the forward transform.

use std::sync::Arc;

use rayon::prelude::*;
use segcal_core::Shape;

use super::super::super::buffer::Pool;
use super::super::memory::{Scratch, Shared};
use super::super::simd::{Job, Simd};
use super::gemm::{Panels, product};
use super::lanes::from_lanes;
use super::transform::{Input, KernelAdjoint, OutputAdjoint, both};
use super::{HELD, Layout, POINTS, RUN, Run, SHARES, SIDE, Source, TASKS, Tiles};
use crate::cpu::isa::Level;

/// Approximate number of tiles in a block: they are the depth of the products, which must be large enough to pay for
/// reading and writing the sums.
const BLOCK: usize = 64;

/// Maximum number of floats for the sums of all chunks.
const SUMS: usize = 1 << 22;

/// The problem: the gradient of a `[out, in, kd, 3, 3]` weight.
pub(in super::super) struct Weight<'a> {
    /// Input of the convolution.
    pub(in super::super) x: (&'a [f32], Shape),
    /// Gradient of its output.
    pub(in super::super) y: (&'a [f32], Shape),
    /// Position of tap 0 for output 0.
    pub(in super::super) offset: [isize; 3],
    /// Depth of the kernel.
    pub(in super::super) kernel_depth: usize,
}

/// Layout of the sums over tiles: `[batch][chunk][point][kd][in][lane of the chunk]`.
#[derive(Clone, Copy)]
struct Sums {
    /// Vectors of a chunk of output channels, 1 or 2.
    wide: usize,
    /// Lanes of a chunk.
    lanes: usize,
    /// Number of chunks.
    chunks: usize,
    /// Distance between slices of the kernel.
    slice: usize,
    /// Distance between points.
    plane: usize,
}

impl Sums {
    /// Number of elements in a chunk.
    fn chunk(self) -> usize {
        POINTS * self.plane
    }

    /// Computes the product for the width of a chunk.
    ///
    /// # Safety
    /// As [`product`].
    #[inline(always)]
    unsafe fn product<S: Simd>(self, panels: Panels<'_>, rows: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            match self.wide {
                2 => product::<S, 2>(panels, rows),
                _ => product::<S, 1>(panels, rows),
            }
        }
    }
}

impl Weight<'_> {
    /// Writes the gradient.
    pub(in super::super) fn run(&self, memory: &Arc<Pool>, level: Level, w: &mut [f32]) {
        let (ins, outs, kd) = (self.x.1.c(), self.y.1.c(), self.kernel_depth);
        let vectors = outs.div_ceil(level.lanes());
        let wide = if vectors.is_multiple_of(2) { 2 } else { 1 };
        let (lanes, slice) = (wide * level.lanes(), ins.next_multiple_of(4) * wide * level.lanes());
        let sums = Sums { wide, lanes, chunks: vectors / wide, slice, plane: kd * slice + 16 };

        // A batch is a run of consecutive (block, slice) items whose sums share one buffer. A single item needs no
        // buffer: its tasks finish some input channels at a time.
        let tiles = Tiles::new(self.y.1);
        let blocks = tiles.blocks(BLOCK);
        let items = blocks.len() * self.y.1.spatial()[0];
        let size = sums.chunks * sums.chunk();
        let batch = items.div_ceil((SUMS / size).clamp(1, TASKS)).max(1);
        let batches = items.div_ceil(batch);
        let step = sums.chunks.div_ceil(SHARES.div_ceil(batches.max(1)));
        let parts = sums.chunks.div_ceil(step);
        let w = Shared::new(w);
        if items == 1 {
            let slice = ins.min(HELD).next_multiple_of(4) * lanes;
            let sums = Sums { slice, plane: kd * slice + 16, ..sums };
            return (0..parts).into_par_iter().for_each(|part| {
                let chunks = part * step..sums.chunks.min((part + 1) * step);
                level.run(Alone {
                    all: self,
                    sums,
                    runs: tiles.runs(blocks[0].clone()),
                    tiles: blocks[0].len(),
                    chunks,
                    w,
                });
            });
        }
        let mut all = memory.take(batches * size);
        let shared = Shared::new(&mut all);
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
        (0..sums.chunks * ins).into_par_iter().for_each(|task| {
            let (chunk, channel) = (task / ins, task % ins);
            let at = chunk * sums.chunk() + channel * sums.lanes;
            level.run(Finish { all: self, sums, from: all[at..].chunks(size), chunk, channel, w });
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
                    let source = Source { map: all.x, channels: 0..ins, slice: from, offset };
                    // SAFETY: the instruction set is available; `to` and `stage` are as large as `points` requires.
                    unsafe { source.points::<S, Input, 6>(&runs, samples, to, stage) };
                    next.1 = from + 1;
                }
            }
            for (chunk, to) in chunks.clone().zip(to.chunks_exact_mut(sums.chunk())) {
                let channels = chunk * sums.lanes..outs.min((chunk + 1) * sums.lanes);
                let source = Source { map: all.y, channels, slice, offset: [0, 0] };
                // SAFETY: as above.
                unsafe { source.points::<S, OutputAdjoint, 4>(&runs, grads, z, stage) };
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
                        // SAFETY: the instruction set is available; the channels of the samples and the rows of the
                        // sums are rounded up to a multiple of four.
                        unsafe { sums.product::<S>(panels, ins) };
                    }
                }
            }
        }
    }
}

/// A single item, for some chunks of output channels: sums are written directly to the gradient.
struct Alone<'a> {
    all: &'a Weight<'a>,
    sums: Sums,
    runs: Vec<Run>,
    tiles: usize,
    chunks: std::ops::Range<usize>,
    w: Shared<'a>,
}

impl Job for Alone<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { all, sums, runs, tiles, chunks, w } = self;
        let (ins, outs, kd) = (all.x.1.c(), all.y.1.c(), all.kernel_depth);
        let samples = Layout::new(tiles, ins.next_multiple_of(S::LANES));
        let grads = Layout { row: sums.lanes, plane: tiles.next_multiple_of(4) * sums.lanes + 16 };
        let mut scratch = Scratch::task();
        let lens = [samples.len(), grads.len(), 6 * (SIDE * RUN + 2) * S::LANES, sums.chunk()];
        let [v, z, stage, to] = scratch.split(lens);
        for k in 0..kd {
            let from = usize::try_from(k as isize + all.offset[0]).ok().filter(|&from| from < all.x.1.spatial()[0]);
            if let Some(from) = from {
                let offset = [all.offset[1], all.offset[2]];
                let source = Source { map: all.x, channels: 0..ins, slice: from, offset };
                // SAFETY: the instruction set is available; `v` and `stage` are as large as `points` requires.
                unsafe { source.points::<S, Input, 6>(&runs, samples, v, stage) };
            }
            for chunk in chunks.clone() {
                let channels = chunk * sums.lanes..outs.min((chunk + 1) * sums.lanes);
                let source = Source { map: all.y, channels, slice: 0, offset: [0, 0] };
                // SAFETY: as above.
                unsafe { source.points::<S, OutputAdjoint, 4>(&runs, grads, z, stage) };
                for first in (0..ins).step_by(HELD) {
                    let held = HELD.min(ins - first);
                    for point in 0..POINTS {
                        let panels = Panels {
                            a: v[point * samples.plane + first..].as_ptr(),
                            a_strides: [1, samples.row],
                            b: z[point * grads.plane..].as_ptr(),
                            segments: &[(0, 0)],
                            depth: if from.is_some() { tiles } else { 0 },
                            c: to[point * sums.plane..].as_mut_ptr(),
                            add: false,
                        };
                        // SAFETY: as in `Task`.
                        unsafe { sums.product::<S>(panels, held) };
                    }
                    for i in 0..held {
                        let from = to[i * sums.lanes..].chunks(to.len());
                        let finish = Finish { all, sums, from, chunk, channel: first + i, w };
                        // SAFETY: the instruction set is available; tasks differ in chunks.
                        unsafe { finish.slice::<S>(0, k) };
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
    /// The sums of each batch, starting with the first of the channel.
    from: std::slice::Chunks<'a, f32>,
    chunk: usize,
    channel: usize,
    w: Shared<'a>,
}

impl Job for Finish<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for k in 0..self.all.kernel_depth {
            // SAFETY: the instruction set is available; tasks differ in chunk or input channel.
            unsafe { self.slice::<S>(k, k) };
        }
    }
}

impl Finish<'_> {
    /// Finishes one slice of the kernel, whose sums are entry `held` of those held.
    ///
    /// # Safety
    /// The instruction set is available, and no other task writes this slice of these channels.
    #[inline(always)]
    unsafe fn slice<S: Simd>(&self, held: usize, k: usize) {
        let (sums, ins, outs, kd) = (self.sums, self.all.x.1.c(), self.all.y.1.c(), self.all.kernel_depth);
        let (mut u, mut g) = ([0.0f32; POINTS * 16], [0.0f32; 9 * 16]);
        for v in 0..sums.wide {
            u.fill(0.0);
            for batch in self.from.clone() {
                for point in 0..POINTS {
                    let from = &batch[held * sums.slice + v * S::LANES + point * sums.plane..][..S::LANES];
                    // SAFETY: the instruction set is available; both are a vector long.
                    unsafe {
                        let sum = u.as_mut_ptr().add(point * S::LANES);
                        S::store(sum, S::add(S::load(sum), S::load(from.as_ptr())));
                    }
                }
            }
            let first = self.chunk * sums.lanes + v * S::LANES;
            let count = S::LANES.min(outs - first);
            let row = ins * kd * 9;
            let to = self.w.pointer(first * row + (self.channel * kd + k) * 9, (count - 1) * row + 9);
            // SAFETY: the instruction set is available; 36 vectors become nine, which go to nine elements in each of
            // `count` rows; the check of `pointer` ensures that they are inside.
            unsafe {
                let strides = [3 * S::LANES, S::LANES];
                both::<S, KernelAdjoint, 6, 3>(u.as_ptr(), [6 * S::LANES, S::LANES], g.as_mut_ptr(), strides);
                from_lanes::<S>(g.as_ptr(), to, row, count, 9);
            }
        }
    }
}
