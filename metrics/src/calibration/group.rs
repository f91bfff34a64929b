//! Groups: small sets of voxels such that every region is a union of groups. A voxel belongs to at most four groups,
//! whatever the number of classes: one for its reference label, one for its prediction, and the two bands.

use super::region::Region;
use super::voxels::{IN_BAND, NEAR};
use crate::volume::Label;

/// Number of a group, below [`count`].
pub(super) type Group = u32;

const SILENT: Group = 0;
const INVENTED: Group = 1;
const BAND: Group = 2;
const CLOSE: Group = 3;

/// Number of groups.
pub(super) const fn count(classes: usize) -> usize {
    4 + 2 * (classes - 1)
}

const fn of_reference(label: Label) -> Group {
    2 + 2 * label as Group
}

const fn of_prediction(label: Label) -> Group {
    3 + 2 * label as Group
}

/// The groups of a voxel that is not ignored.
#[inline]
pub(super) fn of(reference: Label, prediction: Label, flags: u8) -> impl Iterator<Item = Group> {
    let own = match (reference, prediction) {
        (0, 0) => SILENT,
        (0, _) => INVENTED,
        _ => of_reference(reference),
    };
    let predicted = (prediction > 0).then(|| of_prediction(prediction));
    let (band, close) = ((flags & IN_BAND != 0).then_some(BAND), (flags & NEAR != 0).then_some(CLOSE));
    [Some(own), predicted, band, close].into_iter().flatten()
}

/// The regions that a group is a part of.
pub(super) fn regions(group: Group) -> Vec<Region> {
    // Even groups from 4 on are reference labels, odd groups from 5 on predicted labels; a label is at most 65,535.
    let label = || Label::try_from(group / 2 - 1).unwrap_or(Label::MAX);
    match group {
        SILENT => vec![Region::All],
        INVENTED => vec![Region::All, Region::Union],
        BAND => vec![Region::Boundary],
        CLOSE => vec![Region::Near],
        _ if group.is_multiple_of(2) => {
            vec![Region::All, Region::Foreground, Region::Union, Region::Structure(label())]
        }
        _ => vec![Region::Predicted, Region::PredictedAs(label())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_is_the_union_of_its_groups() {
        let classes = 4;
        for (reference, prediction) in (0..4).flat_map(|r| (0..4).map(move |p| (r, p))) {
            for flags in 0..4 {
                let groups: Vec<Group> = of(reference, prediction, flags).collect();
                assert!(groups.iter().all(|&group| (group as usize) < count(classes)));
                let mut found: Vec<Region> = groups.into_iter().flat_map(regions).collect();
                found.sort_unstable();
                let holds =
                    |region: &Region| region.contains(reference, prediction, flags & IN_BAND != 0, flags & NEAR != 0);
                let mut expected: Vec<Region> = Region::every(classes).into_iter().filter(holds).collect();
                expected.sort_unstable();
                assert_eq!(found, expected, "{reference} {prediction} {flags}");
            }
        }
    }
}
