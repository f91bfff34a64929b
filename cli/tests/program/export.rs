//! `segcal export`: what other programs load is what was trained.

use std::fs;

use crate::common::training::Scene;
use crate::common::{segcal, stderr, stdout};
use safetensors::SafeTensors;

#[test]
fn the_exported_weights_are_those_of_the_best_epoch() {
    let scene = Scene::new();
    scene.trained("run", &["epochs=2"]);
    let (run, out) = (scene.path("run"), scene.path("exported"));
    let output = segcal(&["export", run.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("model.onnx") && stdout(&output).contains("weights.safetensors"));

    let (best, weights) = (fs::read(run.join("best.safetensors")), fs::read(out.join("weights.safetensors")));
    let (best, weights) = (best.unwrap(), weights.unwrap());
    let (_, metadata) = SafeTensors::read_metadata(&weights).unwrap();
    let metadata = metadata.metadata().clone().unwrap();
    assert!(metadata["input"].contains("clip_percentiles") && metadata["classes"].contains("background"));
    let (best, weights) = (SafeTensors::deserialize(&best).unwrap(), SafeTensors::deserialize(&weights).unwrap());
    let model = fs::read(out.join("model.onnx")).unwrap();
    for (name, tensor) in weights.tensors() {
        assert_eq!(tensor.data(), best.tensor(&name).unwrap().data(), "{name}");
        assert!(
            model.windows(tensor.data().len()).any(|bytes| bytes == tensor.data()),
            "{name} is not in the ONNX file"
        );
    }
    assert!(weights.names().contains(&"down.0.l1.conv.weight"), "{:?}", weights.names());
    assert!(weights.names().iter().all(|name| !name.starts_with("optimiser")), "weights alone");
    assert!(best.len() > weights.len());

    // Without a folder the files lie in the run; what is not a run is said to be none.
    assert!(segcal(&["-q", "export", run.to_str().unwrap()]).status.success());
    assert_eq!(fs::read(run.join("export/model.onnx")).unwrap(), model, "the same bytes");
    let output = segcal(&["export", scene.path("cohort").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
