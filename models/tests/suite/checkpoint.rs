//! Checkpoints: round trips to the same bits, and every kind of damage.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use segcal_core::{Backend, Reference, Shape, Tensor};
use segcal_models::{Optimiser, Parameter, Parameters, Rule, build, load, save};

use super::common::{authors, tiny};

fn numbers<B: Backend>(parameters: &Parameters<B>) -> Vec<Vec<f64>> {
    parameters.iter().map(|p| p.value.to_f64().unwrap()).collect()
}

fn network(seed: u64) -> Parameters<Reference> {
    build::<Reference>(&tiny(2)).unwrap().parameters(seed, &Reference)
}

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("config".into(), "name = \"unet\"\n".into()), ("epoch".into(), "7".into())])
}

/// A folder with a sound checkpoint in it.
fn saved() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let parameters = network(1);
    let optimiser = Optimiser::new(Rule::default(), &parameters).unwrap();
    save(&path, &[("", &parameters), ("optimiser", &optimiser.state())], &metadata()).unwrap();
    (folder, path)
}

fn restore(path: &Path) -> segcal_core::Result<Parameters<Reference>> {
    load(path)?.restore("", &network(2))
}

fn message(path: &Path) -> String {
    let message = restore(path).expect_err("the damage must be seen").to_string();
    assert!(message.contains("last.safetensors") && message.ends_with(')'), "no file or no remedy: {message}");
    message
}

#[test]
fn a_round_trip_keeps_every_bit() {
    let (_folder, path) = saved();
    let stored = load(&path).unwrap();
    assert_eq!(numbers(&stored.restore("", &network(2)).unwrap()), numbers(&network(1)));
    assert_eq!(stored.value("epoch").unwrap(), "7");
    assert_eq!(stored.metadata()["config"], "name = \"unet\"\n");
    assert!(stored.has("optimiser") && !stored.has("loss"));
    let mut optimiser = Optimiser::new(Rule::default(), &network(2)).unwrap();
    optimiser.set_state(&stored.restore("optimiser", &optimiser.state()).unwrap()).unwrap();
    assert_eq!(optimiser.steps(), 0);
}

#[test]
fn the_same_content_gives_the_same_bytes_and_leaves_nothing_else() {
    let ((a, first), (b, second)) = (saved(), saved());
    assert_eq!(fs::read(first).unwrap(), fs::read(second).unwrap());
    assert_eq!(fs::read_dir(a.path()).unwrap().count() + fs::read_dir(b.path()).unwrap().count(), 2);
}

/// As Python's `safetensors.torch.load_file` sees it.
#[test]
fn names_and_shapes_are_those_of_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let parameters = build::<Reference>(&authors(2, 3)).unwrap().parameters(1, &Reference);
    save(&path, &[("", &parameters)], &BTreeMap::new()).unwrap();
    let ours = fs::read(&path).unwrap();
    let golden = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/unet_tiny.safetensors")).unwrap();
    let (ours, golden) = (SafeTensors::deserialize(&ours).unwrap(), SafeTensors::deserialize(&golden).unwrap());
    let mut names = golden.names();
    names.retain(|name| !name.starts_with("golden."));
    assert_eq!(ours.len(), names.len());
    for name in names {
        assert_eq!(ours.tensor(name).unwrap().shape(), golden.tensor(name).unwrap().shape(), "{name}");
    }
    let volumes = build::<Reference>(&tiny(3)).unwrap().parameters(1, &Reference);
    let dims = |name: &str| volumes.iter().find(|p| p.name == name).unwrap().dims.clone();
    assert_eq!(dims("down.1.l1.conv.weight"), [4, 2, 3, 3, 3]);
    assert_eq!(dims("up.0.up.weight"), [4, 2, 2, 2, 2]);
    assert_eq!(dims("conv_final.bias"), [3]);
}

#[test]
fn a_truncated_or_foreign_file_is_refused() {
    let (_folder, path) = saved();
    let whole = fs::read(&path).unwrap();
    for length in [0, 4, 8, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(message(&path).contains("truncated"), "{length}");
    }
    fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
    message(&path);
    fs::write(&path, b"PK\x03\x04 a zip of pickles, as torch.save writes it").unwrap();
    message(&path);
    fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
    message(&path);
    assert!(restore(&path.with_file_name("none.safetensors")).unwrap_err().to_string().contains("none.safetensors"));
}

/// Every byte of the header, one at a time: an error or the same numbers, and never a panic.
#[test]
fn a_flipped_byte_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let value = Tensor::full(&Reference, Shape::SCALAR.with(1, 2), 0.5);
    let parameters = Parameters::new(vec![Parameter { name: "w".into(), dims: vec![2], value, trainable: true }]);
    save(&path, &[("", &parameters)], &metadata()).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for place in 0..whole.len() {
        for flip in [1, 0x20, 0x80] {
            let mut damaged = whole.clone();
            damaged[place] ^= flip;
            fs::write(&path, damaged).unwrap();
            refused += usize::from(load(&path).and_then(|stored| stored.restore("", &parameters)).is_err());
        }
    }
    assert!(refused > whole.len(), "only {refused} of {} were refused", 3 * whole.len());
}

/// Rewrites one tensor of the network before it is saved.
fn changed(name: &str, change: impl Fn(&mut Parameter<Reference>)) -> (tempfile::TempDir, PathBuf) {
    let (folder, path) = saved();
    let mut list: Vec<Parameter<Reference>> = network(1).iter().cloned().collect();
    change(list.iter_mut().find(|p| p.name == name).unwrap());
    save(&path, &[("", &Parameters::new(list))], &metadata()).unwrap();
    (folder, path)
}

const NAME: &str = "down.1.l1.conv.weight";

#[test]
fn another_networks_tensors_are_refused_by_name() {
    let (_folder, path) = changed(NAME, |p| p.dims = vec![2, 4, 3, 3]);
    assert!(message(&path).contains("down.1.l1.conv.weight: the shape is [2, 4, 3, 3], the network's [4, 2, 3, 3]"));
    let (_folder, path) = changed(NAME, |p| p.name = "stray".into());
    assert!(message(&path).contains("down.1.l1.conv.weight: the tensor is not among the"));
    let (_folder, path) = saved();
    let small: Vec<_> = network(2).iter().skip(1).cloned().collect();
    let error = load(&path).unwrap().restore("", &Parameters::new(small)).unwrap_err().to_string();
    assert!(error.contains("down.0.l1.conv.weight: the network has no such tensor"), "{error}");
}

#[test]
fn numbers_that_are_not_finite_are_neither_written_nor_taken() {
    let (_folder, path) = saved();
    let before = fs::read(&path).unwrap();
    let poisoned = |p: &Parameter<Reference>| Parameter {
        value: if p.name == NAME { Tensor::full(&Reference, p.value.shape(), f64::NAN) } else { p.value.clone() },
        ..p.clone()
    };
    let poisoned = Parameters::new(network(1).iter().map(poisoned).collect());
    let error = save(&path, &[("", &poisoned)], &metadata()).unwrap_err().to_string();
    assert!(error.contains("last.safetensors: down.1.l1.conv.weight: the tensor contains NaN"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before, "the older file stays");

    // The last eight bytes are one number; an exponent of all ones makes it infinite or NaN.
    let (_folder, path) = saved();
    let mut bytes = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[header + 6..header + 8].copy_from_slice(&[0xf0, 0x7f]);
    fs::write(&path, bytes).unwrap();
    let message = message(&path);
    assert!(message.contains("down.0.l1.conv.weight: number 0 is"), "{message}");
}

#[test]
fn half_precision_files_are_taken_and_integers_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let value = Tensor::zeros(&Reference, Shape::SCALAR.with(1, 4));
    let like = Parameters::new(vec![Parameter { name: "w".into(), dims: vec![4], value, trainable: true }]);
    let write = |dtype: &str, data: &[u8]| {
        let header = format!(r#"{{"w":{{"dtype":"{dtype}","shape":[4],"data_offsets":[0,{}]}}}}"#, data.len());
        fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()).unwrap();
        load(&path).unwrap().restore("", &like)
    };
    let words = |words: [u16; 4]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    // 1, -2.5, 2^-24 (the smallest), 65504 (the largest), as NumPy's float16 stores them.
    let half = write("F16", &words([0x3c00, 0xc100, 0x0001, 0x7bff])).unwrap();
    assert_eq!(numbers(&half), [[1.0, -2.5, 2f64.powi(-24), 65504.0]]);
    let brain = write("BF16", &words([0x3f80, 0xc020, 0x0080, 0x7f7f])).unwrap();
    assert_eq!(numbers(&brain), [[1.0, -2.5, f64::from(f32::MIN_POSITIVE), f64::from(f32::from_bits(0x7f7f_0000))]]);
    let error = write("I16", &[0; 8]).unwrap_err().to_string();
    assert!(error.contains("w: numbers of type I16 are not supported"), "{error}");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/last.safetensors");
    let error = save(&path, &[("", &network(1))], &metadata()).unwrap_err().to_string();
    assert!(error.contains("missing/last.safetensors") && error.contains("check that the folder exists"), "{error}");
}
