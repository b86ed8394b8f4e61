//! Walking a model: inputs, weights, nodes in order, functions and subgraphs in their name scopes.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use sinter_base::{DataType, Dim, Location, Tensor, TensorType, ValueType};
use sinter_ir::{Handle, Network, NetworkBuilder, Scoped};

use crate::context::{ImportFn, NodeContext};
use crate::decode::decode_file;
use crate::error::{ImportError, Problem};
use crate::external::ExternalData;
use crate::inlining::{Functions, check_inlining, key_of};
use crate::names::check_names;
use crate::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto};
use crate::sort::execution_order;
use crate::table;
use crate::tensor::{sparse_to_tensor, to_tensor};
use crate::types::value_type;

/// Limit of imported nodes, counting those of a loop's body once per import.
const MAX_NODES: usize = 2_000_000;

/// The caller's options for a model.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Concrete sizes of inputs by name. A symbolic dimension pinned by one input is pinned everywhere. Inputs that
    /// have an initializer are constants and have no sizes to choose, unless they stay inputs.
    pub shapes: HashMap<String, Vec<usize>>,
    /// Inputs that stay inputs although they have an initializer: it is their default. Other names have no effect.
    pub runtime_inputs: HashSet<String>,
    /// Bytes that tensors made from compressed descriptions (sparse weights) may take together.
    pub max_bytes: usize,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { shapes: HashMap::new(), runtime_inputs: HashSet::new(), max_bytes: 1 << 31 }
    }
}

/// Imports a model file.
///
/// # Errors
/// When the file cannot be read, or with all problems of the model at once.
pub fn import_file(path: &Path, options: &ImportOptions) -> Result<Network, ImportError> {
    let model = decode_file(path)?;
    let folder = path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    import_model(&model, folder, options)
}

/// Imports a decoded model; `folder` is where its external data lies.
///
/// # Errors
/// All problems of the model at once.
pub fn import_model(
    model: &ModelProto,
    folder: Option<&Path>,
    options: &ImportOptions,
) -> Result<Network, ImportError> {
    let Some(graph) = &model.graph else {
        return Err(ImportError::Model(vec![Problem::new(Location::default(), "the model has no graph")]));
    };
    let mut importer = Importer::new(model, folder, options);
    importer.problems = check_names(model);
    let misfits = importer.import_inputs(graph);
    if !misfits.is_empty() {
        return Err(ImportError::Shapes(misfits));
    }
    check_inlining(graph, &importer.functions).map_err(|problem| ImportError::Model(vec![problem]))?;
    importer.import_nodes(&graph.node);
    let (mut outputs, mut names) = (Vec::with_capacity(graph.output.len()), HashSet::new());
    for output in &graph.output {
        let Some(handle) = importer.output(output.name()) else { continue };
        importer.check_declared(output, handle);
        // An output that is listed twice is one: results are known by name.
        if names.insert(output.name()) {
            outputs.push((output.name().to_owned(), handle));
        }
    }
    if !importer.problems.is_empty() {
        // A problem inside a function that is called twice is found twice.
        let mut told = HashSet::new();
        importer.problems.retain(|problem| told.insert(problem.to_string()));
        return Err(ImportError::Model(importer.problems));
    }
    Ok(importer.builder.finish(graph.name(), &outputs))
}

/// The value of a name.
#[derive(Clone, Debug)]
pub(crate) enum Binding<'m> {
    /// A value.
    Value(Handle),
    /// A weight that nothing has used yet.
    Weight(&'m crate::proto::TensorProto),
    /// A sparse weight that nothing has used yet.
    SparseWeight(&'m crate::proto::SparseTensorProto),
    /// A function's parameter that the call leaves out: an empty input for the function's nodes.
    LeftOut,
    /// Nothing: the outputs of a node that could not be imported. Its readers are skipped silently, its own problem is
    /// reported already.
    Failed,
}

/// Names of one graph or function.
#[derive(Debug, Default)]
struct Names<'m> {
    bindings: HashMap<&'m str, Binding<'m>>,
    /// A function does not see the names of its caller.
    closed: bool,
}

/// Attributes that a function's nodes refer to, and operator set versions in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame<'m> {
    pub(crate) attributes: HashMap<&'m str, &'m AttributeProto>,
    pub(crate) opsets: Arc<HashMap<&'m str, i64>>,
}

/// The operator that a node names.
#[derive(Clone, Copy)]
enum Operator<'m> {
    /// A function of the model.
    Function(&'m FunctionProto),
    /// A row of the table.
    Listed { import: ImportFn, version: i64 },
}

pub(crate) struct Importer<'m> {
    pub(crate) builder: NetworkBuilder,
    pub(crate) external: ExternalData,
    pub(crate) problems: Vec<Problem>,
    functions: Functions<'m>,
    names: Vec<Names<'m>>,
    frames: Vec<Frame<'m>>,
    shapes: HashMap<String, Vec<usize>>,
    runtime_inputs: HashSet<String>,
    /// Bytes that sparse tensors may still take.
    sparse_bytes_left: usize,
    node_count: usize,
    /// Operator sets newer than the newest known, each reported once.
    unknown_versions: HashSet<(&'m str, i64)>,
}

/// The default domain has two spellings.
pub(crate) fn domain_of(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

impl<'m> Importer<'m> {
    fn new(model: &'m ModelProto, folder: Option<&Path>, options: &ImportOptions) -> Self {
        let functions = model.functions.iter().map(|f| ((domain_of(f.domain()), f.name(), f.overload()), f)).collect();
        let opsets = model.opset_import.iter().map(|o| (domain_of(o.domain()), o.version())).collect();
        Self {
            builder: NetworkBuilder::new(),
            external: ExternalData::beneath(folder),
            problems: Vec::new(),
            functions,
            names: vec![Names::default()],
            frames: vec![Frame { attributes: HashMap::new(), opsets: Arc::new(opsets) }],
            shapes: options.shapes.clone(),
            runtime_inputs: options.runtime_inputs.clone(),
            sparse_bytes_left: options.max_bytes,
            node_count: 0,
            unknown_versions: HashSet::new(),
        }
    }

    pub(crate) fn frame(&self) -> Frame<'m> {
        self.frames.last().cloned().unwrap_or_default()
    }

    pub(crate) fn problem(&mut self, location: Location, reason: impl Into<String>) {
        self.problems.push(Problem::new(location, reason));
    }

    fn bind(&mut self, name: &'m str, binding: Binding<'m>) {
        if let Some(scope) = self.names.last_mut() {
            scope.bindings.insert(name, binding);
        }
    }

    fn bind_weights(&mut self, graph: &'m GraphProto) {
        for tensor in &graph.initializer {
            self.bind(tensor.name(), Binding::Weight(tensor));
        }
        for sparse in &graph.sparse_initializer {
            let name = sparse.values.as_ref().map(|v| v.name()).unwrap_or_default();
            self.bind(name, Binding::SparseWeight(sparse));
        }
    }

    /// The declared type of a graph input or output.
    fn declared_type(&mut self, info: &ValueInfoProto) -> Result<ValueType, String> {
        let proto = info.r#type.as_ref().ok_or("it has no type")?;
        let builder = &mut self.builder;
        value_type(proto, &mut |name| match name {
            Some(name) => Dim::symbol(name),
            None => builder.infer.fresh("input"),
        })
    }

    /// Adds the inputs, those with an initializer as weights unless they stay inputs; returns the errors of the
    /// requested shapes.
    fn import_inputs(&mut self, graph: &'m GraphProto) -> Vec<Problem> {
        self.bind_weights(graph);
        let mut misfits = self.unknown_shapes(graph);
        let mut pinned: HashMap<String, i64> = HashMap::new();
        let mut typed = Vec::new();
        for info in &graph.input {
            let location = Location::default().with_detail(&format!("input '{}'", info.name()));
            let declared = match self.declared_type(info) {
                Ok(declared) => declared,
                Err(reason) => {
                    self.problem(location, reason);
                    self.bind(info.name(), Binding::Failed);
                    continue;
                }
            };
            let ty = match self.shapes.get(info.name()).cloned() {
                None => declared.clone(),
                Some(sizes) => match pin(&declared, &sizes, &mut pinned) {
                    Ok(ty) => ty,
                    Err(reason) => {
                        misfits.push(Problem::new(location, reason));
                        declared.clone()
                    }
                },
            };
            typed.push((info, declared, ty));
        }
        for (info, declared, ty) in typed {
            let name = info.name();
            let ty = ty.map_dims(&|dim| dim.substitute(&|name| pinned.get(name).map(|&v| Dim::constant(v))));
            let has_initializer = matches!(self.lookup(name), Some(Binding::Weight(_) | Binding::SparseWeight(_)));
            // Before IR version 4 every weight had to be listed as an input, and many exporters go on doing so. An
            // overridable input could be neither folded nor packed, so the importer treats such inputs as weights.
            if has_initializer && !self.runtime_inputs.contains(name) {
                continue;
            }
            let mut default = None;
            if has_initializer {
                match self.default_of(name, &declared) {
                    // An initializer that does not fit the requested sizes is ignored.
                    Ok(tensor) => default = Some(tensor).filter(|tensor| fits(tensor, &ty)),
                    Err(reason) => {
                        let location = Location::default().with_detail(&format!("initializer '{name}'"));
                        self.problem(location, reason);
                    }
                }
            }
            let handle = self.builder.add_network_input(name, ty, default);
            self.bind(name, Binding::Value(handle));
        }
        misfits
    }

    /// The initializer of an input that stays one.
    fn default_of(&mut self, name: &'m str, declared: &ValueType) -> Result<Tensor, String> {
        let tensor = match self.lookup(name) {
            Some(Binding::Weight(proto)) => to_tensor(proto, &mut self.external)?,
            Some(Binding::SparseWeight(proto)) => {
                sparse_to_tensor(proto, &mut self.external, &mut self.sparse_bytes_left)?
            }
            _ => return Err("the input has none".to_owned()),
        };
        if fits(&tensor, declared) {
            return Ok(tensor);
        }
        Err(format!("its type is {}, that of the input {declared}", TensorType::of(&tensor)))
    }

    /// Shapes for names that are no inputs.
    fn unknown_shapes(&self, graph: &GraphProto) -> Vec<Problem> {
        let is_weight = |name: &str| {
            let binding = self.lookup(name);
            let is_weight = matches!(binding, Some(Binding::Weight(_) | Binding::SparseWeight(_)));
            is_weight && !self.runtime_inputs.contains(name)
        };
        let known: Vec<&str> = graph.input.iter().map(|i| i.name()).filter(|name| !is_weight(name)).collect();
        let mut unknown: Vec<&String> = self.shapes.keys().filter(|name| !known.contains(&name.as_str())).collect();
        unknown.sort();
        let problem = |name: &String| {
            let reason = if graph.input.iter().any(|input| input.name() == name) {
                "it has a value in the model and is built in as a constant; name it among the runtime inputs to keep it \
                 an input"
                    .to_owned()
            } else {
                format!("the model has no such input; it has {}", known.join(", "))
            };
            Problem::new(Location::default().with_detail(&format!("input '{name}'")), reason)
        };
        unknown.into_iter().map(problem).collect()
    }

    fn lookup(&self, name: &str) -> Option<Binding<'m>> {
        for scope in self.names.iter().rev() {
            if let Some(binding) = scope.bindings.get(name) {
                return Some(binding.clone());
            }
            if scope.closed {
                return None;
            }
        }
        None
    }

    /// Replaces a binding where it was made.
    fn rebind(&mut self, name: &'m str, binding: Binding<'m>) {
        for scope in self.names.iter_mut().rev() {
            if let Some(slot) = scope.bindings.get_mut(name) {
                *slot = binding;
                return;
            }
            if scope.closed {
                return;
            }
        }
    }

    /// The value of a name. `Ok(None)` when it comes from a node whose problem is reported already.
    fn value(&mut self, name: &'m str) -> Result<Option<Handle>, String> {
        let (tensor, weight_name) = match self.lookup(name) {
            Some(Binding::Value(handle)) => return Ok(Some(handle)),
            Some(Binding::Failed) => return Ok(None),
            Some(Binding::Weight(proto)) => (to_tensor(proto, &mut self.external), name),
            Some(Binding::SparseWeight(proto)) => {
                (sparse_to_tensor(proto, &mut self.external, &mut self.sparse_bytes_left), name)
            }
            Some(Binding::LeftOut) => return Err(format!("the call leaves out '{name}'")),
            None => return Err(format!("nothing defines '{name}'")),
        };
        match tensor {
            Ok(tensor) => {
                let handle = self.builder.add_weight(weight_name, tensor);
                self.rebind(name, Binding::Value(handle));
                Ok(Some(handle))
            }
            Err(reason) => {
                self.rebind(name, Binding::Failed);
                self.problem(Location::default().with_detail(&format!("initializer '{name}'")), reason);
                Ok(None)
            }
        }
    }

    fn output(&mut self, name: &'m str) -> Option<Handle> {
        match self.value(name) {
            Ok(handle) => handle,
            Err(reason) => {
                self.problem(Location::default().with_detail(&format!("output '{name}'")), reason);
                None
            }
        }
    }

    /// Compares an output with its declared element type. Declared sizes are often wrong, and inference replaces them;
    /// another element type means that the nodes do not compute what the exporter intended.
    fn check_declared(&mut self, output: &ValueInfoProto, handle: Handle) {
        let found = self.builder.ty(handle);
        let declared = output.r#type.as_ref().and_then(|proto| value_type(proto, &mut |_| Dim::constant(1)).ok());
        if let (Some(declared), Some(found)) = (declared.as_ref().and_then(element), element(found))
            && declared != found
        {
            let reason =
                format!("the model declares elements of type {declared}, its nodes make {found}; correct either");
            self.problem(Location::default().with_detail(&format!("output '{}'", output.name())), reason);
        }
    }

    fn import_nodes(&mut self, nodes: &'m [NodeProto]) {
        match execution_order(nodes) {
            Ok(order) => {
                for node in order.into_iter().filter_map(|i| nodes.get(i)) {
                    self.import_node(node);
                }
            }
            Err(cyclic) => {
                for node in cyclic.into_iter().filter_map(|i| nodes.get(i)) {
                    self.problem(location_of(node), "the node depends on its own output");
                }
                self.survey(nodes);
            }
        }
    }

    fn import_node(&mut self, node: &'m NodeProto) {
        let location = location_of(node);
        self.node_count += 1;
        if self.node_count == MAX_NODES {
            self.problem(location.clone(), format!("more than {MAX_NODES} nodes would be imported"));
        }
        let operator = self.operator(node, &location);
        let mut inputs = Vec::with_capacity(node.input.len());
        let mut ready = self.node_count < MAX_NODES;
        for name in &node.input {
            if name.is_empty() || matches!(self.lookup(name), Some(Binding::LeftOut)) {
                inputs.push(None);
                continue;
            }
            match self.value(name) {
                Ok(Some(handle)) => inputs.push(Some(handle)),
                Ok(None) => ready = false,
                Err(reason) => {
                    ready = false;
                    self.problem(location.clone(), reason);
                }
            }
        }
        let outputs = match operator {
            Some(operator) if ready => self.import_ready_node(node, operator, inputs, &location),
            _ => {
                self.survey_inside(node);
                None
            }
        };
        for (position, name) in node.output.iter().enumerate().filter(|(_, n)| !n.is_empty()) {
            let binding = match &outputs {
                None => Binding::Failed,
                Some(handles) => match handles.get(position) {
                    Some(handle) => Binding::Value(*handle),
                    None => {
                        self.problem(location.clone(), format!("output {position} ('{name}') is not supported"));
                        Binding::Failed
                    }
                },
            };
            self.bind(name, binding);
        }
    }

    fn import_ready_node(
        &mut self,
        node: &'m NodeProto,
        operator: Operator<'m>,
        inputs: Vec<Option<Handle>>,
        location: &Location,
    ) -> Option<Vec<Handle>> {
        let (import, version) = match operator {
            Operator::Function(function) => return self.call_function(function, node, &inputs),
            Operator::Listed { import, version } => (import, version),
        };
        let mut cx = NodeContext::new(self, node, inputs, version, location.clone());
        match import(&mut cx) {
            Ok(outputs) => Some(outputs),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    /// Looks up the operator that a node names; an unknown operator is a problem, even if the inputs of the node have
    /// problems.
    fn operator(&mut self, node: &'m NodeProto, location: &Location) -> Option<Operator<'m>> {
        let domain = domain_of(node.domain());
        if let Some(function) = self.functions.get(&key_of(node)).copied() {
            return Some(Operator::Function(function));
        }
        let Some(version) = self.frames.last().and_then(|frame| frame.opsets.get(domain).copied()) else {
            let reason = format!("the model imports no operator set for domain '{domain}'");
            self.problem(location.clone(), reason);
            return None;
        };
        let domain_name = if domain.is_empty() { "ai.onnx" } else { domain };
        if let Some(newest) = table::newest(domain).filter(|newest| version > *newest) {
            if self.unknown_versions.insert((domain, version)) {
                let reason = format!(
                    "version {version} of operator set {domain_name} is not known, only versions up to {newest}, and may give \
                     {} another meaning; export the model with version {newest} or older",
                    node.op_type()
                );
                self.problem(location.clone(), reason);
            }
            return None;
        }
        let import = table::find(domain, node.op_type(), version);
        if import.is_none() {
            self.problem(location.clone(), table::unsupported(domain_name, domain, node.op_type(), version));
        }
        import.map(|import| Operator::Listed { import, version })
    }

    /// Looks up the operators of nodes that are not imported, so that all unsupported operators are reported at once.
    fn survey(&mut self, nodes: &'m [NodeProto]) {
        for node in nodes {
            self.operator(node, &location_of(node));
            self.survey_inside(node);
        }
    }

    /// The same for the nested nodes: those of its graphs, or of the function that it calls.
    fn survey_inside(&mut self, node: &'m NodeProto) {
        for graph in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
            self.survey(&graph.node);
        }
        if let Some(function) = self.functions.get(&key_of(node)).copied() {
            self.frames.push(self.frame_of(function, HashMap::new()));
            self.survey(&function.node);
            self.frames.pop();
        }
    }

    /// The frame inside a function that is called here.
    fn frame_of(&self, function: &'m FunctionProto, attributes: HashMap<&'m str, &'m AttributeProto>) -> Frame<'m> {
        let mut opsets: HashMap<&'m str, i64> = (*self.frame().opsets).clone();
        opsets.extend(function.opset_import.iter().map(|o| (domain_of(o.domain()), o.version())));
        Frame { attributes, opsets: Arc::new(opsets) }
    }

    fn call_function(
        &mut self,
        function: &'m FunctionProto,
        call: &'m NodeProto,
        inputs: &[Option<Handle>],
    ) -> Option<Vec<Handle>> {
        let caller = self.frame();
        let mut attributes: HashMap<&'m str, &'m AttributeProto> =
            function.attribute_proto.iter().map(|a| (a.name(), a)).collect();
        for attribute in &call.attribute {
            let actual = match attribute.ref_attr_name() {
                "" => Some(attribute),
                outer => caller.attributes.get(outer).copied(),
            };
            attributes.extend(actual.map(|a| (attribute.name(), a)));
        }
        self.frames.push(self.frame_of(function, attributes));
        self.names.push(Names { closed: true, ..Names::default() });
        for (position, name) in function.input.iter().enumerate() {
            let given = inputs.get(position).copied().flatten();
            self.bind(name, given.map_or(Binding::LeftOut, Binding::Value));
        }
        let before = self.problems.len();
        self.import_nodes(&function.node);
        let outputs: Option<Vec<Handle>> = function.output.iter().map(|name| self.output(name)).collect();
        self.names.pop();
        self.frames.pop();
        if self.problems.len() > before { None } else { outputs }
    }

    /// Imports a subgraph as a body with inputs of these types.
    pub(crate) fn subgraph(
        &mut self,
        graph: &'m GraphProto,
        input_types: &[ValueType],
        location: &Location,
    ) -> Result<Scoped, Problem> {
        let before = self.problems.len();
        self.builder.open_scope();
        self.names.push(Names::default());
        self.bind_weights(graph);
        for (info, ty) in graph.input.iter().zip(input_types) {
            let handle = self.builder.add_scope_input(ty.clone());
            self.bind(info.name(), Binding::Value(handle));
        }
        self.import_nodes(&graph.node);
        let outputs: Option<Vec<Handle>> = graph.output.iter().map(|o| self.output(o.name())).collect();
        self.names.pop();
        match outputs {
            Some(outputs) if self.problems.len() == before => Ok(self.builder.close_scope(&outputs)),
            _ => {
                self.builder.abandon_scope();
                // The inner problems are reported already; this one names their outer node.
                Err(Problem::new(location.clone(), format!("its subgraph '{}' could not be imported", graph.name())))
            }
        }
    }

    /// Imports the nodes of a subgraph into the scope that is open, with these values as its inputs.
    pub(crate) fn inline(
        &mut self,
        graph: &'m GraphProto,
        inputs: &[Handle],
        location: &Location,
    ) -> Result<Vec<Handle>, Problem> {
        let before = self.problems.len();
        self.names.push(Names::default());
        self.bind_weights(graph);
        for (info, handle) in graph.input.iter().zip(inputs) {
            self.bind(info.name(), Binding::Value(*handle));
        }
        self.import_nodes(&graph.node);
        let outputs: Option<Vec<Handle>> = graph.output.iter().map(|o| self.output(o.name())).collect();
        self.names.pop();
        match outputs {
            Some(outputs) if self.problems.len() == before => Ok(outputs),
            _ => Err(Problem::new(location.clone(), format!("its subgraph '{}' could not be imported", graph.name()))),
        }
    }

    /// A tensor attribute as a host tensor.
    pub(crate) fn tensor(&mut self, proto: &'m crate::proto::TensorProto) -> Result<Tensor, String> {
        to_tensor(proto, &mut self.external)
    }

    /// A sparse tensor attribute as a host tensor.
    pub(crate) fn sparse_tensor(&mut self, proto: &'m crate::proto::SparseTensorProto) -> Result<Tensor, String> {
        sparse_to_tensor(proto, &mut self.external, &mut self.sparse_bytes_left)
    }
}

pub(crate) fn location_of(node: &NodeProto) -> Location {
    let name = match node.name() {
        "" => node.output.iter().find(|n| !n.is_empty()).map_or("", String::as_str),
        name => name,
    };
    Location::of_node(node.op_type(), name)
}

/// The element type of a tensor or of a sequence's tensors.
fn element(ty: &ValueType) -> Option<DataType> {
    match ty {
        ValueType::Tensor(tensor) => Some(tensor.data_type),
        ValueType::Sequence(item) | ValueType::Optional(item) => element(item),
    }
}

/// Is the tensor of this type, whatever its symbolic sizes are?
fn fits(tensor: &Tensor, ty: &ValueType) -> bool {
    let ValueType::Tensor(ty) = ty else { return false };
    let Ok(dims) = ty.dims() else { return tensor.data_type() == ty.data_type };
    let same_size =
        |(dim, size): (&Dim, &usize)| dim.as_constant().is_none_or(|known| usize::try_from(known) == Ok(*size));
    tensor.data_type() == ty.data_type
        && dims.len() == tensor.sizes().len()
        && dims.iter().zip(tensor.sizes()).all(same_size)
}

/// Replaces the dimensions of a declared type by concrete sizes and remembers what each symbol became.
fn pin(ty: &ValueType, sizes: &[usize], pinned: &mut HashMap<String, i64>) -> Result<ValueType, String> {
    let ValueType::Tensor(tensor) = ty else { return Err("only tensors have a shape to pin".to_owned()) };
    if let Ok(dims) = tensor.dims() {
        if dims.len() != sizes.len() {
            return Err(format!("the given shape has {} dimensions, the model declares {ty}", sizes.len()));
        }
        for (dim, &size) in dims.iter().zip(sizes) {
            let size = i64::try_from(size).map_err(|_| format!("size {size} is too large"))?;
            match (dim.as_constant(), dim.as_symbol()) {
                (Some(declared), _) if declared != size => {
                    return Err(format!("the given shape {sizes:?} contradicts the declared {ty}"));
                }
                (None, Some(name)) => {
                    let known = *pinned.entry(name.to_owned()).or_insert(size);
                    if known != size {
                        return Err(format!("dimension {name} would be {known} and {size} at once"));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(ValueType::tensor(tensor.data_type, sizes.iter().map(|&s| Dim::from(s)).collect()))
}
