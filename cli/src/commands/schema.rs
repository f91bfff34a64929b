//! `segcal schema NAME`.

use std::borrow::Cow;

use clap::ValueEnum;
use segcal_core::{Error, Result};
use segcal_train::settings::reference;

use crate::{Common, Outcome, output};

/// Print the JSON Schema of a JSON output or of the training config.
///
/// The schemas follow draft 2020-12. Within a version of a schema, keys may be added, but none is removed or changes
/// its meaning.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal schema evaluation > evaluation.schema.json")]
pub struct Args {
    /// Output to describe.
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
    /// Output of rank --json.
    Ranking,
    /// File written by calibrate fit.
    Map,
    /// Output of info --json.
    Info,
    /// Output of check --json.
    Check,
    /// Config of train, for editors that complete and check TOML.
    Config,
}

impl Name {
    fn text(self) -> Result<Cow<'static, str>> {
        Ok(Cow::Borrowed(match self {
            Self::Evaluation => include_str!("../../schemas/evaluation.json"),
            Self::Comparison => include_str!("../../schemas/comparison.json"),
            Self::Ranking => include_str!("../../schemas/ranking.json"),
            Self::Map => include_str!("../../schemas/map.json"),
            Self::Info => include_str!("../../schemas/info.json"),
            Self::Check => include_str!("../../schemas/check.json"),
            Self::Config => return Ok(Cow::Owned(config()?)),
        }))
    }
}

fn config() -> Result<String> {
    serde_json::to_string_pretty(&reference::schema()).map(|text| text + "\n").map_err(Error::from_source)
}

/// Prints the schema.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args, _: &Common) -> Result<Outcome> {
    output::print(&args.name.text()?)?;
    Ok(Outcome::Done)
}
