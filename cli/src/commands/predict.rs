//! `segcal predict RUN… IMAGES --out DIR`.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use segcal_core::{Error, Result};
use segcal_data::{Case, dataset};
use segcal_train::predict::{FileFormat, Noise, Output, Predicted, Request, Split};
use serde_json::json;

use crate::options::Parts;
use crate::{Common, Outcome, doors, output};

/// Segment images with a trained network, or with several whose scores are averaged.
///
/// Writes segmentations/CASE.nii.gz, probabilities/CASE.nii.gz and, where asked for, logits/CASE.nii.gz (both 4-D, class
/// last), or another format, in the geometry of the image, and made-of/CASE.json for --resume. A case that fails is reported and the others go
/// on. While a case is predicted its scores wait in DIR, four bytes for each voxel and number, and go with the program.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    segcal predict runs/hippocampus-nacl ../hippocampus/imagesTs --out predictions\n  \
    segcal predict runs/hippocampus-nacl --split val --write logits --out val\n  \
    segcal predict runs/fold-0 runs/fold-1 runs/fold-2 imagesTs --out mean")]
pub struct Args {
    /// Folders of the runs, and last an image or a folder of images. With --split, runs alone.
    #[arg(value_name = "RUN… IMAGES", required = true, num_args = 1..)]
    pub paths: Vec<PathBuf>,
    /// Predict this part of the data set that the run was trained on.
    #[arg(long, value_name = "PART", value_parser = split())]
    pub split: Option<Split>,
    /// Folder of the results.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// What the files are. npz is that of nnU-Net: [class, z, y, x], with the geometry in CASE.properties.json; the
    /// segmentations are then .nii.gz.
    #[arg(long, value_name = "FORMAT", default_value = "nii.gz", value_parser = format())]
    pub format: FileFormat,
    /// What to write, separated by commas: segmentations, probabilities, logits. Logits are the network's output before the
    /// softmax; where patches overlap they are averaged as the probabilities are.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "segmentations,probabilities",
          value_parser = written())]
    pub write: Vec<Output>,
    /// Leave out the probabilities, which are many times larger than the segmentations; the same as --write segmentations.
    #[arg(long, conflicts_with = "write")]
    pub no_probabilities: bool,
    /// Add Gaussian noise of this standard deviation to the images, which are scaled to [0, 1] first.
    #[arg(long, value_name = "SIGMA", default_value_t = 0.0)]
    pub noise: f64,
    /// Seed of the noise.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Samples that go through the network together.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,
    /// Predict every mirroring along the axes that the training mirrored, and take the mean: 4 times the work in two
    /// dimensions, 8 times in three.
    #[arg(long)]
    pub mirror: bool,
    /// Skip the cases whose files stand, made of the same weights, images and options.
    #[arg(long)]
    pub resume: bool,
    /// Which of the cases.
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
                .help("give an image or a folder of images behind the run, or --split")),
        }
    }
}

/// Predicts every image.
///
/// # Errors
/// A run or the folder of images cannot be read, or the folder of the results cannot be made.
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
        let kept = if kept > 0 { format!(", {kept} of them as they were") } else { String::new() };
        output::print(&format!("{} of {of} cases in {out}{kept}\n", done.len()))?;
    }
    Ok(Outcome::of(failed.len()))
}
