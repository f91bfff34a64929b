//! One training step: the network's outputs for a batch, part by part, the loss of the whole batch, and the gradients.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use segcal_core::{Backend, Leaf, Result, Rng, Shape, Tensor, custom};
use segcal_data::observer::{Event, Observer, Span};
use segcal_losses::bwcr::TwoViews;
use segcal_losses::{Batch, Criterion, Value};
use segcal_models::{Gradients, Network, Output, Parameters, Parts, Together};

use super::ranks::share::Share;
use super::ranks::sums::Sums;
use super::supervision;

/// A step in progress.
pub(super) struct Step<'a, B: Backend> {
    network: &'a dyn Network<B>,
    /// The parameters for each part computed here.
    leaves: Vec<Parameters<B>>,
    share: Arc<Share>,
    passes: RefCell<Vec<Pass<B>>>,
}

/// The network's outputs for a batch.
struct Pass<B: Backend> {
    /// The outputs of each part computed here.
    parts: Vec<Vec<Output<B>>>,
    /// Each output for the whole batch, as a leaf, so that a loss sees a single tensor.
    whole: Vec<Tensor<B>>,
}

impl<'a, B: Backend> Step<'a, B> {
    /// A step in which `dropout` determines what is dropped.
    pub(super) fn new(
        network: &'a dyn Network<B>,
        parameters: &Parameters<B>,
        dropout: Rng,
        share: Arc<Share>,
    ) -> Self {
        let first = |part: usize| share.deal.samples_of(part).start;
        let leaf = |part: usize| parameters.tracked().with_dropout(dropout).beginning_at(first(part));
        let leaves = share.deal.own().map(leaf).collect();
        Self { network, leaves, share, passes: RefCell::default() }
    }

    /// The loss of a batch, or of two random views of it if the objective compares two.
    ///
    /// # Errors
    /// The device cannot be read, or another rank has ended.
    pub(super) fn loss(
        &self,
        objective: &impl Criterion,
        views: Rng,
        images: &Tensor<B>,
        labels: &Tensor<B>,
    ) -> Result<Value<B>> {
        if objective.views() == 1 {
            return Ok(supervision::loss(objective, self.outputs(images, true)?, images, labels));
        }
        let two = TwoViews::draw(views, images.shape().n());
        let [first, second] = two.views.each_ref().map(|view| self.outputs(&view.image(images), false));
        let [first, second] = [(0, first?), (1, second?)].map(|(view, seen)| two.views[view].back(&seen[0].logits));
        let mask = two.mask(images.backend(), labels.shape());
        let returned = two.views[0].returned(labels);
        let batch = Batch::new(&first, labels).with_second(&second, &mask).with_returned_labels(&returned);
        Ok(objective.value(&batch))
    }

    /// The outputs for the whole batch, including those computed by other ranks.
    fn outputs(&self, images: &Tensor<B>, coarser: bool) -> Result<Vec<Output<B>>> {
        let own = self.share.deal.own().map(|part| self.share.samples(part, images)).collect();
        let together: Arc<dyn Together> = self.share.clone();
        let parts =
            if self.share.deal.is_whole() { Parts::whole(&self.leaves[0]) } else { Parts::of(&self.leaves, together) };
        let parts = self.network.outputs_of_parts(&parts, own, coarser);
        self.share.check()?;
        let whole = |head: usize| -> Result<Output<B>> {
            let own: Vec<&Tensor<B>> = parts.iter().map(|outputs| &outputs[head].logits).collect();
            Ok(Output { logits: self.share.all_samples(&own)?.tracked(), weight: parts[0][head].weight })
        };
        let outputs = (0..parts[0].len()).map(whole).collect::<Result<Vec<_>>>()?;
        let whole = outputs.iter().map(|output| output.logits.clone()).collect();
        self.passes.borrow_mut().push(Pass { parts, whole });
        Ok(outputs)
    }

    /// The gradients, over the whole batch, of a loss computed from the step's outputs. `observer` receives the times of
    /// the backward pass and of each exchange of gradients.
    ///
    /// # Errors
    /// The device cannot be read, or another rank has ended.
    pub(super) fn gradients(self, loss: Tensor<B>, observer: &dyn Observer) -> Result<Gradients<B>> {
        let began = Instant::now();
        let (mut sums, places) = (Sums::new(&self.share, self.leaves[0].len(), observer)?, self.places());
        self.end(loss).backward_into(|leaf, gradient| {
            if let Some(&(part, parameter)) = places.get(&leaf) {
                sums.take(part, parameter, gradient);
            }
        });
        observer.event(Event::Span(Span::of_computing("backward", began)));
        self.share.check()?;
        let waiting = Instant::now();
        let gradients = sums.finish()?;
        if self.share.deal.size > 1 {
            observer.event(Event::Span(Span::of_computing("wait for gradients", waiting)));
        }
        Ok(self.leaves[0].gradients_from(gradients))
    }

    /// Part and parameter of each leaf.
    fn places(&self) -> HashMap<Leaf, (usize, usize)> {
        let of_part = |(part, leaves): (usize, &Parameters<B>)| {
            let leaves: Vec<_> = leaves.iter().map(|parameter| parameter.value.leaf()).enumerate().collect();
            leaves.into_iter().filter_map(move |(number, leaf)| Some((leaf?, (part, number))))
        };
        self.leaves.iter().enumerate().flat_map(of_part).collect()
    }

    /// A scalar whose gradients are those of the loss, with respect to the parameters of the parts computed here.
    fn end(&self, loss: Tensor<B>) -> Tensor<B> {
        let backend = loss.backend().clone();
        let to_logits = loss.backward();
        let (mut ends, mut gradients) = (Vec::new(), Vec::new());
        for pass in self.passes.take() {
            for (part, outputs) in self.share.deal.own().zip(pass.parts) {
                for (output, whole) in outputs.into_iter().zip(&pass.whole) {
                    let Some(gradient) = to_logits.of(whole) else { continue };
                    gradients.push(Some(self.share.samples(part, gradient)));
                    ends.push(output.logits);
                }
            }
        }
        let inputs: Vec<&Tensor<B>> = ends.iter().collect();
        custom(&inputs, &Tensor::zeros(&backend, Shape::SCALAR), move |_| gradients)
    }
}
