//! Bits depend on the backend and its instruction set: both are part of a run, and cannot be exchanged on the way.

use std::process::Command;

use super::super::common::stderr;
use super::super::common::training::Scene;
use super::refused;

/// What the last line of the log says that the epoch was made with.
fn arithmetic(scene: &Scene, run: &str) -> String {
    let log = std::fs::read_to_string(scene.path(run).join("log.jsonl")).unwrap();
    let record: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    record["hashes"]["arithmetic"].as_str().unwrap().to_owned()
}

#[test]
fn a_run_goes_on_with_the_arithmetic_it_was_begun_with_and_no_other() {
    let scene = Scene::new();
    scene.trained("run", &["epochs=1", "--isa", "baseline"]);
    assert_eq!(arithmetic(&scene, "run"), "cpu baseline");
    let best = segcal_data::checkpoint::load(&scene.path("run/best.safetensors")).unwrap();
    assert!(best.value("hashes").unwrap().contains("\"arithmetic\":\"cpu baseline\""));
    let refuse = |more: &[&str], now: &str| {
        let arguments = scene.arguments("run", &[&["--resume", "epochs=2"], more].concat());
        let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
        let remedy = "continue with --backend cpu --isa baseline, or start a new run with init=RUN/last.safetensors";
        refused(2, &arguments, &["run: the run was trained with cpu baseline, this is", now, remedy]);
    };
    let before = scene.state("run");
    refuse(&["--backend", "reference"], "this is reference");
    let best = segcal_backends::Cpu::default().instruction_set();
    if best != "baseline" {
        refuse(&[], &format!("this is cpu {best}"));
    }
    assert!(scene.state("run") == before, "a run that is refused is not changed");
    let resumed = scene.trained("run", &["--resume", "epochs=2", "--isa", "baseline"]);
    assert!(resumed == scene.trained("whole", &["epochs=2", "--isa", "baseline"]), "the bytes differ");
    // The remedy for who must go on elsewhere.
    let init = format!("init={}", scene.path("run/last.safetensors").display());
    scene.trained("other", &["epochs=1", &init, "--backend", "reference"]);
    assert_eq!(arithmetic(&scene, "other"), "reference");
}

#[test]
fn an_instruction_set_that_is_not_there_is_a_usage_error() {
    let scene = Scene::new();
    let output = scene.train("run", &["--isa", "mmx"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--isa") && stderr(&output).contains("avx2"), "{}", stderr(&output));
    assert!(!scene.path("run").exists());
}

/// `--isa LEVEL` gives the bits of a machine that has no better one: such a machine is emulated.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_level_that_is_asked_for_gives_the_bits_of_a_machine_that_has_no_better_one() {
    let found = Command::new("qemu-x86_64").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        eprintln!("qemu-x86_64 is not there: skipped");
        return;
    }
    let scene = Scene::new();
    for (machine, level) in [("Nehalem", "baseline"), ("Haswell", "avx2")] {
        if segcal_backends::Cpu::default().with_instruction_set(level).is_err() {
            eprintln!("this machine has no {level}: skipped");
            continue;
        }
        let wanted = scene.trained(level, &["epochs=1", "--isa", level, "--threads", "2"]);
        let mut emulated = Command::new("qemu-x86_64");
        emulated.args(["-cpu", machine, env!("CARGO_BIN_EXE_segcal")]);
        let output = emulated.args(scene.arguments(machine, &["epochs=1", "--threads", "2"])).output().unwrap();
        assert!(output.status.success(), "{machine}: {}", stderr(&output));
        assert!(scene.state(machine) == wanted, "{machine} and --isa {level} give other bytes");
    }
}
