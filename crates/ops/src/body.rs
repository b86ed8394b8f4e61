//! A body: a typed list of operators in static single assignment form, without names or weights.
//!
//! Nodes are ordered so that every value is defined before it is used. All values from outside of a body, captured
//! values and weights included, are explicit inputs.

use std::fmt;

use sinter_base::{ValueType, typed_id};
use smallvec::SmallVec;

use crate::catalog::Op;
use crate::error::InferError;
use crate::infer::{InferContext, infer};
use crate::operands::Operands;

typed_id! {
    /// A value of one body.
    ValueId "%"
}

/// One operator with its operands and results.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The operator.
    pub op: Op,
    /// Operands; `None` for an input that is left out.
    pub inputs: SmallVec<[Option<ValueId>; 4]>,
    /// Results.
    pub outputs: SmallVec<[ValueId; 2]>,
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    types: Vec<ValueType>,
    inputs: Vec<ValueId>,
    nodes: Vec<Node>,
    outputs: Vec<ValueId>,
}

impl Body {
    /// A body without inputs, nodes and outputs.
    pub fn new() -> Self {
        Self::default()
    }

    /// A body without nodes with inputs and outputs of these types: the signature of a body whose operators are
    /// elsewhere.
    pub fn shell(inputs: Vec<ValueType>, results: Vec<ValueType>) -> Self {
        let mut body = Self::new();
        inputs.into_iter().for_each(|ty| _ = body.add_input(ty));
        body.outputs = results.into_iter().map(|ty| body.add_value(ty)).collect();
        body
    }

    /// Adds an input of this type.
    pub fn add_input(&mut self, ty: ValueType) -> ValueId {
        let id = self.add_value(ty);
        self.inputs.push(id);
        id
    }

    fn add_value(&mut self, ty: ValueType) -> ValueId {
        self.types.push(ty);
        ValueId::new(self.types.len() - 1)
    }

    /// Adds a node after all others and infers its result types.
    ///
    /// # Errors
    /// When the operator does not take these inputs.
    pub fn add(
        &mut self,
        op: Op,
        inputs: &[Option<ValueId>],
        cx: &mut InferContext,
    ) -> Result<SmallVec<[ValueId; 2]>, InferError> {
        let types = {
            let operands: SmallVec<[Option<&ValueType>; 4]> =
                inputs.iter().map(|id| id.map(|id| &self.types[id.index()])).collect();
            infer(&op, &Operands::new(&operands), cx)?
        };
        Ok(self.add_typed(op, inputs, types))
    }

    /// Adds a node with given result types, from a text form or another body.
    pub fn add_typed(&mut self, op: Op, inputs: &[Option<ValueId>], types: Vec<ValueType>) -> SmallVec<[ValueId; 2]> {
        let outputs: SmallVec<[ValueId; 2]> = types.into_iter().map(|ty| self.add_value(ty)).collect();
        self.nodes.push(Node { op, inputs: inputs.into(), outputs: outputs.clone() });
        outputs
    }

    /// Declares the results of the body.
    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        self.outputs = outputs;
    }

    /// Reorders the inputs; the new list must hold the same values.
    pub fn set_inputs(&mut self, inputs: Vec<ValueId>) {
        debug_assert_eq!(inputs.len(), self.inputs.len());
        self.inputs = inputs;
    }

    /// Replaces the type of a value: declared shapes narrow inferred ones.
    pub fn set_type(&mut self, id: ValueId, ty: ValueType) {
        self.types[id.index()] = ty;
    }

    /// Inputs in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Nodes in execution order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Results in order.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Type of a value.
    pub fn ty(&self, id: ValueId) -> &ValueType {
        &self.types[id.index()]
    }

    /// Number of values.
    pub fn value_count(&self) -> usize {
        self.types.len()
    }

    /// Types of the inputs in order.
    pub fn input_types(&self) -> Vec<ValueType> {
        self.inputs.iter().map(|id| self.ty(*id).clone()).collect()
    }

    /// Types of the results in order.
    pub fn output_types(&self) -> Vec<ValueType> {
        self.outputs.iter().map(|id| self.ty(*id).clone()).collect()
    }

    /// Position of the last node that reads each value; `None` for results of the body and for unread values.
    pub fn last_uses(&self) -> Vec<Option<usize>> {
        let mut last = vec![None; self.types.len()];
        for (position, node) in self.nodes.iter().enumerate() {
            for id in node.inputs.iter().flatten() {
                last[id.index()] = Some(position);
            }
        }
        for id in &self.outputs {
            last[id.index()] = None;
        }
        last
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f, 0)
    }
}

impl Body {
    /// Prints the text form, indented by `level` steps.
    fn print(&self, f: &mut fmt::Formatter<'_>, level: usize) -> fmt::Result {
        let pad = "  ".repeat(level);
        for id in &self.inputs {
            writeln!(f, "{pad}input {id}: {}", self.ty(*id))?;
        }
        for node in &self.nodes {
            f.write_str(&pad)?;
            for (i, id) in node.outputs.iter().enumerate() {
                write!(f, "{}{id}", if i > 0 { ", " } else { "" })?;
            }
            write!(f, " = {}{}(", node.op.name(), node.op.to_attr())?;
            for (i, id) in node.inputs.iter().enumerate() {
                let comma = if i > 0 { ", " } else { "" };
                match id {
                    Some(id) => write!(f, "{comma}{id}")?,
                    None => write!(f, "{comma}_")?,
                }
            }
            f.write_str(") :")?;
            for (i, id) in node.outputs.iter().enumerate() {
                write!(f, "{} {}", if i > 0 { "," } else { "" }, self.ty(*id))?;
            }
            f.write_str("\n")?;
            for body in node.op.bodies() {
                writeln!(f, "{pad}  body {{")?;
                body.print(f, level + 2)?;
                writeln!(f, "{pad}  }}")?;
            }
        }
        write!(f, "{pad}output")?;
        for (i, id) in self.outputs.iter().enumerate() {
            write!(f, "{} {id}", if i > 0 { "," } else { "" })?;
        }
        f.write_str("\n")
    }
}
