//! Benchmarks: seconds, GFLOP/s by the direct count, share of the FMA peak measured in the same run, peak memory.
//!
//! `cargo run --release -p segcal-tests --bin bench -- unet --net authors --batch 4 --size 128 --base 32 --classes 4
//! --what train --json`. Kinds: `unet` and `conv`. Timings are the best of `--reps`, since the machines are shared.

use std::collections::HashMap;
use std::time::Instant;

use segcal_backends::{Device, Visitor};
use segcal_core::{Backend, Elem, Error, Geometry, Result, Rng, Shape, Tensor, ops};
use segcal_losses::{Batch, Convention, Given, Loss};
use segcal_models::{Adam, Mode, Network, NetworkConfig, Optimiser, Rule};
use serde_json::{Value, json};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_default();
    let options = Options::parse(arguments)?;
    let device = Device::open(&options.text("backend", "cpu"), None)?;
    let result = match kind.as_str() {
        "unet" => device.run(Unet(&options))?,
        "conv" => device.run(Conv(&options))?,
        _ => return Err(Error::new(format!("there is no benchmark \"{kind}\"")).help("unet or conv")),
    };
    println!("{}", if options.flag("json") { result.to_string() } else { format!("{result:#}") });
    Ok(())
}

/// `--key value` pairs; a key without a value is a flag.
struct Options(HashMap<String, String>);

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut pairs = HashMap::new();
        let mut key: Option<String> = None;
        for argument in arguments {
            match (argument.strip_prefix("--"), key.take()) {
                (Some(name), previous) => {
                    previous.map(|flag| pairs.insert(flag, "true".to_owned()));
                    key = Some(name.to_owned());
                }
                (None, Some(name)) => drop(pairs.insert(name, argument)),
                (None, None) => return Err(Error::new(format!("\"{argument}\" stands without a key"))),
            }
        }
        key.map(|flag| pairs.insert(flag, "true".to_owned()));
        Ok(Self(pairs))
    }

    fn text(&self, key: &str, default: &str) -> String {
        self.0.get(key).cloned().unwrap_or_else(|| default.to_owned())
    }

    fn number(&self, key: &str, default: usize) -> Result<usize> {
        let text = self.text(key, &default.to_string());
        text.parse().map_err(|_| Error::new(format!("\"{text}\" is no whole number")).at(format!("--{key}")))
    }

    fn flag(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

/// The best and the median of several runs, in seconds, after one that is not counted.
fn timed(reps: usize, mut run: impl FnMut() -> Result<()>) -> Result<(f64, f64)> {
    run()?;
    let mut seconds = Vec::with_capacity(reps);
    for _ in 0..reps.max(1) {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok((seconds[0], seconds[seconds.len() / 2]))
}

fn random<B: Backend>(backend: &B, shape: Shape, stream: u64) -> Tensor<B> {
    let rng = Rng::new(0).stream(stream);
    Tensor::new(backend, shape, (0..shape.len() as u64).map(|i| B::Elem::of(rng.uniform(i))).collect())
}

/// Waits for all work on a tensor.
fn finish<B: Backend>(tensor: &Tensor<B>) -> Result<()> {
    ops::sum_all(&[tensor], |p| p.input(0)).item().map(drop)
}

struct Unet<'a>(&'a Options);

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

struct Conv<'a>(&'a Options);

impl Visitor for Conv<'_> {
    type Output = Result<Value>;

    fn visit<B: Backend>(self, backend: B) -> Result<Value> {
        let options = self.0;
        let (batch, size) = (options.number("batch", 4)?, options.number("size", 128)?);
        let (inputs, outputs) = (options.number("in", 32)?, options.number("out", 32)?);
        let (dims, reps) = (options.number("dims", 2)?, options.number("reps", 9)?);
        let depth = |extent| if dims == 3 { extent } else { 1 };
        let x = random(&backend, Shape::new(batch, inputs, depth(size), size, size), 1);
        let w = random(&backend, Shape::new(outputs, inputs, depth(3), 3, 3), 2);
        let geometry = Geometry::same([depth(3), 3, 3]);
        let (forward, _) = timed(reps, || finish(&ops::conv(&x, &w, &geometry)))?;
        let (both, _) = timed(reps, || {
            let (x, w) = (x.tracked(), w.tracked());
            let y = ops::conv(&x, &w, &geometry);
            let gradients = ops::sum_all(&[&y], |p| p.input(0).square()).backward();
            finish(gradients.of(&x).expect("a gradient"))?;
            finish(gradients.of(&w).expect("a gradient"))
        })?;
        let gflop = 2.0 * (x.shape().n() * x.shape().voxels() * w.shape().len()) as f64 * 1e-9;
        Ok(json!({
            "in": inputs, "out": outputs, "batch": batch, "size": size, "dims": dims,
            "forward_ms": forward * 1e3, "forward_gflops": gflop / forward,
            "forward_backward_ms": both * 1e3, "forward_backward_gflops": 3.0 * gflop / both,
        }))
    }
}

/// The largest resident memory of this process so far, in MiB; 0 where the system does not tell.
fn peak_rss_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0) / 1024
}
