//! Decides whether the files of a cohort contain scores of regions, each a separate binary problem.
//!
//! A region-based nnU-Net data set lists its regions. Its models output one sigmoid for each, without background; other
//! models of the same data output classes. The number of channels decides, and if it fits both, the sums do: class
//! probabilities sum to 1 in every voxel, those of regions only by chance.

use segcal_core::Result;
use segcal_metrics::guard::{Evidence, Kind};
use segcal_metrics::measure::Nested;
use segcal_metrics::volume::Probabilities;

use super::inputs::{Files, Pair};
use super::reading::{Background, Reading};
use super::scores::{self, Scores};

/// The regions that the scores of these cases are of; `None` if they are of classes.
///
/// # Errors
/// A file that is needed for the decision cannot be read.
pub fn decide(nested: Option<Nested>, pairs: &[Pair], kind: Scores, how: &Reading) -> Result<Option<Nested>> {
    let Some(nested) = nested.filter(|_| how.background == Background::Stored) else { return Ok(None) };
    // A file that cannot be read fails later, when its case is measured.
    let count = |pair: &Pair| {
        let extent = scores::extent(pair.reference_file()).ok()?;
        scores::channels(&pair.prediction, Some(extent)).ok()
    };
    let Some((pair, channels)) = pairs.iter().find_map(|pair| Some((pair, count(pair)?))) else { return Ok(None) };
    of_channels(nested, channels, &pair.prediction, kind)
}

fn of_channels(nested: Nested, channels: usize, files: &Files, kind: Scores) -> Result<Option<Nested>> {
    if channels != nested.regions.len() {
        return Ok(None);
    }
    let largest = nested.regions.iter().flat_map(|region| &region.labels).max();
    let classes = largest.map_or(1, |&label| usize::from(label) + 1);
    if channels == 1 || channels != classes {
        return Ok(Some(nested));
    }
    let values = scores::read_raw(files)?;
    let kinds = [Kind::Probabilities, Kind::OneHot];
    let of_classes = kind == Scores::Probabilities
        && kinds.contains(&Evidence::new(Probabilities::new(&values, channels)).verdict().kind);
    let (what, sums) = if of_classes { ("classes", "") } else { ("regions", "not ") };
    log::warn!(
        "{}: {channels} channels may be regions or classes; they do {sums}sum to 1 and are taken as {what} (to override, \
         use --dataset with a dataset.json with or without regions)",
        files.first().display()
    );
    Ok((!of_classes).then_some(nested))
}
