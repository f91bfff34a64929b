//! Runs, checkpoints and images that do not fit.

use std::fs;
use std::path::{Path, PathBuf};

use segcal_data::{Grid, Volume, nifti};

use super::super::common::training::Scene;
use super::super::common::{segcal, stderr, text, volumes};
use super::{limited, refused};

/// An image of this many channels, beside those of the cohort.
fn image(path: &Path, channels: usize) {
    let values = (0..channels * 4 * 16 * 16).map(|x| (x % 17) as f32).collect();
    nifti::write(path, &Volume::new(values, channels, Grid::unknown([4, 16, 16]))).unwrap();
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.trained("run", &["epochs=2"]);
    scene
}

fn flip_last_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn labels_above_255_are_written_as_they_are() {
    let scene = Scene::new();
    let description = scene.path("cohort/dataset.json");
    let mut dataset: serde_json::Value = serde_json::from_str(&fs::read_to_string(&description).unwrap()).unwrap();
    let names = (0..300).map(|label: usize| (label.to_string(), format!("structure {label}").into()));
    dataset["labels"] = serde_json::Value::Object(names.collect());
    fs::write(&description, dataset.to_string()).unwrap();
    scene.trained("run", &["epochs=1", "loss.name=ce", "network.levels=1", "network.norm=none"]);
    let out = scene.path("predicted");
    super::done(&["predict", text(&scene.path("run")), text(&scene.path("cohort/imagesTs")), "--out", text(&out)]);
    let name = &volumes(&out.join("segmentations"))[0];
    let labels = nifti::read_labels(&out.join("segmentations").join(name)).unwrap();
    let scores = nifti::read_image(&out.join("probabilities").join(name)).unwrap();
    let voxels = labels.values().len();
    assert_eq!(scores.values().len(), 300 * voxels);
    for (voxel, &label) in labels.values().iter().enumerate() {
        let score = |class: usize| scores.values()[class * voxels + voxel];
        let best = (0..300).fold(0, |best, class| if score(class) > score(best) { class } else { best });
        assert_eq!(usize::try_from(label).unwrap(), best, "voxel {voxel}");
    }
    assert!(labels.values().iter().any(|&label| label > 255), "the network prefers some class above 255");
}

#[test]
fn an_image_of_other_channels_fails_alone() {
    let scene = scene();
    let images = scene.path("images");
    fs::create_dir(&images).unwrap();
    image(&images.join("a.nii"), 3);
    image(&images.join("b.nii"), 1);
    let out = scene.path("out");
    let words = ["a: ", "the image has 3 channels, but the network takes 1"];
    refused(1, &["predict", text(&scene.path("run")), text(&images), "--out", text(&out)], &words);
    assert!(out.join("segmentations/b.nii.gz").is_file() && !out.join("segmentations/a.nii.gz").exists());
}

#[test]
fn an_image_that_is_not_finite_fails_alone() {
    let scene = scene();
    let images = scene.path("images");
    fs::create_dir(&images).unwrap();
    image(&images.join("good.nii"), 1);
    for (name, value) in [("nan", f32::NAN), ("up", f32::INFINITY), ("down", f32::NEG_INFINITY)] {
        let mut values = vec![0.5_f32; 4 * 16 * 16];
        values[77] = value;
        nifti::write(&images.join(format!("{name}.nii")), &Volume::new(values, 1, Grid::unknown([4, 16, 16]))).unwrap();
        let out = scene.path(name);
        let words = [&format!("{name}.nii"), "holds the value"];
        refused(1, &["predict", text(&scene.path("run")), text(&images), "--out", text(&out)], &words);
        assert!(out.join("segmentations/good.nii.gz").is_file());
        assert_eq!(volumes(&out.join("segmentations")).len(), 1, "nothing for {name}");
        fs::remove_file(images.join(format!("{name}.nii"))).unwrap();
    }
}

/// The file of the one validation case, by the data set's own list.
fn validation_image(scene: &Scene) -> PathBuf {
    let splits = fs::read_to_string(scene.path("cohort/splits.json")).unwrap();
    let splits: serde_json::Value = serde_json::from_str(&splits).unwrap();
    let case = splits["val"][0].as_str().unwrap().to_owned();
    let images = fs::read_dir(scene.path("cohort/imagesTr")).unwrap().map(|entry| entry.unwrap().path());
    images.into_iter().find(|path| path.display().to_string().contains(&case)).unwrap()
}

#[test]
fn a_validation_image_that_cannot_be_used_is_found_before_the_first_step() {
    let scene = Scene::new();
    let path = validation_image(&scene);
    let volume = nifti::read_image(&path).unwrap();
    let train = |words: &[&str]| {
        let arguments = scene.arguments("run", &[]);
        let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
        refused(2, &arguments, words);
        assert!(!scene.path("run").exists(), "nothing was begun");
    };
    let mut bad = volume.clone();
    bad.data[[0, 1, 2, 3]] = f32::NAN;
    nifti::write(&path, &bad).unwrap();
    train(&["holds the value NaN", path.file_name().unwrap().to_str().unwrap()]);
    let twice = [volume.values(), volume.values()].concat();
    nifti::write(&path, &Volume::new(twice, 2, volume.grid)).unwrap();
    train(&["the image has 2 channels, but the network takes 1"]);
}

#[test]
fn a_checkpoint_is_used_only_with_the_hash_that_it_carries() {
    let scene = scene();
    let (run, best) = (scene.path("run"), scene.path("run/best.safetensors"));
    let whole = fs::read(&best).unwrap();
    flip_last_byte(&best);
    let out = scene.path("out");
    let images = scene.path("cohort/imagesTs");
    let words = ["best.safetensors", "the numbers do not have the hash"];
    refused(2, &["predict", text(&run), text(&images), "--out", text(&out)], &words);
    refused(2, &["export", text(&run), "--out", text(&out)], &words);
    assert!(!out.exists());
    let resume = || {
        let arguments = scene.arguments("run", &["--resume", "epochs=3"]);
        limited(4096, &arguments.iter().skip(1).map(String::as_str).collect::<Vec<_>>())
    };
    let said = |output| {
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        message
    };
    let message = said(resume());
    assert!(message.contains("best.safetensors") && message.contains("hash"), "{message}");
    fs::remove_file(&best).unwrap();
    let message = said(resume());
    assert!(message.contains("best.safetensors") && message.contains("is missing"), "{message}");
    fs::write(&best, &whole).unwrap();
    // A damaged last is not to be replaced by a damaged best.
    flip_last_byte(&best);
    flip_last_byte(&scene.path("run/last.safetensors"));
    let message = said(resume());
    assert!(message.contains("last.safetensors") && message.contains("best.safetensors is not intact"), "{message}");
}

/// A checkpoint whose metadata has another value under `key`.
fn with_metadata(path: &Path, key: &str, value: &str) {
    let bytes = fs::read(path).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
    let mut header: serde_json::Value = serde_json::from_slice(header).unwrap();
    header["__metadata__"][key] = value.into();
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], &header, data].concat()).unwrap();
}

#[test]
fn a_run_folder_from_elsewhere_is_compared_with_its_checkpoint() {
    let scene = scene();
    let (run, images, out) = (scene.path("run"), scene.path("cohort/imagesTs"), scene.path("out"));
    let predict = |words: &[&str]| {
        refused(2, &["predict", text(&run), text(&images), "--out", text(&out)], words);
    };
    let (best, config) = (run.join("best.safetensors"), run.join("config.toml"));
    let whole = fs::read(&best).unwrap();
    for names in ["[]", "[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\"]"] {
        with_metadata(&best, "class_names", names);
        predict(&["best.safetensors", "class_names has"]);
    }
    fs::write(&best, whole).unwrap();
    let stored = fs::read_to_string(&config).unwrap();
    let changed = |from: &str, to: &str, words: &[&str]| {
        assert!(stored.contains(from), "{stored}");
        fs::write(&config, stored.replace(from, to)).unwrap();
        predict(words);
    };
    let huge = "size = [9223372036854775807, 9223372036854775807]";
    let size = stored.lines().skip_while(|line| !line.starts_with("[samples]")).find(|line| line.starts_with("size"));
    // TOML writes long arrays over several lines.
    if let Some(size) = size.filter(|line| line.ends_with(']')) {
        changed(size, huge, &["samples.size"]);
    }
    changed("levels = 2", "levels = 1", &["best.safetensors", "is not the one that config.toml describes"]);
}

#[test]
fn configs_beyond_reason_are_refused_before_anything_is_made() {
    let scene = Scene::new();
    let refuse = |overrides: &[&str], words: &[&str]| {
        let arguments = scene.arguments("run", overrides);
        let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
        refused(2, &arguments, words);
        assert!(!scene.path("run").exists(), "{overrides:?}");
    };
    refuse(&["samples.kind=patches", "samples.per_volume=1000000000"], &["samples.per_volume", "memory"]);
    refuse(&["network.base=32000"], &["network", "memory"]);
    refuse(&["network.convs=10000"], &["network.convs", "10000"]);
    for cache in ["nan", "-1.0", "inf"] {
        refuse(&[&format!("input.cache_gib={cache}")], &["input.cache_gib"]);
    }
    refuse(&[&format!("{}=1", "a.".repeat(50_000) + "b")], &["more than 16 parts"]);
}

#[cfg(target_os = "linux")]
#[test]
fn pipes_and_devices_are_not_waited_for_nor_read_without_end() {
    let scene = scene();
    let (run, best) = (scene.path("run"), scene.path("run/best.safetensors"));
    let fifo = |path: &Path| {
        let _ = fs::remove_file(path);
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    fifo(&best);
    let (images, out) = (scene.path("cohort/imagesTs"), scene.path("out"));
    refused(
        2,
        &["predict", text(&run), text(&images), "--out", text(&out)],
        &["best.safetensors", "not a regular file"],
    );
    fifo(&run.join(".lock"));
    let arguments = scene.arguments("run", &["--resume", "epochs=3"]);
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    refused(2, &arguments, &[".lock", "not a regular file"]);
    refused(2, &["train", "/dev/zero"], &["/dev/zero", "not a regular file"]);
    let scores = scene.path("cohort/posteriorsTs");
    for map in ["/dev/zero", text(&best)] {
        let arguments = ["calibrate", "apply", map, "--probabilities", text(&scores), "--out", text(&out)];
        refused(2, &arguments, &["not a regular file"]);
    }
}

#[test]
fn threads_of_the_environment_have_the_limit_of_the_option() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_segcal"));
    let output = command.args(["list", "losses"]).env("RAYON_NUM_THREADS", "100000").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("RAYON_NUM_THREADS: expected a whole number from 1 to 1024"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn usage_errors_do_not_drive_a_terminal() {
    let output = segcal(&["evaluate", "--\u{1b}[2Jx\rno"]);
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    // The sequence is left out, the line end escaped.
    assert!(message.contains("x\\rno") && !message.contains('\u{1b}') && !message.contains('\r'), "{message:?}");
}
