//! The commands of `docs/cluster.md`, with schedulers that do each job at once.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{stderr, stdout, volumes};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Runs the tasks of the array that is asked for, or that the script names, the last first; says the number of the job.
const SBATCH: &str = r#"#!/bin/bash
array= wrap= script=
while [ $# -gt 0 ]; do
  case $1 in
    --parsable | --dependency=*) ;;
    --array=*) array=${1#*=} ;;
    --wrap) wrap=$2; shift ;;
    *) script=$1 ;;
  esac
  shift
done
if [ -n "$wrap" ]; then bash -ec "$wrap" >&2 || exit 1; echo 17; exit; fi
[ -n "$array" ] || array=$(sed -n 's/^#SBATCH.*--array=\([0-9-]*\).*/\1/p' "$script")
export SLURM_ARRAY_TASK_MIN=${array%-*} SLURM_ARRAY_TASK_MAX=${array#*-}
export SLURM_ARRAY_TASK_COUNT=$((SLURM_ARRAY_TASK_MAX - SLURM_ARRAY_TASK_MIN + 1))
for id in $(seq "$SLURM_ARRAY_TASK_MAX" -1 "$SLURM_ARRAY_TASK_MIN"); do
  SLURM_ARRAY_TASK_ID=$id bash -e "$script" >&2 || exit 1
done
echo 17
"#;

/// The same for the numbers in the name of a job.
const BSUB: &str = r#"#!/bin/bash
array=0-0
while [ $# -gt 1 ]; do
  case $1 in
    -J) array=${2#*[}; array=${array%]} ;;
    -n | -w) ;;
    *) exit 2 ;;
  esac
  shift 2
done
for id in $(seq "${array#*-}" -1 "${array%-*}"); do LSB_JOBINDEX=$id bash -ec "$1" || exit 1; done
"#;

struct Scene(TempDir);

impl Scene {
    /// What the page begins with: a trained model, images with labels, a config and a plan.
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        fs::create_dir(scene.path("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_segcal"), scene.path("bin/segcal")).unwrap();
        for (name, text) in [("sbatch", SBATCH), ("bsub", BSUB)] {
            let path = scene.path(&format!("bin/{name}"));
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        scene.done("segcal -q phantom cohort --train 5 --val 1 --test 9 --size 4,16,16");
        symlink(scene.path("cohort/imagesTs"), scene.path("images")).unwrap();
        symlink(scene.path("cohort/labelsTs"), scene.path("labels")).unwrap();
        let keys =
            "data = 'cohort'\nepochs = 1\nbatch = 4\nsamples.size = [16, 16]\nnetwork = { levels = 2, base = 2 }\n";
        fs::write(scene.path("train.toml"), keys).unwrap();
        let methods = "[[method]]\nname = 'ce'\nloss.name = 'ce'\n[[method]]\nname = 'dice'\nloss.name = 'dice'\n";
        fs::write(scene.path("plan.toml"), format!("out = 'compared'\n[train]\n{keys}{methods}")).unwrap();
        scene.done("segcal -q train train.toml out=model");
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, script: &str) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.path("bin").display());
        Command::new("bash").args(["-ec", script]).current_dir(self.0.path()).env("PATH", path).output().unwrap()
    }

    fn done(&self, script: &str) {
        let output = self.run(script);
        assert!(output.status.success(), "{script}\n{}{}", stdout(&output), stderr(&output));
    }

    /// The list of folds takes the place of the one division.
    fn divide_into_folds(&self) {
        let path = self.path("cohort/splits.json");
        let splits: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let all = [splits["train"].as_array().unwrap().clone(), splits["val"].as_array().unwrap().clone()].concat();
        let fold = |held: usize| {
            let is_held = |number: usize| number % 3 == held;
            let part = |wanted: bool| -> Vec<&Value> {
                all.iter().enumerate().filter(|(number, _)| is_held(*number) == wanted).map(|(_, name)| name).collect()
            };
            json!({ "train": part(false), "val": part(true) })
        };
        fs::write(self.path("cohort/splits_final.json"), json!([fold(0), fold(1), fold(2)]).to_string()).unwrap();
        fs::remove_file(path).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// The page's blocks of a language.
fn blocks(language: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cluster.md");
    let page = fs::read_to_string(page).unwrap();
    let fence = format!("```{language}\n");
    let starts = page.split(&fence).skip(1);
    starts.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// The commands of a Snakemake file's rules, with the values of their wildcards.
fn commands_of_rules(part: usize) -> Vec<String> {
    let [rules] = &blocks("snakemake")[..] else { panic!("one Snakemake file") };
    let shells = rules.split("shell:\n").skip(1).map(|rest| rest.split("\n\n").next().unwrap_or(rest));
    let command = |shell: &str| -> String { shell.lines().map(|line| line.trim().trim_matches('"')).collect() };
    let values =
        [("{wildcards.of}", "7".to_owned()), ("{wildcards.part}", part.to_string()), ("{threads}", "4".into())];
    let filled = |command: String| values.iter().fold(command, |command, (name, value)| command.replace(name, value));
    shells.map(command).map(filled).collect()
}

#[test]
fn the_commands_of_the_page_do_what_it_says() {
    let scene = Scene::new();
    let mut run = 0;
    for block in blocks("sh") {
        if block.contains("fold.sh") && !scene.path("cohort/splits_final.json").exists() {
            scene.divide_into_folds();
        }
        if let Some(script) = block.strip_prefix("#!/bin/bash\n# ") {
            fs::write(scene.path(script.split('\n').next().unwrap()), &block).unwrap();
        } else {
            scene.done(&block);
            run += 1;
        }
    }
    assert_eq!(run, 4, "Slurm, LSF, a comparison, folds");
    for part in (0..7).rev() {
        scene.done(&commands_of_rules(part)[1]);
    }
    scene.done(&commands_of_rules(0)[0]);
    scene.done("segcal -q predict model images --out whole-predictions");
    scene.done("segcal -q evaluate --probabilities predictions/probabilities --labels labels --out whole");
    let name = "segmentations/phantom_010.nii.gz";
    assert_eq!(scene.read(&format!("predictions/{name}")), scene.read(&format!("whole-predictions/{name}")));
    for out in ["evaluation", "lsf", "joined"] {
        for file in ["summary.json", "report.html", "cases.csv"] {
            assert!(scene.read(&format!("whole/{file}")) == scene.read(&format!("{out}/{file}")), "{out}/{file}");
        }
    }
    let compared: Value = serde_json::from_slice(&scene.read("compared/summary.json")).unwrap();
    let table = String::from_utf8(scene.read("compared/tables.md")).unwrap();
    assert!(compared["failed"] == json!([]) && table.contains("| ce |") && table.contains("| dice |"), "{table}");
    assert_eq!(volumes(&scene.path("runs/out-of-fold/segmentations")).len(), 6);
}
