//! A regular part of a tensor.
//!
//! Inputs: data of any type; starts, ends: [k] i32 or i64; axes: [k], left out for the first k axes; steps: [k], left
//! out for ones. Along each listed axis of size `d` the elements `start, start + step, ..` before `end`. Negative
//! starts and ends count from the end. With a positive step both are clamped to `0..=d`; with a negative one `start` to
//! `0..=d-1` and `end` to `-1..=d-1`. A step of 0 is an error. Against a symbolic size a bound of at least 2^31 - 1
//! means "to the end": exporters write it so. Source: ONNX Slice-13.

use sinter_base::shape::{ravel, strides, unravel};
use sinter_base::{Attributes, Dim, Sizes, TensorType, Value, ValueType};

use crate::axes::{distinct_axes, int_values, list_length};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::movement::known::moved;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Slice {}

/// The part taken along one axis of concrete size.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    start: i64,
    step: i64,
    count: usize,
}

fn part(size: usize, start: i64, end: i64, step: i64) -> Result<Part, InferError> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let from_front = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let (start, end) = (from_front(start), from_front(end));
    let (start, distance) = match step {
        0 => invalid!("a slice has step 0"),
        1.. => {
            let (start, end) = (start.clamp(0, size), end.clamp(0, size));
            (start, end - start)
        }
        _ => {
            let last = (size - 1).max(0);
            let (start, end) = (start.clamp(0, last), end.clamp(-1, size - 1));
            (start, if size == 0 { 0 } else { start - end })
        }
    };
    let stride = step.unsigned_abs();
    let count = u64::try_from(distance).map_or(0, |d| d.div_ceil(stride));
    Ok(Part { start, step, count: usize::try_from(count).unwrap_or(usize::MAX) })
}

/// Bounds beyond this reach past any symbolic size.
const BEYOND: i64 = i32::MAX as i64;

/// A start or end counted from the front, when its sign is decided.
fn from_front(at: &Dim, size: &Dim) -> Option<Dim> {
    match at.as_constant() {
        Some(at) if at >= BEYOND => return Some(size.clone()),
        Some(at) if at <= -BEYOND => return Some(Dim::constant(-1)),
        _ => {}
    }
    if at.lower_bound() >= 0 {
        Some(at.clone())
    } else if at.upper_bound() < 0 {
        Some(at.add(size))
    } else {
        None
    }
}

/// Number of elements along one axis; `None` when a bound's sign or the step is unknown.
fn part_dim(size: &Dim, start: &Dim, end: &Dim, step: &Dim) -> Result<Option<Dim>, InferError> {
    let constants = [size, start, end, step].map(Dim::as_constant);
    if let [Some(size), Some(start), Some(end), Some(step)] = constants {
        let size = usize::try_from(size).unwrap_or(0);
        return Ok(Some(Dim::from(part(size, start, end, step)?.count)));
    }
    let Some(step) = step.as_constant() else { return Ok(None) };
    let (Some(start), Some(end)) = (from_front(start, size), from_front(end, size)) else { return Ok(None) };
    let (zero, last) = (Dim::constant(0), size.sub(&Dim::constant(1)));
    // The count is floored at 0 below, so that only these sides of the bounds need clamping.
    let distance = match step {
        0 => invalid!("a slice has step 0"),
        1.. => end.minimum(size).sub(&start.maximum(&zero)),
        _ => {
            let start = if start == last { start } else { start.maximum(&zero).minimum(&last) };
            start.sub(&end.maximum(&Dim::constant(-1)))
        }
    };
    let stride = Dim::constant(i64::try_from(step.unsigned_abs()).unwrap_or(i64::MAX));
    Ok(Some(distance.ceil_div(&stride).maximum(&zero)))
}

/// Flat position in the input of element `flat` of the result.
fn source(parts: &[Part], input_sizes: &[usize], result_sizes: &[usize], flat: usize) -> usize {
    let at: Sizes = unravel(flat, result_sizes)
        .iter()
        .zip(parts)
        .map(|(&i, part)| {
            let position = i64::try_from(i).unwrap_or(i64::MAX) * part.step + part.start;
            usize::try_from(position).unwrap_or(0)
        })
        .collect();
    ravel(&at, &strides(input_sizes))
}

/// One part per axis of a concrete tensor.
fn all_parts(
    sizes: &[usize],
    starts: &[i64],
    ends: &[i64],
    axes: Option<&[i64]>,
    steps: Option<&[i64]>,
) -> Result<Vec<Part>, InferError> {
    let axes = chosen_axes(axes, starts.len(), sizes.len())?;
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.is_some_and(|s| s.len() != starts.len()) {
        invalid!("a slice has {} starts, {} ends and {} axes", starts.len(), ends.len(), axes.len());
    }
    let mut parts: Vec<Part> = sizes.iter().map(|&size| Part { start: 0, step: 1, count: size }).collect();
    for (k, &axis) in axes.iter().enumerate() {
        parts[axis] = part(sizes[axis], starts[k], ends[k], steps.map_or(1, |s| s[k]))?;
    }
    Ok(parts)
}

fn chosen_axes(axes: Option<&[i64]>, count: usize, rank: usize) -> Result<Sizes, InferError> {
    match axes {
        Some(axes) => distinct_axes(axes, rank),
        None if count <= rank => Ok((0..count).collect()),
        None => invalid!("a slice of {count} axes in a tensor of {rank} dimensions"),
    }
}

impl Slice {
    /// Result dimensions, with a new dynamic dimension where a size is unknown.
    fn dims(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<Dim>, InferError> {
        let mut dims = inputs.dims(0)?.to_vec();
        let count = list_length(inputs, 1)?;
        for index in 2..5 {
            if inputs.has(index) {
                cx.require_equal(&list_length(inputs, index)?, &count, "lengths of a slice's lists")?;
            }
        }
        let known_count = count.as_constant().and_then(|c| usize::try_from(c).ok());
        let axes = match (inputs.has(3), inputs.constant_ints(3), known_count) {
            (true, Some(axes), _) => distinct_axes(&axes, dims.len())?,
            (false, _, Some(count)) => chosen_axes(None, count, dims.len())?,
            _ => {
                // Any axis may be cut, to an unknown size.
                return Ok(dims.iter().map(|_| cx.fresh("slice")).collect());
            }
        };
        let one = Dim::constant(1);
        for (k, &axis) in axes.iter().enumerate() {
            let entry = |index: usize| inputs.ints(index).and_then(|list| list.get(k));
            let step = if inputs.has(4) { entry(4) } else { Some(&one) };
            let size = match (entry(1), entry(2), step) {
                (Some(start), Some(end), Some(step)) => part_dim(&dims[axis], start, end, step)?,
                _ => None,
            };
            dims[axis] = size.unwrap_or_else(|| cx.fresh("slice"));
        }
        Ok(dims)
    }

    /// The parts of a type whose contents are known and whose bounds have no symbols.
    fn constant_parts(&self, inputs: &Operands<'_>, data: &TensorType) -> Option<(Sizes, Vec<Part>)> {
        let sizes = data.shape.sizes()?;
        let list = |index: usize| inputs.constant_ints(index);
        let (axes, steps) = (list(3), list(4));
        if (inputs.has(3) && axes.is_none()) || (inputs.has(4) && steps.is_none()) {
            return None;
        }
        let parts = all_parts(&sizes, &list(1)?, &list(2)?, axes.as_deref(), steps.as_deref()).ok()?;
        Some((sizes, parts))
    }
}

impl Operator for Slice {
    const NAME: &'static str = "Slice";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data = inputs.tensor(0)?;
        let dims = self.dims(inputs, cx)?;
        let plan = self.constant_parts(inputs, data);
        let ty = moved(data, dims, |sizes, i| plan.as_ref().map(|(own, parts)| source(parts, own, sizes, i)));
        Ok(vec![ty.into()])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[1, 2, 3, 4]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let (starts, ends) = (int_values(inputs.tensor(1)?)?, int_values(inputs.tensor(2)?)?);
        let axes = inputs.optional_tensor(3)?.map(int_values).transpose()?;
        let steps = inputs.optional_tensor(4)?.map(int_values).transpose()?;
        let parts = all_parts(x.sizes(), &starts, &ends, axes.as_deref(), steps.as_deref())?;
        let sizes: Sizes = parts.iter().map(|p| p.count).collect();
        Ok(vec![x.rearranged(&sizes, |i| Some(source(&parts, x.sizes(), &sizes, i)))?.into()])
    }

    fn cost(&self, _inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let bytes = Cost::elementwise(&Operands::new(&[]), outputs, 0).bytes;
        Cost { operations: Dim::constant(0), bytes: bytes.mul(&Dim::constant(2)) }
    }

    fn examples() -> Vec<Example> {
        let op = Slice::default();
        vec![
            Example::new("first axes", op.clone()).float(&[7, 5, 3]).ints(&[1, 0]).ints(&[6, 4]),
            Example::new("one axis", op.clone()).float(&[3, 11]).ints(&[-5]).ints(&[-1]).ints(&[1]),
            Example::new("steps", op.clone()).float(&[13, 4]).ints(&[0, 3]).ints(&[13, 0]).ints(&[0, 1]).ints(&[3, -1]),
            Example::new("beyond both ends", op.clone()).float(&[5]).ints(&[-100]).ints(&[i64::MAX]).ints(&[-1]),
            Example::new("reversed", op.clone()).float(&[2, 9]).ints(&[-1]).ints(&[i64::MIN]).ints(&[-1]).ints(&[-2]),
            Example::new("nothing left", op.clone()).float(&[4, 3]).ints(&[3]).ints(&[2]),
            Example::new("no elements", op).float(&[0, 3]).ints(&[0]).ints(&[1]).ints(&[1]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};
    use sinter_base::{DataType, KnownValue, Tensor};

    fn cut(start: i64, end: i64, step: i64) -> Vec<i64> {
        let list = |v: i64| Tensor::of_i64(&[v]);
        let x = Tensor::of_i64(&[0, 1, 2, 3, 4]);
        reference_of(&Slice {}, &[&x, &list(start), &list(end), &list(0), &list(step)]).unwrap()[0].to_i64()
    }

    #[test]
    fn parts_by_hand() {
        assert_eq!(cut(1, 4, 1), [1, 2, 3]);
        assert_eq!(cut(-2, 100, 1), [3, 4]);
        assert_eq!(cut(4, -6, -2), [4, 2, 0]);
        assert_eq!(cut(100, i64::MIN, -1), [4, 3, 2, 1, 0]);
        assert_eq!(cut(3, 3, 1), [0i64; 0]);
    }

    #[test]
    fn symbolic_sizes() {
        let n = Dim::symbol("N");
        let x = ValueType::tensor(DataType::F32, vec![n.clone()]);
        let list = |value: Dim| -> ValueType {
            TensorType::ranked(DataType::I64, vec![Dim::constant(1)]).with_value(KnownValue::Ints(vec![value])).into()
        };
        let size = |start: Dim, end: Dim| {
            let y = infer_of(&Slice {}, &[&x, &list(start), &list(end)]).unwrap();
            y[0].to_string()
        };
        assert_eq!(size(0i64.into(), i64::MAX.into()), "f32[N]");
        assert_eq!(size(0i64.into(), n.clone()), "f32[N]");
        assert_eq!(size(n.clone(), i64::MAX.into()), "f32[0]");
        assert_eq!(size(1i64.into(), i64::MAX.into()), "f32[max(0, N - 1)]");
        assert_eq!(size(0i64.into(), (-1i64).into()), "f32[max(0, N - 1)]");
        assert_eq!(size(0i64.into(), 5i64.into()), "f32[min(5, N)]");
        let open = ValueType::tensor(DataType::I64, vec![Dim::constant(1)]);
        assert_eq!(infer_of(&Slice {}, &[&x, &open, &open]).unwrap()[0].to_string(), "f32[?slice1]");
    }

    #[test]
    fn symbolic_contents_are_cut_too() {
        let entries = vec![Dim::symbol("N"), Dim::symbol("S"), Dim::constant(768)];
        let shape = TensorType::ranked(DataType::I64, vec![Dim::constant(3)]).with_value(KnownValue::Ints(entries));
        let list = |v: i64| ValueType::from(TensorType::of(&Tensor::of_i64(&[v])));
        let y = infer_of(&Slice {}, &[&shape.into(), &list(-1), &list(i64::MIN), &list(0), &list(-2)]).unwrap();
        assert_eq!(y[0].as_tensor().unwrap().ints().unwrap(), [Dim::constant(768), Dim::symbol("N")]);
    }
}
