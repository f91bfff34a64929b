//! The methods of a plan: what they train with, and which values of their grid are tried.

use segcal_core::{Context, Error, Result};
use segcal_data::config;
use segcal_train::settings::{OPEN, Settings};
use toml::{Table, Value};

use super::arms::Arm;
use super::keys::{self, lay};

/// Keys of a training config that all methods share: they are compared on the same cases.
const SHARED: [&str; 2] = ["data", "fold"];
/// The most grid points; a plan with more is taken for a mistake.
const MOST_TRIALS: usize = 200;

/// One way to train.
#[derive(Clone, Debug)]
pub struct Method {
    /// Its name, and that of its folder.
    pub name: String,
    /// The keys in which it differs from the plan's `[train]`.
    pub keys: Table,
    /// The scope for which one grid value is chosen.
    pub select: Select,
    /// The trials: one without a name, or one for each point of the grid.
    pub trials: Vec<Trial>,
}

/// The scope for which the best value of a grid is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// Each data set with each network separately.
    Dataset,
    /// One value for all of them.
    All,
}

impl Select {
    const ALL: [(&str, Self); 2] = [("dataset", Self::Dataset), ("all", Self::All)];

    pub(super) fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, select)| select);
        found.ok_or_else(|| Error::new(format!("{name} is not one of dataset, all")).at("select"))
    }

    /// Its name in a plan.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::All => "all",
        }
    }
}

/// One point of a method's grid.
#[derive(Clone, Debug)]
pub struct Trial {
    /// `lambda-0.1`; empty without a grid.
    pub name: String,
    /// The keys of the grid with their values here.
    pub values: Vec<(String, Value)>,
    /// The training config on each arm; seed and folder are those of a run.
    pub settings: Vec<Settings>,
}

impl Method {
    /// Whether there are values to choose from.
    pub fn has_grid(&self) -> bool {
        self.trials.len() > 1
    }
}

/// The methods: the keys of each override those of each arm, which override the shared ones.
pub(super) fn methods(table: &Table, base: &Table, arms: &[Arm]) -> Result<Vec<Method>> {
    let items = table["method"].as_array().expect("laid over a list");
    let select = Select::named(&keys::text(table, "select"))?;
    let networks = !table["networks"].as_array().expect("laid over a list").is_empty();
    let one = |(number, item): (usize, &Value)| {
        let place = format!("method {}", number + 1);
        let keys = item.as_table().ok_or_else(|| Error::new("is not a table").help("write [[method]]")).at(&place)?;
        Reading { base, arms, select, networks }.method(keys.clone()).at(place)
    };
    let found: Vec<Method> = items.iter().enumerate().map(one).collect::<Result<_>>()?;
    keys::expect_once(found.iter().map(|method| &method.name), "method")?;
    if found.is_empty() {
        let example = "write [[method]] with a name and, for example, loss = { name = \"nacl\", lambda = 0.1 }";
        return Err(Error::new("the plan lists no methods").at("method").help(example));
    }
    Ok(found)
}

struct Reading<'a> {
    base: &'a Table,
    arms: &'a [Arm],
    select: Select,
    networks: bool,
}

impl Reading<'_> {
    fn method(&self, mut keys: Table) -> Result<Method> {
        let name = keys::take_name(&mut keys, "nacl")?;
        let select = match keys.remove("select") {
            None => self.select,
            Some(value) => Select::named(value.as_str().unwrap_or_default()).at(&name)?,
        };
        let points = match keys.remove("grid") {
            None => vec![Vec::new()],
            Some(grid) => points(&grid).at("grid").at(&name)?,
        };
        keys::refuse_given(&keys).at(&name)?;
        self.refuse_shared(&keys).at(&name)?;
        let trial = |values: Vec<(String, Value)>| self.trial(&keys, values).at(&name);
        let trials = points.into_iter().map(trial).collect::<Result<_>>()?;
        Ok(Method { name, keys, select, trials })
    }

    fn refuse_shared(&self, keys: &Table) -> Result<()> {
        if let Some(key) = SHARED.iter().find(|key| keys.contains_key(**key)) {
            let error = Error::new("must be the same for all methods").at(key);
            return Err(error.help("set it in [train], or write a [[dataset]] for each value"));
        }
        if self.networks && keys.contains_key("network") {
            let error = Error::new("is already set by the plan's networks").at("network");
            return Err(error.help("remove it here, or remove the plan's networks"));
        }
        Ok(())
    }

    fn trial(&self, keys: &Table, values: Vec<(String, Value)>) -> Result<Trial> {
        let mut over = Table::new();
        for (key, value) in &values {
            let nested = config::parse_override(&format!("{}={value}", full(key)))?;
            config::lay(&mut over, nested.clone(), "", &["", "loss", "optimiser", "network", "schedule"])?;
        }
        let settings = |arm: &Arm| {
            let mut table = self.base.clone();
            for keys in arm.keys.iter().chain([keys, &over]) {
                lay(&mut table, keys.clone())?;
            }
            let settings = Settings::from_stored(table)?;
            settings.expect_data()?;
            Ok(settings)
        };
        let on = |arm: &Arm| if arm.name().is_empty() { settings(arm) } else { settings(arm).at(arm.name()) };
        let settings = self.arms.iter().map(on).collect::<Result<_>>()?;
        let named = values.iter().map(|(key, value)| format!("{key}-{}", plain(value)));
        let name = named.collect::<Vec<_>>().join("-");
        if !name.is_empty() {
            keys::check_name(&name).at("grid")?;
        }
        Ok(Trial { name, values, settings })
    }
}

/// A key of a grid as a key of a training config: a plain one is a parameter of the loss.
fn full(key: &str) -> String {
    let known = Settings::known_keys();
    let parameters = OPEN.contains(&key) && key != "augment";
    if key.contains('.') || (known.contains_key(key) && !parameters) { key.into() } else { format!("loss.{key}") }
}

/// A value as part of a folder's name and of a table.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Every point of a grid: each value of the first key with each of the second, and so on.
fn points(grid: &Value) -> Result<Vec<Vec<(String, Value)>>> {
    let example = "for example grid = { lambda = [0.05, 0.1, 0.2] }";
    let keys = grid.as_table().filter(|keys| !keys.is_empty());
    let keys = keys.ok_or_else(|| Error::new(format!("expected a table of lists, got {grid}")).help(example))?;
    let mut points = vec![Vec::new()];
    for (key, values) in keys {
        let values = values.as_array().filter(|values| !values.is_empty());
        let values = values.ok_or_else(|| Error::new("is not a list of values").at(key).help(example))?;
        let with = |point: &Vec<(String, Value)>| {
            let own = |value: &Value| point.iter().cloned().chain([(key.clone(), value.clone())]).collect::<Vec<_>>();
            values.iter().map(own).collect::<Vec<_>>()
        };
        points = points.iter().flat_map(with).collect();
        if points.len() > MOST_TRIALS {
            return Err(Error::new(format!("has more than {MOST_TRIALS} points")));
        }
    }
    let shown: Vec<String> = points.iter().map(|point| format!("{point:?}")).collect();
    if shown.iter().enumerate().any(|(number, point)| shown[..number].contains(point)) {
        return Err(Error::new("contains a value twice"));
    }
    Ok(points)
}
