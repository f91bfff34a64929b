//! `conv`: one convolution, forward and its two gradients.

use segcal_core::{Backend, Elem, Error, Geometry, Result, Shape, View};
use serde_json::{Value, json};

use crate::card::{Benchmark, Card};
use crate::measure::{random, share_of_peak, timed};
use crate::options::Options;

/// `--in`, `--out`, `--batch`, `--size`, `--dims`; `--kernel 3` keeps the extents, `--tile 2` is a kernel of windows
/// side by side, such as that of an up-sampling layer, whose two maps change places.
pub(crate) struct Conv<'a>(pub(crate) &'a Options);

impl Conv<'_> {
    /// Shapes of input and weight, and the geometry.
    fn problem(&self) -> Result<(Shape, Shape, Geometry)> {
        let options = self.0;
        let (batch, size, dims) =
            (options.number("batch", 4)?, options.number("size", 128)?, options.number("dims", 2)?);
        let (tile, kernel) = (options.number("tile", 0)?, options.number("kernel", 3)?);
        let cube = |extent| [if dims == 3 { extent } else { 1 }, extent, extent];
        let (kernel, geometry) = match tile {
            0 => (kernel, Geometry::same(cube(kernel))),
            _ => (tile, Geometry { stride: cube(tile), ..Geometry::VALID }),
        };
        let (inputs, outputs) = (options.number("in", 32)?, options.number("out", 32)?);
        let x = Shape::new(batch, inputs, 1, 1, 1).with_spatial(cube(size));
        Ok((x, Shape::new(outputs, inputs, 1, 1, 1).with_spatial(cube(kernel)), geometry))
    }
}

impl Benchmark for Conv<'_> {
    fn measure<B: Backend>(&self, backend: B, card: &Card) -> Result<Value> {
        let (xs, ws, geometry) = self.problem()?;
        let ys = geometry.output(xs, ws).ok_or_else(|| Error::new("the kernel is larger than the map"))?;
        let numbers =
            |shape: Shape, stream| random(&backend, shape, stream).to_vec().map(|values| backend.upload(values));
        let (x, w, y) = (numbers(xs, 1)?, numbers(ws, 2)?, numbers(ys, 3)?);
        let (x, w, y): (View<'_, B>, View<'_, B>, View<'_, B>) = ((&x, xs), (&w, ws), (&y, ys));
        // Work is done in order: what was uploaded last is there when all before it is done.
        let done = || backend.download(&backend.upload(vec![B::Elem::of(0.0)])).map(drop);
        let forward = || {
            drop(backend.conv(x, w, &geometry, ys));
            done()
        };
        let by_input = || {
            drop(backend.conv_transpose(y, w, &geometry, xs));
            done()
        };
        let by_weight = || {
            drop(backend.conv_weight(x, y, &geometry, ws));
            done()
        };
        let reps = self.0.number("reps", 9)?;
        let operations = 2.0 * (ys.n() * ys.voxels() * ws.len()) as f64;
        let (mut result, mut all) = (json!({ "x": xs.dims(), "weight": ws.dims() }), 0.0);
        let mut add = |name: &str, run: &mut dyn FnMut() -> Result<()>| -> Result<()> {
            let (best, _) = timed(reps, run)?;
            result[name] = json!({ "ms": best * 1e3, "gflops": operations * 1e-9 / best });
            all += best;
            Ok(())
        };
        add("forward", &mut { forward })?;
        add("by_input", &mut { by_input })?;
        add("by_weight", &mut { by_weight })?;
        share_of_peak(&mut result, &backend, 3.0 * operations, all);
        card.add_to(&mut result, || forward().and_then(|()| by_input()).and_then(|()| by_weight()))?;
        Ok(result)
    }
}
