//! The ways to compute a group: as one region or split, plain or channels last.

use sinter_backend::Region;
use sinter_base::{Dim, ValueType};
use sinter_ops::movement::{Concat, Transpose};
use sinter_ops::{Body, InferContext, Node, Op, Operands, ValueId, infer};

use crate::cover::groups::Group;
use crate::cover::{Gap, Problem};
use crate::select::{Choice, select};

/// How the elements of a value lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// As the network has it.
    Plain,
    /// With axis 1 behind all others, after leading axes of size 1 up to this rank.
    ChannelsLast(usize),
}

/// One way to compute a group.
pub(crate) struct Alternative {
    pub(crate) region: Region,
    pub(crate) inputs: Vec<Option<(ValueId, Form)>>,
    pub(crate) choice: Choice,
}

/// A group with its alternatives, of which there is at least one; control flow has none and is lowered as it is.
pub(crate) struct Served {
    pub(crate) group: Group,
    pub(crate) plain: Option<Alternative>,
    pub(crate) last: Option<Alternative>,
}

/// The type of a value in another form.
pub(crate) fn type_in(ty: &ValueType, form: Form) -> Option<ValueType> {
    let Form::ChannelsLast(rank) = form else { return Some(ty.clone()) };
    let tensor = ty.as_tensor()?;
    let dims = tensor.dims().ok()?;
    let mut all = vec![Dim::constant(1); rank.checked_sub(dims.len())?];
    all.extend_from_slice(dims);
    let widened = ValueType::tensor(tensor.data_type, all);
    let op = Op::from(Transpose::to_channels_last(rank));
    infer(&op, &Operands::new(&[Some(&widened)]), &mut InferContext::default()).ok()?.pop()
}

/// Finds the alternatives of a group; a group that is cheaper in parts is served as its parts.
pub(crate) fn serve(problem: &Problem<'_>, group: Group, served: &mut Vec<Served>, gaps: &mut Vec<Gap>) {
    if !problem.body.nodes()[group.node].op.bodies().is_empty() {
        served.push(Served { group, plain: None, last: None });
        return;
    }
    let Some(tail) = group.tail else { return serve_node(problem, group.node, served, gaps) };
    let plain = choose(problem, plain_region(problem, &group)).ok();
    let last = last_region(problem, &group).and_then(|parts| choose(problem, parts).ok());
    let (mut parts, mut part_gaps) = (Vec::new(), Vec::new());
    serve_node(problem, group.node, &mut parts, &mut part_gaps);
    serve_node(problem, tail, &mut parts, &mut part_gaps);
    let cost = |a: &Option<Alternative>| a.as_ref().map_or(f64::INFINITY, |a| a.choice.candidate.estimate);
    let fused = cost(&plain).min(cost(&last));
    let split: f64 = parts.iter().map(|p| cost(&p.plain).min(cost(&p.last))).sum();
    if fused.is_finite() && (fused <= split || !part_gaps.is_empty()) {
        served.push(Served { group, plain, last });
    } else {
        served.extend(parts);
        gaps.extend(part_gaps);
    }
}

fn serve_node(problem: &Problem<'_>, node: usize, served: &mut Vec<Served>, gaps: &mut Vec<Gap>) {
    let group = Group { node, tail: None };
    let last = last_region(problem, &group).and_then(|parts| choose(problem, parts).ok());
    match choose(problem, plain_region(problem, &group)) {
        Ok(plain) => served.push(Served { group, plain: Some(plain), last }),
        Err(_) if last.is_some() => served.push(Served { group, plain: None, last }),
        Err(refusals) => gaps.push(Gap { node, refusals }),
    }
}

/// A region before anyone was asked.
type Parts = (Body, Vec<Option<(ValueId, Form)>>);

fn choose(problem: &Problem<'_>, parts: Parts) -> Result<Alternative, Vec<(String, sinter_backend::Refusal)>> {
    let (body, inputs) = parts;
    let is_weight = |input: &Option<(ValueId, Form)>| input.is_some_and(|(id, _)| (problem.weight)(id).is_some());
    let constants = inputs.iter().enumerate().filter(|(_, input)| is_weight(input)).map(|(i, _)| i).collect();
    let region = Region::new(body).with_constants(constants);
    let choice = select(&region, problem.back_end, problem.device, problem.evidence)?;
    Ok(Alternative { region, inputs, choice })
}

fn plain_region(problem: &Problem<'_>, group: &Group) -> Parts {
    let outer = problem.body;
    let node = &outer.nodes()[group.node];
    let mut body = Body::new();
    let mut inputs = Vec::new();
    let mut operands = Vec::new();
    for input in &node.inputs {
        let id = input.map(|id| body.add_input(outer.ty(id).clone()));
        operands.push(id);
        // The operands of a single operator are numbered by its inputs; those of more by the inputs of the body.
        if id.is_some() || group.tail.is_none() {
            inputs.push(input.map(|id| (id, Form::Plain)));
        }
    }
    let types = node.outputs.iter().map(|id| outer.ty(*id).clone()).collect();
    let mut outputs = body.add_typed(node.op.clone(), &operands, types).to_vec();
    if let Some(tail) = group.tail {
        let tail = &outer.nodes()[tail];
        let mut operands = Vec::new();
        for input in tail.inputs.iter().flatten() {
            operands.push(Some(if node.outputs.contains(input) {
                outputs[0]
            } else {
                inputs.push(Some((*input, Form::Plain)));
                body.add_input(outer.ty(*input).clone())
            }));
        }
        let types = tail.outputs.iter().map(|id| outer.ty(*id).clone()).collect();
        outputs = body.add_typed(tail.op.clone(), &operands, types).to_vec();
    } else {
        outputs.truncate(read_outputs(problem, node).len());
    }
    body.set_outputs(outputs);
    (body, inputs)
}

/// Results of a node that anybody reads, up to the last of them; operators whose kernels take fewer results than they
/// have save the work for the rest.
pub(crate) fn read_outputs<'a>(problem: &Problem<'_>, node: &'a Node) -> &'a [ValueId] {
    if !matches!(node.op, Op::Attention(_)) {
        return &node.outputs;
    }
    let body = problem.body;
    let is_read = |id: &ValueId| {
        body.outputs().contains(id) || body.nodes().iter().any(|reader| reader.inputs.contains(&Some(*id)))
    };
    let count = node.outputs.iter().rposition(is_read).map_or(1, |last| last + 1);
    &node.outputs[..count]
}

/// The group in channels-last layout; `None` where that makes no sense.
fn last_region(problem: &Problem<'_>, group: &Group) -> Option<Parts> {
    let outer = problem.body;
    let node = &outer.nodes()[group.node];
    let rank = rank_of(outer.ty(*node.outputs.first()?))?;
    let form = Form::ChannelsLast(rank);
    if rank < 3 || node.outputs.len() != 1 {
        return None;
    }
    let mut body = Body::new();
    let mut inputs = Vec::new();
    let product = match &node.op {
        Op::Convolution(_) | Op::Pool(_) => {
            let mut operands = Vec::new();
            for (index, input) in node.inputs.iter().enumerate() {
                let Some(id) = *input else {
                    operands.push(None);
                    continue;
                };
                let ty = outer.ty(id);
                if index == 0 {
                    let moved = body.add_input(type_in(ty, form)?);
                    inputs.push(Some((id, form)));
                    let back = Transpose::to_channels_first(rank);
                    operands.push(Some(body.add_typed(back.into(), &[Some(moved)], vec![ty.clone()])[0]));
                } else {
                    inputs.push(Some((id, Form::Plain)));
                    operands.push(Some(body.add_input(ty.clone())));
                }
            }
            let ty = outer.ty(node.outputs[0]);
            let product = body.add_typed(node.op.clone(), &operands, vec![ty.clone()])[0];
            let last = Transpose::to_channels_last(rank);
            body.add_typed(last.into(), &[Some(product)], vec![type_in(ty, form)?])[0]
        }
        Op::Pointwise(_) => last_pointwise(problem, group.node, None, rank, &mut body, &mut inputs)?,
        Op::Concat(op) => {
            let mut operands = Vec::new();
            for input in node.inputs.iter().flatten() {
                inputs.push(Some((*input, form)));
                operands.push(Some(body.add_input(type_in(outer.ty(*input), form)?)));
            }
            let axis = usize::try_from(if op.axis < 0 { op.axis + i64::try_from(rank).ok()? } else { op.axis }).ok()?;
            let axis = Transpose::to_channels_last(rank).permutation?.iter().position(|a| *a == axis)?;
            let moved = Concat { axis: i64::try_from(axis).ok()? };
            body.add_typed(moved.into(), &operands, vec![type_in(outer.ty(node.outputs[0]), form)?])[0]
        }
        _ => return None,
    };
    let output = match group.tail {
        None => product,
        Some(tail) => last_pointwise(problem, tail, Some((node.outputs[0], product)), rank, &mut body, &mut inputs)?,
    };
    body.set_outputs(vec![output]);
    Some((body, inputs))
}

fn rank_of(ty: &ValueType) -> Option<usize> {
    ty.as_tensor()?.dims().ok().map(<[Dim]>::len)
}

/// Adds a pointwise operator on values that lie channels last; `product` stands in for a value made inside.
fn last_pointwise(
    problem: &Problem<'_>,
    node: usize,
    product: Option<(ValueId, ValueId)>,
    rank: usize,
    body: &mut Body,
    inputs: &mut Vec<Option<(ValueId, Form)>>,
) -> Option<ValueId> {
    let outer = problem.body;
    let node = &outer.nodes()[node];
    let form = Form::ChannelsLast(rank);
    let [result] = node.outputs[..] else { return None };
    if rank_of(outer.ty(result))? != rank {
        return None;
    }
    let mut operands = Vec::new();
    for input in node.inputs.iter().flatten() {
        if let Some((outside, inside)) = product
            && *input == outside
        {
            operands.push(Some(inside));
            continue;
        }
        let ty = outer.ty(*input);
        let dims = ty.as_tensor()?.dims().ok()?;
        let is_single = dims.iter().all(|d| *d == Dim::constant(1));
        let form = if is_single {
            Form::Plain
        } else if dims.len() == rank || (problem.weight)(*input).is_some() {
            form
        } else {
            return None;
        };
        inputs.push(Some((*input, form)));
        operands.push(Some(body.add_input(type_in(ty, form)?)));
    }
    let ty = type_in(outer.ty(result), form)?;
    Some(body.add_typed(node.op.clone(), &operands, vec![ty])[0])
}
