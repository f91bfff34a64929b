//! `segcal calibrate`: fitting on some cases, applying to others, in the files' own geometry.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{segcal, stderr, stdout, text};
use segcal_core::Rng;
use segcal_data::{Grid, Volume, nifti, npy};
use serde_json::Value;
use tempfile::TempDir;

const EXTENT: [usize; 3] = [6, 20, 21];
const VOXELS: usize = 6 * 20 * 21;
/// By how much the stored logits are too large.
const OVERCONFIDENCE: f64 = 2.5;

/// A grid whose axes point to left, posterior and top, with voxels of 1 x 2 x 3 mm.
fn grid() -> Grid {
    Grid::new(EXTENT, [[-1.0, 0.0, 0.0, 9.0], [0.0, -2.0, 0.0, 8.0], [0.0, 0.0, 3.0, -7.0]], 1).unwrap()
}

/// Labels drawn from the softmax of known logits: what a calibrated model would have to say.
struct Sample {
    logits: Vec<f32>,
    labels: Vec<i32>,
}

fn sample(number: u64) -> Sample {
    let rng = Rng::new(11).stream(number);
    let mut logits = vec![0.0_f32; 3 * VOXELS];
    let mut labels = Vec::with_capacity(VOXELS);
    for voxel in 0..VOXELS {
        // Smooth structures, so that the axis order can be proved.
        let (x, y) = ((voxel % 21) as f64 / 10.0 - 1.0, (voxel / 21 % 20) as f64 / 10.0 - 1.0);
        let truth = [1.0, 2.0 * x, 1.5 * y].map(|value| value + rng.uniform(8 * voxel as u64) - 0.5);
        let total: f64 = truth.iter().map(|value| value.exp()).sum();
        let draw = rng.uniform(8 * voxel as u64 + 1) * total;
        let first = truth[0].exp();
        labels.push(if draw < first { 0 } else { 1 + i32::from(draw >= first + truth[1].exp()) });
        (0..3).for_each(|k| logits[k * VOXELS + voxel] = (OVERCONFIDENCE * truth[k]) as f32);
    }
    Sample { logits, labels }
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let mut values = logits.to_vec();
    segcal_metrics::volume::softmax(&mut values, 3);
    values
}

/// Folders `NAME/y`, `NAME/l` (logits) and `NAME/p` (probabilities) with the cases of these numbers.
fn cohort(root: &TempDir, name: &str, numbers: &[u64]) -> PathBuf {
    let folder = root.path().join(name);
    for kind in ["y", "l", "p"] {
        fs::create_dir_all(folder.join(kind)).unwrap();
    }
    for &number in numbers {
        let sample = sample(number);
        let file = |kind: &str| folder.join(kind).join(format!("case_{number}.nii.gz"));
        nifti::write(&file("y"), &Volume::new(sample.labels, 1, grid())).unwrap();
        nifti::write(&file("p"), &Volume::new(softmax(&sample.logits), 3, grid())).unwrap();
        nifti::write(&file("l"), &Volume::new(sample.logits, 3, grid())).unwrap();
    }
    folder
}

fn done(arguments: &[&str]) -> (Value, String) {
    let output = segcal(&[&["--json", "calibrate"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    (serde_json::from_slice(&output.stdout).unwrap(), stderr(&output))
}

fn fit(method: &str, kind: &str, cohort: &Path, map: &Path) -> Value {
    let (scores, labels) = (cohort.join(&kind[2..3]), cohort.join("y"));
    let region = ["--region", "all", "--out", text(map)];
    done(&[&["fit", method, kind, text(&scores), "--labels", text(&labels)][..], &region].concat()).0
}

#[test]
fn temperature_finds_the_overconfidence_and_keeps_every_label() {
    let root = tempfile::tempdir().unwrap();
    let (fitted, test) = (cohort(&root, "fit", &[1, 2]), cohort(&root, "test", &[3]));
    let (map, out) = (root.path().join("map.json"), root.path().join("out"));
    for kind in ["--logits", "--probabilities"] {
        let found = fit("temperature", kind, &fitted, &map);
        let temperature = found["fit"]["map"]["parameters"]["temperature"].as_f64().unwrap();
        // The information of one voxel about T at the truth is Var(l) / T^2, above 0.1 here: 5040 voxels give T to
        // better than 4.5 % in one case of ten thousand.
        assert!((temperature / OVERCONFIDENCE - 1.0).abs() < 0.12, "{kind}: {temperature}");
        assert!(found["after"]["ece"].as_f64().unwrap() < 0.03 && found["before"]["ece"].as_f64().unwrap() > 0.1);
        let (scores, labels) = (test.join(&kind[2..3]), test.join("y"));
        let given = ["apply", text(&map), kind, text(&scores), "--labels", text(&labels), "--out", text(&out)];
        let (applied, messages) = done(&given);
        assert_eq!(applied["changed_labels"], 0, "{messages}");
        assert_eq!(applied["fitted_on"], serde_json::json!([]));
        let of = |when: &str, figure: &str| applied[when]["all"][figure].as_f64().unwrap();
        assert!(of("after", "ece") < of("before", "ece") / 3.0 && of("after", "nll") < of("before", "nll"));
    }
    // What is written: probabilities of the same grid, softmax(l / T) to the last bit of f32.
    let written = nifti::read_image(&out.join("case_3.nii.gz")).unwrap();
    assert_eq!((written.channels(), &written.grid), (3, &grid()));
    let file: Value = serde_json::from_str(&fs::read_to_string(&map).unwrap()).unwrap();
    assert_eq!(file["cases"], serde_json::json!(["case_1", "case_2"]));
    let temperature = file["map"]["parameters"]["temperature"].as_f64().unwrap();
    let scaled: Vec<f32> = sample(3).logits.iter().map(|&l| (f64::from(l) / temperature) as f32).collect();
    let largest = written.values().iter().zip(softmax(&scaled)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // The last map is fitted on stored probabilities, whose logarithms are off by a rounding of each probability.
    assert!(largest < 1e-6, "{largest}");
}

#[test]
fn every_method_mends_the_likelihood() {
    let root = tempfile::tempdir().unwrap();
    let (fitted, test) = (cohort(&root, "fit", &[1, 2]), cohort(&root, "test", &[3]));
    for method in ["class-temperature", "vector", "platt", "isotonic"] {
        let (map, out) = (root.path().join(format!("{method}.json")), root.path().join(method));
        let found = fit(method, "--logits", &fitted, &map);
        let of = |when: &str| found[when]["nll"].as_f64().unwrap();
        assert!(of("after") < of("before"), "{method}: {found}");
        let (scores, labels) = (test.join("l"), test.join("y"));
        let given = ["apply", text(&map), "--logits", text(&scores), "--labels", text(&labels), "--out", text(&out)];
        let (applied, _) = done(&given);
        let of = |when: &str| applied[when]["foreground"]["nll"].as_f64().unwrap();
        assert!(of("after") < of("before"), "{method}: {applied}");
        let written = nifti::read_image(&out.join("case_3.nii.gz")).unwrap();
        let p = written.values();
        let sums = (0..VOXELS).map(|voxel| p[voxel] + p[VOXELS + voxel] + p[2 * VOXELS + voxel]);
        assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-6), "{method}");
        // The command counts the labels that change as this loop does.
        let label = |p: &[f32], voxel: usize| {
            (1..3).fold(0, |best, k| if p[k * VOXELS + voxel] > p[best * VOXELS + voxel] { k } else { best })
        };
        let before = sample(3).logits;
        let changed = (0..VOXELS).filter(|&voxel| label(&before, voxel) != label(p, voxel)).count();
        assert_eq!(applied["changed_labels"], changed, "{method}");
    }
    // Class temperatures depend on the offsets of logits.
    let map = root.path().join("vector.json");
    let (scores, out) = (test.join("p"), root.path().join("refused"));
    let output = segcal(&["calibrate", "apply", text(&map), "--probabilities", text(&scores), "--out", text(&out)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("was fitted on logits") && !out.exists(), "{}", stderr(&output));
}

/// Overconfidence that the image shows: strong where the image is bright, none where it is dark.
#[test]
fn local_temperatures_see_the_image_and_keep_every_label() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, numbers: &[u64]| {
        let folder = cohort(&root, name, numbers);
        fs::create_dir(folder.join("x")).unwrap();
        for &number in numbers {
            let mut logits = sample(number).logits;
            let bright = |voxel: usize| voxel / 21 % 20 < 10;
            for (place, logit) in logits.iter_mut().enumerate() {
                *logit /= if bright(place % VOXELS) { 1.0 } else { OVERCONFIDENCE as f32 };
            }
            let image: Vec<f32> = (0..VOXELS).map(|voxel| f32::from(u8::from(bright(voxel)))).collect();
            let file = |kind: &str| folder.join(kind).join(format!("case_{number}.nii.gz"));
            nifti::write(&file("l"), &Volume::new(logits, 3, grid())).unwrap();
            let named = folder.join("x").join(format!("case_{number}_0000.nii.gz"));
            nifti::write(&named, &Volume::new(image, 1, grid())).unwrap();
        }
        folder
    };
    let (fitted, test) = (write("fit", &[1, 2]), write("test", &[3]));
    let (map, single) = (root.path().join("map.safetensors"), root.path().join("single.json"));
    let given = |folder: &Path, kind: &str| text(&folder.join(kind)).to_owned();
    let (l, y, x) = (given(&fitted, "l"), given(&fitted, "y"), given(&fitted, "x"));
    let settings = ["--epochs", "30", "--learning-rate", "0.01", "--region", "all", "--out", text(&map)];
    let fit_local = [&["fit", "local", "--logits", &l, "--labels", &y, "--images", &x][..], &settings].concat();
    let (found, messages) = done(&fit_local);
    let again = fs::read(&map).unwrap();
    done(&[&fit_local[..], &["--threads", "1"]].concat());
    assert!(again == fs::read(&map).unwrap(), "the same weights for any number of threads");
    assert!(found["fit"]["map"]["after"].as_f64() < found["fit"]["map"]["before"].as_f64(), "{found}");
    assert!(messages.contains("epoch 30/30"), "{messages}");
    fit("temperature", "--logits", &fitted, &single);
    let (l, y, x) = (given(&test, "l"), given(&test, "y"), given(&test, "x"));
    let nll = |map: &Path, out: &str| {
        let out = root.path().join(out);
        let given = ["apply", text(map), "--logits", &l, "--labels", &y, "--images", &x, "--out", text(&out)];
        let (applied, messages) = done(&given);
        assert_eq!(applied["changed_labels"], 0, "{messages}");
        let of = |when: &str| applied[when]["all"]["nll"].as_f64().unwrap();
        (of("before"), of("after"))
    };
    let ((before, local), (_, single)) = (nll(&map, "local"), nll(&single, "single"));
    assert!(local < single && single < before, "{before} {single} {local}");
    let output = segcal(&["calibrate", "apply", text(&map), "--logits", &l, "--out", text(&root.path().join("none"))]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--images"), "{}", stderr(&output));
}

#[test]
fn arrays_stay_arrays_and_known_cases_are_warned_of() {
    let root = tempfile::tempdir().unwrap();
    let folder = cohort(&root, "fit", &[1]);
    let (map, arrays, out) = (root.path().join("map.json"), root.path().join("arrays"), root.path().join("out"));
    fit("temperature", "--logits", &folder, &map);
    fs::create_dir(&arrays).unwrap();
    let [d, h, w] = EXTENT;
    let shape = [3, d, h, w];
    // Numbered from 0, and still no classes.
    npy::write(&arrays.join("case_1.npy"), &shape, &sample(1).logits).unwrap();
    npy::write_archive(&arrays.join("case_0.npz"), &[("probabilities", &shape, &sample(2).logits)]).unwrap();
    let given = ["apply", text(&map), "--logits", text(&arrays), "--out", text(&out)];
    let (applied, messages) = done(&given);
    assert_eq!(applied["fitted_on"], serde_json::json!(["case_1"]));
    assert!(messages.contains("warning: case_1") && !messages.contains("case_0"), "{messages}");
    assert_eq!(applied["before"], Value::Null);
    for name in ["case_1.npy", "case_0.npz"] {
        let array = npy::read::<f32>(&out.join(name), "probabilities").unwrap();
        assert_eq!(array.shape, shape);
        assert!(array.data.iter().all(|p| (0.0..=1.0).contains(p)));
    }
    // Nothing of the input is ever overwritten.
    let before = fs::read(arrays.join("case_1.npy")).unwrap();
    let output = segcal(&["calibrate", "apply", text(&map), "--logits", text(&arrays), "--out", text(&arrays)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("never overwritten"));
    assert_eq!(before, fs::read(arrays.join("case_1.npy")).unwrap());
}

#[test]
fn mistakes_are_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = cohort(&root, "fit", &[1]);
    let (map, labels, logits) = (root.path().join("map.json"), folder.join("y"), folder.join("l"));
    let refused = |arguments: &[&str]| {
        let output = segcal(&[&["calibrate"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
        stderr(&output)
    };
    let fit = |method: &'static str, kind: &'static str, more: &[&str]| {
        let given = ["fit", method, kind, text(&logits), "--labels", text(&labels), "--out", text(&map)];
        refused(&[&given, more].concat())
    };
    assert!(fit("temperatur", "--logits", &[]).contains("'temperature'"));
    assert!(fit("temperature", "--probabilities", &[]).contains("--logits"));
    assert!(fit("temperature", "--logits", &["--region", "boundary"]).contains("--region"));
    assert!(fit("temperature", "--logits", &["--region", "structure:7"]).contains("no voxel"));
    assert!(!map.exists());
    fs::write(&map, "{\"schema\": \"other\"}").unwrap();
    let out = root.path().join("out");
    let message = refused(&["apply", text(&map), "--logits", text(&logits), "--out", text(&out)]);
    assert!(message.contains("map.json") && message.contains("calibrate fit"), "{message}");
    assert!(refused(&["fit", "vector", "--labels", text(&labels), "--out", text(&map)]).contains("--probabilities"));
}

/// Of voxels that are all foreground a map learns that there is no background.
#[test]
fn a_region_without_background_is_warned_of_and_not_the_default() {
    let root = tempfile::tempdir().unwrap();
    let fitted = cohort(&root, "fit", &[1, 2]);
    let (scores, labels, map) = (fitted.join("p"), fitted.join("y"), root.path().join("map.json"));
    let given = ["fit", "vector", "--probabilities", text(&scores), "--labels", text(&labels), "--out", text(&map)];
    let (found, messages) = done(&given);
    assert_eq!((found["fit"]["region"].as_str(), messages.contains("background")), (Some("all"), false), "{messages}");
    let (_, messages) = done(&[&given[..], &["--region", "foreground"]].concat());
    assert!(messages.contains("vector fitted only on foreground") && messages.contains("--region all"), "{messages}");
}
