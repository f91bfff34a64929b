//! TransUNet (Chen et al. 2021): a ResNet, a Vision Transformer on its coarsest map, and a decoder with skips.
//!
//! The ResNet's convolutions have standardised weights and group norms; its stem is followed by a max-pool without
//! padding, so that the map at 1/4 resolution lacks one row and column, which the skip regains as zeros at the end. The
//! decoder up-samples linearly with aligned corners and joins `[up, skip]`. Positions are learnt, so an image has
//! `image` pixels on each side. An image of one channel is repeated to three. Two-dimensional only.

use segcal_core::Result;
use serde::Deserialize;
use serde_json::json;

use crate::entry::NetworkEntry;
use crate::init::Init;
use crate::layers::{
    Activation, Attention, Block, Conv, Dropout, MaxPool, Norm, NormLayer, Positions, Unit, Upsample, Upsampling,
};
use crate::network::{NetworkConfig, expect_count, invalid, positive};
use crate::plan::{Plan, Planned, Wire};

/// The network of this file: 105,236,565 parameters for 5 classes and images of 192 x 192.
pub(crate) const ENTRIES: &[NetworkEntry] = &[NetworkEntry {
    name: "transunet",
    doc: "TransUNet R50-ViT-B/16: hybrid ResNet, Vision Transformer, decoder with skips (2-D, 1 or 3 channels)",
    paper: "Chen et al. 2021; used by MbLS (Fig. 7), whose encoder began with ImageNet-21k weights",
    source: "Beckschen/TransUNet 02ef001, Bala93/MarginLoss 5466662 calibrate/net/vit_seg_*.py",
    keys: &[
        ("image", "pixels on each side of an image, a multiple of 16; `segcal train` takes those of samples.size"),
        ("width", "channels of the ResNet's stem"),
        ("groups", "groups of its norms"),
        ("resnet_blocks", "units of its three blocks"),
        ("hidden", "channels of a token"),
        ("heads", "heads of an attention"),
        ("mlp", "channels between the two linear layers of a transformer layer"),
        ("layers", "transformer layers"),
        ("head_channels", "channels of the decoder's first convolution"),
        ("decoder_widths", "channels of the decoder's four blocks"),
        ("n_skip", "how many of the decoder's blocks have a skip, 0 to 3"),
        ("dropout", "share of the numbers that dropout drops in training"),
    ],
    preset: || {
        json!({
            "image": 128, "width": 64, "groups": 32, "resnet_blocks": [3, 4, 9], "hidden": 768, "heads": 12, "mlp": 3072,
            "layers": 12, "head_channels": 512, "decoder_widths": [256, 128, 64, 16], "n_skip": 3, "dropout": 0.1,
        })
    },
    small: || {
        json!({
            "image": 32, "width": 4, "groups": 2, "resnet_blocks": [1, 1, 2], "hidden": 8, "heads": 2, "mlp": 12, "layers": 2,
            "head_channels": 6, "decoder_widths": [5, 4, 4, 3],
        })
    },
    build: transunet,
}];

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    image: usize,
    width: usize,
    groups: usize,
    resnet_blocks: Vec<usize>,
    hidden: usize,
    heads: usize,
    mlp: usize,
    layers: usize,
    head_channels: usize,
    decoder_widths: Vec<usize>,
    n_skip: usize,
    dropout: f64,
}

/// Pixels of the image on each side of a token.
const PATCH: usize = 16;
const RESNET: &str = "transformer.embeddings.hybrid_model";

impl Keys {
    fn check(&self, config: &NetworkConfig) -> Result<()> {
        if config.dims != 2 {
            return Err(invalid("dims", "transunet is a 2-D network".into(), "use slices, or another network"));
        }
        if ![1, 3].contains(&config.in_channels) {
            let problem = format!("transunet reads 1 or 3 channels, not {}", config.in_channels);
            return Err(invalid("in_channels", problem, "choose another network"));
        }
        expect_count("resnet_blocks", self.resnet_blocks.len(), 3)?;
        expect_count("decoder_widths", self.decoder_widths.len(), 4)?;
        positive("resnet_blocks", &self.resnet_blocks)?;
        positive("decoder_widths", &self.decoder_widths)?;
        for (key, value) in [
            ("image", self.image),
            ("width", self.width),
            ("groups", self.groups),
            ("hidden", self.hidden),
            ("heads", self.heads),
            ("mlp", self.mlp),
            ("layers", self.layers),
            ("head_channels", self.head_channels),
        ] {
            positive(key, &[value])?;
        }
        self.check_divisions()
    }

    fn check_divisions(&self) -> Result<()> {
        if !self.image.is_multiple_of(PATCH) {
            return Err(invalid("image", format!("{} is not a multiple of {PATCH}", self.image), "pad the images"));
        }
        if !self.width.is_multiple_of(self.groups) {
            let problem = format!("{} channels cannot be divided into {} groups", self.width, self.groups);
            return Err(invalid("groups", problem, "choose a divisor of width"));
        }
        if !self.hidden.is_multiple_of(self.heads) {
            let problem = format!("{} channels cannot be divided into {} heads", self.hidden, self.heads);
            return Err(invalid("heads", problem, "choose a divisor of hidden"));
        }
        if self.n_skip > 3 {
            return Err(invalid("n_skip", format!("{} is out of range", self.n_skip), "use 0 to 3"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(invalid("dropout", format!("{} is out of range", self.dropout), "use 0 or more, below 1"));
        }
        Ok(())
    }
}

fn transunet(config: &NetworkConfig) -> Result<Planned> {
    let keys: Keys = config.parse()?;
    keys.check(config)?;
    let mut builder = Builder { plan: Plan::default(), keys: &keys };
    let (coarsest, skips) = builder.resnet(config.in_channels);
    let tokens = builder.transformer(coarsest);
    let (x, channels) = builder.decoder(tokens, &skips);
    let head = Conv::same("segmentation_head.0".into(), [channels, config.classes], 3, 2, true);
    let mut plan = builder.plan;
    let logits = plan.add(Block::Unit(Unit::bare(head, Activation::Identity)), Init::Pytorch, &[x]);
    plan.head(logits, 1.0);
    let planned = Planned::new(config.clone(), plan, [1, PATCH, PATCH]);
    Ok(planned.with_extents([1, keys.image, keys.image]))
}

/// A map and its channels.
type Map = (Wire, usize);

struct Builder<'a> {
    plan: Plan,
    keys: &'a Keys,
}

impl Builder<'_> {
    fn add(&mut self, block: Block, from: &[Wire]) -> Wire {
        self.plan.add(block, Init::Pytorch, from)
    }

    /// A convolution with standardised weights, and a group norm.
    fn standardised(
        &mut self,
        [conv, norm]: [String; 2],
        (x, inputs): Map,
        outputs: usize,
        [size, stride]: [usize; 2],
        activation: Activation,
    ) -> Map {
        let conv = Conv::strided(conv, [inputs, outputs], [1, size, size], [1, stride, stride], 2);
        let projects = norm.ends_with("gn_proj");
        let norm = if projects {
            NormLayer::new(&norm, outputs, Norm::Instance)
        } else {
            NormLayer { epsilon: 1e-6, ..NormLayer::new(&norm, outputs, Norm::Group(self.keys.groups)) }
        };
        let unit = Unit { conv: Conv { standardised: true, ..conv }, norm, activation };
        (self.add(Block::Unit(unit), &[x]), outputs)
    }

    /// The coarsest map, and the skips from coarse to fine.
    fn resnet(&mut self, channels: usize) -> (Map, Vec<Map>) {
        let width = self.keys.width;
        let image = match channels {
            1 => self.add(Block::Concat("rgb".into()), &[Plan::IMAGE; 3]),
            _ => Plan::IMAGE,
        };
        let names = ["conv", "gn"].map(|part| format!("{RESNET}.root.{part}"));
        let stem = self.standardised(names, (image, 3), width, [7, 2], Activation::Relu);
        let name = format!("{RESNET}.pool");
        let pool = MaxPool { name, size: [1, 3, 3], stride: [1, 2, 2], pad: [0; 3] };
        let mut x = (self.add(Block::MaxPool(pool), &[stem.0]), width);
        let mut skips = vec![stem];
        for block in 0..3 {
            for number in 0..self.keys.resnet_blocks[block] {
                let stride = if number == 0 && block > 0 { 2 } else { 1 };
                let name = format!("{RESNET}.body.block{}.unit{}", block + 1, number + 1);
                x = self.bottleneck(&name, x, width << block, stride, number == 0);
            }
            if block == 0 {
                let padded = Block::PadEnd(format!("{RESNET}.pad"), [0, 1, 1]);
                skips.insert(0, (self.add(padded, &[x.0]), x.1));
            } else if block == 1 {
                skips.insert(0, x);
            }
        }
        (x, skips)
    }

    fn bottleneck(&mut self, name: &str, x: Map, inner: usize, stride: usize, first: bool) -> Map {
        let names = |i: usize| [format!("{name}.conv{i}"), format!("{name}.gn{i}")];
        let outputs = 4 * inner;
        let y = self.standardised(names(1), x, inner, [1, 1], Activation::Relu);
        let y = self.standardised(names(2), y, inner, [3, stride], Activation::Relu);
        let y = self.standardised(names(3), y, outputs, [1, 1], Activation::Identity);
        let names = ["downsample", "gn_proj"].map(|part| format!("{name}.{part}"));
        let skip = if first { self.standardised(names, x, outputs, [1, stride], Activation::Identity) } else { x };
        (self.add(Block::Sum(format!("{name}.relu"), Activation::Relu), &[y.0, skip.0]), outputs)
    }

    /// A linear layer on tokens.
    fn linear(&mut self, name: String, x: Wire, channels: [usize; 2], init: Init, activation: Activation) -> Wire {
        // A weight with only two extents, as PyTorch stores it.
        let conv = Conv { space: 0, ..Conv::same(name, channels, 1, 2, true) };
        self.plan.add(Block::Unit(Unit::bare(conv, activation)), init, &[x])
    }

    fn norm(&mut self, name: &str, x: Wire) -> Wire {
        let norm = NormLayer { epsilon: 1e-6, ..NormLayer::new(name, self.keys.hidden, Norm::Layer) };
        self.add(Block::Norm(norm), &[x])
    }

    fn dropped(&mut self, name: &str, x: Wire) -> Wire {
        self.add(Block::Dropout(Dropout { name: name.into(), rate: self.keys.dropout }), &[x])
    }

    fn transformer(&mut self, (x, channels): Map) -> Wire {
        let (hidden, side) = (self.keys.hidden, self.keys.image / PATCH);
        let name = "transformer.embeddings.patch_embeddings";
        let patches = Conv::same(name.into(), [channels, hidden], 1, 2, true);
        let tokens = self.add(Block::Unit(Unit::bare(patches, Activation::Identity)), &[x]);
        let name = "transformer.embeddings.position_embeddings".into();
        let positions = Positions { name, grid: [side, side], channels: hidden };
        let tokens = self.add(Block::Positions(positions), &[tokens]);
        let mut tokens = self.dropped("transformer.embeddings.dropout", tokens);
        for layer in 0..self.keys.layers {
            tokens = self.transformer_layer(&format!("transformer.encoder.layer.{layer}"), tokens);
        }
        self.norm("transformer.encoder.encoder_norm", tokens)
    }

    fn transformer_layer(&mut self, name: &str, x: Wire) -> Wire {
        let Keys { hidden, heads, mlp, image, .. } = *self.keys;
        let (plain, glorot) = (Activation::Identity, Init::GlorotTransformer);
        let square = [hidden; 2];
        let read = self.norm(&format!("{name}.attention_norm"), x);
        let [query, key, value] = ["query", "key", "value"]
            .map(|part| self.linear(format!("{name}.attn.{part}"), read, square, Init::Pytorch, plain));
        let attention = Attention { name: format!("{name}.attn"), heads, channels: hidden, grid: [image / PATCH; 2] };
        let mixed = self.add(Block::Attention(attention), &[query, key, value]);
        let mixed = self.linear(format!("{name}.attn.out"), mixed, square, Init::Pytorch, plain);
        let x = self.add(Block::Sum(format!("{name}.attn.sum"), plain), &[x, mixed]);
        let read = self.norm(&format!("{name}.ffn_norm"), x);
        let inner = self.linear(format!("{name}.ffn.fc1"), read, [hidden, mlp], glorot, Activation::GeluExact);
        let inner = self.dropped(&format!("{name}.ffn.dropout1"), inner);
        let outer = self.linear(format!("{name}.ffn.fc2"), inner, [mlp, hidden], glorot, plain);
        let outer = self.dropped(&format!("{name}.ffn.dropout2"), outer);
        self.add(Block::Sum(format!("{name}.ffn.sum"), plain), &[x, outer])
    }

    /// A convolution 3x3 without bias, batch norm, ReLU.
    fn unit(&mut self, name: &str, from: &[Wire], channels: [usize; 2]) -> Wire {
        let conv = Conv::same(format!("{name}.0"), channels, 3, 2, false);
        let norm = NormLayer::new(&format!("{name}.1"), channels[1], Norm::Batch);
        self.add(Block::Unit(Unit { conv, norm, activation: Activation::Relu }), from)
    }

    fn decoder(&mut self, tokens: Wire, skips: &[Map]) -> Map {
        let Keys { hidden, head_channels, n_skip, .. } = *self.keys;
        let mut x = (self.unit("decoder.conv_more", &[tokens], [hidden, head_channels]), head_channels);
        for (number, &width) in self.keys.decoder_widths.iter().enumerate() {
            let name = format!("decoder.blocks.{number}");
            let up = Upsample::fixed(&format!("{name}.up"), Upsampling::Aligned, [1, 2, 2], x.1);
            let mut joined = vec![self.add(Block::Upsample(up), &[x.0])];
            let mut channels = x.1;
            if let Some((skip, more)) = skips.get(number).filter(|_| number < n_skip) {
                joined.push(*skip);
                channels += more;
            }
            let y = self.unit(&format!("{name}.conv1"), &joined, [channels, width]);
            x = (self.unit(&format!("{name}.conv2"), &[y], [width; 2]), width);
        }
        x
    }
}
