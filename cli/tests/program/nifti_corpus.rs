//! Real NIfTI files with odd headers, against what two other readers agree on.
//!
//! Needs the folder `shared/data/nifti-corpus` (beside the project, or where `SEGCAL_DATA` says); skips without it.

use std::path::PathBuf;

use segcal_data::nifti;
use serde_json::Value;

fn corpus() -> Option<(PathBuf, serde_json::Map<String, Value>)> {
    let folder = crate::common::shared()?.join("data/nifti-corpus");
    let text = std::fs::read_to_string(folder.join("expected.json")).ok()?;
    Some((folder, serde_json::from_str(&text).expect("expected.json is JSON")))
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        Value::String(text) => vec![text.parse().unwrap_or(f64::NAN)],
        other => vec![other.as_f64().expect("a number")],
    }
}

fn assert_close(file: &str, key: &str, found: &Value, expected: &Value, relative: f64) {
    let (found, expected) = (numbers(found), numbers(expected));
    assert_eq!(found.len(), expected.len(), "{file} {key}");
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() <= relative * b.abs().max(1e-6), "{file} {key}: {a} is not {b}");
    }
}

#[test]
fn info_agrees_with_the_corpus() {
    let Some((folder, expected)) = corpus() else { return };
    let mut read = 0;
    for (file, expected) in &expected {
        let output = crate::common::segcal(&["info", "--json", folder.join(file).to_str().unwrap()]);
        let name = file.rsplit('/').next().unwrap();
        let refused_type = matches!(expected["datatype"].as_i64(), Some(32 | 128 | 1792 | 2304));
        if expected["readable"] == false || refused_type {
            assert_eq!(output.status.code(), Some(2), "{file}");
            let message = String::from_utf8(output.stderr).unwrap();
            assert!(message.starts_with("error: ") && message.lines().count() == 1, "{file}: {message}");
            assert!(message.contains(name), "{file}: {message}");
            continue;
        }
        assert_eq!(output.status.code(), Some(0), "{file}: {}", String::from_utf8_lossy(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        for key in ["format", "endian", "dim", "datatype", "datatype_name", "affine_from", "axes", "oblique", "nans"] {
            assert_eq!(found[key], expected[key], "{file} {key}");
        }
        for key in ["qform_code", "sform_code", "intent_code"] {
            assert_eq!(found[key], expected[key], "{file} {key}");
        }
        for key in ["pixdim", "scl_slope", "scl_inter", "vox_offset", "min", "max"] {
            assert_close(file, key, &found[key], &expected[key], 0.0);
        }
        assert_close(file, "affine", &found["affine"], &expected["affine"], 1e-12);
        // Sums of n terms in another order: n half-units in the last place, of the sum of the absolute values.
        for key in ["mean", "sum"] {
            assert_close(file, key, &found[key], &expected[key], 1e-9);
        }
        assert!(found.get("labels").is_some(), "{file}");
        read += 1;
    }
    assert!(read > 30, "{read} files were read");
}

#[test]
fn values_stand_where_the_corpus_says() {
    let Some((folder, expected)) = corpus() else { return };
    for (file, expected) in &expected {
        let Ok(reader) = nifti::Reader::open(&folder.join(file)) else { continue };
        let mut values = Vec::new();
        reader
            .each(|piece| {
                values.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        // The JSON reader may miss a double by one unit in the last place.
        let first = values[..expected["first"].as_array().unwrap().len()].to_vec();
        assert_close(file, "first", &first.into(), &expected["first"], f64::EPSILON);
        assert_close(file, "middle", &values[values.len() / 2].into(), &expected["middle"], f64::EPSILON);
        assert_close(file, "last", &values[values.len() - 1].into(), &expected["last"], f64::EPSILON);
        let image = nifti::read_image(&folder.join(file)).unwrap();
        assert!(image.values().iter().zip(&values).all(|(a, b)| *a == *b as f32), "{file}");
    }
}

#[test]
fn label_maps_of_any_type_are_read_and_images_refused() {
    let Some((folder, expected)) = corpus() else { return };
    for (file, highest) in [
        ("sct/t2_seg-manual.nii.gz", 1),
        ("sct/t2_seg-manual_labeled.nii.gz", 5),
        ("sct/t2_labels.nii.gz", 5),
        ("sct/t2s_seg-deepseg.nii.gz", 1),
        ("sct/PAM50_small_levels.nii.gz", 20),
    ] {
        let labels = nifti::read_labels(&folder.join(file)).unwrap();
        assert_eq!(labels.values().iter().max(), Some(&highest), "{file}");
        let sum: i64 = labels.values().iter().map(|&label| i64::from(label)).sum();
        assert_eq!(sum as f64, expected[file]["sum"].as_f64().unwrap(), "{file}");
    }
    let error = nifti::read_labels(&folder.join("sct/t2s.nii.gz")).unwrap_err().to_string();
    assert!(error.contains("t2s.nii.gz") && error.contains("voxel (0, 0, 0)"), "{error}");
}

#[test]
fn a_volume_written_in_the_geometry_of_another_has_that_geometry() {
    let Some((folder, expected)) = corpus() else { return };
    let out = tempfile::tempdir().unwrap();
    for file in expected.keys() {
        let Ok(image) = nifti::read_image(&folder.join(file)) else { continue };
        let path = out.path().join("copy.nii.gz");
        nifti::write(&path, &image).unwrap();
        let copy = nifti::read_image(&path).unwrap();
        assert_eq!(copy.data, image.data, "{file}");
        image.grid.expect_same("image", &copy.grid, "copy").unwrap_or_else(|error| panic!("{file}: {error}"));
        // The affine goes through 32 bits.
        for (a, b) in copy.grid.affine.iter().flatten().zip(image.grid.affine.iter().flatten()) {
            assert!((a - b).abs() <= 1e-7 * b.abs(), "{file}: {a} {b}");
        }
    }
}
