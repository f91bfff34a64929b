//! Checkpoints: safetensors files.

use std::collections::BTreeMap;
use std::path::Path;

use segcal_core::{Reference, Result, Shape, Tensor};
use segcal_models::{self as models, Parameter, Parameters};

use crate::input::with_file;

/// A checkpoint is read or refused; what is taken from it is finite, and written again it is the same.
pub fn target(bytes: &[u8]) {
    with_file("x.safetensors", bytes, |path| {
        let stored = models::load(path)?;
        let epoch = stored.value("epoch").map(str::to_owned);
        let moments = stored.restore("optimiser", &parameters());
        let weights = stored.restore("", &parameters())?;
        for parameter in weights.iter() {
            assert!(parameter.value.to_vec()?.iter().all(|x| x.is_finite()), "{} is not finite", parameter.name);
        }
        let again = path.with_extension("again");
        models::save(&again, &[("", &weights)], &BTreeMap::new())?;
        let same = models::load(&again)?.restore("", &parameters())?;
        assert!(numbers(&same)? == numbers(&weights)?, "written and read again, the weights differ");
        moments.and(epoch.map(drop))
    });
}

fn numbers(parameters: &Parameters<Reference>) -> Result<Vec<Vec<f64>>> {
    parameters.iter().map(|parameter| parameter.value.to_vec()).collect()
}

fn parameters() -> Parameters<Reference> {
    let parameter = |name: &str, dims: &[usize]| {
        let shape = Shape::new(1, 1, 1, 1, dims.iter().product());
        let value = Tensor::from_f64(&Reference, shape, &vec![0.5; shape.len()]);
        Parameter { name: name.into(), dims: dims.to_vec(), value, trainable: true }
    };
    Parameters::new(vec![parameter("conv.weight", &[2, 3]), parameter("conv.bias", &[2])])
}

/// A safetensors file with this header and data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn written() -> Vec<u8> {
    let save = |path: &Path| {
        let metadata = BTreeMap::from([("epoch".to_owned(), "3".to_owned())]);
        models::save(path, &[("", &parameters()), ("optimiser", &parameters())], &metadata)
    };
    let folder = tempfile::tempdir().expect("room for temporary files");
    let path = folder.path().join("x.safetensors");
    save(&path).expect("room for temporary files");
    std::fs::read(path).expect("the file that was written")
}

/// Written by the program itself, in the types of others, and some that are refused.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let whole = written();
    let mut long = whole.clone();
    long[..8].fill(0xff);
    let half = r#"{"conv.weight":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"conv.bias":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]}}"#;
    let lie = r#"{"conv.weight":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
    vec![
        ("half", file(half, &[0, 60].repeat(8))),
        ("lie", file(lie, &[])),
        ("long", long),
        ("cut", whole[..whole.len() - 5].to_vec()),
        ("whole", whole),
    ]
}
