//! Files of a few kilobytes that hold many classes or large labels: time and memory grow with what occurs, never with
//! the square of what could.

use std::fs;

use segcal_data::npy;

use super::super::common::text;
use super::limited;

/// Four voxels of this many classes, each sure of a class of its own; gives the size of the state.
fn state_of(classes: usize) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let label = |voxel: usize| (voxel * (classes - 1)).div_ceil(3);
    let rest = 0.5 / (classes - 1) as f32;
    let values: Vec<f32> =
        (0..classes).flat_map(|k| (0..4).map(move |voxel| if k == label(voxel) { 0.5 } else { rest })).collect();
    npy::write(&at("p.npy"), &[classes, 1, 2, 2], &values).unwrap();
    npy::write(&at("y.npy"), &[1, 2, 2], &(0..4).map(|voxel| label(voxel) as i32).collect::<Vec<_>>()).unwrap();
    let (p, y, out) = (at("p.npy"), at("y.npy"), at("out"));
    let output = limited(1024, &["evaluate", "--probabilities", text(&p), "--labels", text(&y), "--out", text(&out)]);
    assert_eq!(output.status.code(), Some(0), "{classes} classes: {}", crate::common::stderr(&output));
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(at("out/summary.json")).unwrap()).unwrap();
    let last = (classes - 1).to_string();
    assert_eq!(summary["cases"][0]["structures"][&last]["dsc"], 1.0, "{classes} classes");
    assert_eq!(summary["cases"][0]["regions"]["all"]["accuracy"], 1.0, "{classes} classes");
    fs::metadata(at("out/states/y.json")).or_else(|_| fs::metadata(at("out/states/p.json"))).unwrap().len()
}

#[test]
fn many_classes_cost_what_they_hold() {
    let (few, many) = (state_of(118), state_of(1000));
    assert!(few < 1 << 20, "{few} bytes for 118 classes");
    assert!(many < 12 * few, "{many} bytes for 1000 classes, {few} for 118");
}

#[test]
fn large_labels_cost_what_occurs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let labels: Vec<i32> = (0..400).map(|voxel| voxel % 40 * 1600).collect();
    npy::write(&at("y.npy"), &[1, 20, 20], &labels).unwrap();
    let (y, out) = (at("y.npy"), at("out"));
    let output = limited(1024, &["evaluate", "--segmentations", text(&y), "--labels", text(&y), "--out", text(&out)]);
    assert_eq!(output.status.code(), Some(0), "{}", crate::common::stderr(&output));
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(at("out/summary.json")).unwrap()).unwrap();
    assert_eq!(summary["cases"][0]["structures"].as_object().unwrap().len(), 39, "the labels that occur");
    assert_eq!(summary["cases"][0]["structures"]["62400"]["dsc"], 1.0);
    // What no label of 16 bits can be is refused, with its value.
    npy::write(&at("y.npy"), &[1, 20, 20], &labels.iter().map(|label| label * 2).collect::<Vec<_>>()).unwrap();
    let other = at("other");
    let arguments = ["evaluate", "--segmentations", text(&y), "--labels", text(&y), "--out", text(&other)];
    let output = limited(1024, &arguments);
    let said = crate::common::stderr(&output);
    assert!(output.status.code() == Some(2) && said.contains("y.npy") && said.contains("65535"), "{said}");
}
