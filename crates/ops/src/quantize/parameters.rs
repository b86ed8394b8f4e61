//! Scales and zero points: their shapes, and which of them belongs to which element.

use sinter_base::quantization::Granularity;
use sinter_base::shape::{self, for_each_index};
use sinter_base::{DataType, Dim};

use crate::error::InferError;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::Operands;

/// Types that quantized values are stored in.
pub fn is_storage(data_type: DataType) -> bool {
    match data_type {
        DataType::F8E8M0 => false,
        t if t.is_float() => t.bits() <= 8,
        t => t.is_integer() && t.bits() <= 32,
    }
}

/// Checks the shapes of scale (input 1) and zero point (input 2, may be left out) against x (input 0).
///
/// # Errors
/// When they do not fit the granularity.
pub fn check_parameters(
    granularity: Granularity,
    inputs: &Operands<'_>,
    cx: &mut InferContext,
) -> Result<(), InferError> {
    let scale = inputs.dims(1)?;
    if inputs.has(2) {
        let zero_point = inputs.dims(2)?;
        if granularity != Granularity::Tensor && zero_point.len() != scale.len() {
            return Err(InferError::Rank { index: 2, expected: scale.len().to_string(), found: zero_point.len() });
        }
        let (zeros, scales) = (shape::product(zero_point), shape::product(scale));
        cx.require_equal(&zeros, &scales, "zero points and scales")?;
    }
    let exists = |axis: usize, rank: usize| -> Result<(), InferError> {
        if axis < rank { Ok(()) } else { invalid!("axis {axis} does not exist in a tensor of {rank} dimensions") }
    };
    match granularity {
        Granularity::Tensor => cx.require_equal(&shape::product(scale), &Dim::constant(1), "scales of a whole tensor"),
        Granularity::Axis { axis } => {
            let x = inputs.dims(0)?;
            exists(axis, x.len())?;
            if scale.len() != 1 {
                return Err(InferError::Rank { index: 1, expected: "1".to_owned(), found: scale.len() });
            }
            cx.require_equal(&scale[0], &x[axis], "scales and size of their axis")
        }
        Granularity::Block { axis, size } => {
            let x = inputs.dims(0)?;
            exists(axis, x.len())?;
            if size == 0 || scale.len() != x.len() {
                invalid!("blocks of {size} elements of {} dimensions with scales of {}", x.len(), scale.len());
            }
            for (position, (scales, elements)) in scale.iter().zip(x).enumerate() {
                let blocks = if position == axis { elements.ceil_div(&size.into()) } else { elements.clone() };
                cx.require_equal(scales, &blocks, "scales and blocks of an axis")?;
            }
            Ok(())
        }
    }
}

/// The flat position of every element's scale, in row-major order of the elements.
pub fn parameter_positions(granularity: Granularity, sizes: &[usize], scale: &[usize]) -> Vec<usize> {
    match granularity {
        Granularity::Tensor => vec![0; sizes.iter().product()],
        Granularity::Axis { axis } => {
            let (outer, inner) = (sizes[..axis].iter().product(), sizes[axis + 1..].iter().product());
            let channels = |_: usize| (0..sizes[axis]).flat_map(|channel| std::iter::repeat_n(channel, inner));
            (0..outer).flat_map(channels).collect()
        }
        Granularity::Block { axis, size } => {
            let strides = shape::strides(scale);
            let mut positions = Vec::new();
            for_each_index(sizes, |at| {
                let block = |(i, &v): (usize, &usize)| if i == axis { v / size } else { v } * strides[i];
                positions.push(at.iter().enumerate().map(block).sum());
            });
            positions
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_finds_its_scale() {
        let positions = |granularity, scale: &[usize]| parameter_positions(granularity, &[2, 3], scale);
        assert_eq!(positions(Granularity::Tensor, &[]), [0; 6]);
        assert_eq!(positions(Granularity::Axis { axis: 1 }, &[3]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(positions(Granularity::Block { axis: 1, size: 2 }, &[2, 2]), [0, 0, 1, 2, 2, 3]);
    }
}
