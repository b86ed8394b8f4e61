//! The context of an import function: inputs and attributes of its node, and functions that add operators.

use std::collections::BTreeSet;

use sinter_base::{DataType, Dim, Location, Tensor, TensorType, ValueType};
use sinter_ir::{Handle, NetworkBuilder, Scoped};
use sinter_ops::Op;
use sinter_ops::pointwise::Expr;

use crate::error::Problem;
use crate::graph::{Frame, Importer};
use crate::proto::{AttributeProto, GraphProto, NodeProto};

/// Result of an import function: the node's outputs in order; trailing optional ones may be left out.
pub type Imported = Result<Vec<Handle>, Problem>;

/// An import function.
pub type ImportFn = fn(&mut NodeContext<'_, '_>) -> Imported;

/// See the module documentation.
pub struct NodeContext<'a, 'm> {
    importer: &'a mut Importer<'m>,
    node: &'m NodeProto,
    inputs: Vec<Option<Handle>>,
    frame: Frame<'m>,
    /// Version of the operator set in force.
    pub version: i64,
    /// Where this node stands, for messages.
    pub location: Location,
}

impl<'a, 'm> NodeContext<'a, 'm> {
    pub(crate) fn new(
        importer: &'a mut Importer<'m>,
        node: &'m NodeProto,
        inputs: Vec<Option<Handle>>,
        version: i64,
        location: Location,
    ) -> Self {
        let frame = importer.frame();
        Self { importer, node, inputs, frame, version, location }
    }

    /// A problem at this node.
    pub fn problem(&self, reason: impl Into<String>) -> Problem {
        Problem::new(self.location.clone(), reason)
    }

    /// Number of named outputs, empty trailing names not counted.
    pub fn output_count(&self) -> usize {
        self.node.output.iter().rposition(|n| !n.is_empty()).map_or(0, |last| last + 1)
    }

    /// Does the node name the output at this position, that is, require it?
    pub fn wants_output(&self, index: usize) -> bool {
        self.node.output.get(index).is_some_and(|n| !n.is_empty())
    }

    // ---- inputs

    /// Number of inputs, left-out ones included.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// An input.
    ///
    /// # Errors
    /// When it is left out.
    pub fn input(&self, index: usize) -> Result<Handle, Problem> {
        self.optional(index).ok_or_else(|| self.problem(format!("input {index} is missing")))
    }

    /// An input that may be left out.
    pub fn optional(&self, index: usize) -> Option<Handle> {
        self.inputs.get(index).copied().flatten()
    }

    /// All inputs from `first` on.
    ///
    /// # Errors
    /// When one of them is left out.
    pub fn inputs_from(&self, first: usize) -> Result<Vec<Handle>, Problem> {
        (first..self.inputs.len()).map(|i| self.input(i)).collect()
    }

    /// Type of a value.
    pub fn ty(&self, value: Handle) -> &ValueType {
        self.importer.builder.ty(value)
    }

    /// Tensor type of a value.
    ///
    /// # Errors
    /// When it is no tensor.
    pub fn tensor_type(&self, value: Handle) -> Result<&TensorType, Problem> {
        let ty = self.ty(value);
        ty.as_tensor().ok_or_else(|| self.problem(format!("a tensor is needed, found {ty}")))
    }

    /// Element type of a tensor.
    ///
    /// # Errors
    /// When the value is no tensor.
    pub fn data_type(&self, value: Handle) -> Result<DataType, Problem> {
        Ok(self.tensor_type(value)?.data_type)
    }

    /// Dimensions of a tensor.
    ///
    /// # Errors
    /// When the value is no tensor or its rank is unknown.
    pub fn dims(&self, value: Handle) -> Result<Vec<Dim>, Problem> {
        let ty = self.tensor_type(value)?;
        ty.dims().map(<[Dim]>::to_vec).map_err(|e| self.problem(e.to_string()))
    }

    /// Rank of a tensor.
    ///
    /// # Errors
    /// When the value is no tensor or its rank is unknown.
    pub fn rank(&self, value: Handle) -> Result<usize, Problem> {
        Ok(self.dims(value)?.len())
    }

    /// Contents of a small integer tensor that is constant in the model.
    pub fn constant_ints(&self, value: Handle) -> Option<Vec<i64>> {
        let contents = self.ty(value).as_tensor()?.constant_ints()?;
        self.importer.builder.read_contents(value);
        Some(contents)
    }

    /// Contents of a small float tensor that is constant in the model.
    pub fn constant_floats(&self, value: Handle) -> Option<Vec<f64>> {
        let contents = self.ty(value).as_tensor()?.floats()?.to_vec();
        self.importer.builder.read_contents(value);
        Some(contents)
    }

    /// An axis counted from either end, as a position in `0..rank`.
    ///
    /// # Errors
    /// When it lies outside `-rank..rank`.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Problem> {
        let signed = i64::try_from(rank).unwrap_or(i64::MAX);
        let position = if axis < 0 { axis.saturating_add(signed) } else { axis };
        usize::try_from(position)
            .ok()
            .filter(|&p| p < rank)
            .ok_or_else(|| self.problem(format!("axis {axis} does not exist in a tensor of {rank} dimensions")))
    }

    // ---- attributes

    fn attribute(&self, name: &str) -> Option<&'m AttributeProto> {
        let own = self.node.attribute.iter().find(|a| a.name() == name)?;
        match own.ref_attr_name() {
            "" => Some(own),
            outer => self.frame.attributes.get(outer).copied(),
        }
    }

    /// Is the attribute given?
    pub fn has_attribute(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// Names of all given attributes.
    pub fn attribute_names(&self) -> BTreeSet<&'m str> {
        self.node.attribute.iter().map(|a| a.name()).collect()
    }

    /// An integer attribute.
    pub fn optional_int(&self, name: &str) -> Option<i64> {
        self.attribute(name).and_then(|a| a.i)
    }

    /// An integer attribute with a default.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.optional_int(name).unwrap_or(default)
    }

    /// An integer attribute that means yes or no.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.optional_int(name).map_or(default, |v| v != 0)
    }

    /// A float attribute.
    pub fn optional_float(&self, name: &str) -> Option<f64> {
        self.attribute(name).and_then(|a| a.f).map(f64::from)
    }

    /// A float attribute with a default.
    pub fn float(&self, name: &str, default: f64) -> f64 {
        self.optional_float(name).unwrap_or(default)
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.attribute(name).map(|a| a.ints.clone())
    }

    /// A list of non-negative integers.
    ///
    /// # Errors
    /// When one is negative.
    pub fn sizes(&self, name: &str) -> Result<Option<Vec<usize>>, Problem> {
        let Some(values) = self.ints(name) else { return Ok(None) };
        let size =
            |&v: &i64| usize::try_from(v).map_err(|_| self.problem(format!("attribute {name} has the entry {v}")));
        values.iter().map(size).collect::<Result<_, _>>().map(Some)
    }

    /// A list of floats.
    pub fn floats(&self, name: &str) -> Option<Vec<f64>> {
        self.attribute(name).map(|a| a.floats.iter().map(|&v| f64::from(v)).collect())
    }

    /// A text attribute with a default.
    pub fn text(&self, name: &str, default: &str) -> String {
        self.optional_text(name).unwrap_or_else(|| default.to_owned())
    }

    /// A text attribute.
    pub fn optional_text(&self, name: &str) -> Option<String> {
        self.attribute(name).and_then(|a| a.s.as_ref()).map(|s| String::from_utf8_lossy(s).into_owned())
    }

    /// A list of texts.
    pub fn texts(&self, name: &str) -> Option<Vec<String>> {
        self.attribute(name).map(|a| a.strings.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect())
    }

    /// A tensor attribute, dense or sparse.
    ///
    /// # Errors
    /// When its data is damaged.
    pub fn tensor(&mut self, name: &str) -> Result<Option<Tensor>, Problem> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        let tensor = match (&attribute.t, &attribute.sparse_tensor) {
            (Some(dense), _) => self.importer.tensor(dense),
            (None, Some(sparse)) => self.importer.sparse_tensor(sparse),
            (None, None) => return Ok(None),
        };
        tensor.map(Some).map_err(|e| self.problem(format!("attribute {name}: {e}")))
    }

    /// A data type attribute, given as ONNX's code.
    ///
    /// # Errors
    /// When the code is unknown.
    pub fn data_type_attribute(&self, name: &str) -> Result<Option<DataType>, Problem> {
        let Some(code) = self.optional_int(name) else { return Ok(None) };
        let known = i32::try_from(code).map_err(|_| code.to_string()).and_then(crate::types::data_type);
        known.map(Some).map_err(|e| self.problem(format!("attribute {name}: {e}")))
    }

    /// A type attribute.
    ///
    /// # Errors
    /// When the type is not supported.
    pub fn type_attribute(&mut self, name: &str) -> Result<Option<ValueType>, Problem> {
        let Some(proto) = self.attribute(name).and_then(|a| a.tp.as_ref()) else { return Ok(None) };
        let infer = &mut self.importer.builder.infer;
        let ty = crate::types::value_type(proto, &mut |name| match name {
            Some(name) => Dim::symbol(name),
            None => infer.fresh("type"),
        });
        ty.map(Some).map_err(|e| self.problem(format!("attribute {name}: {e}")))
    }

    /// Is a graph attribute given, and with how many inputs and outputs?
    pub fn graph_arity(&self, name: &str) -> Option<(usize, usize)> {
        self.attribute(name).and_then(|a| a.g.as_ref()).map(|g| (g.input.len(), g.output.len()))
    }

    /// A graph attribute of the node itself. One that the caller of a function gives would have to be read in the
    /// caller's scope, with the caller's attributes, and could name itself.
    fn graph(&self, name: &str) -> Result<&'m GraphProto, Problem> {
        let own = self.node.attribute.iter().find(|a| a.name() == name);
        if let Some(outer) = own.map(|a| a.ref_attr_name()).filter(|outer| !outer.is_empty()) {
            let reason =
                format!("attribute {name} is the graph {outer} of the function's caller, which is not supported");
            return Err(self.problem(reason));
        }
        own.and_then(|a| a.g.as_ref()).ok_or_else(|| self.problem(format!("attribute {name} is missing")))
    }

    /// Imports a graph attribute as a body with inputs of these types. May be called again with other types: the body
    /// of a loop is imported until the types of its carried values are stable.
    ///
    /// # Errors
    /// When the attribute is missing or the subgraph has problems, which are reported with their own nodes.
    pub fn subgraph(&mut self, name: &str, input_types: &[ValueType]) -> Result<Scoped, Problem> {
        let graph = self.graph(name)?;
        if graph.input.len() != input_types.len() {
            let reason = format!("subgraph {name} has {} inputs, {} are fed", graph.input.len(), input_types.len());
            return Err(self.problem(reason));
        }
        let location = self.location.with_detail(name);
        self.importer.subgraph(graph, input_types, &location)
    }

    /// Imports a graph attribute into the scope that is open, with these values as its inputs. With a scope opened by
    /// the caller it becomes part of a body; without one it becomes part of the network.
    ///
    /// # Errors
    /// As [`NodeContext::subgraph`].
    pub fn inline_subgraph(&mut self, name: &str, inputs: &[Handle]) -> Result<Vec<Handle>, Problem> {
        let graph = self.graph(name)?;
        if graph.input.len() != inputs.len() {
            let reason = format!("subgraph {name} has {} inputs, {} are fed", graph.input.len(), inputs.len());
            return Err(self.problem(reason));
        }
        let location = self.location.with_detail(name);
        self.importer.inline(graph, inputs, &location)
    }

    // ---- adding

    /// The builder, for what has no shortcut here.
    pub fn builder(&mut self) -> &mut NetworkBuilder {
        &mut self.importer.builder
    }

    /// A name for a size known only at run time.
    pub fn fresh_dim(&mut self, what: &str) -> Dim {
        self.importer.builder.infer.fresh(what)
    }

    /// Adds an operator; inputs may be left out.
    ///
    /// # Errors
    /// When the operator does not take these inputs.
    pub fn add_optional(&mut self, op: impl Into<Op>, inputs: &[Option<Handle>]) -> Imported {
        let added = self.importer.builder.add(op, inputs, &self.location);
        added.map(|handles| handles.to_vec()).map_err(|e| Problem::new(e.location, e.error.to_string()))
    }

    /// Adds an operator.
    ///
    /// # Errors
    /// When the operator does not take these inputs.
    pub fn add_all(&mut self, op: impl Into<Op>, inputs: &[Handle]) -> Imported {
        let inputs: Vec<Option<Handle>> = inputs.iter().copied().map(Some).collect();
        self.add_optional(op, &inputs)
    }

    /// Adds an operator and returns its first result.
    ///
    /// # Errors
    /// When the operator does not take these inputs.
    pub fn add(&mut self, op: impl Into<Op>, inputs: &[Handle]) -> Result<Handle, Problem> {
        let results = self.add_all(op, inputs)?;
        results.first().copied().ok_or_else(|| self.problem("an operator without results"))
    }

    /// Adds elementwise work, written as an expression over the inputs.
    ///
    /// # Errors
    /// When an operation gets types that it does not take.
    pub fn pointwise(
        &mut self,
        inputs: &[Handle],
        expression: impl FnOnce(&[Expr]) -> Expr,
    ) -> Result<Handle, Problem> {
        let mut operands = Vec::with_capacity(inputs.len());
        for (index, &input) in inputs.iter().enumerate() {
            operands.push(Expr::input(index, self.data_type(input)?));
        }
        let op = Expr::into_pointwise(&[expression(&operands)]).map_err(|e| self.problem(e.to_string()))?;
        self.add(op, inputs)
    }

    /// A constant.
    pub fn constant(&mut self, tensor: Tensor) -> Handle {
        self.importer.builder.constant(tensor)
    }

    /// A one-dimensional i64 constant: axes, sizes, indices.
    pub fn int_list(&mut self, values: &[i64]) -> Handle {
        self.constant(Tensor::of_i64(values))
    }

    /// A scalar constant.
    ///
    /// # Errors
    /// For the string type.
    pub fn scalar(&mut self, data_type: DataType, value: f64) -> Result<Handle, Problem> {
        match Tensor::from_floats(data_type, &[], &[value]) {
            Ok(tensor) => Ok(self.constant(tensor)),
            Err(e) => Err(self.problem(e.to_string())),
        }
    }

    /// Converts a tensor to another element type; nothing when it has that type.
    ///
    /// # Errors
    /// When the value is no numeric tensor.
    pub fn cast(&mut self, value: Handle, to: DataType) -> Result<Handle, Problem> {
        if self.data_type(value)? == to {
            return Ok(value);
        }
        self.pointwise(&[value], |x| x.first().map_or_else(|| Expr::constant(to, 0.0), |x| x.cast(to)))
    }
}
