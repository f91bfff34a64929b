//! Local temperature scaling (Ding et al. 2021): a small network that predicts a temperature for every pixel.

use segcal_core::{Backend, Geometry, Interpolation, Sampling, Tensor, axis, ops, stable};

use crate::init::{Fill, Spec};
use crate::layers::{Activation, Conv};
use crate::params::Parameters;

/// Extent of the kernels.
const KERNEL: usize = 5;
/// Distance between their taps.
const DILATION: usize = 2;
/// Pixels by which the input is mirrored on each side, so that the convolutions preserve the extents.
const MARGIN: usize = KERNEL / 2 * DILATION;

/// Nine convolutions 5x5 with dilation 2 and one output channel each, over mirrored borders: `t_1 … t_4` and the gates
/// `g_1 g_2 g_3 g` see the logits, `t_0` the image. With `mix(a, b; g) = sigmoid(g) a + (1 - sigmoid(g)) b` and
/// `T_i = t_i + 1`,
///
/// `T = relu(mix(mix(mix(T_1, T_2; g_1), mix(T_3, T_4; g_2); g_3), T_0; g) + 1) + 1e-8`,
///
/// where a [bounded](Self::bounded) network replaces relu's lower bound of 0. The calibrated probabilities are
/// `softmax(logits / T)`: since every temperature is above 0, the predicted labels do not change.
///
/// Tensors are named as in the papers' public code (Bala93/MarginLoss, after uncbiag/LTS): `temperature_level_2_` and
/// `conv1 … conv4`, `param1 … param3`, `conv_img`, `param_img`. Volumes are calibrated slice by slice; `n` counts the
/// slices.
#[derive(Clone, Debug)]
pub struct LocalTemperature {
    temperatures: [Conv; 4],
    gates: [Conv; 3],
    image: Conv,
    image_gate: Conv,
    least: f64,
}

/// Prefix of the names.
const PREFIX: &str = "temperature_level_2_";

impl LocalTemperature {
    /// Creates the network for these numbers of classes and image channels.
    pub fn new(classes: usize, image_channels: usize) -> Self {
        let conv = |name: String, inputs: usize| {
            let geometry = Geometry { dilation: [1, DILATION, DILATION], ..Geometry::VALID };
            let kernel = [1, KERNEL, KERNEL];
            Conv {
                name: format!("{PREFIX}{name}"),
                inputs,
                outputs: 1,
                kernel,
                geometry,
                space: 2,
                bias: true,
                standardised: false,
            }
        };
        Self {
            temperatures: [1, 2, 3, 4].map(|number| conv(format!("conv{number}"), classes)),
            gates: [1, 2, 3].map(|number| conv(format!("param{number}"), classes)),
            image: conv("conv_img".into(), image_channels),
            image_gate: conv("param_img".into(), classes),
            least: 0.0,
        }
    }

    /// The same with temperatures of at least `least`. Without a bound, a step that drives a temperature to 1e-8
    /// multiplies the logits there by 1e8 and ruins the likelihood of the epoch.
    #[must_use]
    pub fn bounded(self, least: f64) -> Self {
        Self { least, ..self }
    }

    /// The smallest extent of `h` and `w` whose borders can be mirrored.
    pub const SMALLEST: usize = MARGIN + 1;

    /// The tensors, all 0 as in the public code: training starts at `T = 2`.
    pub fn zero_specs(&self) -> Vec<Spec> {
        let zero = |spec: Spec| Spec { fill: Fill::Constant(0.0), ..spec };
        self.specs().into_iter().map(zero).collect()
    }

    /// The tensors, initialised near the identity: `T = 1` everywhere, apart from weights of a hundredth of PyTorch's,
    /// which break the symmetry between the branches.
    pub fn specs(&self) -> Vec<Spec> {
        let specs = |conv: &Conv, scale: f64, bias: f64| {
            let bound = ((conv.inputs * KERNEL * KERNEL) as f64).sqrt().recip();
            let mut specs = conv.specs(crate::Init::Pytorch, Activation::Identity);
            specs[0].fill = Fill::Uniform(scale * bound);
            specs[1].fill = Fill::Constant(bias);
            specs
        };
        let temperatures = self.temperatures.iter().chain([&self.image]).flat_map(|conv| specs(conv, 1e-2, -1.0));
        let gates = self.gates.iter().chain([&self.image_gate]).flat_map(|conv| specs(conv, 1.0, 0.0));
        temperatures.chain(gates).collect()
    }

    /// Temperatures `[n, 1, 1, h, w]` of logits `[n, k, 1, h, w]` and images `[n, c, 1, h, w]`.
    ///
    /// # Panics
    /// `h` or `w` is below [`Self::SMALLEST`], or a number of channels does not match the network.
    pub fn temperature<B: Backend>(&self, p: &Parameters<B>, logits: &Tensor<B>, image: &Tensor<B>) -> Tensor<B> {
        let (logits, image) = (mirrored(logits), mirrored(image));
        let of = |conv: &Conv, x: &Tensor<B>| conv.forward(p, x, Activation::Identity);
        let [t1, t2, t3, t4] = self.temperatures.each_ref().map(|conv| of(conv, &logits));
        let [g1, g2, g3] = self.gates.each_ref().map(|conv| of(conv, &logits));
        let mix = |a: &Tensor<B>, b: &Tensor<B>, gate: &Tensor<B>| {
            ops::map(&[a, b, gate], |p| {
                let share = stable::sigmoid(p.input(2));
                share * p.input(0) + (1.0 - share) * p.input(1)
            })
        };
        let from_logits = mix(&mix(&t1, &t2, &g1), &mix(&t3, &t4, &g2), &g3);
        let mixed = mix(&from_logits, &of(&self.image, &image), &of(&self.image_gate, &logits));
        // One from each branch, plus one; mixing preserves what all branches share.
        ops::map(&[&mixed], |p| (p.input(0) + 2.0).max(self.least) + 1e-8)
    }

    /// `logits / T`.
    ///
    /// # Panics
    /// Those of [`Self::temperature`].
    pub fn forward<B: Backend>(&self, p: &Parameters<B>, logits: &Tensor<B>, image: &Tensor<B>) -> Tensor<B> {
        ops::map(&[logits, &self.temperature(p, logits, image)], |q| q.input(0) / q.input(1))
    }
}

/// Extends `h` and `w` by [`MARGIN`] pixels on both sides, mirrored at the outermost pixel, which is not repeated.
fn mirrored<B: Backend>(x: &Tensor<B>) -> Tensor<B> {
    [axis::H, axis::W].into_iter().fold(x.clone(), |x, axis| {
        let extent = x.shape().dims()[axis];
        assert!(extent > MARGIN, "mirrored: {} is not above {MARGIN} along axis {axis}", x.shape());
        // Output pixel o is input pixel first - o.
        let turned = |first: usize| {
            let (mut scale, mut offset, mut spatial) = ([1.0; 3], [0.0; 3], x.shape().spatial());
            (scale[axis - 2], offset[axis - 2], spatial[axis - 2]) = (-1.0, first as f64, MARGIN);
            ops::resample(&x, &Sampling::axes(scale, offset, Interpolation::Nearest), spatial)
        };
        ops::concat(&[&turned(MARGIN), &x, &turned(extent - 2)], axis)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use segcal_core::{Reference, Shape};

    use super::*;
    use crate::params::Parameter;
    use crate::{Stored, load};

    fn golden() -> Stored {
        load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/lts.safetensors")).unwrap()
    }

    fn arrays(stored: &Stored) -> Parameters<Reference> {
        let array = |name: &str, channels: usize| {
            let value = Tensor::zeros(&Reference, Shape::new(2, channels, 1, 9, 9));
            Parameter { name: name.into(), dims: vec![2, channels, 9, 9], value, trainable: false }
        };
        let nll = Tensor::zeros(&Reference, Shape::SCALAR);
        let mut list = vec![array("logits", 4), array("image", 2), array("labels", 1), array("temperature", 1)];
        list.push(array("out", 4));
        list.push(Parameter { name: "nll".into(), dims: vec![1], value: nll, trainable: false });
        stored.restore("golden", &Parameters::new(list)).unwrap()
    }

    fn difference(a: &Tensor<Reference>, b: &Tensor<Reference>) -> f64 {
        let (a, b) = (a.to_f64().unwrap(), b.to_f64().unwrap());
        a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    /// Values, cross entropy and all gradients of the public code, recorded in f64: 1e-12 is the rounding of sums of 100 terms.
    #[test]
    fn equals_the_public_code() {
        let stored = golden();
        let (network, arrays) = (LocalTemperature::new(4, 2), arrays(&stored));
        let like = Parameters::blank(&network.specs(), &Reference);
        let weights = stored.restore("", &like).unwrap();
        let leaves = weights.tracked();
        let (logits, image) = (arrays.get("logits"), arrays.get("image"));
        let temperature = network.temperature(&leaves, logits, image);
        assert!(difference(&temperature, arrays.get("temperature")) < 1e-12);
        let out = network.forward(&leaves, logits, image);
        assert!(difference(&out, arrays.get("out")) < 1e-12);
        let target = ops::one_hot(arrays.get("labels"), 4);
        let nll = ops::sum_all(&[&stable::log_softmax(&out), &target], |p| p.input(0) * p.input(1) / -162.0);
        assert!(difference(&nll, arrays.get("nll")) < 1e-12);
        let gradients = nll.backward();
        let expected = stored.restore("gradient", &like).unwrap();
        for parameter in leaves.iter() {
            let gradient = gradients.of(&parameter.value).unwrap();
            assert!(difference(gradient, expected.get(&parameter.name)) < 1e-12, "{}", parameter.name);
        }
    }

    #[test]
    fn begins_at_two_as_the_public_code_and_stays_above_its_bound() {
        let network = LocalTemperature::new(3, 1).bounded(0.25);
        let of = |specs: &[Spec]| {
            let parameters = Parameters::initialised(specs, 0, &Reference);
            let flat = |channels: usize| Tensor::full(&Reference, Shape::new(1, channels, 1, 5, 5), 0.0);
            network.temperature(&parameters, &flat(3), &flat(1)).to_f64().unwrap()
        };
        let mut low = network.specs();
        low.iter_mut().filter(|spec| spec.name.ends_with("bias")).for_each(|spec| spec.fill = Fill::Constant(-50.0));
        assert!(of(&network.zero_specs()).iter().all(|t| (t - 2.0).abs() < 1e-7));
        assert!(of(&low).iter().all(|t| (t - 0.25).abs() < 1e-7));
    }

    #[test]
    fn begins_near_the_identity_and_mirrors_without_repeating_the_border() {
        let network = LocalTemperature::new(3, 1);
        let parameters = Parameters::initialised(&network.specs(), 0, &Reference);
        let logits = Tensor::full(&Reference, Shape::new(1, 3, 1, 6, 5), 2.0);
        let image = Tensor::full(&Reference, Shape::new(1, 1, 1, 6, 5), 0.5);
        // A hundredth of weights that sum to at most sqrt(75) in size, times logits of 2.
        let temperature = network.temperature(&parameters, &logits, &image).to_f64().unwrap();
        assert!(temperature.iter().all(|t| (t - 1.0).abs() < 0.18), "{temperature:?}");
        let line: Vec<f64> = (0..5).map(f64::from).collect();
        let row = Tensor::from_f64(&Reference, Shape::new(1, 1, 1, 5, 5), &line.repeat(5));
        let wide = mirrored(&row).to_f64().unwrap();
        assert_eq!(wide[..13], [4.0, 3.0, 2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
    }
}
