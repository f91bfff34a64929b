//! `verbs PROGRAM --seconds N --seed S`: whole verbs on changed files, for so long; the same inputs for the same seed.
//! What breaks a promise is stored in `fuzz/artifacts/verbs`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use segcal_fuzz::verbs::search;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let parsed = match words[..] {
        [program, "--seconds", seconds, "--seed", seed] => {
            std::fs::canonicalize(program).ok().zip(seconds.parse().ok()).zip(seed.parse().ok())
        }
        _ => None,
    };
    let Some(((program, seconds), seed)): Option<((PathBuf, u64), u64)> = parsed else {
        eprintln!("usage: verbs PROGRAM --seconds N --seed S");
        return ExitCode::from(2);
    };
    let keep = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts").join("verbs");
    match search(&program, Duration::from_secs(seconds), seed, &keep) {
        Ok((tried, findings)) => {
            println!("verbs: {tried} inputs in {seconds} s, {} findings", findings.len());
            findings.iter().for_each(|finding| println!("{}: {}", finding.folder.display(), finding.what));
            ExitCode::from(u8::from(!findings.is_empty()))
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
