//! A program in C, compiled against the header and the library: its numbers are those of the Rust libraries.

use std::path::{Path, PathBuf};
use std::process::Command;

use ndarray::Array4;
use segcal_backends::{Cpu, Watch};
use segcal_data::observer::Silent;
use segcal_data::phantom::{self, Recipe};
use segcal_data::{Grid, Volume};
use segcal_evaluate::calibrate::map::{Map, MapFile, Method};
use segcal_evaluate::scores::Scores;
use segcal_metrics::measure::{Options, Prediction, measure};
use segcal_metrics::posthoc::{Chunk, InMemory};
use segcal_metrics::volume::Label;
use segcal_train::run::Trained;
use segcal_train::settings::Settings;

/// The program `tests/example.c`, linked with the library of this build.
fn compiled(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let exe = std::env::current_exe().unwrap();
    let libraries = exe.parent().unwrap();
    let out = folder.join("example");
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o"]).arg(&out);
    cc.arg(root.join("tests/example.c")).arg(format!("-I{}", root.join("include").display()));
    cc.arg(format!("-L{}", libraries.display())).arg(format!("-Wl,-rpath,{}", libraries.display()));
    let status = cc.args(["-lsegcal_c", "-lm"]).status().expect("a C compiler");
    assert!(status.success());
    out
}

fn measured() -> String {
    let inside = |at: usize, shift: usize| (2 + shift..6 + shift).contains(&(at % 8)) && (2..6).contains(&(at / 8));
    let reference: Vec<Label> = (0..64).map(|at| Label::from(inside(at, 0))).collect();
    let structure: Vec<f32> = (0..64).map(|at| if inside(at, 1) { 0.875 } else { 0.25 }).collect();
    let scores: Vec<f32> = structure.iter().map(|p| 1.0 - p).chain(structure.iter().copied()).collect();
    let grid = segcal_metrics::volume::Grid::new([1, 8, 8], [3.0, 0.5, 0.5]);
    let prediction = Prediction::Probabilities(scores.into());
    let figures = measure(&Cpu::new(None).unwrap(), prediction, &reference, grid, &Options::default()).unwrap();
    let dsc = figures.structures["1"]["dsc"].formula().unwrap();
    format!("dsc {dsc} ece {} json 1", figures.regions["all"]["ece"])
}

/// The numbers of a line after its colon.
fn numbers(line: &str) -> Vec<f32> {
    let (_, numbers) = line.split_once(':').expect("a colon");
    numbers.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

fn trained(folder: &Path) -> PathBuf {
    let recipe = Recipe { spatial: [4, 16, 16], ..Recipe::default() };
    phantom::write(
        &phantom::Request { out: &folder.join("cohort"), prefix: "phantom", counts: [2, 1, 0], recipe, seed: 1 },
        &Silent,
    )
    .unwrap();
    let keys = ["epochs=1", "samples.size=[16,16]", "network={levels=2,base=4}"];
    let run = folder.join("run");
    let settings = Settings { data: folder.join("cohort"), out: run.clone(), ..Settings::with(&keys).unwrap() };
    segcal_train::train(&Cpu::new(None).unwrap(), Watch::default(), &settings, false, &Silent).unwrap();
    run
}

/// A temperature of logits that are right in three of four voxels, as a file.
fn write_temperature(path: &Path) -> f32 {
    let (logits, labels) = ([3.0, 3.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0], [0, 0, 0, 1]);
    let chunk = Chunk::new(&logits, &labels, 2).unwrap();
    let map = Map::fit(Method::Temperature, &mut InMemory::new(2, vec![chunk])).unwrap();
    let Map::Temperature(fitted) = &map else { unreachable!("a temperature was asked for") };
    let temperature = fitted.temperature as f32;
    MapFile::new(map, 2, Scores::Logits, "all".into(), Vec::new()).write(path).unwrap();
    temperature
}

fn predicted(run: &Path) -> Vec<f32> {
    let backend = Cpu::new(None).unwrap();
    let values = (0..512).map(|i| (i % 37) as f32).collect();
    let data = Array4::from_shape_vec((1, 2, 16, 16), values).unwrap();
    let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
    let image = Volume { data, grid: Grid::new([2, 16, 16], affine, 0).unwrap() };
    let found = Trained::open(run, &backend).unwrap().probabilities(&backend, image).unwrap();
    (0..found.channels()).map(|k| found.values()[k * 512 + 300]).collect()
}

#[test]
fn a_program_in_c_gives_the_numbers_of_the_libraries() {
    let folder = tempfile::tempdir().unwrap();
    let (program, run, map) = (compiled(folder.path()), trained(folder.path()), folder.path().join("map.json"));
    let t = write_temperature(&map);
    let output = Command::new(program).args([&map, &run]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], measured());
    assert_eq!(lines[1], "nan 1 kind 1 null 1 metric 1 1 (metric: unknown metric \"dscc\")");
    let expected: Vec<f32> = [2.0f32, -1.0, -4.0].into_iter().map(|d| 1.0 / (1.0 + (-d / t).exp())).collect();
    let calibrated = numbers(lines[2]);
    for (at, expected) in expected.iter().enumerate() {
        // Two roundings of an exponential and one of a quotient.
        assert!((calibrated[at] - expected).abs() < 4e-7, "{calibrated:?}");
        assert!((calibrated[at] + calibrated[at + 3] - 1.0).abs() < 4e-7, "{calibrated:?}");
    }
    assert_eq!(numbers(lines[3]), predicted(&run));
}
