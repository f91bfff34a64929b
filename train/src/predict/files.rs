//! Result files: their contents and formats.

use std::path::{Path, PathBuf};

use segcal_core::Result;
use segcal_data::number::ToFile;
use segcal_data::output::OutputFolder;
use segcal_data::{Grid, formats, nifti, npy};
use segcal_metrics::volume::Label;

use crate::infer::Mean;

/// A result that is written for each case, in a folder of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    /// The class with the largest probability, the first one of equals; for regions, the label of the last one in the
    /// class order whose probability is above a half.
    Segmentations,
    /// Probabilities of the classes, or of the regions, 4-D, class last.
    Probabilities,
    /// The network's output, of which the probabilities are the softmax, or for regions the sigmoid of each (except
    /// where tiles overlap: see [`Scores`](crate::infer::Scores)); 4-D, class last.
    Logits,
}

impl Output {
    /// Every output.
    pub const ALL: [Self; 3] = [Self::Segmentations, Self::Probabilities, Self::Logits];

    /// The name on the command line, and of the folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Segmentations => "segmentations",
            Self::Probabilities => "probabilities",
            Self::Logits => "logits",
        }
    }

    /// The file that lists its classes, like the one that nnU-Net writes next to its predictions.
    pub(super) fn description(self) -> PathBuf {
        Path::new(self.name()).join("dataset.json")
    }

    /// The file of a case, below the folder of the results.
    pub fn file(self, case: &str, format: FileFormat) -> PathBuf {
        let ending = if self == Self::Segmentations { format.of_labels() } else { format.name() };
        Path::new(self.name()).join(format!("{case}.{ending}"))
    }
}

/// A format that results are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileFormat {
    /// NIfTI, compressed: scores along a fourth axis.
    #[default]
    Nifti,
    /// MetaImage: the scores of a voxel are contiguous.
    MetaImage,
    /// NRRD: the scores of a voxel are contiguous.
    Nrrd,
    /// Scores as nnU-Net writes them: `[class, z, y, x]`, with the geometry in `CASE.properties.json` next to them.
    /// Segmentations are NIfTI.
    Npz,
}

impl FileFormat {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Nifti, Self::MetaImage, Self::Nrrd, Self::Npz];

    /// Its file extension, without the first dot, and its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nifti => "nii.gz",
            Self::MetaImage => "mha",
            Self::Nrrd => "nrrd",
            Self::Npz => "npz",
        }
    }

    /// The extension of label maps.
    const fn of_labels(self) -> &'static str {
        match self {
            Self::Npz => Self::Nifti.name(),
            other => other.name(),
        }
    }
}

/// Writes the scores of a case, and for an archive also its geometry. An array is named after its contents, as in
/// nnU-Net.
pub(super) fn write_scores(
    folder: &OutputFolder,
    (output, case): (Output, &str),
    scores: &mut Mean<'_>,
    grid: &Grid,
    format: FileFormat,
) -> Result<()> {
    let (path, classes) = (folder.file(output.file(case, format))?, scores.classes());
    match format {
        FileFormat::Nifti => nifti::write_stream(&path, grid, classes, |sink| scores.read(sink)),
        FileFormat::MetaImage | FileFormat::Nrrd => {
            formats::write_stream(&path, grid, classes, &mut |sink| scores.read_together(sink))
        }
        FileFormat::Npz => {
            let [d, h, w] = grid.extent;
            grid.write_properties(&folder.file(Path::new(output.name()).join(format!("{case}.properties.json")))?)?;
            npy::write_archive_stream(&path, output.name(), &[classes, d, h, w], |sink| scores.read(sink))
        }
    }
}

/// Writes a label map in the smallest type that can represent every class.
pub(super) fn write_labels(path: &Path, labels: &[Label], classes: usize, grid: &Grid) -> Result<()> {
    if classes > 1 + usize::from(u8::MAX) {
        return write_pieces(path, labels, grid, |label| label);
    }
    write_pieces(path, labels, grid, |label| u8::try_from(label).expect("a class below 256"))
}

/// Writes the labels in pieces, so that they are not held in memory twice.
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
