//! `segcal prepare SRC OUT --as NAME`.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use rayon::prelude::*;
use segcal_core::{Context, Error, Result};
use serde_json::{Map, Value, json};

use super::Cases;
use crate::data::{Volume, nifti};
use crate::output::{self, OutputFolder};
use crate::prepare::{Choices, Cohort, Label, Part, RECIPES, Recipe, Scan, split, volumes};
use crate::{Common, Outcome};

/// Bring a published data set into the layout of nnU-Net, on the grid and with the split of the papers.
///
/// Written are imagesTr and labelsTr, imagesTs and labelsTs (CASE_0000.nii.gz, one file for each channel), dataset.json,
/// splits.json (train, val, test) and splits_final.json (the same for nnU-Net). Images are resized linearly, labels by
/// the nearest voxel, over the same space. Persons are dealt out at random by --seed, unless the data set divides them
/// itself. SRC is only read. The same command goes on where it was interrupted.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal prepare ACDC/database acdc --as acdc\n  \
    segcal prepare Task05_Prostate prostate --as msd --split 22,3,7\n  \
    segcal prepare axons axons-nnunet --as bids --labels seg-myelin-manual,seg-axon-manual")]
pub struct Args {
    /// The folder of the data set as it was published.
    pub src: PathBuf,
    /// The new folder.
    pub out: PathBuf,
    /// Which data set it is.
    #[arg(long = "as", value_name = "NAME", value_parser = recipes())]
    pub recipe: &'static str,
    /// Voxels along z, y, x, or y, x; 0 keeps an axis. Default: the papers'.
    #[arg(long, value_name = "D,H,W", value_parser = size)]
    pub size: Option<[usize; 3]>,
    /// Persons to train, validate and test on; other numbers of persons are divided in that proportion. Default: the
    /// papers', or the data set's own lists.
    #[arg(long, value_name = "TRAIN,VAL,TEST", value_parser = counts)]
    pub split: Option<[usize; 3]>,
    /// Seed of the split.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Endings of the names of images that are the channels (bids).
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub images: Vec<String>,
    /// Endings of the names of labels that are the structures, from class 1 on (bids).
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub labels: Vec<String>,
}

fn recipes() -> impl TypedValueParser<Value = &'static str> {
    let values = RECIPES.iter().map(|recipe| PossibleValue::new(recipe.name).help(format!("{}: {}", recipe.title, recipe.layout)));
    PossibleValuesParser::new(values)
        .map(|name| RECIPES.iter().find(|recipe| recipe.name == name).map_or("", |recipe| recipe.name))
}

fn whole(text: &str) -> Option<Vec<usize>> {
    text.split(',').map(|part| part.trim().parse().ok()).collect()
}

fn size(text: &str) -> std::result::Result<[usize; 3], String> {
    let numbers = match whole(text).as_deref() {
        Some(&[h, w]) => Some([0, h, w]),
        Some(&[d, h, w]) => Some([d, h, w]),
        _ => None,
    };
    numbers
        .filter(|size| size.iter().all(|&extent| extent <= 4096))
        .ok_or_else(|| "two or three numbers up to 4096, such as 224,224 or 30,192,192".into())
}

fn counts(text: &str) -> std::result::Result<[usize; 3], String> {
    let counts: Option<[usize; 3]> = whole(text).and_then(|numbers| numbers.try_into().ok());
    counts
        .filter(|[train, _, _]| *train > 0)
        .ok_or_else(|| "three numbers of persons, such as 70,10,20, at least one to train on".into())
}

/// Prepares the data set and prints where it is.
///
/// # Errors
/// The folder holds nothing of that layout, the output folder holds something else, or cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let recipe = RECIPES.iter().find(|recipe| recipe.name == args.recipe).expect("the parser knows the names");
    if !args.src.is_dir() {
        return Err(Error::new("there is no such folder").at(args.src.display()));
    }
    let choices = Choices { images: args.images.clone(), labels: args.labels.clone() };
    let cohort = (recipe.find)(&args.src, &choices)?;
    let plan = plan(args, recipe, &cohort)?;
    let folder = open(args, recipe)?;
    let progress = common.progress("preparing", plan.len());
    let written: Vec<Result<Written>> = plan
        .par_iter()
        .map(|(scan, part)| {
            let written = write(&folder, scan, *part, &cohort, args.size.unwrap_or(recipe.size)).at(&scan.name);
            progress.step(&scan.name);
            written
        })
        .collect();
    drop(progress);
    let mut cases = Cases::default();
    let written: Vec<Written> = written.into_iter().filter_map(|case| cases.keep(case)).collect();
    let channels = channels(&cohort, &written)?;
    describe(&folder, recipe, &cohort, &channels, &written)?;
    report(args, common, &written, cases.failed())?;
    Ok(cases.outcome())
}

/// Which scan goes where. Scans without a label are there to be predicted, unless labelled ones are tested on.
fn plan<'a>(args: &Args, recipe: &Recipe, cohort: &'a Cohort) -> Result<Vec<(&'a Scan, Part)>> {
    expect_scans(args, recipe, cohort)?;
    let own = cohort.parts.as_ref().filter(|_| args.split.is_none());
    let is_labelled = |scan: &&Scan| !matches!(scan.label, Label::Unknown);
    let mut plan: Vec<(&Scan, Part)> = if let Some(parts) = own {
        cohort.scans.iter().zip(parts.iter().copied()).collect()
    } else {
        let labelled: Vec<&Scan> = cohort.scans.iter().filter(is_labelled).collect();
        let subjects: Vec<&str> = labelled.iter().map(|scan| scan.subject.as_str()).collect();
        let parts = split::divide(&subjects, args.split.unwrap_or(recipe.split), args.seed);
        labelled.into_iter().zip(parts).collect()
    };
    if own.is_none() {
        let unlabelled = cohort.scans.iter().filter(|scan| !is_labelled(scan));
        if plan.iter().all(|(_, part)| *part != Part::Test) {
            plan.extend(unlabelled.map(|scan| (scan, Part::Test)));
        } else if let count @ 1.. = unlabelled.count() {
            log::warn!("{}: {count} images have no label and are left out", args.src.display());
        }
    }
    Ok(plan)
}

fn expect_scans(args: &Args, recipe: &Recipe, cohort: &Cohort) -> Result<()> {
    if cohort.scans.iter().all(|scan| matches!(scan.label, Label::Unknown)) {
        return Err(Error::new(format!("holds no labelled image of the layout {}", recipe.name))
            .at(args.src.display())
            .help(format!("expected is {}", recipe.layout)));
    }
    let mut names: Vec<&str> = cohort.scans.iter().map(|scan| scan.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::new(format!("the case {} is there twice", pair[0]))
            .at(args.src.display())
            .help("give the folder of one release of the data set")),
        None => Ok(()),
    }
}

/// Makes the output folder, or opens that of the same command.
fn open(args: &Args, recipe: &Recipe) -> Result<OutputFolder> {
    let path = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.into()).display().to_string();
    let settings = output::to_json(&json!({
        "src": path(&args.src),
        "as": recipe.name,
        "source": recipe.source,
        "size": args.size.unwrap_or(recipe.size),
        "split": args.split,
        "seed": args.seed,
        "images": args.images,
        "labels": args.labels,
        "version": env!("CARGO_PKG_VERSION"),
    }))?;
    let is_filled = args.out.is_dir() && std::fs::read_dir(&args.out).at(args.out.display())?.next().is_some();
    if args.out.exists() && path(&args.src) == path(&args.out) {
        return Err(Error::new("source and output are one folder").at(args.out.display()).help("choose a new folder"));
    }
    let folder = OutputFolder::create(&args.out)?;
    let file = folder.file("prepare.json")?;
    if is_filled {
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        if before != settings {
            let what = if before.is_empty() { "is not empty" } else { "was prepared by another command" };
            return Err(Error::new(what).at(args.out.display()).help("choose a new folder, or repeat prepare.json"));
        }
    } else {
        output::write_text(&file, &settings)?;
    }
    Ok(folder)
}

/// A case that was written.
struct Written {
    name: String,
    part: Part,
    channels: usize,
}

fn write(folder: &OutputFolder, scan: &Scan, part: Part, cohort: &Cohort, size: [usize; 3]) -> Result<Written> {
    let ending = if part == Part::Test { "Ts" } else { "Tr" };
    let place = |kind: &str, name: String| folder.file(Path::new(&format!("{kind}{ending}")).join(name));
    let image_at = |channel: usize| place("images", format!("{}_{channel:04}.nii.gz", scan.name));
    let label_at = place("labels", format!("{}.nii.gz", scan.name))?;
    let known = cohort.channels.len();
    let is_labelled = matches!(scan.label, Label::Unknown) || label_at.is_file();
    if known > 0 && is_labelled && (0..known).all(|channel| image_at(channel).is_ok_and(|path| path.is_file())) {
        return Ok(Written { name: scan.name.clone(), part, channels: known });
    }
    let image = volumes::image(scan)?;
    let label = volumes::label(scan, &image.grid, cohort.classes.len(), cohort.ignore_label)?;
    let size = volumes::size(image.grid.extent, size);
    let image = volumes::resize_image(image, size)?;
    let channels = image.channels();
    if known > 0 && channels != known {
        return Err(Error::new(format!("the image has {channels} channels, {known} are expected"))
            .at(scan.images[0].display())
            .help("check that this is the layout that --as names"));
    }
    for (channel, values) in image.values().chunks(size.iter().product()).enumerate() {
        let volume = Volume::new(values.to_vec(), 1, image.grid.clone());
        write_smallest(&image_at(channel)?, &volume)?;
    }
    if let Some(label) = label {
        let label = volumes::resize_label(label, size)?;
        let numbers = label.values().iter().map(|&label| label as f32).collect();
        // Both were resized alike: one grid for both, to the last bit.
        write_smallest(&label_at, &Volume::new(numbers, 1, image.grid.clone()))?;
    }
    Ok(Written { name: scan.name.clone(), part, channels })
}

/// Writes a volume in the smallest of u8, i16 and f32 that holds every number as it is.
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

/// The names of the channels; numbers where the data set names none.
fn channels(cohort: &Cohort, written: &[Written]) -> Result<Vec<String>> {
    if !cohort.channels.is_empty() {
        return Ok(cohort.channels.clone());
    }
    let count = written.first().map_or(0, |case| case.channels);
    match written.iter().find(|case| case.channels != count) {
        Some(other) => Err(Error::new(format!("has {} channels, {} has {count}", other.channels, written[0].name))
            .at(&other.name)
            .help("leave the case out, or name the channels in dataset.json")),
        None => Ok((0..count).map(|channel| format!("channel {channel}")).collect()),
    }
}

fn describe(
    folder: &OutputFolder,
    recipe: &Recipe,
    cohort: &Cohort,
    channels: &[String],
    written: &[Written],
) -> Result<()> {
    let of = |part: Part| -> Vec<&str> {
        written.iter().filter(|case| case.part == part).map(|case| case.name.as_str()).collect()
    };
    let [train, val, test] = Part::ALL.map(of);
    let splits: Map<String, Value> = Part::ALL.map(|part| (part.as_str().into(), json!(of(part)))).into_iter().collect();
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
        "description": recipe.title,
        "split_and_size": recipe.source,
        "channel_names": numbered(channels),
        "labels": labels,
        "numTraining": train.len() + val.len(),
        "numTest": test.len(),
        "file_ending": ".nii.gz",
    });
    output::write_text(&folder.file("splits.json")?, &output::to_json(&splits)?)?;
    if !val.is_empty() {
        let folds = json!([{ "train": train, "val": val }]);
        output::write_text(&folder.file("splits_final.json")?, &output::to_json(&folds)?)?;
    }
    // Last: a folder without it is one whose making was interrupted.
    output::write_text(&folder.file("dataset.json")?, &output::to_json(&description)?)
}

fn report(args: &Args, common: &Common, written: &[Written], failed: usize) -> Result<()> {
    let count = |part: Part| written.iter().filter(|case| case.part == part).count();
    let [train, val, test] = Part::ALL.map(count);
    if common.json {
        let out = args.out.display().to_string();
        return output::print_json(
            &json!({ "dataset": out, "as": args.recipe, "train": train, "val": val, "test": test, "failed": failed }),
        );
    }
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    output::print(&format!("{}: {train} to train, {val} to validate, {test} to test{failed}\n", args.out.display()))
}
