//! Changes of a plan with recomputed hashes, which no hash detects: in the outermost graph and, half of them, in a body
//! of control flow.

use sinter_backend::Region;
use sinter_base::{Attr, KnownValue, ValueType};
use sinter_ops::{Body, Node, Op, ValueId, catalog};
use sinter_plan::{
    Action, Alias, BufferId, Graph, Launch, Place, Plan, PlanValue, PlanValueId, Register, ShapeProgram, Step, Storage,
    Variant, WeightId,
};
use sinter_testkit::Random;

const NUMBERS: [i64; 9] = [0, 1, -1, 2, 7, 1 << 20, 1 << 40, i64::MAX, i64::MIN];
const FLOATS: [f64; 7] = [0.0, -1.0, 0.5, 1e30, f64::NAN, f64::INFINITY, -0.0];

fn any<'a, T>(list: &'a [T], random: &mut Random) -> &'a T {
    &list[random.below(list.len())]
}

/// Number of the graphs that are bodies of steps.
pub(crate) fn bodies(graph: &Graph) -> usize {
    let of = |step: &Step| match &step.action {
        Action::Control { graphs, .. } => graphs.iter().map(|graph| 1 + bodies(graph)).sum(),
        Action::Launch(_) | Action::Alias { .. } | Action::Copy | Action::Sync => 0,
    };
    graph.steps.iter().map(of).sum()
}

/// One of the bodies, each before those inside of it.
pub(crate) fn body_at<'a>(graph: &'a mut Graph, index: &mut usize) -> Option<&'a mut Graph> {
    for step in &mut graph.steps {
        let Action::Control { graphs, .. } = &mut step.action else { continue };
        for graph in graphs {
            if *index == 0 {
                return Some(graph);
            }
            *index -= 1;
            if let Some(found) = body_at(graph, index) {
                return Some(found);
            }
        }
    }
    None
}

/// One change.
pub(crate) fn confuse(plan: &mut Plan, random: &mut Random) {
    match random.below(16) {
        0 => {
            let mut constants = plan.shapes.constants().to_vec();
            let at = random.below(constants.len());
            if let Some(constant) = constants.get_mut(at) {
                *constant = *any(&NUMBERS, random);
            }
            let (symbols, code) = (plan.shapes.symbols().to_vec(), plan.shapes.instructions().to_vec());
            if let Ok(program) = ShapeProgram::from_parts(constants, symbols, code) {
                plan.shapes = program;
            }
        }
        1 => plan.guards.clear(),
        2 if !plan.outputs.is_empty() => {
            let (port, value) = (random.below(plan.outputs.len()), random.below(plan.graph.values.len()));
            plan.outputs[port].value = PlanValueId::new(value);
        }
        _ => {
            let (registers, weights) = (plan.shapes.register_count(), plan.weights.len());
            let count = bodies(&plan.graph);
            let mut index = random.below(count);
            let is_inside = count > 0 && random.below(2) == 0;
            let graph = match is_inside.then(|| body_at(&mut plan.graph, &mut index)).flatten() {
                Some(body) => body,
                None => &mut plan.graph,
            };
            confuse_graph(graph, registers, weights, random);
        }
    }
}

fn confuse_graph(graph: &mut Graph, registers: usize, weights: usize, random: &mut Random) {
    if graph.values.is_empty() {
        return;
    }
    let register = |random: &mut Random| Register(random.below(registers) as u32);
    let values = &mut graph.values;
    let (value, other) = (random.below(values.len()), random.below(values.len()));
    match random.below(17) {
        12 => values[value].place = Place::new(random.below(2)),
        0 => values[value].storage = Storage::Arena(BufferId::new(random.below(values.len()))),
        // Two values that have a place each lie in one: the change that matters most.
        1 | 2 => {
            let placed = |value: &PlanValue| matches!(value.storage, Storage::Arena(_));
            let placed: Vec<usize> = (0..values.len()).filter(|at| placed(&values[*at])).collect();
            if !placed.is_empty() {
                values[*any(&placed, random)].storage = values[*any(&placed, random)].storage.clone();
            }
        }
        10 => {
            let elements = (0..random.below(4)).map(|_| register(random)).collect();
            values[value].storage = Storage::Registers(elements);
        }
        11 => {
            let change = register(random);
            if let Some(slot) = values.iter_mut().find_map(|value| match &mut value.storage {
                Storage::Registers(elements) => elements.first_mut(),
                _ => None,
            }) {
                *slot = change;
            }
        }
        3 => values[value].storage = Storage::Weight(WeightId::new(random.below(weights + 1))),
        4 => values[value].storage = [Storage::Dynamic, Storage::Input][random.below(2)].clone(),
        5 => values[value].ty = values[other].ty.clone(),
        6 => values[value].sizes = values[other].sizes.clone(),
        7 => {
            if let Some(size) = values[value].sizes.iter_mut().flatten().next() {
                *size = register(random);
            }
        }
        8 => {
            let [offset, inner, step] = std::array::from_fn(|_| register(random));
            values[value].storage = Storage::Alias(Alias { base: PlanValueId::new(other), offset, inner, step });
        }
        9 => {
            let list = if random.below(2) == 0 { &mut graph.inputs } else { &mut graph.outputs };
            let position = random.below(list.len());
            if let Some(slot) = list.get_mut(position) {
                *slot = PlanValueId::new(other);
            }
        }
        _ if graph.steps.is_empty() => {}
        _ => confuse_step(graph, registers, random),
    }
}

fn confuse_step(graph: &mut Graph, registers: usize, random: &mut Random) {
    let Graph { values, steps, .. } = graph;
    let (at, other) = (random.below(steps.len()), random.below(steps.len()));
    match random.below(19) {
        0 => steps.swap(at, other),
        1 => steps[at].action = steps[other].action.clone(),
        2 | 3 => {
            let id = PlanValueId::new(random.below(values.len()));
            let position = random.below(steps[at].inputs.len());
            if let Some(input) = steps[at].inputs.get_mut(position) {
                *input = Some(id);
            }
        }
        4 => {
            if let Some(Launch { in_place, .. }) = steps[at].launch_mut() {
                in_place.push((random.below(3), random.below(2)));
            }
        }
        5 => {
            if let Some(Launch { general: Variant { workspace, .. }, .. }) = steps[at].launch_mut() {
                *workspace = (random.below(4) > 0).then_some(Register(random.below(registers) as u32));
            }
        }
        6 => {
            if let Some(Launch { general: Variant { packed, .. }, .. }) = steps[at].launch_mut()
                && packed.pop().is_none()
            {
                packed.push(random.below(3));
            }
        }
        11 => steps[at].action = Action::Copy,
        12 => {
            steps[at].action = Action::Sync;
            steps[at].outputs.clear();
        }
        7 => {
            let Some(region) = steps[at].region().cloned() else { return };
            steps[at].action = Action::Alias { region };
        }
        10 => {
            let elsewhere = PlanValueId::new(random.below(values.len()));
            let recipe = steps[other].launch().map(|launch| launch.general.clone());
            if let (Some(launch), Some(mut variant)) = (steps[at].launch_mut(), recipe) {
                let mut register = || Register(random.below(registers) as u32);
                variant.guards = vec![(register(), register())];
                if random.below(2) == 0 {
                    variant.replaced.push((random.below(3), elsewhere));
                }
                launch.special.push(variant);
            }
        }
        8 => {
            if let Action::Control { graphs, .. } = &mut steps[at].action {
                match random.below(3) {
                    0 => graphs.reverse(),
                    1 => graphs.extend(graphs.first().cloned()),
                    _ => _ = graphs.pop(),
                }
            }
        }
        9 => {
            let Some(of_other) = steps[other].launch().map(|launch| launch.general.recipe.clone()) else { return };
            if let Some(launch) = steps[at].launch_mut() {
                launch.general.recipe = of_other;
            }
        }
        _ => {
            let own = match &mut steps[at].action {
                Action::Launch(Launch { region, .. }) | Action::Alias { region } | Action::Control { region, .. } => {
                    region
                }
                Action::Copy | Action::Sync => return,
            };
            if let Some(changed) = confused(own, random) {
                *own = changed;
            }
        }
    }
}

/// A region with something else in it; `None` where the change leaves no region.
pub(crate) fn confused(region: &Region, random: &mut Random) -> Option<Region> {
    let old = region.body();
    let mut types: Vec<ValueType> = (0..old.value_count()).map(|at| old.ty(ValueId::new(at)).clone()).collect();
    let (mut nodes, mut outputs) = (old.nodes().to_vec(), old.outputs().to_vec());
    if nodes.is_empty() || types.is_empty() {
        return None;
    }
    let (at, value, other) = (random.below(nodes.len()), random.below(types.len()), random.below(types.len()));
    match random.below(8) {
        0..=3 => {
            let mut tree = nodes[at].op.to_attr();
            let mut leaves = Vec::new();
            collect(&mut tree, &mut leaves);
            if leaves.is_empty() {
                return None;
            }
            let leaf = random.below(leaves.len());
            change(leaves.swap_remove(leaf), random);
            nodes[at].op = remade(&nodes[at].op, &tree)?;
        }
        4 => {
            let position = random.below(nodes[at].inputs.len());
            *nodes[at].inputs.get_mut(position)? = (random.below(4) > 0).then_some(ValueId::new(value));
        }
        5 => types[value] = types[other].clone(),
        6 => {
            let mut ty = types[value].as_tensor()?.clone();
            ty.value = match ty.value.as_deref() {
                Some(KnownValue::Ints(values)) if random.below(2) == 0 => {
                    let mut values = values.clone();
                    let at = random.below(values.len());
                    *values.get_mut(at)? = (*any(&NUMBERS[..5], random)).into();
                    Some(KnownValue::Ints(values).into())
                }
                Some(_) => None,
                None => Some(KnownValue::Ints(vec![1i64.into()]).into()),
            };
            types[value] = ty.into();
        }
        _ => {
            let position = random.below(outputs.len());
            *outputs.get_mut(position)? = ValueId::new(value);
        }
    }
    put_together(old.inputs(), &types, &nodes, &outputs).map(Region::new)
}

fn remade(op: &Op, tree: &Attr) -> Option<Op> {
    let info = catalog::by_name(op.name())?;
    let bodies = op.bodies().into_iter().cloned().collect();
    Some((info.from_attr)(tree).ok()?.with_bodies(bodies))
}

/// The same region with other attributes of its first operator, in text.
pub(crate) fn with_attributes(region: &Region, change: impl Fn(&str) -> String) -> Option<Region> {
    let old = region.body();
    let types: Vec<ValueType> = (0..old.value_count()).map(|at| old.ty(ValueId::new(at)).clone()).collect();
    let mut nodes = old.nodes().to_vec();
    let first = nodes.first_mut()?;
    first.op = remade(&first.op, &change(&first.op.to_attr().to_string()).parse().ok()?)?;
    put_together(old.inputs(), &types, &nodes, old.outputs()).map(Region::new)
}

fn put_together(inputs: &[ValueId], types: &[ValueType], nodes: &[Node], outputs: &[ValueId]) -> Option<Body> {
    let mut body = Body::new();
    let mut ids: Vec<Option<ValueId>> = vec![None; types.len()];
    for id in inputs {
        ids[id.index()] = Some(body.add_input(types[id.index()].clone()));
    }
    for node in nodes {
        let operand = |id: &Option<ValueId>| id.map_or(Some(None), |id| ids[id.index()].map(Some));
        let operands: Vec<Option<ValueId>> = node.inputs.iter().map(operand).collect::<Option<_>>()?;
        let results = node.outputs.iter().map(|id| types[id.index()].clone()).collect();
        for (id, new) in node.outputs.iter().zip(body.add_typed(node.op.clone(), &operands, results)) {
            ids[id.index()] = Some(new);
        }
    }
    body.set_outputs(outputs.iter().map(|id| ids[id.index()]).collect::<Option<_>>()?);
    Some(body)
}

fn collect<'a>(tree: &'a mut Attr, leaves: &mut Vec<&'a mut Attr>) {
    match tree {
        Attr::List(items) => items.iter_mut().for_each(|item| collect(item, leaves)),
        Attr::Record { fields, .. } => fields.iter_mut().for_each(|(_, value)| collect(value, leaves)),
        leaf => leaves.push(leaf),
    }
}

fn change(leaf: &mut Attr, random: &mut Random) {
    match leaf {
        Attr::Bool(value) => *value = !*value,
        Attr::Int(value) => *value = *any(&NUMBERS, random),
        Attr::Float(value) => *value = *any(&FLOATS, random),
        // A number inside, such as that of an operand in a step of a pointwise program.
        Attr::Text(text) => {
            let digits: Vec<usize> =
                text.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at).collect();
            if !digits.is_empty() {
                let at = *any(&digits, random);
                text.replace_range(at..=at, ["0", "1", "2", "5", "2147483648"][random.below(5)]);
            }
        }
        Attr::Name(name) => *name = ["f32", "i64", "bool", "f16", "i8"][random.below(5)].to_owned(),
        Attr::Absent | Attr::List(_) | Attr::Record { .. } => {}
    }
}
