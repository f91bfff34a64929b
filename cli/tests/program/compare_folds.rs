//! `segcal compare` and `segcal train` over the folds of a data set.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::{segcal, stderr, stdout, text, volumes};

struct Scene(tempfile::TempDir);

impl Scene {
    /// Six cases in three folds, and a plan of two methods.
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        let sizes = ["--train", "5", "--val", "1", "--test", "1", "--size", "4,16,16"];
        let made = segcal(&[&["-q", "phantom", text(&scene.path("cohort"))][..], &sizes].concat());
        assert!(made.status.success(), "{}", stderr(&made));
        let splits: Value = serde_json::from_slice(&fs::read(scene.path("cohort/splits.json")).unwrap()).unwrap();
        let list = |part: &str| splits[part].as_array().unwrap().clone();
        let cases: Vec<Value> = [list("train"), list("val")].concat();
        let fold = |held: usize| {
            let (val, train): (Vec<_>, Vec<_>) = cases.iter().enumerate().partition(|(number, _)| number % 3 == held);
            let names = |part: Vec<(usize, &Value)>| part.into_iter().map(|(_, name)| name.clone()).collect::<Vec<_>>();
            json!({ "train": names(train), "val": names(val), "test": list("test") })
        };
        fs::write(scene.path("cohort/splits_final.json"), json!([fold(0), fold(1), fold(2)]).to_string()).unwrap();
        fs::remove_file(scene.path("cohort/splits.json")).unwrap();
        let plan = format!(
            "folds = [0, 1, 2]\nseeds = [3]\n[train]\ndata = '{}'\nepochs = 1\nbatch = 4\nsamples.size = [16, 16]\n\
             network = {{ levels = 2, base = 2 }}\n[[method]]\nname = 'ce'\nloss.name = 'ce'\n\
             [[method]]\nname = 'dice'\nloss.name = 'dice'\n",
            scene.path("cohort").display()
        );
        fs::write(scene.path("plan.toml"), plan).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn compare(&self, plan: &str, more: &[&str]) -> std::process::Output {
        segcal(&[&["-q", "compare", text(&self.path(plan)), "--out", text(&self.path("out"))], more].concat())
    }
}

#[test]
fn what_the_folds_hold_out_is_measured_together() {
    let scene = Scene::new();
    let dry = scene.compare("plan.toml", &["--dry-run"]);
    assert!(stdout(&dry).contains("6 trainings"), "{}{}", stdout(&dry), stderr(&dry));
    let done = scene.compare("plan.toml", &[]);
    assert!(done.status.success(), "{}", stderr(&done));
    let summary: Value = serde_json::from_slice(&fs::read(scene.path("out/summary.json")).unwrap()).unwrap();
    assert!(summary["results"].is_array());
    // The figures are those of all cases, each by the network of the fold that held it out.
    let folder = |fold: usize| scene.path(&format!("out/ce/seed-3/fold-{fold}/evaluation-noise-0"));
    let folders: Vec<PathBuf> = (0..3).map(folder).collect();
    let folders: Vec<&str> = folders.iter().map(|path| text(path)).collect();
    let merged = segcal(&[&["-q", "merge", "--out", text(&scene.path("merged"))], &folders[..]].concat());
    assert!(merged.status.success(), "{}", stderr(&merged));
    let cases = |folder: &str| fs::read_to_string(scene.path(folder).join("cases.csv")).unwrap();
    assert_eq!(cases("merged"), cases("out/ce/seed-3/evaluation-noise-0"));
    let evaluation = fs::read(scene.path("out/ce/seed-3/evaluation-noise-0/summary.json")).unwrap();
    let evaluation: Value = serde_json::from_slice(&evaluation).unwrap();
    assert_eq!(evaluation["cases"].as_array().unwrap().len(), 6);
    // Once more, and by a single job: nothing is left to do, and the bytes are the same.
    let bytes = fs::read(scene.path("out/summary.json")).unwrap();
    let dry = scene.compare("plan.toml", &["--dry-run"]);
    assert!(stdout(&dry).ends_with("\n0 of 18 steps to do\n"), "{}", stdout(&dry));
    assert!(scene.compare("plan.toml", &["--only", "dice/3"]).status.success());
    assert!(scene.compare("plan.toml", &["--assemble"]).status.success());
    assert_eq!(fs::read(scene.path("out/summary.json")).unwrap(), bytes);
    // The plan as it was resolved is the same plan.
    fs::copy(scene.path("out/plan.toml"), scene.path("resolved.toml")).unwrap();
    assert!(stdout(&scene.compare("resolved.toml", &["--dry-run"])).ends_with("\n0 of 18 steps to do\n"));
}

#[test]
fn nothing_is_chosen_on_what_folds_measure() {
    let scene = Scene::new();
    let plan = fs::read_to_string(scene.path("plan.toml")).unwrap();
    let refused = |text: &str| {
        fs::write(scene.path("other.toml"), text).unwrap();
        let output = scene.compare("other.toml", &["--dry-run"]);
        assert_eq!(output.status.code(), Some(2));
        stderr(&output)
    };
    assert!(refused(&format!("calibrate = ['temperature']\n{plan}")).contains("folds: grids and maps"));
    assert!(refused(&format!("{plan}grid = {{ smooth = [1e-5, 1e-3] }}\n")).contains("folds: grids and maps"));
    assert!(
        refused(&plan.replace("[0, 1, 2]", "[0, 0]")).contains("folds: has only one fold or contains a fold twice")
    );
    assert!(refused(&plan.replace("[0, 1, 2]", "[0, 3]")).contains("fold 3 does not exist"));
}

#[test]
fn a_training_of_all_folds_predicts_every_case_by_a_network_that_did_not_see_it() {
    let scene = Scene::new();
    let config = format!(
        "data = '{}'\nepochs = 1\nbatch = 4\nsamples.size = [16, 16]\nnetwork = {{ levels = 2, base = 2 }}\nloss.name = 'ce'\n",
        scene.path("cohort").display()
    );
    fs::write(scene.path("train.toml"), config).unwrap();
    let train = |more: &[&str]| {
        let (config, runs) = (scene.path("train.toml"), scene.path("runs"));
        segcal(&[&["-q", "train", text(&config), "fold=all", "--out", text(&runs)], more].concat())
    };
    let done = train(&[]);
    assert!(done.status.success(), "{}", stderr(&done));
    let held_out = scene.path("runs/out-of-fold");
    assert_eq!(volumes(&held_out.join("segmentations")).len(), 6);
    // One fold, trained and predicted by itself, gives the same.
    let (alone, predicted) = (scene.path("alone"), scene.path("predicted"));
    let single = segcal(&["-q", "train", text(&scene.path("train.toml")), "fold=1", "--out", text(&alone)]);
    assert!(single.status.success(), "{}", stderr(&single));
    let single = segcal(&["-q", "predict", text(&alone), "--split", "val", "--out", text(&predicted)]);
    assert!(single.status.success(), "{}", stderr(&single));
    let names = volumes(&predicted.join("probabilities"));
    assert_eq!(names.len(), 2);
    for name in &names {
        let [own, pooled] = [&predicted, &held_out].map(|out| fs::read(out.join("probabilities").join(name)).unwrap());
        assert!(own == pooled, "{name}");
    }
    // A fold that is missing is made up for; without --resume nothing is touched.
    fs::remove_dir_all(scene.path("runs/fold-2")).unwrap();
    assert!(stderr(&train(&[])).contains("already contains a run"));
    assert!(train(&["--resume"]).status.success());
    assert!(scene.path("runs/fold-2/best.safetensors").exists());
}

#[test]
fn all_folds_of_a_data_set_that_is_divided_once_are_refused() {
    let scene = Scene::new();
    let splits = fs::read(scene.path("cohort/splits_final.json")).unwrap();
    let splits: Value = serde_json::from_slice(&splits).unwrap();
    fs::write(scene.path("cohort/splits.json"), splits[0].to_string()).unwrap();
    fs::write(scene.path("train.toml"), format!("data = '{}'\n", scene.path("cohort").display())).unwrap();
    let refused = segcal(&["-q", "train", text(&scene.path("train.toml")), "fold=all"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("the data set has only one split"), "{}", stderr(&refused));
}
