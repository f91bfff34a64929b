//! Training and prediction that run out of room, may not write, or are robbed of their input: a clear error, status 1,
//! what was done stays usable, and training goes on to the bits of a run that never was disturbed.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::training::{Scene, State, end};
use crate::common::{segcal, stderr};

/// Size of a block of the disks below.
const PAGE: u64 = 4096;

/// Whether this user may mount a disk in memory for one process, without being root.
fn may_mount() -> bool {
    let mounted = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]).output();
    let yes = mounted.is_ok_and(|output| output.status.success());
    if !yes {
        eprintln!("skipped: this system lets no user mount (unshare -rm)");
    }
    yes
}

/// Runs the program on a disk of its own, mounted at `disk` of the scene, with the folder `run` copied there; afterwards
/// it is copied back to `after`. The options are those of the mount; `then` is done before the program starts.
fn on_a_disk(scene: &Scene, options: &str, then: &str, arguments: &[String]) -> Output {
    let script = "mount -t tmpfs -o \"$1\" tmpfs disk && cp -r run disk/run && eval \"$2\" || exit 99
        shift 2; \"$@\"; status=$?; cp -r disk/. after; exit $status";
    for name in ["disk", "after"] {
        let _ = fs::remove_dir_all(scene.path(name));
        fs::create_dir(scene.path(name)).unwrap();
    }
    let mut command = Command::new("unshare");
    command.current_dir(scene.folder.path()).args(["-rm", "sh", "-c", script, "sh", options, then]);
    let output = command.arg(env!("CARGO_BIN_EXE_segcal")).args(arguments).output().unwrap();
    assert_ne!(output.status.code(), Some(99), "{}", stderr(&output));
    output
}

/// Bytes that the files of a folder take of such a disk.
fn occupied(folder: &Path) -> u64 {
    let sizes = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    sizes.map(|size| size.div_ceil(PAGE) * PAGE).sum()
}

/// The checkpoints of a run.
fn checkpoints(run: &Path) -> [Vec<u8>; 2] {
    ["last.safetensors", "best.safetensors"].map(|name| fs::read(run.join(name)).unwrap())
}

/// Goes on with what the fault left, and compares with a run that never met one.
fn goes_on(scene: &Scene, before: &State) {
    let after = scene.path("after/run");
    assert!(checkpoints(&after) == before.0[..2], "a checkpoint was touched");
    assert_eq!(scene.leftovers("after/run"), Vec::<String>::new());
    assert!(scene.trained("after/run", &["--resume", "epochs=2"]) == scene.trained("whole", &["epochs=2"]));
}

#[test]
fn a_full_disk_is_a_write_error_and_nothing_is_lost() {
    if !may_mount() {
        return;
    }
    let scene = Scene::new();
    let before = scene.trained("run", &["epochs=1"]);
    // Room for config and logs, but not for another checkpoint.
    let checkpoint = before.0[0].len() as u64;
    assert!(checkpoint > 3 * PAGE, "{checkpoint}");
    let size = format!("size={}", occupied(&scene.path("run")) + 2 * PAGE);
    let output = on_a_disk(&scene, &size, "true", &scene.arguments("disk/run", &["--resume", "epochs=2"]));
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for word in ["disk/run", "cannot be written", "No space left", "free space", "epoch 1 is kept"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert_eq!(message.lines().count(), 1, "{message}");
    goes_on(&scene, &before);
}

#[test]
fn a_folder_that_may_only_be_read_is_a_write_error_and_nothing_is_lost() {
    if !may_mount() {
        return;
    }
    let scene = Scene::new();
    let before = scene.trained("run", &["epochs=1"]);
    let arguments = scene.arguments("disk/run", &["--resume", "epochs=2"]);
    let output = on_a_disk(&scene, "size=4m", "mount -o remount,ro disk", &arguments);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("disk/run") && message.contains("cannot be written: Read-only"), "{message}");
    goes_on(&scene, &before);
}

#[test]
fn predictions_on_a_full_disk_are_whole_or_not_there() {
    if !may_mount() {
        return;
    }
    let scene = Scene::new();
    scene.trained("run", &["epochs=1"]);
    let images = scene.path("cohort/imagesTr").display().to_string();
    let out = scene.path("disk/out").display().to_string();
    let run = scene.path("run").display().to_string();
    let arguments = ["-q", "predict", &run, &images, "--out", &out].map(str::to_owned);
    // From no room at all to room for some files.
    for pages in 0..6 {
        let size = format!("size={}", occupied(&scene.path("run")) + pages * PAGE);
        let output = on_a_disk(&scene, &size, "true", &arguments);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{pages} pages: {message}");
        assert!(message.contains("cannot be written"), "{message}");
        let kinds = ["segmentations", "probabilities"].map(|kind| scene.path("after/out").join(kind));
        for entry in kinds.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten() {
            let path = entry.unwrap().path();
            if path.ends_with("dataset.json") {
                continue;
            }
            let read = segcal(&["info", path.to_str().unwrap()]);
            assert!(read.status.success(), "{}: {}", path.display(), stderr(&read));
        }
    }
}

#[test]
fn results_that_nobody_can_take_are_a_write_error() {
    let scene = Scene::new();
    let image = scene.path("cohort/imagesTr/phantom_001.nii.gz");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_segcal")).arg("info").arg(image).stdout(full).output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("standard output") && message.contains("No space left"), "{message}");
}

#[test]
fn a_file_size_limit_is_a_write_error_and_nothing_is_lost() {
    let scene = Scene::new();
    scene.trained("run", &["epochs=1"]);
    let before = scene.state("run");
    let script = "ulimit -f 8; exec \"$0\" \"$@\"";
    let mut limited = Command::new("sh");
    limited.args(["-c", script, env!("CARGO_BIN_EXE_segcal")]).args(scene.arguments("run", &["--resume", "epochs=2"]));
    let output = limited.output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("run") && message.contains("cannot be written"), "{message}");
    assert!(scene.state("run").0[..2] == before.0[..2], "a checkpoint was touched");
    assert!(scene.trained("run", &["--resume", "epochs=2"]) == scene.trained("whole", &["epochs=2"]));
}

#[test]
fn input_that_vanishes_during_an_epoch_is_named_and_the_epochs_are_kept() {
    let scene = Scene::new();
    let child = scene.start_and_wait("run", &["input.cache_gib=0"]);
    let image = scene.path("cohort/imagesTr/phantom_001.nii.gz");
    fs::rename(&image, scene.path("aside")).unwrap();
    let output = end(child);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("phantom_001") && message.contains("--resume"), "{message}");
    fs::rename(scene.path("aside"), &image).unwrap();
    let epochs = format!("epochs={}", scene.epochs("run") + 1);
    let resumed = scene.trained("run", &["--resume", "input.cache_gib=0", &epochs]);
    assert!(resumed == scene.trained("whole", &["input.cache_gib=0", &epochs]), "the bytes differ");
}
