//! Folders of results: one writer, nothing of another evaluation, nothing left of a killed one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use segcal_core::Rng;
use segcal_data::output::OutputFolder;
use tempfile::TempDir;

use super::super::common::{stderr, text};
use super::{done, leftovers, refused};

/// A cohort with the posteriors of its test cases.
pub(super) fn cohort() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sizes = ["--train", "2", "--val", "1", "--test", "3", "--size", "4,16,16"];
    done(&[&["phantom", text(&folder.path().join("ph"))][..], &sizes].concat());
    folder
}

/// The arguments of an evaluation of the posteriors in `scores`.
pub(super) fn evaluation<'a>(scores: &'a Path, labels: &'a Path, out: &'a Path) -> Vec<&'a str> {
    vec!["evaluate", "--probabilities", text(scores), "--labels", text(labels), "--out", text(out)]
}

/// A second folder of predictions: the cases' posteriors, exchanged.
pub(super) fn others(folder: &Path) -> PathBuf {
    let (from, to) = (folder.join("ph/posteriorsTs"), folder.join("others"));
    fs::create_dir(&to).unwrap();
    let mut names: Vec<_> = fs::read_dir(&from).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for (number, name) in names.iter().enumerate() {
        fs::copy(from.join(&names[(number + 1) % names.len()]), to.join(name)).unwrap();
    }
    to
}

/// Every file of a folder with its bytes; but not the stamps of an evaluation, which tell of the machine.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let is_stamps = path.file_name().is_some_and(|name| name == "stamps");
            files.extend(if is_stamps { BTreeMap::new() } else { tree(&path) });
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

pub(super) fn same(a: &Path, b: &Path) -> bool {
    let relative = |root: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        tree(root).into_iter().map(|(path, bytes)| (path.strip_prefix(root).unwrap().into(), bytes)).collect()
    };
    relative(a) == relative(b)
}

#[test]
fn every_verb_refuses_a_folder_that_another_process_writes_to() {
    let folder = cohort();
    let path = |name: &str| folder.path().join(name);
    let (scores, labels, out) = (path("ph/posteriorsTs"), path("ph/labelsTs"), path("out"));
    let map = path("map.json");
    let fit = ["calibrate", "fit", "temperature", "--probabilities", text(&scores), "--labels", text(&labels)];
    done(&[&fit[..], &["--out", text(&map)]].concat());
    let part = path("part");
    done(&evaluation(&scores, &labels, &part));
    let _lock = OutputFolder::exclusive(&out).unwrap();
    let words = ["out: another process is writing to this folder"];
    refused(2, &evaluation(&scores, &labels, &out), &words);
    refused(2, &["merge", text(&part), "--out", text(&out)], &words);
    refused(2, &["calibrate", "apply", text(&map), "--probabilities", text(&scores), "--out", text(&out)], &words);
    refused(2, &["prepare", text(&path("ph")), text(&out), "--as", "msd"], &words);
    // A folder that holds anything, a lock for instance, is not a new one.
    refused(2, &["phantom", text(&out)], &["out: is not empty"]);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "nothing but the lock was written");
}

#[test]
fn eight_writers_leave_one_whole_evaluation() {
    let folder = cohort();
    let (scores, labels) = (folder.path().join("ph/posteriorsTs"), folder.path().join("ph/labelsTs"));
    let (others, out) = (others(folder.path()), folder.path().join("out"));
    let start = |number: usize| {
        let given = if number.is_multiple_of(2) { &scores } else { &others };
        let arguments = evaluation(given, &labels, &out);
        let mut command = Command::new(env!("CARGO_BIN_EXE_segcal"));
        command.arg("-q").args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let writers: Vec<_> = (0..8).map(start).collect();
    let outputs: Vec<_> = writers.into_iter().map(|writer| writer.wait_with_output().unwrap()).collect();
    assert!(outputs.iter().any(|output| output.status.success()));
    for output in outputs.iter().filter(|output| !output.status.success()) {
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(output).contains("another process is writing"), "{}", stderr(output));
    }
    assert_eq!(leftovers(&out), Vec::<String>::new());
    let alone = [&scores, &others].map(|given| {
        let alone = folder.path().join(format!("alone-{}", given.file_name().unwrap().display()));
        done(&evaluation(given, &labels, &alone));
        same(&alone, &out)
    });
    assert!(alone[0] != alone[1], "the folder holds one of the two evaluations, whole: {alone:?}");
}

#[test]
fn merge_refuses_what_is_not_one_evaluation() {
    let folder = cohort();
    let (scores, labels) = (folder.path().join("ph/posteriorsTs"), folder.path().join("ph/labelsTs"));
    let [a, b, out] = ["a", "b", "out"].map(|name| folder.path().join(name));
    done(&evaluation(&scores, &labels, &a));
    done(&evaluation(&others(folder.path()), &labels, &b));
    let state = |of: &Path| {
        let mut states: Vec<_> = fs::read_dir(of.join("states")).unwrap().map(|entry| entry.unwrap().path()).collect();
        states.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
        states.sort();
        states.remove(0)
    };
    let merge = ["merge", text(&a), "--out", text(&out)];
    let own = fs::read(state(&a)).unwrap();
    fs::copy(state(&b), state(&a)).unwrap();
    refused(2, &merge, &["was changed after the evaluation of"]);
    fs::remove_file(state(&b)).unwrap();
    refused(2, &["merge", text(&b), "--out", text(&out)], &["is missing from the evaluation of"]);
    let edited = String::from_utf8(own.clone()).unwrap().replacen("\"classes\":", "\"classes\": ", 1);
    assert_ne!(edited.as_bytes(), own);
    fs::write(state(&a), edited).unwrap();
    refused(2, &merge, &["was changed after the evaluation of"]);
    fs::write(state(&a), &own).unwrap();
    fs::remove_file(a.join("summary.json")).unwrap();
    refused(2, &merge, &["a: there is no summary.json: the evaluation was not completed"]);
    assert!(!out.join("summary.json").exists());
}

#[test]
fn a_state_that_was_edited_is_not_resumed_from() {
    let folder = cohort();
    let (scores, labels, out) =
        (folder.path().join("ph/posteriorsTs"), folder.path().join("ph/labelsTs"), folder.path().join("out"));
    done(&evaluation(&scores, &labels, &out));
    let state = fs::read_dir(out.join("states")).unwrap().map(|entry| entry.unwrap().path());
    let state = state.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "json")).unwrap();
    let whole = fs::read_to_string(&state).unwrap();
    let at = whole.find("\"dsc\":{\"measured\":0.").unwrap() + 21;
    let digit = if &whole[at..=at] == "1" { "2" } else { "1" };
    let edited = format!("{}{digit}{}", &whole[..at], &whole[at + 1..]);
    fs::write(&state, edited).unwrap();
    let arguments = [evaluation(&scores, &labels, &out), vec!["--resume"]].concat();
    refused(2, &arguments, &["states", "does not match its stored hash"]);
}

#[test]
fn maps_that_no_fit_gives_are_refused_and_nan_is_never_written() {
    let folder = cohort();
    let (scores, out) = (folder.path().join("ph/posteriorsTs"), folder.path().join("out"));
    let path = folder.path().join("map.json");
    let labels = folder.path().join("ph/labelsTs");
    // The form of each method's own file, whose numbers are then replaced.
    let fitted = |method: &str| {
        let given = ["--probabilities", text(&scores), "--labels", text(&labels), "--out", text(&path)];
        done(&[&["calibrate", "fit", method][..], &given].concat());
        serde_json::from_str::<serde_json::Value>(&fs::read_to_string(&path).unwrap()).unwrap()
    };
    let apply = |map: &serde_json::Value, words: &[&str]| {
        fs::write(&path, map.to_string()).unwrap();
        let arguments = ["calibrate", "apply", text(&path), "--probabilities", text(&scores), "--out", text(&out)];
        refused(2, &arguments, words);
        assert!(!out.exists() || tree(&out).is_empty());
    };
    for (method, key, values) in [
        ("class-temperature", "temperatures", [0.0, -1.0, 1e-300, 1e39]),
        ("vector", "scale", [1e39, -1e39, 1e300, -1e300]),
        ("platt", "intercept", [1e39, -1e39, 1e300, -1e300]),
    ] {
        let map = fitted(method);
        for value in values {
            let mut bad = map.clone();
            bad["map"]["parameters"][key][0] = value.into();
            apply(&bad, &["map.json", key, "fit the map again"]);
        }
        let mut short = map.clone();
        short["map"]["parameters"][key].as_array_mut().unwrap().pop();
        apply(&short, &["map.json", key, "values for"]);
    }
    let mut isotonic = fitted("isotonic");
    isotonic["map"]["parameters"]["classes"][0]["y"].as_array_mut().unwrap().pop();
    apply(&isotonic, &["classes[0]", "x has"]);
    // In range, but the product is not.
    let mut vector = fitted("vector");
    vector["map"]["parameters"]["scale"][0] = (-3e38).into();
    fs::write(&path, vector.to_string()).unwrap();
    let arguments = ["calibrate", "apply", text(&path), "--probabilities", text(&scores), "--out", text(&out)];
    let output = super::limited(4096, &arguments);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("the map gives"), "{}", stderr(&output));
    assert!(tree(&out).is_empty());
}

/// What cannot be written has status 1 in every verb, whether it is one of several files or the only one.
#[test]
fn a_limit_on_files_is_a_write_error_in_every_verb() {
    let folder = cohort();
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let (scores, labels, images) = (path("ph/posteriorsTs"), path("ph/labelsTs"), path("ph/imagesTs"));
    let given = ["--probabilities", &scores, "--labels", &labels];
    let (map, local, out) = (path("map.json"), path("local.safetensors"), path("out"));
    done(&[&["calibrate", "fit", "vector"][..], &given, &["--out", &map]].concat());
    let fit_local = ["calibrate", "fit", "local", "--images", &images, "--epochs", "1", "--out", &local];
    for arguments in [
        [&["evaluate", "--out", &out][..], &given].concat(),
        vec!["calibrate", "apply", &map, "--probabilities", &scores, "--out", &out],
        [&fit_local[..], &given].concat(),
    ] {
        let script = "ulimit -f 1; exec \"$0\" -q \"$@\"";
        let output =
            Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_segcal")]).args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("cannot be written"), "{arguments:?}: {}", stderr(&output));
        assert_eq!(leftovers(folder.path()), Vec::<String>::new());
    }
}

/// A command into a folder, and how long it takes.
fn kill_and_repeat(name: &str, root: &Path, command: &dyn Fn(&Path) -> Vec<String>, kills: u64) {
    let run = |out: &Path| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_segcal"));
        program.arg("-q").args(command(out)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let whole = root.join(format!("{name}-whole"));
    let started = Instant::now();
    let output = run(&whole).wait_with_output().unwrap();
    let time = started.elapsed();
    assert!(output.status.success(), "{name}: {}", stderr(&output));
    let rng = Rng::new(14);
    for kill in 0..kills {
        let out = root.join(format!("{name}-{kill}"));
        let mut child = run(&out);
        std::thread::sleep(Duration::from_secs_f64(time.as_secs_f64() * rng.uniform(kill)));
        child.kill().unwrap();
        child.wait().unwrap();
        let output = run(&out).wait_with_output().unwrap();
        assert!(output.status.success(), "{name}, kill {kill}: {}", stderr(&output));
        assert_eq!(leftovers(&out), Vec::<String>::new(), "{name}, kill {kill}");
        assert!(same(&whole, &out), "{name}, kill {kill}: the bytes differ");
    }
}

#[cfg(unix)]
#[test]
fn killed_and_repeated_every_verb_gives_the_same_bytes_and_leaves_nothing() {
    let scene = super::super::common::training::Scene::new();
    scene.trained("run", &["epochs=1"]);
    let path = |name: &str| text(&scene.path(name)).to_owned();
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
    let (scores, labels, map) = (path("cohort/posteriorsTs"), path("cohort/labelsTs"), path("map.json"));
    let given = ["--probabilities", &scores, "--labels", &labels];
    done(&[&["calibrate", "fit", "vector"][..], &given, &["--out", &map]].concat());
    let (run, images, cohort) = (path("run"), path("cohort/imagesTs"), path("cohort"));
    let root = scene.folder.path();
    let kills = 5;
    let with_out = |first: Vec<&str>| {
        let first = words(&first);
        move |out: &Path| [first.clone(), vec!["--out".into(), text(out).to_owned()]].concat()
    };
    kill_and_repeat("evaluate", root, &with_out([&["evaluate"][..], &given].concat()), kills);
    kill_and_repeat("predict", root, &with_out(vec!["predict", &run, &images]), kills);
    kill_and_repeat("apply", root, &with_out(vec!["calibrate", "apply", &map, "--probabilities", &scores]), kills);
    kill_and_repeat("export", root, &with_out(vec!["export", &run]), kills);
    let prepare = |out: &Path| words(&["prepare", &cohort, text(out), "--as", "msd", "--split", "2,1,0"]);
    kill_and_repeat("prepare", root, &prepare, kills);
    let fit = |out: &Path| {
        fs::create_dir_all(out).unwrap();
        let map = text(&out.join("map.json")).to_owned();
        words(&[&["calibrate", "fit", "vector"][..], &given, &["--out", &map]].concat())
    };
    kill_and_repeat("fit", root, &fit, 2 * kills);
}

/// The commands of verbs that write, into a folder `OUT` that is there.
const WRITERS: [&str; 9] = [
    "evaluate --probabilities ph/posteriorsTs --labels ph/labelsTs --out OUT/out",
    "predict run ph/imagesTs --out OUT/out",
    "calibrate fit isotonic --probabilities ph/posteriorsTs --labels ph/labelsTs --out OUT/map.json",
    "calibrate apply map.json --probabilities ph/posteriorsTs --out OUT/out",
    "export run --out OUT/out",
    "prepare ph OUT/out --as msd --split 2,1,0",
    "merge evaluation --out OUT/out",
    "convert ph/posteriorsTs/phantom_003.nii.gz OUT/scores.npz",
    "phantom OUT/out --train 2 --val 1 --test 1 --size 4,16,16",
];

#[cfg(unix)]
#[test]
fn of_two_and_of_eight_writers_one_leaves_a_whole_result_and_the_others_are_refused() {
    let folder = cohort();
    let start = |command: &str, out: &str| {
        let words = command.replace("OUT", out);
        let mut program = Command::new(env!("CARGO_BIN_EXE_segcal"));
        program.current_dir(folder.path()).arg("-q").args(words.split(' '));
        program.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let run = |command: &str, out: &str| {
        let output = start(command, out).wait_with_output().unwrap();
        assert!(output.status.success(), "{command}: {}", stderr(&output));
    };
    run("calibrate fit vector --probabilities ph/posteriorsTs --labels ph/labelsTs --out map.json", "");
    run("evaluate --probabilities ph/posteriorsTs --labels ph/labelsTs --out evaluation", "");
    let tiny = "data = \"ph\"\nepochs = 1\nbatch = 4\n[samples]\nsize = [16, 16]\n[network]\nlevels = 2\nbase = 2\n";
    fs::write(folder.path().join("tiny.toml"), tiny).unwrap();
    run("train tiny.toml out=run", "");
    for (number, command) in WRITERS.into_iter().enumerate() {
        let outs = ["alone", "two", "eight"].map(|name| format!("{name}-{number}"));
        outs.iter().for_each(|out| fs::create_dir(folder.path().join(out)).unwrap());
        run(command, &outs[0]);
        for (out, count) in [(&outs[1], 2), (&outs[2], 8)] {
            let writers: Vec<_> = (0..count).map(|_| start(command, out)).collect();
            let ends: Vec<_> = writers.into_iter().map(|writer| writer.wait_with_output().unwrap()).collect();
            assert!(ends.iter().any(|end| end.status.success()), "{command}, {count}: {}", stderr(&ends[0]));
            for end in ends.iter().filter(|end| !end.status.success()) {
                let said = stderr(end);
                assert!(end.status.code() == Some(2) && said.matches("error: ").count() == 1, "{command}: {said}");
                assert!(said.contains("another process") || said.contains("is not empty"), "{command}: {said}");
            }
            let [alone, found] = [&outs[0], out].map(|out| folder.path().join(out));
            assert!(same(&alone, &found), "{command}, {count}: other bytes");
            assert_eq!(leftovers(&found), Vec::<String>::new(), "{command}, {count}");
        }
    }
}

#[test]
fn prepare_goes_on_after_a_kill_at_its_first_rename() {
    let folder = cohort();
    let (source, out) = (folder.path().join("ph"), folder.path().join("out"));
    fs::create_dir(&out).unwrap();
    fs::write(out.join(".segcal-1-0.part"), "{").unwrap();
    fs::write(out.join(".lock"), "").unwrap();
    done(&["prepare", text(&source), text(&out), "--as", "msd", "--split", "2,1,0"]);
    assert!(out.join("dataset.json").is_file());
    assert_eq!(leftovers(&out), Vec::<String>::new());
}

#[test]
fn a_source_that_was_replaced_is_prepared_anew() {
    let folder = cohort();
    let (source, out) = (folder.path().join("ph"), folder.path().join("out"));
    let prepare = |out: &Path| done(&["prepare", text(&source), text(out), "--as", "msd", "--split", "2,1,0"]);
    prepare(&out);
    let mut images: Vec<PathBuf> = tree(&source.join("imagesTr")).into_keys().collect();
    images.sort();
    fs::copy(&images[1], &images[0]).unwrap();
    prepare(&out);
    let fresh = folder.path().join("fresh");
    prepare(&fresh);
    assert!(same(&out, &fresh), "a case of the old file stayed");
}

#[cfg(unix)]
#[test]
fn a_comparison_follows_no_link_and_knows_its_cases_by_content() {
    let folder = cohort();
    let path = |name: &str| folder.path().join(name);
    let plan = "seeds = [1]\n[train]\ndata = \"DATA\"\nepochs = 1\nbatch = 4\n[train.samples]\nsize = [16, 16]\n\
                [train.network]\nlevels = 2\nbase = 2\n[[method]]\nname = \"ce\"\nloss = { name = \"ce\" }\n";
    fs::write(path("plan.toml"), plan.replace("DATA", text(&path("ph")))).unwrap();
    let compare = |out: &Path| -> Vec<String> {
        ["compare", text(&path("plan.toml")), "--out", text(out)].map(str::to_owned).to_vec()
    };
    let elsewhere = path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir_all(path("linked/ce/seed-1")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, path("linked/ce/seed-1/run")).unwrap();
    let arguments = compare(&path("linked"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    refused(2, &arguments, &["seed-1/run: is a symbolic link"]);
    assert!(tree(&elsewhere).is_empty());
    let arguments = compare(&path("out"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    done(&arguments);
    let results = fs::read(path("out/results.csv")).unwrap();
    let mut labels: Vec<PathBuf> = tree(&path("ph/labelsTs")).into_keys().collect();
    labels.truncate(2);
    let first = fs::read(&labels[0]).unwrap();
    fs::copy(&labels[1], &labels[0]).unwrap();
    fs::write(&labels[1], first).unwrap();
    done(&arguments);
    assert_ne!(fs::read(path("out/results.csv")).unwrap(), results, "the labels were exchanged");
}
