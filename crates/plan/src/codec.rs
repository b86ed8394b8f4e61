//! Plans to and from their wire form. Reading checks every index: a plan that decodes can be run without surprises.

use sinter_backend::{Recipe, Region, Target};
use sinter_base::{Attr, DataType, Dim, KnownValue, Shape, TensorType, ValueType};
use sinter_ops::{Body, Op, ValueId, catalog};

use crate::error::PlanError;
use crate::plan::{Action, BufferId, Graph, Home, Part, PlanGuard, PlanValue, PlanValueId, Port, Step, WeightId};
use crate::sealed::Sealed;
use crate::sealed_codec::{decode_vector, encode_vector};
use crate::shape_program::{Operation, Register, ShapeProgram};
use crate::wire;

/// Deeper nesting of types and bodies than this is refused.
const MAX_DEPTH: usize = 32;

type Decoded<T> = Result<T, PlanError>;

fn damaged<T>(reason: impl Into<String>) -> Decoded<T> {
    Err(PlanError::damaged(reason))
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn position(value: u32, limit: usize, what: &str) -> Decoded<usize> {
    match usize::try_from(value) {
        Ok(position) if position < limit => Ok(position),
        _ => damaged(format!("{what} {value} does not exist")),
    }
}

/// Position plus 1, 0 for none.
fn optional(value: u32, limit: usize, what: &str) -> Decoded<Option<usize>> {
    match value.checked_sub(1) {
        None => Ok(None),
        Some(value) => position(value, limit, what).map(Some),
    }
}

// ---- types

pub(crate) fn encode_type(ty: &ValueType) -> wire::Type {
    use wire::r#type::Kind;
    let kind = match ty {
        ValueType::Tensor(tensor) => Kind::Tensor(encode_tensor_type(tensor)),
        ValueType::Sequence(inner) => Kind::Sequence(Box::new(encode_type(inner))),
        ValueType::Optional(inner) => Kind::Optional(Box::new(encode_type(inner))),
    };
    wire::Type { kind: Some(kind) }
}

fn encode_tensor_type(ty: &TensorType) -> wire::r#type::Tensor {
    use wire::r#type::tensor::Known;
    let known = ty.value.as_deref().map(|value| match value {
        KnownValue::Ints(v) => Known::Ints(wire::r#type::Ints { values: v.iter().map(Dim::to_string).collect() }),
        KnownValue::Floats(v) => Known::Floats(wire::r#type::Floats { values: v.clone() }),
        KnownValue::Strings(v) => Known::Texts(wire::r#type::Texts { values: v.clone() }),
    });
    let dims = ty.dims().unwrap_or_default().iter().map(Dim::to_string).collect();
    wire::r#type::Tensor { data_type: ty.data_type.to_string(), ranked: ty.shape.rank().is_some(), dims, known }
}

fn decode_dims(texts: &[String]) -> Decoded<Vec<Dim>> {
    texts.iter().map(|d| d.parse().map_err(|e| PlanError::damaged(format!("{d}: {e}")))).collect()
}

pub(crate) fn decode_type(ty: &wire::Type, depth: usize) -> Decoded<ValueType> {
    use wire::r#type::Kind;
    if depth > MAX_DEPTH {
        return damaged("a type is nested too deeply");
    }
    Ok(match &ty.kind {
        Some(Kind::Tensor(tensor)) => ValueType::Tensor(decode_tensor_type(tensor)?),
        Some(Kind::Sequence(inner)) => ValueType::Sequence(Box::new(decode_type(inner, depth + 1)?)),
        Some(Kind::Optional(inner)) => ValueType::Optional(Box::new(decode_type(inner, depth + 1)?)),
        None => return damaged("a value has no type"),
    })
}

fn decode_tensor_type(ty: &wire::r#type::Tensor) -> Decoded<TensorType> {
    use wire::r#type::tensor::Known;
    let data_type: DataType = ty.data_type.parse().map_err(|e| PlanError::damaged(format!("{e}")))?;
    let shape = if ty.ranked { Shape::Ranked(decode_dims(&ty.dims)?) } else { Shape::Unranked };
    let decoded = TensorType::new(data_type, shape);
    Ok(match &ty.known {
        None => decoded,
        Some(Known::Ints(v)) => decoded.with_value(KnownValue::Ints(decode_dims(&v.values)?)),
        Some(Known::Floats(v)) => decoded.with_value(KnownValue::Floats(v.values.clone())),
        Some(Known::Texts(v)) => decoded.with_value(KnownValue::Strings(v.values.clone())),
    })
}

// ---- bodies

fn encode_body(body: &Body) -> wire::Body {
    let all = |ids: &[ValueId]| ids.iter().map(|id| number(id.index())).collect();
    let nodes = body.nodes().iter().map(|node| wire::Node {
        operator: node.op.name().to_owned(),
        attributes: node.op.to_attr().to_string(),
        inputs: node.inputs.iter().map(|id| id.map_or(0, |id| number(id.index() + 1))).collect(),
        outputs: all(&node.outputs),
        bodies: node.op.bodies().into_iter().map(|b| encode_body(b)).collect(),
    });
    wire::Body {
        types: (0..body.value_count()).map(|i| encode_type(body.ty(ValueId::new(i)))).collect(),
        inputs: all(body.inputs()),
        outputs: all(body.outputs()),
        nodes: nodes.collect(),
    }
}

fn decode_body(body: &wire::Body, depth: usize) -> Decoded<Body> {
    if depth > MAX_DEPTH {
        return damaged("a body is nested too deeply");
    }
    let types = body.types.iter().map(|t| decode_type(t, 0)).collect::<Decoded<Vec<_>>>()?;
    // Values are renumbered in order of definition; `ids` maps the file's numbers.
    let mut ids: Vec<Option<ValueId>> = vec![None; types.len()];
    let mut decoded = Body::new();
    for &input in &body.inputs {
        let at = position(input, types.len(), "value")?;
        if let (Some(slot), Some(ty)) = (ids.get_mut(at), types.get(at)) {
            *slot = Some(decoded.add_input(ty.clone()));
        }
    }
    let defined = |ids: &[Option<ValueId>], at: usize| {
        ids.get(at)
            .copied()
            .flatten()
            .ok_or_else(|| PlanError::damaged(format!("value {at} is used before it is made")))
    };
    for node in &body.nodes {
        let op = decode_operator(node, depth)?;
        let inputs = node
            .inputs
            .iter()
            .map(|&i| optional(i, types.len(), "value")?.map(|at| defined(&ids, at)).transpose())
            .collect::<Decoded<Vec<_>>>()?;
        let at = node.outputs.iter().map(|&o| position(o, types.len(), "value")).collect::<Decoded<Vec<_>>>()?;
        let result_types = at.iter().filter_map(|&a| types.get(a).cloned()).collect();
        let made = decoded.add_typed(op, &inputs, result_types);
        for (&at, id) in at.iter().zip(made) {
            if let Some(slot) = ids.get_mut(at) {
                *slot = Some(id);
            }
        }
    }
    let outputs = body
        .outputs
        .iter()
        .map(|&o| position(o, types.len(), "value").and_then(|at| defined(&ids, at)))
        .collect::<Decoded<Vec<_>>>()?;
    decoded.set_outputs(outputs);
    Ok(decoded)
}

fn decode_operator(node: &wire::Node, depth: usize) -> Decoded<Op> {
    let wrong = |e: &dyn std::fmt::Display| PlanError::damaged(format!("operator {}: {e}", node.operator));
    let info = catalog::by_name(&node.operator).ok_or_else(|| wrong(&"it is unknown to this program"))?;
    let tree: Attr = node.attributes.parse().map_err(|e| wrong(&e))?;
    let op = (info.from_attr)(&tree).map_err(|e| wrong(&e))?;
    let bodies = node.bodies.iter().map(|b| decode_body(b, depth + 1).map(Into::into)).collect::<Decoded<Vec<_>>>()?;
    Ok(if bodies.is_empty() { op } else { op.with_bodies(bodies) })
}

// ---- graphs

fn encode_graph(graph: &Graph) -> wire::Graph {
    let all = |ids: &[PlanValueId]| ids.iter().map(|id| number(id.index())).collect();
    wire::Graph {
        values: graph.values.iter().map(encode_value).collect(),
        inputs: all(&graph.inputs),
        outputs: all(&graph.outputs),
        steps: graph.steps.iter().map(encode_step).collect(),
    }
}

fn encode_value(value: &PlanValue) -> wire::Value {
    let (mut buffer, mut weight, mut part) = (0, 0, None);
    match value.home {
        Home::Arena(id) => buffer = number(id.index() + 1),
        Home::Weight(id) => weight = number(id.index() + 1),
        Home::Part(place) => {
            part = Some(wire::Part {
                whole: number(place.whole.index()),
                offset: place.offset.0,
                inner: place.inner.0,
                step: place.step.0,
            });
        }
        Home::Input | Home::Dynamic => {}
    }
    wire::Value {
        r#type: Some(encode_type(&value.ty)),
        sizes: value.sizes.iter().flatten().map(|r| r.0).collect(),
        sized: value.sizes.is_some(),
        buffer,
        weight,
        part,
    }
}

fn encode_step(step: &Step) -> wire::Step {
    let mut encoded = wire::Step {
        inputs: step.inputs.iter().map(|id| id.map_or(0, |id| number(id.index() + 1))).collect(),
        outputs: step.outputs.iter().map(|id| number(id.index())).collect(),
        origins: step.origins.clone(),
        ..wire::Step::default()
    };
    match &step.action {
        Action::Kernel { recipe, region, in_place, packed, workspace } => {
            encoded.tactic.clone_from(&recipe.tactic);
            encoded.parameters = recipe.parameters.to_string();
            encoded.region = Some(encode_body(region.body()));
            encoded.in_place = in_place.iter().flat_map(|&(i, o)| [number(i), number(o)]).collect();
            encoded.packed = packed.iter().map(|&operand| number(operand)).collect();
            encoded.workspace = workspace.map_or(0, |r| r.0.saturating_add(1));
        }
        Action::Placed { region } => {
            encoded.region = Some(encode_body(region.body()));
            encoded.placed = true;
        }
        Action::Control { region, graphs } => {
            encoded.region = Some(encode_body(region.body()));
            encoded.graphs = graphs.iter().map(encode_graph).collect();
        }
    }
    encoded
}

/// What indices inside graphs may refer to.
struct Limits {
    registers: usize,
    weights: usize,
}

impl Limits {
    fn register(&self, value: u32) -> Decoded<Register> {
        position(value, self.registers, "register").map(|_| Register(value))
    }
}

fn decode_graph(graph: &wire::Graph, limits: &Limits, depth: usize) -> Decoded<Graph> {
    if depth > MAX_DEPTH {
        return damaged("control flow is nested too deeply");
    }
    let count = graph.values.len();
    let mut decoded = Graph::default();
    let id = |value: u32| position(value, count, "value").map(PlanValueId::new);
    decoded.inputs = graph.inputs.iter().map(|&i| id(i)).collect::<Decoded<_>>()?;
    decoded.outputs = graph.outputs.iter().map(|&o| id(o)).collect::<Decoded<_>>()?;
    for (at, value) in graph.values.iter().enumerate() {
        let is_input = decoded.inputs.iter().any(|i| i.index() == at);
        decoded.values.push(decode_value(value, limits, count, is_input)?);
    }
    for step in &graph.steps {
        decoded.steps.push(decode_step(step, limits, count, depth)?);
    }
    check_order(&decoded)?;
    Ok(decoded)
}

/// Every value is made once, before it is used.
fn check_order(graph: &Graph) -> Decoded<()> {
    let mut made: Vec<bool> = graph.values.iter().map(|v| matches!(v.home, Home::Input | Home::Weight(_))).collect();
    for step in &graph.steps {
        for input in step.inputs.iter().flatten() {
            if made.get(input.index()) != Some(&true) {
                return damaged(format!("{input} is used before it is made"));
            }
        }
        for output in &step.outputs {
            match made.get_mut(output.index()) {
                Some(slot) if !*slot => *slot = true,
                _ => return damaged(format!("{output} is made twice")),
            }
        }
    }
    match graph.outputs.iter().find(|o| made.get(o.index()) != Some(&true)) {
        Some(output) => damaged(format!("the result {output} is never made")),
        None => Ok(()),
    }
}

fn decode_value(value: &wire::Value, limits: &Limits, count: usize, is_input: bool) -> Decoded<PlanValue> {
    let ty = decode_type(value.r#type.as_ref().ok_or_else(|| PlanError::damaged("a value has no type"))?, 0)?;
    let sizes = value.sizes.iter().map(|&r| limits.register(r)).collect::<Decoded<Vec<_>>>()?;
    let sizes = value.sized.then_some(sizes);
    let rank = ty.as_tensor().and_then(|t| t.shape.rank());
    if sizes.as_ref().is_some_and(|s| Some(s.len()) != rank) {
        return damaged(format!("a value of type {ty} has another number of sizes"));
    }
    let part = |part: &wire::Part| {
        Ok(Home::Part(Part {
            whole: PlanValueId::new(position(part.whole, count, "value")?),
            offset: limits.register(part.offset)?,
            inner: limits.register(part.inner)?,
            step: limits.register(part.step)?,
        }))
    };
    let part = value.part.as_ref().map(part).transpose()?;
    let (buffer, weight) =
        (optional(value.buffer, count, "buffer")?, optional(value.weight, limits.weights, "weight")?);
    let home = match (buffer, weight, part) {
        (None, Some(weight), None) => Home::Weight(WeightId::new(weight)),
        (Some(buffer), None, None) if sizes.is_some() => Home::Arena(BufferId::new(buffer)),
        (None, None, Some(part)) if sizes.is_some() && !is_input => part,
        (None, None, None) if is_input => Home::Input,
        (None, None, None) => Home::Dynamic,
        _ => return damaged("a value lives in two places, or in a buffer without sizes"),
    };
    Ok(PlanValue { ty, sizes, home })
}

fn decode_step(step: &wire::Step, limits: &Limits, count: usize, depth: usize) -> Decoded<Step> {
    let body = step.region.as_ref().ok_or_else(|| PlanError::damaged("a step has no region"))?;
    let region = Region::new(decode_body(body, 0)?);
    let inputs = step
        .inputs
        .iter()
        .map(|&i| Ok(optional(i, count, "value")?.map(PlanValueId::new)))
        .collect::<Decoded<Vec<_>>>()?;
    let outputs =
        step.outputs.iter().map(|&o| position(o, count, "value").map(PlanValueId::new)).collect::<Decoded<Vec<_>>>()?;
    let (given, declared) = (inputs.iter().flatten().count(), region.body().inputs().len());
    // Weights that the bodies of control flow capture are their own, and left out here.
    let is_control = !step.placed && step.tactic.is_empty();
    if declared != given && !(is_control && given < declared) || region.body().outputs().len() != outputs.len() {
        return damaged("a step and its region differ in operands or results");
    }
    let action = if step.placed {
        Action::Placed { region }
    } else if is_control {
        let graphs = step.graphs.iter().map(|g| decode_graph(g, limits, depth + 1)).collect::<Decoded<Vec<_>>>()?;
        Action::Control { region, graphs }
    } else {
        let parameters =
            step.parameters.parse().map_err(|e| PlanError::damaged(format!("parameters of {}: {e}", step.tactic)))?;
        let pair = |pair: &[u32]| match pair {
            [i, o] => Ok((position(*i, inputs.len(), "operand")?, position(*o, outputs.len(), "result")?)),
            _ => damaged("an in-place pair is cut"),
        };
        Action::Kernel {
            recipe: Recipe { tactic: step.tactic.clone(), parameters },
            region,
            in_place: step.in_place.chunks(2).map(pair).collect::<Decoded<_>>()?,
            packed: step.packed.iter().map(|&o| position(o, inputs.len(), "operand")).collect::<Decoded<_>>()?,
            workspace: step.workspace.checked_sub(1).map(|r| limits.register(r)).transpose()?,
        }
    };
    Ok(Step { action, inputs, outputs, origins: step.origins.clone() })
}

// ---- the whole

fn encode_peak((data_type, operations_per_second): &(DataType, f64)) -> wire::Peak {
    wire::Peak { data_type: data_type.to_string(), operations_per_second: *operations_per_second }
}

fn decode_peak(peak: &wire::Peak) -> Decoded<(DataType, f64)> {
    let data_type = peak.data_type.parse().map_err(|e| PlanError::damaged(format!("{e}")))?;
    Ok((data_type, peak.operations_per_second))
}

/// Everything of a plan but the weights' elements.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) target: Target,
    pub(crate) graph: Graph,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) shapes: ShapeProgram,
    pub(crate) guards: Vec<PlanGuard>,
    pub(crate) sealed: Option<Sealed>,
}

fn encode_port(port: &Port) -> wire::Port {
    wire::Port {
        name: port.name.clone(),
        value: number(port.value.index()),
        default_weight: port.default.map_or(0, |w| number(w.index() + 1)),
    }
}

pub(crate) fn encode(plan: &crate::plan::Plan, weights: Vec<wire::Weight>) -> wire::Metadata {
    let program = &plan.shapes;
    wire::Metadata {
        name: plan.name.clone(),
        device: Some(wire::Device {
            back_end: plan.target.back_end.clone(),
            tier: plan.target.isa.clone(),
            threads: number(plan.target.units),
            bytes_per_second: plan.target.bytes_per_second,
            peaks: plan.target.operations_per_second.iter().map(encode_peak).collect(),
        }),
        graph: Some(encode_graph(&plan.graph)),
        inputs: plan.inputs.iter().map(encode_port).collect(),
        outputs: plan.outputs.iter().map(encode_port).collect(),
        weights,
        shapes: Some(wire::ShapeProgram {
            constants: program.constants().to_vec(),
            symbols: program.symbols().to_vec(),
            instructions: program.instructions().iter().flat_map(|(op, a, b)| [op.code(), a.0, b.0]).collect(),
        }),
        guards: plan
            .guards
            .iter()
            .map(|g| wire::Guard { left: g.left.0, right: g.right.0, reason: g.reason.clone() })
            .collect(),
        sealed: plan.sealed.iter().flat_map(|s| &s.vectors).map(encode_vector).collect(),
    }
}

pub(crate) fn decode(metadata: wire::Metadata) -> Decoded<Parts> {
    let shapes = metadata.shapes.unwrap_or_default();
    let instruction = |triple: &[u32]| match triple {
        [op, a, b] => match Operation::from_code(*op) {
            Some(op) => Ok((op, Register(*a), Register(*b))),
            None => damaged(format!("the shape program has an unknown operation {op}")),
        },
        _ => damaged("the shape program is cut"),
    };
    let instructions = shapes.instructions.chunks(3).map(instruction).collect::<Decoded<Vec<_>>>()?;
    let shapes = ShapeProgram::from_parts(shapes.constants, shapes.symbols, instructions)
        .map_err(|e| PlanError::damaged(e.to_string()))?;
    let limits = Limits { registers: shapes.register_count(), weights: metadata.weights.len() };
    let graph = decode_graph(&metadata.graph.unwrap_or_default(), &limits, 0)?;
    let port = |port: wire::Port| {
        Ok(Port {
            value: PlanValueId::new(position(port.value, graph.values.len(), "value")?),
            default: optional(port.default_weight, limits.weights, "weight")?.map(WeightId::new),
            name: port.name,
        })
    };
    let inputs = metadata.inputs.into_iter().map(port).collect::<Decoded<Vec<_>>>()?;
    let outputs = metadata.outputs.into_iter().map(port).collect::<Decoded<Vec<_>>>()?;
    let guards = metadata
        .guards
        .into_iter()
        .map(|g| Ok(PlanGuard { left: limits.register(g.left)?, right: limits.register(g.right)?, reason: g.reason }))
        .collect::<Decoded<Vec<_>>>()?;
    let device = metadata.device.unwrap_or_default();
    let target = Target {
        back_end: device.back_end,
        isa: device.tier,
        units: usize::try_from(device.threads).unwrap_or(1),
        bytes_per_second: device.bytes_per_second,
        operations_per_second: device.peaks.iter().map(decode_peak).collect::<Decoded<_>>()?,
    };
    let vectors = metadata.sealed.into_iter().map(decode_vector).collect::<Decoded<Vec<_>>>()?;
    let sealed = (!vectors.is_empty()).then_some(Sealed { vectors });
    Ok(Parts { name: metadata.name, target, graph, inputs, outputs, shapes, guards, sealed })
}
