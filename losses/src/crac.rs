//! Class and region-wise adaptive constraints: `CRaC = CE + sum_k P(h_k, rho_kr, lambda_kr)` with an
//! augmented-Lagrangian penalty on the distance of the logits from the mean prior, and multipliers per class `k` and
//! region `r`.
//!
//! A pixel is *inner* if its label patch contains a single class, else *outer*. `tau` is the mean prior of the same
//! patch, as a share (`normalise = true`) or as a count:
//!
//! - `authors`: `h = |t - l|`, with `t = tau` at outer pixels and `t = margin tau` at inner ones (`margin = 5` in the
//!   published runs: at inner pixels the target logit of the class is 5). The penalty is the mean over pixels, classes
//!   **and** the two regions, where a pixel counts 0 in the other region; it is thus `1/(2K)` of the printed one. The
//!   update of the multipliers averages over all validation pixels, whether they are in the region or not. As `h >= 0`,
//!   a multiplier can never decrease. Outside the image, patches see background.
//! - `paper`: `h = tau - l`, signed (Eq. 7), with `tau` the count as printed, summed over the classes, `margin = 1`.
//!   The update averages over the region (Eq. 8), so that a multiplier decreases if the constraint is satisfied. Eq. 9
//!   compares the mean of `|h|` with that of the previous epoch, every epoch. Outside the image, patches see the
//!   nearest pixel.
//!
//! `constraint = max` is the one-sided `max(0, l - t)` of the public code. `multipliers` sets their number:
//! `class-region` (2K: the outer ones of all classes, then the inner ones), `class` (K), `region` (2) or `scalar`.
//! Without regions the target is `margin tau` everywhere and the mean is over pixels and classes. `region = rounding`
//! is the region test of the public code: whether a sum of float32 numbers, which is 0 in exact arithmetic, differs
//! from 0.
//!
//! Logits `[n, K, d, h, w]`, any finite number; labels `[n, 1, d, h, w]` in `0..K`. `lambda -> 0, rho -> 0` is cross
//! entropy. For fixed weights, see [`CracFixed`](crate::crac_fixed::CracFixed).
//! Source: CRaC (Murugesan et al. 2024), Eq. 7 to 10.

use segcal_core::{Backend, Expr, Rank, Result, Shape, Tensor, axis, ops};

use crate::fused::sums;
use crate::lagrangian::{Multipliers, Observed, Penalty};
use crate::pixelwise::{Per, pixelwise};
use crate::priors::patch::{Outside, PATCH, extend, filter_labels, patch_extents};
use crate::words::{Word, words};
use crate::{Batch, Criterion, Listed, Param, Pixel, Range, Settings, Spec, State, Value, Weighting};

/// Cross entropy with adaptive constraints on the logits.
#[derive(Clone, Debug)]
pub struct Crac {
    weighting: Weighting,
    multipliers: Multipliers,
    penalty: Penalty,
    layout: Layout,
    constraint: Constraint,
    margin: f64,
    near: Neighbourhood,
    rounding: bool,
    printed: bool,
}

/// The mean prior of a pixel's label patch, and its region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbourhood {
    patch: usize,
    outside: Outside,
    normalise: bool,
}

/// The prior and the region of each pixel, computed from the labels of a batch.
pub(crate) struct Regions<B: Backend> {
    /// `[n, K, d, h, w]`.
    pub(crate) prior: Tensor<B>,
    /// `[n, 1, d, h, w]`, 1 where the patch contains more than one class, else 0.
    pub(crate) outer: Tensor<B>,
}

impl Neighbourhood {
    /// Whether the prior is a share of the patch or a count.
    pub(crate) const NORMALISE: Param = Param::new(
        "normalise",
        "true",
        Range::Flag,
        "whether tau is the share of the patch, or the number of its pixels",
    )
    .paper("false");

    /// Creates it from checked parameters that include `patch` and `normalise`.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { patch: settings.whole("patch"), outside: Outside::of(settings), normalise: settings.flag("normalise") }
    }

    /// Computes the prior and the regions of a batch.
    pub(crate) fn regions<B: Backend>(&self, batch: &Batch<'_, B>) -> Regions<B> {
        let (prior, near, extents) = self.patches(batch);
        Regions { prior, outer: is_mixed(&near, extents) }
    }

    /// The prior, the label map extended by what patches see outside the image, and the extents of a patch.
    fn patches<B: Backend>(&self, batch: &Batch<'_, B>) -> (Tensor<B>, Tensor<B>, [usize; 3]) {
        let labels = batch.labels.detach();
        let extents = patch_extents(self.patch, labels.shape());
        let count: usize = extents.iter().product();
        let weight = if self.normalise { 1.0 / count as f64 } else { 1.0 };
        let prior = filter_labels(&labels, batch.classes(), extents, &vec![weight; count], self.outside);
        (prior, extend(&labels, extents, self.outside), extents)
    }
}

words! {
    /// Which multipliers there are.
    enum Layout {
        ClassRegion "class-region",
        Class "class",
        Region "region",
        Scalar "scalar",
    }
}

words! {
    /// The constraint that should be at most 0.
    enum Constraint {
        Absolute "abs",
        OneSided "max",
        Signed "signed",
    }
}

words! {
    /// How the region of a pixel is determined.
    enum RegionTest {
        Exact "exact",
        Rounding "rounding",
    }
}

const MULTIPLIERS: [Param; 9] = Multipliers::params("0.1");

impl Listed for Crac {
    const SPEC: Spec = Spec {
        name: "crac",
        title: "Class and region-wise adaptive constraints on the logits",
        source: "CRaC (Murugesan et al. 2024), Eq. 7",
        image: false,
        views: 1,
        params: &[
            &[
                Param::new("margin", "5", Range::Closed(0.0, 1e6), "factor of the prior inside regions")
                    .paper("1")
                    .reported("5 in the published command, not in the paper"),
                Penalty::PARAM,
                Param::new(
                    "multipliers",
                    "class-region",
                    Range::OneOf(Layout::WORDS),
                    "what has a multiplier of its own",
                ),
                Param::new(
                    "constraint",
                    "abs",
                    Range::OneOf(Constraint::WORDS),
                    "what is to be 0: |t - l|, max(0, l - t) or t - l",
                )
                .paper("signed"),
                Param::new("region", "exact", Range::OneOf(RegionTest::WORDS), "how regions are told apart"),
                Neighbourhood::NORMALISE,
                PATCH,
            ],
            &MULTIPLIERS,
            Weighting::PARAMS,
        ],
    };

    fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            weighting: Weighting::new(settings),
            multipliers: Multipliers::new(settings)?,
            penalty: Penalty::new(settings),
            layout: settings.choice("multipliers"),
            constraint: settings.choice("constraint"),
            margin: settings.number("margin"),
            near: Neighbourhood::new(settings),
            rounding: settings.choice::<RegionTest>("region") == RegionTest::Rounding,
            printed: settings.is_paper(),
        })
    }
}

impl Criterion for Crac {
    fn check(&self, classes: usize) -> Result<()> {
        self.multipliers.check(self.entries(classes))?;
        self.weighting.check(classes)
    }

    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
        let classes = batch.classes() as f64;
        let share = match (self.printed, self.layout) {
            (true, _) => 1.0,
            (false, Layout::ClassRegion | Layout::Region) => 0.5 / classes,
            (false, _) => 1.0 / classes,
        };
        let inputs = self.inputs(batch);
        let inputs: Vec<_> = inputs.iter().collect();
        pixelwise(batch, &self.weighting, &inputs, &[("ce", 1.0), ("penalty", 1.0), ("constraint", 0.0)], |p| {
            let (h, outer) = (self.distance(p), p.input(1));
            let (lambda, rho) = (outer.select(p.input(2), p.input(3)), outer.select(p.input(4), p.input(5)));
            let penalty = self.penalty.value(h, rho, lambda);
            vec![Per::cross_entropy(p), Per::Class(penalty, share), Per::Class(h, 1.0 / classes)]
        })
    }

    fn state(&self) -> State {
        self.multipliers.state()
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        self.multipliers.restore(state)
    }

    fn observe<B: Backend>(&mut self, batch: &Batch<'_, B>) -> Result<()> {
        let classes = batch.classes();
        let inputs = self.inputs(batch);
        let inputs: Vec<_> = inputs.iter().collect();
        let kept = self.weighting.kept(&batch.labels.detach());
        let per_class = Shape::SCALAR.with(axis::C, classes);
        let mut observed = vec![Observed::default(); self.entries(classes)];
        for region in 0..2 {
            let parts =
                sums(batch, kept.clone(), &inputs, per_class, 0, |p| self.statistics(p, region, kept.is_some()));
            let parts: Vec<Vec<f64>> = parts.iter().map(Tensor::to_f64).collect::<Result<_>>()?;
            for class in 0..classes {
                let sum = &mut observed[self.entry(region, class, classes)];
                sum.slope += parts[0][class];
                sum.constraint += parts[1][class];
                sum.count += parts[2][class];
            }
        }
        self.multipliers.observe(&observed);
        Ok(())
    }

    fn end_epoch(&mut self) {
        self.multipliers.end_epoch();
    }
}

impl Crac {
    /// Number of multipliers.
    fn entries(&self, classes: usize) -> usize {
        self.entry(1, classes - 1, classes) + 1
    }

    /// Index of the multiplier of a class in a region (0 outer, 1 inner).
    fn entry(&self, region: usize, class: usize, classes: usize) -> usize {
        match self.layout {
            Layout::ClassRegion => region * classes + class,
            Layout::Class => class,
            Layout::Region => region,
            Layout::Scalar => 0,
        }
    }

    fn has_regions(&self) -> bool {
        matches!(self.layout, Layout::ClassRegion | Layout::Region)
    }

    /// The prior, the outer region, then tables per class: outer and inner `lambda`, outer and inner `rho`.
    fn inputs<B: Backend>(&self, batch: &Batch<'_, B>) -> [Tensor<B>; 6] {
        let classes = batch.classes();
        let (prior, near, extents) = self.near.patches(batch);
        let outer = if self.rounding { rounding_residue(&near, extents) } else { is_mixed(&near, extents) };
        let table = |region: usize, value: &dyn Fn(usize) -> f64| {
            let values: Vec<f64> = (0..classes).map(|class| value(self.entry(region, class, classes))).collect();
            Tensor::from_f64(batch.logits.backend(), Shape::SCALAR.with(axis::C, classes), &values)
        };
        let (lambda, rho) = (|entry| self.multipliers.lambda(entry), |entry| self.multipliers.rho(entry));
        [prior, outer, table(0, &lambda), table(1, &lambda), table(0, &rho), table(1, &rho)]
    }

    /// The constraint `h`.
    fn distance<'b>(&self, p: &Pixel<'b>) -> Expr<'b> {
        let inside = p.input(0) * self.margin;
        let target = if self.has_regions() { p.input(1).select(p.input(0), inside) } else { inside };
        match self.constraint {
            Constraint::Absolute => (target - p.logit()).abs(),
            Constraint::OneSided => (p.logit() - target).max(0.0),
            Constraint::Signed => target - p.logit(),
        }
    }

    /// Clamped slope, constraint and count of one region.
    fn statistics<'b>(&self, p: &Pixel<'b>, region: usize, weighted: bool) -> Vec<Expr<'b>> {
        let (h, outer) = (self.distance(p), p.input(1));
        let inside = if region == 0 { outer } else { 1.0 - outer };
        let (low, high) = self.multipliers.bounds;
        let slope = |z| self.penalty.slope(z, p.input(4 + region), p.input(2 + region)).max(low).min(high);
        let measure = inside * if self.constraint == Constraint::Signed { h.abs() } else { h };
        let everywhere = self.has_regions() && !self.printed;
        let (slope, count) =
            if everywhere { (slope(inside * h), p.constant(1.0)) } else { (inside * slope(h), inside) };
        let keep = if weighted { p.weight() } else { p.constant(1.0) };
        vec![slope * keep, measure * keep, count * keep]
    }
}

/// 1 where a patch of the extended label map contains more than one class.
fn is_mixed<B: Backend>(near: &Tensor<B>, extents: [usize; 3]) -> Tensor<B> {
    let last = extents.iter().product::<usize>() - 1;
    let [smallest, largest] = [0, last].map(|rank| ops::rank_filter(near, extents, Rank::Nth(rank)));
    ops::map(&[&smallest, &largest], |p| p.input(0).lt(p.input(1)))
}

/// 1 where the sum over the patch of (mean - label) is not 0 in float32. The order of the additions is that of the
/// authors' library on a processor with 8 lanes: sequential in the first columns, whose number is a multiple of 32, and
/// in four interleaved parts in the remaining ones. This moves the labels to the host, so use it only to reproduce
/// published numbers.
fn rounding_residue<B: Backend>(near: &Tensor<B>, extents: [usize; 3]) -> Tensor<B> {
    let patch = Shape::new(1, 1, extents[0], extents[1], extents[2]);
    let labels = near.to_f64().expect("labels come back from the device");
    let shape = near.shape().with_spatial(std::array::from_fn(|axis| near.shape().spatial()[axis] + 1 - extents[axis]));
    let flag = |place: usize| {
        let at = shape.coordinate(place);
        let taps: Vec<f32> = (0..patch.len())
            .map(|tap| {
                let offset = patch.coordinate(tap);
                labels[near.shape().offset(std::array::from_fn(|axis| at[axis] + offset[axis]))] as f32
            })
            .collect();
        let interleaved = place % shape.voxels() >= shape.voxels() / 32 * 32;
        let mean = sum_f32(&taps, interleaved) / taps.len() as f32;
        let residues: Vec<f32> = taps.iter().map(|label| mean - label).collect();
        if sum_f32(&residues, interleaved) == 0.0 { 0.0 } else { 1.0 }
    };
    let flags: Vec<f64> = (0..shape.len()).map(flag).collect();
    Tensor::from_f64(near.backend(), shape, &flags)
}

fn sum_f32(values: &[f32], interleaved: bool) -> f32 {
    if !interleaved {
        return values.iter().sum();
    }
    let whole = values.len() / 4 * 4;
    let mut parts: [f32; 4] = std::array::from_fn(|lane| values[..whole].iter().skip(lane).step_by(4).sum());
    values[whole..].iter().for_each(|value| parts[0] += value);
    parts.iter().sum()
}
