//! Between real values and stored ones.

pub mod dequantize;
#[allow(clippy::module_inception, reason = "the operator of the family's name")]
pub mod quantize;

use sinter_backend::KernelError;
use sinter_base::quantization::Granularity;

use crate::kernel::recipe;
use crate::lines::{Lines, without};
use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[&quantize::QUANTIZE, &dequantize::DEQUANTIZE];

/// Words of `Granularity` in `parameters.cuh`.
pub(crate) const WORDS: usize = 7;

/// Which parameters belong to which elements.
///
/// # Errors
/// When there are not as many parameters as the granularity asks for.
pub(crate) fn words(granularity: Granularity, x: &[usize], scale: &[usize]) -> Result<[u64; WORDS], KernelError> {
    let (lines, block, strides, fits) = match granularity {
        Granularity::Tensor => {
            (Lines { outer: 1, length: 1, inner: 1 }, 1, [0; 3], scale.iter().product::<usize>() == 1)
        }
        Granularity::Axis { axis } => {
            (Lines::along(x, axis), 1, [0, 1, 0], x.get(axis) == Some(&scale.iter().product()))
        }
        Granularity::Block { axis, size } => {
            let lines = Lines::along(x, axis);
            let blocks = lines.length.div_ceil(size.max(1));
            let fits = size > 0 && without(x, axis) == without(scale, axis) && scale.get(axis) == Some(&blocks);
            (lines, size, [blocks * lines.inner, lines.inner, 1], fits)
        }
    };
    if !fits {
        return Err(recipe(format!("parameters {scale:?} for elements {x:?}")));
    }
    let [outer, length, inner] = lines.words();
    let [by_outer, along, by_inner] = strides.map(|stride| stride as u64);
    Ok([outer, length, inner, block as u64, by_outer, along, by_inner])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_blocks_lie_like_the_elements() {
        let block = Granularity::Block { axis: 1, size: 4 };
        assert_eq!(words(block, &[3, 10, 2], &[3, 3, 2]), Ok([3, 10, 2, 4, 6, 2, 1]));
        assert!(words(block, &[3, 10, 2], &[3, 2, 2]).is_err());
        assert_eq!(words(Granularity::Axis { axis: 0 }, &[3, 5], &[3]), Ok([1, 3, 5, 1, 0, 1, 0]));
        assert!(words(Granularity::Axis { axis: 0 }, &[3, 5], &[5]).is_err());
        assert_eq!(words(Granularity::Tensor, &[3, 5], &[]), Ok([1, 1, 1, 1, 0, 0, 0]));
    }
}
