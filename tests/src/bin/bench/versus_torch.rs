//! `versus-torch`: the peer script and `network` in turn.

use std::process::Command;

use segcal_core::{Error, Result};
use serde_json::{Value, json};

use crate::options::Options;

/// Runs the peer script and this program in turn and compares seconds and peak memory.
pub(crate) fn run(options: &Options) -> Result<Value> {
    let what = options.text("what", "train");
    let times = options.number("times", 5)?;
    let shared: Vec<String> = ["net", "keys", "batch", "size", "classes", "dims", "reps"]
        .iter()
        .filter_map(|key| Some([format!("--{key}"), options.0.get(*key)?.clone()]))
        .flatten()
        .chain(["--what".to_owned(), what.clone()])
        .collect();
    let (mut ratios, mut theirs, mut ours, mut memory) = (Vec::new(), Vec::new(), Vec::new(), [f64::NAN; 2]);
    let mut formats = vec!["contiguous", "channels_last"];
    for _ in 0..times {
        let mut best = ("", f64::INFINITY);
        for format in formats {
            let mut command = Command::new(options.text("python", "python3"));
            command
                .arg(options.text("script", "tests/peers/torch_networks.py"))
                .args(&shared)
                .args(["--format", format]);
            let peer = json_of(&mut command)?;
            let seconds = peer[format!("{format}_{what}_s")].as_f64().unwrap_or(f64::INFINITY);
            best = if seconds < best.1 { (format, seconds) } else { best };
            memory[0] = memory[0].min(peer["peak_rss_mib"].as_f64().unwrap_or(f64::NAN));
        }
        // The slower memory format is measured once.
        formats = vec![best.0];
        let best = best.1;
        let own = std::env::current_exe().map_err(Error::from)?;
        let own = json_of(Command::new(own).arg("network").args(&shared).arg("--json"))?;
        let seconds = own["seconds"].as_f64().unwrap_or(f64::NAN);
        memory[1] = memory[1].min(own["peak_rss_mib"].as_f64().unwrap_or(f64::NAN));
        eprintln!("torch {best:.4} s, segcal {seconds:.4} s, ratio {:.2}", best / seconds);
        ratios.push(best / seconds);
        theirs.push(best);
        ours.push(seconds);
    }
    for values in [&mut ratios, &mut theirs, &mut ours] {
        values.sort_by(f64::total_cmp);
    }
    Ok(json!({
        "what": what, "options": shared.join(" "), "times": times,
        "torch_seconds_median": theirs[times / 2], "segcal_seconds_median": ours[times / 2],
        "ratio_median": ratios[times / 2], "ratio_lowest": ratios[0], "ratio_highest": ratios[times - 1],
        "torch_peak_rss_mib": memory[0], "segcal_peak_rss_mib": memory[1],
    }))
}

/// The JSON document that a command prints on its last line.
fn json_of(command: &mut Command) -> Result<Value> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(Error::from).map_err(|error| error.at(&name))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).map_err(|_| {
        Error::new(format!("printed no figures: {}", String::from_utf8_lossy(&output.stderr).trim())).at(&name)
    })
}
