//! The bound on memory: what a network or an engine needs is known from its declared sizes before anything is allocated.
//!
//! A small file can declare tensors of any size; without a bound it would take the machine with it.

use std::collections::BTreeMap;

use sinter_base::view::element_bytes;
use sinter_base::{Dim, ValueType};
use sinter_ir::Network;
use sinter_plan::{Home, Plan};

/// Size that stands in for a dimension that nothing pins.
const FREE_SIZE: i64 = 1;

/// A network that needs more memory than allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model needs {needed} bytes (weights {weights}, values alive at once {values}); allowed are {allowed}")]
pub struct MemoryError {
    /// Bytes of weights and values.
    pub needed: u128,
    /// Bytes of weights.
    pub weights: u128,
    /// Largest sum of values that are alive at once.
    pub values: u128,
    /// The bound.
    pub allowed: u64,
}

/// Checks the declared sizes of a network against a bound. Dimensions that nothing pins count as 1; what they become is
/// checked again when the engine runs.
///
/// # Errors
/// The sums, when they are larger than the bound.
pub fn check(network: &Network, allowed: u64) -> Result<(), MemoryError> {
    let weights: u128 = network.weights.iter().map(|w| bytes_of(network.body.ty(w.value))).sum();
    let values = peak_of_values(network);
    let needed = weights + values;
    if needed > u128::from(allowed) {
        return Err(MemoryError { needed, weights, values, allowed });
    }
    Ok(())
}

/// Bytes of memory for values between steps of a plan; `None` when they depend on the sizes of inputs.
pub fn arena_bytes(plan: &Plan) -> Option<u64> {
    let mut buffers: BTreeMap<usize, u64> = BTreeMap::new();
    for value in &plan.graph.values {
        if let Home::Arena(buffer) = value.home {
            let dims = value.ty.as_tensor()?.dims().ok()?;
            if dims.iter().any(|d| d.as_constant().is_none()) {
                return None;
            }
            let bytes = u64::try_from(bytes_of(&value.ty)).ok()?;
            let room = buffers.entry(buffer.index()).or_default();
            *room = bytes.max(*room);
        }
    }
    buffers.values().try_fold(0u64, |sum, bytes| sum.checked_add(*bytes))
}

fn bytes_of(ty: &ValueType) -> u128 {
    let Some(tensor) = ty.as_tensor() else { return 0 };
    let Ok(dims) = tensor.dims() else { return 0 };
    let size = |dim: &Dim| u128::try_from(dim.evaluate(&|_| Some(FREE_SIZE)).unwrap_or(FREE_SIZE)).unwrap_or(0);
    let width = u128::try_from(element_bytes(tensor.data_type)).unwrap_or(1);
    dims.iter().map(size).fold(width, u128::saturating_mul)
}

/// Values live from the node that makes them to the last one that reads them.
fn peak_of_values(network: &Network) -> u128 {
    let body = &network.body;
    let last_uses = body.last_uses();
    let mut alive: u128 = network.inputs.iter().map(|i| bytes_of(body.ty(i.value))).sum();
    let mut peak = alive;
    let mut dying: Vec<Vec<u128>> = vec![Vec::new(); body.nodes().len()];
    for (position, node) in body.nodes().iter().enumerate() {
        for id in &node.outputs {
            let bytes = bytes_of(body.ty(*id));
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

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_base::DataType;
    use sinter_ir::NetworkBuilder;
    use sinter_ops::pointwise::{Expr, ScalarOp};

    /// x -> -x -> --x of f32: two of them are alive at once, the input throughout.
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
    fn the_peak_counts_what_lives_at_once() {
        let network = chain(vec![Dim::symbol("N"), Dim::constant(256)]);
        assert_eq!(peak_of_values(&network), 3 * 1024);
        assert!(check(&network, 3 * 1024).is_ok());
        assert_eq!(check(&network, 3 * 1024 - 1).unwrap_err().needed, 3 * 1024);
    }

    #[test]
    fn sizes_whose_product_overflows_are_too_large() {
        let huge = Dim::constant(i64::MAX);
        let network = chain(vec![huge.clone(), huge.clone(), huge]);
        assert!(check(&network, u64::MAX).is_err());
    }
}
