//! `prepare`: every layout in small, what becomes of labels, sizes and persons, and what is refused.

mod again;
mod starts;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{segcal, stderr, stdout, text};
use segcal_data::{Dataset, Grid, Volume, nifti, png};
use serde_json::Value;

/// A folder to make a published data set in.
struct Source(tempfile::TempDir);

impl Source {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        crate::common::path_in(self.0.path(), name)
    }

    /// 2 x 3 x 4 voxels of 5 x 2 x 1 mm, numbered from `first` on modulo `modulus`.
    fn volume(&self, name: &str, first: usize, modulus: usize) {
        let affine = [[1.0, 0.0, 0.0, 3.0], [0.0, 2.0, 0.0, -4.0], [0.0, 0.0, 5.0, 7.0]];
        let values = (0..24).map(|place| ((first + place) % modulus) as i16).collect();
        let volume = Volume::new(values, 1, Grid::new([2, 3, 4], affine, 1).unwrap());
        nifti::write(&self.at(name), &volume).unwrap();
    }

    fn picture(&self, name: &str, values: [i32; 4]) {
        png::write_labels(&self.at(name), &Volume::new(values.to_vec(), 1, Grid::unknown([1, 2, 2]))).unwrap();
    }

    fn src(&self) -> PathBuf {
        self.0.path().join("src")
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    fn prepare(&self, recipe: &str, more: &[&str]) -> std::process::Output {
        let (src, out) = (self.src(), self.out());
        segcal(&[&["prepare", text(&src), text(&out), "--as", recipe, "-q"], more].concat())
    }

    /// Prepares, checks that nothing is wrong with what was written, and opens it.
    fn prepared(&self, recipe: &str, more: &[&str]) -> Dataset {
        let output = self.prepare(recipe, more);
        assert!(output.status.success(), "{recipe}: {}", stderr(&output));
        let check = segcal(&["check", text(&self.out()), "--json"]);
        let found: Value = serde_json::from_str(&stdout(&check)).unwrap();
        let trouble: Vec<&Value> = found["cases"].as_array().unwrap().iter().map(|case| &case["problems"]).collect();
        // The small volumes of these tests are alike: that alone may be said of them.
        for problem in trouble.iter().flat_map(|problems| problems.as_array().unwrap()) {
            assert!(problem.as_str().unwrap().contains("the same image as"), "{recipe}: {problem}");
        }
        Dataset::open(&self.out()).unwrap()
    }

    fn labels(&self, file: &str) -> Vec<i32> {
        nifti::read_labels(&self.out().join(file)).unwrap().values().to_vec()
    }
}

fn names(cases: &[segcal_data::Case]) -> Vec<&str> {
    cases.iter().map(|case| case.name.as_str()).collect()
}

fn acdc(source: &Source, patients: usize) {
    for patient in 1..=patients {
        for frame in [1, 12] {
            let name = format!("src/training/patient{patient:03}/patient{patient:03}_frame{frame:02}");
            source.volume(&format!("{name}.nii.gz"), patient + frame, 100);
            source.volume(&format!("{name}_gt.nii.gz"), patient, 4);
        }
        source.volume(&format!("src/training/patient{patient:03}/patient{patient:03}_4d.nii.gz"), 0, 9);
    }
    source.volume("src/testing/patient101/patient101_frame01.nii.gz", 0, 9);
    source.volume("src/testing/patient101/patient101_frame01_gt.nii.gz", 0, 4);
}

#[test]
fn frames_of_one_patient_stay_together_and_slices_become_the_papers() {
    let source = Source::new();
    acdc(&source, 10);
    let dataset = source.prepared("acdc", &[]);
    assert_eq!([dataset.train.len(), dataset.val.len(), dataset.test.len()], [14, 2, 4]);
    assert_eq!(dataset.classes, ["background", "right ventricle", "myocardium", "left ventricle"]);
    let patients = |cases| names(cases).iter().map(|name| name[..10].to_owned()).collect::<BTreeSet<_>>();
    let parts = [&dataset.train, &dataset.val, &dataset.test].map(|cases| patients(cases));
    assert_eq!(parts.iter().map(BTreeSet::len).sum::<usize>(), 10, "{parts:?}");
    let case = &dataset.train[0];
    let image = nifti::read_image(&case.images[0]).unwrap();
    assert_eq!(image.grid.extent, [2, 224, 224]);
    // The same field of view: 4 x 1 mm, 3 x 2 mm, 2 x 5 mm.
    let size = image.grid.spacing_mm().into_iter().zip(image.grid.extent).map(|(mm, count)| mm * count as f64);
    assert!(size.zip([10.0, 6.0, 4.0]).all(|(found, expected)| (found - expected).abs() < 1e-5));
    let label = nifti::read_labels(case.label.as_ref().unwrap()).unwrap();
    assert_eq!(label.values().iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2, 3]));
    let first: Value = serde_json::from_slice(&fs::read(source.out().join("splits_final.json")).unwrap()).unwrap();
    assert_eq!(first[0]["train"].as_array().unwrap().len(), 14);
    assert!(first[0].get("test").is_none(), "nnU-Net knows train and val");
    assert!(
        case.images[0].starts_with(source.out().join("imagesTr"))
            && case.images[0].ends_with(format!("{}_0000.nii.gz", case.name))
    );
    assert!(dataset.test[0].label.as_ref().unwrap().starts_with(source.out().join("labelsTs")));
}

#[test]
fn what_is_kept_as_it_is_keeps_every_number_and_its_place() {
    let source = Source::new();
    acdc(&source, 1);
    let dataset = source.prepared("acdc", &["--size", "0,0", "--split", "1,0,0"]);
    assert_eq!([dataset.train.len(), dataset.val.len(), dataset.test.len()], [2, 0, 0]);
    assert!(!source.out().join("splits_final.json").exists(), "a fold needs cases to validate on");
    for case in &dataset.train {
        let folder = source.src().join("training/patient001");
        let before = nifti::read_image(&folder.join(format!("{}.nii.gz", case.name))).unwrap();
        assert_eq!(nifti::read_image(&case.images[0]).unwrap(), before);
        let label = nifti::read_labels(&folder.join(format!("{}_gt.nii.gz", case.name))).unwrap();
        assert_eq!(nifti::read_labels(case.label.as_ref().unwrap()).unwrap(), label);
    }
}

#[test]
fn channels_are_files_and_brats_four_becomes_three() {
    let source = Source::new();
    for (case, grade) in [("BraTS19_A_1", "HGG"), ("BraTS19_B_1", "LGG")] {
        for (number, channel) in ["t2", "flair", "t1ce", "t1"].into_iter().enumerate() {
            source.volume(&format!("src/{grade}/{case}/{case}_{channel}.nii.gz"), 10 * number, 1000);
        }
        source.volume(&format!("src/{grade}/{case}/{case}_seg.nii.gz"), 0, 3);
    }
    let affine = [[1.0, 0.0, 0.0, 3.0], [0.0, 2.0, 0.0, -4.0], [0.0, 0.0, 5.0, 7.0]];
    let label = Volume::new(vec![4_u8; 24], 1, Grid::new([2, 3, 4], affine, 1).unwrap());
    nifti::write(&source.at("src/HGG/BraTS19_A_1/BraTS19_A_1_seg.nii.gz"), &label).unwrap();
    let dataset = source.prepared("brats", &["--size", "0,0,0", "--split", "2,0,0"]);
    assert_eq!(dataset.channels, ["flair", "t1", "t1ce", "t2"]);
    assert_eq!(source.labels("labelsTr/BraTS19_A_1.nii.gz"), [3; 24]);
    let first = |channel: usize| {
        nifti::read_image(&source.out().join(format!("imagesTr/BraTS19_B_1_{channel:04}.nii.gz"))).unwrap().values()[0]
    };
    assert_eq!([0, 1, 2, 3].map(first), [10.0, 30.0, 20.0, 0.0]);
}

#[test]
fn organs_tissues_and_lesions() {
    let flare = Source::new();
    for case in ["train_000", "train_001"] {
        flare.volume(&format!("src/TrainingImg/{case}_0000.nii.gz"), 0, 100);
        flare.volume(&format!("src/TrainingMask/{case}.nii.gz"), 0, 5);
    }
    let dataset = flare.prepared("flare", &[]);
    assert_eq!(nifti::read_image(&dataset.train[0].images[0]).unwrap().grid.extent, [30, 192, 192]);

    let brain = Source::new();
    for subject in ["1", "070"] {
        for name in ["pre/reg_T1", "pre/FLAIR", "pre/reg_IR", "orig/FLAIR"] {
            brain.volume(&format!("src/training/{subject}/{name}.nii.gz"), 0, 100);
        }
        brain.volume(&format!("src/training/{subject}/segm.nii.gz"), 0, 11);
    }
    brain.prepared("mrbrains", &[]);
    let tissues = ["Tr", "Ts"].map(|part| brain.out().join(format!("labels{part}/subject_070.nii.gz")));
    let label = tissues.iter().find(|path| path.is_file()).unwrap();
    let expected = [0, 1, 1, 2, 2, 3, 3, 0, 0, 0, 0];
    assert_eq!(nifti::read_labels(label).unwrap().values()[..11], expected);

    let lesions = Source::new();
    for subject in (0..60).chain(100..150) {
        for name in ["pre/T1", "pre/FLAIR"] {
            lesions.volume(&format!("src/Site/{subject}/{name}.nii.gz"), 0, 100);
        }
        lesions.volume(&format!("src/Site/{subject}/wmh.nii.gz"), 0, 3);
    }
    let listed = ["--split", "42,3,15"];
    let random = lesions.prepared("wmh", &listed);
    assert_eq!(random.val.len() + random.test.len() + random.train.len(), 110);
    fs::remove_dir_all(lesions.out()).unwrap();
    for subject in [61, 65, 68] {
        fs::create_dir_all(lesions.src().join(format!("Site/{subject}"))).unwrap();
        for name in ["pre/T1.nii.gz", "pre/FLAIR.nii.gz", "wmh.nii.gz"] {
            let to = lesions.at(&format!("src/Site/{subject}/{name}"));
            fs::copy(lesions.src().join("Site/0").join(name), to).unwrap();
        }
    }
    let dataset = lesions.prepared("wmh", &[]);
    assert_eq!(names(&dataset.val), ["subject_0", "subject_107", "subject_51"]);
    assert_eq!(dataset.test.len(), 15);
    assert_eq!(lesions.labels("labelsTr/subject_1.nii.gz")[..6], [0, 1, 0, 0, 1, 0]);
}

#[test]
fn masks_of_one_lesion_are_joined_and_normal_images_left_out() {
    let source = Source::new();
    source.picture("src/benign/benign (1).png", [10, 20, 30, 40]);
    source.picture("src/benign/benign (1)_mask.png", [255, 0, 0, 0]);
    source.picture("src/benign/benign (1)_mask_1.png", [0, 0, 255, 0]);
    source.picture("src/malignant/malignant (7).png", [9, 9, 9, 1]);
    source.picture("src/malignant/malignant (7)_mask.png", [0, 0, 0, 0]);
    source.picture("src/normal/normal (1).png", [1, 2, 3, 4]);
    source.picture("src/normal/normal (1)_mask.png", [0, 0, 0, 0]);
    let dataset = source.prepared("busi", &["--size", "0,0", "--split", "2,0,0"]);
    assert_eq!(names(&dataset.train), ["benign_1", "malignant_7"]);
    assert_eq!(source.labels("labelsTr/benign_1.nii.gz"), [1, 0, 1, 0]);
    assert_eq!(source.labels("labelsTr/malignant_7.nii.gz"), [0; 4]);
    assert_eq!(nifti::read_image(&dataset.train[0].images[0]).unwrap().values(), [10.0, 20.0, 30.0, 40.0]);
}

#[test]
fn atria_in_nrrd_and_prostates_in_metaimage() {
    let atria = Source::new();
    let nrrd = |kind: &str, data: &[u8]| {
        let header = format!(
            "NRRD0004\ntype: {kind}\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 1 2\n\
            space directions: (0.625,0,0) (0,0.625,0) (0,0,0.625)\nencoding: raw\nspace origin: (0,0,0)\n\n"
        );
        [header.as_bytes(), data].concat()
    };
    fs::write(atria.at("src/Training Set/CARMA0001/lgemri.nrrd"), nrrd("uchar", &[1, 2, 3, 4])).unwrap();
    fs::write(atria.at("src/Training Set/CARMA0001/laendo.nrrd"), nrrd("uchar", &[0, 255, 0, 255])).unwrap();
    let dataset = atria.prepared("la", &["--split", "1,0,0", "--crop", "0,0,0"]);
    assert_eq!(names(&dataset.train), ["CARMA0001"]);
    assert_eq!(atria.labels("labelsTr/CARMA0001.nii.gz"), [0, 1, 0, 1]);
    assert_eq!(nifti::read_image(&dataset.train[0].images[0]).unwrap().grid.axes().to_string(), "LPS");

    let prostates = Source::new();
    for (name, kind, data) in [("Case00", "MET_SHORT", &[1, 0, 2, 0][..]), ("Case00_segmentation", "MET_CHAR", &[0, 1])]
    {
        let header = format!(
            "NDims = 3\nDimSize = 2 1 1\nElementSpacing = 0.6 0.6 3.6\nElementType = {kind}\nElementDataFile = {name}.raw\n"
        );
        fs::write(prostates.at(&format!("src/{name}.mhd")), header).unwrap();
        fs::write(prostates.at(&format!("src/{name}.raw")), data).unwrap();
    }
    prostates.prepared("promise", &["--split", "1,0,0"]);
    assert_eq!(prostates.labels("labelsTr/Case00.nii.gz"), [0, 1]);
}

#[test]
fn a_decathlon_task_with_images_to_predict() {
    let source = Source::new();
    for case in 1..=5 {
        source.volume(&format!("src/imagesTr/hippo_{case}.nii.gz"), case, 100);
        source.volume(&format!("src/labelsTr/hippo_{case}.nii.gz"), 0, 3);
    }
    source.volume("src/imagesTs/hippo_9.nii.gz", 9, 100);
    let pairs: Vec<Value> = (1..=5)
        .map(|case| serde_json::json!({ "image": format!("./imagesTr/hippo_{case}.nii.gz"), "label": format!("./labelsTr/hippo_{case}.nii.gz") }))
        .collect();
    let description = serde_json::json!({
        "modality": { "0": "MRI" }, "labels": { "0": "background", "1": "Anterior", "2": "Posterior" },
        "training": pairs, "test": ["./imagesTs/hippo_9.nii.gz"],
    });
    fs::write(source.at("src/dataset.json"), description.to_string()).unwrap();
    let dataset = source.prepared("msd", &["--split", "4,1,0"]);
    assert_eq!([dataset.train.len(), dataset.val.len()], [4, 1]);
    assert_eq!(names(&dataset.test), ["hippo_9"], "nothing else is tested on");
    assert_eq!(dataset.classes, ["background", "Anterior", "Posterior"]);
    let before = written(&source.out());
    source.prepared("msd", &["--split", "4,1,0"]);
    assert_eq!(written(&source.out()), before, "what is there is not written again, with a label or without");
    fs::remove_dir_all(source.out()).unwrap();
    let dataset = source.prepared("msd", &["--split", "3,1,1"]);
    assert_eq!(dataset.test.len(), 1);
    assert!(dataset.test[0].label.is_some(), "images without labels are left out where labelled ones are tested on");
    // What was prepared can be prepared again: the lists in it are kept.
    let again = source.0.path().join("again");
    let output = segcal(&["prepare", text(&source.out()), text(&again), "--as", "msd", "-q"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(names(&Dataset::open(&again).unwrap().test), names(&dataset.test));
}

fn bids(source: &Source) {
    for subject in ["sub-1", "sub-2"] {
        source.picture(&format!("src/{subject}/micr/{subject}_sample-a_SEM.png"), [1, 2, 3, 4]);
        let label = |kind: &str| format!("src/derivatives/labels/{subject}/micr/{subject}_sample-a_SEM_{kind}.png");
        source.picture(&label("seg-axon-manual"), [0, 255, 0, 0]);
        source.picture(&label("seg-myelin-manual"), [0, 0, 255, 0]);
    }
    let sidecar = r#"{ "PixelSize": [0.13, 0.07], "PixelSizeUnits": "um" }"#;
    fs::write(source.at("src/sub-1/micr/sub-1_SEM.json"), sidecar).unwrap();
    fs::write(source.at("src/SEM.json"), r#"{ "PixelSize": [2, 2], "PixelSizeUnits": "nm" }"#).unwrap();
}

#[test]
fn bids_with_masks_and_pixel_sizes() {
    let source = Source::new();
    bids(&source);
    let vague = source.prepare("bids", &[]);
    assert_eq!(vague.status.code(), Some(2));
    let message = stderr(&vague);
    assert!(message.contains("--labels") && message.contains("seg-axon-manual, seg-myelin-manual"), "{message}");
    assert!(!source.out().exists(), "nothing was begun");
    let dataset = source.prepared("bids", &["--labels", "seg-myelin-manual,seg-axon-manual", "--split", "2,0,0"]);
    assert_eq!(dataset.classes, ["background", "myelin", "axon"]);
    assert_eq!(source.labels("labelsTr/sub-1_sample-a.nii.gz"), [0, 2, 1, 0]);
    let spacing = |subject: &str| {
        let path = source.out().join(format!("imagesTr/{subject}_sample-a_0000.nii.gz"));
        nifti::read_image(&path).unwrap().grid.spacing_mm()
    };
    let close =
        |found: [f64; 3], expected: [f64; 3]| found.iter().zip(expected).all(|(a, b)| (a / b - 1.0).abs() < 1e-6);
    assert!(close(spacing("sub-1"), [1.0, 0.00007, 0.00013]), "the nearest says it: {:?}", spacing("sub-1"));
    assert!(close(spacing("sub-2"), [1.0, 2e-6, 2e-6]), "{:?}", spacing("sub-2"));
}

#[test]
fn bids_with_one_map_of_classes_and_a_table() {
    let source = Source::new();
    for subject in ["sub-1", "sub-2"] {
        source.volume(&format!("src/{subject}/anat/{subject}_T1w.nii.gz"), 0, 50);
        source.volume(&format!("src/derivatives/manual/{subject}/anat/{subject}_dseg.nii.gz"), 0, 3);
    }
    fs::write(source.at("src/derivatives/manual/dseg.tsv"), "index\tname\n2\tright\n1\tleft\n").unwrap();
    let dataset = source.prepared("bids", &["--split", "2,0,0"]);
    assert_eq!(dataset.classes, ["background", "left", "right"]);
    assert_eq!(source.labels("labelsTr/sub-1.nii.gz")[..4], [0, 1, 2, 0]);
}

fn written(folder: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let mut files = segcal_data::prepare::tree::files(folder).unwrap();
    files.retain(|path| path.to_string_lossy().ends_with(".nii.gz"));
    files.into_iter().map(|path| (path.clone(), fs::metadata(&path).unwrap().modified().unwrap())).collect()
}
