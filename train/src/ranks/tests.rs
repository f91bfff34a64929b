//! Training a model on one, two, three or four ranks, which are threads here, gives the same bits.

use std::sync::Arc;

use proptest::prelude::*;
use segcal_backends::Cpu;
use segcal_core::{Backend, Reference, Result, Rng};
use segcal_data::observer::{Observer, Silent};
use segcal_data::{Grid, Volume};

mod overlap;
mod threads;

use super::passport::Passport;
use super::{Alone, Ranks, agree};
use crate::cases::Cases;
use crate::objective;
use crate::prepared::{Classes, Prepared};
use crate::record::EpochRecord;
use crate::settings::Settings;
use crate::source::Memory;
use crate::trainer::{Data, Trainer};
use threads::Threads;

/// A noisy image of three slices of 16 x 16 pixels, with two structures.
fn case(number: u64) -> Prepared {
    let (rng, grid) = (Rng::new(5).stream(number), Grid::unknown([3, 16, 16]));
    let class = |at: u64| i32::from(at % 16 + at / 16 % 16 > 12 + number % 5) + i32::from(at % 16 > 11);
    let label: Vec<i32> = (0..768).map(class).collect();
    let noisy = |(at, &class): (usize, &i32)| 0.2 + 0.2 * class as f32 + 0.2 * rng.uniform(at as u64) as f32;
    let image = label.iter().enumerate().map(noisy).collect();
    let (image, label) = (Volume::new(image, 1, grid.clone()), Volume::new(label, 1, grid));
    Prepared { name: format!("case {number}"), image, label }
}

fn data() -> Data {
    let classes = Classes { count: 3, ignored: None };
    let memory = |cases: std::ops::Range<u64>| Arc::new(Memory::new(cases.map(case).collect(), classes).unwrap());
    let class_names = ["background", "a", "b"].map(String::from).to_vec();
    Data { training: memory(0..3), validation: memory(3..6), class_names }
}

/// Trains two epochs of batches of 5, 4 samples; the records without times, and the hash of what came of it.
fn trained<B: Backend>(backend: &B, keys: &[&str], ranks: Arc<dyn Ranks>) -> Result<(Vec<EpochRecord>, String)> {
    followed(backend, keys, ranks, &Silent)
}

fn followed<B: Backend>(
    backend: &B,
    keys: &[&str],
    ranks: Arc<dyn Ranks>,
    observer: &dyn Observer,
) -> Result<(Vec<EpochRecord>, String)> {
    let common = ["epochs=2", "batch=5", "samples.size=[16,16]", "clip_norm=1"];
    let settings = Settings::with(&[&common, keys].concat())?;
    let network = crate::run::network(&settings, 1, 3)?;
    let objective = objective::objective(&settings.loss, 1, None)?;
    let mut trainer = Trainer::new(backend, network, objective, data(), &settings)?.among(ranks)?;
    let records = trainer.run(observer)?.into_iter();
    let records = records.map(|record| EpochRecord { seconds: 0.0, images_per_second: 0.0, ..record }).collect();
    Ok((records, trainer.weights_hash()?))
}

/// The results of each of several ranks.
fn trained_by<B: Backend>(backend: &B, keys: &[&str], size: usize) -> Vec<(Vec<EpochRecord>, String)> {
    std::thread::scope(|scope| {
        let start = |ranks: Threads| scope.spawn(move || trained(backend, keys, Arc::new(ranks)).unwrap());
        let running: Vec<_> = Threads::of(size).into_iter().map(start).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn expect_the_same(keys: &[&str]) {
    let cpu = Cpu::new(None).unwrap();
    let alone = trained(&cpu, keys, Arc::new(Alone)).unwrap();
    for size in 1..=4 {
        for (rank, found) in trained_by(&cpu, keys, size).into_iter().enumerate() {
            assert!(found == alone, "{keys:?}: rank {rank} of {size}: {found:?} and alone {alone:?}");
        }
    }
}

const TINY: &str = "network={levels=2,base=4}";
const BATCH: &str = "network={levels=2,base=4,norm=\"batch\"}";

#[test]
fn any_number_of_ranks_gives_the_bits_of_one() {
    expect_the_same(&["micro_batch=1", TINY, "loss.name=ce"]);
    expect_the_same(&["micro_batch=2", TINY, "loss.name=ce-dice", "augment=light"]);
    expect_the_same(&["micro_batch=3", TINY, "loss.name=ce", "optimiser={name=\"sgd\",learning_rate=0.01}"]);
}

#[test]
fn networks_with_batch_norm_give_the_bits_of_one_rank() {
    expect_the_same(&["micro_batch=1", BATCH, "loss.name=ce"]);
    expect_the_same(&["micro_batch=2", BATCH, "loss.name=nacl"]);
}

#[test]
fn losses_that_keep_multipliers_or_compare_views_give_the_bits_of_one_rank() {
    expect_the_same(&["micro_batch=1", BATCH, "loss.name=crac"]);
    expect_the_same(&["micro_batch=2", TINY, "loss.name=cals"]);
    expect_the_same(&["micro_batch=1", BATCH, "loss.name=bwcr"]);
}

#[test]
fn deep_supervision_and_dropout_give_the_bits_of_one_rank() {
    let deep = "network={name=\"nnunet\",widths=[3,4,5]}";
    expect_the_same(&["micro_batch=1", deep, "loss.name=ce", "epochs=1"]);
    let nested = "network={name=\"unetpp-nested\",features=[4,4,4,4,4,4],deep_supervision=true}";
    let sizes = "samples.size=[32,32]";
    expect_the_same(&["micro_batch=2", nested, "loss.name=ce", "epochs=1", sizes]);
    let dropping = "network={name=\"transunet\",image=32,width=4,groups=2,resnet_blocks=[1,1,1],hidden=8,heads=2,mlp=8,\
                    layers=1,head_channels=4,decoder_widths=[4,4,4,4],dropout=0.5}";
    expect_the_same(&["micro_batch=2", dropping, "loss.name=ce", "epochs=1", sizes]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any batch, split in any way.
    #[test]
    fn any_batch_cut_anyhow_gives_the_bits_of_one(batch in 1usize..9, each in 1usize..9, size in 2usize..5, seed in 0u64..9) {
        let [batch_key, each, seed] =
            [format!("batch={batch}"), format!("micro_batch={}", each.min(batch)), format!("seed={seed}")];
        let keys = [batch_key.as_str(), &each, &seed, "epochs=1", BATCH, "loss.name=ce-dice"];
        let cpu = Cpu::new(None).unwrap();
        let alone = trained(&cpu, &keys, Arc::new(Alone)).unwrap();
        for found in trained_by(&cpu, &keys, size) {
            prop_assert!(found == alone);
        }
    }
}

/// In double precision the parts and the whole differ only by rounding, so the mathematics is the same; a single part
/// is the whole.
#[test]
fn parts_compute_what_the_whole_batch_computes() {
    for network in [TINY, BATCH] {
        for loss in ["loss.name=ce-dice", "loss.name=crac"] {
            let of = |parts: &str| trained(&Reference, &[parts, network, loss], Arc::new(Alone)).unwrap();
            let (whole, parts) = (of("micro_batch=0"), of("micro_batch=1"));
            assert_ne!(whole.1, parts.1, "the bits are not expected to be the same");
            for (a, b) in whole.0.iter().zip(&parts.0) {
                for ((name, a), (_, b)) in a.loss.iter().zip(&b.loss) {
                    assert!((a - b).abs() <= 1e-9 * a.abs().max(1.0), "{network} {loss}: {name}: {a} and {b}");
                }
            }
            assert!(of("micro_batch=5").1 != parts.1);
        }
    }
}

#[test]
fn several_ranks_need_parts() {
    let ranks = Threads::of(2).into_iter().next().unwrap();
    let error = trained(&Reference, &[TINY], Arc::new(ranks)).unwrap_err().to_string();
    assert!(error.contains("micro_batch") && error.contains("set micro_batch=1"), "{error}");
}

#[test]
fn a_rank_of_another_version_is_refused_by_all() {
    let passport = |version: &str| Passport {
        version: version.into(),
        arithmetic: "cpu avx2".into(),
        config: Settings::with(&[]).unwrap().to_table(),
        cases: Cases::default(),
        resume: false,
    };
    std::thread::scope(|scope| {
        let start =
            |(ranks, version)| scope.spawn(move || passport(version).expect_same(&ranks).unwrap_err().to_string());
        let running: Vec<_> = Threads::of(3).into_iter().zip(["0.2.0", "0.2.0", "0.1.0"]).map(start).collect();
        for told in running {
            let told = told.join().unwrap();
            assert!(told.starts_with("rank 2: is version 0.1.0, rank 0 is 0.2.0 ("), "{told}");
        }
    });
}

#[test]
fn an_error_of_one_is_told_to_all_and_nobody_waits_for_one_that_has_ended() {
    let [first, second] = <[Threads; 2]>::try_from(Threads::of(2)).ok().unwrap();
    std::thread::scope(|scope| {
        let failing = scope.spawn(move || {
            let failed: Result<()> = agree(&second, Err(segcal_core::Error::new("no such file").at("case 7")));
            failed.unwrap_err().to_string()
        });
        let told = agree(&first, Ok(())).unwrap_err().to_string();
        assert_eq!(failing.join().unwrap(), "case 7: no such file");
        assert_eq!(told, "rank 1: case 7: no such file");
        assert_eq!(first.gather(&[]).unwrap_err().to_string(), "rank 1: has ended");
    });
}
