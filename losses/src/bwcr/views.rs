//! Two random views of a batch, and the mapping back to the original frame.
//!
//! A view consists of one in-plane affine transform for the whole batch and of intensity changes per image. Each change
//! is drawn with probability 1/2, with parameters rounded to two decimals (BWCR, public code):
//!
//! | change | parameter |
//! |---|---|
//! | rotation | -20 to 20 degrees about the centre |
//! | translation | -10 to 10 pixels along each axis |
//! | scale | 0.75 to 1.25 |
//! | shear | -5 to 5 degrees |
//! | gamma | exponent 0.5 to 2 |
//! | contrast and brightness | factor 0.9 to 1.1, shift -0.1 to 0.1 |
//! | Gaussian blur | kernel of 1, 3, 5, 7 or 9 pixels |
//! | sharpening | amount 0.1 to 0.3, then rescaled to the range 0 to 1 |
//! | noise | standard deviation 0.01 to 0.1, then rescaled to the range 0 to 1 |
//!
//! Images are expected in `[0, 1]`. Logits and images are interpolated linearly, labels and masks by nearest neighbour,
//! and everything outside is 0. The mapping back is the exact inverse of the affine transform (the public code inverts
//! the four parts one by one, which is exact only if there is a single one). Volumes are transformed slice by slice.

use segcal_core::{Backend, Border, Geometry, Interpolation, Rng, Sampling, Shape, Tensor, axis, ops};

/// Two random views of a batch.
#[derive(Clone, Debug)]
pub struct TwoViews {
    /// The views.
    pub views: [View; 2],
}

impl TwoViews {
    /// Draws two views of a batch of `samples` images.
    pub fn draw(rng: Rng, samples: usize) -> Self {
        Self { views: [0, 1].map(|number| View::draw(rng.stream(number), samples)) }
    }

    /// 1 for the pixels `[n, 1, d, h, w]` that both views contain.
    pub fn mask<B: Backend>(&self, backend: &B, pixels: Shape) -> Tensor<B> {
        let [a, b] = [0, 1].map(|number| self.views[number].mask(backend, pixels));
        ops::map(&[&a, &b], |p| p.input(0) * p.input(1))
    }
}

/// One random view.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Pixel `o` of the view, relative to the centre, shows pixel `inverse (o - shift)` of the original.
    matrix: [[f64; 2]; 2],
    shift: [f64; 2],
    images: Vec<Intensity>,
}

/// Intensity changes of one image; `None` for a change that was not drawn.
#[derive(Clone, Debug, PartialEq)]
struct Intensity {
    gamma: Option<f64>,
    contrast: Option<(f64, f64)>,
    blur: Option<usize>,
    sharpen: Option<f64>,
    noise: Option<(f64, Rng)>,
}

/// Draws numbered parameters.
struct Draw {
    rng: Rng,
    next: u64,
}

impl Draw {
    fn range(&mut self, low: f64, high: f64) -> f64 {
        self.next += 1;
        (self.rng.range(self.next, low, high) * 100.0).round() / 100.0
    }

    fn maybe<T>(&mut self, parameter: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.next += 1;
        let wanted = self.rng.uniform(self.next) < 0.5;
        let drawn = parameter(self);
        wanted.then_some(drawn)
    }
}

impl View {
    /// The view that changes nothing.
    pub fn identity(samples: usize) -> Self {
        let none = Intensity { gamma: None, contrast: None, blur: None, sharpen: None, noise: None };
        Self { matrix: [[1.0, 0.0], [0.0, 1.0]], shift: [0.0; 2], images: vec![none; samples] }
    }

    /// Draws a view of a batch of `samples` images.
    pub fn draw(rng: Rng, samples: usize) -> Self {
        let mut draw = Draw { rng: rng.stream(0), next: 0 };
        let angle = draw.maybe(|d| d.range(-20.0, 20.0)).unwrap_or(0.0).to_radians();
        let shift = draw.maybe(|d| [d.range(-10.0, 10.0), d.range(-10.0, 10.0)]).unwrap_or([0.0; 2]);
        let scale = draw.maybe(|d| d.range(0.75, 1.25)).unwrap_or(1.0);
        let shear = draw.maybe(|d| d.range(-5.0, 5.0)).unwrap_or(0.0).to_radians();
        let (sin, cos, slant) = (angle.sin(), angle.cos(), shear.tan());
        let matrix = [[scale * cos, scale * (cos * slant - sin)], [scale * sin, scale * (sin * slant + cos)]];
        let images = (0..samples).map(|sample| Intensity::draw(rng.stream(1 + sample as u64))).collect();
        Self { matrix, shift, images }
    }

    /// Transforms the image `[n, c, d, h, w]` to this view.
    pub fn image<B: Backend>(&self, image: &Tensor<B>) -> Tensor<B> {
        assert_eq!(image.shape().n(), self.images.len(), "view: drawn for another number of images");
        let moved = self.forth(image, Interpolation::Linear);
        let one = moved.shape().with(axis::N, 1);
        let changed = self
            .images
            .iter()
            .enumerate()
            .map(|(sample, change)| change.apply(&ops::slice(&moved, [sample, 0, 0, 0, 0], one)));
        let changed: Vec<_> = changed.collect();
        ops::concat(&changed.iter().collect::<Vec<_>>(), axis::N)
    }

    /// Transforms the labels `[n, 1, d, h, w]` to this view, 0 outside.
    pub fn labels<B: Backend>(&self, labels: &Tensor<B>) -> Tensor<B> {
        self.forth(labels, Interpolation::Nearest)
    }

    /// Transforms the labels `[n, 1, d, h, w]` to this view and back to the original frame; 0 where the view does not
    /// contain them.
    pub fn returned<B: Backend>(&self, labels: &Tensor<B>) -> Tensor<B> {
        self.backward(&self.labels(labels), Interpolation::Nearest)
    }

    /// Maps the logits `[n, K, d, h, w]` of this view back to the original frame. Differentiable.
    pub fn back<B: Backend>(&self, logits: &Tensor<B>) -> Tensor<B> {
        self.backward(logits, Interpolation::Linear)
    }

    /// 1 for the pixels `[n, 1, d, h, w]` of the original frame that the view contains.
    pub fn mask<B: Backend>(&self, backend: &B, pixels: Shape) -> Tensor<B> {
        let ones = Tensor::full(backend, pixels.with(axis::C, 1), 1.0);
        self.backward(&self.forth(&ones, Interpolation::Nearest), Interpolation::Nearest)
    }

    fn forth<B: Backend>(&self, x: &Tensor<B>, interpolation: Interpolation) -> Tensor<B> {
        let [[a, b], [c, d]] = self.matrix;
        let determinant = a * d - b * c;
        let inverse = [[d, -b], [-c, a]].map(|row| row.map(|entry| entry / determinant));
        let back = inverse.map(|row| -(row[0] * self.shift[0] + row[1] * self.shift[1]));
        sample(x, inverse, back, interpolation)
    }

    fn backward<B: Backend>(&self, x: &Tensor<B>, interpolation: Interpolation) -> Tensor<B> {
        sample(x, self.matrix, self.shift, interpolation)
    }
}

/// `y[o] = x[matrix (o - centre) + centre + shift]` in the plane.
fn sample<B: Backend>(
    x: &Tensor<B>,
    matrix: [[f64; 2]; 2],
    shift: [f64; 2],
    interpolation: Interpolation,
) -> Tensor<B> {
    let spatial = x.shape().spatial();
    let centre = [spatial[1], spatial[2]].map(|extent| (extent as f64 - 1.0) / 2.0);
    let row = |axis: usize| {
        let [h, w] = matrix[axis];
        [0.0, h, w, centre[axis] + shift[axis] - h * centre[0] - w * centre[1]]
    };
    let matrix = [[1.0, 0.0, 0.0, 0.0], row(0), row(1)];
    ops::resample(x, &Sampling { matrix, interpolation, border: Border::Zero }, spatial)
}

impl Intensity {
    fn draw(rng: Rng) -> Self {
        let mut draw = Draw { rng, next: 0 };
        Self {
            gamma: draw.maybe(|d| d.range(0.5, 2.0)),
            contrast: draw.maybe(|d| (d.range(0.9, 1.1), d.range(-0.1, 0.1))),
            blur: draw.maybe(|d| d.rng.below(1 << 32, 5)),
            sharpen: draw.maybe(|d| d.range(0.1, 0.3)),
            noise: draw.maybe(|d| (d.range(0.01, 0.1), d.rng.stream(0))),
        }
    }

    fn apply<B: Backend>(&self, image: &Tensor<B>) -> Tensor<B> {
        let mut image = image.clone();
        if let Some(gamma) = self.gamma {
            image = ops::map(&[&image], |p| p.input(0).max(0.0).pow(gamma));
        }
        if let Some((factor, shift)) = self.contrast {
            image = ops::map(&[&image], |p| p.input(0) * factor + shift);
        }
        if let Some(reach) = self.blur {
            image = blurred(&image, reach);
        }
        if let Some(amount) = self.sharpen {
            image = rescaled(&ops::map(&[&image, &blurred(&image, 1)], |p| {
                p.input(0) + (p.input(0) - p.input(1)) * amount
            }));
        }
        if let Some((deviation, rng)) = self.noise {
            let noise: Vec<f64> = (0..image.shape().len() as u64).map(|i| deviation * rng.normal(i)).collect();
            let noise = Tensor::from_f64(image.backend(), image.shape(), &noise);
            image = rescaled(&ops::sum_of(&[image, noise]));
        }
        image
    }
}

/// Blurs each slice with a Gaussian of `2 reach + 1` pixels and standard deviation `0.3 (reach - 1) + 0.8`; edges are
/// repeated.
fn blurred<B: Backend>(image: &Tensor<B>, reach: usize) -> Tensor<B> {
    let deviation = 0.3 * (reach as f64 - 1.0) + 0.8;
    let taps: Vec<f64> =
        (0..=2 * reach).map(|i| (-0.5 * ((i as f64 - reach as f64) / deviation).powi(2)).exp()).collect();
    let (extent, total, channels) = (taps.len(), taps.iter().sum::<f64>().powi(2), image.shape().c());
    let kernel: Vec<f64> = taps.iter().flat_map(|a| taps.iter().map(move |b| a * b / total)).collect();
    let kernel: Vec<f64> = (0..channels).flat_map(|_| kernel.iter().copied()).collect();
    let kernel = Tensor::from_f64(image.backend(), Shape::new(channels, 1, 1, extent, extent), &kernel);
    let geometry = Geometry { groups: channels, ..Geometry::VALID };
    ops::conv(&ops::replicate_pad(image, [0, reach, reach]), &kernel, &geometry)
}

/// Rescales the range of the image to 0 to 1; a constant image is returned unchanged.
fn rescaled<B: Backend>(image: &Tensor<B>) -> Tensor<B> {
    let largest = ops::max(image, Shape::SCALAR);
    let smallest = ops::max(&ops::map(&[image], |p| -p.input(0)), Shape::SCALAR);
    ops::map(&[image, &largest, &smallest], |p| {
        let (x, high, low) = (p.input(0), p.input(1), -p.input(2));
        low.lt(high).select((x - low) / low.lt(high).select(high - low, 1.0), x)
    })
}

#[cfg(test)]
mod tests {
    use segcal_core::Reference;

    use super::*;

    fn ramp(shape: Shape) -> Tensor<Reference> {
        let data = (0..shape.len()).map(|i| (i as f64 * 0.37).sin().abs()).collect();
        Tensor::new(&Reference, shape, data)
    }

    #[test]
    fn the_identity_changes_nothing() {
        let image = ramp(Shape::new(2, 1, 1, 8, 9));
        let view = View::identity(2);
        assert_eq!(view.image(&image).to_f64().unwrap(), image.to_f64().unwrap());
        assert_eq!(view.back(&image).to_f64().unwrap(), image.to_f64().unwrap());
        assert!(view.mask(&Reference, image.shape()).to_f64().unwrap().iter().all(|&m| m == 1.0));
    }

    /// Linear interpolation reproduces a linear function of the position exactly, so the round trip is the identity
    /// where the view contains a pixel and its neighbours.
    #[test]
    fn back_undoes_forth() {
        let shape = Shape::new(1, 1, 1, 40, 40);
        let data: Vec<f64> = (0..shape.len()).map(|i| 3.0 + (i / 40) as f64 * 0.5 - (i % 40) as f64 * 0.25).collect();
        let image = Tensor::new(&Reference, shape, data.clone());
        let mut checked = 0;
        for seed in 0..20 {
            let mut view = View::draw(Rng::new(seed), 1);
            view.images = View::identity(1).images;
            let there_and_back = view.back(&view.image(&image)).to_f64().unwrap();
            for (i, (&found, &expected)) in there_and_back.iter().zip(&data).enumerate() {
                let inner = |x: usize| (18..22).contains(&x);
                if inner(i / 40) && inner(i % 40) {
                    assert!((found - expected).abs() < 1e-10, "seed {seed} place {i}: {found} {expected}");
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, 20 * 16);
    }

    #[test]
    fn drawing_again_gives_the_same_and_another_stream_another() {
        let draw = |seed| TwoViews::draw(Rng::new(seed), 3).views;
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5)[0], draw(5)[1]);
        assert_ne!(draw(5), draw(6));
    }

    #[test]
    fn images_stay_finite() {
        let image = ramp(Shape::new(3, 2, 1, 16, 12));
        let flat = Tensor::full(&Reference, image.shape(), 0.0);
        for seed in 0..20 {
            let view = View::draw(Rng::new(seed), 3);
            for x in [&image, &flat] {
                assert!(view.image(x).to_f64().unwrap().iter().all(|x| x.is_finite()), "seed {seed}");
            }
        }
    }
}
