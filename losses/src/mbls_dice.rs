//! Margin-based label smoothing plus soft Dice: `CE + DSC + lambda sum_k P(d_k)`.
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`. The parts are [`Mbls`] and
//! [`Dice`], with their conventions; here the authors exclude the background from the Dice part. `lambda = 0` is
//! [`CeDice`](crate::ce_dice::CeDice) without background.
//! Source: MbLS (Murugesan et al. 2023), Eq. 7, with the Dice of its Sec. 5.

use segcal_core::{Backend, Result};

use crate::dice::{Denominator, Dice, Overlap};
use crate::mbls::Mbls;
use crate::{Batch, Criterion, Listed, Param, Range, Settings, Spec, Value, Weighting};

/// Margin-based label smoothing plus soft Dice.
#[derive(Clone, Debug)]
pub struct MblsDice {
    mbls: Mbls,
    weighting: Weighting,
    overlap: Overlap,
}

impl Listed for MblsDice {
    const SPEC: Spec = Spec {
        name: "mbls-dice",
        title: "Margin-based label smoothing plus soft Dice",
        source: "MbLS (Murugesan et al. 2023), Eq. 7",
        image: false,
        views: 1,
        params: &[
            Mbls::SPEC.params[0],
            &[
                Param::new("include_background", "false", Range::Flag, "whether class 0 is averaged in the Dice part"),
                Dice::DENOMINATOR,
                Dice::SMOOTH,
            ],
            Weighting::PARAMS,
        ],
    };

    fn new(settings: &Settings) -> Result<Self> {
        let overlap = Overlap {
            pooled: false,
            first_class: usize::from(!settings.flag("include_background")),
            classes: None,
            smooth: settings.number("smooth"),
            squared: Denominator::is_squared(settings),
        };
        Ok(Self { mbls: Mbls::new(settings)?, weighting: Weighting::ignoring(settings), overlap })
    }
}

impl Criterion for MblsDice {
    fn check(&self, classes: usize) -> Result<()> {
        self.mbls.check(classes).and_then(|()| self.overlap.check(classes))
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let dice = self.overlap.loss(batch, &self.weighting);
        let terms = vec![("dice", dice.detach())];
        self.mbls.value(batch).plus(1.0, Value { total: dice, terms })
    }
}
