//! `segcal network NAME`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use segcal_backends::Visitor;
use segcal_core::{Backend, Context, Result, Shape, Tensor, axis, ops, stable};
use segcal_data::{config, npy};
use segcal_losses::calculator::check_labels;
use segcal_models::{
    Gradients, Mode, NetworkConfig, Optimiser, Output, Parameter, Parameters, Rule, Sgd, Stored, build, fitted_to,
    labels_on_grid, load,
};
use serde_json::{Value, json};

use super::loss::Lifted;
use crate::options::BackendName;
use crate::{Common, Outcome, output};

/// Compute a network's logits, mean cross entropy and gradients from arrays.
///
/// The image is a .npy array [N, C, (D,) H, W]; the labels are [N, (D,) H, W]. Weights are read from a safetensors file
/// that uses PyTorch's names and includes running statistics; without one, fresh weights are drawn. The default backend
/// is reference, which computes in 64 bits. In training mode, batch norms use the statistics of the batch, and with
/// deep supervision the value is the weighted sum over all heads; dropout is off in both modes. `segcal list networks`
/// shows names and keys. Channels, dimensions and classes are inferred from the image, labels and weights unless set.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  segcal network attunet --set widths=[4,6,8,10,12] --weights W.safetensors --image X.npy \
                  --labels Y.npy --mode train --out logits.npy --grads G.safetensors --json"
)]
pub struct Args {
    /// Name of the network.
    pub name: String,
    /// Set a key of the network, or classes, in_channels or dims; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Weights and running statistics, a safetensors file.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Seed of fresh weights.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "weights")]
    pub seed: u64,
    /// Image, a .npy file.
    #[arg(long, value_name = "FILE")]
    pub image: PathBuf,
    /// Labels, class numbers from 0.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Mode of the forward pass: which statistics batch norms use, and which heads count.
    #[arg(long, value_enum, default_value_t = Pass::Evaluate)]
    pub mode: Pass,
    /// Write the logits of the main head to this file; a .npz file also receives those of the other heads.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write d value / d weights to this file, under the names of the weights.
    #[arg(long, value_name = "FILE", requires = "labels")]
    pub grads: Option<PathBuf>,
    /// Write d value / d image to this file.
    #[arg(long, value_name = "FILE", requires = "labels")]
    pub grad_image: Option<PathBuf>,
    /// Write the running statistics after a pass in training mode to this file.
    #[arg(long, value_name = "FILE", requires = "labels")]
    pub statistics: Option<PathBuf>,
}

/// The mode of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Pass {
    /// As in prediction.
    Evaluate,
    /// As in a training step.
    Train,
}

/// Prints the value and the number of parameters.
///
/// # Errors
/// An array or the weights cannot be read or do not fit, or the network or a key is unknown.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let given = [&args.image].into_iter().chain(&args.labels).chain(&args.weights);
    let results = args.out.iter().chain(&args.grads).chain(&args.grad_image).chain(&args.statistics);
    let claims = results.map(|path| output::claim(path, given.clone().map(PathBuf::as_path)));
    let _claims: Vec<_> = claims.collect::<Result<_>>()?;
    let inputs = Inputs::read(args)?;
    let found = common.device(BackendName::Reference)?.run(Compute { args, inputs: &inputs })?;
    if common.json {
        output::print_json(&found)?;
    } else {
        let value =
            found["value"].as_f64().map_or_else(String::new, |value| format!("{:<16} {value:.12}\n", args.name));
        output::print(&format!("{value}{:<16} {}\n", "parameters", found["parameter_count"]))?;
    }
    Ok(Outcome::Done)
}

struct Inputs {
    image: Lifted,
    labels: Option<Lifted>,
    weights: Option<Stored>,
    config: NetworkConfig,
}

impl Inputs {
    fn read(args: &Args) -> Result<Self> {
        let image = Lifted::read(&args.image, true)?;
        let pixels = image.shape.with(axis::C, 1);
        let labels = args.labels.as_deref().map(|path| Lifted::read(path, false)?.fitting(path, pixels)).transpose()?;
        let weights = args.weights.as_deref().map(load).transpose()?;
        let mut given = config::table_of(&args.set).at("--set")?;
        given.insert("name".into(), args.name.clone().into());
        let is_set = |key: &str| given.contains_key(key);
        let (channels, dims, classes) = (is_set("in_channels"), is_set("dims"), is_set("classes"));
        let mut config: NetworkConfig = config::from_table(given).at("--set")?;
        if !channels {
            config.in_channels = image.shape.c();
        }
        if !dims {
            config.dims = image.extents.len() - 2;
        }
        config = fitted_to(config, image.shape.spatial());
        if !classes {
            config.classes = infer_classes(&config, labels.as_ref(), weights.as_ref())?;
        }
        if let (Some(labels), Some(path)) = (&labels, &args.labels) {
            check_labels(path.display(), labels.numbers(), labels.shape, config.classes, None)?;
        }
        Ok(Self { image, labels, weights, config })
    }
}

/// Infers the number of classes from the head of the weights, else from the labels.
#[expect(clippy::cast_possible_truncation, reason = "saturates, and is refused beyond 65,536")]
fn infer_classes(config: &NetworkConfig, labels: Option<&Lifted>, weights: Option<&Stored>) -> Result<usize> {
    if let Some(weights) = weights {
        let network = build::<segcal_core::Reference>(config)?;
        let head = network.graph().head().map(str::to_owned);
        if let Some(dims) = head.and_then(|head| weights.dims(&head)) {
            return Ok(dims.first().copied().unwrap_or(config.classes));
        }
    }
    let largest = labels.map(|labels| labels.data.iter().copied().fold(0.0, f64::max));
    // An out-of-range label is then reported as an out-of-range number of classes.
    Ok(largest.map_or(config.classes, |label| (label as usize).saturating_add(1).max(2)))
}

struct Compute<'a> {
    args: &'a Args,
    inputs: &'a Inputs,
}

impl Visitor for Compute<'_> {
    type Output = Result<Value>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        let Compute { args, inputs } = self;
        let network = build::<B>(&inputs.config)?;
        network.accepts(inputs.image.shape).at(args.image.display())?;
        let parameters = match &inputs.weights {
            Some(stored) => network.restore(stored, &backend)?,
            None => network.parameters(args.seed, &backend),
        };
        let wants_gradients = args.grads.is_some() || args.grad_image.is_some() || args.statistics.is_some();
        let image = tensor(&inputs.image, &backend);
        let (leaves, image) =
            if wants_gradients { (parameters.tracked(), image.tracked()) } else { (parameters.clone(), image) };
        let outputs = match args.mode {
            Pass::Train => network.outputs(&leaves, &image),
            Pass::Evaluate => {
                vec![Output { logits: network.forward(&leaves, &image, Mode::Evaluate), weight: 1.0 }]
            }
        };
        if let Some(path) = &args.out {
            write_logits(path, &outputs, inputs.image.extents.len())?;
        }
        let losses = losses(&outputs, inputs.labels.as_ref().map(|labels| tensor(labels, &backend)).as_ref());
        let heads = losses
            .iter()
            .zip(&outputs)
            .map(|(loss, head)| Ok(json!({ "weight": head.weight, "cross_entropy": output::number(loss.item()?) })));
        let heads: Vec<Value> = heads.collect::<Result<_>>()?;
        let total = weighted_sum(&losses, &outputs);
        let value = total.as_ref().map(Tensor::item).transpose()?;
        if let Some(total) = total.filter(|_| wants_gradients) {
            write_gradients(args, &inputs.image, &parameters, &leaves, &image, total)?;
        }
        Ok(json!({
            "network": args.name,
            "mode": if args.mode == Pass::Train { "train" } else { "evaluate" },
            "parameters": network.config(),
            "parameter_count": network.parameter_count(),
            "value": value.map(output::number),
            "heads": heads,
        }))
    }
}

fn tensor<B: Backend>(array: &Lifted, backend: &B) -> Tensor<B> {
    Tensor::from_f64(backend, array.shape, &array.data)
}

/// The mean cross entropy of each head, with the labels resampled to its grid.
fn losses<B: Backend>(outputs: &[Output<B>], labels: Option<&Tensor<B>>) -> Vec<Tensor<B>> {
    let Some(labels) = labels else { return Vec::new() };
    let loss = |head: &Output<B>| {
        let labels = labels_on_grid(labels, head.logits.shape().spatial());
        let share = -1.0 / labels.shape().len() as f64;
        let of_class = ops::one_hot(&labels, head.logits.shape().c());
        ops::sum_all(&[&stable::log_softmax(&head.logits), &of_class], |p| p.input(0) * p.input(1) * share)
    };
    outputs.iter().map(loss).collect()
}

fn weighted_sum<B: Backend>(losses: &[Tensor<B>], outputs: &[Output<B>]) -> Option<Tensor<B>> {
    let weighted = losses.iter().zip(outputs).map(|(loss, head)| ops::map(&[loss], |p| p.input(0) * head.weight));
    let weighted: Vec<Tensor<B>> = weighted.collect();
    (!weighted.is_empty()).then(|| ops::sum_of(&weighted))
}

/// The extents of an array with as many axes as the image file has.
fn extents(shape: Shape, axes: usize) -> Vec<usize> {
    let mut extents = shape.dims().to_vec();
    if axes == 4 {
        extents.remove(axis::D);
    }
    extents
}

fn write_logits<B: Backend>(path: &Path, outputs: &[Output<B>], axes: usize) -> Result<()> {
    let arrays = outputs.iter().map(|head| Ok((extents(head.logits.shape(), axes), head.logits.to_f64()?)));
    let arrays: Vec<(Vec<usize>, Vec<f64>)> = arrays.collect::<Result<_>>()?;
    if !npy::is_archive(path) {
        return npy::write(path, &arrays[0].0, &arrays[0].1);
    }
    let name = |number: usize| if number == 0 { "logits".to_owned() } else { format!("head{number}") };
    let names: Vec<String> = (0..arrays.len()).map(name).collect();
    let named = names.iter().zip(&arrays).map(|(name, (shape, data))| (name.as_str(), &shape[..], &data[..]));
    npy::write_archive(path, &named.collect::<Vec<_>>())
}

fn write_gradients<B: Backend>(
    args: &Args,
    file: &Lifted,
    parameters: &Parameters<B>,
    leaves: &Parameters<B>,
    image: &Tensor<B>,
    total: Tensor<B>,
) -> Result<()> {
    let grads = total.backward();
    if let Some(path) = &args.grad_image {
        let gradient = grads.of(image).map_or_else(|| Ok(vec![0.0; file.shape.len()]), Tensor::to_f64)?;
        npy::write(path, &file.extents, &gradient)?;
    }
    let gradients = leaves.gradients(&grads);
    if let Some(path) = &args.grads {
        segcal_data::checkpoint::save(path, &[("", &named(parameters, &gradients))], &BTreeMap::new())?;
    }
    if let Some(path) = &args.statistics {
        // A step of length 0 changes only the statistics.
        let mut moved = parameters.clone();
        let still = Rule::Sgd(Sgd { momentum: 0.0, ..Sgd::default() });
        Optimiser::new(still, parameters)?.step(&mut moved, &gradients, 0.0);
        let statistics = moved.iter().filter(|parameter| !parameter.trainable).cloned().collect();
        segcal_data::checkpoint::save(path, &[("", &Parameters::new(statistics))], &BTreeMap::new())?;
    }
    Ok(())
}

/// The gradients under the names of their parameters, without parameters that the value does not depend on.
fn named<B: Backend>(parameters: &Parameters<B>, gradients: &Gradients<B>) -> Parameters<B> {
    let gradient = |(number, parameter): (usize, &Parameter<B>)| {
        let value = gradients.get(number)?.clone();
        Some(Parameter { value, ..parameter.clone() })
    };
    Parameters::new(parameters.iter().enumerate().filter_map(gradient).collect())
}
