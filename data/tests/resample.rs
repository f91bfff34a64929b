//! Resampling by nnU-Net's rules, met by its own numbers (images to 1e-4, scores to 2e-6, labels wherever one label wins).

use std::path::{Path, PathBuf};

use segcal_data::npy;
use segcal_data::resample::{coarse_axis, image, labels, lines, size};
use serde_json::Value;

/// The folder of shared data: `SEGCAL_DATA`, or `shared` beside the project.
fn goldens() -> Option<PathBuf> {
    let shared = match std::env::var_os("SEGCAL_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    };
    Some(shared.join("goldens/peers2/h-preprocessing")).filter(|folder| folder.is_dir())
}

fn three<T: std::fmt::Debug>(value: &Value, number: impl Fn(&Value) -> T) -> [T; 3] {
    value.as_array().unwrap().iter().map(number).collect::<Vec<_>>().try_into().unwrap()
}

fn assert_near(what: &str, found: &[f32], expected: &[f32], bound: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= bound, "{what}: {worst}");
}

#[test]
fn the_numbers_of_nnunet() {
    let Some(folder) = goldens() else { return };
    let expected: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
    let data = folder.join("data.npz");
    let names = npy::names(&data).unwrap();
    let floats = |key: String| npy::read::<f32>(&data, &key).unwrap().data;
    let whole = |key: String| -> Vec<i32> { npy::read::<i32>(&data, &key).unwrap().data };
    let mut cases = 0;
    for (case, of) in expected["resampling"].as_object().unwrap() {
        let float = |value: &Value| value.as_f64().unwrap();
        let count = |value: &Value| value.as_u64().unwrap() as usize;
        let from = three(&of["shape_zyx"], count);
        let (old, new) = (three(&of["spacing_zyx"], float), three(&of["target_spacing_zyx"], float));
        let to = size(from, old, new);
        assert_eq!(to, three(&of["new_shape"], count), "{case}");
        let coarse = coarse_axis(old, new);
        assert_eq!(coarse, of["separate_axis"].as_u64().map(|axis| axis as usize), "{case}");
        let resampled = image(&floats(format!("{case}__image")), from, to, coarse);
        assert_near(case, &resampled, &floats(format!("{case}__image_resampled")), 1e-4);
        let own = labels(&whole(format!("{case}__segmentation")), from, to, coarse);
        let tied = whole(format!("{case}__segmentation_tied"));
        let theirs = whole(format!("{case}__segmentation_resampled"));
        assert!((0..own.len()).all(|voxel| tied[voxel] != 0 || own[voxel] == theirs[voxel]), "{case}: labels");
        if names.contains(&format!("{case}__logits")) {
            let there = through(&floats(format!("{case}__logits")), from, to, coarse);
            assert_near(case, &there, &floats(format!("{case}__logits_resampled")), 2e-6);
            let back = through(&there, to, from, coarse_axis(new, old));
            assert_near(case, &back, &floats(format!("{case}__logits_back")), 2e-6);
        }
        cases += 1;
    }
    assert_eq!(cases, 9);
}

/// Scores of each class through the maps of the three axes.
fn through(scores: &[f32], from: [usize; 3], to: [usize; 3], coarse: Option<usize>) -> Vec<f32> {
    let lines = lines(from, to, coarse);
    let class = |class: &[f32]| {
        let (mut values, mut extent) = (class.to_vec(), from);
        for axis in 0..3 {
            values = lines[axis].along(axis, &values, extent);
            extent[axis] = to[axis];
        }
        values
    };
    scores.chunks_exact(from.iter().product()).flat_map(class).collect()
}
