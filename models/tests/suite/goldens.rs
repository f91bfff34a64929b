//! Every network against the numbers of the public code, recorded in f64: logits in both modes, running statistics after
//! a step, gradients of the image and of every parameter, and five steps of Adam. What a pack holds: `goldens/README.md`.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use segcal_backends::Cpu;
use segcal_core::{Backend, Reference, Shape, Tensor, ops};
use segcal_models::layers::Positions;
use segcal_models::{
    Adam, Gradients, Mode, Network, NetworkConfig, Optimiser, Output, Parameters, Rule, build, labels_on_grid, networks,
};
use serde_json::Value;

use super::common::{cross_entropy, largest_difference};

/// What the packs call networks that have another name in the list.
const NAMES: [(&str, &str); 6] = [
    ("unet", "unet-authors"),
    ("unetpp_nested", "unetpp-nested"),
    ("resunet3d", "resunet"),
    ("unet3d_meep", "unet3d-meep"),
    ("nnunet_plain", "nnunet"),
    ("nnunet_residual", "nnunet-residual"),
];

/// Numbers that f32 cannot give: in f64, weights moved by 1e-6 of themselves move these by more than 1e-4 too, because a
/// rectifier or the choice of a pool turns over (the gradients, by 1e-2; the curve, by 2e-3 to 5e-3 in each of four draws).
const ILL_CONDITIONED: [(&str, &str); 2] = [("attunet_mc_tiny", "adam"), ("unet3d_meep_tiny", "grad_")];

struct Pack {
    bytes: Vec<u8>,
    config: Value,
}

impl Pack {
    fn open(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let config = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["config"]).unwrap();
        Self { bytes, config }
    }

    /// The numbers of an array and its extents.
    fn array(&self, name: &str) -> Option<(Vec<f64>, Vec<usize>)> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).ok()?;
        let numbers = match view.dtype() {
            Dtype::F32 => {
                let words = view.data().chunks_exact(4);
                words.map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
            }
            _ => view.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        };
        Some((numbers, view.shape().to_vec()))
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        self.array(name).unwrap_or_else(|| panic!("the pack has no {name}")).0
    }

    fn names(&self, key: &str) -> Vec<String> {
        serde_json::from_value(self.config[key].clone()).unwrap()
    }

    /// An image or labels on five axes.
    fn tensor<B: Backend>(&self, name: &str, backend: &B) -> Tensor<B> {
        let (numbers, mut dims) = self.array(name).unwrap();
        if name == "labels" {
            dims.insert(1, 1);
        }
        if dims.len() == 4 {
            dims.insert(2, 1);
        }
        Tensor::from_f64(backend, Shape::new(dims[0], dims[1], dims[2], dims[3], dims[4]), &numbers)
    }

    fn network_config(&self) -> NetworkConfig {
        let name = self.config["network"].as_str().unwrap();
        let name = NAMES.iter().find(|(theirs, _)| *theirs == name).map_or(name, |(_, ours)| *ours);
        let number = |key: &str| self.config[key].as_u64().unwrap() as usize;
        let (in_channels, classes, dims) = (number("in_channels"), number("classes"), number("dims"));
        let mut config = NetworkConfig { in_channels, classes, dims, ..NetworkConfig::named(name) };
        let entry = networks().find(|entry| entry.name == name).unwrap();
        for (key, _) in entry.keys.iter().filter(|(key, _)| !self.config[*key].is_null()) {
            config = config.with(key, &self.config[*key]);
        }
        config
    }

    fn parameters<B: Backend>(&self, network: &dyn Network<B>, backend: &B) -> Parameters<B> {
        let blank = Parameters::blank(&network.specs(), backend);
        let values = blank.iter().map(|parameter| {
            let kind = if parameter.trainable { "param" } else { "buffer" };
            let (numbers, dims) = self.array(&format!("{kind}_{}", parameter.name)).expect(&parameter.name);
            assert_eq!(dims, parameter.dims, "{}", parameter.name);
            Tensor::from_f64(backend, parameter.value.shape(), &numbers)
        });
        blank.with_values(values.collect())
    }
}

/// The loss of all heads.
fn loss<B: Backend>(outputs: &[Output<B>], labels: &Tensor<B>) -> Tensor<B> {
    let terms = outputs.iter().map(|Output { logits, weight }| {
        let weight = *weight;
        let loss = cross_entropy(logits, &labels_on_grid(labels, logits.shape().spatial()));
        ops::map(&[&loss], |p| p.input(0) * weight)
    });
    ops::sum_of(&terms.collect::<Vec<_>>())
}

/// Compares, and remembers what lies too far apart.
struct Check {
    what: String,
    bound: f64,
    failures: Vec<String>,
}

impl Check {
    /// Within `bound` times the largest magnitude, or 1 if that is smaller and the bound absolute.
    fn close(&mut self, name: &str, found: &[f64], expected: &[f64], absolute: bool) {
        assert_eq!(found.len(), expected.len(), "{}: {name}", self.what);
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let bound = self.bound * if absolute { 1.0 } else { largest };
        let excused = ILL_CONDITIONED.iter().any(|(pack, kind)| self.what.starts_with(pack) && name.starts_with(kind));
        if !(apart <= bound || excused && !absolute) {
            self.failures.push(format!("{}: {name}: {apart:e} of {largest:e}, bound {bound:e}", self.what));
        }
    }
}

fn host<B: Backend>(x: &Tensor<B>) -> Vec<f64> {
    x.to_f64().unwrap()
}

/// Everything that a pack records; `bound` is absolute in f64 and relative to the largest number of a tensor in f32.
fn check<B: Backend>(backend: &B, path: &Path, bound: f64, absolute: bool) -> Vec<String> {
    let pack = Pack::open(path);
    let network = build::<B>(&pack.network_config()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(network.parameter_count() as u64, pack.config["parameters"].as_u64().unwrap(), "{}", path.display());
    let (image, labels) = (pack.tensor("x", backend), pack.tensor("labels", backend));
    network.accepts(image.shape()).unwrap();
    let parameters = pack.parameters(&*network, backend);
    let what = format!("{} on {}", path.file_stem().unwrap().display(), backend.name());
    let mut check = Check { what, bound, failures: Vec::new() };
    let y_eval = pack.array("y_eval").unwrap_or_else(|| pack.array("y_train").unwrap()).0;
    let y = network.forward(&parameters, &image, Mode::Evaluate);
    check.close("y_eval", &host(&y), &y_eval, absolute);
    let (leaves, image_leaf) = (parameters.tracked(), image.tracked());
    let outputs = network.outputs(&leaves, &image_leaf);
    check_heads(&mut check, &pack, &outputs, absolute);
    let total = loss(&outputs, &labels);
    check.close("loss", &host(&total), &pack.numbers("loss"), absolute);
    drop(outputs);
    let grads = total.backward();
    check.close("grad_x", &host(grads.of(&image_leaf).unwrap()), &pack.numbers("grad_x"), absolute);
    let gradients = leaves.gradients(&grads);
    check_gradients(&mut check, &pack, &parameters, &gradients, absolute);
    let mut moved = parameters.clone();
    let rule = Rule::Adam(Adam::default());
    Optimiser::new(rule, &parameters).unwrap().step(&mut moved, &gradients, 0.0);
    for parameter in moved.iter().filter(|parameter| !parameter.trainable) {
        let expected = pack.numbers(&format!("buffer_after_{}", parameter.name));
        check.close(&parameter.name, &host(&parameter.value), &expected, absolute);
    }
    let curve = adam(&*network, parameters, &image, &labels);
    check.close("adam", &curve, &pack.numbers("adam_losses"), absolute);
    check.failures
}

fn check_heads<B: Backend>(check: &mut Check, pack: &Pack, outputs: &[Output<B>], absolute: bool) {
    for (number, head) in outputs.iter().enumerate() {
        let name = if number == 0 { "y_train".to_owned() } else { format!("y_train_head{number}") };
        check.close(&name, &host(&head.logits), &pack.numbers(&name), absolute);
    }
    assert!(pack.array(&format!("y_train_head{}", outputs.len())).is_none(), "{}: a head is missing", check.what);
}

fn check_gradients<B: Backend>(
    check: &mut Check,
    pack: &Pack,
    parameters: &Parameters<B>,
    gradients: &Gradients<B>,
    absolute: bool,
) {
    let (zeros, missing) = (pack.names("zero_gradients"), pack.names("no_gradients"));
    for (number, parameter) in parameters.iter().enumerate().filter(|(_, parameter)| parameter.trainable) {
        if missing.contains(&parameter.name) {
            assert!(gradients.get(number).is_none(), "{}", parameter.name);
            continue;
        }
        let gradient = gradients.get(number).unwrap_or_else(|| panic!("{} has no gradient", parameter.name));
        // What is 0 by construction is rounding noise on both sides.
        let expected = pack.numbers(&format!("grad_{}", parameter.name));
        let is_zero = zeros.contains(&parameter.name);
        check.close(&format!("grad_{}", parameter.name), &host(gradient), &expected, absolute || is_zero);
    }
}

/// The loss before each of five steps and after the last.
fn adam<B: Backend>(
    network: &dyn Network<B>,
    mut parameters: Parameters<B>,
    image: &Tensor<B>,
    labels: &Tensor<B>,
) -> Vec<f64> {
    let mut optimiser = Optimiser::new(Rule::Adam(Adam::default()), &parameters).unwrap();
    let mut losses = Vec::new();
    for _ in 0..5 {
        let leaves = parameters.tracked();
        let total = loss(&network.outputs(&leaves, image), labels);
        losses.push(total.item().unwrap());
        optimiser.step(&mut parameters, &leaves.gradients(&total.backward()), 1e-3);
    }
    losses.push(loss(&network.outputs(&parameters, image), labels).item().unwrap());
    losses
}

fn packs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/nets");
    let mut packs: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    packs.sort();
    assert!(packs.len() >= 13, "{packs:?}");
    packs
}

#[test]
fn every_network_gives_the_numbers_of_the_public_code() {
    let failures: Vec<String> = packs().iter().flat_map(|path| check(&Reference, path, 1e-9, true)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// In f32 the public code itself is up to 4e-5 from its f64.
#[test]
fn every_network_gives_the_numbers_of_the_public_code_in_f32() {
    let backend = Cpu::default();
    let failures: Vec<String> = packs().iter().flat_map(|path| check(&backend, path, 1e-4, false)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A pretrained table of 7 x 7 positions and a class token, as the public code brings it to 4 x 4.
#[test]
fn positions_are_resized_as_the_public_code_does() {
    let pack = Pack::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/nets/transunet_tiny.safetensors"));
    let (table, dims) = pack.array("posemb_pretrained").unwrap();
    let positions = Positions { name: "p".into(), grid: [4, 4], channels: dims[2] };
    let resized = positions.resized(&dims, &table).unwrap();
    assert!(largest_difference(&resized, &pack.numbers("posemb_zoomed")) < 1e-9);
    assert_eq!(positions.resized(&[1, 7, dims[2]], &table[..7 * dims[2]]), None);
    assert_eq!(positions.resized(&[1, 16, dims[2]], &resized).unwrap(), resized);
}

/// Channels, classes and parameters of the papers' networks, measured with the public code.
#[test]
fn the_papers_parameter_counts() {
    let count = |name: &str, in_channels: usize, classes: usize, dims: usize| {
        let config = NetworkConfig { in_channels, classes, dims, ..NetworkConfig::named(name) };
        build::<Reference>(&config).unwrap().parameter_count()
    };
    assert_eq!(count("attunet", 1, 5, 2), 34_877_681);
    assert_eq!(count("attunet", 4, 4, 2), 34_879_344);
    assert_eq!(count("unetpp", 1, 5, 2), 26_072_917);
    assert_eq!(count("unetpp", 4, 4, 2), 26_082_180);
    assert_eq!(count("nnunet-crac", 1, 5, 2), 21_037_541);
    assert_eq!(count("nnunet-crac", 4, 4, 2), 21_038_468);
    assert_eq!(count("nnunet", 1, 5, 2), 20_622_073);
    assert_eq!(count("nnunet", 1, 4, 2), 20_621_076);
    assert_eq!(count("nnunet-residual", 1, 5, 2), 71_819_577);
    assert_eq!(count("resunet", 1, 2, 3), 28_145_346);
    assert_eq!(count("resunet", 2, 2, 3), 28_174_178);
    assert_eq!(count("unet3d-meep", 1, 2, 3), 22_575_362);
    assert_eq!(count("unet3d-meep", 2, 2, 3), 22_576_226);
    assert_eq!(count("unetpp-nested", 1, 2, 2), 2_410_312);
    assert_eq!(count("unetpp-nested", 1, 2, 3), 6_979_976);
    let transunet = |image: usize, classes: usize| {
        let config = NetworkConfig { classes, ..NetworkConfig::named("transunet") }.with("image", image);
        build::<Reference>(&config).unwrap().parameter_count()
    };
    assert_eq!([transunet(192, 5), transunet(128, 5), transunet(224, 9)], [105_236_565, 105_175_125, 105_277_081]);
    let planned = |name: &str, classes: usize, widths: &[usize], kernels: &[[usize; 3]], strides: &[[usize; 3]]| {
        let config = NetworkConfig { classes, dims: 3, ..NetworkConfig::named(name) };
        let config = config.with("widths", widths).with("kernels", kernels).with("strides", strides);
        build::<Reference>(&config).unwrap().parameter_count()
    };
    let widths = [32, 64, 128, 256, 320, 320];
    let cubes = [[3; 3]; 5];
    let isotropic = [[1; 3], [2; 3], [2; 3], [2; 3], [2; 3]];
    assert_eq!(planned("nnunet", 2, &widths[..5], &cubes, &isotropic), 16_547_592);
    assert_eq!(planned("nnunet-residual", 2, &widths[..5], &cubes, &isotropic), 62_809_928);
    let kernels = [[1, 3, 3], [3; 3], [3; 3], [3; 3], [3; 3], [3; 3]];
    let strides = [[1; 3], [1, 2, 2], [2; 3], [2; 3], [1, 2, 2], [1, 2, 2]];
    assert_eq!(planned("nnunet", 4, &widths, &kernels, &strides), 30_377_428);
    assert_eq!(planned("nnunet-residual", 4, &widths, &kernels, &strides), 101_531_604);
}
