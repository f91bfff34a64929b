//! What `predict` writes: logits, parts of the run's own data, noise, means of runs, what stands, and parts of a list.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{segcal, stderr, stdout, text};
use segcal_data::{self as data};
use serde_json::Value;
use tempfile::TempDir;

/// A cohort of 5, 2 and 2 phantoms, and a run of one epoch on it.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        let cohort = scene.path("cohort");
        let counts = ["--train", "5", "--val", "2", "--test", "2", "--size", "4,14,16"];
        Scene::done(&[&["phantom", text(&cohort)][..], &counts].concat());
        let keys = "epochs = 1\nbatch = 4\n[samples]\nsize = [16, 16]\n[network]\nlevels = 2\nbase = 4\n";
        fs::write(scene.path("tiny.toml"), keys).unwrap();
        scene.train("run", &[]);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn train(&self, run: &str, more: &[&str]) {
        let (config, data) = (self.path("tiny.toml"), format!("data={}", self.path("cohort").display()));
        let out = format!("out={}", self.path(run).display());
        Self::done(&[&["train", text(&config), &data, &out][..], more].concat());
    }

    fn done(arguments: &[&str]) -> Value {
        let output = segcal(&[&["-q", "--json"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap_or(Value::Null)
    }

    /// Predicts with the one run into a folder.
    fn predict(&self, out: &str, more: &[&str]) -> Value {
        let (run, out) = (self.path("run"), self.path(out));
        Self::done(&[&["predict", text(&run)], more, &["--out", text(&out)]].concat())
    }

    fn values(&self, file: &str) -> Vec<f32> {
        data::read_image(&self.path(file)).unwrap().values().to_vec()
    }

    /// The names and bytes of all files below a folder.
    fn files(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        let (root, mut found) = (self.path(folder), Vec::new());
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                    found.push((name, fs::read(path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

fn modified(path: &Path) -> std::time::SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn logits_are_what_the_probabilities_are_the_softmax_of() {
    let scene = Scene::new();
    scene.predict("all", &["--split", "val", "--write", "segmentations,probabilities,logits"]);
    let (logits, probabilities) =
        (scene.values("all/logits/phantom_005.nii.gz"), scene.values("all/probabilities/phantom_005.nii.gz"));
    let voxels = logits.len() / 3;
    let mut above_one = false;
    for voxel in 0..voxels {
        let exponentials = [0, 1, 2].map(|class| f64::from(logits[class * voxels + voxel]).exp());
        above_one |= exponentials.iter().sum::<f64>() > 1.5;
        for class in 0..3 {
            let expected = exponentials[class] / exponentials.iter().sum::<f64>();
            assert!((f64::from(probabilities[class * voxels + voxel]) - expected).abs() < 1e-6);
        }
    }
    assert!(above_one, "not the logarithms of probabilities");
    // What else is written changes nothing.
    scene.predict("logits", &["--split", "val", "--write", "logits"]);
    scene.predict("plain", &["--split", "val"]);
    assert_eq!(scene.values("logits/logits/phantom_005.nii.gz"), logits);
    assert_eq!(scene.values("plain/probabilities/phantom_005.nii.gz"), probabilities);
    let segmentation = |folder: &str| fs::read(scene.path(folder).join("segmentations/phantom_005.nii.gz")).unwrap();
    assert_eq!(segmentation("plain"), segmentation("all"));
    assert!(!scene.path("logits/segmentations").exists());

    // Evaluation and calibration read them.
    let labels = scene.path("cohort/labelsTr");
    let ece = |flag: &str, kind: &str| {
        let (scores, out) = (scene.path("all").join(kind), scene.path(&format!("evaluation-{kind}")));
        let output =
            segcal(&["-q", "--json", "evaluate", flag, text(&scores), "--labels", text(&labels), "--out", text(&out)]);
        assert_eq!(output.status.code(), Some(1), "the training labels have no prediction");
        let document: Value = serde_json::from_str(&stdout(&output)).unwrap();
        document["mean"]["regions"]["all"]["ece"].as_f64().unwrap()
    };
    assert!((ece("--logits", "logits") - ece("--probabilities", "probabilities")).abs() < 1e-6);
    for method in ["temperature", "vector"] {
        let (scores, map) = (scene.path("all/logits"), scene.path(&format!("{method}.json")));
        let fit = ["calibrate", "fit", method, "--logits", text(&scores), "--labels", text(&labels)];
        let fitted = Scene::done(&[&fit[..], &["--out", text(&map)]].concat());
        assert!(fitted["after"]["nll"].as_f64().unwrap() <= fitted["before"]["nll"].as_f64().unwrap(), "{method}");
    }
}

#[test]
fn a_part_of_the_runs_own_data_is_predicted_without_a_folder() {
    let scene = Scene::new();
    let images = scene.path("cohort/imagesTs");
    scene.predict("folder", &[text(&images)]);
    let told = scene.predict("test", &["--split", "test"]);
    assert_eq!(told["cases"].as_array().unwrap().len(), 2);
    assert_eq!(scene.files("folder"), scene.files("test"));
    let names = |part: &str| scene.predict(part, &["--split", part])["cases"].as_array().unwrap().len();
    assert_eq!((names("train"), names("val")), (5, 2));
    let output = segcal(&["predict", text(&scene.path("run")), "--out", text(&scene.path("x"))]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("no images are given"));
}

#[test]
fn noise_is_repeatable_and_of_its_seed() {
    let scene = Scene::new();
    let noisy = |out: &str, more: &[&str]| {
        scene.predict(out, &[&["--split", "test", "--write", "logits"], more].concat());
        scene.values(&format!("{out}/logits/phantom_007.nii.gz"))
    };
    let first = noisy("a", &["--noise", "0.1"]);
    assert_eq!(first, noisy("b", &["--noise", "0.1", "--seed", "0"]));
    assert_ne!(first, noisy("c", &["--noise", "0.1", "--seed", "1"]));
    assert_ne!(first, noisy("d", &[]));
    let output = segcal(&["predict", text(&scene.path("run")), "--split", "test", "--noise=-1", "--out", "x"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("noise"), "{}", stderr(&output));
}

#[test]
fn several_runs_are_averaged() {
    let scene = Scene::new();
    scene.train("other", &["seed=1", "samples.axis=y"]);
    let (run, other, images) = (scene.path("run"), scene.path("other"), scene.path("cohort/imagesTs"));
    let everything = ["--write", "segmentations,probabilities,logits"];
    let predict = |out: &str, runs: &[&str]| {
        let out = scene.path(out);
        Scene::done(&[&["predict"], runs, &[text(&images)], &everything, &["--out", text(&out)]].concat());
    };
    predict("a", &[text(&run)]);
    predict("b", &[text(&other)]);
    predict("mean", &[text(&run), text(&other)]);
    for kind in ["probabilities", "logits"] {
        let of = |folder: &str| scene.values(&format!("{folder}/{kind}/phantom_007.nii.gz"));
        let expected: Vec<f32> =
            of("a").iter().zip(of("b")).map(|(&a, b)| f64::midpoint(f64::from(a), f64::from(b)) as f32).collect();
        assert_eq!(of("mean"), expected, "{kind}");
    }
    let probabilities = scene.values("mean/probabilities/phantom_007.nii.gz");
    let voxels = probabilities.len() / 3;
    let labels = data::read_labels(&scene.path("mean/segmentations/phantom_007.nii.gz")).unwrap();
    for (voxel, &label) in labels.values().iter().enumerate() {
        assert!(
            (0..3).all(|class| probabilities[class * voxels + voxel] <= probabilities[label as usize * voxels + voxel])
        );
    }
    // Of folds that hold out other cases there is no common part.
    fs::remove_file(scene.path("cohort/splits.json")).unwrap_or_default();
    let folds = r#"[{"train": ["phantom_001", "phantom_002"], "val": ["phantom_003"]}, {"train": ["phantom_001", "phantom_003"], "val": ["phantom_002"]}]"#;
    fs::write(scene.path("cohort/splits_final.json"), folds).unwrap();
    scene.train("fold-0", &["fold=0"]);
    scene.train("fold-1", &["fold=1"]);
    let (first, second, out) = (scene.path("fold-0"), scene.path("fold-1"), scene.path("folds"));
    let output = segcal(&["predict", text(&first), text(&second), "--split", "val", "--out", text(&out)]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("fold 0"), "{}", stderr(&output));
}

#[test]
fn what_stands_is_kept_and_what_changed_is_made_anew() {
    let scene = Scene::new();
    let predict = |more: &[&str]| scene.predict("out", &[&["--split", "train"], more].concat());
    assert_eq!(predict(&["--resume"])["kept"], 0);
    let whole = scene.files("out");
    assert_eq!(predict(&["--resume"])["kept"], 5);
    fs::remove_file(scene.path("out/segmentations/phantom_002.nii.gz")).unwrap();
    fs::write(scene.path("out/probabilities/phantom_004.nii.gz"), "short").unwrap();
    let untouched = scene.path("out/probabilities/phantom_001.nii.gz");
    let before = modified(&untouched);
    assert_eq!(predict(&["--resume"])["kept"], 3);
    assert_eq!(modified(&untouched), before);
    assert_eq!(scene.files("out"), whole);
    assert_eq!(predict(&["--resume", "--batch", "3"])["kept"], 5, "results do not depend on it");
    assert_eq!(predict(&["--resume", "--noise", "0.1"])["kept"], 0);
    assert_eq!(predict(&["--resume"])["kept"], 0, "the files are of the noise now");
    scene.train("run-2", &["seed=9"]);
    fs::copy(scene.path("run-2/best.safetensors"), scene.path("run/best.safetensors")).unwrap();
    assert_eq!(predict(&["--resume"])["kept"], 0, "other weights");
    assert_eq!(predict(&[])["kept"], 0);
}

#[test]
fn parts_in_one_folder_are_the_bytes_of_one_run() {
    let scene = Scene::new();
    scene.predict("whole", &["--split", "train"]);
    for id in ["2", "0", "1"] {
        let told = scene.predict("parts", &["--split", "train", "--num-parts", "3", "--part-id", id]);
        assert_eq!(told["cases"].as_array().unwrap().len(), if id == "2" { 1 } else { 2 });
    }
    assert_eq!(scene.files("whole"), scene.files("parts"));
    let run = scene.path("run");
    let output =
        segcal(&["predict", text(&run), "--split", "train", "--num-parts", "3", "--part-id", "3", "--out", "x"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("there is no part 3 of 3"));
}

#[test]
fn a_run_without_validation_cases_keeps_its_last_epoch() {
    let scene = Scene::new();
    let splits = r#"{"train": ["phantom_000", "phantom_001"], "val": [], "test": ["phantom_002"]}"#;
    fs::write(scene.path("cohort/splits.json"), splits).unwrap();
    let (config, data) = (scene.path("tiny.toml"), format!("data={}", scene.path("cohort").display()));
    let train = |out: &str, more: &[&str]| {
        let out = format!("out={}", scene.path(out).display());
        segcal(&[&["train", text(&config), &data, &out, "epochs=2", "samples.skip_empty=true"], more].concat())
    };
    let output = train("none", &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("no validation cases: the last epoch is kept"), "{}", stderr(&output));
    let weights = |name: &str| fs::read(scene.path("none").join(name)).unwrap();
    assert_eq!(weights("best.safetensors"), weights("last.safetensors"));
    let refused = train("crac", &["loss.name=crac"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("learns its multipliers on validation cases"), "{}", stderr(&refused));
    let told = train("steps", &["schedule={name=\"step\", every=1, factor=0.5}"]);
    assert!(told.status.success(), "{}", stderr(&told));
    let table = fs::read_to_string(scene.path("steps/metrics.csv")).unwrap();
    let rates: Vec<&str> = table.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    assert_eq!(rates, ["0.001", "0.0005"]);
}

#[test]
fn with_mirrorings_a_mirrored_image_has_the_mirrored_prediction() {
    let scene = Scene::new();
    scene.train("mirrored", &["augment.flips=[\"x\", \"y\"]"]);
    let image = data::read_image(&scene.path("cohort/imagesTr/phantom_001.nii.gz")).unwrap();
    let mut turned = image.clone();
    turned.data.invert_axis(ndarray::Axis(3));
    turned.data = turned.data.as_standard_layout().into_owned();
    let (plain, other) = (scene.path("plain.nii"), scene.path("other.nii"));
    data::nifti::write(&plain, &image).unwrap();
    data::nifti::write(&other, &turned).unwrap();
    let predicted = |image: &Path, out: &str, more: &[&str]| {
        let (run, out) = (scene.path("mirrored"), scene.path(out));
        Scene::done(&[&["predict", text(&run), text(image), "--out", text(&out)][..], more].concat());
        let name = image.file_stem().unwrap().to_str().unwrap();
        data::read_image(&out.join(format!("probabilities/{name}.nii.gz"))).unwrap()
    };
    let worst = |out: &str, more: &[&str]| {
        let (a, mut b) = (predicted(&plain, out, more), predicted(&other, out, more));
        b.data.invert_axis(ndarray::Axis(3));
        a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    // The mean of the same four numbers in another order.
    assert!(worst("mean", &["--mirror"]) < 1e-6);
    assert!(worst("single", &[]) > 1e-4);
    let (run, out) = (scene.path("run"), scene.path("refused"));
    let refused = segcal(&["predict", text(&run), text(&plain), "--out", text(&out), "--mirror"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("augment.flips"), "{}", stderr(&refused));
}
