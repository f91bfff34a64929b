//! What all ranks must have in common, checked before the first step.

use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::Ranks;
use crate::cases::Cases;
use crate::run_folder::first_difference;

/// What one rank is about to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Passport {
    /// The version of this library.
    pub(crate) version: String,
    /// The backend and its instruction set.
    pub(crate) arithmetic: String,
    /// The settings.
    pub(crate) config: Table,
    /// Checksums of the cases.
    pub(crate) cases: Cases,
    /// Whether the rank resumes a run.
    pub(crate) resume: bool,
}

impl Passport {
    /// Refuses ranks that are about to do something other than rank 0.
    ///
    /// # Errors
    /// A rank differs. The message is the same on all ranks and names the rank and the difference.
    pub(crate) fn expect_same(&self, ranks: &dyn Ranks) -> Result<()> {
        if ranks.size() == 1 {
            return Ok(());
        }
        // Compared separately, since nothing else needs to be readable across versions.
        let versions = ranks.gather(self.version.as_bytes())?;
        let texts: Vec<_> = versions.iter().map(|version| String::from_utf8_lossy(version)).collect();
        if let Some(rank) = texts.iter().position(|version| *version != texts[0]) {
            let what = format!("is version {}, rank 0 is {}", texts[rank], texts[0]);
            return Err(refused(rank, what, "install the same segcal on every machine"));
        }
        let all = ranks.gather(&serde_json::to_vec(self).map_err(Error::from_source)?)?;
        let read = |bytes: &Vec<u8>| serde_json::from_slice(bytes).map_err(Error::from_source);
        let all = all.iter().map(read).collect::<Result<Vec<Self>>>()?;
        (1..all.len()).try_for_each(|rank| all[rank].expect(&all[0], rank))
    }

    fn expect(&self, first: &Self, rank: usize) -> Result<()> {
        if self.arithmetic != first.arithmetic {
            let what = format!("computes with {}, rank 0 with {}", self.arithmetic, first.arithmetic);
            return Err(refused(rank, what, "give all ranks the same --backend, and the --isa of the weakest machine"));
        }
        if self.resume != first.resume {
            let which = |passport: &Self| if passport.resume { "with" } else { "without" };
            let what = format!("was started {} --resume, rank 0 {} it", which(self), which(first));
            return Err(refused(rank, what, "give all ranks the same command"));
        }
        // Folders may have different names on different machines, and only rank 0 writes.
        if let Some(key) = first_difference(&first.config, &self.config, &["out", "data"]) {
            let values = [self, first].map(|passport| value(&passport.config, &key));
            let what = format!("has {key} = {}, rank 0 has {}", values[0], values[1]);
            return Err(refused(rank, what, "give all ranks the same config and keys"));
        }
        match self.cases.first_difference(&first.cases) {
            Some(what) => Err(refused(rank, what, "give all ranks the same data set")),
            None => Ok(()),
        }
    }
}

fn refused(rank: usize, what: String, remedy: &str) -> Error {
    Error::new(what).at(format!("rank {rank}")).help(remedy)
}

/// The value of a dotted key in TOML syntax.
fn value(config: &Table, key: &str) -> String {
    let parts = key.split('.').collect::<Vec<_>>();
    let mut value = config.get(parts[0]);
    for part in &parts[1..] {
        value = value.and_then(Value::as_table).and_then(|table| table.get(*part));
    }
    value.map_or_else(|| "nothing".into(), ToString::to_string)
}
