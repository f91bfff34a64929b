//! Fits a map on the cases of a folder, or applies one to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use segcal_core::{Backend, Context, Error, Result};
use segcal_data::limits;
use segcal_data::made::{self, Recipe};
use segcal_data::observer::{self, Event, Observer, Steps, is_interruption};
use segcal_data::output::{self, Lock, OutputFolder, is_write_failure};
use segcal_data::part::Part;
use segcal_metrics::calibration::{Calibration, Region};
use segcal_metrics::measure::Nested;
use segcal_metrics::volume::Label;

use super::apply::{Application, Applied, BeforeAfter, How, Mend};
use super::calibration;
use super::local::{self, Local, LocalMap};
use super::map::{Map, MapFile, Method};
use super::recipe::Training;
use super::regions::RegionMaps;
use super::samples::{RegionSamples, Source};
use crate::decide::{Content, decide};
use crate::described::Described;
use crate::inputs::{self, Files, Holds, Pair};
use crate::reading::Reading;
use crate::scores::Scores;
use crate::{one_a_thread, regional};

/// A request to fit a map.
#[derive(Clone, Copy, Debug)]
pub struct FitRequest<'a> {
    /// Stored scores, a file or a folder.
    pub scores: &'a Path,
    /// The kind of the scores.
    pub kind: Scores,
    /// How their files are read.
    pub reading: &'a Reading,
    /// The reference label of voxels that are excluded from the fit [default: the label named `ignore` in the
    /// `dataset.json` beside the labels].
    pub ignored: Option<Label>,
    /// Reference label maps, a file or a folder.
    pub labels: &'a Path,
    /// The `dataset.json` that names regions [default: that beside the labels].
    pub dataset: Option<&'a Path>,
    /// The cases, wherever their files are, instead of those of the two paths.
    pub pairs: Option<&'a [Pair]>,
    /// The voxels to fit on. Maps are applied to all voxels. If it is not fitted on all voxels, only a temperature
    /// leaves the background labels unchanged.
    pub region: Region,
    /// Where the map is written.
    pub out: &'a Path,
}

impl FitRequest<'_> {
    fn pairs(&self) -> Result<Vec<Pair>> {
        if let Some(pairs) = self.pairs {
            return Ok(pairs.to_vec());
        }
        let (pairs, missing) = inputs::pairs(self.scores, self.labels, Holds::Scores)?.every_prediction()?;
        for case in &missing {
            log::warn!("{case}: has a reference but no prediction; it is excluded from the fit");
        }
        Ok(pairs)
    }

    /// The regions that the scores are of; `None` if they are of classes.
    fn nested(&self, pairs: &[Pair]) -> Result<Option<Nested>> {
        let described = self.dataset.map_or_else(|| Ok(Described::beside(self.labels)), Described::read)?;
        regional::decide(described.nested, pairs, self.kind, self.reading)
    }

    fn ignored(&self) -> Option<Label> {
        self.ignored.or_else(|| Described::beside(self.labels).ignored)
    }

    /// Claims the output path, which must not be one of the input files.
    fn claim(&self, pairs: &[Pair], images: &[PathBuf]) -> Result<Lock> {
        let files = pairs.iter().flat_map(|pair| pair.prediction.all().iter().chain([&pair.reference]));
        output::claim(self.out, files.chain(images).map(PathBuf::as_path))
    }

    fn warn_of_region(&self, method: Method) {
        if self.region != Region::All && method != Method::Temperature {
            log::warn!(
                "{} fitted only on {} sees too little background, but is applied to all voxels: use --region all",
                method.name(),
                self.region
            );
        }
    }
}

/// A map with the calibration of the voxels that it was fitted on, before and after.
pub struct Fitted {
    /// The file that was written.
    pub file: MapFile,
    /// Calibration without and with the map; for regions, one for each, by name.
    pub states: BeforeAfter,
}

/// Fits a map, other than a local one, and writes its file.
///
/// # Errors
/// The input cannot be read or does not fit, or the file cannot be written.
pub fn fit(method: Method, request: &FitRequest<'_>) -> Result<Fitted> {
    let pairs = request.pairs()?;
    let _claim = request.claim(&pairs, &[])?;
    request.warn_of_region(method);
    let nested = request.nested(&pairs)?;
    let reading = decide(&pairs, nested.as_ref().map_or(Content::Classes, Content::Regions), request.reading)?;
    let source = Source { kind: request.kind, reading: &reading, ignored: request.ignored() };
    let (map, states) = match &nested {
        None => {
            let (map, states) = fit_on(method, &mut RegionSamples::new(&pairs, source, request.region)?)
                .at(request.scores.display())?;
            (map, vec![(String::new(), states)])
        }
        Some(nested) => fit_regions(method, &pairs, source, request, nested)?,
    };
    if let Some(doubt) = map.doubt() {
        log::warn!("{doubt}");
    }
    let classes = nested.map_or(states[0].1[0].classes(), |nested| nested.regions.len());
    let cases = pairs.iter().map(|pair| pair.case.clone()).collect();
    let file = MapFile::new(map, classes, request.kind, request.region.to_string(), cases);
    file.write(request.out)?;
    Ok(Fitted { file, states })
}

/// Fits a map, and computes the calibration before and after it.
fn fit_on(method: Method, samples: &mut RegionSamples<'_>) -> Result<(Map, [Calibration; 2])> {
    let map = Map::fit(method, samples)?;
    let before = calibration(samples, None)?;
    let after = calibration(samples, Some(&map))?;
    Ok((map, [before, after]))
}

/// Fits a map of each region against the rest.
fn fit_regions(
    method: Method,
    pairs: &[Pair],
    source: Source<'_>,
    request: &FitRequest<'_>,
    nested: &Nested,
) -> Result<(Map, BeforeAfter)> {
    method.expect_of_regions()?;
    let (mut maps, mut states) = (Vec::new(), Vec::new());
    for (channel, region) in nested.regions.iter().enumerate() {
        let mut samples = RegionSamples::of_channel(pairs, source, request.region, (nested, channel))?;
        let (map, own) = fit_on(method, &mut samples).at(&region.name).at(request.scores.display())?;
        maps.push(map);
        states.push((region.name.clone(), own));
    }
    Ok((Map::Regions(RegionMaps::new(nested.clone(), maps)), states))
}

/// Fits local temperatures, which also see `images` (a file or a folder), and writes their file. Pairs given in the
/// request bring their own images.
///
/// # Errors
/// As [`fit`]; a training key is out of range, or the observer asks to stop.
pub fn fit_local<B: Backend>(
    backend: &B,
    request: &FitRequest<'_>,
    images: Option<&Path>,
    training: Training,
    observer: &dyn Observer,
) -> Result<MapFile<Local>> {
    if !is_local(request.out) {
        let error = Error::new("local temperatures are stored as .safetensors").at(request.out.display());
        return Err(error.help("give --out a name with that extension"));
    }
    if !(training.rate > 0.0 && training.rate.is_finite()) {
        return Err(Error::new(format!("expected a number above 0, got {}", training.rate)).at("--learning-rate"));
    }
    let pairs = request.pairs()?;
    request.warn_of_region(Method::Local);
    let found = if request.pairs.is_some() { BTreeMap::new() } else { self::images(images)? };
    let image = |pair: &Pair| match &pair.image {
        Some(path) => Ok(path.clone()),
        None => Ok(local::image_of(&found, &pair.case)?.to_path_buf()),
    };
    let images = pairs.iter().map(image).collect::<Result<Vec<PathBuf>>>()?;
    let _claim = request.claim(&pairs, &images)?;
    if request.nested(&pairs)?.is_some() {
        Method::Local.expect_of_regions()?;
    }
    let reading = decide(&pairs, Content::Classes, request.reading)?;
    let source = Source { kind: request.kind, reading: &reading, ignored: request.ignored() };
    let fit = local::Fit { backend, pairs: &pairs, images, source, region: request.region, training };
    let (file, parameters) = fit.run(|epoch, nll| {
        observer.event(Event::Line(&format_args!("epoch {epoch}/{}: NLL {nll:.6}", training.epochs)));
    })?;
    local::save(request.out, &file, &parameters)?;
    Ok(file)
}

/// Whether the extension of a map's file is that of local temperatures.
pub fn is_local(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "safetensors")
}

fn images(path: Option<&Path>) -> Result<BTreeMap<String, Files>> {
    let path = path.ok_or_else(|| Error::new("local temperatures need images").help("give them with --images"))?;
    inputs::predictions(path, Holds::Other)
}

/// A request to apply a map.
#[derive(Clone, Copy, Debug)]
pub struct ApplyRequest<'a> {
    /// The map's file.
    pub map: &'a Path,
    /// Stored scores, a file or a folder.
    pub scores: &'a Path,
    /// The kind of the scores.
    pub kind: Scores,
    /// How their files are read.
    pub reading: &'a Reading,
    /// The reference label of voxels that are excluded from all metrics [default: the label named `ignore` in the
    /// `dataset.json` beside the labels].
    pub ignored: Option<Label>,
    /// Reference label maps, for the calibration before and after.
    pub labels: Option<&'a Path>,
    /// Images for local temperatures.
    pub images: Option<&'a Path>,
    /// Folder of the calibrated probabilities.
    pub out: &'a Path,
    /// The part of the cases that is calibrated. Parts may share a folder.
    pub part: Part,
    /// Whether existing files are kept if they were made from the same map, scores and options.
    pub resume: bool,
}

/// The results of applying a map.
pub struct AppliedAll {
    /// The kind of the map.
    pub method: Method,
    /// The parameters of the map, in one line.
    pub summary: String,
    /// Cases with the same name as a case that the map was fitted on.
    pub fitted_on: Vec<String>,
    /// The cases that were calibrated.
    pub cases: Vec<Applied>,
    /// The errors of the other cases.
    pub failed: Vec<Error>,
}

impl AppliedAll {
    /// Calibration of the pooled voxels of all cases, before and after, if there are references.
    pub fn pooled(&self) -> Option<BeforeAfter> {
        self.cases.iter().filter_map(|case| case.states.clone()).reduce(|mut total, more| {
            let own = total.iter_mut().flat_map(|(_, states)| states);
            own.zip(more.iter().flat_map(|(_, states)| states)).for_each(|(total, more)| total.merge(more));
            total
        })
    }
}

/// Applies a map to every case and writes calibrated probabilities.
///
/// # Errors
/// The map or the folder cannot be read, no case can be calibrated, the results cannot be written, or the observer asks
/// to stop. A case that fails is reported, and the others continue.
pub fn apply_all<B: Backend>(backend: B, request: &ApplyRequest<'_>, observer: &dyn Observer) -> Result<AppliedAll> {
    if is_local(request.map) {
        let file = local::describe(request.map)?;
        file.expect(request.kind, false).at(request.map.display())?;
        let map = LocalMap::load(request.map, &file, images(request.images)?, backend)?;
        let (summary, arithmetic) = (format!("local temperatures of epoch {}", file.map.epoch), map.arithmetic());
        let about = About { method: Method::Local, summary, fitted_on: &file.cases, arithmetic };
        return apply_to(&map, about, request, observer);
    }
    let file = MapFile::read(request.map)?;
    file.expect(request.kind, file.map.ignores_offsets()).at(request.map.display())?;
    let (method, summary) = (file.map.method(), file.map.summary());
    let about = About { method, summary, fitted_on: &file.cases, arithmetic: String::new() };
    apply_to(&file, about, request, observer)
}

/// Information about a map.
struct About<'a> {
    method: Method,
    summary: String,
    fitted_on: &'a [String],
    /// The arithmetic that the bits of its results depend on, if it is a network.
    arithmetic: String,
}

fn apply_to(
    map: &dyn Mend,
    about: About<'_>,
    request: &ApplyRequest<'_>,
    observer: &dyn Observer,
) -> Result<AppliedAll> {
    let every = items(request.scores, request.labels)?;
    let pairs: Vec<Pair> = every.iter().filter_map(paired).collect();
    let items = request.part.of(every);
    let names = items.iter().map(|(case, ..)| case);
    let fitted: BTreeSet<&String> = about.fitted_on.iter().collect();
    let fitted_on: Vec<String> = names.filter(|case| fitted.contains(case)).cloned().collect();
    for case in &fitted_on {
        log::warn!("{case}: the map was fitted on a case of this name; its results are optimistically biased");
    }
    let folder = other_folder(request)?;
    carry_names(request.scores, &folder)?;
    // Decided from all cases, so that every part decides the same.
    let reading = decide(&pairs, map.nested().map_or(Content::Classes, Content::Regions), request.reading)?;
    let ignored = request.ignored.or_else(|| request.labels.and_then(|labels| Described::beside(labels).ignored));
    // The order that the references decide is not needed to write a file in its own order.
    let how = How { kind: request.kind, own: request.reading, reading: &reading, ignored };
    let work = Application { map, how, folder: &folder, recipe: recipe(request, &about)?, resume: request.resume };
    let steps = Steps::begin(observer, "calibrate", items.len());
    let results = one_a_thread(&items, |(case, files, reference)| {
        observer::check(observer)?;
        let applied = work.case(case, files, reference.as_ref()).at(case);
        steps.step(case);
        applied
    });
    drop(steps);
    let (mut cases, mut failed) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(applied) => cases.push(applied),
            Err(error) if is_interruption(&error) || is_write_failure(&error) => return Err(error),
            Err(error) => {
                observer.event(Event::CaseFailed(&error));
                failed.push(error);
            }
        }
    }
    if cases.is_empty() && !failed.is_empty() && request.part.is_whole() {
        return Err(Error::new("no case could be calibrated").at(request.scores.display()));
    }
    Ok(AppliedAll { method: about.method, summary: about.summary, fitted_on, cases, failed })
}

/// The inputs that all cases share, in addition to their own files.
fn recipe(request: &ApplyRequest<'_>, about: &About<'_>) -> Result<Recipe> {
    let own = serde_json::to_string(request.reading).map_err(Error::from_source)?;
    let kind = if request.kind == Scores::Logits { "logits" } else { "probabilities" };
    Recipe::of(&made::options(&[&kind, &own, &about.arithmetic]), [request.map.to_path_buf()])
}

/// Copies the `dataset.json` in the folder of the scores, so that their classes keep their names.
fn carry_names(scores: &Path, folder: &OutputFolder) -> Result<()> {
    let description = scores.join("dataset.json");
    if !description.is_file() {
        return Ok(());
    }
    output::write_text(&folder.file("dataset.json")?, &limits::read_text(&description)?)
}

/// Creates the folder of the results, which must not be that of the scores.
fn other_folder(request: &ApplyRequest<'_>) -> Result<OutputFolder> {
    let folder = OutputFolder::create(request.out)?;
    let whole = std::fs::canonicalize(request.scores).at(request.scores.display())?;
    let source = if request.scores.is_file() { whole.parent() } else { Some(whole.as_path()) };
    if std::fs::canonicalize(folder.path()).ok().as_deref() == source {
        let error = Error::new("is the folder of the input, which is never overwritten").at(request.out.display());
        return Err(error.help("choose another --out"));
    }
    OutputFolder::for_part(request.out, request.part)
}

/// A case to apply the map to, with its reference if there is one.
type Item = (String, Files, Option<PathBuf>);

/// The case with its reference, if it has one.
fn paired((case, files, reference): &Item) -> Option<Pair> {
    let reference = reference.clone()?;
    Some(Pair { case: case.clone(), prediction: files.clone(), reference, masks: None, image: None })
}

fn items(path: &Path, labels: Option<&Path>) -> Result<Vec<Item>> {
    let Some(labels) = labels else {
        return Ok(inputs::predictions(path, Holds::Scores)?
            .into_iter()
            .map(|(case, files)| (case, files, None))
            .collect());
    };
    let (pairs, _) = inputs::pairs(path, labels, Holds::Scores)?.every_prediction()?;
    Ok(pairs.into_iter().map(|pair| (pair.case, pair.prediction, Some(pair.reference))).collect())
}
