//! The committed corpus, and some changed inputs, through every target.

use std::collections::BTreeMap;
use std::path::Path;

use segcal_core::Rng;
use segcal_fuzz::mutation::mutant;
use segcal_fuzz::targets::{TARGETS, Target};

/// The committed inputs of a target by name.
fn corpus(target: &Target) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn the_corpus_keeps_every_promise() {
    for target in TARGETS {
        let inputs = corpus(target);
        assert!(!inputs.is_empty(), "{}", target.name);
        inputs.values().for_each(|input| (target.run)(input));
    }
}

#[test]
fn the_corpus_holds_the_seeds() {
    for target in TARGETS {
        let inputs = corpus(target);
        for (name, bytes) in (target.seeds)() {
            assert!(bytes.len() <= 4096, "{} {name}: {} bytes", target.name, bytes.len());
            assert!(inputs.get(name) == Some(&bytes), "{} {name}: run `replay --write`", target.name);
        }
    }
}

#[test]
fn changed_inputs_keep_every_promise() {
    for target in TARGETS {
        let inputs: Vec<Vec<u8>> = corpus(target).into_values().collect();
        (0..150).for_each(|number| (target.run)(&mutant(&inputs, Rng::new(1).stream(number))));
    }
}

#[test]
fn each_target_has_a_program_for_cargo_fuzz() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    let mut programs: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    programs.sort_unstable();
    let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    assert_eq!(programs, names);
}
