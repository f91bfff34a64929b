//! Reverse-mode gradients: graph nodes, the walk from newest to oldest, and [`custom`] as the escape hatch.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::ops;
use crate::{Backend, Shape, Tensor};

/// Maps the gradient of an output to the gradients of its inputs (`None` for an input without gradient).
type Vjp<B> = Box<dyn FnOnce(&Tensor<B>) -> Vec<Option<Tensor<B>>> + Send>;

/// How one tracked tensor was computed. Ids increase with creation time, so a node's parents always have smaller ids.
pub(crate) struct Node<B: Backend> {
    id: u64,
    shape: Shape,
    parents: Vec<Option<Arc<Node<B>>>>,
    /// `None` for a leaf. The walk takes it out, so that the memory it holds is freed as early as possible.
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
        Some(taken.expect("backward: part of this graph was already walked"))
    }
}

/// Records a custom operation: `output` was computed from `inputs` without being recorded, and `vjp` maps the gradient
/// of the output to those of the inputs, in the same order (`None` for an input without gradient).
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
    /// Returns the tensor as a leaf of the graph, whose gradient [`Tensor::backward`] computes.
    #[must_use]
    pub fn tracked(&self) -> Self {
        let mut leaf = self.detach();
        leaf.node = Some(Node::new(self.shape(), Vec::new(), None));
        leaf
    }

    /// The leaf that this tensor is; `None` if it is not tracked.
    pub fn leaf(&self) -> Option<Leaf> {
        self.node.as_ref().map(|node| Leaf(node.id))
    }

    /// Whether gradients flow through this tensor.
    pub fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// Records how a new tensor was computed, if any input is tracked.
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

    /// Computes the gradients of this scalar with respect to every tracked leaf it depends on.
    ///
    /// Consumes the scalar and frees the graph during the walk. Panics if the tensor is not a tracked scalar, or if
    /// part of its graph was already walked.
    #[must_use]
    pub fn backward(self) -> Grads<B> {
        let mut leaves = HashMap::new();
        self.backward_into(|leaf, gradient| drop(leaves.insert(leaf, gradient)));
        Grads { leaves }
    }

    /// Like [`Tensor::backward`], but passes on the gradient of each leaf as soon as it is complete: nothing that the
    /// walk has not reached yet contributes to it. The order depends only on how the graph was built.
    pub fn backward_into(self, mut complete: impl FnMut(Leaf, Self)) {
        assert_eq!(self.shape(), Shape::SCALAR, "backward: the loss must be a scalar");
        let one = Self::full(self.backend(), Shape::SCALAR, 1.0);
        let root = self.node.clone().expect("backward: the tensor is not tracked");
        drop(self);
        walk(root, one, &mut complete);
    }
}

/// Identifies a leaf of the graph: see [`Tensor::leaf`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leaf(u64);

/// Nodes that still wait for their gradient, by id, with the contributions received so far.
type Pending<B> = BTreeMap<u64, (Arc<Node<B>>, Vec<Tensor<B>>)>;

fn walk<B: Backend>(root: Arc<Node<B>>, seed: Tensor<B>, complete: &mut dyn FnMut(Leaf, Tensor<B>)) {
    let mut readers = readers(&root);
    let mut pending: Pending<B> = BTreeMap::from([(root.id, (root, vec![seed]))]);
    while let Some((id, (node, contributions))) = pending.pop_last() {
        let gradient = ops::sum_of(&contributions);
        let Some(vjp) = node.take_vjp() else {
            complete(Leaf(id), gradient);
            continue;
        };
        for (parent, gradient) in node.parents.iter().zip(vjp(&gradient)) {
            let (Some(parent), Some(gradient)) = (parent, gradient) else { continue };
            assert_eq!(gradient.shape(), parent.shape, "backward: a gradient does not have the shape of its tensor");
            pending.entry(parent.id).or_insert_with(|| (parent.clone(), Vec::new())).1.push(gradient);
        }
        for parent in node.parents.iter().flatten() {
            let left = readers.get_mut(&parent.id).expect("all nodes below the root were counted");
            *left -= 1;
            // Leaves are older than all other nodes, so without this they would come last.
            if *left == 0
                && parent.vjp.is_none()
                && let Some((_, contributions)) = pending.remove(&parent.id)
            {
                complete(Leaf(parent.id), ops::sum_of(&contributions));
            }
        }
    }
}

/// For each node below the root, how often others read it.
fn readers<B: Backend>(root: &Node<B>) -> HashMap<u64, usize> {
    let (mut readers, mut left) = (HashMap::new(), vec![root]);
    while let Some(node) = left.pop() {
        for parent in node.parents.iter().flatten() {
            let count = readers.entry(parent.id).or_insert(0);
            *count += 1;
            if *count == 1 {
                left.push(parent);
            }
        }
    }
    readers
}

/// The gradients that [`Tensor::backward`] computed.
pub struct Grads<B: Backend> {
    leaves: HashMap<Leaf, Tensor<B>>,
}

impl<B: Backend> Grads<B> {
    /// Returns the gradient of a tracked leaf; `None` if the loss does not depend on it.
    pub fn of(&self, leaf: &Tensor<B>) -> Option<&Tensor<B>> {
        self.leaves.get(&leaf.leaf()?)
    }

    /// Like [`Grads::of`], but removes the gradient from `self` and returns it.
    pub fn take(&mut self, leaf: &Tensor<B>) -> Option<Tensor<B>> {
        self.leaves.remove(&leaf.leaf()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reference;

    fn number(value: f64) -> Tensor<Reference> {
        Tensor::full(&Reference, Shape::SCALAR, value).tracked()
    }

    /// An identity that notes when the walk passes it.
    fn noted(x: &Tensor<Reference>, name: &'static str, notes: &Arc<Mutex<Vec<&'static str>>>) -> Tensor<Reference> {
        let notes = notes.clone();
        custom(&[x], x, move |gradient| {
            notes.lock().unwrap().push(name);
            vec![Some(gradient.clone())]
        })
    }

    #[test]
    fn a_leaf_is_passed_on_before_the_walk_reaches_older_nodes() {
        let notes = Arc::default();
        let [first, second, both] = [2.0, 3.0, 5.0].map(number);
        let x = noted(&ops::map(&[&first, &both], |p| p.input(0) * p.input(1)), "first", &notes);
        let x = noted(&ops::map(&[&x, &second, &both], |p| p.input(0) * p.input(1) * p.input(2)), "second", &notes);
        let names = [(&first, "d first"), (&second, "d second"), (&both, "d both")];
        let names: HashMap<Leaf, &str> = names.map(|(leaf, name)| (leaf.leaf().unwrap(), name)).into();
        let mut found = Vec::new();
        x.backward_into(|leaf, gradient| {
            notes.lock().unwrap().push(names[&leaf]);
            found.push((names[&leaf], gradient.item().unwrap()));
        });
        assert_eq!(*notes.lock().unwrap(), ["second", "d second", "first", "d first", "d both"]);
        assert_eq!(found, [("d second", 50.0), ("d first", 75.0), ("d both", 60.0)]);
    }

    #[test]
    fn a_leaf_also_read_by_what_gets_no_gradient_is_passed_on() {
        let leaf = number(3.0);
        let stopped = custom(&[&ops::map(&[&leaf], |p| p.input(0).square())], &leaf, |_| vec![None]);
        let gradients = ops::map(&[&leaf, &stopped], |p| p.input(0) * p.input(1)).backward();
        assert_eq!(gradients.of(&leaf).unwrap().item().unwrap(), 3.0);
    }
}
