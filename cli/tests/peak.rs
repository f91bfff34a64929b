//! How much memory `evaluate` takes at its peak, as the system tells.
#![cfg(target_os = "linux")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use segcal::data::{Grid, Volume, nifti, npy};

const CLASSES: usize = 4;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

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

/// Largest resident memory of an evaluation, in bytes.
fn peak(prediction: &Path, labels: &Path, out: &Path) -> u64 {
    let _ = std::fs::remove_dir_all(out);
    // The shell's `ulimit` is not needed: the child waits for its own report to be read.
    let script = "\"$@\" >/dev/null & child=$!; peak=0; while kill -0 $child 2>/dev/null; do \
                  now=$(sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$child/status 2>/dev/null); \
                  [ \"${now:-0}\" -gt $peak ] && peak=$now; sleep 0.01; done; wait $child && echo $peak";
    let arguments = ["-q", "--threads", "2", "evaluate", "--probabilities", text(prediction), "--labels", text(labels)];
    let output = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_segcal")])
        .args(arguments)
        .args(["--out", text(out)])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    1024 * String::from_utf8(output.stdout).unwrap().trim().parse::<u64>().unwrap()
}

/// Two sizes tell apart what grows with the volume from what does not: code, fonts, counters. Both are large enough for
/// the counters of equal mass, which small volumes do without.
#[test]
fn memory_grows_by_at_most_one_and_a_half_times_the_probabilities() {
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
        let files = ["p.nii.gz", "p.npy", "p.npz", "t.npy"];
        peaks.push((4 * p.len() as u64, files.map(|file| peak(&at(file), &at("y.nii"), &at("out"))).to_vec()));
    }
    let (small, large) = (&peaks[0], &peaks[1]);
    for (a, b) in small.1.iter().zip(&large.1) {
        let ratio = (b - a) as f64 / (large.0 - small.0) as f64;
        assert!(ratio <= 1.5, "{ratio:.2} times the probabilities: {peaks:?}");
    }
}
