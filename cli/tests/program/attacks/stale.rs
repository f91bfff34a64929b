//! Results of one evaluation never stand for another's, nor those of one arithmetic for another's.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use segcal_core::Rng;

use super::super::common::training::Scene;
use super::super::common::{stderr, text};
use super::results::{cohort, evaluation, others, same};
use super::{done, limited};

#[test]
fn an_evaluation_that_is_killed_leaves_nothing_of_the_one_before() {
    let folder = cohort();
    let path = |name: &str| folder.path().join(name);
    let (scores, labels) = (path("ph/posteriorsTs"), path("ph/labelsTs"));
    let (others, first, second) = (others(folder.path()), path("first"), path("second"));
    done(&evaluation(&scores, &labels, &first));
    let started = Instant::now();
    done(&evaluation(&others, &labels, &second));
    let time = started.elapsed();
    let rng = Rng::new(3);
    for kill in 0..10 {
        let out = path(&format!("out-{kill}"));
        done(&evaluation(&scores, &labels, &out));
        let mut program = Command::new(env!("CARGO_BIN_EXE_segcal"));
        program.arg("-q").args(evaluation(&others, &labels, &out));
        let mut child = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(time.as_secs_f64() * rng.uniform(kill)));
        child.kill().unwrap();
        child.wait().unwrap();
        let merged = limited(4096, &["merge", text(&out), "--out", text(&path(&format!("merged-{kill}")))]);
        // The old results before the first new byte, the new ones after the last, and nothing that counts between.
        let whole = [&first, &second].iter().any(|whole| results(whole) == results(&out));
        assert_eq!(whole, out.join("summary.json").exists(), "kill {kill}");
        assert_eq!(merged.status.code(), Some(if whole { 0 } else { 2 }), "kill {kill}: {}", stderr(&merged));
        done(&evaluation(&others, &labels, &out));
        assert!(same(&out, &second), "kill {kill}: the same command gives the bytes of an undisturbed one");
    }
}

/// Summary, page and tables of an evaluation.
fn results(folder: &Path) -> Option<Vec<Vec<u8>>> {
    ["summary.json", "report.html", "cases.csv", "summary.csv"]
        .iter()
        .map(|name| fs::read(folder.join(name)).ok())
        .collect()
}

#[test]
fn predictions_of_another_arithmetic_are_made_again() {
    let scene = Scene::new();
    let plan = "seeds = [1]\n[train]\ndata = \"DATA\"\nepochs = 1\nbatch = 4\n[train.samples]\nsize = [16, 16]\n\
                [train.network]\nlevels = 2\nbase = 2\n[[method]]\nname = \"ce\"\nloss = { name = \"ce\" }\n";
    fs::write(scene.path("plan.toml"), plan.replace("DATA", text(&scene.path("cohort")))).unwrap();
    let compare = |more: &[&str]| {
        let (plan, out) = (scene.path("plan.toml"), scene.path("out"));
        let output = done(&[&["compare", text(&plan), "--out", text(&out)][..], more].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    let made = |folder: &str| {
        let mark = fs::read_to_string(scene.path("out/ce/seed-1").join(folder).join("made-of.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&mark).unwrap()["arithmetic"].as_str().unwrap().to_owned()
    };
    let folders = ["predictions-noise-0", "evaluation-noise-0"];
    compare(&["--isa", "baseline"]);
    assert_eq!(folders.map(made), ["cpu baseline"; 2]);
    let left = |more: &[&str]| {
        let told = compare(&[&["--dry-run"], more].concat());
        told.lines().filter(|line| line.starts_with("method") && line.ends_with("to do")).count()
    };
    assert_eq!((left(&["--isa", "baseline"]), left(&["--backend", "reference"])), (0, 2), "but the training");
    compare(&["--backend", "reference"]);
    assert_eq!(folders.map(made), ["reference"; 2]);
}
