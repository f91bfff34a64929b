//! What a map does to one case.

use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_metrics::calibration::{Calibration, DEFAULT_BINS};
use segcal_metrics::posthoc::{changed_labels, logits_of};
use segcal_metrics::volume::Probabilities;

use super::map::{Map, MapFile};
use crate::inputs::Files;
use crate::scores::{self, Frame, Scores};
use segcal_data::output::OutputFolder;
use segcal_data::{Volume, nifti, npy};

/// What mends the scores of a case.
pub trait Mend: Sync {
    /// Number of classes.
    fn classes(&self) -> usize;

    /// Turns logits `[k, d, h, w]` into calibrated probabilities, in place.
    ///
    /// # Errors
    /// What else it needs of the case cannot be read.
    fn mend(&self, case: &str, logits: &mut [f32], frame: &Frame) -> Result<()>;
}

impl Mend for MapFile<Map> {
    fn classes(&self) -> usize {
        self.classes
    }

    fn mend(&self, _: &str, logits: &mut [f32], _: &Frame) -> Result<()> {
        self.map.apply(logits, self.classes);
        Ok(())
    }
}

/// What is known of a case after the map.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Name of the case.
    pub case: String,
    /// The file that was written.
    pub file: PathBuf,
    /// Number of voxels.
    pub voxels: usize,
    /// Number of voxels whose most probable class is another one now.
    pub changed: usize,
    /// Calibration before and after, where there is a reference.
    pub states: Option<[Calibration; 2]>,
}

/// Reads a case on its own grid, applies the map, and writes the calibrated probabilities on that grid: NIfTI as one
/// volume with the class last (`.nii.gz`), `.npy` and `.npz` as they came. With a reference, both files are then
/// measured against it.
///
/// # Errors
/// The case cannot be read, has another number of classes, or cannot be written; or the reference does not fit.
pub fn apply(
    map: &dyn Mend,
    case: &str,
    files: &Files,
    kind: Scores,
    reference: Option<&PathBuf>,
    folder: &OutputFolder,
) -> Result<Applied> {
    let (mut values, classes, frame) = scores::read_own(files, kind)?;
    if classes != map.classes() {
        let problem = format!("has {classes} classes, the map {}", map.classes());
        return Err(Error::new(problem).at(files.first().display()));
    }
    let before = Probabilities::new(&values, classes).argmax();
    if kind == Scores::Probabilities {
        logits_of(&mut values);
    }
    map.mend(case, &mut values, &frame)?;
    let after = Probabilities::new(&values, classes).argmax();
    let (voxels, changed) = (before.len(), changed_labels(&before, &after));
    let file = write(values, classes, frame, case, folder)?;
    let states = reference.map(|reference| states(files, kind, &file, reference)).transpose()?;
    Ok(Applied { case: case.to_owned(), file, voxels, changed, states })
}

fn write(values: Vec<f32>, classes: usize, frame: Frame, case: &str, folder: &OutputFolder) -> Result<PathBuf> {
    let named = |ending: &str| folder.file(format!("{case}.{ending}"));
    match frame {
        Frame::Grid(grid) => {
            let path = named("nii.gz")?;
            nifti::write(&path, &Volume::new(values, classes, grid))?;
            Ok(path)
        }
        Frame::Array { shape, archive: false } => {
            let path = named("npy")?;
            npy::write(&path, &shape, &values)?;
            Ok(path)
        }
        Frame::Array { shape, archive: true } => {
            let path = named("npz")?;
            npy::write_archive(&path, &[("probabilities", &shape, &values)])?;
            Ok(path)
        }
    }
}

/// Calibration of what was given and of what was written.
fn states(files: &Files, kind: Scores, written: &Path, reference: &Path) -> Result<[Calibration; 2]> {
    let volume = scores::read_reference(reference)?;
    let measure = |files: &Files, kind: Scores| -> Result<Calibration> {
        let (values, classes) = scores::read(files, &volume, kind)?;
        scores::expect_labels(volume.values(), classes).at(reference.display())?;
        let mut state = Calibration::new(classes, DEFAULT_BINS);
        state.add(Probabilities::new(&values, classes), volume.values(), None)?;
        Ok(state)
    };
    Ok([measure(files, kind)?, measure(&Files::One(written.to_path_buf()), Scores::Probabilities)?])
}
