//! `segcal predict RUN IMAGES --out DIR`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use segcal_core::Result;
use segcal_data::dataset;
use segcal_train::predict::{FileFormat, Predicted, Request};
use serde_json::json;

use crate::{Common, Outcome, doors, output};

/// Segment images with a trained network.
///
/// Writes segmentations/CASE.nii.gz and probabilities/CASE.nii.gz (4-D, class last), or another format, in the geometry of
/// the image. A case that fails is reported and the others go on; cases that are done already are written anew. While a case
/// is predicted its probabilities wait in DIR, four bytes for each voxel and class, and go with the program.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal predict runs/hippocampus-nacl ../hippocampus/imagesTs --out predictions")]
pub struct Args {
    /// Folder of the run.
    pub run: PathBuf,
    /// An image, or a folder of images.
    pub images: PathBuf,
    /// Folder of the results.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Samples that go through the network together.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,
    /// What the files are. npz is that of nnU-Net: [class, z, y, x], with the geometry in CASE.properties.json; the
    /// segmentations are then .nii.gz.
    #[arg(long, value_name = "FORMAT", default_value = "nii.gz", value_parser = format())]
    pub format: FileFormat,
    /// Leave out the probabilities, which are many times larger than the segmentations.
    #[arg(long)]
    pub no_probabilities: bool,
}

/// The formats, for the command line.
fn format() -> impl TypedValueParser<Value = FileFormat> {
    PossibleValuesParser::new(FileFormat::ALL.map(FileFormat::name)).map(|name| {
        FileFormat::ALL.into_iter().find(|format| format.name() == name).expect("the parser knows the names")
    })
}

/// Predicts every image.
///
/// # Errors
/// The run or the folder of images cannot be read, or the folder of the results cannot be made.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let request = Request {
        run: &args.run,
        cases: &dataset::images(&args.images)?,
        out: &args.out,
        batch: usize::from(args.batch),
        format: args.format,
        probabilities: !args.no_probabilities,
        change: &|_, _| {},
    };
    let Predicted { done, failed } = doors::predict(&request, common)?;
    if common.json {
        output::print_json(&json!({ "out": args.out, "cases": done, "failed": failed.len() }))?;
    } else {
        let (of, out) = (done.len() + failed.len(), args.out.display());
        output::print(&format!("{} of {of} cases in {out}\n", done.len()))?;
    }
    Ok(Outcome::of(failed.len()))
}
