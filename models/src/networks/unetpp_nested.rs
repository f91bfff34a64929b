//! The nested UNet++ with deep supervision, as MONAI's BasicUNetPlusPlus.
//!
//! Column 0 is an encoder with max-pools of 2; node `X(i, j)` up-samples `X(i + 1, j - 1)` by a transposed convolution,
//! joins `[X(i, 0), ..., X(i, j - 1), up]` and applies a block of two units (convolution with bias, instance norm,
//! leaky ReLU of slope 0.1). `X(0, 1) ... X(0, 4)` have 1x1 heads, all at full resolution; predictions use the last
//! one.

use segcal_core::Result;
use serde::Deserialize;
use serde_json::json;

use crate::entry::NetworkEntry;
use crate::init::Init;
use crate::layers::{Activation, Block, Conv, MaxPool, Norm, NormLayer, Unit, Upsample, Upsampling};
use crate::network::{NetworkConfig, expect_count, invalid, positive};
use crate::plan::{Plan, Planned, Wire};

/// The network of this file: 2,410,312 parameters for 1 channel and 2 classes in 2-D, 6,979,976 in 3-D.
pub(crate) const ENTRIES: &[NetworkEntry] = &[NetworkEntry {
    name: "unetpp-nested",
    doc: "nested UNet++ with four heads for deep supervision, instance norm, transposed up-sampling",
    paper: "Zhou et al. 2018",
    source: "MONAI 1.6.1 BasicUNetPlusPlus",
    keys: &[
        ("features", "channels of the five levels, and of the last node"),
        ("deep_supervision", "whether training looks at all four heads"),
        ("ds_weights", "weight of each head in the loss, that on X(0, 4) first"),
    ],
    preset: || json!({ "features": [32, 32, 64, 128, 256, 32], "deep_supervision": true, "ds_weights": [1.0, 1.0, 1.0, 1.0] }),
    small: || json!({ "features": [3, 4, 4, 6, 6, 3] }),
    build: unetpp,
}];

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    features: Vec<usize>,
    deep_supervision: bool,
    ds_weights: Vec<f64>,
}

/// Levels, and the last column.
const LEVELS: usize = 5;
const INIT: Init = Init::Pytorch;

fn unetpp(config: &NetworkConfig) -> Result<Planned> {
    let keys: Keys = config.parse()?;
    let features = &keys.features;
    expect_count("features", features.len(), LEVELS + 1)?;
    positive("features", features)?;
    expect_count("ds_weights", keys.ds_weights.len(), LEVELS - 1)?;
    if features[2..LEVELS].iter().any(|channels| channels % 2 == 1) {
        let problem = format!("{features:?}: channels are halved on the way up");
        return Err(invalid("features", problem, "use even numbers for the third to the fifth"));
    }
    let pool = [if config.dims == 3 { 2 } else { 1 }, 2, 2];
    let mut builder = Builder { plan: Plan::default(), space: config.dims, pool };
    let mut rows = builder.encoder(config.in_channels, features);
    for column in 1..LEVELS {
        for row in 0..LEVELS - column {
            let below = *rows[row + 1].get(column - 1).expect("the column before");
            let width = if row == 0 && column == LEVELS - 1 { features[LEVELS] } else { features[row] };
            let inner = if row == 0 { features[1] } else { features[row + 1] / 2 };
            let name = format!("upcat_{row}_{column}");
            let node = builder.node(&name, below, &rows[row], [features[row + 1], inner, features[row], width]);
            rows[row].push(node);
        }
    }
    // Predictions use the last head, which comes first.
    for column in (1..LEVELS).rev() {
        let width = if column == LEVELS - 1 { features[LEVELS] } else { features[0] };
        let head = Conv::same(format!("final_conv_0_{column}"), [width, config.classes], 1, config.dims, true);
        let logits = Block::Unit(Unit::bare(head, Activation::Identity));
        let logits = builder.plan.add(logits, INIT, &[rows[0][column]]);
        let alone = if column == LEVELS - 1 { 1.0 } else { 0.0 };
        builder.plan.head(logits, if keys.deep_supervision { keys.ds_weights[LEVELS - 1 - column] } else { alone });
    }
    let stride = pool.map(|extent: usize| extent.pow(LEVELS as u32 - 1));
    Ok(Planned::new(config.clone(), builder.plan, stride))
}

struct Builder {
    plan: Plan,
    space: usize,
    pool: [usize; 3],
}

impl Builder {
    /// Two units.
    fn block(&mut self, name: &str, from: &[Wire], [inputs, outputs]: [usize; 2]) -> Wire {
        let mut from = from.to_vec();
        for (i, inputs) in [inputs, outputs].into_iter().enumerate() {
            let conv = Conv::same(format!("{name}.conv_{i}.conv"), [inputs, outputs], 3, self.space, true);
            let norm = NormLayer::new(&format!("{name}.conv_{i}.adn.N"), outputs, Norm::Instance);
            let unit = Unit { conv, norm, activation: Activation::Leaky { percent: 10 } };
            from = vec![self.plan.add(Block::Unit(unit), INIT, &from)];
        }
        from[0]
    }

    /// Column 0; the other columns extend each of its rows.
    fn encoder(&mut self, channels: usize, features: &[usize]) -> Vec<Vec<Wire>> {
        let mut x = self.block("conv_0_0", &[Plan::IMAGE], [channels, features[0]]);
        let mut rows = vec![vec![x]];
        for row in 1..LEVELS {
            let name = format!("conv_{row}_0");
            let pool = MaxPool::tiles(&format!("{name}.max_pooling"), self.pool);
            let coarse = self.plan.add(Block::MaxPool(pool), INIT, &[x]);
            x = self.block(&format!("{name}.convs"), &[coarse], [features[row - 1], features[row]]);
            rows.push(vec![x]);
        }
        rows
    }

    fn node(&mut self, name: &str, below: Wire, row: &[Wire], [inputs, inner, skip, width]: [usize; 4]) -> Wire {
        let (kind, factors, space) = (Upsampling::Transposed, self.pool, self.space);
        let up = format!("{name}.upsample.deconv");
        let up = Upsample { name: up, kind, factors, inputs, outputs: inner, space, bias: true };
        let up = self.plan.add(Block::Upsample(up), INIT, &[below]);
        let joined: Vec<Wire> = row.iter().copied().chain([up]).collect();
        self.block(&format!("{name}.convs"), &joined, [row.len() * skip + inner, width])
    }
}
