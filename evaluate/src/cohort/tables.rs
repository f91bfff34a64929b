//! Writes a cohort as files: `summary.json`, `cases.csv`, `summary.csv`. What has a part for each case is written case by
//! case.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;

use segcal_core::Result;
use segcal_metrics::definitions::METRICS;
use segcal_metrics::empty::EmptyCounts;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::plan::Convention;
use super::{Cohort, Kind, Row};
use crate::Failure;
use crate::state::{Figures, Measure};
use crate::units::LengthUnit;
use crate::verdict::Found;
use segcal_data::output::{Csv, number};

/// The columns of `summary.csv`.
const SUMMARY_COLUMNS: [&str; 13] = [
    "structure",
    "region",
    "metric",
    "unit",
    "mean",
    "low95",
    "high95",
    "worst_bound",
    "best_bound",
    "cases",
    "empty_prediction",
    "empty_reference",
    "empty_both",
];

/// `summary.json`.
#[derive(Serialize)]
pub struct Document<'a> {
    schema: &'static str,
    version: &'static str,
    convention: Convention,
    empty_policy: &'static str,
    settings: &'a Measure,
    length_unit: LengthUnit,
    definitions: Value,
    failed: &'a [Failure],
    #[serde(serialize_with = "warnings")]
    warnings: &'a Cohort,
    #[serde(serialize_with = "cases")]
    cases: &'a Cohort,
    #[serde(serialize_with = "ignored")]
    ignored: &'a Cohort,
    mean: Value,
    std: Value,
    pooled: Value,
    pooled_interval95: Value,
    interval95: Value,
    verdict: Vec<Value>,
    bounds: Value,
    empty: Value,
    /// The SHA-256 of the files of the evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<BTreeMap<String, String>>,
}

/// Warnings about the files: those of each case, then those of the whole cohort.
fn warnings<S: Serializer>(cohort: &Cohort, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let each = cohort.cases.iter().flat_map(|case| case.warnings.iter().map(|text| format!("{}: {text}", case.name)));
    serializer.collect_seq(each.chain(cohort.doubt.clone()))
}

fn cases<S: Serializer>(cohort: &Cohort, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq((0..cohort.cases.len()).map(|number| cohort.case_json(number)))
}

fn ignored<S: Serializer>(cohort: &Cohort, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(cohort.cases.iter().map(|case| (&case.name, case.ignored)))
}

impl Cohort {
    /// `summary.json`, without the hashes of the files.
    pub fn to_json(&self) -> Document<'_> {
        Document {
            schema: "segcal.evaluation/1",
            version: env!("CARGO_PKG_VERSION"),
            convention: self.plan.convention,
            empty_policy: self.plan.empty.name(),
            settings: &self.measure,
            length_unit: self.length_unit(),
            definitions: METRICS.iter().map(|metric| (metric.key, metric.definition)).collect(),
            failed: &self.failed,
            warnings: self,
            cases: self,
            ignored: self,
            mean: self.nested(|row| number(row.summary.mean)),
            std: self.nested(|row| number(row.deviation())),
            pooled: self.pooled_json(),
            pooled_interval95: self.pooled_intervals_json(),
            interval95: self.nested(|row| json!(row.interval.unwrap_or([f64::NAN; 2]).map(number))),
            verdict: Found::each(self).iter().map(Found::to_json).collect(),
            bounds: self.nested(|row| json!([number(row.summary.worst), number(row.summary.best)])),
            empty: self.empty_json(),
            files: None,
        }
    }

    /// `{region: {metric: …}}` over the pooled voxels of all cases.
    fn pooled_json(&self) -> Value {
        let figures = |figures: Figures| -> Value {
            figures.into_iter().map(|(key, value)| (key, number(value.0))).collect::<Map<_, _>>().into()
        };
        self.pooled.figures().into_iter().map(|(region, own)| (region, figures(own))).collect::<Map<_, _>>().into()
    }

    /// `{region: {"ece": [lower, upper]}}`.
    fn pooled_intervals_json(&self) -> Value {
        let interval = |(region, ends): (&String, &[f64; 2])| (region.clone(), json!({ "ece": ends.map(number) }));
        self.pooled_intervals.iter().map(interval).collect::<Map<_, _>>().into()
    }

    fn case_json(&self, case: usize) -> Value {
        let mut document = self.nested(|row| number(row.values[case]));
        let object = document.as_object_mut().expect("nested tables are an object");
        object.shift_insert(0, "case".into(), (*self.cases[case].name).into());
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

    /// One row for each structure and region, whose counts of empty masks hold for all its metrics.
    pub fn emptiness(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| match row.kind {
            Kind::Structure => row.metric.key == "dsc",
            Kind::Region => row.metric.key == "ece",
        })
    }

    fn empty_json(&self) -> Value {
        self.emptiness().map(|row| (row.of.clone(), counts(row))).collect::<Map<_, _>>().into()
    }

    /// `cases.csv`, in long form.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_cases_csv(&self, out: &mut dyn Write) -> Result<()> {
        let mut csv = Csv::new(&["case", "structure", "region", "metric", "value", "unit", "note"]);
        for (number, case) in self.cases.iter().enumerate() {
            for row in &self.rows {
                let (structure, region) = match row.kind {
                    Kind::Structure => (row.of.as_str(), ""),
                    Kind::Region => ("", row.of.as_str()),
                };
                let (metric, value, unit) = (row.metric.key, row.values[number], self.unit(row.metric));
                csv.row(&[&case.name, &structure, &region, &metric, &value, &unit, &row.notes[number].text()]);
            }
            csv.pass_on(out)?;
        }
        Ok(csv.pass_on(out)?)
    }

    /// `summary.csv`: one row for each metric of each structure and region.
    pub fn summary_csv(&self) -> String {
        let mut csv = Csv::new(&SUMMARY_COLUMNS);
        for row in &self.rows {
            let (structure, region) = match row.kind {
                Kind::Structure => (row.of.as_str(), ""),
                Kind::Region => ("", row.of.as_str()),
            };
            let [low, high] = row.interval.unwrap_or([f64::NAN; 2]);
            let (summary, empty) = (&row.summary, &row.summary.empty);
            let (of, unit) = ([&structure, &region, &row.metric.key], self.unit(row.metric));
            let figures = [summary.mean, low, high, summary.worst, summary.best];
            let counts = [summary.cases, empty.prediction, empty.reference, empty.both];
            let mut fields: Vec<&dyn Display> = of.iter().map(|word| word as &dyn Display).collect();
            fields.push(&unit);
            fields.extend(figures.iter().map(|figure| figure as &dyn Display));
            fields.extend(counts.iter().map(|count| count as &dyn Display));
            csv.row(&fields);
        }
        csv.finish()
    }
}

/// The numbers of cases with each kind of empty mask, and of cases without a class for the structure.
fn counts(row: &Row) -> Value {
    let EmptyCounts { prediction, reference, both, neither } = row.summary.empty;
    json!({
        "prediction": prediction, "reference": reference, "both": both, "neither": neither, "no_class": row.not_scored(),
    })
}
