//! The constraints of CRaC with fixed weights instead of learnt multipliers: `CE + sum_(i outer) sum_k lambda_ko |tau_k
//! - l_k| + sum_(i inner) sum_k lambda_ki |tau_k - l_k|`.
//!
//! A pixel is *inner* if its label patch contains a single class, else *outer*; `tau` is the mean prior of the same
//! patch. `lambda` is one number, or 2K numbers: the outer weights of all classes, then the inner ones, as in
//! [`Crac`](crate::crac::Crac).
//!
//! - `authors`: `tau` is a share (`normalise`), the penalty is the **mean** over the classes, and patches see
//!   background outside the image. With a single weight it is [`Nacl`](crate::nacl::Nacl);
//! - `paper`: `tau` is a count, the penalty is the sum over the classes, and patches see the nearest pixel outside the
//!   image.
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`. `lambda = 0` is cross entropy.
//! Source: CRaC (Murugesan et al. 2024), Eq. 3.

use segcal_core::{Backend, Error, Result, Shape, Tensor, axis};

use crate::crac::{Neighbourhood, Regions};
use crate::pixelwise::{Per, pixelwise};
use crate::priors::patch::PATCH;
use crate::{Batch, Criterion, Listed, Param, Range, Settings, Spec, Value, Weighting};

/// Cross entropy with fixed weights on the distance of the logits from the mean prior.
#[derive(Clone, Debug)]
pub struct CracFixed {
    weighting: Weighting,
    near: Neighbourhood,
    lambda: Vec<f64>,
    sum_classes: bool,
}

impl Listed for CracFixed {
    const SPEC: Spec = Spec {
        name: "crac-fixed",
        title: "Logits pulled to the mean prior with fixed weights per class and region",
        source: "CRaC (Murugesan et al. 2024), Eq. 3",
        image: false,
        views: 1,
        params: &[
            &[
                Param::new(
                    "lambda",
                    "0.1",
                    Range::Each(0.0, 1e12),
                    "weights: one, or the outer ones of all classes, then the inner ones",
                ),
                Neighbourhood::NORMALISE,
                PATCH,
            ],
            Weighting::PARAMS,
        ],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            weighting: Weighting::new(settings),
            near: Neighbourhood::new(settings),
            lambda: settings.numbers("lambda"),
            sum_classes: settings.is_paper(),
        })
    }
}

impl Criterion for CracFixed {
    fn check(&self, classes: usize) -> Result<()> {
        if ![1, 2 * classes].contains(&self.lambda.len()) {
            let problem = format!("lambda holds {} numbers, but there are {} classes", self.lambda.len(), classes);
            return Err(Error::new(problem).help(
                "give one number, or one per class for outer pixels followed by one per class for inner pixels",
            ));
        }
        self.weighting.check(classes)
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let classes = batch.classes();
        let share = if self.sum_classes { 1.0 } else { 1.0 / classes as f64 };
        let Regions { prior, outer } = self.near.regions(batch);
        let weights = |region: usize| {
            let values: Vec<f64> =
                (0..classes).map(|k| self.lambda[(region * classes + k) % self.lambda.len()]).collect();
            Tensor::from_f64(batch.logits.backend(), Shape::SCALAR.with(axis::C, classes), &values)
        };
        let (of_outer, of_inner) = (weights(0), weights(1));
        pixelwise(
            batch,
            &self.weighting,
            &[&prior, &outer, &of_outer, &of_inner],
            &[("ce", 1.0), ("penalty", 1.0)],
            |p| {
                let weight = p.input(1).select(p.input(2), p.input(3));
                vec![Per::cross_entropy(p), Per::Class(weight * (p.input(0) - p.logit()).abs(), share)]
            },
        )
    }
}
