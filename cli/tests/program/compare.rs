//! `segcal compare`: trainings, predictions and evaluations of a plan, kept, gone on with, and put side by side.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use crate::common::{segcal, stderr, stdout, text, volumes};
use segcal_core::Rng;
use serde_json::Value;
use tempfile::TempDir;

const PLAN: &str = "seeds = [1, 2]\nnoise = [0.1]\n[train]\nepochs = 1\nbatch = 4\nsamples.size = [16, 16]\n\
                    network = { levels = 2, base = 4 }\n\
                    [[method]]\nname = \"ce\"\n\
                    [[method]]\nname = \"nacl\"\nloss = { name = \"nacl\", lambda = 0.3 }\n";
/// What of the results does not depend on where they lie.
pub(crate) const RESULTS: [&str; 4] = ["results.csv", "summary.csv", "summary.json", "report.html"];

/// A cohort, and the comparison of a plan on it that nothing disturbed.
pub(crate) struct Scene {
    folder: TempDir,
    pub(crate) seconds: f64,
}

impl Scene {
    pub(crate) fn shared() -> &'static Self {
        static SCENE: OnceLock<Scene> = OnceLock::new();
        SCENE.get_or_init(|| {
            let mut scene = Self { folder: tempfile::tempdir().unwrap(), seconds: 0.0 };
            let cohort = scene.path("cohort");
            let sizes = ["--train", "2", "--val", "1", "--test", "2", "--size", "4,16,16"];
            succeeded(&segcal(&[&["-q", "phantom", text(&cohort)][..], &sizes].concat()));
            fs::write(scene.path("plan.toml"), PLAN).unwrap();
            let started = Instant::now();
            succeeded(&scene.compare("plan.toml", "whole", &[]));
            scene.seconds = started.elapsed().as_secs_f64();
            scene
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, plan: &str, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segcal"));
        command.arg("compare").arg(self.path(plan)).arg("--out").arg(self.path(out));
        command.arg(format!("data={}", self.path("cohort").display())).args(more);
        command
    }

    fn compare(&self, plan: &str, out: &str, more: &[&str]) -> Output {
        self.command(plan, out, more).output().unwrap()
    }

    fn refused(&self, plan: &str, out: &str, more: &[&str]) -> String {
        let output = self.compare(plan, out, more);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    }

    pub(crate) fn results(&self, out: &str) -> Vec<Vec<u8>> {
        RESULTS.iter().map(|name| fs::read(self.path(out).join(name)).unwrap()).collect()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }
}

pub(crate) fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

/// Every file beneath a folder, with the time of its last change.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::metadata(&path).unwrap().modified().unwrap());
        }
    }
    found
}

#[test]
fn the_results_are_those_of_the_evaluations() {
    let scene = Scene::shared();
    let summary = scene.json("whole/summary.json");
    assert_eq!((&summary["schema"], &summary["part"]), (&"segcal.comparison/1".into(), &"test".into()));
    assert_eq!((&summary["cases"], &summary["failed"]), (&2.into(), &serde_json::json!([])));
    let mut lines = Vec::new();
    for (level, noise) in ["0", "0.1"].into_iter().enumerate() {
        for method in ["ce", "nacl"] {
            let evaluation =
                |seed: u64| scene.json(&format!("whole/{method}/seed-{seed}/evaluation-noise-{noise}/summary.json"));
            let means = [1, 2].map(|seed| evaluation(seed)["mean"].clone());
            for (seed, mean) in (1..).zip(&means) {
                for (kind, before, after) in [("structures", "", ","), ("regions", ",", "")] {
                    for (of, metrics) in mean[kind].as_object().unwrap() {
                        for (metric, value) in metrics.as_object().unwrap() {
                            let value = value.as_f64().unwrap_or(f64::NAN);
                            lines.push(format!("{method},{seed},{noise},{before}{of}{after},{metric},{value},"));
                        }
                    }
                }
            }
            let dsc = means.each_ref().map(|mean| {
                let of = |label: &str| mean["structures"][label]["dsc"].as_f64().unwrap();
                f64::midpoint(of("1"), of("2"))
            });
            let ece = means.each_ref().map(|mean| mean["regions"]["foreground"]["ece"].as_f64().unwrap());
            for (metric, [a, b]) in [("dsc", dsc), ("ece", ece)] {
                let figure = &summary["results"][level]["methods"][method][metric];
                let (mean, sd) = (f64::midpoint(a, b), (a - b).abs() / 2.0_f64.sqrt());
                assert_eq!(figure["seeds"], serde_json::json!([a, b]));
                assert!((figure["mean"].as_f64().unwrap() - mean).abs() < 1e-15 && figure["sd"].is_number());
                assert!((figure["sd"].as_f64().unwrap() - sd).abs() < 1e-15, "{figure} {sd}");
            }
        }
    }
    let csv = fs::read_to_string(scene.path("whole/results.csv")).unwrap();
    assert_eq!(csv.lines().next(), Some("method,seed,noise,structure,region,metric,value,unit"));
    let mut found: Vec<&str> = csv.lines().skip(1).map(|line| &line[..=line.rfind(',').unwrap()]).collect();
    found.sort_unstable();
    lines.sort_unstable();
    assert_eq!(found, lines);
    for name in ["plots/box-dsc.svg", "plots/noise-ece.png", "plots/noise-ece.csv", "plan.toml"] {
        assert!(scene.path("whole").join(name).is_file(), "{name}");
    }
    let page = fs::read_to_string(scene.path("whole/report.html")).unwrap();
    assert!(page.contains("Robustness to noise") && !page.contains("src=\"http"));
}

#[test]
fn noise_changes_predictions_and_without_it_they_are_those_of_the_other_verbs() {
    let scene = Scene::shared();
    let (run, cohort) = (scene.path("whole/nacl/seed-2"), scene.path("cohort"));
    let (predictions, evaluation) = (scene.path("predictions"), scene.path("evaluation"));
    let images = cohort.join("imagesTs");
    succeeded(&segcal(&["-q", "predict", text(&run.join("run")), text(&images), "--out", text(&predictions)]));
    let (probabilities, labels) = (predictions.join("probabilities"), cohort.join("labelsTs"));
    let evaluated = ["--probabilities", text(&probabilities), "--labels", text(&labels), "--out", text(&evaluation)];
    succeeded(&segcal(&[&["-q", "evaluate"][..], &evaluated].concat()));
    let bytes = |path: PathBuf| fs::read(path).unwrap();
    for name in ["cases.csv", "summary.csv"] {
        assert!(bytes(evaluation.join(name)) == bytes(run.join("evaluation-noise-0").join(name)), "{name}");
    }
    let cases = volumes(&probabilities);
    assert_eq!(cases.len(), 2);
    for case in cases {
        let own = |noise: &str| bytes(run.join(format!("predictions-noise-{noise}/probabilities")).join(&case));
        assert!(own("0") == bytes(probabilities.join(&case)));
        assert!(own("0") != own("0.1"));
    }
}

#[test]
fn what_is_done_is_not_done_again_and_is_ranked_as_rank_does() {
    let scene = Scene::shared();
    // A comparison may be moved.
    for (from, _) in files(&scene.path("whole")) {
        let to = scene.path("again").join(from.strip_prefix(scene.path("whole")).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
    succeeded(&scene.compare("plan.toml", "again", &["--discard-predictions"]));
    assert_eq!(scene.results("again"), scene.results("whole"));
    let predictions = scene.path("again/ce/seed-1/predictions-noise-0");
    assert!(!predictions.join("probabilities").exists() && predictions.join("segmentations").is_dir());
    let before = files(&scene.path("again/ce"));
    let second = scene.compare("plan.toml", "again", &["--json"]);
    succeeded(&second);
    assert_eq!(stderr(&second), "20 of 20 steps are already done\n");
    assert_eq!(files(&scene.path("again/ce")), before);
    assert_eq!(scene.results("again"), scene.results("whole"));
    assert_eq!(serde_json::from_slice::<Value>(&second.stdout).unwrap(), scene.json("again/summary.json"));
    // The plan as it was resolved is the same plan.
    fs::copy(scene.path("again/plan.toml"), scene.path("resolved.toml")).unwrap();
    let resolved = stdout(&scene.compare("resolved.toml", "again", &["--dry-run"]));
    assert!(resolved.ends_with("0 of 20 steps to do\n"), "{resolved}");
    // The ranks of one seed are those of the other verb on its evaluations.
    fs::write(scene.path("one.toml"), PLAN.replace("[1, 2]", "[1]")).unwrap();
    succeeded(&scene.compare("one.toml", "again", &[]));
    let summary = scene.json("again/summary.json");
    let [ce, nacl] = ["ce", "nacl"].map(|method| scene.path(&format!("again/{method}/seed-1/evaluation-noise-0.1")));
    let ranked = segcal(&["rank", text(&ce), text(&nacl), "--json", "--replicates", "10"]);
    let ranking: Value = serde_json::from_slice(&ranked.stdout).unwrap();
    for method in ["ce", "nacl"] {
        let name = format!("{method}/seed-1/evaluation-noise-0.1");
        let own = |figure: &str| &summary["results"][1][figure][method];
        assert_eq!(own("sum_rank"), &ranking["sum_rank"][&name]);
        for figure in ["mean_case_rank", "friedman_rank"] {
            assert_eq!(own(figure), &ranking[figure][&name]["estimate"], "{figure}");
        }
        assert_eq!(summary["results"][1]["methods"][method]["dsc"]["sd"], "nan");
    }
}

#[test]
fn killed_at_random_moments_it_ends_with_the_same_results() {
    let scene = Scene::shared();
    let rng = Rng::new(11);
    for attempt in 0..4 {
        let mut command = scene.command("plan.toml", "killed", &["-q"]);
        let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(rng.range(attempt, 0.0, 0.5 * scene.seconds)));
        child.kill().unwrap();
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.code().is_none_or(|code| code == 0), "{}", stderr(&ended));
    }
    succeeded(&scene.compare("plan.toml", "killed", &[]));
    assert_eq!(scene.results("killed"), scene.results("whole"));
}

#[test]
fn a_longer_training_is_gone_on_with_and_measured_anew() {
    let scene = Scene::shared();
    let plan = PLAN.replace("[1, 2]", "[3]").replace("noise = [0.1]\n", "");
    fs::write(scene.path("short.toml"), plan).unwrap();
    succeeded(&scene.compare("short.toml", "longer", &[]));
    let dry = stdout(&scene.compare("short.toml", "longer", &["--dry-run", "epochs=2"]));
    assert!(dry.contains("to do from epoch 2 of 2") && dry.ends_with("6 of 6 steps to do\n"), "{dry}");
    succeeded(&scene.compare("short.toml", "longer", &["epochs=2"]));
    succeeded(&scene.compare("short.toml", "two", &["epochs=2"]));
    assert_eq!(scene.results("longer"), scene.results("two"));
    // And another rule for empty masks is another evaluation of the same predictions.
    let other = format!("empty = \"penalise\"\n{}", fs::read_to_string(scene.path("short.toml")).unwrap());
    fs::write(scene.path("other.toml"), other).unwrap();
    let dry = stdout(&scene.compare("other.toml", "two", &["--dry-run", "epochs=2"]));
    assert!(dry.ends_with("2 of 6 steps to do\n"), "{dry}");
    // What was done with another plan is refused.
    let message = scene.refused("short.toml", "two", &["epochs=1"]);
    assert!(message.contains("was trained for 2 epochs, but the plan has epochs = 1"), "{message}");
    let message = scene.refused("short.toml", "two", &["epochs=2", "optimiser.learning_rate=0.01"]);
    assert!(message.contains("ce") && message.contains("a different optimiser.learning_rate"), "{message}");
}

#[test]
fn mistakes_are_found_before_anything_is_trained() {
    let scene = Scene::shared();
    let message = |from: &str, to: &str| {
        assert!(PLAN.contains(from));
        fs::write(scene.path("wrong.toml"), PLAN.replace(from, to)).unwrap();
        let message = scene.refused("wrong.toml", "wrong", &[]);
        assert!(!scene.path("wrong").exists());
        message
    };
    let unknown = message("noise = ", "niose = ");
    assert!(unknown.contains("niose: unknown config key (did you mean noise?)"), "{unknown}");
    let unknown = message("epochs = 1", "epoch = 1");
    assert!(unknown.contains("train: epoch: unknown config key (did you mean epochs?)"), "{unknown}");
    let parameter = message("lambda", "lamda");
    assert!(parameter.contains("nacl: ") && parameter.contains("lambda"), "{parameter}");
    let network = message("levels = 2", "levels = 9");
    assert!(network.contains("samples.size"), "{network}");
}

#[test]
fn a_method_that_fails_is_left_out_and_the_others_are_compared() {
    let scene = Scene::shared();
    let plan = PLAN.replace("[1, 2]", "[1]").replace("noise = [0.1]\n", "")
        + "[[method]]\nname = \"bad\"\nepochs = 4\nclip_norm = 0\noptimiser = { name = \"sgd\", learning_rate = 1e30 }\n";
    fs::write(scene.path("bad.toml"), plan).unwrap();
    let output = scene.compare("bad.toml", "bad", &[]);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    let error = message.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(error.contains("method 3/3 bad, seed 1/1: ") && !error.contains("--resume"), "{error}");
    let summary = scene.json("bad/summary.json");
    let names: Vec<&String> = summary["methods"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["ce", "nacl"]);
    assert!(summary["failed"][0].as_str().unwrap().starts_with("method 3/3 bad"));
    assert!(stdout(&output).contains("Left out because it failed: method 3/3 bad"));
}

#[cfg(unix)]
#[test]
fn asked_to_stop_it_says_how_to_go_on() {
    use crate::common::training::{ENDLESS, end, send};
    let scene = Scene::shared();
    let log = scene.path("endless/ce/seed-1/run/log.jsonl");
    let mut child = scene.command("plan.toml", "endless", &["-q", ENDLESS]).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !log.exists() {
        assert!(child.try_wait().unwrap().is_none() && started.elapsed() < Duration::from_mins(1), "no epoch was done");
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = scene.refused("plan.toml", "endless", &[ENDLESS]);
    assert!(second.contains("another process is writing to this comparison"), "{second}");
    send("INT", &child);
    let output = end(child);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("method 1/2 ce, seed 1/2: interrupted by Ctrl-C"), "{message}");
    assert!(message.contains("run the same command again to continue") && !message.contains("--resume"), "{message}");
}
