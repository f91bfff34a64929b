//! What the program believes of files before it measures them: exact figures, or a message with file, value and remedy.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{segcal, stderr, stdout, text};
use segcal_data::{Grid, Volume, formats, nifti, npy};
use serde_json::Value;
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        crate::common::path_in(self.0.path(), name)
    }

    /// Status, messages and the summary, if there is one.
    fn evaluate(&self, arguments: &[&str]) -> (Option<i32>, String, Value) {
        let paths = ["--labels", "--probabilities", "--segmentations", "--logits"];
        let mut words: Vec<String> = vec!["evaluate".into(), "--out".into(), text(&self.at("out")).into()];
        for (index, word) in arguments.iter().enumerate() {
            let path = index > 0 && paths.contains(&arguments[index - 1]);
            words.push(if path { text(&self.at(word)).to_owned() } else { (*word).to_owned() });
        }
        let _ = fs::remove_dir_all(self.0.path().join("out"));
        let output = segcal(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let summary = fs::read_to_string(self.0.path().join("out/summary.json"));
        let summary = summary.map_or(Value::Null, |summary| serde_json::from_str(&summary).unwrap());
        (output.status.code(), stderr(&output), summary)
    }
}

const SIZE: usize = 8;

fn grid() -> Grid {
    Grid::new([SIZE; 3], [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]], 1).unwrap()
}

/// A block that no exchange or flip of axes maps onto itself.
fn block() -> Vec<u8> {
    let inside = |voxel: usize| {
        let [z, y, x] = [voxel / 64, voxel / 8 % 8, voxel % 8];
        (1..3).contains(&z) && (1..4).contains(&y) && (3..7).contains(&x)
    };
    (0..512).map(|voxel| u8::from(inside(voxel))).collect()
}

fn labels(path: &Path, values: Vec<u8>) {
    nifti::write(path, &Volume::new(values, 1, grid())).unwrap();
}

/// Scores `[2, …]` of labels, as an array whose voxels are those at `from`.
fn array(path: &Path, labels: &[u8], from: impl Fn([usize; 3]) -> usize) {
    let p = |voxel: usize| if labels[voxel] == 1 { 0.9_f32 } else { 0.1 };
    let foreground: Vec<f32> = (0..512).map(|at| p(from([at / 64, at / 8 % 8, at % 8]))).collect();
    let both: Vec<f32> = foreground.iter().map(|p| 1.0 - p).chain(foreground.iter().copied()).collect();
    npy::write_archive(path, &[("probabilities", &[2, 8, 8, 8], &both)]).unwrap();
}

fn straight([z, y, x]: [usize; 3]) -> usize {
    64 * z + 8 * y + x
}

fn dsc(summary: &Value, case: usize) -> f64 {
    summary["cases"][case]["structures"]["1"]["dsc"].as_f64().unwrap()
}

#[test]
fn the_order_of_a_cube_is_found_and_said() {
    let folder = Folder::new();
    labels(&folder.at("y/a.nii"), block());
    array(&folder.at("p/a.npz"), &block(), |[x, y, z]| straight([z, y, x]));
    let (status, messages, summary) = folder.evaluate(&["--probabilities", "p", "--labels", "y"]);
    assert_eq!((status, dsc(&summary, 0)), (Some(0), 1.0), "{messages}");
    assert!(messages.contains("[class, x, y, z]") && messages.contains("--axes"), "{messages}");
}

#[test]
fn bad_cases_stay_in_the_mean_and_an_order_in_doubt_is_refused() {
    let folder = Folder::new();
    for case in ["a", "b", "c", "d", "e"] {
        labels(&folder.at(&format!("y/{case}.nii")), block());
        array(&folder.at(&format!("p/{case}.npz")), &block(), straight);
    }
    array(&folder.at("p/d.npz"), &block(), |[z, y, x]| straight([z, y, 7 - x]));
    array(&folder.at("p/e.npz"), &[0; 512], straight);
    let (status, messages, summary) = folder.evaluate(&["--probabilities", "p", "--labels", "y"]);
    assert_eq!(status, Some(0), "{messages}");
    assert_eq!((dsc(&summary, 0), dsc(&summary, 4)), (1.0, 0.0));
    // Four columns of which two are where they were.
    assert_eq!(dsc(&summary, 3), 0.5);
    let alone = ["--probabilities", "p/e.npz", "--labels", "y/e.nii"];
    let (status, messages, _) = folder.evaluate(&alone);
    assert!(status == Some(2) && messages.contains("--axes kzyx") && messages.contains("e.npz"), "{messages}");
    let (status, _, summary) = folder.evaluate(&[&alone[..], &["--axes", "kzyx"]].concat());
    assert_eq!((status, dsc(&summary, 0)), (Some(0), 0.0));
}

#[test]
fn a_rare_foreground_that_is_no_distribution_is_refused() {
    let folder = Folder::new();
    let big = Grid::new([16, 40, 40], grid().affine, 1).unwrap();
    let mut rare = vec![0_u8; 25_600];
    rare[5000..5010].fill(1);
    nifti::write(&folder.at("y/a.nii"), &Volume::new(rare.clone(), 1, big.clone())).unwrap();
    for (name, foreground) in [("sigmoid", [0.9, 0.95]), ("zero", [0.0, 0.0])] {
        let of = |class: usize| {
            let outside = [0.99, 0.01][class];
            rare.iter().map(move |&label| if label == 1 { foreground[class] } else { outside })
        };
        let values: Vec<f32> = of(0).chain(of(1)).collect();
        nifti::write(&folder.at(&format!("{name}/a.nii")), &Volume::new(values, 2, big.clone())).unwrap();
        let (status, messages, _) = folder.evaluate(&["--probabilities", name, "--labels", "y"]);
        assert!(status == Some(2) && messages.contains("10 of the 10 voxels"), "{name}: {messages}");
    }
}

#[test]
fn eight_bit_maps_of_the_foreground_are_probabilities() {
    let folder = Folder::new();
    labels(&folder.at("y/s.nii"), block());
    let stored: Vec<u8> = block().iter().map(|&label| if label == 1 { 204 } else { 0 }).chain([255; 0]).collect();
    let mut full = stored.clone();
    full[straight([1, 1, 3])] = 255;
    labels(&folder.at("p/s.nii"), full);
    let given = ["--probabilities", "p", "--labels", "y"];
    let (status, messages, _) = folder.evaluate(&given);
    assert!(status == Some(2) && messages.contains("--background implied"), "{messages}");
    let (status, messages, _) = folder.evaluate(&["--logits", "p", "--labels", "y"]);
    assert!(status == Some(2) && messages.contains("p/s.nii"), "{messages}");
    let (status, messages, summary) = folder.evaluate(&[&given[..], &["--background", "implied"]].concat());
    assert_eq!((status, dsc(&summary, 0)), (Some(0), 1.0), "{messages}");
    let confidence = summary["cases"][0]["regions"]["foreground"]["confidence"].as_f64().unwrap();
    assert!((confidence - (23.0 * 0.8 + 1.0) / 24.0).abs() < 1e-6, "{confidence}");
}

#[test]
fn one_score_per_voxel_is_two_classes() {
    let folder = Folder::new();
    labels(&folder.at("y/c.nii"), block());
    let p: Vec<f32> = block().iter().map(|&label| if label == 1 { 0.8 } else { 0.2 }).collect();
    nifti::write(&folder.at("p/c.nii"), &Volume::new(p, 1, grid())).unwrap();
    let (status, messages, summary) = folder.evaluate(&["--probabilities", "p", "--labels", "y"]);
    assert_eq!((status, dsc(&summary, 0)), (Some(0), 1.0), "{messages}");
    let figure = |key: &str| summary["cases"][0]["regions"]["foreground"][key].as_f64().unwrap();
    assert!((figure("ece") - 0.2).abs() < 1e-6 && (figure("nll") + 0.8_f64.ln()).abs() < 1e-6);
}

#[test]
fn two_sizes_of_a_voxel_are_told_and_decided() {
    let folder = Folder::new();
    let shifted: Vec<u8> = (0..512).map(|voxel| if voxel >= 64 { block()[voxel - 64] } else { 0 }).collect();
    for (name, values) in [("y/a.nii", block()), ("p/a.nii", shifted)] {
        let path = folder.at(name);
        labels(&path, values);
        let mut bytes = fs::read(&path).unwrap();
        bytes[88..92].copy_from_slice(&0.75_f32.to_le_bytes());
        fs::write(&path, bytes).unwrap();
    }
    let hd = |summary: &Value| summary["cases"][0]["structures"]["1"]["hd"].as_f64().unwrap();
    let given = ["--segmentations", "p", "--labels", "y"];
    let (_, messages, summary) = folder.evaluate(&given);
    assert!(
        messages.contains("y/a.nii") && messages.contains("0.750000") && messages.contains("1.000000"),
        "{messages}"
    );
    assert!(messages.contains("--spacing-from pixdim") && hd(&summary) == 1.0, "{messages}");
    let (_, _, summary) = folder.evaluate(&[&given[..], &["--spacing-from", "pixdim"]].concat());
    assert_eq!(hd(&summary), 0.75);
    let output = segcal(&["info", text(&folder.at("y/a.nii"))]);
    assert!(stderr(&output).contains("0.750000"), "{}", stderr(&output));
    fs::rename(folder.at("y"), folder.at("ds/labels")).unwrap();
    fs::rename(folder.at("p"), folder.at("ds/images")).unwrap();
    let output = segcal(&["check", text(&folder.at("ds"))]);
    assert!(output.status.code() == Some(1) && stdout(&output).contains("according to pixdim"), "{}", stdout(&output));
}

#[test]
fn formats_of_itk_are_measured() {
    let folder = Folder::new();
    labels(&folder.at("y/a.nii"), block());
    let p = |class: bool| block().into_iter().map(move |label| if (label == 1) == class { 0.9_f32 } else { 0.1 });
    let values: Vec<f32> = p(false).chain(p(true)).collect();
    for ending in ["mha", "nrrd"] {
        formats::write(&folder.at(&format!("{ending}/a.{ending}")), &Volume::new(values.clone(), 2, grid())).unwrap();
        let (status, messages, summary) = folder.evaluate(&["--probabilities", ending, "--labels", "y"]);
        assert_eq!((status, dsc(&summary, 0)), (Some(0), 1.0), "{messages}");
        assert!(messages.is_empty(), "{messages}");
    }
}
