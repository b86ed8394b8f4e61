//! The same network with its nodes in another valid order and everything renamed.

use std::collections::HashMap;

use sinter_ir::{Input, Network, Output, Weight};
use sinter_ops::{Body, ValueId};
use sinter_testkit::Random;

/// Inputs and nodes in an order drawn from the seed, new names for inputs and outputs.
pub(crate) fn shuffled(network: &Network, seed: u64) -> Network {
    let mut random = Random(seed);
    let mut draw = |below: usize| random.below(below);
    let old = &network.body;
    let mut body = Body::new();
    let mut now: HashMap<ValueId, ValueId> = HashMap::new();
    let mut inputs = old.inputs().to_vec();
    while !inputs.is_empty() {
        let id = inputs.swap_remove(draw(inputs.len()));
        now.insert(id, body.add_input(old.ty(id).clone()));
    }
    let mut waiting: Vec<usize> = (0..old.nodes().len()).collect();
    let mut locations = Vec::new();
    while !waiting.is_empty() {
        // Any node whose operands are defined may be next: the search starts at a random position.
        let start = draw(waiting.len());
        let ready = |at: &usize| old.nodes()[waiting[*at]].inputs.iter().flatten().all(|id| now.contains_key(id));
        let at = (start..waiting.len()).chain(0..start).find(ready).expect("an acyclic body");
        let position = waiting.swap_remove(at);
        let node = &old.nodes()[position];
        let operands: Vec<Option<ValueId>> = node.inputs.iter().map(|id| id.map(|id| now[&id])).collect();
        let types = node.outputs.iter().map(|id| old.ty(*id).clone()).collect();
        let results = body.add_typed(node.op.clone(), &operands, types);
        now.extend(node.outputs.iter().copied().zip(results));
        locations.push(network.locations[position].clone());
    }
    body.set_outputs(old.outputs().iter().map(|id| now[id]).collect());
    let inputs = network.inputs.iter().enumerate();
    let outputs = network.outputs.iter().enumerate();
    Network {
        name: "shuffled".to_owned(),
        inputs: inputs.map(|(i, v)| Input { name: format!("a{i}"), value: now[&v.value], ..v.clone() }).collect(),
        weights: network.weights.iter().map(|w| Weight { value: now[&w.value], expr: w.expr.clone() }).collect(),
        outputs: outputs.map(|(i, v)| Output { name: format!("b{i}"), value: now[&v.value] }).collect(),
        locations,
        guards: network.guards.clone(),
        body,
    }
}
