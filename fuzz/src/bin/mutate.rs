//! `mutate NAME --seconds N --seed S`: a target on changed inputs of its corpus, for so long; the same inputs for the
//! same seed. An input that breaks a promise, or takes over ten seconds, is stored in `fuzz/artifacts/NAME`.

use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use segcal_core::Rng;
use segcal_fuzz::mutation::mutant;
use segcal_fuzz::targets::Target;

/// No input may take longer.
const SLOW: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let parsed = match words[..] {
        [name, "--seconds", seconds, "--seed", seed] => {
            Target::named(name).zip(seconds.parse().ok()).zip(seed.parse().ok())
        }
        _ => None,
    };
    let Some(((target, seconds), seed)) = parsed else {
        eprintln!("usage: mutate NAME --seconds N --seed S");
        return ExitCode::from(2);
    };
    match search(target, Duration::from_secs(seconds), seed) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(finding)) => {
            eprintln!("finding: {finding}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn search(target: Target, length: Duration, seed: u64) -> std::io::Result<Option<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(root.join("corpus").join(target.name))?.flatten().collect();
    files.sort_by_key(std::fs::DirEntry::path);
    let inputs = files.iter().map(|file| std::fs::read(file.path())).collect::<std::io::Result<Vec<_>>>()?;
    let started = Instant::now();
    let mut tried = 0_u64;
    while started.elapsed() < length {
        let input = mutant(&inputs, Rng::new(seed).stream(tried));
        let begun = Instant::now();
        let kept = catch_unwind(|| (target.run)(&input)).is_ok();
        if !kept || begun.elapsed() > SLOW {
            let folder = root.join("artifacts").join(target.name);
            std::fs::create_dir_all(&folder)?;
            let path = folder.join(format!("{seed}-{tried}"));
            std::fs::write(&path, input)?;
            return Ok(Some(path.display().to_string()));
        }
        tried += 1;
    }
    println!("{}: {tried} inputs in {:.0} s, peak memory {}", target.name, started.elapsed().as_secs_f64(), peak());
    Ok(None)
}

/// Peak memory of this process, where the system tells.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".into(), |rest| rest.trim().into())
}
