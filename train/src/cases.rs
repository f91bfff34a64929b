//! Which cases a run was begun with. A run that goes on with other data would give one curve of two experiments, so
//! `cases.json` holds the names of both parts with a checksum of each case's files.

use std::collections::BTreeMap;

use rayon::prelude::*;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

use segcal_data::hash::Hash;
use segcal_data::observer::{self, Observer, Steps};
use segcal_data::{Case, Dataset};

/// Checksums (SHA-256) of images and label by the name of the case, for both parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    train: BTreeMap<String, String>,
    val: BTreeMap<String, String>,
}

impl Cases {
    /// Reads every file of both parts once.
    ///
    /// # Errors
    /// A file cannot be read, or the observer asks to stop.
    pub fn of(data: &Dataset, observer: &dyn Observer) -> Result<Self> {
        let progress = Steps::begin(observer, "checksums", data.train.len() + data.val.len());
        let of_part = |cases: &[Case]| -> Result<BTreeMap<String, String>> {
            let checksum = |case: &Case| {
                observer::check(observer)?;
                let checksum = checksum(case)?;
                progress.step(&case.name);
                Ok((case.name.clone(), checksum))
            };
            cases.par_iter().map(checksum).collect()
        };
        Ok(Self { train: of_part(&data.train)?, val: of_part(&data.val)? })
    }

    /// Refuses other cases than those that a run was `begun` with.
    ///
    /// # Errors
    /// They differ; the message names the first case.
    pub fn expect(&self, begun: &Self) -> Result<()> {
        for (part, now, before) in [("train", &self.train, &begun.train), ("val", &self.val, &begun.val)] {
            let names = before.keys().chain(now.keys());
            let changed = names.into_iter().find(|name| now.get(*name) != before.get(*name));
            let Some(name) = changed else { continue };
            let what = match (now.contains_key(name), before.contains_key(name)) {
                (true, true) => format!("the files of the case {name} are not those that the run was started with"),
                (true, false) => format!("the case {name} is new in the part {part} since the run was started"),
                _ => format!("the case {name} of the part {part} is gone since the run was started"),
            };
            return Err(Error::new(what).help("resume with the same data, or start a new run with out=FOLDER"));
        }
        Ok(())
    }
}

fn checksum(case: &Case) -> Result<String> {
    let mut hash = Hash::default();
    case.images.iter().chain(&case.label).try_for_each(|path| hash.file(path))?;
    Ok(hash.hex())
}
