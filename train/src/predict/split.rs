//! The cases of a run's own data set, by their part.

use std::path::PathBuf;

use segcal_core::{Context, Error, Result};
use segcal_data::{Case, Dataset};

use crate::run_folder;
use crate::settings::Settings;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Split {
    Train,
    Val,
    Test,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }

    /// Returns its cases, sorted by name, in the data set and the fold that these runs were trained on.
    ///
    /// # Errors
    /// A run or the data set cannot be read; the runs were trained on different data sets, or on different folds if
    /// that changes the part; the part is empty.
    pub fn cases(self, runs: &[PathBuf]) -> Result<Vec<Case>> {
        let mut found: Option<(Settings, Vec<Case>)> = None;
        for run in runs {
            let settings = Settings::from_stored(run_folder::stored_config(run)?).at(run.display())?;
            let cases = self.of(&settings)?;
            if let Some((first, others)) = &found
                && *others != cases
            {
                let what = format!("its part {} differs from that of {}", self.name(), runs[0].display());
                let (data, fold) = (first.data.display(), first.fold);
                let error = Error::new(what).at(run.display());
                return Err(
                    error.help(format!("that one was trained on fold {fold} of {data}: predict the runs separately"))
                );
            }
            found.get_or_insert((settings, cases));
        }
        found.map(|(_, cases)| cases).ok_or_else(|| Error::new("no run is given"))
    }

    /// Returns its cases, sorted by name, in the data set of these settings.
    ///
    /// # Errors
    /// The data set cannot be read, or the part is empty.
    pub fn of(self, settings: &Settings) -> Result<Vec<Case>> {
        let Dataset { train, val, test, .. } = Dataset::open_fold(&settings.data, settings.fold).map_err(|error| {
            error.help("--split reads the data set of the run's config.toml: give the images instead")
        })?;
        let mut cases = match self {
            Self::Train => train,
            Self::Val => val,
            Self::Test => test,
        };
        if cases.is_empty() {
            let error = Error::new(format!("the part {} has no cases", self.name())).at(settings.data.display());
            return Err(error.help("choose another part, or give a folder of images"));
        }
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(cases)
    }
}
