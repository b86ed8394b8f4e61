//! A border around a tensor, or a cut where a pad is negative.
//!
//! Inputs: data of any type; pads: [2k] i32 or i64, all begins, then all ends; value: one element of the data's type,
//! left out for zero (or an empty string); axes: [k], left out for all axes in order. Along each axis
//! `size = d + begin + end`. Negative pads cut first; what is left is then extended: with the value, by repeating the
//! edge, by reflection about the edge element (again and again where the border is wider than the tensor), or
//! periodically. An axis without elements can only be extended with the value. Source: ONNX Pad-25 (numpy.pad).

use sinter_base::shape::{ravel, strides, unravel};
use sinter_base::{Attributes, Dim, Sizes, Tensor, Value, ValueType};

use crate::axes::{distinct_axes, int_values, list_length};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// The source of the border elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Attributes)]
pub enum PadMode {
    /// One value.
    #[default]
    Constant,
    /// The mirror image, the edge element not repeated.
    Reflect,
    /// The edge element.
    Edge,
    /// The tensor again, as if it were periodic.
    Wrap,
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Pad {
    /// The source of the border elements.
    pub mode: PadMode,
}

/// One axis of concrete size.
#[derive(Clone, Copy, Debug)]
struct Border {
    size: i64,
    begin: i64,
    end: i64,
}

impl Border {
    /// Number of elements that negative pads leave; negative when they cut more than there is.
    fn left(&self) -> i64 {
        let cut = self.begin.saturating_neg().max(0).saturating_add(self.end.saturating_neg().max(0));
        self.size.saturating_sub(cut)
    }

    /// Position in the input of position `at` of the result; `None` in a border of one value.
    fn source(&self, mode: PadMode, at: i64) -> Option<i64> {
        let position = at.saturating_sub(self.begin);
        // The part of the input that negative pads leave.
        let first = self.begin.saturating_neg().max(0);
        let count = self.left();
        let relative = position - first;
        let inside = match mode {
            PadMode::Constant => return (0..self.size).contains(&position).then_some(position),
            _ if count <= 0 => return None,
            PadMode::Edge => relative.clamp(0, count - 1),
            PadMode::Wrap => relative.rem_euclid(count),
            PadMode::Reflect if count == 1 => 0,
            PadMode::Reflect => {
                let period = 2 * (count - 1);
                let phase = relative.rem_euclid(period);
                phase.min(period - phase)
            }
        };
        Some(first + inside)
    }
}

impl Pad {
    fn dims(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<Dim>, InferError> {
        let mut dims = inputs.dims(0)?.to_vec();
        let length = list_length(inputs, 1)?;
        let axes = if inputs.has(3) {
            let count = list_length(inputs, 3)?;
            cx.require_equal(&length, &count.mul(&Dim::constant(2)), "pads and twice the axes")?;
            match inputs.constant_ints(3) {
                Some(axes) => distinct_axes(&axes, dims.len())?,
                // Any axis may change its size.
                None => return Ok(dims.iter().map(|_| cx.fresh("pad")).collect()),
            }
        } else {
            cx.require_equal(&length, &Dim::from(2 * dims.len()), "pads and twice the dimensions")?;
            (0..dims.len()).collect()
        };
        for (k, &axis) in axes.iter().enumerate() {
            let entry = |at: usize| inputs.ints(1).and_then(|pads| pads.get(at));
            dims[axis] = match (entry(k), entry(k + axes.len())) {
                (Some(begin), Some(end)) => {
                    let size = dims[axis].add(begin).add(end);
                    if size.upper_bound() < 0 {
                        invalid!("axis {axis}: pads {begin} and {end} cut more than the {} elements", dims[axis]);
                    }
                    size
                }
                _ => cx.fresh("pad"),
            };
        }
        Ok(dims)
    }
}

impl Operator for Pad {
    const NAME: &'static str = "Pad";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type(0)?;
        if inputs.has(2) {
            inputs.data_type_where(2, data_type.name(), |t| t == data_type)?;
        }
        Ok(vec![ValueType::tensor(data_type, self.dims(inputs, cx)?)])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[1, 3]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let pads = int_values(inputs.tensor(1)?)?;
        let axes = match inputs.optional_tensor(3)? {
            Some(axes) => distinct_axes(&int_values(axes)?, x.rank())?,
            None => (0..x.rank()).collect(),
        };
        if pads.len() != 2 * axes.len() {
            invalid!(eval: "{} pads for {} axes", pads.len(), axes.len());
        }
        let signed = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        let mut borders: Vec<Border> =
            x.sizes().iter().map(|&size| Border { size: signed(size), begin: 0, end: 0 }).collect();
        for (k, &axis) in axes.iter().enumerate() {
            (borders[axis].begin, borders[axis].end) = (pads[k], pads[k + axes.len()]);
        }
        let mut sizes = Sizes::new();
        for (axis, border) in borders.iter().enumerate() {
            let size = border.size.checked_add(border.begin).and_then(|s| s.checked_add(border.end));
            match size.and_then(|size| usize::try_from(size).ok()) {
                Some(size) => sizes.push(size),
                None => invalid!(
                    eval: "axis {axis}: pads {} and {} around {} elements", border.begin, border.end, border.size
                ),
            }
            if self.mode != PadMode::Constant && border.left() <= 0 && sizes[axis] > 0 {
                invalid!(eval: "axis {axis} has no elements that its border could repeat");
            }
        }
        // The fill value lies behind the last element of the data.
        let filled = match inputs.optional_tensor(2)? {
            Some(value) if value.count() != 1 => {
                invalid!(eval: "the padding value has {} elements, one is needed", value.count())
            }
            Some(value) => Some(Tensor::flat_concat(&[x, value])?),
            None => None,
        };
        let (own, fill) = (strides(x.sizes()), filled.is_some().then_some(x.count()));
        let result = filled.as_ref().unwrap_or(x).rearranged(&sizes, |i| {
            let at = unravel(i, &sizes);
            let source: Option<Sizes> = at
                .iter()
                .zip(&borders)
                .map(|(&at, border)| border.source(self.mode, signed(at)).and_then(|p| usize::try_from(p).ok()))
                .collect();
            source.map(|source| ravel(&source, &own)).or(fill)
        })?;
        Ok(vec![result.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 0)
    }

    fn examples() -> Vec<Example> {
        let by = |mode| Pad { mode };
        let value = Tensor::scalar(sinter_base::DataType::F32, 0.5);
        vec![
            Example::new("zeros", Pad::default()).float(&[2, 3, 5]).ints(&[0, 1, 2, 0, 0, 3]),
            Example::new("a value", Pad::default()).float(&[3, 4]).ints(&[1, 1, 1, 1]).tensor(value.clone()),
            Example::new("one axis", Pad::default()).float(&[3, 7]).ints(&[2, 1]).tensor(value).ints(&[-1]),
            Example::new("cut and extend", Pad::default()).float(&[7, 5]).ints(&[-2, 1, 1, -3]),
            Example::new("reflect", by(PadMode::Reflect)).float(&[4, 5]).ints(&[2, 3, 1, 0]),
            Example::new("reflect twice", by(PadMode::Reflect)).float(&[3]).ints(&[5, 4]),
            Example::new("edge", by(PadMode::Edge)).float(&[3, 5]).ints(&[1, 0, 0, 2]),
            Example::new("wrap", by(PadMode::Wrap)).float(&[3, 5]).ints(&[4, 1, 0, 7]),
            Example::new("around nothing", Pad::default()).float(&[0, 2]).ints(&[1, 0, 2, 0]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};
    use sinter_base::DataType;

    fn pad(mode: PadMode, pads: &[i64]) -> Vec<i64> {
        let x = Tensor::of_i64(&[1, 2, 3]);
        reference_of(&Pad { mode }, &[&x, &Tensor::of_i64(pads)]).unwrap()[0].to_i64()
    }

    #[test]
    fn borders_by_hand() {
        assert_eq!(pad(PadMode::Constant, &[1, 2]), [0, 1, 2, 3, 0, 0]);
        assert_eq!(pad(PadMode::Reflect, &[2, 3]), [3, 2, 1, 2, 3, 2, 1, 2]);
        assert_eq!(pad(PadMode::Edge, &[2, 1]), [1, 1, 1, 2, 3, 3]);
        assert_eq!(pad(PadMode::Wrap, &[1, 4]), [3, 1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(pad(PadMode::Edge, &[-1, 1]), [2, 3, 3]);
        assert_eq!(pad(PadMode::Constant, &[-4, 2]), [0]);
    }

    #[test]
    fn impossible_borders_are_errors() {
        let x = Tensor::of_i64(&[1, 2, 3]);
        let run = |mode, pads: &[i64]| reference_of(&Pad { mode }, &[&x, &Tensor::of_i64(pads)]);
        assert!(run(PadMode::Constant, &[-4, 0]).is_err());
        assert!(run(PadMode::Edge, &[-3, 1]).is_err());
        assert!(run(PadMode::Constant, &[1]).is_err());
        assert!(run(PadMode::Constant, &[i64::MAX, 1]).is_err());
        assert!(run(PadMode::Edge, &[i64::MIN, i64::MAX]).is_err());
        assert_eq!(run(PadMode::Constant, &[i64::MIN, i64::MAX]).unwrap()[0].to_i64(), [0, 0]);
    }

    #[test]
    fn open_pads_leave_open_sizes() {
        let x = ValueType::tensor(DataType::F32, vec![Dim::symbol("N"), Dim::constant(3)]);
        let pads = ValueType::tensor(DataType::I64, vec![Dim::constant(4)]);
        assert_eq!(infer_of(&Pad::default(), &[&x, &pads]).unwrap()[0].to_string(), "f32[?pad1, ?pad2]");
    }
}
