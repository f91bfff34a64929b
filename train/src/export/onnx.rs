//! The messages of an ONNX file, as far as networks here need them: fields and numbers of `onnx.proto3`.

use prost::Message;

/// Version of the file format: that of ONNX 1.15, as operator set 20 is.
pub(super) const IR_VERSION: i64 = 9;
/// Version of the standard operators, the first with Gelu.
pub(super) const OPERATORS: i64 = 20;

#[derive(Message)]
pub(super) struct Model {
    #[prost(int64, tag = "1")]
    pub(super) ir_version: i64,
    #[prost(string, tag = "2")]
    pub(super) producer_name: String,
    #[prost(string, tag = "3")]
    pub(super) producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub(super) graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    pub(super) operators: Vec<OperatorSet>,
    #[prost(message, repeated, tag = "14")]
    pub(super) metadata: Vec<Entry>,
}

#[derive(Message)]
pub(super) struct OperatorSet {
    #[prost(int64, tag = "2")]
    pub(super) version: i64,
}

#[derive(Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Message)]
pub(super) struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub(super) nodes: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) tensors: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub(super) inputs: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub(super) outputs: Vec<ValueInfo>,
}

#[derive(Message)]
pub(super) struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub(super) inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(super) outputs: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) name: String,
    #[prost(string, tag = "4")]
    pub(super) operator: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) attributes: Vec<Attribute>,
}

/// One named setting of a node; `kind` says which field is used.
#[derive(Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(float, tag = "2")]
    pub(super) float: f32,
    #[prost(int64, tag = "3")]
    pub(super) int: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) text: Vec<u8>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub(super) ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    pub(super) kind: i32,
}

impl Attribute {
    fn new(name: &str, kind: i32) -> Self {
        Self { name: name.into(), kind, ..Self::default() }
    }

    pub(super) fn float(name: &str, float: f64) -> Self {
        Self { float: float as f32, ..Self::new(name, 1) }
    }

    pub(super) fn int(name: &str, int: usize) -> Self {
        Self { int: int as i64, ..Self::new(name, 2) }
    }

    pub(super) fn text(name: &str, text: &str) -> Self {
        Self { text: text.into(), ..Self::new(name, 3) }
    }

    pub(super) fn ints(name: &str, ints: impl IntoIterator<Item = usize>) -> Self {
        Self { ints: ints.into_iter().map(|int| int as i64).collect(), ..Self::new(name, 7) }
    }
}

/// Numbers of one type, little-endian.
#[derive(Message)]
pub(super) struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    pub(super) dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub(super) number_type: i32,
    #[prost(string, tag = "8")]
    pub(super) name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub(super) raw: Vec<u8>,
}

/// Number of the type f32.
pub(super) const F32: i32 = 1;
/// Number of the type i64.
const I64: i32 = 7;

impl TensorProto {
    pub(super) fn new(name: &str, dims: &[usize], values: impl IntoIterator<Item = f32>) -> Self {
        Self {
            dims: dims.iter().map(|&extent| extent as i64).collect(),
            number_type: F32,
            name: name.into(),
            raw: values.into_iter().flat_map(f32::to_le_bytes).collect(),
        }
    }

    /// A vector of whole numbers.
    pub(super) fn whole(name: &str, numbers: &[i64]) -> Self {
        Self {
            dims: vec![numbers.len() as i64],
            number_type: I64,
            name: name.into(),
            raw: numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        }
    }
}

#[derive(Message)]
pub(super) struct ValueInfo {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) kind: Option<TypeProto>,
}

#[derive(Message)]
pub(super) struct TypeProto {
    #[prost(message, optional, tag = "1")]
    pub(super) tensor: Option<TensorType>,
}

#[derive(Message)]
pub(super) struct TensorType {
    #[prost(int32, tag = "1")]
    pub(super) number_type: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) shape: Option<ShapeProto>,
}

#[derive(Message)]
pub(super) struct ShapeProto {
    #[prost(message, repeated, tag = "1")]
    pub(super) axes: Vec<AxisProto>,
}

/// An extent: a number, or a name for one that is not fixed.
#[derive(Message)]
pub(super) struct AxisProto {
    #[prost(int64, optional, tag = "1")]
    pub(super) extent: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub(super) name: Option<String>,
}

impl ValueInfo {
    /// An f32 tensor `[batch, channels, (depth,) height, width]`.
    pub(super) fn image(name: &str, channels: usize, space: usize) -> Self {
        let named = |name: &&str| AxisProto { extent: None, name: Some((*name).into()) };
        let spatial = &["depth", "height", "width"][3 - space..];
        let channels = AxisProto { extent: Some(channels as i64), name: None };
        let axes = [named(&"batch"), channels].into_iter().chain(spatial.iter().map(named)).collect();
        let tensor = TensorType { number_type: F32, shape: Some(ShapeProto { axes }) };
        Self { name: name.into(), kind: Some(TypeProto { tensor: Some(tensor) }) }
    }
}
