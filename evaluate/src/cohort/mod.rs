//! The results of a cohort: means with intervals and bounds, as JSON and CSV.

mod collected;
mod plan;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rayon::prelude::*;
use segcal_core::{Error, Result};
use segcal_metrics::bootstrap::{DEFAULT_REPLICATES, mean_intervals};
use segcal_metrics::calibration::Region;
use segcal_metrics::definitions::metric;
use segcal_metrics::empty::{Outcome, Summary};
use segcal_metrics::metric::Metric;
use segcal_metrics::verdict::Verdict;
use segcal_metrics::volume::Label;

use self::collected::Column;
pub use self::collected::{Case, Collected, Note};
pub use self::plan::{Convention, Kind, Plan};
use super::Failure;
use super::layout::Layout;
use super::pooled::Pooled;
use super::state::{Measure, Prediction};
use super::units::LengthUnit;

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
    /// The note beside each value.
    pub notes: Vec<Note>,
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

/// All results of a cohort. They do not depend on the order in which the states arrived.
#[derive(Clone, Debug)]
pub struct Cohort {
    /// The cases, sorted by name.
    pub cases: Vec<Case>,
    /// Every metric of every structure, then of every region.
    pub rows: Vec<Row>,
    /// Index of the first row of each structure and region.
    first: BTreeMap<(Kind, String), usize>,
    /// The counters pooled over all cases.
    pub pooled: Pooled,
    /// The 95 % interval of the pooled ECE of each region.
    pub pooled_intervals: BTreeMap<String, [f64; 2]>,
    /// Whether the predictions are calibrated in each region that is chosen without looking at the reference.
    verdicts: BTreeMap<String, Verdict>,
    /// The settings of the measurement.
    pub measure: Measure,
    /// The unit of measurement: that of the boundary band and of the NSD tolerance.
    pub measured_in: LengthUnit,
    /// Cases that failed and are in none of the results, sorted by name.
    pub failed: Vec<Failure>,
    /// A warning about the labels of the whole cohort.
    doubt: Option<String>,
    names: BTreeMap<Label, String>,
    plan: Plan,
}

impl Cohort {
    /// Computes the results of the cases whose states were collected.
    ///
    /// # Errors
    /// Some lengths are in mm and others in voxels, or a state lacks the metrics of the convention.
    pub fn new(collected: Collected, measure: Measure) -> Result<Self> {
        let (plan, names) = (collected.plan, collected.names());
        let doubt = (measure.kind == Prediction::Segmentation).then(|| collected.apart()).flatten();
        let Collected { mut cases, structures, regions, mut pooled, .. } = collected;
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        expect_convention(&cases, plan.convention)?;
        let measured_in = LengthUnit::common(cases.iter().map(|case| (&*case.name, case.length_unit)))?;
        let structures = ordered(structures).into_iter().map(|(of, columns)| (Kind::Structure, of, columns));
        let regions = ordered(regions).into_iter().map(|(of, columns)| (Kind::Region, of, columns));
        let of_each = structures
            .chain(regions)
            .flat_map(|(kind, of, columns)| columns.into_iter().map(move |column| (kind, of.clone(), column)));
        let of_each: Vec<(Kind, String, Column)> = of_each.collect();
        let mut rows: Vec<Row> =
            of_each.into_par_iter().map(|(kind, of, column)| row(&cases, kind, of, &column, plan)).collect();
        add_intervals(&mut rows, plan.seed);
        let mut first = BTreeMap::new();
        for (number, row) in rows.iter().enumerate() {
            first.entry((row.kind, row.of.clone())).or_insert(number);
        }
        let order: Vec<usize> = cases.iter().map(|case| case.arrival).collect();
        let pooled_intervals = pooled.ece_intervals(&order, plan.seed);
        pooled.forget_cases();
        let verdicts = BTreeMap::new();
        let failed = Vec::new();
        let mut cohort = Self {
            cases,
            rows,
            first,
            pooled,
            pooled_intervals,
            verdicts,
            measure,
            measured_in,
            failed,
            doubt,
            names,
            plan,
        };
        cohort.verdicts = cohort.judged();
        Ok(cohort)
    }

    /// The verdict for each region that is chosen without looking at the reference.
    fn judged(&self) -> BTreeMap<String, Verdict> {
        let regions = self.first.keys().filter(|(kind, of)| *kind == Kind::Region && is_judged(of)).map(|(_, of)| of);
        let verdict = |of: &String| {
            let row = |key: &str| self.row(Kind::Region, of, key);
            let (confidence, accuracy) = (row("confidence")?, row("accuracy")?);
            Some((of.clone(), Verdict::new(&confidence.values, &accuracy.values, self.plan.seed)))
        };
        regions.filter_map(verdict).collect()
    }

    /// Whether the predictions are calibrated in a region; `None` unless it is chosen without looking at the reference.
    pub fn verdict(&self, region: &str) -> Option<Verdict> {
        self.verdicts.get(region).copied()
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
        let name = label.parse().ok().and_then(|number: Label| self.names.get(&number));
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

/// Labels in numeric order rather than 1, 10, 2; names after them.
fn ordered(all: BTreeMap<String, Vec<Column>>) -> Vec<(String, Vec<Column>)> {
    let mut all: Vec<(String, Vec<Column>)> = all.into_iter().collect();
    all.sort_by_key(|(name, _)| (rank(name), name.clone()));
    all
}

/// Whether a region, or that of a separate binary problem, has a verdict.
fn is_judged(region: &str) -> bool {
    let region = region.rsplit('/').next().and_then(|region| region.parse().ok());
    matches!(region, Some(Region::All | Region::Predicted | Region::PredictedAs(_)))
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
fn expect_convention(cases: &[Case], convention: Convention) -> Result<()> {
    match cases.iter().find(|case| convention == Convention::Authors && !case.has_authors) {
        None => Ok(()),
        Some(case) => Err(Error::new("its state lacks the metrics of the authors' convention")
            .at(&case.name)
            .help("evaluate with --convention authors, which computes them too")),
    }
}

/// One metric over the cases, without its interval.
fn row(cases: &[Case], kind: Kind, of: String, column: &Column, plan: Plan) -> Row {
    let (values, summary) = match kind {
        Kind::Structure => of_structure(cases, column, plan),
        Kind::Region => of_region(cases, column),
    };
    let notes = cases.iter().map(|case| column.note(kind, case)).collect();
    Row { kind, of, metric: column.metric, values, notes, summary, interval: None }
}

/// Adds the intervals of all means. The values of one case are not enough for one, and neither are infinite ones.
fn add_intervals(rows: &mut [Row], seed: u64) {
    let mut with: Vec<&mut Row> =
        rows.iter_mut().filter(|row| row.summary.cases > 1 && row.summary.mean.is_finite()).collect();
    let values: Vec<&[f64]> = with.iter().map(|row| row.values.as_slice()).collect();
    let intervals = mean_intervals(&values, DEFAULT_REPLICATES, seed, 0.95);
    for (row, interval) in with.iter_mut().zip(intervals) {
        row.interval = Some([interval.lower, interval.upper]);
    }
}

/// Overlap and distance. The policy decides how empty masks are scored. Cases without a class for the structure are
/// excluded.
fn of_structure(cases: &[Case], column: &Column, plan: Plan) -> (Vec<f64>, Summary) {
    let outcome = |case: &Case| Some((column.outcome(case, plan.convention)?, case.diagonal));
    let resolved = |(outcome, diagonal)| plan.empty.resolve(outcome, column.metric, diagonal);
    let values = cases.iter().map(|case| outcome(case).map_or(f64::NAN, resolved)).collect();
    let scored: Vec<(Outcome, f64)> = cases.iter().filter_map(outcome).collect();
    (values, Summary::new(column.metric, &scored, plan.empty))
}

/// Calibration. A region without voxels has no value, whatever the policy. Cases without a class for it are excluded.
fn of_region(cases: &[Case], column: &Column) -> (Vec<f64>, Summary) {
    let scored: Vec<f64> = cases.iter().filter_map(|case| column.number(case)).collect();
    let values = cases.iter().map(|case| column.number(case).unwrap_or(f64::NAN)).collect();
    (values, Summary::of_defined(&scored))
}

/// Whether a key is in the table of metrics; for contract tests.
pub fn is_metric(key: &str) -> bool {
    metric(key).is_some()
}
