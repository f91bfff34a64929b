//! Metrics against the parameter of a grid, on the validation part.

use segcal_core::Result;
use segcal_evaluate::report::charts::{Line, Lines, Panels};
use segcal_evaluate::report::plot::{Plot, Section};

use crate::compare::results::{Results, Spread, Tried};
use crate::output::Csv;

/// DSC and ECE, side by side, of each method with a grid over one numeric key (MbLS Fig. 6, CRaC Fig. 1); a line for
/// each data set with each network.
pub(super) fn of(results: &Results<'_>) -> Result<Vec<Plot>> {
    let mut plots = Vec::new();
    for (number, method) in results.methods.iter().enumerate().filter(|(_, method)| method.has_grid()) {
        let [(key, _)] = &method.trials[0].values[..] else { continue };
        let places = results.plan.metrics.iter().enumerate();
        let places: Vec<usize> =
            places.filter(|(_, metric)| ["dsc", "ece"].contains(&metric.key)).map(|(place, _)| place).collect();
        let panels: Vec<Lines> = places.iter().filter_map(|&place| panel(results, number, key, place)).collect();
        if panels.is_empty() {
            continue;
        }
        let mut csv = Csv::new(&["on", "metric", key.as_str(), "mean", "sd"]);
        for panel in &panels {
            for line in &panel.methods {
                let [metric, name] = [&panel.unit, &line.name];
                line.points.iter().for_each(|[value, mean, sd]| csv.row(&[name, metric, value, mean, sd]));
            }
        }
        let caption = format!("{}: every value of {key}, means over the seeds, on the validation part.", method.name);
        let name = format!("sensitivity-{}", method.name);
        plots.push(Plot::new(&name, Section::Sensitivity, caption, &Panels { panels }, csv)?);
    }
    Ok(plots)
}

/// A metric against the key; `None` if one of its values is not a number.
fn panel(results: &Results<'_>, method: usize, key: &str, place: usize) -> Option<Lines> {
    let (metric, of) = (results.plan.metrics[place], results.methods[method]);
    let line = |arm: usize| {
        let own = results.trials.iter().filter(|tried| (tried.method, tried.arm) == (method, arm));
        let point = |tried: &Tried| {
            let value = &of.trials[tried.trial].values[0].1;
            let at = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))?;
            let spread = tried.values.get(place);
            Some([at, spread.map_or(f64::NAN, Spread::mean), spread.map_or(f64::NAN, Spread::sd)])
        };
        let name = results.plan.arms[arm].name();
        let name = if name.is_empty() { of.name.clone() } else { name };
        Some(Line { name, points: own.map(point).collect::<Option<_>>()? })
    };
    let methods: Vec<Line> = (0..results.plan.arms.len()).map(line).collect::<Option<_>>()?;
    let unit = results.lengths().headed(metric);
    Some(Lines { title: format!("{}: {}", of.name, metric.key), along: key.to_owned(), unit, methods })
}
