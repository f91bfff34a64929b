//! Benchmarks: seconds, GFLOP/s by the direct count, share of the FMA peak measured in the same run, peak memory.
//!
//! `cargo run --release -p segcal-tests --bin bench -- network --net unet-authors --batch 4 --size 128 --classes 4 --what
//! train --json`. Kinds: `network`, `conv`, `loss`, `metric` and `versus-torch`. Timings are the best of `--reps`, since the
//! machines are shared. `--net` is a name of `segcal list networks`, `--keys` a JSON object of the network's own keys.
//!
//! With `--backend gpu` (build with `--features gpu`; `--device` chooses the card) `card` tells what one step asks of
//! the card, and for each kernel its dispatches, milliseconds by the card's own timestamps, bytes/s of least traffic
//! and FLOP/s.
//!
//! `bench versus-torch --script tests/peers/torch_networks.py --net attunet --times 5` runs the peer script and `network`
//! in turn with the same options, and prints the ratios with their spread.

mod card;
mod conv;
mod count;
mod loss;
mod measure;
mod metric;
mod network;
mod options;
mod peak;
mod versus_torch;

use segcal_core::{Error, Result};

use options::Options;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_default();
    let options = Options::parse(arguments)?;
    let result = match kind.as_str() {
        "versus-torch" => versus_torch::run(&options)?,
        "network" => card::run(&options, &network::Networks(&options))?,
        "conv" => card::run(&options, &conv::Conv(&options))?,
        "loss" => card::run(&options, &loss::Losses(&options))?,
        "metric" => card::run(&options, &metric::Metrics(&options))?,
        _ => {
            let problem = format!("there is no benchmark \"{kind}\"");
            return Err(Error::new(problem).help("network, conv, loss, metric or versus-torch"));
        }
    };
    println!("{}", if options.flag("json") { result.to_string() } else { format!("{result:#}") });
    Ok(())
}
