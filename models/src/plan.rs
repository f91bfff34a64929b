//! A network as a list of layers, each with the values that it reads. All built-in networks are plans.

use segcal_core::{Backend, Error, Result, Shape, Tensor};

use crate::checkpoint::Stored;
use crate::graph::Graph;
use crate::init::{Init, Spec};
use crate::layers::{Block, Mode};
use crate::network::{Network, NetworkConfig, Output};
use crate::params::Parameters;
use crate::parts::Parts;

/// A value in a [`Plan`]: the image or the output of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire(usize);

#[derive(Clone, Debug)]
struct Step {
    block: Block,
    init: Init,
    inputs: Vec<Wire>,
}

/// Layers in the order in which they are computed, and which of their outputs are logits.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    steps: Vec<Step>,
    /// Logits with their weight in the loss, the finest first.
    heads: Vec<(Wire, f64)>,
}

impl Plan {
    /// The input.
    pub const IMAGE: Wire = Wire(0);

    /// Adds a layer that reads these values.
    pub fn add(&mut self, block: Block, init: Init, inputs: &[Wire]) -> Wire {
        debug_assert!(inputs.iter().all(|input| input.0 <= self.steps.len()), "an input must be computed earlier");
        self.steps.push(Step { block, init, inputs: inputs.to_vec() });
        Wire(self.steps.len())
    }

    /// Declares logits: first those used for prediction, then those used only in training.
    pub fn head(&mut self, logits: Wire, weight: f64) {
        self.heads.push((logits, weight));
    }

    /// The tensors in the order of the layers.
    pub fn specs(&self) -> Vec<Spec> {
        self.steps.iter().flat_map(|step| step.block.specs(step.init)).collect()
    }

    /// For each value, how often it is read by the layers that are needed to compute the `wanted` ones.
    fn readers(&self, wanted: &[Wire]) -> Vec<usize> {
        let mut readers = vec![0; self.steps.len() + 1];
        wanted.iter().for_each(|wire| readers[wire.0] += 1);
        for (number, step) in self.steps.iter().enumerate().rev() {
            if readers[number + 1] > 0 {
                step.inputs.iter().for_each(|input| readers[input.0] += 1);
            }
        }
        readers
    }

    /// The values of the `wanted` wires for all parts. A value is released as soon as its last reader has it.
    fn run<B: Backend>(
        &self,
        parts: &Parts<'_, B>,
        x: Vec<Tensor<B>>,
        mode: Mode,
        wanted: &[Wire],
    ) -> Vec<Vec<Tensor<B>>> {
        let (count, mut readers) = (x.len(), self.readers(wanted));
        let mut values: Vec<Option<Vec<Tensor<B>>>> = vec![None; self.steps.len() + 1];
        values[0] = Some(x);
        let mut take = |values: &mut Vec<Option<Vec<Tensor<B>>>>, Wire(number): Wire| {
            readers[number] -= 1;
            let value = if readers[number] == 0 { values[number].take() } else { values[number].clone() };
            value.expect("a value is computed before it is read and kept until its last reader")
        };
        let needed = self.readers(wanted);
        for (number, step) in self.steps.iter().enumerate() {
            if needed[number + 1] > 0 {
                let inputs = step.inputs.iter().map(|&input| take(&mut values, input)).collect();
                values[number + 1] = Some(step.block.forward_parts(parts, turned(inputs, count), mode));
            }
        }
        wanted.iter().map(|&wire| take(&mut values, wire)).collect()
    }

    /// Shapes of all values for an image of this shape; `None` if a layer does not fit.
    fn shapes(&self, image: Shape) -> Option<Vec<Shape>> {
        let mut shapes = vec![image];
        for step in &self.steps {
            let inputs: Vec<Shape> = step.inputs.iter().map(|input| shapes[input.0]).collect();
            shapes.push(step.block.output(&inputs)?);
        }
        Some(shapes)
    }

    /// The layers needed for the logits used for prediction, as standard layers.
    fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        let readers = self.readers(&[self.heads[0].0]);
        let mut values = vec![graph.image(); self.steps.len() + 1];
        for (number, step) in self.steps.iter().enumerate().filter(|(number, _)| readers[number + 1] > 0) {
            let inputs: Vec<_> = step.inputs.iter().map(|input| values[input.0]).collect();
            values[number + 1] = step.block.describe(&mut graph, &inputs);
        }
        graph
    }
}

/// Transposes lists of equal length: the first items of all, the second items of all, and so on.
fn turned<T>(lists: Vec<Vec<T>>, length: usize) -> Vec<Vec<T>> {
    let mut turned: Vec<Vec<T>> = (0..length).map(|_| Vec::with_capacity(lists.len())).collect();
    lists.into_iter().for_each(|list| turned.iter_mut().zip(list).for_each(|(to, item)| to.push(item)));
    turned
}

/// A network that is a [`Plan`].
#[derive(Clone, Debug)]
pub struct Planned {
    config: NetworkConfig,
    plan: Plan,
    specs: Vec<Spec>,
    stride: [usize; 3],
    /// The only extents that the image may have if positions are learnt.
    extents: Option<[usize; 3]>,
}

impl Planned {
    /// The network of a plan. `config` must have every key filled in; the extents of an image must be multiples of
    /// `stride`.
    pub fn new(config: NetworkConfig, plan: Plan, stride: [usize; 3]) -> Self {
        let specs = plan.specs();
        Self { config, plan, specs, stride, extents: None }
    }

    /// Accepts only images of these extents.
    #[must_use]
    pub fn with_extents(self, extents: [usize; 3]) -> Self {
        Self { extents: Some(extents), ..self }
    }

    /// Sorts the tensors by a key.
    #[must_use]
    pub fn with_order<K: Ord>(mut self, key: impl FnMut(&Spec) -> K) -> Self {
        self.specs.sort_by_key(key);
        self
    }

    fn check_shape(&self, x: Shape) -> Result<()> {
        let (channels, spatial, stride) = (self.config.in_channels, x.spatial(), self.stride);
        if x.c() != channels {
            let problem = format!("the image has {} channels, but the network takes {channels}", x.c());
            return Err(Error::new(problem).help(format!("set network.in_channels = {}", x.c())));
        }
        if self.config.dims == 2 && spatial[0] != 1 {
            let problem = format!("a 2-D network takes slices, not volumes of {} slices", spatial[0]);
            return Err(Error::new(problem).help("cut slices, or set network.dims = 3"));
        }
        if let Some(extents) = self.extents.filter(|&extents| extents != spatial) {
            let problem =
                format!("extents {spatial:?} (d, h, w) differ from those of the network's positions, {extents:?}");
            return Err(Error::new(problem).help(format!("set network.image = {}", spatial[1])));
        }
        if (0..3).any(|axis| spatial[axis] == 0 || !spatial[axis].is_multiple_of(stride[axis])) {
            let problem = format!("extents {spatial:?} (d, h, w) are not multiples of the network's stride {stride:?}");
            return Err(Error::new(problem).help("pad or crop the image, or use fewer levels"));
        }
        Ok(())
    }
}

impl<B: Backend> Network<B> for Planned {
    fn config(&self) -> &NetworkConfig {
        &self.config
    }

    fn specs(&self) -> Vec<Spec> {
        self.specs.clone()
    }

    fn import(&self, stored: &Stored, backend: &B) -> Result<Parameters<B>> {
        stored.import(&self.specs, backend, |spec, dims, numbers| {
            self.plan.steps.iter().find_map(|step| match &step.block {
                Block::Positions(positions) if positions.name == spec.name => positions.resized(dims, numbers),
                _ => None,
            })
        })
    }

    fn forward(&self, parameters: &Parameters<B>, x: &Tensor<B>, mode: Mode) -> Tensor<B> {
        let finest = [self.plan.heads[0].0];
        self.plan.run(&Parts::whole(parameters), vec![x.clone()], mode, &finest).remove(0).remove(0)
    }

    fn outputs(&self, parameters: &Parameters<B>, x: &Tensor<B>) -> Vec<Output<B>> {
        self.outputs_of_parts(&Parts::whole(parameters), vec![x.clone()], true).remove(0)
    }

    fn outputs_of_parts(&self, parts: &Parts<'_, B>, x: Vec<Tensor<B>>, coarser: bool) -> Vec<Vec<Output<B>>> {
        let (finest, others) = self.plan.heads.split_first().expect("a network has logits");
        let others = others.iter().filter(|(_, weight)| coarser && *weight != 0.0);
        let heads: Vec<(Wire, f64)> = [finest].into_iter().chain(others).copied().collect();
        let (wires, count): (Vec<Wire>, usize) = (heads.iter().map(|(wire, _)| *wire).collect(), x.len());
        let logits = turned(self.plan.run(parts, x, Mode::Train, &wires), count);
        let outputs = |logits: Vec<Tensor<B>>| {
            logits.into_iter().zip(&heads).map(|(logits, &(_, weight))| Output { logits, weight }).collect()
        };
        logits.into_iter().map(outputs).collect()
    }

    fn graph(&self) -> Graph {
        self.plan.graph()
    }

    fn stride(&self) -> [usize; 3] {
        self.stride
    }

    fn step_numbers(&self, images: Shape) -> u64 {
        let count =
            |shape: &Shape| shape.dims().iter().fold(1u64, |count, &extent| count.saturating_mul(extent as u64));
        let outputs = self.plan.shapes(images).unwrap_or_default();
        let weights = 4 * Network::<B>::parameter_count(self) as u64;
        outputs.iter().fold(weights, |sum, shape| sum.saturating_add(count(shape)))
    }

    fn accepts(&self, x: Shape) -> Result<()> {
        self.check_shape(x)?;
        let spatial = x.spatial();
        let Some(shapes) = self.plan.shapes(x) else {
            let problem = format!("extents {spatial:?} (d, h, w) are too small for a kernel of the network");
            return Err(Error::new(problem).help("use larger patches or fewer levels"));
        };
        if self.plan.steps.iter().zip(&shapes[1..]).any(|(step, &output)| step.block.is_starved(output)) {
            let problem = format!("extents {spatial:?} (d, h, w) leave only one voxel at the coarsest level");
            return Err(Error::new(problem).help("instance norm needs two: use larger patches or fewer levels"));
        }
        Ok(())
    }
}
