//! `summary.json`.

use segcal_metrics::bootstrap::Interval;
use segcal_metrics::metric::{Better, Metric};
use serde_json::{Map, Value, json};

use super::{case_sd, is_chosen, values_of};
use crate::compare::results::{Level, Results, Spread, Tried};
use crate::output::number;

/// `summary.json`.
pub fn to_json(results: &Results<'_>) -> Value {
    let plan = results.plan;
    let metric = |metric: &&Metric| {
        let better = match metric.better {
            Better::Higher => "higher",
            Better::Lower => "lower",
            Better::Zero => "zero",
        };
        let of = if metric.per_structure() { "mean over structures" } else { plan.region.as_str() };
        let unit = results.lengths().of(metric);
        json!({ "metric": metric.key, "unit": unit, "better": better, "of": of, "definition": metric.definition })
    };
    let first = &results.parts[0].measured;
    let mut document = json!({
        "schema": "segcal.comparison/1",
        "version": env!("CARGO_PKG_VERSION"),
        "data": plan.settings(0).data,
        "part": first.name,
        "cases": first.cases.len(),
        "seeds": plan.seeds,
        "noise": plan.noise.iter().map(|&level| number(level)).collect::<Vec<_>>(),
        "region": plan.region,
        "empty_policy": plan.empty.name(),
        "metrics": plan.metrics.iter().map(metric).collect::<Vec<_>>(),
        "methods": results.methods.iter().map(|method| (method.name.clone(), json!(method.keys))).collect::<Map<_, _>>(),
        "results": results.levels.iter().map(|level| level_json(results, level)).collect::<Vec<_>>(),
        "failed": results.failed,
    });
    if plan.is_wide() {
        ["data", "part", "cases"]
            .into_iter()
            .for_each(|key| drop(document.as_object_mut().and_then(|all| all.remove(key))));
        let arm = |(number, arm): (usize, &crate::compare::plan::Arm)| {
            let part = &results.parts[number].measured;
            let (data, cases) = (&plan.settings(number).data, part.cases.len());
            json!({ "dataset": arm.dataset, "network": arm.network, "data": data, "part": part.name, "cases": cases })
        };
        document["arms"] = plan.arms.iter().enumerate().map(arm).collect();
    }
    document["overall"] = plan
        .noise
        .iter()
        .zip(&results.overall)
        .map(|(noise, ranking)| {
            let mut ranks = ranking.to_json();
            ranks["noise"] = number(*noise);
            ranks
        })
        .collect();
    if !plan.calibrate.is_empty() {
        document["calibrate"] = plan.calibrate.iter().map(|map| map.name()).collect();
    }
    if !results.trials.is_empty() {
        document["grid"] = results.trials.iter().map(|tried| tried_json(results, tried)).collect();
    }
    document
}

fn tried_json(results: &Results<'_>, tried: &Tried) -> Value {
    let (method, arm) = (results.methods[tried.method], &results.plan.arms[tried.arm]);
    let metrics = results.plan.metrics.iter().zip(&tried.values);
    let validation: Map<String, Value> =
        metrics.map(|(metric, spread)| (metric.key.to_owned(), spread_json(spread))).collect();
    json!({
        "method": method.name,
        "dataset": arm.dataset,
        "network": arm.network,
        "value": values_of(results, tried.method, tried.trial),
        "select": method.select.name(),
        "chosen": is_chosen(results, tried),
        "validation": validation,
    })
}

fn spread_json(of: &Spread) -> Value {
    let seeds: Vec<Value> = of.values.iter().map(|&value| number(value)).collect();
    json!({ "mean": number(of.mean()), "sd": number(of.sd()), "seeds": seeds })
}

fn ends(of: &Interval) -> Value {
    json!([number(of.lower), number(of.upper)])
}

fn level_json(results: &Results<'_>, level: &Level) -> Value {
    let (arm, noise, ranking) = (level.arm, level.noise, &level.ranking);
    let by_row = |figure: &dyn Fn(usize) -> Value| -> Value {
        let pairs = results.rows.iter().enumerate().map(|(row, of)| (of.name.clone(), figure(row)));
        pairs.collect::<Map<_, _>>().into()
    };
    let by_method = |figure: &dyn Fn(usize) -> Value| -> Value {
        let pairs = results.methods.iter().enumerate().map(|(number, method)| (method.name.clone(), figure(number)));
        pairs.collect::<Map<_, _>>().into()
    };
    let metrics = |figure: &dyn Fn(usize, &Metric) -> Value| -> Value {
        let pairs = results.plan.metrics.iter().enumerate();
        pairs.map(|(place, metric)| (metric.key.to_owned(), figure(place, metric))).collect::<Map<_, _>>().into()
    };
    let structures = |row: usize| {
        let of_label = |label: &String| {
            let own = results.plan.metrics.iter().filter(|metric| metric.per_structure());
            let spread = |metric: &Metric| spread_json(&results.spread(row, arm, noise, metric, label));
            let own = own.map(|metric| (metric.key.to_owned(), spread(metric)));
            (label.clone(), own.collect::<Map<_, _>>().into())
        };
        results.structures(arm).iter().map(of_label).collect::<Map<String, Value>>().into()
    };
    let mut document = json!({
        "noise": number(noise),
        "methods": by_row(&|row| metrics(&|_, metric| spread_json(&results.headline(row, arm, noise, metric)))),
        "sd_cases": by_row(&|row| metrics(&|place, _| number(case_sd(level, row, place)))),
        "structures": by_row(&structures),
        "missed": by_row(&|row| metrics(&|place, _| level.columns[place].missed[row].into())),
        "ranks": by_method(&|method| metrics(&|place, _| number(ranking.columns[place].ranks[method]))),
        "sum_rank": by_method(&|method| number(ranking.sum_ranks[method])),
        "mean_case_rank": by_method(&|method| number(ranking.case_ranks[method].estimate)),
        "friedman_rank": by_method(&|method| number(ranking.friedman_ranks[method].estimate)),
        "final_rank": by_method(&|method| number(ranking.final_ranks[method])),
        "mean_case_rank_interval95": by_method(&|method| ends(&ranking.case_ranks[method])),
        "friedman_rank_interval95": by_method(&|method| ends(&ranking.friedman_ranks[method])),
    });
    if results.plan.is_wide() {
        document["dataset"] = results.plan.arms[arm].dataset.clone().into();
        document["network"] = results.plan.arms[arm].network.clone().into();
    }
    document
}
