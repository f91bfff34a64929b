//! The volumes and the trainings of the demo.

use std::path::PathBuf;

use segcal_data::phantom::{self, Recipe};
use segcal_train::settings::{SampleKind, Samples, Settings};
use toml::Table;

use super::Args;

/// Margin of MbLS, between the smallest two that the papers tried (3 and 5; NACL): with much uncertainty, logits need not be far
/// apart.
const MARGIN: f64 = 3.5;

/// A cohort to generate.
pub(super) struct Volumes {
    pub(super) out: PathBuf,
    prefix: &'static str,
    counts: [usize; 3],
    seed: u64,
}

impl Volumes {
    pub(super) fn request(&self) -> phantom::Request<'_> {
        // Blurred borders and noise, so that certainty is impossible; no stray labels, which would make every Hausdorff
        // distance the size of the volume.
        let recipe = Recipe { label_noise: 0.0, intensity_noise: 0.6, ..Recipe::default() };
        phantom::Request { out: &self.out, prefix: self.prefix, counts: self.counts, recipe, seed: self.seed }
    }
}

/// Four volumes to train on and twelve to test on, but none to select an epoch: the last one is kept, however
/// over-fitted. Six more volumes serve to fit a temperature.
pub(super) fn cohorts(args: &Args) -> [(&'static str, Volumes); 2] {
    let of = |name: &str, prefix, counts, seed: u64| Volumes { out: args.out.join(name), prefix, counts, seed };
    let seed = u64::from(args.seed);
    [
        ("training and test", of("cohort", "phantom", [4, 0, 12], seed)),
        ("held-out", of("held-out", "held_out", [1, 0, 6], seed + (1 << 32))),
    ]
}

/// The settings of one training of the demo.
pub(super) fn of_training(args: &Args, loss: &str) -> Settings {
    let base = Settings::default();
    let samples = Samples { kind: SampleKind::Slices, size: vec![48, 48], ..base.samples.clone() };
    let mut settings = Settings {
        data: args.out.join("cohort"),
        out: args.out.join(loss),
        epochs: usize::from(args.epochs),
        seed: args.seed.into(),
        batch: 8,
        samples,
        ..base
    };
    settings.network.extend(table(&[("levels", 3.into()), ("base", 16.into())]));
    settings.optimiser.extend(table(&[("learning_rate", 3e-3.into())]));
    // The rate decays to 0, so that the last epoch is not a matter of chance.
    settings.schedule = table(&[("name", "cosine".into())]);
    settings.loss.insert("name".into(), loss.into());
    if loss == "mbls" {
        settings.loss.insert("margin".into(), MARGIN.into());
    }
    settings
}

fn table(pairs: &[(&str, toml::Value)]) -> Table {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}
