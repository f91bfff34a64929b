//! `network`: one training step or one prediction of a network of the list.

use segcal_core::{Backend, Error, Result, Shape, Tensor, ops};
use segcal_losses::{Batch, Convention, Given, Loss};
use segcal_models::{Adam, Mode, Network, NetworkConfig, Optimiser, Parameters, Rule};
use serde_json::{Map, Value, json};

use crate::card::{Benchmark, Card};
use crate::count::Counter;
use crate::measure::{finish, peak_rss_mib, random, share_of_peak, timed};
use crate::options::Options;

pub(crate) struct Networks<'a>(pub(crate) &'a Options);

impl Benchmark for Networks<'_> {
    fn measure<B: Backend>(&self, backend: B, card: &Card) -> Result<Value> {
        let options = self.0;
        let mut step = Step::new(options, &backend)?;
        let (best, median) = timed(options.number("reps", 5)?, || step.run())?;
        let peak_rss = peak_rss_mib();
        let counter = Counter::default();
        Step::new(options, &counter)?.run()?;
        let mut result = json!({
            "net": options.text("net", DEFAULT), "what": options.text("what", "train"),
            "batch": step.images.shape().n(), "size": options.number("size", 128)?,
            "dims": options.number("dims", 2)?, "parameters": step.parameters.count(),
            "seconds": best, "seconds_median": median, "peak_rss_mib": peak_rss,
            "threads": rayon::current_num_threads(),
        });
        share_of_peak(&mut result, &backend, counter.operations() as f64, best);
        card.add_to(&mut result, || step.run())?;
        Ok(result)
    }
}

/// What is timed unless `--net` names another.
const DEFAULT: &str = "unet-authors";

/// The network that `--net` names, with the keys of `--keys` (a JSON object) in place of its own.
fn network_config(options: &Options, classes: usize, dims: usize, extents: [usize; 3]) -> Result<NetworkConfig> {
    let keys = options.text("keys", "{}");
    let keys: Map<String, Value> =
        serde_json::from_str(&keys).map_err(|error| Error::new(format!("not a JSON object: {error}")).at("--keys"))?;
    let config = NetworkConfig { classes, dims, keys, ..NetworkConfig::named(&options.text("net", DEFAULT)) };
    Ok(segcal_models::fitted_to(config, extents))
}

/// A network with all that a step of it needs.
struct Step<B: Backend> {
    infer: bool,
    network: Box<dyn Network<B>>,
    parameters: Parameters<B>,
    optimiser: Optimiser<B>,
    loss: Loss,
    images: Tensor<B>,
    labels: Tensor<B>,
}

impl<B: Backend> Step<B> {
    fn new(options: &Options, backend: &B) -> Result<Self> {
        let (batch, size) = (options.number("batch", 4)?, options.number("size", 128)?);
        let classes = options.number("classes", 4)?;
        let dims = options.number("dims", 2)?;
        let config = network_config(options, classes, dims, [1, size, size])?;
        let network: Box<dyn Network<B>> = segcal_models::build(&config)?;
        let shape = Shape::new(batch, 1, if dims == 3 { size } else { 1 }, size, size);
        let images = random(backend, shape, 1);
        let labels = ops::map(&[&random(backend, shape, 2)], |p| (p.input(0) * classes as f64).floor());
        let parameters = network.parameters(0, backend);
        Ok(Self {
            infer: options.text("what", "train") == "infer",
            optimiser: Optimiser::new(Rule::Adam(Adam::default()), &parameters)?,
            loss: Loss::new(&options.text("loss", "ce"), &Given::new(), Convention::Authors)?,
            network,
            parameters,
            images,
            labels,
        })
    }

    fn run(&mut self) -> Result<()> {
        if self.infer {
            return finish(&self.network.forward(&self.parameters, &self.images, Mode::Evaluate));
        }
        let leaves = self.parameters.tracked();
        let logits = self.network.forward(&leaves, &self.images, Mode::Train);
        let total = self.loss.value(&Batch::new(&logits, &self.labels)).total;
        drop(logits);
        let gradients = leaves.gradients(&total.backward());
        self.optimiser.step(&mut self.parameters, &gradients, 1e-3);
        finish(&self.parameters.iter().next().expect("a parameter").value)
    }
}
