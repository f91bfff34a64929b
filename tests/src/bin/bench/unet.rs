//! `unet`: one training step or one prediction of a UNet.

use segcal_backends::Visitor;
use segcal_core::{Backend, Result, Shape, ops};
use segcal_losses::{Batch, Convention, Given, Loss};
use segcal_models::{Adam, Mode, Network, NetworkConfig, Optimiser, Rule};
use serde_json::{Value, json};

use crate::measure::{finish, peak_rss_mib, random, timed};
use crate::options::Options;

pub(crate) struct Unet<'a>(pub(crate) &'a Options);

impl Visitor for Unet<'_> {
    type Output = Result<Value>;

    fn visit<B: Backend>(self, backend: B) -> Result<Value> {
        let options = self.0;
        let (batch, size) = (options.number("batch", 4)?, options.number("size", 128)?);
        let (base, classes) = (options.number("base", 32)?, options.number("classes", 4)?);
        let (dims, reps) = (options.number("dims", 2)?, options.number("reps", 5)?);
        let name = match options.text("net", "authors").as_str() {
            "authors" => "unet-authors",
            _ => "unet",
        };
        let config = NetworkConfig { name: name.into(), base: Some(base), classes, dims, ..NetworkConfig::default() };
        let network: Box<dyn Network<B>> = segcal_models::build(&config)?;
        let shape = Shape::new(batch, 1, if dims == 3 { size } else { 1 }, size, size);
        let images = random(&backend, shape, 1);
        let labels = ops::map(&[&random(&backend, shape, 2)], |p| (p.input(0) * classes as f64).floor());
        let loss = Loss::new(&options.text("loss", "ce"), &Given::new(), Convention::Authors)?;
        let mut parameters = network.parameters(0, &backend);
        let mut optimiser = Optimiser::new(Rule::Adam(Adam::default()), &parameters)?;
        let what = options.text("what", "train");
        let (best, median) = timed(reps, || {
            if what == "infer" {
                return finish(&network.forward(&parameters, &images, Mode::Evaluate));
            }
            let leaves = parameters.tracked();
            let logits = network.forward(&leaves, &images, Mode::Train);
            let total = loss.value(&Batch::new(&logits, &labels)).total;
            drop(logits);
            let gradients = leaves.gradients(&total.backward());
            optimiser.step(&mut parameters, &gradients, 1e-3);
            finish(&parameters.iter().next().expect("a parameter").value)
        })?;
        Ok(json!({
            "net": name, "what": what, "batch": batch, "size": size, "base": base, "dims": dims,
            "parameters": parameters.count(), "seconds": best, "seconds_median": median,
            "peak_rss_mib": peak_rss_mib(), "threads": rayon::current_num_threads(),
        }))
    }
}
