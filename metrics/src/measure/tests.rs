use std::collections::BTreeMap;

use segcal_core::Reference;

use super::*;
use crate::definitions::METRICS;
use crate::volume::Structure;

fn of_labels(labels: &[Label], reference: &[Label], grid: Grid, options: &Options) -> Figures {
    measure(&Reference, Prediction::Labels(labels.into()), reference, grid, options).unwrap()
}

/// Probabilities that favour the label of each voxel by this amount.
fn favouring(labels: &[Label], classes: usize, by: f32) -> Vec<f32> {
    let other = (1.0 - by) / (classes - 1) as f32;
    (0..classes)
        .flat_map(|k| labels.iter().map(move |&label| if usize::from(label) == k { by } else { other }))
        .collect()
}

#[test]
fn every_metric_in_every_region_and_structure() {
    let labels = [0, 0, 1, 1, 2, 2, 0, 0];
    let scores = favouring(&labels, 3, 0.8);
    let grid = Grid::new([1, 2, 4], [1.0, 2.0, 1.0]);
    let prediction = Prediction::Probabilities((&scores[..]).into());
    let figures = measure(&Reference, prediction, &labels, grid, &Options::default()).unwrap();
    let regions = [
        "all",
        "boundary",
        "foreground",
        "near",
        "predicted",
        "predicted:1",
        "predicted:2",
        "structure:1",
        "structure:2",
        "union",
    ];
    assert!(figures.regions.keys().eq(regions));
    for (keys, per_structure) in [(figures.regions["all"].len(), false), (figures.structures["1"].len(), true)] {
        assert_eq!(keys, METRICS.iter().filter(|metric| metric.per_structure() == per_structure).count());
    }
    assert_eq!(figures.prediction, labels);
    assert!(figures.confidence.iter().all(|&confidence| confidence == 204));
    assert!((figures.regions["predicted:2"]["ece"] - 0.2).abs() < 1e-6);
    assert!(figures.authors.is_none(), "distances in mm are not those of the authors");
    let asked = Options { authors: true, ..Options::default() };
    let authors = of_labels(&labels, &labels, grid, &asked).authors.unwrap();
    assert_eq!(
        authors,
        of_labels(&labels, &labels, Grid::voxel_units(grid.spatial), &Options::default()).authors.unwrap()
    );
}

#[test]
fn logits_are_their_softmax() {
    let labels = [0, 1, 1, 0];
    let logits = [2.0, -1.0, 0.5, 0.25, 1.0, 1.0, 3.0, 0.0];
    let grid = Grid::voxel_units([1, 2, 2]);
    let mut p = logits.to_vec();
    softmax(&mut p, 2);
    let of = |prediction| measure(&Reference, prediction, &labels, grid, &Options::default()).unwrap();
    let (a, b) = (of(Prediction::Logits((&logits[..]).into())), of(Prediction::Probabilities(p.into())));
    assert_eq!(format!("{:?}", a.regions), format!("{:?}", b.regions));
    assert_eq!(a.structures, b.structures);
}

#[test]
fn ignored_voxels_are_in_no_figure() {
    // The last row is ignored, regardless of the prediction there.
    let reference = [0, 1, 1, 0, 2, 0, 9, 9, 9, 9];
    let prediction = [0, 1, 1, 0, 2, 0, 1, 2, 1, 0];
    let options = Options { ignored: Some(9), ..Options::default() };
    let grid = Grid::voxel_units([1, 2, 5]);
    let labels = of_labels(&prediction, &reference, grid, &options);
    assert_eq!((labels.ignored, labels.classes), (4, 3));
    let perfect = |figures: &Figures| {
        assert!(figures.structures.keys().eq(["1", "2"]));
        for of in ["1", "2"] {
            assert_eq!(figures.structures[of]["dsc"].formula(), Some(1.0));
            assert_eq!(figures.structures[of]["hd"].formula(), Some(0.0));
        }
    };
    perfect(&labels);
    let scores = favouring(&prediction, 3, 0.7);
    let scored = measure(&Reference, Prediction::Probabilities(scores.into()), &reference, grid, &options).unwrap();
    perfect(&scored);
    assert_eq!((scored.ignored, scored.regions["all"]["accuracy"]), (4, 1.0));
    let states = scored.states.unwrap();
    assert_eq!(states.calibration.region(crate::calibration::Region::All).voxels(), 6);
    assert_eq!(states.logits.unwrap().counts(0, 0).iter().sum::<u64>(), 3);
}

#[test]
fn unions_and_labels_without_a_class() {
    let unions = BTreeMap::from([("both".to_owned(), vec![1, 2]), ("more".to_owned(), vec![1, 3])]);
    let options = Options { unions, ..Options::default() };
    let (labels, grid) = ([0, 1, 2], Grid::voxel_units([1, 1, 3]));
    let scores = favouring(&labels, 3, 0.7);
    let scored = measure(&Reference, Prediction::Probabilities(scores.into()), &labels, grid, &options).unwrap();
    assert!(scored.structures.keys().eq(["1", "2", "both"]));
    let maps = of_labels(&[0, 7, 900], &[0, 7, 7], grid, &options);
    assert!(maps.structures.keys().eq(["7", "900", "both", "more"]));
    assert_eq!(maps.classes, 901);
}

#[test]
fn many_labels_take_room_for_what_occurs() {
    let labels: Vec<Label> = (0..40_000).collect();
    let figures = of_labels(&labels, &labels, Grid::new([1, 200, 200], [1.0, 2.0, 2.0]), &Options::default());
    assert_eq!(figures.structures.len(), 39_999);
    assert_eq!(figures.structures["39999"]["hd"].formula(), Some(0.0));
}

#[test]
fn many_classes_take_room_for_what_occurs() {
    let (classes, labels) = (3000, [0, 5, 5, 2999]);
    let scores = favouring(&labels, classes, 0.5);
    let grid = Grid::voxel_units([1, 2, 2]);
    let figures =
        measure(&Reference, Prediction::Probabilities(scores.into()), &labels, grid, &Options::default()).unwrap();
    assert_eq!(figures.regions["structure:2999"]["accuracy"], 1.0);
    let states = figures.states.unwrap();
    let size = serde_json::to_string(&states.calibration).unwrap().len()
        + serde_json::to_string(&states.equal_mass).unwrap().len();
    assert!(size < 1 << 20, "{size} bytes");
}

#[test]
fn nested_regions_are_problems_of_two_classes() {
    // The region whole contains the labels 1 and 2, core only 2; the last voxel is ignored.
    let nested = Nested {
        regions: vec![
            Structure { name: "whole".into(), labels: vec![1, 2] },
            Structure { name: "core".into(), labels: vec![2] },
        ],
        order: vec![1, 2],
    };
    let (whole, core) = ([0.1_f32, 0.9, 0.8, 0.4, 0.9], [0.0_f32, 0.2, 0.7, 0.6, 0.9]);
    let reference = [0, 1, 2, 1, 9];
    let options = Options { ignored: Some(9), ..Options::default() };
    let grid = Grid::voxel_units([1, 1, 5]);
    let prediction = Prediction::Regions([whole, core].concat().into(), &nested);
    let figures = measure(&Reference, prediction, &reference, grid, &options).unwrap();
    assert_eq!(figures.prediction, [0, 1, 2, 2, 2]);
    assert!(figures.structures.keys().eq(["core", "whole"]));
    assert_eq!(figures.structures["core"]["dsc"].formula(), Some(2.0 / 3.0));
    assert_eq!(figures.structures["whole"]["dsc"].formula(), Some(1.0));
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
    let (of_whole, of_core) = (&figures.regions["whole/all"], &figures.regions["core/all"]);
    close(of_whole["accuracy"], 0.75);
    close(of_whole["brier"], 2.0 * (0.01 + 0.01 + 0.04 + 0.36) / 4.0);
    close(of_core["brier"], 2.0 * (0.0 + 0.04 + 0.09 + 0.36) / 4.0);
    assert_eq!((figures.ignored, figures.problems.len()), (1, 2));
    let few = Prediction::Regions(vec![0.5; 5].into(), &nested);
    let error = measure(&Reference, few, &reference, grid, &options).unwrap_err().to_string();
    assert!(error.contains("1 channels, but 2 regions"), "{error}");
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let grid = Grid::voxel_units([1, 2, 2]);
    let of = |prediction, reference: &[Label]| {
        measure(&Reference, prediction, reference, grid, &Options::default()).unwrap_err().to_string()
    };
    assert!(of(Prediction::Labels(vec![0; 3].into()), &[0; 4]).contains("the prediction has 3 labels"));
    assert!(of(Prediction::Labels(vec![0; 4].into()), &[0; 5]).contains("the reference has 5 labels"));
    assert!(of(Prediction::Logits(vec![0.0; 7].into()), &[0; 4]).contains("do not divide"));
    assert!(of(Prediction::Probabilities(vec![0.5; 8].into()), &[0, 0, 0, 2]).contains("the labels hold 2"));
    assert!(of(Prediction::Probabilities(vec![f32::NAN; 8].into()), &[0; 4]).contains("NaN"));
}
