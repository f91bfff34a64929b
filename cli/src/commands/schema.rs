//! `segcal schema NAME`.

use clap::ValueEnum;
use segcal_core::Result;

use crate::{Common, Outcome, output};

/// Print the JSON Schema of a JSON output.
///
/// The schemas follow draft 2020-12. Keys may be added within a version of a schema; none is removed or changes its
/// meaning.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal schema evaluation > evaluation.schema.json")]
pub struct Args {
    /// Which output.
    #[arg(value_enum)]
    pub name: Name,
}

/// The outputs that have a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Name {
    /// summary.json of evaluate and merge.
    Evaluation,
    /// summary.json of compare.
    Comparison,
    /// What rank prints.
    Ranking,
    /// The file of calibrate fit.
    Map,
    /// What info prints.
    Info,
    /// What check prints.
    Check,
}

impl Name {
    const fn text(self) -> &'static str {
        match self {
            Self::Evaluation => include_str!("../../schemas/evaluation.json"),
            Self::Comparison => include_str!("../../schemas/comparison.json"),
            Self::Ranking => include_str!("../../schemas/ranking.json"),
            Self::Map => include_str!("../../schemas/map.json"),
            Self::Info => include_str!("../../schemas/info.json"),
            Self::Check => include_str!("../../schemas/check.json"),
        }
    }
}

/// Prints the schema.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args, _: &Common) -> Result<Outcome> {
    output::print(args.name.text())?;
    Ok(Outcome::Done)
}
