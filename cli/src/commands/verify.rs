//! `segcal verify`.

use segcal_backends::Visitor;
use segcal_core::{Backend, Result};
use segcal_losses::theorems::{self, Outcome as Found};
use serde_json::json;

use crate::options::BackendName;
use crate::progress::Progress;
use crate::{Common, Outcome, output};

/// Check the papers' theorems, limits and gradients on a backend.
///
/// Tests every statement on random problems (2 to 8 classes, 2-D and 3-D). The table shows the largest deviation found
/// and its bound for the number type of the backend. The exit status is 1 if any bound is exceeded.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal verify\n  segcal verify --backend cpu --cases 100 --seed 7")]
pub struct Args {
    /// Number of random problems for each statement.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub cases: u32,
    /// Seed of the problems.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
}

/// Prints the table.
///
/// # Errors
/// The backend cannot be opened or fails.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let name = common.backend_or(BackendName::Reference);
    let device = common.device(BackendName::Reference)?;
    let progress = common.progress("checking", theorems::all::<segcal_core::Reference>().len());
    let found = device.run(Suite { cases: args.cases as usize, seed: args.seed, progress: &progress })?;
    drop(progress);
    if common.json {
        let rows: Vec<_> = found.iter().map(as_json).collect();
        output::print_json(&json!({
            "backend": name.as_str(), "cases": args.cases, "seed": args.seed, "properties": rows,
        }))?;
    } else {
        let width = found.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let mut table = format!("{:<width$}  {:>5}  {:>9}  {:>9}\n", "property", "cases", "worst", "bound");
        for row in &found {
            let verdict = if row.holds() { "" } else { "  EXCEEDED" };
            table +=
                &format!("{:<width$}  {:>5}  {:>9.1e}  {:>9.1e}{verdict}\n", row.name, row.cases, row.worst, row.bound);
        }
        if common.verbose > 0 {
            table += "\n";
            for row in &found {
                table += &format!("{}: {} ({})\n", row.name, row.statement, row.source);
            }
        }
        output::print(&table)?;
    }
    Ok(if found.iter().all(Found::holds) { Outcome::Done } else { Outcome::SomeFailed })
}

fn as_json(row: &Found) -> serde_json::Value {
    json!({
        "property": row.name,
        "statement": row.statement,
        "source": row.source,
        "cases": row.cases,
        "worst": output::number(row.worst),
        "bound": row.bound,
        "holds": row.holds(),
    })
}

struct Suite<'a> {
    cases: usize,
    seed: u64,
    progress: &'a Progress,
}

impl Visitor for Suite<'_> {
    type Output = Result<Vec<Found>>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        let check = |theorem: &theorems::Theorem<B>| {
            let found = theorem.outcome(&backend, self.cases, self.seed);
            self.progress.step(theorem.name);
            found
        };
        theorems::all::<B>().iter().map(check).collect()
    }
}
