//! Shows the validation samples to a loss that keeps multipliers, between two epochs.

use segcal_core::{Backend, Context, Result, Rng, Tensor};
use segcal_data::observer::{self, Observer};
use segcal_losses::{Batch, Criterion};
use segcal_models::Mode;

use crate::block::Block;
use crate::ranks::wire;
use crate::samples::{self, HostBatch};
use crate::settings::Samples;

impl<B: Backend, L: Criterion> super::Trainer<'_, B, L> {
    /// Shows the validation samples to a loss that keeps multipliers. Each rank sees all of them, in order.
    pub(super) fn observe_validation(&mut self, observer: &dyn Observer) -> Result<()> {
        if !self.objective.state().is_empty() {
            // Slices without a structure are only left out of training.
            let all = Samples { skip_empty: false, ..self.settings.samples.clone() };
            let blocks = samples::epoch_blocks(&*self.data.validation, &all, Rng::new(self.settings.seed))?;
            for blocks in blocks.chunks(self.settings.batch * self.ranks.size()) {
                observer::check(observer).at(format!("epoch {}, validation", self.epoch + 1))?;
                for (logits, labels) in self.seen(blocks)? {
                    self.objective.observe(&Batch::new(&logits, &labels))?;
                }
            }
        }
        self.objective.end_epoch();
        Ok(())
    }

    /// Logits and labels of one batch per rank, each batch computed by one rank.
    fn seen(&self, blocks: &[Block]) -> Result<Vec<(Tensor<B>, Tensor<B>)>> {
        let cut = |blocks: &[Block]| HostBatch::cut(&*self.data.validation, blocks, None);
        let forward = |images: &Tensor<B>| self.network.forward(&self.parameters, images, Mode::Evaluate);
        if self.ranks.size() == 1 {
            let (images, labels) = cut(blocks)?.upload(self.backend);
            return Ok(vec![(forward(&images), labels)]);
        }
        let mut bytes = Vec::new();
        if let Some(own) = blocks.chunks(self.settings.batch).nth(self.ranks.rank()) {
            wire::put(&forward(&cut(own)?.upload(self.backend).0), &mut bytes)?;
        }
        let all = self.ranks.gather(&bytes)?;
        let seen = blocks.chunks(self.settings.batch).zip(&all).map(|(blocks, bytes)| {
            let labels = cut(blocks)?.upload(self.backend).1;
            let shape = labels.shape().with(segcal_core::axis::C, self.network.config().classes);
            Ok((wire::take(self.backend, shape, &mut &bytes[..])?, labels))
        });
        seen.collect()
    }
}
