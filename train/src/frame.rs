//! How a prepared image relates to the image of its file: cropped to a box and resampled. Predictions are mapped back.

use segcal_core::{Error, Result};
use segcal_data::resample::{self, Line};
use segcal_data::{Grid, Volume};

use super::normalise::foreground;
use super::settings::Input;

/// Maps the grid of a file to that of the network, and back.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The grid of the file.
    pub whole: Grid,
    /// First voxel of the box along `[d, h, w]`.
    pub(super) start: [usize; 3],
    /// The box's extent.
    pub(super) extent: [usize; 3],
    /// The extent that the box is resampled to.
    size: [usize; 3],
    /// The axis whose planes are resampled separately.
    coarse: Option<usize>,
}

impl Frame {
    /// The frame of an image under these settings.
    ///
    /// # Errors
    /// The settings request a voxel size, and the image has none.
    pub fn of(image: &Volume<f32>, input: &Input) -> Result<Self> {
        let whole = image.grid.clone();
        let (start, extent) = if input.crop { box_of(image) } else { ([0; 3], whole.extent) };
        let (own, wanted) = (whole.spacing_mm(), input.wanted());
        if !whole.sized && wanted != [0.0; 3] {
            let error = Error::new("the image has no voxel size, so it cannot be resampled").at("input.spacing");
            return Err(error.help("leave input.spacing empty for images without voxel sizes"));
        }
        let new = std::array::from_fn(|axis| if wanted[axis] > 0.0 { wanted[axis] } else { own[axis] });
        let size = resample::size(extent, own, wanted);
        Ok(Self { whole, start, extent, size, coarse: resample::coarse_axis(own, new) })
    }

    /// Whether the network sees the file's own voxels.
    pub fn is_whole(&self) -> bool {
        self.size == self.whole.extent && self.extent == self.whole.extent
    }

    /// Crops an image to the box.
    pub(super) fn cut<T: Copy>(&self, volume: Volume<T>) -> Result<Volume<T>> {
        if self.extent == self.whole.extent {
            return Ok(volume);
        }
        let mut values = Vec::with_capacity(volume.channels() * self.extent.iter().product::<usize>());
        let [d, h, w] = self.start;
        let [_, height, width] = volume.grid.extent;
        for channel in volume.values().chunks_exact(volume.grid.extent.iter().product()) {
            for (z, y) in (d..d + self.extent[0]).flat_map(|z| (h..h + self.extent[1]).map(move |y| (z, y))) {
                values.extend_from_slice(&channel[(z * height + y) * width + w..][..self.extent[2]]);
            }
        }
        let grid = volume.grid.part(self.start.map(|at| at as isize), self.extent)?;
        Ok(Volume::new(values, volume.channels(), grid))
    }

    /// Resamples the image of the box to the network's voxels.
    pub(super) fn resampled(&self, image: Volume<f32>) -> Result<Volume<f32>> {
        if self.size == self.extent {
            return Ok(image);
        }
        let channels = image.values().chunks_exact(self.extent.iter().product());
        let channels: Vec<f32> =
            channels.flat_map(|channel| resample::image(channel, self.extent, self.size, self.coarse)).collect();
        Ok(Volume::new(channels, image.channels(), image.grid.resized(self.size)?))
    }

    /// Crops and resamples the label of the file to the grid that the network sees.
    pub(super) fn label(&self, label: Volume<i32>) -> Result<Volume<i32>> {
        let label = self.cut(label)?;
        if self.size == self.extent {
            return Ok(label);
        }
        let grid = label.grid.resized(self.size)?;
        let values = resample::labels(label.values(), self.extent, self.size, self.coarse);
        Ok(Volume::new(values, 1, grid))
    }

    /// The extent that the network sees.
    pub(super) const fn size(&self) -> [usize; 3] {
        self.size
    }

    /// The maps from the network's scores back to the voxels of the box.
    pub(super) fn back(&self) -> [Line; 3] {
        resample::lines(self.size, self.extent, self.coarse)
    }
}

/// First voxel and extent of the bounding box of the voxels that are nonzero in any channel; the whole image if all are
/// 0.
pub fn box_of(image: &Volume<f32>) -> ([usize; 3], [usize; 3]) {
    let extent = image.grid.extent;
    let (mut low, mut high) = (extent, [0; 3]);
    let mask = foreground(image.values(), extent.iter().product());
    for voxel in (0..mask.len()).filter(|&voxel| mask[voxel]) {
        let at = [voxel / (extent[1] * extent[2]), voxel / extent[2] % extent[1], voxel % extent[2]];
        for axis in 0..3 {
            (low[axis], high[axis]) = (low[axis].min(at[axis]), high[axis].max(at[axis] + 1));
        }
    }
    if high == [0; 3] { ([0; 3], extent) } else { (low, std::array::from_fn(|axis| high[axis] - low[axis])) }
}
