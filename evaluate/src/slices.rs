//! The slice of a case in which each structure is segmented worst, for the overlays of the report.
//!
//! A slice is stored as 8-bit numbers of a window around the structure, a few kilobytes, beside the state of its case,
//! so that reports of parts and of whole cohorts show the same without reading a volume again. It is in radiological
//! convention: the patient's right is on the left, and front or top is up.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use segcal_core::Result;
use segcal_metrics::volume::{Label, Structure};
use serde::{Deserialize, Serialize};

use segcal_data::{Grid, npy};

/// Margin on each side of the structure: this fraction of its size, but at least this many voxels.
const ROOM: (f64, usize) = (0.35, 6);

/// Minimum width and height of a window, if the grid is large enough.
const SMALLEST: usize = 32;

/// The position and orientation of a slice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// The structure.
    pub structure: String,
    /// `axial`, `coronal` or `sagittal`; `plane` if the file has no orientation.
    pub view: String,
    /// Index of the slice along its axis of the file, from 0.
    pub number: usize,
    /// Number of slices along that axis.
    pub of: usize,
    /// Voxel size from row to row and from column to column (top to bottom, left to right), in mm.
    pub spacing_mm: [f64; 2],
    /// The anatomical directions at the left, right, top and bottom, if known.
    pub sides: Option<[char; 4]>,
    /// Rows and columns of the window.
    pub size: [usize; 2],
    /// Number of voxels of the slice that are in exactly one of the two masks.
    pub differing: usize,
}

/// The layers of a window, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layers {
    /// 1 inside the reference's structure.
    pub reference: Vec<u8>,
    /// 1 inside the predicted structure.
    pub prediction: Vec<u8>,
    /// Largest probability of each voxel; 255 means 1. Empty for a segmentation.
    pub confidence: Vec<u8>,
    /// Grey values from black to white. Empty without an image.
    pub image: Vec<u8>,
}

/// A slice with the voxels of its window.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The slice.
    pub slice: Slice,
    /// The layers of its window.
    pub layers: Layers,
    /// Offsets of the window's voxels in the volume.
    voxels: Vec<usize>,
}

/// How a volume is viewed: the array axis of the normal, and for rows and columns the array axis and whether it is
/// shown backwards.
pub(crate) struct View {
    name: &'static str,
    pub(crate) normal: usize,
    pub(crate) rows: (usize, bool),
    pub(crate) columns: (usize, bool),
    sides: Option<[char; 4]>,
}

impl View {
    /// Views along the coarsest axis, since the slices were acquired across it; axial if no axis is coarser.
    pub(crate) fn of(grid: &Grid) -> Self {
        let (spacing, axes) = (grid.spacing_mm(), grid.axes());
        let known = grid.space != 0;
        // Array axis `2 - k` is file axis `k`.
        let world = |axis: usize| if known { axes.world[2 - axis] } else { 2 - axis };
        let flat = (0..3).find(|&axis| grid.extent[axis] == 1);
        let coarsest = (0..3).max_by(|&a, &b| spacing[a].total_cmp(&spacing[b])).unwrap_or(0);
        let others = (0..3).filter(|&axis| axis != coarsest).map(|axis| spacing[axis]).fold(0.0, f64::max);
        let axial = (0..3).find(|&axis| world(axis) == 2).unwrap_or(0);
        let normal = flat.unwrap_or(if spacing[coarsest] > 1.2 * others { coarsest } else { axial });
        let [row_world, column_world] = match world(normal) {
            0 => [2, 1],
            1 => [2, 0],
            _ => [1, 0],
        };
        let along = |wanted: usize| {
            let axis = (0..3).find(|&axis| world(axis) == wanted).unwrap_or(0);
            // Images run towards the patient's left, back and feet.
            (axis, known && axes.positive[2 - axis])
        };
        let names = if known { ["sagittal", "coronal", "axial"] } else { ["plane"; 3] };
        let letters = [('R', 'L'), ('A', 'P'), ('S', 'I')];
        let ((left, right), (top, bottom)) = (letters[column_world], letters[row_world]);
        Self {
            name: names[world(normal)],
            normal,
            rows: along(row_world),
            columns: along(column_world),
            sides: known.then_some([left, right, top, bottom]),
        }
    }
}

/// With more structures than this, only those with the most differing voxels get a slice.
const MOST: usize = 150;

/// Chooses the slice with the most differing voxels for each structure that is in either map. If no voxel differs, it
/// is the slice with the most voxels of the structure.
pub fn choose(grid: &Grid, prediction: &[Label], reference: &[Label], structures: &[Structure]) -> Vec<Chosen> {
    let view = View::of(grid);
    let singles = single_labels(grid, &view, prediction, reference);
    let mut worst: Vec<(&Structure, usize, [usize; 2])> = Vec::new();
    for structure in structures {
        let scene = Scene { grid, view: &view, prediction, reference, structure };
        let found = match *structure.labels {
            [label] => singles.get(&label).copied(),
            _ => scene.worst(),
        };
        worst.extend(found.map(|(number, count)| (structure, number, count)));
    }
    if worst.len() > MOST {
        worst.sort_by_key(|&(_, _, [differing, _])| std::cmp::Reverse(differing));
        worst.truncate(MOST);
    }
    let window = |(structure, number, [differing, _]): (&Structure, usize, [usize; 2])| {
        Scene { grid, view: &view, prediction, reference, structure }.window(number, differing)
    };
    worst.into_iter().map(window).collect()
}

/// For each label that is in either map, the number of its slice, and how many voxels of that slice are in exactly one
/// mask and in either mask. Takes one pass over both maps.
fn single_labels(
    grid: &Grid,
    view: &View,
    prediction: &[Label],
    reference: &[Label],
) -> BTreeMap<Label, (usize, [usize; 2])> {
    let [_, h, w] = grid.extent;
    let mut counts: HashMap<(Label, usize), [usize; 2]> = HashMap::new();
    for (voxel, (&a, &b)) in reference.iter().zip(prediction).enumerate().filter(|(_, (a, b))| (**a, **b) != (0, 0)) {
        let number = [voxel / (h * w), voxel / w % h, voxel % w][view.normal];
        let mut add = |label: Label| {
            let count = counts.entry((label, number)).or_default();
            count[0] += usize::from(a != b);
            count[1] += 1;
        };
        add(a);
        if a != b {
            add(b);
        }
    }
    let mut worst: BTreeMap<Label, (usize, [usize; 2])> = BTreeMap::new();
    for ((label, number), count) in counts {
        let own = worst.entry(label).or_insert((number, count));
        // The first of equal ones.
        if count > own.1 || (count == own.1 && number < own.0) {
            *own = (number, count);
        }
    }
    worst
}

struct Scene<'a> {
    grid: &'a Grid,
    view: &'a View,
    prediction: &'a [Label],
    reference: &'a [Label],
    structure: &'a Structure,
}

impl Scene<'_> {
    fn masks(&self, voxel: usize) -> [bool; 2] {
        [self.reference[voxel], self.prediction[voxel]].map(|label| self.structure.contains(label))
    }

    /// The number of the slice, and how many of its voxels are in exactly one mask and in either mask.
    fn worst(&self) -> Option<(usize, [usize; 2])> {
        let [d, h, w] = self.grid.extent;
        let mut counts = vec![[0_usize; 2]; self.grid.extent[self.view.normal]];
        for voxel in 0..d * h * w {
            let [a, b] = self.masks(voxel);
            if a || b {
                let at = [voxel / (h * w), voxel / w % h, voxel % w];
                let count = &mut counts[at[self.view.normal]];
                count[0] += usize::from(a != b);
                count[1] += 1;
            }
        }
        // The first of equal ones.
        let best = counts.iter().enumerate().rev().max_by_key(|(_, count)| **count)?;
        (best.1[1] > 0).then_some((best.0, *best.1))
    }

    /// The offset in the volume of a pixel of the slice.
    fn voxel(&self, number: usize, row: usize, column: usize) -> usize {
        let extent = self.grid.extent;
        let place = |(axis, backwards): (usize, bool), at: usize| if backwards { extent[axis] - 1 - at } else { at };
        let mut at = [0; 3];
        at[self.view.normal] = number;
        at[self.view.rows.0] = place(self.view.rows, row);
        at[self.view.columns.0] = place(self.view.columns, column);
        (at[0] * extent[1] + at[1]) * extent[2] + at[2]
    }

    /// The window around the structure in a slice.
    fn window(&self, number: usize, differing: usize) -> Chosen {
        let extent = self.grid.extent;
        let size = [extent[self.view.rows.0], extent[self.view.columns.0]];
        let (mut first, mut last) = (size, [0, 0]);
        for row in 0..size[0] {
            for column in 0..size[1] {
                if self.masks(self.voxel(number, row, column)).contains(&true) {
                    first = [first[0].min(row), first[1].min(column)];
                    last = [last[0].max(row), last[1].max(column)];
                }
            }
        }
        let ranges: [_; 2] = std::array::from_fn(|side| widened(first[side], last[side] + 1, size[side]));
        let spacing = self.grid.spacing_mm();
        let slice = Slice {
            structure: self.structure.name.clone(),
            view: self.view.name.into(),
            number,
            of: extent[self.view.normal],
            spacing_mm: [spacing[self.view.rows.0], spacing[self.view.columns.0]],
            sides: self.view.sides,
            size: [ranges[0].len(), ranges[1].len()],
            differing,
        };
        let rows = ranges[0].clone();
        let voxels: Vec<usize> =
            rows.flat_map(|row| ranges[1].clone().map(move |column| self.voxel(number, row, column))).collect();
        let mask = |which: usize| voxels.iter().map(|&voxel| u8::from(self.masks(voxel)[which])).collect();
        let layers = Layers { reference: mask(0), prediction: mask(1), ..Layers::default() };
        Chosen { slice, layers, voxels }
    }
}

/// A range with a margin around it, inside `0..size`.
fn widened(start: usize, end: usize, size: usize) -> std::ops::Range<usize> {
    let room = ((ROOM.0 * (end - start) as f64) as usize).max(ROOM.1);
    let length = (end - start + 2 * room).max(SMALLEST).min(size);
    let middle = start.midpoint(end);
    let start = middle.saturating_sub(length / 2).min(size - length);
    start..start + length
}

impl Chosen {
    /// Adds the largest probabilities of the window's voxels from those of the whole volume, where 255 means 1. Empty
    /// for a label map, which has none.
    pub fn add_confidence(&mut self, confidence: &[u8]) {
        self.layers.confidence = self.voxels.iter().filter_map(|&voxel| confidence.get(voxel)).copied().collect();
    }

    /// Adds the grey values of an image on the same grid, scaled from the 1st to the 99th percentile of the window.
    pub fn add_image(&mut self, image: &[f32]) {
        let grey: Vec<f64> = self.voxels.iter().map(|&voxel| f64::from(image[voxel])).collect();
        let mut sorted: Vec<f64> = grey.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        if sorted.is_empty() {
            return;
        }
        let [low, high] = [1.0, 99.0].map(|percent| segcal_metrics::stats::percentile(&sorted, percent));
        let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
        self.layers.image = grey.iter().map(|value| ((value - low) * scale).round().clamp(0.0, 255.0) as u8).collect();
    }
}

impl Layers {
    const NAMES: [&'static str; 4] = ["reference", "prediction", "confidence", "image"];

    fn each(&self) -> [&Vec<u8>; 4] {
        [&self.reference, &self.prediction, &self.confidence, &self.image]
    }
}

/// Stores the windows of a case in one `.npz`: arrays `0.reference`, `0.prediction` …, by the number of the slice.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, chosen: &[Chosen]) -> Result<()> {
    let mut arrays: Vec<(String, [usize; 2], &[u8])> = Vec::new();
    for (number, Chosen { slice, layers, .. }) in chosen.iter().enumerate() {
        let named = Layers::NAMES.into_iter().zip(layers.each()).filter(|(_, layer)| !layer.is_empty());
        arrays.extend(named.map(|(name, layer)| (format!("{number}.{name}"), slice.size, layer.as_slice())));
    }
    let arrays: Vec<(&str, &[usize], &[u8])> =
        arrays.iter().map(|(name, size, layer)| (name.as_str(), size.as_slice(), *layer)).collect();
    npy::write_archive(path, &arrays)
}

/// Reads the window of one slice.
///
/// # Errors
/// The file is missing or malformed, or its windows have another size.
pub fn read(path: &Path, number: usize, size: [usize; 2]) -> Result<Layers> {
    let stored = npy::names(path)?;
    let layer = |name: &str| -> Result<Vec<u8>> {
        let key = format!("{number}.{name}");
        if !stored.contains(&key) {
            return Ok(Vec::new());
        }
        let array = npy::read::<f32>(path, &key)?;
        if array.shape != size {
            let problem = format!("{key} has shape {:?}, but the state says {size:?}", array.shape);
            return Err(segcal_core::Error::new(problem).help("evaluate the case again"));
        }
        Ok(array.data.into_iter().map(|value| value as u8).collect())
    };
    let [reference, prediction, confidence, image] = Layers::NAMES.map(layer);
    Ok(Layers { reference: reference?, prediction: prediction?, confidence: confidence?, image: image? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(affine: [[f64; 4]; 3]) -> Grid {
        Grid::new([2, 40, 50], affine, 1).unwrap()
    }

    /// One voxel differs in slice 1, at the patient's right and front.
    #[test]
    fn the_slice_that_differs_is_seen_from_the_feet() {
        let mut reference = vec![0; 2 * 40 * 50];
        let mut prediction = reference.clone();
        reference[10] = 1;
        prediction[10] = 1;
        let ras = |x: usize, y: usize, z: usize| (z * 40 + y) * 50 + x;
        prediction[ras(49, 39, 1)] = 1;
        let grid = grid([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]]);
        let chosen = choose(&grid, &prediction, &reference, &[Structure::single(1), Structure::single(2)]);
        assert_eq!(chosen.len(), 1, "nothing holds structure 2");
        let Chosen { slice, layers, .. } = &chosen[0];
        assert_eq!((slice.view.as_str(), slice.number, slice.of, slice.differing), ("axial", 1, 2, 1));
        assert_eq!((slice.sides, slice.size), (Some(['R', 'L', 'A', 'P']), [32, 32]));
        assert_eq!(layers.prediction.iter().position(|&inside| inside == 1), Some(0), "top left");
        assert!(layers.reference.iter().all(|&inside| inside == 0));
    }

    #[test]
    fn the_coarsest_axis_is_looked_along() {
        let sagittal = grid([[0.0, 0.0, 3.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]);
        let view = View::of(&sagittal);
        assert_eq!((view.name, view.normal, view.sides), ("sagittal", 0, Some(['A', 'P', 'S', 'I'])));
        assert_eq!((view.rows, view.columns), ((1, true), (2, true)));
        let array = View::of(&Grid::unknown([4, 5, 6]));
        assert_eq!((array.name, array.normal, array.sides), ("plane", 0, None));
        assert_eq!((array.rows, array.columns), ((1, false), (2, false)));
        assert_eq!(View::of(&Grid::unknown([1, 5, 6])).normal, 0, "2-D");
    }

    #[test]
    fn windows_stay_on_the_grid() {
        assert_eq!(widened(0, 1, 10), 0..10);
        assert_eq!(widened(99, 100, 100), 68..100);
        assert_eq!(widened(40, 60, 100), 33..67);
    }

    #[test]
    fn windows_come_back_from_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let mut labels = vec![0; 2 * 40 * 50];
        labels[77] = 1;
        let grid = grid([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]]);
        let mut chosen = choose(&grid, &labels, &labels, &[Structure::single(1)]);
        let values: Vec<f32> = (0..labels.len()).map(|voxel| voxel as f32).collect();
        chosen[0].add_image(&values);
        write(&path, &chosen).unwrap();
        assert_eq!(read(&path, 0, chosen[0].slice.size).unwrap(), chosen[0].layers);
        assert!(read(&path, 0, [1, 1]).unwrap_err().to_string().contains("shape"));
        chosen[0].add_confidence(&vec![191; labels.len()]);
        assert!(chosen[0].layers.confidence.iter().all(|&c| c == 191));
    }
}
