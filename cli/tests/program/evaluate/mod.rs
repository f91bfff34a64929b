//! `segcal evaluate` on what people hand to it.

mod states;

use std::fs;
use std::path::PathBuf;

use crate::common::{segcal, stderr, stdout, text};
use segcal_data::{Grid, Volume, nifti, npy};
use serde_json::Value;
use tempfile::TempDir;

const EXTENT: [usize; 3] = [6, 14, 16];
const VOXELS: usize = 6 * 14 * 16;

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
        crate::common::path_in(self.0.path(), name)
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

/// A case of `[1, 4, 6]` voxels: reference, and the labels that scores of this many classes say with 0.75.
fn write_small(folder: &Folder, case: &str, classes: usize, reference: [u16; 24], said: [u16; 24]) {
    let rest = 0.25 / (classes - 1) as f32;
    let p: Vec<f32> =
        (0..24 * classes).map(|at| if usize::from(said[at % 24]) == at / 24 { 0.75 } else { rest }).collect();
    npy::write(&folder.at(&format!("p/{case}.npy")), &[classes, 1, 4, 6], &p).unwrap();
    npy::write(&folder.at(&format!("y/{case}.npy")), &[1, 4, 6], &reference).unwrap();
}

/// A row of label 1 in the second row, from `first` on.
fn bar(first: usize) -> [u16; 24] {
    std::array::from_fn(|voxel| u16::from((6 + first..12).contains(&voxel)))
}

const SMALL: [&str; 6] = ["--probabilities", "p", "--labels", "y", "--out", "out"];

#[test]
fn no_rule_for_empty_masks_gives_calibration_to_a_region_without_voxels() {
    let folder = Folder::new();
    write_small(&folder, "a", 2, bar(0), bar(2));
    write_small(&folder, "b", 2, bar(1), bar(1));
    write_small(&folder, "c", 2, [0; 24], [0; 24]);
    let figures = |summary: &Value| [&summary["mean"], &summary["bounds"]].map(|of| of["regions"].clone());
    let (_, _, plain) = folder.evaluate(&SMALL);
    // Of the foreground 4 of 6 and 5 of 5 voxels are right, all with 0.75.
    let expected = f64::midpoint(0.75 - 4.0 / 6.0, 1.0 - 0.75);
    assert!((plain["mean"]["regions"]["foreground"]["ece"].as_f64().unwrap() - expected).abs() < 1e-6);
    for rule in ["--empty=papers", "--empty=worst", "--empty=penalise"] {
        let (status, messages, summary) = folder.evaluate(&[&SMALL[..], &[rule]].concat());
        assert_eq!(status, Some(0), "{messages}");
        assert_eq!(figures(&summary), figures(&plain), "{rule}");
        assert_eq!(summary["cases"][2]["regions"]["foreground"]["ece"], "nan");
    }
    let table = fs::read_to_string(folder.at("out/summary.csv")).unwrap();
    let line = table.lines().find(|line| line.starts_with(",foreground,ece,")).unwrap();
    assert!(line.ends_with(",2,0,0,1"), "two cases, one counted as empty: {line}");
}

#[test]
fn an_infinite_mean_has_no_interval_and_lies_within_its_bounds() {
    let folder = Folder::new();
    write_small(&folder, "a", 2, bar(0), bar(2));
    write_small(&folder, "b", 2, bar(1), bar(2));
    write_small(&folder, "c", 2, bar(1), [0; 24]);
    let (_, messages, summary) = folder.evaluate(&[&SMALL[..], &["--empty=worst"]].concat());
    let of = |what: &str| summary[what]["structures"]["1"]["hd"].clone();
    assert_eq!(of("mean"), "inf", "{messages}");
    assert_eq!(of("interval95"), serde_json::json!(["nan", "nan"]));
    assert_eq!(of("bounds"), serde_json::json!(["inf", 1.0]));
    let page = fs::read_to_string(folder.at("out/report.html")).unwrap();
    assert!(!page.contains("inf voxels") && !page.contains("+inf") && page.contains("&infin;"));
}

#[test]
fn unions_that_no_case_has_or_that_are_named_like_something_else_are_refused() {
    let folder = Folder::new();
    write_small(&folder, "a", 4, bar(0), bar(2));
    for (text, key) in [
        ("1 = [2, 3]", "regions.1"),
        ("foreground = [1]", "regions.foreground"),
        ("E = []", "regions.E"),
        ("TC = [1, 7]", "regions.TC: [1, 7] contains the label 7"),
    ] {
        fs::write(folder.at("c.toml"), format!("[regions]\n{text}\n")).unwrap();
        let (status, messages, _) = folder.evaluate(&[&SMALL[..], &["--config", "c.toml"]].concat());
        assert_eq!(status, Some(2), "{messages}");
        assert!(messages.contains(key), "{messages}");
        assert!(!folder.at("out").exists(), "nothing is written");
    }
    // Label maps do not say how many classes there are.
    let labels = ["--segmentations", "y", "--labels", "y", "--out", "out", "--config", "c.toml"];
    let (status, messages, _) = folder.evaluate(&labels);
    assert_eq!(status, Some(0), "{messages}");
    assert!(messages.contains("regions.TC: no label map contains the label 7"), "{messages}");
}

#[test]
fn a_structure_is_not_scored_where_the_prediction_has_no_class_for_it() {
    let folder = Folder::new();
    write_small(&folder, "a", 2, bar(0), bar(0));
    write_small(&folder, "b", 4, bar(0).map(|label| 3 * label), bar(2).map(|label| 3 * label));
    fs::write(folder.at("c.toml"), "[regions]\nlate = [2, 3]\n").unwrap();
    let (status, messages, summary) =
        folder.evaluate(&[&SMALL[..], &["--empty=papers", "--config", "c.toml"]].concat());
    assert_eq!(status, Some(0), "{messages}");
    for of in ["3", "late"] {
        assert_eq!(summary["mean"]["structures"][of]["dsc"], 0.8, "the case of four classes alone: {of}");
        assert_eq!(summary["cases"][0]["structures"][of]["dsc"], "nan", "{of}");
        assert_eq!(summary["empty"][of]["both"], 0, "{of}");
    }
    assert_eq!([&summary["empty"]["3"]["no_class"], &summary["empty"]["1"]["no_class"]], [1, 0]);
    assert_eq!(summary["empty"]["1"]["both"], 1, "the case of four classes has label 1 in neither map");
    let table = fs::read_to_string(folder.at("out/summary.csv")).unwrap();
    let line = table.lines().find(|line| line.starts_with(",structure:3,ece,")).unwrap();
    assert!(line.ends_with(",1,0,0,0"), "one case, none of them empty: {line}");
    let table = fs::read_to_string(folder.at("out/cases.csv")).unwrap();
    assert!(table.contains("a,3,,dsc,NaN,1,no class in the prediction"), "{table}");
}

/// Every file in which a unit is printed.
fn printed(folder: &Folder) -> String {
    let files = ["cases.csv", "summary.csv", "report.html"];
    files.map(|file| fs::read_to_string(folder.at("out").join(file)).unwrap()).concat()
}

#[test]
fn lengths_in_voxels_are_called_so() {
    let folder = Folder::new();
    let moved: Vec<u8> = [vec![0], labels()].concat()[..VOXELS].to_vec();
    folder.labels("y/a.nii", labels());
    folder.labels("p/a.nii", moved.clone());
    let given = ["--segmentations", "p", "--labels", "y", "--out", "out"];
    // To the bits of the header's 32-bit numbers.
    let hd = |summary: &Value| (summary["mean"]["structures"]["1"]["hd"].as_f64().unwrap() * 1e6).round() / 1e6;
    let (_, _, summary) = folder.evaluate(&given);
    assert_eq!((&summary["length_unit"], hd(&summary)), (&"mm".into(), 0.8));
    assert!(printed(&folder).contains(" mm") && !printed(&folder).contains(",voxels,"));
    let (_, _, summary) = folder.evaluate(&[&given[..], &["--voxel-units"]].concat());
    assert_eq!((&summary["length_unit"], hd(&summary)), (&"voxels".into(), 1.0));
    let text = printed(&folder);
    assert!(!text.contains(" mm") && !text.contains("(mm)") && !text.contains(",mm,"));
    assert!(text.contains("hd,1,voxels,") && text.contains("hd95_max (voxels)") && text.contains("5 voxels"));
    // The authors' distances are in voxels, whatever the size of the voxels.
    let (_, _, summary) = folder.evaluate(&[&given[..], &["--convention=authors"]].concat());
    assert_eq!(summary["length_unit"], "voxels");
    assert!(printed(&folder).contains("hd95_pooled,1,voxels,"));
}

#[test]
fn labels_without_a_voxel_size_give_lengths_in_voxels() {
    let folder = Folder::new();
    write_small(&folder, "a", 2, bar(0), bar(2));
    let (_, _, summary) = folder.evaluate(&SMALL);
    assert_eq!(summary["length_unit"], "voxels");
    let text = printed(&folder);
    assert!(!text.contains(" mm") && !text.contains("(mm)") && !text.contains(",mm,"));
    folder.labels("y/b.nii", labels());
    folder.scores("p/b.nii", probabilities(&labels()));
    let (status, messages, _) = folder.evaluate(&SMALL);
    assert_eq!(status, Some(2), "{messages}");
    assert!(messages.contains("b: its lengths are in mm, those of a in voxels"), "{messages}");
    assert!(messages.contains("--voxel-units"), "{messages}");
    assert_eq!(folder.evaluate(&[&SMALL[..], &["--voxel-units"]].concat()).0, Some(0));
}
