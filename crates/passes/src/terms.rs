//! Elementwise nodes in normal form as terms: one scalar operation applied to values and constants.

use sinter_base::DataType;
use sinter_ir::Graph;
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::pointwise::program::Step;
use sinter_ops::{Op, ValueId};
use smallvec::SmallVec;

/// An argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Term {
    /// A value of the body.
    Value(ValueId),
    /// A number.
    Constant(f64),
}

/// One scalar operation.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    /// What it does.
    pub(crate) op: ScalarOp,
    /// The type it computes in.
    pub(crate) compute: DataType,
    /// Its arguments.
    pub(crate) args: SmallVec<[Term; 3]>,
}

/// The operation that makes a value, where it is made by a node in normal form.
pub(crate) fn term(graph: &Graph<'_>, value: ValueId) -> Option<Application> {
    let (node, _) = graph.producer(value)?;
    let Op::Pointwise(pointwise) = &node.op else { return None };
    let program = &pointwise.program;
    let &[result] = program.results() else { return None };
    let Step::Apply { op, compute, args } = &program.steps()[result] else { return None };
    let args: Option<SmallVec<[Term; 3]>> = args
        .iter()
        .map(|&arg| match &program.steps()[arg] {
            Step::Input { index, .. } => node.inputs.get(*index).copied().flatten().map(Term::Value),
            Step::Constant { value, .. } => Some(Term::Constant(value.float())),
            Step::Apply { .. } => None,
        })
        .collect();
    Some(Application { op: *op, compute: *compute, args: args? })
}
