//! The results of a cohort: means with intervals and bounds, as JSON and CSV.

mod tables;

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use segcal_core::{Error, Result};
use segcal_metrics::bootstrap::{Bootstrap, DEFAULT_REPLICATES};
use segcal_metrics::calibration::Region;
use segcal_metrics::definitions::{METRICS, metric};
use segcal_metrics::empty::{Outcome, Policy, Summary};
use segcal_metrics::metric::Metric;
use segcal_metrics::volume::Label;

use super::Failure;
use super::layout::Layout;
use super::pooled::Pooled;
use super::state::{CaseState, Measure};
use super::units::LengthUnit;

/// Whose definitions the metrics follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Convention {
    /// The definitions of the table of metrics.
    Segcal,
    /// The definitions of the papers' public evaluation code, for comparison with published tables.
    Authors,
}

impl Convention {
    /// Every convention.
    pub const ALL: [Self; 2] = [Self::Segcal, Self::Authors];

    /// Its name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Segcal => "segcal",
            Self::Authors => "authors",
        }
    }

    /// Whether the convention has this metric.
    fn has(self, kind: Kind, of: &str, key: &str) -> bool {
        match (self, kind) {
            (Self::Segcal, _) => true,
            (Self::Authors, Kind::Structure) => ["dsc", "hd95_pooled"].contains(&key),
            (Self::Authors, Kind::Region) => of == "foreground" && ["ece", "cece_mean", "tcece"].contains(&key),
        }
    }
}

/// How a cohort is summarised.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How empty masks are scored.
    pub empty: Policy,
    /// Whose definitions the metrics follow.
    pub convention: Convention,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// One metric of one structure or region over all cases.
#[derive(Clone, Debug)]
pub struct Row {
    /// `structures` or `regions`.
    pub kind: Kind,
    /// Name of the structure or region.
    pub of: String,
    /// The metric.
    pub metric: &'static Metric,
    /// The value of each case under the policy, in the order of the cases; NaN if it has none.
    pub values: Vec<f64>,
    /// Mean and bounds.
    pub summary: Summary,
    /// 95 % BCa bootstrap interval of the mean over cases; `None` for a single case or an infinite mean.
    pub interval: Option<[f64; 2]>,
}

impl Row {
    /// Sample standard deviation (`n - 1`) over the cases that have a value; NaN for fewer than two.
    pub fn deviation(&self) -> f64 {
        let defined: Vec<f64> = self.values.iter().copied().filter(|value| !value.is_nan()).collect();
        let centre = defined.iter().sum::<f64>() / defined.len() as f64;
        let squares: f64 = defined.iter().map(|value| (value - centre).powi(2)).sum();
        if defined.len() < 2 { f64::NAN } else { (squares / (defined.len() - 1) as f64).sqrt() }
    }

    /// Number of cases whose class scores have no class for the structure or region.
    pub const fn not_scored(&self) -> u64 {
        self.values.len() as u64 - self.summary.empty.cases()
    }
}

/// Whether a metric is of a structure or of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A structure: overlap and surface.
    Structure,
    /// A region: calibration.
    Region,
}

impl Kind {
    /// Key in the JSON document.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Structure => "structures",
            Self::Region => "regions",
        }
    }
}

/// All results of a cohort. They do not depend on the order of the states.
#[derive(Clone, Debug)]
pub struct Cohort {
    /// The cases, sorted by name.
    pub cases: Vec<CaseState>,
    /// Every metric of every structure, then of every region.
    pub rows: Vec<Row>,
    /// Index of the first row of each structure and region.
    first: BTreeMap<(Kind, String), usize>,
    /// The counters pooled over all cases.
    pub pooled: Pooled,
    /// The settings of the measurement.
    pub measure: Measure,
    /// The unit of measurement: that of the boundary band and of the NSD tolerance.
    pub measured_in: LengthUnit,
    /// Cases that failed and are in none of the results, sorted by name.
    pub failed: Vec<Failure>,
    plan: Plan,
}

impl Cohort {
    /// Summarises the states of some cases.
    ///
    /// # Errors
    /// Some lengths are in mm and others in voxels, or a state lacks the metrics of the convention.
    pub fn new(mut cases: Vec<CaseState>, pooled: Pooled, measure: Measure, plan: Plan) -> Result<Self> {
        cases.sort_by(|a, b| a.case.cmp(&b.case));
        expect_convention(&cases, plan.convention)?;
        let measured_in = LengthUnit::common(cases.iter().map(|case| (case.case.as_str(), case.length_unit)))?;
        let structures = names(&cases, |case| case.structures.keys());
        let regions = names(&cases, |case| case.regions.keys());
        let mut wanted = Vec::new();
        for (kind, names) in [(Kind::Structure, structures), (Kind::Region, regions)] {
            for of in names {
                let metrics = METRICS.iter().filter(|metric| metric.per_structure() == (kind == Kind::Structure));
                let metrics = metrics.filter(|metric| plan.convention.has(kind, &of, metric.key));
                wanted.extend(metrics.map(|metric| (kind, of.clone(), metric)));
            }
        }
        let rows: Vec<Row> = wanted.par_iter().map(|(kind, of, metric)| row(&cases, *kind, of, metric, plan)).collect();
        let mut first = BTreeMap::new();
        for (number, row) in rows.iter().enumerate() {
            first.entry((row.kind, row.of.clone())).or_insert(number);
        }
        Ok(Self { cases, rows, first, pooled, measure, measured_in, failed: Vec::new(), plan })
    }

    /// The unit of distances. In the authors' convention it is always voxels.
    pub fn length_unit(&self) -> LengthUnit {
        if self.plan.convention == Convention::Authors { LengthUnit::Voxels } else { self.measured_in }
    }

    /// The unit of a metric in this cohort.
    pub fn unit(&self, metric: &Metric) -> &'static str {
        self.length_unit().of(metric)
    }

    /// A metric's key with its unit, for the heads of tables.
    pub fn headed(&self, metric: &Metric) -> String {
        self.length_unit().headed(metric)
    }

    /// The NSD tolerance with its unit.
    pub fn tolerance(&self) -> String {
        format!("{} {}", self.measure.tolerance, self.measured_in.name())
    }

    /// The half-width of the boundary band with its unit.
    pub fn band(&self) -> String {
        format!("{} {}", self.measure.band, self.measured_in.name())
    }

    /// The same cohort with a list of the cases that failed.
    #[must_use]
    pub fn without(mut self, failed: Vec<Failure>) -> Self {
        self.failed = failed;
        self.failed.sort();
        self
    }

    /// Where the files of each case are stored.
    pub const fn layout(&self) -> Layout {
        Layout::of(self.cases.len() + self.failed.len())
    }

    /// How the cohort is summarised.
    pub const fn plan(&self) -> Plan {
        self.plan
    }

    /// The row of a metric.
    pub fn row(&self, kind: Kind, of: &str, key: &str) -> Option<&Row> {
        let from = *self.first.get(&(kind, of.to_owned()))?;
        let own = self.rows[from..].iter().take_while(|row| row.kind == kind && row.of == of);
        own.into_iter().find(|row| row.metric.key == key)
    }

    /// The structures, in the order of the tables.
    pub fn structures(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.rows.iter().filter(|row| row.kind == Kind::Structure).map(|row| row.of.as_str()).collect();
        names.dedup();
        names
    }

    /// A label followed by its name, if known: `1 liver`. Other names are returned unchanged.
    pub fn name(&self, label: &str) -> String {
        let name =
            label.parse().ok().and_then(|number: Label| self.cases.iter().find_map(|case| case.names.get(&number)));
        match (name, label) {
            (Some(name), label) => format!("{label} {name}"),
            (None, "0") => "0 background".into(),
            (None, label) => label.to_owned(),
        }
    }

    /// The mean over single-label structures of a metric's means: the usual single number for a cohort.
    pub fn mean_over_structures(&self, key: &str) -> f64 {
        let single = |row: &&Row| row.kind == Kind::Structure && row.metric.key == key && row.of.parse::<u16>().is_ok();
        let means: Vec<f64> = self.rows.iter().filter(single).map(|row| row.summary.mean).collect();
        means.iter().sum::<f64>() / means.len() as f64
    }
}

fn names<'a, I: Iterator<Item = &'a String>>(cases: &'a [CaseState], of: impl Fn(&'a CaseState) -> I) -> Vec<String> {
    let unique: BTreeSet<&String> = cases.iter().flat_map(of).collect();
    let mut names: Vec<String> = unique.into_iter().cloned().collect();
    // Labels in numeric order rather than 1, 10, 2; names after them.
    names.sort_by_key(|name| (rank(name), name.clone()));
    names
}

/// The order of the tables: first the regions that do not depend on the classes, then by label, those of the reference
/// first.
fn rank(name: &str) -> u32 {
    const LABELS: u32 = 1 << 16;
    let common = (0..).zip(Region::COMMON).find(|(_, region)| region.to_string() == name).map(|(number, _)| number);
    let label = |name: &str| name.parse::<Label>().ok().map(|label| LABELS + u32::from(label));
    let of_reference = label(name.strip_prefix("structure:").unwrap_or(name));
    let predicted = || name.strip_prefix("predicted:").and_then(label).map(|rank| LABELS + rank);
    common.or(of_reference).or_else(predicted).unwrap_or(u32::MAX)
}

/// Checks that every state has the metrics of the convention.
fn expect_convention(cases: &[CaseState], convention: Convention) -> Result<()> {
    match cases.iter().find(|case| convention == Convention::Authors && case.authors.is_none()) {
        None => Ok(()),
        Some(case) => Err(Error::new("its state lacks the metrics of the authors' convention")
            .at(&case.case)
            .help("evaluate with --convention authors, which computes them too")),
    }
}

/// One metric over the cases.
fn row(cases: &[CaseState], kind: Kind, of: &str, metric: &'static Metric, plan: Plan) -> Row {
    let (values, summary) = match kind {
        Kind::Structure => of_structure(cases, of, metric, plan),
        Kind::Region => of_region(cases, of, metric, plan),
    };
    let defined: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let has_interval = defined.len() > 1 && summary.mean.is_finite();
    let interval = has_interval.then(|| {
        let interval = Bootstrap::of_mean(&defined, DEFAULT_REPLICATES, plan.seed).bca(0.95);
        [interval.lower, interval.upper]
    });
    Row { kind, of: of.to_owned(), metric, values, summary, interval }
}

/// Overlap and distance. The policy decides how empty masks are scored. Cases without a class for the structure are
/// excluded.
fn of_structure(cases: &[CaseState], of: &str, metric: &Metric, plan: Plan) -> (Vec<f64>, Summary) {
    let outcome = |case: &CaseState| match plan.convention {
        Convention::Segcal => case.outcome(of, metric.key),
        Convention::Authors => case.authors_outcome(of, metric.key),
    };
    let outcomes: Vec<Option<(Outcome, f64)>> =
        cases.iter().map(|case| Some((outcome(case)?, case.diagonal))).collect();
    let resolved = |(outcome, diagonal)| plan.empty.resolve(outcome, metric, diagonal);
    let values = outcomes.iter().map(|found| found.map_or(f64::NAN, resolved)).collect();
    let scored: Vec<(Outcome, f64)> = outcomes.into_iter().flatten().collect();
    (values, Summary::new(metric, &scored, plan.empty))
}

/// Calibration. A region without voxels has no value, whatever the policy. Cases without a class for it are excluded.
fn of_region(cases: &[CaseState], of: &str, metric: &Metric, plan: Plan) -> (Vec<f64>, Summary) {
    let value = |case: &CaseState| {
        let figures = match plan.convention {
            Convention::Segcal => case.regions.get(of),
            Convention::Authors => case.authors.as_ref().and_then(|authors| authors.calibration.as_ref()),
        };
        figures.and_then(|figures| figures.get(metric.key)).map(|value| value.0)
    };
    let found: Vec<Option<f64>> = cases.iter().map(value).collect();
    let scored: Vec<f64> = found.iter().copied().flatten().collect();
    (found.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect(), Summary::of_defined(&scored))
}

/// Whether a key is in the table of metrics; for contract tests.
pub fn is_metric(key: &str) -> bool {
    metric(key).is_some()
}
