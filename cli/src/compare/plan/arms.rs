//! What every method is trained and measured on: each data set with each network.

use std::path::PathBuf;

use segcal_core::{Context, Error, Result};
use segcal_data::config;
use segcal_evaluate::cohort::Convention;
use segcal_evaluate::settings::Settings as Evaluation;
use segcal_evaluate::state::Unions;
use toml::{Table, Value};

use super::keys;

/// One data set with one network.
#[derive(Clone, Debug)]
pub struct Arm {
    /// Name of the data set; empty if the plan has only one.
    pub dataset: String,
    /// Index of the first arm that has the same data set.
    pub cases_of: usize,
    /// Name of the network; empty if the plan has only one.
    pub network: String,
    /// How its predictions are measured.
    pub measuring: Measuring,
    /// The keys of a training config in which it differs from the plan's `[train]`, in the order in which they are
    /// applied.
    pub keys: Vec<Table>,
}

/// How predictions are measured, apart from the rule for empty masks.
#[derive(Clone, Debug, PartialEq)]
pub struct Measuring {
    /// Bins, tolerance, band and regions.
    pub settings: Evaluation,
    /// Whether lengths are in voxels.
    pub voxel_units: bool,
    /// Which definitions.
    pub convention: Convention,
}

impl Arm {
    /// `hippocampus unet`; empty if there is only one arm.
    pub fn name(&self) -> String {
        [&self.dataset, &self.network]
            .into_iter()
            .filter(|name| !name.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Its folders below that of a method.
    pub fn folder(&self) -> PathBuf {
        [&self.dataset, &self.network].into_iter().filter(|name| !name.is_empty()).collect()
    }
}

impl Measuring {
    /// As recorded in the mark of an evaluation; `None` for the defaults.
    pub fn mark(&self) -> Option<String> {
        (*self != Self::default()).then(|| self.to_table().to_string())
    }

    fn to_table(&self) -> Table {
        let mut table = Table::try_from(&self.settings).expect("settings are a table");
        table.insert("voxel_units".into(), self.voxel_units.into());
        table.insert("convention".into(), self.convention.name().into());
        table
    }

    /// The plan's `evaluate` and `regions`.
    fn of(given: &Table, regions: &Table) -> Result<Self> {
        let mut table = Self::default().to_table();
        table.remove("regions");
        config::lay(&mut table, given.clone(), "", &[]).at("evaluate")?;
        let convention = keys::text(&table, "convention");
        let names = || Convention::ALL.map(Convention::name).join(", ");
        let convention = Convention::ALL
            .into_iter()
            .find(|known| known.name() == convention)
            .ok_or_else(|| Error::new(format!("{convention} is not one of {}", names())).at("evaluate.convention"))?;
        let voxel_units = table["voxel_units"].as_bool().expect("laid over a truth value");
        ["voxel_units", "convention"].into_iter().for_each(|key| drop(table.remove(key)));
        table.insert("regions".into(), Value::Table(Table::new()));
        let mut settings: Evaluation = config::from_table(table).at("evaluate")?;
        settings.regions = unions(regions)?;
        let kind = segcal_evaluate::state::Prediction::Scores(segcal_evaluate::scores::Scores::Probabilities);
        settings.clone().measure(kind, voxel_units).at("evaluate")?;
        Ok(Self { settings, voxel_units, convention })
    }
}

impl Default for Measuring {
    fn default() -> Self {
        Self { settings: Evaluation::default(), voxel_units: false, convention: Convention::Segcal }
    }
}

fn unions(table: &Table) -> Result<Unions> {
    config::from_table(table.clone()).at("regions")
}

/// Every data set with every network, grouped by data set.
pub(super) fn arms(table: &Table) -> Result<Vec<Arm>> {
    let (given, regions) = (table["evaluate"].as_table(), table["regions"].as_table());
    let shared = Measuring::of(given.expect("laid over a table"), regions.expect("laid over a table"))?;
    let datasets = datasets(table, &shared)?;
    let networks = networks(table)?;
    let mut arms = Vec::with_capacity(datasets.len() * networks.len());
    for (dataset, measuring, own) in &datasets {
        let cases_of = arms.len();
        for (network, more) in &networks {
            let (dataset, network, measuring) = (dataset.clone(), network.clone(), measuring.clone());
            // A data set may override single keys of every network, so it is applied last.
            let keys = vec![more.clone(), own.clone()];
            arms.push(Arm { dataset, cases_of, network, measuring, keys });
        }
    }
    Ok(arms)
}

type Named = (String, Measuring, Table);

fn datasets(table: &Table, shared: &Measuring) -> Result<Vec<Named>> {
    let items = table["dataset"].as_array().expect("laid over a list");
    if items.is_empty() {
        return Ok(vec![(String::new(), shared.clone(), Table::new())]);
    }
    let one = |(number, item): (usize, &Value)| {
        let place = format!("dataset {}", number + 1);
        let keys = item.as_table().ok_or_else(|| Error::new("is not a table").help("write [[dataset]]")).at(&place)?;
        dataset(keys.clone(), shared).at(place)
    };
    let found: Vec<Named> = items.iter().enumerate().map(one).collect::<Result<_>>()?;
    keys::expect_once(found.iter().map(|(name, ..)| name), "dataset")?;
    Ok(found)
}

fn dataset(mut own: Table, shared: &Measuring) -> Result<Named> {
    let name = keys::take_name(&mut own, "hippocampus")?;
    keys::refuse_given(&own).at(&name)?;
    if !own.contains_key("data") {
        return Err(Error::new("is missing").at("data").at(&name).help("set it to the folder of the data set"));
    }
    let mut measuring = shared.clone();
    match own.remove("regions") {
        None => {}
        Some(Value::Table(regions)) => measuring.settings.regions = unions(&regions).at(&name)?,
        Some(other) => {
            let error = Error::new(format!("{other} is not a table")).at("regions").at(&name);
            return Err(error.help("for example regions = { whole = [1, 2] }"));
        }
    }
    Ok((name, measuring, own))
}

/// Each network's name and its keys.
fn networks(table: &Table) -> Result<Vec<(String, Table)>> {
    let items = table["networks"].as_array().expect("laid over a list");
    if items.is_empty() {
        return Ok(vec![(String::new(), Table::new())]);
    }
    let one = |item: &Value| match item {
        Value::String(name) => Ok((name.clone(), Table::from_iter([("name".to_owned(), item.clone())]))),
        Value::Table(network) => {
            let mut network = network.clone();
            let label = network.remove("label").or_else(|| network.get("name").cloned());
            match label {
                Some(Value::String(label)) => Ok((label, network)),
                _ => Err(Error::new("has no name").help("for example { name = \"unet\", levels = 3 }")),
            }
        }
        other => Err(Error::new(format!("{other} is not a network")).help("for example [\"unet\", \"resunet\"]")),
    };
    let found: Vec<(String, Table)> = items.iter().map(one).collect::<Result<_>>().at("networks")?;
    found.iter().try_for_each(|(name, _)| keys::check_name(name)).at("networks")?;
    keys::expect_once(found.iter().map(|(name, _)| name), "networks")
        .map_err(|error| error.help("give a label in addition to the name"))?;
    let wrapped =
        |(name, keys): (String, Table)| (name, Table::from_iter([("network".to_owned(), Value::Table(keys))]));
    Ok(found.into_iter().map(wrapped).collect())
}
