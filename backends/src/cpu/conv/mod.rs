//! The convolution family of the CPU backend.

use rayon::prelude::*;
use segcal_core::{Geometry, Shape};

#[cfg(test)]
mod tests;

/// `y = conv(x, w)`; every element of `y` is written.
pub(crate) fn conv(x: &[f32], xs: Shape, w: &[f32], ws: Shape, g: &Geometry, y: &mut [f32], ys: Shape) {
    let (per_in, per_out) = (ws.c(), ws.n() / g.groups);
    y.par_chunks_mut(ys.voxels()).enumerate().for_each(|(plane, y)| {
        y.fill(0.0);
        let (n, o) = (plane / ys.c(), plane % ys.c());
        for c in 0..per_in {
            let x = &x[(n * xs.c() + o / per_out * per_in + c) * xs.voxels()..][..xs.voxels()];
            let w = &w[(o * per_in + c) * ws.voxels()..][..ws.voxels()];
            pairs(xs, ws, g, ys, |xi, wi, yi| y[yi] += x[xi] * w[wi]);
        }
    });
}

/// `x = conv_transpose(y, w)`; every element of `x` is written.
pub(crate) fn conv_transpose(y: &[f32], ys: Shape, w: &[f32], ws: Shape, g: &Geometry, x: &mut [f32], xs: Shape) {
    let (per_in, per_out) = (ws.c(), ws.n() / g.groups);
    x.par_chunks_mut(xs.voxels()).enumerate().for_each(|(plane, x)| {
        x.fill(0.0);
        let (n, c) = (plane / xs.c(), plane % xs.c());
        for o in c / per_in * per_out..(c / per_in + 1) * per_out {
            let y = &y[(n * ys.c() + o) * ys.voxels()..][..ys.voxels()];
            let w = &w[(o * per_in + c % per_in) * ws.voxels()..][..ws.voxels()];
            pairs(xs, ws, g, ys, |xi, wi, yi| x[xi] += y[yi] * w[wi]);
        }
    });
}

/// `w = conv_weight(x, y)`; every element of `w` is written.
pub(crate) fn conv_weight(x: &[f32], xs: Shape, y: &[f32], ys: Shape, g: &Geometry, w: &mut [f32], ws: Shape) {
    let (per_in, per_out) = (ws.c(), ws.n() / g.groups);
    w.par_chunks_mut(ws.voxels()).enumerate().for_each(|(plane, w)| {
        w.fill(0.0);
        let (o, c) = (plane / per_in, plane % per_in);
        for n in 0..xs.n() {
            let x = &x[(n * xs.c() + o / per_out * per_in + c) * xs.voxels()..][..xs.voxels()];
            let y = &y[(n * ys.c() + o) * ys.voxels()..][..ys.voxels()];
            pairs(xs, ws, g, ys, |xi, wi, yi| w[wi] += x[xi] * y[yi]);
        }
    });
}

/// Calls `f` with the places in one channel of `x`, one kernel and one channel of `y` that meet.
fn pairs(xs: Shape, ws: Shape, g: &Geometry, ys: Shape, mut f: impl FnMut(usize, usize, usize)) {
    let meet = |axis: usize, out: usize, tap: usize| {
        (out * g.stride[axis] + tap * g.dilation[axis])
            .checked_sub(g.pad[axis])
            .filter(|&place| place < xs.spatial()[axis])
    };
    for wi in 0..ws.voxels() {
        let [_, _, td, th, tw] = ws.coordinate(wi);
        for yi in 0..ys.voxels() {
            let [_, _, od, oh, ow] = ys.coordinate(yi);
            if let (Some(d), Some(h), Some(w)) = (meet(0, od, td), meet(1, oh, th), meet(2, ow, tw)) {
                f((d * xs.spatial()[1] + h) * xs.spatial()[2] + w, wi, yi);
            }
        }
    }
}
