//! A rank's share of one step, and how the shares are combined.

use std::sync::{Arc, Mutex};

use segcal_core::{Backend, Error, Result, Shape, Tensor, axis, ops};
use segcal_models::{Gradients, Together};

use super::Ranks;
use super::deal::Deal;
use super::tree::{Node, Tree};
use super::wire;

/// How many gradient values are sent together: enough to saturate a connection, but few compared to all gradients.
const BUCKET: usize = 1 << 21;

/// A rank's share of one step.
pub(crate) struct Share {
    ranks: Arc<dyn Ranks>,
    pub(crate) deal: Deal,
    /// An error that could not be returned where it occurred.
    failed: Mutex<Option<Error>>,
}

impl Share {
    /// This rank's share of a batch of `samples`, in parts of `each` samples; 0 means one part.
    pub(crate) fn new(ranks: &Arc<dyn Ranks>, samples: usize, each: usize) -> Arc<Self> {
        let each = if each == 0 { samples.max(1) } else { each };
        let deal = Deal { samples, each, rank: ranks.rank(), size: ranks.size() };
        Arc::new(Self { ranks: ranks.clone(), deal, failed: Mutex::default() })
    }

    /// The samples of a part.
    pub(crate) fn samples<B: Backend>(&self, part: usize, all: &Tensor<B>) -> Tensor<B> {
        let samples = self.deal.samples_of(part);
        if samples.len() == all.shape().n() {
            return all.detach();
        }
        ops::slice(&all.detach(), [samples.start, 0, 0, 0, 0], all.shape().with(axis::N, samples.len()))
    }

    /// All samples of the batch, given those of each part computed here.
    ///
    /// # Errors
    /// As [`Ranks::gather`]; the device cannot be read.
    pub(crate) fn all_samples<B: Backend>(&self, own: &[&Tensor<B>]) -> Result<Tensor<B>> {
        if self.deal.size == 1 {
            return Ok(if let [only] = own { only.detach() } else { ops::concat(own, axis::N).detach() });
        }
        let mut bytes = Vec::new();
        if self.deal.counts() {
            own.iter().try_for_each(|tensor| wire::put(tensor, &mut bytes))?;
        }
        let whole = own[0].shape().with(axis::N, self.deal.samples);
        let all = self.ranks.gather(&bytes)?.concat();
        wire::take(own[0].backend(), whole, &mut &all[..])
    }

    /// The gradients of the whole batch, given those of each part computed here: their sum in the order of a [`Tree`].
    ///
    /// # Errors
    /// As [`Ranks::gather`]; the device cannot be read.
    pub(crate) fn sum<B: Backend>(&self, mut own: Vec<Gradients<B>>, parameters: usize) -> Result<Gradients<B>> {
        if self.deal.is_whole() {
            return own.pop().ok_or_else(wire::strange);
        }
        let mut values: Vec<Option<Tensor<B>>> = vec![None; parameters];
        for bucket in buckets(&own[0], parameters) {
            let trees = bucket.iter().map(|&number| self.own_tree(own.iter().filter_map(|one| one.get(number))));
            for (&number, sum) in bucket.iter().zip(self.joined(trees.collect())?) {
                values[number] = Some(sum);
            }
        }
        Ok(own.swap_remove(0).with_values(values))
    }

    fn own_tree<'b, B: Backend>(&self, parts: impl Iterator<Item = &'b Tensor<B>>) -> Tree<Tensor<B>> {
        let mut tree = Tree::default();
        for (start, sum) in self.deal.own().zip(parts) {
            tree.push(Node { start, size: 1, sum: sum.clone() }, add);
        }
        tree
    }

    /// Sums of tensors over all ranks.
    fn joined<B: Backend>(&self, own: Vec<Tree<Tensor<B>>>) -> Result<Vec<Tensor<B>>> {
        let trees = if self.deal.size == 1 { own } else { self.exchanged(own)? };
        trees.into_iter().map(|tree| tree.finish(add).ok_or_else(wire::strange)).collect()
    }

    fn exchanged<B: Backend>(&self, own: Vec<Tree<Tensor<B>>>) -> Result<Vec<Tree<Tensor<B>>>> {
        let own: Vec<Vec<Node<Tensor<B>>>> = own.into_iter().map(Tree::into_nodes).collect();
        let (backend, mut bytes) = (own[0][0].sum.backend().clone(), Vec::new());
        let shapes: Vec<Shape> = own.iter().map(|nodes| nodes[0].sum.shape()).collect();
        if self.deal.counts() {
            own.iter().flatten().try_for_each(|node| wire::put(&node.sum, &mut bytes))?;
        }
        drop(own);
        let mut trees: Vec<Tree<Tensor<B>>> = shapes.iter().map(|_| Tree::default()).collect();
        for (rank, bytes) in self.ranks.gather(&bytes)?.iter().enumerate() {
            let (mut bytes, nodes) = (&bytes[..], self.deal.nodes(rank));
            for (tree, &shape) in trees.iter_mut().zip(&shapes) {
                for &Node { start, size, .. } in &nodes {
                    let sum = wire::take(&backend, shape, &mut bytes)?;
                    tree.push(Node { start, size, sum }, add);
                }
            }
        }
        Ok(trees)
    }

    /// Returns the error that occurred inside the network, if any.
    ///
    /// # Errors
    /// As [`Ranks::gather`].
    pub(crate) fn check(&self) -> Result<()> {
        self.failed.lock().expect("no panic while a failure is noted").take().map_or(Ok(()), Err)
    }
}

/// The indices of the existing gradients, grouped into those that are sent together.
fn buckets<B: Backend>(gradients: &Gradients<B>, parameters: usize) -> Vec<Vec<usize>> {
    let (mut buckets, mut filled): (Vec<Vec<usize>>, usize) = (Vec::new(), usize::MAX / 2);
    for number in 0..parameters {
        let Some(gradient) = gradients.get(number) else { continue };
        let len = gradient.shape().len();
        if filled + len > BUCKET {
            buckets.push(Vec::new());
            filled = 0;
        }
        filled += len;
        buckets.last_mut().expect("the first one begins a bucket").push(number);
    }
    buckets
}

fn add<B: Backend>(a: Tensor<B>, b: Tensor<B>) -> Tensor<B> {
    ops::sum_of(&[a, b])
}

impl Together for Share {
    /// If communication fails the rows are NaN, and [`Share::check`] returns the error.
    fn rows(&self, own: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        if self.deal.size == 1 {
            return own;
        }
        let width = own[0].len();
        let counted = if self.deal.counts() { own.concat() } else { Vec::new() };
        let all = self.ranks.gather(&wire::bytes_of(&counted)).and_then(|all| {
            let numbers = wire::numbers_of(&all.concat());
            if numbers.len() == width * self.deal.parts() { Ok(numbers) } else { Err(wire::strange()) }
        });
        let numbers = all.unwrap_or_else(|error| {
            self.failed.lock().expect("no panic while a failure is noted").get_or_insert(error);
            vec![f64::NAN; width * self.deal.parts()]
        });
        numbers.chunks(width.max(1)).map(<[f64]>::to_vec).collect()
    }

    fn samples(&self) -> usize {
        self.deal.samples
    }
}
