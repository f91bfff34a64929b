//! Benchmarks: seconds, GFLOP/s by the direct count, share of the FMA peak measured in the same run, peak memory.
//!
//! `cargo run --release -p segcal-tests --bin bench -- unet --net authors --batch 4 --size 128 --base 32 --classes 4
//! --what train --json`. Kinds: `unet`, `conv`, `loss` and `versus-torch`. Timings are the best of `--reps`, since the machines
//! are shared.
//!
//! `bench versus-torch --script torch_unet.py --python python3 --what train --times 5` runs the peer script and `unet`
//! in turn with the same options, and prints the ratios with their spread.

use std::collections::HashMap;
use std::process::Command;
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
        "versus-torch" => versus_torch(&options)?,
        "unet" => device.run(Unet(&options))?,
        "conv" => device.run(Conv(&options))?,
        "loss" => device.run(Losses(&options))?,
        _ => {
            return Err(
                Error::new(format!("there is no benchmark \"{kind}\"")).help("unet, conv, loss or versus-torch")
            );
        }
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

/// Milliseconds for value and gradient of every loss (or of `--loss NAME`) on `16 x 4 x 224 x 224` logits.
struct Losses<'a>(&'a Options);

impl Visitor for Losses<'_> {
    type Output = Result<Value>;

    fn visit<B: Backend>(self, backend: B) -> Result<Value> {
        let shape = Shape::new(16, 4, 1, 224, 224);
        let logits = ops::map(&[&random(&backend, shape, 1)], |p| p.input(0) * 8.0 - 4.0).tracked();
        let label = |place: usize| B::Elem::of(((place / 224 / 40 + place % 224 / 50) % 4) as f64);
        let pixels = shape.with(1, 1);
        let labels = Tensor::new(&backend, pixels, (0..pixels.len()).map(label).collect());
        let second = ops::map(&[&logits.detach()], |p| p.input(0) + 0.5);
        let mask = Tensor::full(&backend, pixels, 1.0);
        let mut table = serde_json::Map::new();
        let only = self.0.text("loss", "");
        for spec in Loss::SPECS.iter().filter(|spec| only.is_empty() || spec.name == only) {
            let loss = Loss::new(spec.name, &Given::new(), Convention::Authors)?;
            let (best, median) = timed(self.0.number("reps", 9)?, || {
                let batch = Batch::new(&logits, &labels).with_second(&second, &mask);
                let total = loss.value(&batch).total;
                let value = total.detach();
                drop(total.backward());
                value.item().map(drop)
            })?;
            table.insert(spec.name.into(), json!({ "best_ms": best * 1e3, "median_ms": median * 1e3 }));
        }
        Ok(table.into())
    }
}

/// Runs the peer script and this program in turn and compares seconds and peak memory.
fn versus_torch(options: &Options) -> Result<Value> {
    let what = options.text("what", "train");
    let times = options.number("times", 5)?;
    let shared: Vec<String> = ["net", "batch", "size", "base", "classes", "dims", "reps"]
        .iter()
        .filter_map(|key| Some([format!("--{key}"), options.0.get(*key)?.clone()]))
        .flatten()
        .chain(["--what".to_owned(), what.clone()])
        .collect();
    let (mut ratios, mut theirs, mut ours, mut memory) = (Vec::new(), Vec::new(), Vec::new(), [f64::NAN; 2]);
    for _ in 0..times {
        let mut best = f64::INFINITY;
        for format in ["contiguous", "channels_last"] {
            let mut command = Command::new(options.text("python", "python3"));
            command.arg(options.text("script", "torch_unet.py")).args(&shared).args(["--format", format]);
            let peer = json_of(&mut command)?;
            best = best.min(peer[format!("{format}_{what}_s")].as_f64().unwrap_or(f64::INFINITY));
            memory[0] = memory[0].min(peer["peak_rss_mib"].as_f64().unwrap_or(f64::NAN));
        }
        let own = std::env::current_exe().map_err(Error::from)?;
        let own = json_of(Command::new(own).arg("unet").args(&shared).arg("--json"))?;
        let seconds = own["seconds"].as_f64().unwrap_or(f64::NAN);
        memory[1] = memory[1].min(own["peak_rss_mib"].as_f64().unwrap_or(f64::NAN));
        eprintln!("torch {best:.4} s, segcal {seconds:.4} s, ratio {:.2}", best / seconds);
        ratios.push(best / seconds);
        theirs.push(best);
        ours.push(seconds);
    }
    for values in [&mut ratios, &mut theirs, &mut ours] {
        values.sort_by(f64::total_cmp);
    }
    Ok(json!({
        "what": what, "options": shared.join(" "), "times": times,
        "torch_seconds_median": theirs[times / 2], "segcal_seconds_median": ours[times / 2],
        "ratio_median": ratios[times / 2], "ratio_lowest": ratios[0], "ratio_highest": ratios[times - 1],
        "torch_peak_rss_mib": memory[0], "segcal_peak_rss_mib": memory[1],
    }))
}

/// The JSON document that a command prints on its last line.
fn json_of(command: &mut Command) -> Result<Value> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(Error::from).map_err(|error| error.at(&name))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).map_err(|_| {
        Error::new(format!("printed no figures: {}", String::from_utf8_lossy(&output.stderr).trim())).at(&name)
    })
}

/// The largest resident memory of this process so far, in MiB; 0 where the system does not tell.
fn peak_rss_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0) / 1024
}
