//! Variants of a test case that exercise other code: all input dimensions dynamic; embedded between random
//! pointwise, concat and transpose neighbours, so that views, layouts and fusion are exercised.

use std::collections::{HashMap, HashSet};

use sinter_base::shape::{ravel, strides, unravel};
use sinter_base::{DataType, Tensor, Value};
use sinter_import_onnx::proto::tensor_shape_proto::dimension::Value as DimValue;
use sinter_import_onnx::proto::type_proto::Value as TypeValue;
use sinter_import_onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto,
};
use sinter_import_onnx::{ImportOptions, import_model};
use sinter_ir::Network;

use crate::onnx_cases::Case;
use sinter_testkit::Random;

/// The version of the added nodes where a model names none.
const DEFAULT_OPSET: i64 = 13;

/// ONNX's number of an attribute type.
const INT: i32 = 2;
const INTS: i32 = 7;

/// A variant, ready to be built and run.
pub struct Variant {
    /// The network.
    pub network: Network,
    /// Inputs of every data set.
    pub inputs: Vec<HashMap<String, Value>>,
}

fn import(model: &ModelProto) -> Result<Network, String> {
    import_model(model, None, &ImportOptions::default()).map_err(|e| e.to_string())
}

/// Removes the declared shapes of results, which are no longer valid.
fn forget_shapes(graph: &mut GraphProto) {
    graph.value_info.clear();
    for output in &mut graph.output {
        if let Some(TypeValue::TensorType(ty)) = output.r#type.as_mut().and_then(|t| t.value.as_mut()) {
            ty.shape = None;
        }
    }
}

/// Does the case take or give floats?
pub fn is_float_case(case: &Case) -> bool {
    let network = &case.network;
    let values = network.inputs.iter().map(|i| i.value).chain(network.outputs.iter().map(|o| o.value));
    values.into_iter().any(|id| network.body.ty(id).as_tensor().is_some_and(|t| t.data_type.is_float()))
}

/// Every dimension of every tensor input becomes a symbol of its own.
///
/// # Errors
/// Why the case has no such variant.
pub fn symbolic(case: &Case) -> Result<Variant, String> {
    let mut model = case.model.clone();
    let Some(graph) = &mut model.graph else { return Err("no graph".to_owned()) };
    let weights: HashSet<String> = graph.initializer.iter().filter_map(|w| w.name.clone()).collect();
    let mut symbols = 0;
    for input in graph.input.iter_mut().filter(|i| !weights.contains(i.name())) {
        let name = input.name().to_owned();
        let Some(TypeValue::TensorType(ty)) = input.r#type.as_mut().and_then(|t| t.value.as_mut()) else { continue };
        for (axis, dim) in ty.shape.iter_mut().flat_map(|s| &mut s.dim).enumerate() {
            dim.value = Some(DimValue::DimParam(format!("{name}.{axis}")));
            symbols += 1;
        }
    }
    if symbols == 0 {
        return Err("no input has a dimension".to_owned());
    }
    forget_shapes(graph);
    let network = import(&model).map_err(|e| format!("not importable without sizes: {e}"))?;
    Ok(Variant { network, inputs: case.sets.iter().map(|set| set.inputs.clone()).collect() })
}

fn node(operator: &str, inputs: &[&str], output: &str, attribute: Option<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: Some(operator.to_owned()),
        name: Some(format!("neighbour {output}")),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute: attribute.into_iter().collect(),
        ..NodeProto::default()
    }
}

fn permutation(order: &[usize]) -> AttributeProto {
    AttributeProto {
        name: Some("perm".to_owned()),
        r#type: Some(INTS),
        ints: order.iter().map(|&axis| axis as i64).collect(),
        ..AttributeProto::default()
    }
}

fn axis_attribute(axis: usize) -> AttributeProto {
    AttributeProto {
        name: Some("axis".to_owned()),
        r#type: Some(INT),
        i: Some(axis as i64),
        ..AttributeProto::default()
    }
}

/// A tensor whose transposition by `order` is `tensor`.
fn untransposed(tensor: &Tensor, order: &[usize]) -> Result<Tensor, String> {
    let mut sizes = vec![0; order.len()];
    for (position, &axis) in order.iter().enumerate() {
        sizes[axis] = tensor.sizes()[position];
    }
    let steps = strides(tensor.sizes());
    let source = |flat: usize| {
        let index = unravel(flat, &sizes);
        let there: Vec<usize> = order.iter().map(|&axis| index[axis]).collect();
        Some(ravel(&there, &steps))
    };
    tensor.rearranged(&sizes, source).map_err(|e| e.to_string())
}

/// The parts of a tensor before and behind a position of an axis.
fn cut(tensor: &Tensor, axis: usize, at: usize) -> Result<[Tensor; 2], String> {
    let steps = strides(tensor.sizes());
    let part = |from: usize, to: usize| {
        let mut sizes = tensor.sizes().to_vec();
        sizes[axis] = to - from;
        let source = |flat: usize| Some(ravel(&unravel(flat, &sizes), &steps) + from * steps[axis]);
        tensor.rearranged(&sizes, source).map_err(|e| e.to_string())
    };
    Ok([part(0, at)?, part(at, tensor.sizes()[axis])?])
}

fn negated(tensor: &Tensor) -> Result<Tensor, String> {
    let values: Vec<f64> = tensor.to_floats().into_iter().map(|v| -v).collect();
    Tensor::from_floats(tensor.data_type(), tensor.sizes(), &values).map_err(|e| e.to_string())
}

/// Types that every added operator takes in every version.
fn is_plain_float(data_type: DataType) -> bool {
    matches!(data_type, DataType::F16 | DataType::F32 | DataType::F64)
}

/// Adds neighbours before float inputs and behind float outputs. The case itself gets the same inputs as before, which
/// keeps it inside of its domain; the reference executor computes the expected values.
///
/// # Errors
/// Why the case has no such variant.
pub fn embedded(case: &Case, seed: u64) -> Result<Variant, String> {
    let mut random = Random::of(&case.name, seed);
    let mut model = case.model.clone();
    if !model.opset_import.iter().any(|o| o.domain().is_empty() || o.domain() == "ai.onnx") {
        model.opset_import.push(OperatorSetIdProto { domain: None, version: Some(DEFAULT_OPSET) });
    }
    let Some(graph) = &mut model.graph else { return Err("no graph".to_owned()) };
    let mut sets: Vec<HashMap<String, Value>> = case.sets.iter().map(|set| set.inputs.clone()).collect();
    let added = before(graph, &mut sets, &mut random)? + behind(graph, case, &mut random);
    if added == 0 {
        return Err("no float input or output that takes neighbours".to_owned());
    }
    forget_shapes(graph);
    let network = import(&model)?;
    Ok(Variant { network, inputs: sets })
}

fn before(graph: &mut GraphProto, sets: &mut [HashMap<String, Value>], random: &mut Random) -> Result<usize, String> {
    let weights: HashSet<String> = graph.initializer.iter().filter_map(|w| w.name.clone()).collect();
    let mut added = Vec::new();
    let mut inputs: Vec<ValueInfoProto> = Vec::new();
    for input in std::mem::take(&mut graph.input) {
        let name = input.name().to_owned();
        let given: Option<Vec<Tensor>> =
            sets.iter().map(|set| set.get(&name).and_then(Value::as_tensor).cloned()).collect();
        let fits = |t: &Tensor| is_plain_float(t.data_type()) && t.rank() > 0 && t.count() > 0;
        let given = given.filter(|tensors| !weights.contains(&name) && tensors.iter().all(fits));
        let Some(mut given) = given else {
            inputs.push(input);
            continue;
        };
        let rank = given[0].rank();
        // From the case outwards: each neighbour's result is what the one before it takes.
        let mut output = name.clone();
        let mut nodes = Vec::new();
        for round in 0..1 + random.below(2) {
            let source = format!("{name}~{round}");
            if random.below(2) == 0 {
                nodes.push(node("Neg", &[&source], &output, None));
                given = given.iter().map(negated).collect::<Result<_, _>>()?;
            } else {
                let order = random.order(rank);
                nodes.push(node("Transpose", &[&source], &output, Some(permutation(&order))));
                given = given.iter().map(|t| untransposed(t, &order)).collect::<Result<_, _>>()?;
            }
            output = source;
        }
        let axis = random.below(rank);
        let smallest = given.iter().map(|t| t.sizes()[axis]).min().unwrap_or(0);
        let mut parts = vec![(output.clone(), given.clone())];
        if smallest > 1 {
            let at = 1 + random.below(smallest - 1);
            let halves = given.iter().map(|t| cut(t, axis, at)).collect::<Result<Vec<_>, _>>()?;
            let names = [format!("{name}~left"), format!("{name}~right")];
            nodes.push(node("Concat", &[&names[0], &names[1]], &output, Some(axis_attribute(axis))));
            let (left, right) = halves.into_iter().map(|[l, r]| (l, r)).unzip();
            parts = names.into_iter().zip([left, right]).collect();
        }
        for set in sets.iter_mut() {
            set.remove(&name);
        }
        for (part, tensors) in parts {
            let mut info = input.clone();
            info.name = Some(part.clone());
            if let Some(TypeValue::TensorType(ty)) = info.r#type.as_mut().and_then(|t| t.value.as_mut()) {
                let mut dim = ty.shape.iter().flat_map(|s| &s.dim).next().cloned().unwrap_or_default();
                let sizes = tensors[0].sizes();
                let shape = ty.shape.get_or_insert_default();
                shape.dim.clear();
                for &size in sizes {
                    dim.value = Some(DimValue::DimValue(size as i64));
                    shape.dim.push(dim.clone());
                }
            }
            inputs.push(info);
            for (set, tensor) in sets.iter_mut().zip(tensors) {
                set.insert(part.clone(), tensor.into());
            }
        }
        nodes.reverse();
        added.extend(nodes);
    }
    graph.input = inputs;
    let count = added.len();
    graph.node.splice(0..0, added);
    Ok(count)
}

fn behind(graph: &mut GraphProto, case: &Case, random: &mut Random) -> usize {
    let mut count = 0;
    for (output, own) in graph.output.iter_mut().zip(&case.network.outputs) {
        let Some(ty) = case.network.body.ty(own.value).as_tensor() else { continue };
        let Some(rank) = ty.shape.rank().filter(|rank| *rank > 0 && is_plain_float(ty.data_type)) else { continue };
        let mut value = output.name().to_owned();
        for round in 0..1 + random.below(3) {
            let result = format!("{}~{round}", output.name());
            let axis = random.below(rank);
            graph.node.push(match random.below(5) {
                0 => node("Neg", &[&value], &result, None),
                1 => node("Abs", &[&value], &result, None),
                2 => node("Relu", &[&value], &result, None),
                3 => node("Transpose", &[&value], &result, Some(permutation(&random.order(rank)))),
                _ => node("Concat", &[&value, &value], &result, Some(axis_attribute(axis))),
            });
            value = result;
            count += 1;
        }
        output.name = Some(value);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_turned_back() {
        let x = Tensor::from_vec(&[2, 3], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let y = untransposed(&x, &[1, 0]).unwrap();
        assert_eq!((y.sizes(), y.to_floats()), (&[3, 2][..], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        let [a, b] = cut(&x, 1, 1).unwrap();
        assert_eq!((a.to_floats(), b.to_floats()), (vec![1.0, 4.0], vec![2.0, 3.0, 5.0, 6.0]));
    }
}
