//! Training that is killed, interrupted, run out of room or robbed of its input goes on to the bits of a run that
//! never was.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{segcal, stderr};
use segcal_core::Rng;
use tempfile::TempDir;

/// Far more than any of these trainings needs, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// More epochs than can be done before the test interferes.
const ENDLESS: &str = "epochs=100000";

/// A cohort and a config of a training of milliseconds an epoch, whose loss keeps multipliers.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        let cohort = scene.path("cohort");
        let sizes = ["--train", "2", "--val", "1", "--test", "1", "--size", "4,16,16"];
        let output = segcal(&[&["-q", "phantom", cohort.to_str().unwrap()][..], &sizes].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = "epochs = 8\nbatch = 4\n[samples]\nsize = [16, 16]\n[network]\nlevels = 2\nbase = 4\n[loss]\nname = \"crac\"\n";
        fs::write(scene.path("tiny.toml"), text).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The arguments of a training into the folder `run`.
    fn arguments(&self, run: &str, more: &[&str]) -> Vec<String> {
        let mut arguments = vec!["-q".to_owned(), "train".into(), self.path("tiny.toml").display().to_string()];
        arguments.push(format!("data={}", self.path("cohort").display()));
        arguments.push(format!("out={}", self.path(run).display()));
        arguments.extend(more.iter().map(|&word| word.to_owned()));
        arguments
    }

    fn train(&self, run: &str, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_segcal")).args(self.arguments(run, more)).output().unwrap()
    }

    fn trained(&self, run: &str, more: &[&str]) -> State {
        let output = self.train(run, more);
        assert!(output.status.success(), "{more:?}: {}", stderr(&output));
        self.state(run)
    }

    fn start(&self, run: &str, more: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segcal"));
        command.args(self.arguments(run, more)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts an endless training and waits until two epochs are in its log.
    fn start_and_wait(&self, run: &str, more: &[&str]) -> Child {
        let mut child = self.start(run, &[&[ENDLESS], more].concat());
        let started = Instant::now();
        while self.epochs(run) < 2 {
            assert!(child.try_wait().unwrap().is_none() && started.elapsed() < PATIENCE, "no two epochs were done");
            std::thread::sleep(Duration::from_millis(2));
        }
        child
    }

    /// Number of epochs in the log.
    fn epochs(&self, run: &str) -> usize {
        fs::read_to_string(self.path(run).join("log.jsonl")).map_or(0, |log| log.lines().count())
    }

    /// Goes on with `run` for one epoch more than it has, and compares with a run of as many that never stopped.
    fn goes_on_to_the_same_bytes(&self, run: &str) {
        let epochs = format!("epochs={}", self.epochs(run) + 1);
        let resumed = self.trained(run, &["--resume", &epochs]);
        let whole = self.trained(&format!("{run}-whole"), &[&epochs]);
        assert!(resumed == whole, "{run}: {epochs}: the bytes differ");
        assert_eq!(self.leftovers(run), Vec::<String>::new());
    }

    fn state(&self, run: &str) -> State {
        let names = ["last.safetensors", "best.safetensors", "metrics.csv"];
        State(names.map(|name| fs::read(self.path(run).join(name)).unwrap()), self.chain(run))
    }

    /// The last link of the hash chain.
    fn chain(&self, run: &str) -> String {
        let log = fs::read_to_string(self.path(run).join("log.jsonl")).unwrap();
        let record: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        record["hashes"]["chain"].as_str().unwrap().to_owned()
    }

    /// Files that were being written.
    fn leftovers(&self, run: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(run)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "part")).collect()
    }
}

/// The bytes of the checkpoints and the table, and the last link of the hash chain.
#[derive(PartialEq)]
struct State([Vec<u8>; 3], String);

/// Sends a signal by the system's own command.
fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The end of a process that is to end by itself, and soon.
fn end(mut child: Child) -> Output {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < PATIENCE, "the process does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

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
    fs::write(scene.path("run/.last.safetensors.part"), "half").unwrap();
    scene.goes_on_to_the_same_bytes("run");
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
    assert!(message.contains("safetensors") && message.contains("cannot be written"), "{message}");
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
    refused(&flipped, &["last.safetensors", "epoch 3", "hash", "best.safetensors is whole"]);
    refused(&whole[..end / 2], &["last.safetensors", "truncated", "best.safetensors is whole"]);
    fs::remove_file(&last).unwrap();
    let message = stderr(&scene.train("run", &["--resume", "epochs=4"]));
    assert!(message.contains("last.safetensors: is missing") && message.contains("best.safetensors"), "{message}");
    // The remedy that the message names works.
    fs::copy(scene.path("run/best.safetensors"), &last).unwrap();
    assert!(scene.trained("run", &["--resume", "epochs=4"]) == scene.trained("whole", &["epochs=4"]));
    fs::write(scene.path("run/best.safetensors"), b"half").unwrap();
    refused(b"half", &["no whole best.safetensors"]);
}
