//! `Reference`, counting the passes over memory.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use segcal_core::{Backend, Fold, Geometry, Index, Program, Rank, Reference, Result, Sampling, Shape, View, Window};

type Buffer = <Reference as Backend>::Buffer;

/// Notes the domain of every map and reduction.
#[derive(Clone, Default)]
pub(crate) struct Counting {
    maps: Arc<Mutex<Vec<Shape>>>,
    reductions: Arc<Mutex<Vec<Shape>>>,
}

impl Counting {
    /// Maps and reductions over this domain so far.
    pub(crate) fn over(&self, domain: Shape) -> (usize, usize) {
        let count = |calls: &Mutex<Vec<Shape>>| calls.lock().unwrap().iter().filter(|&&shape| shape == domain).count();
        (count(&self.maps), count(&self.reductions))
    }
}

impl Backend for Counting {
    type Elem = f64;
    type Buffer = Buffer;

    fn name(&self) -> &'static str {
        "counting"
    }

    fn arithmetic(&self) -> String {
        self.name().into()
    }

    fn upload<'a>(&self, data: impl Into<Cow<'a, [f64]>>) -> Buffer {
        Reference.upload(data)
    }

    fn download(&self, buffer: &Buffer) -> Result<Vec<f64>> {
        Reference.download(buffer)
    }

    fn map(&self, program: &Program, scalars: &[f64], inputs: &[View<'_, Self>], out: Shape) -> Vec<Buffer> {
        self.maps.lock().unwrap().push(out);
        Reference.map(program, scalars, inputs, out)
    }

    fn reduce(
        &self,
        fold: Fold,
        program: &Program,
        scalars: &[f64],
        inputs: &[View<'_, Self>],
        domain: Shape,
        out: Shape,
    ) -> Vec<Buffer> {
        self.reductions.lock().unwrap().push(domain);
        Reference.reduce(fold, program, scalars, inputs, domain, out)
    }

    fn slice(&self, x: View<'_, Self>, start: Index, out: Shape) -> Buffer {
        Reference.slice(x, start, out)
    }

    fn place(&self, parts: &[(View<'_, Self>, Index)], out: Shape) -> Buffer {
        Reference.place(parts, out)
    }

    fn conv(&self, x: View<'_, Self>, w: View<'_, Self>, geometry: &Geometry, out: Shape) -> Buffer {
        Reference.conv(x, w, geometry, out)
    }

    fn conv_transpose(&self, y: View<'_, Self>, w: View<'_, Self>, geometry: &Geometry, x_shape: Shape) -> Buffer {
        Reference.conv_transpose(y, w, geometry, x_shape)
    }

    fn conv_weight(&self, x: View<'_, Self>, y: View<'_, Self>, geometry: &Geometry, w_shape: Shape) -> Buffer {
        Reference.conv_weight(x, y, geometry, w_shape)
    }

    fn max_pool(&self, x: View<'_, Self>, window: &Window, out: Shape) -> (Buffer, Buffer) {
        Reference.max_pool(x, window, out)
    }

    fn max_unpool(&self, y: View<'_, Self>, index: View<'_, Self>, window: &Window, x_shape: Shape) -> Buffer {
        Reference.max_unpool(y, index, window, x_shape)
    }

    fn resample(&self, x: View<'_, Self>, sampling: &Sampling, out: Shape) -> Buffer {
        Reference.resample(x, sampling, out)
    }

    fn resample_adjoint(&self, y: View<'_, Self>, sampling: &Sampling, x_shape: Shape) -> Buffer {
        Reference.resample_adjoint(y, sampling, x_shape)
    }

    fn rank_filter(&self, x: View<'_, Self>, size: [usize; 3], rank: Rank, out: Shape) -> Buffer {
        Reference.rank_filter(x, size, rank, out)
    }

    fn bincount(&self, bins: View<'_, Self>, weights: &[View<'_, Self>], count: usize) -> Vec<Buffer> {
        Reference.bincount(bins, weights, count)
    }

    fn take(&self, table: View<'_, Self>, index: View<'_, Self>) -> Buffer {
        Reference.take(table, index)
    }

    fn distance(&self, mask: View<'_, Self>, spacing: [f64; 3]) -> Buffer {
        Reference.distance(mask, spacing)
    }
}
