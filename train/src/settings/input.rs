//! How images are prepared: cropping, intensities, voxel size.

use schemars::JsonSchema;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// How images are prepared, in the order of the keys; predictions are mapped back in reverse order.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Whether images are cropped to the bounding box of the voxels that are nonzero in at least one channel.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub crop: bool,
    /// Intensity normalisation, for each channel or one for all.
    #[serde(default = "Input::scaled", skip_serializing_if = "Input::is_scaled")]
    pub normalise: Vec<Normalise>,
    /// For `scale`: each volume is scaled to `[0, 1]` between these percentiles and clipped outside; `[0, 100]` clips
    /// nothing.
    pub clip_percentiles: [f64; 2],
    /// For `ct`, for each channel: the lower and upper clipping limits, then the mean and standard deviation of the
    /// foreground voxels in the whole data set. `segcal plan` writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intensities: Vec<[f64; 4]>,
    /// Voxel size along z, y, x in mm to which images are resampled; 0 keeps an axis, an empty list keeps all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spacing: Vec<f64>,
    /// Memory for prepared volumes, in GiB; volumes that do not fit are read again each time.
    pub cache_gib: f64,
}

/// Intensity normalisation of a channel.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Scaled to `[0, 1]` between two percentiles of the volume.
    Scale,
    /// Standardised with the volume's mean and standard deviation.
    ZScore,
    /// Standardised over the voxels inside the outline of the nonzero voxels; 0 outside.
    ZScoreMasked,
    /// Clipped and standardised with statistics of the data set: for quantitative intensities.
    Ct,
}

impl Input {
    fn scaled() -> Vec<Normalise> {
        vec![Normalise::Scale]
    }

    fn is_scaled(list: &[Normalise]) -> bool {
        list == [Normalise::Scale]
    }

    /// Whether all images are resampled to one voxel size.
    pub fn resamples(&self) -> bool {
        self.wanted().iter().all(|mm| *mm > 0.0)
    }

    /// The requested voxel size; 0 for axes that are kept.
    pub fn wanted(&self) -> [f64; 3] {
        self.spacing[..].try_into().unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<()> {
        let [low, high] = self.clip_percentiles;
        if !(0.0 <= low && low < high && high <= 100.0) {
            let problem = format!("[{low}, {high}] are not two percentiles with the lower one first");
            return Err(Error::new(problem).at("input.clip_percentiles"));
        }
        let cache = self.cache_gib;
        if !(cache >= 0.0 && cache.is_finite()) {
            return Err(Error::new(format!("{cache} is not 0 or a positive number")).at("input.cache_gib"));
        }
        if !([0, 3].contains(&self.spacing.len()) && self.spacing.iter().all(|mm| *mm >= 0.0 && mm.is_finite())) {
            let error =
                Error::new(format!("{:?} is not a list of three voxel sizes", self.spacing)).at("input.spacing");
            return Err(error.help("give [z, y, x] in mm; 0 keeps an axis"));
        }
        self.check_intensities()
    }

    fn check_intensities(&self) -> Result<()> {
        if self.normalise.is_empty() {
            let error = Error::new("is empty").at("input.normalise");
            return Err(error.help("use scale, z-score, z-score-masked or ct: one for each channel, or one for all"));
        }
        for [low, high, mean, sd] in &self.intensities {
            if !(low < high && mean.is_finite() && *sd > 0.0 && [low, high, sd].iter().all(|x| x.is_finite())) {
                let problem =
                    format!("[{low}, {high}, {mean}, {sd}] are not two limits, a mean and a standard deviation");
                return Err(Error::new(problem).at("input.intensities"));
            }
        }
        let expected = match &self.normalise[..] {
            [Normalise::Ct] => 1,
            several if several.contains(&Normalise::Ct) => several.len(),
            _ => return Ok(()),
        };
        if self.intensities.len() >= expected {
            return Ok(());
        }
        let error = Error::new(format!("{} entries, but ct needs {expected}", self.intensities.len()));
        Err(error
            .at("input.intensities")
            .help("segcal plan DATASET writes them: [low, high, mean, deviation] for each channel"))
    }
}
