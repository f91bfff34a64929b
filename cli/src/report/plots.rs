//! Which plots a cohort has.

use segcal_core::Result;
use segcal_metrics::calibration::{Calibration, Region};
use segcal_metrics::reliability::{self, Bar};

use super::charts::Chart;
use crate::evaluate::cohort::{Cohort, Kind};

/// A plot in both formats, with the numbers behind it.
pub(super) struct Plot {
    /// File name without ending.
    pub(super) name: String,
    /// Heading of the section it belongs to.
    pub(super) section: &'static str,
    /// What one sees.
    pub(super) caption: String,
    /// The drawing.
    pub(super) svg: String,
    /// The drawing as pixels.
    pub(super) png: Vec<u8>,
    /// The numbers.
    pub(super) csv: String,
}

impl Plot {
    fn new(name: String, section: &'static str, caption: String, chart: &Chart, csv: String) -> Result<Self> {
        Ok(Self { name, section, caption, svg: chart.svg()?, png: chart.png()?, csv })
    }
}

/// Reliability diagrams of every region and class, then box plots of the structures' figures.
///
/// # Errors
/// The drawing library fails.
pub(super) fn of(cohort: &Cohort) -> Result<Vec<Plot>> {
    let mut plots = Vec::new();
    if let Some(calibration) = pooled(cohort) {
        for region in Region::every(calibration.classes()) {
            let bins = calibration.region(region);
            if bins.voxels() > 0 {
                plots.push(reliability_plot(&region.to_string(), "accuracy", &reliability::top_label(&bins))?);
            }
        }
        let all = calibration.region(Region::All);
        for class in 1..calibration.classes() {
            plots.push(reliability_plot(
                &format!("class {class}"),
                "frequency of the class",
                &reliability::of_class(&all, class),
            )?);
        }
    }
    for key in ["dsc", "hd95_max", "assd"] {
        plots.extend(box_plot(cohort, key)?);
    }
    Ok(plots)
}

/// The bins of all cases together. Cases that were measured with another number of classes cannot be pooled.
fn pooled(cohort: &Cohort) -> Option<Calibration> {
    let mut states = cohort.cases.iter().filter_map(|case| case.calibration.as_ref());
    let mut total = states.next()?.clone();
    for state in states {
        if (state.classes(), state.bins()) != (total.classes(), total.bins()) {
            log::warn!("cases with {} and {} classes: no common reliability diagram", state.classes(), total.classes());
            return None;
        }
        total.merge(state);
    }
    Some(total)
}

fn reliability_plot(of: &str, what: &'static str, bars: &[Bar]) -> Result<Plot> {
    let gap = |bar: &Bar| Some(bar.share * (bar.accuracy? - bar.confidence?).abs());
    let ece: f64 = bars.iter().filter_map(gap).sum();
    let voxels: u64 = bars.iter().map(|bar| bar.count).sum();
    let chart = Chart::Reliability { title: format!("{of}: ECE {ece:.4}"), what, bars: bars.to_vec() };
    let caption = format!(
        "{of}, {voxels} voxels of all cases together. Blue: {what}; orange: its gap to the mean probability; on the diagonal the confidence is right."
    );
    let mut csv = "lower,upper,count,share,mean_probability,frequency\n".to_owned();
    for bar in bars {
        let or_empty = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let (confidence, accuracy) = (or_empty(bar.confidence), or_empty(bar.accuracy));
        csv += &format!("{},{},{},{},{confidence},{accuracy}\n", bar.lower, bar.upper, bar.count, bar.share);
    }
    let name = format!("reliability-{}", of.replace([':', ' '], "-"));
    Plot::new(name, "Reliability", caption, &chart, csv)
}

/// The values of all structures; `None` where no case has one.
fn box_plot(cohort: &Cohort, key: &'static str) -> Result<Option<Plot>> {
    let rows: Vec<_> = cohort.rows.iter().filter(|row| row.kind == Kind::Structure && row.metric.key == key).collect();
    let finite = |values: &[f64]| values.iter().copied().filter(|value| value.is_finite()).collect::<Vec<_>>();
    let groups: Vec<(String, Vec<f64>)> =
        rows.iter().map(|row| (row.of.clone(), finite(&row.values))).filter(|(_, values)| !values.is_empty()).collect();
    let Some(row) = rows.first().filter(|_| !groups.is_empty()) else { return Ok(None) };
    let mut csv = "case,structure,value\n".to_owned();
    for row in &rows {
        for (case, value) in cohort.cases.iter().zip(&row.values) {
            csv += &format!("{},{},{value}\n", case.case, row.of);
        }
    }
    let unit = if row.metric.unit == "1" { key.to_owned() } else { format!("{key} ({})", row.metric.unit) };
    let chart = Chart::Boxes { title: format!("{key} by structure"), unit, groups };
    let caption = format!("{key} of each case: {}.", row.metric.definition);
    Plot::new(format!("box-{key}"), "Cases", caption, &chart, csv).map(Some)
}
