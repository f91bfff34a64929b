//! `segcal predict RUN IMAGES --out DIR`.

use std::path::{Path, PathBuf};

use segcal_backends::Visitor;
use segcal_core::{Backend, Result};
use segcal_metrics::volume::Probabilities;
use serde_json::json;

use super::Cases;
use crate::data::{Case, Volume, dataset, nifti};
use crate::infer::{Predictor, Spill, Tiling};
use crate::options::BackendName;
use crate::output::{self, OutputFolder};
use crate::train::prepared;
use crate::train::run::Trained;
use crate::{Common, Outcome};

/// Segment images with a trained network.
///
/// Writes segmentations/CASE.nii.gz and probabilities/CASE.nii.gz (4-D, class last), both in the geometry of the
/// image. A case that fails is reported and the others go on; cases that are done already are written anew. While a case
/// is predicted its probabilities wait in DIR, four bytes for each voxel and class, and go with the program.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  segcal predict runs/hippocampus-nacl ../hippocampus/imagesTs --out predictions")]
pub struct Args {
    /// Folder of the run.
    pub run: PathBuf,
    /// An image, or a folder of images.
    pub images: PathBuf,
    /// Folder of the results.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Samples that go through the network together.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,
    /// Leave out the probabilities, which are many times larger than the segmentations.
    #[arg(long)]
    pub no_probabilities: bool,
}

/// Predicts every image.
///
/// # Errors
/// The run or the folder of images cannot be read, or the folder of the results cannot be made.
pub fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let (done, outcomes) = predict_all(args, common)?;
    if common.json {
        output::print_json(&json!({ "out": args.out, "cases": done, "failed": outcomes.failed() }))?;
    } else {
        output::print(&format!(
            "{} of {} cases in {}\n",
            done.len(),
            done.len() + outcomes.failed(),
            args.out.display()
        ))?;
    }
    Ok(outcomes.outcome())
}

/// Predicts every image; the names of the cases that are done, and how many failed.
///
/// # Errors
/// As [`run`].
pub fn predict_all(args: &Args, common: &Common) -> Result<(Vec<String>, Cases)> {
    predict_cases(args, &dataset::images(&args.images)?, &|_, _| {}, common)
}

/// Predicts these cases, wherever their images lie; `change` is given the name of each and its prepared image
/// `[channels, d, h, w]`, whose values are in `[0, 1]`, before the network sees it.
///
/// # Errors
/// As [`run`].
pub fn predict_cases(
    args: &Args,
    cases: &[Case],
    change: &dyn Fn(&str, &mut [f32]),
    common: &Common,
) -> Result<(Vec<String>, Cases)> {
    common.device(BackendName::Cpu)?.run(Predicting { args, cases, change, common })
}

struct Predicting<'a> {
    args: &'a Args,
    cases: &'a [Case],
    change: &'a dyn Fn(&str, &mut [f32]),
    common: &'a Common,
}

impl Visitor for Predicting<'_> {
    type Output = Result<(Vec<String>, Cases)>;

    fn visit<B: Backend>(self, backend: B) -> Self::Output {
        let Self { args, cases, change, common } = self;
        let trained = Trained::open(&args.run, &backend)?;
        let folder = OutputFolder::create(&args.out)?;
        let bar = common.progress("predict", cases.len());
        let mut outcomes = Cases::default();
        let mut done = Vec::new();
        for case in cases {
            let image = prepared::prepare_image(&case.images, &trained.settings.input);
            let written = image.and_then(|mut image| {
                change(&case.name, image.data.as_slice_mut().expect("volumes are in standard layout"));
                predict(&trained, &backend, image, &case.name, &folder, args)
            });
            bar.step(&case.name);
            if outcomes.keep(written.map_err(|error| error.at(&case.name))).is_some() {
                done.push(case.name.clone());
            }
        }
        Ok((done, outcomes))
    }
}

/// Predicts one prepared image. Its probabilities go to the disk as they come: only image and segmentation are held as a whole.
fn predict<B: Backend>(
    trained: &Trained<B>,
    backend: &B,
    image: Volume<f32>,
    name: &str,
    folder: &OutputFolder,
    args: &Args,
) -> Result<()> {
    let tiling =
        Tiling { samples: &trained.settings.samples, stride: trained.network.stride(), batch: usize::from(args.batch) };
    let planes = tiling.planes(image.grid.extent);
    let mut labels = vec![0; image.grid.extent.iter().product()];
    let mut spill = (!args.no_probabilities).then(|| Spill::create(folder.path(), planes)).transpose()?;
    let predictor = Predictor { network: &*trained.network, parameters: &trained.parameters, backend };
    predictor.each_plane(&image, &tiling, |number, plane| {
        let classes = Probabilities::new(plane, trained.class_names.len()).argmax();
        classes.into_iter().enumerate().for_each(|(place, class)| labels[planes.voxel(number, place)] = class as u8);
        spill.as_mut().map_or(Ok(()), |spill| spill.push(plane))
    })?;
    let grid = image.grid;
    drop(image.data);
    let file = |kind: &str| folder.file(Path::new(kind).join(format!("{name}.nii.gz")));
    if let Some(mut spill) = spill {
        nifti::write_stream(&file("probabilities")?, &grid, spill.classes(), |sink| spill.read(sink))?;
    }
    nifti::write(&file("segmentations")?, &Volume::new(labels, 1, grid))
}
