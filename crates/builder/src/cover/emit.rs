//! The pieces of a cover: chosen alternatives in order, with conversions where formats meet.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_backend::Region;
use sinter_base::{Dim, Tensor, ValueType};
use sinter_ir::WeightExpr;
use sinter_ops::ValueId;
use sinter_ops::movement::{Reshape, Transpose};

use crate::cover::alternatives::{Alternative, Form, Served, type_in};
use crate::cover::formats::{conversion_region, scaled};
use crate::cover::repeated::Repeated;
use crate::cover::{Costs, Cover, Gap, Piece, Problem};
use crate::select::select;

struct Emitter<'a> {
    problem: &'a Problem<'a>,
    cover: Cover,
    /// Values that exist, by form.
    forms: HashMap<(ValueId, Form), ValueId>,
    repeated: Repeated,
}

/// Makes the pieces; `labels` says which alternative each group takes.
pub(crate) fn emit(problem: &Problem<'_>, served: Vec<Served>, labels: &[usize]) -> Result<Cover, Vec<Gap>> {
    let body = problem.body;
    let types: Vec<ValueType> = (0..body.value_count()).map(|i| body.ty(ValueId::new(i)).clone()).collect();
    let cover = Cover { types, weights: Vec::new(), pieces: Vec::new(), costs: Costs::default() };
    let repeated = Repeated::of(problem, served.iter());
    let mut emitter = Emitter { problem, cover, forms: HashMap::new(), repeated };
    for id in body.inputs() {
        emitter.forms.insert((*id, Form::Plain), *id);
    }
    // What is there before a run is there as the network has it.
    for id in (0..body.value_count()).map(ValueId::new).filter(|id| (problem.is_known)(*id)) {
        emitter.forms.insert((id, Form::Plain), id);
    }
    for (served, &label) in served.into_iter().zip(labels) {
        if emitter.repeated.has(&served) {
            continue;
        }
        emitter.add(served, label).map_err(|gap| vec![gap])?;
    }
    for id in body.outputs() {
        emitter.value(*id, Form::Plain, 0).map_err(|gap| vec![gap])?;
    }
    let choices = emitter.cover.pieces.iter().filter_map(|piece| piece.choice.as_ref());
    emitter.cover.costs.emitted = choices.map(|choice| scaled(choice.estimate)).fold(0, i64::saturating_add);
    Ok(emitter.cover)
}

impl Emitter<'_> {
    fn add(&mut self, served: Served, label: usize) -> Result<(), Gap> {
        let Served { group, results, alternatives } = served;
        let first = group.node();
        let body = self.problem.body;
        let Some(alternative) = alternatives.into_iter().nth(label) else {
            // Control flow reads and makes plain values.
            let node = &body.nodes()[first];
            let mut inputs = Vec::new();
            for input in &node.inputs {
                inputs.push(input.map(|id| self.value(id, Form::Plain, first)).transpose()?);
            }
            let types = |ids: &[ValueId]| ids.iter().map(|id| body.ty(*id).clone()).collect::<Vec<_>>();
            let operands: Vec<Option<ValueType>> =
                node.inputs.iter().map(|id| id.map(|id| body.ty(id).clone())).collect();
            let shell = node.op.with_bodies(vec![Arc::default(); node.op.bodies().len()]);
            let region = Region::single(shell, &operands, types(&node.outputs));
            for id in &results {
                self.forms.insert((*id, Form::Plain), *id);
            }
            let outputs = node.outputs.to_vec();
            self.cover.pieces.push(Piece { region, inputs, outputs, nodes: vec![first], choice: None });
            return Ok(());
        };
        if let (None, [Some((operand, form))], [result]) =
            (&alternative.choice, &alternative.inputs[..], &alternative.results[..])
        {
            let operand = self.value(*operand, *form, first)?;
            self.forms.insert((results[0], *result), operand);
            return Ok(());
        }
        let mut inputs = Vec::new();
        for input in alternative.inputs {
            inputs.push(input.map(|(id, form)| self.value(id, form, first)).transpose()?);
        }
        let mut outputs = Vec::new();
        let types = alternative.region.body().output_types();
        for ((id, form), ty) in results.iter().zip(alternative.results).zip(types) {
            let made = if form == Form::Plain { *id } else { self.fresh(ty) };
            self.forms.insert((*id, form), made);
            outputs.push(made);
        }
        let nodes = group.nodes;
        let Alternative { region, choice, .. } = alternative;
        self.cover.pieces.push(Piece { region, inputs, outputs, nodes, choice });
        Ok(())
    }

    fn fresh(&mut self, ty: ValueType) -> ValueId {
        self.cover.types.push(ty);
        ValueId::new(self.cover.types.len() - 1)
    }

    /// The value in a form; made when it does not exist yet. `node` is whom it is made for.
    fn value(&mut self, id: ValueId, form: Form, node: usize) -> Result<ValueId, Gap> {
        let id = self.repeated.value(id);
        if let Some(known) = self.forms.get(&(id, form)) {
            return Ok(*known);
        }
        let body = self.problem.body;
        let plain = body.ty(id);
        let ty = type_in(plain, form).unwrap_or_else(|| plain.clone());
        let made = if let Some(weight) = self.problem.weight(id) {
            // One that a node makes is the node's result.
            let made = if form == Form::Plain { id } else { self.fresh(ty) };
            self.cover.weights.push((made, moved_weight(weight, plain, form)));
            made
        } else {
            let rank = plain.as_tensor().and_then(|t| t.dims().ok()).map_or(0, <[Dim]>::len);
            let from = if form == Form::Plain { Form::ChannelsLast(rank) } else { Form::Plain };
            // Every value exists in the form that it was made in.
            let source = self.forms.get(&(id, from)).copied().unwrap_or(id);
            let gap = |refusals| Gap { node, refusals };
            let region = conversion_region(self.problem, id, form).ok_or_else(|| gap(Vec::new()))?;
            let choice = select(&region, self.problem.back_end, self.problem.target, self.problem.evidence);
            let choice = choice.map_err(gap)?;
            let made = if form == Form::Plain { id } else { self.fresh(ty) };
            let piece = Piece {
                region,
                inputs: vec![Some(source)],
                outputs: vec![made],
                nodes: vec![node],
                choice: Some(choice),
            };
            self.cover.pieces.push(piece);
            made
        };
        self.forms.insert((id, form), made);
        Ok(made)
    }
}

/// A weight in another form, as an expression of it.
fn moved_weight(weight: Arc<WeightExpr>, ty: &ValueType, form: Form) -> Arc<WeightExpr> {
    let Form::ChannelsLast(rank) = form else { return weight };
    let sizes = ty.as_tensor().and_then(|t| t.shape.sizes()).unwrap_or_default();
    let mut widened = vec![1i64; rank.saturating_sub(sizes.len())];
    widened.extend(sizes.iter().map(|&s| i64::try_from(s).unwrap_or(i64::MAX)));
    let shape = WeightExpr::Source { name: "".into(), tensor: Tensor::of_i64(&widened) };
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
