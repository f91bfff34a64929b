//! Commands that a page or a help text shows are ones that the program accepts.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use segcal::Cli;

/// README.md and the pages of `docs`.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    [root.join("README.md")].into_iter().chain(pages).collect()
}

/// The commands of the page's shell blocks, with continued lines joined.
fn in_blocks(page: &str) -> Vec<String> {
    let page = page.replace("\\\n", " ");
    let mut inside = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        match line.trim() {
            "```sh" | "```console" => inside = true,
            "```" => inside = false,
            command if inside => lines.extend(calls(command)),
            _ => {}
        }
    }
    lines
}

/// What stands between backquotes in the text.
fn in_text(page: &str) -> Vec<String> {
    let paragraphs = page.split("\n\n").filter(|paragraph| !paragraph.contains("```"));
    let quoted = paragraphs.flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
    quoted
        .map(|code| code.replace('\n', " "))
        .filter(|code| code.starts_with("segcal ") && !code.starts_with("segcal VERB"))
        .collect()
}

/// The calls of the program in a line of shell: from its name to the end of the command.
fn calls(line: &str) -> Vec<String> {
    let line =
        line.strip_prefix("$ ").unwrap_or(line).replace("cargo run --release --no-default-features -- ", "segcal ");
    let starts = line.match_indices("segcal ").map(|(start, _)| start).filter(|&start| {
        let before = line[..start].trim_end_matches(' ');
        let command = before.is_empty() || before.ends_with(['\'', '"', ';', '&', '|']);
        command || before.starts_with("mpirun")
    });
    starts.map(|start| until_end(&line[start..], line[..start].chars().last())).collect()
}

/// The command without what follows it: the closing quote of what contains it, a redirection, a comment.
fn until_end(command: &str, before: Option<char>) -> String {
    let command = match before {
        Some(quote @ ('\'' | '"')) => command.split(quote).next().unwrap_or_default(),
        _ => command,
    };
    let ends = [" #", " >", " |", " &&", " ;"].iter().filter_map(|end| command.find(end));
    command[..ends.min().unwrap_or(command.len())].trim().into()
}

/// The words of a command, as a shell divides them.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut depth) = (Vec::new(), String::new(), None, 0_usize);
    for letter in command.chars() {
        match (letter, quote) {
            ('\'' | '"', None) if depth == 0 => quote = Some(letter),
            (letter, Some(open)) if letter == open && depth == 0 => quote = None,
            (' ', None) if depth == 0 => words.push(std::mem::take(&mut word)),
            _ => {
                depth = (depth + usize::from(letter == '(')).saturating_sub(usize::from(letter == ')'));
                word.push(letter);
            }
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// What the program says against a command; none if it accepts it. A number that the shell would insert is 1.
fn complaint(command: &str) -> Option<ErrorKind> {
    let words = words(command).into_iter().map(|word| if word.starts_with("$((") { "1".into() } else { word });
    let kind = Cli::try_parse_from(words).err()?.kind();
    (!matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)).then_some(kind)
}

#[test]
fn commands_of_the_pages_are_accepted() {
    let (mut seen, mut refused) = (0, Vec::new());
    let mut look = |path: &Path, command: String, allowed: &[ErrorKind]| {
        seen += 1;
        let found = complaint(&command).filter(|kind| !allowed.contains(kind));
        refused.extend(found.map(|kind| format!("{}: {command}: {kind:?}", path.display())));
    };
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        in_blocks(&page).into_iter().for_each(|command| look(&path, command, &[]));
        // The text may mention a verb without all of its arguments, or with a placeholder for a value.
        let part = [
            ErrorKind::MissingRequiredArgument,
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ErrorKind::InvalidValue,
        ];
        in_text(&page).into_iter().for_each(|command| look(&path, command, &part));
    }
    assert_eq!(refused, Vec::<String>::new());
    assert!(seen > 60, "{seen} commands");
}

#[test]
fn examples_of_the_help_are_accepted() {
    let mut examples = Vec::new();
    let mut open = vec![Cli::command()];
    while let Some(command) = open.pop() {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        examples.extend(text.lines().filter(|line| line.starts_with("  segcal ")).flat_map(|line| calls(line.trim())));
        open.extend(command.get_subcommands().cloned());
    }
    assert!(examples.len() > 20, "{} examples", examples.len());
    for example in examples {
        assert_eq!(complaint(&example), None, "{example}");
    }
}

#[test]
fn a_wrong_command_is_noticed() {
    let page =
        "```sh\nsbatch --wrap \"segcal merge evaluation --outt evaluation\"\n```\n\n`segcal evalute`, `segcal merge`";
    assert_eq!(in_blocks(page), ["segcal merge evaluation --outt evaluation"]);
    assert_eq!(complaint(&in_blocks(page)[0]), Some(ErrorKind::UnknownArgument));
    let text: Vec<_> = in_text(page).iter().map(|command| complaint(command)).collect();
    let expected = [ErrorKind::InvalidSubcommand, ErrorKind::MissingRequiredArgument];
    assert_eq!(text, expected.map(Some));
}
