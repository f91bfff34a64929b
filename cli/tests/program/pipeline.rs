//! The main job from outside: phantoms, training, resuming, prediction, evaluation, and what bad input gives.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{segcal, stderr, stdout, text};
use segcal_data::{self as data, Grid, Volume, nifti, npy};
use segcal_metrics::definitions::METRICS;
use serde_json::Value;
use tempfile::TempDir;

/// A cohort of small phantoms.
fn cohort(folder: &TempDir) -> PathBuf {
    let out = folder.path().join("cohort");
    done(&["-q", "phantom", text(&out), "--train", "3", "--val", "2", "--test", "2", "--size", "6,16,18"]);
    out
}

/// Runs to success and gives what was printed.
fn done(arguments: &[&str]) -> String {
    let output = segcal(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

/// Runs to an error of this status and gives its message.
fn failed(status: i32, arguments: &[&str]) -> String {
    let output = segcal(arguments);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", stderr(&output));
    stderr(&output)
}

fn config(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("tiny.toml");
    let text = "epochs = 2\nbatch = 4\n[samples]\nsize = [16, 20]\n[network]\nlevels = 2\nbase = 4\n";
    fs::write(&path, text).unwrap();
    path
}

fn train(config: &Path, cohort: &Path, out: &Path, more: &[&str]) -> Vec<String> {
    let mut arguments = vec!["-q".to_owned(), "train".into(), text(config).into()];
    arguments.extend([format!("data={}", cohort.display()), format!("out={}", out.display())]);
    arguments.extend(more.iter().map(|&word| word.to_owned()));
    arguments
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// The weights, moments and multipliers of a run, and its table.
fn state(run: &Path) -> (Vec<u8>, String) {
    (fs::read(run.join("last.safetensors")).unwrap(), fs::read_to_string(run.join("metrics.csv")).unwrap())
}

#[test]
fn a_run_that_goes_on_ends_with_the_bits_of_one_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (cohort, config) = (cohort(&folder), config(&folder));
    for loss in ["loss.name=nacl", "loss.name=ce"] {
        let (whole, parts) = (folder.path().join(format!("whole-{loss}")), folder.path().join(format!("parts-{loss}")));
        done(&words(&train(&config, &cohort, &whole, &[loss, "--threads", "2"])));
        done(&words(&train(&config, &cohort, &parts, &[loss, "epochs=1", "--threads", "1"])));
        assert_ne!(state(&whole).0, state(&parts).0);
        done(&words(&train(&config, &cohort, &parts, &[loss, "--resume", "--threads", "3"])));
        assert_eq!(state(&whole), state(&parts), "{loss}");
    }
}

#[test]
fn prediction_and_evaluation_keep_the_geometry_and_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let (cohort, config) = (cohort(&folder), config(&folder));
    let (run, predictions) = (folder.path().join("run"), folder.path().join("predictions"));
    done(&words(&train(&config, &cohort, &run, &["epochs=1"])));
    for file in ["config.toml", "log.jsonl", "metrics.csv", "best.safetensors", "last.safetensors"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    done(&["-q", "predict", text(&run), text(&cohort.join("imagesTs")), "--out", text(&predictions)]);
    let image = data::read_image(&cohort.join("imagesTs/phantom_005.nii.gz")).unwrap();
    let labels = data::read_labels(&predictions.join("segmentations/phantom_005.nii.gz")).unwrap();
    let probabilities = data::read_image(&predictions.join("probabilities/phantom_005.nii.gz")).unwrap();
    assert_eq!((&image.grid, &image.grid), (&labels.grid, &probabilities.grid));
    assert_eq!(probabilities.channels(), 3);

    let out = folder.path().join("evaluation");
    let (probabilities, labels) = (predictions.join("probabilities"), cohort.join("labelsTs"));
    let given = ["--probabilities", text(&probabilities), "--labels", text(&labels), "--out", text(&out)];
    let evaluate = [&["-q", "--json", "evaluate"], &given[..]].concat();
    let document: Value = serde_json::from_str(&done(&evaluate)).unwrap();
    assert_eq!(document["schema"], "segcal.evaluation/1");
    let (structure, region) = (&document["cases"][0]["structures"]["1"], &document["mean"]["regions"]["foreground"]);
    for metric in METRICS {
        let key = metric.key;
        let given = if metric.per_structure() { !structure[key].is_null() } else { region[key].is_number() };
        assert!(given && document["definitions"][key].is_string(), "{key}");
    }
    for file in [
        "cases.csv",
        "summary.csv",
        "summary.json",
        "report.html",
        "plots/reliability-all.svg",
        "plots/reliability-all.png",
        "plots/reliability-all.csv",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }
    // Again with what is there: the same bytes.
    let before = fs::read(out.join("summary.json")).unwrap();
    done(&[&evaluate[..], &["--resume"]].concat());
    assert_eq!(fs::read(out.join("summary.json")).unwrap(), before);
}

/// The probabilities that the labels were drawn from are calibrated: ECE near what chance alone gives.
#[test]
fn the_true_posterior_is_calibrated() {
    let folder = tempfile::tempdir().unwrap();
    let cohort = cohort(&folder);
    let document = done(&[
        "-q",
        "--json",
        "evaluate",
        "--probabilities",
        text(&cohort.join("posteriorsTs")),
        "--labels",
        text(&cohort.join("labelsTs")),
        "--out",
        text(&folder.path().join("e")),
    ]);
    let document: Value = serde_json::from_str(&document).unwrap();
    // 1,728 voxels a case: 15 bins of standard error below 0.5 / sqrt(voxels) each, together below sqrt(15) times that.
    let ece = document["mean"]["regions"]["all"]["ece"].as_f64().unwrap();
    assert!(ece < (15.0_f64 / 1728.0).sqrt() * 0.5, "{ece}");
}

/// Microscopy and ultrasound are larger than what a network is shown at once.
#[test]
fn patches_of_two_dimensions_are_trained_on_and_mixed_across_every_axis() {
    let folder = tempfile::tempdir().unwrap();
    let (cohort, config) = (cohort(&folder), config(&folder));
    let image = cohort.join("imagesTs/phantom_005.nii.gz");
    let grid = data::read_image(&image).unwrap().grid;
    for axis in ["z", "y", "x"] {
        let (run, out) = (folder.path().join(axis), folder.path().join(format!("{axis}-out")));
        let patches = ["samples.kind=patches", "samples.size=[4,8]", "samples.per_volume=2", "epochs=1"];
        let across = format!("samples.axis={axis}");
        done(&words(&train(&config, &cohort, &run, &[&patches[..], &[&across]].concat())));
        done(&["-q", "predict", text(&run), text(&image), "--out", text(&out)]);
        let probabilities = data::read_image(&out.join("probabilities/phantom_005.nii.gz")).unwrap();
        assert_eq!((&probabilities.grid, probabilities.channels()), (&grid, 3), "{axis}");
        let voxels = grid.extent.iter().product::<usize>();
        for voxel in 0..voxels {
            let sum: f32 = (0..3).map(|class| probabilities.values()[class * voxels + voxel]).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{axis}, voxel {voxel}: {sum}");
        }
    }
}

#[test]
fn bad_configs_end_in_messages_that_name_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let (cohort, config) = (cohort(&folder), config(&folder));
    let out = folder.path().join("run");
    for (given, wanted) in [
        ("epochz=3", "did you mean epochs"),
        ("epochs=0", "epochs"),
        ("loss.name=nakl", "nacl"),
        ("loss.lamda=3", "lambda"),
        ("network.widht=[4]", "widht"),
        ("network.norm=group", "norm"),
        ("optimiser.learning_rate=-1", "optimiser.learning_rate"),
        ("samples.size=[15,20]", "samples.size"),
        ("samples.size=[16]", "samples.size"),
        ("samples.size=[65536,65536]", "samples.size"),
        ("samples.size=[4294967296,4294967296]", "samples.size"),
        ("batch=9000000000", "samples.size"),
        ("data=/no/such/folder", "/no/such/folder"),
        ("schedule.name=sometimes", "schedule"),
    ] {
        let message = failed(2, &words(&train(&config, &cohort, &out, &["loss.name=nacl", given])));
        assert!(message.starts_with("error: ") && message.contains(wanted), "{given}: {message}");
        assert!(!out.exists(), "{given} made a run folder");
    }
    assert!(failed(2, &["train", "no.toml"]).contains("no.toml"));
}

#[test]
fn bad_cases_are_named_and_a_finished_run_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (cohort, config) = (cohort(&folder), config(&folder));
    let out = folder.path().join("run");
    done(&words(&train(&config, &cohort, &out, &["epochs=1"])));
    let before = state(&out);
    let message = failed(2, &words(&train(&config, &cohort, &out, &["epochs=1"])));
    assert!(message.contains("--resume"), "{message}");
    assert_eq!(state(&out), before);

    let label = cohort.join("labelsTr/phantom_000.nii.gz");
    let keep = fs::read(&label).unwrap();
    let grid = Grid::unknown([6, 16, 18]);
    let again = folder.path().join("again");
    let expect = |wanted: &[&str]| {
        let message = failed(2, &words(&train(&config, &cohort, &again, &[])));
        for word in wanted {
            assert!(message.contains(word), "{wanted:?}: {message}");
        }
        let _ = fs::remove_dir_all(&again);
    };
    nifti::write(&label, &Volume::new(vec![9_u8; 6 * 16 * 18], 1, grid)).unwrap();
    expect(&["phantom_000", "label 9", "3 classes"]);
    nifti::write(&label, &Volume::new(vec![1_u8; 6 * 16 * 17], 1, Grid::unknown([6, 16, 17]))).unwrap();
    expect(&["phantom_000", "18 x 16 x 6", "17 x 16 x 6"]);
    fs::write(&label, &keep[..keep.len() / 2]).unwrap();
    expect(&["phantom_000"]);
    fs::remove_file(&label).unwrap();
    expect(&["phantom_000"]);
    fs::write(&label, keep).unwrap();
    let image = cohort.join("imagesTr/phantom_001.nii.gz");
    let mut values = vec![0.5_f32; 6 * 16 * 18];
    values[77] = f32::NAN;
    nifti::write(&image, &Volume::new(values, 1, data::read_labels(&label).unwrap().grid)).unwrap();
    expect(&["phantom_001", "NaN"]);
}

#[test]
fn a_data_set_that_names_no_two_classes_is_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let (cohort, config) = (cohort(&folder), config(&folder));
    let (description, run) = (cohort.join("dataset.json"), folder.path().join("run"));
    let arguments = train(&config, &cohort, &run, &[]);
    let refused = |what: &str| {
        let message = failed(2, &words(&arguments));
        assert!(message.contains(what), "{message}");
        message
    };
    fs::write(&description, "{\"labels\": {\"background\": 0}}").unwrap();
    assert!(refused("names one class").contains("dataset.json"));
    fs::remove_file(&description).unwrap();
    assert!(refused("does not say which classes there are").contains("add \"labels\""));
    assert!(!run.exists());
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (cohort, config) = (cohort(&folder), config(&folder));
    let run = folder.path().join("run");
    done(&words(&train(&config, &cohort, &run, &["epochs=1"])));
    for name in ["best.safetensors", "last.safetensors"] {
        let whole = fs::read(run.join(name)).unwrap();
        fs::write(run.join(name), &whole[..whole.len() / 2]).unwrap();
    }
    let images = cohort.join("imagesTs");
    let message = failed(2, &["predict", text(&run), text(&images), "--out", text(&folder.path().join("p"))]);
    assert!(message.contains("best.safetensors"), "{message}");
    let message = failed(2, &words(&train(&config, &cohort, &run, &["--resume"])));
    assert!(message.contains("last.safetensors"), "{message}");
}

#[test]
fn evaluation_keeps_what_went_well_and_refuses_what_does_not_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let cohort = cohort(&folder);
    let labels = cohort.join("labelsTs");
    let predictions = folder.path().join("p");
    fs::create_dir(&predictions).unwrap();
    let good = cohort.join("posteriorsTs/phantom_005.nii.gz");
    fs::copy(&good, predictions.join("phantom_005.nii.gz")).unwrap();
    let moved = data::read_image(&good).unwrap();
    let mut grid = moved.grid.clone();
    grid.affine[0][3] += 3.0;
    nifti::write(&predictions.join("phantom_006.nii.gz"), &Volume { data: moved.data.clone(), grid }).unwrap();
    let out = folder.path().join("e");
    let arguments =
        ["-q", "evaluate", "--probabilities", text(&predictions), "--labels", text(&labels), "--out", text(&out)];
    let message = failed(1, &arguments);
    assert!(message.contains("phantom_006") && message.contains("origin"), "{message}");
    assert!(out.join("summary.json").is_file());

    // A label stored the other way round is turned, not refused.
    let turned = folder.path().join("turned");
    fs::create_dir(&turned).unwrap();
    nifti::write(&turned.join("phantom_005.nii.gz"), &moved.reoriented("LPI".parse().unwrap())).unwrap();
    let figures = |probabilities: &Path, out: &str| {
        let out = folder.path().join(out);
        done(&[
            "-q",
            "evaluate",
            "--probabilities",
            text(probabilities),
            "--labels",
            text(&labels.join("phantom_005.nii.gz")),
            "--out",
            text(&out),
        ]);
        fs::read_to_string(out.join("cases.csv")).unwrap()
    };
    assert_eq!(figures(&turned.join("phantom_005.nii.gz"), "a"), figures(&good, "b"));

    // Logits are not probabilities, and the reverse.
    let logits: Vec<f32> = moved.values().iter().map(|p| 4.0 * p.max(1e-6).ln() + 3.0).collect();
    npy::write(&predictions.join("logits.npy"), &[3, 6, 16, 18], &logits).unwrap();
    let label = labels.join("phantom_005.nii.gz");
    let one = |kind: &str, file: &Path, status: i32| {
        failed(
            status,
            &["-q", "evaluate", kind, text(file), "--labels", text(&label), "--out", text(&folder.path().join("c"))],
        )
    };
    let message = one("--probabilities", &predictions.join("logits.npy"), 2);
    assert!(message.contains("logits"), "{message}");
    assert!(one("--logits", &good, 2).contains("probabilit"));
    done(&[
        "-q",
        "evaluate",
        "--logits",
        text(&predictions.join("logits.npy")),
        "--labels",
        text(&label),
        "--out",
        text(&folder.path().join("d")),
    ]);
}

/// Every loss of the list trains from the config, its terms in the log; multipliers survive an interruption.
#[test]
fn every_loss_trains() {
    let folder = tempfile::tempdir().unwrap();
    let (cohort, config) = (cohort(&folder), config(&folder));
    for spec in segcal_losses::Loss::SPECS {
        let run = folder.path().join(spec.name);
        let loss = format!("loss.name={}", spec.name);
        done(&words(&train(&config, &cohort, &run, &[&loss, "epochs=1"])));
        let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
        let record: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        assert!(record["loss"][0][1].is_number(), "{}: {record}", spec.name);
        if !record["state"].as_array().unwrap().is_empty() {
            done(&words(&train(&config, &cohort, &run, &[&loss, "--resume"])));
            let whole = folder.path().join(format!("{}-whole", spec.name));
            done(&words(&train(&config, &cohort, &whole, &[&loss])));
            assert_eq!(state(&run), state(&whole), "{}", spec.name);
            let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
            let second: Value = serde_json::from_str(log.lines().nth(1).unwrap()).unwrap();
            assert_ne!(record["state"], second["state"], "{}: the multipliers do not move", spec.name);
        }
    }
}
