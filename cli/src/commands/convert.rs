//! `segcal convert IN OUT`.

use std::path::PathBuf;

use segcal_core::Result;
use segcal_data::convert::convert;
use serde_json::json;

use crate::{Common, Outcome, output};

/// Convert a volume or class scores to another format.
///
/// Reads NIfTI, MetaImage, NRRD, PNG and NumPy arrays; writes .nii, .nii.gz, .mha, .nrrd, .npy, .npz, and single-slice
/// label maps as .png. The written file is read back: unless every number and every voxel position is unchanged, it is
/// removed. NumPy arrays store no geometry: it is dropped when one is written, and taken from --like when one is read.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  segcal convert label.mha label.nii.gz\n  segcal convert case.npz case.nii.gz --like scan.nii.gz"
)]
pub struct Args {
    /// The file to read.
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The file to write.
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
    /// Volume that defines the grid of an array.
    #[arg(long, value_name = "FILE")]
    pub like: Option<PathBuf>,
}

/// Converts the file.
///
/// # Errors
/// A file cannot be read or written, or the format cannot hold what is read.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let _claim = output::claim(&args.out, [&args.input].into_iter().chain(&args.like).map(PathBuf::as_path))?;
    convert(&args.input, &args.out, args.like.as_deref())?;
    if common.json {
        output::print_json(&json!({ "in": args.input, "out": args.out }))?;
    } else {
        output::print(&format!("{}\n", args.out.display()))?;
    }
    Ok(Outcome::Done)
}
