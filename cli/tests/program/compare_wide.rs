//! `segcal compare` over data sets, networks, grids and maps, in one go and job by job; and the papers' plans.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{segcal, stderr, stdout, text};
use crate::compare::{RESULTS, Scene, files, succeeded};
use serde_json::Value;

const WIDE: &str = "seeds = [1, 2]\nnoise = [0.1]\ncalibrate = [\"temperature\", \"isotonic\"]\n\
                    networks = [{ name = \"unet\", levels = 2, base = 4 }, { name = \"unet\", label = \"wider\", levels = 2, base = 6 }]\n\
                    [train]\nepochs = 1\nbatch = 4\nsamples.size = [16, 16]\n\
                    [[dataset]]\nname = \"one\"\ndata = \"DATA\"\n\
                    [[dataset]]\nname = \"two\"\ndata = \"DATA\"\nbatch = 2\nregions = { whole = [1, 2] }\n\
                    [[method]]\nname = \"ce\"\n\
                    [[method]]\nname = \"nacl\"\nloss = { name = \"nacl\" }\ngrid = { lambda = [0.0, 0.3, 900.0] }\n";

/// What a wide comparison writes beside the others.
const TABLES: [&str; 5] = ["ranks.csv", "differences.csv", "sensitivity.csv", "tables.md", "tables.tex"];

impl Scene {
    /// Runs the wide plan on a cohort into a folder.
    fn wide(&self, cohort: &str, out: &str, more: &[&str]) -> Command {
        let plan = self.path(&format!("wide-{cohort}.toml"));
        fs::write(&plan, WIDE.replace("DATA", text(&self.path(cohort)))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_segcal"));
        command.arg("compare").arg(plan).arg("--out").arg(self.path(out)).args(more);
        command
    }

    fn chosen(&self, out: &str) -> Vec<(String, String)> {
        let summary = self.json(&format!("{out}/summary.json"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let tried = summary["grid"].as_array().unwrap().iter().filter(|tried| tried["chosen"] == true);
        tried
            .map(|tried| (format!("{} {}", text(&tried["dataset"]), text(&tried["network"])), text(&tried["value"])))
            .collect()
    }
}

/// Copies a cohort, the labels of its test part poisoned: every voxel is of class 1.
fn poisoned(scene: &Scene) {
    for (from, _) in files(&scene.path("cohort")) {
        let to = scene.path("poisoned").join(from.strip_prefix(scene.path("cohort")).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&from, &to).unwrap();
    }
    let labels = scene.path("poisoned/labelsTs");
    for entry in fs::read_dir(labels).unwrap() {
        let path = entry.unwrap().path();
        let mut volume = segcal_data::read_labels(&path).unwrap();
        volume.data.fill(1);
        let labels = segcal_data::Volume::new(volume.values().iter().map(|_| 1_u8).collect(), 1, volume.grid);
        segcal_data::nifti::write(&path, &labels).unwrap();
    }
}

#[test]
fn a_wide_plan_chooses_on_the_validation_part_and_goes_on_to_the_same_bytes() {
    let scene = Scene::shared();
    succeeded(&scene.wide("cohort", "wide", &["-q"]).output().unwrap());
    let chosen = scene.chosen("wide");
    assert_eq!(chosen.len(), 4, "one for each data set with each network: {chosen:?}");
    // Only what is chosen is measured on the test part, and maps only follow it.
    let measured = |trial: &str| scene.path(&format!("wide/nacl/one/unet/{trial}/seed-1/evaluation-noise-0")).exists();
    let trials = ["lambda-0.0", "lambda-0.3", "lambda-900.0"];
    assert_eq!(trials.iter().filter(|trial| measured(trial)).count(), 1);
    let summary = scene.json("wide/summary.json");
    assert_eq!((summary["results"].as_array().unwrap().len(), summary["overall"].as_array().unwrap().len()), (8, 2));
    let rows: Vec<&String> = summary["results"][0]["methods"].as_object().unwrap().keys().collect();
    let names = ["ce", "ce + isotonic", "ce + temperature", "nacl", "nacl + isotonic", "nacl + temperature"];
    assert_eq!(
        {
            let mut rows = rows.clone();
            rows.sort();
            rows
        },
        names
    );
    assert_eq!(summary["overall"][0]["methods"], serde_json::json!(["ce", "nacl"]), "maps are not ranked");
    // A temperature keeps the labels; the regions of a data set are what its tables show.
    let of = |row: &str| summary["results"][0]["methods"][row]["dsc"]["seeds"].clone();
    assert_eq!(of("ce"), of("ce + temperature"));
    let last = &summary["results"][6];
    assert_eq!((&last["dataset"], last["structures"]["ce"].as_object().unwrap().len()), (&"two".into(), 1));
    for plot in [
        "heat-rank",
        "heat-case-rank",
        "radar-dsc",
        "network-ece-one",
        "shares-dsc",
        "sensitivity-nacl",
        "trade-one-unet",
        "subject-two-wider",
    ] {
        for ending in ["svg", "png", "csv"] {
            assert!(scene.path(&format!("wide/plots/{plot}.{ending}")).is_file(), "{plot}.{ending}");
        }
    }
    // The labels of the test part change what is measured, not what is chosen.
    poisoned(scene);
    succeeded(&scene.wide("poisoned", "blind", &["-q"]).output().unwrap());
    assert_eq!(scene.chosen("blind"), chosen);
    assert_ne!(scene.results("blind")[0], scene.results("wide")[0]);
    // Killed, gone on with by single jobs in the wrong order, and assembled.
    let mut child = scene.wide("cohort", "parts", &["-q"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs_f64(0.5 * scene.seconds));
    child.kill().unwrap();
    child.wait().unwrap();
    jobs_one_by_one(scene);
    for name in RESULTS.iter().chain(&TABLES) {
        let bytes = |out: &str| fs::read(scene.path(out).join(name)).unwrap();
        assert!(bytes("parts") == bytes("wide"), "{name}");
    }
    // The scene lives as long as the process, and nothing else reads these: they are most of what it holds.
    for out in ["wide", "blind", "parts"] {
        fs::remove_dir_all(scene.path(out)).unwrap();
    }
}

/// Does what the killed comparison left, job by job, and assembles it.
fn jobs_one_by_one(scene: &Scene) {
    let early = scene.wide("cohort", "parts", &["--only", "nacl/two/wider/2"]).output().unwrap();
    assert_eq!(early.status.code(), Some(2), "{}", stderr(&early));
    assert!(stderr(&early).contains("nacl/two/wider/seed-2: cannot run before nacl/two/wider/lambda-0.0/seed-1"));
    let partial = scene.wide("cohort", "parts", &["--assemble"]).output().unwrap();
    assert_eq!(partial.status.code(), Some(1), "{}", stderr(&partial));
    assert!(format!("{}{}", stderr(&partial), stdout(&partial)).contains("jobs missing: "));
    loop {
        let listed = scene.wide("cohort", "parts", &["--jobs", "--json"]).output().unwrap();
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        let jobs = listed["jobs"].as_array().unwrap();
        assert_eq!(jobs.len(), 4 * 2 + 4 * 2 * 3 + 4 * 2);
        let ready: Vec<&str> =
            jobs.iter().filter(|job| job["state"] == "ready").map(|job| job["job"].as_str().unwrap()).collect();
        if ready.is_empty() {
            break;
        }
        for job in ready.iter().rev() {
            succeeded(&scene.wide("cohort", "parts", &["-q", "--only", job]).output().unwrap());
        }
    }
    succeeded(&scene.wide("cohort", "parts", &["-q", "--assemble"]).output().unwrap());
}

/// The papers' trainings as they are, but for sizes: one epoch of a few samples.
#[test]
fn the_trainings_of_the_papers_can_begin() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["acdc", "la", "wmh"] {
        let out = folder.path().join("prepared").join(name);
        let sizes = ["--train", "1", "--val", "1", "--test", "0", "--size", "16,32,32"];
        succeeded(&segcal(&[&["-q", "phantom", text(&out)][..], &sizes].concat()));
    }
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/papers");
    for (name, size) in
        [("nacl", "32,32"), ("mbls", "32,32"), ("crac", "32,32"), ("meep-wmh", "16,16,16"), ("meep-la", "16,16,16")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segcal"));
        command.current_dir(folder.path()).args(["-q", "train"]).arg(configs.join(format!("{name}.toml")));
        let small = format!("samples.size=[{size}]");
        let output = command.args([&small, "epochs=1", &format!("out=runs/{name}")]).output().unwrap();
        succeeded(&output);
        assert!(folder.path().join("runs").join(name).join("best.safetensors").is_file(), "{name}");
    }
}

/// The papers' tables and the study as plans, on made-up data sets at the places they name.
#[test]
fn the_plans_of_the_papers_can_begin() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["acdc", "brats", "busi", "flare", "hippocampus", "hpc", "la", "promise", "usgra", "wmh"] {
        let out = folder.path().join("prepared").join(name);
        let sizes = ["--train", "2", "--val", "1", "--test", "1", "--size", "4,32,32"];
        succeeded(&segcal(&[&["-q", "phantom", text(&out)][..], &sizes].concat()));
    }
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/papers");
    let table = |path: &PathBuf| {
        path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.contains("-table") || name.contains("-figure") || name.contains("study")
        })
    };
    let plans: Vec<PathBuf> = fs::read_dir(plans).unwrap().map(|entry| entry.unwrap().path()).filter(table).collect();
    assert_eq!(plans.len(), 9);
    for plan in plans {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segcal"));
        let output = command.current_dir(folder.path()).arg("compare").arg(&plan).arg("--dry-run").output().unwrap();
        succeeded(&output);
        assert!(stdout(&output).contains(" trainings, "), "{}", plan.display());
    }
}
