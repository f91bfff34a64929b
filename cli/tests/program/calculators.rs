//! The calculators `loss`, `prior`, `list`: values, files, and messages for wrong input.

use std::path::Path;

use crate::common::{segcal, stderr, stdout};
use segcal_data::npy;

fn write(folder: &Path) -> [String; 4] {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    npy::write(&folder.join("l.npy"), &[1, 2, 1, 2], &[0.0f64, 3.0, 0.0, 1.0]).unwrap();
    npy::write(&folder.join("y.npy"), &[1, 1, 2], &[0i32, 1]).unwrap();
    ["l.npy", "y.npy", "g.npy", "p.npy"].map(path)
}

/// Two pixels with the logits (0, 0) and (3, 1), labels 0 and 1: `(log 2 + log(1 + e^2)) / 2`.
#[test]
fn loss_prints_value_and_terms_and_writes_the_gradient() {
    let folder = tempfile::tempdir().unwrap();
    let [logits, labels, gradient, _] = write(folder.path());
    let output = segcal(&["loss", "ce", "--logits", &logits, "--labels", &labels, "--grad", &gradient, "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let document: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let expected = 0.5 * (2f64.ln() + (2f64.exp() + 1.0).ln());
    assert!((document["value"].as_f64().unwrap() - expected).abs() < 1e-15);
    assert_eq!(document["value"], document["terms"]["ce"]);
    assert_eq!((&document["loss"], &document["convention"]), (&"ce".into(), &"authors".into()));
    let found = npy::read::<f64>(Path::new(&gradient), "").unwrap();
    let winner = 0.5 / (1.0 + (-2f64).exp());
    assert_eq!(found.shape, [1, 2, 1, 2]);
    for (found, expected) in found.data.iter().zip([-0.25, winner, 0.25, -winner]) {
        assert!((found - expected).abs() < 1e-15);
    }
}

#[test]
fn prior_writes_one_channel_per_class() {
    let folder = tempfile::tempdir().unwrap();
    let [_, labels, _, prior] = write(folder.path());
    let arguments = ["prior", "mean", "--labels", &labels, "--classes", "3", "--out", &prior, "--convention", "paper"];
    assert!(segcal(&arguments).status.success());
    let found = npy::read::<f64>(Path::new(&prior), "").unwrap();
    assert_eq!(found.shape, [1, 3, 1, 2]);
    for (found, expected) in found.data.iter().zip([2.0, 1.0, 1.0, 2.0, 0.0, 0.0]) {
        assert!((found - expected / 3.0).abs() < 1e-15);
    }
}

#[test]
fn wrong_input_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let [logits, labels, _, _] = write(folder.path());
    let refused = |arguments: &[&str], words: &[&str]| {
        let arguments = [&["loss", arguments[0], "--logits", &logits, "--labels", &labels], &arguments[1..]].concat();
        let output = segcal(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let message = stderr(&output);
        assert!(words.iter().all(|word| message.contains(word)), "{arguments:?}: {message}");
    };
    refused(&["nalc"], &["nalc", "did you mean", "nacl"]);
    refused(&["nacl", "--set", "lamda=1"], &["lamda", "lambda"]);
    refused(&["focal", "--set", "gamma=-1"], &["gamma", "-1", "from 0 to 20"]);
    refused(&["focal", "--set", "gamma=nan"], &["gamma", "nan"]);
    refused(&["nacl", "--set", "prior=gradient"], &["needs an image", "--image"]);
    refused(&["ce", "--set", "class_weights=1,2,3"], &["class_weights", "3", "2"]);
    npy::write(Path::new(&labels), &[1, 1, 2], &[0i32, 7]).unwrap();
    refused(&["ce"], &["y.npy", "7", "ignore_index"]);
    for label in [5e9, 1e30, f64::INFINITY] {
        npy::write(Path::new(&labels), &[1, 1, 2], &[0.0, label]).unwrap();
        let output = segcal(&["network", "unet", "--image", &logits, "--labels", &labels]);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{label}: {message}");
        assert!(message.starts_with("error: ") && message.lines().count() == 1, "{label}: {message}");
    }
}

/// The value is the mean cross entropy of the logits that are written.
#[test]
fn network_writes_logits_and_gradients() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let [image, labels, out, grads, grad_image] = ["x.npy", "y.npy", "o.npy", "g.safetensors", "gx.npy"].map(path);
    let numbers: Vec<f64> = (0..32).map(|i| f64::from(i % 7) / 3.0 - 1.0).collect();
    npy::write(Path::new(&image), &[2, 1, 4, 4], &numbers).unwrap();
    npy::write(Path::new(&labels), &[2, 4, 4], &[0i32, 1, 2, 1].repeat(8)).unwrap();
    let network = ["network", "unet-authors", "--set", "widths=[2]", "--set", "classes=3", "--image", &image];
    let files = ["--labels", &labels, "--out", &out, "--grads", &grads, "--grad-image", &grad_image, "--json"];
    let output = segcal(&[&network[..], &files].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let document: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let logits = npy::read::<f64>(Path::new(&out), "").unwrap();
    assert_eq!(logits.shape, [2, 3, 4, 4]);
    let cross_entropy = |pixel: usize| {
        let z = |class: usize| logits.data[pixel / 16 * 48 + class * 16 + pixel % 16];
        (z(0).exp() + z(1).exp() + z(2).exp()).ln() - z([0, 1, 2, 1][pixel % 4])
    };
    let mean = (0..32).map(cross_entropy).sum::<f64>() / 32.0;
    assert!((document["value"].as_f64().unwrap() - mean).abs() < 1e-12);
    assert_eq!(npy::read::<f64>(Path::new(&grad_image), "").unwrap().shape, [2, 1, 4, 4]);
    let gradients = segcal_models::load(Path::new(&grads)).unwrap();
    assert_eq!(gradients.dims("conv_final.weight").unwrap(), [3, 2, 1, 1]);
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = segcal(&[&["network"], arguments, &["--image", &image]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let message = stderr(&output);
        assert!(words.iter().all(|word| message.contains(word)), "{arguments:?}: {message}");
    };
    refused(&["attunett"], &["attunett", "did you mean attunet"]);
    refused(&["attunet", "--set", "width=4,8"], &["width", "did you mean widths"]);
    refused(&["unetpp"], &["x.npy", "multiples", "32"]);
    refused(
        &["unet-authors", "--set", "widths=[2,4]", "--weights", &grads],
        &["g.safetensors", "down.1.l1.conv.weight"],
    );
    refused(&["unet", "--set", "levels=2", "--set", "levels=3"], &["levels", "once"]);
}

#[test]
fn list_shows_every_loss_and_prior() {
    for (kind, names) in [("losses", segcal_losses::Loss::names()), ("priors", segcal_losses::Prior::names())] {
        let text = stdout(&segcal(&["list", kind]));
        assert!(names.iter().all(|name| text.lines().any(|line| line.starts_with(&format!("{name}:")))), "{kind}");
    }
}
