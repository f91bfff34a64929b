//! What every recipe writes can be trained on and compared on; the published lists of LA.

use std::fs;

use super::{Source, acdc, names};
use crate::common::{segcal, stderr, text};
use segcal_data::{Dataset, nifti};

impl Source {
    /// Whether what was prepared begins to train, and, where there is something to measure, to be compared.
    fn starts(&self) {
        let dataset = Dataset::open(&self.out()).unwrap();
        let keys = "epochs = 1\nbatch = 2\nsamples = { size = [8, 8] }\nnetwork = { levels = 2, base = 2 }\n";
        let (config, data) = (self.0.path().join("tiny.toml"), format!("data = '{}'\n", self.out().display()));
        fs::write(&config, format!("{data}{keys}")).unwrap();
        let run = format!("out={}", self.0.path().join("run").display());
        let trained = segcal(&["-q", "train", text(&config), &run]);
        assert!(trained.status.success(), "{}", stderr(&trained));
        assert!(!dataset.test.is_empty(), "nothing to compare on");
        let plan = self.0.path().join("plan.toml");
        let keys = "epochs = 1\nbatch = 2\nsamples.size = [8, 8]\nnetwork.levels = 2\nnetwork.base = 2\n";
        let methods = "[[method]]\nname = 'ce'\nloss.name = 'ce'\n[[method]]\nname = 'dice'\nloss.name = 'dice'\n";
        let out = format!("out = '{}'\nseeds = [1]\n", self.0.path().join("compared").display());
        fs::write(&plan, format!("{out}[train]\n{data}{keys}{methods}")).unwrap();
        let compared = segcal(&["-q", "compare", text(&plan), "--dry-run"]);
        assert!(compared.status.success(), "{}", stderr(&compared));
    }
}

/// The output of every recipe starts training and comparing, with the split that it has by itself for a handful of
/// persons.
#[test]
fn every_recipe_can_be_trained_on_and_compared_on() {
    for recipe in segcal_data::prepare::RECIPES {
        let source = Source::new();
        let more: &[&str] = match recipe.name {
            "acdc" => {
                acdc(&source, 4);
                &[]
            }
            "bids" => {
                (1..5).for_each(|number| tissue(&source, number));
                &["--split", "2,1,1"]
            }
            "brats" => {
                (1..5).for_each(|number| tumour(&source, number));
                &["--size", "4,16,16"]
            }
            "busi" => {
                (1..5).for_each(|number| lump(&source, number));
                &[]
            }
            "flare" => {
                (1..7).for_each(|number| organs(&source, number));
                &[]
            }
            "la" => {
                (1..6).for_each(|number| atrium(&source, &format!("CARMA{number}"), number));
                &["--crop", "4,16,16"]
            }
            "mrbrains" => {
                (1..8).for_each(|number| brain(&source, number));
                &[]
            }
            "msd" => {
                (1..5).for_each(|number| task(&source, number));
                fs::write(source.at("src/dataset.json"), TASK).unwrap();
                &["--split", "2,1,1"]
            }
            "promise" => {
                (1..5).for_each(|number| prostate(&source, number));
                &["--split", "2,1,1"]
            }
            "wmh" => {
                (1..7).for_each(|number| lesions(&source, number));
                &["--split", "4,1,1"]
            }
            other => panic!("{other}: give its layout here"),
        };
        source.prepared(recipe.name, more);
        source.starts();
    }
}

fn tissue(source: &Source, number: usize) {
    source.volume(&format!("src/sub-{number}/anat/sub-{number}_T1w.nii.gz"), number, 50);
    source.volume(&format!("src/derivatives/manual/sub-{number}/anat/sub-{number}_dseg.nii.gz"), 0, 3);
    fs::write(source.at("src/derivatives/manual/dseg.tsv"), "index\tname\n2\tright\n1\tleft\n").unwrap();
}

fn tumour(source: &Source, number: usize) {
    let case = format!("BraTS19_{number}_1");
    for channel in ["t2", "flair", "t1ce", "t1"] {
        source.volume(&format!("src/HGG/{case}/{case}_{channel}.nii.gz"), number, 100);
    }
    source.volume(&format!("src/HGG/{case}/{case}_seg.nii.gz"), number, 3);
}

fn lump(source: &Source, number: i32) {
    source.picture(&format!("src/benign/benign ({number}).png"), [10, 20 + number, 30, 40]);
    source.picture(&format!("src/benign/benign ({number})_mask.png"), [255, 0, 0, 0]);
}

fn organs(source: &Source, number: usize) {
    source.volume(&format!("src/TrainingImg/train_{number:03}_0000.nii.gz"), number, 100);
    source.volume(&format!("src/TrainingMask/train_{number:03}.nii.gz"), 0, 5);
}

fn atrium(source: &Source, patient: &str, number: u8) {
    let header = "NRRD0004\ntype: uchar\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 2 2\n\
                  space directions: (0.625,0,0) (0,0.625,0) (0,0,0.625)\nencoding: raw\nspace origin: (0,0,0)\n\n";
    let nrrd = |data: [u8; 8]| [header.as_bytes(), &data[..]].concat();
    fs::write(source.at(&format!("src/{patient}/lgemri.nrrd")), nrrd([1, 2, 3, 4, number, 6, 7, 8])).unwrap();
    fs::write(source.at(&format!("src/{patient}/laendo.nrrd")), nrrd([0, 255, 0, 255, 0, 0, 0, 0])).unwrap();
}

fn brain(source: &Source, number: usize) {
    for name in ["pre/reg_T1", "pre/FLAIR", "pre/reg_IR"] {
        source.volume(&format!("src/training/{number}/{name}.nii.gz"), number, 100);
    }
    source.volume(&format!("src/training/{number}/segm.nii.gz"), 0, 11);
}

const TASK: &str = r#"{ "channel_names": { "0": "MR" }, "labels": { "background": 0, "a": 1, "b": 2 },
    "numTraining": 4, "file_ending": ".nii.gz" }"#;

fn task(source: &Source, number: usize) {
    source.volume(&format!("src/imagesTr/case_{number}_0000.nii.gz"), number, 100);
    source.volume(&format!("src/labelsTr/case_{number}.nii.gz"), 0, 3);
}

fn prostate(source: &Source, number: u8) {
    for (name, data) in [(format!("Case{number:02}"), [number, 200]), (format!("Case{number:02}_segmentation"), [0, 1])]
    {
        let header = format!(
            "NDims = 3\nDimSize = 2 1 1\nElementSpacing = 0.6 0.6 3.6\nElementType = MET_UCHAR\nElementDataFile = {name}.raw\n"
        );
        fs::write(source.at(&format!("src/{name}.mhd")), header).unwrap();
        fs::write(source.at(&format!("src/{name}.raw")), data).unwrap();
    }
}

fn lesions(source: &Source, number: usize) {
    for name in ["pre/T1", "pre/FLAIR"] {
        source.volume(&format!("src/Site/{number}/{name}.nii.gz"), number, 100);
    }
    source.volume(&format!("src/Site/{number}/wmh.nii.gz"), 0, 3);
}

/// Every case is held out once, and the predictions of all folds are evaluated as one cohort.
#[test]
fn leaving_one_out_gives_every_case_a_prediction_of_a_network_that_never_saw_it() {
    let source = Source::new();
    (1..4).for_each(|number| brain(&source, number));
    let dataset = source.prepared("mrbrains", &["--split", "1,0,0", "--folds", "loo"]);
    assert_eq!((dataset.train.len(), dataset.val.len(), dataset.test.len()), (2, 1, 0));
    assert!(!source.out().join("splits.json").exists());
    let path = |name: &str| source.0.path().join(name).display().to_string();
    let keys = "epochs = 1\nbatch = 2\nsamples = { size = [8, 8] }\nnetwork = { levels = 2, base = 2 }\n";
    fs::write(path("tiny.toml"), format!("data = '{}'\n{keys}", source.out().display())).unwrap();
    for fold in 0..3 {
        let run = path(&format!("fold-{fold}"));
        let trained = segcal(&["-q", "train", &path("tiny.toml"), &format!("fold={fold}"), &format!("out={run}")]);
        assert!(trained.status.success(), "{}", stderr(&trained));
        let predicted = segcal(&["-q", "predict", &run, "--split", "val", "--out", &path("out-of-fold")]);
        assert!(predicted.status.success(), "{}", stderr(&predicted));
    }
    let (scores, labels) = (path("out-of-fold/probabilities"), path("out/labelsTr"));
    let evaluated =
        segcal(&["-q", "evaluate", "--probabilities", &scores, "--labels", &labels, "--out", &path("evaluation")]);
    assert!(evaluated.status.success(), "{}", stderr(&evaluated));
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(path("evaluation/summary.json")).unwrap()).unwrap();
    assert_eq!(summary["cases"].as_array().unwrap().len(), 3);
    let too_many = source.prepare("mrbrains", &["--split", "1,0,0", "--folds", "4"]);
    assert!(
        stderr(&too_many).contains("--folds: cannot make 4 folds of 3 training and validation patients"),
        "{}",
        stderr(&too_many)
    );
}

/// Who is tested on by the published lists, then who is validated on.
const LISTED: [&str; 24] = [
    "UPT6DX9IQY9JAZ7HJKA7",
    "UTBUJIWZMKP64E3N73YC",
    "ULHWPWKKLTE921LQLH1P",
    "V0MZOWJ6MU3RMRCV9EXR",
    "VDOF02M8ZHEAADFMS6NP",
    "VG4C826RAAKVMV9BQLVD",
    "VIXBEFTNVHZWKAKURJBN",
    "VQ2L3WM8KEVF6L44E6G9",
    "WBG9WYZ1B25WDT5WAT8T",
    "WMDG2EFA6L2SNDZXIRU0",
    "WNPKE0W404QE9AELX1LR",
    "WSJB9P4JCXUVHBOYFVWL",
    "WW8F5CO4S4K5IM5Z7EXX",
    "X18LU5AOBNNDMLTA0JZL",
    "XYDLYJ5CS19FDBVLJIPI",
    "Y7ZU0B2APPF54WG6PDMF",
    "YDKD1HVHSME6NVMA8I39",
    "Z9GMG63CJLL0VW893BB1",
    "ZIJLJAVQV3FJ6JSQOH1E",
    "ZQPMJ4XEC5A4BISD45P1",
    "23X6SY44VT9KFHR7S7OC",
    "CLXFYOBQDCVXQ9P7YC07",
    "AT5CRO5JUDBWD4RUPXSQ",
    "CB5P5W7X310NIIVU7UZV",
];

/// The published lists, where all who are in them are there.
#[test]
fn atria_are_divided_by_the_published_lists() {
    let source = Source::new();
    for (number, name) in (0..).zip(LISTED.into_iter().chain(["OTHER", "MORE"])) {
        atrium(&source, name, number);
    }
    let dataset = source.prepared("la", &["--crop", "0,0,0"]);
    assert_eq!(names(&dataset.train), ["MORE", "OTHER"]);
    let sorted = |cases: &[&'static str]| cases.iter().copied().collect::<std::collections::BTreeSet<_>>();
    let found = |cases: &[segcal_data::Case]| names(cases).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(found(&dataset.test).iter().map(String::as_str).eq(sorted(&LISTED[..20])));
    assert!(found(&dataset.val).iter().map(String::as_str).eq(sorted(&LISTED[20..])));
}

/// The paper's size about the atrium, without being asked for; the whole scan where that is asked for.
#[test]
fn atria_lie_in_the_middle_of_what_is_cut_out() {
    let source = Source::new();
    (0..3).for_each(|number| atrium(&source, &format!("CARMA{number}"), number));
    let dataset = source.prepared("la", &["--split", "1,1,1"]);
    let label = nifti::read_labels(dataset.train[0].label.as_ref().unwrap()).unwrap();
    assert_eq!(label.grid.extent, [80, 144, 144]);
    assert_eq!(label.values().iter().sum::<i32>(), 2);
}
