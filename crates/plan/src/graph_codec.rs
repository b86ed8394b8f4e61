//! Graphs to and from their wire form.

use sinter_backend::{Recipe, Region};

use crate::codec::{
    Decoded, MAX_DEPTH, damaged, decode_body, decode_type, encode_body, encode_type, optional, position, wire_index,
};
use crate::error::PlanError;
use crate::plan::{
    Action, Alias, BufferId, CodeId, Graph, Launch, Place, PlanValue, PlanValueId, Step, Storage, Variant, WeightId,
};
use crate::shape_program::Register;
use crate::wire;

pub(crate) fn encode_graph(graph: &Graph) -> wire::Graph {
    let all = |ids: &[PlanValueId]| ids.iter().map(|id| wire_index(id.index())).collect();
    wire::Graph {
        values: graph.values.iter().map(encode_value).collect(),
        inputs: all(&graph.inputs),
        outputs: all(&graph.outputs),
        steps: graph.steps.iter().map(encode_step).collect(),
    }
}

fn encode_value(value: &PlanValue) -> wire::Value {
    let (mut buffer, mut weight, mut part, mut registers) = (0, 0, None, None);
    match &value.storage {
        Storage::Arena(id) => buffer = wire_index(id.index() + 1),
        Storage::Weight(id) => weight = wire_index(id.index() + 1),
        Storage::Registers(elements) => {
            registers = Some(wire::Registers { elements: elements.iter().map(|r| r.0).collect() });
        }
        Storage::Alias(place) => {
            part = Some(wire::Part {
                base: wire_index(place.base.index()),
                offset: place.offset.0,
                inner: place.inner.0,
                step: place.step.0,
            });
        }
        Storage::Input | Storage::Dynamic => {}
    }
    wire::Value {
        r#type: Some(encode_type(&value.ty)),
        sizes: value.sizes.iter().flatten().map(|r| r.0).collect(),
        sized: value.sizes.is_some(),
        buffer,
        weight,
        part,
        registers,
        place: wire_index(value.place.index()),
    }
}

fn encode_variant(variant: &Variant) -> wire::Variant {
    wire::Variant {
        guards: variant.guards.iter().flat_map(|(left, right)| [left.0, right.0]).collect(),
        tactic: variant.recipe.tactic.clone(),
        parameters: variant.recipe.parameters.to_string(),
        packed: variant.packed.iter().map(|&operand| wire_index(operand)).collect(),
        replaced: variant.replaced.iter().flat_map(|(at, id)| [wire_index(*at), wire_index(id.index())]).collect(),
        workspace: variant.workspace.map_or(0, |r| r.0.saturating_add(1)),
        code: variant.code.map_or(0, |code| wire_index(code.index() + 1)),
    }
}

fn encode_step(step: &Step) -> wire::Step {
    let mut encoded = wire::Step {
        inputs: step.inputs.iter().map(|id| id.map_or(0, |id| wire_index(id.index() + 1))).collect(),
        outputs: step.outputs.iter().map(|id| wire_index(id.index())).collect(),
        origins: step.origins.clone(),
        ..wire::Step::default()
    };
    match &step.action {
        Action::Launch(Launch { region, in_place, general, special }) => {
            let wire::Variant { tactic, parameters, packed, workspace, code, .. } = encode_variant(general);
            encoded = wire::Step { tactic, parameters, packed, workspace, code, ..encoded };
            encoded.region = Some(encode_body(region.body()));
            encoded.in_place = in_place.iter().flat_map(|&(i, o)| [wire_index(i), wire_index(o)]).collect();
            encoded.variants = special.iter().map(encode_variant).collect();
        }
        Action::Copy => encoded.copy = true,
        Action::Sync => encoded.sync = true,
        Action::Alias { region } => {
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

/// Limits of the indices inside graphs.
pub(crate) struct Limits {
    pub(crate) registers: usize,
    pub(crate) weights: usize,
    pub(crate) code: usize,
    pub(crate) places: usize,
}

impl Limits {
    pub(crate) fn register(&self, value: u32) -> Decoded<Register> {
        position(value, self.registers, "register").map(|_| Register(value))
    }
}

pub(crate) fn decode_graph(graph: &wire::Graph, limits: &Limits, depth: usize) -> Decoded<Graph> {
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

/// Checks that every value is made once, before a step uses it.
fn check_order(graph: &Graph) -> Decoded<()> {
    let is_given =
        |value: &PlanValue| matches!(value.storage, Storage::Input | Storage::Weight(_) | Storage::Registers(_));
    let mut made: Vec<bool> = graph.values.iter().map(is_given).collect();
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
        Ok(Storage::Alias(Alias {
            base: PlanValueId::new(position(part.base, count, "value")?),
            offset: limits.register(part.offset)?,
            inner: limits.register(part.inner)?,
            step: limits.register(part.step)?,
        }))
    };
    let part = value.part.as_ref().map(part).transpose()?;
    let (buffer, weight) =
        (optional(value.buffer, count, "buffer")?, optional(value.weight, limits.weights, "weight")?);
    let registers = value.registers.as_ref().map(|registers| {
        registers.elements.iter().map(|&r| limits.register(r)).collect::<Decoded<Vec<_>>>().map(Storage::Registers)
    });
    let storage = match (buffer, weight, part.or(registers.transpose()?)) {
        (None, Some(weight), None) => Storage::Weight(WeightId::new(weight)),
        (Some(buffer), None, None) if sizes.is_some() => Storage::Arena(BufferId::new(buffer)),
        (None, None, Some(known)) if sizes.is_some() && !is_input => known,
        (None, None, None) if is_input => Storage::Input,
        (None, None, None) => Storage::Dynamic,
        _ => return damaged("a value lives in two places, or in a buffer without sizes"),
    };
    let place = Place::new(position(value.place, limits.places, "place")?);
    Ok(PlanValue { ty, sizes, storage, place })
}

/// Decodes pairs; `one` decodes each element.
fn pairs<A, B>(numbers: &[u32], what: &str, one: impl Fn(u32, u32) -> Decoded<(A, B)>) -> Decoded<Vec<(A, B)>> {
    let pair = |pair: &[u32]| match pair {
        [a, b] => one(*a, *b),
        _ => damaged(format!("{what} are cut")),
    };
    numbers.chunks(2).map(pair).collect()
}

/// Decodes a kernel of a step with this many operands, in a graph with this many values.
fn decode_variant(variant: &wire::Variant, limits: &Limits, operands: usize, count: usize) -> Decoded<Variant> {
    let wrong = |e: &dyn std::fmt::Display| PlanError::damaged(format!("parameters of {}: {e}", variant.tactic));
    let operand = |at: u32| position(at, operands, "operand");
    Ok(Variant {
        guards: pairs(&variant.guards, "guards", |a, b| Ok((limits.register(a)?, limits.register(b)?)))?,
        recipe: Recipe {
            tactic: variant.tactic.clone(),
            parameters: variant.parameters.parse().map_err(|e| wrong(&e))?,
        },
        packed: variant.packed.iter().map(|&at| operand(at)).collect::<Decoded<_>>()?,
        replaced: pairs(&variant.replaced, "replaced operands", |at, id| {
            Ok((operand(at)?, PlanValueId::new(position(id, count, "value")?)))
        })?,
        workspace: variant.workspace.checked_sub(1).map(|r| limits.register(r)).transpose()?,
        code: optional(variant.code, limits.code, "machine code")?.map(CodeId::new),
    })
}

fn decode_step(step: &wire::Step, limits: &Limits, count: usize, depth: usize) -> Decoded<Step> {
    let inputs = step
        .inputs
        .iter()
        .map(|&i| Ok(optional(i, count, "value")?.map(PlanValueId::new)))
        .collect::<Decoded<Vec<_>>>()?;
    let outputs =
        step.outputs.iter().map(|&o| position(o, count, "value").map(PlanValueId::new)).collect::<Decoded<Vec<_>>>()?;
    let origins = step.origins.clone();
    if step.copy {
        return match (inputs.as_slice(), outputs.as_slice(), &step.region) {
            ([Some(_)], [_], None) => Ok(Step { action: Action::Copy, inputs, outputs, origins }),
            _ => damaged("a copy has other operands than one, other results than one, or a region"),
        };
    }
    if step.sync {
        return match (inputs.iter().all(Option::is_some), outputs.is_empty(), &step.region) {
            (true, true, None) => Ok(Step { action: Action::Sync, inputs, outputs, origins }),
            _ => damaged("a step that reads sizes has results, a region, or lacks an operand"),
        };
    }
    let body = step.region.as_ref().ok_or_else(|| PlanError::damaged("a step has no region"))?;
    let region = Region::new(decode_body(body, 0)?);
    let (given, declared) = (inputs.iter().flatten().count(), region.body().inputs().len());
    // The bodies of control flow own the weights that they capture; the step omits them.
    let is_control = !step.placed && step.tactic.is_empty();
    if declared != given && !(is_control && given < declared) || region.body().outputs().len() != outputs.len() {
        return damaged("a step and its region differ in operands or results");
    }
    let action = if step.placed {
        Action::Alias { region }
    } else if is_control {
        let graphs = step.graphs.iter().map(|g| decode_graph(g, limits, depth + 1)).collect::<Decoded<Vec<_>>>()?;
        Action::Control { region, graphs }
    } else {
        let general = wire::Variant {
            tactic: step.tactic.clone(),
            parameters: step.parameters.clone(),
            packed: step.packed.clone(),
            workspace: step.workspace,
            code: step.code,
            ..wire::Variant::default()
        };
        let variant = |variant: &wire::Variant| decode_variant(variant, limits, inputs.len(), count);
        Action::Launch(Launch {
            region,
            in_place: pairs(&step.in_place, "in-place pairs", |i, o| {
                Ok((position(i, inputs.len(), "operand")?, position(o, outputs.len(), "result")?))
            })?,
            general: variant(&general)?,
            special: step.variants.iter().map(variant).collect::<Decoded<_>>()?,
        })
    };
    Ok(Step { action, inputs, outputs, origins })
}
