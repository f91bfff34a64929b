//! How much memory `evaluate` and `predict` take at their peak, as the system tells.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::text;
use segcal_data::{Grid, Volume, nifti, npy};

const CLASSES: usize = 4;

/// Nested balls, and probabilities that favour them with noise, `[k, d, h, w]`.
fn volume([d, h, w]: [usize; 3]) -> (Vec<u8>, Vec<f32>) {
    let rng = segcal_core::Rng::new(2);
    let voxels = d * h * w;
    let (mut labels, mut p) = (vec![0; voxels], vec![0.0; CLASSES * voxels]);
    for voxel in 0..voxels {
        let at = [voxel / (h * w), voxel / w % h, voxel % w];
        let along = |axis: usize| at[axis] as f64 / [d, h, w][axis] as f64 - 0.5;
        let radius = (0..3).map(|axis| along(axis).powi(2)).sum::<f64>().sqrt();
        labels[voxel] = [0.4, 0.3, 0.2].iter().filter(|&&limit| radius < limit).count() as u8;
        let weight = |k: usize| {
            let own = if usize::from(labels[voxel]) == k { 8.0 } else { 0.1 };
            own + rng.uniform((CLASSES * voxel + k) as u64)
        };
        let sum: f64 = (0..CLASSES).map(weight).sum();
        (0..CLASSES).for_each(|k| p[k * voxels + voxel] = (weight(k) / sum) as f32);
    }
    (labels, p)
}

/// Largest resident memory of the program with these arguments, in bytes.
fn peak(arguments: &[&str]) -> u64 {
    // The shell's `ulimit` is not needed: the child waits for its own report to be read.
    let script = "\"$@\" >/dev/null & child=$!; peak=0; while kill -0 $child 2>/dev/null; do \
                  now=$(sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$child/status 2>/dev/null); \
                  [ \"${now:-0}\" -gt $peak ] && peak=$now; sleep 0.01; done; wait $child && echo $peak";
    let output = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_segcal"), "-q", "--threads", "2"])
        .args(arguments)
        // What the program lets go goes back to the system at once, rather than when glibc thinks fit.
        .env("MALLOC_MMAP_THRESHOLD_", "131072")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    1024 * String::from_utf8(output.stdout).unwrap().trim().parse::<u64>().unwrap()
}

/// The least of three: threads that happen to work on more at once, and what the allocator keeps of it, only add.
fn evaluation(prediction: &Path, axes: &[&str], labels: &Path, out: &Path) -> u64 {
    let files = ["--probabilities", text(prediction), "--labels", text(labels), "--out", text(out)];
    let once = |_| {
        let _ = std::fs::remove_dir_all(out);
        peak(&[&["evaluate"], &files[..], axes].concat())
    };
    (0..3).map(once).min().unwrap_or(0)
}

/// Growth of the peak over that of the probabilities. Measured is 1.39: labels, prediction, flags and bands take 0.375.
const LARGEST_GROWTH: f64 = 1.5;

/// Two sizes tell apart what grows with the volume from what does not: code, fonts, counters. Both are large enough for
/// the counters of equal mass, which small volumes do without.
#[test]
fn memory_grows_little_more_than_the_probabilities() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut peaks: Vec<(u64, Vec<u64>)> = Vec::new();
    for extent in [[96, 128, 128], [128, 160, 160]] {
        let (labels, p) = volume(extent);
        let [d, h, w] = extent;
        let grid = Grid::unknown(extent);
        nifti::write(&at("y.nii"), &Volume::new(labels, 1, grid.clone())).unwrap();
        nifti::write(&at("p.nii.gz"), &Volume::new(p.clone(), CLASSES, grid)).unwrap();
        npy::write(&at("p.npy"), &[CLASSES, d, h, w], &p).unwrap();
        npy::write_archive(&at("p.npz"), &[("probabilities", &[CLASSES, d, h, w], &p)]).unwrap();
        // As TorchIO and nibabel hand volumes on: x first.
        let view = ndarray::ArrayView4::from_shape((CLASSES, d, h, w), &p).unwrap();
        let turned: Vec<f32> = view.permuted_axes([0, 3, 2, 1]).iter().copied().collect();
        npy::write(&at("t.npy"), &[CLASSES, w, h, d], &turned).unwrap();
        // The arrays are alike along both axes of a slice, so nothing but the option can tell their order.
        let (straight, turned) = (["--axes", "kzyx"], ["--axes", "kxyz"]);
        let files = [("p.nii.gz", &[][..]), ("p.npy", &straight), ("p.npz", &straight), ("t.npy", &turned)];
        let peak = |(file, axes): (&str, &[&str])| evaluation(&at(file), axes, &at("y.nii"), &at("out"));
        peaks.push((4 * p.len() as u64, files.map(peak).to_vec()));
    }
    let (small, large) = (&peaks[0], &peaks[1]);
    for (a, b) in small.1.iter().zip(&large.1) {
        let ratio = (b - a) as f64 / (large.0 - small.0) as f64;
        assert!(ratio <= LARGEST_GROWTH, "{ratio:.2} times the probabilities: {peaks:?}");
    }
}

/// Small phantoms of which their data set says that there are more classes.
fn cohort_of_classes(count: usize, folder: &Path) -> PathBuf {
    let cohort = folder.join("cohort");
    done(&["phantom", text(&cohort), "--train", "1", "--val", "1", "--test", "1", "--size", "16,16,16"]);
    let path = cohort.join("dataset.json");
    let mut description: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let names = (0..count).map(|class| (class.to_string(), format!("class {class}").into()));
    description["labels"] = serde_json::Value::Object(names.collect());
    std::fs::write(&path, description.to_string()).unwrap();
    cohort
}

/// A run of one epoch on slices across an axis.
fn trained(cohort: &Path, axis: &str) -> PathBuf {
    let (config, run) = (cohort.join("tiny.toml"), cohort.join(format!("run-{axis}")));
    let samples = format!("[samples]\naxis = \"{axis}\"\nsize = [16, 16]\n");
    std::fs::write(&config, format!("epochs = 1\n{samples}[network]\nlevels = 1\nbase = 2\n")).unwrap();
    let (data, out) = (format!("data={}", text(cohort)), format!("out={}", text(&run)));
    done(&["train", text(&config), &data, &out]);
    run
}

fn done(arguments: &[&str]) {
    let output = crate::common::segcal(&[&["-q"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", crate::common::stderr(&output));
}

/// A network of twenty classes: their probabilities take 80 bytes a voxel, the image 4, the percentiles of its
/// intensities 4 more, the labels 1.
#[test]
fn memory_of_a_prediction_does_not_hold_the_probabilities() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let cohort = cohort_of_classes(20, folder.path());
    for (axis, extents) in [("z", [[40, 128, 128], [120, 128, 128]]), ("x", [[128, 128, 40], [128, 128, 120]])] {
        let run = trained(&cohort, axis);
        let mut peaks = Vec::new();
        for extent in extents {
            let voxels: usize = extent.iter().product();
            let values = (0..voxels).map(|voxel| (voxel % 251) as f32).collect();
            nifti::write(&at("image.nii"), &Volume::new(values, 1, Grid::unknown(extent))).unwrap();
            let (image, out) = (at("image.nii"), at("out"));
            let arguments = ["predict", text(&run), text(&image), "--batch", "1", "--out", text(&out)];
            peaks.push((voxels, peak(&arguments)));
            let written = nifti::read_header(&at("out/probabilities/image.nii.gz")).unwrap();
            assert_eq!(written.extent(), (extent, 20), "every class of every voxel");
        }
        let grown = (peaks[1].1 - peaks[0].1) as f64 / (peaks[1].0 - peaks[0].0) as f64;
        assert!(grown <= 16.0, "{grown:.1} bytes a voxel along {axis}: {peaks:?}");
    }
}
