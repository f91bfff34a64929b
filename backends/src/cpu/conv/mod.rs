//! The convolutions of the CPU backend: forward, gradient by input, gradient by weight.
//!
//! There are two algorithms, chosen by [`path`] from the shapes only: [`winograd`] for 3x3 and 3x3x3 kernels with
//! enough channels, and the direct kernels ([`direct`], [`weight`]) for everything else: any stride, dilation, padding,
//! groups and kernel. Both are written once over [`simd`] for AVX-512, AVX2 and plain Rust. The tasks and the order of
//! every sum depend only on the shapes, so the result has the same bits for any number of threads.

mod direct;
mod memory;
mod simd;
mod stencil;
#[cfg(test)]
mod tests;
mod weight;
mod winograd;

use std::sync::Arc;

use direct::Direct;
use memory::Shared;
use segcal_core::{Geometry, Shape};
use stencil::Stencil;
use weight::Weight;

use super::buffer::Pool;
use super::isa::Level;

/// The values of a tensor, with their shape.
type View<'a> = (&'a [f32], Shape);
/// The same, mutable.
type ViewMut<'a> = (&'a mut [f32], Shape);

/// `y = conv(x, w)`; every element of `y` is written.
pub(crate) fn conv(level: Level, memory: &Arc<Pool>, x: View, w: View, g: &Geometry, y: ViewMut) {
    conv_by(memory, path(Operation::Map, w.1, g, y.1), level, x, w, g, y);
}

/// `x = conv_transpose(y, w)`; every element of `x` is written.
pub(crate) fn conv_transpose(level: Level, memory: &Arc<Pool>, y: View, w: View, g: &Geometry, x: ViewMut) {
    conv_transpose_by(memory, path(Operation::Map, w.1, g, x.1), level, y, w, g, x);
}

/// `w = conv_weight(x, y)`; every element of `w` is written.
pub(crate) fn conv_weight(level: Level, memory: &Arc<Pool>, x: View, y: View, g: &Geometry, w: ViewMut) {
    conv_weight_by(memory, path(Operation::Weight, w.1, g, y.1), level, x, y, g, w);
}

/// The kind of result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    /// Feature maps from feature maps: forward, or the gradient by input.
    Map,
    /// The gradient of the weight.
    Weight,
}

/// The algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// [`direct`] and [`weight`]: every geometry.
    Direct,
    /// [`winograd`]: 3x3 and 3x3x3 kernels without stride, dilation or groups.
    Winograd,
}

/// Chooses the path for a weight of shape `ws` and feature maps of shape `maps` (those that are split into tiles).
///
/// The cost of Winograd's transforms is proportional to `in + out`, that of its products to `in out`, so it needs
/// enough channels: on 16 x 64 x 64 it breaks even with the direct kernel near `in out = 100` (8 x 16 is 1.6 times
/// faster, 8 x 8 is 0.7 times as fast), and by weight, where the direct kernel is slower, near 32. Its 4 x 4 tiles must
/// not lie mostly outside the maps: with a third of them inside it still does fewer multiplications.
fn path(operation: Operation, ws: Shape, g: &Geometry, maps: Shape) -> Path {
    let least = if operation == Operation::Map { 128 } else { 32 };
    let [_, h, w] = maps.spatial();
    let inside = 3 * h * w >= 16 * h.div_ceil(4) * w.div_ceil(4);
    if winograd_fits(ws, g) && ws.n() * ws.c() >= least && inside { Path::Winograd } else { Path::Direct }
}

/// Whether [`winograd`] can compute this geometry.
fn winograd_fits(ws: Shape, g: &Geometry) -> bool {
    let [d, h, w] = ws.spatial();
    d <= 8 && [h, w] == [3, 3] && g.stride == [1; 3] && g.dilation == [1; 3] && g.groups == 1
}

/// [`conv`] on a path and level.
fn conv_by(memory: &Arc<Pool>, path: Path, level: Level, x: View, (w, ws): View, g: &Geometry, (y, ys): ViewMut) {
    let (ins, outs, taps) = (ws.c(), ws.n() / g.groups, ws.voxels());
    if path == Path::Winograd {
        let forward = winograd::Forward {
            input: x,
            weight: w,
            strides: [ins * taps, taps],
            turned: false,
            out: ys,
            offset: g.pad.map(|pad| -(pad as isize)),
            kernel_depth: ws.spatial()[0],
        };
        return forward.run(memory, level, Shared::new(y));
    }
    let direct = Direct {
        stencil: Stencil::forward(x.1, ws, g, ys),
        kernel: ws.spatial(),
        groups: g.groups,
        channels: [ins, outs],
        input: x,
        out: ys,
        starts: vec![[0; 3]],
        stride: [1; 3],
    };
    direct.run(level, |group, o, c, tap| w[((group * outs + o) * ins + c) * taps + tap], Shared::new(y));
}

/// [`conv_transpose`] on a path and level; by Winograd, it is the forward convolution with the kernel flipped.
fn conv_transpose_by(
    memory: &Arc<Pool>,
    path: Path,
    level: Level,
    y: View,
    (w, ws): View,
    g: &Geometry,
    (x, xs): ViewMut,
) {
    let x = (Shared::new(x), xs);
    if path == Path::Direct {
        return conv_transpose_directly(level, y, (w, ws), g, x);
    }
    let taps = ws.voxels();
    let forward = winograd::Forward {
        input: y,
        weight: w,
        strides: [taps, ws.c() * taps],
        turned: true,
        out: xs,
        offset: std::array::from_fn(|a| g.pad[a] as isize + 1 - ws.spatial()[a] as isize),
        kernel_depth: ws.spatial()[0],
    };
    forward.run(memory, level, x.0);
}

/// Solves one problem for each remainder of the output position modulo the stride, or a single matrix product if the
/// windows are adjacent (up-sampling layers).
fn conv_transpose_directly(level: Level, y: View, (w, ws): View, g: &Geometry, (x, xs): (Shared<'_>, Shape)) {
    let (ins, outs, taps) = (ws.c(), ws.n() / g.groups, ws.voxels());
    let [sd, sh, sw] = g.stride;
    let starts: Vec<_> = (0..sd * sh * sw).map(|r| [r / (sh * sw), r / sw % sh, r % sw]).collect();
    // Adjacent windows: every tap writes its own position, and all of them read the same sample.
    let aside = ws.spatial() == g.stride
        && (g.pad, g.dilation) == ([0; 3], [1; 3])
        && (0..3).all(|a| xs.spatial()[a] == y.1.spatial()[a] * g.stride[a]);
    if aside {
        let direct = Direct {
            stencil: Stencil::transposed(y.1, Shape::SCALAR, g, xs, [0; 3]),
            kernel: [1; 3],
            groups: g.groups,
            channels: [outs, ins * taps],
            input: y,
            out: xs,
            starts,
            stride: g.stride,
        };
        return direct.run(level, |group, row, o, _| w[(group * outs + o) * ins * taps + row], x);
    }
    for start in starts {
        let direct = Direct {
            stencil: Stencil::transposed(y.1, ws, g, xs, start),
            kernel: ws.spatial(),
            groups: g.groups,
            channels: [outs, ins],
            input: y,
            out: xs,
            starts: vec![start],
            stride: g.stride,
        };
        direct.run(level, |group, c, o, tap| w[((group * outs + o) * ins + c) * taps + tap], x);
    }
}

/// [`conv_weight`] on a path and level.
fn conv_weight_by(memory: &Arc<Pool>, path: Path, level: Level, x: View, y: View, g: &Geometry, (w, ws): ViewMut) {
    if path == Path::Winograd {
        let offset = g.pad.map(|pad| -(pad as isize));
        return winograd::Weight { x, y, offset, kernel_depth: ws.spatial()[0] }.run(memory, level, w);
    }
    let weight = Weight {
        stencil: Stencil::forward(x.1, ws, g, y.1),
        kernel: ws.spatial(),
        groups: g.groups,
        channels: [ws.c(), ws.n() / g.groups],
        x,
        y,
    };
    weight.run(level, w);
}
