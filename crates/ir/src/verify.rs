//! The verifier of networks. It runs after every pass, and its errors contain the name of the pass.
//!
//! Every value is defined once and before it is used; types are those that inference gives, as far as both are decided;
//! results exist; there is one location per node; inputs, weights and outputs stand for values of the body.

use sinter_base::ValueType;
use sinter_ops::control::nested::admits;
use sinter_ops::{Body, InferContext, Node, Operands, ValueId, infer};
use smallvec::SmallVec;

use crate::network::Network;

/// An error of a network.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum VerifyError {
    /// A value is read before it is defined, or defined nowhere.
    #[error("{operator} reads {value}, which is not defined before it")]
    Undefined {
        /// The reader.
        operator: &'static str,
        /// The value.
        value: ValueId,
    },
    /// A value is defined twice.
    #[error("{value} is defined twice")]
    DefinedTwice {
        /// The value.
        value: ValueId,
    },
    /// A result of a body that is defined nowhere.
    #[error("the result {value} is not defined")]
    MissingResult {
        /// The value.
        value: ValueId,
    },
    /// A node's inputs do not suit its operator, or its result types are others than inferred.
    #[error("{operator}: {reason}")]
    Type {
        /// The operator.
        operator: &'static str,
        /// The difference.
        reason: String,
    },
    /// The lists of the network and its body disagree.
    #[error("{reason}")]
    Lists {
        /// The difference.
        reason: String,
    },
}

/// Checks a network.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(network: &Network) -> Result<(), VerifyError> {
    let body = &network.body;
    let lists = |reason: String| Err(VerifyError::Lists { reason });
    if network.locations.len() != body.nodes().len() {
        return lists(format!("{} locations for {} nodes", network.locations.len(), body.nodes().len()));
    }
    let mut named: Vec<ValueId> = network.inputs.iter().map(|i| i.value).collect();
    named.extend(network.weights.iter().map(|w| w.value));
    named.sort_unstable();
    let mut inputs = body.inputs().to_vec();
    inputs.sort_unstable();
    if named != inputs {
        return lists(format!("inputs and weights name {} values, the body has {}", named.len(), inputs.len()));
    }
    if !network.outputs.iter().map(|o| &o.value).eq(body.outputs()) {
        return lists("the outputs of the network are not those of its body".to_owned());
    }
    verify_body(body)
}

/// Checks a body and the bodies inside.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify_body(body: &Body) -> Result<(), VerifyError> {
    let mut defined = vec![false; body.value_count()];
    let define = |value: &ValueId, defined: &mut Vec<bool>| match defined.get_mut(value.index()) {
        Some(entry) if !*entry => {
            *entry = true;
            Ok(())
        }
        _ => Err(VerifyError::DefinedTwice { value: *value }),
    };
    for id in body.inputs() {
        define(id, &mut defined)?;
    }
    for node in body.nodes() {
        let operator = node.op.name();
        if let Some(value) = node.inputs.iter().flatten().find(|id| defined.get(id.index()) != Some(&true)) {
            return Err(VerifyError::Undefined { operator, value: *value });
        }
        verify_types(body, node).map_err(|reason| VerifyError::Type { operator, reason })?;
        for id in &node.outputs {
            define(id, &mut defined)?;
        }
        for inner in node.op.bodies() {
            verify_body(inner)?;
        }
    }
    match body.outputs().iter().find(|id| defined.get(id.index()) != Some(&true)) {
        Some(value) => Err(VerifyError::MissingResult { value: *value }),
        None => Ok(()),
    }
}

fn verify_types(body: &Body, node: &Node) -> Result<(), String> {
    let operands: SmallVec<[Option<&ValueType>; 4]> = node.inputs.iter().map(|i| i.map(|i| body.ty(i))).collect();
    let inferred =
        infer(&node.op, &Operands::new(&operands), &mut InferContext::default()).map_err(|e| e.to_string())?;
    if inferred.len() != node.outputs.len() {
        return Err(format!("{} results, inference gives {}", node.outputs.len(), inferred.len()));
    }
    for (id, inferred) in node.outputs.iter().zip(&inferred) {
        if !admits(body.ty(*id), inferred) {
            return Err(format!("{id} has the type {}, inference gives {inferred}", body.ty(*id)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_base::{DataType, Location};
    use sinter_ops::movement::Transpose;

    fn transposed() -> Network {
        let mut builder = crate::NetworkBuilder::new();
        let x = builder.add_network_input("x", ValueType::tensor(DataType::F32, vec![2i64.into(), 3i64.into()]), None);
        let y = builder.add(Transpose::default(), &[Some(x)], &Location::default()).unwrap()[0];
        builder.finish("n", &[("y".to_owned(), y)])
    }

    #[test]
    fn a_sound_network_passes_and_damaged_ones_do_not() {
        assert_eq!(verify(&transposed()), Ok(()));
        let mut network = transposed();
        network.locations.clear();
        assert!(matches!(verify(&network), Err(VerifyError::Lists { .. })));
        let mut network = transposed();
        network.body.set_type(network.outputs[0].value, ValueType::tensor(DataType::F32, vec![2i64.into()]));
        assert!(matches!(verify(&network), Err(VerifyError::Type { .. })));
        let mut network = transposed();
        let (x, y) = (network.body.inputs()[0], network.body.outputs()[0]);
        let mut body = Body::new();
        let _ = body.add_input(network.body.ty(x).clone());
        body.add_typed(Transpose::default().into(), &[Some(ValueId::new(1))], vec![network.body.ty(y).clone()]);
        body.set_outputs(vec![y]);
        network.body = body;
        assert!(matches!(verify(&network), Err(VerifyError::Undefined { .. })));
    }
}
