//! Region-based data sets from training to figures: sigmoid heads, label maps by the class order, scores of regions.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{path_in, segcal, stderr, stdout, text, volumes};
use segcal_data::{self as data, Volume, nifti, npy};
use serde_json::{Value, json};

/// A cohort of phantoms whose labels 1 and 2 make the regions whole and core, and a short training of it.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        let cohort = scene.path("cohort");
        ran(&["-q", "phantom", text(&cohort), "--train", "2", "--val", "1", "--test", "2", "--size", "4,16,16"]);
        let file = cohort.join("dataset.json");
        let mut dataset: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        dataset["labels"] = json!({ "background": 0, "whole": [1, 2], "core": [2] });
        dataset["regions_class_order"] = json!([1, 2]);
        fs::write(&file, dataset.to_string()).unwrap();
        let text = "epochs = 2\nbatch = 4\n[samples]\nsize = [16, 16]\n[network]\nlevels = 2\nbase = 4\n[loss]\nname = \"ce-dice\"\n";
        fs::write(scene.path("tiny.toml"), text).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn train(&self, run: &str, more: &[&str]) -> std::process::Output {
        let (data, out) = (format!("data={}", text(&self.path("cohort"))), format!("out={}", text(&self.path(run))));
        segcal(&[&["train", text(&self.path("tiny.toml")), &data, &out][..], more].concat())
    }

    fn trained(&self, run: &str, more: &[&str]) -> String {
        let output = self.train(run, more);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output) + &stderr(&output)
    }
}

fn ran(arguments: &[&str]) -> String {
    let output = segcal(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    stdout(&output) + &stderr(&output)
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The label map of two regions by the rule of nnU-Net.
fn label_map(probabilities: &Volume<f32>) -> Vec<i32> {
    let (whole, core) = probabilities.values().split_at(probabilities.values().len() / 2);
    whole.iter().zip(core).map(|(&whole, &core)| if core > 0.5 { 2 } else { i32::from(whole > 0.5) }).collect()
}

#[test]
fn a_region_model_from_training_to_figures() {
    let scene = Scene::new();
    let log = scene.trained("run", &[]);
    assert!(
        log.contains("regions with one sigmoid each: whole (labels 1 2, becomes 1), core (labels 2, becomes 2)"),
        "{log}"
    );
    let table = fs::read_to_string(scene.path("run/metrics.csv")).unwrap();
    assert!(
        table.lines().next().unwrap().contains("whole") && table.lines().next().unwrap().contains("core"),
        "{table}"
    );

    let (run, images, out) = (scene.path("run"), scene.path("cohort/imagesTs"), scene.path("predicted"));
    let write = "--write=segmentations,probabilities,logits";
    ran(&["-q", "predict", text(&run), text(&images), "--out", text(&out), write]);
    let read = |name: &str| data::read_image(&out.join(name)).unwrap();
    let cases = volumes(&out.join("segmentations"));
    assert_eq!(cases.len(), 2);
    let names = segcal_evaluate::described::Described::within(&out.join("probabilities"));
    assert_eq!(names.nested.unwrap().order, [1, 2]);
    for case in &cases {
        let (p, z) = (read(&format!("probabilities/{case}")), read(&format!("logits/{case}")));
        assert_eq!((p.channels(), z.channels()), (2, 2));
        let labels = data::read_labels(&out.join("segmentations").join(case)).unwrap();
        assert_eq!(labels.values(), label_map(&p));
        for (p, z) in p.values().iter().zip(z.values()) {
            assert!((f64::from(*p) - 1.0 / (1.0 + (-f64::from(*z)).exp())).abs() < 1e-6, "{p} and {z}");
        }
    }

    // Every form that is written is measured as regions, with the same figures.
    let summary = |given: &str, folder: &str| {
        let (labels, results) = (scene.path("cohort/labelsTs"), scene.path("results"));
        let predictions = out.join(folder);
        ran(&["-q", "evaluate", given, text(&predictions), "--labels", text(&labels), "--out", text(&results)]);
        json_of(&results.join("summary.json"))
    };
    let (of_p, of_z) = (summary("--probabilities", "probabilities"), summary("--logits", "logits"));
    let of_labels = summary("--segmentations", "segmentations");
    for region in ["whole", "core"] {
        let dsc = |summary: &Value| summary["mean"]["structures"][region]["dsc"].clone();
        assert_eq!((dsc(&of_p), dsc(&of_z)), (dsc(&of_labels), dsc(&of_labels)), "{region}");
        assert!(dsc(&of_p).is_number() && of_p["mean"]["regions"][format!("{region}/all")]["ece"].is_number());
    }
}

#[test]
fn a_region_model_names_itself_and_goes_on() {
    let scene = Scene::new();
    scene.trained("whole", &["-q"]);
    scene.trained("run", &["-q", "epochs=1"]);
    scene.trained("run", &["-q", "--resume"]);
    let bytes = |run: &str| fs::read(scene.path(run).join("last.safetensors")).unwrap();
    assert_eq!(bytes("run"), bytes("whole"), "the same as without an interruption");
    let run = scene.path("run");
    let info: Value = serde_json::from_str(&ran(&["info", "--json", text(&run)])).unwrap();
    assert_eq!(info["regions"], json!({ "whole": [1, 2], "core": [2] }));
    assert_eq!((&info["regions_class_order"], &info["network"]["classes"]), (&json!([1, 2]), &json!(2)));
    let exported = scene.path("exported");
    ran(&["-q", "export", text(&run), "--out", text(&exported)]);
    let model = fs::read(exported.join("model.onnx")).unwrap();
    let holds = |word: &[u8]| model.windows(word.len()).any(|bytes| bytes == word);
    assert!(holds(b"segcal.regions") && holds(b"Sigmoid") && !holds(b"Softmax"));

    // The mean of two runs is of probabilities, and its label map is of the mean.
    scene.trained("other", &["-q", "seed=1"]);
    let (other, images, out) =
        (scene.path("other"), scene.path("cohort/imagesTs/phantom_003.nii.gz"), scene.path("mean"));
    let write = "--write=segmentations,probabilities";
    ran(&["-q", "predict", text(&run), text(&other), text(&images), "--out", text(&out), write]);
    let p = data::read_image(&out.join("probabilities/phantom_003.nii.gz")).unwrap();
    assert_eq!(data::read_labels(&out.join("segmentations/phantom_003.nii.gz")).unwrap().values(), label_map(&p));
    // Scores as nnU-Net writes them: [region, z, y, x].
    ran(&["-q", "predict", text(&run), text(&images), "--out", text(&out), "--format", "npz", "--write=probabilities"]);
    assert_eq!(
        npy::read_header(&out.join("probabilities/phantom_003.npz"), "probabilities").unwrap().shape,
        [2, 4, 16, 16]
    );
}

/// Writes two cases of logits of whole (labels 1 and 2) and core (2), over-confident by two, with labels 0 to 3 of which 3 is
/// ignored, to `regions`; and each region against the rest by itself to its name, labels 0 and 1, and 2 where ignored.
fn write_scores(folder: &Path) {
    use segcal_core::Rng;
    let grid = data::Grid::unknown([3, 12, 12]);
    let voxels = 3 * 12 * 12;
    let write = |set: &str, case: usize, logits: &[f32], labels: Vec<u8>| {
        let shape = [logits.len() / voxels, 3, 12, 12];
        npy::write(&path_in(folder, &format!("{set}/logits/case{case}.npy")), &shape, logits).unwrap();
        let file = path_in(folder, &format!("{set}/labels/case{case}.nii.gz"));
        nifti::write(&file, &Volume::new(labels, 1, grid.clone())).unwrap();
    };
    for case in 0..2 {
        let rng = Rng::new(5).stream(case);
        let draw = |voxel: usize, number: u64| rng.stream(number).uniform(voxel as u64);
        let z = |voxel: usize, number: u64| 4.0 * draw(voxel, number) - 2.0;
        let inside = |voxel: usize, number: u64| draw(voxel, number + 2) < 1.0 / (1.0 + (-z(voxel, number)).exp());
        let ignored = |voxel: usize| voxel % 7 == 3;
        // The core is drawn within the whole, so that there are label maps.
        let label = |voxel: usize| match (ignored(voxel), inside(voxel, 0), inside(voxel, 1)) {
            (true, ..) => 3,
            (_, true, core) => 1 + u8::from(core),
            _ => 0,
        };
        let labels: Vec<u8> = (0..voxels).map(label).collect();
        let logits = |number: u64| (0..voxels).map(move |voxel| 2.0 * z(voxel, number) as f32);
        write("regions", case as usize, &logits(0).chain(logits(1)).collect::<Vec<_>>(), labels.clone());
        for (number, name, least) in [(0, "whole", 1), (1, "core", 2)] {
            let own = labels.iter().map(|&label| if label == 3 { 2 } else { u8::from(label >= least) }).collect();
            write(name, case as usize, &logits(number).collect::<Vec<_>>(), own);
        }
    }
    let text =
        |labels: &str| format!("{{\"labels\": {{\"background\": 0, {labels}}}, \"regions_class_order\": [1, 2]}}");
    fs::write(folder.join("regions/dataset.json"), text("\"whole\": [1, 2], \"core\": [2], \"ignore\": 3")).unwrap();
    for name in ["whole", "core"] {
        fs::write(folder.join(name).join("dataset.json"), text("\"structure\": 1, \"ignore\": 2")).unwrap();
    }
}

#[test]
fn maps_of_regions_are_those_of_each_against_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    write_scores(folder.path());
    let at = |name: &str| folder.path().join(name);
    let ran = |arguments: &[&str]| -> Value {
        let output = segcal(&[&["-q", "--json"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    };
    for method in ["temperature", "platt", "isotonic"] {
        let fitted = |set: &str| {
            let (scores, labels, out) = (at(set).join("logits"), at(set).join("labels"), at(&format!("{set}.json")));
            let given = ["--logits", text(&scores), "--labels", text(&labels), "--axes=kzyx", "--out", text(&out)];
            let fit = ran(&[&["calibrate", "fit", method][..], &given].concat());
            let out = at(&format!("{set}-{method}"));
            let map = at(&format!("{set}.json"));
            let given = ["--logits", text(&scores), "--labels", text(&labels), "--axes=kzyx", "--out", text(&out)];
            let applied = ran(&[&["calibrate", "apply", text(&map)][..], &given].concat());
            let read = |case: usize| npy::read::<f32>(&out.join(format!("case{case}.npy")), "").unwrap();
            (fit, applied, [read(0), read(1)])
        };
        let (fit, applied, written) = fitted("regions");
        let parameters = &fit["fit"]["map"]["parameters"];
        assert_eq!((&fit["fit"]["map"]["method"], &fit["fit"]["classes"]), (&json!("regions"), &json!(2)));
        for (channel, name) in ["whole", "core"].into_iter().enumerate() {
            let (alone, applied_alone, written_alone) = fitted(name);
            assert_eq!(parameters["maps"][channel], alone["fit"]["map"], "{method} {name}");
            for side in ["before", "after"] {
                assert_eq!(fit[side][name], alone[side], "{method} {name}");
                // One of the two paths rounds 1 - p to 32 bits.
                for key in ["ece", "nll"] {
                    let [own, other] =
                        [&applied[side][name], &applied_alone[side]].map(|it| it["all"][key].as_f64().unwrap());
                    assert!((own - other).abs() < 1e-6, "{method} {name} {key}: {own} {other}");
                }
            }
            for (regions, alone) in written.iter().zip(&written_alone) {
                let voxels = regions.data.len() / 2;
                assert_eq!(regions.data[channel * voxels..][..voxels], alone.data[voxels..], "{method} {name}");
            }
        }
        // Labels are drawn by half the logits; the core only within the whole.
        if method == "temperature" {
            let whole = parameters["maps"][0]["parameters"]["temperature"].as_f64().unwrap();
            assert!((whole - 2.0).abs() < 0.4, "{whole}");
        }
    }
    let refused = |arguments: &[&str]| {
        let (scores, labels, out) = (at("regions/logits"), at("regions/labels"), at("map.json"));
        let given = ["--logits", text(&scores), "--labels", text(&labels), "--axes=kzyx", "--out", text(&out)];
        stderr(&segcal(&[&["calibrate", "fit"], arguments, &given].concat()))
    };
    assert!(refused(&["vector"]).contains("single logit against the rest"), "{}", refused(&["vector"]));
}

#[test]
fn a_comparison_on_regions() {
    let scene = Scene::new();
    let plan = scene.path("plan.toml");
    let head = "region = \"whole/all\"\nmetrics = [\"dsc\", \"ece\"]\ncalibrate = [\"platt\"]\n[train]\nepochs = 1\nbatch = 4\n";
    let rest = "[train.samples]\nsize = [16, 16]\n[train.network]\nlevels = 2\nbase = 4\n";
    let methods = "[[method]]\nname = \"CE\"\nloss = { name = \"ce\" }\n[[method]]\nname = \"Dice\"\nloss = { name = \"dice\" }\n";
    let data = format!("data = \"{}\"\n", text(&scene.path("cohort")));
    fs::write(&plan, [head, &data, rest, methods].concat()).unwrap();
    let out = scene.path("compared");
    ran(&["-q", "compare", text(&plan), "--out", text(&out)]);
    let results = fs::read_to_string(out.join("results.csv")).unwrap();
    assert!(results.contains(",whole,") && results.contains("core/all"), "{results}");
    let summary = fs::read_to_string(out.join("summary.csv")).unwrap();
    assert!(summary.lines().count() > 4 && summary.contains(",core,") && summary.contains("whole/all"), "{summary}");
}

#[test]
fn a_loss_of_single_logits_is_refused_with_the_reason() {
    let scene = Scene::new();
    let message = stderr(&scene.train("run", &["loss.name=nacl"]));
    assert!(message.contains("nacl") && message.contains("one logit each") && message.contains("softmax"), "{message}");
    assert!(!scene.path("run").exists());
    scene.trained("run", &["-q", "loss.name=nacl", "loss.on=softmax", "epochs=1"]);
    scene.trained("adaptive", &["-q", "loss.name=cals", "epochs=1"]);
}
