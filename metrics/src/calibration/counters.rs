//! Counts of voxels and hits, and sums of probabilities, per cell and group.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::bins::Bin;
use super::cells::Cells;
use super::codes::{CELLS, cell, code};
use super::column::{Column, pieces};
use super::fixed::units;
use super::group::Group;

/// Number of voxels after which sums of units could overflow 64 bits.
const SPAN: usize = 1 << 23;

#[derive(Clone, Copy, Default)]
struct Counter {
    sum: u64,
    count: u32,
    hits: u32,
}

/// Dense counters per group and cell, allocated when a group first occurs and reused for the next column.
pub(super) struct Counters(Vec<Option<(bool, Vec<Counter>)>>);

impl Counters {
    pub(super) fn new(groups: usize) -> Self {
        Self((0..groups).map(|_| None).collect())
    }

    #[inline]
    fn of(&mut self, group: Group) -> &mut [Counter] {
        let (used, counters) = self.0[group as usize].get_or_insert_with(|| (false, vec![Counter::default(); CELLS]));
        *used = true;
        counters
    }

    /// Returns the counts by group and resets the counters to 0.
    fn take(&mut self) -> BTreeMap<Group, Cells> {
        let used = (0..).zip(&mut self.0).filter_map(|(group, own)| Some((group, own.as_mut().filter(|own| own.0)?)));
        let cells = |(group, own): (Group, &mut (bool, Vec<Counter>))| {
            own.0 = false;
            let mut cells = Cells::default();
            for (number, counter) in (0..).zip(&mut own.1) {
                let Counter { sum, count, hits } = std::mem::take(counter);
                let mut bin = Bin { count: count.into(), hits: hits.into(), ..Bin::default() };
                bin.sum.add_units(sum);
                cells.push(number, bin);
            }
            (group, cells)
        };
        used.map(cells).collect()
    }
}

/// Counts a column by group and cell.
pub(super) fn coarse(column: &Column<'_>, counters: &mut Counters) -> BTreeMap<Group, Cells> {
    let mut total: BTreeMap<Group, Cells> = BTreeMap::new();
    let add = |total: &mut BTreeMap<Group, Cells>, more: BTreeMap<Group, Cells>| {
        more.into_iter().for_each(|(group, cells)| total.entry(group).or_default().merge(&cells));
    };
    let count = |counters: &mut Counters, piece| {
        column.visit(piece, |voxel, value, hit| {
            let at = cell(code(value)) as usize;
            for group in column.groups(voxel) {
                let counter = &mut counters.of(group)[at];
                counter.sum += units(f64::from(value));
                counter.count += 1;
                counter.hits += u32::from(hit);
            }
        });
        counters.take()
    };
    for start in (0..column.voxels.reference.len()).step_by(SPAN) {
        let pieces = pieces(start, (start + SPAN).min(column.voxels.reference.len()));
        let (own, others) = pieces.split_at(1);
        let groups = counters.0.len();
        let parts = others.par_iter().map(|&piece| count(&mut Counters::new(groups), piece));
        let (own, parts) = rayon::join(
            || own.iter().map(|&piece| count(counters, piece)).collect::<Vec<_>>(),
            || parts.collect::<Vec<_>>(),
        );
        own.into_iter().chain(parts).for_each(|part| add(&mut total, part));
    }
    total
}
