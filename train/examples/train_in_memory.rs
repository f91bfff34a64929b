//! Trains a network on arrays in memory with a loss of one's own: the squared error of the probabilities.

use std::sync::Arc;

use segcal_backends::Cpu;
use segcal_core::{Backend, Result, Rng, axis, ops, stable};
use segcal_data::observer::Silent;
use segcal_data::{Grid, Volume};
use segcal_losses::{Batch, Criterion, Value};
use segcal_train::prepared::{Classes, Prepared};
use segcal_train::settings::Settings;
use segcal_train::source::Memory;
use segcal_train::trainer::{Data, Trainer};

/// `sum_k (s_k - y_k)^2` with the softmax `s` and the one-hot label `y`, averaged over the pixels.
struct SquaredError;

impl Criterion for SquaredError {
    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let softmax = stable::softmax(batch.logits);
        let total = ops::sum_all(&[&softmax, batch.labels], |p| {
            let one_hot = p.input(1).equals(p.coord(axis::C));
            let error = p.input(0) - one_hot;
            error * error * (1.0 / batch.labels.shape().len() as f64)
        });
        Value { total, terms: Vec::new() }
    }
}

/// A noisy image of 4 slices of 16 x 16 pixels, bright where the label is 1.
fn case(number: u64) -> Prepared {
    let (rng, grid) = (Rng::new(5).stream(number), Grid::unknown([4, 16, 16]));
    let label: Vec<i32> = (0..1024).map(|at| i32::from((at % 16 + at / 16 % 16) as u64 > 12 + number % 5)).collect();
    let noisy = |(at, &class): (usize, &i32)| 0.25 + 0.3 * class as f32 + 0.2 * rng.uniform(at as u64) as f32;
    let image = label.iter().enumerate().map(noisy).collect();
    Prepared {
        name: format!("case {number}"),
        image: Volume::new(image, 1, grid.clone()),
        label: Volume::new(label, 1, grid),
    }
}

fn main() -> Result<()> {
    let backend = Cpu::new(None)?;
    let classes = Classes { count: 2, ignored: None };
    let memory = |cases: std::ops::Range<u64>| Memory::new(cases.map(case).collect(), classes).map(Arc::new);
    let (training, validation) = (memory(0..6)?, memory(6..8)?);
    let data = Data { training, validation, class_names: vec!["background".into(), "bright".into()] };

    let keys = ["epochs=8", "batch=4", "samples.size=[16,16]", "network={levels=2,base=4}"];
    let settings = Settings::with(&keys)?;
    let network = segcal_train::run::network(&settings, 1, classes.count)?;
    let mut trainer = Trainer::new(&backend, network, SquaredError, data, &settings)?;
    for record in trainer.run(&Silent)? {
        println!("epoch {}: loss {:.5}, validation DSC {:.4}", record.epoch, record.loss[0].1, record.dsc.0);
    }
    Ok(())
}
