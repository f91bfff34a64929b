//! The program from outside: exit statuses, messages, `info`, `check`, `completions`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{segcal, stderr, stdout};
use segcal_data::{Grid, Volume, nifti, npy};
use serde_json::{Value, json};

fn json_of(arguments: &[&str]) -> Value {
    let output = segcal(arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn wrong_usage_is_status_2_with_the_nearest_word() {
    let output = segcal(&["chekc"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: ") && stderr(&output).contains("'check'"), "{}", stderr(&output));
    for arguments in [
        &["info"][..],
        &["info", "--threads", "0", "x"],
        &["info", "--backend", "tpu", "x"],
        &["-q", "-v", "info", "x"],
    ] {
        let output = segcal(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).starts_with("error: "), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let output = segcal(&["--version"]);
    assert_eq!(stdout(&output), format!("segcal {}\n", env!("CARGO_PKG_VERSION")));
    let output = segcal(&["info", "--help"]);
    assert!(output.status.success() && stdout(&output).contains("Example:"));
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = segcal(&["completions", shell]);
        assert!(output.status.success());
        assert!(stdout(&output).contains("info"), "{shell}");
    }
    assert_eq!(segcal(&["completions", "cmd"]).status.code(), Some(2));
}

#[test]
fn every_verb_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let output = segcal(&["man", folder.path().to_str().unwrap()]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    for name in ["segcal", "segcal-evaluate", "segcal-calibrate-fit", "segcal-man"] {
        let page = fs::read_to_string(folder.path().join(format!("{name}.1"))).expect(name);
        assert!(page.contains(&format!(".TH {name} 1")) && page.contains("EXTRA"), "{name}: {page}");
    }
    assert!(!folder.path().join("segcal-help.1").exists());
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_segcal"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_status_1() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_segcal")).args(["completions", "bash"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("standard output"), "{}", stderr(&output));
}

fn grid() -> Grid {
    let affine = [[-2.0, 0.0, 0.0, 10.0], [0.0, 1.5, 0.0, -3.0], [0.0, 0.0, 1.0, 0.0]];
    Grid::new([2, 3, 4], affine, 1).unwrap()
}

fn image(seed: f32) -> Volume<f32> {
    Volume::new((0..24).map(|x| x as f32 * 0.5 + seed).collect(), 1, grid())
}

fn label() -> Volume<u8> {
    Volume::new((0..24).map(|x| (x / 10) as u8).collect(), 1, grid())
}

#[test]
fn info_of_a_volume() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("label.nii.gz");
    nifti::write(&path, &label()).unwrap();
    let info = json_of(&["info", "--json", path.to_str().unwrap()]);
    assert_eq!(info["format"], "nifti-1 single");
    assert_eq!(info["dim"], json!([4, 3, 2]));
    assert_eq!(info["axes"], "LAS");
    assert_eq!(info["spacing_mm"], json!([2.0, 1.5, 1.0]));
    assert_eq!(info["labels"], json!({"0": 10, "1": 10, "2": 4}));
    assert_eq!((&info["min"], &info["max"], &info["sum"]), (&json!(0.0), &json!(2.0), &json!(18.0)));
    assert_eq!(info["affine"][0], json!([-2.0, 0.0, 0.0, 10.0]));
    let text = stdout(&segcal(&["info", path.to_str().unwrap()]));
    assert!(text.contains("4 x 3 x 2") && text.contains("0: 10, 1: 10, 2: 4"), "{text}");
}

#[test]
fn info_of_arrays_and_of_what_is_not_finite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    npy::write_archive(&path, &[("x", &[3], &[f32::NAN, f32::INFINITY, 1.0]), ("y", &[1, 2], &[0.5, 1.5])]).unwrap();
    let info = json_of(&["info", "--json", path.to_str().unwrap()]);
    assert_eq!((&info[0]["max"], &info[0]["nans"], &info[0]["mean"]), (&json!("inf"), &json!(1), &json!("inf")));
    assert_eq!((&info[1]["array"], &info[1]["mean"], &info[1]["dim"]), (&json!("y"), &json!(1.0), &json!([1, 2])));
    assert_eq!(info[1]["labels"], Value::Null);
}

#[test]
fn info_goes_on_after_a_file_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good.nii"), folder.path().join("bad.nii"));
    nifti::write(&good, &image(0.0)).unwrap();
    std::fs::write(&bad, "no").unwrap();
    let output = segcal(&["info", "--json", bad.to_str().unwrap(), good.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("bad.nii"));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(segcal(&["info", bad.to_str().unwrap(), bad.to_str().unwrap()]).status.code(), Some(2));
    assert_eq!(segcal(&["info", "/no/such.nii"]).status.code(), Some(2));
    let missing = segcal(&["info", "/no/such"]);
    assert!(stderr(&missing).contains("No such file"), "{}", stderr(&missing));
}

/// A data set of two cases in which nothing is wrong.
fn data_set(root: &Path) {
    std::fs::create_dir_all(root.join("imagesTr")).unwrap();
    std::fs::create_dir_all(root.join("labelsTr")).unwrap();
    std::fs::write(root.join("dataset.json"), r#"{"labels": {"background": 0, "a": 1, "b": 2}}"#).unwrap();
    for (name, seed) in [("one.nii.gz", 0.0), ("two.nii.gz", 1.0)] {
        nifti::write(&root.join("imagesTr").join(name), &image(seed)).unwrap();
        nifti::write(&root.join("labelsTr").join(name), &label()).unwrap();
    }
}

#[test]
fn check_of_a_good_data_set() {
    let folder = tempfile::tempdir().unwrap();
    data_set(folder.path());
    let output = segcal(&["check", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("nothing is wrong") && stdout(&output).contains("2.000 x 1.500 x 1.000"));
    let report = json_of(&["check", "--json", folder.path().to_str().unwrap()]);
    assert_eq!(report["ok"], json!(true));
    assert_eq!(report["cases"][1]["labels"], json!({"0": 10, "1": 10, "2": 4}));
}

#[test]
fn check_finds_what_is_wrong() {
    type Spoil = fn(&Path);
    let spoilers: [(&str, Spoil); 10] = [
        ("32767 x 3 x 2", |root| {
            let mut big = grid();
            big.extent = [2, 3, 32767];
            nifti::write(&root.join("labelsTr/one.nii.gz"), &Volume::new(vec![0_u8; 6 * 32767], 1, big)).unwrap();
        }),
        ("origin", |root| {
            let mut moved = label();
            moved.grid.affine[0][3] += 1.0;
            nifti::write(&root.join("labelsTr/one.nii.gz"), &moved).unwrap();
        }),
        ("are not labels: the classes are 0 to 2", |root| {
            let labels = Volume::new(vec![3_u8; 24], 1, grid());
            nifti::write(&root.join("labelsTr/two.nii.gz"), &labels).unwrap();
        }),
        ("is not a label, which must be a whole number", |root| {
            nifti::write(&root.join("labelsTr/two.nii.gz"), &image(0.25)).unwrap();
        }),
        ("1 voxels are NaN or infinite", |root| {
            let mut spoilt = image(0.0);
            spoilt.data[[0, 1, 1, 1]] = f32::NAN;
            nifti::write(&root.join("imagesTr/two.nii.gz"), &spoilt).unwrap();
        }),
        ("two: the same image as one", |root| {
            std::fs::copy(root.join("imagesTr/one.nii.gz"), root.join("imagesTr/two.nii.gz")).unwrap();
        }),
        ("every voxel is 7", |root| {
            nifti::write(&root.join("imagesTr/two.nii.gz"), &Volume::new(vec![7_u8; 24], 1, grid())).unwrap();
        }),
        ("the case two has no label", |root| std::fs::remove_file(root.join("labelsTr/two.nii.gz")).unwrap()),
        ("this label has no image", |root| std::fs::remove_file(root.join("imagesTr/two.nii.gz")).unwrap()),
        ("the data end", |root| {
            nifti::write(&root.join("imagesTr/two.nii"), &image(1.0)).unwrap();
            let bytes = std::fs::read(root.join("imagesTr/two.nii.gz")).unwrap();
            std::fs::remove_file(root.join("imagesTr/two.nii")).unwrap();
            std::fs::write(root.join("imagesTr/two.nii.gz"), truncated(&bytes)).unwrap();
        }),
    ];
    for (words, spoil) in spoilers {
        let folder = tempfile::tempdir().unwrap();
        data_set(folder.path());
        spoil(folder.path());
        let output = segcal(&["check", folder.path().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{words}: {}{}", stdout(&output), stderr(&output));
        assert!(stdout(&output).contains(words), "{words}: {}", stdout(&output));
    }
}

/// A gzip stream whose content stops in the middle, itself well-formed.
fn truncated(gzip: &[u8]) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut content = Vec::new();
    flate2::read::GzDecoder::new(gzip).read_to_end(&mut content).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&content[..400]).unwrap();
    packed.finish().unwrap()
}

#[test]
fn check_of_no_data_set_is_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let output = segcal(&["check", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("imagesTr"), "{}", stderr(&output));
    assert_eq!(segcal(&["check", "/no/such/folder"]).status.code(), Some(2));
}

/// Needs the shared data; skips without them.
#[test]
fn check_of_real_data_sets() {
    let Some(shared) = crate::common::shared() else { return };
    for (name, cases, layout) in [("hippocampus", 260, "decathlon"), ("usgra", 195, "folders")] {
        let root = shared.join("data").join(name);
        if root.is_dir() {
            let report = json_of(&["check", "--json", "-q", root.to_str().unwrap()]);
            assert_eq!(report["cases"].as_array().unwrap().len(), cases, "{name}");
            assert_eq!((&report["ok"], &report["layout"]), (&json!(true), &json!(layout)), "{name}");
        }
    }
}
