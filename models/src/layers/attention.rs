//! Tokens: attention between them, and their positions.
//!
//! A token is a voxel of a map `[n, c, 1, h, w]`, so that a linear layer on tokens is a 1x1 convolution.

use segcal_core::{Backend, Border, Geometry, Interpolation, Sampling, Shape, Tensor, ops, stable};

use crate::init::{Fill, Spec};
use crate::params::Parameters;

/// Multi-head scaled dot-product attention (Vaswani et al. 2017): `softmax(q k^T / sqrt(c / heads)) v` for each head,
/// a head being `c / heads` consecutive channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Name of the layer.
    pub name: String,
    /// Number of heads.
    pub heads: usize,
    /// Channels of a token.
    pub channels: usize,
    /// Rows and columns of tokens.
    pub grid: [usize; 2],
}

impl Attention {
    /// The mixed values, in the shape of the queries.
    ///
    /// Both products are grouped convolutions with a group for each head of each sample: keys and values lie in memory
    /// as weights `[out, in]` do.
    pub fn forward<B: Backend>(&self, [q, k, v]: [&Tensor<B>; 3]) -> Tensor<B> {
        let shape = q.shape();
        let (groups, tokens, width) = (shape.n() * self.heads, shape.voxels(), shape.c() / self.heads);
        let geometry = Geometry { groups, ..Geometry::VALID };
        let rows = Shape::new(1, groups * width, 1, 1, tokens);
        let weight = Shape::new(groups * width, tokens, 1, 1, 1);
        let by_key = Shape::new(1, groups * tokens, 1, 1, tokens);
        // [group, key, query] = sum over channels of k[channel, key] q[channel, query].
        let scores = ops::conv_transpose(&q.reshape(rows), &k.reshape(weight), &geometry, by_key);
        let scale = (width as f64).sqrt().recip();
        let scaled = ops::map(&[&scores], |p| p.input(0) * scale).reshape(Shape::new(groups, tokens, 1, 1, tokens));
        let shares = stable::softmax(&scaled).reshape(by_key);
        ops::conv(&shares, &v.reshape(weight), &geometry).reshape(shape)
    }
}

/// A learnt table `<name>` of one row per token, `[1, tokens, c]`, added to the tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Positions {
    /// Name of the table.
    pub name: String,
    /// Rows and columns of tokens.
    pub grid: [usize; 2],
    /// Channels of a token.
    pub channels: usize,
}

impl Positions {
    /// The table, which begins at 0.
    pub fn specs(&self) -> Vec<Spec> {
        let tokens = self.grid[0] * self.grid[1];
        vec![Spec {
            name: self.name.clone(),
            dims: vec![1, tokens, self.channels],
            shape: Shape::new(1, 1, 1, tokens, self.channels),
            fill: Fill::Constant(0.0),
            trainable: true,
        }]
    }

    /// `x` plus the table.
    pub fn forward<B: Backend>(&self, parameters: &Parameters<B>, x: &Tensor<B>) -> Tensor<B> {
        let [rows, columns] = self.grid;
        let table = transposed(parameters.get(&self.name)).reshape(Shape::new(1, self.channels, 1, rows, columns));
        ops::map(&[x, &table], |p| p.input(0) + p.input(1))
    }
}

/// Exchanges the axes h and w.
fn transposed<B: Backend>(x: &Tensor<B>) -> Tensor<B> {
    let [_, h, w] = x.shape().spatial();
    let exchange = Sampling {
        matrix: [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
        interpolation: Interpolation::Nearest,
        border: Border::Clamp,
    };
    ops::resample(x, &exchange, [1, w, h])
}
