//! Blocks of cases: where a sample is located, and how it is cut out.

use segcal_core::Rng;
use segcal_data::Volume;

use super::augment::Orientation;
use super::prepared::Prepared;

/// A block of a case: `size` voxels from `start`. It may extend outside the volume, where image and label are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Index of the case.
    pub case: usize,
    /// First voxel along `[d, h, w]`.
    pub start: [isize; 3],
    /// Extent along `[d, h, w]`.
    pub size: [usize; 3],
    /// How its voxels are rearranged when it is cut.
    pub orientation: Orientation,
    /// The random numbers for the operators that are applied before that, if any.
    pub changes: Option<Rng>,
}

impl Block {
    /// A block that is not augmented.
    pub fn plain(case: usize, start: [isize; 3], size: [usize; 3]) -> Self {
        Self { case, start, size, orientation: Orientation::default(), changes: None }
    }

    /// Image and label as in the case, channel by channel.
    pub fn cut(&self, case: &Prepared) -> (Vec<f32>, Vec<f32>) {
        let (mut image, mut label) = (Vec::new(), Vec::new());
        cut_block(&case.image, self, |x| x, &mut image);
        cut_block(&case.label, self, |class| class as f32, &mut label);
        (image, label)
    }
}

/// Appends the block's numbers, channel by channel; 0 outside the volume.
pub fn cut_block<T: Copy>(volume: &Volume<T>, block: &Block, convert: impl Fn(T) -> f32, out: &mut Vec<f32>) {
    let extent = volume.grid.extent;
    let inside = |axis: usize, offset: usize| {
        let at = block.start[axis] + offset as isize;
        (at >= 0 && (at as usize) < extent[axis]).then_some(at as usize)
    };
    // The range of columns inside the volume is the same for every row.
    let before = (-block.start[2]).clamp(0, block.size[2] as isize) as usize;
    let first = (block.start[2].max(0) as usize).min(extent[2]);
    let run = (extent[2] - first).min(block.size[2] - before);
    for channel in 0..volume.channels() {
        let plane = &volume.values()[channel * extent.iter().product::<usize>()..];
        for d in 0..block.size[0] {
            for h in 0..block.size[1] {
                let filled = out.len();
                out.resize(filled + block.size[2], 0.0);
                let (Some(z), Some(y)) = (inside(0, d), inside(1, h)) else { continue };
                let row = (z * extent[1] + y) * extent[2] + first;
                let target = &mut out[filled + before..filled + before + run];
                target.iter_mut().zip(&plane[row..row + run]).for_each(|(to, &from)| *to = convert(from));
            }
        }
    }
}

/// The extents with one axis of extent 1 moved to the front: a slice of any axis as `[1, h, w]`.
pub fn flat_last(size: [usize; 3]) -> [usize; 3] {
    match size {
        [a, 1, b] | [a, b, 1] => [1, a, b],
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use segcal_data::Grid;

    fn volume() -> Volume<f32> {
        Volume::new((0..24).map(|x| x as f32 + 1.0).collect(), 1, Grid::unknown([2, 3, 4]))
    }

    fn cut(start: [isize; 3], size: [usize; 3]) -> Vec<f32> {
        let mut out = Vec::new();
        cut_block(&volume(), &Block::plain(0, start, size), |x| x, &mut out);
        out
    }

    #[test]
    fn a_block_inside_is_copied_and_outside_is_zero() {
        assert_eq!(cut([1, 1, 1], [1, 2, 2]), [18.0, 19.0, 22.0, 23.0]);
        assert_eq!(cut([0, -1, -1], [1, 2, 3]), [0.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
        assert_eq!(cut([0, 2, 2], [1, 2, 4]), [11.0, 12.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(cut([5, 0, 9], [1, 1, 2]), [0.0, 0.0]);
        assert_eq!(cut([0, 0, -5], [1, 1, 2]), [0.0, 0.0]);
    }

    #[test]
    fn a_slice_of_any_axis_is_flat() {
        assert_eq!(flat_last([1, 5, 6]), [1, 5, 6]);
        assert_eq!(flat_last([5, 1, 6]), [1, 5, 6]);
        assert_eq!(flat_last([5, 6, 1]), [1, 5, 6]);
        assert_eq!(flat_last([4, 5, 6]), [4, 5, 6]);
    }
}
