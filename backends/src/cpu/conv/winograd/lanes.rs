//! Conversions between the order of tensors (the voxels of a channel are adjacent) and lanes (the channels of a voxel
//! are adjacent).

use super::super::simd::Simd;
use segcal_core::Shape;

/// `to[p LANES + c] = from[c stride + p]` for `p < len`; lanes from `count` on become 0.
///
/// # Safety
/// The instruction set is available; `from` is valid for `count` rows of `len`, `to` for `len LANES`.
#[inline(always)]
pub(super) unsafe fn to_lanes<S: Simd>(from: *const f32, stride: usize, count: usize, len: usize, to: *mut f32) {
    // SAFETY: guaranteed by the caller; blocks that would extend beyond the end begin earlier.
    unsafe {
        if count == S::LANES && len >= 4 {
            let mut p = 0;
            while p < len {
                if p + S::LANES <= len {
                    S::transpose(from.add(p), stride, to.add(p * S::LANES), S::LANES);
                    p += S::LANES;
                } else {
                    let q = p.min(len - 4);
                    S::transpose_in(from.add(q), stride, to.add(q * S::LANES), S::LANES);
                    p += 4;
                }
            }
        } else {
            for p in 0..len {
                for c in 0..S::LANES {
                    *to.add(p * S::LANES + c) = if c < count { *from.add(c * stride + p) } else { 0.0 };
                }
            }
        }
    }
}

/// `to[c stride + p] = from[p LANES + c]` for `p < len` and `c < count`.
///
/// # Safety
/// As [`to_lanes`], with the roles exchanged.
#[inline(always)]
pub(super) unsafe fn from_lanes<S: Simd>(from: *const f32, to: *mut f32, stride: usize, count: usize, len: usize) {
    // SAFETY: guaranteed by the caller; blocks that would extend beyond the end begin earlier and write the same values
    // again.
    unsafe {
        if count == S::LANES && len >= 4 {
            let mut p = 0;
            while p < len {
                if p + S::LANES <= len {
                    S::transpose(from.add(p * S::LANES), S::LANES, to.add(p), stride);
                    p += S::LANES;
                } else {
                    let q = p.min(len - 4);
                    S::transpose_out(from.add(q * S::LANES), S::LANES, to.add(q), stride);
                    p += 4;
                }
            }
        } else {
            for c in 0..count {
                for p in 0..len {
                    *to.add(c * stride + p) = *from.add(p * S::LANES + c);
                }
            }
        }
    }
}

/// A window of one slice of a map, `LANES` channels wide.
pub(super) struct Window<'a> {
    /// The map and its shape.
    pub(super) map: (&'a [f32], Shape),
    /// Its image.
    pub(super) image: usize,
    /// First of its channels.
    pub(super) channel: usize,
    /// Its slice.
    pub(super) slice: usize,
    /// First row and column, which may be outside the map, where all values are 0.
    pub(super) start: [isize; 2],
    /// Number of columns.
    pub(super) columns: usize,
}

impl Window<'_> {
    /// Copies some rows, as `[row][column][lane]`.
    ///
    /// # Safety
    /// The instruction set is available, and `to` holds `rows.end columns LANES` elements.
    #[inline(always)]
    pub(super) unsafe fn stage<S: Simd>(&self, rows: std::ops::Range<usize>, to: *mut f32) {
        let (x, shape) = self.map;
        let [_, height, width] = shape.spatial();
        let count = S::LANES.min(shape.c() - self.channel);
        let base = (self.image * shape.c() + self.channel) * shape.voxels() + self.slice * height * width;
        assert!(base + (count - 1) * shape.voxels() + height * width <= x.len(), "a window reads inside its map");
        let low = (self.start[1].min(0).unsigned_abs()).min(self.columns);
        let high = ((width as isize - self.start[1]).max(low as isize) as usize).min(self.columns);
        for row in rows {
            let h = self.start[0] + row as isize;
            // SAFETY: `to` holds all rows; a row inside is read from its `low` to its `high` column, all inside.
            unsafe {
                let to = to.add(row * self.columns * S::LANES);
                if h < 0 || h >= height as isize {
                    std::ptr::write_bytes(to, 0, self.columns * S::LANES);
                    continue;
                }
                let from = x.as_ptr().add(base + h as usize * width + (self.start[1] + low as isize) as usize);
                std::ptr::write_bytes(to, 0, low * S::LANES);
                to_lanes::<S>(from, shape.voxels(), count, high - low, to.add(low * S::LANES));
                std::ptr::write_bytes(to.add(high * S::LANES), 0, (self.columns - high) * S::LANES);
            }
        }
    }
}
