//! Ctrl-C leaves no thread behind: not in a process that goes on, and not as a process.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::alone;
use crate::common::training::{ENDLESS, Scene};

/// Threads of this process.
fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn a_training_that_is_interrupted_leaves_no_thread_behind() {
    if !alone("threads::a_training_that_is_interrupted_leaves_no_thread_behind") {
        return;
    }
    let scene = Scene::new();
    let train =
        |run: &str, more: &[&str]| segcal::run([vec!["segcal".to_owned()], scene.arguments(run, more)].concat());
    // The pool of worker threads, which stays for the next piece of work, is started by the first.
    assert_eq!(train("first", &["epochs=1"]), 0);
    let before = threads();
    let log = scene.path("run/log.jsonl");
    let (status, during) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while fs::read_to_string(&log).map_or(0, |log| log.lines().count()) < 2 {
                std::thread::sleep(Duration::from_millis(2));
            }
            // Caught at any moment of an epoch: while batches are cut, while the network is measured.
            let most = (0..50).map(|_| {
                std::thread::sleep(Duration::from_millis(1));
                threads()
            });
            let most = most.max();
            let sent = Command::new("kill").args(["-s", "INT", &std::process::id().to_string()]).status().unwrap();
            assert!(sent.success());
            most
        });
        (train("run", &[ENDLESS]), watcher.join().unwrap())
    });
    assert_eq!(status, 130);
    // The watcher, and at times the thread that cuts batches.
    assert!(during >= Some(before + 1), "{during:?} threads while it trained, {before} before");
    // A thread that is done still has to be taken away by the system.
    let soon = Instant::now() + Duration::from_secs(5);
    while threads() > before && Instant::now() < soon {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(threads(), before);
}
