use super::*;
use std::fs;

/// A folder with these files; a file without text is empty.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn names(cases: &[Case]) -> Vec<&str> {
    cases.iter().map(|case| case.name.as_str()).collect()
}

const DECATHLON: &str = r#"{
    "labels": {"0": "background", "1": "front", "2": "back"}, "modality": {"0": "MRI"},
    "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"},
                 {"image": "./imagesTr/b.nii.gz", "label": "./labelsTr/b.nii.gz"}],
    "test": ["./imagesTs/c.nii.gz"]}"#;

const DECATHLON_FILES: [(&str, &str); 6] = [
    ("dataset.json", DECATHLON),
    ("imagesTr/a.nii.gz", ""),
    ("labelsTr/a.nii.gz", ""),
    ("imagesTr/b.nii.gz", ""),
    ("labelsTr/b.nii.gz", ""),
    ("imagesTs/c.nii.gz", ""),
];

#[test]
fn lists_of_the_decathlon() {
    let root = folder(&DECATHLON_FILES);
    let dataset = Dataset::open(root.path()).unwrap();
    assert_eq!(dataset.layout, Layout::Decathlon);
    assert_eq!(dataset.classes, ["background", "front", "back"]);
    assert_eq!((names(&dataset.train), names(&dataset.test)), (vec!["a", "b"], vec!["c"]));
    assert!(dataset.train[1].label.as_ref().unwrap().ends_with("labelsTr/b.nii.gz"));
    fs::write(root.path().join("splits.json"), r#"{"train": ["b"], "val": ["a"], "test": ["c"]}"#).unwrap();
    let dataset = Dataset::open(root.path()).unwrap();
    assert_eq!((names(&dataset.train), names(&dataset.val)), (vec!["b"], vec!["a"]));
}

#[test]
fn channels_of_nnunet_and_its_folds() {
    let root = folder(&[
        (
            "dataset.json",
            r#"{"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "tumour": 1, "ignore": 2},
                "file_ending": ".nii.gz", "numTraining": 2}"#,
        ),
        ("imagesTr/x_01_0000.nii.gz", ""),
        ("imagesTr/x_01_0001.nii.gz", ""),
        ("imagesTr/x_02_0000.nii.gz", ""),
        ("imagesTr/x_02_0001.nii.gz", ""),
        ("imagesTr/.hidden_0000.nii.gz", ""),
        ("labelsTr/x_01.nii.gz", ""),
        ("labelsTr/x_02.nii.gz", ""),
        ("imagesTs/x_03_0000.nii.gz", ""),
        ("imagesTs/x_03_0001.nii.gz", ""),
        ("splits_final.json", r#"[{"train": ["x_01"], "val": ["x_02"]}, {"train": ["x_02"], "val": ["x_01"]}]"#),
    ]);
    let dataset = Dataset::open(root.path()).unwrap();
    assert_eq!(dataset.layout, Layout::NnUnet);
    assert_eq!((dataset.ignore_label, dataset.channels.len()), (Some(2), 2));
    assert_eq!(
        (names(&dataset.train), names(&dataset.val), names(&dataset.test)),
        (vec!["x_01"], vec!["x_02"], vec!["x_03"])
    );
    assert!(dataset.train[0].images[1].ends_with("x_01_0001.nii.gz"));
    assert_eq!(names(&Dataset::open_fold(root.path(), 1).unwrap().train), ["x_02"]);
    assert_eq!(super::folds(root.path()).unwrap(), 2);
    let message = Dataset::open_fold(root.path(), 2).unwrap_err().to_string();
    assert!(message.contains("splits_final.json: fold 2"), "{message}");
}

#[test]
fn a_data_set_without_a_split_is_divided_into_five_folds() {
    let files: Vec<(String, &str)> = (0..12)
        .flat_map(|case| [(format!("images/c{case:02}.png"), ""), (format!("labels/c{case:02}.png"), "")])
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let root = folder(&files);
    assert_eq!(Dataset::open(root.path()).unwrap().train.len(), 12, "as the files say");
    let folds: Vec<Dataset> = (0..5).map(|fold| Dataset::open_fold(root.path(), fold).unwrap()).collect();
    assert_eq!(super::folds(root.path()).unwrap(), 5);
    let mut held: Vec<&str> = folds.iter().flat_map(|fold| names(&fold.val)).collect();
    held.sort_unstable();
    assert_eq!(held, (0..12).map(|case| format!("c{case:02}")).collect::<Vec<_>>(), "each case is held out once");
    for fold in &folds {
        assert!((2..=3).contains(&fold.val.len()) && fold.train.len() + fold.val.len() == 12);
        assert!(fold.train.iter().all(|case| !names(&fold.val).contains(&case.name.as_str())));
    }
    assert_ne!(names(&folds[0].val), ["c00", "c01"], "the order is random");
    assert_eq!(names(&Dataset::open_fold(root.path(), 0).unwrap().val), names(&folds[0].val));
    let message = Dataset::open_fold(root.path(), 5).unwrap_err().to_string();
    assert!(message.contains("fold 5 does not exist: the cases can be divided into 5"), "{message}");
    // A data set with its own split is not divided again, even if it has no validation cases.
    fs::write(root.path().join("splits.json"), r#"{"train": ["c00", "c01"], "test": ["c02"]}"#).unwrap();
    assert!(Dataset::open_fold(root.path(), 0).unwrap().val.is_empty());
    assert_eq!(super::folds(root.path()).unwrap(), 1);
    let message = Dataset::open_fold(root.path(), 1).unwrap_err().to_string();
    assert!(message.contains("splits.json: fold 1") && message.contains("divides the data set once"), "{message}");
}

#[test]
fn numbered_cases_are_no_channels() {
    let root = folder(&[
        ("imagesTr/p_0001.png", ""),
        ("imagesTr/p_0002.png", ""),
        ("labelsTr/p_0001.png", ""),
        ("labelsTr/p_0002.png", ""),
    ]);
    let dataset = Dataset::open(root.path()).unwrap();
    assert_eq!(dataset.layout, Layout::Folders);
    assert_eq!(names(&dataset.train), ["p_0001", "p_0002"]);
    let root = folder(&[("images/a.png", ""), ("masks/a.png", "")]);
    assert_eq!(names(&Dataset::open(root.path()).unwrap().train), ["a"]);
}

#[test]
fn what_is_wrong_is_said() {
    let without = |name: &str| DECATHLON_FILES.iter().copied().filter(|file| file.0 != name).collect::<Vec<_>>();
    let with = |name, text| [without(name), vec![(name, text)]].concat();
    for (files, words) in [
        (vec![("readme.txt", "")], vec!["neither dataset.json"]),
        (vec![("imagesTr/readme.txt", ""), ("labelsTr/readme.txt", "")], vec!["no cases"]),
        (without("labelsTr/b.nii.gz"), vec!["labelsTr/b.nii.gz", "missing"]),
        (without("imagesTr/a.nii.gz"), vec!["imagesTr/a.nii.gz", "missing"]),
        (with("dataset.json", "{"), vec!["dataset.json", "line 1"]),
        (with("dataset.json", "[]"), vec!["dataset.json", "object"]),
        (
            with("dataset.json", r#"{"labels": {"0": "a", "2": "b"}}"#),
            vec!["dataset.json: labels", "b has the label 2"],
        ),
        (with("dataset.json", r#"{"labels": {"a": 0, "b": [1, 2]}}"#), vec!["regions_class_order"]),
        (with("dataset.json", r#"{"training": [3]}"#), vec!["training[0]"]),
        (with("splits.json", r#"{"train": ["a", "z"]}"#), vec!["splits.json", "z has no image"]),
        (with("splits.json", r#"{"train": ["a"], "val": ["a"]}"#), vec!["splits.json", "a is listed twice"]),
        (with("splits.json", r#"{"train": [1]}"#), vec!["splits.json: train"]),
        (with("splits.json", r#"{"tests": ["a"]}"#), vec!["splits.json", "names no cases"]),
        (with("splits.json", r#"{"train": ["a", "c"]}"#), vec!["c has no label"]),
        (vec![("images/a.png", ""), ("labels/b.png", "")], vec!["b.png", "no image", "1 more"]),
        (vec![("images/a.nii", ""), ("images/a.nii.gz", ""), ("labels/a.nii", "")], vec!["a.nii", "appears twice"]),
        (
            vec![("imagesTr/a_0000.png", ""), ("imagesTr/a_0002.png", ""), ("labelsTr/a.png", "")],
            vec!["channels [0, 2]"],
        ),
    ] {
        let root = folder(&files);
        let message = Dataset::open(root.path()).expect_err(&format!("{words:?}")).to_string();
        for word in words {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
    assert!(Dataset::open(Path::new("/no/such")).unwrap_err().to_string().contains("/no/such"));
}

#[test]
fn images_to_predict() {
    let root =
        folder(&[("a/x_0000.nii", ""), ("a/x_0001.nii", ""), ("b/p_0001.png", ""), ("b/p_0002.png", ""), ("c/d", "")]);
    let found = |name: &str| images(&root.path().join(name));
    let cases = found("a").unwrap();
    assert_eq!((names(&cases), cases[0].images.len()), (vec!["x"], 2));
    let cases = found("a/x_0000.nii").unwrap();
    assert_eq!((names(&cases), cases[0].images.len()), (vec!["x"], 2));
    assert_eq!(names(&found("a/x_0001.nii").unwrap()), ["x_0001"], "not the first channel");
    assert_eq!(names(&found("b").unwrap()), ["p_0001", "p_0002"]);
    assert_eq!(names(&found("b/p_0001.png").unwrap()), ["p_0001"]);
    assert!(found("c").unwrap_err().to_string().contains("no images"));
    assert!(found("c/d").unwrap_err().to_string().contains("extension"));
    assert!(found("e").unwrap_err().to_string().contains("no such"));
}

#[test]
fn forms_of_nnunet() {
    let root = folder(&[
        (
            "dataset.json",
            "\u{feff}{\"channel_names\": {\"0\": \"CT\", \"1\": \"PET\"}, \"labels\": {\"background\": 0, \"a\": 1}, \
             \"dataset\": {\"c0\": {\"images\": [\"x/i0.nii.gz\", \"x/i1.nii.gz\"], \"label\": \"x/l0.nii.gz\"}}}",
        ),
        ("x/i0.nii.gz", ""),
        ("x/i1.nii.gz", ""),
        ("x/l0.nii.gz", ""),
        ("imagesTs/t_0000.nii.gz", ""),
        ("imagesTs/t_0001.nii.gz", ""),
    ]);
    let dataset = Dataset::open(root.path()).unwrap();
    assert_eq!((names(&dataset.train), names(&dataset.test)), (vec!["c0"], vec!["t"]));
    assert_eq!(dataset.train[0].images.len(), 2);
    assert!(dataset.train[0].label.as_ref().unwrap().ends_with("x/l0.nii.gz"));

    let colours = r#"{"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "a": 1}, "file_ending": ".png"}"#;
    let root = folder(&[("dataset.json", colours), ("imagesTr/r_0000.png", ""), ("labelsTr/r.png", "")]);
    let dataset = Dataset::open(root.path()).unwrap();
    assert!(dataset.train[0].colours && dataset.train[0].images.len() == 1);

    let tif = r#"{"channel_names": {"0": "g"}, "labels": {"background": 0, "a": 1}, "file_ending": ".tif"}"#;
    let root = folder(&[("dataset.json", tif), ("imagesTr/r_0000.tif", ""), ("labelsTr/r.tif", "")]);
    let message = Dataset::open(root.path()).unwrap_err().to_string();
    assert!(message.contains("dataset.json: file_ending: files with the extension .tif"), "{message}");
    fs::remove_file(root.path().join("dataset.json")).unwrap();
    let message = Dataset::open(root.path()).unwrap_err().to_string();
    assert!(message.contains("r_0000.tif has an unsupported extension"), "{message}");
}

#[test]
fn regions_are_made_of_labels() {
    let text = r#"{"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "et": 3, "ignore": 4},
                   "regions_class_order": [1, 2, 3]}"#;
    let root = folder(&[("dataset.json", text), ("imagesTr/a.nii", ""), ("labelsTr/a.nii", "")]);
    let dataset = Dataset::open(root.path()).unwrap();
    let region = |name: &str, labels: &[i32], becomes| Region { name: name.into(), labels: labels.to_vec(), becomes };
    assert_eq!(dataset.regions, [region("whole", &[1, 2, 3], 1), region("core", &[2, 3], 2), region("et", &[3], 3)]);
    assert_eq!((dataset.classes.join(" "), dataset.ignore_label), ("background whole core et".into(), Some(4)));
    fs::write(root.path().join("dataset.json"), text.replace("[1, 2, 3]}", "[1, 2]}")).unwrap();
    let message = Dataset::open(root.path()).unwrap_err().to_string();
    assert!(message.contains("3 regions, but regions_class_order has 2"), "{message}");
}

#[test]
fn lists_of_windows_and_missing_test_images() {
    let text = r#"{"labels": {"0": "background", "1": "a"}, "test": ["./imagesTs/none.nii.gz"],
                   "training": [{"image": ".\\imagesTr\\a.nii.gz", "label": ".\\labelsTr\\a.nii.gz"}]}"#;
    let root = folder(&[("dataset.json", text), ("imagesTr/a.nii.gz", ""), ("labelsTr/a.nii.gz", "")]);
    assert_eq!(names(&Dataset::open(root.path()).unwrap().train), ["a"], "without the test image");
    let (_, problems) = Dataset::scan(root.path(), 0).unwrap();
    assert!(problems[0].to_string().contains("none.nii.gz") && problems.len() == 1);
    fs::remove_file(root.path().join("imagesTr/a.nii.gz")).unwrap();
    let message = Dataset::open(root.path()).unwrap_err().to_string();
    assert!(message.contains("a.nii.gz: dataset.json lists this file, but it is missing"), "{message}");
}

#[test]
fn names_meet_in_either_form_of_unicode() {
    let root = folder(&[("imagesTr/Lo\u{308}we.nii", ""), ("labelsTr/L\u{f6}we.nii", "")]);
    assert_eq!(names(&Dataset::open(root.path()).unwrap().train), ["L\u{f6}we"]);
}
