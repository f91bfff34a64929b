//! The run folder: config, logs, checkpoints, one writer at a time.
//!
//! `last.safetensors` is written last in each epoch and is the commit point: on resuming, log lines of later epochs are
//! dropped, and the epoch that was running is repeated. Every epoch's log line carries a [`Link`] of the hash chain,
//! which is checked on resuming.

use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_models::whole_file;
use toml::Table;

use super::cases::Cases;
use super::chain::Link;
use super::curves;
use super::events::event_file;
use super::patience;
use super::record::EpochRecord;
use super::settings::Settings;
use segcal_data::limits;
use segcal_data::output::{self, Csv, Lock, OutputFolder};

/// The folder of one run, locked for one writer.
pub struct RunFolder {
    folder: OutputFolder,
    records: Vec<EpochRecord>,
    /// Held open: the lock is released when the process ends, however it ends.
    _lock: Lock,
}

const CASES: &str = "cases.json";
const CONFIG: &str = "config.toml";
const LOG: &str = "log.jsonl";
/// The newest weights.
pub(super) const LAST: &str = "last.safetensors";
/// TensorBoard recognises its files by this name.
const EVENTS: &str = "events.out.tfevents.segcal";

impl RunFolder {
    /// Starts a new run.
    ///
    /// # Errors
    /// The folder already contains a run, is in use by another process, or cannot be written.
    pub fn create(path: &Path, config: &Table) -> Result<Self> {
        if path.join(CONFIG).exists() {
            return Err(Error::new("already contains a run")
                .at(path.display())
                .help("use --resume to continue it, or choose another folder with out=FOLDER"));
        }
        let run = Self::open(path)?;
        output::write_text(&run.folder.file(CONFIG)?, &config.to_string())?;
        Ok(run)
    }

    /// Opens a run to resume; nothing is changed before [`RunFolder::go_on_after`].
    ///
    /// # Errors
    /// There is no run, it is in use by another process, its files cannot be read, or it was started with another
    /// config (only `epochs` may differ).
    pub fn resume(path: &Path, config: &Table) -> Result<Self> {
        if let Some(key) = changed_key(path, config)? {
            return Err(Error::new(format!("the run was started with another {key}"))
                .at(path.join(CONFIG).display())
                .help("resume with the same config, or start a new run with out=FOLDER"));
        }
        let mut run = Self::open(path)?;
        run.records = read_log(&path.join(LOG))?;
        Ok(run)
    }

    /// Stores the cases of a new run in `cases.json`, or compares them with those already stored.
    ///
    /// # Errors
    /// The run was started with other cases (see [`Cases::expect`]), or the file is damaged or cannot be written.
    pub fn expect_cases(&self, cases: &Cases) -> Result<()> {
        let path = self.folder.file(CASES)?;
        if !path.exists() {
            return output::write_text(&path, &(output::to_json(cases)? + "\n"));
        }
        let begun = limits::read_text(&path);
        let begun = begun.and_then(|text| serde_json::from_str(&text).map_err(Error::from_source));
        begun.and_then(|begun| cases.expect(&begun)).at(path.display())
    }

    /// Refuses to continue with arithmetic other than that of the finished epochs; see [`Link::expect_arithmetic`].
    ///
    /// # Errors
    /// The run was trained with another backend or instruction set.
    pub fn expect_arithmetic(&self, now: &str) -> Result<()> {
        let last = self.records.last().map_or(Ok(()), |record| record.hashes.expect_arithmetic(now));
        last.at(self.folder.path().display())
    }

    /// Refuses a log that does not match the last checkpoint, which belongs to epoch `done` and carries `link`.
    ///
    /// # Errors
    /// The log does not contain these epochs, or its hash chain is broken or differs from that of the checkpoint. The
    /// message names the file and the epoch.
    pub fn expect_epochs(&self, done: usize, link: &Link) -> Result<()> {
        let log = self.folder.file(LOG)?;
        let broken = |epoch: usize, what: &str| {
            let error = Error::new(what).at(format!("epoch {epoch}")).at(log.display());
            Err(error.help("restore the file from a copy, or start a new run with out=FOLDER"))
        };
        let kept = self.records.len().min(done);
        let mut before = None;
        for (number, record) in self.records[..kept].iter().enumerate() {
            if record.epoch != number + 1 || !record.hashes.follows(before, &record.row()) {
                return broken(number + 1, "the line does not fit its hash chain: the log was changed or is damaged");
            }
            before = Some(&record.hashes);
        }
        if kept < done {
            return broken(kept + 1, &format!("there is no line, but the checkpoint belongs to epoch {done}"));
        }
        if before.is_some_and(|last| last != link) {
            return broken(done, "the hashes are not those of last.safetensors: the two belong to different runs");
        }
        Ok(())
    }

    /// Drops the epochs after `done`, and stores the config with which the run continues.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn go_on_after(&mut self, done: usize, config: &Table) -> Result<()> {
        self.records.truncate(done);
        output::write_text(&self.folder.file(CONFIG)?, &config.to_string())?;
        self.write_logs()
    }

    fn open(path: &Path) -> Result<Self> {
        let folder = OutputFolder::create(path)?;
        let Some(lock) = folder.lock()? else {
            return Err(Error::new("another process is writing to this run")
                .at(path.display())
                .help("wait until it ends, or choose another folder with out=FOLDER"));
        };
        whole_file::remove_unfinished(folder.path());
        Ok(Self { folder, records: Vec::new(), _lock: lock })
    }

    /// The finished epochs.
    pub fn records(&self) -> &[EpochRecord] {
        &self.records
    }

    /// Adds an epoch to the logs. Returns its link of the chain, which is computed from the epoch's `hashes`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn record(&mut self, mut record: EpochRecord) -> Result<Link> {
        let before = self.records.last().map(|record| &record.hashes);
        let link = Link::after(before, &record.row(), record.hashes);
        record.hashes = link.clone();
        self.records.push(record);
        self.write_logs()?;
        Ok(link)
    }

    /// Whether the newest epoch has a better mean foreground DSC than all before it. This is true of the first epoch.
    pub fn newest_is_best(&self) -> bool {
        !self.records.is_empty() && self.best_epoch() == Some(self.records.len())
    }

    /// The epoch with the best mean foreground DSC; the first one if several are equal.
    pub fn best_epoch(&self) -> Option<usize> {
        patience::best_epoch(&self.records)
    }

    /// Path of the newest weights.
    ///
    /// # Errors
    /// Those of [`OutputFolder::file`].
    pub fn last(&self) -> Result<PathBuf> {
        self.folder.file(LAST)
    }

    /// Path of the best weights.
    ///
    /// # Errors
    /// Those of [`OutputFolder::file`].
    pub fn best(&self) -> Result<PathBuf> {
        self.folder.file("best.safetensors")
    }

    /// Plots the finished epochs: writes `curves.svg` and TensorBoard's events. These files are never read back.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn draw(&self) -> Result<()> {
        let events = event_file(&self.records);
        output::write_atomic(&self.folder.file(EVENTS)?, |out| Ok(out.write_all(&events)?))?;
        output::write_text(&self.folder.file("curves.svg")?, &curves::svg(&self.records))
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

    /// One row per epoch.
    fn csv(&self) -> String {
        let Some(first) = self.records.first() else { return String::new() };
        let mut header = vec!["epoch".to_owned(), "learning_rate".into()];
        header.extend(first.loss.iter().map(|(name, _)| name.clone()));
        header.extend(["dsc".into(), "ece".into()]);
        header.extend(first.dsc_by_structure.iter().map(|(name, _)| format!("dsc:{name}")));
        let mut csv = Csv::new(&header);
        self.records.iter().for_each(|record| csv.row(&record.fields()));
        csv.finish()
    }
}

/// The config that a run was started with.
///
/// # Errors
/// The folder does not contain a run, or its config cannot be read.
pub fn stored_config(path: &Path) -> Result<Table> {
    let path = path.join(CONFIG);
    let text = limits::read_text(&path);
    let text = text.map_err(|error| error.help("is this a run folder? `segcal train` creates one"))?;
    text.parse::<Table>().map_err(|error| Error::new(error.message().to_owned())).at(path.display())
}

/// Whether a run has stopped early according to the patience of these settings.
///
/// # Errors
/// The log cannot be read.
pub fn is_stopped_early(path: &Path, settings: &Settings) -> Result<bool> {
    Ok(settings.patience > 0 && patience::is_over(settings, &read_log(&path.join(LOG))?))
}

/// The first key, dotted, whose value differs between a run's config and this one so that the run cannot be resumed.
///
/// # Errors
/// The folder does not contain a run, or its config cannot be read.
pub fn changed_key(path: &Path, config: &Table) -> Result<Option<String>> {
    // A finished run can be extended, and folders can be moved.
    Ok(first_difference(&stored_config(path)?, config, &["epochs", "out", "data"]))
}

/// The first key, dotted, whose value differs, ignoring the keys in `apart`.
pub(super) fn first_difference(stored: &Table, given: &Table, apart: &[&str]) -> Option<String> {
    let keys = stored.keys().chain(given.keys().filter(|key| !stored.contains_key(*key)));
    for key in keys.filter(|key| !apart.contains(&key.as_str())) {
        match (stored.get(key), given.get(key)) {
            (Some(toml::Value::Table(a)), Some(toml::Value::Table(b))) => {
                if let Some(inner) = first_difference(a, b, apart) {
                    return Some(format!("{key}.{inner}"));
                }
            }
            (a, b) if a == b => {}
            _ => return Some(key.clone()),
        }
    }
    None
}

/// The lines of the log; empty before the first epoch is finished.
fn read_log(path: &Path) -> Result<Vec<EpochRecord>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = limits::read_text(path)?;
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(Error::from_source).at(format!("line {}", number + 1)).at(path.display())
    };
    text.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use segcal_data::output::Number;

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
            hashes: Link::default(),
        }
    }

    fn add(run: &mut RunFolder, epoch: usize, dsc: f64) -> Link {
        let (batches, weights) = (format!("batches {epoch}"), format!("weights {epoch}"));
        let hashes = Link { batches, weights, ..Link::default() };
        run.record(EpochRecord { hashes, ..record(epoch, dsc) }).unwrap()
    }

    /// Any CSV reader recovers the name of a structure, whatever characters it contains.
    #[test]
    fn names_with_commas_stay_one_column() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(&folder.path().join("run"), &Table::new()).unwrap();
        let named = EpochRecord { dsc_by_structure: vec![("a, \"b\"".into(), Number(0.5))], ..record(1, 0.5) };
        run.record(named).unwrap();
        let text = std::fs::read_to_string(folder.path().join("run/metrics.csv")).unwrap();
        assert_eq!(text, "epoch,learning_rate,loss,ce,dsc,ece,\"dsc:a, \"\"b\"\"\"\n1,0.001,0.5,0.25,0.5,0.1,0.5\n");
    }

    #[test]
    fn later_epochs_are_dropped_on_resuming_and_a_run_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let config: Table = "epochs = 2\n[loss]\nname = \"ce\"".parse().unwrap();
        let mut run = RunFolder::create(&path, &config).unwrap();
        let first = add(&mut run, 1, 0.5);
        assert!(run.newest_is_best());
        add(&mut run, 2, 0.4);
        assert!(!run.newest_is_best());
        drop(run);
        assert!(RunFolder::create(&path, &config).err().unwrap().to_string().contains("--resume"));
        std::fs::write(path.join(".segcal-x.part"), "half").unwrap();
        let mut run = RunFolder::resume(&path, &config).unwrap();
        assert!(!path.join(".segcal-x.part").exists());
        run.expect_epochs(1, &first).unwrap();
        run.go_on_after(1, &config).unwrap();
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
        add(&mut RunFolder::create(&path, &config).unwrap(), 1, 0.5);
        let other: Table = "epochs = 2\n[loss]\nname = \"nacl\"".parse().unwrap();
        assert!(RunFolder::resume(&path, &other).err().unwrap().to_string().contains("another loss.name"));
        let longer: Table = "epochs = 9\n[loss]\nname = \"ce\"".parse().unwrap();
        assert_eq!(RunFolder::resume(&path, &longer).unwrap().records().len(), 1);
    }

    #[test]
    fn a_log_that_was_changed_is_found_and_the_epoch_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let config = Table::new();
        let mut run = RunFolder::create(&path, &config).unwrap();
        let links = [0.5, 0.25, 0.75].iter().zip(1..).map(|(&dsc, epoch)| add(&mut run, epoch, dsc));
        let links: Vec<Link> = links.collect();
        drop(run);
        let log = path.join(LOG);
        let whole = std::fs::read_to_string(&log).unwrap();
        let message = |text: &str, done: usize, link: &Link| {
            std::fs::write(&log, text).unwrap();
            let outcome = RunFolder::resume(&path, &config).unwrap().expect_epochs(done, link);
            outcome.err().map(|error| error.to_string()).unwrap_or_default()
        };
        let lines: Vec<&str> = whole.lines().collect();
        let changed = message(&whole.replace("0.25,\"dsc_by", "0.26,\"dsc_by"), 3, &links[2]);
        assert!(changed.contains(LOG) && changed.contains("epoch 2: the line does not fit"), "{changed}");
        let cut = message(&lines[..2].join("\n"), 3, &links[2]);
        assert!(cut.contains("epoch 3: there is no line"), "{cut}");
        let dropped = message(&[lines[0], lines[2]].join("\n"), 2, &links[1]);
        assert!(dropped.contains("epoch 2: the line does not fit"), "{dropped}");
        let foreign = message(&whole, 2, &links[0]);
        assert!(foreign.contains("epoch 2: the hashes are not those of last.safetensors"), "{foreign}");
        assert_eq!(message(&whole, 3, &links[2]), "");
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

    #[cfg(unix)]
    #[test]
    fn a_lock_that_is_a_link_is_refused_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (run, other) = (folder.path().join("run"), folder.path().join("other"));
        std::fs::create_dir(&run).unwrap();
        std::fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, run.join(".lock")).unwrap();
        let refused = RunFolder::create(&run, &Table::new()).err().unwrap().to_string();
        assert!(refused.contains(".lock") && refused.contains("symbolic link"), "{refused}");
        assert_eq!(std::fs::read_to_string(other).unwrap(), "precious");
    }
}
