//! nnU-Net v2's two networks (Isensee et al. 2021, 2024).
//!
//! A unit is a convolution with bias, instance norm and leaky ReLU. `plain`: stages of units, the first with the
//! stage's stride. `residual`: a stem of one unit and stages of residual blocks; the skip of a strided block is an
//! average pool, followed by a 1x1 convolution without bias and a norm if the width changes. The decoder up-samples by
//! a transposed convolution with the stride of the stage that it undoes, joins `[up, skip]` and applies units with the
//! kernel of the skip's stage.
//!
//! Every decoder stage has a 1x1 head. With deep supervision, the loss covers all heads, each at its own resolution,
//! with the weights 1, 1/2, 1/4, ..., the coarsest 0, divided by their sum. Without it, only the finest head counts and
//! the others are not trained.

use segcal_core::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::entry::NetworkEntry;
use crate::init::Init;
use crate::layers::{Activation, Block, Conv, Norm, NormLayer, Unit, Upsample, Upsampling};
use crate::network::{Extent, NetworkConfig, expect_count, extents, invalid, positive};
use crate::plan::{Plan, Planned, Wire};

/// The networks of this file. With 1 channel and 5 classes in 2-D `nnunet` has 20,622,073 parameters and
/// `nnunet-residual` 71,819,577.
pub(crate) const ENTRIES: &[NetworkEntry] = &[
    NetworkEntry {
        name: "nnunet",
        doc: "nnU-Net v2's plain UNet: instance norm, leaky ReLU, deep supervision",
        paper: "Isensee et al. 2021",
        source: "dynamic_network_architectures 0.4.4 PlainConvUNet",
        keys: KEYS,
        preset: || preset(Kind::Plain),
        small,
        build: nnunet,
    },
    NetworkEntry {
        name: "nnunet-residual",
        doc: "nnU-Net v2's residual-encoder UNet: residual blocks, instance norm, leaky ReLU, deep supervision",
        paper: "Isensee et al. 2024",
        source: "dynamic_network_architectures 0.4.4 ResidualEncoderUNet",
        keys: KEYS,
        preset: || preset(Kind::Residual),
        small,
        build: nnunet,
    },
];

const KEYS: &[(&str, &str)] = &[
    ("kind", "plain, or residual: which encoder"),
    ("widths", "channels of each stage; null: 32, doubled up to 512 in 2-D and 320 in 3-D, six stages"),
    ("kernels", "kernel extents of each stage: one number, [h, w] or [d, h, w]; null: 3"),
    ("strides", "stride of each stage, 1 or 2 along each axis; null: 1, then 2"),
    ("encoder_convs", "units of each stage of a plain encoder; null: 2"),
    ("encoder_blocks", "blocks of each stage of a residual encoder; null: 1 3 4 6 6 6"),
    ("decoder_convs", "units of each stage of the decoder, the coarsest first; null: 2 plain, 1 residual"),
    ("deep_supervision", "whether training looks at the coarser heads too"),
    ("ds_weights", "weight of each head in the loss, the finest first; null: nnU-Net's"),
];

fn preset(kind: Kind) -> Value {
    json!({
        "kind": kind, "widths": null, "kernels": null, "strides": null, "encoder_convs": null, "encoder_blocks": null,
        "decoder_convs": null, "deep_supervision": true, "ds_weights": null,
    })
}

fn small() -> Value {
    json!({ "widths": [3, 4, 5], "encoder_blocks": [1, 2, 1] })
}

/// Which encoder.
#[derive(Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    #[default]
    Plain,
    Residual,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    kind: Kind,
    widths: Option<Vec<usize>>,
    kernels: Option<Vec<Extent>>,
    strides: Option<Vec<Extent>>,
    encoder_convs: Option<Vec<usize>>,
    encoder_blocks: Option<Vec<usize>>,
    decoder_convs: Option<Vec<usize>>,
    deep_supervision: bool,
    ds_weights: Option<Vec<f64>>,
}

/// Everything derived from the keys.
struct Shape {
    kind: Kind,
    space: usize,
    widths: Vec<usize>,
    kernels: Vec<[usize; 3]>,
    strides: Vec<[usize; 3]>,
    encoder: Vec<usize>,
    decoder: Vec<usize>,
    weights: Vec<f64>,
}

const INIT: Init = Init::HePytorch;
/// Blocks per stage of a residual encoder; the last number applies to all later stages.
const BLOCKS: [usize; 4] = [1, 3, 4, 6];

impl Shape {
    fn of(keys: &Keys, dims: usize) -> Result<Self> {
        let most = if dims == 3 { 320 } else { 512 };
        let usual = || (0..6).map(|stage| most.min(32 << stage)).collect();
        let widths: Vec<usize> = keys.widths.clone().unwrap_or_else(usual);
        let stages = widths.len();
        positive("widths", &widths)?;
        if !(2..=12).contains(&stages) {
            return Err(invalid("widths", format!("there are {stages} stages"), "give 2 to 12"));
        }
        let every = |list: &Option<Vec<Extent>>, extent: fn(usize) -> usize| {
            list.clone().unwrap_or_else(|| (0..stages).map(|stage| Extent::Every(extent(stage))).collect())
        };
        let kernels = extents("kernels", &every(&keys.kernels, |_| 3), stages, dims)?;
        let strides = extents("strides", &every(&keys.strides, |stage| 1 + usize::from(stage > 0)), stages, dims)?;
        if strides[0] != [1; 3] || strides.iter().flatten().any(|&stride| stride > 2) {
            let problem = format!("{strides:?} are not valid strides for nnU-Net");
            return Err(invalid("strides", problem, "use 1 in the first stage, 1 or 2 along each axis in the others"));
        }
        let residual = keys.kind == Kind::Residual;
        let (key, given, usual): (_, _, fn(usize) -> usize) = if residual {
            ("encoder_blocks", &keys.encoder_blocks, |stage| BLOCKS[stage.min(3)])
        } else {
            ("encoder_convs", &keys.encoder_convs, |_| 2)
        };
        let encoder = counts(key, given.as_ref(), stages, usual)?;
        let usual: fn(usize) -> usize = if residual { |_| 1 } else { |_| 2 };
        let decoder = counts("decoder_convs", keys.decoder_convs.as_ref(), stages - 1, usual)?;
        let weights = keys.ds_weights.clone().unwrap_or_else(|| weights(stages - 1));
        expect_count("ds_weights", weights.len(), stages - 1)?;
        Ok(Self { kind: keys.kind, space: dims, widths, kernels, strides, encoder, decoder, weights })
    }

    /// The config with all of these values.
    fn config(&self, given: &NetworkConfig) -> NetworkConfig {
        let encoder = if self.kind == Kind::Residual { "encoder_blocks" } else { "encoder_convs" };
        let given = given.clone().with("widths", &self.widths).with("kernels", &self.kernels);
        let given = given.with("strides", &self.strides).with(encoder, &self.encoder);
        given.with("decoder_convs", &self.decoder).with("ds_weights", &self.weights).settled()
    }
}

/// A number above 0 for each stage.
fn counts(key: &str, given: Option<&Vec<usize>>, stages: usize, usual: fn(usize) -> usize) -> Result<Vec<usize>> {
    let counts = given.cloned().unwrap_or_else(|| (0..stages).map(usual).collect());
    expect_count(key, counts.len(), stages)?;
    positive(key, &counts)?;
    Ok(counts)
}

/// 1, 1/2, 1/4, ..., with the last one of several set to 0, divided by their sum.
fn weights(heads: usize) -> Vec<f64> {
    let mut weights: Vec<f64> = (0..heads as i32).map(|head| 0.5f64.powi(head)).collect();
    if heads > 1 {
        weights[heads - 1] = 0.0;
    }
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

fn nnunet(config: &NetworkConfig) -> Result<Planned> {
    let keys: Keys = config.parse()?;
    let shape = Shape::of(&keys, config.dims)?;
    let mut builder = Builder { plan: Plan::default(), shape: &shape };
    let mut skips = builder.encoder(config.in_channels);
    let mut x = skips.pop().expect("two stages or more");
    let mut heads = Vec::new();
    for (number, stage) in (0..shape.widths.len() - 1).rev().enumerate() {
        x = builder.decoder_stage(number, x, skips[stage]);
        let name = format!("decoder.seg_layers.{number}");
        let head = Conv::same(name, [shape.widths[stage], config.classes], 1, config.dims, true);
        heads.push(builder.plan.add(Block::Unit(Unit::bare(head, Activation::Identity)), INIT, &[x]));
    }
    let mut plan = builder.plan;
    let weights = shape.weights.iter().copied();
    for (number, (head, weight)) in heads.into_iter().rev().zip(weights).enumerate() {
        let alone = if number == 0 { 1.0 } else { 0.0 };
        plan.head(head, if keys.deep_supervision { weight } else { alone });
    }
    let stride = shape.strides.iter().fold([1; 3], |all, stride| std::array::from_fn(|axis| all[axis] * stride[axis]));
    Ok(Planned::new(shape.config(config), plan, stride))
}

struct Builder<'a> {
    plan: Plan,
    shape: &'a Shape,
}

impl Builder<'_> {
    /// `<name>.conv` and `<name>.norm`.
    fn unit(
        &mut self,
        name: &str,
        x: &[Wire],
        channels: [usize; 2],
        [kernel, stride]: [[usize; 3]; 2],
        activation: Activation,
    ) -> Wire {
        let conv = Conv::strided(format!("{name}.conv"), channels, kernel, stride, self.shape.space);
        let norm = NormLayer::new(&format!("{name}.norm"), channels[1], Norm::Instance);
        let unit = Unit { conv: Conv { bias: true, ..conv }, norm, activation };
        self.plan.add(Block::Unit(unit), INIT, x)
    }

    /// The output of each stage.
    fn encoder(&mut self, channels: usize) -> Vec<Wire> {
        let Shape { kind, widths, kernels, strides, encoder, .. } = self.shape;
        let (mut x, mut inputs, leaky) = (Plan::IMAGE, channels, Activation::LeakyRelu);
        if *kind == Kind::Residual {
            let extents = [kernels[0], [1; 3]];
            x = self.unit("encoder.stem.convs.0", &[x], [inputs, widths[0]], extents, leaky);
            inputs = widths[0];
        }
        let mut outputs = Vec::new();
        for stage in 0..widths.len() {
            for number in 0..encoder[stage] {
                let stride = if number == 0 { strides[stage] } else { [1; 3] };
                let (channels, extents) = ([inputs, widths[stage]], [kernels[stage], stride]);
                x = match kind {
                    Kind::Plain => {
                        self.unit(&format!("encoder.stages.{stage}.0.convs.{number}"), &[x], channels, extents, leaky)
                    }
                    Kind::Residual => {
                        self.residual(&format!("encoder.stages.{stage}.blocks.{number}"), x, channels, extents)
                    }
                };
                inputs = widths[stage];
            }
            outputs.push(x);
        }
        outputs
    }

    fn residual(&mut self, name: &str, x: Wire, channels: [usize; 2], [kernel, stride]: [[usize; 3]; 2]) -> Wire {
        let leaky = Activation::LeakyRelu;
        let y = self.unit(&format!("{name}.conv1"), &[x], channels, [kernel, stride], leaky);
        let second = [channels[1]; 2];
        let y = self.last_unit(&format!("{name}.conv2"), y, second, kernel);
        let mut skip = x;
        let strides = stride != [1; 3];
        if strides {
            skip = self.plan.add(Block::AveragePool(format!("{name}.skip.0"), stride), INIT, &[skip]);
        }
        if channels[0] != channels[1] {
            let name = format!("{name}.skip.{}", usize::from(strides));
            let conv = Conv::same(format!("{name}.conv"), channels, 1, self.shape.space, false);
            let norm = NormLayer::new(&format!("{name}.norm"), channels[1], Norm::Instance);
            let unit = Unit { conv, norm, activation: Activation::Identity };
            skip = self.plan.add(Block::Unit(unit), INIT, &[skip]);
        }
        self.plan.add(Block::Sum(format!("{name}.nonlin2"), leaky), INIT, &[y, skip])
    }

    /// The last unit of a block, to whose output the skip is added; its norm begins at 0, so that a block begins as its
    /// skip.
    fn last_unit(&mut self, name: &str, x: Wire, channels: [usize; 2], kernel: [usize; 3]) -> Wire {
        let conv = Conv::strided(format!("{name}.conv"), channels, kernel, [1; 3], self.shape.space);
        let norm = NormLayer::new(&format!("{name}.norm"), channels[1], Norm::Instance);
        let (conv, norm) = (Conv { bias: true, ..conv }, NormLayer { begin: 0.0, ..norm });
        self.plan.add(Block::Unit(Unit { conv, norm, activation: Activation::Identity }), INIT, &[x])
    }

    fn decoder_stage(&mut self, number: usize, x: Wire, skip: Wire) -> Wire {
        let stage = self.shape.widths.len() - 2 - number;
        let (inputs, outputs) = (self.shape.widths[stage + 1], self.shape.widths[stage]);
        let layer = Upsample {
            name: format!("decoder.transpconvs.{number}"),
            kind: Upsampling::Transposed,
            factors: self.shape.strides[stage + 1],
            inputs,
            outputs,
            space: self.shape.space,
            bias: true,
        };
        let enlarged = self.plan.add(Block::Upsample(layer), INIT, &[x]);
        let (mut from, mut channels) = (vec![enlarged, skip], [2 * outputs, outputs]);
        for conv in 0..self.shape.decoder[number] {
            let name = format!("decoder.stages.{number}.convs.{conv}");
            let extents = [self.shape.kernels[stage], [1; 3]];
            from = vec![self.unit(&name, &from, channels, extents, Activation::LeakyRelu)];
            channels = [outputs; 2];
        }
        from[0]
    }
}
