//! Prepares a data set: assigns scans to parts, reads, resizes and writes them, and writes the description.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use segcal_core::{Context, Error, Result};
use serde_json::{Map, Value, json};

use super::sources::Sources;
use super::{Choices, Cohort, Folds, Frame, Label, Part, Recipe, Scan, split, volumes};
use crate::observer::{self, Event, Observer, Steps, is_interruption};
use crate::output::{self, OutputFolder, is_write_failure};
use crate::{Volume, limits, names, nifti, part};

/// What to prepare.
pub struct Request<'a> {
    /// The folder of the data set as published.
    pub src: &'a Path,
    /// The output folder.
    pub out: &'a Path,
    /// The recipe that reads the data set.
    pub recipe: &'static Recipe,
    /// The grid of the cases.
    pub frame: Frame,
    /// Number of training, validation and test patients; `None` uses the data set's own split, or the recipe's numbers.
    pub split: Option<[usize; 3]>,
    /// Folds of the training and validation patients, instead of a single split.
    pub folds: Option<Folds>,
    /// Seed of the split.
    pub seed: u64,
    /// Choices for layouts that need them.
    pub choices: Choices,
    /// Which of the cases are written. Parts share the folder; a final request for all cases finds what they wrote and
    /// describes it.
    pub part: part::Part,
}

/// The result of [`prepare`].
#[derive(Debug)]
pub struct Prepared {
    /// Number of training, validation and test cases.
    pub counts: [usize; 3],
    /// The errors of the cases that were left out.
    pub failed: Vec<Error>,
}

/// Writes the data set in the layout of nnU-Net. Repeating an interrupted request continues it.
///
/// # Errors
/// The folder contains nothing in the recipe's layout, the output folder contains something else or cannot be written,
/// or the observer asks to stop. A case that cannot be read is reported, and the others continue.
pub fn prepare(request: &Request<'_>, observer: &dyn Observer) -> Result<Prepared> {
    if !request.src.is_dir() {
        return Err(Error::new("no such folder").at(request.src.display()));
    }
    let recipe = request.recipe;
    let cohort = (recipe.find)(request.src, &request.choices)?;
    let plan = plan(request, &cohort)?;
    held_out(request, plan.iter().map(|(scan, part)| (scan.subject.as_str(), *part)))?;
    let folder = open(request)?;
    let plan = request.part.of(plan);
    forget_replaced(&folder, &plan, request.part)?;
    let steps = Steps::begin(observer, "preparing", plan.len());
    let results: Vec<Result<Written>> = plan
        .par_iter()
        .map(|(scan, part)| {
            observer::check(observer)?;
            let written = write(&folder, scan, *part, &cohort, &request.frame).at(&scan.name);
            steps.step(&scan.name);
            written
        })
        .collect();
    drop(steps);
    let (mut written, mut failed) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(case) => written.push(case),
            Err(error) if is_interruption(&error) || is_write_failure(&error) => return Err(error),
            Err(error) => {
                observer.event(Event::CaseFailed(&error));
                failed.push(error);
            }
        }
    }
    let channels = channels(&cohort, &written)?;
    if request.part.is_whole() {
        describe(&folder, request, &cohort, &channels, &written)?;
    }
    let counts = Part::ALL.map(|part| written.iter().filter(|case| case.part == part).count());
    Ok(Prepared { counts, failed })
}

/// Assigns scans to parts. Scans without a label become test cases, unless there are labelled test cases.
fn plan<'a>(request: &Request<'_>, cohort: &'a Cohort) -> Result<Vec<(&'a Scan, Part)>> {
    expect_scans(request, cohort)?;
    let own = cohort.parts.as_ref().filter(|_| request.split.is_none());
    let is_labelled = |scan: &&Scan| !matches!(scan.label, Label::Unknown);
    let mut plan: Vec<(&Scan, Part)> = if let Some(parts) = own {
        cohort.scans.iter().zip(parts.iter().copied()).collect()
    } else {
        let labelled: Vec<&Scan> = cohort.scans.iter().filter(is_labelled).collect();
        let subjects: Vec<&str> = labelled.iter().map(|scan| scan.subject.as_str()).collect();
        let parts = split::divide(&subjects, request.split.unwrap_or(request.recipe.split), request.seed);
        labelled.into_iter().zip(parts).collect()
    };
    if own.is_none() {
        let unlabelled = cohort.scans.iter().filter(|scan| !is_labelled(scan));
        if plan.iter().all(|(_, part)| *part != Part::Test) {
            plan.extend(unlabelled.map(|scan| (scan, Part::Test)));
        } else if let count @ 1.. = unlabelled.count() {
            log::warn!("{}: {count} images have no label and are left out", request.src.display());
        }
    }
    Ok(plan)
}

fn expect_scans(request: &Request<'_>, cohort: &Cohort) -> Result<()> {
    if cohort.scans.iter().all(|scan| matches!(scan.label, Label::Unknown)) {
        return Err(Error::new(format!("contains no labelled image in the layout {}", request.recipe.name))
            .at(request.src.display())
            .help(format!("expected: {}", request.recipe.layout)));
    }
    let mut names: Vec<&str> = cohort.scans.iter().map(|scan| scan.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::new(format!("the case {} appears twice", pair[0]))
            .at(request.src.display())
            .help("give the folder of one release of the data set")),
        None => Ok(()),
    }
}

/// Creates the output folder, or opens the one of the same command.
fn open(request: &Request<'_>) -> Result<OutputFolder> {
    let path = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.into()).display().to_string();
    let frame = &request.frame;
    let mut settings = json!({
        "src": path(request.src),
        "as": request.recipe.name,
        "source": request.recipe.source,
        "size": frame.size,
        "split": request.split,
        "seed": request.seed,
        "images": request.choices.images,
        "labels": request.choices.labels,
        "version": env!("CARGO_PKG_VERSION"),
    });
    // Written only if requested, so that folders of earlier versions can be continued.
    if frame.spacing_mm != [0.0; 3] {
        settings["spacing"] = json!(frame.spacing_mm);
    }
    if frame.crop != [0; 3] {
        settings["crop"] = json!(frame.crop);
    }
    match request.folds {
        None => {}
        Some(Folds::Count(count)) => settings["folds"] = json!(count),
        Some(Folds::LeaveOneOut) => settings["folds"] = json!("loo"),
    }
    let settings = output::to_json(&settings)?;
    if request.out.exists() && path(request.src) == path(request.out) {
        return Err(Error::new("source and output are the same folder")
            .at(request.out.display())
            .help("choose a new folder"));
    }
    let folder = OutputFolder::for_part(request.out, request.part)?;
    let is_filled = holds_files(request.out)?;
    let file = folder.file("prepare.json")?;
    if is_filled {
        let before = limits::read_text(&file).unwrap_or_default();
        if before != settings {
            let what = if before.is_empty() { "is not empty" } else { "was prepared by another command" };
            return Err(Error::new(what)
                .at(request.out.display())
                .help("choose a new folder, or repeat the command recorded in prepare.json"));
        }
    } else {
        output::write_text(&file, &settings)?;
    }
    Ok(folder)
}

/// Whether a folder contains more than locks and files that other parts are writing.
fn holds_files(folder: &Path) -> Result<bool> {
    let entries = std::fs::read_dir(folder).at(folder.display())?;
    Ok(entries.flatten().any(|entry| !names::is_hidden(&entry.path())))
}

/// Removes the cases whose source files have changed, and records the current sources: all cases in the folder are then
/// made from them.
fn forget_replaced(folder: &OutputFolder, plan: &[(&Scan, Part)], part: part::Part) -> Result<()> {
    let sources = Sources::of(folder, plan)?;
    for (scan, part) in plan.iter().filter(|(scan, _)| !sources.are_those_of(scan)) {
        let images = (0..).map(|channel| image_at(folder, scan, *part, channel));
        let images = images.take_while(|path| path.as_ref().is_ok_and(|path| path.is_file()));
        for path in images.collect::<Vec<_>>().into_iter().chain([label_at(folder, scan, *part)]) {
            output::remove_file(&path?)?;
        }
    }
    sources.note(folder, part)
}

/// The output path of a channel of a scan.
fn image_at(folder: &OutputFolder, scan: &Scan, part: Part, channel: usize) -> Result<PathBuf> {
    place(folder, "images", part, format!("{}_{channel:04}.nii.gz", scan.name))
}

/// The output path of the label of a scan.
fn label_at(folder: &OutputFolder, scan: &Scan, part: Part) -> Result<PathBuf> {
    place(folder, "labels", part, format!("{}.nii.gz", scan.name))
}

fn place(folder: &OutputFolder, kind: &str, part: Part, name: String) -> Result<PathBuf> {
    let ending = if part == Part::Test { "Ts" } else { "Tr" };
    folder.file(Path::new(&format!("{kind}{ending}")).join(name))
}

/// A case that was written.
struct Written {
    name: String,
    subject: String,
    part: Part,
    channels: usize,
}

fn write(folder: &OutputFolder, scan: &Scan, part: Part, cohort: &Cohort, frame: &Frame) -> Result<Written> {
    let image_at = |channel: usize| image_at(folder, scan, part, channel);
    let label_at = label_at(folder, scan, part)?;
    let known = cohort.channels.len();
    let is_labelled = matches!(scan.label, Label::Unknown) || label_at.is_file();
    let is_there = |channel: &usize| image_at(*channel).is_ok_and(|path| path.is_file());
    // The label is written last: if it exists, every channel does.
    let there = if known == 0 && label_at.is_file() { (0..1 << 16).take_while(is_there).count() } else { known };
    if there > 0 && is_labelled && (0..there).all(|channel| is_there(&channel)) {
        return Ok(Written { name: scan.name.clone(), subject: scan.subject.clone(), part, channels: there });
    }
    let image = volumes::image(scan)?;
    let label = volumes::label(scan, &image.grid, cohort.classes.len(), cohort.ignore_label)?;
    let (image, label) = frame.apply(image, label)?;
    let channels = image.channels();
    if known > 0 && channels != known {
        return Err(Error::new(format!("the image has {channels} channels, expected {known}"))
            .at(scan.images[0].display())
            .help("check that --as names the right layout"));
    }
    for (channel, values) in image.values().chunks(image.grid.extent.iter().product()).enumerate() {
        let volume = Volume::new(values.to_vec(), 1, image.grid.clone());
        write_smallest(&image_at(channel)?, &volume)?;
    }
    if let Some(label) = label {
        let numbers = label.values().iter().map(|&label| label as f32).collect();
        // Both were resampled in the same way: use one grid for both, bit for bit.
        write_smallest(&label_at, &Volume::new(numbers, 1, image.grid.clone()))?;
    }
    Ok(Written { name: scan.name.clone(), subject: scan.subject.clone(), part, channels })
}

/// Writes a volume in the smallest of u8, i16 and f32 that represents every number exactly.
fn write_smallest(path: &Path, volume: &Volume<f32>) -> Result<()> {
    fn as_whole<T: Copy>(volume: &Volume<f32>, convert: impl Fn(i64) -> Option<T>) -> Option<Volume<T>> {
        let whole = |&x: &f32| if x.fract() == 0.0 { convert(x as i64) } else { None };
        let values = volume.values().iter().map(whole).collect::<Option<Vec<T>>>()?;
        Some(Volume::new(values, volume.channels(), volume.grid.clone()))
    }
    if let Some(bytes) = as_whole(volume, |x| u8::try_from(x).ok()) {
        nifti::write(path, &bytes)
    } else if let Some(shorts) = as_whole(volume, |x| i16::try_from(x).ok()) {
        nifti::write(path, &shorts)
    } else {
        nifti::write(path, volume)
    }
}

/// The names of the channels; numbered if the data set does not name them.
fn channels(cohort: &Cohort, written: &[Written]) -> Result<Vec<String>> {
    if !cohort.channels.is_empty() {
        return Ok(cohort.channels.clone());
    }
    let count = written.first().map_or(0, |case| case.channels);
    match written.iter().find(|case| case.channels != count) {
        Some(other) => Err(Error::new(format!("has {} channels, but {} has {count}", other.channels, written[0].name))
            .at(&other.name)
            .help("leave the case out, or name the channels in dataset.json")),
        None => Ok((0..count).map(|channel| format!("channel {channel}")).collect()),
    }
}

/// The patients that each fold holds out; empty if no folds are requested.
fn held_out<'a>(request: &Request<'_>, cases: impl Iterator<Item = (&'a str, Part)>) -> Result<Vec<Vec<&'a str>>> {
    let Some(folds) = request.folds else { return Ok(Vec::new()) };
    let subjects: Vec<&str> = cases.filter(|(_, part)| *part != Part::Test).map(|(subject, _)| subject).collect();
    folds.held_out(&subjects, request.seed)
}

/// Writes the lists of the parts and, for nnU-Net, the folds.
fn write_splits(folder: &OutputFolder, request: &Request<'_>, written: &[Written]) -> Result<()> {
    let names = |is_in: &dyn Fn(&Written) -> bool| -> Vec<&str> {
        written.iter().filter(|case| is_in(case)).map(|case| case.name.as_str()).collect()
    };
    let of = |part: Part| names(&|case: &Written| case.part == part);
    let [train, val, test] = Part::ALL.map(of);
    let held = held_out(request, written.iter().map(|case| (case.subject.as_str(), case.part)))?;
    let folds: Vec<Value> = if held.is_empty() {
        let splits: Map<String, Value> =
            Part::ALL.map(|part| (part.as_str().into(), json!(of(part)))).into_iter().collect();
        output::write_text(&folder.file("splits.json")?, &output::to_json(&splits)?)?;
        (!val.is_empty()).then(|| json!({ "train": train, "val": val })).into_iter().collect()
    } else {
        let fold = |held: &Vec<&str>| {
            let is_held = |case: &Written| held.contains(&case.subject.as_str());
            let train = names(&|case: &Written| case.part != Part::Test && !is_held(case));
            let val = names(&|case: &Written| case.part != Part::Test && is_held(case));
            if test.is_empty() {
                json!({ "train": train, "val": val })
            } else {
                json!({ "train": train, "val": val, "test": test })
            }
        };
        held.iter().map(fold).collect()
    };
    if folds.is_empty() {
        Ok(())
    } else {
        output::write_text(&folder.file("splits_final.json")?, &output::to_json(&folds)?)
    }
}

fn describe(
    folder: &OutputFolder,
    request: &Request<'_>,
    cohort: &Cohort,
    channels: &[String],
    written: &[Written],
) -> Result<()> {
    let tests = written.iter().filter(|case| case.part == Part::Test).count();
    let numbered = |names: &[String]| -> Map<String, Value> {
        names.iter().enumerate().map(|(number, name)| (number.to_string(), json!(name))).collect()
    };
    let mut labels: Map<String, Value> =
        cohort.classes.iter().enumerate().map(|(number, name)| (name.clone(), json!(number))).collect();
    if let Some(ignored) = cohort.ignore_label {
        labels.insert("ignore".into(), json!(ignored));
    }
    let description = json!({
        "name": cohort.name,
        "description": request.recipe.title,
        "split_and_size": request.recipe.source,
        "channel_names": numbered(channels),
        "labels": labels,
        "numTraining": written.len() - tests,
        "numTest": tests,
        "file_ending": ".nii.gz",
    });
    write_splits(folder, request, written)?;
    // Last: a folder without this file was interrupted.
    output::write_text(&folder.file("dataset.json")?, &output::to_json(&description)?)
}
