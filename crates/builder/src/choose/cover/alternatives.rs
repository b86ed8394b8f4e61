//! The alternatives of a group: each is a region with the formats in which it reads and writes.

use std::collections::HashMap;

use sinter_backend::{Candidate, GraphView, Region};
use sinter_base::quantization::Granularity;
use sinter_base::{Dim, ValueType};
use sinter_ops::movement::{Concat, Transpose};
use sinter_ops::quantize::{Dequantize, Quantize};
use sinter_ops::{Body, Node, Op, ValueId};

use crate::choose::cover::conversions::{Format, has_conversions, type_in};
use crate::choose::cover::groups::Group;
use crate::choose::cover::problem::{Island, has_place};
use crate::choose::cover::problem::{Problem, UnsupportedNode};
use crate::choose::select::{best, select};

/// One alternative to compute a group.
pub(crate) struct Alternative {
    pub(crate) region: Region,
    pub(crate) inputs: Vec<Option<(ValueId, Format)>>,
    /// By result of the group.
    pub(crate) results: Vec<Format>,
    /// The kernel; `None` where no step is needed, since the result is the operand in another format.
    pub(crate) choice: Option<Candidate>,
}

impl Alternative {
    /// Its cost in nanoseconds.
    pub(crate) fn cost(&self) -> f64 {
        self.choice.as_ref().map_or(0.0, |choice| choice.estimate)
    }

    /// Does it read and write values in plain format only?
    fn is_plain(&self) -> bool {
        let operands = self.inputs.iter().flatten().map(|(_, format)| format);
        operands.chain(&self.results).all(|format| *format == Format::Plain)
    }
}

/// A group with its alternatives, of which there is at least one. Control flow has none, and is lowered as it is.
pub(crate) struct ScoredGroup {
    pub(crate) group: Group,
    /// Values that other groups read, in the order of its alternatives' results.
    pub(crate) results: Vec<ValueId>,
    /// Alternatives with plain formats only come first.
    pub(crate) alternatives: Vec<Alternative>,
    /// Does it run on the island?
    pub(crate) is_island: bool,
}

impl ScoredGroup {
    /// The cost of the cheapest alternative, in nanoseconds.
    pub(crate) fn cost(&self) -> f64 {
        self.alternatives.iter().map(Alternative::cost).min_by(f64::total_cmp).unwrap_or(0.0)
    }

    /// Do all alternatives read and write values in plain format?
    pub(crate) fn is_plain(&self) -> bool {
        self.alternatives.iter().all(Alternative::is_plain)
    }
}

/// Finds the alternatives of a group.
///
/// # Errors
/// Why it has none.
pub(crate) fn score(
    problem: &Problem<'_>,
    graph: &GraphView<'_>,
    group: Group,
) -> Result<ScoredGroup, UnsupportedNode> {
    let results = group.results(graph);
    if !problem.body.nodes()[group.node()].op.bodies().is_empty() {
        return Ok(ScoredGroup { group, results, alternatives: Vec::new(), is_island: false });
    }
    let reads = |node: &usize| problem.body.nodes()[*node].inputs.iter().flatten();
    let is_dequantized = |id: &ValueId| problem.folding.dequantization(*id).is_some();
    let has_stored = problem.may_join && group.nodes.iter().flat_map(reads).any(is_dequantized);
    let cheapest = |of: &dyn Fn(Weights) -> Option<Parts>| {
        let stored = has_stored.then(|| of(Weights::Stored).map(|parts| choose(problem, parts))).flatten();
        of(Weights::Folded).map(|parts| cheaper(choose(problem, parts), stored))
    };
    let mut alternatives = Vec::new();
    let mut refusals = Vec::new();
    match cheapest(&|weights| Some(plain_region(problem, &group, &results, weights))) {
        Some(Ok(plain)) => alternatives.push(plain),
        Some(Err(reasons)) => refusals = reasons,
        None => {}
    }
    if problem.may_join || alternatives.is_empty() {
        for source in [Source::Last, Source::Plain] {
            let last = cheapest(&|weights| last_region(problem, &group, &results, weights, source));
            alternatives.extend(last.and_then(Result::ok));
        }
    }
    if problem.may_join {
        alternatives.extend(renamed(problem, &group, graph));
    }
    if !alternatives.iter().any(Alternative::is_plain) {
        // Nothing guarantees that the neighbours make and read these formats too.
        alternatives
            .retain(|alternative| has_conversions(problem, &alternative.inputs, &results, &alternative.results));
    }
    if let [node] = group.nodes[..]
        && (problem.is_alias)(node)
    {
        let choices = alternatives.iter_mut().filter_map(|alternative| alternative.choice.as_mut());
        choices.for_each(|choice| choice.estimate = 0.0);
    }
    if !alternatives.is_empty() {
        return Ok(ScoredGroup { group, results, alternatives, is_island: false });
    }
    match on_island(problem, &group, &results) {
        Some(alternative) => Ok(ScoredGroup { group, results, alternatives: vec![alternative], is_island: true }),
        None => Err(UnsupportedNode { node: group.node(), refusals }),
    }
}

/// A single operator on the island.
fn on_island(problem: &Problem<'_>, group: &Group, results: &[ValueId]) -> Option<Alternative> {
    let Island { back_end, target } = problem.island.filter(|_| group.nodes.len() == 1)?;
    let (body, inputs, _) = plain_region(problem, group, results, Weights::Folded);
    let region = region_of(problem, body, &inputs);
    let choice = best(&region, back_end, target, problem.database).ok()?;
    let place = |id: ValueId| if has_place(problem.body.ty(id)) { Format::Island } else { Format::Plain };
    let inputs = inputs.into_iter().map(|input| input.map(|(id, _)| (id, place(id)))).collect();
    let results = results.iter().map(|id| place(*id)).collect();
    Some(Alternative { region, inputs, results, choice: Some(choice) })
}

/// A transposition without work: its result is its operand in channels-last format, or the other way round.
fn renamed(problem: &Problem<'_>, group: &Group, graph: &GraphView<'_>) -> Option<Alternative> {
    let [node] = group.nodes[..] else { return None };
    let node = &problem.body.nodes()[node];
    let (Op::Transpose(op), [Some(x)], [y]) = (&node.op, &node.inputs[..], &node.outputs[..]) else { return None };
    let rank = op.permutation.as_ref()?.len();
    // A result of the body keeps its value; a weight keeps its stored layout.
    if rank < 3 || graph.is_result(*y) || graph.is_weight(*x) {
        return None;
    }
    let (x_type, y_type) = (problem.body.ty(*x), problem.body.ty(*y));
    let last = Format::ChannelsLast(rank);
    let (from, to) = match op {
        op if *op == Transpose::to_channels_last(rank) && type_in(x_type, last)? == *y_type => (last, Format::Plain),
        op if *op == Transpose::to_channels_first(rank) && type_in(y_type, last)? == *x_type => (Format::Plain, last),
        _ => return None,
    };
    let region = Region::single(op.clone().into(), &[Some(x_type.clone())], vec![y_type.clone()]);
    Some(Alternative { region, inputs: vec![Some((*x, from))], results: vec![to], choice: None })
}

/// How a channels-last region reads an image by windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// In channels-last format too.
    Last,
    /// In plain format, for kernels that copy the image anyway.
    Plain,
}

/// How a region reads weights that are stored quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weights {
    /// The plan dequantizes them in advance.
    Folded,
    /// The region dequantizes them.
    Stored,
}

/// Why there is no alternative, by tactic.
type Refusals = Vec<(String, sinter_backend::Refusal)>;

/// The cheaper of two alternatives; the first of equal ones.
fn cheaper(
    first: Result<Alternative, Refusals>,
    second: Option<Result<Alternative, Refusals>>,
) -> Result<Alternative, Refusals> {
    match (first, second) {
        (Ok(first), Some(Ok(second))) if second.cost() < first.cost() => Ok(second),
        (Err(_), Some(Ok(second))) => Ok(second),
        (first, _) => first,
    }
}

/// A region before tactics are queried: its body, its operands and the format of its results.
type Parts = (Body, Vec<Option<(ValueId, Format)>>, Format);

fn choose(problem: &Problem<'_>, parts: Parts) -> Result<Alternative, Refusals> {
    let (body, inputs, format) = parts;
    let region = region_of(problem, body, &inputs);
    let choice = select(&region, problem.back_end, problem.target, problem.database)?;
    let results = vec![format; region.body().outputs().len()];
    Ok(Alternative { region, inputs, results, choice: Some(choice) })
}

fn region_of(problem: &Problem<'_>, body: Body, inputs: &[Option<(ValueId, Format)>]) -> Region {
    let is_weight = |input: &Option<(ValueId, Format)>| input.is_some_and(|(id, _)| problem.weight(id).is_some());
    let constants = inputs.iter().enumerate().filter(|(_, input)| is_weight(input)).map(|(i, _)| i).collect();
    Region::new(body).with_constants(constants)
}

fn plain_region(problem: &Problem<'_>, group: &Group, results: &[ValueId], weights: Weights) -> Parts {
    let outer = problem.body;
    if let ([node], Weights::Folded) = (&group.nodes[..], weights) {
        // The operator's inputs number the operands of a single operator.
        let node = &outer.nodes()[*node];
        let types: Vec<_> = node.inputs.iter().map(|input| input.map(|id| outer.ty(id).clone())).collect();
        let mut body = Body::new();
        let operands: Vec<_> = types.into_iter().map(|ty| ty.map(|ty| body.add_input(ty))).collect();
        let types = node.outputs.iter().map(|id| outer.ty(*id).clone()).collect();
        let made = body.add_typed(node.op.clone(), &operands, types);
        body.set_outputs(made[..results.len()].to_vec());
        return (body, node.inputs.iter().map(|input| input.map(|id| (id, Format::Plain))).collect(), Format::Plain);
    }
    let mut inner = Inner::new(problem, group, weights);
    for &node in &group.nodes {
        let node = &outer.nodes()[node];
        let operands: Vec<_> = node.inputs.iter().map(|input| input.map(|id| inner.plain(id))).collect();
        let types = node.outputs.iter().map(|id| outer.ty(*id).clone()).collect();
        let made = inner.body.add_typed(node.op.clone(), &operands, types);
        inner.made.extend(node.outputs.iter().copied().zip(made));
    }
    inner.finish(results, Format::Plain)
}

/// The group in channels-last format; `None` where that makes no sense.
fn last_region(
    problem: &Problem<'_>,
    group: &Group,
    results: &[ValueId],
    weights: Weights,
    source: Source,
) -> Option<Parts> {
    let outer = problem.body;
    let rank = rank_of(outer.ty(*outer.nodes()[group.node()].outputs.first()?))?;
    if rank < 3 {
        return None;
    }
    let mut inner = Inner::new(problem, group, weights);
    for &node in &group.nodes {
        let node = &outer.nodes()[node];
        let [result] = node.outputs[..] else { return None };
        if rank_of(outer.ty(result))? != rank {
            return None;
        }
        let made = match &node.op {
            Op::Convolution(_) | Op::Pool(_) => inner.last_windows(node, rank, source)?,
            Op::Pointwise(_) => inner.last_pointwise(node, rank)?,
            Op::Concat(op) => inner.last_concat(op, node, rank)?,
            Op::Quantize(op) => {
                let granularity = last_granularity(op.granularity, rank)?;
                inner.last_quantization(Quantize { granularity, ..op.clone() }, node, rank)?
            }
            Op::Dequantize(op) => {
                let granularity = last_granularity(op.granularity, rank)?;
                inner.last_quantization(Dequantize { granularity, ..op.clone() }, node, rank)?
            }
            _ => return None,
        };
        inner.made.insert(result, made);
    }
    if source == Source::Plain && !inner.reads_plain_image {
        return None;
    }
    Some(inner.finish(results, Format::ChannelsLast(rank)))
}

/// The granularity of scales, with the channels last.
fn last_granularity(granularity: Granularity, rank: usize) -> Option<Granularity> {
    match granularity {
        Granularity::Tensor => Some(granularity),
        Granularity::Axis { axis } => {
            let axis = Transpose::to_channels_last(rank).permutation?.iter().position(|from| *from == axis)?;
            Some(Granularity::Axis { axis })
        }
        Granularity::Block { .. } => None,
    }
}

fn rank_of(ty: &ValueType) -> Option<usize> {
    ty.as_tensor()?.dims().ok().map(<[Dim]>::len)
}

/// The body of a region as it grows.
struct Inner<'a> {
    problem: &'a Problem<'a>,
    body: Body,
    inputs: Vec<Option<(ValueId, Format)>>,
    /// The operator's inputs number the operands of a single operator, so that a repeated operand counts twice.
    is_single: bool,
    weights: Weights,
    /// Does a convolution read its image in plain format?
    reads_plain_image: bool,
    /// Values of the network that the region makes, in the region's format.
    made: HashMap<ValueId, ValueId>,
}

impl<'a> Inner<'a> {
    fn new(problem: &'a Problem<'a>, group: &Group, weights: Weights) -> Self {
        let is_single = group.nodes.len() == 1 && weights == Weights::Folded;
        let (body, inputs, made) = (Body::new(), Vec::new(), HashMap::new());
        Self { problem, body, inputs, is_single, weights, reads_plain_image: false, made }
    }

    /// The operand that holds a value in a format. In a region of several operators every value is one operand.
    fn operand(&mut self, id: ValueId, format: Format) -> Option<ValueId> {
        if self.weights == Weights::Stored
            && format == Format::Plain
            && let Some(position) = self.problem.folding.dequantization(id)
        {
            return self.dequantized(id, position);
        }
        if !self.is_single
            && let Some(position) = self.inputs.iter().position(|known| *known == Some((id, format)))
        {
            return Some(self.body.inputs()[position]);
        }
        let ty = type_in(self.problem.body.ty(id), format)?;
        self.inputs.push(Some((id, format)));
        Some(self.body.add_input(ty))
    }

    /// A weight that the region dequantizes by this node.
    fn dequantized(&mut self, id: ValueId, position: usize) -> Option<ValueId> {
        if let Some(known) = self.made.get(&id) {
            return Some(*known);
        }
        let outer = self.problem.body;
        let node = &outer.nodes()[position];
        let operands: Vec<_> = node.inputs.iter().map(|input| input.map(|id| self.plain(id))).collect();
        let made = self.body.add_typed(node.op.clone(), &operands, vec![outer.ty(id).clone()])[0];
        self.made.insert(id, made);
        Some(made)
    }

    /// The value in plain format.
    fn plain(&mut self, id: ValueId) -> ValueId {
        let known = self.made.get(&id).copied().or_else(|| self.operand(id, Format::Plain));
        // Every value has a type in plain format.
        known.unwrap_or(id)
    }

    /// The value in channels-last format.
    fn last(&mut self, id: ValueId, rank: usize) -> Option<ValueId> {
        self.made.get(&id).copied().or_else(|| self.operand(id, Format::ChannelsLast(rank)))
    }

    /// An operator on windows of its first operand; its other operands stay unchanged.
    fn last_windows(&mut self, node: &Node, rank: usize, source: Source) -> Option<ValueId> {
        let outer = self.problem.body;
        let mut operands = Vec::new();
        for (index, input) in node.inputs.iter().enumerate() {
            let is_image = index == 0 && matches!(node.op, Op::Convolution(_)) && source == Source::Plain;
            operands.push(match *input {
                Some(id) if is_image && !self.made.contains_key(&id) => {
                    self.reads_plain_image = true;
                    Some(self.operand(id, Format::Plain)?)
                }
                Some(id) if index == 0 => {
                    let moved = self.last(id, rank)?;
                    let back = Transpose::to_channels_first(rank);
                    Some(self.body.add_typed(back.into(), &[Some(moved)], vec![outer.ty(id).clone()])[0])
                }
                Some(id) => Some(self.operand(id, Format::Plain)?),
                None => None,
            });
        }
        let ty = outer.ty(node.outputs[0]);
        let product = self.body.add_typed(node.op.clone(), &operands, vec![ty.clone()])[0];
        let last = Transpose::to_channels_last(rank);
        let ty = type_in(ty, Format::ChannelsLast(rank))?;
        Some(self.body.add_typed(last.into(), &[Some(product)], vec![ty])[0])
    }

    fn last_concat(&mut self, op: &Concat, node: &Node, rank: usize) -> Option<ValueId> {
        let mut operands = Vec::new();
        for input in node.inputs.iter().flatten() {
            operands.push(Some(self.last(*input, rank)?));
        }
        let axis = usize::try_from(if op.axis < 0 { op.axis + i64::try_from(rank).ok()? } else { op.axis }).ok()?;
        let axis = Transpose::to_channels_last(rank).permutation?.iter().position(|a| *a == axis)?;
        let moved = Concat { axis: i64::try_from(axis).ok()? };
        let ty = type_in(self.problem.body.ty(node.outputs[0]), Format::ChannelsLast(rank))?;
        Some(self.body.add_typed(moved.into(), &operands, vec![ty])[0])
    }

    /// Scales and zero points are lists, which stay unchanged.
    fn last_quantization(&mut self, op: impl Into<Op>, node: &Node, rank: usize) -> Option<ValueId> {
        let mut operands = Vec::new();
        for (index, input) in node.inputs.iter().enumerate() {
            operands.push(match *input {
                Some(id) if index == 0 => Some(self.last(id, rank)?),
                Some(id) => Some(self.operand(id, Format::Plain)?),
                None => None,
            });
        }
        let ty = type_in(self.problem.body.ty(node.outputs[0]), Format::ChannelsLast(rank))?;
        Some(self.body.add_typed(op.into(), &operands, vec![ty])[0])
    }

    fn last_pointwise(&mut self, node: &Node, rank: usize) -> Option<ValueId> {
        let outer = self.problem.body;
        let mut operands = Vec::new();
        for &id in node.inputs.iter().flatten() {
            let dims = outer.ty(id).as_tensor()?.dims().ok()?;
            let is_single = dims.iter().all(|d| *d == Dim::constant(1));
            operands.push(Some(if is_single && !self.made.contains_key(&id) {
                self.operand(id, Format::Plain)?
            } else if dims.len() == rank || self.problem.weight(id).is_some() {
                self.last(id, rank)?
            } else {
                return None;
            }));
        }
        let ty = type_in(outer.ty(node.outputs[0]), Format::ChannelsLast(rank))?;
        Some(self.body.add_typed(node.op.clone(), &operands, vec![ty])[0])
    }

    fn finish(mut self, results: &[ValueId], format: Format) -> Parts {
        let outputs = results.iter().filter_map(|id| self.made.get(id).copied()).collect();
        self.body.set_outputs(outputs);
        (self.body, self.inputs, format)
    }
}
