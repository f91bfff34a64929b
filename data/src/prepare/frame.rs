//! The target grid of scans: they are resampled to a voxel size, cropped around the structures, and resized to a number
//! of voxels, in this order.

use segcal_core::{Error, Interpolation, Result};

use super::Recipe;
use super::volumes::{resample, resample_label};
use crate::{Grid, Volume};

/// The target grid. Each field is `[d, h, w]`; 0 leaves an axis unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Frame {
    /// Voxel size in mm.
    pub spacing_mm: [f64; 3],
    /// Voxels to crop to.
    pub crop: [usize; 3],
    /// Voxels to resize to.
    pub size: [usize; 3],
}

impl Frame {
    /// The requested values; otherwise the crop and size of the recipe, unless a voxel size or a crop is requested.
    pub fn of(
        recipe: &Recipe,
        spacing_mm: Option<[f64; 3]>,
        crop: Option<[usize; 3]>,
        size: Option<[usize; 3]>,
    ) -> Self {
        let own = spacing_mm.is_none() && crop.is_none();
        let recipes = |numbers: [usize; 3]| if own { numbers } else { [0; 3] };
        // A requested size replaces both the crop and the size of the recipe.
        let crop = crop.unwrap_or(if size.is_some() { [0; 3] } else { recipes(recipe.crop) });
        Self { spacing_mm: spacing_mm.unwrap_or_default(), crop, size: size.unwrap_or(recipes(recipe.size)) }
    }

    /// Brings image and label to the grid.
    ///
    /// # Errors
    /// The new grid is invalid.
    pub fn apply(&self, image: Volume<f32>, label: Option<Volume<i32>>) -> Result<(Volume<f32>, Option<Volume<i32>>)> {
        let fine = self.resampled(&image.grid)?;
        let (image, label) = on_grid(image, label, fine)?;
        let start = self.start(image.grid.extent, label.as_ref());
        let extent = chosen(image.grid.extent, self.crop);
        let (image, label) = (cut(&image, start, extent)?, label.map(|label| cut(&label, start, extent)).transpose()?);
        let size = chosen(image.grid.extent, self.size);
        on_grid(image, label, size)
    }

    /// The extent of a grid after resampling to the voxel size.
    fn resampled(&self, grid: &Grid) -> Result<[usize; 3]> {
        let own = grid.spacing_mm();
        let extent = |axis: usize| match self.spacing_mm[axis] {
            0.0 => grid.extent[axis],
            wanted => ((grid.extent[axis] as f64 * own[axis] / wanted).round() as usize).max(1),
        };
        let extent: [usize; 3] = std::array::from_fn(extent);
        if extent.iter().any(|&voxels| voxels > MOST) {
            let error =
                Error::new(format!("resampling gives {extent:?} voxels, but at most {MOST} along an axis are allowed"));
            return Err(error.help("give a larger --spacing, in mm"));
        }
        Ok(extent)
    }

    /// Where the crop starts: it is centred on the bounding box of the structures, or on the volume if there are none,
    /// and shifted to be inside the volume if it fits.
    fn start(&self, extent: [usize; 3], label: Option<&Volume<i32>>) -> [isize; 3] {
        let middle = label.and_then(middle_of).unwrap_or(extent.map(|voxels| voxels / 2));
        let size = chosen(extent, self.crop);
        std::array::from_fn(|axis| {
            let room = extent[axis] as isize - size[axis] as isize;
            let start = middle[axis] as isize - (size[axis] / 2) as isize;
            if room >= 0 { start.clamp(0, room) } else { room.div_euclid(2) }
        })
    }
}

/// The largest number of voxels along an axis; more means that the voxel size is a mistake.
const MOST: usize = 4096;

fn chosen(own: [usize; 3], wanted: [usize; 3]) -> [usize; 3] {
    std::array::from_fn(|axis| if wanted[axis] == 0 { own[axis] } else { wanted[axis] })
}

type Pair = (Volume<f32>, Option<Volume<i32>>);

fn on_grid(image: Volume<f32>, label: Option<Volume<i32>>, extent: [usize; 3]) -> Result<Pair> {
    let label = label.map(|label| resample_label(label, extent)).transpose()?;
    Ok((resample(image, extent, Interpolation::Linear)?, label))
}

/// The centre of the bounding box of all labels above 0.
fn middle_of(label: &Volume<i32>) -> Option<[usize; 3]> {
    let [_, h, w] = label.grid.extent;
    let mut found: Option<([usize; 3], [usize; 3])> = None;
    for (place, _) in label.values().iter().enumerate().filter(|(_, value)| **value > 0) {
        let at = [place / (h * w), place / w % h, place % w];
        let (low, high) = found.get_or_insert((at, at));
        for axis in 0..3 {
            (low[axis], high[axis]) = (low[axis].min(at[axis]), high[axis].max(at[axis]));
        }
    }
    found.map(|(low, high)| std::array::from_fn(|axis| usize::midpoint(low[axis], high[axis] + 1)))
}

/// Cuts out `extent` voxels from `start` on, with 0 outside the volume.
fn cut<T: Copy + Default>(volume: &Volume<T>, start: [isize; 3], extent: [usize; 3]) -> Result<Volume<T>> {
    let own = volume.grid.extent;
    if own == extent && start == [0; 3] {
        return Ok(Volume::new(volume.values().to_vec(), volume.channels(), volume.grid.clone()));
    }
    let inside = |axis: usize, place: usize| {
        let at = start[axis] + place as isize;
        usize::try_from(at).ok().filter(|&at| at < own[axis])
    };
    let mut values = Vec::with_capacity(volume.channels() * extent.iter().product::<usize>());
    for channel in volume.values().chunks(own.iter().product::<usize>().max(1)) {
        for d in 0..extent[0] {
            for h in 0..extent[1] {
                let row = inside(0, d).zip(inside(1, h)).map(|(d, h)| (d * own[1] + h) * own[2]);
                let value = |w: usize| row.zip(inside(2, w)).map(|(row, w)| channel[row + w]).unwrap_or_default();
                values.extend((0..extent[2]).map(value));
            }
        }
    }
    Ok(Volume::new(values, volume.channels(), volume.grid.part(start, extent)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume() -> Volume<i32> {
        let affine = [[2.0, 0.0, 0.0, 10.0], [0.0, 3.0, 0.0, 20.0], [0.0, 0.0, 5.0, 30.0]];
        let mut values = vec![0; 4 * 5 * 6];
        values[(2 * 5 + 4) * 6 + 5] = 1;
        Volume::new(values, 1, Grid::new([4, 5, 6], affine, 1).unwrap())
    }

    fn framed(frame: Frame) -> (Volume<f32>, Volume<i32>) {
        let label = volume();
        let image = Volume::new((0..120).map(|x| x as f32).collect(), 1, label.grid.clone());
        let (image, label) = frame.apply(image, Some(label)).unwrap();
        (image, label.unwrap())
    }

    #[test]
    fn the_cut_lies_about_the_structure_within_the_volume_and_knows_its_place() {
        let (image, label) = framed(Frame { crop: [1, 3, 2], ..Frame::default() });
        assert_eq!(image.grid.extent, [1, 3, 2]);
        // Slice 2, rows 2 to 4, columns 4 and 5.
        let first = (2 * 5 + 2) * 6 + 4;
        assert_eq!(image.values(), [0, 1, 6, 7, 12, 13].map(|x| (first + x) as f32));
        assert_eq!(label.values(), [0, 0, 0, 0, 0, 1]);
        assert_eq!([0, 1, 2].map(|row| image.grid.affine[row][3]), [10.0 + 8.0, 20.0 + 6.0, 30.0 + 10.0]);
    }

    #[test]
    fn a_cut_that_is_larger_than_the_volume_is_filled_with_zeros() {
        let (image, label) = framed(Frame { crop: [0, 0, 8], ..Frame::default() });
        assert_eq!(image.grid.extent, [4, 5, 8]);
        assert_eq!(image.values()[..8], [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0]);
        assert_eq!(label.values().iter().sum::<i32>(), 1);
        assert_eq!(image.grid.affine[0][3], 8.0);
    }

    #[test]
    fn a_voxel_size_keeps_the_field_of_view() {
        let (image, _) = framed(Frame { spacing_mm: [0.0, 1.5, 4.0], ..Frame::default() });
        assert_eq!(image.grid.extent, [4, 10, 3]);
        assert!(image.grid.spacing_mm().iter().zip([5.0, 1.5, 4.0]).all(|(a, b)| (a - b).abs() < 1e-9));
        let too_fine = Frame { spacing_mm: [0.0, 0.0, 1e-4], ..Frame::default() };
        let label = volume();
        let image = Volume::new(vec![0.0; 120], 1, label.grid.clone());
        assert!(too_fine.apply(image, None).unwrap_err().to_string().contains("--spacing"));
    }
}
