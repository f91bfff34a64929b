//! The voxel grid of a header: from the sform, the qform, or only the voxel sizes.

use segcal_core::{Context, Error, Result};
use serde::{Deserialize, Serialize};

use super::header::Header;
use crate::orientation::{Matrix3, column_lengths};
use crate::volume::Grid;

/// Where an affine came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AffineSource {
    /// The three rows of the sform.
    Sform,
    /// The quaternion of the qform.
    Qform,
    /// Only the voxel sizes.
    Fallback,
}

impl AffineSource {
    /// `sform`, `qform` or `fallback`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sform => "sform",
            Self::Qform => "qform",
            Self::Fallback => "fallback",
        }
    }
}

/// The field that decides the voxel size if the header contradicts itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpacingFrom {
    /// The lengths of the affine's columns.
    #[default]
    Affine,
    /// The field pixdim, along the directions of the affine.
    Pixdim,
}

impl SpacingFrom {
    /// All rules.
    pub const ALL: [Self; 2] = [Self::Affine, Self::Pixdim];

    /// `affine` or `pixdim`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Affine => "affine",
            Self::Pixdim => "pixdim",
        }
    }

    /// The other rule.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Affine => Self::Pixdim,
            Self::Pixdim => Self::Affine,
        }
    }
}

/// How far pixdim may differ from the lengths of the affine's columns, relative to the larger: rounding by writers.
const SPACING_TOLERANCE: f64 = 1e-3;

/// The two voxel sizes of a header that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpacingDoubt {
    /// Where the affine came from.
    pub source: AffineSource,
    /// According to the affine, along x, y, z, in mm.
    pub affine_mm: [f64; 3],
    /// According to pixdim, along x, y, z, in mm.
    pub pixdim_mm: [f64; 3],
}

impl std::fmt::Display for SpacingDoubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |[x, y, z]: [f64; 3]| format!("{x:.6} x {y:.6} x {z:.6} mm");
        let (affine, pixdim) = (shown(self.affine_mm), shown(self.pixdim_mm));
        write!(
            f,
            "the header contradicts itself: the voxel size is {affine} according to the {}, but {pixdim} \
             according to pixdim",
            self.source.as_str()
        )
    }
}

impl Header {
    /// The affine of the header, in the header's own unit: the sform if its code is above 0, otherwise the qform if its
    /// code is above 0, otherwise a diagonal of the voxel sizes with the first axis flipped, centred on the volume.
    ///
    /// # Errors
    /// A field that the affine is computed from is not finite, or the quaternion is longer than 1.
    pub fn affine(&self) -> Result<([[f64; 4]; 3], AffineSource)> {
        if self.sform_code > 0 {
            finite("sform", self.sform.iter().flatten())?;
            Ok((self.sform, AffineSource::Sform))
        } else if self.qform_code > 0 {
            Ok((self.qform().at("qform")?, AffineSource::Qform))
        } else {
            let sizes = self.voxel_sizes()?;
            let mut affine = [[0.0; 4]; 3];
            for axis in 0..3 {
                let size = if axis == 0 { -sizes[axis] } else { sizes[axis] };
                let extent = self.dim.get(axis).copied().unwrap_or(1) as f64;
                affine[axis][axis] = size;
                affine[axis][3] = -size * (extent - 1.0) / 2.0;
            }
            Ok((affine, AffineSource::Fallback))
        }
    }

    /// The voxel grid, in mm.
    ///
    /// # Errors
    /// Those of [`Header::affine`], or the affine maps the volume onto a plane.
    pub fn grid(&self) -> Result<Grid> {
        let (mut affine, source) = self.affine()?;
        let millimetres = self.millimetres();
        affine.iter_mut().flatten().for_each(|x| *x *= millimetres);
        let (extent, _) = self.extent();
        complete_flat_axes(&mut affine, extent);
        let space = match source {
            AffineSource::Sform => self.sform_code,
            AffineSource::Qform => self.qform_code,
            AffineSource::Fallback => 0,
        };
        Grid::new(extent, affine, space).at(source.as_str())
    }

    /// The grid with the voxel size that `from` selects; the directions are always those of the affine.
    ///
    /// # Errors
    /// Those of [`Header::grid`].
    pub fn grid_from(&self, from: SpacingFrom) -> Result<Grid> {
        let mut grid = self.grid()?;
        if let (SpacingFrom::Pixdim, Some(doubt)) = (from, self.spacing_doubt()) {
            for axis in 0..3 {
                let scale = doubt.pixdim_mm[axis] / doubt.affine_mm[axis];
                grid.affine.iter_mut().for_each(|row| row[axis] *= scale);
            }
        }
        Ok(grid)
    }

    /// Both voxel sizes, if the affine and pixdim differ by more than a thousandth along an axis with more than one
    /// voxel. A pixdim of 0 is ignored.
    pub fn spacing_doubt(&self) -> Option<SpacingDoubt> {
        let grid = self.grid().ok()?;
        let (_, source) = self.affine().ok()?;
        let ([z, y, x], [d, h, w]) = (grid.spacing_mm(), grid.extent);
        let affine_mm = [x, y, z];
        let stored = |axis: usize| (self.sizes[axis + 1] * self.millimetres()).abs();
        let says = |axis: usize| {
            [w, h, d][axis] > 1 && axis < self.dim.len() && stored(axis) > 0.0 && stored(axis).is_finite()
        };
        let pixdim_mm = std::array::from_fn(|axis| if says(axis) { stored(axis) } else { affine_mm[axis] });
        let differ = |axis: usize| {
            let (a, b): (f64, f64) = (affine_mm[axis], pixdim_mm[axis]);
            (a - b).abs() > SPACING_TOLERANCE * a.max(b)
        };
        (0..3).any(differ).then_some(SpacingDoubt { source, affine_mm, pixdim_mm })
    }

    /// The header's unit of length in millimetres.
    const fn millimetres(&self) -> f64 {
        match self.xyzt_units & 7 {
            1 => 1000.0,
            3 => 0.001,
            _ => 1.0,
        }
    }

    /// The voxel sizes along x, y, z. As in other readers, 0 is read as 1 and the sign is dropped.
    fn voxel_sizes(&self) -> Result<[f64; 3]> {
        finite("pixdim", &self.sizes[1..=self.dim.len().min(3)])?;
        Ok(std::array::from_fn(|axis| match self.sizes[axis + 1].abs() {
            size if axis < self.dim.len() && size > 0.0 => size,
            _ => 1.0,
        }))
    }

    /// The affine of the unit quaternion `(a, b, c, d)`; `a >= 0` follows from its length.
    fn qform(&self) -> Result<[[f64; 4]; 3]> {
        finite("quatern_b/c/d", &self.quaternion)?;
        finite("qoffset_x/y/z", &self.q_offset)?;
        let sizes = self.voxel_sizes()?;
        let [b, c, d] = self.quaternion;
        let rest = 1.0 - (b * b + c * c + d * d);
        // Rounding to 32 bits can make a length of 1 slightly larger.
        if rest < -1e-4 {
            return Err(Error::new(format!("the quaternion ({b}, {c}, {d}) is longer than 1")).at("quatern_b/c/d"));
        }
        let rotation = rotation([rest.max(0.0).sqrt(), b, c, d]);
        let sign = if self.sizes[0] < 0.0 { -1.0 } else { 1.0 };
        let mut affine = [[0.0; 4]; 3];
        for row in 0..3 {
            for column in 0..3 {
                affine[row][column] = rotation[row][column] * sizes[column] * if column == 2 { sign } else { 1.0 };
            }
            affine[row][3] = self.q_offset[row];
        }
        Ok(affine)
    }
}

/// The rotation of a quaternion of any length but 0.
fn rotation([a, b, c, d]: [f64; 4]) -> Matrix3 {
    let s = 2.0 / (a * a + b * b + c * c + d * d);
    [
        [1.0 - s * (c * c + d * d), s * (b * c - a * d), s * (b * d + a * c)],
        [s * (b * c + a * d), 1.0 - s * (b * b + d * d), s * (c * d - a * b)],
        [s * (b * d - a * c), s * (c * d + a * b), 1.0 - s * (b * b + c * c)],
    ]
}

/// The affine of a single slice may lack the third axis: it becomes 1 mm perpendicular to the other two.
fn complete_flat_axes(affine: &mut [[f64; 4]; 3], extent: [usize; 3]) {
    let linear: Matrix3 = std::array::from_fn(|row| std::array::from_fn(|column| affine[row][column]));
    let lengths = column_lengths(&linear);
    let [x, y] = [0, 1].map(|column| [0, 1, 2].map(|row| linear[row][column] / lengths[column]));
    if extent[0] == 1 && lengths[2] == 0.0 && lengths[0] > 0.0 && lengths[1] > 0.0 {
        for row in 0..3 {
            let (next, last) = ((row + 1) % 3, (row + 2) % 3);
            affine[row][2] = x[next] * y[last] - x[last] * y[next];
        }
    }
}

fn finite<'a>(field: &str, values: impl IntoIterator<Item = &'a f64>) -> Result<()> {
    match values.into_iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::new(format!("{value} is not a finite number")).at(field)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Volume;
    use crate::nifti;

    /// A file whose pixdim is changed along z.
    fn with_pixdim(z: f32) -> Header {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        let affine = [[0.7, 0.0, 0.0, 1.0], [0.0, 0.0, -0.8, 2.0], [0.0, 0.7, 0.0, 3.0]];
        nifti::write(&path, &Volume::new(vec![0_u8; 8], 1, Grid::new([2, 2, 2], affine, 1).unwrap())).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[76 + 12..76 + 16].copy_from_slice(&z.to_le_bytes());
        Header::parse(&bytes).unwrap()
    }

    #[test]
    fn two_sizes_of_a_voxel_are_told_and_either_can_be_taken() {
        let header = with_pixdim(0.6);
        let doubt = header.spacing_doubt().unwrap().to_string();
        assert!(
            doubt.contains("0.800000 mm according to the sform") && doubt.contains("0.600000 mm according to pixdim"),
            "{doubt}"
        );
        let spacing = |from| header.grid_from(from).unwrap().spacing_mm()[0];
        assert!((spacing(SpacingFrom::Affine) - 0.8).abs() < 1e-6 && (spacing(SpacingFrom::Pixdim) - 0.6).abs() < 1e-6);
        assert_eq!(header.grid_from(SpacingFrom::Pixdim).unwrap().axes(), header.grid().unwrap().axes());
    }

    #[test]
    fn what_writers_round_away_and_what_says_nothing_is_no_doubt() {
        for z in [0.8, 0.8007, 0.0, f32::NAN] {
            assert!(with_pixdim(z).spacing_doubt().is_none(), "{z}");
        }
        assert!(with_pixdim(-0.6).spacing_doubt().is_some() && with_pixdim(0.79).spacing_doubt().is_some());
    }
}
