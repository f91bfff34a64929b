//! Segmentations and probabilities of images, written in the geometry of each image.

use std::path::Path;

use segcal_core::{Backend, Error, Result};
use segcal_data::observer::{Event, Observer, Steps};
use segcal_data::output::OutputFolder;
use segcal_data::{Case, Volume, nifti};
use segcal_metrics::volume::Probabilities;

use super::infer::{Predictor, Spill, Tiling};
use super::prepared;
use super::run::Trained;

/// What is to be predicted, and where it goes.
pub struct Request<'a> {
    /// Folder of the run.
    pub run: &'a Path,
    /// The images.
    pub cases: &'a [Case],
    /// Folder of the results.
    pub out: &'a Path,
    /// Samples that go through the network together.
    pub batch: usize,
    /// Whether probabilities are written, not segmentations alone.
    pub probabilities: bool,
    /// Given the name of each case and its prepared image `[channels, d, h, w]`, whose values are in `[0, 1]`, before the
    /// network sees it.
    pub change: &'a (dyn Fn(&str, &mut [f32]) + Sync),
}

/// What became of the images.
#[derive(Debug, Default)]
pub struct Predicted {
    /// Names of the cases that are written.
    pub done: Vec<String>,
    /// The errors of the others.
    pub failed: Vec<Error>,
}

/// Predicts every image: `segmentations/CASE.nii.gz` and `probabilities/CASE.nii.gz` (4-D, class last). A case that
/// fails is reported, and the others continue.
///
/// # Errors
/// The run cannot be read, or the folder of the results cannot be made.
pub fn predict<B: Backend>(backend: &B, request: &Request<'_>, observer: &dyn Observer) -> Result<Predicted> {
    let trained = Trained::open(request.run, backend)?;
    let folder = OutputFolder::create(request.out)?;
    let steps = Steps::begin(observer, "predict", request.cases.len());
    let mut predicted = Predicted::default();
    for case in request.cases {
        let image = prepared::prepare_image(case, &trained.settings.input);
        let written = image.and_then(|mut image| {
            (request.change)(&case.name, image.data.as_slice_mut().expect("volumes are in standard layout"));
            predict_image(&trained, backend, image, &case.name, &folder, request)
        });
        steps.step(&case.name);
        match written.map_err(|error| error.at(&case.name)) {
            Ok(()) => predicted.done.push(case.name.clone()),
            Err(error) => {
                observer.event(Event::CaseFailed(&error));
                predicted.failed.push(error);
            }
        }
    }
    Ok(predicted)
}

/// Predicts one prepared image. Its probabilities go to the disk as they come: only image and segmentation are held as a
/// whole.
fn predict_image<B: Backend>(
    trained: &Trained<B>,
    backend: &B,
    image: Volume<f32>,
    name: &str,
    folder: &OutputFolder,
    request: &Request<'_>,
) -> Result<()> {
    let tiling = Tiling { samples: &trained.settings.samples, stride: trained.network.stride(), batch: request.batch };
    let planes = tiling.planes(image.grid.extent);
    let mut labels = vec![0; image.grid.extent.iter().product()];
    let mut spill = request.probabilities.then(|| Spill::create(folder.path(), planes)).transpose()?;
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
