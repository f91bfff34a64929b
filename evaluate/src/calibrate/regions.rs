//! Maps for regions that are separate binary problems: one map of two classes, rest and region, for each.

use segcal_core::{Error, Result};
use segcal_metrics::calibration::Calibration;
use segcal_metrics::measure::Nested;
use segcal_metrics::posthoc::log_odds_of;
use segcal_metrics::volume::{Label, Probabilities, Structure};
use serde::{Deserialize, Serialize};

use crate::scores::Scores;

/// The label of ignored voxels in the binary problem of a region.
pub(super) const IGNORED: Label = 2;

/// A map for each region, of logits `(0, z)` for rest and region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionMaps<M> {
    /// The regions in the order of the channels.
    #[serde(flatten)]
    pub nested: Nested,
    /// The map of each.
    maps: Vec<M>,
}

impl<M> RegionMaps<M> {
    /// One map for each region.
    pub const fn new(nested: Nested, maps: Vec<M>) -> Self {
        Self { nested, maps }
    }

    /// The regions with their maps.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Structure, &M)> {
        self.nested.regions.iter().zip(&self.maps)
    }

    /// Checks that the numbers of regions, labels and maps equal the number of channels.
    pub(super) fn expect_channels(&self, channels: usize) -> Result<()> {
        let counts = [self.nested.regions.len(), self.nested.order.len(), self.maps.len()];
        if channels > 0 && counts == [channels; 3] {
            return Ok(());
        }
        let [regions, order, maps] = counts;
        let problem = format!("numbers differ: {channels} channels, {regions} regions, {order} labels, {maps} maps");
        Err(Error::new(problem).help("fit the map again"))
    }

    /// Turns logits `[r, d, h, w]` into calibrated probabilities, in place. `map` does so for the pair of logits of one
    /// region.
    pub(super) fn apply(&self, logits: &mut [f32], map: impl Fn(&M, &mut [f32])) {
        let voxels = logits.len() / self.maps.len().max(1);
        for (own, of_region) in logits.chunks_mut(voxels.max(1)).zip(&self.maps) {
            let mut pair = with_rest(own.to_vec());
            map(of_region, &mut pair);
            own.copy_from_slice(&pair[voxels..]);
        }
    }
}

/// The logits `(0, z)` of rest and region.
pub(super) fn with_rest(own: Vec<f32>) -> Vec<f32> {
    let mut pair = vec![0.0; own.len()];
    pair.extend(own);
    pair
}

/// The logits of one region in stored scores `[r, n]`.
pub(super) fn logits(scores: &[f32], kind: Scores, nested: &Nested, channel: usize) -> Vec<f32> {
    let voxels = scores.len() / nested.regions.len();
    let mut own = scores[channel * voxels..][..voxels].to_vec();
    if kind == Scores::Probabilities {
        log_odds_of(&mut own);
    }
    own
}

/// Whether each voxel is in a region: 1 or 0, or [`IGNORED`] for voxels with the ignore label.
pub(super) fn membership(region: &Structure, labels: &[Label], ignored: Option<Label>) -> Vec<Label> {
    let judge = |&label: &Label| if Some(label) == ignored { IGNORED } else { region.contains(label).into() };
    labels.iter().map(judge).collect()
}

/// Calibration of each region against the rest, from probabilities `[r, n]`.
///
/// # Errors
/// The numbers are not probabilities.
pub(super) fn states(p: &[f32], labels: &[Label], nested: &Nested, bins: usize) -> Result<Vec<Calibration>> {
    let each = nested.regions.iter().zip(p.chunks(labels.len().max(1)));
    let state = |(region, own): (&Structure, &[f32])| {
        let pair: Vec<f32> = own.iter().map(|p| 1.0 - p).chain(own.iter().copied()).collect();
        let mut state = Calibration::new(2, bins);
        state.add(Probabilities::new(&pair, 2), &membership(region, labels, None), None)?;
        Ok(state)
    };
    each.map(state).collect()
}
