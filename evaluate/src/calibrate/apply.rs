//! Applies a map to one case.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_metrics::calibration::{Calibration, DEFAULT_BINS};
use segcal_metrics::measure::Nested;
use segcal_metrics::posthoc::{changed_labels, log_odds_of, logits_of};
use segcal_metrics::volume::{Label, Probabilities};

use super::map::{Map, MapFile};
use super::regions;
use crate::axes::Order;
use crate::inputs::Files;
use crate::reading::{Background, Reading};
use crate::scores::{self, Frame, Notes, Scores};
use segcal_data::made::{Note, Recipe};
use segcal_data::output::OutputFolder;
use segcal_data::{Volume, nifti, npy};

/// Calibration before and after a map, for each region by name, or under an empty name for classes.
pub type BeforeAfter = Vec<(String, [Calibration; 2])>;

/// Recalibrates the scores of a case.
pub trait Mend: Sync {
    /// Number of classes, or of regions.
    fn classes(&self) -> usize;

    /// The regions that the scores are of, if they are separate binary problems.
    fn nested(&self) -> Option<&Nested> {
        None
    }

    /// The files of a case that the map needs in addition to the scores.
    fn inputs(&self, _case: &str) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Turns logits `[k, d, h, w]` into calibrated probabilities, in place.
    ///
    /// # Errors
    /// Another input of the case cannot be read.
    fn recalibrate(&self, case: &str, logits: &mut [f32], frame: &Frame) -> Result<()>;
}

impl Mend for MapFile<Map> {
    fn classes(&self) -> usize {
        self.classes
    }

    fn nested(&self) -> Option<&Nested> {
        self.map.nested()
    }

    fn recalibrate(&self, _: &str, logits: &mut [f32], _: &Frame) -> Result<()> {
        self.map.apply(logits, self.classes);
        Ok(())
    }
}

/// How the files of the cases are read.
#[derive(Clone, Copy, Debug)]
pub struct How<'a> {
    /// The kind of the scores.
    pub kind: Scores,
    /// How they are read on their own grids.
    pub own: &'a Reading,
    /// How they are read on the grids of their references.
    pub reading: &'a Reading,
    /// The reference label of voxels that are excluded from all metrics.
    pub ignored: Option<Label>,
}

/// The result of applying a map to a case.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Name of the case.
    pub case: String,
    /// The file that was written.
    pub file: PathBuf,
    /// Number of voxels.
    pub voxels: usize,
    /// Number of voxels whose most probable class has changed.
    pub changed: usize,
    /// Calibration before and after, if there is a reference; for regions, one for each, by name.
    pub states: Option<BeforeAfter>,
    /// Whether the file already existed and was kept.
    pub kept: bool,
}

/// A map, how its inputs are read, and where the results are written.
pub struct Application<'a> {
    /// The map.
    pub map: &'a dyn Mend,
    /// How the files are read.
    pub how: How<'a>,
    /// The folder of the results.
    pub folder: &'a OutputFolder,
    /// The map and the options, from which every file is made.
    pub recipe: Recipe,
    /// Whether existing files are kept if they were made from the same inputs.
    pub resume: bool,
}

/// The names of the counts of a case.
const COUNTS: [&str; 2] = ["voxels", "changed_labels"];

impl Application<'_> {
    /// Reads a case on its own grid, applies the map, and writes the calibrated probabilities on that grid: NIfTI as
    /// one volume with the class last (`.nii.gz`), `.npy` and `.npz` in the same format. With a reference, both files
    /// are then measured against it.
    ///
    /// # Errors
    /// The case cannot be read, has another number of classes, or cannot be written; or the reference does not fit.
    pub fn case(&self, case: &str, files: &Files, reference: Option<&PathBuf>) -> Result<Applied> {
        let inputs = [files.all(), &self.map.inputs(case)].concat();
        let standing = if self.resume { self.recipe.standing(case, &inputs, self.folder) } else { None };
        let applied = match standing.and_then(|note| self.kept(case, &note)) {
            Some(kept) => kept,
            None => self.made(case, files, &inputs)?,
        };
        let measured = |path: &PathBuf| states(files, &self.how, &applied.file, path, self.map.nested());
        let states = reference.map(measured).transpose()?;
        Ok(Applied { states, ..applied })
    }

    /// The result of a kept case, from its note.
    fn kept(&self, case: &str, note: &Note) -> Option<Applied> {
        let file = self.folder.path().join(note.files().next()?);
        let [voxels, changed] = COUNTS.map(|name| usize::try_from(*note.counts.get(name)?).ok());
        Some(Applied { case: case.to_owned(), file, voxels: voxels?, changed: changed?, states: None, kept: true })
    }

    fn made(&self, case: &str, files: &Files, inputs: &[PathBuf]) -> Result<Applied> {
        Recipe::forget(case, self.folder)?;
        let (map, how) = (self.map, &self.how);
        let (mut values, classes, frame) = match map.nested() {
            None => scores::read_own(files, how.kind, how.own)?,
            Some(nested) => {
                let (values, frame) = scores::read_own_regions(files, how.kind, how.own, nested)?;
                (values, nested.regions.len(), frame)
            }
        };
        if classes != map.classes() {
            let problem = format!("has {classes} classes, but the map has {}", map.classes());
            return Err(Error::new(problem).at(files.first().display()));
        }
        let before = labels(&values, how.kind, map);
        match map.nested() {
            _ if how.kind == Scores::Logits => {}
            None => logits_of(&mut values),
            Some(_) => log_odds_of(&mut values),
        }
        map.recalibrate(case, &mut values, &frame)?;
        if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
            let error = Error::new(format!("the map gives {bad} for these scores")).at(files.first().display());
            return Err(error.help("fit the map again, on scores like these"));
        }
        let after = labels(&values, Scores::Probabilities, map);
        let (voxels, changed) = (before.len(), changed_labels(&before, &after));
        let name = write(values, classes, frame, case, self.folder)?;
        let file = self.folder.path().join(&name);
        let counts = COUNTS.into_iter().map(str::to_owned).zip([voxels, changed].map(|count| count as u64));
        self.recipe.note((case, inputs), &[name], counts.collect(), self.folder)?;
        Ok(Applied { case: case.to_owned(), file, voxels, changed, states: None, kept: false })
    }
}

/// The label map of scores.
fn labels(values: &[f32], kind: Scores, map: &dyn Mend) -> Vec<Label> {
    match map.nested() {
        None => Probabilities::new(values, map.classes()).argmax(),
        // A logit of 0 is a probability of 1/2.
        Some(nested) if kind == Scores::Logits => {
            nested.label_map(&values.iter().map(|&z| f32::from(u8::from(z > 0.0))).collect::<Vec<_>>())
        }
        Some(nested) => nested.label_map(values),
    }
}

/// Writes the probabilities of a case, and returns the name of the file in the folder.
fn write(values: Vec<f32>, classes: usize, frame: Frame, case: &str, folder: &OutputFolder) -> Result<PathBuf> {
    let ending = match &frame {
        Frame::Grid(_) => "nii.gz",
        Frame::Array { archive: false, .. } => "npy",
        Frame::Array { archive: true, .. } => "npz",
    };
    let name = PathBuf::from(format!("{case}.{ending}"));
    let path = folder.file(&name)?;
    match frame {
        Frame::Grid(grid) => nifti::write(&path, &Volume::new(values, classes, grid))?,
        Frame::Array { shape, archive: false } => npy::write(&path, &shape, &values)?,
        Frame::Array { shape, archive: true } => {
            npy::write_archive(&path, &[("probabilities", &shape, &values)])?;
        }
    }
    Ok(name)
}

/// Calibration of the original scores and of the calibrated ones.
fn states(
    files: &Files,
    how: &How<'_>,
    written: &Path,
    reference: &Path,
    nested: Option<&Nested>,
) -> Result<BeforeAfter> {
    let volume = scores::read_reference(reference)?;
    let judged: Vec<bool> = volume.values().iter().map(|&label| Some(label) != how.ignored).collect();
    let measure = |files: &Files, kind: Scores, reading: &Reading| -> Result<Vec<Calibration>> {
        if let Some(nested) = nested {
            let notes = &mut Notes::of(files.first());
            let values = scores::read_regions(files, &volume, kind, reading, nested, notes)?;
            let (values, labels) = kept(&values, nested.regions.len(), volume.values(), &judged);
            return regions::states(&values, &labels, nested, DEFAULT_BINS);
        }
        let (values, classes) = scores::read(files, &volume, kind, reading)?;
        scores::expect_labels(volume.values(), classes, how.ignored).at(reference.display())?;
        let mut state = Calibration::new(classes, DEFAULT_BINS);
        let (values, labels) = kept(&values, classes, volume.values(), &judged);
        state.add(Probabilities::new(&values, classes), &labels, None)?;
        Ok(vec![state])
    };
    // The file that was written has every class; an array whose axes were permuted has the documented order.
    let axes = if how.own.axes.is_some() { Some(Order::documented()) } else { how.reading.axes.clone() };
    let after = Reading { axes, background: Background::Stored, ..how.reading.clone() };
    let written = Files::One(written.to_path_buf());
    let before = measure(files, how.kind, how.reading)?;
    let both = before.into_iter().zip(measure(&written, Scores::Probabilities, &after)?);
    let name = |number: usize| nested.map_or_else(String::new, |nested| nested.regions[number].name.clone());
    Ok(both.enumerate().map(|(number, (before, after))| (name(number), [before, after])).collect())
}

/// The scores and labels of the voxels that are not ignored.
fn kept<'a>(
    values: &'a [f32],
    classes: usize,
    labels: &'a [Label],
    judged: &[bool],
) -> (Cow<'a, [f32]>, Cow<'a, [Label]>) {
    if judged.iter().all(|&judged| judged) {
        return (Cow::Borrowed(values), Cow::Borrowed(labels));
    }
    let voxels: Vec<usize> = (0..labels.len()).filter(|&voxel| judged[voxel]).collect();
    let of = |class: usize| voxels.iter().map(move |&voxel| values[class * labels.len() + voxel]);
    let values: Vec<f32> = (0..classes).flat_map(|class| of(class).collect::<Vec<_>>()).collect();
    (Cow::Owned(values), voxels.iter().map(|&voxel| labels[voxel]).collect())
}
