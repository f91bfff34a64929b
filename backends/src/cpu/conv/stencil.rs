//! A common form for all convolutions: `out[q] = sum over c, t of in[c, q step + offset_t] weight[c, t]`.
//!
//! A forward convolution has `step = stride` and `offset_t = t dilation - pad`. The transposed convolution decomposes
//! into one such problem of step 1 for each remainder `r` of its output position modulo the stride: `p' = r + q stride`
//! reads `p = q + (r + pad - t dilation) / stride` for the taps that divide.
//!
//! The samples that a tile of outputs needs are copied to scratch memory, padded with zeros outside the input. Samples
//! that are `step` apart are adjacent there (one plane for each remainder in use), so that each tap is at a constant
//! distance from the position of the output in a flat sequence: a tap costs one pointer, whatever the stride, dilation
//! and padding, and vectors run along whole tiles instead of single rows. The price is a few columns at the end of each
//! row that are computed but not stored.

use segcal_core::{Geometry, Shape};

/// The taps along one axis.
pub(super) struct Axis {
    /// Distance between neighbouring samples.
    step: usize,
    /// `(tap, plane, shift)`: the tap reads plane `plane` at `q + shift`.
    taps: Vec<(usize, usize, usize)>,
    /// First sample of each plane for output 0 (may be outside the input).
    planes: Vec<isize>,
    /// Number of samples in a plane beyond the number of outputs.
    reach: usize,
}

impl Axis {
    /// Creates an axis from `(tap, offset)` pairs.
    fn new(step: usize, offsets: &[(usize, isize)]) -> Self {
        let s = step as isize;
        let low = offsets.iter().map(|&(_, o)| o.div_euclid(s)).min().unwrap_or(0);
        let mut remainders: Vec<isize> = offsets.iter().map(|&(_, o)| o.rem_euclid(s)).collect();
        remainders.sort_unstable();
        remainders.dedup();
        let place = |o: isize| remainders.iter().position(|&r| r == o.rem_euclid(s)).unwrap_or(0);
        let taps: Vec<_> = offsets.iter().map(|&(tap, o)| (tap, place(o), (o.div_euclid(s) - low) as usize)).collect();
        let reach = taps.iter().map(|&(_, _, shift)| shift).max().unwrap_or(0);
        Self { step, taps, planes: remainders.iter().map(|r| low * s + r).collect(), reach }
    }

    /// Finds which of the first `places` samples of plane `plane`, in a tile that begins at output `start`, are inside
    /// an input of `extent`. Returns their range, and the input index of the first one.
    fn inside(&self, plane: usize, start: usize, places: usize, extent: usize) -> (std::ops::Range<usize>, usize) {
        let first = self.planes[plane] + (start * self.step) as isize;
        let skip = if first < 0 { (first.unsigned_abs()).div_ceil(self.step) } else { 0 };
        let at = first + (skip * self.step) as isize;
        let end = if at < extent as isize { skip + (extent - at as usize).div_ceil(self.step) } else { 0 };
        let end = end.min(places);
        (skip.min(end)..end, at.max(0) as usize)
    }
}

/// A convolution problem in the common form, for one image and group.
pub(super) struct Stencil {
    /// Taps along `d, h, w`.
    axes: [Axis; 3],
    /// Extents of the input.
    pub(super) input: [usize; 3],
    /// Extents of the grid of outputs `q`.
    pub(super) output: [usize; 3],
}

/// A box of outputs: `start` and `size` along d and h; whole rows along w.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    pub(super) start: [usize; 2],
    pub(super) size: [usize; 2],
}

impl Stencil {
    /// The forward convolution.
    pub(super) fn forward(xs: Shape, ws: Shape, g: &Geometry, ys: Shape) -> Self {
        let axes = std::array::from_fn(|a| {
            let offset = |tap: usize| (tap, (tap * g.dilation[a]) as isize - g.pad[a] as isize);
            Axis::new(g.stride[a], &(0..ws.spatial()[a]).map(offset).collect::<Vec<_>>())
        });
        Self { axes, input: xs.spatial(), output: ys.spatial() }
    }

    /// The part of the transposed convolution that computes the positions `r + q stride`; its input is `y`.
    pub(super) fn transposed(ys: Shape, ws: Shape, g: &Geometry, xs: Shape, r: [usize; 3]) -> Self {
        let axes = std::array::from_fn(|a| {
            let stride = g.stride[a] as isize;
            let offset = |tap: usize| {
                let distance = (r[a] + g.pad[a]) as isize - (tap * g.dilation[a]) as isize;
                (distance.rem_euclid(stride) == 0).then_some((tap, distance / stride))
            };
            Axis::new(1, &(0..ws.spatial()[a]).filter_map(offset).collect::<Vec<_>>())
        });
        let output = std::array::from_fn(|a| xs.spatial()[a].saturating_sub(r[a]).div_ceil(g.stride[a]));
        Self { axes, input: ys.spatial(), output }
    }

    /// Length of a row in the scratch.
    pub(super) fn row(&self) -> usize {
        self.output[2] + self.axes[2].reach
    }

    /// Rows of the scratch for each `d` of a tile.
    pub(super) fn rows(&self, tile: Tile) -> usize {
        tile.size[1] + self.axes[1].reach
    }

    /// Length of the flat sequence of a tile's outputs.
    pub(super) fn flat(&self, tile: Tile) -> usize {
        ((tile.size[0] - 1) * self.rows(tile) + tile.size[1] - 1) * self.row() + self.output[2]
    }

    /// Length of one plane of the scratch.
    fn plane(&self, tile: Tile) -> usize {
        (tile.size[0] + self.axes[0].reach) * self.rows(tile) * self.row()
    }

    /// Length of one channel of the scratch.
    pub(super) fn channel(&self, tile: Tile) -> usize {
        self.axes.iter().map(|axis| axis.planes.len()).product::<usize>() * self.plane(tile)
    }

    /// `(tap, distance)` of each tap: its number in the kernel of extents `kernel`, and its offset in the scratch of
    /// one channel for output 0 of the tile.
    pub(super) fn taps(&self, kernel: [usize; 3], tile: Tile) -> Vec<(usize, usize)> {
        let [d, h, w] = &self.axes;
        let (row, rows, plane) = (self.row(), self.rows(tile), self.plane(tile));
        let mut taps = Vec::new();
        for &(td, pd, sd) in &d.taps {
            for &(th, ph, sh) in &h.taps {
                for &(tw, pw, sw) in &w.taps {
                    let tap = (td * kernel[1] + th) * kernel[2] + tw;
                    let at = (pd * h.planes.len() + ph) * w.planes.len() + pw;
                    taps.push((tap, at * plane + (sd * rows + sh) * row + sw));
                }
            }
        }
        taps
    }

    /// Copies the samples of one channel that a tile needs into `scratch`, with zeros outside the input.
    #[inline(always)]
    pub(super) fn gather(&self, x: &[f32], tile: Tile, scratch: &mut [f32]) {
        let (row, rows) = (self.row(), self.rows(tile));
        let slices = tile.size[0] + self.axes[0].reach;
        let mut to = scratch.chunks_exact_mut(row);
        for pd in 0..self.axes[0].planes.len() {
            let (ds, d0) = self.axes[0].inside(pd, tile.start[0], slices, self.input[0]);
            for ph in 0..self.axes[1].planes.len() {
                let (hs, h0) = self.axes[1].inside(ph, tile.start[1], rows, self.input[1]);
                for pw in 0..self.axes[2].planes.len() {
                    let (ws, w0) = self.axes[2].inside(pw, 0, row, self.input[2]);
                    for d in 0..slices {
                        for h in 0..rows {
                            let Some(to) = to.next() else { return };
                            if !(ds.contains(&d) && hs.contains(&h)) {
                                to.fill(0.0);
                                continue;
                            }
                            let d = d0 + (d - ds.start) * self.axes[0].step;
                            let h = h0 + (h - hs.start) * self.axes[1].step;
                            let from = &x[(d * self.input[1] + h) * self.input[2]..][..self.input[2]];
                            to[..ws.start].fill(0.0);
                            to[ws.end..].fill(0.0);
                            copy(from.get(w0..).unwrap_or(&[]), self.axes[2].step, &mut to[ws.clone()]);
                        }
                    }
                }
            }
        }
    }

    /// Copies the outputs of one channel into the flat sequence of a tile, with zeros in the columns that are not
    /// outputs.
    #[inline(always)]
    pub(super) fn spread(&self, y: &[f32], tile: Tile, flat: &mut [f32]) {
        let (row, rows) = (self.row(), self.rows(tile));
        for (i, to) in flat.chunks_mut(row).enumerate() {
            let (d, h) = (i / rows, i % rows);
            if d < tile.size[0] && h < tile.size[1] {
                let from = ((tile.start[0] + d) * self.output[1] + tile.start[1] + h) * self.output[2];
                to[..self.output[2]].copy_from_slice(&y[from..from + self.output[2]]);
                to[self.output[2]..].fill(0.0);
            } else {
                to.fill(0.0);
            }
        }
    }

    /// Tiles that cover the outputs: whole maps if they are small, else boxes of at most about `places` outputs,
    /// extended along h first. Depends only on the shapes.
    pub(super) fn tiles(&self, places: usize) -> Vec<Tile> {
        let [d, h, w] = self.output;
        if d * h * w == 0 {
            return Vec::new();
        }
        let h_size = h.div_ceil(h.div_ceil((places / w).clamp(1, h)));
        let d_size = if h_size == h { (places / (w * h)).clamp(1, d) } else { 1 };
        let mut tiles = Vec::new();
        for d0 in (0..d).step_by(d_size) {
            for h0 in (0..h).step_by(h_size) {
                tiles.push(Tile { start: [d0, h0], size: [d_size.min(d - d0), h_size.min(h - h0)] });
            }
        }
        tiles
    }
}

/// `to[i] = from[i step]`.
#[inline(always)]
fn copy(from: &[f32], step: usize, to: &mut [f32]) {
    match step {
        1 => to.copy_from_slice(&from[..to.len()]),
        2 => {
            // Copies in pairs, so that the compiler uses vector shuffles; the last one may have no neighbour.
            let pairs = to.len().min(from.len() / 2);
            for (to, from) in to[..pairs].iter_mut().zip(from.chunks_exact(2)) {
                *to = from[0];
            }
            if let Some(last) = to.get_mut(pairs) {
                *last = from[2 * pairs];
            }
        }
        _ => {
            for (to, &from) in to.iter_mut().zip(from.iter().step_by(step)) {
                *to = from;
            }
        }
    }
}
