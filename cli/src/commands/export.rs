//! `segcal export RUN`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use segcal_backends::Visitor;
use segcal_core::{Backend, Context, Error, Result};
use serde::Serialize;
use serde_json::json;

use crate::options::BackendName;
use crate::output::{self, OutputFolder};
use crate::train::run::{self, Trained};
use crate::{Common, Outcome, export};

/// Write a trained network for other programs.
///
/// Writes model.onnx (operator set 20; input "image", outputs "logits" and "probabilities", any batch and any extents
/// that are multiples of the network's stride) and weights.safetensors (the same weights under PyTorch's names). Both
/// hold the best epoch, and in their metadata the names of the classes and what an image must go through first.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal export runs/hippocampus-nacl --out exported")]
pub struct Args {
    /// Folder of the run.
    pub run: PathBuf,
    /// Folder of the files; the folder `export` of the run if not given.
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
        let trained = Trained::open(&self.args.run, &backend)?;
        let folder = OutputFolder::create(self.args.out.clone().unwrap_or_else(|| self.args.run.join("export")))?;
        let metadata = metadata(&trained)?;
        let (model, weights) = (folder.file("model.onnx")?, folder.file("weights.safetensors")?);
        let bytes = export::onnx(&*trained.network, &trained.parameters, &metadata)?;
        output::write_atomic(&model, |out| Ok(out.write_all(&bytes)?))?;
        let metadata: BTreeMap<String, String> = metadata.into_iter().map(|(key, text)| (key.into(), text)).collect();
        run::save(&weights, &[("", &trained.parameters)], &metadata)?;
        Ok(vec![model, weights])
    }
}

/// What another program must know to use the network.
fn metadata<B: Backend>(trained: &Trained<B>) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("classes", text(&trained.class_names)?),
        ("stride", text(&trained.network.stride())?),
        ("input", text(&trained.settings.input)?),
        ("samples", text(&trained.settings.samples)?),
        ("network", text(trained.network.config())?),
    ])
}

fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Error::from_source).at("metadata")
}
