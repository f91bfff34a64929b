//! Bounding boxes of labels, so that the cost of a structure depends on its box and not on the grid.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::volume::{Label, Structure};

/// A box of voxels, `[start, end)` per axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Box3 {
    pub(crate) start: [usize; 3],
    pub(crate) end: [usize; 3],
}

impl Box3 {
    pub(crate) fn union(self, other: Self) -> Self {
        Self {
            start: std::array::from_fn(|axis| self.start[axis].min(other.start[axis])),
            end: std::array::from_fn(|axis| self.end[axis].max(other.end[axis])),
        }
    }

    /// Extends the box by this many voxels on each side, clipped to the grid.
    pub(crate) fn widened(self, by: [usize; 3], spatial: [usize; 3]) -> Self {
        Self {
            start: std::array::from_fn(|axis| self.start[axis].saturating_sub(by[axis])),
            end: std::array::from_fn(|axis| self.end[axis].saturating_add(by[axis]).min(spatial[axis])),
        }
    }

    pub(crate) fn extents(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.end[axis] - self.start[axis])
    }

    /// The smallest box that contains the mask; `None` if the mask is empty.
    pub(crate) fn around(mask: &[bool], spatial: [usize; 3]) -> Option<Self> {
        let mut boxes = of_values(mask, spatial);
        boxes.remove(&true)
    }

    /// Copies the voxels inside the box to a volume of the box's extents.
    pub(crate) fn cut<T: Copy + Sync, U: Send + Sync>(
        &self,
        volume: &[T],
        spatial: [usize; 3],
        map: impl Fn(T) -> U + Sync,
    ) -> Vec<U> {
        let [_, height, width] = spatial;
        let rows = self.end[1] - self.start[1];
        let lines = (0..(self.end[0] - self.start[0]) * rows).into_par_iter();
        let line = |line: usize| {
            let at = (self.start[0] + line / rows) * height + self.start[1] + line % rows;
            &volume[at * width + self.start[2]..at * width + self.end[2]]
        };
        lines.flat_map_iter(|number| line(number).iter().map(|&value| map(value))).collect()
    }
}

/// The box of each label of a map.
pub(crate) struct LabelBoxes(BTreeMap<Label, Box3>);

impl LabelBoxes {
    pub(crate) fn of(labels: &[Label], spatial: [usize; 3]) -> Self {
        Self(of_values(labels, spatial))
    }

    /// The labels of the map, ascending.
    pub(crate) fn labels(&self) -> impl Iterator<Item = Label> {
        self.0.keys().copied()
    }

    /// The box of a structure; `None` if it is absent from the map.
    pub(crate) fn around(&self, structure: &Structure) -> Option<Box3> {
        structure.labels.iter().filter_map(|label| self.0.get(label)).copied().reduce(Box3::union)
    }
}

/// The box of each value of a volume.
fn of_values<T: Copy + Ord + Send + Sync>(volume: &[T], [_, height, width]: [usize; 3]) -> BTreeMap<T, Box3> {
    let slices = volume.par_chunks((height * width).max(1)).enumerate();
    let boxes = slices.map(|(d, slice)| of_slice(d, slice, width));
    boxes.reduce(BTreeMap::new, |a, b| {
        let (mut more, fewer) = if a.len() < b.len() { (b, a) } else { (a, b) };
        for (value, around) in fewer {
            more.entry(value).and_modify(|own| *own = own.union(around)).or_insert(around);
        }
        more
    })
}

fn of_slice<T: Copy + Ord>(d: usize, slice: &[T], width: usize) -> BTreeMap<T, Box3> {
    let mut boxes: BTreeMap<T, Box3> = BTreeMap::new();
    for (h, row) in slice.chunks(width.max(1)).enumerate() {
        let mut start = 0;
        for run in row.chunk_by(|a, b| a == b) {
            let around = Box3 { start: [d, h, start], end: [d + 1, h + 1, start + run.len()] };
            start += run.len();
            boxes.entry(run[0]).and_modify(|own| *own = own.union(around)).or_insert(around);
        }
    }
    boxes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_by_hand() {
        let labels = [0, 0, 7, 0, 0, 7, 0, 0, 9, 0, 0, 0];
        let boxes = LabelBoxes::of(&labels, [2, 2, 3]);
        assert_eq!(boxes.labels().collect::<Vec<_>>(), [0, 7, 9]);
        let seven = Box3 { start: [0, 0, 2], end: [1, 2, 3] };
        assert_eq!(boxes.around(&Structure::single(7)), Some(seven));
        assert_eq!(boxes.around(&Structure::single(1)), None);
        let both = Structure { name: "both".into(), labels: vec![7, 9] };
        assert_eq!(boxes.around(&both), Some(Box3 { start: [0, 0, 2], end: [2, 2, 3] }));
        assert_eq!(seven.cut(&labels, [2, 2, 3], |label| label == 7), [true, true]);
        assert_eq!(Box3::around(&[false; 12], [2, 2, 3]), None);
    }
}
