//! The formats that predictions are written in, and what is said of voxels of another size.

use std::fs;
use std::path::Path;

use segcal_data::{Grid, Volume, nifti, npy};
use serde_json::Value;

use crate::common::training::Scene;
use crate::common::{segcal, stderr, text};

/// Images of a grid that is oblique and flipped, on which every format must lie again.
fn oblique_images(from: &Path, to: &Path) {
    let affine = [[-0.8, 0.1, 0.0, 12.0], [0.1, 0.9, 0.2, -3.0], [0.0, -0.2, 2.5, 40.0]];
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let volume = nifti::read_image(&path).unwrap();
        let grid = Grid::new(volume.grid.extent, affine, 1).unwrap();
        fs::create_dir_all(to).unwrap();
        nifti::write(&to.join(path.file_name().unwrap()), &Volume { grid, data: volume.data }).unwrap();
    }
}

fn run(arguments: &[&str]) -> String {
    let output = segcal(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    stderr(&output)
}

#[test]
fn every_format_holds_the_same_numbers_in_the_same_place() {
    let scene = Scene::new();
    scene.trained("run", &["epochs=1"]);
    let (run_folder, images) = (scene.path("run"), scene.path("images"));
    oblique_images(&scene.path("cohort/imagesTs"), &images);
    let labels = scene.path("labels");
    oblique_images(&scene.path("cohort/labelsTs"), &labels);
    let case = fs::read_dir(&labels).unwrap().next().unwrap().unwrap().file_name();
    let case = case.to_str().unwrap().trim_end_matches(".nii.gz").to_owned();
    let mut first: Option<(Volume<f32>, Volume<i32>, Value)> = None;
    for format in ["nii.gz", "mha", "nrrd", "npz"] {
        let out = scene.path(format);
        run(&["predict", text(&run_folder), text(&images), "--out", text(&out), "--format", format]);
        let (probabilities, segmentations) = (out.join("probabilities"), out.join("segmentations"));
        let file = probabilities.join(format!("{case}.{format}"));
        let volume = if format == "npz" {
            let array = npy::read::<f32>(&file, "probabilities").unwrap();
            let properties = fs::read_to_string(probabilities.join(format!("{case}.properties.json"))).unwrap();
            let properties: Value = serde_json::from_str(&properties).unwrap();
            assert_eq!(properties["sitk_stuff"]["origin"], serde_json::json!([-12.0, 3.0, 40.0]));
            let grid = first.as_ref().unwrap().0.grid.clone();
            Volume::new(array.data, array.shape[0], grid)
        } else {
            segcal_data::read_image(&file).unwrap()
        };
        let ending = if format == "npz" { "nii.gz" } else { format };
        let map = segcal_data::read_labels(&segmentations.join(format!("{case}.{ending}"))).unwrap();
        let evaluation = scene.path(&format!("{format}-evaluation"));
        let given = ["--probabilities", text(&probabilities), "--labels", text(&labels)];
        run(&[&["-q", "evaluate"][..], &given, &["--out", text(&evaluation)]].concat());
        let summary = fs::read_to_string(evaluation.join("summary.json")).unwrap();
        let mean = serde_json::from_str::<Value>(&summary).unwrap()["mean"].clone();
        let (p, y, figures) = first.get_or_insert_with(|| (volume.clone(), map.clone(), mean.clone()));
        assert_eq!((volume.values(), map.values()), (p.values(), y.values()), "{format}");
        p.grid.expect_same("nii.gz", &volume.grid, format).unwrap();
        y.grid.expect_same("nii.gz", &map.grid, format).unwrap();
        assert!(*figures == mean && mean["regions"]["all"]["ece"].is_number(), "{format}");
    }
}

#[test]
fn voxels_of_another_size_are_told() {
    let scene = Scene::new();
    scene.trained("run", &["epochs=1"]);
    let images = scene.path("cohort/imagesTs");
    let predict = |images: &Path, out: &str| {
        run(&["predict", text(&scene.path("run")), text(images), "--out", text(&scene.path(out))])
    };
    let silent = predict(&images, "same");
    assert!(!silent.contains("voxels of"), "{silent}");
    oblique_images(&images, &scene.path("other"));
    let told = predict(&scene.path("other"), "foreign");
    assert!(told.contains("voxels of 2.5") && told.contains("the training images had"), "{told}");
    // One image of the training set with other voxels.
    let training = scene.path("cohort/imagesTr");
    let mut names: Vec<_> = fs::read_dir(&training).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for folder in ["imagesTr", "labelsTr"] {
        let one = scene.path("one");
        fs::create_dir_all(&one).unwrap();
        let path = scene.path("cohort").join(folder).join(&names[0]);
        fs::rename(&path, one.join(&names[0])).unwrap();
        oblique_images(&one, &scene.path("cohort").join(folder));
        fs::remove_dir_all(&one).unwrap();
    }
    let mut arguments = scene.arguments("mixed", &["epochs=1"]);
    arguments.remove(0);
    let told = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(told.contains("the training images have voxels of"), "{told}");
}
