//! A training of milliseconds an epoch that tests disturb.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{segcal, stderr};

/// Far more than any of these trainings needs, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(1);
/// More epochs than can be done before the test interferes.
pub(crate) const ENDLESS: &str = "epochs=100000";

/// A cohort and a config of a training of milliseconds an epoch, whose loss keeps multipliers.
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        let cohort = scene.path("cohort");
        let sizes = ["--train", "2", "--val", "1", "--test", "1", "--size", "4,16,16"];
        let output = segcal(&[&["-q", "phantom", cohort.to_str().unwrap()][..], &sizes].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = "epochs = 8\nbatch = 4\n[samples]\nsize = [16, 16]\n[network]\nlevels = 2\nbase = 4\n[loss]\nname = \"crac\"\n";
        fs::write(scene.path("tiny.toml"), text).unwrap();
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The arguments of a training into the folder `run`.
    pub(crate) fn arguments(&self, run: &str, more: &[&str]) -> Vec<String> {
        let mut arguments = vec!["-q".to_owned(), "train".into(), self.path("tiny.toml").display().to_string()];
        arguments.push(format!("data={}", self.path("cohort").display()));
        arguments.push(format!("out={}", self.path(run).display()));
        arguments.extend(more.iter().map(|&word| word.to_owned()));
        arguments
    }

    pub(crate) fn train(&self, run: &str, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_segcal")).args(self.arguments(run, more)).output().unwrap()
    }

    pub(crate) fn trained(&self, run: &str, more: &[&str]) -> State {
        let output = self.train(run, more);
        assert!(output.status.success(), "{more:?}: {}", stderr(&output));
        self.state(run)
    }

    pub(crate) fn start(&self, run: &str, more: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segcal"));
        command.args(self.arguments(run, more)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts an endless training and waits until two epochs are in its log.
    pub(crate) fn start_and_wait(&self, run: &str, more: &[&str]) -> Child {
        let mut child = self.start(run, &[&[ENDLESS], more].concat());
        let started = Instant::now();
        while self.epochs(run) < 2 {
            assert!(child.try_wait().unwrap().is_none() && started.elapsed() < PATIENCE, "no two epochs were done");
            std::thread::sleep(Duration::from_millis(2));
        }
        child
    }

    /// Number of epochs in the log.
    pub(crate) fn epochs(&self, run: &str) -> usize {
        fs::read_to_string(self.path(run).join("log.jsonl")).map_or(0, |log| log.lines().count())
    }

    /// Goes on with `run` for one epoch more than it has, and compares with a run of as many that never stopped.
    pub(crate) fn goes_on_to_the_same_bytes(&self, run: &str) {
        let epochs = format!("epochs={}", self.epochs(run) + 1);
        let resumed = self.trained(run, &["--resume", &epochs]);
        let whole = self.trained(&format!("{run}-whole"), &[&epochs]);
        assert!(resumed == whole, "{run}: {epochs}: the bytes differ");
        assert_eq!(self.leftovers(run), Vec::<String>::new());
    }

    pub(crate) fn state(&self, run: &str) -> State {
        let names = ["last.safetensors", "best.safetensors", "metrics.csv"];
        State(names.map(|name| fs::read(self.path(run).join(name)).unwrap()), self.chain(run))
    }

    /// The last link of the hash chain.
    pub(crate) fn chain(&self, run: &str) -> String {
        let log = fs::read_to_string(self.path(run).join("log.jsonl")).unwrap();
        let record: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        record["hashes"]["chain"].as_str().unwrap().to_owned()
    }

    /// Files that were being written.
    pub(crate) fn leftovers(&self, run: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(run)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "part")).collect()
    }
}

/// The bytes of the checkpoints and the table, and the last link of the hash chain.
#[derive(PartialEq)]
pub(crate) struct State(pub(crate) [Vec<u8>; 3], pub(crate) String);

/// Sends a signal by the system's own command.
pub(crate) fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The end of a process that is to end by itself, and soon.
pub(crate) fn end(mut child: Child) -> Output {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < PATIENCE, "the process does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}
