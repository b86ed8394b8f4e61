//! Control flow: bodies of a few nodes that read values of the network.

use sinter_base::shape::{ravel, strides, unravel};
use sinter_base::{DataType, Tensor, Value, ValueType};
use sinter_ir::builder::{Handle, Scoped};
use sinter_ops::control::scan::Walk;
use sinter_ops::control::{If, Loop, Scan};

use crate::random::growth::{Growth, Known};

/// Nodes of a body that are tried.
const TRIED: usize = 5;

fn is_state(known: &Known) -> bool {
    let states = [DataType::F32, DataType::F32, DataType::F16, DataType::I64];
    known.tensors().is_some() && states.contains(&known.data_type())
}

impl Growth {
    /// A branch, a loop or a scan; not inside of another.
    pub(super) fn control(&mut self) -> Option<Vec<usize>> {
        if self.builder.depth() > 1 {
            return None;
        }
        match self.random.below(3) {
            0 => self.branches(),
            1 => self.repetition(),
            _ => self.walk(),
        }
    }

    /// The operands of an operator with bodies: its own, then what these capture.
    fn with_captures(&self, own: &[Option<usize>], scopes: &[&Scoped]) -> Option<Vec<Option<usize>>> {
        let mut operands = own.to_vec();
        for capture in scopes.iter().flat_map(|scope| &scope.captures) {
            operands.push(Some(self.pool.iter().position(|known| known.handle == *capture)?));
        }
        Some(operands)
    }

    /// Some nodes in the open scope, the last of which gives a value of this type at both sizes.
    fn inner(&mut self, like: usize) -> Option<usize> {
        let first = self.pool.len();
        for _ in 0..1 + self.random.below(TRIED) {
            let pool = self.pool.len();
            let added = if self.random.below(4) == 0 { self.example() } else { self.own_node() };
            if added.is_none() {
                self.pool.truncate(pool);
            }
        }
        let types =
            |known: &Known| [&known.values[0], &known.values[1]].map(|value| (known.data_type(), sizes_of(value)));
        let is_like = |known: &Known| types(known) == types(&self.pool[like]);
        (first..self.pool.len()).rev().find(|at| is_like(&self.pool[*at]))
    }

    /// Maps a body's value to a narrow range, so that many iterations stay finite.
    fn bent(&mut self, at: usize) -> Option<usize> {
        use sinter_ops::pointwise::{Expr, ScalarOp};
        let x = Expr::input(0, self.pool[at].data_type());
        let bent =
            if x.data_type().is_float() { x.unary(ScalarOp::Tanh) } else { x.binary(ScalarOp::Min, &x.same(9.0)) };
        Some(self.add(Expr::into_pointwise(&[bent]).ok()?.into(), &[Some(at)])?[0])
    }

    /// Runs `grow` in a scope of its own; `None` drops the scope, and the values made in it in any case.
    fn scoped(&mut self, grow: impl FnOnce(&mut Self) -> Option<Vec<usize>>) -> Option<Scoped> {
        let pool = self.pool.len();
        self.builder.open_scope();
        let results = grow(self);
        let handles: Option<Vec<Handle>> = results.map(|all| all.iter().map(|at| self.pool[*at].handle).collect());
        // The values of leaves and weights of the scope stay known, because bodies capture them.
        let made = self.pool.split_off(pool);
        self.pool.extend(made.into_iter().filter(Known::is_outermost));
        match handles {
            Some(handles) => Some(self.builder.close_scope(&handles)),
            None => {
                self.builder.abandon_scope();
                None
            }
        }
    }

    fn condition(&mut self) -> usize {
        let known =
            self.pick(|known| known.data_type() == DataType::Bool && known.rank() == 0 && known.tensors().is_some());
        match known {
            Some(known) => known,
            None => {
                let values = [self.random.below(2), self.random.below(2)];
                self.given(values.map(|v| Tensor::scalar(DataType::Bool, v as f64).into()))
            }
        }
    }

    fn branches(&mut self) -> Option<Vec<usize>> {
        let (like, condition) = (self.pick(is_state)?, self.condition());
        let then = self.scoped(|g| Some(vec![g.inner(like)?]))?;
        let otherwise = self.scoped(|g| Some(vec![if g.random.below(3) == 0 { like } else { g.inner(like)? }]))?;
        let operands = self.with_captures(&[Some(condition)], &[&then, &otherwise])?;
        self.add(If { then_branch: then.body, else_branch: otherwise.body }.into(), &operands)
    }

    fn scope_input(&mut self, ty: ValueType, values: [Value; 2]) -> usize {
        let handle = self.builder.add_scope_input(ty);
        self.know(handle, values, false)
    }

    fn repetition(&mut self) -> Option<Vec<usize>> {
        let state = self.pick(is_state)?;
        let rounds = if self.random.below(2) == 0 {
            let rounds = self.random.below(5);
            self.constant(Tensor::scalar(DataType::I64, rounds as f64))
        } else {
            let rounds = [self.random.below(5), self.random.below(5)];
            self.given(rounds.map(|v| Tensor::scalar(DataType::I64, v as f64).into()))
        };
        let condition = (self.random.below(3) == 0).then(|| self.condition());
        let (ty, initial) =
            (without_contents(self.builder.ty(self.pool[state].handle))?, self.pool[state].values.clone());
        let scope = self.scoped(|g| {
            let scalar = |data_type, value| [0; 2].map(|_| Value::from(Tensor::scalar(data_type, value)));
            g.scope_input(ValueType::tensor(DataType::I64, Vec::new()), scalar(DataType::I64, 0.0));
            let goes_on = g.scope_input(ValueType::tensor(DataType::Bool, Vec::new()), scalar(DataType::Bool, 1.0));
            let inside = g.scope_input(ty, initial);
            let next = g.inner(inside)?;
            let next = g.bent(next)?;
            let seen = g.pick(|known| known.tensors().is_some() && !known.is_outermost());
            let mut results = vec![goes_on, next];
            results.extend(seen.filter(|at| *at != goes_on));
            Some(results)
        })?;
        let operands = self.with_captures(&[Some(rounds), condition, Some(state)], &[&scope])?;
        self.add(Loop { carried: 1, body: scope.body }.into(), &operands)
    }

    fn walk(&mut self) -> Option<Vec<usize>> {
        let walked = self.pick(|known| is_state(known) && known.rank() > 0)?;
        let state = self.pick(is_state)?;
        let rank = self.pool[walked].rank();
        let axis = self.random.below(rank);
        let [a, b] = self.pool[walked].tensors()?;
        let slices = [sliced(a, axis)?, sliced(b, axis)?];
        let ValueType::Tensor(ty) = without_contents(self.builder.ty(self.pool[walked].handle))? else { return None };
        let mut dims = ty.dims().ok()?.to_vec();
        dims.remove(axis);
        let slice = ValueType::tensor(ty.data_type, dims);
        let (ty, initial) =
            (without_contents(self.builder.ty(self.pool[state].handle))?, self.pool[state].values.clone());
        let scope = self.scoped(|g| {
            let inside = g.scope_input(ty, initial);
            let part = g.scope_input(slice, slices.map(Value::Tensor));
            let next = g.inner(inside)?;
            let next = g.bent(next)?;
            let seen = g.inner(part)?;
            Some(vec![next, seen])
        })?;
        let walk = |axis: usize, reverse: bool| Walk { axis: axis as i64, reverse };
        let (inputs, outputs) = (vec![walk(axis, self.random.below(2) == 0)], vec![walk(0, self.random.below(2) == 0)]);
        let operands = self.with_captures(&[Some(state), Some(walked)], &[&scope])?;
        self.add(Scan { states: 1, inputs, outputs, body: scope.body }.into(), &operands)
    }
}

fn sizes_of(value: &Value) -> Option<Vec<usize>> {
    value.as_tensor().map(|tensor| tensor.sizes().to_vec())
}

/// The type without known contents, which are valid for one value only.
fn without_contents(ty: &ValueType) -> Option<ValueType> {
    let tensor = ty.as_tensor()?;
    Some(ValueType::tensor(tensor.data_type, tensor.dims().ok()?.to_vec()))
}

/// The first slice along an axis; `None` where there is none.
fn sliced(tensor: &Tensor, axis: usize) -> Option<Tensor> {
    if tensor.sizes()[axis] == 0 {
        return None;
    }
    let (from, mut sizes) = (strides(tensor.sizes()), tensor.sizes().to_vec());
    sizes.remove(axis);
    let source = |flat: usize| {
        let mut index = unravel(flat, &sizes).to_vec();
        index.insert(axis, 0);
        Some(ravel(&index, &from))
    };
    tensor.rearranged(&sizes, source).ok()
}
