//! Converts an operator's examples to other element types: all operands of one type become operands of another, where
//! `infer` accepts them. So every example shows for which types a kernel exists, and tests the kernel. The type of
//! scales (f8e8m0), an exponent without a sign, is excluded: it represents almost no result of arithmetic.

use std::collections::BTreeSet;

use sinter_backend::Region;
use sinter_base::{DataType, Tensor, TensorType, Value, ValueType};
use sinter_ops::Example;

use crate::kernels::region_of;

/// Floats of examples are about 1; integers made of them should not all be 0.
const SCALE: f64 = 8.0;

/// A problem at the types of these values.
pub struct Problem {
    /// The operands.
    pub values: Vec<Option<Value>>,
    /// All sizes concrete; operands but the first are weights, so that kernels that pack weights run as well.
    pub region: Region,
}

impl Problem {
    fn new(example: &Example, values: Vec<Option<Value>>) -> Option<Self> {
        let region = region_of(&example.op, &values).ok()?;
        let region = region.with_constants((1..values.len()).collect());
        Some(Self { values, region })
    }

    /// Element type of the first operand, of the result where there is none.
    pub fn data_type(&self) -> Option<DataType> {
        let body = self.region.body();
        body.inputs().iter().chain(body.outputs()).next().map(|id| body.ty(*id).data_type())
    }
}

/// The example as it is.
pub fn problem(example: &Example, seed: u64) -> Vec<Problem> {
    Problem::new(example, example.values(seed)).into_iter().collect()
}

/// The example as it is, and at every other type.
pub fn problems(example: &Example, seed: u64) -> Vec<Problem> {
    let values = example.values(seed);
    let present: BTreeSet<DataType> = values.iter().flatten().map(|value| value.value_type().data_type()).collect();
    let mut problems = Vec::new();
    for &from in &present {
        for &to in DataType::ALL.iter().filter(|to| **to != DataType::F8E8M0 && **to != from) {
            problems.extend(converted_values(&values, from, to).and_then(|values| Problem::new(example, values)));
        }
    }
    problems.extend(Problem::new(example, values));
    problems
}

/// Operands of which those of one type become operands of another; `None` where they cannot.
pub fn converted_values(values: &[Option<Value>], from: DataType, to: DataType) -> Option<Vec<Option<Value>>> {
    let changed = values.iter().map(|value| match value {
        Some(value) if value.value_type().data_type() == from => converted(value, to).map(Some),
        other => Some(other.clone()),
    });
    changed.collect()
}

/// A value with all its elements converted; `None` where they cannot be.
fn converted(value: &Value, to: DataType) -> Option<Value> {
    Some(match value {
        Value::Tensor(tensor) => Value::Tensor(converted_tensor(tensor, to)?),
        Value::Sequence { element, items } => Value::Sequence {
            element: converted_type(element, to),
            items: items.iter().map(|item| converted(item, to)).collect::<Option<_>>()?,
        },
        Value::Optional { element, item } => {
            let item = match item {
                Some(item) => Some(Box::new(converted(item, to)?)),
                None => None,
            };
            Value::Optional { element: converted_type(element, to), item }
        }
    })
}

fn converted_type(ty: &ValueType, to: DataType) -> ValueType {
    match ty {
        ValueType::Tensor(tensor) => TensorType::new(to, tensor.shape.clone()).into(),
        ValueType::Sequence(element) => ValueType::Sequence(Box::new(converted_type(element, to))),
        ValueType::Optional(element) => ValueType::Optional(Box::new(converted_type(element, to))),
    }
}

fn converted_tensor(tensor: &Tensor, to: DataType) -> Option<Tensor> {
    let (from, floats) = (tensor.data_type(), tensor.to_floats());
    match (from, to) {
        (DataType::String, _) => return None,
        (_, DataType::String) => {
            return Tensor::from_strings(tensor.sizes(), floats.iter().map(f64::to_string).collect()).ok();
        }
        _ => {}
    }
    let scaled = |v: f64| match (from.is_float(), to.is_float(), to.is_unsigned_integer()) {
        (true, false, false) => (v * SCALE).round(),
        (true, false, true) => (v * SCALE).round().abs(),
        _ => v,
    };
    let floats: Vec<f64> = floats.into_iter().map(scaled).collect();
    let other = Tensor::from_floats(to, tensor.sizes(), &floats).ok()?;
    // Indices, axes and sizes must survive.
    let survives = from.is_float() || other.to_ints() == tensor.to_ints();
    survives.then_some(other)
}

#[cfg(test)]
mod tests {
    use sinter_ops::catalog;

    use super::*;

    #[test]
    fn products_take_numbers_and_lists_take_everything() {
        let info = catalog::by_name("MatMul").unwrap();
        let types: Vec<_> = info.examples().iter().flat_map(|e| problems(e, 1)).filter_map(|p| p.data_type()).collect();
        for expected in [DataType::F32, DataType::F64, DataType::F16, DataType::Bf16, DataType::I32] {
            assert!(types.contains(&expected), "{expected}");
        }
        assert!(!types.contains(&DataType::String));
        let info = catalog::by_name("SequenceErase").unwrap();
        let example = info.examples().remove(0);
        let types: Vec<_> = problems(&example, 1).iter().filter_map(Problem::data_type).collect();
        assert!(types.contains(&DataType::String) && types.contains(&DataType::U4), "{types:?}");
    }

    #[test]
    fn integers_survive_or_there_is_no_problem() {
        let tensor = Tensor::of_i64(&[3, -4, 300]);
        assert_eq!(converted_tensor(&tensor, DataType::I16).unwrap().to_ints(), [3, -4, 300]);
        assert!(converted_tensor(&tensor, DataType::I8).is_none());
        assert!(converted_tensor(&tensor, DataType::U32).is_none());
        let tensor = Tensor::from_vec(&[2], vec![-0.5f32, 0.25]).unwrap();
        assert_eq!(converted_tensor(&tensor, DataType::U8).unwrap().to_ints(), [4, 2]);
    }
}
