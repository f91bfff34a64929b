//! Loads a trained run and segments an image that is an `ndarray` in memory.
//!
//! ```sh
//! cargo run -p segcal-train --example predict -- runs/hippocampus-nacl
//! ```
//!
//! Without an argument it trains a run of its own, of one epoch on phantoms, in a temporary folder.

use std::path::{Path, PathBuf};

use ndarray::{Array4, Axis};
use segcal_backends::{Cpu, Watch};
use segcal_core::Result;
use segcal_data::observer::Silent;
use segcal_data::phantom::{self, Recipe};
use segcal_data::{Grid, Volume};
use segcal_train::run::Trained;
use segcal_train::settings::Settings;

fn main() -> Result<()> {
    let backend = Cpu::new(None)?;
    let temporary = tempfile::tempdir()?;
    let run = match std::env::args_os().nth(1) {
        Some(run) => PathBuf::from(run),
        None => one_epoch(&backend, temporary.path())?,
    };
    let trained = Trained::open(&run, &backend)?;

    // [channels, d, h, w], any intensities; voxels whose size is not known.
    let data =
        Array4::from_shape_fn((1, 4, 16, 16), |(_, _, y, x)| if y > 4 && x > 6 { 200.0 } else { (x + y) as f32 });
    let image = Volume { data, grid: Grid::unknown([4, 16, 16]) };
    // [classes, d, h, w], the bits that `segcal predict` writes for the same image.
    let probabilities = trained.probabilities(&backend, image)?.data;
    for (class, name) in trained.class_names.iter().enumerate() {
        let mean = probabilities.index_axis(Axis(0), class).mean().unwrap_or(f32::NAN);
        println!("{name}: mean probability {mean:.5}");
    }
    Ok(())
}

fn one_epoch(backend: &Cpu, folder: &Path) -> Result<PathBuf> {
    let recipe = Recipe { spatial: [4, 16, 16], ..Recipe::default() };
    let request =
        phantom::Request { out: &folder.join("cohort"), prefix: "phantom", counts: [2, 1, 0], recipe, seed: 1 };
    phantom::write(&request, &Silent)?;
    let keys = ["epochs=1", "samples.size=[16,16]", "network={levels=2,base=4}"];
    let run = folder.join("run");
    let settings = Settings { data: folder.join("cohort"), out: run.clone(), ..Settings::with(&keys)? };
    segcal_train::train(backend, Watch::default(), &settings, false, &Silent)?;
    Ok(run)
}
