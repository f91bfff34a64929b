use ndarray::{Array4, Axis};
use segcal_data::{Grid, Volume, nifti};

use super::*;

const EXTENT: [usize; 3] = [8, 8, 8];

/// Label maps with a block that no permutation of axes maps onto itself.
fn block(extent: [usize; 3], shift: usize) -> Vec<i32> {
    let [d, h, w] = extent;
    let inside = |voxel: usize| {
        let [z, y, x] = [voxel / (h * w), voxel / w % h, voxel % w];
        i32::from((1..1 + d / 4).contains(&z) && (1..h / 2).contains(&y) && (shift..w - 1).contains(&x))
    };
    (0..d * h * w).map(inside).collect()
}

/// Scores `[2, d, h, w]` of a label map.
fn scores_of(labels: &[i32], extent: [usize; 3]) -> Array4<f32> {
    let [d, h, w] = extent;
    let p: Vec<f32> = labels.iter().map(|&label| if label == 1 { 0.9 } else { 0.1 }).collect();
    let both = p.iter().map(|p| 1.0 - p).chain(p.iter().copied()).collect();
    Array4::from_shape_vec((2, d, h, w), both).unwrap()
}

/// A folder of cases: references, and predictions whose axes are the permutation `order` of `[class, z, y, x]`.
struct Folder(tempfile::TempDir, Vec<Pair>);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), Vec::new())
    }

    fn add(mut self, reference: &[i32], prediction: &[i32], extent: [usize; 3], order: [usize; 4]) -> Self {
        let case = format!("c{}", self.1.len());
        let at = |name: String| self.0.path().join(name);
        let label = at(format!("{case}.nii"));
        let grid = Grid { sized: true, ..Grid::unknown(extent) };
        nifti::write(&label, &Volume::new(reference.to_vec(), 1, grid)).unwrap();
        let turned = scores_of(prediction, extent).permuted_axes(order);
        let data: Vec<f32> = turned.iter().copied().collect();
        let path = at(format!("{case}.npz"));
        npy::write_archive(&path, &[("probabilities", turned.shape(), &data)]).unwrap();
        self.1.push(Pair { case, prediction: Files::One(path), reference: label, masks: None, image: None });
        self
    }

    fn decide(&self) -> Result<String> {
        decide(&self.1, Content::Classes, &Reading::default()).map(|reading| reading.axes.unwrap().to_string())
    }
}

#[test]
fn every_order_of_a_cube_is_found() {
    let labels = block(EXTENT, 2);
    for (order, expected) in [
        ([0, 1, 2, 3], "kzyx"),
        ([0, 3, 2, 1], "kxyz"),
        ([0, 1, 3, 2], "kzxy"),
        ([0, 2, 1, 3], "kyzx"),
        ([0, 2, 3, 1], "kyxz"),
        ([0, 3, 1, 2], "kxzy"),
    ] {
        assert_eq!(Folder::new().add(&labels, &labels, EXTENT, order).decide().unwrap(), expected);
    }
}

#[test]
fn a_shape_that_one_order_fits_decides_for_all() {
    let (odd, cube) = (block([4, 6, 8], 2), block(EXTENT, 2));
    // The cube alone would be refused: its prediction is empty.
    let folder = Folder::new().add(&cube, &[0; 512], EXTENT, [0, 3, 2, 1]).add(&odd, &odd, [4, 6, 8], [0, 3, 2, 1]);
    assert_eq!(folder.decide().unwrap(), "kxyz");
}

#[test]
fn bad_cases_among_good_ones_have_the_order_of_the_cohort() {
    let good = block(EXTENT, 2);
    let mut mirrored = Array4::from_shape_vec((1, 8, 8, 8), good.clone()).unwrap();
    mirrored.invert_axis(Axis(3));
    let mirrored: Vec<i32> = mirrored.iter().copied().collect();
    let mut tiny = vec![0; 512];
    tiny[77] = 1;
    let order = [0, 1, 2, 3];
    let folder = Folder::new()
        .add(&good, &good, EXTENT, order)
        .add(&good, &good, EXTENT, order)
        .add(&good, &mirrored, EXTENT, order)
        .add(&tiny, &good, EXTENT, order)
        .add(&good, &[0; 512], EXTENT, order);
    assert_eq!(folder.decide().unwrap(), "kzyx");
}

#[test]
fn what_nothing_decides_is_refused_with_the_candidates() {
    let good = block(EXTENT, 2);
    let message = Folder::new().add(&good, &[0; 512], EXTENT, [0, 1, 2, 3]).decide().unwrap_err().to_string();
    for part in ["c0.npz", "0 % read as [class, z, y, x]", "[class, x, y, z]", "--axes kzyx"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // A cube in the middle is the same in every order.
    let middle: Vec<i32> = (0..512)
        .map(|voxel: i32| i32::from([voxel / 64, voxel / 8 % 8, voxel % 8].iter().all(|at| (2..6).contains(at))))
        .collect();
    assert!(Folder::new().add(&middle, &middle, EXTENT, [0, 1, 2, 3]).decide().is_err());
}

#[test]
fn a_flipped_array_is_refused() {
    let extent = [4, 6, 8];
    let good = block(extent, 3);
    let mut flipped = Array4::from_shape_vec((1, 4, 6, 8), good.clone()).unwrap();
    flipped.invert_axis(Axis(1));
    let flipped: Vec<i32> = flipped.iter().copied().collect();
    let message = Folder::new().add(&good, &flipped, extent, [0, 1, 2, 3]).decide().unwrap_err().to_string();
    assert!(message.contains("flipped along z"), "{message}");
}

#[test]
fn the_order_that_is_given_and_that_of_properties_are_believed() {
    let good = block(EXTENT, 2);
    let folder = Folder::new().add(&good, &[0; 512], EXTENT, [0, 1, 2, 3]);
    let given = Reading { axes: Some("kxyz".parse().unwrap()), ..Reading::default() };
    assert_eq!(decide(&folder.1, Content::Classes, &given).unwrap(), given);
    std::fs::write(folder.0.path().join("c0.pkl"), "").unwrap();
    assert_eq!(folder.decide().unwrap(), "kzyx");
}

#[test]
fn cases_whose_shapes_contradict_each_other_are_refused() {
    let odd = block([4, 6, 8], 2);
    let folder = Folder::new().add(&odd, &odd, [4, 6, 8], [0, 1, 2, 3]).add(&odd, &odd, [4, 6, 8], [0, 3, 2, 1]);
    let message = folder.decide().unwrap_err().to_string();
    assert!(message.contains("c0.npz") && message.contains("c1.npz") && message.contains("--axes"), "{message}");
}
