//! One case from files: sheared grids, ignored voxels, and nnU-Net's own numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use segcal_core::Reference;
use segcal_data::{Grid, Volume, nifti};
use segcal_evaluate::case::measure;
use segcal_evaluate::described::Described;
use segcal_evaluate::inputs::{Files, Pair};
use segcal_evaluate::settings::Settings;
use segcal_evaluate::state::{CaseState, Measure, Prediction};
use segcal_metrics::volume::Label;
use serde_json::Value;

fn measured(prediction: PathBuf, reference: PathBuf, how: &Measure) -> CaseState {
    let pair = Pair { case: "case".into(), prediction: Files::One(prediction), reference, masks: None, image: None };
    measure(&Reference, &pair, how).unwrap().0
}

fn label_maps() -> Measure {
    Settings::default().measure(Prediction::Segmentation, false).unwrap()
}

fn figure(state: &CaseState, structure: &str, key: &str) -> f64 {
    state.structures[structure][key].formula().unwrap_or(f64::NAN)
}

/// A gantry tilt of 27 degrees: distances are those between voxel centres in space, by trying every pair of edge voxels.
#[test]
fn distances_of_a_sheared_grid_run_through_the_affine() {
    let folder = tempfile::tempdir().unwrap();
    let (extent, affine) = ([6, 5, 7], [[1.0, 0.0, 0.0, 3.0], [0.0, 2.0, 1.5, -4.0], [0.0, 0.0, 3.0, 0.0]]);
    let grid = Grid::new(extent, affine, 1).unwrap();
    let at = |voxel: usize| [voxel % 7, voxel / 7 % 5, voxel / 35];
    let boxed = |from: [usize; 3], to: [usize; 3]| -> Vec<u8> {
        (0..210).map(|voxel| u8::from((0..3).all(|axis| (from[axis]..to[axis]).contains(&at(voxel)[axis])))).collect()
    };
    let (a, b) = (boxed([0, 0, 0], [2, 2, 2]), boxed([3, 2, 4], [5, 4, 6]));
    let path = |name: &str| folder.path().join(name);
    for (name, labels) in [("p.nii", &a), ("y.nii", &b)] {
        nifti::write(&path(name), &Volume::new(labels.clone(), 1, grid.clone())).unwrap();
    }
    let state = measured(path("p.nii"), path("y.nii"), &label_maps());
    let position = |voxel: usize| -> [f64; 3] {
        std::array::from_fn(|row| (0..3).map(|axis| affine[row][axis] * at(voxel)[axis] as f64).sum())
    };
    let apart = |x: usize, y: usize| {
        let (x, y) = (position(x), position(y));
        (0..3).map(|side| (x[side] - y[side]).powi(2)).sum::<f64>().sqrt()
    };
    // Every voxel of a box of two voxels a side is an edge voxel.
    let inside = |labels: &[u8]| (0..210).filter(|&voxel| labels[voxel] == 1).collect::<Vec<usize>>();
    let directed = |from: &[usize], to: &[usize]| {
        let nearest = |&x: &usize| to.iter().map(|&y| apart(x, y)).fold(f64::INFINITY, f64::min);
        from.iter().map(nearest).fold(0.0, f64::max)
    };
    let (a, b) = (inside(&a), inside(&b));
    let hd = directed(&a, &b).max(directed(&b, &a));
    assert!((figure(&state, "1", "hd") - hd).abs() < 1e-5, "{} {hd}", figure(&state, "1", "hd"));
    let voxels = measured(path("p.nii"), path("y.nii"), &Measure { voxel_units: true, ..label_maps() });
    // From (0, 0, 0) to (3, 2, 4) in voxels.
    assert_eq!(figure(&voxels, "1", "hd"), 29.0_f64.sqrt());
}

/// The folder of shared data: `SEGCAL_DATA`, or `shared` beside the project.
fn goldens() -> Option<PathBuf> {
    let shared = match std::env::var_os("SEGCAL_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    };
    Some(shared.join("goldens/peers2/a-nnunet")).filter(|folder| folder.is_dir())
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The regions of a `dataset.json`, with nnU-Net's keys.
fn regions(dataset: &Value) -> BTreeMap<String, Vec<Label>> {
    let label = |value: &Value| Label::try_from(value.as_u64().unwrap()).unwrap();
    let named = dataset["labels"].as_object().unwrap().values().filter_map(|value| {
        let labels: Vec<Label> = value.as_array()?.iter().map(label).collect();
        let written = labels.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Some((if labels.len() == 1 { format!("({written},)") } else { format!("({written})") }, labels))
    });
    named.collect()
}

/// Dice of nnU-Net's own evaluation to the last digit: plain labels, an ignore label, regions, and both.
#[test]
fn dice_of_nnunet() {
    let Some(goldens) = goldens() else { return };
    for set in ["plain", "ignore", "regions", "regions_ignore"] {
        let folder = goldens.join(set);
        let unions = regions(&json(&folder.join("dataset.json")));
        let how = Measure { ignored: Described::beside(&folder.join("labelsTr")).ignored, unions, ..label_maps() };
        assert_eq!(how.ignored.is_some(), set.ends_with("ignore"));
        let expected = json(&folder.join("expected.json"));
        for case in expected["nnunet_summary"]["metric_per_case"].as_array().unwrap() {
            let file = |key: &str| folder.join(case[key].as_str().unwrap());
            let state = measured(file("prediction_file"), file("reference_file"), &how);
            for (structure, metrics) in case["metrics"].as_object().unwrap() {
                // A label that neither map holds has no value there and is empty in both here.
                let dice = metrics["Dice"].as_f64();
                let own = state.outcome(structure, "dsc").and_then(|outcome| outcome.formula());
                assert_eq!(own, dice, "{set} {structure}");
                let iou = state.outcome(structure, "iou").and_then(|outcome| outcome.formula());
                assert_eq!(iou, metrics["IoU"].as_f64(), "{set} {structure}");
            }
            let name = file("prediction_file").file_name().unwrap().to_string_lossy().replace(".nii.gz", "");
            let ignored = expected["cases"][&name]["ignored"].as_u64().unwrap_or(0);
            assert_eq!(state.ignored, ignored, "{set} {name}");
        }
    }
}
