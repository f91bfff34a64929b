//! `segcal export RUN`.

use std::path::PathBuf;

use segcal_backends::Visitor;
use segcal_core::{Backend, Result};
use serde_json::json;

use crate::options::BackendName;
use crate::output;
use crate::{Common, Outcome};

/// Export a trained network for use in other programs.
///
/// Writes model.onnx (operator set 20; input "image", outputs "logits" and "probabilities", any batch and any extents
/// that are multiples of the network's stride) and weights.safetensors (the same weights under PyTorch's names). Both
/// contain the weights of the best epoch and, as metadata, the names of the classes and the preprocessing of images.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal export runs/hippocampus-nacl --out exported")]
pub struct Args {
    /// Folder of the run.
    pub run: PathBuf,
    /// Folder for the files [default: RUN/export].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Writes the files.
///
/// # Errors
/// The folder holds no run, its checkpoint is damaged, or a file cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let written = common.device(BackendName::Cpu)?.run(Exporting { args })?;
    if common.json {
        output::print_json(&json!({ "files": written }))?;
    } else {
        written.iter().try_for_each(|path| output::print(&format!("{}\n", path.display())))?;
    }
    Ok(Outcome::Done)
}

struct Exporting<'a> {
    args: &'a Args,
}

impl Visitor for Exporting<'_> {
    type Output = Result<Vec<PathBuf>>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        let out = self.args.out.clone().unwrap_or_else(|| self.args.run.join("export"));
        segcal_train::export::export(&backend, &self.args.run, &out)
    }
}
