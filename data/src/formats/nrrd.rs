//! NRRD: `field: value` lines up to an empty line, followed by the numbers, which may also be in a separate file
//! (`data file`).

use std::collections::HashMap;
use std::io::BufReader;
use std::path::Path;

use segcal_core::{Context, Error, Result};

use super::{MAX_HEADER, Packing, Stored, data_file, extents, from_lps, line, several};
use crate::number::NumberType;
use crate::{Grid, limits};

pub(super) fn open(path: &Path) -> Result<Stored> {
    let (file, size) = limits::open(path)?;
    let mut source = BufReader::new(file);
    let mut left = MAX_HEADER;
    if !line(&mut source, &mut left)?.starts_with("NRRD") {
        return Err(Error::new("the file does not begin with NRRD").at("magic"));
    }
    let fields = Fields::read(&mut source, &mut left)?;
    fields.expect_no_skip()?;
    let axes = fields.axes()?;
    let (source, size): (Box<dyn std::io::Read>, _) = match fields.any(&["data file", "datafile"]) {
        Some(name) => data_file(path, name).at("data file")?,
        None => (Box::new(source), size),
    };
    Ok(Stored {
        grid: fields.grid(&axes)?,
        channels: axes.channels.map_or(1, |axis| axes.sizes[axis]),
        interleaved: axes.channels == Some(0),
        kind: fields.kind().at("type")?,
        big_endian: fields.any(&["endian"]) == Some("big"),
        packing: fields.packing().at("encoding")?,
        source,
        size,
    })
}

struct Fields(HashMap<String, String>);

impl Fields {
    fn read(source: &mut BufReader<std::fs::File>, left: &mut u64) -> Result<Self> {
        let mut fields = HashMap::new();
        loop {
            let line = line(source, left)?;
            if line.is_empty() {
                return Ok(Self(fields));
            }
            // `key:=value` is metadata, and a line that starts with `#` is a comment.
            if let Some((key, value)) = line.split_once(": ").filter(|_| !line.starts_with('#')) {
                fields.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
            }
        }
    }

    fn any(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.0.get(*key)).map(String::as_str)
    }

    fn expect_no_skip(&self) -> Result<()> {
        let skip = ["line skip", "lineskip", "byte skip", "byteskip"];
        match self.any(&skip) {
            None | Some("0") => Ok(()),
            Some(other) => Err(Error::new(format!("expected 0, got {other}")).at("skip")),
        }
    }

    /// The axes of the file: two or three spatial ones, and at most one of channels before or after them.
    fn axes(&self) -> Result<Axes> {
        let text = self.any(&["dimension"]).unwrap_or("nothing");
        let rank = text.parse().ok().filter(|rank| (2..=4).contains(rank));
        let rank = rank.ok_or_else(|| Error::new(format!("expected 2 to 4, got {text}")).at("dimension"))?;
        let sizes = self.any(&["sizes"]).ok_or_else(|| Error::new("is missing").at("sizes"))?;
        let sizes = extents(sizes, rank).at("sizes")?;
        // A spatial axis has a direction, or the kind of a spatial axis.
        let directions = self.any(&["space directions"]).map(words);
        let kinds: Option<Vec<&str>> = self.any(&["kinds"]).map(|kinds| kinds.split_whitespace().collect());
        let is_channels = |axis: usize| match (&directions, &kinds) {
            (Some(directions), _) => directions.get(axis).is_some_and(|word| word == "none"),
            (None, Some(kinds)) => kinds.get(axis).is_some_and(|kind| !matches!(*kind, "domain" | "space" | "???")),
            (None, None) => rank == 4 && axis == 3,
        };
        let channels: Vec<usize> = (0..rank).filter(|&axis| is_channels(axis)).collect();
        let fits = match channels[..] {
            [] => rank < 4,
            [axis] => axis == 0 || axis + 1 == rank,
            _ => false,
        };
        if !fits {
            return Err(Error::new(format!(
                "{} of the {rank} axes are not spatial; expected two or three spatial axes and at \
                 most one other, first or last",
                channels.len()
            ))
            .at("space directions"));
        }
        Ok(Axes { sizes, channels: channels.first().copied() })
    }

    fn grid(&self, axes: &Axes) -> Result<Grid> {
        let spatial: Vec<usize> = (0..axes.sizes.len()).filter(|&axis| Some(axis) != axes.channels).collect();
        let size = |axis: usize| spatial.get(axis).map_or(1, |&own| axes.sizes[own]);
        let extent = [size(2), size(1), size(0)];
        let unit = self.unit()?;
        let Some(directions) = self.any(&["space directions"]) else {
            let rank = axes.sizes.len();
            let spacings = self.any(&["spacings"]).map(|text| several(text, rank)).transpose().at("spacings")?;
            let mut grid = Grid::unknown(extent);
            for (axis, own) in spatial.iter().enumerate() {
                grid.affine[axis][axis] = unit * spacings.as_ref().map_or(1.0, |spacings| spacings[*own]);
            }
            return Grid::new(extent, grid.affine, 0).at("spacings");
        };
        let vectors: Vec<String> = words(directions).into_iter().filter(|word| word != "none").collect();
        let count = spatial.len();
        let flat = several(&plain(&vectors.join(" ")), count * count).at("space directions")?;
        let origin = self.any(&["space origin"]).map(plain);
        let origin = origin.map_or(Ok(vec![0.0; count]), |text| several(&text, count)).at("space origin")?;
        let (sign, space) = self.signs().at("space")?;
        let step = |axis: usize, row: usize| {
            if axis < count && row < count { flat[count * axis + row] * unit } else { f64::from(u8::from(axis == row)) }
        };
        let steps = std::array::from_fn(|axis| std::array::from_fn(|row| step(axis, row) * sign[row]));
        let origin = std::array::from_fn(|row| origin.get(row).map_or(0.0, |x| x * unit * sign[row]));
        from_lps(extent, steps, origin, space).at("space directions")
    }

    /// The unit of lengths in millimetres; 1 if no unit is given.
    fn unit(&self) -> Result<f64> {
        let Some(text) = self.any(&["space units", "units"]) else { return Ok(1.0) };
        let mut units = text.split('"').skip(1).step_by(2).map(str::trim).filter(|unit| !unit.is_empty());
        let Some(first) = units.next() else { return Ok(1.0) };
        if let Some(other) = units.find(|other| *other != first) {
            return Err(Error::new(format!("the units {first} and {other} differ")).at("space units"));
        }
        Ok(match first.to_lowercase().as_str() {
            "mm" | "millimeter" | "millimeters" | "millimetre" | "millimetres" => 1.0,
            "um" | "µm" | "μm" | "micron" | "microns" | "micrometer" | "micrometers" | "micrometre" | "micrometres" => {
                1e-3
            }
            "nm" | "nanometer" | "nanometers" | "nanometre" | "nanometres" => 1e-6,
            "cm" | "centimeter" | "centimeters" | "centimetre" | "centimetres" => 10.0,
            "m" | "meter" | "meters" | "metre" | "metres" => 1e3,
            _ => {
                let error = Error::new(format!("\"{first}\" is not a supported unit of length")).at("space units");
                return Err(error.help("use mm, um, nm, cm or m"));
            }
        })
    }

    /// The signs that convert the file's world axes to LPS, and the space code. A world without a name (only
    /// `space dimension`) is read as LPS, as in ITK, but its code is 0 (unknown).
    fn signs(&self) -> Result<([f64; 3], i16)> {
        let name = self.any(&["space"]).unwrap_or_default().to_ascii_lowercase();
        Ok(match name.as_str() {
            "" => ([1.0, 1.0, 1.0], 0),
            "left-posterior-superior" | "lps" => ([1.0, 1.0, 1.0], 1),
            "right-anterior-superior" | "ras" => ([-1.0, -1.0, 1.0], 1),
            "left-anterior-superior" | "las" => ([1.0, -1.0, 1.0], 1),
            other => {
                let error = Error::new(format!("\"{other}\" is not a supported space"));
                return Err(
                    error.help("use left-posterior-superior, right-anterior-superior or left-anterior-superior")
                );
            }
        })
    }

    fn packing(&self) -> Result<Packing> {
        match self.any(&["encoding"]).unwrap_or_default() {
            "raw" => Ok(Packing::None),
            "gzip" | "gz" => Ok(Packing::Gzip),
            other => Err(Error::new(format!("\"{other}\" is not supported; expected raw or gzip"))),
        }
    }

    fn kind(&self) -> Result<NumberType> {
        Ok(match self.any(&["type"]).unwrap_or_default() {
            "signed char" | "int8" | "int8_t" => NumberType::I8,
            "uchar" | "unsigned char" | "uint8" | "uint8_t" => NumberType::U8,
            "short" | "short int" | "signed short" | "int16" | "int16_t" => NumberType::I16,
            "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => NumberType::U16,
            "int" | "signed int" | "int32" | "int32_t" => NumberType::I32,
            "uint" | "unsigned int" | "uint32" | "uint32_t" => NumberType::U32,
            "longlong" | "long long" | "int64" | "int64_t" => NumberType::I64,
            "ulonglong" | "unsigned long long" | "uint64" | "uint64_t" => NumberType::U64,
            "float" => NumberType::F32,
            "double" => NumberType::F64,
            other => return Err(Error::new(format!("\"{other}\" is not a supported type"))),
        })
    }
}

/// The axes of a file.
struct Axes {
    sizes: Vec<usize>,
    /// The non-spatial axis.
    channels: Option<usize>,
}

/// Splits text such as `none (1,0,0) (0,1,0)` into its parts, without the spaces inside parentheses.
fn words(text: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut words = vec![String::new()];
    for sign in text.chars() {
        match sign {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if !sign.is_whitespace() {
            words.last_mut().expect("there is one").push(sign);
        } else if depth == 0 {
            words.push(String::new());
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

/// `(1,0,0) (0,1,0)` as plain numbers.
fn plain(text: &str) -> String {
    text.replace(['(', ')', ','], " ")
}
