//! The gradients of a whole batch: sums over its parts, exchanged while the backward pass goes on.

use std::collections::VecDeque;

use segcal_core::{Backend, Error, Result, Shape, Tensor, ops};
use segcal_data::observer::{Event, Observer, Span};

use super::queue::{Exchange, Pending, Queue};
use super::share::Share;
use super::tree::{Node, Tree};
use super::wire;

/// How many gradient values are sent together: enough to keep a connection busy, but few enough that most are sent
/// before the backward pass ends.
const BUCKET: usize = 1 << 18;

/// The sums in progress. The gradients of all parts computed here are added once the last is there; a bucket of such
/// sums is sent as soon as it is full. All ranks complete the gradients in the same order, because the last one of a
/// parameter is always that of the first part, and all parts have the same graph.
pub(crate) struct Sums<'a, B: Backend> {
    share: &'a Share,
    /// `None` if there is only one rank.
    queue: Option<Queue>,
    observer: &'a dyn Observer,
    /// For each parameter, the gradients of the parts computed here, until all are there.
    parts: Vec<Vec<Option<Tensor<B>>>>,
    bucket: Vec<(usize, Vec<Node<Tensor<B>>>)>,
    sent: VecDeque<(Sent<B>, Pending)>,
    values: Vec<Option<Tensor<B>>>,
    /// The first error; nothing is sent after it.
    failed: Option<Error>,
}

/// A bucket that was sent.
struct Sent<B: Backend> {
    backend: B,
    /// The parameters in it.
    sums: Vec<(usize, Shape)>,
    bytes: usize,
}

impl<'a, B: Backend> Sums<'a, B> {
    /// Sums for this many parameters. `observer` receives the times of each exchange.
    ///
    /// # Errors
    /// No thread can be started for the exchanges.
    pub(crate) fn new(share: &'a Share, parameters: usize, observer: &'a dyn Observer) -> Result<Self> {
        Ok(Self {
            share,
            queue: (share.deal.size > 1).then(|| Queue::start(share.ranks.clone())).transpose()?,
            observer,
            parts: vec![vec![None; share.deal.own().len()]; parameters],
            bucket: Vec::new(),
            sent: VecDeque::new(),
            values: vec![None; parameters],
            failed: None,
        })
    }

    /// Takes the gradient of a parameter in one of the parts computed here.
    pub(crate) fn take(&mut self, part: usize, parameter: usize, gradient: Tensor<B>) {
        let parts = &mut self.parts[parameter];
        parts[part] = Some(gradient);
        if parts.iter().all(Option::is_some)
            && let Err(error) = self.complete(parameter)
        {
            self.failed.get_or_insert(error);
        }
    }

    /// The sum of each parameter's gradients; `None` for parameters without one.
    ///
    /// # Errors
    /// As [`Ranks::gather`](super::Ranks::gather); the device cannot be read.
    pub(crate) fn finish(mut self) -> Result<Vec<Option<Tensor<B>>>> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.parts.iter().flatten().any(Option::is_some) {
            return Err(wire::strange());
        }
        self.send()?;
        while let Some((sent, pending)) = self.sent.pop_front() {
            self.receive(&sent, &pending.wait()?)?;
        }
        Ok(self.values)
    }

    fn complete(&mut self, parameter: usize) -> Result<()> {
        let mut tree = Tree::default();
        for (start, gradient) in self.share.deal.own().zip(self.parts[parameter].iter_mut().filter_map(Option::take)) {
            tree.push(Node { start, size: 1, sum: gradient }, add);
        }
        if self.queue.is_none() {
            self.values[parameter] = tree.finish(add);
            return Ok(());
        }
        self.bucket.push((parameter, tree.into_nodes()));
        let filled: usize = self.bucket.iter().map(|(_, nodes)| nodes[0].sum.shape().len()).sum();
        if filled < BUCKET || self.failed.is_some() { Ok(()) } else { self.send() }
    }

    /// Begins the exchange of what is in the bucket, and receives what has arrived, so that it does not pile up.
    fn send(&mut self) -> Result<()> {
        let bucket = std::mem::take(&mut self.bucket);
        let (Some(queue), Some((_, first))) = (&self.queue, bucket.first()) else { return Ok(()) };
        let (backend, mut bytes) = (first[0].sum.backend().clone(), Vec::new());
        if self.share.deal.counts() {
            bucket.iter().flat_map(|(_, nodes)| nodes).try_for_each(|node| wire::put(&node.sum, &mut bytes))?;
        }
        let sums = bucket.into_iter().map(|(parameter, nodes)| (parameter, nodes[0].sum.shape())).collect();
        let sent = Sent { backend, sums, bytes: bytes.len() };
        self.sent.push_back((sent, queue.begin(bytes)));
        while let Some(outcome) = self.sent.front().and_then(|(_, pending)| pending.done()) {
            let (sent, exchange) = (self.sent.pop_front(), outcome?);
            sent.map_or(Ok(()), |(sent, _)| self.receive(&sent, &exchange))?;
        }
        Ok(())
    }

    /// Adds the sums of all ranks.
    fn receive(&mut self, sent: &Sent<B>, exchange: &Exchange) -> Result<()> {
        let &Exchange { ref all, began, ended } = exchange;
        self.observer.event(Event::Span(Span { lane: "exchange", work: "gradients", bytes: sent.bytes, began, ended }));
        let mut trees: Vec<Tree<Tensor<B>>> = sent.sums.iter().map(|_| Tree::default()).collect();
        for (rank, bytes) in all.iter().enumerate() {
            let (mut bytes, nodes) = (&bytes[..], self.share.deal.nodes(rank));
            for (tree, &(_, shape)) in trees.iter_mut().zip(&sent.sums) {
                for &Node { start, size, .. } in &nodes {
                    tree.push(Node { start, size, sum: wire::take(&sent.backend, shape, &mut bytes)? }, add);
                }
            }
        }
        for (&(parameter, _), tree) in sent.sums.iter().zip(trees) {
            self.values[parameter] = Some(tree.finish(add).ok_or_else(wire::strange)?);
        }
        Ok(())
    }
}

fn add<B: Backend>(a: Tensor<B>, b: Tensor<B>) -> Tensor<B> {
    ops::sum_of(&[a, b])
}
