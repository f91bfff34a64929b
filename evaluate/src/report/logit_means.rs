//! Bar charts of the mean logit and of its mean magnitude, by true class.

use segcal_core::Result;
use segcal_data::output::Csv;
use segcal_metrics::distribution::LogitDistribution;
use segcal_metrics::volume::Label;

use super::charts::{Bars, Series};
use super::plot::{Plot, Section};
use crate::cohort::Cohort;

/// File name, quantity drawn, and its index in the result of [`LogitDistribution::means`].
const KINDS: [(&str, &str, usize); 2] =
    [("logits-mean", "mean logit", 0), ("logits-mean-magnitude", "mean magnitude of the logit", 1)];

/// Both plots; none if no class has sums.
///
/// # Errors
/// The drawing library fails.
pub(super) fn plots(cohort: &Cohort, counts: &LogitDistribution) -> Result<Vec<Plot>> {
    let classes: Vec<Label> =
        (0..counts.classes() as Label).filter(|&label| counts.means(label, 0).is_some()).collect();
    if classes.is_empty() {
        return Ok(Vec::new());
    }
    let name = |class: usize| cohort.name(&class.to_string());
    let kinds = KINDS.iter().map(|&(file, what, place)| {
        let value = |label: Label, channel: usize| counts.means(label, channel).map_or(f64::NAN, |means| means[place]);
        let values = |channel: usize| classes.iter().map(|&label| [value(label, channel), f64::NAN]).collect();
        let channels = 0..counts.classes();
        let series = channels.clone().map(|channel| Series { name: name(channel), values: values(channel) }).collect();
        let mut csv = Csv::new(&["true_class", "channel", "value"]);
        for &label in &classes {
            channels.clone().for_each(|channel| csv.row(&[&label, &channel, &value(label, channel)]));
        }
        let groups = classes.iter().map(|&label| name(usize::from(label))).collect();
        let chart = Bars { title: format!("{what} of each channel by true class"), unit: what.into(), groups, series };
        let caption =
            format!("The {what} of each class's channel over the voxels of each true class, pooled over all cases.");
        Plot::new(file, Section::Logits, caption, &chart, csv)
    });
    kinds.collect()
}
