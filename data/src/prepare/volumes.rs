//! Reads a scan, maps its labels to classes, and resamples both.

use std::path::{Path, PathBuf};

use segcal_backends::Cpu;
use segcal_core::{Backend, Context, Error, Interpolation, Result, Sampling};

use super::{Label, Scan};
use crate::{self as data, Grid, Volume};

/// Reads the image of a scan: all channels, on one grid.
///
/// # Errors
/// A file is malformed or contains NaN or infinity, or the channels have different grids.
pub fn image(scan: &Scan) -> Result<Volume<f32>> {
    let mut read = scan.images.iter().map(|path| channel(path).map(|volume| (path, volume)));
    let (first_path, first) = read.next().ok_or_else(|| Error::new("the case has no image"))??;
    let (mut grid, mut channels) = (first.grid, first.data.len_of(ndarray::Axis(0)));
    let mut values = first.data.into_raw_vec_and_offset().0;
    for next in read {
        let (path, volume) = next?;
        grid.expect_same(&first_path.display().to_string(), &volume.grid, "this channel").at(path.display())?;
        channels += volume.channels();
        values.extend_from_slice(volume.values());
    }
    if let Some([y, x]) = scan.pixel_mm {
        (grid.affine[0][0], grid.affine[1][1]) = (x, y);
    }
    Ok(Volume::new(values, channels, grid))
}

fn channel(path: &Path) -> Result<Volume<f32>> {
    let volume = data::read_image(path)?;
    match volume.values().iter().find(|x| !x.is_finite()) {
        Some(bad) => {
            Err(Error::new(format!("holds the value {bad}")).at(path.display()).help("replace NaN and infinity"))
        }
        None => Ok(volume),
    }
}

/// Reads the label of a scan, if it has one, on the grid of its image.
///
/// # Errors
/// A file is malformed or has a different grid; a number is neither one of the `classes` classes nor `ignored`.
pub fn label(scan: &Scan, grid: &Grid, classes: usize, ignored: Option<i32>) -> Result<Option<Volume<i32>>> {
    let values = match &scan.label {
        Label::Unknown => return Ok(None),
        Label::Map(path, meaning) => {
            let map = data::read_labels(path)?;
            expect_on(grid, &map.grid, scan, path)?;
            let become_class =
                |label: i32| meaning.iter().find(|(from, _)| *from == label).map_or(label, |(_, to)| *to);
            map.values().iter().map(|&label| become_class(label)).collect()
        }
        Label::Masks(structures) => masks(structures, grid, scan)?,
    };
    let is_known = |label: i32| Some(label) == ignored || usize::try_from(label).is_ok_and(|class| class < classes);
    match values.iter().find(|&&label| !is_known(label)) {
        Some(bad) => Err(Error::new(format!("holds the label {bad}, but the classes are 0 to {}", classes - 1))
            .at(first_file(&scan.label).display())
            .help("check that --as names the right layout")),
        None => Ok(Some(Volume::new(values, 1, grid.clone()))),
    }
}

fn first_file(label: &Label) -> &Path {
    match label {
        Label::Map(path, _) => path,
        Label::Masks(structures) => structures.iter().flatten().next().map_or(Path::new(""), PathBuf::as_path),
        Label::Unknown => Path::new(""),
    }
}

/// Checks that the label is on the grid of the image. Images without a position in space only need the same number of
/// pixels.
fn expect_on(grid: &Grid, other: &Grid, scan: &Scan, path: &Path) -> Result<()> {
    if scan.pixel_mm.is_some() && grid.extent == other.extent {
        return Ok(());
    }
    grid.expect_same("the image", other, "the label").at(path.display())
}

/// Combines masks into a label map: where masks overlap, the last structure wins.
fn masks(structures: &[Vec<PathBuf>], grid: &Grid, scan: &Scan) -> Result<Vec<i32>> {
    let mut values = vec![0; grid.extent.iter().product()];
    for (class, files) in (1..).zip(structures) {
        for path in files {
            let mask = data::read_image(path)?;
            expect_on(grid, &mask.grid, scan, path)?;
            let half = mask.values().iter().copied().fold(0.0, f32::max) / 2.0;
            let inside = mask.values().iter().map(|&x| x > half);
            values.iter_mut().zip(inside).filter(|(_, inside)| *inside).for_each(|(value, _)| *value = class);
        }
    }
    Ok(values)
}

/// Resamples a label over the same space to `size` voxels, by nearest neighbour.
///
/// # Errors
/// Those of [`resample`].
pub fn resample_label(label: Volume<i32>, size: [usize; 3]) -> Result<Volume<i32>> {
    if label.grid.extent == size {
        return Ok(label);
    }
    // Labels are whole numbers below 2^24, which f32 holds exactly.
    let numbers = label.values().iter().map(|&label| label as f32).collect();
    let resized = resample(Volume::new(numbers, 1, label.grid), size, Interpolation::Nearest)?;
    let labels = resized.values().iter().map(|&label| label as i32).collect();
    Ok(Volume::new(labels, 1, resized.grid))
}

/// Resamples a volume over the same space to `size` voxels.
///
/// # Errors
/// The new grid is invalid: a size is 0.
pub fn resample(volume: Volume<f32>, size: [usize; 3], interpolation: Interpolation) -> Result<Volume<f32>> {
    let extent = volume.grid.extent;
    if extent == size {
        return Ok(volume);
    }
    let (shape, channels) = (volume.shape(), volume.channels());
    let sampling = Sampling::resize(extent, size, interpolation);
    let grid = volume.grid.resized(size)?;
    let backend = Cpu::new(None)?;
    let source = backend.upload(volume.data.into_raw_vec_and_offset().0);
    let resized = backend.resample((&source, shape), &sampling, shape.with_spatial(size));
    Ok(Volume::new(backend.download(&resized)?, channels, grid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn centre(grid: &Grid) -> [f64; 3] {
        let [d, h, w] = grid.extent.map(|extent| (extent as f64 - 1.0) / 2.0);
        let place = [w, h, d, 1.0];
        std::array::from_fn(|row| (0..4).map(|k| grid.affine[row][k] * place[k]).sum())
    }

    #[test]
    fn a_resized_volume_covers_the_same_space() {
        let affine = [[0.0, -1.5, 0.0, 40.0], [2.0, 0.0, 0.1, -3.0], [0.0, 0.0, 5.0, 7.0]];
        let grid = Grid::new([4, 6, 8], affine, 1).unwrap();
        let resized = grid.resized([8, 3, 16]).unwrap();
        assert!(centre(&grid).iter().zip(centre(&resized)).all(|(a, b)| (a - b).abs() < 1e-12));
        let total = |grid: &Grid| -> [f64; 3] {
            let spacing = grid.spacing_mm();
            std::array::from_fn(|axis| spacing[axis] * grid.extent[axis] as f64)
        };
        assert!(total(&grid).iter().zip(total(&resized)).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    /// A ramp stays the same ramp in mm, except where the outermost voxels repeat the edge.
    #[test]
    fn a_ramp_stays_a_ramp() {
        let grid = Grid::unknown([1, 1, 12]);
        let ramp = Volume::new((0..12).map(|x| x as f32).collect(), 1, grid);
        let resized = resample(ramp, [1, 1, 18], Interpolation::Linear).unwrap();
        let (step, start) = (resized.grid.affine[0][0], resized.grid.affine[0][3]);
        for (place, &value) in resized.values().iter().enumerate() {
            let mm = (start + step * place as f64).clamp(0.0, 11.0);
            assert!((f64::from(value) - mm).abs() < 1e-5, "{place}: {value} instead of {mm}");
        }
    }

    #[test]
    fn labels_stay_labels() {
        let label = Volume::new(vec![0, 3, 3, -1], 1, Grid::unknown([1, 2, 2]));
        let resized = resample_label(label, [1, 4, 2]).unwrap();
        assert_eq!(resized.values(), [0, 3, 0, 3, 3, -1, 3, -1]);
    }
}
