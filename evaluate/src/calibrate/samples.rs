//! The voxels of a region over many cases, read again for every pass of a fit.

use segcal_core::{Context, Error, Result};
use segcal_metrics::calibration::Region;
use segcal_metrics::measure::Nested;
use segcal_metrics::posthoc::{Chunk, Samples, logits_of};
use segcal_metrics::volume::{Label, Probabilities};

use super::regions;
use crate::inputs::Pair;
use crate::reading::Reading;
use crate::scores::{self, Notes, Scores};

/// Bytes of voxels that are kept in memory between passes; the rest is read again for each pass.
const KEPT_BYTES: usize = 1 << 30;

/// How the files of a fit are read.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The kind of the scores.
    pub kind: Scores,
    /// How the files are read.
    pub reading: &'a Reading,
    /// The reference label of voxels that are excluded from the fit.
    pub ignored: Option<Label>,
}

/// Samples from files.
#[derive(Debug)]
pub struct RegionSamples<'a> {
    pairs: &'a [Pair],
    source: Source<'a>,
    region: Region,
    /// A region against the rest, given by its channel.
    problem: Option<(&'a Nested, usize)>,
    classes: usize,
    kept: Vec<Option<Voxels>>,
    room: usize,
}

/// Logits `[k, n]` and the `n` reference labels.
type Voxels = (Vec<f32>, Vec<Label>);

impl<'a> RegionSamples<'a> {
    /// The voxels of `region` in these cases. The first case determines the number of classes.
    ///
    /// # Errors
    /// The region needs more than labels, or the first case cannot be read.
    pub fn new(pairs: &'a [Pair], source: Source<'a>, region: Region) -> Result<Self> {
        Self::begin(pairs, source, region, None)
    }

    /// The voxels of `region` in the binary problem of one channel, a region against the rest, with logits `(0, z)`.
    ///
    /// # Errors
    /// As [`RegionSamples::new`].
    pub fn of_channel(
        pairs: &'a [Pair],
        source: Source<'a>,
        region: Region,
        (nested, channel): (&'a Nested, usize),
    ) -> Result<Self> {
        Self::begin(pairs, source, region, Some((nested, channel)))
    }

    fn begin(
        pairs: &'a [Pair],
        source: Source<'a>,
        region: Region,
        problem: Option<(&'a Nested, usize)>,
    ) -> Result<Self> {
        if matches!(region, Region::Boundary | Region::Near) {
            return Err(Error::new(format!("a map cannot be fitted on the region {region}"))
                .at("--region")
                .help("use, for example, all or foreground"));
        }
        let kept = vec![None; pairs.len()];
        let mut samples = Self { pairs, source, region, problem, classes: 0, kept, room: KEPT_BYTES };
        let first = samples.read(0)?;
        samples.keep(0, first);
        Ok(samples)
    }

    /// Reads the voxels of a case that are in the region.
    fn read(&mut self, case: usize) -> Result<Voxels> {
        let pair = &self.pairs[case];
        let reference = scores::read_reference(&pair.reference)?;
        let Source { kind, reading, ignored } = self.source;
        if let Some((nested, channel)) = self.problem {
            self.classes = 2;
            let scores = scores::read_stored_regions(&pair.prediction, &reference, kind, reading, nested)?;
            let pair = regions::with_rest(regions::logits(&scores, kind, nested, channel));
            let inside = regions::membership(&nested.regions[channel], reference.values(), ignored);
            return Ok(select(&pair, 2, &inside, self.region, Some(regions::IGNORED)));
        }
        let (mut values, classes) =
            scores::read_stored(&pair.prediction, &reference, kind, reading, &mut Notes::of(pair.prediction.first()))?;
        let place = pair.prediction.first().display();
        if self.classes == 0 {
            self.classes = classes;
        }
        if classes != self.classes {
            return Err(Error::new(format!("has {classes} classes, but the first case has {}", self.classes)).at(place));
        }
        scores::expect_labels(reference.values(), classes, ignored).at(pair.reference.display())?;
        if kind == Scores::Probabilities {
            logits_of(&mut values);
        }
        Ok(select(&values, classes, reference.values(), self.region, ignored))
    }

    fn keep(&mut self, case: usize, voxels: Voxels) {
        let bytes = 4 * voxels.0.len() + 2 * voxels.1.len();
        if bytes <= self.room {
            self.room -= bytes;
            self.kept[case] = Some(voxels);
        }
    }
}

fn select(values: &[f32], classes: usize, labels: &[Label], region: Region, ignored: Option<Label>) -> Voxels {
    let scores = Probabilities::new(values, classes);
    let prediction = scores.argmax();
    let judged = |voxel: &usize| Some(labels[*voxel]) != ignored;
    let inside: Vec<usize> = (0..labels.len())
        .filter(judged)
        .filter(|&voxel| region.contains(labels[voxel], prediction[voxel], false, false))
        .collect();
    let logits = (0..classes).flat_map(|k| inside.iter().map(move |&voxel| scores.class(k)[voxel])).collect();
    (logits, inside.iter().map(|&voxel| labels[voxel]).collect())
}

impl Samples for RegionSamples<'_> {
    fn classes(&self) -> usize {
        self.classes
    }

    fn visit(&mut self, visitor: &mut dyn FnMut(Chunk<'_>)) -> Result<()> {
        for case in 0..self.pairs.len() {
            let voxels = match self.kept[case].take() {
                Some(voxels) => {
                    self.room += 4 * voxels.0.len() + 2 * voxels.1.len();
                    voxels
                }
                None => self.read(case).at(&self.pairs[case].case)?,
            };
            visitor(Chunk::new(&voxels.0, &voxels.1, self.classes).at(&self.pairs[case].case)?);
            self.keep(case, voxels);
        }
        Ok(())
    }
}
