//! One network trained by processes that `mpirun` started; only in a program that is built with MPI.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::stderr;
use crate::common::training::{ENDLESS, Scene, end};

/// Lets one test run at a time: the jobs of a user share a folder, which Open MPI removes while another job begins.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the processes of a batch of 4 have in common, of one thread each: there may be few processors.
fn mpirun(counts: &[(usize, Vec<String>)]) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "--bind-to", "none"]).env("RAYON_NUM_THREADS", "1");
    // mpirun waits this many seconds before SIGTERM, and again before SIGKILL: on a busy machine, the default of 1 may be too
    // few for a process to say how to go on.
    command.args(["--mca", "odls_base_sigkill_timeout", "5"]);
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    for (number, (ranks, arguments)) in counts.iter().enumerate() {
        command.args((number > 0).then_some(":"));
        command.args(["-n", &ranks.to_string(), env!("CARGO_BIN_EXE_segcal")]).args(arguments);
    }
    command
}

fn train(scene: &Scene, ranks: usize, run: &str, more: &[&str]) -> Output {
    mpirun(&[(ranks, scene.arguments(run, more))]).output().unwrap()
}

#[test]
fn any_number_of_processes_trains_to_the_bytes_of_one() {
    let _alone = alone();
    let scene = Scene::new();
    let batch_norm = "network={levels=2,base=4,norm=\"batch\"}";
    for (name, keys) in [("ce", ["loss.name=ce"]), ("crac", ["loss.name=crac"]), ("batch-norm", [batch_norm])] {
        let whole = scene.trained(&format!("{name}-whole"), &[&keys[..], &["epochs=5", "micro_batch=1"]].concat());
        for ranks in 1..=4 {
            let run = format!("{name}-{ranks}");
            // Without micro_batch, which several processes need: they take 1.
            let output = train(&scene, ranks, &run, &[&keys[..], &["epochs=5"]].concat());
            assert!(output.status.success(), "{run}: {}", stderr(&output));
            assert!(scene.state(&run) == whole, "{run}: the bytes differ");
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(printed.lines().count(), 1, "one process speaks for all: {printed}");
        }
    }
}

/// Begin and end of what a rank's trace calls by this name, in microseconds.
fn spans(trace: &[Value], name: &str) -> Vec<(f64, f64)> {
    let number = |event: &Value, key: &str| event[key].as_f64().unwrap();
    let named = trace.iter().filter(|event| event["ph"] == "X" && event["name"] == name);
    named.map(|event| (number(event, "ts"), number(event, "ts") + number(event, "dur"))).collect()
}

#[test]
fn gradients_are_exchanged_during_the_backward_pass_and_the_bytes_stay_those_of_one() {
    let _alone = alone();
    let scene = Scene::new();
    // Several buckets of gradients, the first of which is full long before the backward pass ends.
    for norm in ["instance", "batch"] {
        let network = format!("network={{levels=4,base=32,norm=\"{norm}\"}}");
        let keys = [network.as_str(), "loss.name=ce", "epochs=3"];
        let whole = scene.trained(&format!("{norm}-whole"), &[&keys[..], &["micro_batch=1"]].concat());
        let (run, folder) = (format!("{norm}-traced"), scene.path(&format!("{norm}-trace")));
        let output = train(&scene, 2, &run, &[&keys[..], &["--trace", folder.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(scene.state(&run) == whole, "{norm}: the bytes differ");
        for rank in 0..2 {
            let text = fs::read_to_string(folder.join(format!("rank-{rank}.json"))).unwrap();
            let trace: Vec<Value> = serde_json::from_str(&text).unwrap();
            let [passes, exchanges] = ["backward", "gradients"].map(|name| spans(&trace, name));
            assert_eq!(passes.len(), 6, "two batches an epoch");
            // One at a time, up to the rounding of microseconds.
            let in_turn = exchanges.is_sorted_by(|before, after| before.1 < after.0 + 1.0);
            assert!(exchanges.len() >= 2 * passes.len() && in_turn, "{exchanges:?}");
            let during = |&(start, end): &(f64, f64)| exchanges.iter().any(|&(began, _)| start < began && began < end);
            assert!(passes.iter().any(during), "{norm}: rank {rank}: {passes:?} and {exchanges:?}");
        }
    }
}

/// The process of a rank.
fn process_of(mpirun: &Child, rank: usize) -> u32 {
    let children = format!("/proc/{0}/task/{0}/children", mpirun.id());
    let children = fs::read_to_string(children).unwrap();
    let variable = format!("OMPI_COMM_WORLD_RANK={rank}");
    let is_it = |process: &&str| {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == variable.as_bytes())
    };
    children.split_whitespace().find(is_it).expect("the rank runs").parse().unwrap()
}

#[test]
fn a_process_that_is_killed_ends_the_others_and_any_number_goes_on() {
    let _alone = alone();
    let scene = Scene::new();
    for (ranks, killed, next) in [(3, 1, 2), (2, 0, 3)] {
        let run = format!("run-{ranks}");
        let mut command = mpirun(&[(ranks, scene.arguments(&run, &[ENDLESS]))]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let started = Instant::now();
        while scene.epochs(&run) < 2 {
            let running = child.try_wait().unwrap().is_none();
            assert!(running && started.elapsed() < Duration::from_mins(2), "no two epochs were done");
            std::thread::sleep(Duration::from_millis(10));
        }
        let process = process_of(&child, killed).to_string();
        assert!(Command::new("kill").args(["-s", "KILL", &process]).status().unwrap().success());
        let output = end(child);
        let message = stderr(&output);
        assert!(!output.status.success());
        let told = message.lines().filter(|line| line.contains("SIGTERM") && line.contains("--resume")).count();
        assert_eq!(told, ranks - 1, "each of the others says how to go on: {message}");

        let epochs = format!("epochs={}", scene.epochs(&run) + 1);
        let whole = scene.trained(&format!("{run}-whole"), &[&epochs, "micro_batch=1"]);
        let output = train(&scene, next, &run, &["--resume", &epochs]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(scene.state(&run) == whole, "{run}: the bytes differ");
        assert_eq!(scene.leftovers(&run), Vec::<String>::new());
    }
}

#[test]
fn a_process_with_another_config_or_other_data_is_refused_and_the_difference_named() {
    let _alone = alone();
    let scene = Scene::new();
    let refused = |other: Vec<String>| {
        let output = mpirun(&[(1, scene.arguments("run", &[])), (1, other)]).output().unwrap();
        assert!(!output.status.success() && !scene.path("run").exists());
        stderr(&output)
    };
    let config = refused(scene.arguments("run", &["loss.name=ce"]));
    assert!(config.contains("rank 1: has loss.name = \"ce\", rank 0 has \"crac\""), "{config}");
    let moved = scene.path("moved");
    assert!(Command::new("cp").arg("-r").args([scene.path("cohort"), moved.clone()]).status().unwrap().success());
    let label = moved.join("labelsTr/phantom_001.nii.gz");
    fs::copy(moved.join("labelsTr/phantom_002.nii.gz"), label).unwrap();
    let data = refused(scene.arguments("run", &[&format!("data={}", moved.display())]));
    assert!(data.contains("rank 1: has files of the case phantom_001 that differ from those of rank 0"), "{data}");
    let isa = refused([scene.arguments("run", &[]), vec!["--isa".into(), "baseline".into()]].concat());
    assert!(isa.contains("rank 1: computes with cpu baseline, rank 0 with cpu"), "{isa}");
}
