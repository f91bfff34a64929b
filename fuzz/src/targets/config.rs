//! Training configs: a TOML text, a line `---`, and overrides, one a line.

use std::path::Path;

use segcal_train::settings::Settings;

use crate::input::{two_texts, with_file};

/// A config is read or refused; stored and read again, it is the same.
pub fn target(bytes: &[u8]) {
    let (text, overrides) = two_texts(bytes);
    let overrides: Vec<String> = overrides.lines().map(str::to_owned).collect();
    with_file("x.toml", text.as_bytes(), |path| {
        // Overrides are at fault by their own names, not by that of the file.
        let _ = Settings::read(path, &overrides).map(|settings| stored_again(&settings, path));
        Settings::read(path, &[]).map(drop)
    });
}

fn stored_again(settings: &Settings, path: &Path) {
    let table = settings.to_table();
    std::fs::write(path, table.to_string()).expect("room for temporary files");
    let stored = segcal_train::run_folder::stored_config(path.parent().expect("a folder"));
    assert!(stored.is_err(), "a folder without config.toml is not a run");
    let again = Settings::from_stored(table.to_string().parse().expect("a table is TOML"));
    let again = again.unwrap_or_else(|error| panic!("stored, it is refused: {error}"));
    assert_eq!(&again, settings, "stored and read again");
}

/// Configs with overrides, and some that are refused.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("short", text("data = \"x\"\n---\nloss.name=nacl\nepochs=3")),
        (
            "long",
            text(
                "data = \"x\"\nseed = 4\nepochs = 2\nbatch = 4\nclip_norm = 1\n[input]\nclip_percentiles = [1, 99.5]\n\
                 [samples]\nkind = \"patches\"\nsize = [8, 16, 16]\nper_volume = 2\n[network]\nlevels = 2\nbase = 4\n\
                 [loss]\nname = \"crac\"\nmargin = 5\n[optimiser]\nname = \"sgd\"\nlearning_rate = 1e-2\n---\n\
                 samples.size=[4,4,4]\noptimiser.momentum=0.9\nout=\"a b\"",
            ),
        ),
        ("unknown", text("data = \"x\"\nepochz = 3\n---\nloss.lamda=3")),
        ("types", text("data = 3\nepochs = \"many\"\n[samples]\nsize = []")),
        ("edges", text("data = \"x\"\nseed = -1\nepochs = 9223372036854775807\nclip_norm = nan\n---\na..b=1\n=\nx")),
        ("no_toml", text("data = = [[")),
    ]
}
