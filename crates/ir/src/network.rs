//! A network: a body whose inputs are named user inputs and weights.

use std::fmt;
use std::sync::Arc;

use sinter_base::{Location, Tensor};
use sinter_ops::{Body, Guard, Op, ValueId};

/// Where a weight's elements come from. Folding composes expressions instead of forgetting the source, so that refit,
/// adapters and re-packing can replay them.
#[derive(Clone, Debug, PartialEq)]
pub enum WeightExpr {
    /// A tensor of the model file.
    Source {
        /// Its name there; empty for constants that an importer made.
        name: Arc<str>,
        /// Its elements, usually inside the mapped file.
        tensor: Tensor,
    },
    /// One result of a pure operator on other weights.
    Apply {
        /// The operator.
        op: Op,
        /// Its operands.
        inputs: Vec<Option<Arc<WeightExpr>>>,
        /// Which result.
        output: usize,
    },
}

/// A weight and the body input that it feeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// The body input.
    pub value: ValueId,
    /// Its elements.
    pub expr: Arc<WeightExpr>,
}

/// A user input.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Name given by the model.
    pub name: String,
    /// The body input.
    pub value: ValueId,
    /// What stands in when the user gives nothing.
    pub default: Option<Tensor>,
}

/// A user output.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Name given by the model.
    pub name: String,
    /// The value.
    pub value: ValueId,
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// Name given by the model.
    pub name: String,
    /// What is computed. Its inputs are those of `inputs` and `weights`, its outputs those of `outputs`.
    pub body: Body,
    /// User inputs in order.
    pub inputs: Vec<Input>,
    /// Weights.
    pub weights: Vec<Weight>,
    /// User outputs in order.
    pub outputs: Vec<Output>,
    /// Source of each node, parallel to the body's nodes.
    pub locations: Vec<Location>,
    /// Conditions on sizes to check at run time.
    pub guards: Vec<Guard>,
}

impl Network {
    /// Bytes of all source weights.
    pub fn weight_bytes(&self) -> usize {
        fn bytes(expr: &WeightExpr) -> usize {
            match expr {
                WeightExpr::Source { tensor, .. } => tensor.bytes().len(),
                WeightExpr::Apply { inputs, .. } => inputs.iter().flatten().map(|e| bytes(e)).sum(),
            }
        }
        self.weights.iter().map(|w| bytes(&w.expr)).sum()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "network {:?}", self.name)?;
        for input in &self.inputs {
            writeln!(f, "input {} {:?}: {}", input.value, input.name, self.body.ty(input.value))?;
        }
        for weight in &self.weights {
            let name = match &*weight.expr {
                WeightExpr::Source { name, .. } => name.to_string(),
                WeightExpr::Apply { op, .. } => format!("{}(..)", op.name()),
            };
            writeln!(f, "weight {} {name:?}: {}", weight.value, self.body.ty(weight.value))?;
        }
        write!(f, "{}", self.body)?;
        for output in &self.outputs {
            writeln!(f, "output {:?} = {}", output.name, output.value)?;
        }
        Ok(())
    }
}
