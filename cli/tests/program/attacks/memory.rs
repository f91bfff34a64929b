//! Less memory than the work needs: done, or one line that says so and status 1; never a signal, nor a status that is not
//! the program's. `tests/disturb.py` does the same at length.

use std::fs;
use std::process::{Command, Output};

use super::super::common::training::Scene;
use super::super::common::{stderr, text};
use super::limited;

#[test]
fn little_memory_is_an_error_and_no_crash() {
    let scene = Scene::new();
    scene.trained("run", &["epochs=2"]);
    let path = |name: &str| text(&scene.path(name)).to_owned();
    let (scores, labels, images, run) =
        (path("cohort/posteriorsTs"), path("cohort/labelsTs"), path("cohort/imagesTs"), path("run"));
    for mib in [60, 70, 90, 120, 160, 200, 300, 500, 1000] {
        let (evaluated, predicted) = (path(&format!("e{mib}")), path(&format!("p{mib}")));
        let evaluate = ["evaluate", "--probabilities", &scores, "--labels", &labels, "--out", &evaluated];
        let train = scene.arguments(&format!("r{mib}"), &["epochs=1", "network.base=24"]);
        let train: Vec<&str> = train.iter().skip(1).map(String::as_str).collect();
        for arguments in [&evaluate[..], &["predict", &run, &images, "--out", &predicted], &train] {
            let output = limited(mib, arguments);
            expect_an_error_or_nothing(&output, &format!("{mib} MiB, {}", arguments[0]));
        }
    }
}

fn expect_an_error_or_nothing(output: &Output, what: &str) {
    let (status, said) = (output.status.code(), stderr(output));
    assert!(status == Some(0) || status == Some(1), "{what}: {status:?} {said}");
    assert!(said.lines().all(|line| line.starts_with("error: ")), "{what}: {said}");
    assert_eq!(status == Some(1), !said.is_empty(), "{what}: {said}");
}

/// The files by which a system tells of a control group, in their place for one process.
#[test]
fn a_control_group_is_a_limit_as_any_other() {
    let scene = Scene::new();
    let group = scene.path("group");
    fs::create_dir(&group).unwrap();
    fs::write(group.join("memory.current"), format!("{}\n", 20 << 20)).unwrap();
    let run = |mib: u64, arguments: &[String]| {
        fs::write(group.join("memory.max"), format!("{}\n", mib << 20)).unwrap();
        let script = "mount --bind \"$0\" /sys/fs/cgroup || exit 99; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script, text(&group), env!("CARGO_BIN_EXE_segcal")]);
        command.args(arguments).output()
    };
    let words = |run: &str| scene.arguments(run, &["epochs=1", "network.base=96", "samples.size=[64,64]"]);
    let known = fs::read_to_string("/proc/self/cgroup").is_ok_and(|text| text.contains("0::/"));
    let may = run(1 << 20, &["list".to_owned(), "losses".to_owned()]);
    if !known || !may.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this system has no control groups of version 2, or lets no user mount (unshare -rm)");
        return;
    }
    for mib in [60, 100, 200, 400, 1000] {
        let output = run(mib, &words(&format!("r{mib}"))).unwrap();
        expect_an_error_or_nothing(&output, &format!("a group of {mib} MiB"));
        if mib == 60 {
            let said = stderr(&output);
            assert!(output.status.code() == Some(1) && said.contains("MiB are free"), "{said}");
        }
    }
}
