//! The values inside the cells that contain a cut of a region.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::bins::Bin;
use super::cells::Cells;
use super::codes::{CELLS, cell, code, probability};
use super::column::{Column, pieces};
use super::fixed::units;
use super::group::Group;
use super::region::Region;

/// By group, ascending: twice the code of each value, plus one for a hit.
pub(super) struct Fine(BTreeMap<Group, Vec<u32>>);

/// The cells whose values are needed, by group.
struct Wanted(Vec<Vec<bool>>);

impl Wanted {
    fn new(members: &BTreeMap<Region, Vec<Group>>, cuts: &BTreeMap<Region, Vec<u32>>) -> Self {
        let mut cells: BTreeMap<Group, BTreeSet<u32>> = BTreeMap::new();
        for (region, groups) in members {
            groups.iter().for_each(|group| cells.entry(*group).or_default().extend(&cuts[region]));
        }
        let mut masks = vec![Vec::new(); cells.last_key_value().map_or(0, |(last, _)| *last as usize + 1)];
        for (group, cells) in cells.into_iter().filter(|(_, cells)| !cells.is_empty()) {
            let mut mask = vec![false; CELLS];
            cells.into_iter().for_each(|cell| mask[cell as usize] = true);
            masks[group as usize] = mask;
        }
        Self(masks)
    }

    #[inline]
    fn holds(&self, group: Group, code: u32) -> bool {
        self.0[group as usize].get(cell(code) as usize) == Some(&true)
    }

    /// Calls `each` with the group and value of every voxel of a piece whose value is needed.
    fn visit(&self, column: &Column<'_>, piece: [usize; 2], mut each: impl FnMut(Group, u32)) {
        column.visit(piece, |voxel, value, hit| {
            let code = code(value);
            let groups = column.groups(voxel).filter(|&group| self.holds(group, code));
            groups.for_each(|group| each(group, code << 1 | u32::from(hit)));
        });
    }
}

impl Fine {
    /// Gathers the values of the cells that contain cuts, for each region, given as a list of groups.
    pub(super) fn gather(
        column: &Column<'_>,
        members: &BTreeMap<Region, Vec<Group>>,
        cuts: &BTreeMap<Region, Vec<u32>>,
    ) -> Self {
        let wanted = Wanted::new(members, cuts);
        // Counting first means that the values are stored once, without further buffers.
        let pieces = pieces(0, column.voxels.reference.len());
        let count = |&piece: &[usize; 2]| {
            let mut counts = vec![0; wanted.0.len()];
            wanted.visit(column, piece, |group, _| counts[group as usize] += 1);
            counts
        };
        let counts: Vec<Vec<usize>> = pieces.par_iter().map(count).collect();
        let total = |group: usize| counts.iter().map(|counts| counts[group]).sum();
        let mut values: Vec<Vec<u32>> = (0..wanted.0.len()).map(|group| vec![0; total(group)]).collect();
        let parts: Vec<_> = pieces.into_iter().zip(shares(&mut values, &counts)).collect();
        parts.into_par_iter().for_each(|(piece, mut shares)| {
            wanted.visit(column, piece, |group, value| {
                *shares[group as usize].next().expect("as many as were counted") = value;
            });
        });
        values.par_iter_mut().for_each(|values| values.par_sort_unstable());
        Self((0..).zip(values).collect())
    }

    /// The groups of equal values of a region, ascending: one per cell, or, for cells with a cut, one per value.
    pub(super) fn resolved(&self, cells: &Cells, cuts: &[u32], members: &[Group]) -> Vec<Bin> {
        let mut groups = Vec::new();
        for &(number, bin) in cells.iter() {
            if cuts.binary_search(&number).is_err() {
                groups.push(bin);
                continue;
            }
            let mut values: Vec<u32> = members.iter().flat_map(|group| self.inside(*group, number)).copied().collect();
            values.sort_unstable();
            for same in values.chunk_by(|a, b| a >> 1 == b >> 1) {
                let hits = same.iter().map(|value| u64::from(value & 1)).sum();
                let mut bin = Bin { count: same.len() as u64, hits, ..Bin::default() };
                bin.sum.add_repeated(units(f64::from(probability(same[0] >> 1))), bin.count);
                groups.push(bin);
            }
        }
        groups
    }

    /// The values of a group inside a cell.
    fn inside(&self, group: Group, number: u32) -> &[u32] {
        let values = self.0.get(&group).map_or(&[][..], Vec::as_slice);
        let from = values.partition_point(|value| cell(value >> 1) < number);
        let to = values.partition_point(|value| cell(value >> 1) <= number);
        &values[from..to]
    }
}

/// The slots of each piece in the values of each group; the pieces divide the values in order.
fn shares<'a>(values: &'a mut [Vec<u32>], counts: &[Vec<usize>]) -> Vec<Vec<std::slice::IterMut<'a, u32>>> {
    let mut rest: Vec<&mut [u32]> = values.iter_mut().map(Vec::as_mut_slice).collect();
    let mut share = |(group, &count): (usize, &usize)| {
        let (own, others) = std::mem::take(&mut rest[group]).split_at_mut(count);
        rest[group] = others;
        own.iter_mut()
    };
    counts.iter().map(|counts| counts.iter().enumerate().map(&mut share).collect()).collect()
}
