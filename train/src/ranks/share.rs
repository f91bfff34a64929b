//! A rank's share of one step, and how the shares are combined.

use std::sync::{Arc, Mutex};

use segcal_core::{Backend, Error, Result, Tensor, axis, ops};
use segcal_models::Together;

use super::Ranks;
use super::deal::Deal;
use super::wire;

/// A rank's share of one step.
pub(crate) struct Share {
    pub(super) ranks: Arc<dyn Ranks>,
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

    /// Returns the error that occurred inside the network, if any.
    ///
    /// # Errors
    /// As [`Ranks::gather`].
    pub(crate) fn check(&self) -> Result<()> {
        self.failed.lock().expect("no panic while a failure is noted").take().map_or(Ok(()), Err)
    }
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
