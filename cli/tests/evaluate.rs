//! `segcal evaluate` on what people hand to it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{segcal, stderr};
use segcal::data::{Grid, Volume, nifti, npy};
use serde_json::Value;
use tempfile::TempDir;

const EXTENT: [usize; 3] = [6, 14, 16];
const VOXELS: usize = 6 * 14 * 16;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn grid() -> Grid {
    let affine = [[0.8, 0.0, 0.0, 0.0], [0.0, 0.9, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]];
    Grid::new(EXTENT, affine, 1).unwrap()
}

/// A box that no flip maps onto itself.
fn labels() -> Vec<u8> {
    let inside = |voxel: usize| {
        let [z, y, x] = [voxel / 224, voxel / 16 % 14, voxel % 16];
        (1..4).contains(&z) && (2..8).contains(&y) && (1..7).contains(&x)
    };
    (0..VOXELS).map(|voxel| u8::from(inside(voxel))).collect()
}

fn probabilities(labels: &[u8]) -> Vec<f32> {
    let p = |voxel: usize| if labels[voxel] == 1 { 0.75 } else { 0.125 };
    (0..VOXELS).map(|voxel| 1.0 - p(voxel)).chain((0..VOXELS).map(p)).collect()
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn labels(&self, name: &str, labels: Vec<u8>) {
        nifti::write(&self.at(name), &Volume::new(labels, 1, grid())).unwrap();
    }

    fn scores(&self, name: &str, values: Vec<f32>) {
        nifti::write(&self.at(name), &Volume::new(values, 2, grid())).unwrap();
    }

    /// Status, messages and the summary, if there is one.
    fn evaluate(&self, arguments: &[&str]) -> (Option<i32>, String, Value) {
        let paths: Vec<String> = arguments
            .iter()
            .map(|word| if word.starts_with('-') { (*word).to_owned() } else { text(&self.at(word)).to_owned() })
            .collect();
        let mut all = vec!["evaluate"];
        all.extend(paths.iter().map(String::as_str));
        let output = segcal(&all);
        let summary = fs::read_to_string(self.at("out").join("summary.json")).unwrap_or_default();
        (output.status.code(), stderr(&output), serde_json::from_str(&summary).unwrap_or_default())
    }
}

#[test]
fn numbers_that_were_turned_under_their_header_are_warned_of() {
    let folder = Folder::new();
    folder.labels("y/a.nii", labels());
    let mut turned = labels();
    turned.chunks_mut(16).for_each(<[u8]>::reverse);
    folder.scores("p/a.nii", probabilities(&turned));
    let (status, messages, _) = folder.evaluate(&["--probabilities", "p", "--labels", "y", "--out", "out"]);
    assert_eq!(status, Some(0), "{messages}");
    assert!(messages.contains("flipped along x") && messages.contains("header"), "{messages}");
    folder.scores("p/a.nii", probabilities(&labels()));
    let (_, messages, _) = folder.evaluate(&["--probabilities", "p", "--labels", "y", "--out", "out"]);
    assert!(!messages.contains("flipped"), "{messages}");
}

#[test]
fn percentages_and_label_maps_for_probabilities_are_said_so() {
    let folder = Folder::new();
    folder.labels("y/a.nii", labels());
    folder.scores("p/a.nii", probabilities(&labels()).iter().map(|p| 100.0 * p).collect());
    for kind in ["--probabilities", "--logits"] {
        let (status, messages, _) = folder.evaluate(&[kind, "p", "--labels", "y", "--out", "out"]);
        assert_eq!(status, Some(2), "{messages}");
        assert!(messages.contains("divide them by their sum"), "{messages}");
    }
    folder.scores("p/a.nii", probabilities(&labels()).iter().map(|p| p.round()).collect());
    let (status, messages, _) = folder.evaluate(&["--probabilities", "p", "--labels", "y", "--out", "out"]);
    assert_eq!(status, Some(0));
    assert!(messages.contains("0 or 1"), "{messages}");
}

#[test]
fn every_storage_of_the_same_numbers_gives_the_same_figures() {
    let folder = Folder::new();
    folder.labels("y/a.nii.gz", labels());
    let p = probabilities(&labels());
    let [d, h, w] = EXTENT;
    folder.scores("nifti/a.nii.gz", p.clone());
    for k in 0..2 {
        let class = Volume::new(p[k * VOXELS..(k + 1) * VOXELS].to_vec(), 1, grid());
        nifti::write(&folder.at(&format!("classes/a_{k}.nii")), &class).unwrap();
    }
    npy::write(&folder.at("npy/a.npy"), &[2, d, h, w], &p).unwrap();
    npy::write_archive(&folder.at("npz/a.npz"), &[("probabilities", &[2, d, h, w], &p)]).unwrap();
    let view = ndarray::ArrayView4::from_shape((2, d, h, w), &p).unwrap();
    let turned: Vec<f32> = view.permuted_axes([0, 3, 2, 1]).iter().copied().collect();
    npy::write(&folder.at("x-first/a.npy"), &[2, w, h, d], &turned).unwrap();
    for axes in ["LPI", "ASR"] {
        let volume = Volume::new(p.clone(), 2, grid()).reoriented(axes.parse().unwrap());
        nifti::write(&folder.at(&format!("{axes}/a.nii")), &volume).unwrap();
    }
    let mut summaries = Vec::new();
    for kind in ["nifti", "classes", "npy", "npz", "x-first", "LPI", "ASR"] {
        let (status, messages, summary) =
            folder.evaluate(&["-q", "--probabilities", kind, "--labels", "y", "--out", "out"]);
        assert_eq!((status, messages.as_str()), (Some(0), ""), "{kind}");
        summaries.push((kind, summary["cases"].clone()));
    }
    summaries.iter().for_each(|(kind, cases)| assert_eq!(*cases, summaries[0].1, "{kind}"));
}

#[test]
fn labels_of_large_numbers_take_no_table_of_their_square() {
    let folder = Folder::new();
    let large: Vec<u16> =
        labels().iter().enumerate().map(|(i, &x)| if i == 0 { 65_000 } else { 2000 * u16::from(x) }).collect();
    npy::write(&folder.at("y/a.npy"), &EXTENT, &large).unwrap();
    let (status, messages, summary) = folder.evaluate(&["--segmentations", "y", "--labels", "y", "--out", "out"]);
    assert_eq!(status, Some(0), "{messages}");
    let structures = summary["cases"][0]["structures"].as_object().unwrap();
    assert_eq!(structures.keys().collect::<Vec<_>>(), ["2000", "65000"]);
    assert_eq!(structures["2000"]["dsc"], 1.0);
}

#[test]
fn a_run_that_was_cut_off_goes_on_without_doing_cases_again() {
    let folder = Folder::new();
    for case in ["a", "b", "c"] {
        folder.labels(&format!("labelsTs/{case}.nii"), labels());
        folder.scores(&format!("p/{case}.nii"), probabilities(&labels()));
    }
    nifti::write(
        &folder.at("imagesTs/a_0000.nii"),
        &Volume::new(probabilities(&labels())[..VOXELS].to_vec(), 1, grid()),
    )
    .unwrap();
    let run = |more: &[&str]| {
        let base = ["-q", "--probabilities", "p", "--labels", "labelsTs", "--out", "out"];
        folder.evaluate(&[&base[..], more].concat())
    };
    assert_eq!(run(&[]).0, Some(0));
    let files = ["summary.json", "report.html", "cases.csv"];
    let first = files.map(|file| fs::read(folder.at("out").join(file)).unwrap());
    // As a killed run leaves it: one state missing, a half-written one beside.
    let state = |case: &str| folder.at("out/states").join(format!("{case}.json"));
    fs::remove_file(state("b")).unwrap();
    fs::write(folder.at("out/states/.b.json.tmp"), "{").unwrap();
    let kept = fs::metadata(state("a")).unwrap().modified().unwrap();
    assert_eq!(run(&["--resume"]).0, Some(0));
    assert_eq!(fs::metadata(state("a")).unwrap().modified().unwrap(), kept, "a is not measured again");
    assert!(state("b").is_file());
    assert_eq!(files.map(|file| fs::read(folder.at("out").join(file)).unwrap()), first);
    let page = String::from_utf8(first[1].clone()).unwrap();
    assert!(page.contains("worst-1-a") && page.contains("data:image/png;base64") && page.contains("At a glance"));
    // Other predictions are not taken for those that were measured.
    let (status, messages, _) =
        folder.evaluate(&["--probabilities", "labelsTs", "--labels", "labelsTs", "--out", "out", "--resume"]);
    assert_eq!(status, Some(2));
    assert!(messages.contains("was measured from"), "{messages}");
}
