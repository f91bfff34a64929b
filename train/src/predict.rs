//! Segmentations and probabilities of images, written in the geometry of each image.

use std::path::Path;

use segcal_core::{Backend, Error, Result};
use segcal_data::number::ToFile;
use segcal_data::observer::{Event, Observer, Steps};
use segcal_data::output::OutputFolder;
use segcal_data::{Case, Grid, Volume, limits, nifti};
use segcal_metrics::volume::{Label, Probabilities};

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
    let folder = OutputFolder::exclusive(request.out)?;
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
    let classes = trained.class_names.len();
    let mut labels: Vec<Label> = limits::zeroed(image.grid.extent.iter().product())?;
    let mut spill = request.probabilities.then(|| Spill::create(folder.path(), planes)).transpose()?;
    let predictor = Predictor { network: &*trained.network, parameters: &trained.parameters, backend };
    predictor.each_plane(&image, &tiling, |number, plane| {
        let argmax = Probabilities::new(plane, classes).argmax();
        argmax.into_iter().enumerate().for_each(|(place, class)| labels[planes.voxel(number, place)] = class);
        spill.as_mut().map_or(Ok(()), |spill| spill.push(plane))
    })?;
    let grid = image.grid;
    drop(image.data);
    let file = |kind: &str| folder.file(Path::new(kind).join(format!("{name}.nii.gz")));
    if let Some(mut spill) = spill {
        nifti::write_stream(&file("probabilities")?, &grid, spill.classes(), |sink| spill.read(sink))?;
    }
    write_labels(&file("segmentations")?, &labels, classes, &grid)
}

/// Writes a label map in the smallest type that holds every class.
fn write_labels(path: &Path, labels: &[Label], classes: usize, grid: &Grid) -> Result<()> {
    if classes > 1 + usize::from(u8::MAX) {
        return write_pieces(path, labels, grid, |label| label);
    }
    write_pieces(path, labels, grid, |label| u8::try_from(label).expect("a class below 256"))
}

/// Writes the labels a piece at a time, so that they are not held twice.
fn write_pieces<T: ToFile>(path: &Path, labels: &[Label], grid: &Grid, convert: impl Fn(Label) -> T) -> Result<()> {
    nifti::write_stream(path, grid, 1, |sink: &mut dyn FnMut(&[T]) -> Result<()>| {
        labels
            .chunks(1 << 16)
            .try_for_each(|piece| sink(&piece.iter().map(|&label| convert(label)).collect::<Vec<T>>()))
    })
}
