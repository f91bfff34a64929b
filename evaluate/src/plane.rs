//! Whole slices of volumes, for figures of one subject.

use segcal_data::Grid;
use segcal_metrics::volume::Label;

use super::slices::View;

/// A whole slice of a volume, in radiological convention.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Rows and columns.
    pub size: [usize; 2],
    /// Size of a voxel along rows and columns, in mm.
    pub spacing_mm: [f64; 2],
    /// Offsets of its voxels in the volume, row by row.
    pub voxels: Vec<usize>,
}

impl Plane {
    /// The slice with this number, counted from 0, along the viewing axis of the overlays; `None` if it does not exist.
    pub fn of(grid: &Grid, number: usize) -> Option<Self> {
        let (view, extent, spacing) = (View::of(grid), grid.extent, grid.spacing_mm());
        if number >= extent[view.normal] {
            return None;
        }
        let size = [extent[view.rows.0], extent[view.columns.0]];
        let place = |at: usize, (axis, backwards): (usize, bool)| if backwards { extent[axis] - 1 - at } else { at };
        let voxel = |row: usize, column: usize| {
            let mut at = [0; 3];
            at[view.normal] = number;
            at[view.rows.0] = place(row, view.rows);
            at[view.columns.0] = place(column, view.columns);
            (at[0] * extent[1] + at[1]) * extent[2] + at[2]
        };
        let voxels = (0..size[0]).flat_map(|row| (0..size[1]).map(move |column| (row, column)));
        let voxels = voxels.map(|(row, column)| voxel(row, column)).collect();
        Some(Self { size, spacing_mm: [spacing[view.rows.0], spacing[view.columns.0]], voxels })
    }

    /// Extracts the slice from an array of the volume.
    pub fn cut<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.voxels.iter().map(|&voxel| values[voxel]).collect()
    }

    /// Extracts the slice from an image as grey values, from black for the smallest value to white for the largest.
    pub fn grey(&self, image: &[f32]) -> Vec<u8> {
        let values = self.cut(image);
        let [low, high] = values
            .iter()
            .fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], &value| [low.min(value), high.max(value)]);
        let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
        values.into_iter().map(|value| ((value - low) * scale).round() as u8).collect()
    }
}

/// The number of the slice with the most foreground voxels along the viewing axis of the overlays; the first of equal
/// ones.
pub fn fullest(grid: &Grid, labels: &[Label]) -> usize {
    let (view, [_, h, w]) = (View::of(grid), grid.extent);
    let mut counts = vec![0_usize; grid.extent[view.normal]];
    for (voxel, _) in labels.iter().enumerate().filter(|(_, label)| **label != 0) {
        counts[[voxel / (h * w), voxel / w % h, voxel % w][view.normal]] += 1;
    }
    let best = counts.iter().enumerate().rev().max_by_key(|(_, count)| **count);
    best.map_or(0, |(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_is_turned_as_overlays_are() {
        let grid =
            Grid::new([2, 40, 50], [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]], 1).unwrap();
        let mut labels = vec![0; 2 * 40 * 50];
        // The patient's right is at the left, the front at the top: the last column and row of the file come first.
        labels[(40 + 39) * 50 + 49] = 7;
        assert_eq!(fullest(&grid, &labels), 1);
        let plane = Plane::of(&grid, 1).unwrap();
        assert_eq!((plane.size, plane.cut(&labels)[0]), ([40, 50], 7));
        assert_eq!(plane.grey(&labels.iter().map(|&label| f32::from(label)).collect::<Vec<_>>())[..2], [255, 0]);
        assert_eq!(Plane::of(&grid, 2), None);
    }
}
