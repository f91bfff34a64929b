//! Class scores of one case on the grid of its reference, in the voxel order of the reference.
//!
//! NIfTI files carry their geometry: they are reoriented to the axes of the reference and must then have its grid.
//! Arrays carry none: the order of their axes is that of the [`Reading`], which is decided once for the cohort.

use std::path::Path;

use segcal_core::{Context, Error, Result};
use segcal_data::{Grid, Volume, npy};
use segcal_metrics::measure::Nested;
use segcal_metrics::volume::{Label, Probabilities, softmax};
use serde::{Deserialize, Serialize};

use super::axes::Order;
use super::inputs::Files;
use super::reading::{Background, Reading};

mod complete;
mod frame;
mod independent;
mod notes;
mod turned;

pub use frame::Frame;
use frame::spatial;
pub use notes::Notes;

/// The declared kind of the numbers in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scores {
    /// Probabilities: in `[0, 1]`, summing to one.
    Probabilities,
    /// Logits: softmax is applied.
    Logits,
}

/// Reads probabilities `[k, d, h, w]` on the reference grid, with the number of classes.
///
/// # Errors
/// A file is malformed; its geometry or shape differs from that of the reference; or the numbers are not the declared
/// kind of scores.
pub fn read(files: &Files, reference: &Volume<Label>, kind: Scores, how: &Reading) -> Result<(Vec<f32>, usize)> {
    let (mut values, classes) = read_stored(files, reference, kind, how, &mut Notes::of(files.first()))?;
    if kind == Scores::Logits {
        softmax(&mut values, classes);
    }
    Ok((values, classes))
}

/// As [`read`], but returns the scores as stored: logits stay logits.
///
/// # Errors
/// As [`read`].
pub fn read_stored(
    files: &Files,
    reference: &Volume<Label>,
    kind: Scores,
    how: &Reading,
    notes: &mut Notes<'_>,
) -> Result<(Vec<f32>, usize)> {
    let (values, classes) = read_onto(files, &reference.grid, how)?;
    let file = files.first();
    let completed = complete::complete(values, classes, kind, how.background, Some(reference.values()), notes);
    let (values, classes) = completed.at(file.display())?;
    if !npy::is_array(file) {
        // The headers agree, so a flip of the numbers only triggers a warning.
        if let Some(doubt) = turned::doubt(Probabilities::new(&values, classes), reference) {
            notes.warn(format!("{doubt}; if so, its header is wrong"));
        }
    }
    Ok((values, classes))
}

/// Reads probabilities `[r, d, h, w]` of regions on the reference grid, each a separate binary problem.
///
/// # Errors
/// As [`read`]; or the file does not contain one channel per region.
pub fn read_regions(
    files: &Files,
    reference: &Volume<Label>,
    kind: Scores,
    how: &Reading,
    nested: &Nested,
    notes: &mut Notes<'_>,
) -> Result<Vec<f32>> {
    let (values, channels) = read_onto(files, &reference.grid, how)?;
    let file = files.first();
    independent::probabilities(values, channels, kind, nested, notes).at(file.display())
}

/// As [`read_regions`], but returns the scores as stored: logits stay logits.
///
/// # Errors
/// As [`read_regions`].
pub fn read_stored_regions(
    files: &Files,
    reference: &Volume<Label>,
    kind: Scores,
    how: &Reading,
    nested: &Nested,
) -> Result<Vec<f32>> {
    let (values, channels) = read_onto(files, &reference.grid, how)?;
    let notes = &mut Notes::of(files.first());
    independent::stored(values, channels, kind, nested, notes).at(files.first().display())
}

/// Reads the numbers of a file as `[k, d, h, w]` on a grid.
fn read_onto(files: &Files, grid: &Grid, how: &Reading) -> Result<(Vec<f32>, usize)> {
    match files {
        Files::One(path) if npy::is_array(path) => from_array(path, grid, how).at(path.display()),
        Files::One(path) => on_grid(path, grid, how),
        Files::PerClass(paths) => per_class(paths, grid, how),
        Files::Masks(_) => Err(masks(files)),
    }
}

/// Number of stored channels, from the headers only. For an array, whose order may be unknown, it is the number of
/// elements divided by the number of voxels of `extent`, or without `extent` the length of the first axis.
///
/// # Errors
/// A header is malformed.
pub fn channels(files: &Files, extent: Option<[usize; 3]>) -> Result<usize> {
    match files {
        Files::One(path) if npy::is_array(path) => {
            let shape = npy::read_header(path, "probabilities")?.shape;
            let voxels = extent.map(|extent| extent.iter().product::<usize>().max(1));
            Ok(voxels
                .map_or_else(|| shape.first().copied().unwrap_or(1), |voxels| shape.iter().product::<usize>() / voxels))
        }
        Files::One(path) => Ok(segcal_data::read_grid(path)?.1),
        Files::PerClass(paths) => Ok(paths.len()),
        Files::Masks(_) => Err(masks(files)),
    }
}

/// Reads the numbers of a file as stored, class first, on their own grid.
///
/// # Errors
/// The file is malformed.
pub fn read_raw(files: &Files) -> Result<Vec<f32>> {
    own(files, &Reading::default()).map(|(values, ..)| values)
}

/// Number of classes, from the header only.
///
/// # Errors
/// The header is malformed.
pub fn classes(files: &Files, how: &Reading) -> Result<usize> {
    let stored = match files {
        Files::One(path) if npy::is_array(path) => {
            let shape = npy::read_header(path, "probabilities")?.shape;
            let order = how.axes.clone().unwrap_or_else(Order::documented);
            let class = order.permutation(shape.len(), true, true).ok().and_then(|axes| axes.first().copied());
            class.map_or(1, |axis| shape[axis])
        }
        Files::One(path) => segcal_data::read_grid(path)?.1,
        Files::PerClass(paths) => paths.len(),
        Files::Masks(_) => return Err(masks(files)),
    };
    Ok(if stored == 1 || how.background == Background::Implied { stored + 1 } else { stored })
}

/// Reads scores as stored, class first, on their own grid, with the number of classes.
///
/// # Errors
/// A file is malformed, or the numbers are not the declared kind of scores.
pub fn read_own(files: &Files, kind: Scores, how: &Reading) -> Result<(Vec<f32>, usize, Frame)> {
    let (values, stored, frame) = own(files, how)?;
    let notes = &mut Notes::of(files.first());
    let (values, classes) =
        complete::complete(values, stored, kind, how.background, None, notes).at(files.first().display())?;
    Ok((values, classes, frame.with_classes(classes)))
}

/// Reads scores of regions as stored, on their own grid.
///
/// # Errors
/// As [`read_own`]; or the file does not contain one channel per region.
pub fn read_own_regions(files: &Files, kind: Scores, how: &Reading, nested: &Nested) -> Result<(Vec<f32>, Frame)> {
    let (values, channels, frame) = own(files, how)?;
    let values = independent::stored(values, channels, kind, nested, &mut Notes::of(files.first()));
    Ok((values.at(files.first().display())?, frame))
}

/// Reads the numbers of a file, with the number of channels and their frame.
fn own(files: &Files, how: &Reading) -> Result<(Vec<f32>, usize, Frame)> {
    match files {
        Files::One(path) if npy::is_array(path) => own_array(path, how).at(path.display()),
        Files::One(path) => {
            let volume = segcal_data::read_image(path)?;
            let (classes, grid) = (volume.channels(), volume.grid);
            Ok((volume.data.into_raw_vec_and_offset().0, classes, Frame::Grid(grid)))
        }
        Files::PerClass(paths) => {
            let (grid, _) = segcal_data::read_grid(&paths[0])?;
            let (values, classes) = per_class(paths, &grid, &Reading::default())?;
            Ok((values, classes, Frame::Grid(grid)))
        }
        Files::Masks(_) => Err(masks(files)),
    }
}

/// The error if masks are given as scores.
fn masks(files: &Files) -> Error {
    Error::new("is a mask and contains no scores").at(files.first().display()).help("for masks use --segmentations")
}

/// Reads an array, with its axes permuted to the documented order.
fn own_array(path: &Path, how: &Reading) -> Result<(Vec<f32>, usize, Frame)> {
    let shape = npy::read_header(path, "probabilities")?.shape;
    let order = how.axes.clone().unwrap_or_else(Order::documented);
    let flat = shape.len() == 3;
    let permutation = order.permutation(shape.len(), true, flat)?;
    let array = npy::read_permuted::<f32>(path, "probabilities", &permutation)?;
    Ok((array.data, array.shape[0], Frame::Array { shape: array.shape, archive: npy::is_archive(path) }))
}

/// Reads the class scores of a file on a grid, reoriented to its axes.
fn on_grid(path: &Path, grid: &Grid, how: &Reading) -> Result<(Vec<f32>, usize)> {
    let (own, _) = segcal_data::read_grid(path)?;
    let own = how.grid(path, own)?;
    let turned = if own.axes() == grid.axes() { own } else { own.along(grid.axes()) };
    if turned.sized || grid.sized {
        grid.expect_same("the reference", &turned, "the prediction").at(path.display())?;
    } else if turned.extent != grid.extent {
        return Err(shape_error(&turned.extent, grid).at(path.display()));
    }
    let volume = segcal_data::read_image_along(path, grid.axes())?;
    let channels = volume.channels();
    Ok((volume.data.into_raw_vec_and_offset().0, channels))
}

/// The numbers of an image on a grid, reoriented to its axes.
fn onto(volume: Volume<f32>, grid: &Grid) -> Result<(Vec<f32>, usize)> {
    let volume = if volume.grid.axes() == grid.axes() { volume } else { volume.reoriented(grid.axes()) };
    grid.expect_same("the prediction", &volume.grid, "the image")?;
    let channels = volume.channels();
    Ok((volume.data.into_raw_vec_and_offset().0, channels))
}

/// Reads an image on the grid of a prediction: values `[c, d, h, w]` and the number of channels.
///
/// # Errors
/// The file is malformed, or its geometry differs.
pub fn read_image(path: &Path, grid: &Grid) -> Result<(Vec<f32>, usize)> {
    if !npy::is_array(path) {
        return onto(segcal_data::read_image(path)?, grid).at(path.display());
    }
    let array = npy::read::<f32>(path, "image")?;
    let voxels = grid.extent.iter().product::<usize>();
    let fits = |leading: usize| spatial(&array.shape, leading).is_ok_and(|extent| extent == grid.extent);
    if !(fits(0) || fits(1)) {
        return Err(shape_error(&array.shape, grid).at(path.display()));
    }
    let channels = array.data.len() / voxels.max(1);
    Ok((array.data, channels))
}

fn per_class(paths: &[std::path::PathBuf], grid: &Grid, how: &Reading) -> Result<(Vec<f32>, usize)> {
    let mut values = Vec::new();
    values.try_reserve_exact(paths.len() * grid.extent.iter().product::<usize>()).map_err(Error::from_source)?;
    for path in paths {
        let (class, channels) = on_grid(path, grid, how)?;
        if channels != 1 {
            let problem = format!("contains {channels} volumes, but a file of one class must contain one");
            return Err(Error::new(problem).at(path.display()));
        }
        values.extend_from_slice(&class);
    }
    Ok((values, paths.len()))
}

/// Reads a label map on the reference grid, reoriented to its axes.
///
/// # Errors
/// The file is malformed, or its geometry differs.
pub fn read_labels(path: &Path, reference: &Grid, how: &Reading) -> Result<Vec<Label>> {
    if npy::is_array(path) {
        return labels_of_array(path, reference, how).at(path.display());
    }
    let volume = read_reference(path)?;
    let volume = Volume { grid: how.grid(path, volume.grid)?, data: volume.data };
    let volume = if volume.grid.axes() == reference.axes() { volume } else { volume.reoriented(reference.axes()) };
    reference.expect_same("the reference", &volume.grid, "the prediction").at(path.display())?;
    Ok(volume.data.into_raw_vec_and_offset().0)
}

fn labels_of_array(path: &Path, reference: &Grid, how: &Reading) -> Result<Vec<Label>> {
    let shape = npy::read_header(path, "labels")?.shape;
    let order = how.axes.clone().unwrap_or_else(Order::documented);
    let flat = reference.extent[0] == 1;
    if order.extent(&shape, false, flat)? != reference.extent {
        return Err(shape_error(&shape, reference));
    }
    let array = npy::read_permuted::<i32>(path, "labels", &order.permutation(shape.len(), false, flat)?)?;
    labels(array.data)
}

/// Reads a reference label map from any file. Arrays and PNG files have a grid without a voxel size.
///
/// # Errors
/// The file is malformed, or contains a value that is not a label from 0 to 65535.
pub fn read_reference(path: &Path) -> Result<Volume<Label>> {
    let (values, channels, grid) = if npy::is_array(path) {
        let array = npy::read::<i32>(path, "labels")?;
        let extent = spatial(&array.shape, 0).at(path.display())?;
        (array.data, 1, Grid::unknown(extent))
    } else {
        let volume = segcal_data::read_labels(path)?;
        let channels = volume.channels();
        (volume.data.into_raw_vec_and_offset().0, channels, volume.grid)
    };
    if channels != 1 {
        let problem = format!("contains {channels} volumes, but a label map has one");
        return Err(Error::new(problem).at(path.display()).help("for class scores use --probabilities or --logits"));
    }
    Ok(Volume::new(labels(values).at(path.display())?, 1, grid))
}

/// Converts numbers to labels in exactly the memory they need: collecting into a `Result` does not know their number.
fn labels(values: Vec<i32>) -> Result<Vec<Label>> {
    let mut labels = Vec::with_capacity(values.len());
    for value in values {
        labels.push(label(value)?);
    }
    Ok(labels)
}

/// The extent of a reference, from its header only.
///
/// # Errors
/// The file is malformed.
pub fn extent(path: &Path) -> Result<[usize; 3]> {
    if npy::is_array(path) {
        return spatial(&npy::read_header(path, "labels")?.shape, 0).at(path.display());
    }
    segcal_data::read_grid(path).map(|(grid, _)| grid.extent)
}

fn label(value: i32) -> Result<Label> {
    Label::try_from(value).map_err(|_| {
        Error::new(format!("contains the label {value}; labels run from 0 (background) to {}", Label::MAX))
    })
}

fn shape_error(shape: &[usize], grid: &Grid) -> Error {
    let problem = format!("the array has shape {shape:?}, but the reference has {:?} along z, y, x", grid.extent);
    Error::new(problem).help("if the probabilities are cropped, restore them to the grid of the image first")
}

fn from_array(path: &Path, reference: &Grid, how: &Reading) -> Result<(Vec<f32>, usize)> {
    let shape = npy::read_header(path, "probabilities")?.shape;
    let order = how.axes.clone().unwrap_or_else(Order::documented);
    let flat = reference.extent[0] == 1;
    if order.extent(&shape, true, flat)? != reference.extent {
        return Err(shape_error(&shape, reference));
    }
    let array = npy::read_permuted::<f32>(path, "probabilities", &order.permutation(shape.len(), true, flat)?)?;
    let classes = array.data.len() / reference.extent.iter().product::<usize>().max(1);
    Ok((array.data, classes))
}

/// Checks that the prediction has a class for every reference label.
///
/// # Errors
/// A label other than the ignored one is not below `classes`.
pub fn expect_labels(labels: &[Label], classes: usize, ignored: Option<Label>) -> Result<()> {
    match labels.iter().find(|&&label| usize::from(label) >= classes && Some(label) != ignored) {
        None => Ok(()),
        Some(label) => Err(Error::new(format!("contains the label {label}, but the prediction has {classes} classes"))
            .help("labels run from 0 (background) to the number of classes minus 1; use --ignore-label to exclude the voxels of a label")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::ArrayView4;

    /// A corner of class 1 in a 2 x 3 x 4 volume, as scores in the given order.
    fn reference() -> Volume<Label> {
        let mut values = vec![0; 24];
        [0, 1, 4, 12].iter().for_each(|&voxel| values[voxel] = 1);
        Volume::new(values, 1, Grid::unknown([2, 3, 4]))
    }

    fn scores(labels: &[Label]) -> Vec<f32> {
        let p = |label: Label| if label == 1 { 0.9 } else { 0.1 };
        labels.iter().map(|&label| 1.0 - p(label)).chain(labels.iter().map(|&label| p(label))).collect()
    }

    fn written(shape: &[usize], data: &[f32], axes: &str) -> Result<(Vec<f32>, usize)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        npy::write(&path, shape, data).unwrap();
        let how = Reading { axes: Some(axes.parse()?), ..Reading::default() };
        read(&Files::One(path), &reference(), Scores::Probabilities, &how)
    }

    #[test]
    fn every_axis_order_arrives_at_the_references() {
        let straight = scores(reference().values());
        let view = ArrayView4::from_shape((2, 2, 3, 4), &straight).unwrap();
        for (axes, order) in
            [("kzyx", [0, 1, 2, 3]), ("kxyz", [0, 3, 2, 1]), ("zyxk", [1, 2, 3, 0]), ("ykxz", [2, 0, 3, 1])]
        {
            let turned = view.permuted_axes(order);
            let data: Vec<f32> = turned.iter().copied().collect();
            assert_eq!(written(turned.shape(), &data, axes).unwrap(), (straight.clone(), 2), "{axes}");
        }
    }

    #[test]
    fn another_shape_and_logits_are_refused() {
        assert!(written(&[2, 2, 3, 5], &[0.5; 60], "kzyx").unwrap_err().to_string().contains("[2, 2, 3, 5]"));
        let logits: Vec<f32> = scores(reference().values()).iter().map(|p| p * 20.0 - 5.0).collect();
        assert!(written(&[2, 2, 3, 4], &logits, "kzyx").is_err());
    }
}
