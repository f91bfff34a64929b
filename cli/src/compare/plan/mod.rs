//! The plan: a TOML file that says which trainings are compared, and how.

mod arms;
mod keys;
mod methods;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result, nearest};
use segcal_data::config;
use segcal_evaluate::calibrate::map::Method as Map;
use segcal_metrics::empty::Policy;
use segcal_metrics::metric::Metric;
use toml::{Table, Value};

pub use arms::{Arm, Measuring};
pub use methods::{Method, Select, Trial, plain};

/// A comparison, resolved.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Output folder.
    pub out: PathBuf,
    /// Seeds of the trainings of each method.
    pub seeds: Vec<u64>,
    /// Folds on which each training is repeated, with all held-out cases evaluated together; empty if the data set has
    /// only one split.
    pub folds: Vec<usize>,
    /// Standard deviations of the noise, ascending; the first is 0.
    pub noise: Vec<f64>,
    /// Metrics to compare.
    pub metrics: Vec<&'static Metric>,
    /// Region of the calibration metrics.
    pub region: String,
    /// How empty masks are scored.
    pub empty: Policy,
    /// Maps that are fitted on the validation part.
    pub calibrate: Vec<Map>,
    /// Each data set with each network.
    pub arms: Vec<Arm>,
    /// Methods to compare, in the order of the plan.
    pub methods: Vec<Method>,
    /// The case, and its slice, of the figure that shows one subject.
    pub subject: (Option<String>, Option<usize>),
    /// The plan as a file.
    pub resolved: Table,
}

fn defaults() -> Table {
    let text = "out = \"\"\nseeds = [0]\nfolds = []\nnoise = [0.0]\nmetrics = [\"dsc\", \"hd95_max\", \"ece\", \"cece_mean\"]\n\
                region = \"foreground\"\nempty = \"nan\"\ncalibrate = []\nnetworks = []\nselect = \"dataset\"\nmethod = []\n\
                dataset = []\n[train]\n[evaluate]\n[regions]\n[subject]\n";
    text.parse().expect("the defaults are valid TOML")
}

/// Tables of a plan whose keys are checked where they are read.
const OPEN: [&str; 4] = ["train", "evaluate", "regions", "subject"];

impl Plan {
    /// Reads a plan; `overrides` (`key=value`) override the keys of its `[train]`, and `out` overrides its own `out`.
    ///
    /// # Errors
    /// The file cannot be read, a key is unknown (the message names the nearest one) or out of its range.
    pub fn read(path: &Path, overrides: &[String], out: Option<&Path>) -> Result<Self> {
        let mut table = defaults();
        config::lay(&mut table, config::read(path)?, "", &OPEN).at(path.display())?;
        if let Some(out) = out {
            table.insert("out".into(), out.display().to_string().into());
        } else if table["out"].as_str() == Some("") {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            table.insert("out".into(), format!("runs/{stem}").into());
        }
        let plan = Self::of(table, path, overrides).at(path.display())?;
        // A path that is not valid UTF-8 is kept as it is.
        Ok(Self { out: out.map_or(plan.out, Path::to_path_buf), ..plan })
    }

    fn of(mut table: Table, path: &Path, overrides: &[String]) -> Result<Self> {
        let base = keys::base(&table, path, overrides)?;
        let arms = arms::arms(&table)?;
        let methods = methods::methods(&table, &base, &arms)?;
        let metrics: Vec<String> = keys::texts(&table, "metrics")?;
        let region = keys::text(&table, "region");
        check_region(&region).at("region")?;
        let empty = keys::text(&table, "empty");
        let names = || Policy::ALL.map(Policy::name).join(", ");
        let policy = Policy::named(&empty).ok_or_else(|| Error::new(format!("{empty} is not one of {}", names())));
        let plan = Self {
            out: keys::text(&table, "out").into(),
            seeds: keys::seeds(&table).at("seeds")?,
            folds: keys::folds(&table).at("folds")?,
            noise: keys::noise(&table).at("noise")?,
            metrics: segcal_evaluate::methods::metrics(&metrics)?,
            region,
            empty: policy.at("empty")?,
            calibrate: maps(&table)?,
            arms,
            methods,
            subject: subject(&table).at("subject")?,
            resolved: Table::new(),
        };
        if plan.metrics.is_empty() {
            return Err(Error::new("is empty").at("metrics").help("segcal list metrics shows all"));
        }
        plan.expect_no_choice().at("folds")?;
        if plan.folds.is_empty() {
            table.remove("folds");
        }
        table.insert("noise".into(), plan.noise.iter().map(|&level| Value::Float(level)).collect::<Vec<_>>().into());
        table.insert("train".into(), Value::Table(keys::shown(base)));
        table.retain(|_, value| value.as_table().is_none_or(|table| !table.is_empty()));
        Ok(Self { resolved: table, ..plan })
    }

    /// Refuses folds together with anything chosen on the validation part: with folds, that part is evaluated.
    fn expect_no_choice(&self) -> Result<()> {
        let chosen = !self.calibrate.is_empty() || self.methods.iter().any(Method::has_grid);
        if self.folds.is_empty() || !chosen {
            return Ok(());
        }
        let error = Error::new("grids and maps are chosen on the held-out cases, which the folds use for evaluation");
        Err(error.help("remove folds, or grid and calibrate"))
    }

    /// The training config of a method's first trial on an arm.
    pub fn settings(&self, arm: usize) -> &segcal_train::settings::Settings {
        &self.methods[0].trials[0].settings[arm]
    }

    /// Whether it has several data sets or networks.
    pub fn is_wide(&self) -> bool {
        self.arms.iter().any(|arm| !arm.name().is_empty())
    }
}

fn maps(table: &Table) -> Result<Vec<Map>> {
    let names = keys::texts(table, "calibrate")?;
    keys::expect_once(names.iter(), "calibrate")?;
    let map = |name: &String| {
        let found = Map::ALL.into_iter().find(|map| map.name() == name);
        found.ok_or_else(|| {
            let known = Map::ALL.map(Map::name).join(", ");
            Error::new(format!("unknown map {name}")).at("calibrate").help(format!("expected one of {known}"))
        })
    };
    names.iter().map(map).collect()
}

fn subject(table: &Table) -> Result<(Option<String>, Option<usize>)> {
    let given = table["subject"].as_table().expect("laid over a table");
    if let Some(key) = given.keys().find(|key| !["case", "slice"].contains(&key.as_str())) {
        return Err(Error::new("unknown config key").at(key).help("known here: case, slice"));
    }
    let case = given.get("case").map(|value| value.as_str().map(str::to_owned).ok_or("case"));
    let slice =
        given.get("slice").map(|value| value.as_integer().and_then(|slice| slice.try_into().ok()).ok_or("slice"));
    let wrong = |key: &str| {
        Error::new("invalid value").at(key).help("for example subject = { case = \"patient_007\", slice = 12 }")
    };
    Ok((case.transpose().map_err(wrong)?, slice.transpose().map_err(wrong)?))
}

fn check_region(name: &str) -> Result<()> {
    const NAMES: [&str; 4] = ["all", "foreground", "union", "boundary"];
    // For a region of the data set that is a separate problem: whole/all.
    let name = name.rsplit_once('/').map_or(name, |(_, region)| region);
    let label = name.strip_prefix("structure:").is_some_and(|label| label.parse::<u16>().is_ok());
    if label || NAMES.contains(&name) {
        return Ok(());
    }
    let error = Error::new(format!("unknown region {name}"));
    Err(match nearest(name, NAMES) {
        Some(near) => error.help(format!("did you mean {near}?")),
        None => error.help(format!("expected one of {}, structure:1, structure:2 …", NAMES.join(", "))),
    })
}
