//! Weights of pixels by their distance to the boundaries of the labels.

use segcal_core::{Backend, NO_DISTANCE, Shape, Tensor, axis, ops};

/// `w = most max_k (max(R - |d_k|, 0) / R)^power + least` over the foreground classes `k`, where `d_k` is the signed
/// distance to the boundary of class `k` in pixels (BWCR, Eq. 3).
///
/// `d_k` is the distance to the nearest pixel outside the class, minus the distance to the nearest pixel inside.
/// Without `exact`, it is rounded down and lowered by one where it is positive, as in the public code. Boundary pixels
/// inside then have 0 and their neighbours outside -1 (diagonal ones -2), and a class that is nowhere thicker than two
/// pixels has no boundary at all. A class that is absent, or fills the image, has no boundary in either case.
#[derive(Clone, Copy, Debug)]
pub struct Boundary {
    /// `R`, in pixels.
    pub radius: f64,
    /// Exponent.
    pub power: f64,
    /// Weight at a boundary, above `least`.
    pub most: f64,
    /// Weight far from every boundary.
    pub least: f64,
    /// Whether the distance is used without rounding.
    pub exact: bool,
}

impl Boundary {
    /// Computes the weights `[n, 1, d, h, w]` of labels `[n, 1, d, h, w]`. In 3-D, distances include the depth axis.
    pub fn weights<B: Backend>(&self, labels: &Tensor<B>, classes: usize) -> Tensor<B> {
        let shape = labels.shape();
        let one_hot = ops::one_hot(labels, classes);
        let foreground = ops::slice(&one_hot, [0, 1, 0, 0, 0], shape.with(axis::C, classes - 1));
        let signed = self.signed_distance(&foreground);
        let groups = Shape::new(shape.n(), classes - 1, 1, 1, 1);
        let thickest = ops::max(&signed, groups);
        let thin = if self.exact { f64::MIN } else { 1.0 };
        let near = ops::map(&[&signed, &thickest], |p| {
            let fall = ((self.radius - p.input(0).abs()).max(0.0) * (1.0 / self.radius)).pow(self.power);
            p.input(1).lt(thin).select(0.0, fall)
        });
        ops::map(&[&ops::max(&near, shape)], |p| p.input(0) * self.most + self.least)
    }

    /// Computes the signed distance for each class mask `[n, classes, d, h, w]` of 0 and 1.
    pub fn signed_distance<B: Backend>(&self, masks: &Tensor<B>) -> Tensor<B> {
        let others = ops::map(&[masks], |p| 1.0 - p.input(0));
        let (inside, outside) = (ops::distance(&others, [1.0; 3]), ops::distance(masks, [1.0; 3]));
        ops::map(&[&inside, &outside], |p| {
            let signed = p.input(0) - p.input(1);
            if self.exact {
                return signed;
            }
            // Without a boundary the distance is 2^100, which must not be rounded.
            let bounded = signed.max(-NO_DISTANCE).min(NO_DISTANCE).floor();
            bounded - p.constant(0.0).lt(bounded)
        })
    }
}
