//! Overlap against calibration under noise.

use segcal_core::Result;
use segcal_evaluate::report::charts::Scatter;
use segcal_evaluate::report::plot::{Plot, Section};

use crate::compare::results::Results;
use crate::output::Csv;

/// DSC against ECE at each level of noise, with circles that grow with the noise (MbLS Fig. 5), one figure for each
/// data set with each network.
pub(super) fn of(results: &Results<'_>) -> Result<Vec<Plot>> {
    let metric = |key: &str| results.plan.metrics.iter().find(|metric| metric.key == key);
    let (Some(dsc), Some(ece)) = (metric("dsc"), metric("ece")) else { return Ok(Vec::new()) };
    let arms = (0..results.plan.arms.len()).filter(|_| results.plan.noise.len() > 1);
    let plot = |arm: usize| {
        let of_method = |(method, name): (usize, &String)| {
            let point = |&noise: &f64| {
                let mean = |metric| results.headline(results.row_of(method), arm, noise, metric).mean();
                [mean(dsc), mean(ece), noise]
            };
            (name.clone(), results.plan.noise.iter().map(point).collect::<Vec<_>>())
        };
        let points: Vec<_> = results.methods.iter().map(|method| &method.name).enumerate().map(of_method).collect();
        let mut csv = Csv::new(&["method", "noise", "dsc", "ece"]);
        for (name, points) in &points {
            points.iter().for_each(|[dsc, ece, noise]| csv.row(&[name, noise, dsc, ece]));
        }
        let name = results.plan.arms[arm].name();
        let (title, file) = if name.is_empty() {
            ("dsc against ece under noise".to_owned(), "trade".to_owned())
        } else {
            (format!("{name}: dsc against ece under noise"), format!("trade-{}", name.replace(' ', "-")))
        };
        let caption = format!("{title}: larger circles mean more noise; the lower right is best.");
        let axes = ["dsc".to_owned(), format!("ece, region {}", results.plan.region)];
        Plot::new(&file, Section::Noise, caption, &Scatter { title, axes, points }, csv)
    };
    arms.map(plot).collect()
}
