//! The files of an exported run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use segcal_core::{Backend, Context, Error, Result};
use segcal_data::checkpoint;
use segcal_data::output::{self, OutputFolder};
use serde::Serialize;

use crate::infer::Heads;
use crate::run::Trained;

/// Writes `model.onnx` and `weights.safetensors` of a run's best epoch into `out` and returns their paths.
///
/// # Errors
/// The folder contains no run, its checkpoint is damaged, or a file cannot be written.
pub fn export<B: Backend>(backend: &B, run_folder: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    let trained = Trained::open(run_folder, backend)?;
    let folder = OutputFolder::exclusive(out)?;
    let metadata = metadata(&trained)?;
    let (model, weights) = (folder.file("model.onnx")?, folder.file("weights.safetensors")?);
    let bytes = super::onnx(&*trained.network, &trained.parameters, Heads::of(trained.regions.as_ref()), &metadata)?;
    output::write_atomic(&model, |out| Ok(out.write_all(&bytes)?))?;
    let metadata: BTreeMap<String, String> = metadata.into_iter().map(|(key, text)| (key.into(), text)).collect();
    checkpoint::save(&weights, &[("", &trained.parameters)], &metadata)?;
    Ok(vec![model, weights])
}

/// What another program needs to know to use the network.
fn metadata<B: Backend>(trained: &Trained<B>) -> Result<Vec<(&'static str, String)>> {
    let mut entries = vec![
        ("classes", text(&trained.class_names)?),
        ("stride", text(&trained.network.stride())?),
        ("input", text(&trained.settings.input)?),
        ("samples", text(&trained.settings.samples)?),
        ("network", text(trained.network.config())?),
    ];
    if let Some(regions) = &trained.regions {
        entries.push(("regions", text(regions)?));
    }
    Ok(entries)
}

fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Error::from_source).at("metadata")
}
