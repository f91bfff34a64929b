//! Every stored attack: the folders of `attacks` in the folder of shared data, which is passed over where it is absent. What
//! is a file is given to the program again; what is a scene has a test that makes it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::common::training::Scene;
use super::super::common::{shared, stderr, text};

/// A command on files of a folder (`@`) and of the scene, its status, and what its one line says of it.
type Given = (&'static str, &'static str, i32, &'static str);

const APPLY: &str =
    "calibrate apply @isotonic.json --probabilities cohort/posteriorsTs --labels cohort/labelsTs --out out";
const CHANNELS: &str = "the image has 3 channels, but the network takes 1";

/// Attacks that are files.
const FILES: [Given; 24] = [
    ("calibrate-isotonic-lengths", APPLY, 2, "x has 20 values, y has 1"),
    (
        "calibrate-nan",
        "calibrate apply @vector-1e39.json --probabilities cohort/posteriorsTs --out out",
        2,
        "out of range",
    ),
    (
        "calibrate-nan",
        "calibrate apply @class-temperature-0.json --probabilities cohort/posteriorsTs --out out",
        2,
        "0 is not positive",
    ),
    (
        "checkpoint-class-names",
        "predict @ @x.nii --out out",
        2,
        "class_names has 1 names, but the network has 3 outputs",
    ),
    ("fuzz/1-40-nii", "predict run @a.nii --out out", 1, CHANNELS),
    ("fuzz/2-11-nii", "predict run @a.nii --out out", 1, CHANNELS),
    ("fuzz/7-951-nii", "predict run @a.nii --out out", 1, CHANNELS),
    ("fuzz/2-1364-map", APPLY, 2, "not ascending values in [0, 1]"),
    ("fuzz/2-501-map", APPLY, 2, "not ascending values in [0, 1]"),
    ("fuzz/7-1407-map", APPLY, 2, "x has 21 values, y has 20"),
    ("fuzz/7-344-map", APPLY, 2, "x has 10 values, y has 9"),
    ("fuzz/7-1523-plan", "compare @plan.toml --out out --dry-run", 0, ""),
    ("many-classes", "evaluate --probabilities @p118.npy --labels @y.npy --out out", 0, ""),
    ("many-classes", "evaluate --probabilities @p300.npy --labels @y.npy --out out", 0, ""),
    ("many-classes", "evaluate --probabilities @p1000.npy --labels @y.npy --out out", 0, ""),
    ("many-classes", "evaluate --probabilities @p3000.npy --labels @y.npy --out out", 0, ""),
    ("many-labels", "evaluate --segmentations @y.npy --labels @y.npy --out out", 0, ""),
    ("plan-long-name", "compare @plan.toml --out out --dry-run", 0, ""),
    ("png-bomb-palette", "info @a.png", 2, "of memory"),
    ("png-bomb-palette", "check bomb", 1, ""),
    ("png-bomb-palette-trns", "info @a.png", 2, "of memory"),
    ("predict-wrong-channels", "predict run @three.nii --out out", 1, CHANNELS),
    ("run-config-sample-size", "predict @ @x.nii --out out", 2, "samples.size"),
    ("run-config-sample-size", "predict large @x.nii --out out", 1, "samples.size"),
];

/// Attacks that are scenes, and the tests that make them.
const SCENES: [(&str, &str, &str); 14] = [
    ("best-unverified", include_str!("runs.rs"), "a_checkpoint_is_used_only_with_the_hash_that_it_carries"),
    ("compare-follows-link", include_str!("results.rs"), "a_comparison_follows_no_link_and_knows_its_cases_by_content"),
    ("compare-stale", include_str!("results.rs"), "a_comparison_follows_no_link_and_knows_its_cases_by_content"),
    ("configs", include_str!("runs.rs"), "configs_beyond_reason_are_refused_before_anything_is_made"),
    (
        "evaluate-killed-over-old",
        include_str!("stale.rs"),
        "an_evaluation_that_is_killed_leaves_nothing_of_the_one_before",
    ),
    ("evaluate-two-writers", include_str!("results.rs"), "eight_writers_leave_one_whole_evaluation"),
    ("fifo", include_str!("runs.rs"), "pipes_and_devices_are_not_waited_for_nor_read_without_end"),
    ("isa-bits", include_str!("arithmetic.rs"), "a_run_goes_on_with_the_arithmetic_it_was_begun_with_and_no_other"),
    (
        "nan-in-validation",
        include_str!("runs.rs"),
        "a_validation_image_that_cannot_be_used_is_found_before_the_first_step",
    ),
    (
        "nrrd-crc",
        include_str!("../../../../data/src/formats/tests.rs"),
        "packed_numbers_are_compared_with_their_checksum",
    ),
    (
        "part-files-left",
        include_str!("results.rs"),
        "killed_and_repeated_every_verb_gives_the_same_bytes_and_leaves_nothing",
    ),
    ("predict-256-classes", include_str!("runs.rs"), "labels_above_255_are_written_as_they_are"),
    ("prepare-killed-at-first-rename", include_str!("results.rs"), "prepare_goes_on_after_a_kill_at_its_first_rename"),
    ("rayon-threads", include_str!("runs.rs"), "threads_of_the_environment_have_the_limit_of_the_option"),
];

/// The folders that hold an attack, by their path below `attacks`.
fn folders(root: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
    let names = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
    entries
        .filter(|entry| entry.path().is_dir())
        .flat_map(|entry| match entry.file_name().to_str() {
            Some("fuzz") => fs::read_dir(entry.path()).unwrap().map(|entry| names(&entry.unwrap().path())).collect(),
            _ => vec![names(&entry.path())],
        })
        .collect()
}

#[test]
fn every_attack_has_a_test() {
    for (folder, source, test) in SCENES {
        assert!(source.contains(&format!("fn {test}()")), "{folder}: there is no {test}");
    }
    let Some(root) = shared().map(|shared| shared.join("attacks")).filter(|root| root.is_dir()) else { return };
    let known = FILES.iter().map(|given| given.0).chain(SCENES.iter().map(|scene| scene.0));
    assert_eq!(folders(&root), known.map(str::to_owned).collect::<BTreeSet<_>>());
}

#[test]
fn stored_files_give_one_line_and_the_right_status() {
    let Some(root) = shared().map(|shared| shared.join("attacks")).filter(|root| root.is_dir()) else {
        eprintln!("there is no folder of attacks: skipped");
        return;
    };
    let scene = Scene::new();
    scene.trained("run", &["epochs=1"]);
    // Names that some of the files use.
    let here = |name: &str| scene.path(name);
    for (from, to) in [("cohort", "ph"), ("cohort", "fz7/base/ph")] {
        fs::create_dir_all(here(to).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(here(from), here(to)).unwrap();
    }
    for kind in ["images", "labels"] {
        fs::create_dir_all(here("bomb").join(kind)).unwrap();
        fs::copy(root.join("png-bomb-palette/a.png"), here("bomb").join(kind).join("a.png")).unwrap();
    }
    fs::create_dir(here("large")).unwrap();
    for (from, to) in [("config-100000.toml", "config.toml"), ("best.safetensors", "best.safetensors")] {
        fs::copy(root.join("run-config-sample-size").join(from), here("large").join(to)).unwrap();
    }
    for (folder, command, status, words) in FILES {
        _ = fs::remove_dir_all(here("out"));
        let command = command.replace('@', &format!("{}/", text(&root.join(folder))));
        // KiB of addresses: below what the pictures ask for, and what the others were found with.
        let limit = if folder.starts_with("png") { 1_572_864 } else { 4_194_304 };
        let script = format!("ulimit -v {limit}; exec \"$0\" -q \"$@\"");
        let mut program = Command::new("sh");
        program.args(["-c", &script, env!("CARGO_BIN_EXE_segcal")]);
        let output = program.args(command.split(' ')).current_dir(scene.folder.path()).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{command}: {said}");
        let lines = said.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(lines, usize::from(!words.is_empty()), "{command}: {said}");
        assert!(said.contains(words) && !said.contains("this is a bug"), "{command}: {said}");
    }
}
