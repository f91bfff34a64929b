//! A backend of one's own through the suites that every backend passes. This one hands its work on to the reference;
//! a real one replaces the methods one by one and sees here what it gets wrong.

use std::borrow::Cow;
use std::sync::Arc;

use segcal_core::{Backend, Fold, Geometry, Index, Program, Rank, Reference, Result, Sampling, Shape, View, Window};
use segcal_tests::suites::{Accuracy, adjoint, cases, parity};

#[derive(Clone)]
struct Own;

type Buffer = Arc<Vec<f64>>;
type Seen<'a> = View<'a, Own>;

#[rustfmt::skip]
impl Backend for Own {
    type Elem = f64;
    type Buffer = Buffer;
    fn name(&self) -> &'static str { "own" }
    fn arithmetic(&self) -> String { "own".into() }
    fn upload<'a>(&self, data: impl Into<Cow<'a, [f64]>>) -> Buffer { Reference.upload(data) }
    fn download(&self, x: &Buffer) -> Result<Vec<f64>> { Reference.download(x) }
    fn map(&self, p: &Program, s: &[f64], x: &[Seen<'_>], out: Shape) -> Vec<Buffer> { Reference.map(p, s, x, out) }
    fn reduce(&self, f: Fold, p: &Program, s: &[f64], x: &[Seen<'_>], i: Shape, o: Shape) -> Vec<Buffer> { Reference.reduce(f, p, s, x, i, o) }
    fn slice(&self, x: Seen<'_>, start: Index, out: Shape) -> Buffer { Reference.slice(x, start, out) }
    fn place(&self, parts: &[(Seen<'_>, Index)], out: Shape) -> Buffer { Reference.place(parts, out) }
    fn conv(&self, x: Seen<'_>, w: Seen<'_>, g: &Geometry, out: Shape) -> Buffer { Reference.conv(x, w, g, out) }
    fn conv_transpose(&self, y: Seen<'_>, w: Seen<'_>, g: &Geometry, x: Shape) -> Buffer { Reference.conv_transpose(y, w, g, x) }
    fn conv_weight(&self, x: Seen<'_>, y: Seen<'_>, g: &Geometry, w: Shape) -> Buffer { Reference.conv_weight(x, y, g, w) }
    fn max_pool(&self, x: Seen<'_>, window: &Window, out: Shape) -> (Buffer, Buffer) { Reference.max_pool(x, window, out) }
    fn max_unpool(&self, y: Seen<'_>, i: Seen<'_>, window: &Window, x: Shape) -> Buffer { Reference.max_unpool(y, i, window, x) }
    fn resample(&self, x: Seen<'_>, s: &Sampling, out: Shape) -> Buffer { Reference.resample(x, s, out) }
    fn resample_adjoint(&self, y: Seen<'_>, s: &Sampling, x: Shape) -> Buffer { Reference.resample_adjoint(y, s, x) }
    fn rank_filter(&self, x: Seen<'_>, size: [usize; 3], rank: Rank, out: Shape) -> Buffer { Reference.rank_filter(x, size, rank, out) }
    fn bincount(&self, bins: Seen<'_>, weights: &[Seen<'_>], count: usize) -> Vec<Buffer> { Reference.bincount(bins, weights, count) }
    fn take(&self, table: Seen<'_>, index: Seen<'_>) -> Buffer { Reference.take(table, index) }
    fn distance(&self, mask: Seen<'_>, spacing: [f64; 3]) -> Buffer { Reference.distance(mask, spacing) }
}

fn main() {
    let cases = cases::all();
    let values = parity::check(&Own, &Accuracy::F64, &cases);
    let adjoints = adjoint::check(&Own, &Accuracy::F64, &cases);
    println!("{} cases: {values}, {adjoints}", cases.len());
    values.assert_clean();
    adjoints.assert_clean();
}
