//! Counters of all cases together: reliability diagrams, distributions of logits, and figures of the pooled voxels.

use std::collections::BTreeMap;

use segcal_data::output::Number;
use segcal_metrics::calibration::{Calibration, EqualMass, EqualMassFigures, Region};
use segcal_metrics::definitions::{Compute, rows};
use segcal_metrics::distribution::LogitDistribution;
use serde::{Deserialize, Serialize};

use super::scores::Scores;

/// Figures of a region by metric key.
type Figures = BTreeMap<String, Number>;

/// The counters of one case, or of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Bins of every region.
    pub calibration: Calibration,
    /// Bins of equal mass.
    pub equal_mass: EqualMass,
    /// Distributions of the logits; none of many classes.
    pub logits: Option<Logits>,
}

/// Logits by true class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logits {
    /// What was given; of probabilities the logarithms are counted.
    pub of: Scores,
    /// The counts.
    pub counts: LogitDistribution,
}

/// The counters of a cohort: the same bits in whatever order the cases come.
#[derive(Clone, Debug, Default)]
pub struct Pooled {
    total: Option<Counters>,
    /// Numbers of classes that cases had, where they differ: such cases cannot be pooled.
    differing: Option<[usize; 2]>,
    /// Those of each region that is a problem of its own.
    problems: BTreeMap<String, Pooled>,
}

impl Pooled {
    /// Adds the counters of a case; those with a name are of a region that is a problem of its own.
    pub fn add_all(&mut self, counters: Vec<(String, Counters)>) {
        for (name, counters) in counters {
            if name.is_empty() { self.add(counters) } else { self.problems.entry(name).or_default().add(counters) }
        }
    }

    /// The regions that are problems of their own, against the rest.
    pub const fn problems(&self) -> &BTreeMap<String, Self> {
        &self.problems
    }

    /// Adds the counters of a case.
    pub fn add(&mut self, counters: Counters) {
        let Some(total) = &mut self.total else {
            self.total = Some(counters);
            return;
        };
        let shape = |calibration: &Calibration| (calibration.classes(), calibration.bins());
        if shape(&total.calibration) != shape(&counters.calibration) {
            self.differing = Some([total.calibration.classes(), counters.calibration.classes()]);
            return;
        }
        total.calibration.merge(&counters.calibration);
        total.equal_mass.merge(&counters.equal_mass);
        match (&mut total.logits, counters.logits) {
            (Some(own), Some(new)) if own.of == new.of => own.counts.merge(&new.counts),
            (own, _) => *own = None,
        }
    }

    /// The counters of all cases; `None` without scores, or of cases with different numbers of classes.
    pub const fn counters(&self) -> Option<&Counters> {
        if self.differing.is_some() { None } else { self.total.as_ref() }
    }

    /// Two numbers of classes that cases have, where they differ.
    pub const fn differing(&self) -> Option<[usize; 2]> {
        self.differing
    }

    /// The figures of each region over the voxels of all cases together, as far as the counters hold them.
    pub fn figures(&self) -> BTreeMap<String, Figures> {
        let mut figures = BTreeMap::new();
        if let Some(counters) = self.counters() {
            let regions = Region::every(counters.calibration.classes()).into_iter();
            figures.extend(regions.map(|region| (region.to_string(), counters.figures(region))));
        }
        for (name, counters) in self.problems.iter().filter_map(|(name, pooled)| Some((name, pooled.counters()?))) {
            let regions = Region::COMMON.into_iter();
            figures.extend(regions.map(|region| (format!("{name}/{region}"), counters.figures(region))));
        }
        figures
    }
}

impl Counters {
    fn figures(&self, region: Region) -> Figures {
        let bins = self.calibration.region(region);
        let mass = self.equal_mass.figures(region).unwrap_or(EqualMassFigures::NONE);
        let classwise = ["cece_mean", "cece_sum", "tcece"];
        let figure = |key: &str, compute: Compute| match compute {
            Compute::Calibration(_) if classwise.contains(&key) && !bins.has_classes() => None,
            Compute::Calibration(figure) | Compute::Description(figure) => Some(figure(&bins)),
            Compute::EqualMass(_) if self.equal_mass.figures(region).is_none() => None,
            Compute::EqualMass(figure) => Some(figure(&mass)),
            _ => None,
        };
        rows()
            .filter_map(|(metric, compute)| Some((metric.key.to_owned(), Number(figure(metric.key, compute)?))))
            .collect()
    }
}
