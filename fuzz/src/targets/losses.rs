//! Losses: any parameters and any numbers give a finite value and gradient, or an error.

use segcal_core::{Reference, Shape, Tensor};
use segcal_losses::{Batch, Convention, Given, Loss, Param, Range, Setting};

use crate::input::Bytes;

/// Builds a loss of the list, and differentiates it on a small batch.
pub fn target(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let spec = *bytes.pick(Loss::SPECS);
    let convention = *bytes.pick(Convention::ALL);
    let mut given = Given::new();
    for _ in 0..bytes.below(4) {
        let params: Vec<&Param> = spec.params().collect();
        if !params.is_empty() {
            let param = *bytes.pick(&params);
            given.insert(param.name.into(), setting(&mut bytes, param.range));
        }
    }
    // MEEP's NaN on an empty set of errors is a defect of the public code that is there by this name alone.
    if given.get("empty") == Some(&"nan".into()) {
        return;
    }
    let classes = 2 + bytes.below(4);
    let Ok(loss) = Loss::new(spec.name, &given, convention) else { return };
    if loss.check(classes).is_ok() {
        differentiate(&loss, &format!("{} {convention:?} {given:?}", spec.name), classes, &mut bytes);
    }
}

fn differentiate(loss: &Loss, name: &str, classes: usize, bytes: &mut Bytes<'_>) {
    let shape = Shape::new(1 + bytes.below(2), classes, 1 + bytes.below(2), 1 + bytes.below(5), 1 + bytes.below(5));
    let of_labels = shape.with(1, 1);
    let mut draw = |shape: Shape, number: &mut dyn FnMut(&mut Bytes<'_>) -> f64| {
        let data: Vec<f64> = (0..shape.len()).map(|_| number(bytes)).collect();
        Tensor::from_f64(&Reference, shape, &data)
    };
    let logits = draw(shape, &mut |bytes| bytes.number()).tracked();
    let labels = draw(of_labels, &mut |bytes| bytes.below(classes) as f64);
    let second = draw(shape, &mut |bytes| bytes.number()).tracked();
    let image = draw(of_labels, &mut |bytes| bytes.small());
    let mask = draw(of_labels, &mut |bytes| bytes.below(2) as f64);
    let batch = Batch::new(&logits, &labels).with_image(&image).with_second(&second, &mask);
    let value = loss.value(&batch);
    let total = value.total.item().expect("the reference can be read");
    assert!(total.is_finite(), "{name} on {shape}: the value is {total}");
    for (term, value) in &value.terms {
        let value = value.item().expect("the reference can be read");
        assert!(value.is_finite(), "{name} on {shape}: {term} is {value}");
    }
    let gradients = value.total.backward();
    for of in [&logits, &second] {
        let gradient = gradients.of(of).map(|gradient| gradient.to_f64().expect("the reference can be read"));
        let bad = gradient.unwrap_or_default().into_iter().find(|x| !x.is_finite());
        assert!(bad.is_none(), "{name} on {shape}: the gradient holds {bad:?}");
    }
}

/// A value of the range, its ends among them, or one that is out of it.
fn setting(bytes: &mut Bytes<'_>, range: Range) -> Setting {
    let kind = bytes.below(8);
    if kind == 7 {
        return bytes.number().into();
    }
    let share = [0.0, 1.0, 0.5, 0.25, 0.125, 0.75, 0.01][kind];
    let between = |low: f64, high: f64| low + share * (high.min(low + 10.0) - low);
    match range {
        Range::Closed(low, high) | Range::Each(low, high) => between(low.max(-10.0), high).into(),
        Range::Above(low, high) => (low + share.max(0.001) * (high.min(low + 10.0) - low)).into(),
        Range::Odd(low, high) => (2.0 * (between(low, high) / 2.0).floor() + 1.0).into(),
        Range::Whole(low, high) => between(low, high).floor().into(),
        Range::OneOf(words) => (*bytes.pick(words)).into(),
        Range::Flag => (bytes.below(2) == 1).into(),
        Range::Label => f64::from(bytes.byte() % 4).into(),
        Range::Weights => (0..2 + bytes.below(4)).map(|_| f64::from(bytes.byte() % 4)).collect::<Vec<f64>>().into(),
        Range::Member(list) => bytes.pick(list).name.into(),
    }
}

/// Every loss in both conventions with its defaults, small and large numbers.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let names = Loss::SPECS.iter().enumerate();
    let mut seeds: Vec<_> = names
        .map(|(number, spec)| {
            let number = number as u8;
            let head = [number, number % 2, 0, 1 + number, 0, 1, 3, 3];
            let numbers = (0..160_u16).map(|i| (i.wrapping_mul(37 + u16::from(number)) >> 1) as u8);
            (spec.name, head.into_iter().chain(numbers).collect::<Vec<u8>>())
        })
        .collect();
    seeds.push(("empty", Vec::new()));
    seeds
}
