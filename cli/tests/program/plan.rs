//! A plan is a config that trains, its runs predict on the voxels of the file, and what is drawn is a picture.

use std::fs;
use std::path::Path;

use crate::common::{segcal, stderr, stdout, text};
use segcal_data as data;

fn done(arguments: &[&str]) -> String {
    let output = segcal(&[&["-q"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

fn probabilities(folder: &Path) -> data::Volume<f32> {
    data::read_image(&folder.join("probabilities/phantom_003.nii.gz")).unwrap()
}

#[test]
fn a_plan_trains_and_predicts_on_the_voxels_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (cohort, plan, run, out) = (path("cohort"), path("plan.toml"), path("run"), path("out"));
    let counts = ["--train", "3", "--val", "1", "--test", "1", "--size", "16,24,20"];
    done(&[&["phantom", text(&cohort)][..], &counts].concat());
    done(&["plan", text(&cohort), "--minutes", "0.01", "--out", text(&plan)]);
    let written = fs::read_to_string(&plan).unwrap();
    for key in ["input.crop", "input.spacing", "samples.size", "network.strides", "optimiser.name", "epochs"] {
        let mut lines = written.lines().zip(written.lines().skip(1));
        let name = format!("{} = ", key.rsplit('.').next().unwrap());
        assert!(lines.any(|(reason, line)| line.starts_with(&name) && reason.starts_with("# ")), "{key}\n{written}");
    }
    let again = segcal(&["plan", text(&cohort), "--out", text(&plan)]);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("plan.toml: already exists"), "{}", stderr(&again));
    assert_eq!(fs::read_to_string(&plan).unwrap(), written);
    // Every key can be changed; voxels of another size along each axis.
    let case = cohort.join("imagesTr/phantom_003.nii.gz");
    let image = data::read_image(&case).unwrap();
    let [z, y, x] = image.grid.spacing_mm();
    let spacing = format!("input.spacing=[{}, {}, {}]", 1.3 * z, 0.8 * y, 1.1 * x);
    let small = [
        "network.widths=[4,8]",
        "network.strides=[[1,1,1],[2,2,2]]",
        "network.kernels=[[3,3,3],[3,3,3]]",
        "samples.size=[8,16,16]",
    ];
    let arguments = ["train", text(&plan), "epochs=2", &spacing, "--out", text(&run)];
    done(&[&arguments[..], &small].concat());
    let write = ["--write", "segmentations,probabilities,logits"];
    done(&[&["predict", text(&run), text(&case), "--out", text(&out)][..], &write].concat());
    let labels = data::read_labels(&out.join("segmentations/phantom_003.nii.gz")).unwrap();
    image.grid.expect_same("the image", &labels.grid, "the labels").unwrap();
    let scores = probabilities(&out);
    image.grid.expect_same("the image", &scores.grid, "the probabilities").unwrap();
    let voxels = image.grid.extent.iter().product::<usize>();
    for voxel in 0..voxels {
        let each: Vec<f32> = (0..scores.channels()).map(|class| scores.values()[class * voxels + voxel]).collect();
        assert!((each.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{each:?}");
        let own = each[labels.values()[voxel] as usize];
        assert!(each.iter().all(|&other| other <= own));
    }
}

#[test]
fn samples_are_drawn_and_nothing_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (cohort, config, picture) = (path("cohort"), path("c.toml"), path("samples.png"));
    done(&["phantom", text(&cohort), "--train", "2", "--val", "1", "--test", "0", "--size", "4,32,32"]);
    fs::write(&config, "augment = \"nnunet\"\n[samples]\nsize = [32, 32]\n").unwrap();
    let (data, out) = (format!("data={}", cohort.display()), path("run"));
    let arguments = ["train", text(&config), &data, "--out", text(&out), "--draw-samples", text(&picture)];
    assert_eq!(done(&arguments).trim(), text(&picture));
    assert!(!out.exists());
    let drawn = data::png::read_colours(&picture).unwrap();
    // Six samples, eight pictures of each, three pixels a voxel, two between.
    assert_eq!(drawn.grid.extent, [1, 6 * 98, 8 * 98]);
}
