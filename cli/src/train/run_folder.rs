//! The run folder: config, logs, checkpoints, one writer at a time.
//!
//! `last.safetensors` is written last in each epoch and is the commit point: on resuming, log lines of later epochs
//! are dropped, and the epoch that was running is done again.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::output::{self, Number, OutputFolder};

/// What one epoch gave.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// Learning rate of the epoch.
    pub learning_rate: f64,
    /// Mean over the batches of the loss and each of its terms, by name; `loss` is the total.
    pub loss: Vec<(String, f64)>,
    /// Mean foreground DSC of the validation volumes; NaN where no volume holds a structure.
    pub dsc: Number,
    /// DSC of each structure, mean over the validation volumes that hold it.
    pub dsc_by_structure: Vec<(String, Number)>,
    /// Mean foreground ECE of the validation volumes.
    pub ece: Number,
    /// What the loss remembers (multipliers), by name; empty for most losses.
    pub state: Vec<(String, Vec<f64>)>,
    /// Seconds of training, without validation.
    pub seconds: f64,
    /// Training samples per second.
    pub images_per_second: f64,
}

/// A folder that holds one run, locked for one writer.
pub struct RunFolder {
    folder: OutputFolder,
    records: Vec<EpochRecord>,
    /// Held open: the lock ends with the process, however that ends.
    _lock: File,
}

const CONFIG: &str = "config.toml";
const LOG: &str = "log.jsonl";

impl RunFolder {
    /// A new run.
    ///
    /// # Errors
    /// The folder holds a run already, is in use by another process, or cannot be written.
    pub fn create(path: &Path, config: &Table) -> Result<Self> {
        if path.join(CONFIG).exists() {
            return Err(Error::new("holds a run already")
                .at(path.display())
                .help("go on with it by --resume, or choose another folder with out=FOLDER"));
        }
        let run = Self::open(path)?;
        output::write_text(&run.folder.file(CONFIG)?, &config.to_string())?;
        Ok(run)
    }

    /// A run that goes on after its epoch `done`.
    ///
    /// # Errors
    /// There is no run, it is in use by another process, its files cannot be read, or it was started with another
    /// config (only `epochs` may differ).
    pub fn resume(path: &Path, config: &Table, done: usize) -> Result<Self> {
        let stored = stored_config(path)?;
        if let Some(key) = first_difference(&stored, config) {
            return Err(Error::new(format!("the run was started with another {key}"))
                .at(path.join(CONFIG).display())
                .help("resume with the same config, or start a new run with out=FOLDER"));
        }
        let mut run = Self::open(path)?;
        run.records = read_log(&path.join(LOG))?.into_iter().filter(|record| record.epoch <= done).collect();
        output::write_text(&run.folder.file(CONFIG)?, &config.to_string())?;
        run.write_logs()?;
        Ok(run)
    }

    fn open(path: &Path) -> Result<Self> {
        let folder = OutputFolder::create(path)?;
        let lock_path = folder.file(".lock")?;
        let lock = File::create(&lock_path).map_err(|error| output::write_failure(&error)).at(lock_path.display())?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, records: Vec::new(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::new("another process writes to this run")
                .at(path.display())
                .help("wait until it ends, or choose another folder with out=FOLDER")),
            Err(TryLockError::Error(error)) => Err(error).at(lock_path.display()),
        }
    }

    /// The epochs that are done.
    pub fn records(&self) -> &[EpochRecord] {
        &self.records
    }

    /// Adds an epoch to the logs.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn record(&mut self, record: EpochRecord) -> Result<()> {
        self.records.push(record);
        self.write_logs()
    }

    /// Whether the newest epoch is better than all before it, by mean foreground DSC. The first one is.
    pub fn newest_is_best(&self) -> bool {
        let Some((newest, before)) = self.records.split_last() else { return false };
        // Anything is better than an undefined figure.
        before.iter().all(|record| record.dsc.0.is_nan() || newest.dsc > record.dsc)
    }

    /// Where the newest weights go.
    ///
    /// # Errors
    /// Those of [`OutputFolder::file`].
    pub fn last(&self) -> Result<PathBuf> {
        self.folder.file("last.safetensors")
    }

    /// Where the best weights go.
    ///
    /// # Errors
    /// Those of [`OutputFolder::file`].
    pub fn best(&self) -> Result<PathBuf> {
        self.folder.file("best.safetensors")
    }

    fn write_logs(&self) -> Result<()> {
        output::write_atomic(&self.folder.file(LOG)?, |out| {
            for record in &self.records {
                serde_json::to_writer(&mut *out, record).map_err(Error::from_source)?;
                writeln!(out)?;
            }
            Ok(())
        })?;
        output::write_text(&self.folder.file("metrics.csv")?, &self.csv())
    }

    /// One row an epoch, without times: the same run gives the same bytes.
    fn csv(&self) -> String {
        let Some(first) = self.records.first() else { return String::new() };
        let mut header = vec!["epoch".to_owned(), "learning_rate".into()];
        header.extend(first.loss.iter().map(|(name, _)| name.clone()));
        header.extend(["dsc".into(), "ece".into()]);
        header.extend(first.dsc_by_structure.iter().map(|(name, _)| format!("dsc:{name}")));
        let mut csv = header.join(",") + "\n";
        for record in &self.records {
            let mut row = vec![record.learning_rate];
            row.extend(record.loss.iter().map(|(_, value)| *value));
            row.extend([record.dsc.0, record.ece.0]);
            row.extend(record.dsc_by_structure.iter().map(|(_, value)| value.0));
            let row: Vec<String> = row.iter().map(ToString::to_string).collect();
            csv += &format!("{},{}\n", record.epoch, row.join(","));
        }
        csv
    }
}

/// The config that a run was started with.
///
/// # Errors
/// The folder holds no run, or its config cannot be read.
pub fn stored_config(path: &Path) -> Result<Table> {
    let path = path.join(CONFIG);
    let text = std::fs::read_to_string(&path).at(path.display());
    let text = text.map_err(|error| error.help("is this the folder of a run? `segcal train` makes one"))?;
    text.parse::<Table>().map_err(|error| Error::new(error.message().to_owned())).at(path.display())
}

/// The first key, dotted, whose value differs; `epochs` may, so that a finished run can be extended, and `out` and
/// `data` may, so that folders can be moved.
fn first_difference(stored: &Table, given: &Table) -> Option<String> {
    let keys = stored.keys().chain(given.keys().filter(|key| !stored.contains_key(*key)));
    for key in keys.filter(|key| !["epochs", "out", "data"].contains(&key.as_str())) {
        match (stored.get(key), given.get(key)) {
            (Some(toml::Value::Table(a)), Some(toml::Value::Table(b))) => {
                if let Some(inner) = first_difference(a, b) {
                    return Some(format!("{key}.{inner}"));
                }
            }
            (a, b) if a == b => {}
            _ => return Some(key.clone()),
        }
    }
    None
}

fn read_log(path: &Path) -> Result<Vec<EpochRecord>> {
    let text = std::fs::read_to_string(path).at(path.display())?;
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(Error::from_source).at(format!("line {}", number + 1)).at(path.display())
    };
    text.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: usize, dsc: f64) -> EpochRecord {
        EpochRecord {
            epoch,
            learning_rate: 1e-3,
            loss: vec![("loss".into(), 0.5), ("ce".into(), 0.25)],
            dsc: Number(dsc),
            dsc_by_structure: vec![("a".into(), Number(f64::NAN))],
            ece: Number(0.1),
            state: Vec::new(),
            seconds: 1.0,
            images_per_second: 2.0,
        }
    }

    #[test]
    fn later_epochs_are_dropped_on_resuming_and_a_run_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let config: Table = "epochs = 2\n[loss]\nname = \"ce\"".parse().unwrap();
        let mut run = RunFolder::create(&path, &config).unwrap();
        run.record(record(1, 0.5)).unwrap();
        assert!(run.newest_is_best());
        run.record(record(2, 0.4)).unwrap();
        assert!(!run.newest_is_best());
        drop(run);
        assert!(RunFolder::create(&path, &config).err().unwrap().to_string().contains("--resume"));
        let run = RunFolder::resume(&path, &config, 1).unwrap();
        assert_eq!(run.records().len(), 1);
        assert_eq!(run.records()[0].dsc, Number(0.5));
        let csv = std::fs::read_to_string(path.join("metrics.csv")).unwrap();
        assert_eq!(csv, "epoch,learning_rate,loss,ce,dsc,ece,dsc:a\n1,0.001,0.5,0.25,0.5,0.1,NaN\n");
    }

    #[test]
    fn another_config_is_refused_and_more_epochs_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let config: Table = "epochs = 2\n[loss]\nname = \"ce\"".parse().unwrap();
        RunFolder::create(&path, &config).unwrap().record(record(1, 0.5)).unwrap();
        let other: Table = "epochs = 2\n[loss]\nname = \"nacl\"".parse().unwrap();
        assert!(RunFolder::resume(&path, &other, 1).err().unwrap().to_string().contains("another loss.name"));
        let longer: Table = "epochs = 9\n[loss]\nname = \"ce\"".parse().unwrap();
        assert_eq!(RunFolder::resume(&path, &longer, 1).unwrap().records().len(), 1);
    }

    #[test]
    fn one_writer_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let config = Table::new();
        let _first = RunFolder::create(&folder.path().join("run"), &config).unwrap();
        std::fs::remove_file(folder.path().join("run").join(CONFIG)).unwrap();
        let second = RunFolder::create(&folder.path().join("run"), &config);
        assert!(second.err().unwrap().to_string().contains("another process"));
    }
}
