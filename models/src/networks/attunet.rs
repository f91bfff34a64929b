//! The attention UNet (Oktay et al. 2018) as in the papers' code.
//!
//! Blocks of two convolutions 3x3 with batch norm and ReLU. The decoder up-samples (nearest, then convolution 3x3,
//! batch norm, ReLU), multiplies the skip by a gate between 0 and 1 computed from both maps, and appends the up-sampled
//! map to the gated skip. Every convolution has a bias, even where a norm cancels it.

use segcal_core::Result;
use serde::Deserialize;
use serde_json::json;

use crate::entry::NetworkEntry;
use crate::init::Init;
use crate::layers::{Activation, Block, Conv, MaxPool, Norm, NormLayer, Unit, Upsample, Upsampling};
use crate::network::{NetworkConfig, invalid, positive};
use crate::plan::{Plan, Planned, Wire};

/// The network of this file: 34,877,616 parameters for 1 channel and 4 classes.
pub(crate) const ENTRIES: &[NetworkEntry] = &[NetworkEntry {
    name: "attunet",
    doc: "AttUNet: batch norm, nearest up-sampling, skips multiplied by an additive attention gate",
    paper: "Oktay et al. 2018; used by MbLS (5.1.2, Fig. 7)",
    source: "Bala93/MarginLoss 5466662 calibrate/net/attunet.py",
    keys: &[("widths", "channels of each level, two or more")],
    preset: || json!({ "widths": [64, 128, 256, 512, 1024] }),
    small: || json!({ "widths": [4, 6, 8] }),
    build: attunet,
}];

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    widths: Vec<usize>,
}

fn attunet(config: &NetworkConfig) -> Result<Planned> {
    let Keys { widths } = config.parse()?;
    positive("widths", &widths)?;
    if !(2..=12).contains(&widths.len()) || widths[..widths.len() - 1].contains(&1) {
        let problem = format!("{widths:?} are not valid widths for a network with gates");
        return Err(invalid("widths", problem, "give 2 to 12 levels, all but the last with 2 channels or more"));
    }
    let mut builder = Builder { plan: Plan::default(), space: config.dims };
    let pool = [if config.dims == 3 { 2 } else { 1 }, 2, 2];
    let mut levels = vec![builder.block("Conv1", &[Plan::IMAGE], [config.in_channels, widths[0]])];
    for level in 1..widths.len() {
        let name = format!("Conv{}", level + 1);
        let tiles = MaxPool::tiles(&format!("{name}.pool"), pool);
        let coarse = builder.plan.add(Block::MaxPool(tiles), Init::Pytorch, &[levels[level - 1]]);
        levels.push(builder.block(&name, &[coarse], [widths[level - 1], widths[level]]));
    }
    let mut x = levels[widths.len() - 1];
    for level in (0..widths.len() - 1).rev() {
        let (number, width) = (level + 2, widths[level]);
        let enlarged = builder.enlarge(&format!("Up{number}"), x, [widths[level + 1], width], pool);
        let gated = builder.gate(&format!("Att{number}"), enlarged, levels[level], width);
        x = builder.block(&format!("Up_conv{number}"), &[gated, enlarged], [2 * width, width]);
    }
    let head = Conv::same("Conv_1x1".into(), [widths[0], config.classes], 1, config.dims, true);
    let mut plan = builder.plan;
    let logits = plan.add(Block::Unit(Unit::bare(head, Activation::Identity)), Init::Pytorch, &[x]);
    plan.head(logits, 1.0);
    let stride = pool.map(|extent: usize| extent.pow(widths.len() as u32 - 1));
    Ok(Planned::new(config.clone(), plan, stride))
}

struct Builder {
    plan: Plan,
    space: usize,
}

impl Builder {
    /// A convolution with bias, and a batch norm.
    fn unit(
        &mut self,
        [conv, norm]: [String; 2],
        from: &[Wire],
        channels: [usize; 2],
        size: usize,
        activation: Activation,
    ) -> Wire {
        let conv = Conv::same(conv, channels, size, self.space, true);
        let norm = NormLayer::new(&norm, channels[1], Norm::Batch);
        self.plan.add(Block::Unit(Unit { conv, norm, activation }), Init::Pytorch, from)
    }

    fn block(&mut self, name: &str, from: &[Wire], [inputs, outputs]: [usize; 2]) -> Wire {
        let names = |i: usize| [i, i + 1].map(|i| format!("{name}.conv.{i}"));
        let y = self.unit(names(0), from, [inputs, outputs], 3, Activation::Relu);
        self.unit(names(3), &[y], [outputs, outputs], 3, Activation::Relu)
    }

    fn enlarge(&mut self, name: &str, x: Wire, channels: [usize; 2], factors: [usize; 3]) -> Wire {
        let layer = Upsample::fixed(&format!("{name}.up.0"), Upsampling::Nearest, factors, channels[0]);
        let large = self.plan.add(Block::Upsample(layer), Init::Pytorch, &[x]);
        self.unit([1, 2].map(|i| format!("{name}.up.{i}")), &[large], channels, 3, Activation::Relu)
    }

    /// `x sigmoid(psi)`, where `psi` has one channel and is computed voxel by voxel from the sum of both maps.
    fn gate(&mut self, name: &str, g: Wire, x: Wire, width: usize) -> Wire {
        let names = |part: &str| [0, 1].map(|i| format!("{name}.{part}.{i}"));
        let inner = width / 2;
        let from_g = self.unit(names("W_g"), &[g], [width, inner], 1, Activation::Identity);
        let from_x = self.unit(names("W_x"), &[x], [width, inner], 1, Activation::Identity);
        let sum = Block::Sum(format!("{name}.relu"), Activation::Relu);
        let sum = self.plan.add(sum, Init::Pytorch, &[from_g, from_x]);
        let psi = self.unit(names("psi"), &[sum], [inner, 1], 1, Activation::Sigmoid);
        self.plan.add(Block::Gate(name.into()), Init::Pytorch, &[x, psi])
    }
}
