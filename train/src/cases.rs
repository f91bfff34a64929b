//! The cases that a run was started with. Resuming with other data would mix two experiments in one curve, so
//! `cases.json` stores the case names of both parts with a checksum of each case's files.

use std::collections::BTreeMap;

use rayon::prelude::*;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

use segcal_data::hash::Hash;
use segcal_data::observer::{self, Observer, Steps};
use segcal_data::{Case, Dataset};

/// Checksums (SHA-256) of images and label by case name, for both parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Refuses cases that differ from those that a run was started with (`begun`).
    ///
    /// # Errors
    /// The cases differ; the message names the first one that does.
    pub fn expect(&self, begun: &Self) -> Result<()> {
        let Some((part, name)) = self.differing(begun) else { return Ok(()) };
        let [now, before] = [self, begun].map(|cases| cases.part(part).contains_key(name));
        let what = match (now, before) {
            (true, true) => format!("the files of the case {name} have changed since the run was started"),
            (true, false) => format!("the case {name} is new in the part {part} since the run was started"),
            _ => format!("the case {name} of the part {part} is missing: it was there when the run was started"),
        };
        Err(Error::new(what).help("resume with the same data, or start a new run with out=FOLDER"))
    }

    /// The first difference from the cases of rank 0, if any.
    pub(super) fn first_difference(&self, first: &Self) -> Option<String> {
        let (part, name) = self.differing(first)?;
        let [here, there] = [self, first].map(|cases| cases.part(part).contains_key(name));
        Some(match (here, there) {
            (true, true) => format!("has files of the case {name} that differ from those of rank 0"),
            (true, false) => format!("has the case {name} in the part {part}, but rank 0 does not"),
            _ => format!("does not have the case {name} in the part {part}, but rank 0 does"),
        })
    }

    /// The first case that differs, and its part.
    fn differing<'a>(&'a self, other: &'a Self) -> Option<(&'static str, &'a String)> {
        let in_part = |part: &'static str| {
            let (own, others) = (self.part(part), other.part(part));
            let changed = others.keys().chain(own.keys()).find(|name| own.get(*name) != others.get(*name));
            changed.map(|name| (part, name))
        };
        in_part("train").or_else(|| in_part("val"))
    }

    fn part(&self, part: &str) -> &BTreeMap<String, String> {
        if part == "train" { &self.train } else { &self.val }
    }
}

fn checksum(case: &Case) -> Result<String> {
    let mut hash = Hash::default();
    case.images.iter().chain(&case.label).try_for_each(|path| hash.file(path))?;
    Ok(hash.hex())
}
