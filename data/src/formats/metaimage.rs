//! MetaImage, ITK's own format: `Key = Value` lines, the last of which names the data file (`.mhd`) or says that the
//! numbers follow (`.mha`).

use std::collections::HashMap;
use std::io::BufReader;
use std::path::Path;

use segcal_core::{Context, Error, Result};

use super::{MAX_HEADER, Packing, Stored, data_file, extents, from_lps, line, several};
use crate::limits;
use crate::number::NumberType;

pub(super) fn open(path: &Path) -> Result<Stored> {
    let (file, size) = limits::open(path)?;
    let mut source = BufReader::new(file);
    let mut left = MAX_HEADER;
    let mut fields = HashMap::new();
    let name = loop {
        let line = line(&mut source, &mut left)?;
        let Some((key, value)) = line.split_once('=') else {
            return Err(Error::new(format!("expected Key = Value, got \"{line}\"")).at("header"));
        };
        let value = value.trim().to_owned();
        if key.trim() == "ElementDataFile" {
            break value;
        }
        fields.insert(key.trim().to_owned(), value);
    };
    let (mut source, size): (Box<dyn std::io::Read>, _) =
        if name == "LOCAL" { (Box::new(source), size) } else { data_file(path, &name).at("ElementDataFile")? };
    let fields = Fields(fields);
    let packing = if fields.is_true("CompressedData") { Packing::Zlib } else { Packing::None };
    let skip = fields.get("HeaderSize").map_or(Ok(0), |text| {
        text.parse::<u64>()
            .map_err(|_| Error::new(format!("unsupported number of bytes to skip: {text}")).at("HeaderSize"))
    })?;
    std::io::copy(&mut std::io::Read::take(&mut source, skip), &mut std::io::sink())?;
    let rank = fields.rank()?;
    let (grid, further) = fields.grid(rank)?;
    let interleaved = fields.count("ElementNumberOfChannels", 1)?;
    Ok(Stored {
        grid,
        channels: further * interleaved,
        interleaved: interleaved > 1,
        kind: fields.kind().at("ElementType")?,
        big_endian: fields.is_true("BinaryDataByteOrderMSB") || fields.is_true("ElementByteOrderMSB"),
        packing,
        source,
        size,
    })
}

struct Fields(HashMap<String, String>);

impl Fields {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn count(&self, key: &str, default: usize) -> Result<usize> {
        let Some(text) = self.get(key) else { return Ok(default) };
        let count = text.parse().ok().filter(|&count| count > 0);
        count.ok_or_else(|| Error::new(format!("expected a positive integer, got \"{text}\"")).at(key))
    }

    /// Number of axes. Several numbers per voxel are either channels or a fourth axis, not both.
    fn rank(&self) -> Result<usize> {
        let rank = self.count("NDims", 3)?;
        if !(2..=4).contains(&rank) {
            return Err(Error::new(format!("expected 2 to 4, got {rank}")).at("NDims"));
        }
        let channels = self.count("ElementNumberOfChannels", 1)?;
        if channels > 1 && rank == 4 {
            return Err(Error::new(format!("expected 1 when NDims is 4, got {channels}")).at("ElementNumberOfChannels"));
        }
        Ok(rank)
    }

    /// The voxel grid and the extent of the fourth axis.
    fn grid(&self, rank: usize) -> Result<(crate::Grid, usize)> {
        let required = |key: &str| self.get(key).ok_or_else(|| Error::new("is missing").at(key));
        let any = |keys: &[&str]| keys.iter().find_map(|key| self.get(key));
        let or = |keys: &[&str], key: &str, count: usize, default: fn(usize) -> f64| match any(keys) {
            Some(text) => several(text, count).at(key),
            None => Ok((0..count).map(default).collect()),
        };
        let extents = extents(required("DimSize")?, rank).at("DimSize")?;
        let spacing = or(&["ElementSpacing", "ElementSize"], "ElementSpacing", rank, |_| 1.0)?;
        let origin = or(&["Offset", "Origin", "Position"], "Offset", rank, |_| 0.0)?;
        let turn = any(&["TransformMatrix", "Rotation", "Orientation"]);
        let turn = turn.map(|text| several(text, rank * rank)).transpose().at("TransformMatrix")?;
        let along = |axis: usize, row: usize| match &turn {
            Some(turn) if axis < rank && row < rank => turn[rank * axis + row],
            _ => f64::from(u8::from(axis == row)),
        };
        let of = |values: &[f64], axis: usize, default: f64| values.get(axis).copied().unwrap_or(default);
        let steps = std::array::from_fn(|axis| std::array::from_fn(|row| along(axis, row) * of(&spacing, axis, 1.0)));
        let extent = |axis: usize| extents.get(axis).copied().unwrap_or(1);
        let origin = std::array::from_fn(|row| of(&origin, row, 0.0));
        let grid = from_lps([extent(2), extent(1), extent(0)], steps, origin, 1).at("TransformMatrix")?;
        Ok((grid, extent(3)))
    }

    fn kind(&self) -> Result<NumberType> {
        Ok(match self.get("ElementType").unwrap_or_default() {
            "MET_UCHAR" => NumberType::U8,
            "MET_CHAR" => NumberType::I8,
            "MET_USHORT" => NumberType::U16,
            "MET_SHORT" => NumberType::I16,
            "MET_UINT" => NumberType::U32,
            "MET_INT" => NumberType::I32,
            "MET_ULONG_LONG" => NumberType::U64,
            "MET_LONG_LONG" => NumberType::I64,
            "MET_FLOAT" => NumberType::F32,
            "MET_DOUBLE" => NumberType::F64,
            other => return Err(Error::new(format!("\"{other}\" is not a supported type"))),
        })
    }
}
