//! NRRD: `field: value` lines up to an empty one, then the numbers, or in a file of their own (`data file`).

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
    fields.expect_plain()?;
    let (source, size): (Box<dyn std::io::Read>, _) = match fields.any(&["data file", "datafile"]) {
        Some(name) => data_file(path, name).at("data file")?,
        None => (Box::new(source), size),
    };
    Ok(Stored {
        grid: fields.grid()?,
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
            // `key:=value` is a remark, and a line from `#` on a comment.
            if let Some((key, value)) = line.split_once(": ").filter(|_| !line.starts_with('#')) {
                fields.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
            }
        }
    }

    fn any(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.0.get(*key)).map(String::as_str)
    }

    fn expect_plain(&self) -> Result<()> {
        match self.any(&["dimension"]) {
            Some("3") => {}
            other => {
                let found = other.unwrap_or("nothing");
                return Err(Error::new(format!("{found} is not read, only 3")).at("dimension"));
            }
        }
        let skip = ["line skip", "lineskip", "byte skip", "byteskip"];
        match self.any(&skip) {
            None | Some("0") => Ok(()),
            Some(other) => Err(Error::new(format!("{other} is not read, only 0")).at("skip")),
        }
    }

    fn grid(&self) -> Result<Grid> {
        let sizes = self.any(&["sizes"]).ok_or_else(|| Error::new("is missing").at("sizes"))?;
        let extent = extents(sizes).at("sizes")?;
        let Some(directions) = self.any(&["space directions"]) else {
            let spacing = several::<3>(self.any(&["spacings"]).unwrap_or("1 1 1")).at("spacings")?;
            let mut grid = Grid::unknown(extent);
            (0..3).for_each(|axis| grid.affine[axis][axis] = spacing[axis]);
            return Grid::new(extent, grid.affine, 0).at("spacings");
        };
        let flat = several::<9>(&vectors(directions)).at("space directions")?;
        let origin = several::<3>(&vectors(self.any(&["space origin"]).unwrap_or("(0,0,0)"))).at("space origin")?;
        let sign = self.signs().at("space")?;
        let steps = std::array::from_fn(|axis| std::array::from_fn(|row| flat[3 * axis + row] * sign[row]));
        from_lps(extent, steps, std::array::from_fn(|row| origin[row] * sign[row])).at("space directions")
    }

    /// What turns the world of the file into LPS.
    fn signs(&self) -> Result<[f64; 3]> {
        Ok(match self.any(&["space"]).unwrap_or_default().to_ascii_lowercase().as_str() {
            "left-posterior-superior" | "lps" => [1.0, 1.0, 1.0],
            "right-anterior-superior" | "ras" => [-1.0, -1.0, 1.0],
            "left-anterior-superior" | "las" => [1.0, -1.0, 1.0],
            other => return Err(Error::new(format!("\"{other}\" is not a space that is read"))),
        })
    }

    fn packing(&self) -> Result<Packing> {
        match self.any(&["encoding"]).unwrap_or_default() {
            "raw" => Ok(Packing::None),
            "gzip" | "gz" => Ok(Packing::Gzip),
            other => Err(Error::new(format!("\"{other}\" is not read, only raw and gzip"))),
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
            other => return Err(Error::new(format!("\"{other}\" is not a type that is read"))),
        })
    }
}

/// `(1,0,0) (0,1,0)` as plain numbers.
fn vectors(text: &str) -> String {
    text.replace(['(', ')', ','], " ")
}
