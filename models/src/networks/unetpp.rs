//! UNet++ with a residual encoder, as in segmentation_models_pytorch.
//!
//! Encoder: a ResNet of basic blocks behind a 7x7 stem of stride 2 and an overlapping max-pool. Decoder: a triangle of
//! nodes; node `x_I_J` up-samples the previous node of its row (nearest), joins `[up, skips...]` and applies two
//! convolutions 3x3 with batch norm and ReLU. Only the head, 3x3, has a bias. Two-dimensional only.

use segcal_core::Result;
use serde::Deserialize;
use serde_json::json;

use crate::entry::NetworkEntry;
use crate::init::Init;
use crate::layers::{Activation, Block, Conv, MaxPool, Norm, NormLayer, Unit, Upsample, Upsampling};
use crate::network::{NetworkConfig, expect_count, invalid, positive};
use crate::plan::{Plan, Planned, Wire};

/// The network of this file: 26,072,772 parameters for 1 channel and 4 classes.
pub(crate) const ENTRIES: &[NetworkEntry] = &[NetworkEntry {
    name: "unetpp",
    doc: "UNet++ with a ResNet-34 encoder, batch norm, nearest up-sampling (2-D)",
    paper: "Zhou et al. 2018; used by MbLS (Fig. 7), whose encoder began with ImageNet weights",
    source: "segmentation_models_pytorch 0.6.0 UnetPlusPlus, Bala93/MarginLoss configs/model/unetpp.yaml",
    keys: &[
        ("encoder_widths", "channels of the stem and of the four layers"),
        ("encoder_blocks", "residual blocks of each layer"),
        ("decoder_widths", "channels of the finest node of each column, the coarsest first"),
    ],
    preset: || {
        json!({
            "encoder_widths": [64, 64, 128, 256, 512], "encoder_blocks": [3, 4, 6, 3],
            "decoder_widths": [256, 128, 64, 32, 16],
        })
    },
    small: || {
        json!({
            "encoder_widths": [3, 3, 4, 5, 6], "encoder_blocks": [1, 2, 1, 1], "decoder_widths": [5, 4, 3, 3, 2],
        })
    },
    build: unetpp,
}];

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    encoder_widths: Vec<usize>,
    encoder_blocks: Vec<usize>,
    decoder_widths: Vec<usize>,
}

const LAYERS: usize = 4;

fn unetpp(config: &NetworkConfig) -> Result<Planned> {
    let keys: Keys = config.parse()?;
    if config.dims != 2 {
        return Err(invalid("dims", "unetpp is a 2-D network".into(), "use slices, or another network"));
    }
    expect_count("encoder_widths", keys.encoder_widths.len(), LAYERS + 1)?;
    expect_count("encoder_blocks", keys.encoder_blocks.len(), LAYERS)?;
    expect_count("decoder_widths", keys.decoder_widths.len(), LAYERS + 1)?;
    positive("encoder_widths", &keys.encoder_widths)?;
    positive("encoder_blocks", &keys.encoder_blocks)?;
    positive("decoder_widths", &keys.decoder_widths)?;
    let mut builder = Builder { plan: Plan::default() };
    let features = builder.encoder(config.in_channels, &keys);
    let finest = builder.decoder(&features, &keys.decoder_widths);
    let channels = [keys.decoder_widths[LAYERS], config.classes];
    let head = Conv::same("segmentation_head.0".into(), channels, 3, 2, true);
    let mut plan = builder.plan;
    let logits = plan.add(Block::Unit(Unit::bare(head, Activation::Identity)), Init::Glorot, &[finest]);
    plan.head(logits, 1.0);
    Ok(Planned::new(config.clone(), plan, [1, 32, 32]))
}

/// A map and its channels.
type Map = (Wire, usize);

struct Builder {
    plan: Plan,
}

impl Builder {
    /// A convolution without bias, and a batch norm.
    fn unit(
        &mut self,
        init: Init,
        [conv, norm]: [String; 2],
        from: &[Wire],
        channels: [usize; 2],
        [size, stride]: [usize; 2],
        activation: Activation,
    ) -> Wire {
        let conv = Conv::strided(conv, channels, [1, size, size], [1, stride, stride], 2);
        let norm = NormLayer::new(&norm, channels[1], Norm::Batch);
        self.plan.add(Block::Unit(Unit { conv, norm, activation }), init, from)
    }

    /// The maps at 1/2, 1/4, ... 1/32.
    fn encoder(&mut self, channels: usize, keys: &Keys) -> Vec<Map> {
        // The library initialises the first convolution differently if the image does not have three channels.
        let init = if channels == 3 { Init::HeFanOut } else { Init::Pytorch };
        let (names, relu) = (["encoder.conv1".into(), "encoder.bn1".into()], Activation::Relu);
        let widths = &keys.encoder_widths;
        let stem = self.unit(init, names, &[Plan::IMAGE], [channels, widths[0]], [7, 2], relu);
        let mut maps = vec![(stem, widths[0])];
        let name = "encoder.maxpool".to_owned();
        let pool = MaxPool { name, size: [1, 3, 3], stride: [1, 2, 2], pad: [0, 1, 1] };
        let mut x = (self.plan.add(Block::MaxPool(pool), init, &[stem]), widths[0]);
        for layer in 1..=LAYERS {
            for number in 0..keys.encoder_blocks[layer - 1] {
                let stride = if number == 0 && layer > 1 { 2 } else { 1 };
                x = self.residual(&format!("encoder.layer{layer}.{number}"), x, widths[layer], stride);
            }
            maps.push(x);
        }
        maps
    }

    fn residual(&mut self, name: &str, (x, inputs): Map, outputs: usize, stride: usize) -> Map {
        let init = Init::HeFanOut;
        let names = |i: usize| [format!("{name}.conv{i}"), format!("{name}.bn{i}")];
        let y = self.unit(init, names(1), &[x], [inputs, outputs], [3, stride], Activation::Relu);
        let y = self.unit(init, names(2), &[y], [outputs; 2], [3, 1], Activation::Identity);
        let names = [0, 1].map(|i| format!("{name}.downsample.{i}"));
        let skip = if stride == 1 && inputs == outputs {
            x
        } else {
            self.unit(init, names, &[x], [inputs, outputs], [1, stride], Activation::Identity)
        };
        (self.plan.add(Block::Sum(format!("{name}.relu"), Activation::Relu), init, &[y, skip]), outputs)
    }

    /// The finest node, at full resolution.
    fn decoder(&mut self, features: &[Map], widths: &[usize]) -> Wire {
        // Counted from the coarsest.
        let features: Vec<Map> = features.iter().rev().copied().collect();
        // The newest node of each row.
        let mut rows: Vec<Map> = Vec::new();
        for column in 0..LAYERS {
            rows.push(features[column]);
            let mut skips = vec![features[column + 1]];
            for row in (0..=column).rev() {
                let width = if row == 0 { widths[column] } else { features[column + 1].1 };
                rows[row] = self.node(&format!("x_{row}_{column}"), rows[row], &skips, width);
                skips.insert(0, rows[row]);
            }
        }
        self.node(&format!("x_0_{LAYERS}"), rows[0], &[], widths[LAYERS]).0
    }

    fn node(&mut self, name: &str, (x, channels): Map, skips: &[Map], width: usize) -> Map {
        let (name, init, relu) = (format!("decoder.blocks.{name}"), Init::HeUniform, Activation::Relu);
        let layer = Upsample::fixed(&format!("{name}.up"), Upsampling::Nearest, [1, 2, 2], channels);
        let large = self.plan.add(Block::Upsample(layer), init, &[x]);
        let joined: Vec<Wire> = [large].into_iter().chain(skips.iter().map(|(wire, _)| *wire)).collect();
        let channels = channels + skips.iter().map(|(_, channels)| channels).sum::<usize>();
        let names = |conv: &str| [0, 1].map(|i| format!("{name}.{conv}.{i}"));
        let y = self.unit(init, names("conv1"), &joined, [channels, width], [3, 1], relu);
        (self.unit(init, names("conv2"), &[y], [width; 2], [3, 1], relu), width)
    }
}
