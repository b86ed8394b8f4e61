//! Synthetic inputs for verification and measurement when the user has none.
//!
//! Floats are standard normal. Integers lie in the range that their readers require ([`crate::roles`]), else in
//! `0..60`; masks are ones. Equal names and sizes always give equal inputs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sinter_base::shape::element_count;
use sinter_base::{DataType, Dim, Tensor, Value, ValueType};
use sinter_ir::{Input, Network};
use sinter_ops::known::known_type;
use sinter_ops::random::philox::{block, unit};
use sinter_ops::{InferContext, Operands, ValueId, infer};

use crate::roles::roles;

/// Integers are below this.
const INTEGERS: f64 = 60.0;

/// Most elements of one synthetic input.
const MAX_ELEMENTS: usize = 1 << 26;

/// Sizes for dynamic dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSizes {
    /// The first dimension that counts batches.
    pub batch: i64,
    /// The first of all other dimensions: tokens, samples, rows of a picture.
    pub other: i64,
    /// Difference between one of the others and the next; batches then differ by 1. With 0 all are equal.
    pub apart: i64,
}

impl FreeSizes {
    /// One size for all.
    pub const fn all(size: i64) -> Self {
        Self { batch: size, other: size, apart: 0 }
    }

    /// The size of a dimension by its name.
    pub fn of(self, name: &str, names: &FreeNames) -> i64 {
        let position = |list: &[String]| list.iter().position(|known| known == name);
        let number = |position: usize| i64::try_from(position).unwrap_or(0);
        match position(&names.batches) {
            Some(at) => self.batch + number(at) * self.apart.min(1),
            None => self.other + number(position(&names.others).unwrap_or(0)) * self.apart,
        }
    }
}

/// Names of dynamic dimensions, in order of appearance.
#[derive(Clone, Debug, Default)]
pub struct FreeNames {
    batches: Vec<String>,
    others: Vec<String>,
}

impl FreeNames {
    /// Of a network's inputs.
    pub fn of(network: &Network) -> Self {
        let batches = batches(network);
        let types = network.inputs.iter().map(|input| network.body.ty(input.value));
        Self::of_types(types, &|name| batches.contains(name))
    }

    /// Of these types.
    pub fn of_types<'a>(types: impl IntoIterator<Item = &'a ValueType>, is_batch: &dyn Fn(&str) -> bool) -> Self {
        let mut names = Self::default();
        for dim in types.into_iter().filter_map(|ty| ty.as_tensor()?.dims().ok()).flatten() {
            dim.visit_symbols(&mut |name| {
                let list = if is_batch(name) { &mut names.batches } else { &mut names.others };
                if !list.iter().any(|known| known == name) {
                    list.push(name.to_owned());
                }
            });
        }
        names
    }

    /// All of them, batches first.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.batches.iter().chain(&self.others).map(String::as_str)
    }
}

/// Names of the dimensions that count batches: the first axis of an input, where it is dynamic.
pub fn batches(network: &Network) -> BTreeSet<String> {
    let first = |input: &Input| {
        let ty = network.body.ty(input.value).as_tensor()?;
        ty.dims().ok()?.first()?.as_symbol().map(str::to_owned)
    };
    network.inputs.iter().filter_map(first).collect()
}

/// A value for every input of a network that has no default.
///
/// # Errors
/// The input that has no synthetic value, and why.
pub fn generate(network: &Network, free: FreeSizes) -> Result<HashMap<String, Value>, String> {
    let names = FreeNames::of(network);
    generate_at(network, &|name| free.of(name, &names))
}

/// As [`generate`], for these named sizes.
///
/// # Errors
/// The input that has no synthetic value, and why.
pub fn generate_at(network: &Network, size_of: &dyn Fn(&str) -> i64) -> Result<HashMap<String, Value>, String> {
    let mut values = HashMap::new();
    let roles = roles(network, size_of);
    for (stream, input) in (0u64..).zip(&network.inputs) {
        if input.default.is_some() {
            continue;
        }
        let ty = network.body.ty(input.value);
        let refuse = |why: &str| format!("no synthetic values exist for input '{}' ({ty}): {why}", input.name);
        let tensor = ty.as_tensor().ok_or_else(|| refuse("it is no tensor"))?;
        if tensor.data_type == DataType::String {
            return Err(refuse("it holds text"));
        }
        let dims = tensor.dims().map_err(|_| refuse("its rank is not declared"))?;
        let size = |dim: &Dim| usize::try_from(dim.evaluate(&|name| Some(size_of(name)))?).ok();
        let sizes: Option<Vec<usize>> = dims.iter().map(size).collect();
        let sizes = sizes.ok_or_else(|| refuse("its sizes are not known"))?;
        let count = element_count(&sizes).filter(|count| *count <= MAX_ELEMENTS);
        let count = count.ok_or_else(|| refuse("it is too large"))?;
        let range = roles.get(&input.value).and_then(|role| role.range());
        let elements = elements(&input.name, tensor.data_type, range, stream, count);
        let tensor = Tensor::from_floats(tensor.data_type, &sizes, &elements).map_err(|e| refuse(&e.to_string()))?;
        values.insert(input.name.clone(), tensor.into());
    }
    Ok(values)
}

/// The values of the dynamic dimensions that these inputs define.
pub fn sizes_of(network: &Network, inputs: &HashMap<String, Value>) -> BTreeMap<String, i64> {
    let mut sizes = BTreeMap::new();
    for input in &network.inputs {
        let tensor = inputs.get(&input.name).and_then(Value::as_tensor);
        let dims = network.body.ty(input.value).as_tensor().and_then(|ty| ty.dims().ok());
        for (dim, size) in dims.into_iter().flatten().zip(tensor.iter().flat_map(|tensor| tensor.sizes())) {
            if let (Some(name), Ok(size)) = (dim.as_symbol(), i64::try_from(*size)) {
                sizes.insert(name.to_owned(), size);
            }
        }
    }
    sizes
}

/// Do these inputs satisfy the network's conditions on types and sizes? Conditions on computed elements are not
/// checked.
///
/// # Errors
/// The first operator that refuses.
pub fn check(network: &Network, inputs: &HashMap<String, Value>) -> Result<(), String> {
    let body = &network.body;
    let mut types: Vec<ValueType> = (0..body.value_count()).map(|at| body.ty(ValueId::new(at)).clone()).collect();
    for input in &network.inputs {
        if let Some(value) = inputs.get(&input.name) {
            types[input.value.index()] = known_type(value);
        }
    }
    for node in body.nodes().iter().filter(|node| node.op.bodies().is_empty()) {
        let operands: Vec<Option<&ValueType>> = node.inputs.iter().map(|id| id.map(|id| &types[id.index()])).collect();
        let results = infer(&node.op, &Operands::new(&operands), &mut InferContext::default());
        let results = results.map_err(|e| format!("{}: {e}", node.op.name()))?;
        for (id, ty) in node.outputs.iter().zip(results) {
            types[id.index()] = ty;
        }
    }
    Ok(())
}

/// Elements of an input of this name and type; integers lie in the range, where there is one; `stream` tells inputs
/// apart.
pub fn elements(name: &str, data_type: DataType, range: Option<(i64, i64)>, stream: u64, count: usize) -> Vec<f64> {
    if !data_type.is_float() && (name.contains("mask") || data_type == DataType::Bool) {
        return vec![1.0; count];
    }
    let (low, high) = range.map_or((0.0, INTEGERS - 1.0), |(low, high)| (low as f64, high as f64));
    let high = data_type.integer_range().map_or(high, |(_, highest)| high.min(highest as f64));
    let mut elements = Vec::with_capacity(count + 3);
    for number in 0.. {
        if elements.len() >= count {
            break;
        }
        let words = block(0, stream, number).map(unit);
        if data_type.is_float() {
            for pair in words.chunks_exact(2) {
                // Box and Muller: the radius takes 1 - u, which is never zero.
                let (radius, angle) = ((-2.0 * (1.0 - pair[0]).ln()).sqrt(), std::f64::consts::TAU * pair[1]);
                elements.extend([radius * angle.cos(), radius * angle.sin()]);
            }
        } else {
            elements.extend(words.map(|u| low + (u * (high - low + 1.0)).floor()));
        }
    }
    elements.truncate(count);
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_apart_or_equal() {
        let symbols = |names: &[&str]| names.iter().map(|name| Dim::symbol(name)).collect::<Vec<_>>();
        let types = [["N", "H", "W"], ["M", "W", "T"]].map(|dims| ValueType::tensor(DataType::F32, symbols(&dims)));
        let names = FreeNames::of_types(&types, &|name| name == "N" || name == "M");
        assert_eq!(names.all().collect::<Vec<_>>(), ["N", "M", "H", "W", "T"]);
        let sizes = |free: FreeSizes| names.all().map(|name| free.of(name, &names)).collect::<Vec<_>>();
        assert_eq!(sizes(FreeSizes { batch: 3, other: 8, apart: 8 }), [3, 4, 8, 16, 24]);
        assert_eq!(sizes(FreeSizes { batch: 3, other: 8, apart: 0 }), [3, 3, 8, 8, 8]);
    }
}
