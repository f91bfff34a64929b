//! Scores of regions that are independent problems: whether the files of a cohort hold them.
//!
//! A region-based data set of nnU-Net says which regions there are. Its models give one sigmoid for each, without a
//! background; other models of the same data give classes. The number of channels tells which, and where it fits both,
//! the sums do: probabilities of classes sum to 1 in every voxel, those of regions nowhere but by chance.

use segcal_core::Result;
use segcal_metrics::guard::{Evidence, Kind};
use segcal_metrics::measure::Nested;
use segcal_metrics::volume::Probabilities;

use super::inputs::{Files, Pair};
use super::reading::{Background, Reading};
use super::scores::{self, Scores};

/// The regions that the scores of these cases are of; none where they are of classes.
///
/// # Errors
/// A file that must be looked at cannot be read.
pub fn decide(nested: Option<Nested>, pairs: &[Pair], kind: Scores, how: &Reading) -> Result<Option<Nested>> {
    let Some(nested) = nested.filter(|_| how.background == Background::Stored) else { return Ok(None) };
    // A file that cannot be read fails as a case of its own.
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
        "{}: {channels} channels may be regions or classes; they do {sums}sum to 1 and are taken for {what} (--dataset \
         names a dataset.json with or without regions)",
        files.first().display()
    );
    Ok((!of_classes).then_some(nested))
}
