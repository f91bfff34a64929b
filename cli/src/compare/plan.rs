//! The plan: a TOML file that says which trainings are compared, and how.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use segcal_core::{Context, Error, Result, nearest};
use segcal_metrics::empty::Policy;
use segcal_metrics::metric::Metric;
use toml::{Table, Value};

use segcal_data::config;
use segcal_evaluate::methods;
use segcal_train::settings::{OPEN, Settings};

/// A comparison, resolved.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Folder of everything it makes.
    pub out: PathBuf,
    /// Seeds of the trainings of each method.
    pub seeds: Vec<u64>,
    /// Standard deviations of the noise, ascending; the first is 0.
    pub noise: Vec<f64>,
    /// What is compared.
    pub metrics: Vec<&'static Metric>,
    /// Region of the calibration metrics.
    pub region: String,
    /// What an empty mask counts.
    pub empty: Policy,
    /// What is compared, in the order of the plan.
    pub methods: Vec<Method>,
    /// The plan as a file.
    pub resolved: Table,
}

/// One way to train.
#[derive(Clone, Debug)]
pub struct Method {
    /// Its name, and that of its folder.
    pub name: String,
    /// The keys in which it differs from the plan's `[train]`.
    pub keys: Table,
    /// Its training config; seed and folder are those of a run.
    pub settings: Settings,
}

/// Keys of a training config that the plan itself gives, and by which of its own.
const GIVEN: [(&str, &str); 2] =
    [("seed", "the plan's key seeds gives the seeds"), ("out", "the plan's key out gives the folder")];
/// Keys of a training config that all methods share: they are compared on the same cases.
const SHARED: [&str; 2] = ["data", "fold"];
/// Names in the folder of a comparison that are not those of methods.
const RESULTS: [&str; 6] = ["plan.toml", "plots", "report.html", "results.csv", "summary.csv", "summary.json"];

fn defaults() -> Table {
    let text = "out = \"\"\nseeds = [0]\nnoise = [0.0]\nmetrics = [\"dsc\", \"hd95_max\", \"ece\", \"cece_mean\"]\n\
                region = \"foreground\"\nempty = \"nan\"\nmethod = []\n[train]\n";
    text.parse().expect("the defaults are valid TOML")
}

impl Plan {
    /// Reads a plan; `overrides` (`key=value`) are laid onto its `[train]`, `out` goes before its own.
    ///
    /// # Errors
    /// The file cannot be read, a key is unknown (the message names the nearest one) or out of its range.
    pub fn read(path: &Path, overrides: &[String], out: Option<&Path>) -> Result<Self> {
        let mut table = defaults();
        config::lay(&mut table, config::read(path)?, "", &["train"]).at(path.display())?;
        if let Some(out) = out {
            table.insert("out".into(), out.display().to_string().into());
        } else if table["out"].as_str() == Some("") {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            table.insert("out".into(), format!("runs/{stem}").into());
        }
        let plan = Self::of(table, path, overrides).at(path.display())?;
        // A path that is no text stays what it is.
        Ok(Self { out: out.map_or(plan.out, Path::to_path_buf), ..plan })
    }

    fn of(mut table: Table, path: &Path, overrides: &[String]) -> Result<Self> {
        let base = base(&table, path, overrides)?;
        let methods = methods_of(&table, &base)?;
        let metrics: Vec<String> = texts(&table, "metrics")?;
        let region = text(&table, "region");
        check_region(&region).at("region")?;
        let empty = text(&table, "empty");
        let names = || Policy::ALL.map(Policy::name).join(", ");
        let policy = Policy::named(&empty).ok_or_else(|| Error::new(format!("{empty} is none of {}", names())));
        let plan = Self {
            out: text(&table, "out").into(),
            seeds: seeds(&table).at("seeds")?,
            noise: noise(&table).at("noise")?,
            metrics: methods::metrics(&metrics)?,
            region,
            empty: policy.at("empty")?,
            methods,
            resolved: Table::new(),
        };
        if plan.metrics.is_empty() {
            return Err(Error::new("is empty").at("metrics").help("segcal list metrics shows all"));
        }
        table.insert("noise".into(), plan.noise.iter().map(|&level| Value::Float(level)).collect::<Vec<_>>().into());
        let shown = base.into_iter().filter(|(key, _)| GIVEN.iter().all(|(given, _)| given != key));
        table.insert("train".into(), Value::Table(shown.collect()));
        Ok(Self { resolved: table, ..plan })
    }
}

fn text(table: &Table, key: &str) -> String {
    table[key].as_str().expect("laid over a text").to_owned()
}

fn texts(table: &Table, key: &str) -> Result<Vec<String>> {
    let items = table[key].as_array().expect("laid over a list").iter();
    let found: Option<Vec<String>> = items.map(|item| item.as_str().map(str::to_owned)).collect();
    found.ok_or_else(|| Error::new("is no list of names").at(key))
}

fn seeds(table: &Table) -> Result<Vec<u64>> {
    let items = table["seeds"].as_array().expect("laid over a list").iter();
    let found: Option<Vec<u64>> = items.map(|item| item.as_integer()?.try_into().ok()).collect();
    let found = found.ok_or_else(|| Error::new("a seed is a whole number of at least 0"))?;
    if found.is_empty() || found.iter().collect::<BTreeSet<_>>().len() < found.len() {
        return Err(Error::new("is empty or holds a seed twice").help("for example seeds = [1, 2, 3]"));
    }
    Ok(found)
}

/// The levels in ascending order; 0 is always measured.
fn noise(table: &Table) -> Result<Vec<f64>> {
    let items = table["noise"].as_array().expect("laid over a list").iter();
    let mut levels: Vec<f64> = items.filter_map(Value::as_float).collect();
    if let Some(bad) = levels.iter().find(|level| !(level.is_finite() && **level >= 0.0)) {
        return Err(Error::new(format!("{bad} is no standard deviation")).help("images are scaled to [0, 1]: try 0.05"));
    }
    levels.push(0.0);
    levels.sort_by(f64::total_cmp);
    levels.dedup_by(|a, b| *a == *b);
    // Of 0 and -0 one is left, whichever.
    levels[0] = 0.0;
    Ok(levels)
}

fn check_region(name: &str) -> Result<()> {
    const NAMES: [&str; 4] = ["all", "foreground", "union", "boundary"];
    let label = name.strip_prefix("structure:").is_some_and(|label| label.parse::<u16>().is_ok());
    if label || NAMES.contains(&name) {
        return Ok(());
    }
    let error = Error::new(format!("there is no region {name}"));
    Err(match nearest(name, NAMES) {
        Some(near) => error.help(format!("did you mean {near}?")),
        None => error.help(format!("known are {}, structure:1, structure:2 …", NAMES.join(", "))),
    })
}

/// The training config that the methods share: defaults, `config`, the keys of `[train]`, and the overrides.
fn base(table: &Table, path: &Path, overrides: &[String]) -> Result<Table> {
    let mut base = Settings::default().to_table();
    let mut train = table["train"].as_table().expect("laid over a table").clone();
    match train.remove("config") {
        None => {}
        Some(Value::String(name)) => {
            let file = path.parent().unwrap_or(Path::new("")).join(name);
            lay(&mut base, config::read(&file)?).at(file.display()).at("train.config")?;
        }
        Some(other) => return Err(Error::new(format!("{other} is no file name")).at("train.config")),
    }
    for (place, over) in std::iter::once(Ok(("train".to_owned(), train)))
        .chain(overrides.iter().map(|entry| Ok((entry.clone(), config::parse_override(entry)?))))
        .collect::<Result<Vec<_>>>()?
    {
        refuse_given(&over).at(&place)?;
        lay(&mut base, over).at(&place)?;
    }
    Ok(base)
}

fn refuse_given(table: &Table) -> Result<()> {
    match GIVEN.iter().find(|(key, _)| table.contains_key(*key)) {
        Some((key, remedy)) => Err(Error::new("is not given here").at(key).help(*remedy)),
        None => Ok(()),
    }
}

/// Lays keys of a training config over another. Where they name another loss, network, optimiser or schedule, the
/// parameters of the one before go, but for those that all of them have.
fn lay(base: &mut Table, over: Table) -> Result<()> {
    let defaults = Settings::default().to_table();
    for key in OPEN {
        let known = defaults[key].as_table().expect("an open table is a table");
        if let (Some(Value::Table(old)), Some(Value::Table(new))) = (base.get_mut(key), over.get(key))
            && new.get("name").is_some_and(|name| Some(name) != old.get("name"))
        {
            old.retain(|parameter, _| known.contains_key(parameter));
        }
    }
    config::lay(base, over, "", &OPEN)
}

fn methods_of(table: &Table, base: &Table) -> Result<Vec<Method>> {
    let items = table["method"].as_array().expect("laid over a list");
    let mut found: Vec<Method> = Vec::with_capacity(items.len());
    for (number, item) in items.iter().enumerate() {
        let place = format!("method {}", number + 1);
        let keys = item.as_table().ok_or_else(|| Error::new("is no table").at(&place).help("write [[method]]"))?;
        let method = method_of(keys.clone(), base).at(place)?;
        if found.iter().any(|other| other.name == method.name) {
            return Err(Error::new(format!("the name {} is there twice", method.name)).at("method"));
        }
        found.push(method);
    }
    if found.is_empty() {
        let example = "write [[method]] with a name and, for example, loss = { name = \"nacl\", lambda = 0.1 }";
        return Err(Error::new("there is none").at("method").help(example));
    }
    Ok(found)
}

fn method_of(mut keys: Table, base: &Table) -> Result<Method> {
    let name = match keys.remove("name") {
        Some(Value::String(name)) => name,
        Some(other) => return Err(Error::new(format!("{other} is no text")).at("name")),
        None => return Err(Error::new("is missing").at("name").help("for example name = \"nacl\"")),
    };
    check_name(&name).at("name")?;
    refuse_given(&keys).at(&name)?;
    if let Some(key) = SHARED.iter().find(|key| keys.contains_key(**key)) {
        let error = Error::new("is the same for all methods").at(key).at(&name);
        return Err(error.help("give it in [train]; compare other data in another plan"));
    }
    let mut table = base.clone();
    lay(&mut table, keys.clone()).at(&name)?;
    let settings = Settings::from_stored(table).at(&name)?;
    settings.expect_data().at(&name)?;
    Ok(Method { name, keys, settings })
}

/// A method has a folder of its name.
fn check_name(name: &str) -> Result<()> {
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    if !plain || name.starts_with('.') || name.contains(['/', '\\']) || RESULTS.contains(&name) {
        let error = Error::new(format!("\"{name}\" cannot name a folder of its own"));
        return Err(error.help("use letters, digits, - and _"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, overrides: &[&str]) -> Result<Plan> {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        file("plan.toml", text);
        file("base.toml", "epochs = 5\nseed = 9\n[loss]\nname = \"nacl\"\nlambda = 0.3\nconvention = \"paper\"\n");
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Plan::read(&folder.path().join("plan.toml"), &overrides, None)
    }

    const TWO: &str = "noise = [0.1, 0.05]\n[train]\nconfig = \"base.toml\"\ndata = \"d\"\nbatch = 3\n\
                       [[method]]\nname = \"a\"\nloss = { name = \"ce\" }\n\
                       [[method]]\nname = \"b\"\nloss.lambda = 0.5\n";

    #[test]
    fn a_method_is_laid_over_what_all_share() {
        let plan = plan(TWO, &["batch=7"]).unwrap();
        assert_eq!((&plan.noise[..], &plan.seeds[..]), (&[0.0, 0.05, 0.1][..], &[0][..]));
        assert_eq!(plan.out, Path::new("runs/plan"));
        let [a, b] = &plan.methods[..] else { panic!("two methods") };
        assert_eq!((a.settings.epochs, a.settings.batch), (5, 7));
        // Another loss brings its own parameters; the convention is everyone's.
        assert_eq!(a.settings.loss.to_string(), "name = \"ce\"\nconvention = \"paper\"\n");
        assert_eq!((b.settings.loss["lambda"].as_float(), b.settings.loss["name"].as_str()), (Some(0.5), Some("nacl")));
    }

    #[test]
    fn mistakes_are_named() {
        let message = |text: &str, overrides: &[&str]| plan(text, overrides).unwrap_err().to_string();
        let changed = |from: &str, to: &str| message(&TWO.replace(from, to), &[]);
        assert!(changed("noise =", "nois =").contains("nois: is no key of the config (did you mean noise?)"));
        assert!(changed("batch =", "bach =").contains("train: bach: is no key of the config (did you mean batch?)"));
        assert!(changed("loss.lambda", "lss.lambda").contains("method 2: b: lss: is no key"));
        assert!(changed("base.toml", "none.toml").contains("none.toml"));
        assert!(changed("\"b\"", "\"a\"").contains("the name a is there twice"));
        assert!(changed("\"b\"", "\"../b\"").contains("cannot name a folder"));
        assert!(changed("0.05", "-0.05").contains("noise: -0.05 is no standard deviation"));
        assert!(changed("batch = 3", "seed = 3").contains("train: seed: is not given here (the plan's key seeds"));
        assert!(changed("loss.lambda = 0.5", "data = \"e\"").contains("method 2: b: data: is the same for all"));
        assert!(message("[train]\ndata = \"d\"\n", &[]).contains("method: there is none"));
        assert!(message(&format!("metrics = [\"dcs\"]\n{TWO}"), &[]).contains("there is dsc"));
        assert!(message(&format!("region = \"foregroud\"\n{TWO}"), &[]).contains("did you mean foreground?"));
        assert!(message(&format!("seeds = [1, 1]\n{TWO}"), &[]).contains("a seed twice"));
        assert!(message(TWO, &["out=x"]).contains("the plan's key out"));
    }
}
