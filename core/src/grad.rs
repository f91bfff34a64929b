//! Reverse-mode gradients: nodes, the walk from newest to oldest, and the one escape hatch.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::ops;
use crate::{Backend, Shape, Tensor};

/// From the gradient of an output to those of its inputs (`None` where there is none).
type Vjp<B> = Box<dyn FnOnce(&Tensor<B>) -> Vec<Option<Tensor<B>>> + Send>;

/// How one tracked tensor came about. Numbered by age, so that larger numbers never feed smaller ones.
pub(crate) struct Node<B: Backend> {
    id: u64,
    shape: Shape,
    parents: Vec<Option<Arc<Node<B>>>>,
    /// Absent for a leaf; taken by the walk, so that what it holds is freed as early as possible.
    vjp: Option<Mutex<Option<Vjp<B>>>>,
}

impl<B: Backend> Node<B> {
    fn new(shape: Shape, parents: Vec<Option<Arc<Self>>>, vjp: Option<Vjp<B>>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { id, shape, parents, vjp: vjp.map(|vjp| Mutex::new(Some(vjp))) })
    }

    fn take_vjp(&self) -> Option<Vjp<B>> {
        let vjp = self.vjp.as_ref()?;
        let taken = vjp.lock().expect("no panic while a gradient is taken").take();
        Some(taken.expect("backward: this graph was walked before"))
    }
}

/// An operation of your own: `output` was made from `inputs` by means that were not recorded, and `vjp` turns the
/// gradient of the output into those of the inputs, in their order (`None` for an input without gradient).
///
/// Nothing is recorded if no input is tracked. `vjp` should hold detached tensors only.
pub fn custom<B: Backend>(
    inputs: &[&Tensor<B>],
    output: &Tensor<B>,
    vjp: impl FnOnce(&Tensor<B>) -> Vec<Option<Tensor<B>>> + Send + 'static,
) -> Tensor<B> {
    output.detach().record(inputs, vjp)
}

impl<B: Backend> Tensor<B> {
    /// Marks the tensor as one whose gradient is wanted: a leaf of the graph.
    #[must_use]
    pub fn tracked(&self) -> Self {
        let mut leaf = self.detach();
        leaf.node = Some(Node::new(self.shape(), Vec::new(), None));
        leaf
    }

    /// Whether gradients flow through this tensor.
    pub fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// Records how a fresh tensor came about, if any input is tracked.
    #[must_use]
    pub(crate) fn record(
        mut self,
        inputs: &[&Self],
        vjp: impl FnOnce(&Self) -> Vec<Option<Self>> + Send + 'static,
    ) -> Self {
        let parents: Vec<_> = inputs.iter().map(|input| input.node.clone()).collect();
        if parents.iter().any(Option::is_some) {
            self.node = Some(Node::new(self.shape(), parents, Some(Box::new(vjp))));
        }
        self
    }

    /// Gradients of this scalar with respect to every tracked leaf it was made of.
    ///
    /// Consumes the scalar and frees the graph as it walks. Panics if the tensor is not a tracked scalar, or if a part
    /// of its graph was walked before.
    #[must_use]
    pub fn backward(self) -> Grads<B> {
        assert_eq!(self.shape(), Shape::SCALAR, "backward: the loss must be a scalar");
        let one = Self::full(self.backend(), Shape::SCALAR, 1.0);
        let root = self.node.clone().expect("backward: nothing was tracked");
        drop(self);
        walk(root, one)
    }
}

/// Nodes that wait for their gradient, by age, with the contributions that have come in so far.
type Pending<B> = BTreeMap<u64, (Arc<Node<B>>, Vec<Tensor<B>>)>;

fn walk<B: Backend>(root: Arc<Node<B>>, seed: Tensor<B>) -> Grads<B> {
    let mut pending: Pending<B> = BTreeMap::from([(root.id, (root, vec![seed]))]);
    let mut leaves = HashMap::new();
    while let Some((id, (node, contributions))) = pending.pop_last() {
        let gradient = ops::sum_of(&contributions);
        let Some(vjp) = node.take_vjp() else {
            leaves.insert(id, gradient);
            continue;
        };
        for (parent, gradient) in node.parents.iter().zip(vjp(&gradient)) {
            let (Some(parent), Some(gradient)) = (parent, gradient) else { continue };
            assert_eq!(gradient.shape(), parent.shape, "backward: a gradient has not the shape of its tensor");
            pending.entry(parent.id).or_insert_with(|| (parent.clone(), Vec::new())).1.push(gradient);
        }
    }
    Grads { leaves }
}

/// The gradients that [`Tensor::backward`] found.
pub struct Grads<B: Backend> {
    leaves: HashMap<u64, Tensor<B>>,
}

impl<B: Backend> Grads<B> {
    /// The gradient of a tracked leaf; `None` if the loss does not depend on it.
    pub fn of(&self, leaf: &Tensor<B>) -> Option<&Tensor<B>> {
        self.leaves.get(&leaf.node.as_ref()?.id)
    }

    /// The same, taken out.
    pub fn take(&mut self, leaf: &Tensor<B>) -> Option<Tensor<B>> {
        self.leaves.remove(&leaf.node.as_ref()?.id)
    }
}
