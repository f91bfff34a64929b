//! `segcal check DATASET`.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use segcal_core::{Error, Result};
use serde_json::{Value, json};

use crate::options::Parts;
use crate::{Common, Outcome, output};
use segcal_data::{self as data, Case, Dataset, Grid, Volume};

/// Check a data set: shapes, voxel sizes, orientations, label values, NaN, duplicates.
///
/// Prints a table of all cases. The exit status is 1 if anything is wrong. Supports the layouts of the Medical
/// Segmentation Decathlon and of nnU-Net, and folders of images and labels (NIfTI or PNG).
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal check Task04_Hippocampus")]
pub struct Args {
    /// Folder of the data set.
    #[arg(value_name = "DATASET")]
    pub dataset: PathBuf,
    /// Which part of the cases; duplicates are searched for only within it.
    #[command(flatten)]
    pub parts: Parts,
}

/// The findings for one case.
struct Finding {
    case: String,
    part: &'static str,
    grid: Option<Grid>,
    channels: usize,
    labels: BTreeMap<i32, u64>,
    /// Hash of the values of the image; equal for equal images.
    fingerprint: Option<u64>,
    problems: Vec<String>,
}

/// Checks every case and prints the table.
///
/// # Errors
/// The folder holds no data set.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let (dataset, problems) = Dataset::scan(&args.dataset, 0)?;
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let cases: Vec<_> = args.parts.part()?.of(dataset.cases().collect());
    let progress = common.progress("checking", cases.len());
    let mut findings: Vec<Finding> = cases
        .par_iter()
        .map(|(part, case)| {
            let finding = examine(case, part, &dataset);
            progress.step(&case.name);
            finding
        })
        .collect();
    drop(progress);
    compare(&mut findings);
    if common.json {
        output::print_json(&as_json(&dataset, &findings, &problems))?;
    } else {
        output::print(&as_text(&dataset, &findings, &problems))?;
    }
    let wrong = !problems.is_empty() || findings.iter().any(|finding| !finding.problems.is_empty());
    Ok(if wrong { Outcome::SomeFailed } else { Outcome::Done })
}

fn examine(case: &Case, part: &'static str, dataset: &Dataset) -> Finding {
    let mut finding = Finding {
        case: case.name.clone(),
        part,
        grid: None,
        channels: 0,
        labels: BTreeMap::new(),
        fingerprint: None,
        problems: Vec::new(),
    };
    let mut fingerprint = DefaultHasher::new();
    for path in &case.images {
        match case.read_image(path) {
            Ok(image) => finding.take_image(path, &image, &mut fingerprint),
            Err(error) => finding.problems.push(error.to_string()),
        }
        finding.take_spacing(path);
    }
    finding.take_channels(case, dataset);
    finding.fingerprint = finding.grid.is_some().then(|| fingerprint.finish());
    if let Some(path) = &case.label {
        match data::read_labels(path) {
            Ok(labels) => finding.take_label(path, &labels, dataset),
            Err(error) => finding.problems.push(error.to_string()),
        }
        finding.take_spacing(path);
    }
    finding
}

impl Finding {
    fn problem(&mut self, path: &Path, what: impl Into<String>) {
        self.problems.push(Error::new(what).at(path.display()).to_string());
    }

    fn take_spacing(&mut self, path: &Path) {
        if let Some(doubt) = data::spacing_doubt(path) {
            self.problem(path, doubt.to_string());
        }
    }

    /// If the data set names its channels, checks that an image in a single file has that many.
    fn take_channels(&mut self, case: &Case, dataset: &Dataset) {
        let (named, found) = (dataset.channels.len(), self.channels);
        if let ([path], true) = (&case.images[..], named > 0 && found > 0 && named != found) {
            let (named, found) = (output::counted(named, "channel"), output::counted(found, "channel"));
            self.problem(path, format!("dataset.json names {named}, the image has {found}"));
        }
    }

    fn take_image(&mut self, path: &Path, image: &Volume<f32>, fingerprint: &mut DefaultHasher) {
        let values = image.values();
        let unusable = values.iter().filter(|x| !x.is_finite()).count();
        if unusable > 0 {
            self.problem(path, format!("{unusable} voxels are NaN or infinite"));
        }
        let constant = values.windows(2).all(|pair| pair[0] == pair[1]);
        if constant && values.len() > 1 {
            self.problem(path, format!("every voxel is {}", values[0]));
        }
        for x in values {
            x.to_bits().hash(fingerprint);
        }
        self.channels += image.channels();
        match self.grid.take() {
            Some(first) => {
                if let Err(error) = image.grid.expect_same("this channel", &first, "the first") {
                    self.problem(path, error.to_string());
                }
                self.grid = Some(first);
            }
            None => self.grid = Some(image.grid.clone()),
        }
    }

    fn take_label(&mut self, path: &Path, labels: &Volume<i32>, dataset: &Dataset) {
        for run in labels.values().chunk_by(|a, b| a == b) {
            *self.labels.entry(run[0]).or_insert(0) += run.len() as u64;
        }
        if labels.channels() > 1 {
            self.problem(path, format!("a label map has one channel, not {}", labels.channels()));
        }
        let classes = i32::try_from(dataset.classes.len()).unwrap_or(i32::MAX);
        let known = |label: i32| {
            Some(label) == dataset.ignore_label || (0..if classes == 0 { i32::MAX } else { classes }).contains(&label)
        };
        let unknown: Vec<String> =
            self.labels.keys().filter(|&&label| !known(label)).take(10).map(ToString::to_string).collect();
        if !unknown.is_empty() {
            let meant = if classes == 0 {
                "labels are 0, 1, 2 …".into()
            } else {
                format!("the classes are 0 to {}", classes - 1)
            };
            self.problem(path, format!("the values {} are not labels: {meant}", unknown.join(", ")));
        }
        let differs = self.grid.as_ref().and_then(|grid| labels.grid.expect_same("the label", grid, "the image").err());
        if let Some(error) = differs {
            self.problem(path, error.to_string());
        }
    }
}

/// Finds problems that only show across cases: duplicate images, and an unusual number of channels.
fn compare(findings: &mut [Finding]) {
    let mut first: HashMap<u64, String> = HashMap::new();
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for finding in findings.iter_mut() {
        if let Some(fingerprint) = finding.fingerprint {
            *counts.entry(finding.channels).or_insert(0) += 1;
            let twin = first.entry(fingerprint).or_insert_with(|| finding.case.clone());
            if *twin != finding.case {
                finding.problems.push(format!("{}: the same image as {twin}", finding.case));
            }
        }
    }
    let Some((usual, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return };
    for finding in findings.iter_mut().filter(|finding| finding.fingerprint.is_some() && finding.channels != usual) {
        finding.problems.push(format!("{}: {} channels, where most have {usual}", finding.case, finding.channels));
    }
}

fn voxels(grid: &Grid) -> ([usize; 3], [f64; 3]) {
    let ([d, h, w], [z, y, x]) = (grid.extent, grid.spacing_mm());
    ([w, h, d], [x, y, z])
}

/// The orientation of the axes, if the file defines it.
fn axes_of(grid: &Grid) -> String {
    if grid.sized { grid.axes().to_string() } else { "unknown".into() }
}

/// Three decimals, or three significant digits below a hundredth.
fn millimetres(size: f64) -> String {
    if size >= 0.01 { format!("{size:.3}") } else { format!("{size:.2e}") }
}

fn as_json(dataset: &Dataset, findings: &[Finding], problems: &[String]) -> Value {
    let case = |finding: &Finding| {
        let grid = finding.grid.as_ref().map(|grid| (voxels(grid), grid.axes().to_string()));
        let sized = finding.grid.as_ref().is_some_and(|grid| grid.sized);
        let labels: serde_json::Map<_, _> =
            finding.labels.iter().map(|(label, count)| (label.to_string(), Value::from(*count))).collect();
        json!({
            "case": finding.case,
            "part": finding.part,
            "shape": grid.as_ref().map(|((shape, _), _)| shape),
            "spacing_mm": grid.as_ref().filter(|_| sized).map(|((_, spacing), _)| spacing),
            "axes": grid.as_ref().filter(|_| sized).map(|(_, axes)| axes),
            "channels": finding.channels,
            "labels": labels,
            "problems": finding.problems,
        })
    };
    json!({
        "dataset": dataset.root.display().to_string(),
        "layout": dataset.layout.as_str(),
        "classes": dataset.classes,
        "cases": findings.iter().map(case).collect::<Vec<_>>(),
        "problems": problems,
        "ok": problems.is_empty() && findings.iter().all(|finding| finding.problems.is_empty()),
    })
}

fn as_text(dataset: &Dataset, findings: &[Finding], problems: &[String]) -> String {
    let mut rows = vec![["case", "part", "shape", "voxel (mm)", "axes", "channels", "labels"].map(String::from)];
    for finding in findings {
        let (mut shape, mut spacing, mut axes) = ("?".to_owned(), "?".to_owned(), "?".to_owned());
        if let Some(grid) = &finding.grid {
            let ([w, h, d], [x, y, z]) = voxels(grid);
            shape = format!("{w} x {h} x {d}");
            spacing = if grid.sized { [x, y, z].map(millimetres).join(" x ") } else { "unknown: voxels".into() };
            axes = axes_of(grid);
        }
        let labels = finding.labels.keys().take(12).map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let part = finding.part.to_owned();
        rows.push([finding.case.clone(), part, shape, spacing, axes, finding.channels.to_string(), labels]);
    }
    let found = problems.iter().chain(findings.iter().flat_map(|finding| &finding.problems));
    let found: Vec<String> = found.map(|problem| format!("  {problem}\n")).collect();
    let axes = summary(findings.iter().filter_map(|finding| finding.grid.as_ref()).map(axes_of));
    let of = |part: &str| findings.iter().filter(|finding| finding.part == part).count();
    let counts = format!(
        "{} ({} train, {} val, {} test), layout {}, axes {axes}",
        output::counted(findings.len(), "case"),
        of("train"),
        of("val"),
        of("test"),
        dataset.layout.as_str()
    );
    let verdict = match found.len() {
        0 => "nothing is wrong".into(),
        1 => "1 problem:".into(),
        count => format!("{count} problems:"),
    };
    format!("{}\n{counts}\n{verdict}\n{}", output::table(&rows), found.concat())
}

/// The distinct words, each with its number of occurrences.
fn summary(words: impl Iterator<Item = String>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_insert(0) += 1;
    }
    counts.into_iter().map(|(word, count)| format!("{word} ({count})")).collect::<Vec<_>>().join(", ")
}
