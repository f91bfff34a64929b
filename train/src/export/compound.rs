//! Layers that need several ONNX operators.

use segcal_models::graph::{Layer, Node};

use super::onnx::Attribute;
use super::writer::Writer;

impl Writer {
    /// Scale and shift of a norm with these parameters, one number per channel; without parameters, 1 and 0.
    fn affine(&mut self, node: &Node, channels: usize, learnt: [&Option<String>; 2]) -> [String; 2] {
        let [weight, bias] = learnt;
        let mut of = |learnt: &Option<String>, kind: &str, otherwise: f32| match learnt {
            Some(name) => self.own(name),
            None => self.constant(&format!("{}.{kind}", node.name), &[channels], vec![otherwise; channels]),
        };
        [of(weight, "one", 1.0), of(bias, "zero", 0.0)]
    }

    /// Adds a norm.
    pub(super) fn norm(&mut self, node: &Node, x: String, output: &str) {
        let epsilon = |epsilon: &f64| vec![Attribute::float("epsilon", *epsilon)];
        match &node.layer {
            Layer::GroupNorm { weight, bias, epsilon: small, channels, groups } if channels == groups => {
                let [weight, bias] = self.affine(node, *channels, [weight, bias]);
                self.push(&node.name, "InstanceNormalization", &[x, weight, bias], output, epsilon(small));
            }
            Layer::BatchNorm { weight, bias, mean, variance, epsilon: small, channels } => {
                let [weight, bias] = self.affine(node, *channels, [weight, bias]);
                let inputs = [x, weight, bias, self.own(mean), self.own(variance)];
                self.push(&node.name, "BatchNormalization", &inputs, output, epsilon(small));
            }
            Layer::LayerNorm { weight, bias, epsilon: small, channels } => {
                let [weight, bias] = self.affine(node, *channels, [weight, bias]);
                // Transposes to channels last and back; tokens are the pixels of a plane.
                let turned = self.transpose(&node.name, x, &format!("{output}_last"), [0, 2, 3, 1]);
                let attributes = vec![Attribute::float("epsilon", *small), Attribute::int("axis", 3)];
                let inputs = [turned, weight, bias];
                let y = self.push(&node.name, "LayerNormalization", &inputs, &format!("{output}_normal"), attributes);
                self.transpose(&format!("{}.back", node.name), y, output, [0, 3, 1, 2]);
            }
            Layer::GroupNorm { weight, bias, epsilon: small, channels, groups } => {
                let y = self.grouped(node, x, output, *groups, *small);
                let [scale, shift] = [(weight, "scale", 1.0), (bias, "shift", 0.0)].map(|(learnt, kind, otherwise)| {
                    let numbers = learnt.as_ref().map(|name| self.parameter(name).1);
                    let numbers = numbers.unwrap_or_else(|| vec![otherwise; *channels]);
                    let dims = self.per_channel(*channels);
                    self.constant(&format!("{}.{kind}", node.name), &dims, numbers)
                });
                let z = self.push(&format!("{}.mul", node.name), "Mul", &[y, scale], &format!("{output}_mul"), vec![]);
                self.push(&format!("{}.add", node.name), "Add", &[z, shift], output, vec![]);
            }
            other => unreachable!("{other:?} is not a norm"),
        }
    }

    /// An instance norm over groups of channels, without scale and shift.
    fn grouped(&mut self, node: &Node, x: String, output: &str, groups: usize, epsilon: f64) -> String {
        let name = &node.name;
        let shape =
            self.push(&format!("{name}.shape"), "Shape", std::slice::from_ref(&x), &format!("{output}_shape"), vec![]);
        let split = self.whole(&format!("{name}.groups"), &[0, groups as i64, -1]);
        let split = self.push(&format!("{name}.split"), "Reshape", &[x, split], &format!("{output}_split"), vec![]);
        let one = self.constant(&format!("{name}.one"), &[groups], vec![1.0; groups]);
        let zero = self.constant(&format!("{name}.zero"), &[groups], vec![0.0; groups]);
        let attributes = vec![Attribute::float("epsilon", epsilon)];
        let y = self.push(name, "InstanceNormalization", &[split, one, zero], &format!("{output}_group"), attributes);
        self.push(&format!("{name}.join"), "Reshape", &[y, shape], &format!("{output}_joined"), vec![])
    }

    fn transpose(&mut self, name: &str, x: String, output: &str, order: [usize; 4]) -> String {
        self.push(&format!("{name}.transpose"), "Transpose", &[x], output, vec![Attribute::ints("perm", order)])
    }

    /// Softmax attention over the last axis of keys.
    pub(super) fn attention(&mut self, node: &Node, inputs: &[String], output: &str) {
        let Layer::Attention { heads, channels, grid } = &node.layer else { unreachable!("an attention") };
        let (name, width) = (&node.name, channels / heads);
        let split = self.whole(&format!("{name}.split"), &[0, *heads as i64, width as i64, -1]);
        let [query, key, value] = [(0, "query"), (1, "key"), (2, "value")].map(|(input, part)| {
            let inputs = [inputs[input].clone(), split.clone()];
            self.push(&format!("{name}.{part}.split"), "Reshape", &inputs, &format!("{output}_{part}"), vec![])
        });
        let key = self.transpose(&format!("{name}.key"), key, &format!("{output}_rows"), [0, 1, 3, 2]);
        let scale = self.constant(&format!("{name}.scale"), &[1], vec![(width as f32).sqrt().recip()]);
        let query = self.push(&format!("{name}.scaled"), "Mul", &[query, scale], &format!("{output}_scaled"), vec![]);
        let scores = self.push(&format!("{name}.scores"), "MatMul", &[key, query], &format!("{output}_scores"), vec![]);
        let over_keys = vec![Attribute::int("axis", 2)];
        let shares =
            self.push(&format!("{name}.softmax"), "Softmax", &[scores], &format!("{output}_shares"), over_keys);
        let mixed = self.push(&format!("{name}.mixed"), "MatMul", &[value, shares], &format!("{output}_mixed"), vec![]);
        let join = [0, *channels as i64, grid[0] as i64, grid[1] as i64];
        let join = self.whole(&format!("{name}.join"), &join);
        self.push(name, "Reshape", &[mixed, join], output, vec![]);
    }

    /// Adds a learnt table, transposed from one row per token to one plane per channel.
    pub(super) fn positions(&mut self, node: &Node, x: String, output: &str) {
        let Layer::Positions { table, grid } = &node.layer else { unreachable!("a table of positions") };
        let (dims, rows) = self.parameter(table);
        let (tokens, channels) = (dims[1], dims[2]);
        let planes = (0..tokens * channels).map(|i| rows[i % tokens * channels + i / tokens]).collect();
        let table = self.constant(table, &[1, channels, grid[0], grid[1]], planes);
        self.push(&node.name, "Add", &[x, table], output, vec![]);
    }

    /// The weight of a convolution with the extents that ONNX expects, standardised if the layer requires it.
    pub(super) fn conv_weight(&mut self, weight: &str, kernel: [usize; 3], standardised: Option<f64>) -> String {
        let (dims, mut numbers) = self.parameter(weight);
        let dims = [&dims[..2], &self.spatial(kernel)[..]].concat();
        if let Some(epsilon) = standardised {
            for row in numbers.chunks_mut(dims[1..].iter().product()) {
                standardise(row, epsilon);
            }
        }
        self.constant(weight, &dims, numbers)
    }
}

/// `(w - mean) / sqrt(variance + epsilon)`, in double precision.
fn standardise(row: &mut [f32], epsilon: f64) {
    let count = row.len() as f64;
    let mean = row.iter().map(|&w| f64::from(w)).sum::<f64>() / count;
    let variance = row.iter().map(|&w| (f64::from(w) - mean).powi(2)).sum::<f64>() / count;
    row.iter_mut().for_each(|w| *w = ((f64::from(*w) - mean) / (variance + epsilon).sqrt()) as f32);
}
