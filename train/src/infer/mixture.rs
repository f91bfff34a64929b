//! A weighted mean of overlapping tiles, plane by plane.

use std::collections::VecDeque;

use segcal_core::Result;

use super::planes::Planes;
use crate::block::Block;

/// The mean of tiles that arrive in the order of the planes in which they begin. A plane is finished as soon as a tile
/// begins after it, so that no more planes are kept than a tile is thick.
pub(super) struct Mixture<'a> {
    planes: Planes,
    /// Weight of each voxel of a tile.
    window: &'a [f32],
    /// Planes that have begun and are not finished yet.
    held: VecDeque<Plane>,
    /// Number of the first of them.
    first: usize,
}

struct Plane {
    /// `[class][place]`.
    sums: Vec<f32>,
    weights: Vec<f32>,
}

impl<'a> Mixture<'a> {
    pub(super) fn new(planes: Planes, window: &'a [f32]) -> Self {
        Self { planes, window, held: VecDeque::new(), first: 0 }
    }

    /// Adds a tile's numbers, `[class][voxel of the tile]`; voxels outside the volume are dropped.
    pub(super) fn add(&mut self, tile: &Block, output: &[f32]) {
        let (inside, voxels) = (self.window.len(), self.planes.voxels());
        let classes = output.len() / inside;
        let [_, height, width] = tile.size;
        for from in 0..inside {
            let offset = [from / (height * width), from / width % height, from % width];
            let Some(voxel) = self.voxel(tile, offset) else { continue };
            let (number, place) = self.planes.place(voxel);
            let fresh = || Plane { sums: vec![0.0; classes * voxels], weights: vec![0.0; voxels] };
            if number - self.first >= self.held.len() {
                self.held.resize_with(number - self.first + 1, fresh);
            }
            let plane = &mut self.held[number - self.first];
            plane.weights[place] += self.window[from];
            for class in 0..classes {
                plane.sums[class * voxels + place] += self.window[from] * output[class * inside + from];
            }
        }
    }

    /// Passes on the planes that no tile beginning at `start` or later reaches: number, and means `[class][place]`.
    pub(super) fn finish_before(
        &mut self,
        start: isize,
        each: &mut impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        while (self.first as isize) < start
            && let Some(mut plane) = self.held.pop_front()
        {
            for class in plane.sums.chunks_exact_mut(plane.weights.len()) {
                class.iter_mut().zip(&plane.weights).for_each(|(sum, weight)| *sum /= weight);
            }
            each(self.first, &plane.sums)?;
            self.first += 1;
        }
        Ok(())
    }

    fn voxel(&self, tile: &Block, offset: [usize; 3]) -> Option<[usize; 3]> {
        let at: [isize; 3] = std::array::from_fn(|axis| tile.start[axis] + offset[axis] as isize);
        let inside = (0..3).all(|axis| at[axis] >= 0 && (at[axis] as usize) < self.planes.extent[axis]);
        inside.then(|| at.map(|x| x as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixture_of_equal_tiles_is_the_tile_on_every_axis() {
        for axis in 0..3 {
            let mut extent = [1; 3];
            extent[axis] = 3;
            let mut mixture = Mixture::new(Planes { axis, extent }, &[0.5, 1.0, 0.5]);
            let mut found = Vec::new();
            let mut keep = |number: usize, plane: &[f32]| {
                found.push((number, plane.to_vec()));
                Ok(())
            };
            for start in [-1, 0, 1] {
                let mut tile = Block::plain(0, [0; 3], extent);
                tile.start[axis] = start;
                mixture.finish_before(start, &mut keep).unwrap();
                mixture.add(&tile, &[0.25, 0.25, 0.25, 0.75, 0.75, 0.75]);
            }
            assert_eq!(mixture.first, 1, "the first plane is done before the last tile comes");
            mixture.finish_before(isize::MAX, &mut keep).unwrap();
            assert_eq!(found, [0, 1, 2].map(|number| (number, vec![0.25, 0.75])), "axis {axis}");
        }
    }
}
