//! What one tool writes and another measures is exact or refused: random volumes under random affines, axis orders, number
//! types, slopes, missing backgrounds and masks.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use segcal_core::{Reference, Result};
use segcal_data::{Grid, Volume, formats, nifti, npy};
use segcal_evaluate::case;
use segcal_evaluate::decide::{Content, decide};
use segcal_evaluate::inputs::{Files, Pair};
use segcal_evaluate::reading::{Background, Reading};
use segcal_evaluate::scores::Scores;
use segcal_evaluate::settings::Settings;
use segcal_evaluate::state::{CaseState, Measure, Prediction};
use segcal_metrics::measure as metrics;
use segcal_metrics::volume::{Grid as Space, Label};

const CLASSES: usize = 4;

/// A reference and a prediction on a grid in space.
#[derive(Clone, Debug)]
struct Scene {
    grid: Grid,
    reference: Vec<u8>,
    prediction: Vec<u8>,
}

/// Grids whose axes run along any side of space, either way, oblique and sheared.
fn grids() -> impl Strategy<Value = Grid> {
    let signs = prop::array::uniform3(any::<bool>());
    let sizes = prop::array::uniform3(0.5..3.0_f64);
    let off = prop::array::uniform9(-0.1..0.1_f64);
    (prop::array::uniform3(1..5_usize), 0..6_usize, signs, sizes, off).prop_map(|(extent, order, signs, sizes, off)| {
        let side = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]][order];
        let affine = std::array::from_fn(|row| {
            std::array::from_fn(|axis| match axis {
                3 => 10.0 * off[row],
                axis if side[axis] == row => sizes[axis] * if signs[axis] { 1.0 } else { -1.0 },
                axis => off[3 * row + axis],
            })
        });
        Grid::new(extent, affine, 1).unwrap()
    })
}

fn scenes() -> impl Strategy<Value = Scene> {
    let labels = || prop::collection::vec(0..CLASSES as u8, 64);
    (grids(), labels(), labels()).prop_map(|(grid, mut reference, mut prediction)| {
        let voxels = grid.extent.iter().product();
        reference.truncate(voxels);
        prediction.truncate(voxels);
        Scene { grid, reference, prediction }
    })
}

impl Scene {
    /// The figures from the arrays themselves.
    fn figures(&self, ignored: Option<Label>) -> metrics::Figures {
        let wide = |labels: &[u8]| labels.iter().map(|&label| label.into()).collect::<Vec<Label>>();
        let space = Space::of_steps(self.grid.extent, self.grid.steps_mm());
        let options = metrics::Options { ignored, ..metrics::Options::default() };
        let prediction = metrics::Prediction::Labels(wide(&self.prediction).into());
        metrics::measure(&Reference, prediction, &wide(&self.reference), space, &options).unwrap()
    }
}

/// Writes labels in one of the formats and number types, in the order of some axes.
fn write_labels(
    folder: &Path,
    name: &str,
    labels: &[u8],
    grid: &Grid,
    (form, kind, axes): (usize, usize, usize),
) -> PathBuf {
    let volume = Volume::new(labels.to_vec(), 1, grid.clone());
    let axes = ["RAS", "LPS", "SAR", "ASL", "PIR", "IRP", "RSA", "LIP"][axes];
    let turned = volume.reoriented(axes.parse().unwrap());
    let path = folder.join(format!("{name}.{}", ["nii", "nii.gz", "mha", "nrrd"][form]));
    fn put<T: segcal_data::number::ToFile>(path: &Path, volume: &Volume<T>) -> Result<()> {
        if formats::is_known(path) { formats::write(path, volume) } else { nifti::write(path, volume) }
    }
    let grid = turned.grid.clone();
    match kind {
        0 => put(&path, &turned),
        1 => put(&path, &Volume { data: turned.data.mapv(i16::from), grid }),
        2 => put(&path, &Volume { data: turned.data.mapv(i32::from), grid }),
        3 => put(&path, &Volume { data: turned.data.mapv(f32::from), grid }),
        _ => put(&path, &Volume { data: turned.data.mapv(f64::from), grid }),
    }
    .unwrap();
    path
}

fn pair(prediction: PathBuf, reference: PathBuf) -> Pair {
    Pair { case: "case".into(), prediction: Files::One(prediction), reference, image: None }
}

fn how(kind: Prediction) -> Measure {
    Settings::default().measure(kind, false).unwrap()
}

fn measured(pair: &Pair, how: &Measure) -> Result<CaseState> {
    case::measure(&Reference, pair, how).map(|(state, _)| state)
}

/// Overlap to the bit, distances but for the rounding of headers to 32 bits.
fn expect_same(state: &CaseState, figures: &metrics::Figures) -> std::result::Result<(), TestCaseError> {
    for (name, expected) in &figures.structures {
        for key in ["dsc", "iou", "volume_error", "hd", "assd", "nsd"] {
            // A step of the tolerance of NSD may lie on either side of a rounded distance.
            let bound = if ["hd", "assd"].contains(&key) { 1e-5 } else { 0.0 };
            let value = |outcome: Option<segcal_metrics::empty::Outcome>| outcome.and_then(|outcome| outcome.formula());
            let (own, other) = (value(state.outcome(name, key)), value(expected.get(key).copied()));
            let same = match (own, other) {
                (Some(a), Some(b)) => a == b || (a - b).abs() <= bound || key == "nsd",
                (a, b) => a == b,
            };
            prop_assert!(same, "{name} {key}: {own:?} {other:?}");
        }
    }
    Ok(())
}

/// Class scores that favour a label: sums of exactly 1 in steps of 1/255.
fn scores(labels: &[u8]) -> Vec<u8> {
    (0..CLASSES)
        .flat_map(|class| labels.iter().map(move |&label| if usize::from(label) == class { 180 } else { 25 }))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn label_maps_of_any_writer_are_measured_exactly(
        scene in scenes(),
        first in (0..4_usize, 0..5_usize, 0..8_usize),
        second in (0..4_usize, 0..5_usize, 0..8_usize),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let reference = write_labels(folder.path(), "y", &scene.reference, &scene.grid, first);
        let prediction = write_labels(folder.path(), "p", &scene.prediction, &scene.grid, second);
        let state = measured(&pair(prediction, reference), &how(Prediction::Segmentation)).unwrap();
        expect_same(&state, &scene.figures(None))?;
    }

    #[test]
    fn another_grid_is_refused(scene in scenes(), shift in 0.5..5.0_f64) {
        let folder = tempfile::tempdir().unwrap();
        let reference = write_labels(folder.path(), "y", &scene.reference, &scene.grid, (0, 0, 0));
        let mut grid = scene.grid.clone();
        grid.affine[1][3] += shift;
        let prediction = write_labels(folder.path(), "p", &scene.prediction, &grid, (0, 0, 0));
        let refused = measured(&pair(prediction, reference), &how(Prediction::Segmentation));
        prop_assert!(refused.is_err());
    }

    #[test]
    fn arrays_of_any_order_are_exact_where_it_is_said_and_exact_or_refused_where_not(
        scene in scenes(),
        order in 0..6_usize,
        changed in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        // A prediction that has most voxels right.
        let mut scene = scene;
        scene.prediction.clone_from(&scene.reference);
        changed.iter().for_each(|at| scene.prediction[at.index(scene.reference.len())] ^= 1);
        let folder = tempfile::tempdir().unwrap();
        let reference = write_labels(folder.path(), "y", &scene.reference, &scene.grid, (0, 0, 0));
        // On the axes of the reference's file.
        let file = nifti::read_labels(&reference).unwrap().grid;
        let turned = Volume::new(scene.prediction.clone(), 1, scene.grid.clone()).reoriented(file.axes());
        let values: Vec<f32> = scores(turned.values()).into_iter().map(|p| f32::from(p) / 255.0).collect();
        let (axes, permutation) = [("kzyx", [0, 1, 2, 3]), ("kxyz", [0, 3, 2, 1]), ("kzxy", [0, 1, 3, 2]),
            ("kyzx", [0, 2, 1, 3]), ("kyxz", [0, 2, 3, 1]), ("kxzy", [0, 3, 1, 2])][order];
        let [d, h, w] = turned.grid.extent;
        let array = ndarray::Array4::from_shape_vec((CLASSES, d, h, w), values).unwrap().permuted_axes(permutation);
        let path = folder.path().join("p.npy");
        npy::write(&path, array.shape(), &array.iter().copied().collect::<Vec<f32>>()).unwrap();
        let (pair, mut how) = (pair(path, reference), how(Prediction::Scores(Scores::Probabilities)));
        let expected = scene.figures(None);
        if let Ok(reading) = decide(std::slice::from_ref(&pair), Content::Classes, &Reading::default()) {
            how.reading = reading;
            if let Ok(state) = measured(&pair, &how) {
                expect_same(&state, &expected)?;
            }
        }
        how.reading = Reading { axes: Some(axes.parse().unwrap()), ..Reading::default() };
        expect_same(&measured(&pair, &how).unwrap(), &expected)?;
    }

    #[test]
    fn labels_through_any_slope_are_exact_or_refused(
        labels in prop::collection::vec(0..200_u8, 24),
        slope in prop_oneof![0.001..0.7_f32, (1..2000_u16).prop_map(|k| 1.0 / f32::from(k))],
        inter in prop_oneof![Just(0.0_f32), -50.0..50.0_f32],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("y.nii");
        let stored: Vec<i32> =
            labels.iter().map(|&label| ((f64::from(label) - f64::from(inter)) / f64::from(slope)).round() as i32).collect();
        // What a coarse slope cannot hold is lost when it is written.
        let kept = |(&stored, &label): (&i32, &u8)| {
            (f64::from(stored) * f64::from(slope) + f64::from(inter) - f64::from(label)).abs() < 0.4
        };
        prop_assume!(stored.iter().zip(&labels).all(kept));
        nifti::write(&path, &Volume::new(stored, 1, Grid::unknown([2, 3, 4]))).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[112..116].copy_from_slice(&slope.to_le_bytes());
        bytes[116..120].copy_from_slice(&inter.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        if let Ok(read) = segcal_data::read_labels(&path) {
            prop_assert!(read.values().iter().zip(&labels).all(|(&own, &label)| own == i32::from(label)));
        }
    }

    #[test]
    fn scores_in_8_bits_and_without_background_are_those_that_were_meant(scene in scenes()) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let reference = write_labels(folder.path(), "y", &scene.reference, &scene.grid, (0, 0, 0));
        let bytes = scores(&scene.prediction);
        let voxels = scene.reference.len();
        let floats: Vec<f32> = bytes.iter().map(|&p| f32::from(p) / 255.0).collect();
        let volume = |from: usize| Volume::new(floats[from * voxels..].to_vec(), CLASSES - from, scene.grid.clone());
        nifti::write(&path("full.nii"), &volume(0)).unwrap();
        nifti::write(&path("eight.nii"), &Volume::new(bytes.clone(), CLASSES, scene.grid.clone())).unwrap();
        nifti::write(&path("rest.nii"), &volume(1)).unwrap();
        let mut how = how(Prediction::Scores(Scores::Probabilities));
        let of = |name: &str, how: &Measure| measured(&pair(path(name), reference.clone()), how);
        let full = of("full.nii", &how).unwrap();
        expect_same(&full, &scene.figures(None))?;
        let eight = of("eight.nii", &how).unwrap();
        prop_assert!(of("rest.nii", &how).is_err());
        how.reading.background = Background::Implied;
        let rest = of("rest.nii", &how).unwrap();
        for (region, figures) in &full.regions {
            for key in ["ece", "brier", "nll", "accuracy", "confidence"] {
                let value = |state: &CaseState| state.regions[region][key].0;
                let (a, b, c) = (figures[key].0, value(&eight), value(&rest));
                prop_assert!(a.is_nan() && b.is_nan() && c.is_nan() || (a - b).abs() < 1e-5 && (a - c).abs() < 1e-5,
                    "{region} {key}: {a} {b} {c}");
            }
        }
    }

    #[test]
    fn what_lies_under_ignored_voxels_changes_nothing(scene in scenes(), ignored in prop::collection::vec(any::<bool>(), 64)) {
        let folder = tempfile::tempdir().unwrap();
        let mut scene = scene;
        scene.reference.iter_mut().zip(&ignored).filter(|(_, ignored)| **ignored).for_each(|(label, _)| *label = 9);
        prop_assume!(scene.reference.iter().any(|&label| label != 9));
        let mut how = how(Prediction::Segmentation);
        how.ignored = Some(9);
        let reference = write_labels(folder.path(), "y", &scene.reference, &scene.grid, (0, 0, 0));
        let mut states = Vec::new();
        for (name, under) in [("a", 0), ("b", 3)] {
            let changed = scene.prediction.iter().zip(&scene.reference).map(|(&p, &y)| if y == 9 { under } else { p });
            let prediction = write_labels(folder.path(), name, &changed.collect::<Vec<u8>>(), &scene.grid, (0, 0, 0));
            states.push(measured(&pair(prediction, reference.clone()), &how).unwrap());
        }
        prop_assert_eq!(states[0].ignored, ignored[..scene.reference.len()].iter().filter(|it| **it).count() as u64);
        let expected = scene.figures(Some(9));
        states.iter().try_for_each(|state| expect_same(state, &expected))?;
    }
}
