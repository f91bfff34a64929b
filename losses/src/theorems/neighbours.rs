//! Priors, and the losses that use neighbouring pixels.

use segcal_core::{Backend, Result, Shape};

use super::problem::{Pixel, gap, gap_of};
use super::{Problem, Theorem};
use crate::Convention::{Authors, Paper};
use crate::{Convention, Prior};

/// The labels of the patch around a pixel, in plain code. `outside` is the label beyond the image; `None` repeats the
/// nearest pixel.
fn patch<B: Backend>(p: &Problem<B>, pixel: usize, extent: usize, outside: Option<f64>) -> Vec<f64> {
    let pixels = p.shape.with(1, 1);
    let [n, _, d, h, w] = pixels.coordinate(pixel);
    let reach = (extent / 2) as i64;
    let deep = if pixels.spatial()[0] == 1 { 0 } else { reach };
    let mut labels = Vec::new();
    for dd in -deep..=deep {
        for dh in -reach..=reach {
            for dw in -reach..=reach {
                let wanted = [d as i64 + dd, h as i64 + dh, w as i64 + dw];
                let near: [usize; 3] =
                    std::array::from_fn(|axis| wanted[axis].clamp(0, pixels.spatial()[axis] as i64 - 1) as usize);
                let inside = (0..3).all(|axis| near[axis] as i64 == wanted[axis]);
                let label = p.labels[pixels.offset([n, 0, near[0], near[1], near[2]])];
                labels.push(if inside { label } else { outside.unwrap_or(label) });
            }
        }
    }
    labels
}

/// The authors' Gaussian of a 3 x 3 (x 3) patch without its centre, and the printed one with the centre's weight.
fn neighbour_weights(flat: bool, sigma: f64) -> (Vec<f64>, f64) {
    let depth = if flat { 0..=0 } else { -1..=1 };
    let offsets = depth.flat_map(|d: i32| (-1..=1).flat_map(move |h: i32| (-1..=1).map(move |w: i32| [d, h, w])));
    let weights: Vec<f64> =
        offsets.map(|o| (-f64::from(o.map(|x| x * x).iter().sum::<i32>()) / (2.0 * sigma * sigma)).exp()).collect();
    let others = weights.iter().sum::<f64>() - 1.0;
    let middle = weights.len() / 2;
    let mixture = weights.iter().enumerate().map(|(i, w)| if i == middle { 0.0 } else { w / others }).collect();
    (mixture, 1.0 / (1.0 + others))
}

/// The mixture of the neighbours' labels of a pixel.
fn mixture<B: Backend>(p: &Problem<B>, pixel: usize, weights: &[f64]) -> Vec<f64> {
    let mut tau = vec![0.0; p.classes()];
    for (label, weight) in patch(p, pixel, 3, None).iter().zip(weights) {
        tau[*label as usize] += weight;
    }
    tau
}

/// The index of a pixel and class in a prior.
fn place(shape: Shape, pixel: usize, class: usize) -> usize {
    (pixel / shape.voxels() * shape.c() + class) * shape.voxels() + pixel % shape.voxels()
}

fn one_hot<B: Backend>(p: &Problem<B>) -> Vec<f64> {
    let mut values = vec![0.0; p.shape.len()];
    (0..p.pixels()).for_each(|pixel| values[place(p.shape, pixel, p.labels[pixel] as usize)] = 1.0);
    values
}

/// Priors that sum to one at every pixel.
const NORMALISED: [&str; 8] =
    ["mean", "gaussian", "max", "min", "median", "mode", "image-proportions-l1", "image-proportions-l2"];

/// Deviation of a prior under renumbering the classes by `k -> K - 1 - k`.
fn renumbering<B: Backend>(p: &Problem<B>, name: &str) -> Result<f64> {
    let last = p.classes() - 1;
    let renumbered = p.with_labels(|_, label| last as f64 - label);
    let (before, after) = (p.prior(name, &[], Paper)?, renumbered.prior(name, &[], Paper)?);
    let mut worst: f64 = 0.0;
    for pixel in 0..p.pixels() {
        for class in 0..=last {
            let [a, b] = [before[place(p.shape, pixel, class)], after[place(p.shape, pixel, last - class)]];
            worst = worst.max((a - b).abs());
        }
    }
    Ok(worst)
}

/// Deviation of SVLS from its decomposition.
fn svls_gap<B: Backend>(p: &Problem<B>, convention: Convention) -> Result<f64> {
    let mut worst: f64 = 0.0;
    for (sigma, text) in [(0.5, "0.5"), (1.0, "1"), (2.0, "2")] {
        let (weights, printed) = neighbour_weights(p.shape.spatial()[0] == 1, sigma);
        let centre = if convention == Paper { printed } else { 0.5 };
        let pixels = p.each_pixel();
        let taus: Vec<Vec<f64>> = (0..p.pixels()).map(|i| mixture(p, i, &weights)).collect();
        let of_pixel = |(pixel, tau): (&Pixel, &Vec<f64>)| {
            // KL(tau || s) + H(tau) is the cross entropy of tau and s.
            let entropy: f64 = tau.iter().map(|t| if *t > 0.0 { -t * t.ln() } else { 0.0 }).sum();
            let parts = tau.iter().zip(&pixel.log_s);
            let divergence: f64 = parts.map(|(t, log_s)| if *t > 0.0 { t * (t.ln() - log_s) } else { 0.0 }).sum();
            centre * pixel.cross_entropy() + (1.0 - centre) * (divergence + entropy)
        };
        let total: f64 = pixels.iter().zip(&taus).map(of_pixel).sum();
        let slope = p.gradient_of_mean(|i, pixel| {
            let of_class = |k: usize| pixel.s[k] - centre * pixel.y(k) - (1.0 - centre) * taus[i][k];
            (0..p.classes()).map(of_class).collect()
        });
        let found = p.evaluate("svls", &[("sigma", text)], convention)?;
        worst = worst.max(gap(found.total, total / p.pixels() as f64)).max(gap_of(&found.gradient, &slope));
    }
    Ok(worst)
}

#[expect(clippy::too_many_lines, reason = "a list")]
pub(super) fn theorems<B: Backend>() -> Vec<Theorem<B>> {
    vec![
        Theorem {
            name: "svls-decomposition",
            statement: "as printed, SVLS = w_c CE + (1 - w_c) (KL(tau||s) + H(tau)), tau the neighbours' mixture, w_c the \
                        centre's weight, value and gradient",
            source: "NACL, Eq. 2 to 5",
            about: &["svls", "gaussian", "ce"],
            bound: [1e-12, 1e-4],
            check: |p| svls_gap(p, Paper),
        },
        Theorem {
            name: "svls-decomposition-authors",
            statement: "the same with w_c = 1/2 for every sigma, to the float32 of the public code's blur: 27 additions",
            source: "NACL, Eq. 2 to 5",
            about: &["svls", "gaussian", "ce"],
            bound: [27.0 * 6e-8, 1e-4],
            check: |p| svls_gap(p, Authors),
        },
        Theorem {
            name: "priors-sum-to-one",
            statement: "mean, gaussian, max, min, median, mode and both image proportions sum to one at every pixel in both \
                        conventions; bilateral and gradient do not, nor do MONAI's at the border",
            source: "NACL, supplement, Eq. 1 to 3",
            about: &NORMALISED,
            bound: [1e-12, 1e-5],
            check: |p| {
                let mut worst: f64 = 0.0;
                for name in NORMALISED {
                    for &convention in Convention::ALL {
                        let prior = p.prior(name, &[], convention)?;
                        for pixel in 0..p.pixels() {
                            let sum: f64 = (0..p.classes()).map(|k| prior[place(p.shape, pixel, k)]).sum();
                            worst = worst.max((sum - 1.0).abs());
                        }
                    }
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "priors-without-sum-one",
            statement: "at a corner MONAI's mean sums to the share of the patch inside the image, and its Gaussian to less than \
                        one; bilateral and gradient give 0 on a flat image",
            source: "MONAI; public code of NACL",
            about: &["monai-mean", "monai-gaussian", "bilateral", "gradient"],
            bound: [1e-12, 1e-5],
            check: |p| {
                let sum = |prior: &[f64]| (0..p.classes()).map(|k| prior[place(p.shape, 0, k)]).sum::<f64>();
                let share = if p.shape.spatial()[0] == 1 { 4.0 / 9.0 } else { 8.0 / 27.0 };
                let mean = (sum(&p.prior("monai-mean", &[], Authors)?) - share).abs();
                let gaussian = sum(&p.prior("monai-gaussian", &[], Authors)?);
                let mut worst = mean.max(gaussian - 0.9);
                let flat = Problem { image: vec![0.5; p.image.len()], ..p.clone() };
                for name in ["bilateral", "gradient"] {
                    worst = flat.prior(name, &[], Paper)?.iter().fold(worst, |worst, t| worst.max(t.abs()));
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "mean-is-a-box-filter",
            statement: "the mean prior is the box filter of the one-hot labels, with background outside (authors) or the \
                        nearest label (paper); so are the image proportions of a flat image",
            source: "NACL, supplement, Eq. 1",
            about: &["mean", "image-proportions-l1", "image-proportions-l2"],
            bound: [1e-12, 1e-5],
            check: |p| {
                let flat = Problem { image: vec![0.5; p.image.len()], ..p.clone() };
                let mut worst: f64 = 0.0;
                for (extent, text) in [(3, "3"), (5, "5")] {
                    for (convention, outside) in [(Authors, Some(0.0)), (Paper, None)] {
                        let mut expected = vec![0.0; p.shape.len()];
                        for pixel in 0..p.pixels() {
                            let labels = patch(p, pixel, extent, outside);
                            for label in &labels {
                                expected[place(p.shape, pixel, *label as usize)] += 1.0 / labels.len() as f64;
                            }
                        }
                        worst = worst.max(gap_of(&p.prior("mean", &[("patch", text)], convention)?, &expected));
                        if convention == Paper {
                            for name in ["image-proportions-l1", "image-proportions-l2"] {
                                worst = worst.max(gap_of(&flat.prior(name, &[("patch", text)], Paper)?, &expected));
                            }
                        }
                    }
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "order-priors-plainly",
            statement: "max, min, median and mode are the one-hot codes of the sorted patch's places, and of its most frequent label, \
                        of equals the smallest",
            source: "NACL, supplement, Eq. 3",
            about: &["max", "min", "median", "mode"],
            bound: [0.0, 0.0],
            check: |p| {
                let mut worst: f64 = 0.0;
                for (convention, outside) in [(Authors, Some(0.0)), (Paper, None)] {
                    for name in ["max", "min", "median", "mode"] {
                        let found = p.prior(name, &[], convention)?;
                        for pixel in 0..p.pixels() {
                            let mut labels = patch(p, pixel, 3, outside);
                            labels.sort_by(f64::total_cmp);
                            let count = |k: usize| labels.iter().filter(|&&label| label as usize == k).count();
                            let expected = match name {
                                "max" => labels[labels.len() - 1] as usize,
                                "min" => labels[0] as usize,
                                "median" => labels[labels.len() / 2] as usize,
                                _ => (0..p.classes()).rev().max_by_key(|&k| count(k)).expect("a class"),
                            };
                            for class in 0..p.classes() {
                                let one = f64::from(u8::from(class == expected));
                                worst = worst.max((found[place(p.shape, pixel, class)] - one).abs());
                            }
                        }
                    }
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "renumbering",
            statement: "mean and gaussian do not depend on how the classes are numbered; the median of a patch of odd size is \
                        equivariant to reversing the numbers, and max becomes min",
            source: "NACL, supplement",
            about: &["mean", "gaussian", "max", "min", "median"],
            bound: [1e-12, 1e-6],
            check: |p| {
                let mut worst: f64 = 0.0;
                for name in ["mean", "gaussian", "median"] {
                    worst = worst.max(renumbering(p, name)?);
                }
                let last = p.classes() - 1;
                let reversed = p.with_labels(|_, label| last as f64 - label);
                let (max, min) = (p.prior("max", &[], Paper)?, reversed.prior("min", &[], Paper)?);
                for pixel in 0..p.pixels() {
                    for class in 0..=last {
                        let gap = max[place(p.shape, pixel, class)] - min[place(p.shape, pixel, last - class)];
                        worst = worst.max(gap.abs());
                    }
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "uniform-patch",
            statement: "where all labels are one class, every prior but bilateral and gradient is the one-hot label (MONAI's only \
                        inside)",
            source: "NACL, Sec. 2.2",
            about: &NORMALISED,
            bound: [1e-12, 1e-5],
            check: |p| {
                let uniform = p.with_labels(|_, _| 1.0);
                let expected = one_hot(&uniform);
                NORMALISED.iter().try_fold(0.0, |worst: f64, name| {
                    Ok(worst.max(gap_of(&uniform.prior(name, &[], Paper)?, &expected)))
                })
            },
        },
        Theorem {
            name: "priors-are-shares",
            statement: "every prior of the list is finite and at least 0 in both conventions",
            source: "NACL, supplement",
            about: &[],
            bound: [0.0, 0.0],
            check: |p| {
                let mut worst: f64 = 0.0;
                for name in Prior::names() {
                    for &convention in Convention::ALL {
                        let prior = p.prior(name, &[], convention)?;
                        worst = prior
                            .iter()
                            .fold(worst, |worst, t| if t.is_finite() { worst.max(-t) } else { f64::INFINITY });
                    }
                }
                Ok(worst)
            },
        },
    ]
}
