//! MEEP's ResUNet, whose blocks concatenate their input and output along the channels, and its plain variant.
//!
//! Every level has two convolutions 3x3x3 with bias and ReLU. With `residual`, the next level (and the head) receives
//! `[x, y]`, the concatenated input and output; the skip to the decoder is only the output `y`. The decoder up-samples
//! by a transposed convolution without activation and joins `[up, skip]`.

use segcal_core::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::entry::NetworkEntry;
use crate::init::Init;
use crate::layers::{Activation, Block, Conv, MaxPool, Norm, Unit, Upsample, Upsampling};
use crate::network::{NetworkConfig, invalid, positive};
use crate::plan::{Plan, Planned, Wire};

/// The networks of this file. `resunet` has 28,145,346 parameters for 1 channel and 2 classes, `unet3d-meep` 22,575,362.
pub(crate) const ENTRIES: &[NetworkEntry] = &[
    NetworkEntry {
        name: "resunet",
        doc: "MEEP's ResUNet: no norm, ReLU, blocks that join their input to their output",
        paper: "Zhang, Liu and Wang 2018; used by MEEP (supplement)",
        source: "agosl/Maximum-Entropy-on-Erroneous-Predictions dee1678 ResUnet.py",
        keys: KEYS,
        preset: || preset(true),
        small,
        build: resunet,
    },
    NetworkEntry {
        name: "unet3d-meep",
        doc: "MEEP's plain UNet: the same without the joined blocks; a reading of the paper, its code is not public",
        paper: "Cicek et al. 2016; used by MEEP (Table 1)",
        source: "not published",
        keys: KEYS,
        preset: || preset(false),
        small,
        build: resunet,
    },
];

const KEYS: &[(&str, &str)] =
    &[("widths", "channels of each level"), ("residual", "whether a block's input is joined to its output")];

fn preset(residual: bool) -> Value {
    json!({ "widths": [32, 64, 128, 256, 512], "residual": residual })
}

fn small() -> Value {
    json!({ "widths": [2, 3, 4] })
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    widths: Vec<usize>,
    residual: bool,
}

const INIT: Init = Init::Glorot;

fn resunet(config: &NetworkConfig) -> Result<Planned> {
    let Keys { widths, residual } = config.parse()?;
    positive("widths", &widths)?;
    if !(1..=12).contains(&widths.len()) {
        return Err(invalid("widths", format!("there are {} levels", widths.len()), "give 1 to 12"));
    }
    let mut builder = Builder { plan: Plan::default(), space: config.dims, residual };
    let pool = [if config.dims == 3 { 2 } else { 1 }, 2, 2];
    let mut level = builder.block("down.0", vec![Plan::IMAGE], config.in_channels, widths[0]);
    let mut skips = vec![level.y];
    for (number, &width) in widths.iter().enumerate().skip(1) {
        let name = format!("down.{number}");
        let joined = builder.joined(&name, &level.out);
        let tiles = Block::MaxPool(MaxPool::tiles(&format!("{name}.pool"), pool));
        let coarse = builder.plan.add(tiles, INIT, &[joined]);
        level = builder.block(&name, vec![coarse], level.channels, width);
        skips.push(level.y);
    }
    for number in (0..widths.len() - 1).rev() {
        let (name, width) = (format!("up.{number}"), widths[number]);
        let up = builder.enlarge(&name, &level, width, pool);
        level = builder.block(&name, vec![up, skips[number]], 2 * width, width);
    }
    let head = Conv::same("conv_final".into(), [level.channels, config.classes], 1, config.dims, true);
    let mut plan = builder.plan;
    let logits = plan.add(Block::Unit(Unit::bare(head, Activation::Identity)), INIT, &level.out);
    plan.head(logits, 1.0);
    let stride = pool.map(|extent: usize| extent.pow(widths.len() as u32 - 1));
    Ok(Planned::new(config.clone(), plan, stride))
}

/// The result of a block: the output of its convolutions, and the maps passed on, which are concatenated along the
/// channels.
struct Level {
    y: Wire,
    out: Vec<Wire>,
    channels: usize,
}

struct Builder {
    plan: Plan,
    space: usize,
    residual: bool,
}

impl Builder {
    fn block(&mut self, name: &str, x: Vec<Wire>, inputs: usize, width: usize) -> Level {
        let unit = |i, inputs| {
            Block::Unit(Unit::new(
                &format!("{name}.l{i}"),
                [inputs, width],
                3,
                self.space,
                Norm::None,
                Activation::Relu,
            ))
        };
        let y = self.plan.add(unit(1, inputs), INIT, &x);
        let y = self.plan.add(unit(2, width), INIT, &[y]);
        if !self.residual {
            return Level { y, out: vec![y], channels: width };
        }
        let out = x.into_iter().chain([y]).collect();
        Level { y, out, channels: inputs + width }
    }

    fn joined(&mut self, name: &str, parts: &[Wire]) -> Wire {
        match parts {
            [only] => *only,
            _ => self.plan.add(Block::Concat(format!("{name}.join")), INIT, parts),
        }
    }

    fn enlarge(&mut self, name: &str, level: &Level, outputs: usize, factors: [usize; 3]) -> Wire {
        let joined = self.joined(name, &level.out);
        let (name, kind) = (format!("{name}.up"), Upsampling::Transposed);
        let layer = Upsample { name, kind, factors, inputs: level.channels, outputs, space: self.space, bias: true };
        self.plan.add(Block::Upsample(layer), INIT, &[joined])
    }
}
