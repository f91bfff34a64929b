//! `segcal man FOLDER`.

use std::path::PathBuf;

use clap::CommandFactory;
use segcal_core::{Error, Result};
use segcal_data::output::{OutputFolder, write_text};

use crate::{Cli, Common, Outcome, output};

/// Write a manual page for every verb into a folder.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal man ~/.local/share/man/man1 && man segcal-evaluate")]
pub struct Args {
    /// The folder. Pages of an earlier version are replaced.
    #[arg(value_name = "FOLDER")]
    pub out: PathBuf,
}

/// Writes `segcal.1` and `segcal-VERB.1`.
///
/// # Errors
/// The folder cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let folder = OutputFolder::create(&args.out)?;
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    add_pages(&program, &mut pages)?;
    for (name, page) in &pages {
        write_text(&folder.file(name)?, page)?;
    }
    if common.json {
        output::print_json(&pages.iter().map(|(name, _)| name).collect::<Vec<_>>())?;
    } else {
        output::print(&format!("{} manual pages in {}\n", pages.len(), args.out.display()))?;
    }
    Ok(Outcome::Done)
}

/// The file name and the text of the page of a command, then those of its subcommands.
fn add_pages(command: &clap::Command, pages: &mut Vec<(String, String)>) -> Result<()> {
    let name = format!("{}.1", command.get_display_name().unwrap_or_else(|| command.get_name()));
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(Error::from_source)?;
    pages.push((name, String::from_utf8_lossy(&page).into_owned()));
    command.get_subcommands().try_for_each(|command| add_pages(command, pages))
}
