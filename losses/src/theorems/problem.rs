//! A random problem, and reference formulas for its pixels in plain f64.

use segcal_core::{Backend, Result, Rng, Shape, Tensor};

use crate::{Batch, Convention, Given, Loss, Prior, Setting};

/// Logits, labels and the optional inputs of a loss, all exactly representable in f32.
#[derive(Clone, Debug)]
pub struct Problem<B: Backend> {
    pub(super) backend: B,
    /// Shape of the logits.
    pub(super) shape: Shape,
    pub(super) logits: Vec<f64>,
    pub(super) second: Vec<f64>,
    pub(super) mask: Vec<f64>,
    pub(super) labels: Vec<f64>,
    pub(super) image: Vec<f64>,
    pub(super) rng: Rng,
}

/// The description of a random problem. A property test draws its fields and shrinks them to the simplest failing case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Number of classes, at least 2.
    pub classes: usize,
    /// Number of samples.
    pub samples: usize,
    /// `[d, h, w]`; 2-D where `d = 1`.
    pub extents: [usize; 3],
    /// Standard deviation of the logits.
    pub spread: f64,
    /// How fast the labels change along h and w, in classes per pixel.
    pub slope: [f64; 2],
    /// Share of the pixels whose label is random.
    pub noise: f64,
    /// The random generator for the values.
    pub rng: Rng,
}

impl Draw {
    /// Draws a random description: 2 to 8 classes, 2-D or 3-D.
    pub fn random(rng: Rng) -> Self {
        Self {
            classes: 2 + rng.below(0, 7),
            samples: 1 + rng.below(2, 2),
            extents: [if rng.below(1, 3) == 0 { 3 } else { 1 }, 4 + rng.below(3, 3), 4 + rng.below(4, 4)],
            spread: [0.5, 2.0, 5.0][rng.below(5, 3)],
            slope: [rng.range(6, -0.5, 0.5), rng.range(7, -0.5, 0.5)],
            noise: 0.1,
            rng,
        }
    }
}

/// The result of evaluating a loss.
pub(super) struct Evaluated {
    pub(super) total: f64,
    pub(super) terms: Vec<(&'static str, f64)>,
    pub(super) gradient: Vec<f64>,
}

impl Evaluated {
    pub(super) fn term(&self, name: &str) -> f64 {
        self.terms.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no term {name}")).1
    }
}

impl<B: Backend> Problem<B> {
    /// Draws a random problem.
    pub fn draw(backend: &B, rng: Rng) -> Self {
        Self::new(backend, &Draw::random(rng))
    }

    /// Creates the problem that a draw describes: blobs of labels with some noise, normally distributed logits.
    pub fn new(backend: &B, draw: &Draw) -> Self {
        let (rng, shape) = (draw.rng, Shape::new(draw.samples, draw.classes, 1, 1, 1).with_spatial(draw.extents));
        let single = |x: f64| f64::from(x as f32);
        let normal = |stream: u64, count: usize| {
            (0..count as u64).map(|i| single(draw.spread * rng.stream(stream).normal(i))).collect::<Vec<_>>()
        };
        let pixels = shape.with(1, 1);
        let noise = rng.stream(3);
        let label = |offset: usize| {
            let [n, _, d, h, w] = pixels.coordinate(offset);
            let along = draw.slope[0] * h as f64 + draw.slope[1] * w as f64 + 0.3 * d as f64 + n as f64;
            let random = noise.uniform(2 * offset as u64) < draw.noise;
            let noisy = noise.below(2 * offset as u64 + 1, draw.classes) as f64;
            if random { noisy } else { along.rem_euclid(draw.classes as f64).floor() }
        };
        let offsets = 0..pixels.len();
        Self {
            backend: backend.clone(),
            shape,
            logits: normal(1, shape.len()),
            second: normal(2, shape.len()),
            mask: offsets.clone().map(|i| if rng.stream(5).below(i as u64, 5) == 0 { 0.0 } else { 1.0 }).collect(),
            labels: offsets.clone().map(label).collect(),
            image: offsets.map(|i| single(rng.stream(4).uniform(i as u64))).collect(),
            rng,
        }
    }

    /// The same problem with other logits.
    pub(super) fn with_logits(&self, logit: impl Fn(usize, f64) -> f64) -> Self {
        let logits = self.logits.iter().enumerate().map(|(place, &l)| f64::from(logit(place, l) as f32)).collect();
        Self { logits, ..self.clone() }
    }

    /// The same problem with other labels.
    pub(super) fn with_labels(&self, label: impl Fn(usize, f64) -> f64) -> Self {
        let labels = self.labels.iter().enumerate().map(|(place, &y)| label(place, y)).collect();
        Self { labels, ..self.clone() }
    }

    /// The same problem with the voxels of each sample and channel in another order.
    pub(super) fn reordered(&self, order: &[usize]) -> Self {
        let reorder = |data: &[f64]| {
            data.chunks(order.len()).flat_map(|chunk| order.iter().map(|&from| chunk[from])).collect::<Vec<_>>()
        };
        let (logits, second) = (reorder(&self.logits), reorder(&self.second));
        let (mask, labels, image) = (reorder(&self.mask), reorder(&self.labels), reorder(&self.image));
        Self { logits, second, mask, labels, image, ..self.clone() }
    }

    pub(super) fn classes(&self) -> usize {
        self.shape.c()
    }

    /// Number of pixels of the batch.
    pub(super) fn pixels(&self) -> usize {
        self.shape.n() * self.shape.voxels()
    }

    /// Whether the backend computes in f32.
    pub(super) fn is_single() -> bool {
        size_of::<B::Elem>() == 4
    }

    /// The same problem on another backend.
    pub(super) fn on<C: Backend>(&self, backend: &C) -> Problem<C> {
        Problem {
            backend: backend.clone(),
            shape: self.shape,
            logits: self.logits.clone(),
            second: self.second.clone(),
            mask: self.mask.clone(),
            labels: self.labels.clone(),
            image: self.image.clone(),
            rng: self.rng,
        }
    }

    pub(super) fn tensor(&self, shape: Shape, data: &[f64]) -> Tensor<B> {
        Tensor::from_f64(&self.backend, shape, data)
    }

    /// Evaluates a listed loss: its value, terms and gradient on this problem.
    pub(super) fn evaluate(&self, name: &str, set: &[(&str, &str)], convention: Convention) -> Result<Evaluated> {
        let loss = Loss::new(name, &given(set), convention)?;
        loss.check(self.classes())?;
        self.evaluate_loss(&loss)
    }

    /// Computes the value, terms and gradient of a loss.
    pub(super) fn evaluate_loss(&self, loss: &Loss) -> Result<Evaluated> {
        self.with_batch(|batch| {
            let value = loss.value(batch);
            let terms = value.terms.iter().map(|(name, term)| Ok((*name, term.item()?))).collect::<Result<_>>()?;
            let total = value.total.item()?;
            let gradients = value.total.backward();
            let gradient = gradients.of(batch.logits).map_or_else(|| Ok(vec![0.0; self.logits.len()]), Tensor::to_f64);
            Ok(Evaluated { total, terms, gradient: gradient? })
        })
    }

    /// Computes only the value of a loss.
    pub(super) fn total(&self, loss: &Loss) -> Result<f64> {
        self.with_batch(|batch| loss.value(batch).total.item())
    }

    /// Calls `f` with this problem as a batch that has all inputs a loss may read.
    pub(super) fn with_batch<T>(&self, f: impl FnOnce(&Batch<'_, B>) -> T) -> T {
        let pixels = self.shape.with(1, 1);
        let logits = self.tensor(self.shape, &self.logits).tracked();
        let second = self.tensor(self.shape, &self.second);
        let [labels, image, mask] = [&self.labels, &self.image, &self.mask].map(|data| self.tensor(pixels, data));
        f(&Batch::new(&logits, &labels).with_image(&image).with_second(&second, &mask))
    }

    /// Computes a listed prior from the labels of this problem.
    pub(super) fn prior(&self, name: &str, set: &[(&str, &str)], convention: Convention) -> Result<Vec<f64>> {
        let prior = Prior::new(name, &given(set), convention)?;
        let pixels = self.shape.with(1, 1);
        let image = self.tensor(pixels, &self.image);
        prior.value(&self.tensor(pixels, &self.labels), self.classes(), Some(&image)).to_f64()
    }

    /// All pixels, for the plain formulas.
    pub(super) fn each_pixel(&self) -> Vec<Pixel> {
        let (voxels, classes) = (self.shape.voxels(), self.classes());
        let pixel = |number: usize| {
            let (sample, voxel) = (number / voxels, number % voxels);
            let places: Vec<usize> = (0..classes).map(|k| (sample * classes + k) * voxels + voxel).collect();
            Pixel::new(places.iter().map(|&place| self.logits[place]).collect(), self.labels[number] as usize, places)
        };
        (0..self.pixels()).map(pixel).collect()
    }

    /// The mean over the pixels of a plain formula.
    pub(super) fn mean(&self, f: impl Fn(&Pixel) -> f64) -> f64 {
        self.each_pixel().iter().map(f).sum::<f64>() / self.pixels() as f64
    }

    /// The gradient of a mean over the pixels, given the gradient of each pixel with respect to its own logits.
    pub(super) fn gradient_of_mean(&self, f: impl Fn(usize, &Pixel) -> Vec<f64>) -> Vec<f64> {
        let mut gradient = vec![0.0; self.logits.len()];
        for (number, pixel) in self.each_pixel().iter().enumerate() {
            for (&place, slope) in pixel.places.iter().zip(f(number, pixel)) {
                gradient[place] = slope / self.pixels() as f64;
            }
        }
        gradient
    }
}

/// Parameters by name.
pub(super) fn given(set: &[(&str, &str)]) -> Given {
    set.iter().map(|(name, value)| ((*name).to_string(), Setting::from(*value))).collect()
}

/// One pixel, with plain formulas of its logits.
pub(super) struct Pixel {
    pub(super) l: Vec<f64>,
    pub(super) s: Vec<f64>,
    pub(super) log_s: Vec<f64>,
    pub(super) label: usize,
    /// Indices of its logits.
    pub(super) places: Vec<usize>,
}

impl Pixel {
    fn new(l: Vec<f64>, label: usize, places: Vec<usize>) -> Self {
        let largest = l.iter().copied().fold(f64::MIN, f64::max);
        let log_sum_exp = largest + l.iter().map(|l| (l - largest).exp()).sum::<f64>().ln();
        let log_s: Vec<f64> = l.iter().map(|l| l - log_sum_exp).collect();
        Self { s: log_s.iter().map(|l| l.exp()).collect(), log_s, l, label, places }
    }

    pub(super) fn largest(&self) -> f64 {
        self.l.iter().copied().fold(f64::MIN, f64::max)
    }

    /// The class with the largest logit, the first in case of ties.
    pub(super) fn winner(&self) -> usize {
        let largest = self.largest();
        self.l.iter().position(|&l| l == largest).expect("one is the largest")
    }

    /// `max_j l_j - l_k`.
    pub(super) fn distances(&self) -> Vec<f64> {
        self.l.iter().map(|l| self.largest() - l).collect()
    }

    pub(super) fn y(&self, class: usize) -> f64 {
        f64::from(u8::from(class == self.label))
    }

    pub(super) fn cross_entropy(&self) -> f64 {
        -self.log_s[self.label]
    }

    pub(super) fn entropy(&self) -> f64 {
        -self.s.iter().zip(&self.log_s).map(|(s, log_s)| s * log_s).sum::<f64>()
    }

    /// `KL(u || s)`.
    pub(super) fn uniform_to_s(&self) -> f64 {
        let classes = self.l.len() as f64;
        self.log_s.iter().map(|log_s| (-classes.ln() - log_s) / classes).sum()
    }

    /// `KL(s || u)`.
    pub(super) fn s_to_uniform(&self) -> f64 {
        let classes = self.l.len() as f64;
        self.s.iter().zip(&self.log_s).map(|(s, log_s)| s * (log_s + classes.ln())).sum()
    }

    /// Converts derivatives with respect to the probabilities into derivatives with respect to the logits.
    pub(super) fn through_softmax(&self, slopes: &[f64]) -> Vec<f64> {
        let mean: f64 = slopes.iter().zip(&self.s).map(|(a, s)| a * s).sum();
        slopes.iter().zip(&self.s).map(|(a, s)| s * (a - mean)).collect()
    }
}

/// Difference of two numbers, relative if the absolute value of `expected` is above 1.
pub(super) fn gap(found: f64, expected: f64) -> f64 {
    let gap = (found - expected).abs() / expected.abs().max(1.0);
    if gap.is_nan() { f64::INFINITY } else { gap }
}

/// Largest difference of two vectors, relative to the largest element of the second.
pub(super) fn gap_of(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "vectors of one length");
    let scale = expected.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let worst = worst.fold(0.0, |worst, gap| if gap.is_nan() { f64::INFINITY } else { f64::max(worst, gap) });
    if scale == 0.0 { worst } else { worst / scale }
}
