//! Tensors as bytes, exchanged between ranks with the same arithmetic: the exact numbers, little-endian.

use segcal_core::{Backend, Elem, Error, Result, Shape, Tensor};

/// Appends the numbers of a tensor.
///
/// # Errors
/// The device cannot be read.
pub(crate) fn put<B: Backend>(tensor: &Tensor<B>, bytes: &mut Vec<u8>) -> Result<()> {
    let numbers = tensor.to_vec()?;
    bytes.reserve(numbers.len() * size_of::<B::Elem>());
    match size_of::<B::Elem>() {
        4 => numbers.iter().for_each(|x| bytes.extend((x.f64() as f32).to_le_bytes())),
        _ => numbers.iter().for_each(|x| bytes.extend(x.f64().to_le_bytes())),
    }
    Ok(())
}

/// Takes a tensor of this shape from the front.
///
/// # Errors
/// There are too few bytes.
pub(crate) fn take<B: Backend>(backend: &B, shape: Shape, bytes: &mut &[u8]) -> Result<Tensor<B>> {
    let each = size_of::<B::Elem>();
    let Some((own, rest)) = bytes.split_at_checked(shape.len() * each) else { return Err(strange()) };
    *bytes = rest;
    let number = |bytes: &[u8]| match *bytes {
        [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => f64::NAN,
    };
    Ok(Tensor::new(backend, shape, own.chunks_exact(each).map(|bytes| B::Elem::of(number(bytes))).collect()))
}

/// Converts doubles to bytes.
pub(crate) fn bytes_of(numbers: &[f64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Converts bytes to doubles; leftover bytes are dropped.
pub(crate) fn numbers_of(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
}

/// The error when another rank sent data of an unexpected size.
pub(crate) fn strange() -> Error {
    Error::new("another rank sent data of an unexpected size: the ranks do not run the same program")
}
