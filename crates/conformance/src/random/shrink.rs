//! Removes nodes from a network that fails, as long as it still fails: a node's results become inputs, with the values
//! that the reference executor computes.

use std::collections::{BTreeSet, HashMap};

use sinter_base::{Dim, Location, Tensor, TensorType, Value, ValueType};
use sinter_interp::{evaluate_weight, run_observed};
use sinter_ir::builder::Handle;
use sinter_ir::{Network, NetworkBuilder};
use sinter_ops::{EvalContext, ReferenceEvaluator, ValueId};

use crate::random::Problem;

/// Smaller networks that are tried at most.
const MOST_TRIED: usize = 300;

/// The smallest problem found for which `fails` still holds.
pub fn reduced(problem: &Problem, fails: &dyn Fn(&Problem) -> bool) -> Problem {
    let mut smallest = problem.clone();
    let mut tried = 0;
    let mut attempt = |smallest: &mut Problem, outputs: &BTreeSet<usize>, cut: &BTreeSet<usize>| {
        tried += 1;
        let smaller = if tried > MOST_TRIED { None } else { part(smallest, outputs, cut) };
        let smaller = smaller.filter(fails);
        let is_smaller = smaller.is_some();
        *smallest = smaller.unwrap_or_else(|| smallest.clone());
        is_smaller
    };
    for output in 0..smallest.network.outputs.len() {
        if attempt(&mut smallest, &BTreeSet::from([output]), &BTreeSet::new()) {
            break;
        }
    }
    loop {
        let count = smallest.network.body.nodes().len();
        let all: BTreeSet<usize> = (0..smallest.network.outputs.len()).collect();
        let half: BTreeSet<usize> = (0..count / 2).collect();
        let is_cut = count > 3 && attempt(&mut smallest, &all, &half)
            || (0..count).any(|node| attempt(&mut smallest, &all, &BTreeSet::from([node])))
            || all.len() > 1
                && all.iter().any(|left_out| {
                    let rest = all.iter().copied().filter(|output| output != left_out).collect();
                    attempt(&mut smallest, &rest, &BTreeSet::new())
                });
        if !is_cut {
            break;
        }
    }
    let fixed = with_fixed_sizes(&smallest).filter(|fixed| fails(fixed));
    fixed.unwrap_or(smallest)
}

/// The same without inputs and weights that nothing reads.
pub(super) fn tidied(problem: &Problem) -> Option<Problem> {
    part(problem, &(0..problem.network.outputs.len()).collect(), &BTreeSet::new())
}

/// Every value of both runs.
fn values_of(problem: &Problem) -> Option<Vec<Option<[Value; 2]>>> {
    let network = &problem.network;
    let mut runs: [HashMap<ValueId, Value>; 2] = Default::default();
    for (known, set) in runs.iter_mut().zip(&problem.sets) {
        let mut see = |position: usize, results: &[Value]| {
            let node = &network.body.nodes()[position];
            known.extend(node.outputs.iter().copied().zip(results.iter().cloned()));
        };
        run_observed(network, set, &EvalContext::new(&ReferenceEvaluator), &mut see).ok()?;
    }
    let [mut first, mut second] = runs;
    let both = |at: usize| {
        let id = ValueId::new(at);
        Some([first.remove(&id)?, second.remove(&id)?])
    };
    Some((0..network.body.value_count()).map(both).collect())
}

/// The type of a value as an input: sizes that a run computes get names of their own.
fn input_type(ty: &ValueType, values: &[Value; 2], name: &str) -> ValueType {
    let (Some(ty), [Value::Tensor(a), Value::Tensor(b)]) = (ty.as_tensor(), values) else {
        return values[0].value_type();
    };
    let dims = a.sizes().iter().zip(b.sizes()).enumerate().map(|(axis, (&a, &b))| {
        let declared = ty.dims().ok().and_then(|dims| dims[axis].as_symbol()).filter(|name| !name.starts_with('?'));
        match declared {
            Some(known) => Dim::symbol(known),
            None if a == b => Dim::from(a),
            None => Dim::symbol(&format!("{name}.{axis}")),
        }
    });
    TensorType::ranked(ty.data_type, dims.collect()).into()
}

/// The part of a network that makes these outputs, with some nodes cut away.
fn part(problem: &Problem, outputs: &BTreeSet<usize>, cut: &BTreeSet<usize>) -> Option<Problem> {
    let network = &problem.network;
    let values = if cut.is_empty() { Vec::new() } else { values_of(problem)? };
    let body = &network.body;
    let mut needed: BTreeSet<ValueId> = outputs.iter().map(|at| network.outputs[*at].value).collect();
    let mut kept = BTreeSet::new();
    for (position, node) in body.nodes().iter().enumerate().rev() {
        if node.outputs.iter().any(|id| needed.contains(id)) && !cut.contains(&position) {
            kept.insert(position);
            needed.extend(node.inputs.iter().flatten());
        }
    }
    let mut builder = NetworkBuilder::new();
    let mut handles: HashMap<ValueId, Handle> = HashMap::new();
    let mut sets: [HashMap<String, Value>; 2] = Default::default();
    for input in network.inputs.iter().filter(|input| needed.contains(&input.value)) {
        handles.insert(input.value, builder.add_network_input(&input.name, body.ty(input.value).clone(), None));
        for (set, known) in sets.iter_mut().zip(&problem.sets) {
            set.insert(input.name.clone(), known.get(&input.name)?.clone());
        }
    }
    for (index, weight) in network.weights.iter().enumerate().filter(|(_, weight)| needed.contains(&weight.value)) {
        let tensor = evaluate_weight(&weight.expr).ok()?;
        handles.insert(weight.value, builder.add_weight(&format!("w{index}"), tensor));
    }
    for (position, node) in body.nodes().iter().enumerate() {
        if kept.contains(&position) {
            let operands: Option<Vec<Option<Handle>>> = node
                .inputs
                .iter()
                .map(|id| match id {
                    Some(id) => handles.get(id).copied().map(Some),
                    None => Some(None),
                })
                .collect();
            let results = builder.add(node.op.clone(), &operands?, &Location::default()).ok()?;
            handles.extend(node.outputs.iter().copied().zip(results));
            continue;
        }
        for id in node.outputs.iter().filter(|id| needed.contains(id)) {
            let known = values[id.index()].clone()?;
            let name = format!("v{}", id.index());
            let is_taken = |name: &String| network.inputs.iter().any(|input| input.name == *name);
            let name = std::iter::successors(Some(name), |name| Some(format!("{name}'"))).find(|name| !is_taken(name));
            let name = name.unwrap_or_default();
            handles.insert(*id, builder.add_network_input(&name, input_type(body.ty(*id), &known, &name), None));
            for (set, value) in sets.iter_mut().zip(known) {
                set.insert(name.clone(), value);
            }
        }
    }
    let named = |at: &usize| {
        let output = &network.outputs[*at];
        Some((output.name.clone(), *handles.get(&output.value)?))
    };
    let outputs: Option<Vec<(String, Handle)>> = outputs.iter().map(named).collect();
    Some(Problem { network: builder.finish(&network.name, &outputs?), sets })
}

/// The same with the sizes of the first run alone.
fn with_fixed_sizes(problem: &Problem) -> Option<Problem> {
    let Problem { network, sets } = problem;
    let mut builder = NetworkBuilder::new();
    let mut handles: HashMap<ValueId, Handle> = HashMap::new();
    for input in &network.inputs {
        let ty = match sets[0].get(&input.name)? {
            Value::Tensor(tensor) => fixed(tensor),
            other => other.value_type(),
        };
        handles.insert(input.value, builder.add_network_input(&input.name, ty, None));
    }
    for (index, weight) in network.weights.iter().enumerate() {
        handles.insert(weight.value, builder.add_weight(&format!("w{index}"), evaluate_weight(&weight.expr).ok()?));
    }
    for node in network.body.nodes() {
        let operands: Vec<Option<Handle>> =
            node.inputs.iter().map(|id| id.map(|id| handles.get(&id).copied())).map(Option::flatten).collect();
        let results = builder.add(node.op.clone(), &operands, &Location::default()).ok()?;
        handles.extend(node.outputs.iter().copied().zip(results));
    }
    let outputs: Vec<(String, Handle)> =
        network.outputs.iter().filter_map(|o| Some((o.name.clone(), *handles.get(&o.value)?))).collect();
    fn same(network: Network, set: &HashMap<String, Value>) -> Problem {
        Problem { network, sets: [set.clone(), set.clone()] }
    }
    Some(same(builder.finish(&network.name, &outputs), &sets[0]))
}

fn fixed(tensor: &Tensor) -> ValueType {
    ValueType::tensor(tensor.data_type(), tensor.sizes().iter().map(|size| Dim::from(*size)).collect())
}
