//! What a cohort gives: means with intervals and bounds, as JSON and CSV.

use std::collections::{BTreeMap, BTreeSet};

use segcal_metrics::bootstrap::{Bootstrap, DEFAULT_REPLICATES};
use segcal_metrics::definitions::{METRICS, Metric, metric};
use segcal_metrics::empty::{Emptiness, EmptyCounts, Outcome, Policy, Summary};
use segcal_metrics::volume::Label;
use serde_json::{Map, Value, json};

use super::case::{CaseState, Measure};
use crate::output::{Number, number};

/// Whose definitions the figures follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Convention {
    /// Those of the table of metrics.
    Segcal,
    /// Those of the papers' public evaluation code, so that published tables can be compared.
    Authors,
}

/// How a cohort is summarised.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What an empty mask counts.
    pub empty: Policy,
    /// Whose definitions.
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
    /// The value of each case under the policy, in the order of the cases; NaN where it has none.
    pub values: Vec<f64>,
    /// Mean and bounds.
    pub summary: Summary,
    /// 95 % BCa bootstrap interval of the mean over cases.
    pub interval: Option<[f64; 2]>,
}

/// What a figure is about.
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

/// All figures of a cohort. The same states in any order give the same figures.
#[derive(Clone, Debug)]
pub struct Cohort {
    /// Cases by name.
    pub cases: Vec<CaseState>,
    /// Every metric of every structure, then of every region.
    pub rows: Vec<Row>,
    /// How the cases were measured.
    pub measure: Measure,
    plan: Plan,
}

impl Cohort {
    /// Summarises the states of some cases.
    pub fn new(mut cases: Vec<CaseState>, measure: Measure, plan: Plan) -> Self {
        cases.sort_by(|a, b| a.case.cmp(&b.case));
        let structures = names(&cases, |case| case.structures.keys());
        let regions = names(&cases, |case| case.regions.keys());
        let mut rows = Vec::new();
        for (kind, names) in [(Kind::Structure, structures), (Kind::Region, regions)] {
            for of in names {
                let metrics = METRICS.iter().filter(|metric| metric.per_structure() == (kind == Kind::Structure));
                rows.extend(metrics.filter_map(|metric| row(&cases, kind, &of, metric, plan)));
            }
        }
        Self { cases, rows, measure, plan }
    }

    /// How the cohort is summarised.
    pub const fn plan(&self) -> Plan {
        self.plan
    }

    /// The row of a metric.
    pub fn row(&self, kind: Kind, of: &str, key: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == kind && row.of == of && row.metric.key == key)
    }

    /// The structures, in the order of the tables.
    pub fn structures(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.rows.iter().filter(|row| row.kind == Kind::Structure).map(|row| row.of.as_str()).collect();
        names.dedup();
        names
    }

    /// A label with what it is called, if that is known: `1 liver`. Other names are as they are.
    pub fn name(&self, label: &str) -> String {
        let name =
            label.parse().ok().and_then(|number: Label| self.cases.iter().find_map(|case| case.names.get(&number)));
        match (name, label) {
            (Some(name), label) => format!("{label} {name}"),
            (None, "0") => "0 background".into(),
            (None, label) => label.to_owned(),
        }
    }

    /// Mean over the structures of a metric's means: what a single figure of a cohort usually is.
    pub fn mean_over_structures(&self, key: &str) -> f64 {
        let single = |row: &&Row| row.kind == Kind::Structure && row.metric.key == key && row.of.parse::<u16>().is_ok();
        let means: Vec<f64> = self.rows.iter().filter(single).map(|row| row.summary.mean).collect();
        means.iter().sum::<f64>() / means.len() as f64
    }

    /// `summary.json`.
    pub fn to_json(&self) -> Value {
        let definitions: Map<String, Value> =
            METRICS.iter().map(|metric| (metric.key.into(), metric.definition.into())).collect();
        json!({
            "schema": "segcal.evaluation/1",
            "version": env!("CARGO_PKG_VERSION"),
            "convention": self.plan.convention,
            "empty_policy": self.plan.empty.name(),
            "settings": self.measure,
            "definitions": definitions,
            "cases": (0..self.cases.len()).map(|number| self.case_json(number)).collect::<Vec<_>>(),
            "mean": self.nested(|row| number(row.summary.mean)),
            "interval95": self.nested(|row| row.interval.map_or(Value::Null, |[low, high]| json!([number(low), number(high)]))),
            "bounds": self.nested(|row| json!([number(row.summary.worst), number(row.summary.best)])),
            "empty": self.nested_structures(|row| counts(&row.summary.empty)),
        })
    }

    fn case_json(&self, case: usize) -> Value {
        let mut document = self.nested(|row| number(row.values[case]));
        let object = document.as_object_mut().expect("nested tables are an object");
        object.shift_insert(0, "case".into(), self.cases[case].case.clone().into());
        document
    }

    /// `{structures: {name: {metric: …}}, regions: {name: {metric: …}}}`.
    fn nested(&self, figure: impl Fn(&Row) -> Value) -> Value {
        let mut document = Map::new();
        for kind in [Kind::Structure, Kind::Region] {
            let mut tables = Map::new();
            for row in self.rows.iter().filter(|row| row.kind == kind) {
                let table = tables.entry(&row.of).or_insert_with(|| json!({}));
                table[row.metric.key] = figure(row);
            }
            document.insert(kind.key().into(), tables.into());
        }
        document.into()
    }

    /// Counts of empty masks: the same for every metric of a structure, so once for each.
    fn nested_structures(&self, figure: impl Fn(&Row) -> Value) -> Value {
        let of_dsc = self.rows.iter().filter(|row| row.kind == Kind::Structure && row.metric.key == "dsc");
        of_dsc.map(|row| (row.of.clone(), figure(row))).collect::<Map<_, _>>().into()
    }

    /// `cases.csv`, long form.
    pub fn cases_csv(&self) -> String {
        let mut csv = "case,structure,region,metric,value,unit,note\n".to_owned();
        for (number, case) in self.cases.iter().enumerate() {
            for row in &self.rows {
                let (structure, region) = match row.kind {
                    Kind::Structure => (row.of.as_str(), ""),
                    Kind::Region => ("", row.of.as_str()),
                };
                let note = match row.kind {
                    Kind::Structure => note(outcome(case, &row.of, row.metric.key).emptiness()),
                    Kind::Region if row.values[number].is_nan() => "no voxel in the region",
                    Kind::Region => "",
                };
                let fields = [
                    &case.case,
                    structure,
                    region,
                    row.metric.key,
                    &row.values[number].to_string(),
                    row.metric.unit,
                    note,
                ];
                csv += &(fields.map(quoted).join(",") + "\n");
            }
        }
        csv
    }

    /// `summary.csv`: one line for each metric of each structure and region.
    pub fn summary_csv(&self) -> String {
        let mut csv = "structure,region,metric,unit,mean,low95,high95,worst_bound,best_bound,cases,empty_prediction,empty_reference,empty_both\n".to_owned();
        for row in &self.rows {
            let (structure, region) = match row.kind {
                Kind::Structure => (row.of.as_str(), ""),
                Kind::Region => ("", row.of.as_str()),
            };
            let [low, high] = row.interval.unwrap_or([f64::NAN; 2]);
            let (summary, empty) = (&row.summary, &row.summary.empty);
            let numbers = [summary.mean, low, high, summary.worst, summary.best].map(|x| x.to_string()).join(",");
            let words = [structure, region, row.metric.key, row.metric.unit].map(quoted).join(",");
            csv += &format!(
                "{words},{numbers},{},{},{},{}\n",
                summary.cases, empty.prediction, empty.reference, empty.both
            );
        }
        csv
    }
}

fn names<'a, I: Iterator<Item = &'a String>>(cases: &'a [CaseState], of: impl Fn(&'a CaseState) -> I) -> Vec<String> {
    let unique: BTreeSet<&String> = cases.iter().flat_map(of).collect();
    let mut names: Vec<String> = unique.into_iter().cloned().collect();
    // Labels by number, not 1, 10, 2; names after them.
    names.sort_by_key(|name| (rank(name), name.clone()));
    names
}

/// Order of the tables: all, foreground, union, boundary, then by label.
fn rank(name: &str) -> u32 {
    let common = ["all", "foreground", "union", "boundary"].iter().position(|known| *known == name);
    let label = name.strip_prefix("structure:").unwrap_or(name).parse::<u16>();
    common.map_or_else(|| label.map_or(u32::MAX, |label| 10 + u32::from(label)), |place| place as u32)
}

/// A structure's figure in a case; one that neither map holds is empty in both.
fn outcome(case: &CaseState, structure: &str, key: &str) -> Outcome {
    let found = case.structures.get(structure).and_then(|figures| figures.get(key));
    found.copied().unwrap_or(Outcome::Empty { which: Emptiness::Both, formula: None })
}

/// One metric over the cases; `None` where the convention does not have it.
fn row(cases: &[CaseState], kind: Kind, of: &str, metric: &'static Metric, plan: Plan) -> Option<Row> {
    let outcomes: Vec<(Outcome, f64)> = cases
        .iter()
        .map(|case| Some((figure(case, kind, of, metric, plan)?, case.diagonal_mm)))
        .collect::<Option<_>>()?;
    let summary = Summary::new(metric, &outcomes, plan.empty);
    let resolved = |&(outcome, diagonal): &(Outcome, f64)| match kind {
        Kind::Structure => plan.empty.resolve(outcome, metric, diagonal),
        Kind::Region => outcome.formula().unwrap_or(f64::NAN),
    };
    let values: Vec<f64> = outcomes.iter().map(resolved).collect();
    let defined: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let interval = (defined.len() > 1).then(|| {
        let interval = Bootstrap::of_mean(&defined, DEFAULT_REPLICATES, plan.seed).bca(0.95);
        [interval.lower, interval.upper]
    });
    Some(Row { kind, of: of.to_owned(), metric, values, summary, interval })
}

fn figure(case: &CaseState, kind: Kind, of: &str, metric: &Metric, plan: Plan) -> Option<Outcome> {
    let region_figure = |figures: Option<&BTreeMap<String, Number>>| {
        let value = figures.and_then(|figures| figures.get(metric.key)).map(|value| value.0);
        match value.filter(|value| !value.is_nan()) {
            Some(value) => Outcome::Measured(value),
            None => Outcome::Empty { which: Emptiness::Both, formula: None },
        }
    };
    match (plan.convention, kind) {
        (Convention::Segcal, Kind::Structure) => Some(outcome(case, of, metric.key)),
        (Convention::Segcal, Kind::Region) => Some(region_figure(case.regions.get(of))),
        (Convention::Authors, Kind::Structure) => {
            let own = case.authors.structures.iter().find(|figures| figures.structure == of);
            match metric.key {
                "dsc" => Some(Outcome::Measured(own.map_or(1.0, |figures| figures.dsc))),
                "hd95_pooled" => Some(Outcome::Measured(own.map_or(0.0, |figures| figures.hd95))),
                _ => None,
            }
        }
        (Convention::Authors, Kind::Region) => {
            let known = of == "foreground" && ["ece", "cece_mean", "tcece"].contains(&metric.key);
            known.then(|| region_figure(case.authors.calibration.as_ref()))
        }
    }
}

fn counts(empty: &EmptyCounts) -> Value {
    json!({ "prediction": empty.prediction, "reference": empty.reference, "both": empty.both, "neither": empty.neither })
}

/// What an empty mask means for a figure.
const fn note(which: Emptiness) -> &'static str {
    match which {
        Emptiness::Neither => "",
        Emptiness::Prediction => "prediction empty",
        Emptiness::Reference => "reference empty",
        Emptiness::Both => "both empty",
    }
}

/// A CSV field; quotes where it needs them.
pub fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// Whether a key is one of the table of metrics; for tests of the contract.
pub fn is_metric(key: &str) -> bool {
    metric(key).is_some()
}
