//! Direct convolution of any geometry: forward and transposed.
//!
//! Idea: [`stencil`](super::stencil) maps a tile of outputs to one flat sequence in which every tap is at a constant
//! distance. A register block of `ROWS` output channels x 3 vectors of that sequence runs over all input channels and
//! taps, with loads as the only memory accesses: one vector load per sequence vector and tap, one broadcast per
//! channel, `3 ROWS` multiply-adds.
//!
//! Blocking: a task is a tile of one image (and group). Its samples take at most about 256 KiB, so that they stay in
//! L2; the weights are packed once per call as `[block of out][in][tap][out in block]` and are streamed from L1/L2. If
//! there are few tiles, the work is also split over blocks of output channels.
//!
//! Accuracy: each output is one chain of `K = in taps` multiply-adds, rounded once each with FMA: at most
//! `K 2^-24 sum |x w|` from the exact sum, to first order (twice that without FMA).

use rayon::prelude::*;
use segcal_core::Shape;

use super::super::isa::Level;
use super::memory::{Scratch, Shared};
use super::simd::{Job, Simd};
use super::stencil::{Stencil, Tile};

/// Maximum number of scratch floats for the samples of one task.
const SAMPLES: usize = 1 << 16;
/// Target number of tasks: enough to share evenly among a few dozen threads. It never depends on the actual number of
/// threads.
const TASKS: usize = 32;

/// One problem: the channels of the groups, and where the outputs are stored.
pub(super) struct Direct<'a> {
    /// The stencil of the problem.
    pub(super) stencil: Stencil,
    /// Extents of the kernel.
    pub(super) kernel: [usize; 3],
    /// Number of groups.
    pub(super) groups: usize,
    /// Channels of one group, in and out (for this problem).
    pub(super) channels: [usize; 2],
    /// The input, with the shape of the whole batch.
    pub(super) input: (&'a [f32], Shape),
    /// The output's shape.
    pub(super) out: Shape,
    /// Output channel `o` of the problem is channel `o / starts.len()` of the output, and its position `q` is stored
    /// there at `starts[o % starts.len()] + q stride`.
    pub(super) starts: Vec<[usize; 3]>,
    /// See `starts`.
    pub(super) stride: [usize; 3],
}

/// Consecutive output channels that share a register block.
struct Block {
    /// First channel within the group.
    first: usize,
    /// Number of channels.
    count: usize,
    /// Rows of the register block, at least `count`; the extra rows have zero weights.
    rows: usize,
    /// Offset in the packed weights of the group.
    at: usize,
}

impl Direct<'_> {
    /// Computes all outputs of the problem. `weight(g, o, c, tap)` is the weight between output channel `o` and
    /// input channel `c` of group `g`.
    pub(super) fn run(&self, level: Level, weight: impl Fn(usize, usize, usize, usize) -> f32 + Sync, y: Shared<'_>) {
        let [ins, outs] = self.channels;
        let one = Tile { start: [0; 2], size: [1; 2] };
        let slices = self.stencil.channel(one).div_ceil(self.stencil.row().max(1)).max(1);
        let tiles = self.stencil.tiles((SAMPLES / (ins * slices).max(1)).max(64));
        let blocks = blocks(outs, level.rows(), ins * self.taps(one).len());
        let packed = self.pack(&blocks, &weight);
        let size = packed.len() / self.groups;
        let shares = (self.input.1.n() * self.groups * tiles.len()).max(1);
        let per_task = blocks.len().div_ceil(TASKS.div_ceil(shares)).max(1);
        let parts: Vec<&[Block]> = blocks.chunks(per_task).collect();
        (0..self.input.1.n() * self.groups * tiles.len() * parts.len()).into_par_iter().for_each(|task| {
            let (task, part) = (task / parts.len(), parts[task % parts.len()]);
            let (task, tile) = (task / tiles.len(), tiles[task % tiles.len()]);
            let (image, group) = (task / self.groups, task % self.groups);
            let packed = &packed[group * size..][..size];
            level.run(Task { all: self, tile, image, group, blocks: part, packed, y });
        });
    }

    /// The taps of a tile.
    fn taps(&self, tile: Tile) -> Vec<(usize, usize)> {
        self.stencil.taps(self.kernel, tile)
    }

    /// Packs the weights as `[group][block][in][tap][row of the block]`, with zeros in rows beyond the channels.
    fn pack(&self, blocks: &[Block], weight: &(impl Fn(usize, usize, usize, usize) -> f32 + Sync)) -> Vec<f32> {
        let taps: Vec<usize> = self.taps(Tile { start: [0; 2], size: [1; 2] }).iter().map(|&(tap, _)| tap).collect();
        let size = self.channels[0] * taps.len() * blocks.iter().map(|block| block.rows).sum::<usize>();
        let mut packed = vec![0.0; size * self.groups];
        for (group, packed) in packed.chunks_exact_mut(size.max(1)).enumerate() {
            for block in blocks {
                let rows = packed[block.at..].chunks_exact_mut(block.rows);
                for (k, row) in rows.take(self.channels[0] * taps.len()).enumerate() {
                    for (i, to) in row[..block.count].iter_mut().enumerate() {
                        *to = weight(group, block.first + i, k / taps.len(), taps[k % taps.len()]);
                    }
                }
            }
        }
        packed
    }
}

/// Splits the output channels into blocks of at most `most` (4 or 8) rows with `depth` weights per row.
fn blocks(outs: usize, most: usize, depth: usize) -> Vec<Block> {
    let (mut blocks, mut first, mut at) = (Vec::new(), 0, 0);
    while first < outs {
        let left = outs - first;
        let rows = left.next_power_of_two().min(most);
        blocks.push(Block { first, count: rows.min(left), rows, at });
        first += rows;
        at += rows * depth;
    }
    blocks
}

/// Some output channels of one tile of one image.
struct Task<'a> {
    all: &'a Direct<'a>,
    tile: Tile,
    image: usize,
    group: usize,
    blocks: &'a [Block],
    packed: &'a [f32],
    y: Shared<'a>,
}

impl Job for Task<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let all = self.all;
        let stencil = &all.stencil;
        let [ins, _] = all.channels;
        let taps: Vec<usize> = all.taps(self.tile).iter().map(|&(_, at)| at).collect();
        let (channel, flat) = (stencil.channel(self.tile), stencil.flat(self.tile));
        let width = flat.next_multiple_of(S::LANES);
        let mut scratch = Scratch::task();
        let [samples, sums] = scratch.split([ins * channel + S::LANES, S::ROWS * width]);
        let (x, xs) = all.input;
        let planes = x[(self.image * xs.c() + self.group * ins) * xs.voxels()..].chunks_exact(xs.voxels().max(1));
        for (x, to) in planes.zip(samples.chunks_exact_mut(channel.max(1)).take(ins)) {
            stencil.gather(x, self.tile, to);
        }
        for block in self.blocks {
            let weights = &self.packed[block.at..][..block.rows * ins * taps.len()];
            // SAFETY: the level's instruction set is available by the contract of `run`. The furthest sample read is
            // `(ins - 1) channel + tap + width - 1`, and `tap + flat <= channel`; sums hold `ROWS` rows of `width`.
            unsafe {
                match block.rows {
                    8 => sweep::<S, 8>(samples, channel, &taps, weights, sums, width),
                    4 => sweep::<S, 4>(samples, channel, &taps, weights, sums, width),
                    2 => sweep::<S, 2>(samples, channel, &taps, weights, sums, width),
                    _ => sweep::<S, 1>(samples, channel, &taps, weights, sums, width),
                }
            }
            self.store(block, sums, width);
        }
    }
}

impl Task<'_> {
    /// Copies the sums of a block to the output.
    #[inline(always)]
    fn store(&self, block: &Block, sums: &[f32], width: usize) {
        let (all, step) = (self.all, self.all.stride[2]);
        let (row, rows, columns) = (all.stencil.row(), all.stencil.rows(self.tile), all.stencil.output[2]);
        // Channels of the problem that are adjacent in the rows of the output are stored together.
        let together = if step == all.starts.len().min(2) { step } else { 1 };
        for i in (0..block.count).step_by(together) {
            let o = self.group * all.channels[1] + block.first + i;
            for d in 0..self.tile.size[0] {
                for h in 0..self.tile.size[1] {
                    let from = &sums[i * width + (d * rows + h) * row..];
                    let at = self.place(o, d, h);
                    // SAFETY: tasks differ in image, group, tile or block, and problems that share an output run one
                    // after the other, so nothing else touches this row of this channel.
                    let to = unsafe { self.y.part(at, (columns - 1) * step + together) };
                    match [step, together] {
                        [1, _] => to.copy_from_slice(&from[..columns]),
                        [2, 2] => {
                            let odd = &from[width..][..columns];
                            for (pair, (&even, &odd)) in to.chunks_exact_mut(2).zip(from.iter().zip(odd)) {
                                pair[0] = even;
                                pair[1] = odd;
                            }
                        }
                        _ => {
                            for (to, &from) in to.iter_mut().step_by(step).zip(from) {
                                *to = from;
                            }
                        }
                    }
                }
            }
        }
    }

    /// The offset in the output of row `(d, h)` of the tile, for channel `o` of the problem.
    #[inline(always)]
    fn place(&self, o: usize, d: usize, h: usize) -> usize {
        let (all, starts) = (self.all, &self.all.starts);
        let [_, height, width] = all.out.spatial();
        let [start_d, start_h, start_w] = starts[o % starts.len()];
        let d = start_d + (self.tile.start[0] + d) * all.stride[0];
        let h = start_h + (self.tile.start[1] + h) * all.stride[1];
        (self.image * all.out.c() + o / starts.len()) * all.out.voxels() + (d * height + h) * width + start_w
    }
}

/// `sums[r][p] = sum over c, t of weights[c][t][r] samples[c][p + taps[t]]` for `R` rows and all `p < width`.
///
/// # Safety
/// The instruction set is available; `samples` and `sums` are large enough.
#[inline(always)]
unsafe fn sweep<S: Simd, const R: usize>(
    samples: &[f32],
    channel: usize,
    taps: &[usize],
    weights: &[f32],
    sums: &mut [f32],
    width: usize,
) {
    let ins = if taps.is_empty() { 0 } else { weights.len() / (R * taps.len()) };
    let vectors = width / S::LANES;
    let mut v = 0;
    while v < vectors {
        let at = v * S::LANES;
        // SAFETY: `at + 3 LANES <= width` or fewer vectors are used; the caller guarantees the rest.
        unsafe {
            let (x, to) = (samples.as_ptr().add(at), sums.as_mut_ptr().add(at));
            match vectors - v {
                1 => block::<S, R, 1>(x, channel, ins, taps, weights.as_ptr(), to, width),
                2 | 4 => block::<S, R, 2>(x, channel, ins, taps, weights.as_ptr(), to, width),
                _ => block::<S, R, 3>(x, channel, ins, taps, weights.as_ptr(), to, width),
            }
        }
        v += match vectors - v {
            1 => 1,
            2 | 4 => 2,
            _ => 3,
        };
    }
}

/// The register block: `R` rows x `V` vectors of [`sweep`].
///
/// # Safety
/// As [`sweep`]; all of `x[c channel + taps[t] + (0..V LANES)]` and `to[r width + (0..V LANES)]` is valid.
#[inline(always)]
unsafe fn block<S: Simd, const R: usize, const V: usize>(
    x: *const f32,
    channel: usize,
    ins: usize,
    taps: &[usize],
    mut w: *const f32,
    to: *mut f32,
    width: usize,
) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut sums = [[S::splat(0.0); V]; R];
        for c in 0..ins {
            let x = x.add(c * channel);
            for &tap in taps {
                let x = x.add(tap);
                let mut samples = [S::splat(0.0); V];
                for v in 0..V {
                    samples[v] = S::load(x.add(v * S::LANES));
                }
                for r in 0..R {
                    let weight = S::splat(*w.add(r));
                    for v in 0..V {
                        sums[r][v] = S::fma(weight, samples[v], sums[r][v]);
                    }
                }
                w = w.add(R);
            }
        }
        for r in 0..R {
            for v in 0..V {
                S::store(to.add(r * width + v * S::LANES), sums[r][v]);
            }
        }
    }
}
