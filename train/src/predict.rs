//! Segmentations and probabilities of images, written in the geometry of each image.

use std::path::Path;

use segcal_core::{Backend, Error, Result};
use segcal_data::number::ToFile;
use segcal_data::observer::{Event, Observer, Steps};
use segcal_data::output::OutputFolder;
use segcal_data::{Case, Grid, Volume, formats, limits, nifti, npy};
use segcal_metrics::volume::{Label, Probabilities};

use super::infer::{Predictor, Spill, Tiling};
use super::prepared;
use super::run::Trained;
use super::spacings::Spacings;

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
    /// What the files are.
    pub format: FileFormat,
    /// Whether probabilities are written, not segmentations alone.
    pub probabilities: bool,
    /// Given the name of each case and its prepared image `[channels, d, h, w]`, whose values are in `[0, 1]`, before the
    /// network sees it.
    pub change: &'a (dyn Fn(&str, &mut [f32]) + Sync),
}

/// A format that results are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileFormat {
    /// NIfTI, packed: probabilities as a fourth axis.
    #[default]
    Nifti,
    /// MetaImage: the probabilities of a voxel together.
    MetaImage,
    /// NRRD: the probabilities of a voxel together.
    Nrrd,
    /// Probabilities as nnU-Net writes them: `[class, z, y, x]`, with the geometry in `CASE.properties.json` beside them.
    /// Segmentations are NIfTI.
    Npz,
}

impl FileFormat {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Nifti, Self::MetaImage, Self::Nrrd, Self::Npz];

    /// The ending of the names of its files, without the first dot, and its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nifti => "nii.gz",
            Self::MetaImage => "mha",
            Self::Nrrd => "nrrd",
            Self::Npz => "npz",
        }
    }

    /// The ending of label maps.
    const fn of_labels(self) -> &'static str {
        match self {
            Self::Npz => Self::Nifti.name(),
            other => other.name(),
        }
    }
}

/// What became of the images.
#[derive(Debug, Default)]
pub struct Predicted {
    /// Names of the cases that are written.
    pub done: Vec<String>,
    /// The errors of the others.
    pub failed: Vec<Error>,
}

/// Predicts every image: `segmentations/CASE.nii.gz` and `probabilities/CASE.nii.gz` (4-D, class last), or in another
/// [`FileFormat`]. A case that
/// fails is reported, and the others continue.
///
/// # Errors
/// The run cannot be read, or the folder of the results cannot be made.
pub fn predict<B: Backend>(backend: &B, request: &Request<'_>, observer: &dyn Observer) -> Result<Predicted> {
    let trained = Trained::open(request.run, backend)?;
    let folder = OutputFolder::exclusive(request.out)?;
    let steps = Steps::begin(observer, "predict", request.cases.len());
    let mut predicted = Predicted::default();
    let taken = trained.network.config().in_channels;
    for case in request.cases {
        let image = prepared::prepare_image(&case.with_channels(taken), &trained.settings.input);
        if let (Ok(image), Some(trained)) = (&image, &trained.spacings) {
            warn_of_spacing(&case.name, &image.grid, trained);
        }
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
    let file = |kind: &str, ending: &str| folder.file(Path::new(kind).join(format!("{name}.{ending}")));
    if let Some(mut spill) = spill {
        let path = file("probabilities", request.format.name())?;
        if request.format == FileFormat::Npz {
            grid.write_properties(&file("probabilities", "properties.json")?)?;
        }
        write_probabilities(&path, &mut spill, &grid, request.format)?;
    }
    write_labels(&file("segmentations", request.format.of_labels())?, &labels, classes, &grid)
}

/// Tells of voxels of another size than any that the network has seen: nothing is resampled.
fn warn_of_spacing(name: &str, grid: &Grid, trained: &Spacings) {
    if let Some(foreign) = trained.foreign(grid) {
        log::warn!("{name}: {foreign}; the network sees voxels, not mm: resample the image first");
    }
}

fn write_probabilities(path: &Path, spill: &mut Spill, grid: &Grid, format: FileFormat) -> Result<()> {
    let classes = spill.classes();
    match format {
        FileFormat::Nifti => nifti::write_stream(path, grid, classes, |sink| spill.read(sink)),
        FileFormat::MetaImage | FileFormat::Nrrd => {
            formats::write_stream(path, grid, classes, &mut |sink| spill.read_together(sink))
        }
        FileFormat::Npz => {
            let [d, h, w] = grid.extent;
            npy::write_archive_stream(path, "probabilities", &[classes, d, h, w], |sink| spill.read(sink))
        }
    }
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
    let mut fill = |sink: formats::Sink<'_, T>| {
        let mut pieces = labels.chunks(1 << 16);
        pieces.try_for_each(|piece| sink(&piece.iter().map(|&label| convert(label)).collect::<Vec<T>>()))
    };
    if formats::is_known(path) {
        formats::write_stream(path, grid, 1, &mut fill)
    } else {
        nifti::write_stream(path, grid, 1, fill)
    }
}
