//! Cross entropy plus soft Dice, `CE + DSC`, both with weight 1.
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`. The parts are [`Ce`] and [`Dice`];
//! the background is included, as in the authors' code. Both conventions are the same.
//! Source: MbLS (Murugesan et al. 2023), Sec. 5; NACL, Sec. 3.

use segcal_core::{Backend, Result};

use crate::ce::Ce;
use crate::dice::Dice;
use crate::{Batch, Criterion, Listed, Settings, Spec, Value};

/// Cross entropy plus soft Dice.
#[derive(Clone, Debug)]
pub struct CeDice {
    ce: Ce,
    dice: Dice,
}

impl Listed for CeDice {
    const SPEC: Spec = Spec {
        name: "ce-dice",
        title: "Cross entropy plus soft Dice",
        source: "MbLS (Murugesan et al. 2023), Sec. 5",
        image: false,
        views: 1,
        params: &[Dice::SPEC.params[0], Ce::SPEC.params[0]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { ce: Ce::new(settings)?, dice: Dice::new(settings)? })
    }
}

impl Criterion for CeDice {
    fn check(&self, classes: usize) -> Result<()> {
        self.ce.check(classes).and_then(|()| self.dice.check(classes))
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        self.ce.value(batch).plus(1.0, self.dice.value(batch))
    }
}
