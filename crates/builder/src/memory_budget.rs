//! The memory budget: the build knows its memory needs from declared sizes before it allocates.
//!
//! A small file can declare tensors of any size; without a limit such a file could exhaust the machine's memory.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_base::view::element_bytes;
use sinter_base::{Dim, TensorType, Value, ValueType};
use sinter_interp::inputs::sizes_of;
use sinter_ir::{Network, WeightExpr};
use sinter_ops::{InferContext, Operands, infer};

use crate::sizes::SizeHints;

/// Default size of a dimension that is neither static nor bounded.
const FREE_SIZE: i64 = 1;

/// A build that needs more memory than allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} needs {needed} bytes (weights {weights}, values alive at once {values}); allowed are {allowed}: give \
     --max-memory to allow more"
)]
pub struct MemoryError {
    /// The stage of the build.
    pub what: &'static str,
    /// Bytes of weights and values.
    pub needed: u128,
    /// Bytes of weights.
    pub weights: u128,
    /// Largest sum of values that are live at once.
    pub values: u128,
    /// The limit.
    pub allowed: u64,
}

fn within(what: &'static str, weights: u128, values: u128, allowed: u64) -> Result<(), MemoryError> {
    let needed = weights.saturating_add(values);
    if needed <= u128::from(allowed) { Ok(()) } else { Err(MemoryError { what, needed, weights, values, allowed }) }
}

/// Checks the declared sizes of a network against a limit. Dynamic dimensions count with their maximum where it is
/// known, else as 1; the engine checks the actual sizes again.
///
/// # Errors
/// The sums, when they are larger than the limit.
pub fn check(network: &Network, sizes: &SizeHints, allowed: u64) -> Result<(), MemoryError> {
    let size = |name: &str| sizes.max(name).unwrap_or(FREE_SIZE);
    within("the model", weights_of(network), peak_of_values(network, &size), allowed)
}

/// Checks the memory that the reference executor needs for these inputs.
///
/// # Errors
/// The sums, when they are larger than the limit.
pub(crate) fn check_reference(
    network: &Network,
    inputs: &HashMap<String, Value>,
    allowed: u64,
) -> Result<(), MemoryError> {
    let sizes = sizes_of(network, inputs);
    let size = |name: &str| sizes.get(name).copied().unwrap_or(FREE_SIZE);
    // The reference executor computes in float64 and keeps its results beside those of the engine.
    let values = peak_of_values(network, &size).saturating_add(largest_node(network, &size));
    within("verification", weights_of(network), values, allowed)
}

/// Adds up the weights of a plan before they are computed.
pub(crate) struct WeightBudget {
    taken: u128,
    allowed: u64,
}

impl WeightBudget {
    pub(crate) fn new(allowed: u64) -> Self {
        Self { taken: 0, allowed }
    }

    /// Adds the memory that an expression and its pack need; a tensor in the model's file needs none.
    ///
    /// # Errors
    /// The sum, when it is larger than the limit.
    pub(crate) fn take(&mut self, expression: &WeightExpr, is_packed: bool) -> Result<(), MemoryError> {
        let mut inner = 0;
        let ty = computed(expression, &mut HashMap::new(), &mut inner);
        let own = ty.map_or(0, |ty| bytes_of(&ty, &|_| FREE_SIZE));
        // Intermediate results of an expression are freed; its result stays, or its pack, which is as large.
        let stays = if is_packed || matches!(expression, WeightExpr::Apply { .. }) { own } else { 0 };
        within("computing weights", self.taken.saturating_add(inner), if is_packed { own } else { 0 }, self.allowed)?;
        self.taken = self.taken.saturating_add(stays);
        Ok(())
    }
}

/// The type of an expression; adds the bytes of all its intermediate results to `bytes`.
fn computed(
    expression: &WeightExpr,
    known: &mut HashMap<*const WeightExpr, Option<ValueType>>,
    bytes: &mut u128,
) -> Option<ValueType> {
    match expression {
        WeightExpr::Source { tensor, .. } => Some(TensorType::of(tensor).into()),
        WeightExpr::Apply { op, inputs, output } => {
            let mut types = Vec::new();
            for input in inputs {
                types.push(match input {
                    None => None,
                    Some(input) => match known.get(&Arc::as_ptr(input)) {
                        Some(ty) => ty.clone(),
                        None => {
                            let ty = computed(input, known, bytes);
                            known.insert(Arc::as_ptr(input), ty.clone());
                            ty
                        }
                    },
                });
            }
            let operands: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
            let results = infer(op, &Operands::new(&operands), &mut InferContext::default()).ok()?;
            let total = results.iter().map(|ty| bytes_of(ty, &|_| FREE_SIZE)).fold(0, u128::saturating_add);
            *bytes = bytes.saturating_add(total);
            results.into_iter().nth(*output)
        }
    }
}

fn weights_of(network: &Network) -> u128 {
    network.weights.iter().map(|w| bytes_of(network.body.ty(w.value), &|_| FREE_SIZE)).fold(0, u128::saturating_add)
}

fn bytes_of(ty: &ValueType, size_of: &dyn Fn(&str) -> i64) -> u128 {
    let Some(tensor) = ty.as_tensor() else { return 0 };
    let Ok(dims) = tensor.dims() else { return 0 };
    let size = |dim: &Dim| u128::try_from(dim.evaluate(&|name| Some(size_of(name))).unwrap_or(FREE_SIZE)).unwrap_or(0);
    let width = u128::try_from(element_bytes(tensor.data_type)).unwrap_or(1);
    dims.iter().map(size).fold(width, u128::saturating_mul)
}

/// The peak of values, each of which is live from its maker to its last reader.
fn peak_of_values(network: &Network, size_of: &dyn Fn(&str) -> i64) -> u128 {
    let body = &network.body;
    let last_uses = body.last_uses();
    let inputs = network.inputs.iter().map(|i| bytes_of(body.ty(i.value), size_of));
    let mut alive = inputs.fold(0, u128::saturating_add);
    let mut peak = alive;
    let mut dying: Vec<Vec<u128>> = vec![Vec::new(); body.nodes().len()];
    for (position, node) in body.nodes().iter().enumerate() {
        for id in &node.outputs {
            let bytes = bytes_of(body.ty(*id), size_of);
            alive = alive.saturating_add(bytes);
            if let Some(end) = last_uses.get(id.index()).copied().flatten().and_then(|last| dying.get_mut(last)) {
                end.push(bytes);
            }
        }
        peak = peak.max(alive);
        alive = dying[position].iter().fold(alive, |alive, bytes| alive.saturating_sub(*bytes));
    }
    peak
}

/// Bytes of the operands and results of the largest node, in float64.
fn largest_node(network: &Network, size_of: &dyn Fn(&str) -> i64) -> u128 {
    let body = &network.body;
    let wide = |ty: &ValueType| match ty.as_tensor() {
        Some(tensor) => {
            let width = u128::try_from(element_bytes(tensor.data_type)).unwrap_or(1).max(1);
            bytes_of(ty, size_of).saturating_mul(8) / width
        }
        None => 0,
    };
    let of = |node: &sinter_ops::Node| {
        let values = node.inputs.iter().flatten().chain(&node.outputs);
        values.map(|id| wide(body.ty(*id))).fold(0, u128::saturating_add)
    };
    body.nodes().iter().map(of).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sinter_base::{DataType, Tensor};
    use sinter_ir::NetworkBuilder;
    use sinter_ops::Op;
    use sinter_ops::movement::Expand;
    use sinter_ops::pointwise::{Expr, ScalarOp};

    use super::*;
    use crate::sizes::SizeHint;

    /// x -> -x -> --x of f32: two of them are live at once, the input throughout.
    fn chain(sizes: Vec<Dim>) -> Network {
        let mut builder = NetworkBuilder::new();
        let mut value = builder.add_network_input("x", ValueType::tensor(DataType::F32, sizes), None);
        for _ in 0..2 {
            let negate = Expr::input(0, DataType::F32).unary(ScalarOp::Neg);
            let op = Expr::into_pointwise(&[negate]).unwrap();
            value = builder.add(op, &[Some(value)], &Default::default()).unwrap()[0];
        }
        builder.finish("chain", &[("y".to_owned(), value)])
    }

    #[test]
    fn the_peak_counts_values_that_are_live_at_once() {
        let network = chain(vec![Dim::symbol("N"), Dim::constant(256)]);
        let free = SizeHints::default();
        assert!(check(&network, &free, 3 * 1024).is_ok());
        assert_eq!(check(&network, &free, 3 * 1024 - 1).unwrap_err().needed, 3 * 1024);
        let hint = SizeHint { max: Some(10), ..SizeHint::default() };
        let bounded = SizeHints(BTreeMap::from([("N".to_owned(), hint)]));
        assert_eq!(check(&network, &bounded, 0).unwrap_err().needed, 30 * 1024, "the largest size counts");
        let x = Tensor::from_vec(&[5, 256], vec![0f32; 5 * 256]).unwrap();
        let inputs = HashMap::from([("x".to_owned(), Value::Tensor(x))]);
        let found = check_reference(&network, &inputs, 0).unwrap_err();
        assert_eq!((found.what, found.values), ("verification", 5 * (3 * 1024 + 2 * 2048)));
    }

    #[test]
    fn sizes_whose_product_overflows_are_too_large() {
        let huge = Dim::constant(i64::MAX);
        let network = chain(vec![huge.clone(), huge.clone(), huge]);
        assert!(check(&network, &SizeHints::default(), u64::MAX).is_err());
    }

    #[test]
    fn weights_count_before_they_are_computed() {
        let source = |tensor: Tensor| Arc::new(WeightExpr::source("w", tensor));
        let (x, sizes) = (source(Tensor::scalar(DataType::F32, 1.0)), source(Tensor::of_i64(&[1 << 20, 1 << 20])));
        let op = Op::from(Expand {});
        let huge = WeightExpr::Apply { op, inputs: vec![Some(x.clone()), Some(sizes)], output: 0 };
        let mut budget = WeightBudget::new(1 << 30);
        assert!(budget.take(&x, false).is_ok());
        assert_eq!(budget.take(&huge, false).unwrap_err().needed, 1 << 42);
        let mut budget = WeightBudget::new(5);
        assert!(budget.take(&x, true).is_ok(), "a pack of four bytes");
        assert_eq!(budget.take(&x, true).unwrap_err().needed, 8, "and another");
    }
}
