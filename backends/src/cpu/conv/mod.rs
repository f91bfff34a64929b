//! The convolution family of the CPU backend: forward, by input, by weight.

mod direct;
mod memory;
mod simd;
mod stencil;
#[cfg(test)]
mod tests;
mod weight;

use direct::Direct;
use memory::Shared;
use segcal_core::{Geometry, Shape};
use simd::Level;
use stencil::Stencil;
use weight::Weight;

/// `y = conv(x, w)`; every element of `y` is written.
pub(crate) fn conv(x: &[f32], xs: Shape, w: &[f32], ws: Shape, g: &Geometry, y: &mut [f32], ys: Shape) {
    conv_at(Level::best(), (x, xs), (w, ws), g, (y, ys));
}

/// `x = conv_transpose(y, w)`; every element of `x` is written.
pub(crate) fn conv_transpose(y: &[f32], ys: Shape, w: &[f32], ws: Shape, g: &Geometry, x: &mut [f32], xs: Shape) {
    conv_transpose_at(Level::best(), (y, ys), (w, ws), g, (x, xs));
}

/// `w = conv_weight(x, y)`; every element of `w` is written.
pub(crate) fn conv_weight(x: &[f32], xs: Shape, y: &[f32], ys: Shape, g: &Geometry, w: &mut [f32], ws: Shape) {
    conv_weight_at(Level::best(), (x, xs), (y, ys), g, (w, ws));
}

/// [`conv`] at a level.
fn conv_at(level: Level, x: (&[f32], Shape), (w, ws): (&[f32], Shape), g: &Geometry, (y, ys): (&mut [f32], Shape)) {
    let (ins, outs, taps) = (ws.c(), ws.n() / g.groups, ws.voxels());
    let direct = Direct {
        stencil: Stencil::forward(x.1, ws, g, ys),
        kernel: ws.spatial(),
        groups: g.groups,
        channels: [ins, outs],
        input: x,
        out: ys,
        start: [0; 3],
        stride: [1; 3],
    };
    direct.run(level, |group, o, c, tap| w[((group * outs + o) * ins + c) * taps + tap], Shared::new(y));
}

/// [`conv_transpose`] at a level: one direct problem for each remainder of the output's place modulo the stride.
fn conv_transpose_at(
    level: Level,
    y: (&[f32], Shape),
    (w, ws): (&[f32], Shape),
    g: &Geometry,
    (x, xs): (&mut [f32], Shape),
) {
    let (ins, outs, taps) = (ws.c(), ws.n() / g.groups, ws.voxels());
    let x = Shared::new(x);
    let [sd, sh, sw] = g.stride;
    for r in 0..sd * sh * sw {
        let start = [r / (sh * sw), r / sw % sh, r % sw];
        let direct = Direct {
            stencil: Stencil::transposed(y.1, ws, g, xs, start),
            kernel: ws.spatial(),
            groups: g.groups,
            channels: [outs, ins],
            input: y,
            out: xs,
            start,
            stride: g.stride,
        };
        direct.run(level, |group, c, o, tap| w[((group * outs + o) * ins + c) * taps + tap], x);
    }
}

/// [`conv_weight`] at a level.
fn conv_weight_at(level: Level, x: (&[f32], Shape), y: (&[f32], Shape), g: &Geometry, (w, ws): (&mut [f32], Shape)) {
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
