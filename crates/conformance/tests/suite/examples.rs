//! Every operator's own examples: the types of `infer` are those of the results of `reference`, symbolically too, and
//! the text form of the attributes reads back.

use std::collections::HashMap;

use sinter_base::{Dim, Shape, TensorType, Value, ValueType};
use sinter_ops::example::ExampleInput;
use sinter_ops::{
    Arguments, EvalContext, Example, InferContext, Op, Operands, ReferenceEvaluator, catalog, infer, infer_types,
};

fn types_of(op: &Op, types: &[Option<ValueType>]) -> Result<Vec<ValueType>, String> {
    let types: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
    infer(op, &Operands::new(&types), &mut InferContext::default()).map_err(|e| e.to_string())
}

/// As a runtime infers: no operator is evaluated, and only those contents are known that an operator asks for.
fn types_at_run_time(op: &Op, types: &[Option<ValueType>]) -> Result<Vec<ValueType>, String> {
    let mut types = types.to_vec();
    for (_, ty) in types.iter_mut().enumerate().filter(|(index, _)| !op.size_inputs().contains(index)) {
        if let Some(ValueType::Tensor(tensor)) = ty {
            tensor.value = None;
        }
    }
    let types: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
    infer_types(op, &Operands::new(&types), &mut InferContext::default()).map_err(|e| e.to_string())
}

/// Sizes that a type says.
fn known_sizes(ty: &ValueType) -> Vec<Option<i64>> {
    let dims = ty.as_tensor().and_then(|tensor| tensor.dims().ok()).unwrap_or_default();
    dims.iter().map(Dim::as_constant).collect()
}

fn evaluate(example: &Example, values: &[Option<Value>]) -> Result<Vec<Value>, String> {
    let evaluator = ReferenceEvaluator;
    let cx = EvalContext::new(&evaluator);
    example.op.reference(&Arguments::new(values), &cx).map_err(|e| e.to_string())
}

/// Does a type, its symbols replaced, admit a value? Names made by inference stand for any size.
fn admits(ty: &ValueType, value: &Value, sizes: &HashMap<String, i64>) -> bool {
    match (ty, value) {
        (ValueType::Tensor(ty), Value::Tensor(tensor)) => {
            let dims_fit = match &ty.shape {
                Shape::Unranked => true,
                Shape::Ranked(dims) => {
                    dims.len() == tensor.rank()
                        && dims.iter().zip(tensor.sizes()).all(|(dim, &size)| {
                            let known = dim.evaluate(&|name| sizes.get(name).copied());
                            known.is_none_or(|known| known == size as i64)
                        })
                }
            };
            ty.data_type == tensor.data_type() && dims_fit
        }
        (ValueType::Sequence(element), Value::Sequence { items, .. }) => {
            items.iter().all(|i| admits(element, i, sizes))
        }
        (ValueType::Optional(element), Value::Optional { item, .. }) => item.iter().all(|i| admits(element, i, sizes)),
        _ => false,
    }
}

fn check_promise(
    what: &str,
    types: &[ValueType],
    results: &[Value],
    sizes: &HashMap<String, i64>,
) -> Result<(), String> {
    if types.len() != results.len() {
        return Err(format!("{what}: {} types for {} results", types.len(), results.len()));
    }
    for (ty, value) in types.iter().zip(results) {
        if !admits(ty, value, sizes) {
            return Err(format!("{what}: promised {ty}, delivered {}", value.value_type()));
        }
    }
    Ok(())
}

/// Input types with every dimension of the random inputs named, and the sizes behind the names. Sizes 0 and 1 are kept:
/// they take part in broadcasting rules.
fn symbolic_types(example: &Example, values: &[Option<Value>]) -> (Vec<Option<ValueType>>, HashMap<String, i64>) {
    let mut sizes = HashMap::new();
    let mut names: HashMap<usize, String> = HashMap::new();
    let types = example.inputs.iter().zip(values).map(|(input, value)| match (input, value) {
        (ExampleInput::Uniform { data_type, sizes: own, .. }, Some(_)) => {
            let dims = own.iter().map(|&size| {
                if size < 2 {
                    return Dim::from(size);
                }
                // Equal sizes get the same name, as a model would have it.
                let name = names.entry(size).or_insert_with(|| format!("D{size}")).clone();
                sizes.insert(name.clone(), size as i64);
                Dim::symbol(&name)
            });
            Some(ValueType::tensor(*data_type, dims.collect()))
        }
        (_, value) => value.as_ref().map(Value::value_type),
    });
    (types.collect(), sizes)
}

/// Types that say nothing about shapes.
fn unranked_types(types: &[Option<ValueType>]) -> Vec<Option<ValueType>> {
    let open = |ty: &ValueType| match ty {
        ValueType::Tensor(t) => ValueType::Tensor(TensorType::new(t.data_type, Shape::Unranked)),
        other => other.clone(),
    };
    types.iter().map(|ty| ty.as_ref().map(open)).collect()
}

fn check(example: &Example, seed: u64) -> Result<(), String> {
    let values = example.values(seed);
    let types: Vec<Option<ValueType>> = values.iter().map(|v| v.as_ref().map(Value::value_type)).collect();
    let results = evaluate(example, &values)?;
    let concrete = types_of(&example.op, &types)?;
    check_promise("concrete", &concrete, &results, &HashMap::new())?;
    // Results whose sizes depend on all elements are sized by kernels.
    if example.op.bodies().is_empty() && !matches!(example.op, Op::NonZero(_) | Op::StringSplit(_)) {
        let at_run_time = types_at_run_time(&example.op, &types)?;
        if let Some((a, b)) = concrete.iter().zip(&at_run_time).find(|(a, b)| known_sizes(a) != known_sizes(b)) {
            return Err(format!("{a} is {b} at run time: other contents decide its sizes"));
        }
    }
    let (symbolic, sizes) = symbolic_types(example, &values);
    check_promise("symbolic", &types_of(&example.op, &symbolic)?, &results, &sizes)?;
    let unranked = types_of(&example.op, &unranked_types(&types))?;
    check_promise("unranked", &unranked, &results, &HashMap::new())?;
    let tree = example.op.to_attr();
    let text = tree.to_string();
    let read = text.parse().map_err(|e| format!("{text}: {e}"))?;
    let info = catalog::by_name(example.op.name()).ok_or("not in the catalog")?;
    let bodies = example.op.bodies().into_iter().cloned().collect();
    let back = (info.from_attr)(&read).map_err(|e| format!("{text}: {e}"))?.with_bodies(bodies);
    if back != example.op {
        return Err(format!("{text} reads back as {back:?}"));
    }
    Ok(())
}

#[test]
fn every_example_keeps_its_promises() {
    let mut wrong = Vec::new();
    for info in catalog::ALL {
        let examples = info.examples();
        if examples.is_empty() {
            wrong.push(format!("{} has no examples", info.name));
        }
        for (seed, example) in (1u64..).zip(&examples) {
            if let Err(reason) = check(example, seed) {
                wrong.push(format!("{} '{}': {reason}", info.name, example.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of the operators' examples:\n{}", wrong.len(), wrong.join("\n"));
}
