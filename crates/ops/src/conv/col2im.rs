//! Adds the columns of a matrix of image patches back into an image; overlapping patches add up.
//!
//! Inputs: columns: [N, C * block elements, L]; image sizes: [rank] i64; block sizes: [rank] i64, both of the spatial
//! axes. y: [N, C, image sizes...]. Column l holds the block at position l in row-major order of the
//! `floor((image + b + e - d (block - 1) - 1) / s) + 1` positions per axis; row (c, k) holds element k of the block of
//! channel c. What falls into the pads b, e is dropped. Elements: any numeric type. Source: ONNX Col2Im-18.

use sinter_base::shape::{self, for_each_index};
use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Effects, Operator};
use crate::window::{Axis, Padding};

/// See the module documentation. Empty lists mean 1 (strides, dilations) or 0 (padding) on every axis.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Col2Im {
    /// Distance between blocks, per spatial axis.
    pub strides: Vec<usize>,
    /// Distance between the elements of a block, per spatial axis.
    pub dilations: Vec<usize>,
    /// Pads before each spatial axis.
    pub begin: Vec<i64>,
    /// Pads after each spatial axis.
    pub end: Vec<i64>,
}

impl Col2Im {
    /// The same operator with every list spelled out for `rank` axes.
    fn explicit(&self, rank: usize) -> Result<Self, InferError> {
        fn filled<T: Clone>(list: &[T], value: T, rank: usize) -> Result<Vec<T>, InferError> {
            match list.len() {
                0 => Ok(vec![value; rank]),
                found if found == rank => Ok(list.to_vec()),
                found => invalid!("{found} entries for {rank} spatial axes"),
            }
        }
        Ok(Self {
            strides: filled(&self.strides, 1, rank)?,
            dilations: filled(&self.dilations, 1, rank)?,
            begin: filled(&self.begin, 0, rank)?,
            end: filled(&self.end, 0, rank)?,
        })
    }
}

impl Operator for Col2Im {
    const NAME: &'static str = "Col2Im";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a numeric type", |t| t.is_float() || t.is_integer())?;
        let columns = inputs.dims_of_rank(0, 3)?;
        for index in [1, 2] {
            inputs.data_type_where(index, "i64", |t| t == DataType::I64)?;
        }
        let (image_rank, block_rank) = (&inputs.dims_of_rank(1, 1)?[0], &inputs.dims_of_rank(2, 1)?[0]);
        cx.require_equal(image_rank, block_rank, "entries of image and block sizes")?;
        let Some(rank) = image_rank.as_constant().or(block_rank.as_constant()).and_then(|r| usize::try_from(r).ok())
        else {
            return self.unranked(inputs);
        };
        let own = self.explicit(rank)?;
        let block = inputs.ints(2);
        let channels = match block {
            Some(block) => {
                let elements = shape::product(block);
                cx.require_equal(&columns[1].modulo(&elements), &0i64.into(), "rows left over beside whole blocks")?;
                columns[1].floor_div(&elements)
            }
            None => cx.fresh("channels"),
        };
        let mut dims = vec![columns[0].clone(), channels];
        let Some(image) = inputs.ints(1) else {
            dims.extend((0..rank).map(|_| cx.fresh("image")));
            return Ok(vec![ValueType::tensor(data_type, dims)]);
        };
        dims.extend_from_slice(image);
        if let Some(block) = block {
            let padding = Padding::Explicit { begin: own.begin, end: own.end };
            let mut positions = Dim::constant(1);
            for index in 0..rank {
                let (stride, dilation) = (own.strides[index], own.dilations[index]);
                let axis = Axis { stride, dilation, padding: &padding, index, ceil: false };
                positions = positions.mul(&axis.output(&image[index], &block[index])?);
            }
            cx.require_equal(&positions, &columns[2], "positions of blocks and columns")?;
        }
        Ok(vec![ValueType::tensor(data_type, dims)])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let columns = inputs.tensor(0)?;
        let y_sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let rank = y_sizes.len() - 2;
        let own = self.explicit(rank)?;
        let sizes = |values: Vec<i64>| -> Result<Vec<usize>, EvalError> {
            let size = |v: &i64| usize::try_from(*v).ok().filter(|&v| v > 0);
            match values.iter().map(size).collect() {
                Some(sizes) => Ok(sizes),
                None => invalid!(eval: "block sizes {values:?} must be positive"),
            }
        };
        let block = sizes(inputs.tensor(2)?.to_i64())?;
        let padding = Padding::Explicit { begin: own.begin, end: own.end };
        let axes: Vec<Axis<'_>> = (0..rank)
            .map(|index| {
                let (stride, dilation) = (own.strides[index], own.dilations[index]);
                Axis { stride, dilation, padding: &padding, index, ceil: false }
            })
            .collect();
        let image = &y_sizes[2..];
        let mut positions = Vec::new();
        for axis in &axes {
            let count = axis.output(&image[axis.index].into(), &block[axis.index].into())?;
            positions.push(count.as_constant().and_then(|c| usize::try_from(c).ok()).unwrap_or(0));
        }
        let block_count: usize = block.iter().product();
        let position_count: usize = positions.iter().product();
        let image_count = shape::element_count(image).unwrap_or(0);
        let image_strides = shape::strides(image);
        let values = columns.to_floats();
        // Checks the size before anything is allocated for it.
        let zeros = columns.rearranged(&y_sizes, |_| None)?;
        let mut y = vec![0.0; zeros.count()];
        for plane in 0..y_sizes[0] * y_sizes[1] {
            let mut row = 0;
            for_each_index(&block, |tap| {
                let mut column = 0;
                for_each_index(&positions, |at| {
                    let target: Option<usize> = axes.iter().try_fold(plane * image_count, |flat, axis| {
                        let i = axis.index;
                        let place = axis.source(at[i], tap[i], axis.begin(image[i], block[i]), image[i])?;
                        Some(flat + place * image_strides[i])
                    });
                    if let Some(target) = target {
                        y[target] += values[(plane * block_count + row) * position_count + column];
                    }
                    column += 1;
                });
                row += 1;
            });
        }
        Ok(vec![Tensor::from_floats(columns.data_type(), &y_sizes, &y)?.into()])
    }

    fn effects(&self) -> Effects {
        Effects { asserts: true, ..Effects::NONE }
    }

    fn examples() -> Vec<Example> {
        let plain = Col2Im::default();
        vec![
            Example::new("side by side", Col2Im { strides: vec![2, 3], ..plain.clone() })
                .float(&[1, 12, 4])
                .ints(&[4, 6])
                .ints(&[2, 3]),
            Example::new("overlapping", plain.clone()).float(&[2, 4, 12]).ints(&[4, 5]).ints(&[2, 2]),
            Example::new("pads", Col2Im { begin: vec![1, 0], end: vec![0, 1], ..plain.clone() })
                .float(&[1, 9, 16])
                .ints(&[5, 5])
                .ints(&[3, 3]),
            Example::new("dilations", Col2Im { dilations: vec![1, 2], ..plain.clone() })
                .float(&[1, 8, 9])
                .ints(&[4, 5])
                .ints(&[2, 2]),
            Example::new("1-D", plain.clone()).float(&[1, 6, 5]).ints(&[7]).ints(&[3]),
            Example::new("3-D", plain.clone()).float(&[1, 8, 8]).ints(&[3, 3, 3]).ints(&[2, 2, 2]),
            Example::new("no batch", plain).float(&[0, 4, 12]).ints(&[4, 5]).ints(&[2, 2]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn overlaps_add_up() {
        let columns = Tensor::from_vec(&[1, 2, 2], vec![1f32, 2.0, 10.0, 20.0]).unwrap();
        let run = |image: i64| {
            let (image, block) = (Tensor::of_i64(&[image]), Tensor::of_i64(&[2]));
            reference_of(&Col2Im::default(), &[&columns, &image, &block])
        };
        assert_eq!(run(3).unwrap()[0].to_floats(), [1.0, 12.0, 20.0]);
        assert!(run(4).is_err());
        assert!(run(-4).is_err());
    }
}
