//! `segcal merge DIR… --out DIR`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use segcal_core::{Context, Error, Result};
use segcal_metrics::empty::Policy;

use super::evaluate::{self, Stored};
use crate::evaluate::cohort::{Cohort, Convention, Plan};
use crate::output::{self, OutputFolder};
use crate::{Common, Outcome};

/// Join the folders of several evaluations into one.
///
/// Reads the state of every case (`states/*.json`) and writes the files of one run over all cases, to the same bits, in
/// whatever order the folders are given. The options must be those of that one run.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  segcal merge evaluation-1 evaluation-2 --out evaluation")]
pub struct Args {
    /// Folders that `segcal evaluate` or `segcal merge` wrote.
    #[arg(required = true, value_name = "DIR")]
    pub folders: Vec<PathBuf>,
    /// Folder of the joined results.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// What an empty mask counts, as for evaluate.
    #[arg(long, value_name = "RULE", default_value = "nan", value_parser = evaluate::parse_policy)]
    pub empty: Policy,
    /// Whose definitions: the table of metrics, or the papers' public code.
    #[arg(long, value_enum, default_value = "segcal")]
    pub convention: Convention,
    /// Seed of the bootstrap intervals.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// Joins the folders, writes the results and prints a table.
///
/// # Errors
/// A folder holds no states, two hold the same case or were measured with different settings, or the results cannot be
/// written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let cases = gather(&args.folders)?;
    let measure = cases.values().next().map(|(_, stored)| stored.measure.clone());
    let measure = measure.ok_or_else(|| Error::new("the folders hold no case"))?;
    let states = cases.values().map(|(_, stored)| stored.state.clone()).collect();
    let plan = Plan { empty: args.empty, convention: args.convention, seed: args.seed };
    let cohort = Cohort::new(states, measure, plan)?;
    let folder = OutputFolder::create(&args.out)?;
    for (name, (path, stored)) in &cases {
        copy_slices(path, &evaluate::slices_of(&folder, name)?)?;
        stored.write(&folder.file(Path::new("states").join(format!("{name}.json")))?)?;
    }
    evaluate::write(&cohort, &folder)?;
    if common.json {
        output::print_json(&cohort.to_json())?;
    } else {
        output::print(&evaluate::table(&cohort, &args.out))?;
    }
    Ok(Outcome::Done)
}

/// Takes what the report's overlays show, where it is there, from beside a state.
fn copy_slices(state: &Path, to: &Path) -> Result<()> {
    let from = state.with_extension("npz");
    if !from.is_file() || from == to {
        return Ok(());
    }
    let bytes = std::fs::read(&from).at(from.display())?;
    output::write_atomic(to, |out| Ok(out.write_all(&bytes)?))
}

/// Every state by the name of its case, with the file it came from.
fn gather(folders: &[PathBuf]) -> Result<BTreeMap<String, (PathBuf, Stored)>> {
    let mut cases: BTreeMap<String, (PathBuf, Stored)> = BTreeMap::new();
    let mut first: Option<(PathBuf, Stored)> = None;
    for path in folders.iter().map(|folder| states(folder)).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
        let stored = Stored::read(&path)?;
        let (reference, other) = first.get_or_insert_with(|| (path.clone(), stored.clone()));
        if stored.measure != other.measure {
            let problem = format!("was measured with other settings than {}", reference.display());
            return Err(Error::new(problem)
                .at(path.display())
                .help(format!("evaluate both alike: {:?} and {:?}", stored.measure, other.measure)));
        }
        let name = stored.state.case.clone();
        if let Some((other, _)) = cases.insert(name.clone(), (path.clone(), stored)) {
            let problem = format!("the case {name} is in {} too", other.display());
            return Err(Error::new(problem).at(path.display()).help("leave one of the two out"));
        }
    }
    Ok(cases)
}

/// The state files of a folder, by name.
fn states(folder: &Path) -> Result<Vec<PathBuf>> {
    let inside = folder.join("states");
    let entries = std::fs::read_dir(&inside)
        .map_err(|error| Error::from(error).help("give a folder that segcal evaluate wrote"))
        .at(inside.display())?;
    let paths = entries.map(|entry| Ok(entry.at(inside.display())?.path())).collect::<Result<Vec<PathBuf>>>()?;
    // Files that begin with a dot are those of a write that was cut off.
    let whole = |path: &PathBuf| {
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        !hidden && path.extension().is_some_and(|ending| ending == "json")
    };
    let mut found: Vec<PathBuf> = paths.into_iter().filter(whole).collect();
    found.sort();
    if found.is_empty() {
        return Err(Error::new("holds no state of a case").at(inside.display()).help("is its evaluation complete?"));
    }
    Ok(found)
}
