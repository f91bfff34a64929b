//! A suite that cannot fail tests nothing: backends with one plausible defect each must be found out, by the method
//! that has it, in spite of the tolerance that f32 is allowed.

use std::borrow::Cow;
use std::sync::Arc;

use segcal_core::{
    Backend, Border, Fold, Geometry, Index, Program, Rank, Reference, Result, Sampling, Shape, View, Window,
};
use segcal_tests::suites::{Accuracy, Case, adjoint, cases, parity};

type Buffer = Arc<Vec<f64>>;

/// What is wrong, by the method that shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Defect {
    MapForgetsScalars,
    MapSwapsOutputs,
    MapLeavesTheLastNumberOut,
    MapRoundsToHalfPrecisionSteps,
    ReduceMaxStartsAtZero,
    ReduceRoundsTheSum,
    SliceIgnoresTheColumn,
    PlaceOverwrites,
    ConvIgnoresDilation,
    ConvReadsTheFirstGroup,
    ConvPadsOneLess,
    ConvTransposeIgnoresStride,
    ConvWeightForgetsASample,
    MaxPoolOverlooksNan,
    MaxPoolNamesNoPlace,
    MaxUnpoolExchangesRowsAndColumns,
    ResampleRoundsHalvesDown,
    ResampleIgnoresTheBorder,
    ResampleAdjointIgnoresTheBorder,
    RankOneTooHigh,
    ModeTakesTheLargest,
    BincountClampsBins,
    BincountCutsFractions,
    TakeClampsIndices,
    DistanceReversesSpacing,
    DistanceMixesVolumes,
    DistanceOfNothingIsInfinite,
}

/// Every defect with the method that must fail.
const DEFECTS: [(Defect, &str); 27] = [
    (Defect::MapForgetsScalars, "map"),
    (Defect::MapSwapsOutputs, "map"),
    (Defect::MapLeavesTheLastNumberOut, "map"),
    (Defect::MapRoundsToHalfPrecisionSteps, "map"),
    (Defect::ReduceMaxStartsAtZero, "reduce"),
    (Defect::ReduceRoundsTheSum, "reduce"),
    (Defect::SliceIgnoresTheColumn, "slice"),
    (Defect::PlaceOverwrites, "place"),
    (Defect::ConvIgnoresDilation, "conv"),
    (Defect::ConvReadsTheFirstGroup, "conv"),
    (Defect::ConvPadsOneLess, "conv"),
    (Defect::ConvTransposeIgnoresStride, "conv_transpose"),
    (Defect::ConvWeightForgetsASample, "conv_weight"),
    (Defect::MaxPoolOverlooksNan, "max_pool"),
    (Defect::MaxPoolNamesNoPlace, "max_pool"),
    (Defect::MaxUnpoolExchangesRowsAndColumns, "max_unpool"),
    (Defect::ResampleRoundsHalvesDown, "resample"),
    (Defect::ResampleIgnoresTheBorder, "resample"),
    (Defect::ResampleAdjointIgnoresTheBorder, "resample_adjoint"),
    (Defect::RankOneTooHigh, "rank_filter"),
    (Defect::ModeTakesTheLargest, "rank_filter"),
    (Defect::BincountClampsBins, "bincount"),
    (Defect::BincountCutsFractions, "bincount"),
    (Defect::TakeClampsIndices, "take"),
    (Defect::DistanceReversesSpacing, "distance"),
    (Defect::DistanceMixesVolumes, "distance"),
    (Defect::DistanceOfNothingIsInfinite, "distance"),
];

#[test]
fn every_defect_is_found() {
    let cases = cases::all();
    for (defect, method) in DEFECTS {
        let found =
            of_method(&cases, method).any(|case| parity::compare(&Defective(defect), &Accuracy::CPU, case).is_err());
        assert!(found, "{defect:?}");
    }
}

/// Of two adjoint methods with a defect in one, either may be the one that is called first.
#[test]
fn a_method_that_is_not_the_adjoint_of_its_partner_is_found() {
    let cases = cases::all();
    for (defect, forward) in [
        (Defect::SliceIgnoresTheColumn, "slice"),
        (Defect::PlaceOverwrites, "place"),
        (Defect::ConvIgnoresDilation, "conv"),
        (Defect::ConvTransposeIgnoresStride, "conv"),
        (Defect::ConvWeightForgetsASample, "conv"),
        (Defect::MaxUnpoolExchangesRowsAndColumns, "max_pool"),
        (Defect::ResampleIgnoresTheBorder, "resample"),
        (Defect::ResampleAdjointIgnoresTheBorder, "resample"),
        (Defect::BincountClampsBins, "take"),
        (Defect::TakeClampsIndices, "take"),
    ] {
        let fails = |case: &Case| {
            let report = adjoint::check(&Defective(defect), &Accuracy::CPU, std::slice::from_ref(case));
            !report.failures().is_empty()
        };
        assert!(of_method(&cases, forward).any(fails), "{defect:?}");
    }
}

fn of_method<'a>(cases: &'a [Case], method: &'a str) -> impl Iterator<Item = &'a Case> {
    cases.iter().filter(move |case| case.op.method() == method)
}

/// The reference with one defect.
#[derive(Clone, Copy)]
struct Defective(Defect);

impl Defective {
    fn has(self, defect: Defect) -> bool {
        self.0 == defect
    }
}

fn changed(buffer: &Buffer, f: impl Fn(f64) -> f64) -> Buffer {
    Arc::new(buffer.iter().map(|&value| f(value)).collect())
}

impl Backend for Defective {
    type Elem = f64;
    type Buffer = Buffer;

    fn name(&self) -> &'static str {
        "defective"
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
        let scalars: Vec<f64> =
            scalars.iter().map(|scalar| if self.has(Defect::MapForgetsScalars) { 0.0 } else { *scalar }).collect();
        let mut outputs = Reference.map(program, &scalars, inputs, out);
        match self.0 {
            Defect::MapSwapsOutputs => outputs.reverse(),
            Defect::MapLeavesTheLastNumberOut if out.len() % 4 == 3 => {
                for output in &mut outputs {
                    Arc::make_mut(output)[out.len() - 1] = 0.0;
                }
            }
            Defect::MapRoundsToHalfPrecisionSteps => {
                let coarse = |value: f64| f64::from(f32::from_bits((value as f32).to_bits() & !0xff));
                for output in &mut outputs {
                    *output = changed(output, coarse);
                }
            }
            _ => {}
        }
        outputs
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
        let outputs = Reference.reduce(fold, program, scalars, inputs, domain, out);
        let f: fn(f64) -> f64 = match (self.0, fold) {
            (Defect::ReduceMaxStartsAtZero, Fold::Max) => |value| value.max(0.0),
            (Defect::ReduceRoundsTheSum, Fold::Sum) => |value| value.round(),
            _ => return outputs,
        };
        outputs.iter().map(|output| changed(output, f)).collect()
    }

    fn slice(&self, x: View<'_, Self>, mut start: Index, out: Shape) -> Buffer {
        if self.has(Defect::SliceIgnoresTheColumn) {
            start[4] = 0;
        }
        Reference.slice(x, start, out)
    }

    fn place(&self, parts: &[(View<'_, Self>, Index)], out: Shape) -> Buffer {
        if !self.has(Defect::PlaceOverwrites) {
            return Reference.place(parts, out);
        }
        let mut y = vec![0.0; out.len()];
        for &part in parts {
            let alone = Reference.place(&[part], out);
            y.iter_mut().zip(alone.iter()).filter(|(_, value)| **value != 0.0).for_each(|(y, value)| *y = *value);
        }
        Arc::new(y)
    }

    fn conv(&self, x: View<'_, Self>, w: View<'_, Self>, geometry: &Geometry, out: Shape) -> Buffer {
        let mut geometry = *geometry;
        match self.0 {
            Defect::ConvIgnoresDilation => geometry.dilation = [1; 3],
            Defect::ConvReadsTheFirstGroup => geometry.groups = 1,
            Defect::ConvPadsOneLess => geometry.pad[2] = geometry.pad[2].saturating_sub(1),
            _ => {}
        }
        Reference.conv(x, w, &geometry, out)
    }

    fn conv_transpose(&self, y: View<'_, Self>, w: View<'_, Self>, geometry: &Geometry, x_shape: Shape) -> Buffer {
        let mut geometry = *geometry;
        if self.has(Defect::ConvTransposeIgnoresStride) {
            geometry.stride = [1; 3];
        }
        Reference.conv_transpose(y, w, &geometry, x_shape)
    }

    fn conv_weight(&self, x: View<'_, Self>, y: View<'_, Self>, geometry: &Geometry, w_shape: Shape) -> Buffer {
        if !self.has(Defect::ConvWeightForgetsASample) || x.1.n() == 1 {
            return Reference.conv_weight(x, y, geometry, w_shape);
        }
        let fewer = |(buffer, shape): View<'_, Self>| {
            let shape = shape.with(0, shape.n() - 1);
            (Reference.slice((buffer, shape.with(0, shape.n() + 1)), [0; 5], shape), shape)
        };
        let (x, y) = (fewer(x), fewer(y));
        Reference.conv_weight((&x.0, x.1), (&y.0, y.1), geometry, w_shape)
    }

    fn max_pool(&self, x: View<'_, Self>, window: &Window, out: Shape) -> (Buffer, Buffer) {
        match self.0 {
            Defect::MaxPoolOverlooksNan => {
                let without = changed(x.0, |value| if value.is_nan() { f64::MIN } else { value });
                Reference.max_pool((&without, x.1), window, out)
            }
            Defect::MaxPoolNamesNoPlace => {
                let (values, index) = Reference.max_pool(x, window, out);
                (values, changed(&index, |_| 0.0))
            }
            _ => Reference.max_pool(x, window, out),
        }
    }

    fn max_unpool(&self, y: View<'_, Self>, index: View<'_, Self>, window: &Window, x_shape: Shape) -> Buffer {
        let mut window = *window;
        if self.has(Defect::MaxUnpoolExchangesRowsAndColumns) {
            window.size.swap(1, 2);
        }
        Reference.max_unpool(y, index, &window, x_shape)
    }

    fn resample(&self, x: View<'_, Self>, sampling: &Sampling, out: Shape) -> Buffer {
        let mut sampling = *sampling;
        match self.0 {
            Defect::ResampleRoundsHalvesDown => sampling.matrix.iter_mut().for_each(|row| row[3] -= 1e-9),
            Defect::ResampleIgnoresTheBorder => sampling.border = Border::Clamp,
            _ => {}
        }
        Reference.resample(x, &sampling, out)
    }

    fn resample_adjoint(&self, y: View<'_, Self>, sampling: &Sampling, x_shape: Shape) -> Buffer {
        let mut sampling = *sampling;
        if self.has(Defect::ResampleAdjointIgnoresTheBorder) {
            sampling.border = Border::Clamp;
        }
        Reference.resample_adjoint(y, &sampling, x_shape)
    }

    fn rank_filter(&self, x: View<'_, Self>, size: [usize; 3], rank: Rank, out: Shape) -> Buffer {
        match (self.0, rank) {
            (Defect::RankOneTooHigh, Rank::Nth(k)) if k + 1 < size.iter().product() => {
                Reference.rank_filter(x, size, Rank::Nth(k + 1), out)
            }
            (Defect::ModeTakesTheLargest, Rank::Mode) => {
                let negative = changed(x.0, |value| -value);
                changed(&Reference.rank_filter((&negative, x.1), size, rank, out), |value| -value)
            }
            _ => Reference.rank_filter(x, size, rank, out),
        }
    }

    fn bincount(&self, bins: View<'_, Self>, weights: &[View<'_, Self>], count: usize) -> Vec<Buffer> {
        let numbers = match self.0 {
            Defect::BincountClampsBins => changed(bins.0, |bin| bin.clamp(0.0, count as f64 - 1.0)),
            Defect::BincountCutsFractions => changed(bins.0, f64::trunc),
            _ => bins.0.clone(),
        };
        Reference.bincount((&numbers, bins.1), weights, count)
    }

    fn take(&self, table: View<'_, Self>, index: View<'_, Self>) -> Buffer {
        if !self.has(Defect::TakeClampsIndices) {
            return Reference.take(table, index);
        }
        let clamped = changed(index.0, |entry| entry.clamp(0.0, table.1.len() as f64 - 1.0));
        Reference.take(table, (&clamped, index.1))
    }

    fn distance(&self, (mask, shape): View<'_, Self>, spacing: [f64; 3]) -> Buffer {
        let [n, c, d, h, w] = shape.dims();
        match self.0 {
            Defect::DistanceReversesSpacing => Reference.distance((mask, shape), [spacing[2], spacing[1], spacing[0]]),
            Defect::DistanceMixesVolumes => Reference.distance((mask, Shape::new(1, 1, n * c * d, h, w)), spacing),
            Defect::DistanceOfNothingIsInfinite => {
                let distances = Reference.distance((mask, shape), spacing);
                changed(&distances, |distance| if distance > 1e30 { f64::INFINITY } else { distance })
            }
            _ => Reference.distance((mask, shape), spacing),
        }
    }
}
