//! nnU-Net's own evaluation of its own folders, as they are: plain labels, an ignore label, regions, and both.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{segcal, shared, stderr, text};
use serde_json::Value;

const SETS: [&str; 4] = ["plain", "ignore", "regions", "regions_ignore"];

fn goldens() -> Option<PathBuf> {
    Some(shared()?.join("goldens/peers2/a-nnunet")).filter(|folder| folder.is_dir())
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The summary of the verb.
fn evaluated(folder: &Path, given: &str) -> Value {
    let out = tempfile::tempdir().unwrap();
    let (predictions, labels) = (folder.join("predictions"), folder.join("labelsTr"));
    let arguments = ["-q", "evaluate", given, text(&predictions), "--labels", text(&labels), "--out", text(out.path())];
    let output = segcal(&arguments);
    assert!(output.status.success(), "{}: {}", folder.display(), stderr(&output));
    json(&out.path().join("summary.json"))
}

/// The name that a key of nnU-Net's summary has here: a region by what it is called, a label by its number.
fn name(dataset: &Value, key: &str) -> String {
    let labels = |key: &str| -> Vec<u64> {
        key.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
    };
    let wanted = labels(key);
    let all = dataset["labels"].as_object().unwrap();
    if !all.values().any(Value::is_array) {
        return key.to_owned();
    }
    let same = |value: &&Value| labels(&value.to_string()) == wanted;
    all.iter().find(|(_, value)| same(value)).unwrap().0.clone()
}

#[test]
fn dice_to_the_last_digit() {
    let Some(goldens) = goldens() else { return };
    for set in SETS {
        let folder = goldens.join(set);
        let (dataset, expected) = (json(&folder.join("dataset.json")), json(&folder.join("expected.json")));
        let nnunet = &expected["nnunet_summary"];
        for given in ["--segmentations", "--probabilities"] {
            let own = evaluated(&folder, given);
            for (number, case) in nnunet["metric_per_case"].as_array().unwrap().iter().enumerate() {
                let of_case = &own["cases"][number];
                let file = case["prediction_file"].as_str().unwrap();
                assert!(file.contains(of_case["case"].as_str().unwrap()), "{file}");
                for (key, metrics) in case["metrics"].as_object().unwrap() {
                    let figures = &of_case["structures"][name(&dataset, key)];
                    for (ours, theirs) in [("dsc", "Dice"), ("iou", "IoU")] {
                        let place = format!("{set} {given} {file} {key} {ours}");
                        assert_eq!(figures[ours].as_f64(), metrics[theirs].as_f64(), "{place}");
                    }
                }
            }
            for (key, metrics) in nnunet["mean"].as_object().unwrap() {
                let mean = &own["mean"]["structures"][name(&dataset, key)]["dsc"];
                assert_eq!(mean.as_f64(), metrics["Dice"].as_f64(), "{set} {given} {key}");
            }
            let ignored = |case: &str| expected["cases"][case]["ignored"].as_u64();
            for (case, count) in own["ignored"].as_object().unwrap() {
                assert_eq!(count.as_u64(), ignored(case), "{set} {given} {case}");
            }
        }
    }
}

/// Calibration of sigmoid outputs: one region against the rest, of each case and of the pooled voxels.
#[test]
fn regions_are_problems_of_their_own() {
    let Some(goldens) = goldens() else { return };
    for set in ["regions", "regions_ignore"] {
        let folder = goldens.join(set);
        let expected = json(&folder.join("expected.json"));
        let own = evaluated(&folder, "--probabilities");
        let cases = own["cases"].as_array().unwrap();
        let golden = |case: &str| &expected["cases"][case]["one_against_rest"];
        let pairs = cases.iter().map(|case| (&case["regions"], golden(case["case"].as_str().unwrap())));
        for (ours, theirs) in pairs.chain([(&own["pooled"], &expected["pooled"])]) {
            for (region, figures) in theirs.as_object().unwrap() {
                let found = &ours[format!("{region}/all")];
                let keys = [
                    ("ece", "ece15_toplabel"),
                    ("cece_mean", "ece15_positive"),
                    ("brier", "brier_sum_of_two"),
                    ("nll", "nll"),
                ];
                for (key, golden) in keys {
                    let (value, golden) = (found[key].as_f64().unwrap(), figures[golden].as_f64().unwrap());
                    // Probabilities of the rest are one less the stored ones, in 32 bits.
                    assert!(
                        (value - golden).abs() < 5e-9 * golden.max(1.0) + 5e-9,
                        "{set} {region} {key}: {value} {golden}"
                    );
                }
            }
        }
        let verdicts = own["verdict"].as_array().unwrap();
        assert_eq!(verdicts.len(), 6, "{verdicts:?}");
        assert!(verdicts.iter().any(|verdict| verdict["region"] == "tumor_core/predicted"));
    }
}

/// One file of each, and labels without their dataset.json: the ignored label and the regions are still those of nnU-Net.
#[test]
fn the_ignored_label_is_known_however_the_files_are_given() {
    let Some(goldens) = goldens() else { return };
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for set in ["ignore", "regions_ignore"] {
        let folder = goldens.join(set);
        let whole = evaluated(&folder, "--segmentations");
        let case = "case_000.nii.gz";
        let [p, y] = ["predictions", "labelsTr"].map(|name| folder.join(name).join(case));
        let out = at(&format!("{set}-one"));
        let output = segcal(&["evaluate", "--segmentations", text(&p), "--labels", text(&y), "--out", text(&out)]);
        assert!(output.status.success(), "{}", stderr(&output));
        let one = json(&out.join("summary.json"));
        let labels = at(set);
        fs::create_dir(&labels).unwrap();
        fs::copy(&y, labels.join(case)).unwrap();
        let (predictions, out) = (folder.join("predictions"), at(&format!("{set}-away")));
        let given = ["--segmentations", text(&predictions), "--labels", text(&labels), "--out", text(&out)];
        let output = segcal(&[&["evaluate"][..], &given].concat());
        // The other case has no reference there.
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("its dataset.json names regions or an ignored label"), "{}", stderr(&output));
        let away = json(&out.join("summary.json"));
        for other in [&one, &away] {
            assert_eq!(other["cases"][0]["structures"], whole["cases"][0]["structures"], "{set}");
            assert!(other["ignored"].as_object().unwrap().values().all(|count| count.as_u64() > Some(0)), "{set}");
        }
    }
}
