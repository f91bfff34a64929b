//! `segcal predict RUN… IMAGES --out DIR`.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use segcal_core::{Error, Result};
use segcal_data::{Case, dataset};
use segcal_train::predict::{FileFormat, Noise, Output, Predicted, Request, Split};
use serde_json::json;

use crate::options::Parts;
use crate::{Common, Outcome, doors, output};

/// Segment images with a trained network, or with several, averaging their scores.
///
/// Writes segmentations/CASE.nii.gz, probabilities/CASE.nii.gz and, on request, logits/CASE.nii.gz (both 4-D, class
/// last), in the geometry of the image, and made-of/CASE.json for --resume; --format selects another file format. A
/// case that fails is reported, and the others continue. Needs temporary disk space in DIR (4 bytes per voxel and
/// score), freed on exit.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    segcal predict runs/hippocampus-nacl ../hippocampus/imagesTs --out predictions\n  \
    segcal predict runs/hippocampus-nacl --split val --write logits --out val\n  \
    segcal predict runs/fold-0 runs/fold-1 runs/fold-2 imagesTs --out mean")]
pub struct Args {
    /// Run folders, followed by an image or a folder of images; with --split, run folders only.
    #[arg(value_name = "RUN… IMAGES", required = true, num_args = 1..)]
    pub paths: Vec<PathBuf>,
    /// Predict this split of the data set that the run was trained on.
    #[arg(long, value_name = "PART", value_parser = split())]
    pub split: Option<Split>,
    /// Folder for the results.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// File format. npz is nnU-Net's: [class, z, y, x], with the geometry in CASE.properties.json; segmentations are
    /// then written as .nii.gz.
    #[arg(long, value_name = "FORMAT", default_value = "nii.gz", value_parser = format())]
    pub format: FileFormat,
    /// Outputs to write, separated by commas: segmentations, probabilities, logits. Logits are the network's output
    /// before the softmax; where patches overlap, they are averaged like probabilities.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "segmentations,probabilities",
          value_parser = written())]
    pub write: Vec<Output>,
    /// Do not write probabilities, which are many times larger than segmentations; the same as --write segmentations.
    #[arg(long, conflicts_with = "write")]
    pub no_probabilities: bool,
    /// Add Gaussian noise with this standard deviation to the images after scaling them to [0, 1].
    #[arg(long, value_name = "SIGMA", default_value_t = 0.0)]
    pub noise: f64,
    /// Seed of the noise.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Number of samples per forward pass.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,
    /// Average the predictions of all mirrorings along the axes that training mirrored: 4 times the work in two
    /// dimensions, 8 times in three.
    #[arg(long)]
    pub mirror: bool,
    /// Skip cases whose files exist and were computed from the same weights, images and options.
    #[arg(long)]
    pub resume: bool,
    /// Which part of the cases.
    #[command(flatten)]
    pub parts: Parts,
}

/// The formats, for the command line.
fn format() -> impl TypedValueParser<Value = FileFormat> {
    PossibleValuesParser::new(FileFormat::ALL.map(FileFormat::name)).map(|name| {
        FileFormat::ALL.into_iter().find(|format| format.name() == name).expect("the parser knows the names")
    })
}

fn split() -> impl TypedValueParser<Value = Split> {
    let values = Split::ALL.map(|split| PossibleValue::new(split.name()));
    PossibleValuesParser::new(values)
        .map(|name| Split::ALL.into_iter().find(|split| split.name() == name).expect("the parser knows the names"))
}

fn written() -> impl TypedValueParser<Value = Output> {
    let values = Output::ALL.map(|output| PossibleValue::new(output.name()));
    PossibleValuesParser::new(values)
        .map(|name| Output::ALL.into_iter().find(|output| output.name() == name).expect("the parser knows the names"))
}

impl Args {
    /// The runs, and the cases to predict.
    fn given(&self) -> Result<(&[PathBuf], Vec<Case>)> {
        if let Some(split) = self.split {
            return Ok((&self.paths, split.cases(&self.paths)?));
        }
        match self.paths.split_last() {
            Some((images, runs)) if !runs.is_empty() => Ok((runs, dataset::images(images)?)),
            _ => Err(Error::new("no images are given")
                .help("add an image or a folder of images after the run, or use --split")),
        }
    }
}

/// Predicts every image.
///
/// # Errors
/// A run or the folder of images cannot be read, or the folder for the results cannot be created.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let (runs, cases) = args.given()?;
    let request = Request {
        runs,
        cases: &cases,
        out: &args.out,
        batch: usize::from(args.batch),
        format: args.format,
        write: if args.no_probabilities { &[Output::Segmentations] } else { &args.write },
        mirror: args.mirror,
        noise: Noise { sigma: args.noise, seed: args.seed },
        part: args.parts.part()?,
        resume: args.resume,
    };
    let Predicted { done, kept, failed } = doors::predict(&request, common)?;
    if common.json {
        output::print_json(&json!({ "out": args.out, "cases": done, "kept": kept, "failed": failed.len() }))?;
    } else {
        let (of, out) = (done.len() + failed.len(), args.out.display());
        let kept = if kept > 0 { format!(", {kept} of them already done") } else { String::new() };
        output::print(&format!("{} of {of} cases in {out}{kept}\n", done.len()))?;
    }
    Ok(Outcome::of(failed.len()))
}
