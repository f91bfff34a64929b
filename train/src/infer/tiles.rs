//! How a volume is cut into tiles.

use super::planes::Planes;
use crate::block::Block;
use crate::settings::{SampleKind, Samples};

/// How a volume is cut into tiles.
pub struct Tiling<'a> {
    /// What the network was trained on.
    pub samples: &'a Samples,
    /// The spatial extents of an input must be multiples of this, `[d, h, w]`.
    pub stride: [usize; 3],
    /// Tiles that go through the network together.
    pub batch: usize,
}

impl Tiling<'_> {
    /// The planes of a volume that are finished one after the other: those that the network sees or, for
    /// three-dimensional patches, those perpendicular to the depth.
    pub fn planes(&self, extent: [usize; 3]) -> Planes {
        Planes { axis: if self.flat() { self.samples.axis.index() } else { 0 }, extent }
    }

    /// The tiles of a volume: all of the same size, a multiple of the stride, together covering every voxel, in the
    /// order of the [`planes`](Self::planes) in which they begin.
    pub(super) fn tiles(&self, extent: [usize; 3]) -> Vec<Block> {
        let size = self.tile_size(extent);
        let starts: [Vec<isize>; 3] = std::array::from_fn(|axis| starts(extent[axis], size[axis]));
        let mut tiles = Vec::new();
        for &d in &starts[0] {
            for &h in &starts[1] {
                for &w in &starts[2] {
                    tiles.push(Block::plain(0, [d, h, w], size));
                }
            }
        }
        let across = self.planes(extent).axis;
        tiles.sort_by_key(|tile| tile.start[across]);
        tiles
    }

    /// Whether the network sees whole slices.
    fn slices(&self) -> bool {
        self.samples.kind == SampleKind::Slices
    }

    /// Whether the network is two-dimensional.
    fn flat(&self) -> bool {
        self.samples.dims() == 2
    }

    pub(super) fn tile_size(&self, extent: [usize; 3]) -> [usize; 3] {
        let block = self.samples.block_size();
        let along = self.samples.axis.index();
        // The network's own axes: a plane has no depth, so its two axes follow the stride's `h` and `w`.
        let mut strides = self.stride[usize::from(self.flat())..].iter();
        std::array::from_fn(|axis| {
            if self.flat() && axis == along {
                return 1;
            }
            // At least the extent used in training: instance norm depends on how much of a slice is padding.
            let least = if self.slices() { extent[axis].max(block[axis]) } else { block[axis] };
            least.next_multiple_of(*strides.next().expect("as many strides as axes"))
        })
    }

    /// Weight of each voxel of a tile.
    pub(super) fn weights(&self, size: [usize; 3]) -> Vec<f32> {
        if self.slices() {
            return vec![1.0; size.iter().product()];
        }
        let profile: [Vec<f64>; 3] = size.map(|extent| {
            let (centre, sigma) = ((extent as f64 - 1.0) / 2.0, extent as f64 / 8.0);
            (0..extent).map(|i| (-0.5 * ((i as f64 - centre) / sigma).powi(2)).exp().max(1e-3)).collect()
        });
        let mut weights = Vec::with_capacity(size.iter().product());
        for d in &profile[0] {
            for h in &profile[1] {
                weights.extend(profile[2].iter().map(|w| (d * h * w) as f32));
            }
        }
        weights
    }
}

/// Starts along one axis, evenly spread, at most half a tile apart; one centred tile if it covers the whole axis, and
/// every position in turn for tiles of extent 1.
fn starts(extent: usize, size: usize) -> Vec<isize> {
    if size >= extent {
        return vec![(extent as isize - size as isize).div_euclid(2)];
    }
    let room = extent - size;
    let steps = room.div_ceil((size / 2).max(1));
    (0..=steps).map(|step| (step * room / steps) as isize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, SliceAxis};

    #[test]
    fn two_dimensional_patches_cover_every_plane_of_any_axis_in_its_order() {
        for (axis, size) in [(SliceAxis::Z, [1, 8, 8]), (SliceAxis::Y, [8, 1, 8]), (SliceAxis::X, [8, 8, 1])] {
            let samples = Samples { kind: SampleKind::Patches, axis, size: vec![6, 8], ..Settings::default().samples };
            let tiling = Tiling { samples: &samples, stride: [1, 4, 4], batch: 1 };
            let extent = [5, 19, 11];
            assert_eq!(tiling.planes(extent).axis, axis.index());
            let mut seen = vec![0; 5 * 19 * 11];
            let tiles = tiling.tiles(extent);
            assert!(tiles.is_sorted_by_key(|tile| tile.start[axis.index()]));
            for tile in &tiles {
                assert_eq!(tile.size, size);
                let range = |axis: usize| {
                    let end = (tile.start[axis] + size[axis] as isize).min(extent[axis] as isize);
                    tile.start[axis].max(0) as usize..end as usize
                };
                for (d, h) in range(0).flat_map(|d| range(1).map(move |h| (d, h))) {
                    range(2).for_each(|w| seen[(d * 19 + h) * 11 + w] += 1);
                }
            }
            assert!(seen.iter().all(|&count| count > 0));
            assert!(tiling.weights(size).iter().all(|&weight| weight > 0.0));
        }
    }

    #[test]
    fn tiles_cover_every_voxel() {
        for (extent, size) in [(5, 8), (8, 8), (9, 8), (100, 16), (7, 1), (17, 16)] {
            let starts = starts(extent, size);
            for voxel in 0..extent as isize {
                assert!(starts.iter().any(|&start| start <= voxel && voxel < start + size as isize), "{extent} {size}");
            }
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= (size as isize / 2).max(1)), "{starts:?}");
        }
        assert_eq!(starts(3, 1), [0, 1, 2]);
    }
}
