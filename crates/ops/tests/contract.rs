//! Every operator's examples against its own contract: what `infer` promises, `reference` delivers, with contents known
//! or not, with sizes known or not, with ranks known or not.

use std::collections::HashMap;

use sinter_base::{Dim, Shape, Tensor, TensorType, Value, ValueType};
use sinter_ops::catalog::ALL;
use sinter_ops::{Arguments, EvalContext, Example, InferContext, Operands, ReferenceEvaluator, infer};

fn each_example(mut check: impl FnMut(&str, &Example, &[Option<Value>])) {
    for info in ALL {
        for example in info.examples() {
            let name = format!("{}, {}", info.name, example.name);
            check(&name, &example, &example.values(1));
        }
    }
}

fn results(example: &Example, values: &[Option<Value>], name: &str) -> Vec<Value> {
    let cx = EvalContext::new(&ReferenceEvaluator);
    example.op.reference(&Arguments::new(values), &cx).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn inferred(example: &Example, types: &[Option<ValueType>], name: &str) -> Vec<ValueType> {
    let types: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
    let result = infer(&example.op, &Operands::new(&types), &mut InferContext::default());
    result.unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Does the value have the promised type? Sizes are looked up by symbol; unknown symbols promise nothing.
fn must_fit(value: &Value, ty: &ValueType, sizes: &HashMap<String, i64>, name: &str) {
    let (Value::Tensor(tensor), ValueType::Tensor(ty)) = (value, ty) else { return };
    assert_eq!(tensor.data_type(), ty.data_type, "{name}: element type");
    let Ok(dims) = ty.dims() else { return };
    assert_eq!(tensor.rank(), dims.len(), "{name}: rank of {ty}");
    for (dim, &size) in dims.iter().zip(tensor.sizes()) {
        if let Some(promised) = dim.evaluate(&|symbol| sizes.get(symbol).copied()) {
            assert_eq!(promised, size as i64, "{name}: {dim} in {ty}");
        }
    }
    if let Some(known) = ty.constant() {
        let same = |a: &Tensor, b: &Tensor| a == b || a.to_floats() == b.to_floats();
        assert!(same(tensor, &known), "{name}: {known:?} was promised, {tensor:?} delivered");
    }
}

fn all_must_fit(values: &[Value], types: &[ValueType], sizes: &HashMap<String, i64>, name: &str) {
    assert_eq!(values.len(), types.len(), "{name}: number of results");
    for (value, ty) in values.iter().zip(types) {
        must_fit(value, ty, sizes, name);
    }
}

fn with_shape(ty: &ValueType, shape: impl FnOnce(&TensorType) -> Shape) -> ValueType {
    match ty {
        ValueType::Tensor(ty) => TensorType::new(ty.data_type, shape(ty)).into(),
        other => other.clone(),
    }
}

fn types_of(values: &[Option<Value>]) -> Vec<Option<ValueType>> {
    values.iter().map(|v| v.as_ref().map(Value::value_type)).collect()
}

#[test]
fn known_inputs() {
    each_example(|name, example, values| {
        let types = inferred(example, &types_of(values), name);
        all_must_fit(&results(example, values, name), &types, &HashMap::new(), name);
    });
}

#[test]
fn unknown_contents() {
    each_example(|name, example, values| {
        let types: Vec<_> =
            types_of(values).iter().map(|t| t.as_ref().map(|t| with_shape(t, |t| t.shape.clone()))).collect();
        let types = inferred(example, &types, name);
        all_must_fit(&results(example, values, name), &types, &HashMap::new(), name);
    });
}

#[test]
fn unknown_sizes() {
    each_example(|name, example, values| {
        let mut sizes = HashMap::new();
        let mut count = 0;
        let mut symbolic = |ty: &TensorType| {
            let own = ty.shape.sizes().unwrap_or_default();
            Shape::of(own.iter().map(|&size| {
                count += 1;
                sizes.insert(format!("S{count}"), size as i64);
                Dim::symbol(&format!("S{count}"))
            }))
        };
        let types: Vec<_> = types_of(values).iter().map(|t| t.as_ref().map(|t| with_shape(t, &mut symbolic))).collect();
        let types = inferred(example, &types, name);
        all_must_fit(&results(example, values, name), &types, &sizes, name);
    });
}

#[test]
fn unknown_sizes_of_known_lists() {
    each_example(|name, example, values| {
        let mut sizes = HashMap::new();
        let mut count = 0;
        // Lists of integers keep their contents: axes, pads and shapes are constant in most models.
        let mut symbolic = |ty: &ValueType| match ty {
            ValueType::Tensor(t) if t.ints().is_none() => with_shape(ty, |t| {
                let own = t.shape.sizes().unwrap_or_default();
                Shape::of(own.iter().map(|&size| {
                    count += 1;
                    sizes.insert(format!("S{count}"), size as i64);
                    Dim::symbol(&format!("S{count}"))
                }))
            }),
            other => other.clone(),
        };
        let types: Vec<_> = types_of(values).iter().map(|t| t.as_ref().map(&mut symbolic)).collect();
        let types = inferred(example, &types, name);
        all_must_fit(&results(example, values, name), &types, &sizes, name);
    });
}

#[test]
fn unknown_ranks() {
    each_example(|name, example, values| {
        let types: Vec<_> =
            types_of(values).iter().map(|t| t.as_ref().map(|t| with_shape(t, |_| Shape::Unranked))).collect();
        let types = inferred(example, &types, name);
        all_must_fit(&results(example, values, name), &types, &HashMap::new(), name);
    });
}

#[test]
fn damaged_inputs_are_errors_not_panics() {
    each_example(|_, example, values| {
        for index in 0..values.len() {
            let Some(Value::Tensor(tensor)) = &values[index] else { continue };
            let variants = [
                None,
                Some(Tensor::of_i64(&[])),
                Some(Tensor::of_i64(&[i64::MIN, i64::MAX, -1, 7])),
                Tensor::from_floats(tensor.data_type(), &[], &[3.0]).ok(),
                Tensor::from_floats(tensor.data_type(), &[2, 0, 1], &[]).ok(),
                Tensor::from_floats(tensor.data_type(), &[3], &[-2.0, 0.0, 9.0]).ok(),
                Tensor::from_strings(&[1], vec!["x".to_owned()]).ok(),
            ];
            for variant in variants {
                let mut damaged = values.to_vec();
                damaged[index] = variant.map(Value::Tensor);
                let types = types_of(&damaged);
                let types: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
                if infer(&example.op, &Operands::new(&types), &mut InferContext::default()).is_ok() {
                    let cx = EvalContext::new(&ReferenceEvaluator);
                    let _ = example.op.reference(&Arguments::new(&damaged), &cx);
                }
            }
        }
    });
}
