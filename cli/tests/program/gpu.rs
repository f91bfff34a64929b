//! The whole road with `--backend gpu` beside `--backend cpu`: training, prediction, evaluation, and what goes wrong.
//! Without a graphics card these tests say so and pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{stderr, stdout};
use segcal_data as data;
use segcal_models::NetworkEntry;
use serde_json::Value;
use tempfile::TempDir;

/// Largest relative difference of an epoch's loss terms between the backends: both sum in f32, in different orders, and
/// each of a handful of Adam steps magnifies a rounding by less than ten.
const CURVE: f64 = 1e-4;
/// Largest difference of a probability: the softmax of logits that some hundred f32 roundings separate.
const PROBABILITY: f32 = 1e-5;
/// Largest relative difference of a metric of the same stored volumes: distances are f32 on both.
const METRIC: f64 = 1e-6;

/// A folder for one test, or a line that says why there is nothing to test.
fn folder() -> Option<TempDir> {
    if segcal_backends::gpu::adapters().is_empty() {
        eprintln!("skipped: no graphics card (mesa-vulkan-drivers and libvulkan1 make one in software)");
        return None;
    }
    Some(tempfile::tempdir().unwrap())
}

/// Runs the program with its caches inside the folder.
fn segcal(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segcal"));
    command.env("XDG_RUNTIME_DIR", folder.path()).env("XDG_CACHE_HOME", folder.path().join("cache"));
    command.current_dir(folder.path()).args(arguments).output().expect("the program starts")
}

fn done(folder: &TempDir, arguments: &[&str]) -> Output {
    let output = segcal(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    output
}

/// A phantom cohort in `cohort` and a config in `tiny.toml`.
fn prepare(folder: &TempDir) {
    done(folder, &["-q", "phantom", "cohort", "--train", "2", "--val", "1", "--test", "1", "--size", "6,16,18"]);
    let text =
        "epochs = 2\nbatch = 4\ndata = \"cohort\"\n[samples]\nsize = [16, 20]\n[network]\nlevels = 2\nbase = 4\n";
    fs::write(folder.path().join("tiny.toml"), text).unwrap();
}

fn train(folder: &TempDir, backend: &str, loss: &str, more: &[&str]) -> PathBuf {
    let out = format!("{loss}-{backend}");
    let (loss, run) = (format!("loss.name={loss}"), format!("out={out}"));
    done(folder, &[&["-q", "train", "tiny.toml", &loss, &run, "--backend", backend], more].concat());
    folder.path().join(out)
}

/// Loss terms of each epoch.
fn curve(run: &Path) -> Vec<(String, f64)> {
    let text = fs::read_to_string(run.join("log.jsonl")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let terms = |record: Value| -> Vec<(String, f64)> { serde_json::from_value(record["loss"].clone()).unwrap() };
    records.flat_map(terms).collect()
}

#[test]
fn training_takes_the_course_of_the_processor_for_every_kind_of_loss() {
    let Some(folder) = folder() else { return };
    prepare(&folder);
    for loss in ["ce", "nacl", "crac"] {
        let [expected, found] = ["cpu", "gpu"].map(|backend| curve(&train(&folder, backend, loss, &[])));
        assert!(expected.len() >= 2 && found.len() == expected.len(), "{loss}: {expected:?}");
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            let allowed = CURVE * expected.abs();
            assert!((found - expected).abs() <= allowed, "{loss}, {name}: {found} instead of {expected}");
        }
    }
    assert!(folder.path().join("cache/segcal").is_dir() || !keeps_shaders(), "compiled shaders are kept");
}

/// Trains a small network of an entry of the list for some epochs of one step each.
fn train_small(folder: &TempDir, entry: &NetworkEntry, backend: &str, epochs: usize) -> Vec<(String, f64)> {
    let out = format!("{}-{backend}", entry.name);
    let own = [format!("network.name={}", entry.name), format!("epochs={epochs}"), format!("out={out}")];
    let keys = entry.small_config().keys.into_iter().map(|(key, value)| format!("network.{key}={value}"));
    let keys: Vec<String> = own.into_iter().chain(keys).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    done(folder, &[&["-q", "train", "networks.toml", "--backend", backend], &keys[..]].concat());
    curve(&folder.path().join(out))
}

#[test]
fn every_network_trains_on_the_processor_and_takes_a_step_on_the_card() {
    let Some(folder) = folder() else { return };
    prepare(&folder);
    let text = "batch = 4\ndata = \"cohort\"\n[samples]\nsize = [32, 32]\nper_volume = 2\n";
    fs::write(folder.path().join("networks.toml"), text).unwrap();
    for entry in segcal_models::networks() {
        let (expected, found) = (train_small(&folder, entry, "cpu", 2), train_small(&folder, entry, "gpu", 1));
        assert_eq!(expected.len(), 2 * found.len(), "{}: {expected:?}", entry.name);
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            let allowed = CURVE * expected.abs();
            assert!((found - expected).abs() <= allowed, "{}, {name}: {found} instead of {expected}", entry.name);
        }
    }
}

fn keeps_shaders() -> bool {
    segcal_backends::gpu::adapters()[0].features.contains(&"pipeline cache")
}

#[test]
fn prediction_and_evaluation_give_the_processors_numbers() {
    let Some(folder) = folder() else { return };
    prepare(&folder);
    train(&folder, "cpu", "nacl", &[]);
    for backend in ["cpu", "gpu"] {
        let out = format!("predicted-{backend}");
        done(&folder, &["-q", "predict", "nacl-cpu", "cohort/imagesTs", "--out", &out, "--backend", backend]);
        let (results, probabilities) = (format!("results-{backend}"), "predicted-cpu/probabilities");
        let labels = ["--labels", "cohort/labelsTs", "--out", &results, "--backend", backend];
        done(&folder, &[&["-q", "evaluate", "--probabilities", probabilities][..], &labels].concat());
    }
    let volume = |backend: &str| {
        let path = folder.path().join(format!("predicted-{backend}/probabilities/phantom_003.nii.gz"));
        data::read_image(&path).unwrap().data
    };
    let (expected, found) = (volume("cpu"), volume("gpu"));
    assert_eq!(found.len(), 3 * 6 * 16 * 18);
    for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found - expected).abs() <= PROBABILITY, "voxel {place}: {found} instead of {expected}");
    }
    let summary = |backend: &str| -> Value {
        let path = folder.path().join(format!("results-{backend}/summary.json"));
        let mut summary: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        // The checksums of tables whose numbers differ in their last bits.
        assert!(summary.as_object_mut().unwrap().remove("files").is_some());
        summary
    };
    let compared = same(&summary("gpu"), &summary("cpu"), "");
    assert!(compared > 100, "{compared} numbers were compared");
}

/// Compares two documents and gives how many numbers they hold.
fn same(found: &Value, expected: &Value, at: &str) -> usize {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            assert!(found.keys().eq(expected.keys()), "{at}");
            found.iter().map(|(key, value)| same(value, &expected[key], &format!("{at}.{key}"))).sum()
        }
        (Value::Array(found), Value::Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{at}");
            found.iter().zip(expected).map(|(found, expected)| same(found, expected, at)).sum()
        }
        (Value::Number(found), Value::Number(expected)) => {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            assert!((found - expected).abs() <= METRIC * expected.abs(), "{at}: {found} instead of {expected}");
            1
        }
        _ => {
            assert_eq!(found, expected, "{at}");
            0
        }
    }
}

#[test]
fn memory_that_does_not_suffice_is_an_error_that_names_need_and_limit() {
    let Some(folder) = folder() else { return };
    prepare(&folder);
    let output = segcal(&folder, &["train", "tiny.toml", "out=run", "--backend", "gpu", "--device-memory", "0.0001"]);
    let message = stderr(&output);
    assert!(!output.status.success() && message.contains("gpu: ") && message.contains("KiB are needed"), "{message}");
    assert!(message.contains("of the budget of 104.9 KiB are in use"), "{message}");
    assert!(message.contains("--device-memory"), "the remedy names the option: {message}");
}

#[test]
fn each_step_tells_what_it_asked_of_the_card() {
    let Some(folder) = folder() else { return };
    prepare(&folder);
    let output = segcal(&folder, &["-v", "train", "tiny.toml", "out=run", "epochs=1", "--backend", "gpu"]);
    let (messages, printed) = (stderr(&output), stdout(&output));
    let line = |step: usize| messages.lines().find(|line| line.contains(&format!("epoch 1, step {step}: "))).unwrap();
    assert!(line(1).contains(" dispatches in ") && !line(1).contains(" 0 pipelines compiled"), "{}", line(1));
    assert!(line(2).ends_with(" 0 pipelines compiled, 0 buffers created"), "{}", line(2));
    assert!(messages.contains("gpu, in total: ") && !printed.contains("dispatches"), "{messages}");
}

#[test]
fn an_unknown_card_is_an_error_that_lists_the_known() {
    let Some(folder) = folder() else { return };
    prepare(&folder);
    let output = segcal(&folder, &["train", "tiny.toml", "--backend", "gpu", "--device", "none such"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("available: 0 "), "{}", stderr(&output));
}
