//! Segmentations, probabilities and logits of images, written in the geometry of each image.

mod files;
mod split;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use segcal_core::{Backend, Error, Result};
use segcal_data::made::{self, Recipe};
use segcal_data::observer::{Event, Observer, Steps};
use segcal_data::output::{self, OutputFolder};
use segcal_data::part::Part;
use segcal_data::{Case, Grid, limits};
use segcal_metrics::measure::Nested;
use segcal_metrics::volume::{Label, Probabilities};

use serde_json::{Map, Value, json};

use super::infer::{Mean, Scores, Spill, Tiling};
pub use super::noise::Noise;
use super::prepared;
use super::regions;
use super::run::Trained;
use super::settings::Input;
use super::spacings::Spacings;
pub use files::{FileFormat, Output};
use files::{write_labels, write_scores};
pub use split::Split;

/// What to predict, and where to write it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Folders of the runs. For several runs, the mean of their probabilities and the mean of their logits are written;
    /// segmentations are derived from the mean probabilities.
    pub runs: &'a [PathBuf],
    /// The images.
    pub cases: &'a [Case],
    /// Folder of the results.
    pub out: &'a Path,
    /// Samples that go through the network together.
    pub batch: usize,
    /// Format of the files.
    pub format: FileFormat,
    /// The outputs to write.
    pub write: &'a [Output],
    /// Whether scores are averaged over all mirrorings along the axes that training mirrored.
    pub mirror: bool,
    /// Noise added to the prepared images.
    pub noise: Noise,
    /// Which of the cases to predict. Parts may share a folder.
    pub part: Part,
    /// Whether to keep cases whose files exist and were made from the same weights, images and options.
    pub resume: bool,
}

/// The outcome for the images.
#[derive(Debug, Default)]
pub struct Predicted {
    /// Names of the cases whose files exist.
    pub done: Vec<String>,
    /// How many of them existed before.
    pub kept: usize,
    /// The errors of the other cases.
    pub failed: Vec<Error>,
}

/// Predicts every image: `segmentations/CASE.nii.gz`, `probabilities/CASE.nii.gz`, `logits/CASE.nii.gz` (or in another
/// [`FileFormat`]), and `made-of/CASE.json`, by which `resume` recognises finished cases. A case that fails is
/// reported, and the others continue.
///
/// # Errors
/// A run cannot be read, the runs do not have the same classes, nothing is to be written, or the folder of the results
/// cannot be created.
pub fn predict<B: Backend>(backend: &B, request: &Request<'_>, observer: &dyn Observer) -> Result<Predicted> {
    request.noise.check()?;
    if request.write.is_empty() {
        return Err(Error::new("there is nothing to write").help("choose segmentations, probabilities or logits"));
    }
    let trained: Vec<Trained<B>> = request.runs.iter().map(|run| Trained::open(run, backend)).collect::<Result<_>>()?;
    expect_same_classes(&trained, request.runs)?;
    if let Some(run) = trained.iter().position(|trained| trained.settings.augment.flips.is_empty() && request.mirror) {
        let error = Error::new("the training mirrored no samples, so there are no mirrorings to average over");
        return Err(error.at(request.runs[run].display()).help("train with augment=nnunet or augment.flips"));
    }
    let folder = OutputFolder::for_part(request.out, request.part)?;
    for output in request.write {
        output::write_text(&folder.file(output.description())?, &output::to_json(&description(&trained[0]))?)?;
    }
    let cases = request.part.of(request.cases.iter().collect());
    let job = Job { trained: &trained, backend, folder: &folder, request, recipe: recipe(backend, request)? };
    let steps = Steps::begin(observer, "predict", cases.len());
    let mut predicted = Predicted::default();
    for case in cases {
        let written = job.case(case);
        steps.step(&case.name);
        match written.map_err(|error| error.at(&case.name)) {
            Ok(kept) => {
                predicted.kept += usize::from(kept);
                predicted.done.push(case.name.clone());
            }
            Err(error) => {
                observer.event(Event::CaseFailed(&error));
                predicted.failed.push(error);
            }
        }
    }
    Ok(predicted)
}

/// The names of the classes, in the format of the Medical Segmentation Decathlon; for regions, in that of nnU-Net.
fn description<B: Backend>(trained: &Trained<B>) -> Value {
    let Some(nested) = &trained.regions else {
        let labels: Map<_, _> =
            trained.class_names.iter().enumerate().map(|(class, name)| (class.to_string(), json!(name))).collect();
        return json!({ "labels": labels });
    };
    let mut labels = Map::from_iter([("background".to_owned(), json!(0))]);
    labels.extend(nested.regions.iter().map(|region| (region.name.clone(), json!(region.labels))));
    json!({ "labels": labels, "regions_class_order": nested.order })
}

/// The inputs of every case. The batch is left out: results do not depend on it.
fn recipe<B: Backend>(backend: &B, request: &Request<'_>) -> Result<Recipe> {
    let Noise { sigma, seed } = request.noise;
    let mut names: Vec<&str> = request.write.iter().map(|output| output.name()).collect();
    names.sort_unstable();
    let arithmetic = backend.arithmetic() + if request.mirror { ", mirrored" } else { "" };
    let options = made::options(&[&names.join(","), &request.format.name(), &sigma, &seed, &arithmetic]);
    Recipe::of(
        &options,
        request.runs.iter().flat_map(|run| ["best.safetensors", "config.toml"].map(|file| run.join(file))),
    )
}

fn expect_same_classes<B: Backend>(trained: &[Trained<B>], runs: &[PathBuf]) -> Result<()> {
    let Some(first) = trained.first() else { return Err(Error::new("no run is given")) };
    let same = |other: &Trained<B>| other.class_names == first.class_names && other.regions == first.regions;
    let Some((other, run)) = trained.iter().zip(runs).find(|(other, _)| !same(other)) else { return Ok(()) };
    let [here, there] = [other, first].map(|trained| match &trained.regions {
        Some(nested) => regions::described(nested),
        None => format!("the classes {}", trained.class_names.join(", ")),
    });
    let problem = format!("has {here}, but {} has {there}", runs[0].display());
    Err(Error::new(problem).at(run.display()).help("average runs that were trained on the same labels"))
}

/// Predicts the cases of a request.
struct Job<'a, B: Backend> {
    trained: &'a [Trained<B>],
    backend: &'a B,
    folder: &'a OutputFolder,
    request: &'a Request<'a>,
    recipe: Recipe,
}

impl<B: Backend> Job<'_, B> {
    /// Predicts a case, or keeps existing files; returns whether they were kept.
    fn case(&self, case: &Case) -> Result<bool> {
        let files: Vec<PathBuf> =
            self.request.write.iter().map(|output| output.file(&case.name, self.request.format)).collect();
        if self.request.resume && self.recipe.standing(&case.name, &case.images, self.folder).is_some() {
            return Ok(true);
        }
        Recipe::forget(&case.name, self.folder)?;
        self.predict(case)?;
        self.recipe.note((&case.name, &case.images), &files, BTreeMap::new(), self.folder)?;
        Ok(false)
    }

    fn wants(&self, output: Output) -> bool {
        self.request.write.contains(&output)
    }

    /// Predicts one case. Scores are written to disk as they arrive: only an image and the segmentation are held as a
    /// whole.
    fn predict(&self, case: &Case) -> Result<()> {
        let mut labels: Vec<Label> = Vec::new();
        let (mut spills, mut grid) = (Vec::new(), None);
        for trained in self.trained {
            let (spill, of_image) = self.run(trained, case, &mut labels)?;
            spills.extend(spill);
            grid = Some(of_image);
        }
        let grid = grid.expect("there is a run");
        let first = &self.trained[0];
        let classes = first.outputs();
        let mut start = 0;
        // The probabilities come first if both are written.
        for (output, wanted) in [(Output::Probabilities, self.needs_probabilities()), (Output::Logits, true)] {
            let channels = start..start + classes;
            start += if wanted { classes } else { 0 };
            if self.wants(output) {
                let mut scores = Mean::of(&mut spills, channels);
                write_scores(self.folder, (output, &case.name), &mut scores, &grid, self.request.format)?;
            }
        }
        if !self.wants(Output::Segmentations) {
            return Ok(());
        }
        if self.trained.len() > 1 {
            labels = labels_of_mean(&mut spills, classes, first.regions.as_ref(), labels.len())?;
        }
        let path = self.folder.file(Output::Segmentations.file(&case.name, self.request.format))?;
        let largest = first.regions.as_ref().and_then(|nested| nested.order.iter().max());
        write_labels(&path, &labels, largest.map_or(classes, |&label| usize::from(label) + 1), &grid)
    }

    /// Whether the probabilities are kept, rather than only inspected as they arrive.
    fn needs_probabilities(&self) -> bool {
        self.wants(Output::Probabilities) || self.trained.len() > 1 && self.wants(Output::Segmentations)
    }

    /// The scores of one run, if any are kept, with the grid of the image; for a single run, the labels as well.
    fn run(&self, trained: &Trained<B>, case: &Case, labels: &mut Vec<Label>) -> Result<(Option<Spill>, Grid)> {
        let case = case.with_channels(trained.network.config().in_channels);
        let mut ready = prepared::prepare_image(&case, &trained.settings.input)?;
        let grid = ready.frame.whole.clone();
        if let Some(spacings) = &trained.spacings {
            warn_of_spacing(&case.name, &grid, spacings, &trained.settings.input);
        }
        let values = ready.image.data.as_slice_mut().expect("volumes are in standard layout");
        self.request.noise.add_to(&case.name, values);
        let mirrored = if self.request.mirror { trained.settings.augment.flips.as_slice() } else { &[] };
        let axes: Vec<usize> = mirrored.iter().map(|axis| axis.index()).collect();
        let predictor = trained.predictor(self.backend).mirrored(&axes);
        let stride = trained.network.stride();
        let tiling = Tiling { samples: &trained.settings.samples, stride, batch: self.request.batch };
        let planes = tiling.planes(grid.extent);
        let classes = trained.outputs();
        *labels = limits::zeroed(grid.extent.iter().product())?;
        let kept = match (self.needs_probabilities(), self.wants(Output::Logits)) {
            (true, true) => Some(Scores::Both),
            (true, false) => Some(Scores::Probabilities),
            (false, true) if self.wants(Output::Segmentations) => Some(Scores::Both),
            (false, true) => Some(Scores::Logits),
            (false, false) => None,
        };
        let mut spill = kept.map(|_| Spill::create(self.folder.path(), planes)).transpose()?;
        predictor.each_plane_of_file(&ready, &tiling, kept.unwrap_or(Scores::Probabilities), |number, plane| {
            let (first, rest) = plane.split_at(classes * planes.voxels());
            let own = match &trained.regions {
                Some(nested) => nested.label_map(first),
                None => Probabilities::new(first, classes).argmax(),
            };
            own.into_iter().enumerate().for_each(|(place, class)| labels[planes.voxel(number, place)] = class);
            let kept = if self.needs_probabilities() || rest.is_empty() { plane } else { rest };
            spill.as_mut().map_or(Ok(()), |spill| spill.push(kept))
        })?;
        Ok((spill, grid))
    }
}

/// Warns of a voxel size different from all that the network has seen.
fn warn_of_spacing(name: &str, grid: &Grid, trained: &Spacings, input: &Input) {
    match trained.foreign(grid) {
        Some(foreign) if input.resamples() => log::warn!("{name}: {foreign}; it is resampled as those were"),
        Some(foreign) => log::warn!("{name}: {foreign}; the network sees voxels, not mm: resample the image first"),
        None => {}
    }
}

/// The class with the largest mean probability of each voxel, the first one of equals; for regions, the label of the
/// last one in the class order whose mean probability is above a half.
fn labels_of_mean(spills: &mut [Spill], classes: usize, regions: Option<&Nested>, voxels: usize) -> Result<Vec<Label>> {
    let (mut labels, mut best) = (limits::zeroed::<Label>(voxels)?, limits::zeroed::<f32>(voxels)?);
    let mut at = 0;
    Mean::of(spills, 0..classes).read(&mut |piece| {
        let (class, start) = (at / voxels, at % voxels);
        let place = best[start..].iter_mut().zip(&mut labels[start..]);
        for ((best, label), &probability) in place.zip(piece) {
            match regions {
                Some(nested) if probability > 0.5 => *label = nested.order[class],
                None if class == 0 || probability > *best => (*best, *label) = (probability, class as Label),
                _ => {}
            }
        }
        at += piece.len();
        Ok(())
    })?;
    Ok(labels)
}
