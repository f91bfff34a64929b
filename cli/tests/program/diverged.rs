//! A number that is not finite stops the training at that step, and says which batch, which loss term and which layer
//! came first; what was done before is kept.

use crate::common::stored_epoch;
use crate::common::training::Scene;
use crate::common::{segcal, stderr};

#[test]
fn the_batch_the_term_and_the_layer_are_named() {
    let scene = Scene::new();
    // Gradient descent with a step so large that the weights, or what they make of an image, overflow.
    for (rate, layer) in
        [("1e30", "first in the output of down.0.l2.conv"), ("1e19", "first in the output of up.0.l1.conv")]
    {
        let rate = format!("optimiser.learning_rate={rate}");
        let output = scene.train(&rate, &["loss.name=ce", "optimiser.name=sgd", &rate, "epochs=3"]);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        for word in
            ["epoch 1, step 2, cases phantom_", "the loss term ce is NaN", layer, "clip_norm", "no epoch was done yet"]
        {
            assert!(message.contains(word), "{word}: {message}");
        }
        assert!(!scene.path(&rate).join("last.safetensors").exists());
    }
}

#[test]
fn where_loss_and_layers_are_finite_the_gradient_is_named() {
    let scene = Scene::new();
    let all = ["loss.name=ce", "optimiser.name=sgd", "optimiser.learning_rate=1e10", "epochs=9"];
    let message = stderr(&scene.train("run", &all));
    let words = ["a gradient is not finite, first in the gradient of up.0.", "cases phantom_", "is kept", "--resume"];
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
}

#[test]
fn the_epochs_before_are_kept_and_what_is_noticed_late_is_no_result() {
    let scene = Scene::new();
    for rate in ["3", "30", "300"] {
        let run = format!("rate-{rate}");
        let rate = format!("optimiser.learning_rate={rate}");
        let all = ["loss.name=ce", "network.norm=none", "optimiser.name=sgd", &rate, "epochs=99"];
        let output = scene.train(&run, &all);
        let message = stderr(&output);
        // Noticed at a step, or, where the last step of an epoch was the bad one, when the epoch is measured.
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains("phantom_") && message.contains("first in "), "{message}");
        let last = scene.path(&run).join("last.safetensors");
        if !last.exists() {
            assert!(message.contains("no epoch was done yet"), "{message}");
            continue;
        }
        assert!(message.contains(" kept; the same command with --resume"), "{message}");
        let kept = stored_epoch(&last);
        assert!(message.contains(&format!("epoch {}", kept + 1)), "{kept}: {message}");
        // What the checkpoint holds is finite, so it predicts or says that it cannot: never NaN.
        let path = |name: &str| scene.path(name).display().to_string();
        let out = format!("{run}-out");
        let predicted = segcal(&["-q", "predict", &path(&run), &path("cohort/imagesTs"), "--out", &path(&out)]);
        let message = stderr(&predicted);
        assert!(predicted.status.success() || message.contains("the network's output is not finite"), "{message}");
        let written = |kind: &str| std::fs::read_dir(scene.path(&out).join(kind)).is_ok_and(|files| files.count() > 0);
        let any = written("segmentations") || written("probabilities");
        assert_eq!(any, predicted.status.success(), "nothing is written for a case that fails");
    }
}
