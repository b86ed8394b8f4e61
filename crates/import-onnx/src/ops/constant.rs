//! Constant-1..25.

use sinter_base::Tensor;

use crate::context::{Imported, NodeContext};

/// Constant: exactly one attribute holds the value.
pub fn constant(cx: &mut NodeContext<'_, '_>) -> Imported {
    for name in ["value", "sparse_value"] {
        if let Some(tensor) = cx.tensor(name)? {
            return Ok(vec![cx.constant(tensor)]);
        }
    }
    let to_f32 = |values: Vec<f64>| -> (Vec<usize>, Vec<f64>) { (vec![values.len()], values) };
    let tensor = if let Some(value) = cx.optional_int("value_int") {
        Tensor::from_vec(&[], vec![value])
    } else if let Some(values) = cx.ints("value_ints") {
        Tensor::from_vec(&[values.len()], values)
    } else if let Some(value) = cx.optional_float("value_float") {
        Tensor::from_floats(sinter_base::DataType::F32, &[], &[value])
    } else if let Some((sizes, values)) = cx.floats("value_floats").map(to_f32) {
        Tensor::from_floats(sinter_base::DataType::F32, &sizes, &values)
    } else if let Some(value) = cx.optional_text("value_string") {
        Tensor::from_strings(&[], vec![value])
    } else if let Some(values) = cx.texts("value_strings") {
        Tensor::from_strings(&[values.len()], values)
    } else {
        return Err(cx.problem("none of its value attributes is given"));
    };
    match tensor {
        Ok(tensor) => Ok(vec![cx.constant(tensor)]),
        Err(error) => Err(cx.problem(error.to_string())),
    }
}
