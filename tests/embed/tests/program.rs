//! The same input through the libraries and through the program, whose path is in `SEGCAL_PROGRAM`: the same numbers.

use std::fs;
use std::path::Path;
use std::process::Command;

use segcal_embed::{OwnCrossEntropy, evaluate, predict, train, write};
use segcal_losses::{Convention, Given, Loss, Objective};
use serde_json::Value;

const KEYS: [&str; 5] = ["seed=3", "epochs=2", "batch=4", "samples.size=[16,16]", "network={levels=2,base=4}"];

/// Runs the program to success and gives what it printed.
fn segcal(folder: &Path, arguments: &[&str]) -> String {
    let program = std::env::var_os("SEGCAL_PROGRAM").expect("SEGCAL_PROGRAM names the program to compare with");
    let output = Command::new(program).current_dir(folder).arg("-q").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A cohort of phantoms, and a run on it with cross entropy.
fn scene() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sizes = ["--train", "2", "--val", "1", "--test", "1", "--size", "4,16,16", "--spacing", "2,1,1.5"];
    segcal(folder.path(), &[&["phantom", "cohort"], &sizes[..]].concat());
    fs::write(folder.path().join("config.toml"), "data = \"cohort\"\n").unwrap();
    segcal(folder.path(), &[&["train", "config.toml", "out=run"], &KEYS[..]].concat());
    folder
}

/// The figures of each epoch that the program logged.
fn logged(folder: &Path) -> Vec<Value> {
    let log = fs::read_to_string(folder.join("run/log.jsonl")).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn training_in_memory_gives_the_figures_of_the_program() {
    let folder = scene();
    let loss = Objective::from(Loss::new("ce", &Given::new(), Convention::Authors).unwrap());
    let records = train(&folder.path().join("cohort"), &KEYS, loss).unwrap();
    let logged = logged(folder.path());
    assert_eq!(records.len(), logged.len());
    for (record, logged) in records.iter().zip(&logged) {
        assert_eq!(record.loss[0].1, logged["loss"][0][1].as_f64().unwrap());
        assert_eq!([record.dsc.0, record.ece.0], [&logged["dsc"], &logged["ece"]].map(|x| x.as_f64().unwrap()));
    }
}

/// The same formula in other operations: equal but for the rounding of f32, which two epochs of Adam magnify.
#[test]
fn a_loss_of_ones_own_trains() {
    let folder = scene();
    let records = train(&folder.path().join("cohort"), &KEYS, OwnCrossEntropy).unwrap();
    for (record, logged) in records.iter().zip(&logged(folder.path())) {
        let expected = logged["loss"][0][1].as_f64().unwrap();
        assert!((record.loss[0].1 / expected - 1.0).abs() < 1e-3, "{} and {expected}", record.loss[0].1);
    }
}

#[test]
fn an_image_in_memory_gives_the_file_of_the_program() {
    let folder = scene();
    let image = "cohort/imagesTs/phantom_003.nii.gz";
    segcal(folder.path(), &["predict", "run", image, "--out", "predictions"]);
    let probabilities = predict(&folder.path().join("run"), &folder.path().join(image)).unwrap();
    let own = folder.path().join("own.nii.gz");
    write(&own, &probabilities).unwrap();
    let theirs = folder.path().join("predictions/probabilities/phantom_003.nii.gz");
    assert!(fs::read(own).unwrap() == fs::read(theirs).unwrap(), "the files differ");
}

#[test]
fn two_arrays_give_the_figures_of_the_program() {
    let folder = scene();
    let image = "cohort/imagesTs/phantom_003.nii.gz";
    segcal(folder.path(), &["predict", "run", image, "--out", "predictions"]);
    let (predictions, labels) = ("predictions/probabilities", "cohort/labelsTs");
    let given = ["evaluate", "--probabilities", predictions, "--labels", labels, "--out", "evaluation", "--json"];
    let summary: Value = serde_json::from_str(&segcal(folder.path(), &given)).unwrap();
    let probabilities = predict(&folder.path().join("run"), &folder.path().join(image)).unwrap();
    let figures = evaluate(&probabilities, &folder.path().join(labels).join("phantom_003.nii.gz")).unwrap();

    let case = &summary["cases"][0];
    let mut compared = 0;
    let mut compare = |kind: &str, of: &str, key: &str, own: f64| {
        // What is not finite is text.
        if let Some(theirs) = case[kind][of][key].as_f64() {
            assert_eq!(own, theirs, "{kind}, {of}, {key}");
            compared += 1;
        }
    };
    for (of, own) in &figures.structures {
        own.iter().for_each(|(key, outcome)| compare("structures", of, key, outcome.formula().unwrap_or(f64::NAN)));
    }
    for (of, own) in &figures.regions {
        own.iter().for_each(|(key, &figure)| compare("regions", of, key, figure));
    }
    assert!(compared > 80, "{compared} figures were compared");
}
