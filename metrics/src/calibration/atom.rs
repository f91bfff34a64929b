//! Atoms: disjoint groups of voxels, by reference label, by whether the background is predicted as foreground, and by
//! the boundary band. Every region is a union of atoms.

use crate::volume::Label;

/// Number of atoms.
pub(super) const fn atoms(classes: usize) -> usize {
    2 * (classes + 1)
}

/// The atom of a voxel.
#[inline]
pub(super) fn atom(reference: Label, prediction: Label, in_band: bool) -> usize {
    let slot = if reference == 0 { usize::from(prediction != 0) } else { usize::from(reference) + 1 };
    2 * slot + usize::from(in_band)
}

/// Reference label, a prediction that stands for those of the atom, and whether it lies in the band.
pub(super) fn members(atom: usize) -> (Label, Label, bool) {
    let slot = (atom / 2) as Label;
    (slot.saturating_sub(1), Label::from(slot == 1), atom % 2 == 1)
}

#[cfg(test)]
mod tests {
    use super::super::Region;
    use super::*;

    #[test]
    fn atoms_and_their_members() {
        for (reference, prediction) in [(0, 0), (0, 3), (2, 0), (2, 1)] {
            for in_band in [false, true] {
                let (label, stand_in, band) = members(atom(reference, prediction, in_band));
                assert_eq!((label, band), (reference, in_band));
                let union = |prediction| Region::Union.contains(reference, prediction, in_band);
                assert_eq!(union(prediction), union(stand_in));
            }
        }
    }
}
