//! Identities and inequalities of the papers.

use segcal_core::Backend;

use super::Theorem;
use super::problem::{Pixel, gap, gap_of};
use crate::Convention::{Authors, Paper};

#[expect(clippy::too_many_lines, reason = "a list")]
pub(super) fn theorems<B: Backend>() -> Vec<Theorem<B>> {
    vec![
        Theorem {
            name: "mbls-proposition-1",
            statement: "KL(u||s) <= 1/K sum_k (max_j l_j - l_k) <= KL(u||s) + log K: the additive constants of Prop. 1 are \
                        0 below and log K above, as max <= log-sum-exp <= max + log K",
            source: "MbLS, Prop. 1",
            about: &["mbls", "label-smoothing"],
            bound: [1e-12, 1e-4],
            check: |p| {
                let distance = p.evaluate("mbls", &[("margin", "0")], Authors)?.term("margin");
                // Label smoothing with alpha = 1 is KL(u||s) + log K.
                let smoothed = p.evaluate("label-smoothing", &[("alpha", "1")], Authors)?.total;
                let divergence = smoothed - (p.classes() as f64).ln();
                let of_mean = (divergence - distance).max(distance - smoothed);
                let of_pixel = p.each_pixel().iter().fold(f64::MIN, |worst, pixel| {
                    let distance = pixel.distances().iter().sum::<f64>() / p.classes() as f64;
                    let divergence = pixel.uniform_to_s();
                    worst.max(divergence - distance).max(distance - divergence - (p.classes() as f64).ln())
                });
                Ok(of_mean.max(of_pixel).max(0.0))
            },
        },
        Theorem {
            name: "label-smoothing-kl",
            statement: "LS = (1 - alpha) CE + alpha (KL(u||s) + log K), value and gradient",
            source: "MbLS, Eq. 4",
            about: &["label-smoothing", "ce"],
            bound: [1e-12, 1e-4],
            check: |p| {
                let alpha = 0.3;
                let found = p.evaluate("label-smoothing", &[("alpha", "0.3")], Authors)?;
                let ce = p.evaluate("ce", &[], Authors)?;
                let classes = p.classes() as f64;
                let divergence = p.mean(Pixel::uniform_to_s);
                let expected = (1.0 - alpha) * ce.total + alpha * (divergence + classes.ln());
                let slope = p.gradient_of_mean(|_, pixel| pixel.s.iter().map(|s| s - 1.0 / classes).collect());
                let slope: Vec<f64> =
                    ce.gradient.iter().zip(slope).map(|(c, k)| (1.0 - alpha) * c + alpha * k).collect();
                Ok(gap(found.total, expected).max(gap_of(&found.gradient, &slope)))
            },
        },
        Theorem {
            name: "focal-bound",
            statement: "focal >= CE - gamma H(s) for gamma >= 1",
            source: "MbLS, Eq. 5",
            about: &["focal", "ecp"],
            bound: [1e-12, 1e-4],
            check: |p| {
                let mut worst: f64 = 0.0;
                for gamma in ["1", "2", "3"] {
                    let focal = p.evaluate("focal", &[("gamma", gamma)], Authors)?.total;
                    worst = worst.max(p.evaluate("ecp", &[("lambda", gamma)], Paper)?.total - focal);
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "entropy-kl",
            statement: "-H(s) = KL(s||u) - log K, value and gradient",
            source: "MbLS, Sec. 4.2",
            about: &["ecp"],
            bound: [1e-12, 1e-4],
            check: |p| {
                let found = p.evaluate("ecp", &[("lambda", "1")], Paper)?;
                let ce = p.evaluate("ce", &[], Paper)?;
                let expected = p.mean(|pixel| pixel.cross_entropy() + pixel.s_to_uniform()) - (p.classes() as f64).ln();
                let slope = p.gradient_of_mean(|_, pixel| pixel.through_softmax(&pixel.log_s));
                let slope: Vec<f64> = ce.gradient.iter().zip(slope).map(|(c, k)| c + k).collect();
                Ok(gap(found.total, expected).max(gap_of(&found.gradient, &slope)))
            },
        },
        Theorem {
            name: "meep-correct-pixels",
            statement: "MEEP changes no gradient on correctly classified pixels",
            source: "MEEP, Sec. 2",
            about: &["meep"],
            bound: [1e-12, 1e-5],
            check: |p| {
                let mut worst: f64 = 0.0;
                for regularizer in ["entropy", "kl"] {
                    let found = p.evaluate("meep", &[("regularizer", regularizer)], Paper)?.gradient;
                    let base = p.evaluate("meep", &[("lambda", "0")], Paper)?.gradient;
                    let scale = base.iter().fold(0.0, |largest: f64, g| largest.max(g.abs()));
                    for pixel in p.each_pixel().iter().filter(|pixel| pixel.winner() == pixel.label) {
                        for &place in &pixel.places {
                            worst = worst.max((found[place] - base[place]).abs() / scale);
                        }
                    }
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "meep-uniform",
            statement: "the slope of MEEP's regularisers is 0 at the uniform distribution",
            source: "MEEP, Eq. 1 and 2",
            about: &["meep"],
            bound: [1e-12, 1e-6],
            check: |p| {
                let uniform = p.with_logits(|_, _| 0.75);
                let mut worst: f64 = 0.0;
                for convention in [Authors, Paper] {
                    for regularizer in ["entropy", "kl"] {
                        let set = [("regularizer", regularizer), ("pixels", "all"), ("lambda", "1")];
                        let found = uniform.evaluate("meep", &set, convention)?.gradient;
                        let base = uniform.evaluate("meep", &[("lambda", "0")], convention)?.gradient;
                        worst = found.iter().zip(&base).fold(worst, |worst, (a, b)| worst.max((a - b).abs()));
                    }
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "meep-sign",
            statement: "descent on MEEP's regularisers raises the entropy of the misclassified pixels",
            source: "MEEP, Sec. 2",
            about: &["meep"],
            bound: [1e-12, 1e-6],
            check: |p| {
                let wrong = |pixel: &Pixel| pixel.winner() != pixel.label;
                let entropy_slope = p.gradient_of_mean(|_, pixel| {
                    let slopes: Vec<f64> = pixel.log_s.iter().map(|log_s| -log_s - 1.0).collect();
                    let keep = f64::from(u8::from(wrong(pixel)));
                    pixel.through_softmax(&slopes).iter().map(|slope| slope * keep).collect()
                });
                let mut worst: f64 = 0.0;
                for convention in [Authors, Paper] {
                    for regularizer in ["entropy", "kl"] {
                        let found = p.evaluate("meep", &[("regularizer", regularizer)], convention)?.gradient;
                        let base = p.evaluate("meep", &[("lambda", "0")], convention)?.gradient;
                        let along: f64 =
                            found.iter().zip(&base).zip(&entropy_slope).map(|((a, b), e)| (a - b) * e).sum();
                        // The binary entropy of more than two classes is not a function of the Shannon entropy.
                        let applies = convention == Paper || p.classes() == 2;
                        worst = worst.max(if applies { along } else { 0.0 });
                    }
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "meep-binary",
            statement: "for two classes the authors' entropy is Shannon's, and their KL part is half of the printed one up to \
                        constants (up to clamps of 1e-7)",
            source: "MEEP, Eq. 1 and 2; public code",
            about: &["meep"],
            bound: [1e-5, 1e-4],
            check: |p| {
                let two = |place: usize| (place / p.shape.voxels()) % p.classes() < 2;
                if p.classes() != 2 || p.logits.iter().enumerate().any(|(place, l)| two(place) && l.abs() > 7.0) {
                    return Ok(0.0);
                }
                let term = |name, convention| {
                    Ok::<f64, segcal_core::Error>(p.evaluate("meep", &[("regularizer", name)], convention)?.term(name))
                };
                let entropy: [f64; 2] = [term("entropy", Authors)?, term("entropy", Paper)?];
                let kl: [f64; 2] = [term("kl", Authors)?, term("kl", Paper)?];
                let any_wrong = p.each_pixel().iter().any(|pixel| pixel.winner() != pixel.label);
                let constant = if any_wrong { -2f64.ln() } else { 0.0 };
                Ok(gap(entropy[0], entropy[1]).max(gap(kl[0], constant - kl[1])))
            },
        },
        Theorem {
            name: "dice-range",
            statement: "soft Dice lies in [0, 1], and is nearly 0 for a confident right prediction",
            source: "definition of soft Dice",
            about: &["dice"],
            bound: [1e-4, 1e-4],
            check: |p| {
                let voxels = p.shape.voxels();
                let at = |place: usize| {
                    let (sample, class) = (place / voxels / p.classes(), place / voxels % p.classes());
                    (p.labels[sample * voxels + place % voxels] as usize == class, 60.0)
                };
                let right = p.with_logits(|place, _| if at(place).0 { at(place).1 } else { 0.0 });
                let mut worst: f64 = 0.0;
                for over in ["sample", "batch"] {
                    let random = p.evaluate("dice", &[("over", over)], Authors)?.total;
                    let right = right.evaluate("dice", &[("over", over)], Authors)?.total;
                    worst = worst.max(-random).max(random - 1.0).max(right);
                }
                Ok(worst)
            },
        },
        Theorem {
            name: "ace-range",
            statement: "ACE lies in [0, 1], and is 0 where every pixel is given the class frequencies of its sample",
            source: "Barfoot et al. 2024",
            about: &["ace-l1"],
            // The logits are rounded to f32.
            bound: [1e-6, 1e-5],
            check: |p| {
                let voxels = p.shape.voxels();
                let frequency = |place: usize| {
                    let (sample, class) = (place / voxels / p.classes(), place / voxels % p.classes());
                    let own = &p.labels[sample * voxels..(sample + 1) * voxels];
                    own.iter().filter(|&&label| label as usize == class).count() as f64 / voxels as f64
                };
                // A class that is absent gets a probability of e^-80.
                let calibrated = p.with_logits(|place, _| frequency(place).ln().max(-80.0));
                let mut worst: f64 = 0.0;
                for binning in ["hard", "soft"] {
                    let random = p.evaluate("ace-l1", &[("binning", binning)], Authors)?.total;
                    let calibrated = calibrated.evaluate("ace-l1", &[("binning", binning)], Authors)?.total;
                    worst = worst.max(-random).max(random - 1.0).max(calibrated);
                }
                Ok(worst)
            },
        },
    ]
}
