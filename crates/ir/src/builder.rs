//! Building a network node by node, with nested scopes for the bodies of control flow.
//!
//! A handle names a value of some scope. Using a handle of an outer scope inside an inner one captures it: the inner
//! body gets an explicit input, through every scope between. Constants always live in the outermost scope, as weights.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;
use sinter_base::{DataType, Location, Tensor, TensorType, ValueType};
use sinter_ops::{Body, InferContext, InferError, Op, ValueId};
use smallvec::SmallVec;

use crate::network::{Input, Network, Output, Weight, WeightExpr};

/// Constants up to this many bytes are shared when equal.
const SHARED_CONSTANT_BYTES: usize = 256;

/// A value of one of the open scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    depth: usize,
    value: ValueId,
}

/// A finished inner scope: a body and what it captured.
#[derive(Clone, Debug)]
pub struct Scoped {
    /// The body; its inputs are the declared ones, then the captured ones.
    pub body: Arc<Body>,
    /// Handles of the enclosing scope that feed the captured inputs.
    pub captures: Vec<Handle>,
}

/// A node that could not be added.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{location}: {error}")]
pub struct BuildError {
    /// The node.
    pub location: Location,
    /// The error of inference.
    pub error: InferError,
}

#[derive(Debug, Default)]
struct Scope {
    body: Body,
    locations: Vec<Location>,
    /// Value of the enclosing scope -> input of this one.
    captures: IndexMap<ValueId, ValueId>,
    /// Inputs that are not captures.
    declared: Vec<ValueId>,
    /// Guards that were there before it.
    guards: usize,
}

/// See the module documentation.
#[derive(Debug)]
pub struct NetworkBuilder {
    scopes: Vec<Scope>,
    inputs: Vec<Input>,
    weights: Vec<Weight>,
    shared: HashMap<(DataType, Vec<usize>, Vec<u8>), Handle>,
    streams: usize,
    /// Weights whose elements an importer has read.
    read: RefCell<HashSet<ValueId>>,
    /// Fresh names and guards.
    pub infer: InferContext,
}

impl Default for NetworkBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl NetworkBuilder {
    /// An empty network with its outermost scope open.
    pub fn new() -> Self {
        Self {
            scopes: vec![Scope::default()],
            inputs: Vec::new(),
            weights: Vec::new(),
            shared: HashMap::new(),
            streams: 0,
            read: RefCell::default(),
            infer: InferContext::default(),
        }
    }

    /// Declares a user input of the network.
    pub fn add_network_input(&mut self, name: &str, ty: ValueType, default: Option<Tensor>) -> Handle {
        let value = self.scopes[0].body.add_input(ty);
        self.inputs.push(Input { name: name.to_owned(), value, default });
        Handle { depth: 0, value }
    }

    /// Adds a weight.
    pub fn add_weight(&mut self, name: &str, tensor: Tensor) -> Handle {
        let value = self.scopes[0].body.add_input(TensorType::of(&tensor).into());
        self.weights.push(Weight { value, expr: Arc::new(WeightExpr::source(name, tensor)) });
        Handle { depth: 0, value }
    }

    /// Adds a constant without a name; small equal ones are shared.
    pub fn constant(&mut self, tensor: Tensor) -> Handle {
        if tensor.data_type() == DataType::String || tensor.bytes().len() > SHARED_CONSTANT_BYTES {
            return self.add_weight("", tensor);
        }
        let key = (tensor.data_type(), tensor.sizes().to_vec(), tensor.bytes().to_vec());
        if let Some(known) = self.shared.get(&key) {
            return *known;
        }
        let handle = self.add_weight("", tensor);
        self.shared.insert(key, handle);
        handle
    }

    /// A number for the stream of a random operator, given once.
    pub fn next_stream(&mut self) -> usize {
        self.streams += 1;
        self.streams - 1
    }

    /// Opens an inner scope for the body of an operator.
    pub fn open_scope(&mut self) {
        self.scopes.push(Scope { guards: self.infer.guards.len(), ..Scope::default() });
    }

    /// Declares an input of the innermost scope.
    pub fn add_scope_input(&mut self, ty: ValueType) -> Handle {
        let depth = self.scopes.len() - 1;
        let scope = self.innermost();
        let value = scope.body.add_input(ty);
        scope.declared.push(value);
        Handle { depth, value }
    }

    /// Closes the innermost scope with these results.
    ///
    /// # Panics
    /// When only the outermost scope is open.
    pub fn close_scope(&mut self, outputs: &[Handle]) -> Scoped {
        assert!(self.scopes.len() > 1, "the outermost scope is closed by finish");
        let outputs: Vec<ValueId> = outputs.iter().map(|h| self.local(*h)).collect();
        let scope = self.scopes.pop().unwrap_or_default();
        // A body may never run, and the run infers its sizes again when it does.
        self.infer.guards.truncate(scope.guards);
        let depth = self.scopes.len() - 1;
        let mut body = scope.body;
        body.set_outputs(outputs);
        // A capture may have been made before a declared input: operators expect declared inputs first.
        let order = scope.declared.iter().chain(scope.captures.values()).copied().collect();
        body.set_inputs(order);
        let captures = scope.captures.keys().map(|value| Handle { depth, value: *value }).collect();
        Scoped { body: Arc::new(body), captures }
    }

    /// Drops the innermost scope: its import failed.
    ///
    /// # Panics
    /// When only the outermost scope is open.
    pub fn abandon_scope(&mut self) {
        assert!(self.scopes.len() > 1, "the outermost scope is closed by finish");
        let scope = self.scopes.pop().unwrap_or_default();
        self.infer.guards.truncate(scope.guards);
    }

    /// Number of open scopes.
    pub fn depth(&self) -> usize {
        self.scopes.len()
    }

    fn innermost(&mut self) -> &mut Scope {
        self.scopes.last_mut().expect("the outermost scope is always open")
    }

    /// The value in the innermost scope, captured through the scopes between when it comes from outside.
    fn local(&mut self, handle: Handle) -> ValueId {
        let mut value = handle.value;
        for depth in handle.depth + 1..self.scopes.len() {
            if let Some(known) = self.scopes[depth].captures.get(&value) {
                value = *known;
                continue;
            }
            let ty = self.scopes[depth - 1].body.ty(value).clone();
            let inner = self.scopes[depth].body.add_input(ty);
            self.scopes[depth].captures.insert(value, inner);
            value = inner;
        }
        value
    }

    /// Type of a value.
    pub fn ty(&self, handle: Handle) -> &ValueType {
        self.scopes[handle.depth].body.ty(handle.value)
    }

    /// Replaces the type of a value by a more specific one.
    pub fn set_type(&mut self, handle: Handle, ty: ValueType) {
        self.scopes[handle.depth].body.set_type(handle.value, ty);
    }

    /// Adds a node to the innermost scope.
    ///
    /// # Errors
    /// When the operator does not take these inputs.
    pub fn add(
        &mut self,
        op: impl Into<Op>,
        inputs: &[Option<Handle>],
        location: &Location,
    ) -> Result<SmallVec<[Handle; 2]>, BuildError> {
        let depth = self.scopes.len() - 1;
        let inputs: Vec<Option<ValueId>> = inputs.iter().map(|h| h.map(|h| self.local(h))).collect();
        let Self { scopes, infer, .. } = self;
        let scope = &mut scopes[depth];
        let outputs = scope
            .body
            .add(op.into(), &inputs, infer)
            .map_err(|error| BuildError { location: location.clone(), error })?;
        scope.locations.push(location.clone());
        Ok(outputs.into_iter().map(|value| Handle { depth, value }).collect())
    }

    /// Records that the contents of a value decide the structure of the network: no refit may replace the weights that they
    /// are computed from.
    pub fn read_contents(&self, handle: Handle) {
        let Some(scope) = self.scopes.get(handle.depth) else { return };
        let mut wanted = HashSet::from([handle.value]);
        let is_computed = !scope.body.inputs().contains(&handle.value);
        for node in scope.body.nodes().iter().rev().filter(|_| is_computed) {
            if node.outputs.iter().any(|id| wanted.contains(id)) {
                wanted.extend(node.inputs.iter().flatten());
            }
        }
        if handle.depth == 0 {
            self.read.borrow_mut().extend(wanted);
            return;
        }
        let outer = scope.captures.iter().filter(|(_, inner)| wanted.contains(inner));
        outer.for_each(|(value, _)| self.read_contents(Handle { depth: handle.depth - 1, value: *value }));
    }

    /// Closes the outermost scope.
    ///
    /// # Panics
    /// When inner scopes are still open.
    pub fn finish(mut self, name: &str, outputs: &[(String, Handle)]) -> Network {
        assert!(self.scopes.len() == 1, "an inner scope is still open");
        let Scope { mut body, locations, .. } = self.scopes.pop().unwrap_or_default();
        body.set_outputs(outputs.iter().map(|(_, handle)| handle.value).collect());
        let outputs = outputs.iter().map(|(name, handle)| Output { name: name.clone(), value: handle.value }).collect();
        let Self { inputs, mut weights, infer, read, .. } = self;
        let read = read.into_inner();
        for weight in weights.iter_mut().filter(|weight| weight.expr.can_be_refitted() && read.contains(&weight.value))
        {
            if let WeightExpr::Source { name, .. } = Arc::make_mut(&mut weight.expr) {
                *name = "".into();
            }
        }
        Network { name: name.to_owned(), body, inputs, weights, outputs, locations, guards: infer.guards }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_base::Dim;
    use sinter_ops::matmul::MatMul;

    /// The product of both requires that N equals M, which only a run can decide.
    fn product(builder: &mut NetworkBuilder, a: Handle, b: Handle) -> Handle {
        let op = MatMul { transpose_a: false, transpose_b: false };
        builder.add(op, &[Some(a), Some(b)], &Location::default()).unwrap()[0]
    }

    #[test]
    fn guards_of_a_body_are_no_conditions_of_the_network() {
        let mut builder = NetworkBuilder::new();
        let symbol = |name: &str| ValueType::tensor(DataType::F32, vec![Dim::symbol(name), Dim::symbol(name)]);
        let a = builder.add_network_input("a", symbol("N"), None);
        let b = builder.add_network_input("b", symbol("M"), None);
        builder.open_scope();
        let inner = product(&mut builder, a, b);
        builder.close_scope(&[inner]);
        assert!(builder.infer.guards.is_empty());
        let outer = product(&mut builder, a, b);
        assert_eq!(builder.finish("guards", &[("y".to_owned(), outer)]).guards.len(), 1);
    }
}
