//! The UNet (Ronneberger, Fischer and Brox 2015; Çiçek et al. 2016 in 3-D), with two presets and everything in between.
//!
//! An encoder of blocks with max-pooling between them, and a decoder that up-samples, appends the encoder's output of
//! the same resolution (`[enlarged, skip]` along the channels, computed as the sum of two convolutions instead of being
//! concatenated in memory) and applies a block; a 1x1 convolution at the end.
//!
//! A block is `convs` times convolution 3x3(x3), norm, activation. Tensors are named as in the papers' public code:
//! `down.<level>.l<i>`, `up.<level>.l<i>` with `.conv` and `.norm` inside, `up.<level>.up` for a transposed convolution,
//! and `conv_final`; level 0 is the finest on both sides.

use segcal_core::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::entry::NetworkEntry;
use crate::init::{Init, Spec};
use crate::layers::{Activation, Block, Conv, MaxPool, Norm, Unit, Upsample, Upsampling};
use crate::network::{Extent, NetworkConfig, extents, invalid, positive};
use crate::plan::{Plan, Planned, Wire};

/// The networks of this file. `unet-authors` has 7,846,180 parameters for 1 channel and 4 classes.
pub(crate) const ENTRIES: &[NetworkEntry] = &[
    NetworkEntry {
        name: "unet",
        doc: "UNet with instance norm, leaky ReLU and transposed-convolution up-sampling (5 levels from 32 channels)",
        paper: "Ronneberger, Fischer and Brox 2015; Cicek et al. 2016",
        source: "segcal",
        keys: KEYS,
        small: || json!({ "levels": 3, "base": 2 }),
        preset: || preset("instance", "leaky-relu", "transposed", "he"),
        build: |config| unet(config, 2),
    },
    NetworkEntry {
        name: "unet-authors",
        doc: "the papers' UNet: widths 32 to 512, ReLU, no norm, pools 2 2 2 4, nearest up-sampling",
        paper: "Ronneberger, Fischer and Brox 2015; used by MbLS, NACL and CRaC",
        source: "Bala93/MarginLoss 5466662 calibrate/net/unet.py",
        keys: KEYS,
        small: || json!({ "levels": 3, "base": 4 }),
        preset: || preset("none", "relu", "nearest", "pytorch"),
        build: |config| unet(config, 4),
    },
];

const KEYS: &[(&str, &str)] = &[
    ("levels", "number of resolutions, 5 by default"),
    ("base", "channels of the finest level, 32 by default; each coarser one has twice as many"),
    ("widths", "channels of each level, instead of levels and base"),
    ("convs", "convolutions of a block"),
    ("norm", "normalisation after each convolution: none, instance, batch"),
    ("activation", "activation after each convolution: relu, leaky-relu, silu, gelu, identity"),
    ("upsample", "how the decoder enlarges: nearest, linear, transposed"),
    ("pools", "extents of the max-pool tiles between the levels, from fine to coarse: one fewer than levels"),
    ("init", "how the weights begin: he, pytorch"),
];

fn preset(norm: &str, activation: &str, upsample: &str, init: &str) -> Value {
    json!({
        "levels": null, "base": null, "widths": null, "convs": 2, "norm": norm, "activation": activation,
        "upsample": upsample, "pools": null, "init": init,
    })
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    levels: Option<usize>,
    base: Option<usize>,
    widths: Option<Vec<usize>>,
    convs: usize,
    norm: Norm,
    activation: Activation,
    upsample: Upsampling,
    pools: Option<Vec<Extent>>,
    init: Init,
}

/// Kernel extent of a block's convolutions.
const KERNEL: usize = 3;

/// The network; its coarsest pool has the extent `coarsest` unless the config says otherwise.
fn unet(config: &NetworkConfig, coarsest: usize) -> Result<Planned> {
    let keys: Keys = config.parse()?;
    let widths = widths(&keys)?;
    let pools = pools(&keys, config.dims, widths.len(), coarsest)?;
    positive("convs", &[keys.convs])?;
    let mut whole = config.clone().with("levels", Value::Null).with("base", Value::Null);
    whole = whole.with("widths", widths.clone()).with("pools", json!(pools)).settled();
    let mut builder = Builder { plan: Plan::default(), keys: &keys, space: config.dims };
    let mut skips = vec![builder.block("down.0", &[Plan::IMAGE], config.in_channels, widths[0])];
    for level in 1..widths.len() {
        let pool = MaxPool::tiles(&format!("down.{level}.pool"), pools[level - 1]);
        let coarse = builder.plan.add(Block::MaxPool(pool), keys.init, &[skips[level - 1]]);
        skips.push(builder.block(&format!("down.{level}"), &[coarse], widths[level - 1], widths[level]));
    }
    let mut x = skips[widths.len() - 1];
    for level in (0..widths.len() - 1).rev() {
        let (enlarged, channels) = builder.enlarge(level, x, pools[level], [widths[level + 1], widths[level]]);
        let joined = channels + widths[level];
        x = builder.block(&format!("up.{level}"), &[enlarged, skips[level]], joined, widths[level]);
    }
    let head = Conv::same("conv_final".into(), [widths[0], config.classes], 1, config.dims, true);
    let mut plan = builder.plan;
    let logits = plan.add(Block::Unit(Unit::bare(head, Activation::Identity)), keys.init, &[x]);
    plan.head(logits, 1.0);
    let stride = pools.iter().fold([1; 3], |stride, pool| std::array::from_fn(|axis| stride[axis] * pool[axis]));
    Ok(Planned::new(whole, plan, stride).with_order(order))
}

/// Encoder, decoder (finest first), head: the order of the tensors in stored runs.
fn order(spec: &Spec) -> usize {
    let mut parts = spec.name.split('.');
    match (parts.next(), parts.next().and_then(|level| level.parse::<usize>().ok())) {
        (Some("up"), Some(level)) => 1 + level,
        (Some("conv_final"), _) => usize::MAX,
        _ => 0,
    }
}

struct Builder<'a> {
    plan: Plan,
    keys: &'a Keys,
    space: usize,
}

impl Builder<'_> {
    fn block(&mut self, name: &str, from: &[Wire], inputs: usize, outputs: usize) -> Wire {
        let Keys { convs, norm, activation, init, .. } = *self.keys;
        let mut from = from.to_vec();
        for i in 1..=convs {
            let channels = [if i == 1 { inputs } else { outputs }, outputs];
            let unit = Unit::new(&format!("{name}.l{i}"), channels, KERNEL, self.space, norm, activation);
            from = vec![self.plan.add(Block::Unit(unit), init, &from)];
        }
        from[0]
    }

    /// The enlarged map and its channels.
    fn enlarge(&mut self, level: usize, x: Wire, factors: [usize; 3], [inputs, outputs]: [usize; 2]) -> (Wire, usize) {
        let (name, kind, space) = (format!("up.{level}.up"), self.keys.upsample, self.space);
        let layer = Upsample { name, kind, factors, inputs, outputs, space, bias: true };
        let channels = layer.channels();
        (self.plan.add(Block::Upsample(layer), self.keys.init, &[x]), channels)
    }
}

/// Limit on the number of levels: more are surely a mistake. It also keeps every product far below overflow.
const MOST_LEVELS: usize = 12;

fn widths(keys: &Keys) -> Result<Vec<usize>> {
    if let Some(widths) = &keys.widths {
        if keys.levels.is_some_and(|levels| levels != widths.len()) || keys.base.is_some() {
            return Err(invalid("widths", "cannot be combined with levels or base".into(), "give one or the other"));
        }
        positive("widths", widths)?;
        return if (1..=MOST_LEVELS).contains(&widths.len()) {
            Ok(widths.clone())
        } else {
            Err(invalid("widths", format!("there are {} levels", widths.len()), "give 1 to 12"))
        };
    }
    let (levels, base) = (keys.levels.unwrap_or(5), keys.base.unwrap_or(32));
    if !(1..=MOST_LEVELS).contains(&levels) {
        return Err(invalid("levels", format!("{levels} is out of range"), "use 1 to 12"));
    }
    positive("base", &[base])?;
    let widths: Vec<usize> = (0..levels).map(|level| base << level).collect();
    positive("levels", &widths)?;
    Ok(widths)
}

/// Pooling tiles between `levels` levels: those of the config, or 2 everywhere and `coarsest` at the coarsest.
fn pools(keys: &Keys, dims: usize, levels: usize, coarsest: usize) -> Result<Vec<[usize; 3]>> {
    let usual = || (1..levels).map(|level| Extent::Every(if level + 1 == levels { coarsest } else { 2 })).collect();
    let list: Vec<Extent> = keys.pools.clone().unwrap_or_else(usual);
    extents("pools", &list, levels - 1, dims)
}
