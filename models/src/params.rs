//! The named tensors of a network, which are trained, stored and passed to [`forward`](crate::Network::forward).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use segcal_core::{Backend, Elem, Grads, Result, Rng, Shape, Tensor, ops};

use crate::init::{Spec, name_hash};

/// One named tensor.
#[derive(Clone, Debug)]
pub struct Parameter<B: Backend> {
    /// PyTorch-style name, such as `down.0.l1.conv.weight`.
    pub name: String,
    /// The extents in PyTorch's convention: a 2-D convolution weight has four, a bias one. Their product is the length
    /// of `value`.
    pub dims: Vec<usize>,
    /// The numbers, on five axes.
    pub value: Tensor<B>,
    /// Whether the optimiser updates it. Running statistics of batch normalisation are not trainable, but are stored
    /// with the rest.
    pub trainable: bool,
}

/// Names of layers in order, and whether their outputs were finite.
type Passed = Vec<(String, bool)>;

/// An ordered list of named tensors. Cloning shares the numbers.
///
/// One training step:
///
/// ```
/// # use segcal_core::{Reference, Shape, Tensor, ops};
/// # use segcal_models::{Adam, Mode, NetworkConfig, Optimiser, Rule, build};
/// # let config = NetworkConfig::named("unet").with("levels", 2).with("base", 2);
/// # let network = build::<Reference>(&config)?;
/// # let images = Tensor::full(&Reference, Shape::new(1, 1, 1, 4, 4), 0.5);
/// let mut parameters = network.parameters(0, &Reference);
/// let mut optimiser = Optimiser::new(Rule::Adam(Adam::default()), &parameters)?;
///
/// let leaves = parameters.tracked();
/// let logits = network.forward(&leaves, &images, Mode::Train);
/// let loss = ops::mean_all(&[&logits], |p| p.input(0).square());
/// let gradients = leaves.gradients(&loss.backward()).clipped(2.0);
/// optimiser.step(&mut parameters, &gradients, 1e-3);
/// # Ok::<(), segcal_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Parameters<B: Backend> {
    list: Vec<Parameter<B>>,
    index: Arc<HashMap<String, usize>>,
    /// What forward passes in training mode observed: new values of tensors that are not trainable.
    observed: Arc<Mutex<BTreeMap<usize, Tensor<B>>>>,
    /// The layers that a forward pass went through and whether their outputs were finite; `None` if this is not
    /// recorded.
    watch: Option<Arc<Mutex<Passed>>>,
    /// The source of dropout's random numbers.
    dropout: Option<Rng>,
    /// Index in the batch of the first sample of this part.
    first_sample: usize,
}

impl<B: Backend> Parameters<B> {
    /// The tensors in this order. Panics if two share a name, or if `dims` and `value` differ in length: both are bugs
    /// in a network.
    pub fn new(list: Vec<Parameter<B>>) -> Self {
        let mut index = HashMap::new();
        for (number, parameter) in list.iter().enumerate() {
            let Parameter { name, dims, value, .. } = parameter;
            assert_eq!(dims.iter().product::<usize>(), value.shape().len(), "parameter {name}: {dims:?} do not fit");
            assert!(index.insert(name.clone(), number).is_none(), "parameter {name} appears twice");
        }
        Self { list, index: Arc::new(index), observed: Arc::default(), watch: None, dropout: None, first_sample: 0 }
    }

    /// Freshly initialised tensors as `specs` describe them: the same numbers for the same seed and name, on every
    /// backend.
    pub fn initialised(specs: &[Spec], seed: u64, backend: &B) -> Self {
        Self::of(specs, |spec| Tensor::from_f64(backend, spec.shape, &spec.values(seed)))
    }

    /// Tensors of zeros as `specs` describe them, to be filled from a checkpoint.
    pub fn blank(specs: &[Spec], backend: &B) -> Self {
        Self::of(specs, |spec| Tensor::zeros(backend, spec.shape))
    }

    fn of(specs: &[Spec], value: impl Fn(&Spec) -> Tensor<B>) -> Self {
        let parameter = |spec: &Spec| Parameter {
            name: spec.name.clone(),
            dims: spec.dims.clone(),
            value: value(spec),
            trainable: spec.trainable,
        };
        Self::new(specs.iter().map(parameter).collect())
    }

    /// The tensors in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Parameter<B>> {
        self.list.iter()
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Number of trainable scalars.
    pub fn count(&self) -> usize {
        self.list.iter().filter(|parameter| parameter.trainable).map(|parameter| parameter.value.shape().len()).sum()
    }

    /// The tensor with this name. Panics, listing the known names, if there is none: a network only asks for its own.
    pub fn get(&self, name: &str) -> &Tensor<B> {
        &self.list[self.position(name)].value
    }

    fn position(&self, name: &str) -> usize {
        let known = || self.list.iter().map(|parameter| parameter.name.as_str()).collect::<Vec<_>>().join(", ");
        *self.index.get(name).unwrap_or_else(|| panic!("there is no parameter {name}, only {}", known()))
    }

    /// The same tensors with other values. Panics if the number of values or a shape differs.
    #[must_use]
    pub fn with_values(&self, values: Vec<Tensor<B>>) -> Self {
        assert_eq!(values.len(), self.list.len(), "with_values: one tensor for each parameter");
        let renewed = self.list.iter().zip(values).map(|(old, value)| {
            assert_eq!(old.value.shape(), value.shape(), "with_values: {} has another shape", old.name);
            Parameter { value, ..old.clone() }
        });
        Self {
            list: renewed.collect(),
            index: self.index.clone(),
            observed: Arc::default(),
            watch: None,
            dropout: None,
            first_sample: 0,
        }
    }

    /// The same tensors, with the trainable ones as leaves that receive gradients.
    #[must_use]
    pub fn tracked(&self) -> Self {
        let leaf = |p: &Parameter<B>| if p.trainable { p.value.tracked() } else { p.value.detach() };
        self.with_values(self.list.iter().map(leaf).collect())
    }

    /// The same tensors without history, for a forward pass that records its layers: see [`Parameters::passed_layers`].
    /// The pass reads every layer's output back from the device, so use it only to diagnose a training run that has
    /// failed.
    #[must_use]
    pub fn watched(&self) -> Self {
        let values = self.list.iter().map(|parameter| parameter.value.detach()).collect();
        Self { watch: Some(Arc::default()), ..self.with_values(values) }
    }

    /// The layers in the order in which a forward pass with these [`watched`](Parameters::watched) tensors went through
    /// them, and whether every number of each output was finite. A layer's tensors are named `<layer>.<tensor>`.
    pub fn passed_layers(&self) -> Vec<(String, bool)> {
        let watch = self.watch.as_ref();
        watch.map_or_else(Vec::new, |layers| layers.lock().expect("no panic while a layer is noted").clone())
    }

    /// The same tensors for a training step with dropout: `rng` determines what is dropped and should differ from step
    /// to step.
    #[must_use]
    pub fn with_dropout(self, rng: Rng) -> Self {
        Self { dropout: Some(rng), ..self }
    }

    /// The same tensors for the part of a batch that begins at this sample: dropout drops the same numbers as in a pass
    /// over the whole batch.
    #[must_use]
    pub fn beginning_at(self, first_sample: usize) -> Self {
        Self { first_sample, ..self }
    }

    /// The random numbers of a dropout layer in this step, and the index of the first sample.
    pub(crate) fn dropout(&self, layer: &str) -> Option<(Rng, usize)> {
        self.dropout.map(|rng| (rng.stream(name_hash(layer)), self.first_sample))
    }

    /// Passes on the output of a layer, recording it if these tensors are watched.
    pub(crate) fn passed(&self, layer: &str, output: Tensor<B>) -> Tensor<B> {
        if let Some(layers) = &self.watch {
            let finite = output.to_f64().is_ok_and(|numbers| numbers.iter().all(|number| number.is_finite()));
            layers.lock().expect("no panic while a layer is noted").push((layer.to_owned(), finite));
        }
        output
    }

    /// The gradients that a backward pass computed for these leaves, with the statistics that the forward pass
    /// observed.
    pub fn gradients(&self, grads: &Grads<B>) -> Gradients<B> {
        self.gradients_from(self.list.iter().map(|parameter| grads.of(&parameter.value).cloned()).collect())
    }

    /// The same, given the gradient of each tensor in order, `None` where there is none. Panics if their number differs.
    pub fn gradients_from(&self, values: Vec<Option<Tensor<B>>>) -> Gradients<B> {
        assert_eq!(values.len(), self.list.len(), "gradients_from: one gradient for each parameter");
        let observed = std::mem::take(&mut *self.observed.lock().expect("no panic while statistics are noted"));
        Gradients { values, scale: None, observed }
    }

    /// Records a new value of a tensor that is not trainable; it takes effect with the optimiser's next step.
    pub(crate) fn observe(&self, name: &str, value: Tensor<B>) {
        let number = self.position(name);
        self.observed.lock().expect("no panic while statistics are noted").insert(number, value);
    }

    /// The same tensors on another backend, rounded to its number type.
    ///
    /// # Errors
    /// As [`Backend::download`].
    pub fn on<C: Backend>(&self, backend: &C) -> Result<Parameters<C>> {
        let moved = self.list.iter().map(|p| {
            let numbers = p.value.to_vec()?.into_iter().map(|x| C::Elem::of(x.f64())).collect();
            let value = Tensor::new(backend, p.value.shape(), numbers);
            Ok(Parameter { name: p.name.clone(), dims: p.dims.clone(), value, trainable: p.trainable })
        });
        Ok(Parameters::new(moved.collect::<Result<_>>()?))
    }

    pub(crate) fn at(&self, number: usize) -> &Parameter<B> {
        &self.list[number]
    }

    pub(crate) fn replace(&mut self, number: usize, value: Tensor<B>) {
        self.list[number].value = value;
    }
}

/// Gradients in the order of the [`Parameters`] they belong to.
#[derive(Clone, Debug)]
pub struct Gradients<B: Backend> {
    values: Vec<Option<Tensor<B>>>,
    scale: Option<Tensor<B>>,
    observed: BTreeMap<usize, Tensor<B>>,
}

/// Maximum number of terms in one program: a GPU binds eight buffers.
const TERMS: usize = 6;

impl<B: Backend> Gradients<B> {
    /// The gradient of parameter `number`; `None` where the loss does not depend on it. It is not clipped: see
    /// [`Gradients::scale`].
    pub fn get(&self, number: usize) -> Option<&Tensor<B>> {
        self.values[number].as_ref()
    }

    /// The scalar by which the optimiser multiplies every gradient, if they were clipped.
    pub fn scale(&self) -> Option<&Tensor<B>> {
        self.scale.as_ref()
    }

    /// New values of the tensors that are not trainable, by index.
    pub(crate) fn observed(&self) -> impl Iterator<Item = (usize, &Tensor<B>)> {
        self.observed.iter().map(|(&number, value)| (number, value))
    }

    /// The Euclidean norm of all gradients together, as a scalar on the device. Panics if there is no gradient.
    pub fn norm(&self) -> Tensor<B> {
        let square = |gradient: &Tensor<B>| ops::sum_all(&[gradient], |p| p.input(0).square());
        let mut terms: Vec<Tensor<B>> = self.values.iter().flatten().map(square).collect();
        while terms.len() > 1 {
            terms = terms.chunks(TERMS).map(ops::sum_of).collect();
        }
        ops::map(&[terms.first().expect("norm: there is no gradient")], |p| p.input(0).sqrt())
    }

    /// Scales all gradients together so that their norm is at most `limit`: by `min(1, limit / (norm + 1e-6))`, the
    /// rule of PyTorch's `clip_grad_norm_` (Pascanu, Mikolov and Bengio 2013). Nothing is downloaded: the factor stays
    /// on the device until the optimiser uses it.
    #[must_use]
    pub fn clipped(mut self, limit: f64) -> Self {
        let norm = self.norm();
        let factor = ops::map_over(Shape::SCALAR, &[limit], &[&norm], |p| (p.scalar(0) / (p.input(0) + 1e-6)).min(1.0));
        self.scale = Some(factor);
        self
    }
}
