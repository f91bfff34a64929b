//! A power cut at any moment of training: what was not synced is lost, in whole or in part, and the training goes on to
//! the bits of a run that never stopped.
//!
//! The disk is simulated from what the program asked it for ([`recorded`]): a file's bytes are safe once it was synced,
//! a name once its folder was. Everything else may or may not have arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::alone;
use crate::common::stored_epoch;
use segcal_backends::{Cpu, Watch};
use segcal_core::Rng;
use segcal_data::observer::Silent;
use segcal_models::whole_file::{Step, recorded};
use segcal_train::settings::Settings;

/// Epochs of the training.
const EPOCHS: usize = 2;

/// What arrives of what was not synced.
#[derive(Clone, Copy, Debug)]
enum Arrives {
    /// Nothing.
    Nothing,
    /// Names, but no bytes: files of length 0 where the data had not been synced.
    Names,
    /// Everything, as when only the process dies.
    All,
    /// Each name by the toss of a coin, and of the bytes the first few.
    Some(u64),
}

/// A file's bytes, and how many of them are safe.
#[derive(Clone, Default)]
struct Inode {
    bytes: Vec<u8>,
    safe: usize,
}

/// A disk with one folder, in which nothing but what [`Step`] knows happens.
#[derive(Default)]
struct Disk {
    inodes: Vec<Inode>,
    /// The file of each name, as the running system sees it.
    names: BTreeMap<PathBuf, usize>,
    /// The same as it is safe on the disk.
    safe: BTreeMap<PathBuf, usize>,
    /// What was done to the names since the folder was synced: `None` where one was removed.
    pending: Vec<(PathBuf, Option<usize>)>,
}

impl Disk {
    fn after(steps: &[Step]) -> Self {
        let mut disk = Self::default();
        steps.iter().for_each(|step| disk.take(step));
        disk
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Create(path) => {
                self.inodes.push(Inode::default());
                self.change(path, Some(self.inodes.len() - 1));
            }
            Step::Append(path, bytes) => {
                let inode = self.names[path];
                self.inodes[inode].bytes.extend(bytes);
            }
            Step::Sync(path) => {
                let inode = &mut self.inodes[self.names[path]];
                inode.safe = inode.bytes.len();
            }
            Step::Rename { from, to } => {
                let inode = self.names[from];
                self.change(to, Some(inode));
                self.change(from, None);
            }
            Step::Remove(path) => self.change(path, None),
            Step::SyncFolder(_) => {
                self.safe = self.names.clone();
                self.pending.clear();
            }
        }
    }

    fn change(&mut self, path: &Path, inode: Option<usize>) {
        self.pending.push((path.into(), inode));
        apply(&mut self.names, path, inode);
    }

    /// The files that are there when the power is back.
    fn files(&self, arrives: Arrives) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut names = self.safe.clone();
        for (number, (path, inode)) in self.pending.iter().enumerate() {
            let arrived = match arrives {
                Arrives::Nothing => false,
                Arrives::Names | Arrives::All => true,
                Arrives::Some(seed) => Rng::new(seed).stream(1).below(number as u64, 2) == 1,
            };
            if arrived {
                apply(&mut names, path, *inode);
            }
        }
        let content = |inode: usize| {
            let Inode { bytes, safe } = &self.inodes[inode];
            let length = match arrives {
                Arrives::Nothing | Arrives::Names => *safe,
                Arrives::All => bytes.len(),
                Arrives::Some(seed) => safe + Rng::new(seed).stream(2).below(inode as u64, bytes.len() - safe + 1),
            };
            bytes[..length].to_vec()
        };
        names.into_iter().map(|(path, inode)| (path, content(inode))).collect()
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, path: &Path, inode: Option<usize>) {
    match inode {
        Some(inode) => drop(names.insert(path.into(), inode)),
        None => drop(names.remove(path)),
    }
}

/// A cohort, and a training of milliseconds an epoch whose loss keeps multipliers.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cohort = folder.path().join("cohort").display().to_string();
        let phantom =
            ["segcal", "-q", "phantom", &cohort, "--train", "2", "--val", "1", "--test", "1", "--size", "4,8,8"];
        assert_eq!(segcal::run(phantom), 0);
        let config = format!(
            "data = \"{cohort}\"\nepochs = {EPOCHS}\nbatch = 4\n[samples]\nsize = [8, 8]\n[network]\nlevels = 1\n\
             base = 2\n[loss]\nname = \"crac\"\n"
        );
        fs::write(folder.path().join("tiny.toml"), config).unwrap();
        Self { folder }
    }

    /// Trains into the folder `run`, going on with what is there.
    fn train(&self, run: &Path) {
        let out = format!("out={}", run.display());
        let settings = Settings::read(&self.folder.path().join("tiny.toml"), &[out]).unwrap();
        let (cpu, resume) = (Cpu::new(None).unwrap(), run.join("config.toml").exists());
        segcal_train::train(&cpu, Watch::default(), &settings, resume, &Silent).unwrap();
    }
}

/// The bytes of what a run is judged by, with the last link of its hash chain.
fn state(run: &Path) -> Vec<Vec<u8>> {
    let mut state: Vec<Vec<u8>> =
        ["last.safetensors", "best.safetensors", "metrics.csv"].map(|name| fs::read(run.join(name)).unwrap()).into();
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
    let record: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    state.push(record["hashes"]["chain"].to_string().into_bytes());
    state
}

/// Epochs that the program may count on: those whose last checkpoint has its name for good.
fn committed(steps: &[Step]) -> usize {
    let names = steps.iter().scan(false, |last, step| {
        match step {
            Step::Rename { to, .. } => *last = to.ends_with("last.safetensors"),
            Step::SyncFolder(_) => return Some(std::mem::take(last)),
            _ => {}
        }
        Some(false)
    });
    names.filter(|&committed| committed).count()
}

#[test]
fn the_power_fails_before_any_step_and_nothing_that_was_done_is_lost() {
    if !alone("power_cut::the_power_fails_before_any_step_and_nothing_that_was_done_is_lost") {
        return;
    }
    let scene = Scene::new();
    let run = scene.folder.path().join("run");
    let ((), steps) = recorded(|| scene.train(&run));
    let whole = state(&run);
    assert_eq!(committed(&steps), EPOCHS);
    // Config, and in each epoch log, table and one or two checkpoints: five steps at least for each.
    assert!(steps.len() >= 5 * (1 + 3 * EPOCHS), "{} steps", steps.len());
    let mut seen = BTreeSet::new();
    let mut arrivals = vec![Arrives::Nothing, Arrives::Names, Arrives::All];
    arrivals.extend((0..6).map(Arrives::Some));
    for (count, &arrives) in (0..=steps.len()).flat_map(|count| arrivals.iter().map(move |arrives| (count, arrives))) {
        let files = Disk::after(&steps[..count]).files(arrives);
        // Many moments leave the same disk: each is tried once.
        if !seen.insert(files.clone()) {
            continue;
        }
        fs::remove_dir_all(&run).unwrap();
        fs::create_dir(&run).unwrap();
        files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        let last = run.join("last.safetensors");
        let kept = if last.exists() { stored_epoch(&last) } else { 0 };
        let promised = committed(&steps[..count]);
        assert!(kept >= promised, "before step {count}, {arrives:?}: {kept} of {promised} epochs are kept");
        scene.train(&run);
        assert!(state(&run) == whole, "before step {count}, {arrives:?}: the bytes differ");
        let unfinished = fs::read_dir(&run).unwrap().filter(|entry| {
            Path::new(&entry.as_ref().unwrap().file_name()).extension().is_some_and(|ending| ending == "part")
        });
        assert_eq!(unfinished.count(), 0, "before step {count}, {arrives:?}: something is left over");
    }
    assert!(seen.len() > 20, "{} different disks", seen.len());
}
