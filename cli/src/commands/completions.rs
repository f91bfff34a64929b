//! `segcal completions SHELL`.

use clap::CommandFactory;
use clap_complete::Shell;
use segcal_core::Result;

use crate::{Cli, Common, Outcome, output};

/// Print a completion script for a shell.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal completions bash > ~/.local/share/bash-completion/completions/segcal")]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the completion script.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args, _: &Common) -> Result<Outcome> {
    // Written to memory first: the generator panics if a pipe is closed early.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "segcal", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}
