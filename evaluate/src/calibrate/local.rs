//! Local temperature scaling of stored volumes: fits the network slice by slice, and applies it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use segcal_core::{Backend, Context, Error, Reference, Result, Rng, Shape, Tensor, memory, ops, stable};
use segcal_data::checkpoint;
use segcal_data::hash::Hash;
use segcal_metrics::calibration::Region;
use segcal_metrics::posthoc::logits_of;
use segcal_metrics::volume::{Probabilities, softmax};
use segcal_models::{Adam, LocalTemperature, Optimiser, Parameters, Rule};
use serde::{Deserialize, Serialize};

use super::apply::Mend;
use super::map::MapFile;
use super::recipe::{Recipe, Training};
use super::samples::Source;
use crate::inputs::{Files, Pair};
use crate::reading::Reading;
use crate::scores::{self, Frame, Scores};
use segcal_data::Grid;

/// Number of slices per step, as in the paper.
const BATCH: usize = 4;
/// One case in this many is held out from the updates; the negative log-likelihood of these cases selects the epoch.
const HELD_OUT: usize = 5;
/// Key of the description in the file's metadata.
const KEY: &str = "map";
/// Key of the metadata under which the hash of the weights is stored.
const HASH: &str = "sha256";

/// The description of a fitted network. Its weights are the tensors of the same file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Local {
    /// Number of image channels.
    pub image_channels: usize,
    /// Lower bound of the temperatures; 0 in files of earlier versions and of the public recipe.
    #[serde(default)]
    pub least_temperature: f64,
    /// The selected epoch; 0 means the initial weights.
    pub epoch: usize,
    /// Mean negative log-likelihood, without the map, of the cases that selected the epoch.
    pub before: f64,
    /// The same with the temperatures of the map.
    pub after: f64,
}

/// The slices of one case.
struct Slices {
    logits: Vec<f32>,
    image: Vec<f32>,
    extent: [usize; 3],
    /// The reference label of each voxel in the fit; `None` for the others.
    targets: Vec<Option<usize>>,
    classes: usize,
    channels: usize,
}

/// The image of a case, by its name or with nnU-Net's suffix of the first channel.
///
/// # Errors
/// There is no such image.
pub fn image_of<'a>(images: &'a BTreeMap<String, Files>, case: &str) -> Result<&'a Path> {
    let found = images.get(case).or_else(|| images.get(&format!("{case}_0000")));
    match found {
        Some(Files::One(path)) => Ok(path),
        _ => Err(Error::new("has no image").at(case).help("--images needs one file per case, with the same name")),
    }
}

/// Reads an image, normalised to mean 0 and standard deviation 1 in each channel.
fn normalised(path: &Path, grid: &Grid) -> Result<(Vec<f32>, usize)> {
    let (mut image, channels) = scores::read_image(path, grid)?;
    for channel in image.chunks_mut(grid.extent.iter().product::<usize>().max(1)) {
        let count = channel.len() as f64;
        let mean = channel.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let deviation = (channel.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count).sqrt();
        let scale = if deviation > 0.0 { deviation.recip() } else { 0.0 };
        channel.iter_mut().for_each(|x| *x = ((f64::from(*x) - mean) * scale) as f32);
    }
    Ok((image, channels))
}

fn expect_extent([_, h, w]: [usize; 3]) -> Result<()> {
    let smallest = LocalTemperature::SMALLEST;
    if h.min(w) >= smallest {
        return Ok(());
    }
    Err(Error::new(format!(
        "slices of {w} x {h} voxels are too small: local temperatures need {smallest} x {smallest}"
    )))
}

/// Slices of a host array `[c, d, h, w]` as a tensor `[number, c, 1, h, w]`.
fn gathered<B: Backend>(backend: &B, values: &[f32], extent: [usize; 3], slices: &[usize]) -> Tensor<B> {
    let plane = extent[1] * extent[2];
    let channels = values.len() / (extent[0] * plane);
    let numbers: Vec<f64> = slices
        .iter()
        .flat_map(|&slice| (0..channels).map(move |c| (c * extent[0] + slice) * plane))
        .flat_map(|start| values[start..start + plane].iter().map(|&x| f64::from(x)))
        .collect();
    Tensor::from_f64(backend, Shape::new(slices.len(), channels, 1, extent[1], extent[2]), &numbers)
}

impl Slices {
    /// Reads a case on the grid of the scores, on which the map is applied later.
    fn read(pair: &Pair, image: &Path, source: Source<'_>, region: Region) -> Result<Self> {
        let (mut logits, classes, frame) = scores::read_own(&pair.prediction, source.kind, source.reading)?;
        let grid = frame.grid();
        expect_extent(grid.extent).at(pair.prediction.first().display())?;
        let labels = scores::read_labels(&pair.reference, &grid, &Reading::default())?;
        scores::expect_labels(&labels, classes, source.ignored).at(pair.reference.display())?;
        let predicted = Probabilities::new(&logits, classes).argmax();
        let inside =
            |label, predicted| Some(label) != source.ignored && region.contains(label, predicted, false, false);
        let target = |(&label, &predicted)| inside(label, predicted).then_some(usize::from(label));
        let targets = labels.iter().zip(&predicted).map(target).collect();
        if source.kind == Scores::Probabilities {
            logits_of(&mut logits);
        }
        let (image, channels) = normalised(image, &grid)?;
        Ok(Self { logits, image, extent: grid.extent, targets, classes, channels })
    }

    /// Batches of the slices that have voxels in the fit, in this order.
    fn batches(&self, order: &[usize]) -> Vec<Vec<usize>> {
        let counting: Vec<usize> = order.iter().copied().filter(|&slice| self.count(&[slice]) > 0).collect();
        counting.chunks(BATCH).map(<[usize]>::to_vec).collect()
    }

    fn count(&self, slices: &[usize]) -> usize {
        let plane = self.extent[1] * self.extent[2];
        let of = |slice: usize| self.targets[slice * plane..(slice + 1) * plane].iter().flatten().count();
        slices.iter().map(|&slice| of(slice)).sum()
    }

    /// Sum of `-ln p` of the reference label over the voxels of a batch, after the network or without it.
    fn loss<B: Backend>(
        &self,
        backend: &B,
        slices: &[usize],
        network: Option<(&LocalTemperature, &Parameters<B>)>,
    ) -> Tensor<B> {
        let logits = gathered(backend, &self.logits, self.extent, slices);
        let scaled = network.map_or_else(
            || logits.clone(),
            |(network, parameters)| {
                network.forward(parameters, &logits, &gathered(backend, &self.image, self.extent, slices))
            },
        );
        let plane = self.extent[1] * self.extent[2];
        let mut target = vec![0.0; slices.len() * self.classes * plane];
        for (number, &slice) in slices.iter().enumerate() {
            for (pixel, label) in self.targets[slice * plane..(slice + 1) * plane].iter().enumerate() {
                if let Some(label) = label {
                    target[(number * self.classes + label) * plane + pixel] = 1.0;
                }
            }
        }
        let target = Tensor::from_f64(backend, logits.shape(), &target);
        ops::sum_all(&[&stable::log_softmax(&scaled), &target], |p| -p.input(0) * p.input(1))
    }
}

/// The cases of a fit.
pub struct Fit<'a, B: Backend> {
    /// The backend to compute on.
    pub backend: &'a B,
    /// Cases with scores and references.
    pub pairs: &'a [Pair],
    /// The images of the cases.
    pub images: Vec<PathBuf>,
    /// How the scores are read.
    pub source: Source<'a>,
    /// The region to fit on.
    pub region: Region,
    /// Settings of the fit.
    pub training: Training,
}

impl<B: Backend> Fit<'_, B> {
    fn case(&self, number: usize) -> Result<Slices> {
        let pair = &self.pairs[number];
        Slices::read(pair, &self.images[number], self.source, self.region).at(&pair.case)
    }

    /// Mean negative log-likelihood of some cases.
    fn nll(&self, cases: &[usize], network: Option<(&LocalTemperature, &Parameters<B>)>) -> Result<f64> {
        let (mut sum, mut count) = (0.0, 0);
        for &case in cases {
            let slices = self.case(case)?;
            for batch in slices.batches(&(0..slices.extent[0]).collect::<Vec<_>>()) {
                sum += slices.loss(self.backend, &batch, network).item()?;
                count += slices.count(&batch);
            }
        }
        if count == 0 {
            return Err(Error::new("there are no voxels to fit on").help("choose another region or other cases"));
        }
        Ok(sum / count as f64)
    }

    /// Fits with Adam on batches of four slices. Every fifth case is held out, and the weights with the smallest mean
    /// negative log-likelihood on the held-out cases are kept, among those of all epochs and the initial ones. With
    /// fewer than five cases, none is held out and all cases select the epoch.
    ///
    /// `said(epoch, nll)` is called after each epoch.
    ///
    /// # Errors
    /// A case cannot be read, the cases differ in classes or channels, or there are no voxels to fit on.
    pub fn run(&self, mut said: impl FnMut(usize, f64)) -> Result<(MapFile<Local>, Parameters<B>)> {
        let first = self.case(0)?;
        let (classes, channels) = (first.classes, first.channels);
        drop(first);
        let recipe = self.training.recipe;
        let network = LocalTemperature::new(classes, channels).bounded(recipe.least());
        let specs = if recipe == Recipe::Public { network.zero_specs() } else { network.specs() };
        let mut parameters = Parameters::initialised(&specs, self.training.seed, self.backend);
        let mut optimiser = Optimiser::new(Rule::Adam(Adam::default()), &parameters)?;
        let all: Vec<usize> = (0..self.pairs.len()).collect();
        let (held, stepped): (Vec<usize>, Vec<usize>) = all.iter().partition(|&&case| case % HELD_OUT == HELD_OUT - 1);
        let held = if held.is_empty() { all } else { held };
        let before = self.nll(&held, None)?;
        let mut best = (0, self.nll(&held, Some((&network, &parameters)))?, parameters.clone());
        for epoch in 1..=self.training.epochs {
            let rng = Rng::new(self.training.seed).stream(epoch as u64);
            for place in rng.permutation(stepped.len()) {
                let slices = self.case(stepped[place])?;
                if (slices.classes, slices.channels) != (classes, channels) {
                    let problem = "differs from the first case in the number of classes or image channels";
                    return Err(Error::new(problem).at(&self.pairs[stepped[place]].case));
                }
                for batch in slices.batches(&rng.stream(place as u64).permutation(slices.extent[0])) {
                    let leaves = parameters.tracked();
                    let share = (slices.count(&batch) as f64).recip();
                    let loss = slices.loss(self.backend, &batch, Some((&network, &leaves)));
                    let loss = ops::map(&[&loss], |p| p.input(0) * share);
                    let gradients = leaves.gradients(&loss.backward());
                    optimiser.step(&mut parameters, &gradients, self.training.rate);
                }
            }
            let nll = self.nll(&held, Some((&network, &parameters)))?;
            said(epoch, nll);
            if nll < best.1 {
                best = (epoch, nll, parameters.clone());
            }
        }
        let least_temperature = recipe.least();
        let local = Local { image_channels: channels, least_temperature, epoch: best.0, before, after: best.1 };
        let cases = self.pairs.iter().map(|pair| pair.case.clone()).collect();
        Ok((MapFile::new(local, classes, self.source.kind, self.region.to_string(), cases), best.2))
    }
}

/// The hash of the weights, in hexadecimal.
fn hash<B: Backend>(parameters: &Parameters<B>) -> Result<String> {
    let mut hash = Hash::default();
    checkpoint::add_to(&mut hash, parameters)?;
    Ok(hash.hex())
}

/// Writes description and weights as one safetensors file.
///
/// # Errors
/// It cannot be written.
pub fn save<B: Backend>(path: &Path, file: &MapFile<Local>, parameters: &Parameters<B>) -> Result<()> {
    let description = serde_json::to_string(file).map_err(Error::from_source)?;
    let metadata = BTreeMap::from([(KEY.to_owned(), description), (HASH.to_owned(), hash(parameters)?)]);
    checkpoint::save(path, &[("", parameters)], &metadata)
}

/// Reads the description from a file written by [`save`].
///
/// # Errors
/// The file is of another kind, or malformed.
pub fn describe(path: &Path) -> Result<MapFile<Local>> {
    let stored = checkpoint::load(path)?;
    let file: MapFile<Local> = serde_json::from_str(stored.value(KEY)?)
        .map_err(|error| Error::from_source(error).help("give a file written by segcal calibrate fit local"))
        .at(path.display())?;
    file.expect_schema().at(path.display())?;
    let least = file.map.least_temperature;
    if file.classes < 2 || file.map.image_channels == 0 || !(least.is_finite() && least >= 0.0) {
        let channels = file.map.image_channels;
        let problem =
            format!("invalid map: {} classes, {channels} image channels, temperatures from {least}", file.classes);
        return Err(Error::new(problem).at(path.display()).help("fit it again"));
    }
    Ok(file)
}

/// A network with the images of the cases.
pub struct LocalMap<B: Backend> {
    backend: B,
    network: LocalTemperature,
    parameters: Parameters<B>,
    classes: usize,
    channels: usize,
    images: BTreeMap<String, Files>,
}

impl<B: Backend> LocalMap<B> {
    /// Reads the weights.
    ///
    /// # Errors
    /// The file is malformed.
    pub fn load(path: &Path, file: &MapFile<Local>, images: BTreeMap<String, Files>, backend: B) -> Result<Self> {
        let stored = checkpoint::load(path)?;
        let count = file.classes.saturating_mul(file.map.image_channels);
        memory::expect((count as u64).saturating_mul(8), "the map").at(path.display())?;
        let least = file.map.least_temperature;
        let network = LocalTemperature::new(file.classes, file.map.image_channels).bounded(least);
        let specs = network.specs();
        // Files of earlier versions have no hash.
        if let Some(expected) = stored.metadata().get(HASH)
            && *expected != hash(&stored.restore("", &Parameters::blank(&specs, &Reference))?)?
        {
            let error = Error::new("the weights do not match their stored hash").at(path.display());
            return Err(error.help("the file was changed or damaged: fit it again"));
        }
        let parameters = stored.restore("", &Parameters::blank(&specs, &backend))?;
        let (classes, channels) = (file.classes, file.map.image_channels);
        Ok(Self { backend, network, parameters, classes, channels, images })
    }

    /// The arithmetic that the bits of its results depend on, in addition to its inputs.
    pub fn arithmetic(&self) -> String {
        self.backend.arithmetic()
    }
}

impl<B: Backend> Mend for LocalMap<B> {
    fn classes(&self) -> usize {
        self.classes
    }

    fn inputs(&self, case: &str) -> Vec<PathBuf> {
        // A missing image is reported when the case is calibrated.
        image_of(&self.images, case).map(Path::to_path_buf).into_iter().collect()
    }

    fn recalibrate(&self, case: &str, logits: &mut [f32], frame: &Frame) -> Result<()> {
        let (path, grid) = (image_of(&self.images, case)?, frame.grid());
        expect_extent(grid.extent)?;
        let (image, channels) = normalised(path, &grid)?;
        if channels != self.channels {
            let problem = format!("has {channels} channels, but the map was fitted on {}", self.channels);
            return Err(Error::new(problem).at(path.display()));
        }
        let ([d, h, w], plane) = (grid.extent, grid.extent[1] * grid.extent[2]);
        let all: Vec<usize> = (0..d).collect();
        for slices in all.chunks(BATCH) {
            let given = gathered(&self.backend, logits, [d, h, w], slices);
            let image = gathered(&self.backend, &image, [d, h, w], slices);
            let scaled = self.network.forward(&self.parameters, &given, &image).to_f64()?;
            for (place, plane_values) in scaled.chunks(plane).enumerate() {
                let (slice, k) = (slices[place / self.classes], place % self.classes);
                let start = (k * d + slice) * plane;
                logits[start..start + plane].iter_mut().zip(plane_values).for_each(|(l, &value)| *l = value as f32);
            }
        }
        softmax(logits, self.classes);
        Ok(())
    }
}
