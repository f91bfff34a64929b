//! Voxel sizes of the images that a network is trained on. A network sees voxels: if an image has other voxel sizes,
//! its structures appear in other sizes.

use serde::{Deserialize, Serialize};

use segcal_data::{self as data, Case, Grid};

/// Factor from which two voxel sizes count as different: headers round, and scanners of one protocol differ by less.
const TOLERANCE: f64 = 1.1;

/// The voxel sizes of some images along `[d, h, w]`, in mm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spacings {
    /// The smallest along each axis.
    pub smallest: [f64; 3],
    /// The largest along each axis.
    pub largest: [f64; 3],
}

impl Spacings {
    /// The voxel sizes of the images of these cases, from their headers; none if no image has one.
    pub fn of(cases: &[Case]) -> Option<Self> {
        // Unreadable files are reported when the case is read.
        let grids = cases.iter().filter_map(|case| Some(data::read_grid(case.images.first()?).ok()?.0));
        let each = grids.filter(|grid| grid.sized).map(|grid| grid.spacing_mm());
        each.map(|spacing| Self { smallest: spacing, largest: spacing }).reduce(|all, one| Self {
            smallest: std::array::from_fn(|axis| all.smallest[axis].min(one.smallest[axis])),
            largest: std::array::from_fn(|axis| all.largest[axis].max(one.largest[axis])),
        })
    }

    /// The message if the images differ from each other.
    pub fn mixed(&self) -> Option<String> {
        let differ = self.smallest.iter().zip(self.largest).any(|(small, large)| large > TOLERANCE * small);
        differ.then(|| {
            format!(
                "the training images have voxels of {} to {} mm along z, y, x; the network sees voxels, not mm: resample them \
                 to one size, for example by input.spacing",
                written(self.smallest),
                written(self.largest)
            )
        })
    }

    /// The message for an image whose voxels are larger or smaller than all of these.
    pub fn foreign(&self, grid: &Grid) -> Option<String> {
        let own = grid.spacing_mm();
        let beyond =
            |axis: usize| own[axis] > TOLERANCE * self.largest[axis] || TOLERANCE * own[axis] < self.smallest[axis];
        let trained = if self.smallest == self.largest {
            written(self.smallest)
        } else {
            format!("{} to {}", written(self.smallest), written(self.largest))
        };
        (grid.sized && (0..3).any(beyond))
            .then(|| format!("voxels of {} mm along z, y, x, but the training images had {trained}", written(own)))
    }
}

fn written(spacing: [f64; 3]) -> String {
    spacing.map(|x| format!("{x:.3}")).join(" x ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(spacing: [f64; 3]) -> Grid {
        let [z, y, x] = spacing;
        Grid::new([2, 2, 2], [[x, 0.0, 0.0, 0.0], [0.0, y, 0.0, 0.0], [0.0, 0.0, z, 0.0]], 1).unwrap()
    }

    #[test]
    fn other_sizes_are_told() {
        let one = Spacings { smallest: [3.0, 1.0, 1.0], largest: [3.0, 1.0, 1.0] };
        assert_eq!((one.mixed(), one.foreign(&grid([3.1, 1.0, 1.0]))), (None, None));
        let message = one.foreign(&grid([1.0, 1.0, 1.0])).unwrap();
        assert!(message.contains("1.000 x 1.000 x 1.000 mm") && message.contains("3.000 x 1.000 x 1.000"), "{message}");
        let two = Spacings { largest: [5.0, 1.0, 1.0], ..one };
        assert!(two.mixed().unwrap().contains("3.000 x 1.000 x 1.000 to 5.000 x 1.000 x 1.000 mm"));
        assert_eq!(two.foreign(&grid([4.0, 1.0, 1.0])), None);
        assert_eq!(one.foreign(&Grid::unknown([2, 2, 2])), None);
    }
}
