//! `segcal prior NAME`.

use std::path::PathBuf;

use segcal_backends::Visitor;
use segcal_core::{Backend, Error, Result, axis};
use segcal_losses::calculator::{self, check_labels};
use segcal_losses::{Convention, Prior, Setting};
use serde_json::json;

use super::loss::{Lifted, given, parameters, parse_convention, parse_setting};
use crate::options::BackendName;
use crate::{Common, Outcome, output};
use segcal_data::npy;

/// Compute a label prior from an array of labels.
///
/// Labels are [N, (D,) H, W], images [N, 1, (D,) H, W]; the prior is [N, K, (D,) H, W]. `segcal list priors` shows
/// names and parameters.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  segcal prior gaussian --labels Y.npy --classes 4 --set sigma=2 --set patch=3 --out P.npy"
)]
pub struct Args {
    /// Name of the prior.
    pub name: String,
    /// Labels, class numbers from 0.
    #[arg(long, value_name = "FILE")]
    pub labels: PathBuf,
    /// Number of classes.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    pub classes: u16,
    /// Image with one channel, for the image-driven priors.
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Set a parameter; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_setting)]
    pub set: Vec<(String, Setting)>,
    /// Definition to use: authors (their public code) or paper (the formula).
    #[arg(long, value_name = "NAME", value_parser = parse_convention, default_value = "authors")]
    pub convention: Convention,
    /// Write the prior to this file.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Writes the prior.
///
/// # Errors
/// An array cannot be read or does not fit, or the prior or a parameter is unknown.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let spec = Prior::spec(&args.name)?;
    let settings = spec.settings(&given(&args.set)?, args.convention)?;
    let prior = Prior::build(spec.name, &settings)?;
    let _claim = output::claim(&args.out, [&args.labels].into_iter().chain(&args.image).map(PathBuf::as_path))?;
    let labels = Lifted::read(&args.labels, false)?;
    let classes = usize::from(args.classes);
    check_labels(args.labels.display(), labels.numbers(), labels.shape, classes, None)?;
    let image = args.image.as_deref().map(|path| Lifted::read(path, true)?.fitting(path, labels.shape)).transpose()?;
    if spec.image && image.is_none() {
        return Err(Error::new("this prior needs an image").at(spec.name).help("use --image X.npy"));
    }
    let device = common.device(BackendName::Reference)?;
    let values = device.run(Evaluate { prior: &prior, labels: &labels, image: image.as_ref(), classes })?;
    let mut extents = labels.extents.clone();
    extents.insert(axis::C, classes);
    npy::write(&args.out, &extents, &values)?;
    if common.json {
        output::print_json(&json!({
            "prior": spec.name,
            "convention": args.convention.as_str(),
            "parameters": parameters(&settings),
            "shape": extents,
            "out": args.out,
        }))?;
    }
    Ok(Outcome::Done)
}

struct Evaluate<'a> {
    prior: &'a Prior,
    labels: &'a Lifted,
    image: Option<&'a Lifted>,
    classes: usize,
}

impl Visitor for Evaluate<'_> {
    type Output = Result<Vec<f64>>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        let labels = (self.labels.numbers(), self.labels.shape);
        calculator::prior(&backend, self.prior, labels, self.classes, self.image.map(Lifted::numbers))
    }
}
