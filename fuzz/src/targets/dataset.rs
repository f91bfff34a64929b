//! Data sets: `dataset.json`, a line `---`, and `splits_final.json`, in a folder with a few files.

use std::fs;

use segcal_data::Dataset;

use crate::input::{answered, two_texts};

/// A data set is opened or refused, and looked through; its cases have files.
pub fn target(bytes: &[u8]) {
    let (description, splits) = two_texts(bytes);
    let folder = tempfile::tempdir().expect("room for temporary files");
    let root = folder.path().join("cohort");
    for name in FILES {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("room for temporary files");
        fs::write(path, "").expect("room for temporary files");
    }
    fs::write(root.join("dataset.json"), description).expect("room for temporary files");
    if !splits.is_empty() {
        fs::write(root.join("splits_final.json"), splits).expect("room for temporary files");
    }
    answered("cohort", Dataset::scan(&root, 0).map(drop));
    answered("cohort", Dataset::open_fold(&root, 1).map(drop));
    let Some(dataset) = answered("cohort", Dataset::open(&root)) else { return };
    for (_, case) in dataset.cases() {
        assert!(!case.images.is_empty(), "{} has no image", case.name);
        for path in case.images.iter().chain(&case.label) {
            let inside = path.canonicalize().is_ok_and(|path| path.starts_with(root.canonicalize().expect("a folder")));
            assert!(inside || !path.exists(), "{} lies outside", path.display());
        }
    }
}

const FILES: [&str; 7] = [
    "imagesTr/a_0000.nii.gz",
    "imagesTr/b_0000.nii.gz",
    "imagesTs/c_0000.nii.gz",
    "imagesTr/a.nii.gz",
    "labelsTr/a.nii.gz",
    "labelsTr/b.nii.gz",
    "../outside.nii.gz",
];

/// The layouts with and without folds, and some that are refused.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let nnunet = r#"{"channel_names": {"0": "T1"}, "labels": {"background": 0, "x": 1}, "numTraining": 2, "file_ending": ".nii.gz"}"#;
    let folds = r#"[{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]"#;
    let climbs = r#"{"labels": {"0": "b", "1": "x"}, "modality": {"0": "MRI"},
        "training": [{"image": "../outside.nii.gz", "label": "/etc/passwd"}], "test": []}"#;
    vec![
        ("nnunet", text(nnunet)),
        ("folds", [nnunet.as_bytes(), b"\n---\n", folds.as_bytes()].concat()),
        (
            "decathlon",
            text(
                r#"{"labels": {"0": "b", "1": "x"}, "modality": {"0": "MRI"}, "test": [],
                "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]}"#,
            ),
        ),
        ("climbs", text(climbs)),
        (
            "labels",
            text(r#"{"channel_names": {"0": "T1"}, "labels": {"b": 0, "x": 4294967295}, "file_ending": ".png"}"#),
        ),
        ("types", text(r#"{"labels": [], "modality": 3, "training": {}}"#)),
        ("no_json", text("{")),
    ]
}
