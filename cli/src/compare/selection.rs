//! Selects the value of each method's grid to evaluate: the one with the best validation DSC.

use std::collections::BTreeSet;
use std::path::Path;

use segcal_core::{Context, Error, Result};
use segcal_metrics::definitions::metric;
use segcal_metrics::metric::Metric;

use super::plan::{Method, Plan, Select};
use super::step::View;
use super::unit::Unit;

/// The chosen trial of each method on each arm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// `chosen[method][arm]`; `None` if not known yet.
    pub chosen: Vec<Vec<Option<usize>>>,
}

/// One mean over the cases of one evaluation.
#[derive(Clone, Debug)]
pub struct Mean {
    /// The structure; empty for a metric of a region.
    pub structure: String,
    /// The region; empty for a metric of a structure.
    pub region: String,
    /// The metric.
    pub metric: &'static Metric,
    /// Its unit.
    pub unit: String,
    /// The mean over the cases.
    pub value: f64,
}

/// The means of a `summary.csv`.
///
/// # Errors
/// The file cannot be read, or names an unknown metric.
pub fn means(folder: &Path) -> Result<Vec<Mean>> {
    #[derive(serde::Deserialize)]
    struct Line {
        structure: String,
        region: String,
        metric: String,
        unit: String,
        mean: f64,
    }
    let path = folder.join("summary.csv");
    let mut reader = csv::Reader::from_path(&path).map_err(Error::from_source).at(path.display())?;
    let figure = |line: csv::Result<Line>| {
        let Line { structure, region, metric: key, unit, mean: value } =
            line.map_err(Error::from_source).at(path.display())?;
        let metric = metric(&key).ok_or_else(|| Error::new(format!("unknown metric {key}")).at(path.display()))?;
        Ok(Mean { structure, region, metric, unit, value })
    };
    reader.deserialize().map(figure).collect()
}

/// The structures that headline metrics average over: the regions of the plan, or else the single labels, in their
/// order.
pub fn structures(plan: &Plan, arm: usize, means: &[Mean]) -> Vec<String> {
    let regions = &plan.arms[arm].measuring.settings.regions;
    if !regions.is_empty() {
        return regions.keys().cloned().collect();
    }
    let mut labels: Vec<u16> = means.iter().filter_map(|mean| mean.structure.parse::<u16>().ok()).collect();
    labels.sort_unstable();
    labels.dedup();
    if labels.is_empty() {
        // Regions that are separate problems.
        let names: BTreeSet<&String> =
            means.iter().map(|mean| &mean.structure).filter(|name| !name.is_empty()).collect();
        return names.into_iter().cloned().collect();
    }
    labels.into_iter().map(|label| label.to_string()).collect()
}

/// The value of a table cell: for overlap and surface metrics the mean over the structures, for calibration metrics
/// that of the region.
pub fn headline(means: &[Mean], metric: &Metric, structures: &[String], region: &str) -> f64 {
    let of = |name: &str| {
        let own = |mean: &&Mean| {
            mean.metric.key == metric.key && name == if metric.per_structure() { &mean.structure } else { &mean.region }
        };
        means.iter().find(own).map_or(f64::NAN, |mean| mean.value)
    };
    if !metric.per_structure() {
        return of(region);
    }
    structures.iter().map(|name| of(name)).sum::<f64>() / structures.len() as f64
}

/// A trial's metric on the validation part, one value for each seed; `None` if it has not been evaluated with every
/// seed.
///
/// # Errors
/// A file cannot be read.
pub fn validation(units: &[&Unit<'_>], plan: &Plan, metric: &Metric) -> Result<Option<Vec<f64>>> {
    let of_unit = |unit: &&Unit<'_>| {
        let done = unit.done(&unit.first_steps())?.into_iter().all(|done| done);
        if !done {
            return Ok(None);
        }
        let means = means(&unit.evaluation(View::Validation))?;
        Ok(Some(headline(&means, metric, &structures(plan, unit.arm, &means), &plan.region)))
    };
    let values: Option<Vec<f64>> = units.iter().map(of_unit).collect::<Result<_>>()?;
    Ok(values.filter(|values| !values.is_empty()))
}

impl Selection {
    /// Chooses a trial wherever all trials, except those that `failed`, have been evaluated on the validation part.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of(plan: &Plan, units: &[Unit<'_>], failed: &dyn Fn(&Unit<'_>) -> bool) -> Result<Self> {
        let of_method = |number: usize| of_method(plan, number, units, failed);
        Ok(Self { chosen: (0..plan.methods.len()).map(of_method).collect::<Result<_>>()? })
    }

    /// Whether a unit's trial is the one to evaluate.
    pub fn has(&self, unit: &Unit<'_>) -> bool {
        self.chosen[unit.method][unit.arm] == Some(unit.trial)
    }
}

fn of_method(
    plan: &Plan,
    number: usize,
    units: &[Unit<'_>],
    failed: &dyn Fn(&Unit<'_>) -> bool,
) -> Result<Vec<Option<usize>>> {
    let method = &plan.methods[number];
    if !method.has_grid() {
        return Ok(vec![Some(0); plan.arms.len()]);
    }
    let dsc = metric("dsc").expect("there is such a metric");
    let mut scores = Vec::with_capacity(plan.arms.len());
    for arm in 0..plan.arms.len() {
        let of_trial = |trial: usize| {
            let own = |unit: &&Unit<'_>| (unit.method, unit.arm, unit.trial) == (number, arm, trial);
            let own: Vec<&Unit<'_>> = units.iter().filter(own).collect();
            if own.iter().any(|unit| failed(unit)) {
                return Ok(Some(f64::NEG_INFINITY));
            }
            Ok(validation(&own, plan, dsc)?.map(|seeds| seeds.iter().sum::<f64>() / seeds.len() as f64))
        };
        scores.push((0..method.trials.len()).map(of_trial).collect::<Result<Option<Vec<f64>>>>()?);
    }
    Ok(choose(method, &scores))
}

/// Selects the best trial on each arm, or by the mean over the arms; the first one if several are equally good. A trial
/// without a value is never chosen.
fn choose(method: &Method, scores: &[Option<Vec<f64>>]) -> Vec<Option<usize>> {
    let best = |scores: &[f64]| {
        let known = scores.iter().enumerate().filter(|(_, score)| **score > f64::NEG_INFINITY);
        known.fold(None, |best: Option<(usize, f64)>, (trial, &score)| match best {
            Some((_, least)) if least >= score => best,
            _ => Some((trial, score)),
        })
    };
    match method.select {
        Select::Dataset => scores.iter().map(|scores| best(scores.as_ref()?).map(|(trial, _)| trial)).collect(),
        Select::All => {
            let all: Option<Vec<&Vec<f64>>> = scores.iter().map(Option::as_ref).collect();
            let mean = |trial: usize, all: &[&Vec<f64>]| {
                all.iter().map(|scores| scores[trial]).sum::<f64>() / all.len() as f64
            };
            let means = all.map(|all| (0..method.trials.len()).map(|trial| mean(trial, &all)).collect::<Vec<f64>>());
            let chosen = means.and_then(|means| best(&means)).map(|(trial, _)| trial);
            vec![chosen; scores.len()]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::plan::Trial;

    fn method(select: Select) -> Method {
        let trial = |name: &str| Trial { name: name.into(), values: Vec::new(), settings: Vec::new() };
        let trials = ["a", "b", "c"].map(trial).into();
        Method { name: "m".into(), keys: toml::Table::new(), select, trials }
    }

    #[test]
    fn the_best_is_chosen_by_data_set_or_over_all() {
        let scores = [Some(vec![0.5, 0.75, 0.7]), Some(vec![0.9, 0.1, 0.9])];
        assert_eq!(choose(&method(Select::Dataset), &scores), [Some(1), Some(0)]);
        assert_eq!(choose(&method(Select::All), &scores), [Some(2), Some(2)]);
    }

    #[test]
    fn nothing_is_chosen_before_all_is_known_and_never_what_failed() {
        let scores = [Some(vec![f64::NEG_INFINITY, f64::NAN, 0.1]), None];
        assert_eq!(choose(&method(Select::Dataset), &scores), [Some(2), None]);
        assert_eq!(choose(&method(Select::All), &scores), [None, None]);
    }
}
