//! `segcal merge`: folders of parts against one run over all cases.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{segcal, stderr, text};
use segcal_core::Rng;
use segcal_data::npy;
use tempfile::TempDir;

const EXTENT: [usize; 3] = [3, 8, 9];
const VOXELS: usize = 3 * 8 * 9;

/// A noisy prediction of two boxes; the second structure is missing in the reference of case 2.
fn write_case(root: &Path, name: &str, number: u64) {
    let labels: Vec<u16> = (0..VOXELS)
        .map(|voxel| match (voxel % 9, number) {
            (3..6, _) => 1,
            (6.., 1 | 3 | 4) => 2,
            _ => 0,
        })
        .collect();
    let rng = Rng::new(7).stream(number);
    let mut p = vec![0.0_f32; 3 * VOXELS];
    for (voxel, &label) in labels.iter().enumerate() {
        let weight = |k: usize| {
            let own = if usize::from(label) == k { 1.4 } else { 0.2 };
            own + rng.uniform((3 * voxel + k) as u64)
        };
        let sum: f64 = (0..3).map(weight).sum();
        (0..3).for_each(|k| p[k * VOXELS + voxel] = (weight(k) / sum) as f32);
    }
    let [d, h, w] = EXTENT;
    for (folder, shape) in [("p", vec![3, d, h, w]), ("y", vec![d, h, w])] {
        fs::create_dir_all(root.join(folder)).unwrap();
        let path = root.join(folder).join(format!("{name}.npy"));
        if folder == "p" { npy::write(&path, &shape, &p).unwrap() } else { npy::write(&path, &shape, &labels).unwrap() }
    }
}

/// Evaluates the cases in a root of their own and gives the folder of results.
fn evaluated(folder: &TempDir, out: &str, cases: &[u64], more: &[&str]) -> PathBuf {
    // The same names of files for every part: the paths are part of the states.
    let (root, out) = (folder.path().join("data"), folder.path().join(out));
    let _ = fs::remove_dir_all(&root);
    cases.iter().for_each(|&number| write_case(&root, &format!("case_{number}"), number));
    let (p, y) = (root.join("p"), root.join("y"));
    let given = ["-q", "evaluate", "--probabilities", text(&p), "--labels", text(&y), "--out", text(&out)];
    let output = segcal(&[&given, more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    out
}

#[test]
fn merged_parts_are_one_run_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let whole = evaluated(&folder, "whole", &[1, 2, 3, 4], &["--seed", "5", "--empty", "worst"]);
    let (a, b) = (evaluated(&folder, "a", &[1, 4], &[]), evaluated(&folder, "b", &[2, 3], &["--threads", "1"]));
    let merged = folder.path().join("merged");
    let parts = ["-q", "merge", text(&b), text(&a), "--out", text(&merged), "--seed", "5", "--empty", "worst"];
    let output = segcal(&parts);
    assert!(output.status.success(), "{}", stderr(&output));
    for file in ["summary.json", "cases.csv", "summary.csv", "report.html", "states/case_2.json", "plots/box-dsc.svg"] {
        let read = |folder: &Path| fs::read(folder.join(file)).unwrap();
        assert!(read(&whole) == read(&merged), "{file} differs");
    }
}

#[test]
fn what_does_not_go_together_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let a = evaluated(&folder, "a", &[1, 2], &[]);
    let b = evaluated(&folder, "b", &[2], &[]);
    let c = evaluated(&folder, "c", &[3], &["--bins", "10"]);
    let out = folder.path().join("out");
    let refused = |parts: &[&Path]| {
        let parts: Vec<&str> = parts.iter().map(|part| text(part)).collect();
        let output = segcal(&[&["merge", "--out", text(&out)][..], &parts].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(!out.exists(), "nothing is written");
        stderr(&output)
    };
    let message = refused(&[&a, &b]);
    assert!(message.contains("case_2") && message.contains("a/states") && message.contains("b/states"), "{message}");
    let message = refused(&[&a, &c]);
    assert!(message.contains("different settings") && message.contains("bins: 10 and 15"), "{message}");
    assert!(message.contains("a/states/case_1.json") && message.contains("c/states/case_3.json"), "{message}");
    assert!(refused(&[folder.path()]).contains("segcal evaluate wrote"));
}
