//! Parts of the cases, worked on apart: in any order, cut off and run again, they give the bytes of one run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{segcal, stderr, stdout, text};
use serde_json::Value;
use tempfile::TempDir;

/// A cohort of 1, 1 and 9 phantoms, with their posteriors.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        let counts = ["--train", "1", "--val", "1", "--test", "9", "--size", "4,12,14"];
        let made = segcal(&[&["-q", "phantom", text(&scene.path("cohort"))][..], &counts].concat());
        assert!(made.status.success(), "{}", stderr(&made));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn evaluate(&self, out: &str, more: &[&str]) -> Output {
        let (p, y, out) = (self.path("cohort/posteriorsTs"), self.path("cohort/labelsTs"), self.path(out));
        let given = ["-q", "evaluate", "--probabilities", text(&p), "--labels", text(&y), "--out", text(&out)];
        segcal(&[&given, more].concat())
    }

    fn part(&self, out: &str, part: usize, of: usize, more: &[&str]) -> Output {
        let (of, part) = (of.to_string(), part.to_string());
        self.evaluate(out, &[&["--num-parts", &of, "--part-id", &part], more].concat())
    }

    fn merge(&self, folders: &[&str], out: &str, more: &[&str]) -> Output {
        let folders: Vec<PathBuf> = folders.iter().map(|folder| self.path(folder)).collect();
        let folders: Vec<&str> = folders.iter().map(|folder| text(folder)).collect();
        let out = self.path(out);
        segcal(&[&["-q", "merge"], &folders[..], &["--out", text(&out)], more].concat())
    }

    fn apply(&self, out: &str, more: &[&str]) -> Output {
        let (map, p, y) = (self.path("map.json"), self.path("cohort/posteriorsTs"), self.path("cohort/labelsTs"));
        if !map.exists() {
            let fit = ["-q", "calibrate", "fit", "temperature", "--probabilities", text(&p), "--labels", text(&y)];
            done(&segcal(&[&fit[..], &["--out", text(&map)]].concat()));
        }
        let out = self.path(out);
        let given =
            ["-q", "--json", "calibrate", "apply", text(&map), "--probabilities", text(&p), "--labels", text(&y)];
        segcal(&[&given[..], &["--out", text(&out)], more].concat())
    }
}

fn done(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

fn json(output: &Output) -> Value {
    done(output);
    serde_json::from_str(&stdout(output)).unwrap()
}

/// The names and bytes of all files below a folder, but for the stamps, which tell of the machine.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.file_name().is_some_and(|name| name == "stamps") => {}
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                    drop(found.insert(name, fs::read(path).unwrap()));
                }
            }
        }
    }
    found
}

fn expect_same(one: &Path, other: &Path) {
    let (one, other) = (files(one), files(other));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    let differing: Vec<&String> =
        one.iter().filter(|(name, bytes)| other[*name] != **bytes).map(|(name, _)| name).collect();
    assert_eq!(differing, Vec::<&String>::new());
}

#[test]
fn parts_of_an_evaluation_share_a_folder_and_merge_to_the_bytes_of_one_run() {
    let scene = Scene::new();
    // What belongs to no pair, and what cannot be read, is a failure of the one part that has it.
    fs::remove_file(scene.path("cohort/labelsTs/phantom_003.nii.gz")).unwrap();
    fs::remove_file(scene.path("cohort/posteriorsTs/phantom_004.nii.gz")).unwrap();
    fs::write(scene.path("cohort/posteriorsTs/phantom_006.nii.gz"), "short").unwrap();
    let plan = ["--seed", "5", "--empty", "worst"];
    assert_eq!(scene.evaluate("whole", &plan).status.code(), Some(1));
    let mut failed = 0;
    for part in [2, 0, 3] {
        let output = scene.part("parts", part, 4, &plan);
        failed += usize::from(output.status.code() == Some(1));
        assert!(
            output.status.code() == Some(0) || stdout(&output).contains("left out: phantom_00"),
            "{}",
            stderr(&output)
        );
    }
    // Tables and page come once every part is there, and by the same options.
    let early = scene.merge(&["parts"], "parts", &plan);
    assert_eq!(early.status.code(), Some(2));
    assert!(stderr(&early).contains("part 1 of 4 is missing") && !scene.path("parts/summary.json").exists());
    failed += usize::from(scene.part("parts", 1, 4, &plan).status.code() == Some(1));
    assert!((1..=3).contains(&failed), "{failed} parts have failures");
    let other = scene.merge(&["parts"], "parts", &["--seed", "5"]);
    assert!(
        stderr(&other).contains("was evaluated with --empty worst --convention segcal --seed 5"),
        "{}",
        stderr(&other)
    );
    let merged = scene.merge(&["parts"], "parts", &plan);
    assert_eq!(merged.status.code(), Some(1), "{}", stderr(&merged));
    expect_same(&scene.path("whole"), &scene.path("parts"));
    // The whole is an evaluation like any other: it is resumed, and is joined once more.
    assert_eq!(scene.evaluate("parts", &[&plan[..], &["--resume"]].concat()).status.code(), Some(1));
    expect_same(&scene.path("whole"), &scene.path("parts"));
}

#[test]
fn parts_in_folders_of_their_own_are_joined_and_what_does_not_fit_is_told() {
    let scene = Scene::new();
    done(&scene.evaluate("whole", &[]));
    (0..3).for_each(|part| done(&scene.part(["a", "b", "b"][part], part, 3, &[])));
    assert!(stderr(&scene.merge(&["b"], "out", &[])).contains("part 0 of 3 is missing"));
    assert!(!scene.path("out").exists(), "nothing is written");
    done(&scene.merge(&["b", "a"], "out", &[]));
    expect_same(&scene.path("whole"), &scene.path("out"));
    // A state that was changed after its part was done.
    let state = scene.path("a/states/phantom_002.json");
    let before = fs::read(&state).unwrap();
    fs::write(&state, "{}").unwrap();
    assert!(stderr(&scene.merge(&["a", "b"], "out", &[])).contains("was changed after the evaluation of"));
    fs::write(&state, before).unwrap();
    // A case that came after the first parts were dealt.
    for folder in ["posteriorsTs", "labelsTs"] {
        let from = scene.path(&format!("cohort/{folder}/phantom_005.nii.gz"));
        fs::copy(from, scene.path(&format!("cohort/{folder}/phantom_000.nii.gz"))).unwrap();
    }
    done(&scene.part("b", 2, 3, &["--resume"]));
    let dealt = scene.merge(&["a", "b"], "out", &[]);
    assert!(stderr(&dealt).contains("was split from a different list of cases than"), "{}", stderr(&dealt));
    // With another number of parts the records are written again; cases that were measured are kept.
    for part in 0..2 {
        done(&scene.part("b", part, 2, &["--resume"]));
    }
    done(&scene.merge(&["b"], "b", &[]));
    assert_eq!(
        fs::read_dir(scene.path("b/states"))
            .unwrap()
            .filter(|file| { file.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "json") })
            .count(),
        10
    );
}

#[test]
fn a_calibration_is_applied_in_parts_and_keeps_what_stands() {
    let scene = Scene::new();
    let whole = json(&scene.apply("whole", &[]));
    let part = |part: &str, more: &[&str]| {
        json(&scene.apply("parts", &[&["--num-parts", "4", "--part-id", part], more].concat()))
    };
    let voxels: u64 = ["3", "1", "0", "2"].into_iter().map(|id| part(id, &[])["voxels"].as_u64().unwrap()).sum();
    assert_eq!(whole["voxels"].as_u64(), Some(voxels));
    expect_same(&scene.path("whole"), &scene.path("parts"));
    // What stands is kept, and the figures are those of all.
    let again = json(&scene.apply("parts", &["--resume"]));
    assert_eq!((&again["kept"], &again["after"]), (&9.into(), &whole["after"]));
    fs::remove_file(scene.path("parts/phantom_004.nii.gz")).unwrap();
    fs::copy(
        scene.path("cohort/posteriorsTs/phantom_005.nii.gz"),
        scene.path("cohort/posteriorsTs/phantom_006.nii.gz"),
    )
    .unwrap();
    assert_eq!(part("2", &["--resume"])["kept"], 1, "one is gone");
    assert_eq!(part("0", &["--resume"])["kept"], 2, "one has another input");
    // With another map every case is calibrated again.
    let map = fs::read_to_string(scene.path("map.json")).unwrap();
    fs::write(scene.path("map.json"), map.replace("\"version\"", " \"version\"")).unwrap();
    assert_eq!(json(&scene.apply("parts", &["--resume"]))["kept"], 0);
    // More parts than cases.
    assert_eq!(json(&scene.apply("few", &["--num-parts", "12", "--part-id", "11"]))["voxels"], 0);
}

#[test]
fn a_data_set_is_prepared_in_parts_and_described_by_the_last_command() {
    let scene = Scene::new();
    let prepare = |out: &str, more: &[&str]| {
        let (src, out) = (scene.path("cohort"), scene.path(out));
        done(&segcal(&[&["-q", "prepare", text(&src), text(&out), "--as", "msd", "--split", "1,1,0"], more].concat()));
    };
    prepare("whole", &[]);
    prepare("parts", &["--num-parts", "2", "--part-id", "1"]);
    prepare("parts", &["--num-parts", "2", "--part-id", "0"]);
    assert!(!scene.path("parts/dataset.json").exists(), "not described yet");
    let image = fs::read_dir(scene.path("parts/imagesTr")).unwrap().next().unwrap().unwrap().path();
    let before = fs::metadata(&image).unwrap().modified().unwrap();
    prepare("parts", &[]);
    assert_eq!(fs::metadata(&image).unwrap().modified().unwrap(), before, "what a part wrote is kept");
    expect_same(&scene.path("whole"), &scene.path("parts"));
}

#[test]
fn every_case_is_checked_by_one_part() {
    let scene = Scene::new();
    let check = |more: &[&str]| {
        let found = json(&segcal(&[&["-q", "--json", "check", text(&scene.path("cohort"))], more].concat()));
        found["cases"].as_array().unwrap().clone()
    };
    let whole = check(&[]);
    let [first, second] = ["0", "1"].map(|id| check(&["--num-parts", "2", "--part-id", id]));
    let dealt = |case: usize| &[&first, &second][case % 2][case / 2];
    assert!(whole.len() == 11 && (0..11).all(|case| whole[case] == *dealt(case)));
}

/// Evaluates the part that `starter` sets by these environment variables.
fn evaluate_started(scene: &Scene, starter: &str, variables: &[(&str, &str)]) -> Output {
    let (p, y, out) = (scene.path("cohort/posteriorsTs"), scene.path("cohort/labelsTs"), scene.path("parts"));
    let given = ["-q", "evaluate", "--probabilities", text(&p), "--labels", text(&y), "--out", text(&out), "--json"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_segcal"));
    command.args(given).args(["--parts-from", starter]).envs(variables.iter().copied()).output().unwrap()
}

/// Merges the parts; outside of such a start, the option is refused with this message.
fn expect_whole(scene: &Scene, starter: &str, message: &str) {
    done(&scene.merge(&["parts"], "parts", &[]));
    done(&scene.evaluate("whole", &[]));
    expect_same(&scene.path("whole"), &scene.path("parts"));
    let outside = scene.evaluate("parts", &["--parts-from", starter]);
    assert_eq!(outside.status.code(), Some(2));
    assert!(stderr(&outside).contains(message), "{}", stderr(&outside));
}

#[test]
fn the_tasks_of_a_slurm_array_are_parts() {
    let scene = Scene::new();
    let task = |id: &str, count: &str, most: &str| {
        let [id, count] = [("SLURM_ARRAY_TASK_ID", id), ("SLURM_ARRAY_TASK_COUNT", count)];
        let array = [id, count, ("SLURM_ARRAY_TASK_MIN", "1"), ("SLURM_ARRAY_TASK_MAX", most)];
        evaluate_started(&scene, "slurm", &array)
    };
    for id in ["3", "1", "2"] {
        let told = json(&task(id, "3", "3"));
        assert_eq!(told["part"].as_u64().unwrap() + 1, id.parse::<u64>().unwrap());
    }
    assert!(stderr(&task("5", "2", "9")).contains("must run without gaps from 0 or 1"));
    expect_whole(&scene, "slurm", "SLURM_ARRAY_TASK_ID: is not set");
}

#[test]
fn the_processes_of_mpirun_are_parts() {
    let scene = Scene::new();
    let second = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2")];
    assert_eq!(json(&evaluate_started(&scene, "mpi", &second))["part"].as_u64(), Some(1));
    done(&evaluate_started(&scene, "mpi", &[("PMI_RANK", "0"), ("PMI_SIZE", "2")]));
    expect_whole(&scene, "mpi", "neither OMPI_COMM_WORLD_SIZE nor PMI_SIZE is set");
}
