//! Training that is killed, interrupted, run out of room or robbed of its input goes on to the bits of a run that
//! never was.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::stderr;
use crate::common::training::{Scene, end, send};
use segcal_core::Rng;

/// The words for a run that may have been killed before it had a config.
fn resume_flag(run: &Path) -> &'static [&'static str] {
    if run.join("config.toml").exists() { &["--resume"] } else { &[] }
}

#[test]
fn killed_at_random_moments_it_ends_with_the_same_bytes() {
    let scene = Scene::new();
    let started = Instant::now();
    let whole = scene.trained("whole", &[]);
    let (length, run) = (started.elapsed().as_secs_f64(), scene.path("run"));
    let (mut kills, mut finished, rng) = (0, 0, Rng::new(7));
    for attempt in 0.. {
        let threads = ["1", "2", "3", "5"][attempt as usize % 4];
        let mut child = scene.start("run", &[resume_flag(&run), &["--threads", threads]].concat());
        // Up to half a run: some attempts die before their first epoch, some after several.
        std::thread::sleep(Duration::from_secs_f64(rng.range(attempt, 0.0, 0.5 * length)));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        let ended = child.wait_with_output().unwrap();
        if ended.status.success() {
            assert!(scene.state("run") == whole, "after {kills} kills: the bytes differ");
            finished += 1;
            if kills >= 20 {
                break;
            }
            fs::remove_dir_all(&run).unwrap();
        }
        let died = std::os::unix::process::ExitStatusExt::signal(&ended.status) == Some(9);
        assert!(died || ended.status.success(), "attempt {attempt}: {}", stderr(&ended));
        assert!(attempt < 400, "{kills} kills, {finished} runs finished");
        if kills >= 20 {
            assert!(scene.trained("run", resume_flag(&run)) == whole, "after {kills} kills: the bytes differ");
            break;
        }
    }
    assert!(kills >= 20, "{kills} kills");
}

/// Every random change of a sample, always or often.
const AUGMENTED: &[&str] = &[
    "augment=nnunet",
    "augment.rotation.p=0.8",
    "augment.scaling.p=0.8",
    "augment.elastic={p=0.8,spacing=4}",
    "augment.noise.p=0.8",
    "augment.blur.p=0.8",
    "augment.contrast.p=0.8",
    "augment.low_resolution.p=0.8",
    "augment.gamma.p=0.8",
    "augment.gamma_inverted.p=0.8",
    "augment.cutouts.p=0.8",
];

#[test]
fn with_every_augmentation_on_the_bits_do_not_depend_on_threads_or_kills() {
    let scene = Scene::new();
    let patches = &["samples.kind=patches", "samples.size=[4,16,16]"];
    for (name, kind) in [("slices", &[][..]), ("patches", patches)] {
        let keys = [AUGMENTED, kind].concat();
        let mut child = scene.start_and_wait(name, &keys);
        child.kill().unwrap();
        child.wait().unwrap();
        let epochs = format!("epochs={}", scene.epochs(name) + 1);
        let resumed = scene.trained(name, &[&keys[..], &["--resume", &epochs, "--threads", "2"]].concat());
        for threads in ["1", "2", "3"] {
            let run = format!("{name}-{threads}");
            let whole = scene.trained(&run, &[&keys[..], &[&epochs, "--threads", threads]].concat());
            assert!(resumed == whole, "{run}: {epochs}: the bytes differ");
        }
        let plain = scene.trained(&format!("{name}-plain"), &[kind, &[&epochs]].concat());
        assert!(plain != resumed, "{name}: nothing was changed");
    }
}

#[test]
fn asked_to_stop_it_says_how_to_go_on_and_goes_on() {
    let scene = Scene::new();
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let child = scene.start_and_wait(signal, &[]);
        send(signal, &child);
        let output = end(child);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{message}");
        assert!(message.contains("epoch ") && message.contains("--resume"), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert_eq!(scene.leftovers(signal), Vec::<String>::new());
        scene.goes_on_to_the_same_bytes(signal);
    }
}

#[test]
fn one_writer_at_a_time_and_a_killed_one_leaves_no_lock() {
    let scene = Scene::new();
    let mut first = scene.start_and_wait("run", &[]);
    let second = scene.train("run", &["--resume"]);
    assert_eq!(second.status.code(), Some(2));
    assert!(stderr(&second).contains("another process"), "{}", stderr(&second));
    first.kill().unwrap();
    first.wait().unwrap();
    // As a kill in the midst of writing leaves them.
    fs::write(scene.path("run/.segcal-abc.part"), "half").unwrap();
    fs::write(scene.path("run/.segcal-1-0.part"), "half").unwrap();
    scene.goes_on_to_the_same_bytes("run");
}

#[test]
fn a_flipped_bit_is_found_and_the_best_checkpoint_offered() {
    let scene = Scene::new();
    scene.trained("run", &["epochs=3"]);
    let last = scene.path("run/last.safetensors");
    let whole = fs::read(&last).unwrap();
    let refused = |bytes: &[u8], wanted: &[&str]| {
        fs::write(&last, bytes).unwrap();
        let output = scene.train("run", &["--resume", "epochs=4"]);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        for word in wanted {
            assert!(message.contains(word), "{word}: {message}");
        }
    };
    let (mut flipped, end) = (whole.clone(), whole.len());
    // One of the last bits of the first weight, behind the header and its length.
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    flipped[8 + header] ^= 1;
    refused(&flipped, &["last.safetensors", "epoch 3", "hash", "best.safetensors is intact"]);
    refused(&whole[..end / 2], &["last.safetensors", "truncated", "best.safetensors is intact"]);
    fs::remove_file(&last).unwrap();
    let message = stderr(&scene.train("run", &["--resume", "epochs=4"]));
    assert!(message.contains("last.safetensors: is missing") && message.contains("best.safetensors"), "{message}");
    // The remedy that the message names works.
    fs::copy(scene.path("run/best.safetensors"), &last).unwrap();
    assert!(scene.trained("run", &["--resume", "epochs=4"]) == scene.trained("whole", &["epochs=4"]));
    fs::write(scene.path("run/best.safetensors"), b"half").unwrap();
    refused(b"half", &["best.safetensors is not intact"]);
}

/// Going on with other data would make one curve of two experiments.
#[test]
fn other_data_than_the_run_was_begun_with_are_refused_and_the_old_go_on() {
    let scene = Scene::new();
    let before = scene.trained("run", &["epochs=2"]);
    let labels = scene.path("cohort/labelsTr");
    let (a, b) = (labels.join("phantom_000.nii.gz"), labels.join("phantom_001.nii.gz"));
    let kept = std::fs::read(&a).unwrap();
    let refused = |expected: &str| {
        let output = scene.train("run", &["epochs=3", "--resume"]);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("cases.json") && message.contains(expected), "{message}");
        assert!(scene.state("run") == before, "nothing was changed");
    };
    std::fs::copy(&b, &a).unwrap();
    refused("the files of the case phantom_000 have changed");
    std::fs::write(&a, kept).unwrap();
    let splits = scene.path("cohort/splits.json");
    let divided = std::fs::read_to_string(&splits).unwrap();
    let lists = |train: &str, val: &str| format!(r#"{{"train": [{train}], "val": [{val}]}}"#);
    std::fs::write(&splits, lists(r#""phantom_000""#, r#""phantom_002""#)).unwrap();
    refused("the case phantom_001 of the part train is missing");
    std::fs::write(&splits, lists(r#""phantom_000", "phantom_001", "phantom_002""#, r#""phantom_002""#)).unwrap();
    let twice = scene.train("run", &["epochs=3", "--resume"]);
    assert!(stderr(&twice).contains("listed twice"), "{}", stderr(&twice));
    std::fs::write(&splits, divided).unwrap();
    scene.goes_on_to_the_same_bytes("run");
}
