//! Gaussian prior as MONAI's `NACLLoss` computes it: the one-hot labels blurred by a separable Gaussian whose taps are
//! integrals over pixels, `(erf((i + 1/2) / (sqrt 2 sigma)) - erf((i - 1/2) / (sqrt 2 sigma))) / 2`, cut at
//! `4 sigma`, with zeros outside the image.
//!
//! Inside the image it sums to one up to 6.8e-6 (at most what the cut removes per axis), near the border to less. Both
//! conventions are the same. Source: MONAI 1.5, `NACLLoss` with `kernel_ops = "gaussian"`.

use segcal_core::{Backend, Result, Tensor};

use super::patch::{Outside, filter_channels, filter_labels};
use crate::{LabelPrior, Param, Range, Settings, Spec};

/// One-hot labels blurred by an integrated Gaussian with zeros outside.
#[derive(Clone, Debug)]
pub struct MonaiGaussian {
    sigma: f64,
}

impl LabelPrior for MonaiGaussian {
    const SPEC: Spec = Spec {
        name: "monai-gaussian",
        title: "One-hot labels blurred by an integrated Gaussian with zeros outside the image",
        source: "MONAI, NACLLoss, gaussian",
        image: false,
        views: 1,
        params: &[&[Param::new("sigma", "1", Range::Above(0.0, 100.0), "standard deviation, in pixels")]],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { sigma: settings.number("sigma") })
    }

    fn value<B: Backend>(&self, labels: &Tensor<B>, classes: usize, _: Option<&Tensor<B>>) -> Tensor<B> {
        let taps = self.taps();
        let length = taps.len();
        let flat = labels.shape().spatial()[0] == 1;
        let axes = [[length, 1, 1], [1, length, 1], [1, 1, length]];
        let mut axes = axes.into_iter().skip(usize::from(flat));
        let first = axes.next().expect("an image has rows");
        let blurred = filter_labels(labels, classes, first, &taps, Outside::Nothing);
        axes.fold(blurred, |map, extents| filter_channels(&map, extents, &taps))
    }
}

impl MonaiGaussian {
    /// Weights along one axis.
    fn taps(&self) -> Vec<f64> {
        let reach = ((self.sigma * 4.0).max(0.5) + 0.5).floor() as i64;
        let scale = std::f64::consts::FRAC_1_SQRT_2 / self.sigma;
        let edge = |x: f64| erf(x * scale);
        (-reach..=reach).map(|i| 0.5 * (edge(i as f64 + 0.5) - edge(i as f64 - 0.5))).collect()
    }
}

/// The error function `2/sqrt(pi) integral from 0 to x of exp(-t^2)`, to 1e-15 absolute: its Maclaurin series
/// `2/sqrt(pi) exp(-x^2) sum_n 2^n x^(2n+1) / (2n+1)!!`, whose terms are all of one sign; 1 beyond 6.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Abramowitz and Stegun, Table 7.1.
    #[test]
    fn error_function() {
        for (x, y) in [(0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
            assert!((erf(x) - y).abs() < 1e-10 && (erf(-x) + y).abs() < 1e-10);
        }
        assert_eq!((erf(0.0), erf(7.0)), (0.0, 1.0));
    }
}
