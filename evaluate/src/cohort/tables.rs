//! Writes a cohort as files: `summary.json`, `cases.csv`, `summary.csv`.

use std::fmt::Display;

use segcal_metrics::definitions::METRICS;
use segcal_metrics::empty::{Emptiness, EmptyCounts};
use serde_json::{Map, Value, json};

use super::{Cohort, Kind, Row};
use crate::state::{CaseState, Figures, Prediction};
use crate::structures;
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

impl Cohort {
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
            "length_unit": self.length_unit(),
            "definitions": definitions,
            "failed": self.failed,
            "warnings": self.warnings(),
            "cases": (0..self.cases.len()).map(|number| self.case_json(number)).collect::<Vec<_>>(),
            "ignored": self.cases.iter().map(|case| (case.case.clone(), case.ignored.into())).collect::<Map<_, _>>(),
            "mean": self.nested(|row| number(row.summary.mean)),
            "std": self.nested(|row| number(row.deviation())),
            "pooled": self.pooled_json(),
            "pooled_interval95": self.pooled_intervals_json(),
            "interval95": self.nested(|row| json!(row.interval.unwrap_or([f64::NAN; 2]).map(number))),
            "verdict": Found::each(self).iter().map(Found::to_json).collect::<Vec<_>>(),
            "bounds": self.nested(|row| json!([number(row.summary.worst), number(row.summary.best)])),
            "empty": self.empty_json(),
        })
    }

    /// Warnings about the files: those of each case, then those of the whole cohort.
    fn warnings(&self) -> Vec<String> {
        let of_case =
            |case: &CaseState| case.warnings.iter().map(|text| format!("{}: {text}", case.case)).collect::<Vec<_>>();
        let labels = self.measure.kind == Prediction::Segmentation;
        let apart = labels.then(|| structures::apart(&self.cases)).flatten();
        self.cases.iter().flat_map(of_case).chain(apart).collect()
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
        let intervals = self.pooled.ece_intervals(self.plan.seed).into_iter();
        intervals.map(|(region, ends)| (region, json!({ "ece": ends.map(number) }))).collect::<Map<_, _>>().into()
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
    pub fn cases_csv(&self) -> String {
        let mut csv = Csv::new(&["case", "structure", "region", "metric", "value", "unit", "note"]);
        for (number, case) in self.cases.iter().enumerate() {
            for row in &self.rows {
                let (structure, region) = match row.kind {
                    Kind::Structure => (row.of.as_str(), ""),
                    Kind::Region => ("", row.of.as_str()),
                };
                let note = match row.kind {
                    Kind::Structure => {
                        case.outcome(&row.of, row.metric.key).map_or(NO_CLASS, |it| note(it.emptiness()))
                    }
                    Kind::Region if row.values[number].is_nan() => region_note(case.regions.get(&row.of)),
                    Kind::Region => "",
                };
                let (metric, value, unit) = (row.metric.key, row.values[number], self.unit(row.metric));
                csv.row(&[&case.case, &structure, &region, &metric, &value, &unit, &note]);
            }
        }
        csv.finish()
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

/// The note for a structure with an empty mask.
const fn note(which: Emptiness) -> &'static str {
    match which {
        Emptiness::Neither => "",
        Emptiness::Prediction => "prediction empty",
        Emptiness::Reference => "reference empty",
        Emptiness::Both => "both empty",
    }
}

/// The note for a structure or region without a class in the scores of a case.
const NO_CLASS: &str = "no class in the prediction";

/// The reason why a metric of a region is undefined.
fn region_note(figures: Option<&Figures>) -> &'static str {
    match figures.and_then(|figures| figures.get("accuracy")) {
        None => NO_CLASS,
        Some(accuracy) if accuracy.0.is_nan() => "no voxel in the region",
        Some(_) => "no foreground in the reference",
    }
}
