//! The published code's numbers; see `goldens/README.md`.

use segcal_core::Reference;
use segcal_metrics::authors::{AuthorsCalibration, AuthorsSegmentation};
use segcal_metrics::calibration::{Calibration, Region};
use segcal_metrics::overlap::Confusion;
use segcal_metrics::posthoc::{Chunk, Fit, InMemory, Temperature};
use segcal_metrics::reliability;
use segcal_metrics::surface::{Surface, SurfaceDistances};
use segcal_metrics::volume::{Grid, Label, Probabilities, Structure, softmax};
use serde_json::Value;

/// The published code sums f32 numbers.
const CALIBRATION: f64 = 1e-6;

fn read(name: &str) -> Value {
    let path = format!("{}/tests/goldens/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).expect(&path)
}

/// A list of numbers, `null` as NaN; a single number is a list of one.
fn numbers(value: &Value) -> Vec<f64> {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    value.as_array().map_or_else(|| vec![number(value)], |values| values.iter().map(number).collect())
}

fn labels(value: &Value) -> Vec<Label> {
    numbers(value).into_iter().map(|label| label as Label).collect()
}

fn logits(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|logit| logit as f32).collect()
}

fn spatial(value: &Value) -> [usize; 3] {
    let extents: Vec<usize> = numbers(value).into_iter().map(|extent| extent as usize).collect();
    match *extents {
        [h, w] => [1, h, w],
        [d, h, w] => [d, h, w],
        _ => panic!("{extents:?} is not 2-D or 3-D"),
    }
}

fn near(what: &str, ours: f64, golden: f64, tolerance: f64) {
    let same = (ours.is_nan() && golden.is_nan()) || (ours - golden).abs() <= tolerance;
    assert!(same, "{what}: {ours}, golden {golden}");
}

struct Volume {
    golden: Value,
    name: &'static str,
    probabilities: Vec<f32>,
    labels: Vec<Label>,
    prediction: Vec<Label>,
    grid: Grid,
}

const CLASSES: usize = 4;

fn volumes() -> Vec<Volume> {
    let all = read("volumes");
    let volume = |name: &'static str| {
        let golden = all[name].clone();
        let mut probabilities = logits(&golden["logits"]);
        softmax(&mut probabilities, CLASSES);
        Volume {
            name,
            probabilities,
            labels: labels(&golden["labels"]),
            prediction: labels(&golden["prediction"]),
            grid: Grid::voxel_units(spatial(&golden["spatial"])),
            golden,
        }
    };
    vec![volume("v0"), volume("v2")]
}

impl Volume {
    fn golden(&self, key: &str) -> Vec<f64> {
        numbers(&self.golden[key])
    }

    fn calibration(&self, bins: usize) -> Calibration {
        let mut state = Calibration::new(CLASSES, bins);
        state.add(Probabilities::new(&self.probabilities, CLASSES), &self.labels, None).expect("probabilities");
        state
    }

    fn near(&self, key: &str, ours: f64, tolerance: f64) {
        near(&format!("{} {key}", self.name), ours, self.golden(key)[0], tolerance);
    }
}

#[test]
fn calibration_of_the_published_code() {
    for volume in volumes() {
        assert_eq!(Probabilities::new(&volume.probabilities, CLASSES).argmax(), volume.prediction);
        let (of15, of10) = (volume.calibration(15), volume.calibration(10));
        for (key, region) in [("fg", Region::Foreground), ("all", Region::All)] {
            let (bins, tens) = (of15.region(region), of10.region(region));
            let (cece, tcece) = bins.authors_classwise();
            volume.near(&format!("{key}_ece"), bins.ece(), CALIBRATION);
            volume.near(&format!("{key}_ece10"), tens.ece(), CALIBRATION);
            volume.near(&format!("{key}_mce"), bins.mce(), CALIBRATION);
            volume.near(&format!("{key}_ace"), bins.ace(), CALIBRATION);
            volume.near(&format!("{key}_nll"), bins.nll(), CALIBRATION);
            volume.near(&format!("{key}_cece"), cece, CALIBRATION);
            volume.near(&format!("{key}_tcece"), tcece, CALIBRATION);
        }
        let switch = AuthorsCalibration::new(&of15);
        volume.near("fg_ece", switch.ece, CALIBRATION);
        volume.near("fg_cece", switch.cece, CALIBRATION);
        volume.near("fg_tcece", switch.tace, CALIBRATION);
    }
}

#[test]
fn reliability_bins_of_the_published_code() {
    for volume in volumes() {
        let bars = reliability::top_label(&volume.calibration(10).region(Region::Foreground));
        let golden = |key: &str| volume.golden(&format!("svls_ece10_{key}"));
        let (accuracy, confidence, count) = (golden("acc"), golden("conf"), golden("count"));
        for (bin, bar) in bars.iter().enumerate() {
            near("count", bar.count as f64, count[bin], 0.0);
            // The published code stores 0 for an empty bin.
            near("accuracy", bar.accuracy.unwrap_or(0.0), accuracy[bin], CALIBRATION);
            near("confidence", bar.confidence.unwrap_or(0.0), confidence[bin], CALIBRATION);
        }
    }
}

fn stored(prediction: &[Label], labels: &[Label], spatial: [usize; 3], structure: &Structure) -> AuthorsSegmentation {
    let mut confusion = Confusion::new(CLASSES);
    confusion.add(labels, prediction).expect("labels below 4");
    let grid = Grid::voxel_units(spatial);
    let masks = (structure.mask(prediction), structure.mask(labels));
    let surface = Surface::measure(&Reference, &masks.0, &masks.1, grid).expect("a grid");
    AuthorsSegmentation::new(&confusion.counts(structure), &surface)
}

#[test]
fn segmentation_as_the_test_evaluator_stores_it() {
    for volume in volumes() {
        let single: Vec<Structure> = (0..4).map(Structure::single).collect();
        let brats = Structure::brats();
        for (structures, dsc, hd95) in [
            (single.as_slice(), volume.golden("dsc"), volume.golden("hd95")),
            (&brats, volume.golden("brats_dsc_ET_TC_WT"), volume.golden("brats_hd95_ET_TC_WT")),
        ] {
            let Volume { prediction, labels, grid, name, .. } = &volume;
            for (i, structure) in structures.iter().enumerate() {
                let figure = stored(prediction, labels, grid.spatial, structure);
                near(&format!("{name} {} DSC", structure.name), figure.dsc, dsc[i], 1e-12);
                near(&format!("{name} {} HD95", structure.name), figure.hd95, hd95[i], 1e-8);
            }
        }
    }
}

#[test]
fn overlap_and_distances_of_labels() {
    for volume in volumes() {
        let mut confusion = Confusion::new(CLASSES);
        confusion.add(&volume.labels, &volume.prediction).expect("labels below 4");
        for label in 0..4_u16 {
            let structure = Structure::single(label);
            let at = |key: &str, shift: u16| volume.golden(key)[usize::from(label - shift)];
            if label > 0 {
                let counts = confusion.counts(&structure);
                // The published code adds 1e-10 to numerator or denominator.
                near("Dice", counts.dsc().formula().unwrap_or(0.0), at("val_dice_fg", 1), 1e-9);
                near("IoU", counts.iou().formula().unwrap_or(0.0), at("val_iou_fg", 1), 1e-9);
            }
            let masks = (structure.mask(&volume.prediction), structure.mask(&volume.labels));
            let surface = Surface::measure(&Reference, &masks.0, &masks.1, volume.grid).expect("a grid");
            let figure = |figure: Figure| surface.figure(figure).formula().unwrap_or(f64::NAN);
            near("ASD", figure(SurfaceDistances::asd), at("medpy_asd_pred_to_gt", 0), 1e-8);
            near("ASSD", figure(SurfaceDistances::assd), at("medpy_assd", 0), 1e-8);
            near("HD", figure(SurfaceDistances::hd), at("medpy_hd", 0), 1e-8);
        }
    }
}

type Figure = fn(&SurfaceDistances) -> f64;

#[test]
fn surface_distances_of_medpy() {
    let pairs = read("surface");
    for (name, pair) in pairs.as_object().expect("pairs by name") {
        let mask =
            |key: &str| -> Vec<bool> { pair[key].as_str().expect("a drawing").chars().map(|c| c == '#').collect() };
        let (prediction, reference) = (mask("prediction"), mask("reference"));
        let spatial = spatial(&pair["shape"]);
        let compare = |suffix: &str, grid: Grid, a: &[bool], b: &[bool]| {
            let surface = Surface::measure(&Reference, a, b, grid).expect("a grid");
            let figures: [(&str, Figure); 4] = [
                ("hd", SurfaceDistances::hd),
                ("hd95", SurfaceDistances::hd95_pooled),
                ("asd", SurfaceDistances::asd),
                ("assd", SurfaceDistances::assd),
            ];
            for (key, figure) in figures {
                if let Some(golden) = pair.get(format!("{key}{suffix}")) {
                    let ours = surface.figure(figure).formula().unwrap_or(f64::NAN);
                    near(&format!("{name} {key}{suffix}"), ours, numbers(golden)[0], 1e-12);
                }
            }
        };
        compare("", Grid::voxel_units(spatial), &prediction, &reference);
        compare("_rev", Grid::voxel_units(spatial), &reference, &prediction);
        if let Some(spacing) = pair.get("spacing") {
            let mut millimetres = [1.0; 3];
            let given = numbers(spacing);
            millimetres[3 - given.len()..].copy_from_slice(&given);
            compare("_sp", Grid::new(spatial, millimetres), &prediction, &reference);
        }
        let label = |mask: &[bool]| -> Vec<Label> { mask.iter().map(|&inside| inside.into()).collect() };
        let figure = stored(&label(&prediction), &label(&reference), spatial, &Structure::single(1));
        near(&format!("{name} stored DSC"), figure.dsc, numbers(&pair["ref_dsc"])[0], 1e-12);
        near(&format!("{name} stored HD95"), figure.hd95, numbers(&pair["ref_hd"])[0], 1e-12);
    }
}

#[test]
fn confidences_on_the_edges() {
    let golden = read("bins");
    let top: Vec<f32> = logits(&golden["conf"]);
    // Two classes; the other one gets what remains. Below a half the confidence itself must stay the largest.
    let hits: Vec<bool> = numbers(&golden["correct"]).into_iter().map(|hit| hit == 1.0).collect();
    let values: Vec<f32> = top.iter().copied().chain(top.iter().map(|_| 0.0)).collect();
    let labels: Vec<Label> = hits.iter().map(|&hit| Label::from(!hit)).collect();
    for bins in [5, 10, 15] {
        let mut state = Calibration::new(2, bins);
        state.add(Probabilities::new(&values, 2), &labels, None).expect("values in [0, 1]");
        let ece = state.region(Region::All).ece();
        near(&format!("{bins} bins"), ece, numbers(&golden[format!("ece_dict_nb{bins}")])[0], CALIBRATION);
    }
}

#[test]
fn the_temperature_grid() {
    let golden = read("temperature");
    let (logits, labels) = (logits(&golden["logits"]), labels(&golden["labels"]));
    // The logits are [k, n, h, w] there; samples and places together are the voxels here.
    let chunk = Chunk::new(&logits, &labels, CLASSES).expect("finite logits");
    let mut samples = InMemory::new(CLASSES, vec![chunk]);
    let (grid, nll, ece) = (numbers(&golden["temperature"]), numbers(&golden["nll"]), numbers(&golden["ece"]));
    let fit = Fit { voxels: 0, before: 0.0, after: 0.0, converged: true };
    for (i, &temperature) in grid.iter().enumerate() {
        let map = Temperature { temperature, fit };
        // Rounding the logits to f32 moves each by at most 3.3e-7.
        let tolerance = 2.0 * 3.3e-7 / temperature + 1e-9;
        near(&format!("NLL at {temperature}"), map.nll(&mut samples).expect("samples"), nll[i], tolerance);
        let mut scaled = logits.clone();
        map.apply(&mut scaled);
        softmax(&mut scaled, CLASSES);
        let mut state = Calibration::new(CLASSES, 15);
        state.add(Probabilities::new(&scaled, CLASSES), &labels, None).expect("probabilities");
        near(&format!("ECE at {temperature}"), state.region(Region::All).ece(), ece[i], CALIBRATION + tolerance);
    }
    let best = Temperature::fit(&mut samples).expect("a fit");
    let on_grid = numbers(&golden["best_by_nll"])[0];
    assert!((best.temperature - on_grid).abs() < 0.1, "{best:?}, on the grid {on_grid}");
    assert!(best.fit.converged && nll.iter().all(|&nll| best.fit.after <= nll + 1e-6), "{best:?}");
}
