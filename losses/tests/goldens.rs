//! Values, terms, gradients and priors against the authors' own code; see `goldens/README.md`.

use segcal_core::{Reference, Shape, Tensor, ops};
use segcal_losses::bwcr::Boundary;
use segcal_losses::lagrangian::Penalty;
use segcal_losses::{Batch, Convention, Given, Loss, Prior, Value};
use serde_json::Value as Json;

struct Goldens {
    index: Json,
    values: Vec<f64>,
}

impl Goldens {
    fn read() -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/");
        let bytes = std::fs::read(format!("{folder}values.f64")).unwrap();
        let values = bytes.chunks_exact(8).map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap())).collect();
        let index = serde_json::from_slice(&std::fs::read(format!("{folder}index.json")).unwrap()).unwrap();
        Self { index, values }
    }

    fn slice(&self, offset: &Json, count: usize) -> &[f64] {
        let start = offset.as_u64().unwrap() as usize;
        &self.values[start..start + count]
    }

    fn tensor(&self, offset: &Json, shape: Shape) -> Tensor<Reference> {
        Tensor::from_f64(&Reference, shape, self.slice(offset, shape.len()))
    }
}

fn shape_of(case: &Json) -> Shape {
    let dims: Vec<usize> = case["shape"].as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect();
    Shape::from_dims(dims.try_into().unwrap())
}

fn given(case: &Json) -> Given {
    let set = case["set"].as_object().unwrap().iter();
    set.map(|(name, value)| (name.clone(), value.as_str().unwrap().into())).collect()
}

fn worst(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn deviation(found: &Tensor<Reference>, expected: &Json) -> f64 {
    (found.item().unwrap() - expected.as_f64().unwrap()).abs()
}

fn gradient(value: Value<Reference>, logits: &Tensor<Reference>) -> Vec<f64> {
    value.total.backward().of(logits).unwrap().to_f64().unwrap()
}

#[test]
fn losses_give_the_authors_numbers() {
    let goldens = Goldens::read();
    let mut failed = Vec::new();
    for case in goldens.index["losses"].as_array().unwrap() {
        let (name, shape) = (case["name"].as_str().unwrap(), shape_of(case));
        let tolerance = case["tolerance"].as_f64().unwrap();
        let logits = goldens.tensor(&case["logits"], shape).tracked();
        let labels = goldens.tensor(&case["labels"], shape.with(1, 1));
        let image = case.get("image").map(|image| goldens.tensor(image, shape.with(1, 1)));
        let batch = |logits| {
            let batch = Batch::new(logits, &labels);
            image.iter().fold(batch, Batch::with_image)
        };
        let loss = Loss::new(case["loss"].as_str().unwrap(), &given(case), Convention::Authors).unwrap();
        loss.check(shape.c()).unwrap();
        let value = loss.value(&batch(&logits));
        let mut errors = Vec::new();
        if let Some(total) = case.get("total") {
            errors.push(("total", deviation(&value.total, total)));
        }
        for (term, expected) in case["terms"].as_object().unwrap() {
            let found = value.terms.iter().find(|(name, _)| name == term).cloned();
            let found = found.unwrap_or_else(|| panic!("{name} has no term {term}")).1;
            errors.push((term, deviation(&found, expected)));
        }
        let mut found = gradient(value, &logits);
        if case.get("penalty_only").is_some() {
            let ce = Loss::new("ce", &Given::new(), Convention::Authors).unwrap();
            let of_ce = gradient(ce.value(&batch(&logits)), &logits);
            found.iter_mut().zip(of_ce).for_each(|(found, ce)| *found -= ce);
        }
        errors.push(("gradient", worst(&found, goldens.slice(&case["gradient"], shape.len()))));
        failed.extend(errors.into_iter().filter(|(_, e)| e.is_nan() || *e > tolerance).map(|e| (name, e)));
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The public code holds its priors in float32, and sums of up to 25 of them.
#[test]
fn priors_give_the_authors_numbers() {
    let goldens = Goldens::read();
    for case in goldens.index["priors"].as_array().unwrap() {
        let (name, shape) = (case["name"].as_str().unwrap(), shape_of(case));
        let labels = goldens.tensor(&case["labels"], shape.with(1, 1));
        let image = case.get("image").map(|image| goldens.tensor(image, shape.with(1, 1)));
        let prior = Prior::new(case["prior"].as_str().unwrap(), &given(case), Convention::Authors).unwrap();
        let found = prior.value(&labels, shape.c(), image.as_ref()).to_f64().unwrap();
        let error = worst(&found, goldens.slice(&case["values"], shape.len()));
        assert!(error <= 2e-7, "{name}: {error}");
    }
}

#[test]
fn the_phr_penalty_gives_the_authors_numbers() {
    let goldens = Goldens::read();
    let case = &goldens.index["phr"];
    let shape = Shape::SCALAR.with(4, case["count"].as_u64().unwrap() as usize);
    let [z, lambda, rho] = ["z", "lam", "rho"].map(|name| goldens.tensor(&case[name], shape));
    let value = ops::map(&[&z, &lambda, &rho], |p| Penalty::Phr.value(p.input(0), p.input(2), p.input(1)));
    let slope = ops::map(&[&z, &lambda, &rho], |p| Penalty::Phr.slope(p.input(0), p.input(2), p.input(1)));
    for (found, name) in [(value, "value"), (slope, "slope")] {
        assert!(worst(&found.to_f64().unwrap(), goldens.slice(&case[name], shape.len())) <= 1e-9, "{name}");
    }
}

#[test]
fn bwcr_gives_the_authors_numbers() {
    let goldens = Goldens::read();
    let case = &goldens.index["bwcr"];
    let shape = shape_of(case);
    let [first, second] = ["z1", "z2"].map(|name| goldens.tensor(&case[name], shape).tracked());
    let [mask, labels] = ["mask", "labels"].map(|name| goldens.tensor(&case[name], shape.with(1, 1)));
    let given = Given::from([("weighting".into(), "none".into())]);
    let loss = Loss::new("bwcr", &given, Convention::Authors).unwrap();
    let value = loss.value(&Batch::new(&first, &labels).with_second(&second, &mask));
    let consistency = value.terms.iter().find(|(name, _)| *name == "consistency").unwrap().1.item().unwrap();
    assert!((consistency - case["value"].as_f64().unwrap()).abs() <= 1e-9);
    // Only consistency reaches the second view; with lambda = 1 it counts one half. The stored gradient is float32.
    let gradients = value.total.backward();
    let found: Vec<f64> = gradients.of(&second).unwrap().to_f64().unwrap().iter().map(|g| 2.0 * g).collect();
    assert!(worst(&found, goldens.slice(&case["g2"], shape.len())) <= 1e-9);

    let labels = goldens.tensor(&case["labels2"], shape.with(1, 1));
    let boundary = Boundary { radius: 10.0, power: 1.0, most: 1.0, least: 0.01, exact: false };
    let weights = boundary.weights(&labels, 2).to_f64().unwrap();
    assert!(worst(&weights, goldens.slice(&case["map"], weights.len())) <= 1e-7);
    // The signed distance of class 1 in the first image.
    let labels = goldens.tensor(&case["labels"], shape.with(1, 1));
    let class = ops::map(&[&labels], |p| p.input(0).equals(1.0));
    let signed = boundary.signed_distance(&class).to_f64().unwrap();
    let image = shape.voxels();
    assert_eq!(signed[..image], *goldens.slice(&case["signed"], image));
}
