//! `replay`: every target over `fuzz/corpus`. `replay NAME PATH…`: one target over files and folders.
//! `replay --write`: remakes the corpus from the targets' seeds, beside what else lies there.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use segcal_fuzz::targets::{TARGETS, Target};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let outcome = match words[..] {
        [] => TARGETS.iter().try_for_each(|target| replay(*target, &corpus.join(target.name))),
        ["--write"] => write(&corpus),
        [name, ref paths @ ..] => {
            named(name).and_then(|target| paths.iter().try_for_each(|path| replay(target, Path::new(path))))
        }
    };
    outcome.map_or_else(
        |error| {
            eprintln!("error: {error}");
            ExitCode::from(2)
        },
        |()| ExitCode::SUCCESS,
    )
}

fn named(name: &str) -> std::io::Result<Target> {
    Target::named(name).ok_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        std::io::Error::other(format!("there is no target {name}, but {}", names.join(" ")))
    })
}

/// Runs a target on a file, or on every file of a folder; a broken promise ends the program with its message.
fn replay(target: Target, path: &Path) -> std::io::Result<()> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
        files = entries.collect::<std::io::Result<Vec<PathBuf>>>()?;
        files.sort();
    }
    for file in &files {
        eprintln!("{} {}", target.name, file.display());
        (target.run)(&std::fs::read(file)?);
    }
    println!("{}: {} inputs", target.name, files.len());
    Ok(())
}

fn write(corpus: &Path) -> std::io::Result<()> {
    for target in TARGETS {
        let folder = corpus.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (name, bytes) in (target.seeds)() {
            std::fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}
