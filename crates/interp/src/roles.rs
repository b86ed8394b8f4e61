//! Roles of integer inputs, derived from their readers: an index must lie in its axis, a length within its batch, and a
//! size should be small.
//!
//! The analysis follows elements through operators that move or convert them and through integer arithmetic, which
//! usually wraps or shifts an index: after arithmetic, the range is half of the axis. A wrong guess only costs an
//! attempt: the reference executor refuses such inputs.

use std::collections::{HashMap, HashSet};

use sinter_base::{DataType, Dim, ValueType};
use sinter_ir::Network;
use sinter_ops::{Body, Node, Op, ValueId};

/// The role of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Indices of an axis of so many elements.
    Index(i64),
    /// They say how many of so many elements count.
    Length(i64),
    /// They are sizes of something.
    Size,
    /// Nothing says what they are.
    Number,
}

impl Role {
    /// Both at once: the narrower one.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Role::Index(a), Role::Index(b)) => Role::Index(a.min(b)),
            (Role::Length(a), Role::Length(b)) => Role::Length(a.min(b)),
            (Role::Number, other) => other,
            (known, _) => known,
        }
    }

    /// The smallest and the largest number that fits; `None` where nothing is known.
    pub fn range(self) -> Option<(i64, i64)> {
        match self {
            Role::Index(size) => Some((0, size.max(1) - 1)),
            Role::Length(size) => Some((size.min(1), size)),
            Role::Size => Some((1, 2)),
            Role::Number => None,
        }
    }
}

/// The role of a value among a network's inputs, with numbers for its named sizes.
pub fn role_of(network: &Network, value: ValueId, size_of: &dyn Fn(&str) -> i64) -> Role {
    let mut walk = Walk { size_of, role: Role::Number, seen: HashSet::new() };
    walk.readers(&network.body, value, false);
    walk.role
}

struct Walk<'a> {
    size_of: &'a dyn Fn(&str) -> i64,
    role: Role,
    /// Values of bodies, distinguished by the path of their body.
    seen: HashSet<(*const Body, ValueId)>,
}

impl Walk<'_> {
    fn readers(&mut self, body: &Body, value: ValueId, is_computed: bool) {
        if !self.seen.insert((std::ptr::from_ref(body), value)) {
            return;
        }
        for node in body.nodes() {
            for (input, _) in node.inputs.iter().enumerate().filter(|(_, id)| **id == Some(value)) {
                self.reader(body, node, input, is_computed);
            }
        }
    }

    /// Derives roles from the use of this input by a node.
    fn reader(&mut self, body: &Body, node: &Node, input: usize, is_computed: bool) {
        let sizes = |operand: usize| -> Option<Vec<i64>> {
            let id = node.inputs.get(operand).copied().flatten()?;
            let dims = body.ty(id).as_tensor()?.dims().ok()?;
            dims.iter().map(|dim: &Dim| dim.evaluate(&|name| Some((self.size_of)(name)))).collect()
        };
        let axis = |operand: usize, axis: i64| -> Option<i64> {
            let sizes = sizes(operand)?;
            let axis = if axis < 0 { axis + i64::try_from(sizes.len()).ok()? } else { axis };
            sizes.get(usize::try_from(axis).ok()?).copied()
        };
        let rank = |operand: usize| i64::try_from(sizes(operand)?.len()).ok();
        let smallest = |operand: usize| sizes(operand)?.into_iter().min();
        let usual = |size: i64| if is_computed { size / 2 } else { size };
        let index = |size: Option<i64>| size.map_or(Role::Number, |size| Role::Index(usual(size)));
        let length = |size: Option<i64>| size.map_or(Role::Number, Role::Length);
        let role = match (&node.op, input) {
            (Op::Gather(op), 1) => index(axis(0, op.axis)),
            (Op::GatherElements(op), 1) => index(axis(0, op.axis)),
            (Op::ScatterElements(op), 1) => index(axis(0, op.axis)),
            (Op::GatherNd(_) | Op::ScatterNd(_), 1) => index(smallest(0)),
            (Op::ReverseSequence(op), 1) => length(axis(0, op.time_axis)),
            (Op::Rnn(_) | Op::Gru(_) | Op::Lstm(_), 4) => length(axis(0, 0)),
            (Op::Reshape(_) | Op::Expand(_) | Op::Tile(_), 1) | (Op::Range(_), _) | (Op::Loop(_), 0) => Role::Size,
            (Op::TopK(_) | Op::Pad(_), 1) | (Op::Slice(_), 4) => Role::Size,
            (Op::Reduce(_) | Op::Cumulative(_), 1) | (Op::Slice(_) | Op::Pad(_), 3) => index(rank(0)),
            (Op::RotaryEmbedding(_), 3) => index(axis(1, 0)),
            (Op::TensorScatter(op), 2) => index(axis(0, op.axis)),
            _ => Role::Number,
        };
        self.role = self.role.and(role);
        if role == Role::Number {
            self.follow(body, node, input, is_computed);
        }
    }

    /// Continues with results that hold the elements as integers.
    fn follow(&mut self, body: &Body, node: &Node, input: usize, is_computed: bool) {
        let moves = match &node.op {
            Op::Pointwise(_) | Op::Concat(_) => true,
            Op::Reshape(_) | Op::Transpose(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Expand(_) | Op::Tile(_) => {
                input == 0
            }
            Op::Slice(_) | Op::Gather(_) | Op::Pad(_) => input == 0,
            _ => false,
        };
        let is_integer = |ty: &ValueType| {
            let data_type = ty.as_tensor().map(|tensor| tensor.data_type);
            data_type.is_some_and(|t| !t.is_float() && t != DataType::Bool && t != DataType::String)
        };
        if moves {
            for id in node.outputs.iter().filter(|id| is_integer(body.ty(**id))) {
                self.readers(body, *id, is_computed || matches!(node.op, Op::Pointwise(_)));
            }
        }
        for inner in inner_inputs(&node.op, input) {
            self.readers(inner.0, inner.1, is_computed);
        }
    }
}

/// The inputs of an operator's bodies that hold its input of this index unchanged.
fn inner_inputs(op: &Op, input: usize) -> Vec<(&Body, ValueId)> {
    let inner = |body: &'_ std::sync::Arc<Body>, first: usize| -> Option<ValueId> {
        body.inputs().get(input.checked_sub(first)?).copied()
    };
    match op {
        Op::If(op) => {
            let first_else = 1 + op.then_branch.inputs().len();
            let then = inner(&op.then_branch, 1).map(|id| (&*op.then_branch, id));
            let otherwise = inner(&op.else_branch, first_else).map(|id| (&*op.else_branch, id));
            then.into_iter().chain(otherwise).collect()
        }
        Op::Loop(op) if input >= 2 => inner(&op.body, 0).map(|id| (&*op.body, id)).into_iter().collect(),
        Op::Scan(op) => inner(&op.body, 0).map(|id| (&*op.body, id)).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The roles of all integer inputs of a network that have one.
pub fn roles(network: &Network, size_of: &dyn Fn(&str) -> i64) -> HashMap<ValueId, Role> {
    let integers = network.inputs.iter().filter(|input| {
        let ty = network.body.ty(input.value).as_tensor();
        ty.is_some_and(|ty| !ty.data_type.is_float() && ty.data_type != DataType::String)
    });
    let role = |input: &sinter_ir::Input| (input.value, role_of(network, input.value, size_of));
    integers.map(role).filter(|(_, role)| *role != Role::Number).collect()
}

#[cfg(test)]
mod tests {
    use sinter_base::{Location, Tensor};
    use sinter_ir::NetworkBuilder;
    use sinter_ops::index::Gather;
    use sinter_ops::movement::Reshape;
    use sinter_ops::pointwise::Expr;

    use super::*;

    #[test]
    fn indices_are_known_by_their_table() {
        let mut m = NetworkBuilder::new();
        let ids = ValueType::tensor(DataType::I64, vec![Dim::symbol("N")]);
        let ids = m.add_network_input("ids", ids, None);
        let other = m.add_network_input("other", ValueType::tensor(DataType::I64, vec![1i64.into()]), None);
        let free = m.add_network_input("free", ValueType::tensor(DataType::I64, vec![1i64.into()]), None);
        let at = Location::default();
        let table = |rows: usize| Tensor::from_vec(&[rows, 2], vec![0f32; rows * 2]).unwrap();
        let (wide, narrow) = (m.add_weight("wide", table(30)), m.add_weight("narrow", table(20)));
        let gather = Gather { axis: 0 };
        let y = m.add(gather.clone(), &[Some(wide), Some(ids)], &at).unwrap()[0];
        // The same numbers, shifted by one, index a smaller table.
        let next = Expr::into_pointwise(&[&Expr::input(0, DataType::I64) + 1.0]).unwrap();
        let next = m.add(next, &[Some(ids)], &at).unwrap()[0];
        let z = m.add(gather, &[Some(narrow), Some(next)], &at).unwrap()[0];
        let w = m.add(Reshape::default(), &[Some(z), Some(other)], &at).unwrap()[0];
        let network = m.finish("n", &[("y".into(), y), ("w".into(), w), ("free".into(), free)]);
        let roles = roles(&network, &|_| 3);
        let of = |at: usize| roles.get(&network.inputs[at].value).copied();
        assert_eq!((of(0), of(1), of(2)), (Some(Role::Index(10)), Some(Role::Size), None));
        assert_eq!(Role::Index(20).range(), Some((0, 19)));
        assert_eq!((Role::Length(5).range(), Role::Length(0).range()), (Some((1, 5)), Some((0, 0))));
    }
}
