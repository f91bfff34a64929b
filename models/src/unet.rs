//! The UNet (Ronneberger, Fischer and Brox 2015; Çiçek et al. 2016 in 3-D), in two presets and all between.

use segcal_core::{Backend, Error, Result, Shape, Tensor};

use crate::graph::{Graph, Layer};
use crate::init::{Init, Spec};
use crate::layers::{Activation, Conv, Mode, Norm, Unit, Upsample, Upsampling, max_pool};
use crate::network::{Extent, Network, NetworkConfig, unknown};
use crate::params::Parameters;

/// An encoder of blocks with max-pooling between them, and a decoder that enlarges, puts the encoder's output of the
/// same resolution behind (`[enlarged, skip]` along the channels, joined by the sum of two convolutions rather than in
/// memory) and applies a block; a 1x1 convolution at the end.
///
/// A block is `convs` times convolution 3x3(x3), norm, activation. Tensors are named as in the papers' public code:
/// `down.<level>.l<i>`, `up.<level>.l<i>` with `.conv` and `.norm` inside, `up.<level>.up` for a transposed convolution,
/// and `conv_final`; level 0 is the finest on both sides.
///
/// `unet`: instance norm, leaky ReLU, transposed convolutions, pools of 2, He initialisation.
/// `unet-authors`: no norm, ReLU, nearest up-sampling, pools 2 2 2 4, PyTorch's initialisation; 7,846,180 parameters
/// for 1 channel and 4 classes.
#[derive(Clone, Debug)]
pub struct UNet {
    config: NetworkConfig,
    init: Init,
    pools: Vec<[usize; 3]>,
    down: Vec<Vec<Unit>>,
    up: Vec<(Upsample, Vec<Unit>)>,
    head: Conv,
}

/// Kernel extent of a block's convolutions.
const KERNEL: usize = 3;

impl UNet {
    /// The network of a config whose name is `unet` or `unet-authors`.
    ///
    /// # Errors
    /// Values that do not go together; the message names the key.
    pub fn new(config: &NetworkConfig) -> Result<Self> {
        let plan = Plan::of(config)?;
        let (widths, space) = (&plan.widths, config.dims);
        let block = |name: &str, inputs: usize, outputs: usize| -> Vec<Unit> {
            let channels = |i: usize| [if i == 1 { inputs } else { outputs }, outputs];
            let unit = |i| Unit::new(&format!("{name}.l{i}"), channels(i), KERNEL, space, plan.norm, plan.activation);
            (1..=plan.convs).map(unit).collect()
        };
        let down = (0..widths.len()).map(|level| {
            let inputs = if level == 0 { config.in_channels } else { widths[level - 1] };
            block(&format!("down.{level}"), inputs, widths[level])
        });
        let up = (0..widths.len() - 1).map(|level| {
            let enlarge = Upsample {
                name: format!("up.{level}.up"),
                kind: plan.upsample,
                factors: plan.pools[level],
                inputs: widths[level + 1],
                outputs: widths[level],
                space,
            };
            let inputs = enlarge.channels() + widths[level];
            (enlarge, block(&format!("up.{level}"), inputs, widths[level]))
        });
        let head = Conv::same("conv_final".into(), [widths[0], config.classes], 1, space, true);
        let (down, up) = (down.collect(), up.collect());
        Ok(Self { config: plan.config(config), init: plan.init, pools: plan.pools, down, up, head })
    }

    /// The tensors, in the order encoder, decoder (finest first), head.
    pub fn specs(&self) -> Vec<Spec> {
        let blocks = |units: &[Unit]| units.iter().flat_map(|unit| unit.specs(self.init)).collect::<Vec<_>>();
        let mut specs: Vec<Spec> = self.down.iter().flat_map(|units| blocks(units)).collect();
        for (enlarge, units) in &self.up {
            specs.extend(enlarge.specs(self.init));
            specs.extend(blocks(units));
        }
        specs.extend(self.head.specs(self.init, Activation::Identity));
        specs
    }
}

impl<B: Backend> Network<B> for UNet {
    fn config(&self) -> &NetworkConfig {
        &self.config
    }

    fn specs(&self) -> Vec<Spec> {
        self.specs()
    }

    fn forward(&self, parameters: &Parameters<B>, x: &Tensor<B>, mode: Mode) -> Tensor<B> {
        let block = |units: &[Unit], x: Tensor<B>| units.iter().fold(x, |x, unit| unit.forward(parameters, &x, mode));
        let mut skips = vec![block(&self.down[0], x.clone())];
        for (units, &pool) in self.down[1..].iter().zip(&self.pools) {
            let coarse = max_pool(skips.last().expect("the level above"), pool);
            skips.push(block(units, coarse));
        }
        let mut x = skips.pop().expect("the coarsest level");
        for (enlarge, units) in self.up.iter().rev() {
            let skip = skips.pop().expect("one skip for each enlargement");
            let enlarged = parameters.passed(&enlarge.name, enlarge.forward(parameters, &x));
            x = units[0].forward_joined(parameters, vec![enlarged, skip], mode);
            x = block(&units[1..], x);
        }
        parameters.passed(&self.head.name, self.head.forward(parameters, &x, Activation::Identity))
    }

    fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        let mut x = graph.image();
        let mut skips = Vec::new();
        for (level, units) in self.down.iter().enumerate() {
            if level > 0 {
                x = graph.add(&format!("down.{level}.pool"), Layer::MaxPool(self.pools[level - 1]), &[x]);
            }
            x = units.iter().fold(x, |x, unit| unit.describe(&mut graph, &[x]));
            skips.push(x);
        }
        skips.pop();
        for (enlarge, units) in self.up.iter().rev() {
            let enlarged = enlarge.describe(&mut graph, x);
            x = units[0].describe(&mut graph, &[enlarged, skips.pop().expect("one skip for each enlargement")]);
            x = units[1..].iter().fold(x, |x, unit| unit.describe(&mut graph, &[x]));
        }
        self.head.describe(&mut graph, &[x], Activation::Identity);
        graph
    }

    fn stride(&self) -> [usize; 3] {
        self.pools.iter().fold([1; 3], |stride, pool| std::array::from_fn(|axis| stride[axis] * pool[axis]))
    }

    fn accepts(&self, x: Shape) -> Result<()> {
        let (channels, stride) = (self.config.in_channels, Network::<B>::stride(self));
        if x.c() != channels {
            let problem = format!("the image has {} channels, the network takes {channels}", x.c());
            return Err(Error::new(problem).help(format!("set network.in_channels = {}", x.c())));
        }
        let spatial = x.spatial();
        if self.config.dims == 2 && spatial[0] != 1 {
            let problem = format!("a 2-D network takes slices, not volumes of {} slices", spatial[0]);
            return Err(Error::new(problem).help("cut slices, or set network.dims = 3"));
        }
        if (0..3).any(|axis| spatial[axis] == 0 || !spatial[axis].is_multiple_of(stride[axis])) {
            let problem = format!("extents {spatial:?} (d, h, w) are not multiples of the network's stride {stride:?}");
            return Err(Error::new(problem).help("pad or crop the image, or use fewer levels"));
        }
        if self.config.norm == Some(Norm::Instance) && spatial == stride {
            let problem = format!("of extents {spatial:?} (d, h, w) one voxel is left at the coarsest level");
            return Err(Error::new(problem).help("instance norm needs two: use larger patches or fewer levels"));
        }
        Ok(())
    }
}

/// A config with every key filled in and checked.
struct Plan {
    widths: Vec<usize>,
    pools: Vec<[usize; 3]>,
    convs: usize,
    norm: Norm,
    activation: Activation,
    upsample: Upsampling,
    init: Init,
}

impl Plan {
    fn of(config: &NetworkConfig) -> Result<Self> {
        let ours = match config.name.as_str() {
            "unet" => true,
            "unet-authors" => false,
            other => return Err(unknown(other, &["unet", "unet-authors"])),
        };
        positive("in_channels", &[config.in_channels])?;
        positive("classes", &[config.classes])?;
        if !matches!(config.dims, 2 | 3) {
            return Err(invalid("dims", format!("a space of {} dimensions is not known", config.dims), "use 2 or 3"));
        }
        let widths = widths(config)?;
        let pools = pools(config, widths.len(), if ours { 2 } else { 4 })?;
        let convs = config.convs.unwrap_or(2);
        positive("convs", &[convs])?;
        Ok(Self {
            widths,
            pools,
            convs,
            norm: config.norm.unwrap_or(if ours { Norm::Instance } else { Norm::None }),
            activation: config.activation.unwrap_or(if ours { Activation::LeakyRelu } else { Activation::Relu }),
            upsample: config.upsample.unwrap_or(if ours { Upsampling::Transposed } else { Upsampling::Nearest }),
            init: config.init.unwrap_or(if ours { Init::He } else { Init::Pytorch }),
        })
    }

    /// The config that says all of this.
    fn config(&self, given: &NetworkConfig) -> NetworkConfig {
        NetworkConfig {
            levels: None,
            base: None,
            widths: Some(self.widths.clone()),
            convs: Some(self.convs),
            norm: Some(self.norm),
            activation: Some(self.activation),
            upsample: Some(self.upsample),
            pools: Some(self.pools.iter().map(|&pool| Extent::Axes(pool)).collect()),
            init: Some(self.init),
            ..given.clone()
        }
    }
}

/// Levels and channels beyond which a config is a mistake rather than a wish; keeps every product far below overflow.
const MOST_LEVELS: usize = 12;
const MOST_CHANNELS: usize = 1 << 16;

fn widths(config: &NetworkConfig) -> Result<Vec<usize>> {
    if let Some(widths) = &config.widths {
        if config.levels.is_some_and(|levels| levels != widths.len()) || config.base.is_some() {
            return Err(invalid("widths", "they stand beside levels or base".into(), "give one or the other"));
        }
        positive("widths", widths)?;
        return if (1..=MOST_LEVELS).contains(&widths.len()) {
            Ok(widths.clone())
        } else {
            Err(invalid("widths", format!("there are {}", widths.len()), "give 1 to 12"))
        };
    }
    let (levels, base) = (config.levels.unwrap_or(5), config.base.unwrap_or(32));
    if !(1..=MOST_LEVELS).contains(&levels) {
        return Err(invalid("levels", format!("{levels} is out of range"), "use 1 to 12"));
    }
    positive("base", &[base])?;
    let widths: Vec<usize> = (0..levels).map(|level| base << level).collect();
    positive("levels", &widths)?;
    Ok(widths)
}

/// Tiles between `levels` levels: those of the config, or 2 and at last `coarsest`.
fn pools(config: &NetworkConfig, levels: usize, coarsest: usize) -> Result<Vec<[usize; 3]>> {
    let usual = || (1..levels).map(|level| Extent::Every(if level + 1 == levels { coarsest } else { 2 })).collect();
    let extents: Vec<Extent> = config.pools.clone().unwrap_or_else(usual);
    let pools: Vec<[usize; 3]> = extents.iter().map(|extent| extent.axes(config.dims)).collect();
    if pools.len() + 1 != levels {
        let problem = format!("there are {} for {levels} levels", pools.len());
        return Err(invalid("pools", problem, "give one fewer than levels"));
    }
    if pools.iter().flatten().any(|&extent| !(1..=16).contains(&extent)) {
        return Err(invalid("pools", format!("{pools:?} are out of range"), "use 1 to 16 along each axis"));
    }
    if config.dims == 2 && pools.iter().any(|pool| pool[0] != 1) {
        return Err(invalid("pools", format!("{pools:?} reach along d"), "in a 2-D network d is 1"));
    }
    Ok(pools)
}

fn positive(key: &str, values: &[usize]) -> Result<()> {
    match values.iter().find(|&&value| !(1..=MOST_CHANNELS).contains(&value)) {
        Some(value) => Err(invalid(key, format!("{value} is out of range"), "use 1 to 65536")),
        None => Ok(()),
    }
}

fn invalid(key: &str, problem: String, remedy: &str) -> Error {
    Error::new(problem).at(key).help(remedy)
}
