//! Winograd convolution: forward, and gradient by input.

use std::sync::Arc;

use rayon::prelude::*;
use segcal_core::Shape;

use super::super::super::buffer::Pool;
use super::super::memory::{Scratch, Shared};
use super::super::simd::{Job, Simd};
use super::gemm::{Panels, product};
use super::lanes::{from_lanes, to_lanes};
use super::transform::{Input, Kernel, Output, both};
use super::{BLOCK, HELD, Layout, POINTS, RUN, Run, SHARES, SIDE, Source, TASKS, Tiles};
use crate::cpu::isa::Level;

/// Number of taps that are staged together, at least those of one kernel: kernels are at most `[8, 3, 3]`.
const STAGE: usize = 72;

/// One problem: `out[o, p] = sum over c, t of in[c, p + offset + t] weight[o, c, t]` with a kernel `[kd, 3, 3]`.
pub(in super::super) struct Forward<'a> {
    /// Input and its shape.
    pub(in super::super) input: (&'a [f32], Shape),
    /// The values of the weight.
    pub(in super::super) weight: &'a [f32],
    /// Distance in `weight` between output and between input channels.
    pub(in super::super) strides: [usize; 2],
    /// Whether the kernel is flipped.
    pub(in super::super) turned: bool,
    /// The output's shape.
    pub(in super::super) out: Shape,
    /// Position of tap 0 for output 0.
    pub(in super::super) offset: [isize; 3],
    /// Depth of the kernel.
    pub(in super::super) kernel_depth: usize,
}

/// Layout of the transformed weights: `[chunk][point][kd][in][lane of the chunk]`.
#[derive(Clone, Copy)]
struct Weights {
    /// Vectors of a chunk, 1 or 2.
    wide: usize,
    /// Lanes of a chunk.
    lanes: usize,
    /// Number of chunks.
    chunks: usize,
    /// Distance between points.
    plane: usize,
}

impl Weights {
    /// Creates the layout for some input channels and all output channels.
    fn new(level: Level, outs: usize, ins: usize, kernel_depth: usize) -> Self {
        let vectors = outs.div_ceil(level.lanes());
        let wide = if vectors.is_multiple_of(2) { 2 } else { 1 };
        let lanes = wide * level.lanes();
        Self { wide, lanes, chunks: vectors / wide, plane: kernel_depth * ins * lanes + 16 }
    }

    /// Number of elements in a chunk.
    fn chunk(self) -> usize {
        POINTS * self.plane
    }
}

impl Forward<'_> {
    /// Computes every output.
    pub(in super::super) fn run(&self, memory: &Arc<Pool>, level: Level, y: Shared<'_>) {
        let (ins, kd) = (self.input.1.c(), self.kernel_depth);
        let tiles = Tiles::new(self.out);
        let blocks = tiles.blocks(BLOCK);
        let depth = self.out.spatial()[0];
        // Weights that only one block uses are transformed by the task that needs them, a few channels at a time.
        let alone = blocks.len() * depth == 1;
        let held = if alone { ins.min(HELD) } else { ins };
        let weights = Weights::new(level, self.out.c(), held, kd);
        let mut u = memory.take(if alone { 0 } else { weights.chunks * weights.chunk() });
        if !alone {
            let shared = Shared::new(&mut u);
            let share = ins.div_ceil(TASKS.div_ceil(weights.chunks));
            let shares = ins.div_ceil(share);
            (0..weights.chunks * shares).into_par_iter().for_each(|task| {
                let (chunk, part) = (task / shares, task % shares);
                let channels = part * share..ins.min((part + 1) * share);
                level.run(Transform { all: self, weights, chunk, channels, u: shared });
            });
        }

        // A cut along the depth repeats the transforms of `kd - 1` slices; a cut between chunks repeats all of them.
        let cut = depth.div_ceil(TASKS.div_ceil(blocks.len().max(1)).clamp(1, depth.div_ceil(8).max(1))).max(1);
        let cuts = depth.div_ceil(cut);
        let step = weights.chunks.div_ceil(SHARES.div_ceil((blocks.len() * cuts).max(1)));
        let parts = weights.chunks.div_ceil(step.max(1));
        let u = (!alone).then_some(&*u);
        (0..blocks.len() * cuts * parts).into_par_iter().for_each(|task| {
            let (task, part) = (task / parts, task % parts);
            let (block, cut_of) = (&blocks[task / cuts], task % cuts);
            level.run(Task {
                all: self,
                weights,
                runs: tiles.runs(block.clone()),
                tiles: block.len(),
                slices: cut_of * cut..depth.min((cut_of + 1) * cut),
                chunks: part * step..weights.chunks.min((part + 1) * step),
                u,
                y,
            });
        });
    }
}

impl Forward<'_> {
    /// Transforms the kernels between one chunk of output channels and some input channels. `to` is the start of the
    /// chunk in a layout whose input channels begin with channel `first` and are `held` in total.
    ///
    /// # Safety
    /// The instruction set is available, `to` holds a chunk of that layout, and no other task accesses these channels
    /// of it.
    #[inline(always)]
    unsafe fn transform<S: Simd>(
        &self,
        weights: Weights,
        chunk: usize,
        channels: std::ops::Range<usize>,
        to: *mut f32,
        [first, held]: [usize; 2],
    ) {
        let (taps, [outs, ins]) = (9 * self.kernel_depth, self.strides);
        let mut stage = [0.0f32; STAGE * 16];
        let mut turned = [0.0f32; 9 * 16];
        // Adjacent kernels are read together, in order.
        let group = if ins == taps { STAGE / taps } else { 1 };
        for c in channels.clone().step_by(group) {
            let group = group.min(channels.end - c);
            for v in 0..weights.wide {
                let o = chunk * weights.lanes + v * S::LANES;
                let count = S::LANES.min(self.out.c() - o);
                let from = &self.weight[o * outs + c * ins..];
                assert!((count - 1) * outs + group * taps <= from.len(), "kernels are inside the weight");
                // SAFETY: the instruction set is available, and the assertion ensures that the rows are inside.
                unsafe { to_lanes::<S>(from.as_ptr(), outs, count, group * taps, stage.as_mut_ptr()) };
                for (i, k) in (0..group).flat_map(|i| (0..self.kernel_depth).map(move |k| (i, k))) {
                    // SAFETY: the instruction set is available; the stage holds the kernels of the group, and the
                    // caller guarantees that the vector of the last point, `35 plane` further, is inside.
                    unsafe {
                        let mut kernel = stage.as_ptr().add((i * taps + 9 * k) * S::LANES);
                        if self.turned {
                            let last = stage.as_ptr().add((i * taps + taps - 9 * k - 1) * S::LANES);
                            for t in 0..9 {
                                let tap = S::load(last.sub(t * S::LANES));
                                S::store(turned.as_mut_ptr().add(t * S::LANES), tap);
                            }
                            kernel = turned.as_ptr();
                        }
                        let to = to.add((k * held + c + i - first) * weights.lanes + v * S::LANES);
                        let strides = [6 * weights.plane, weights.plane];
                        both::<S, Kernel, 3, 6>(kernel, [3 * S::LANES, S::LANES], to, strides);
                    }
                }
            }
        }
    }
}

/// Transforms the weights of one chunk and some input channels.
struct Transform<'a> {
    all: &'a Forward<'a>,
    weights: Weights,
    chunk: usize,
    channels: std::ops::Range<usize>,
    u: Shared<'a>,
}

impl Job for Transform<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let to = self.u.pointer(self.chunk * self.weights.chunk(), self.weights.chunk());
        let ins = self.all.input.1.c();
        // SAFETY: the instruction set is available; tasks differ in chunk or input channels.
        unsafe { self.all.transform::<S>(self.weights, self.chunk, self.channels, to, [0, ins]) }
    }
}

/// A block of tiles, a range of slices and of chunks of output channels.
struct Task<'a> {
    all: &'a Forward<'a>,
    weights: Weights,
    runs: Vec<Run>,
    tiles: usize,
    slices: std::ops::Range<usize>,
    chunks: std::ops::Range<usize>,
    /// The transformed weights, unless the task computes them itself.
    u: Option<&'a [f32]>,
    y: Shared<'a>,
}

impl Job for Task<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (all, weights) = (self.all, self.weights);
        let (ins, kd) = (all.input.1.c(), all.kernel_depth);
        let samples = Layout::new(self.tiles, ins.next_multiple_of(S::LANES));
        let sums = self.tiles.next_multiple_of(4) * weights.lanes + 16;
        let own = if self.u.is_none() { weights.chunk() } else { 0 };
        let mut scratch = Scratch::task();
        let lens = [kd * samples.len(), POINTS * sums, 6 * (SIDE * RUN + 2) * S::LANES, own];
        let [v, m, stage, own] = scratch.split(lens);
        let held = if self.u.is_none() { ins.min(HELD) } else { ins };
        let mut next = 0;
        for slice in self.slices.clone() {
            let first = slice as isize + all.offset[0];
            let mut segments = Vec::with_capacity(kd);
            for k in 0..kd {
                let Ok(from) = usize::try_from(first + k as isize) else { continue };
                if from >= all.input.1.spatial()[0] {
                    continue;
                }
                let slot = from % kd * samples.len();
                if from >= next {
                    let to = &mut v[slot..][..samples.len()];
                    let offset = [all.offset[1], all.offset[2]];
                    let source = Source { map: all.input, channels: 0..ins, slice: from, offset };
                    // SAFETY: the instruction set is available; `to` and `stage` are as large as `points` requires.
                    unsafe { source.points::<S, Input, 6>(&self.runs, samples, to, stage) };
                    next = from + 1;
                }
                segments.push((slot, k * held * weights.lanes));
            }
            for chunk in self.chunks.clone() {
                for first in (0..ins).step_by(held) {
                    let depth = held.min(ins - first);
                    if self.u.is_none() {
                        let to = own.as_mut_ptr();
                        // SAFETY: the instruction set is available; `own` belongs to this task and holds a chunk.
                        unsafe { all.transform::<S>(weights, chunk, first..first + depth, to, [first, held]) };
                    }
                    let u = self.u.map_or(&*own, |u| &u[chunk * weights.chunk()..][..weights.chunk()]);
                    // SAFETY: the instruction set is available; segments and channels are those of both layouts.
                    unsafe { self.products::<S>([&v[first..], u], samples, &segments, depth, (m, sums), first > 0) };
                }
                for vector in 0..weights.wide {
                    // SAFETY: the instruction set is available.
                    unsafe { self.store::<S>(&m[vector * S::LANES..], sums, chunk, vector, slice, stage) };
                }
            }
        }
    }
}

impl Task<'_> {
    /// Multiplies samples and weights at each point, over `depth` input channels of each segment.
    ///
    /// # Safety
    /// The instruction set is available; both factors hold the segments at every point.
    #[inline(always)]
    unsafe fn products<S: Simd>(
        &self,
        [v, u]: [&[f32]; 2],
        samples: Layout,
        segments: &[(usize, usize)],
        depth: usize,
        (m, sums): (&mut [f32], usize),
        add: bool,
    ) {
        for point in 0..POINTS {
            let panels = Panels {
                a: v[point * samples.plane..].as_ptr(),
                a_strides: [samples.row, 1],
                b: u[point * self.weights.plane..].as_ptr(),
                segments,
                depth,
                c: m[point * sums..].as_mut_ptr(),
                add,
            };
            // SAFETY: guaranteed by the caller; both layouts round the tiles up to a multiple of four.
            unsafe {
                match self.weights.wide {
                    2 => product::<S, 2>(panels, self.tiles),
                    _ => product::<S, 1>(panels, self.tiles),
                }
            }
        }
    }

    /// Transforms the products of one vector of output channels back and stores them.
    ///
    /// # Safety
    /// The instruction set is available; `m` and `stage` are those of `run`.
    #[inline(always)]
    unsafe fn store<S: Simd>(
        &self,
        m: &[f32],
        sums: usize,
        chunk: usize,
        vector: usize,
        slice: usize,
        stage: &mut [f32],
    ) {
        let (out, lanes) = (self.all.out, self.weights.lanes);
        let [_, height, width] = out.spatial();
        let channel = chunk * lanes + vector * S::LANES;
        let count = S::LANES.min(out.c().saturating_sub(channel));
        if count == 0 {
            return;
        }
        for run in &self.runs {
            let columns = SIDE * run.len;
            // SAFETY: tile `at + i` is inside the products; the stage holds four rows of a run.
            unsafe {
                for i in 0..run.len {
                    let from = m.as_ptr().add((run.at + i) * lanes);
                    let to = stage.as_mut_ptr().add(i * SIDE * S::LANES);
                    both::<S, Output, 6, 4>(from, [6 * sums, sums], to, [columns * S::LANES, S::LANES]);
                }
            }
            let (h, w) = (SIDE * run.row, SIDE * run.column);
            let len = columns.min(width - w);
            for row in 0..SIDE.min(height - h) {
                let at = (run.image * out.c() + channel) * out.voxels() + (slice * height + h + row) * width + w;
                let to = self.y.pointer(at, (count - 1) * out.voxels() + len);
                // SAFETY: the pointer's check covers the last channel's row; tasks differ in tiles, slices or channels.
                unsafe {
                    let from = stage.as_ptr().add(row * columns * S::LANES);
                    from_lanes::<S>(from, to, out.voxels(), count, len);
                }
            }
        }
    }
}
