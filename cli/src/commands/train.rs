//! `segcal train CONFIG [key=value…]`.

use std::path::PathBuf;

use segcal_backends::{Cpu, Visitor, Watch};
use segcal_core::{Backend, Context, Error, Result};

use crate::data::Dataset;
use crate::options::BackendName;
use crate::signals::Listening;
use crate::train::cases::Cases;
use crate::train::run_folder::RunFolder;
use crate::train::settings::Settings;
use crate::train::trainer::Trainer;
use crate::{Common, Outcome, output};

/// Train a network.
///
/// The run folder holds the resolved config, the names and checksums of the cases, a log line and a table row for each
/// epoch, and the best and the last weights. A run that was interrupted goes on with --resume from its last whole epoch.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  segcal train configs/hippocampus.toml data=../hippocampus loss.name=nacl out=runs/nacl"
)]
pub struct Args {
    /// The config, a TOML file.
    pub config: PathBuf,
    /// Keys that replace those of the config, such as loss.name=nacl.
    #[arg(value_name = "key=value")]
    pub overrides: Vec<String>,
    /// Go on with a run that was interrupted, or that is to have more epochs.
    #[arg(long)]
    pub resume: bool,
    /// Folder of the run; the same as out=FOLDER.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// Trains, and prints where the run is.
///
/// # Errors
/// The config or a case is malformed, the run folder is taken, training diverges, or a file cannot be written.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let mut settings = Settings::read(&args.config, &args.overrides)?;
    if let Some(out) = &args.out {
        settings.out.clone_from(out);
    }
    train(&settings, args.resume, common)?;
    if common.json {
        output::print_json(&serde_json::json!({ "run": settings.out }))?;
    } else {
        output::print(&format!("{}\n", settings.out.display()))?;
    }
    Ok(Outcome::Done)
}

/// Trains as the settings say.
///
/// # Errors
/// As [`run`].
pub fn train(settings: &Settings, resume: bool, common: &Common) -> Result<()> {
    let data = open(settings)?;
    let device = common.device(BackendName::Cpu)?;
    let watch = device.watch();
    let cases = Cases::of(&data, common)?;
    device.run(Training { settings, data, cases, resume, common, watch })
}

/// Whether the settings describe a training that can begin: builds everything that it needs, and writes nothing.
///
/// # Errors
/// A setting is out of range, or the data set or its first case cannot be read.
pub fn check(settings: &Settings, common: &Common) -> Result<()> {
    Trainer::new(&Cpu::new(None)?, settings, open(settings)?, common).map(drop)
}

fn open(settings: &Settings) -> Result<Dataset> {
    let data = Dataset::open_fold(&settings.data, settings.fold)?;
    data.expect_classes()?;
    if data.train.is_empty() || data.val.is_empty() {
        let problem = format!("{} training and {} validation cases", data.train.len(), data.val.len());
        return Err(Error::new(problem).at(settings.data.display())
            .help("each part needs at least one: name them in splits.json as {\"train\": […], \"val\": […]}"));
    }
    Ok(data)
}

struct Training<'a> {
    settings: &'a Settings,
    data: Dataset,
    cases: Cases,
    resume: bool,
    common: &'a Common,
    watch: Watch,
}

impl Visitor for Training<'_> {
    type Output = Result<()>;

    fn visit<B: Backend>(self, backend: B) -> Result<()> {
        let Self { settings, data, cases, resume, common, watch } = self;
        let mut trainer = Trainer::new(&backend, settings, data, common)?.watched(watch);
        let table = settings.to_table();
        let mut folder = if resume {
            let mut folder = RunFolder::resume(&settings.out, &table)?;
            folder.expect_cases(&cases)?;
            trainer.restore(&mut folder)?;
            folder
        } else {
            let folder = RunFolder::create(&settings.out, &table)?;
            folder.expect_cases(&cases)?;
            folder
        };
        let _listening = Listening::start()?;
        trainer.run(&mut folder).at(settings.out.display())
    }
}
