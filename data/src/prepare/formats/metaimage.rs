//! MetaImage, ITK's own format: `Key = Value` lines, the last of which names the file of the numbers (`.mhd`) or says
//! that they follow (`.mha`).

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
            return Err(Error::new(format!("\"{line}\" stands where Key = Value is expected")).at("header"));
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
    fields.expect_plain()?;
    let packing = if fields.is_true("CompressedData") { Packing::Zlib } else { Packing::None };
    let skip = fields.get("HeaderSize").map_or(Ok(0), |text| {
        text.parse::<u64>().map_err(|_| Error::new(format!("{text} bytes to skip are not understood")).at("HeaderSize"))
    })?;
    std::io::copy(&mut std::io::Read::take(&mut source, skip), &mut std::io::sink())?;
    Ok(Stored {
        grid: fields.grid()?,
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

    /// Refuses what is not one number a voxel in three dimensions.
    fn expect_plain(&self) -> Result<()> {
        for (key, expected) in [("NDims", "3"), ("ElementNumberOfChannels", "1")] {
            if let Some(value) = self.get(key).filter(|value| *value != expected) {
                return Err(Error::new(format!("{value} is not read, only {expected}")).at(key));
            }
        }
        Ok(())
    }

    fn grid(&self) -> Result<crate::Grid> {
        let required = |key: &str| self.get(key).ok_or_else(|| Error::new("is missing").at(key));
        let any = |keys: &[&str], default: &'static str| {
            keys.iter().find_map(|key| self.get(key)).unwrap_or(default).to_owned()
        };
        let extent = extents(required("DimSize")?).at("DimSize")?;
        let spacing = several::<3>(&any(&["ElementSpacing", "ElementSize"], "1 1 1")).at("ElementSpacing")?;
        let origin = several::<3>(&any(&["Offset", "Origin", "Position"], "0 0 0")).at("Offset")?;
        let turn = any(&["TransformMatrix", "Rotation", "Orientation"], "1 0 0 0 1 0 0 0 1");
        let turn = several::<9>(&turn).at("TransformMatrix")?;
        let steps = std::array::from_fn(|axis| std::array::from_fn(|row| turn[3 * axis + row] * spacing[axis]));
        from_lps(extent, steps, origin).at("TransformMatrix")
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
            other => return Err(Error::new(format!("\"{other}\" is not a type that is read"))),
        })
    }
}
