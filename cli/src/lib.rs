//! Train, predict and evaluate segmentation networks whose confidence can be trusted.
//!
//! The `segcal` program: one file per verb in [`commands`], the options that every verb shares in [`options`], progress
//! output in [`progress`] and [`terminal`], the comparison of methods in [`compare`]. A verb turns its arguments into a
//! request, calls a library through [`doors`] ([`segcal_data`], [`segcal_train`], [`segcal_evaluate`]) and prints what
//! comes back.

#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

pub mod commands;
pub mod compare;
pub mod doors;
pub mod options;
pub mod output;
pub mod progress;
pub mod ranks;
pub mod reading;
pub mod signals;
pub mod terminal;
pub mod trace;

use std::ffi::OsString;

use clap::Parser;

pub use commands::Outcome;
pub use options::Common;

/// Train, predict and evaluate segmentation networks whose confidence can be trusted.
#[derive(Parser, Debug)]
#[command(
    name = "segcal",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Example:\n  segcal demo\n\nExit status: 0 success, 1 some cases failed, 2 wrong usage or unreadable input, 128 + N stopped by signal N."
)]
pub struct Cli {
    /// The options that every verb shares.
    #[command(flatten)]
    pub common: Common,
    /// The verb to run.
    #[command(subcommand)]
    pub verb: commands::Verb,
}

/// Runs the program with these arguments (the program's own name first) and returns its exit status: 0 success; 1 some
/// cases failed, a result could not be written, training that had begun could not continue, or memory ran out; 2 wrong
/// usage or unreadable input; 128 + N stopped by signal N.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> u8 {
    progress::report_panics_in_one_line();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            print_usage(&error);
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let heartbeat = progress::Heartbeat::start(cli.common.quiet || ranks::is_spoken_for());
    let started = signals::survive_file_size_limit().and_then(|()| cli.common.start());
    let outcome = started.and_then(|()| cli.verb.run(&cli.common));
    drop(heartbeat);
    match outcome {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::SomeFailed) => 1,
        Err(error) => {
            progress::line(&format!("error: {error}"));
            let unfinished = segcal_train::stopped::is_stopped(&error) || segcal_core::memory::is_shortage(&error);
            let partial = output::is_write_failure(&error) || unfinished;
            signals::status(&error).unwrap_or(if partial { 1 } else { 2 })
        }
    }
}

/// Prints clap's help, or its error, which quotes untrusted arguments. Failures to print are ignored: if the stream is
/// closed there is nobody to tell, and the exit status still reports the error.
fn print_usage(error: &clap::Error) {
    let plain = error.render().to_string();
    let safe = output::lines_for_terminal(&plain);
    if error.use_stderr() && safe != plain {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), safe.as_bytes());
    } else {
        let _ = error.print();
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn every_verb_has_a_help_text_with_an_example() {
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        for verb in cli.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let name = verb.get_name();
            assert!(verb.get_about().is_some(), "{name} has no description");
            let example = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(example.contains(&format!("segcal {name}")), "{name} shows no example");
            for argument in verb.get_arguments() {
                assert!(argument.get_help().is_some(), "{name} {} has no help", argument.get_id());
            }
        }
    }
}
