//! What one tool writes and another measures is exact or refused: random volumes under random affines, axis orders, number
//! types, slopes, missing backgrounds, masks, regions and files of single classes.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use segcal_core::{Reference, Result};
use segcal_data::{Grid, Volume, formats, nifti, npy};
use segcal_evaluate::case;
use segcal_evaluate::decide::{Content, decide};
use segcal_evaluate::inputs::{Files, Masks, Pair};
use segcal_evaluate::reading::{Background, Reading};
use segcal_evaluate::scores::Scores;
use segcal_evaluate::settings::Settings;
use segcal_evaluate::state::{CaseState, Measure, Prediction};
use segcal_metrics::measure as metrics;
use segcal_metrics::volume::{self as metrics_volume, Grid as Space, Label};

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

/// A format, a number type and the order of axes of [`write_labels`].
fn writers() -> impl Strategy<Value = (usize, usize, usize)> {
    (0..4_usize, 0..9_usize, 0..8_usize)
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
        4 => put(&path, &Volume { data: turned.data.mapv(u16::from), grid }),
        5 => put(&path, &Volume { data: turned.data.mapv(|label| label as i8), grid }),
        6 => put(&path, &Volume { data: turned.data.mapv(u32::from), grid }),
        7 => put(&path, &Volume { data: turned.data.mapv(i64::from), grid }),
        _ => put(&path, &Volume { data: turned.data.mapv(f64::from), grid }),
    }
    .unwrap();
    path
}

fn pair(prediction: PathBuf, reference: PathBuf) -> Pair {
    Pair { case: "case".into(), prediction: Files::One(prediction), reference, masks: None, image: None }
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
        first in writers(),
        second in writers(),
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
    fn arrays_whose_class_lies_anywhere_and_label_arrays_are_exact_where_their_order_is_said(
        scene in scenes(),
        order in Just(vec![0, 1, 2, 3]).prop_shuffle(),
        of_labels in Just(vec![0, 1, 2]).prop_shuffle(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let reference = write_labels(folder.path(), "y", &scene.reference, &scene.grid, (0, 0, 0));
        let file = nifti::read_labels(&reference).unwrap().grid;
        let turned = Volume::new(scene.prediction.clone(), 1, scene.grid.clone()).reoriented(file.axes());
        let [d, h, w] = turned.grid.extent;
        let values: Vec<f32> = scores(turned.values()).into_iter().map(|p| f32::from(p) / 255.0).collect();
        let array = ndarray::Array4::from_shape_vec((CLASSES, d, h, w), values).unwrap();
        let array = array.permuted_axes([order[0], order[1], order[2], order[3]]);
        let path = folder.path().join("p.npy");
        npy::write(&path, array.shape(), &array.iter().copied().collect::<Vec<f32>>()).unwrap();
        let said = |letters: &[char], order: &[usize]| {
            let axes: String = order.iter().map(|&axis| letters[axis]).collect();
            Reading { axes: Some(axes.parse().unwrap()), ..Reading::default() }
        };
        let of_scores = Measure { reading: said(&['k', 'z', 'y', 'x'], &order), ..how(Prediction::Scores(Scores::Probabilities)) };
        expect_same(&measured(&pair(path, reference.clone()), &of_scores).unwrap(), &scene.figures(None))?;
        let array = ndarray::Array3::from_shape_vec((d, h, w), turned.values().to_vec()).unwrap();
        let array = array.permuted_axes([of_labels[0], of_labels[1], of_labels[2]]);
        let path = folder.path().join("l.npy");
        npy::write(&path, array.shape(), &array.iter().copied().collect::<Vec<u8>>()).unwrap();
        let letters: Vec<usize> = [0].into_iter().chain(of_labels.iter().map(|axis| axis + 1)).collect();
        let of_maps = Measure { reading: said(&['k', 'z', 'y', 'x'], &letters), ..how(Prediction::Segmentation) };
        expect_same(&measured(&pair(path, reference), &of_maps).unwrap(), &scene.figures(None))?;
    }

    #[test]
    fn masks_of_each_class_by_any_writer_are_their_label_map(
        scene in scenes(),
        writers in prop::collection::vec(writers(), 2 * CLASSES),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut sides = [("y", &scene.reference), ("p", &scene.prediction)].into_iter().zip(writers.chunks(CLASSES));
        let mut masks = || {
            let ((side, labels), writers) = sides.next().unwrap();
            let mask = |label: u8| {
                let inside: Vec<u8> = labels.iter().map(|&own| u8::from(own == label)).collect();
                let name = format!("{side}{label}");
                write_labels(folder.path(), &name, &inside, &scene.grid, writers[usize::from(label)])
            };
            let paths = (1..CLASSES as u8).map(mask).collect();
            Masks { paths, labels: (1..CLASSES as Label).collect() }
        };
        let reference = masks();
        let prediction = Files::Masks(masks());
        let pair = Pair { prediction, masks: Some(reference), ..pair(PathBuf::new(), folder.path().into()) };
        expect_same(&measured(&pair, &how(Prediction::Segmentation)).unwrap(), &scene.figures(None))?;
    }

    #[test]
    fn scores_of_nested_regions_are_those_of_their_label_map(scene in scenes(), form in 0..3_usize) {
        let folder = tempfile::tempdir().unwrap();
        let reference = write_labels(folder.path(), "y", &scene.reference, &scene.grid, (0, 0, 0));
        let regions = [("whole", vec![1, 2, 3]), ("core", vec![2, 3]), ("rim", vec![3])]
            .map(|(name, labels)| metrics_volume::Structure { name: name.into(), labels });
        let p = |region: &metrics_volume::Structure| {
            let inside = |&label: &u8| if region.contains(label.into()) { 0.9_f32 } else { 0.2 };
            scene.prediction.iter().map(inside).collect::<Vec<_>>()
        };
        let values: Vec<f32> = regions.iter().flat_map(p).collect();
        let volume = Volume::new(values, regions.len(), scene.grid.clone());
        let path = folder.path().join(["p.nii.gz", "p.mha", "p.nrrd"][form]);
        if form == 0 { nifti::write(&path, &volume) } else { formats::write(&path, &volume) }.unwrap();
        let mut how = how(Prediction::Scores(Scores::Probabilities));
        how.unions = regions.iter().map(|region| (region.name.clone(), region.labels.clone())).collect();
        let unions = how.unions.clone();
        how.nested = Some(metrics::Nested { regions: regions.into(), order: vec![1, 2, 3] });
        let state = measured(&pair(path, reference), &how).unwrap();
        let wide = |labels: &[u8]| labels.iter().map(|&label| label.into()).collect::<Vec<Label>>();
        let options = metrics::Options { unions, ..metrics::Options::default() };
        let space = Space::of_steps(scene.grid.extent, scene.grid.steps_mm());
        let prediction = metrics::Prediction::Labels(wide(&scene.prediction).into());
        let mut expected = metrics::measure(&Reference, prediction, &wide(&scene.reference), space, &options).unwrap();
        expected.structures.retain(|name, _| how.unions.contains_key(name));
        prop_assert_eq!(expected.structures.len(), 3);
        expect_same(&state, &expected)?;
    }

    #[test]
    fn scores_through_a_slope_are_those_that_were_meant(scene in scenes(), steps in 400..30_000_i16, shift in -500..500_i16) {
        let folder = tempfile::tempdir().unwrap();
        let reference = write_labels(folder.path(), "y", &scene.reference, &scene.grid, (0, 0, 0));
        // Stored as whole numbers: a probability of 1 is that many steps.
        let stored = scores(&scene.prediction).into_iter().map(|p| {
            (f64::from(p) / 255.0 * f64::from(steps)).round() as i16 + shift
        });
        let path = folder.path().join("p.nii");
        nifti::write(&path, &Volume::new(stored.collect::<Vec<_>>(), CLASSES, scene.grid.clone())).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let slope = 1.0 / f32::from(steps);
        bytes[112..116].copy_from_slice(&slope.to_le_bytes());
        bytes[116..120].copy_from_slice(&(-f32::from(shift) * slope).to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let state = measured(&pair(path, reference), &how(Prediction::Scores(Scores::Probabilities))).unwrap();
        expect_same(&state, &scene.figures(None))?;
        let confidence = state.regions["all"]["confidence"].0;
        prop_assert!((confidence - 180.0 / 255.0).abs() <= 1.0 / f64::from(steps), "{}", confidence);
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
