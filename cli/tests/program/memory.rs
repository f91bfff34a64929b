//! Memory stays flat over thousands of training steps and hundreds of evaluated cases in one process.

use std::fs;
use std::path::Path;

use crate::common::alone;
use segcal_core::Rng;
use segcal_data::npy;

/// Peak memory of this process so far, in KiB.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

fn segcal(arguments: &[&str]) {
    assert_eq!(segcal::run([&["segcal", "-q"], arguments].concat()), 0, "{arguments:?}");
}

/// Both in one test, because the peak is that of the process.
#[test]
fn memory_stays_flat() {
    if !alone("memory::memory_stays_flat") {
        return;
    }
    training_2000_steps_after_200();
    evaluating_500_cases_after_50();
}

/// A step that kept its tensors would keep about 30 KiB: over 50 MiB in all.
fn training_2000_steps_after_200() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    segcal(&["phantom", &path("cohort"), "--train", "2", "--val", "1", "--test", "1", "--size", "4,16,16"]);
    let config = "batch = 1\n[samples]\nkind = \"patches\"\nsize = [4, 8, 8]\nper_volume = 100\n\
                  [network]\nlevels = 1\nbase = 2\n[loss]\nname = \"nacl\"\n";
    fs::write(path("tiny.toml"), config).unwrap();
    let (config, data, out) = (path("tiny.toml"), format!("data={}", path("cohort")), format!("out={}", path("run")));
    segcal(&["train", &config, &data, &out, "epochs=1"]);
    let before = peak();
    segcal(&["train", &config, &data, &out, "epochs=11", "--resume"]);
    let grown = peak() - before;
    assert!(grown < 8 << 10, "the peak grew from {before} KiB by {grown} KiB over 2,000 steps");
}

/// A case that was kept would keep its voxels, over 500 KiB: over 220 MiB in all.
fn evaluating_500_cases_after_50() {
    // Each case syncs its states: in memory, where that costs nothing.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let shape = [32, 32, 32];
    let voxels: usize = shape.iter().product();
    let rng = Rng::new(3);
    let labels: Vec<u8> = (0..voxels).map(|voxel| u8::from(voxel % 32 / 12 == 1)).collect();
    let sure = |voxel: usize| 0.6 + 0.4 * rng.uniform(voxel as u64) as f32;
    let foreground = (0..voxels).map(|voxel| if labels[voxel] == 1 { sure(voxel) } else { 1.0 - sure(voxel) });
    let foreground: Vec<f32> = foreground.collect();
    let background = foreground.iter().map(|p| 1.0 - p);
    let probabilities: Vec<f32> = background.chain(foreground.iter().copied()).collect();
    let (p, y) = (folder.path().join("p.npy"), folder.path().join("y.npy"));
    npy::write(&p, &[2, shape[0], shape[1], shape[2]], &probabilities).unwrap();
    npy::write(&y, &shape, &labels).unwrap();
    let cohort = |cases: usize| {
        let root = folder.path().join(cases.to_string());
        for (kind, file) in [("p", &p), ("y", &y)] {
            fs::create_dir_all(root.join(kind)).unwrap();
            (0..cases)
                .for_each(|case| fs::hard_link(file, root.join(kind).join(format!("case_{case:03}.npy"))).unwrap());
        }
        let text = |path: &Path| path.display().to_string();
        let [p, y, out] = ["p", "y", "out"].map(|name| text(&root.join(name)));
        segcal(&["evaluate", "--probabilities", &p, "--labels", &y, "--out", &out]);
    };
    cohort(50);
    let before = peak();
    cohort(500);
    // Tables, page and bootstrap of ten times as many cases take their share while they are made.
    let grown = peak() - before;
    assert!(grown < 200 << 10, "the peak grew from {before} KiB by {grown} KiB over 500 cases");
}
