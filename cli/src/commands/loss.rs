//! `segcal loss NAME`.

use std::path::{Path, PathBuf};

use segcal_backends::Visitor;
use segcal_core::{Backend, Error, Result, Shape, axis};
use segcal_losses::calculator::{Arrays, Found, Numbers, check_labels};
use segcal_losses::{Convention, Given, Loss, Setting, Settings};
use serde_json::{Map, Value, json};

use crate::options::BackendName;
use crate::{Common, Outcome, output};
use segcal_data::npy::{self, Array};

/// Compute a loss, its terms and its gradient from arrays.
///
/// Arrays are .npy (or .npz with one array): logits and images [N, K, (D,) H, W], labels and masks [N, (D,) H, W]. The
/// default backend is reference, which computes in 64 bits. `segcal list losses` shows names and parameters.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  segcal loss nacl --logits L.npy --labels Y.npy --set lambda=0.1 --set prior=gaussian \
                  --grad G.npy --json"
)]
pub struct Args {
    /// Name of the loss.
    pub name: String,
    /// Logits.
    #[arg(long, value_name = "FILE")]
    pub logits: PathBuf,
    /// Labels, class numbers from 0.
    #[arg(long, value_name = "FILE")]
    pub labels: PathBuf,
    /// Image with one channel, for the image-driven priors.
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Logits of a second view, in the frame of the first, for bwcr.
    #[arg(long, value_name = "FILE")]
    pub second: Option<PathBuf>,
    /// Mask for bwcr: 1 where both views contain the pixel, else 0 [default: 1 everywhere].
    #[arg(long, value_name = "FILE", requires = "second")]
    pub mask: Option<PathBuf>,
    /// Set a parameter; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_setting)]
    pub set: Vec<(String, Setting)>,
    /// Definition to use: authors (their public code) or paper (the formula).
    #[arg(long, value_name = "NAME", value_parser = parse_convention, default_value = "authors")]
    pub convention: Convention,
    /// Write d value / d logits to this file, in the shape of the logits.
    #[arg(long, value_name = "FILE")]
    pub grad: Option<PathBuf>,
}

/// Prints the value and its terms.
///
/// # Errors
/// An array cannot be read or does not fit, or the loss or a parameter is unknown.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let spec = Loss::spec(&args.name)?;
    let settings = spec.settings(&given(&args.set)?, args.convention)?;
    let loss = Loss::build(spec.name, &settings)?;
    let given = [&args.logits, &args.labels].into_iter().chain(&args.image).chain(&args.second).chain(&args.mask);
    let claim = |path: &PathBuf| output::claim(path, given.map(PathBuf::as_path));
    let _claim = args.grad.as_ref().map(claim).transpose()?;
    let inputs = Inputs::read(args, &settings)?;
    loss.check(inputs.logits.shape.c()).map_err(|error| error.at(spec.name))?;
    let device = common.device(BackendName::Reference)?;
    let found = device.run(Evaluate { loss: &loss, arrays: inputs.arrays(), gradient: args.grad.is_some() })?;
    if let (Some(path), Some(gradient)) = (&args.grad, &found.gradient) {
        npy::write(path, &inputs.logits.extents, gradient)?;
    }
    if common.json {
        let terms: Map<String, Value> =
            found.terms.iter().map(|(name, value)| ((*name).to_string(), output::number(*value))).collect();
        output::print_json(&json!({
            "loss": spec.name,
            "convention": args.convention.as_str(),
            "parameters": parameters(&settings),
            "value": output::number(found.value),
            "terms": terms,
        }))?;
    } else {
        let lines = std::iter::once((spec.name, found.value)).chain(found.terms.iter().copied());
        output::print(&lines.map(|(name, value)| format!("{name:<16} {value:.12}\n")).collect::<String>())?;
    }
    Ok(Outcome::Done)
}

/// `KEY=VALUE`.
pub(super) fn parse_setting(text: &str) -> std::result::Result<(String, Setting), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as lambda=0.1")?;
    Ok((key.trim().into(), value.into()))
}

/// `authors` or `paper`.
pub(super) fn parse_convention(text: &str) -> std::result::Result<Convention, String> {
    Convention::from_name(text).map_err(|error| error.to_string())
}

/// The parameters given, each at most once.
pub(super) fn given(set: &[(String, Setting)]) -> Result<Given> {
    let mut given = Given::new();
    for (name, value) in set {
        if given.insert(name.clone(), value.clone()).is_some() {
            return Err(Error::new(format!("{name} is given twice")).at("--set").help("give each parameter once"));
        }
    }
    Ok(given)
}

/// Parameters as JSON; whole numbers have no fraction, as on the command line.
#[expect(clippy::cast_possible_truncation, reason = "whole numbers below 2^53")]
pub(super) fn parameters(settings: &Settings) -> Map<String, Value> {
    // Beyond 2^53 not every whole number is a double.
    let is_whole = |number: f64| number.fract() == 0.0 && number.abs() <= 9e15;
    let of_number = |number: f64| if is_whole(number) { (number as i64).into() } else { output::number(number) };
    let of = |value: &Setting| match value {
        Setting::Number(number) => of_number(*number),
        Setting::Numbers(numbers) => numbers.iter().copied().map(of_number).collect(),
        Setting::Word(word) => match word.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            word => word.into(),
        },
    };
    settings.iter().map(|(name, value)| (name.to_string(), of(value))).collect()
}

/// An array with its shape extended to the five axes of tensors.
pub(super) struct Lifted {
    pub(super) shape: Shape,
    /// As in the file.
    pub(super) extents: Vec<usize>,
    pub(super) data: Vec<f64>,
}

impl Lifted {
    /// Reads `[N, K, (D,) H, W]`, or `[N, (D,) H, W]` if `channels` is false.
    pub(super) fn read(path: &Path, channels: bool) -> Result<Self> {
        let Array { shape: extents, data } = npy::read::<f64>(path, "")?;
        let shape = match (channels, &extents[..]) {
            (true, &[n, k, h, w]) => Shape::new(n, k, 1, h, w),
            (true, &[n, k, d, h, w]) => Shape::new(n, k, d, h, w),
            (false, &[n, h, w]) => Shape::new(n, 1, 1, h, w),
            (false, &[n, d, h, w]) => Shape::new(n, 1, d, h, w),
            _ => {
                let wanted = if channels { "[N, K, H, W] or [N, K, D, H, W]" } else { "[N, H, W] or [N, D, H, W]" };
                let problem = format!("the shape is {extents:?}, expected {wanted}");
                return Err(Error::new(problem).at(path.display()).help("reshape the array"));
            }
        };
        if data.is_empty() {
            return Err(Error::new("the array is empty").at(path.display()));
        }
        if let Some(bad) = data.iter().find(|value| !value.is_finite()) {
            return Err(Error::new(format!("the array contains {bad}"))
                .at(path.display())
                .help("use only finite numbers"));
        }
        Ok(Self { shape, extents, data })
    }

    /// Refuses a shape other than `wanted`.
    pub(super) fn fitting(self, path: &Path, wanted: Shape) -> Result<Self> {
        if self.shape == wanted {
            return Ok(self);
        }
        let problem = format!("as [n, c, d, h, w] the shape is {}, expected {wanted}", self.shape);
        Err(Error::new(problem).at(path.display()))
    }

    pub(super) fn numbers(&self) -> Numbers<'_> {
        Numbers::Double(&self.data)
    }
}

struct Inputs {
    logits: Lifted,
    labels: Lifted,
    image: Option<Lifted>,
    second: Option<Lifted>,
    mask: Option<Lifted>,
}

impl Inputs {
    fn read(args: &Args, settings: &Settings) -> Result<Self> {
        let logits = Lifted::read(&args.logits, true)?;
        let pixels = logits.shape.with(axis::C, 1);
        let labels = Lifted::read(&args.labels, false)?.fitting(&args.labels, pixels)?;
        let ignored = settings.iter().find(|(name, _)| *name == "ignore_index").map(|(_, value)| value);
        let ignored = if let Some(Setting::Number(number)) = ignored { Some(*number) } else { None };
        check_labels(args.labels.display(), labels.numbers(), pixels, logits.shape.c(), ignored)?;
        let image = args.image.as_deref().map(|path| Lifted::read(path, true)?.fitting(path, pixels)).transpose()?;
        if settings.needs_image() && image.is_none() {
            return Err(Error::new("this prior needs an image").at(&args.name).help("use --image X.npy"));
        }
        let second = args.second.as_deref();
        let second = second.map(|path| Lifted::read(path, true)?.fitting(path, logits.shape)).transpose()?;
        let mask = args.mask.as_deref().map(|path| Lifted::read(path, false)?.fitting(path, pixels)).transpose()?;
        Ok(Self { logits, labels, image, second, mask })
    }

    fn arrays(&self) -> Arrays<'_> {
        let [image, second, mask] =
            [&self.image, &self.second, &self.mask].map(|lifted| lifted.as_ref().map(Lifted::numbers));
        Arrays { image, second, mask, ..Arrays::new(self.logits.shape, self.logits.numbers(), self.labels.numbers()) }
    }
}

struct Evaluate<'a> {
    loss: &'a Loss,
    arrays: Arrays<'a>,
    gradient: bool,
}

impl Visitor for Evaluate<'_> {
    type Output = Result<Found>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        self.arrays.evaluate(&backend, self.loss, self.gradient)
    }
}
