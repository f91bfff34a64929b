//! 3 x 3 convolutions with many channels by Winograd's F(4x4, 3x3): a quarter of the multiplications, at the cost of
//! more memory traffic.
//!
//! Outputs are split into tiles of 4 x 4. The 6 x 6 samples of each tile, and the kernels, are transformed to 36
//! points. There, the convolution is 36 matrix products over the channels, which the shader of `conv` computes as
//! groups. The products are transformed back. The points are those of the CPU backend (`0, ±1/√2, ±√2` and infinity),
//! whose powers stay near 1. The gradient with respect to the input is the same with the kernel flipped.
//!
//! When it pays: per output position, with `C` input and `K` output channels, the direct sum takes `18 C K` operations
//! and this algorithm `4.5 C K`, but it moves `22 (C + K)` bytes (samples read once, points written and read). On a
//! card whose arithmetic and memory balance at `r` operations per byte, it is faster from `C K / (C + K) = 22 / 13.5 r`
//! on. That is 60 to 125 for cards from `r = 36` to `r = 76`; see `docs/gpu.md`.
//!
//! Accuracy: a result that sums `D` channels differs from the exact one by at most
//! `157 (D + 45) 2^-24 sum |w| max |x|`, the maximum over the samples of its tile: the chain of the product and 45
//! roundings of transforms and constants, enlarged by at most 157 (the largest absolute row sum of the three matrices
//! together). In practice the error is far smaller: on random numbers, the root mean square error is `3.4e-6` of the
//! result's root mean square for 256 channels. A non-finite value spreads over its tile.

use segcal_core::{Geometry, Shape};

use super::buffer::Buffer;
use super::context::Context;
use super::kernel::Kernel;
use super::params::Params;
use super::product;
use super::text::ELEMENTWISE;

pub(super) static WEIGHT: Kernel = Kernel {
    name: "winograd_weight",
    files: &[include_str!("shaders/winograd_weight.wgsl"), ELEMENTWISE],
    constants: &[],
    reads: &["w"],
    writes: &["u"],
};

pub(super) static INPUT: Kernel = Kernel {
    name: "winograd_input",
    files: &[include_str!("shaders/winograd_input.wgsl"), ELEMENTWISE],
    constants: &[],
    reads: &["x"],
    writes: &["v"],
};

pub(super) static OUTPUT: Kernel = Kernel {
    name: "winograd_output",
    files: &[include_str!("shaders/winograd_output.wgsl"), ELEMENTWISE],
    constants: &[],
    reads: &["m"],
    writes: &["y"],
};

/// Outputs of a tile along each axis.
const SIDE: usize = 4;
/// Points of a tile.
const POINTS: usize = 36;
/// The `C K / (C + K)` from which it pays on every card of `docs/gpu.md`: 256 channels in and out.
const LEAST_CHANNELS: usize = 128;
/// Maximum number of values held at points: 64 MiB.
const HELD: usize = 1 << 24;

/// A convolution as this algorithm sees it: `y[o] = sum over c, t of x[c, p + t + base] w[o, c, t]`.
pub(super) struct Plan {
    /// Channels of the result and of the source.
    rows: usize,
    depth: usize,
    /// Distances in the weight between result channels and between source channels.
    row: usize,
    channel: usize,
    /// Whether the kernel is flipped.
    turned: bool,
    base: [i64; 2],
    x: Shape,
    y: Shape,
    /// Maximum number of sample and product values that are held at points at a time.
    pub(super) held: usize,
}

impl Plan {
    /// The plan of `conv`; `None` unless the kernel is a 3 x 3 plane with stride, dilation and groups of 1.
    pub(super) fn forward(geometry: &Geometry, x: Shape, w: Shape, y: Shape) -> Option<Self> {
        let [_, pad_h, pad_w] = geometry.pad.map(|pad| -(pad as i64));
        let plan = Self {
            rows: w.n(),
            depth: w.c(),
            row: w.c() * 9,
            channel: 9,
            turned: false,
            base: [pad_h, pad_w],
            x,
            y,
            held: HELD,
        };
        applies(geometry, w).then_some(plan)
    }

    /// The plan of `conv_transpose`, from `y` to `x`.
    pub(super) fn transpose(geometry: &Geometry, y: Shape, w: Shape, x: Shape) -> Option<Self> {
        let [_, base_h, base_w] = geometry.pad.map(|pad| pad as i64 - 2);
        let plan = Self {
            rows: w.c(),
            depth: w.n(),
            row: 9,
            channel: w.c() * 9,
            turned: true,
            base: [base_h, base_w],
            x: y,
            y: x,
            held: HELD,
        };
        applies(geometry, w).then_some(plan)
    }

    /// Whether it is expected to be faster than the direct sum: enough channels, and tiles that are at least half full.
    pub(super) fn pays(&self) -> bool {
        let [_, h, w] = self.y.spatial();
        self.rows * self.depth >= LEAST_CHANNELS * (self.rows + self.depth)
            && 2 * h * w >= SIDE * SIDE * h.div_ceil(SIDE) * w.div_ceil(SIDE)
    }

    /// Computes the convolution.
    pub(super) fn run(&self, context: &Context, op: &'static str, x: &Buffer, w: &Buffer) -> Buffer {
        let y = context.buffer(op, self.y.len());
        let u = self.weight(context, op, w);
        let [planes, h, wide] = self.y.spatial();
        let [down, across] = [h.div_ceil(SIDE), wide.div_ceil(SIDE)];
        let tiles = self.y.n() * planes * down * across;
        let at_once = (self.held / (POINTS * (self.rows + self.depth))).clamp(1, tiles.max(1));
        for first in (0..tiles).step_by(at_once) {
            let count = at_once.min(tiles - first);
            let grid = grid([count, first, down, across, planes]);
            let v = context.buffer(op, POINTS * self.depth * count);
            let params = grid.clone().and(self.input_params());
            context.elementwise_into(op, INPUT.code([]), &[x], &[&v], self.depth * count, params);
            let m = self.multiply(context, op, &u, &v, count);
            let params = grid.and(self.output_params());
            context.elementwise_into(op, OUTPUT.code([]), &[&m], &[&y], self.rows * count, params);
        }
        y
    }

    /// The transformed weights, as `[point, row, depth]`.
    fn weight(&self, context: &Context, op: &'static str, w: &Buffer) -> Buffer {
        let count = self.rows * self.depth;
        let u = context.buffer(op, POINTS * count);
        context.elementwise_into(op, WEIGHT.code([]), &[w], &[&u], count, self.weight_params());
        u
    }

    pub(super) fn weight_params(&self) -> Params {
        let sizes = [("depth", self.depth), ("row", self.row), ("channel", self.channel)];
        Params::sizes(sizes).and_sizes([("turned", usize::from(self.turned))])
    }

    pub(super) fn input_params(&self) -> Params {
        let ([_, x_h, x_w], [base_h, base_w]) = (self.x.spatial(), self.base);
        let sizes = Params::sizes([("channels", self.depth), ("x_h", x_h), ("x_w", x_w)]);
        sizes.and_offsets([("base_h", base_h), ("base_w", base_w)])
    }

    pub(super) fn output_params(&self) -> Params {
        let [_, y_h, y_w] = self.y.spatial();
        Params::sizes([("channels", self.rows), ("y_h", y_h), ("y_w", y_w)])
    }

    /// For each point, multiplies `[row, depth]` by `[depth, tile]`.
    fn multiply(&self, context: &Context, op: &'static str, u: &Buffer, v: &Buffer, tiles: usize) -> Buffer {
        let line = |channels: usize| Shape::new(1, POINTS * channels, 1, 1, tiles);
        let weight = Shape::new(POINTS * self.rows, self.depth, 1, 1, 1);
        let geometry = Geometry { groups: POINTS, ..Geometry::VALID };
        product::direct(context, op, (v, line(self.depth)), (u, weight), &geometry, line(self.rows))
    }
}

/// The parameters of the tiles that are transformed at a time.
pub(super) fn grid([tiles, first, down, across, planes]: [usize; 5]) -> Params {
    let sizes = [("tiles", tiles), ("first", first), ("down", down), ("across", across), ("planes", planes)];
    Params::sizes(sizes)
}

fn applies(geometry: &Geometry, w: Shape) -> bool {
    let steps = geometry.stride == [1; 3] && geometry.dilation == [1; 3] && geometry.groups == 1;
    steps && w.spatial() == [1, 3, 3] && geometry.pad[0] == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_taken_where_the_channels_are_many_and_the_tiles_are_full() {
        let pays = |inputs: usize, outputs: usize, side: usize| {
            let geometry = Geometry::same([1, 3, 3]);
            let x = Shape::new(2, inputs, 1, side, side);
            let w = Shape::new(outputs, inputs, 1, 3, 3);
            let y = geometry.output(x, w).unwrap();
            let forward = Plan::forward(&geometry, x, w, y).unwrap().pays();
            assert_eq!(forward, Plan::transpose(&geometry, y, w, x).unwrap().pays());
            forward
        };
        assert!(pays(256, 256, 28) && pays(768, 256, 28) && pays(512, 512, 7));
        assert!(!pays(128, 128, 56) && !pays(256, 128, 56) && !pays(512, 512, 5) && !pays(1, 1024, 28));
    }

    #[test]
    fn other_geometries_are_left_to_the_direct_sum() {
        let (x, w) = (Shape::new(1, 4, 2, 9, 9), Shape::new(4, 4, 1, 3, 3));
        let plain = Geometry::same([1, 3, 3]);
        assert!(Plan::forward(&plain, x, w, x).is_some());
        for geometry in [
            Geometry { stride: [1, 1, 2], ..plain },
            Geometry { dilation: [1, 2, 1], ..plain },
            Geometry { groups: 2, ..plain },
            Geometry { pad: [1, 1, 1], ..plain },
        ] {
            assert!(Plan::forward(&geometry, x, w, x).is_none(), "{geometry:?}");
        }
        assert!(Plan::forward(&plain, x, Shape::new(4, 4, 3, 3, 3), x).is_none());
        assert!(Plan::forward(&plain, x, Shape::new(4, 4, 1, 3, 1), x).is_none());
    }
}
