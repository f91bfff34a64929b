//! MONAI's DynUNet, with which CRaC's "nnUNet" is built.
//!
//! Every level has two convolutions with instance norm and leaky ReLU, the first with the level's stride; with
//! `residual`, the input (passed through a strided 1x1 convolution and a norm if its extent or width changes) is added
//! before the last activation. The decoder (never residual) up-samples by a transposed convolution with the kernel and
//! stride of the level below, joins `[up, skip]` and applies two units with the kernel of the level below. No
//! convolution except the heads has a bias.
//!
//! Deep supervision: 1x1 heads on the decoder's outputs of levels 1, 2, ..., up-sampled to full size (nearest), used
//! only in training.

use segcal_core::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::entry::NetworkEntry;
use crate::init::Init;
use crate::layers::{Activation, Block, Conv, Norm, NormLayer, Unit, Upsample, Upsampling};
use crate::network::{Extent, NetworkConfig, expect_count, extents, invalid, positive};
use crate::plan::{Plan, Planned, Wire};

/// The networks of this file. `nnunet-crac` has 21,037,508 parameters for 1 channel and 4 classes.
pub(crate) const ENTRIES: &[NetworkEntry] = &[
    NetworkEntry {
        name: "dynunet",
        doc: "MONAI's DynUNet: nnU-Net's form with any kernels and strides, residual blocks and deep supervision",
        paper: "Isensee et al. 2021; Cardoso et al. 2022 (MONAI)",
        source: "MONAI 1.6.1 DynUNet",
        keys: KEYS,
        preset: || preset(true, false),
        small,
        build: dynunet,
    },
    NetworkEntry {
        name: "nnunet-crac",
        doc: "CRaC's nnUNet: a DynUNet with residual encoder, instance norm without scale and shift, no deep supervision",
        paper: "Isensee et al. 2021; used by CRaC (Table 2)",
        source: "Bala93/CRac a952ff5 calibrate/net/nnunet.py, MONAI 1.1.0 DynUNet",
        keys: KEYS,
        preset: || preset(false, true),
        small,
        build: dynunet,
    },
];

const KEYS: &[(&str, &str)] = &[
    ("widths", "channels of each level"),
    ("kernels", "kernel extents of each level: one number, [h, w] or [d, h, w]"),
    ("strides", "stride of each level, that of the first usually 1"),
    ("affine", "whether norms have scale and shift"),
    ("residual", "whether the encoder's blocks are residual"),
    ("transposed_bias", "whether transposed convolutions have a bias"),
    ("heads", "number of further heads for deep supervision, at most levels - 2"),
    ("ds_weights", "weight of each head in the loss, the finest first; by default 1, 1/2, 1/4, ..."),
];

fn preset(affine: bool, residual: bool) -> Value {
    json!({
        "widths": [32, 64, 128, 256, 512, 512], "kernels": [3, 3, 3, 3, 3, 3], "strides": [1, 2, 2, 2, 2, 2],
        "affine": affine, "residual": residual, "transposed_bias": false, "heads": 0, "ds_weights": null,
    })
}

fn small() -> Value {
    json!({ "widths": [3, 4, 5, 5], "kernels": [3, 3, 3, 3], "strides": [1, 2, 2, 2], "heads": 1 })
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    widths: Vec<usize>,
    kernels: Vec<Extent>,
    strides: Vec<Extent>,
    affine: bool,
    residual: bool,
    transposed_bias: bool,
    heads: usize,
    ds_weights: Option<Vec<f64>>,
}

const INIT: Init = Init::HePytorch;

fn dynunet(config: &NetworkConfig) -> Result<Planned> {
    let keys: Keys = config.parse()?;
    let levels = keys.widths.len();
    positive("widths", &keys.widths)?;
    if !(2..=12).contains(&levels) {
        return Err(invalid("widths", format!("there are {levels} levels"), "give 2 to 12"));
    }
    if keys.heads + 1 >= levels && keys.heads > 0 {
        return Err(invalid("heads", format!("{} with {levels} levels", keys.heads), "use at most levels - 2"));
    }
    let kernels = extents("kernels", &keys.kernels, levels, config.dims)?;
    let strides = extents("strides", &keys.strides, levels, config.dims)?;
    if strides[0] != [1; 3] {
        return Err(invalid("strides", format!("the first is {:?}", strides[0]), "begin with 1"));
    }
    let weights = weights(&keys)?;
    let whole = config.clone().with("ds_weights", &weights);
    let mut builder = Builder { plan: Plan::default(), keys: &keys, space: config.dims };
    let mut skips = vec![Plan::IMAGE];
    for level in 0..levels {
        let name = match level {
            0 => "input_block".into(),
            _ if level + 1 == levels => "bottleneck".into(),
            _ => format!("downsamples.{}", level - 1),
        };
        let inputs = if level == 0 { config.in_channels } else { keys.widths[level - 1] };
        let x = skips[level];
        skips.push(builder.down(&name, x, [inputs, keys.widths[level]], kernels[level], strides[level]));
    }
    let mut x = skips[levels];
    let mut decoded = vec![x; levels - 1];
    for level in (0..levels - 1).rev() {
        let name = format!("upsamples.{}", levels - 2 - level);
        let channels = [keys.widths[level + 1], keys.widths[level]];
        x = builder.up(&name, [x, skips[level + 1]], channels, kernels[level + 1], strides[level + 1]);
        decoded[level] = x;
    }
    builder.heads(&decoded, &strides, &weights, config.classes);
    let stride = product(&strides);
    Ok(Planned::new(whole, builder.plan, stride))
}

fn product(strides: &[[usize; 3]]) -> [usize; 3] {
    strides.iter().fold([1; 3], |all, stride| std::array::from_fn(|axis| all[axis] * stride[axis]))
}

/// The weights of all heads.
fn weights(keys: &Keys) -> Result<Vec<f64>> {
    let halved = || (0..=keys.heads as i32).map(|head| 0.5f64.powi(head)).collect();
    let weights: Vec<f64> = keys.ds_weights.clone().unwrap_or_else(halved);
    expect_count("ds_weights", weights.len(), keys.heads + 1)?;
    Ok(weights)
}

struct Builder<'a> {
    plan: Plan,
    keys: &'a Keys,
    space: usize,
}

impl Builder<'_> {
    /// Convolution `<block>.conv<i>.conv` without bias, norm `<block>.norm<i>`.
    fn unit(
        &mut self,
        [block, number]: [&str; 2],
        x: &[Wire],
        channels: [usize; 2],
        [kernel, stride]: [[usize; 3]; 2],
        activation: Activation,
    ) -> Wire {
        let conv = Conv::strided(format!("{block}.conv{number}.conv"), channels, kernel, stride, self.space);
        let norm = NormLayer::new(&format!("{block}.norm{number}"), channels[1], Norm::Instance);
        let norm = NormLayer { affine: self.keys.affine, ..norm };
        self.plan.add(Block::Unit(Unit { conv, norm, activation }), INIT, x)
    }

    fn down(&mut self, name: &str, x: Wire, channels: [usize; 2], kernel: [usize; 3], stride: [usize; 3]) -> Wire {
        let (leaky, one) = (Activation::LeakyRelu, [1; 3]);
        let inner = [channels[1]; 2];
        let y = self.unit([name, "1"], &[x], channels, [kernel, stride], leaky);
        if !self.keys.residual {
            return self.unit([name, "2"], &[y], inner, [kernel, one], leaky);
        }
        let y = self.unit([name, "2"], &[y], inner, [kernel, one], Activation::Identity);
        let keeps = stride == one && channels[0] == channels[1];
        let skip = if keeps { x } else { self.unit([name, "3"], &[x], channels, [one, stride], Activation::Identity) };
        self.plan.add(Block::Sum(format!("{name}.lrelu"), leaky), INIT, &[y, skip])
    }

    fn up(
        &mut self,
        name: &str,
        [x, skip]: [Wire; 2],
        [inputs, outputs]: [usize; 2],
        kernel: [usize; 3],
        factors: [usize; 3],
    ) -> Wire {
        let (layer, kind) = (format!("{name}.transp_conv.conv"), Upsampling::Transposed);
        let (space, bias) = (self.space, self.keys.transposed_bias);
        let layer = Upsample { name: layer, kind, factors, inputs, outputs, space, bias };
        let enlarged = self.plan.add(Block::Upsample(layer), INIT, &[x]);
        let (block, leaky) = (format!("{name}.conv_block"), Activation::LeakyRelu);
        let y = self.unit([&block, "1"], &[enlarged, skip], [2 * outputs, outputs], [kernel, [1; 3]], leaky);
        self.unit([&block, "2"], &[y], [outputs; 2], [kernel, [1; 3]], leaky)
    }

    /// The head of each level's decoder output, enlarged to the size of the first.
    fn heads(&mut self, decoded: &[Wire], strides: &[[usize; 3]], weights: &[f64], classes: usize) {
        for (level, &weight) in weights.iter().enumerate() {
            let name = match level {
                0 => "output_block.conv.conv".into(),
                _ => format!("deep_supervision_heads.{}.conv.conv", level - 1),
            };
            let conv = Conv::same(name.clone(), [self.keys.widths[level], classes], 1, self.space, true);
            let head = Block::Unit(Unit::bare(conv, Activation::Identity));
            let mut logits = self.plan.add(head, INIT, &[decoded[level]]);
            if level > 0 {
                let factors = product(&strides[1..=level]);
                let layer = Upsample::fixed(&format!("{name}.enlarged"), Upsampling::Nearest, factors, classes);
                logits = self.plan.add(Block::Upsample(layer), INIT, &[logits]);
            }
            self.plan.head(logits, weight);
        }
    }
}
