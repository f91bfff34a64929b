//! Going on where it was interrupted, broken cases, and what is not there.

use super::*;

#[test]
fn the_same_command_goes_on_and_another_is_refused() {
    let source = Source::new();
    acdc(&source, 3);
    let small = ["--size", "8,8"];
    source.prepared("acdc", &small);
    let (before, json) = (written(&source.out()), fs::read(source.out().join("dataset.json")).unwrap());
    // As after an interruption: the description and a case are not there yet.
    fs::remove_file(source.out().join("dataset.json")).unwrap();
    fs::remove_file(&before[0].0).unwrap();
    source.prepared("acdc", &small);
    assert_eq!(fs::read(source.out().join("dataset.json")).unwrap(), json);
    let after = written(&source.out());
    assert_eq!(after.len(), before.len());
    let case = before[0].0.file_name().unwrap().to_str().unwrap().split("_0000").next().unwrap().to_owned();
    for (old, new) in before.iter().zip(&after).filter(|((path, _), _)| !text(path).contains(&case)) {
        assert_eq!(old, new, "what was done is not done again");
    }
    let other = source.prepare("acdc", &["--size", "9,9"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(stderr(&other).contains("another command"), "{}", stderr(&other));
    fs::create_dir_all(source.0.path().join("mine")).unwrap();
    fs::write(source.at("mine/thesis.txt"), "years").unwrap();
    let mine = source.0.path().join("mine");
    let refused = segcal(&["prepare", text(&source.src()), text(&mine), "--as", "acdc"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("is not empty"), "{}", stderr(&refused));
    assert_eq!(fs::read_dir(&mine).unwrap().count(), 1);
    let onto_itself = segcal(&["prepare", text(&source.src()), text(&source.src()), "--as", "acdc"]);
    assert!(stderr(&onto_itself).contains("the same folder"), "{}", stderr(&onto_itself));
}

#[test]
fn a_broken_case_fails_alone_and_is_made_up_for_later() {
    let source = Source::new();
    acdc(&source, 4);
    let broken = source.at("src/training/patient002/patient002_frame01_gt.nii.gz");
    let good = fs::read(&broken).unwrap();
    fs::write(&broken, &good[..good.len() / 2]).unwrap();
    let wrong = source.at("src/training/patient003/patient003_frame12_gt.nii.gz");
    let right = fs::read(&wrong).unwrap();
    source.volume("src/training/patient003/patient003_frame12_gt.nii.gz", 0, 7);
    let output = source.prepare("acdc", &["--size", "8,8", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains("patient002_frame01_gt.nii.gz"), "{message}");
    assert!(message.contains("patient003_frame12_gt.nii.gz: holds the label 4"), "{message}");
    let counts: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((counts["failed"].as_u64(), counts["dataset"].as_str()), (Some(2), Some(text(&source.out()))));
    let dataset = Dataset::open(&source.out()).unwrap();
    assert_eq!(dataset.train.len() + dataset.val.len() + dataset.test.len(), 6);
    fs::write(&broken, good).unwrap();
    fs::write(&wrong, right).unwrap();
    let dataset = source.prepared("acdc", &["--size", "8,8"]);
    assert_eq!(dataset.train.len() + dataset.val.len() + dataset.test.len(), 8);
}

#[test]
fn what_is_not_there_is_said() {
    let source = Source::new();
    source.volume("src/x.nii.gz", 0, 3);
    for recipe in ["acdc", "brats", "busi", "flare", "la", "mrbrains", "promise", "wmh", "msd", "bids"] {
        let output = source.prepare(recipe, &[]);
        assert_eq!(output.status.code(), Some(2), "{recipe}");
        assert!(!source.out().exists(), "{recipe}");
        let message = stderr(&output);
        assert!(message.starts_with("error: ") && message.contains('('), "{recipe}, with a remedy: {message}");
    }
    for (arguments, expected) in [
        (["--as", "cityscapes"], "possible values"),
        (["--size", "1,2,3,4"], "two or three numbers"),
        (["--split", "0,1,1"], "at least one to train on"),
    ] {
        let output = segcal(&[&["prepare", text(&source.src()), "out"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    acdc(&source, 1);
    let output = source.prepare("acdc", &["--labels", "x"]);
    assert!(stderr(&output).contains("--labels: only applies to --as bids"), "{}", stderr(&output));
}
