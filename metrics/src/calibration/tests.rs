use super::*;
use crate::scan::CHUNK;
use crate::volume::{Label, Probabilities};
use proptest::prelude::*;

/// One voxel: its probabilities, its label, and whether it is in the band.
type Voxel = (Vec<f32>, Label, bool);

/// The definitions, as plain loops over all voxels of a region.
struct Slow {
    p: Vec<Vec<f64>>,
    y: Vec<usize>,
}

impl Slow {
    fn new(voxels: &[Voxel], region: Region) -> Self {
        let inside = |(p, y, band): &&Voxel| region.contains(*y, argmax(p) as Label, *band, false);
        let inside: Vec<&Voxel> = voxels.iter().filter(inside).collect();
        Self {
            p: inside.iter().map(|(p, ..)| p.iter().map(|&p| f64::from(p)).collect()).collect(),
            y: inside.iter().map(|(_, y, _)| usize::from(*y)).collect(),
        }
    }

    /// Count, hits, sum of each bin, for pairs of probability and hit.
    fn bins(pairs: &[(f64, bool)], bins: usize) -> Vec<(f64, f64, f64)> {
        let edges = edges(bins);
        let mut filled = vec![(0.0, 0.0, 0.0); bins];
        for &(p, hit) in pairs {
            let bin = (0..bins).find(|&bin| p <= f64::from(edges[bin + 1])).expect("p is at most 1");
            filled[bin].0 += 1.0;
            filled[bin].1 += f64::from(u8::from(hit));
            filled[bin].2 += p;
        }
        filled
    }

    fn ece(pairs: &[(f64, bool)], bins: usize) -> f64 {
        let gap = |&(_, hits, sum): &(f64, f64, f64)| f64::abs(hits - sum);
        Self::bins(pairs, bins).iter().map(gap).sum::<f64>() / pairs.len() as f64
    }

    fn top(&self) -> Vec<(f64, bool)> {
        let pair = |(p, y): (&Vec<f64>, &usize)| {
            let p32: Vec<f32> = p.iter().map(|&p| p as f32).collect();
            (p[argmax(&p32)], argmax(&p32) == *y)
        };
        self.p.iter().zip(&self.y).map(pair).collect()
    }

    fn class(&self, k: usize) -> Vec<(f64, bool)> {
        self.p.iter().zip(&self.y).map(|(p, &y)| (p[k], y == k)).collect()
    }

    fn mean(&self, score: impl Fn(&[f64], usize) -> f64) -> f64 {
        self.p.iter().zip(&self.y).map(|(p, &y)| score(p, y)).sum::<f64>() / self.y.len() as f64
    }
}

fn argmax(p: &[f32]) -> usize {
    (1..p.len()).fold(0, |best, k| if p[k] > p[best] { k } else { best })
}

fn state(voxels: &[Voxel], classes: usize, bins: usize) -> Calibration {
    let values: Vec<f32> = (0..classes).flat_map(|k| voxels.iter().map(move |(p, ..)| p[k])).collect();
    let labels: Vec<Label> = voxels.iter().map(|(_, y, _)| *y).collect();
    let band: Vec<bool> = voxels.iter().map(|(.., band)| *band).collect();
    let mut state = Calibration::new(classes, bins);
    state.add(Probabilities::new(&values, classes), &labels, Some(&band)).expect("probabilities");
    state
}

/// Probabilities that sum to 1, some of them exactly 0, 1 or on an edge.
fn voxel(classes: usize) -> impl Strategy<Value = Voxel> {
    let weights = prop::collection::vec(prop_oneof![Just(0.0_f32), 0.0_f32..1.0, Just(1.0_f32)], classes);
    (weights, 0..classes as Label, any::<bool>()).prop_map(|(mut p, y, band)| {
        let sum: f32 = p.iter().sum();
        for p in &mut p {
            *p = if sum > 0.0 { *p / sum } else { 0.2 };
        }
        (p, y, band)
    })
}

/// Each addend is rounded by at most 2^-41; a classwise sum has `classes` of them per voxel.
const ROUNDING: f64 = 4.0 * 4.6e-13;

/// By hand: for class 1 the threshold leaves 0.04 and 0.06, in one equal-width bin and in two equal-mass bins.
#[test]
fn another_threshold_leaves_out_other_probabilities() {
    let values = [0.99, 0.96, 0.94, 0.01, 0.04, 0.06];
    let (p, reference) = (Probabilities::new(&values, 2), [0, 0, 1]);
    let prediction = p.argmax();
    let figures = |threshold: f32| {
        let voxels = Voxels::new(p, &reference, &prediction, None).with_threshold(threshold);
        let (mut state, mut mass) = (Calibration::new(2, 15), EqualMass::new(2, 15));
        state.add_voxels(&voxels).unwrap();
        (state.region(Region::All).tcece(), mass.add(&voxels)[&Region::All].tace)
    };
    let of_class_0 = ((0.99 + 0.96 + 0.94) / 3.0 - 2.0 / 3.0, (0.01 + 0.04 + 0.94) / 3.0);
    let expected = (0.5 * (of_class_0.0 + 0.45), 0.5 * (of_class_0.1 + 0.5 * (0.04 + 0.94)));
    let found = figures(0.03);
    // Probabilities are rounded to f32.
    assert!((found.0 - expected.0).abs() < 1e-6 && (found.1 - expected.1).abs() < 1e-6, "{found:?} {expected:?}");
    assert!((figures(1e-3).0 - 0.5 * (of_class_0.0 + 0.89 / 3.0)).abs() < 1e-6);
}

proptest! {
    #[test]
    fn equals_the_definitions(voxels in prop::collection::vec(voxel(3), 1..80), bins in 1..20_usize) {
        let state = state(&voxels, 3, bins);
        for region in Region::every(3) {
            let (fast, slow) = (state.region(region), Slow::new(&voxels, region));
            prop_assert_eq!(fast.voxels(), slow.y.len() as u64);
            if slow.y.is_empty() {
                prop_assert!(fast.ece().is_nan() && fast.brier().is_nan() && fast.tcece().is_nan());
                continue;
            }
            let filled: Vec<f64> =
                Slow::bins(&slow.top(), bins).iter().filter(|bin| bin.0 > 0.0).map(|b| (b.1 - b.2).abs() / b.0).collect();
            let retained = |k: usize| slow.class(k).into_iter().filter(|p| p.0 > f64::from(THRESHOLD)).collect::<Vec<_>>();
            let tcece = |k: usize| if retained(k).is_empty() { 0.0 } else { Slow::ece(&retained(k), bins) };
            let hit = |y: usize, k: usize| f64::from(u8::from(y == k));
            let foreground = |p: &[f64], y: usize| (p[1] + p[2] - 1.0 + hit(y, 0)).powi(2);
            let pairs = [
                (fast.ece(), Slow::ece(&slow.top(), bins)),
                (fast.mce(), filled.iter().copied().fold(0.0, f64::max)),
                (fast.ace(), filled.iter().sum::<f64>() / filled.len() as f64),
                (fast.cece_sum(), (0..3).map(|k| Slow::ece(&slow.class(k), bins)).sum()),
                (fast.cece_mean(), (0..3).map(|k| Slow::ece(&slow.class(k), bins)).sum::<f64>() / 3.0),
                (fast.tcece(), (0..3).map(tcece).sum::<f64>() / 3.0),
                (fast.brier(), slow.mean(|p, y| (0..3).map(|k| (p[k] - hit(y, k)).powi(2)).sum())),
                (fast.brier_foreground(), slow.mean(foreground).min(1.0)),
                (fast.accuracy(), slow.top().iter().filter(|p| p.1).count() as f64 / slow.y.len() as f64),
                (fast.confidence(), slow.top().iter().map(|p| p.0).sum::<f64>() / slow.y.len() as f64),
                (fast.nll(), slow.mean(|p, y| -p[y].max(f64::from(f32::MIN_POSITIVE)).ln())),
            ];
            for (number, (fast, slow)) in pairs.into_iter().enumerate() {
                // Probabilities may sum to 1 plus an f32 rounding, which the scores clamp.
                let clamped = if number == 7 { 1e-6 } else { 0.0 };
                prop_assert!((fast - slow).abs() <= ROUNDING + clamped, "{region} figure {number}: {fast} {slow}");
            }
        }
    }

    #[test]
    fn parts_in_any_order_give_the_same_bits(voxels in prop::collection::vec(voxel(3), 3..60), cut in 1..3_usize) {
        let whole = state(&voxels, 3, 15);
        let (a, b) = voxels.split_at(voxels.len() * cut / 3);
        let mut forth = state(a, 3, 15);
        forth.merge(&state(b, 3, 15));
        let mut back = state(b, 3, 15);
        back.merge(&state(a, 3, 15));
        prop_assert_eq!(&forth, &whole);
        prop_assert_eq!(&back, &whole);
        let text = serde_json::to_string(&whole).expect("serialises");
        prop_assert_eq!(serde_json::from_str::<Calibration>(&text).expect("parses"), whole);
    }
}

#[test]
fn stratified_brier_is_over_the_foreground() {
    let voxels = [(vec![0.25, 0.75], 1, false), (vec![1.0, 0.0], 0, false), (vec![0.5, 0.5], 1, false)];
    let all = state(&voxels, 2, 15).region(Region::All);
    assert_eq!(all.brier_foreground(), (0.0625 + 0.25) / 3.0);
    assert_eq!(all.brier_plus(), 0.15625);
    assert_eq!(all.brier(), 2.0 * (0.0625 + 0.25) / 3.0);
}

#[test]
fn an_impossible_label_is_counted() {
    let all = state(&[(vec![1.0, 0.0], 1, false)], 2, 15).region(Region::All);
    assert_eq!(all.zero_likelihood(), 1);
    assert!((all.nll() - 126.0 * 2.0_f64.ln()).abs() < 1e-11);
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let rng = segcal_core::Rng::new(5);
    let voxels: Vec<Voxel> = (0..150_000)
        .map(|i| {
            let p = rng.uniform(3 * i) as f32;
            (vec![1.0 - p, p], Label::from(rng.uniform(3 * i + 1) < f64::from(p)), rng.uniform(3 * i + 2) < 0.1)
        })
        .collect();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| state(&voxels, 2, 15))
    };
    let one = with(1);
    assert_eq!(one, with(3));
    // Labels are drawn from the probabilities, so they are calibrated up to chance. The ECE of n such voxels is at most
    // about sqrt(bins / n) / 2 = 0.005; ten times that would indicate a wrong definition.
    assert!(one.region(Region::All).ece() < 0.01);
}

/// Cases that only occur in large volumes with many classes: chunks without a probability above the threshold next to
/// noisy ones; runs of one kind of voxel that end inside them; zeros, the threshold itself and clamped values.
#[test]
fn quiet_stretches_count_as_any_others() {
    let rng = segcal_core::Rng::new(8);
    let (classes, voxels) = (6, 3 * CHUNK + 77);
    let label = |voxel: usize| voxel / 700 % 5;
    let value = |k: usize, voxel: usize| {
        let chance = rng.uniform((k * voxels + voxel) as u64) as f32;
        match k {
            5 => [0.0, 1e-5 * chance, THRESHOLD, -1e-4][voxel % 4],
            _ if voxel / CHUNK == 1 => chance,
            _ if k == label(voxel) => 1.0 - 1e-3 * chance,
            _ => 1e-3 * chance,
        }
    };
    let values: Vec<f32> = (0..classes).flat_map(|k| (0..voxels).map(move |voxel| value(k, voxel))).collect();
    let p = Probabilities::new(&values, classes);
    let reference: Vec<Label> =
        (0..voxels).map(|voxel| ((label(voxel) + usize::from(voxel % 97 == 0)) % 6) as Label).collect();
    let band: Vec<bool> = (0..voxels).map(|voxel| voxel % 3 == 0).collect();
    let prediction = p.argmax();
    let measured = |loud: bool| {
        let mut parts = Voxels::new(p, &reference, &prediction, Some(4)).with_boundary(&band);
        let quiet = (0..classes).filter(|&k| parts.quiet.holds(k, 0)).count();
        assert_eq!(quiet, 3, "all but the classes of the first voxels");
        if loud {
            parts.quiet = super::quiet::Quiet::nowhere(p);
        }
        let mut state = Calibration::new(classes, 15);
        state.add_voxels(&parts).expect("probabilities");
        let mut masses = EqualMass::new(classes, 15);
        let figures = format!("{:?}", masses.add(&parts));
        (state, masses, figures)
    };
    assert_eq!(measured(false), measured(true));
}

#[test]
fn names_of_regions() {
    for region in Region::every(4) {
        assert_eq!(region.to_string().parse::<Region>().expect("its own name"), region);
    }
    assert!("structure:x".parse::<Region>().is_err());
}
