//! Values of losses against plain loops over one image of three classes.

use segcal_core::{Reference, Shape, Tensor};
use segcal_losses::{Batch, Convention, Given, Loss};

const CLASSES: usize = 3;
const SIDE: usize = 4;
const PIXELS: usize = SIDE * SIDE;

/// Labels with an inner region of class 0 at the left and a border between 1 and 2 at the right.
const LABELS: [usize; PIXELS] = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 2, 2];

fn logits() -> Vec<f64> {
    (0..CLASSES * PIXELS).map(|i| ((i * 37 + 11) % 23) as f64 / 5.0 - 2.0).collect()
}

/// The probability of a class at a pixel.
fn s(k: usize, i: usize) -> f64 {
    let l = logits();
    l[k * PIXELS + i].exp() / (0..CLASSES).map(|j| l[j * PIXELS + i].exp()).sum::<f64>()
}

fn cross_entropy(labels: &[usize]) -> f64 {
    labels.iter().enumerate().map(|(i, &y)| -s(y, i).ln()).sum::<f64>() / PIXELS as f64
}

/// The labels of the 3 x 3 patch around a pixel, edges repeated.
fn patch(i: usize) -> Vec<usize> {
    let near = |x: usize, step: usize| (x + step).saturating_sub(1).min(SIDE - 1);
    let (row, column) = (i / SIDE, i % SIDE);
    (0..9).map(|tap| LABELS[near(row, tap / 3) * SIDE + near(column, tap % 3)]).collect()
}

fn count(k: usize, i: usize) -> f64 {
    patch(i).iter().filter(|&&label| label == k).count() as f64
}

fn is_inner(i: usize) -> bool {
    patch(i).iter().all(|&label| label == LABELS[i])
}

fn value_of(name: &str, set: &[(&str, &str)], convention: Convention) -> f64 {
    let given: Given = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let shape = Shape::new(1, CLASSES, 1, SIDE, SIDE);
    let logits = Tensor::from_f64(&Reference, shape, &logits());
    let labels = Tensor::from_f64(&Reference, shape.with(1, 1), &LABELS.map(|y| y as f64));
    let loss = Loss::new(name, &given, convention).unwrap();
    loss.check(CLASSES).unwrap();
    loss.value(&Batch::new(&logits, &labels)).total.item().unwrap()
}

fn paper(name: &str, set: &[(&str, &str)]) -> f64 {
    value_of(name, set, Convention::Paper)
}

fn expect(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-12, "{what}: {found} instead of {expected}");
}

/// `1 - mean over classes of (2 I + e) / (sum s^2 + sum y^2 + e)`: V-Net's denominators.
fn v_net(first: usize, e: f64) -> f64 {
    let fraction = |k: usize| {
        let both: f64 = (0..PIXELS).filter(|&i| LABELS[i] == k).map(|i| s(k, i)).sum();
        let squares: f64 = (0..PIXELS).map(|i| s(k, i).powi(2)).sum();
        let truth = LABELS.iter().filter(|&&y| y == k).count() as f64;
        (2.0 * both + e) / (squares + truth + e)
    };
    1.0 - (first..CLASSES).map(fraction).sum::<f64>() / (CLASSES - first) as f64
}

fn entropy() -> f64 {
    let of = |i: usize| -> f64 { (0..CLASSES).map(|k| -s(k, i) * s(k, i).ln()).sum() };
    (0..PIXELS).map(of).sum::<f64>() / PIXELS as f64
}

#[test]
fn squared_denominators_are_those_of_v_net() {
    for convention in [Convention::Authors, Convention::Paper] {
        expect(value_of("dice", &[("denominator", "squared")], convention), v_net(0, 1e-5), "dice");
    }
    expect(paper("ce-dice", &[("denominator", "squared")]), cross_entropy(&LABELS) + v_net(0, 1e-5), "ce-dice");
    let margin = [("denominator", "squared"), ("margin", "1e6")];
    expect(paper("mbls-dice", &margin), cross_entropy(&LABELS) + v_net(1, 1e-5), "mbls-dice");
    expect(paper("meep", &[("base", "dice"), ("lambda", "0")]), v_net(1, 1e-7), "meep");
}

#[test]
fn the_confidence_penalty_takes_the_entropy_of_all_pixels() {
    expect(paper("confidence-penalty", &[]), cross_entropy(&LABELS) - 0.2 * entropy(), "ce");
    expect(paper("confidence-penalty", &[("base", "dice")]), v_net(1, 1e-7) - 0.2 * entropy(), "dice");
}

#[test]
fn the_prior_of_nacl_is_a_count_as_printed() {
    let distance = |scale: f64| {
        let of =
            |i: usize| -> f64 { (0..CLASSES).map(|k| (scale * count(k, i) - logits()[k * PIXELS + i]).abs()).sum() };
        (0..PIXELS).map(of).sum::<f64>() / PIXELS as f64
    };
    expect(paper("nacl", &[]), cross_entropy(&LABELS) + 0.1 * distance(1.0), "count");
    expect(paper("nacl", &[("normalise", "true")]), cross_entropy(&LABELS) + 0.1 * distance(1.0 / 9.0), "share");
    let error = Loss::new(
        "nacl",
        &[("prior".into(), "max".into()), ("normalise".into(), "false".into())].into(),
        Convention::Paper,
    );
    assert!(error.unwrap_err().to_string().contains("normalise"), "only the mean prior is a count");
}

#[test]
fn crac_is_that_of_its_equations() {
    let weight = |k: usize, i: usize| [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]][usize::from(is_inner(i))][k];
    let fixed =
        |i: usize| -> f64 { (0..CLASSES).map(|k| weight(k, i) * (count(k, i) - logits()[k * PIXELS + i]).abs()).sum() };
    let expected = cross_entropy(&LABELS) + (0..PIXELS).map(fixed).sum::<f64>() / PIXELS as f64;
    expect(paper("crac-fixed", &[("lambda", "0.1,0.2,0.3,0.4,0.5,0.6")]), expected, "Eq. 3");

    let phr = |z: f64| (f64::max(0.0, 0.3 + 0.5 * z).powi(2) - 0.09) / 1.0;
    let learnt = |i: usize| -> f64 { (0..CLASSES).map(|k| phr(count(k, i) - logits()[k * PIXELS + i])).sum() };
    let expected = cross_entropy(&LABELS) + (0..PIXELS).map(learnt).sum::<f64>() / PIXELS as f64;
    expect(paper("crac", &[("lambda", "0.3"), ("rho", "0.5")]), expected, "Eq. 7");
}

/// The authors' labels have been through the first view and back, as its logits have.
#[test]
fn bwcr_judges_by_the_labels_that_came_back() {
    let shape = Shape::new(1, CLASSES, 1, SIDE, SIDE);
    let [logits, second] =
        [logits(), vec![0.0; CLASSES * PIXELS]].map(|data| Tensor::from_f64(&Reference, shape, &data));
    let mut moved = LABELS;
    moved.rotate_right(1);
    let [labels, returned] =
        [LABELS, moved].map(|y| Tensor::from_f64(&Reference, shape.with(1, 1), &y.map(|y| y as f64)));
    let mask = Tensor::full(&Reference, shape.with(1, 1), 1.0);
    let without = [("lambda".into(), 0.0.into())].into();
    for (convention, judged, share) in [(Convention::Authors, moved, 1.0 / 3.0), (Convention::Paper, LABELS, 1.0)] {
        let loss = Loss::new("bwcr", &without, convention).unwrap();
        let batch = Batch::new(&logits, &labels).with_second(&second, &mask).with_returned_labels(&returned);
        expect(loss.value(&batch).total.item().unwrap(), share * cross_entropy(&judged), convention.as_str());
    }
}
