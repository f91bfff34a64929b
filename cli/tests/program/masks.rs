//! Label maps as one file a class by name in a folder for each case, as TotalSegmentator writes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{path_in, segcal, stderr, stdout, text};
use segcal_core::Rng;
use segcal_data::{Grid, Volume, nifti};
use serde_json::Value;

const NAMES: [&str; 3] = ["kidney", "liver", "spleen"];

/// Labels 0 to 3 of a case, the prediction another draw than the reference where a coin says so.
fn labels(case: u64, predicted: bool) -> Vec<u8> {
    let rng = Rng::new(9).stream(case);
    let draw = |voxel: u64, number: u64| (4.0 * rng.stream(number).uniform(voxel)) as u8;
    (0..192).map(|voxel| draw(voxel, u64::from(predicted && rng.stream(2).uniform(voxel) < 0.3))).collect()
}

fn grid() -> Grid {
    Grid::new([3, 8, 8], [[1.5, 0.0, 0.0, 0.0], [0.0, 1.5, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]], 1).unwrap()
}

fn write(path: &Path, values: Vec<u8>) {
    nifti::write(path, &Volume::new(values, 1, grid())).unwrap();
}

struct Scene(tempfile::TempDir);

impl Scene {
    /// Two cases on both sides, as label maps and as masks; masks of the reference lie in `segmentations`.
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        for case in 0..2 {
            for (side, predicted) in [("p", true), ("y", false)] {
                let values = labels(case, predicted);
                write(&scene.at(&format!("{side}-maps/s{case}.nii.gz")), values.clone());
                let inner = if predicted { "" } else { "segmentations/" };
                for (number, name) in (1..).zip(NAMES) {
                    let mask = values.iter().map(|&label| u8::from(label == number)).collect();
                    write(&scene.at(&format!("{side}/s{case}/{inner}{name}.nii.gz")), mask);
                }
            }
        }
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        path_in(self.0.path(), name)
    }

    /// Exit status, standard error, and the summary.
    fn evaluated(&self, predictions: &str, labels: &str) -> (Option<i32>, String, Value) {
        let (p, y, out) = (self.at(predictions), self.at(labels), self.at("out"));
        let _ = fs::remove_dir_all(&out);
        let output = segcal(&["evaluate", "--segmentations", text(&p), "--labels", text(&y), "--out", text(&out)]);
        let summary = fs::read_to_string(out.join("summary.json")).ok();
        let summary = summary.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
        (output.status.code(), stderr(&output), summary)
    }
}

#[test]
fn masks_have_the_figures_of_their_label_maps() {
    let scene = Scene::new();
    let (status, message, maps) = scene.evaluated("p-maps", "y-maps");
    assert_eq!(status, Some(0), "{message}");
    assert!(maps["mean"]["structures"]["3"]["hd"].is_number());
    let (status, message, masks) = scene.evaluated("p", "y");
    assert_eq!(status, Some(0), "{message}");
    for key in ["mean", "std", "interval95", "bounds"] {
        assert_eq!(masks[key], maps[key], "{key}");
    }
    let table = fs::read_to_string(scene.at("out/report.html")).unwrap();
    assert!(NAMES.iter().all(|name| table.contains(name)));
    // Nothing is measured twice, and what changed is.
    let (p, y, out) = (scene.at("p"), scene.at("y"), scene.at("out"));
    let resume =
        || segcal(&["evaluate", "--segmentations", text(&p), "--labels", text(&y), "--out", text(&out), "--resume"]);
    assert!(resume().status.success());
    write(&scene.at("p/s1/liver.nii.gz"), vec![0; 192]);
    assert!(resume().status.success());
    let summary: Value = serde_json::from_str(&fs::read_to_string(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["cases"][1]["structures"]["2"]["dsc"], 0.0);
}

#[test]
fn one_side_of_masks_takes_its_numbers_from_the_data_set() {
    let scene = Scene::new();
    let (status, message, _) = scene.evaluated("p", "y-maps");
    assert_eq!(status, Some(2), "{message}");
    assert!(message.contains("unknown label of kidney, liver, spleen") && message.contains("dataset.json"));
    // Other numbers than the order of the names.
    for case in 0..2 {
        let values = labels(case, false).into_iter().map(|label| [0, 3, 1, 2][usize::from(label)]).collect();
        write(&scene.at(&format!("set/labels/s{case}.nii.gz")), values);
    }
    let named = r#"{"labels": {"background": 0, "liver": 1, "spleen": 2, "kidney": 3}}"#;
    fs::write(scene.at("set/dataset.json"), named).unwrap();
    let (status, message, masks) = scene.evaluated("p", "set/labels");
    assert_eq!(status, Some(0), "{message}");
    let (_, _, maps) = scene.evaluated("p-maps", "y-maps");
    let dsc = |summary: &Value, label: &str| summary["mean"]["structures"][label]["dsc"].clone();
    for (own, other) in [("1", "2"), ("2", "3"), ("3", "1")] {
        assert_eq!(dsc(&masks, own), dsc(&maps, other));
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let scene = Scene::new();
    fs::remove_file(scene.at("p/s1/liver.nii.gz")).unwrap();
    let (status, message, summary) = scene.evaluated("p", "y");
    assert_eq!((status, summary["cases"].as_array().unwrap().len()), (Some(1), 1), "{message}");
    assert!(message.contains("s1") && message.contains("no file of the class liver"), "{message}");

    // A class that one side has nowhere is left out, and said so.
    fs::remove_file(scene.at("p/s0/liver.nii.gz")).unwrap();
    let (status, message, summary) = scene.evaluated("p", "y");
    assert_eq!(status, Some(0), "{message}");
    assert!(message.contains("liver left out"), "{message}");
    assert_eq!(summary["mean"]["structures"].as_object().unwrap().len(), 2);

    // Masks that overlap have no label.
    write(&scene.at("p/s0/spleen.nii.gz"), vec![1; 192]);
    let (status, message, _) = scene.evaluated("p", "y");
    assert_eq!(status, Some(1), "{message}");
    assert!(message.contains("also in another mask") && message.contains("kidney.nii.gz"), "{message}");

    // They are no scores.
    let (p, y, out) = (scene.at("p"), scene.at("y"), scene.at("out"));
    let output = segcal(&["evaluate", "--probabilities", text(&p), "--labels", text(&y), "--out", text(&out)]);
    assert!(stderr(&output).contains("--segmentations"), "{}", stderr(&output));
}

#[test]
fn info_names_the_form() {
    let scene = Scene::new();
    let output = segcal(&["info", "--json", text(&scene.at("y"))]);
    let found: BTreeMap<String, Value> = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(found["format"], "one file a class by name");
    assert_eq!((&found["cases"], &found["classes"]), (&serde_json::json!(2), &serde_json::json!(NAMES)));
    let output = segcal(&["info", text(&scene.at("p/s0"))]);
    assert!(!output.status.success());
}
