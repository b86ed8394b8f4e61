//! Makes the steps of a cover: the chosen alternatives in order, with conversions between formats.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_backend::Region;
use sinter_base::{Dim, Tensor, ValueType};
use sinter_ir::WeightExpr;
use sinter_ops::ValueId;
use sinter_ops::movement::{Reshape, Transpose};

use crate::choose::cover::alternatives::{Alternative, ScoredGroup};
use crate::choose::cover::conversions::{Format, conversion_region, type_in};
use crate::choose::cover::formats::scaled;
use crate::choose::cover::islands::{Islands, copy_time};
use crate::choose::cover::problem::{Costs, Cover, CoverStep, Problem, UnsupportedNode, Work};
use crate::choose::cover::repeated::Repeated;
use crate::choose::select::select;

struct Emitter<'a> {
    problem: &'a Problem<'a>,
    islands: &'a Islands,
    cover: Cover,
    /// Values that exist, by format.
    formats: HashMap<(ValueId, Format), ValueId>,
    repeated: Repeated,
}

/// Makes the steps; `labels` holds the alternative of each group.
pub(crate) fn emit(
    problem: &Problem<'_>,
    islands: &Islands,
    scored: Vec<ScoredGroup>,
    labels: &[usize],
) -> Result<Cover, Vec<UnsupportedNode>> {
    let body = problem.body;
    let types: Vec<ValueType> = (0..body.value_count()).map(|i| body.ty(ValueId::new(i)).clone()).collect();
    let cover = Cover {
        types,
        weights: Vec::new(),
        on_island: Vec::new(),
        known: Vec::new(),
        outputs: Vec::new(),
        steps: Vec::new(),
        costs: Costs::default(),
    };
    let repeated = Repeated::of(problem, scored.iter());
    let mut emitter = Emitter { problem, islands, cover, formats: HashMap::new(), repeated };
    for id in body.inputs() {
        let format = if islands.is_native(*id) { Format::Island } else { Format::Plain };
        emitter.is_made(*id, format, *id);
    }
    // Values that are known before a run exist in plain format.
    for id in (0..body.value_count()).map(ValueId::new).filter(|id| (problem.is_known)(*id)) {
        emitter.formats.insert((id, Format::Plain), id);
    }
    for (scored, &label) in scored.into_iter().zip(labels) {
        if emitter.repeated.has(&scored) {
            continue;
        }
        emitter.add(scored, label).map_err(|node| vec![node])?;
    }
    for id in body.outputs() {
        let output = emitter.value(*id, islands.result_format(problem, *id), 0).map_err(|node| vec![node])?;
        emitter.cover.outputs.push(output);
    }
    let costs = emitter.cover.steps.iter().map(|step| scaled(step.work.estimate()));
    emitter.cover.costs.emitted = costs.fold(0, i64::saturating_add);
    Ok(emitter.cover)
}

impl Emitter<'_> {
    fn add(&mut self, scored: ScoredGroup, label: usize) -> Result<(), UnsupportedNode> {
        let ScoredGroup { group, results, alternatives, is_island } = scored;
        let first = group.node();
        let body = self.problem.body;
        let Some(alternative) = alternatives.into_iter().nth(label) else {
            // Control flow reads and makes values in plain format.
            let node = &body.nodes()[first];
            let mut inputs = Vec::new();
            for input in &node.inputs {
                inputs.push(input.map(|id| self.value(id, Format::Plain, first)).transpose()?);
            }
            let types = |ids: &[ValueId]| ids.iter().map(|id| body.ty(*id).clone()).collect::<Vec<_>>();
            let operands: Vec<Option<ValueType>> =
                node.inputs.iter().map(|id| id.map(|id| body.ty(id).clone())).collect();
            let shell = node.op.with_bodies(vec![Arc::default(); node.op.bodies().len()]);
            let region = Region::single(shell, &operands, types(&node.outputs));
            for id in &results {
                self.formats.insert((*id, Format::Plain), *id);
            }
            let outputs = node.outputs.to_vec();
            self.cover.steps.push(CoverStep { work: Work::Control(region), inputs, outputs, nodes: vec![first] });
            return Ok(());
        };
        if let (None, [Some((operand, format))], [result]) =
            (&alternative.choice, &alternative.inputs[..], &alternative.results[..])
        {
            let operand = self.value(*operand, *format, first)?;
            self.formats.insert((results[0], *result), operand);
            return Ok(());
        }
        let mut inputs = Vec::new();
        for input in alternative.inputs {
            inputs.push(input.map(|(id, format)| self.value(id, format, first)).transpose()?);
        }
        let mut outputs = Vec::new();
        let types = alternative.region.body().output_types();
        for ((id, format), ty) in results.iter().zip(alternative.results).zip(types) {
            let made = if self.is_native(*id, format) { *id } else { self.fresh(ty) };
            self.is_made(*id, format, made);
            if is_island && format != Format::Island {
                // It needs no memory, but its kernel runs there.
                self.cover.on_island.push(made);
            }
            outputs.push(made);
        }
        let nodes = group.nodes;
        let Alternative { region, choice, .. } = alternative;
        let choice = choice.ok_or(UnsupportedNode { node: first, refusals: Vec::new() })?;
        self.cover.steps.push(CoverStep { work: Work::Launch(region, choice), inputs, outputs, nodes });
        Ok(())
    }

    /// Is this the format of the value with the network's own id?
    fn is_native(&self, id: ValueId, format: Format) -> bool {
        format == if self.islands.is_native(id) { Format::Island } else { Format::Plain }
    }

    /// Records that a value exists in a format, as `made`.
    fn is_made(&mut self, id: ValueId, format: Format, made: ValueId) {
        self.formats.insert((id, format), made);
        if format == Format::Island {
            self.cover.on_island.push(made);
        }
    }

    fn fresh(&mut self, ty: ValueType) -> ValueId {
        self.cover.types.push(ty);
        ValueId::new(self.cover.types.len() - 1)
    }

    /// Returns the value in `format`, and inserts a conversion before `node` if needed.
    fn value(&mut self, id: ValueId, format: Format, node: usize) -> Result<ValueId, UnsupportedNode> {
        let id = self.repeated.value(id);
        if let Some(known) = self.formats.get(&(id, format)) {
            return Ok(*known);
        }
        let body = self.problem.body;
        let plain = body.ty(id);
        let ty = type_in(plain, format).unwrap_or_else(|| plain.clone());
        let made = if let Some(weight) = self.problem.weight(id) {
            // A value that a node makes is that node's result.
            let made = if format == Format::Plain { id } else { self.fresh(ty) };
            self.cover.weights.push((made, moved_weight(weight, plain, format)));
            made
        } else if format == Format::Island && (self.problem.is_known)(id) {
            let made = self.fresh(ty);
            self.cover.known.push((id, made));
            made
        } else if format == Format::Island || format == Format::Plain && self.islands.is_native(id) {
            let from = if format == Format::Island { Format::Plain } else { Format::Island };
            let source = self.value(id, from, node)?;
            let made = self.fresh(ty);
            self.convert(Work::Copy { estimate: copy_time(self.problem, id) }, source, made, node);
            made
        } else {
            let rank = plain.as_tensor().and_then(|t| t.dims().ok()).map_or(0, <[Dim]>::len);
            let from = if format == Format::Plain { Format::ChannelsLast(rank) } else { Format::Plain };
            // Every value exists in the format of its maker.
            let source = if self.islands.is_native(id) { Some(self.value(id, from, node)?) } else { None };
            let source = source.or(self.formats.get(&(id, from)).copied()).unwrap_or(id);
            let unsupported = |refusals| UnsupportedNode { node, refusals };
            let region = conversion_region(self.problem, id, format).ok_or_else(|| unsupported(Vec::new()))?;
            let choice = select(&region, self.problem.back_end, self.problem.target, self.problem.database);
            let choice = choice.map_err(unsupported)?;
            let made = if format == Format::Plain { id } else { self.fresh(ty) };
            self.convert(Work::Launch(region, choice), source, made, node);
            made
        };
        self.is_made(id, format, made);
        Ok(made)
    }

    /// Adds a step that makes another format of a value, for `node`.
    fn convert(&mut self, work: Work, from: ValueId, to: ValueId, node: usize) {
        self.cover.steps.push(CoverStep { work, inputs: vec![Some(from)], outputs: vec![to], nodes: vec![node] });
    }
}

/// A weight in another format, as an expression of it.
fn moved_weight(weight: Arc<WeightExpr>, ty: &ValueType, format: Format) -> Arc<WeightExpr> {
    let Format::ChannelsLast(rank) = format else { return weight };
    let sizes = ty.as_tensor().and_then(|t| t.shape.sizes()).unwrap_or_default();
    let mut widened = vec![1i64; rank.saturating_sub(sizes.len())];
    widened.extend(sizes.iter().map(|&s| i64::try_from(s).unwrap_or(i64::MAX)));
    let shape = WeightExpr::source("", Tensor::of_i64(&widened));
    let reshaped = WeightExpr::Apply {
        op: Reshape { allow_zero: true }.into(),
        inputs: vec![Some(weight), Some(Arc::new(shape))],
        output: 0,
    };
    Arc::new(WeightExpr::Apply {
        op: Transpose::to_channels_last(rank).into(),
        inputs: vec![Some(Arc::new(reshaped))],
        output: 0,
    })
}
