//! One column of a volume: a class, or the largest probability.

use super::group::{self, Group};
use super::voxels::{IGNORED, Voxels};
use crate::scan::chunks;
use crate::volume::{BLOCK, Label};

/// The column of class `number`, or, if `number` is the number of classes, of the largest probability.
pub(super) struct Column<'a> {
    pub(super) voxels: &'a Voxels<'a>,
    pub(super) number: usize,
}

impl Column<'_> {
    #[inline]
    pub(super) fn groups(&self, voxel: usize) -> impl Iterator<Item = Group> {
        let Voxels { reference, prediction, flags, .. } = self.voxels;
        group::of(reference[voxel], prediction[voxel], flags[voxel])
    }

    /// Calls `each` with the index, probability and hit of every voxel that counts in the column.
    pub(super) fn visit(&self, [start, end]: [usize; 2], mut each: impl FnMut(usize, f32, bool)) {
        let Voxels { p, reference, prediction, flags, threshold, quiet } = self.voxels;
        let judged = |voxel: usize| flags[voxel] & IGNORED == 0;
        // Adding 0 turns a negative zero into a positive one, whose bit pattern is 0.
        let clamped = |value: f32| value.clamp(0.0, 1.0) + 0.0;
        if self.number < p.classes() {
            for at in chunks(start..end).filter(|at| !quiet.holds(self.number, at.start)) {
                for (voxel, &value) in at.clone().zip(&p.class(self.number)[at]) {
                    if value > *threshold && judged(voxel) {
                        each(voxel, clamped(value), usize::from(reference[voxel]) == self.number);
                    }
                }
            }
            return;
        }
        let top = |voxel: usize, label: Label| p.values()[usize::from(label) * p.voxels() + voxel];
        for voxel in (start..end).filter(|&voxel| judged(voxel)) {
            let label = prediction[voxel];
            each(voxel, clamped(top(voxel, label)), label == reference[voxel]);
        }
    }
}

/// Splits a range into one part per thread, but at most eight, because each part has its own counters.
pub(super) fn pieces(start: usize, end: usize) -> Vec<[usize; 2]> {
    let step = (end - start).div_ceil(rayon::current_num_threads().min(8)).max(BLOCK);
    (start..end).step_by(step).map(|from| [from, (from + step).min(end)]).collect()
}
