//! A volume as planes perpendicular to one of its axes.

/// The planes of a volume perpendicular to `axis`. A place in a plane is counted along the other two axes, the last one
/// fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planes {
    /// The axis of `[d, h, w]` that is perpendicular to them.
    pub(super) axis: usize,
    /// The volume's extents `[d, h, w]`.
    pub(super) extent: [usize; 3],
}

impl Planes {
    /// Number of voxels in a plane.
    pub fn voxels(self) -> usize {
        self.across().into_iter().map(|axis| self.extent[axis]).product()
    }

    /// Index in memory order, `[d, h, w]`, of a plane's voxel.
    pub fn voxel(self, plane: usize, place: usize) -> usize {
        let [outer, inner] = self.across();
        let [_, height, width] = self.extent;
        let strides = [height * width, width, 1];
        plane * strides[self.axis]
            + place / self.extent[inner] * strides[outer]
            + place % self.extent[inner] * strides[inner]
    }

    /// The plane of a voxel, and its place in that plane.
    pub(super) fn place(self, voxel: [usize; 3]) -> (usize, usize) {
        let [outer, inner] = self.across();
        (voxel[self.axis], voxel[outer] * self.extent[inner] + voxel[inner])
    }

    /// The two axes of a plane.
    fn across(self) -> [usize; 2] {
        [[1, 2], [0, 2], [0, 1]][self.axis]
    }

    /// The parts of planes within slices `depth` along the first axis: each a plane and a range of its places.
    pub(super) fn parts(self, depth: std::ops::Range<usize>) -> Vec<(usize, std::ops::Range<usize>)> {
        if self.axis == 0 {
            return depth.map(|plane| (plane, 0..self.voxels())).collect();
        }
        let row = self.extent[self.across()[1]];
        (0..self.extent[self.axis]).map(|plane| (plane, depth.start * row..depth.end * row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_voxels_are_each_others_inverse_on_every_axis() {
        let extent = [2, 3, 4];
        for axis in 0..3 {
            let planes = Planes { axis, extent };
            let mut seen = [0; 24];
            for voxel in 0..24 {
                let (plane, place) = planes.place([voxel / 12, voxel / 4 % 3, voxel % 4]);
                assert!(plane < extent[axis] && place < planes.voxels());
                assert_eq!(planes.voxel(plane, place), voxel);
                seen[plane * planes.voxels() + place] += 1;
            }
            assert_eq!(seen, [1; 24], "axis {axis}");
            let mut held: Vec<usize> = planes
                .parts(1..2)
                .into_iter()
                .flat_map(|(plane, places)| places.map(move |place| planes.voxel(plane, place)))
                .collect();
            held.sort_unstable();
            assert_eq!(held, (12..24).collect::<Vec<_>>(), "axis {axis}");
        }
    }
}
