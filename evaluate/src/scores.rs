//! Class scores of one case on the grid of its reference, in the reference's own voxel order.
//!
//! NIfTI carries its geometry: it is turned to the reference's axes and must then lie on the reference's grid. Arrays
//! carry none. `[k, z, y, x]` (nnU-Net's order, that of SimpleITK) is taken first, `[k, x, y, z]` where only that fits;
//! and the labels they imply are compared with the reference under the other orders and flips too. Where another order
//! agrees far better, the case is refused: it would be measured mirrored or transposed.

use std::path::Path;

use segcal_core::{Context, Error, Result};
use segcal_metrics::guard::{Evidence, Kind};
use segcal_metrics::volume::{Label, Probabilities, softmax};
use serde::{Deserialize, Serialize};

use super::inputs::Files;
use segcal_data::{Grid, Volume, nifti, npy};

/// What the numbers of a file are said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scores {
    /// Probabilities: in `[0, 1]`, summing to one.
    Probabilities,
    /// Logits: softmax is applied.
    Logits,
}

/// Agreement (share of foreground voxels with the right label) by which another axis order must win to be believed.
const MARGIN: f64 = 0.2;

/// Probabilities `[k, d, h, w]` on the reference's grid.
///
/// # Errors
/// A file is malformed; the geometry or shape differs from the reference's; the axis order is in doubt; or the numbers
/// are not what they are said to be.
pub fn read(files: &Files, reference: &Volume<Label>, kind: Scores) -> Result<(Vec<f32>, usize)> {
    let (mut values, classes) = read_stored(files, reference, kind)?;
    if kind == Scores::Logits {
        softmax(&mut values, classes);
    }
    Ok((values, classes))
}

/// As [`read`], but the numbers are as they are stored: logits stay logits.
///
/// # Errors
/// As [`read`].
pub fn read_stored(files: &Files, reference: &Volume<Label>, kind: Scores) -> Result<(Vec<f32>, usize)> {
    let (values, classes) = match files {
        Files::One(path) if npy::is_array(path) => from_array(path, reference).at(path.display())?,
        Files::One(path) => on_grid(path, &reference.grid)?,
        Files::PerClass(paths) => per_class(paths, &reference.grid)?,
    };
    if !matches!(files, Files::One(path) if npy::is_array(path)) {
        // The headers agree, and they are believed; but many a tool has turned the numbers and kept the header.
        if let Err(doubt) = prove_order(Probabilities::new(&values, classes.max(1)), false, reference) {
            log::warn!("{}: {doubt}; if so, its header is wrong", files.first().display());
        }
    }
    expect(&values, classes, kind, files.first())?;
    Ok((values, classes))
}

/// Number of classes, from the header alone.
///
/// # Errors
/// The header is malformed.
pub fn classes(files: &Files) -> Result<usize> {
    match files {
        Files::One(path) if npy::is_array(path) => {
            Ok(npy::read_header(path, "probabilities")?.shape.first().copied().unwrap_or(0))
        }
        Files::One(path) => Ok(nifti::read_header(path).at(path.display())?.extent().1),
        Files::PerClass(paths) => Ok(paths.len()),
    }
}

/// Refuses numbers that are not what they are said to be.
fn expect(values: &[f32], classes: usize, kind: Scores, file: &Path) -> Result<()> {
    if classes < 2 {
        let error = Error::new("holds one class only").at(file.display());
        return Err(error.help("a label map is given by --segmentations"));
    }
    let evidence = Evidence::new(Probabilities::new(values, classes));
    if evidence.verdict().kind == Kind::OneHot && kind == Scores::Probabilities {
        log::warn!("{}: every probability is 0 or 1: a segmentation, whose calibration says nothing", file.display());
    }
    match kind {
        Scores::Probabilities => evidence.expect_probabilities(),
        Scores::Logits => evidence.expect_logits(),
    }
    .at(file.display())
}

/// Where scores lie, so that others can be written to the same place.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The grid of a NIfTI file.
    Grid(Grid),
    /// The shape of an array, class first.
    Array {
        /// The shape.
        shape: Vec<usize>,
        /// Whether it was one of a `.npz`.
        archive: bool,
    },
}

/// Scores as they are stored, class first, on their own grid; with the number of classes.
///
/// # Errors
/// A file is malformed, or the numbers are not what they are said to be.
pub fn read_own(files: &Files, kind: Scores) -> Result<(Vec<f32>, usize, Frame)> {
    let (values, classes, frame) = match files {
        Files::One(path) if npy::is_array(path) => {
            let array = npy::read::<f32>(path, "probabilities")?;
            spatial(&array.shape, 1).at(path.display())?;
            let (classes, archive) = (array.shape[0], npy::is_archive(path));
            (array.data, classes, Frame::Array { shape: array.shape, archive })
        }
        Files::One(path) => {
            let volume = nifti::read_image(path)?;
            let (classes, grid) = (volume.channels(), volume.grid);
            (volume.data.into_raw_vec_and_offset().0, classes, Frame::Grid(grid))
        }
        Files::PerClass(paths) => {
            let grid = nifti::read_header(&paths[0]).and_then(|header| header.grid()).at(paths[0].display())?;
            let (values, classes) = per_class(paths, &grid)?;
            (values, classes, Frame::Grid(grid))
        }
    };
    expect(&values, classes, kind, files.first())?;
    Ok((values, classes, frame))
}

impl Frame {
    /// The grid; that of an array has no voxel size.
    pub fn grid(&self) -> Grid {
        match self {
            Self::Grid(grid) => grid.clone(),
            Self::Array { shape, .. } => Grid::unknown(spatial(shape, 1).unwrap_or_default()),
        }
    }
}

/// The class scores of a NIfTI file on a grid, turned to its axes while they are read.
fn on_grid(path: &Path, grid: &Grid) -> Result<(Vec<f32>, usize)> {
    let own = nifti::read_header(path).and_then(|header| header.grid()).at(path.display())?;
    let turned = if own.axes() == grid.axes() { own } else { own.along(grid.axes()) };
    grid.expect_same("the reference", &turned, "the prediction").at(path.display())?;
    let volume = nifti::read_image_along(path, grid.axes())?;
    let channels = volume.channels();
    Ok((volume.data.into_raw_vec_and_offset().0, channels))
}

/// The numbers of an image on a grid, turned to its axes.
fn onto(volume: Volume<f32>, grid: &Grid) -> Result<(Vec<f32>, usize)> {
    let volume = if volume.grid.axes() == grid.axes() { volume } else { volume.reoriented(grid.axes()) };
    grid.expect_same("the prediction", &volume.grid, "the image")?;
    let channels = volume.channels();
    Ok((volume.data.into_raw_vec_and_offset().0, channels))
}

/// An image on the grid of a prediction: values `[c, d, h, w]` and the number of channels.
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

fn per_class(paths: &[std::path::PathBuf], grid: &Grid) -> Result<(Vec<f32>, usize)> {
    let mut values = Vec::new();
    values.try_reserve_exact(paths.len() * grid.extent.iter().product::<usize>()).map_err(Error::from_source)?;
    for path in paths {
        let (class, channels) = on_grid(path, grid)?;
        if channels != 1 {
            let problem = format!("holds {channels} volumes where one file a class holds one");
            return Err(Error::new(problem).at(path.display()));
        }
        values.extend_from_slice(&class);
    }
    Ok((values, paths.len()))
}

/// A label map on the reference's grid, turned to its axes.
///
/// # Errors
/// The file is malformed, or its geometry differs.
pub fn read_labels(path: &Path, reference: &Grid) -> Result<Vec<Label>> {
    let volume = read_reference(path)?;
    if npy::is_array(path) {
        if volume.grid.extent != reference.extent {
            return Err(shape_error(&volume.grid.extent, reference)).at(path.display());
        }
        return Ok(volume.data.into_raw_vec_and_offset().0);
    }
    let volume = if volume.grid.axes() == reference.axes() { volume } else { volume.reoriented(reference.axes()) };
    reference.expect_same("the reference", &volume.grid, "the prediction").at(path.display())?;
    Ok(volume.data.into_raw_vec_and_offset().0)
}

/// A reference label map from any file; arrays and PNG lie on a grid without a voxel size.
///
/// # Errors
/// The file is malformed, or holds a value that is no label from 0 to 65535.
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
        let problem = format!("holds {channels} volumes where a label map has one");
        return Err(Error::new(problem).at(path.display()).help("class scores go to --probabilities or --logits"));
    }
    let label = |&value: &i32| {
        Label::try_from(value).map_err(|_| {
            Error::new(format!("holds the label {value}; labels go from 0 (background) to {}", Label::MAX))
                .at(path.display())
        })
    };
    Ok(Volume::new(values.iter().map(label).collect::<Result<_>>()?, 1, grid))
}

/// The spatial extents of an array shape after its first `leading` axes: `[(d,) h, w]`.
fn spatial(shape: &[usize], leading: usize) -> Result<[usize; 3]> {
    match shape.get(leading..) {
        Some(&[h, w]) => Ok([1, h, w]),
        Some(&[d, h, w]) => Ok([d, h, w]),
        _ => Err(Error::new(format!("an array of shape {shape:?} is no volume")).help("two or three spatial axes")),
    }
}

fn shape_error(shape: &[usize], grid: &Grid) -> Error {
    let problem = format!("the array has the shape {shape:?}, the reference {:?} along z, y, x", grid.extent);
    Error::new(problem).help("cropped probabilities must be put back into the image's grid first")
}

fn from_array(path: &Path, reference: &Volume<Label>) -> Result<(Vec<f32>, usize)> {
    let shape = npy::read_header(path, "probabilities")?.shape;
    let own = spatial(&shape, 1)?;
    let extent = reference.grid.extent;
    let reversed = [own[2], own[1], own[0]];
    let is_volume = shape.len() == 4;
    if own != extent && !(is_volume && reversed == extent) {
        return Err(shape_error(&shape, &reference.grid));
    }
    let array = if own == extent {
        npy::read::<f32>(path, "probabilities")?
    } else {
        npy::read_permuted::<f32>(path, "probabilities", &[0, 3, 2, 1])?
    };
    prove_order(Probabilities::new(&array.data, shape[0].max(1)), is_volume && reversed == own, reference)?;
    Ok((array.data, shape[0]))
}

/// Foreground voxels that the axis orders are compared on; of more, as many at equal distances.
const WITNESSES: usize = 1 << 16;

/// Refuses an array whose labels agree far better with the reference when it is flipped, or transposed where its
/// shape allows that.
fn prove_order(scores: Probabilities<'_>, transposable: bool, reference: &Volume<Label>) -> Result<()> {
    let [d, h, w] = reference.grid.extent;
    let labels = reference.values();
    let foreground = labels.iter().filter(|&&label| label != 0).count();
    if foreground == 0 {
        return Ok(());
    }
    let every = foreground.div_ceil(WITNESSES);
    let inside = (0..labels.len()).filter(|&voxel| labels[voxel] != 0);
    let witnesses: Vec<usize> = inside.step_by(every).collect();
    let agreement = |to: &dyn Fn([usize; 3]) -> [usize; 3]| {
        let right = |&&voxel: &&usize| {
            let [z, y, x] = to([voxel / (h * w), voxel / w % h, voxel % w]);
            most_probable(scores, (z * h + y) * w + x) == labels[voxel]
        };
        witnesses.iter().filter(right).count() as f64 / witnesses.len() as f64
    };
    let base = agreement(&|at| at);
    let mut others = Vec::new();
    for axes in 1..8_u8 {
        let flipped = |axis: usize| axes >> axis & 1 == 1;
        let letters: String = (0..3).filter(|&axis| flipped(axis)).map(|axis| ['z', 'y', 'x'][axis]).collect();
        let turned = |at: [usize; 3]| {
            std::array::from_fn(|axis| if flipped(axis) { [d, h, w][axis] - 1 - at[axis] } else { at[axis] })
        };
        others.push((format!("flipped along {letters}"), agreement(&turned)));
    }
    if transposable {
        others.push(("with x and z exchanged".to_owned(), agreement(&|[z, y, x]| [x, y, z])));
    }
    match others.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)) {
        Some((how, best)) if best > base + MARGIN => Err(Error::new(format!(
            "the array agrees with {:.0} % of the reference's foreground as it is, but with {:.0} % {how}",
            100.0 * base,
            100.0 * best
        ))
        .help("its axes are in another order than [class, z, y, x] of the reference: turn it")),
        _ => Ok(()),
    }
}

/// The class of the largest score of one voxel; of equals the first.
fn most_probable(scores: Probabilities<'_>, voxel: usize) -> Label {
    let mut best = (f32::NEG_INFINITY, 0);
    for class in 0..scores.classes() {
        let score = scores.values()[class * scores.voxels() + voxel];
        if score > best.0 {
            best = (score, class as Label);
        }
    }
    best.1
}

/// Refuses reference labels that the prediction has no class for.
///
/// # Errors
/// A label is not below `classes`.
pub fn expect_labels(labels: &[Label], classes: usize) -> Result<()> {
    match labels.iter().find(|&&label| usize::from(label) >= classes) {
        None => Ok(()),
        Some(label) => Err(Error::new(format!("holds the label {label}, but the prediction has {classes} classes"))
            .help("labels count from 0 (background) to the number of classes less one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{ArrayView4, Axis};

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

    fn written(shape: &[usize], data: &[f32]) -> Result<(Vec<f32>, usize)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        npy::write(&path, shape, data).unwrap();
        read(&Files::One(path), &reference(), Scores::Probabilities)
    }

    #[test]
    fn both_axis_orders_arrive_at_the_references() {
        let straight = scores(reference().values());
        assert_eq!(written(&[2, 2, 3, 4], &straight).unwrap(), (straight.clone(), 2));
        let view = ArrayView4::from_shape((2, 2, 3, 4), &straight).unwrap();
        let turned: Vec<f32> = view.permuted_axes([0, 3, 2, 1]).iter().copied().collect();
        assert_eq!(written(&[2, 4, 3, 2], &turned).unwrap(), (straight, 2));
    }

    #[test]
    fn a_flipped_array_is_refused() {
        let straight = scores(reference().values());
        let mut view = ArrayView4::from_shape((2, 2, 3, 4), &straight).unwrap();
        view.invert_axis(Axis(3));
        let flipped: Vec<f32> = view.iter().copied().collect();
        let message = written(&[2, 2, 3, 4], &flipped).unwrap_err().to_string();
        assert!(message.contains("flipped along x"), "{message}");
    }

    #[test]
    fn another_shape_and_logits_are_refused() {
        assert!(written(&[2, 2, 3, 5], &[0.5; 60]).unwrap_err().to_string().contains("[2, 2, 3, 5]"));
        let logits: Vec<f32> = scores(reference().values()).iter().map(|p| p * 20.0 - 5.0).collect();
        assert!(written(&[2, 2, 3, 4], &logits).is_err());
    }
}
