//! Winograd forward, and by input.

use rayon::prelude::*;
use segcal_core::Shape;

use super::super::memory::{Scratch, Shared};
use super::super::simd::{Job, Level, Simd};
use super::gemm::{Panels, product};
use super::lanes::from_lanes;
use super::transform::{Input, Kernel, Output, both};
use super::{Layout, POINTS, RUN, Run, SIDE, TASKS, Tiles, points};

/// One problem: `out[o, p] = sum over c, t of in[c, p + offset + t] weight[o, c, t]` with a kernel `[kd, 3, 3]`.
pub(in super::super) struct Forward<'a> {
    /// Input and its shape.
    pub(in super::super) input: (&'a [f32], Shape),
    /// The weight's numbers.
    pub(in super::super) weight: &'a [f32],
    /// Distance in `weight` between output and between input channels.
    pub(in super::super) strides: [usize; 2],
    /// Whether the kernel is turned around.
    pub(in super::super) turned: bool,
    /// The output's shape.
    pub(in super::super) out: Shape,
    /// Place of tap 0 for output 0.
    pub(in super::super) offset: [isize; 3],
    /// Depth of the kernel.
    pub(in super::super) kernel_depth: usize,
}

/// Where transformed weights lie: `[chunk][point][kd][in][lane of the chunk]`.
#[derive(Clone, Copy)]
struct Weights {
    /// Vectors of a chunk, 1 or 2.
    wide: usize,
    /// Lanes of a chunk.
    lanes: usize,
    /// Chunks.
    chunks: usize,
    /// Distance between points.
    plane: usize,
}

impl Forward<'_> {
    /// Computes every output.
    pub(in super::super) fn run(&self, level: Level, y: Shared<'_>) {
        let (ins, kd) = (self.input.1.c(), self.kernel_depth);
        let vectors = self.out.c().div_ceil(level.lanes());
        let wide = if vectors.is_multiple_of(2) { 2 } else { 1 };
        let lanes = wide * level.lanes();
        let weights = Weights { wide, lanes, chunks: vectors / wide, plane: kd * ins * lanes + 16 };
        let mut scratch = Scratch::call();
        let [u] = scratch.split([weights.chunks * POINTS * weights.plane]);
        let shared = Shared::new(u);
        let share = ins.div_ceil(TASKS.div_ceil(weights.chunks * kd));
        let shares = ins.div_ceil(share);
        (0..weights.chunks * kd * shares).into_par_iter().for_each(|task| {
            let (chunk, k, part) = (task / shares / kd, task / shares % kd, task % shares);
            let channels = part * share..ins.min((part + 1) * share);
            level.run(Transform { all: self, weights, chunk, k, channels, u: shared });
        });

        let tiles = Tiles::new(self.out);
        let blocks = tiles.blocks();
        let depth = self.out.spatial()[0];
        // Along the depth a cut costs `kd - 1` transforms of slices again; between chunks, all of them.
        let cut = depth.div_ceil(TASKS.div_ceil(blocks.len().max(1)).clamp(1, depth.div_ceil(8).max(1))).max(1);
        let cuts = depth.div_ceil(cut);
        let step = weights.chunks.div_ceil(TASKS.div_ceil((blocks.len() * cuts).max(1)));
        let parts = weights.chunks.div_ceil(step.max(1));
        let u = &*u;
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

/// Transforms the weights of one chunk, one slice of the kernel and some input channels.
struct Transform<'a> {
    all: &'a Forward<'a>,
    weights: Weights,
    chunk: usize,
    k: usize,
    channels: std::ops::Range<usize>,
    u: Shared<'a>,
}

impl Job for Transform<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { all, weights, chunk, k, channels, u } = self;
        let ins = all.input.1.c();
        let taps = all.kernel_depth * 9;
        let mut kernel = [0.0f32; 9 * 16];
        for c in channels {
            for v in 0..weights.wide {
                let first = chunk * weights.lanes + v * S::LANES;
                for lane in 0..S::LANES {
                    let o = first + lane;
                    for t in 0..9 {
                        let tap = if all.turned { taps - 1 - (k * 9 + t) } else { k * 9 + t };
                        let at = o * all.strides[0] + c * all.strides[1] + tap;
                        kernel[t * S::LANES + lane] = if o < all.out.c() { all.weight[at] } else { 0.0 };
                    }
                }
                let at = chunk * POINTS * weights.plane + (k * ins + c) * weights.lanes + v * S::LANES;
                let to = u.pointer(at, 35 * weights.plane + S::LANES);
                let strides = [6 * weights.plane, weights.plane];
                // SAFETY: the instruction set is there; the last point's vector is inside by `pointer`'s check, and
                // tasks differ in chunk, slice or input channel.
                unsafe { both::<S, Kernel, 3, 6>(kernel.as_ptr(), [3 * S::LANES, S::LANES], to, strides) };
            }
        }
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
    u: &'a [f32],
    y: Shared<'a>,
}

impl Job for Task<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (all, weights) = (self.all, self.weights);
        let (ins, kd) = (all.input.1.c(), all.kernel_depth);
        let samples = Layout::new(self.tiles, ins.next_multiple_of(S::LANES));
        let sums = self.tiles.next_multiple_of(4) * weights.lanes + 16;
        let mut scratch = Scratch::task();
        let lens = [kd * samples.len(), POINTS * sums, 6 * (SIDE * RUN + 2) * S::LANES];
        let [v, m, stage] = scratch.split(lens);
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
                    // SAFETY: the instruction set is there; `to` and `stage` are as large as `points` asks.
                    unsafe { points::<S, Input, 6>(all.input, 0..ins, from, offset, &self.runs, samples, to, stage) };
                    next = from + 1;
                }
                segments.push((slot, k * ins * weights.lanes));
            }
            for chunk in self.chunks.clone() {
                for point in 0..POINTS {
                    let b = &self.u[(chunk * POINTS + point) * weights.plane..][..kd * ins * weights.lanes];
                    let panels = Panels {
                        a: v[point * samples.plane..].as_ptr(),
                        a_strides: [samples.row, 1],
                        b: b.as_ptr(),
                        segments: &segments,
                        depth: ins,
                        c: m[point * sums..].as_mut_ptr(),
                        add: false,
                    };
                    // SAFETY: the instruction set is there; both layouts round the tiles up to a multiple of four.
                    unsafe {
                        match weights.wide {
                            2 => product::<S, 2>(panels, self.tiles),
                            _ => product::<S, 1>(panels, self.tiles),
                        }
                    }
                }
                for vector in 0..weights.wide {
                    // SAFETY: the instruction set is there.
                    unsafe { self.store::<S>(&m[vector * S::LANES..], sums, chunk, vector, slice, stage) };
                }
            }
        }
    }
}

impl Task<'_> {
    /// Transforms the products of one vector of output channels back and stores them.
    ///
    /// # Safety
    /// The instruction set is there; `m` and `stage` are those of `run`.
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
