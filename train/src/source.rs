//! The source of the trainer's cases: files or memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rayon::prelude::*;
use segcal_core::{Context, Result};
use segcal_data::Case;
use segcal_data::observer::{self, Observer, Steps};

use super::prepared::{Classes, Prepared, expect_channels, prepare};
use super::settings::Input;

/// Labelled cases, numbered from 0.
pub trait Source: Send + Sync {
    /// Number of cases.
    fn len(&self) -> usize;

    /// Whether there is no case.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The valid labels.
    fn classes(&self) -> Classes;

    /// The prepared image and label of a case.
    ///
    /// # Errors
    /// The case cannot be read.
    fn get(&self, case: usize) -> Result<Arc<Prepared>>;

    /// Reads every case once, and refuses one whose number of channels is not that of the network's input.
    ///
    /// # Errors
    /// A case cannot be read or does not fit; or the observer asks to stop.
    fn check(&self, channels: usize, observer: &dyn Observer) -> Result<()> {
        let steps = Steps::begin(observer, "checking cases", self.len());
        let checked = (0..self.len()).into_par_iter().map(|number| {
            observer::check(observer)?;
            let case = self.get(number)?;
            expect_channels(&case.image, channels).at(&case.name)?;
            steps.step(&case.name);
            Ok(())
        });
        // The first error in the order of the cases, whatever the threads do.
        checked.find_first(Result::is_err).unwrap_or(Ok(()))
    }
}

/// Cases that are already in memory.
pub struct Memory {
    cases: Vec<Arc<Prepared>>,
    classes: Classes,
}

impl Memory {
    /// A source of these cases. The network sees the images as they are, so scale them first, for example to `[0, 1]`.
    ///
    /// # Errors
    /// Image and label of a case lie on different grids, a label is not one of `classes`, or an intensity is not finite.
    pub fn new(cases: Vec<Prepared>, classes: Classes) -> Result<Self> {
        cases.iter().try_for_each(|case| case.check(&classes))?;
        Ok(Self { cases: cases.into_iter().map(Arc::new).collect(), classes })
    }
}

impl Source for Memory {
    fn len(&self) -> usize {
        self.cases.len()
    }

    fn classes(&self) -> Classes {
        self.classes
    }

    fn get(&self, case: usize) -> Result<Arc<Prepared>> {
        Ok(self.cases[case].clone())
    }
}

/// Prepared volumes, read on first use and kept while they fit.
pub struct Cache {
    cases: Vec<Case>,
    input: Input,
    classes: Classes,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    volumes: HashMap<usize, Arc<Prepared>>,
    bytes: usize,
}

impl Cache {
    /// Creates a cache over these cases.
    pub fn new(cases: Vec<Case>, input: Input, classes: Classes) -> Self {
        Self { cases, input, classes, kept: Mutex::default() }
    }
}

impl Source for Cache {
    fn len(&self) -> usize {
        self.cases.len()
    }

    fn classes(&self) -> Classes {
        self.classes
    }

    fn get(&self, case: usize) -> Result<Arc<Prepared>> {
        if let Some(volume) = self.kept.lock().expect("no panic while it is held").volumes.get(&case) {
            return Ok(volume.clone());
        }
        let volume = Arc::new(prepare(&self.cases[case], &self.input, &self.classes)?);
        let bytes = volume.image.values().len() * 4 + volume.label.values().len() * 4;
        let mut kept = self.kept.lock().expect("no panic while it is held");
        // Once full, later cases are read again each time: no eviction, so no thrashing when all are visited in turn.
        if kept.bytes + bytes <= (self.input.cache_gib * f64::from(1 << 30)) as usize {
            kept.bytes += bytes;
            kept.volumes.insert(case, volume.clone());
        }
        Ok(volume)
    }
}
