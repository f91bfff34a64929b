//! How images are prepared: cut, intensities, voxel size.

use schemars::JsonSchema;
use segcal_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// How images are prepared, in the order of the keys; predictions go the way back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Whether images are cut to the box of what is not 0 in all channels.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub crop: bool,
    /// What intensities become, for each channel or one for all.
    #[serde(default = "Input::scaled", skip_serializing_if = "Input::is_scaled")]
    pub normalise: Vec<Normalise>,
    /// Each volume is scaled to `[0, 1]` between these percentiles and clipped beyond; `[0, 100]` clips nothing. For `scale`.
    pub clip_percentiles: [f64; 2],
    /// For `ct`, of each channel: what is clipped below and above, then the mean and standard deviation of the structures'
    /// voxels in the whole data set. `segcal plan` writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intensities: Vec<[f64; 4]>,
    /// Voxel size along z, y, x in mm that images are resampled to; 0 keeps an axis, an empty list all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spacing: Vec<f64>,
    /// Memory for prepared volumes, in GiB; those beyond are read again each time.
    pub cache_gib: f64,
}

/// What the intensities of a channel become.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Shares of the range between two percentiles of the volume.
    Scale,
    /// Less the volume's mean, over its standard deviation.
    ZScore,
    /// The same by and of the voxels inside the outline of what is not 0; 0 outside.
    ZScoreMasked,
    /// Clipped, less the mean, over the standard deviation: numbers of the data set, where intensities are quantities.
    Ct,
}

impl Input {
    fn scaled() -> Vec<Normalise> {
        vec![Normalise::Scale]
    }

    fn is_scaled(list: &[Normalise]) -> bool {
        list == [Normalise::Scale]
    }

    /// Whether every axis is brought to one voxel size.
    pub fn resamples(&self) -> bool {
        self.wanted().iter().all(|mm| *mm > 0.0)
    }

    /// The voxel size that is asked for, 0 where an axis stays.
    pub fn wanted(&self) -> [f64; 3] {
        self.spacing[..].try_into().unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<()> {
        let [low, high] = self.clip_percentiles;
        if !(0.0 <= low && low < high && high <= 100.0) {
            let problem = format!("[{low}, {high}] are not two percentiles, the lower first");
            return Err(Error::new(problem).at("input.clip_percentiles"));
        }
        let cache = self.cache_gib;
        if !(cache >= 0.0 && cache.is_finite()) {
            return Err(Error::new(format!("{cache} is not 0 or a positive number")).at("input.cache_gib"));
        }
        if !([0, 3].contains(&self.spacing.len()) && self.spacing.iter().all(|mm| *mm >= 0.0 && mm.is_finite())) {
            let error = Error::new(format!("{:?} are not three voxel sizes", self.spacing)).at("input.spacing");
            return Err(error.help("[z, y, x] in mm, 0 to keep an axis"));
        }
        self.check_intensities()
    }

    fn check_intensities(&self) -> Result<()> {
        if self.normalise.is_empty() {
            let error = Error::new("is empty").at("input.normalise");
            return Err(error.help("scale, z-score, z-score-masked or ct, for each channel or one for all"));
        }
        for [low, high, mean, sd] in &self.intensities {
            if !(low < high && mean.is_finite() && *sd > 0.0 && [low, high, sd].iter().all(|x| x.is_finite())) {
                let problem = format!("[{low}, {high}, {mean}, {sd}] are not two limits, a mean and a deviation");
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
        let error = Error::new(format!("{} entries where ct needs {expected}", self.intensities.len()));
        Err(error
            .at("input.intensities")
            .help("segcal plan DATASET writes them: [low, high, mean, deviation] a channel"))
    }
}
