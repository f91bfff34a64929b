//! Class-adaptive label smoothing: cross entropy plus an augmented-Lagrangian penalty on logit distances,
//! `CALS = CE + sum_k P(h_k, rho_k, lambda_k)` with `h_k = (max_j l_j - l_k) / m - 1`, one multiplier per class.
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`. With `normalise = false` the
//! constraint is `d_k - m`. As `h` may be negative, a multiplier decreases if the distances stay below the margin.
//!
//! - `authors`: the penalty is the mean over the classes; `rho` is updated every tenth epoch;
//! - `paper`: the penalty is the sum over the classes; `rho` is updated every epoch.
//!
//! `lambda -> 0, rho -> 0` is cross entropy. The multipliers are updated on the validation set, as in CRaC.
//! Source: Liu et al. 2023 (CALS), Eq. 8 to 11; the constraint is that of MbLS, Eq. 6.

use segcal_core::{Backend, Expr, Result, Shape, Tensor, axis};

use crate::fused::sums;
use crate::lagrangian::{Multipliers, Observed, Penalty};
use crate::pixelwise::{Per, pixelwise};
use crate::{Batch, Criterion, Listed, Param, Pixel, Range, Settings, Spec, State, Value, Weighting};

/// Cross entropy with adaptive constraints on logit distances.
#[derive(Clone, Debug)]
pub struct Cals {
    weighting: Weighting,
    multipliers: Multipliers,
    penalty: Penalty,
    margin: f64,
    normalise: bool,
    sum_classes: bool,
}

const MULTIPLIERS: [Param; 9] = Multipliers::params("1");

impl Listed for Cals {
    const SPEC: Spec = Spec {
        name: "cals",
        title: "Class-adaptive constraints on logit distances",
        source: "CALS (Liu et al. 2023); constraint of MbLS (Murugesan et al. 2023), Eq. 6",
        image: false,
        views: 1,
        params: &[
            &[
                Param::new("margin", "20", Range::Above(0.0, 1e6), "distance that is free, in logits"),
                Param::new("normalise", "true", Range::Flag, "whether the constraint is divided by the margin"),
                Penalty::PARAM,
            ],
            &MULTIPLIERS,
            Weighting::PARAMS,
        ],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            weighting: Weighting::new(settings),
            multipliers: Multipliers::new(settings)?,
            penalty: Penalty::new(settings),
            margin: settings.number("margin"),
            normalise: settings.flag("normalise"),
            sum_classes: settings.is_paper(),
        })
    }
}

impl Criterion for Cals {
    fn check(&self, classes: usize) -> Result<()> {
        self.multipliers.check(classes)?;
        self.weighting.check(classes)
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let mean = 1.0 / batch.classes() as f64;
        let share = if self.sum_classes { 1.0 } else { mean };
        let [lambda, rho] = self.tables(batch);
        let terms = [("ce", 1.0), ("penalty", 1.0), ("constraint", 0.0)];
        pixelwise(batch, &self.weighting, &[&lambda, &rho], &terms, |p| {
            let h = self.constraint(p);
            let penalty = self.penalty.value(h, p.input(1), p.input(0));
            vec![Per::cross_entropy(p), Per::Class(penalty, share), Per::Class(h, mean)]
        })
    }

    fn state(&self) -> State {
        self.multipliers.state()
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        self.multipliers.restore(state)
    }

    fn observe<B: Backend>(&mut self, batch: &Batch<'_, B>) -> Result<()> {
        let per_class = Shape::SCALAR.with(axis::C, batch.classes());
        let [lambda, rho] = self.tables(batch);
        let kept = self.weighting.kept(&batch.labels.detach());
        let weighted = kept.is_some();
        let (low, high) = self.multipliers.bounds;
        let parts = sums(batch, kept, &[&lambda, &rho], per_class, 0, |p| {
            let h = self.constraint(p);
            let slope = self.penalty.slope(h, p.input(1), p.input(0)).max(low).min(high);
            let keep = if weighted { p.weight() } else { p.constant(1.0) };
            vec![slope * keep, h * keep, keep]
        });
        let parts: Vec<Vec<f64>> = parts.iter().map(Tensor::to_f64).collect::<Result<_>>()?;
        let observed =
            (0..batch.classes()).map(|k| Observed { slope: parts[0][k], constraint: parts[1][k], count: parts[2][k] });
        self.multipliers.observe(&observed.collect::<Vec<_>>());
        Ok(())
    }

    fn end_epoch(&mut self) {
        self.multipliers.end_epoch();
    }
}

impl Cals {
    fn constraint<'b>(&self, p: &Pixel<'b>) -> Expr<'b> {
        let above = p.largest() - p.logit() - self.margin;
        if self.normalise { above * (1.0 / self.margin) } else { above }
    }

    /// `lambda` and `rho` per class.
    fn tables<B: Backend>(&self, batch: &Batch<'_, B>) -> [Tensor<B>; 2] {
        let classes = batch.classes();
        let table = |value: &dyn Fn(usize) -> f64| {
            let values: Vec<f64> = (0..classes).map(value).collect();
            Tensor::from_f64(batch.logits.backend(), Shape::SCALAR.with(axis::C, classes), &values)
        };
        [table(&|class| self.multipliers.lambda(class)), table(&|class| self.multipliers.rho(class))]
    }
}
