//! Damaged and hostile plans, and full builds of damaged models: an error or a result, never a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use bytes::Bytes;
use sinter_conformance::engine::built;
use sinter_conformance::fuzz::{build_onnx, read_plan};
use sinter_conformance::onnx_cases::{Case, cases};
use sinter_conformance::random::Random;
use sinter_plan::{
    Action, BufferId, Graph, Home, Part, Plan, PlanValueId, Register, ShapeProgram, Trust, WeightId, from_bytes,
    to_bytes,
};

/// One test case of so many gives a plan to be mutated.
const ONE_CASE_OF: usize = 12;

const BYTE_MUTATIONS: usize = 2_000;
const STRUCTURE_MUTATIONS: usize = 4_000;
const BUILDS: usize = 200;

fn folders() -> Option<Vec<PathBuf>> {
    let data = crate::onnx_data()?;
    Some(cases(&data, "node").expect("the node tests"))
}

/// Plans of small models without loops: a mutated loop may rightly run for years.
fn corpus() -> Option<Vec<Plan>> {
    let folders = folders()?;
    let plans = folders.iter().step_by(ONE_CASE_OF).filter_map(|folder| {
        let plan = built(&Case::load(folder).ok()?.network).ok()?;
        let weights: usize = plan.weights.iter().map(|w| w.tensor().bytes().len()).sum();
        let loops = plan.graph.steps.iter().any(|step| matches!(step.action, Action::Control { .. }));
        (weights < 100_000 && !loops).then_some(plan)
    });
    Some(plans.collect())
}

fn survive(what: &str, bytes: Vec<u8>, body: fn(Bytes) -> bool) -> bool {
    let kept = Bytes::from(bytes);
    let given = kept.clone();
    match catch_unwind(AssertUnwindSafe(|| body(given))) {
        Ok(read) => read,
        Err(_) => {
            let path = std::env::temp_dir().join("sinter-hostile-plan");
            let _ = std::fs::write(&path, kept);
            panic!("{what}: a panic; the file is {}", path.display());
        }
    }
}

#[test]
fn damaged_plan_bytes_never_panic() {
    let Some(plans) = corpus() else { return };
    for plan in &plans {
        let read = from_bytes(to_bytes(plan).into(), Trust::Nothing).expect("a plan that was just made");
        assert!(read == *plan, "{plan:#?}\n is read as \n{read:#?}");
    }
    let mut random = Random(11);
    for round in 0..BYTE_MUTATIONS {
        let plan = &plans[random.below(plans.len())];
        let mut bytes = to_bytes(plan);
        for _ in 0..=random.below(3) {
            crate::hostile::mutate(&mut bytes, &mut random);
            if bytes.is_empty() {
                break;
            }
        }
        if survive(&format!("round {round}"), bytes.clone(), read_plan) {
            // Padding belongs to no section; anything else is noticed by a hash.
            let read = from_bytes(bytes.into(), Trust::Nothing).expect("it was read before");
            assert!(read == *plan, "round {round}: another plan was read");
        }
    }
}

/// A change that the hashes cannot notice, because whoever made it computed them anew.
fn confuse(plan: &mut Plan, random: &mut Random) {
    let numbers = [0, 1, -1, 2, 7, 1 << 20, 1 << 40, i64::MAX, i64::MIN];
    let number = numbers[random.below(numbers.len())];
    let registers = plan.shapes.register_count();
    let weights = plan.weights.len();
    let Graph { values, steps, inputs, outputs } = &mut plan.graph;
    let (value, step) = (random.below(values.len()), random.below(steps.len()));
    match random.below(16) {
        0 => values[value].home = Home::Arena(BufferId::new(random.below(values.len()))),
        1 => values[value].home = Home::Weight(WeightId::new(random.below(weights + 1))),
        2 => values[value].home = Home::Dynamic,
        3 => values[value].home = Home::Input,
        4 => values[value].ty = values[random.below(values.len())].ty.clone(),
        5 => values[value].sizes = values[random.below(values.len())].sizes.clone(),
        6 => {
            let register = Register(random.below(registers) as u32);
            if let Some(size) = values[value].sizes.iter_mut().flatten().next() {
                *size = register;
            }
        }
        7 => {
            let mut constants = plan.shapes.constants().to_vec();
            let at = random.below(constants.len());
            if let Some(constant) = constants.get_mut(at) {
                *constant = number;
            }
            let (symbols, code) = (plan.shapes.symbols().to_vec(), plan.shapes.instructions().to_vec());
            if let Ok(program) = ShapeProgram::from_parts(constants, symbols, code) {
                plan.shapes = program;
            }
        }
        8 if steps.len() > 1 => {
            let other = random.below(steps.len());
            steps.swap(step, other);
        }
        9 if !steps.is_empty() => {
            let other = steps[random.below(steps.len())].action.clone();
            steps[step].action = other;
        }
        10 if !steps.is_empty() => {
            let id = PlanValueId::new(random.below(values.len()));
            let position = random.below(steps[step].inputs.len());
            if let Some(input) = steps[step].inputs.get_mut(position) {
                *input = Some(id);
            }
        }
        11 if !steps.is_empty() => {
            if let Action::Kernel { in_place, workspace, .. } = &mut steps[step].action {
                in_place.push((random.below(3), 0));
                *workspace = (random.below(2) == 0).then_some(Register(random.below(registers) as u32));
            }
        }
        12 => plan.guards.clear(),
        13 => {
            let [offset, inner, step] = std::array::from_fn(|_| Register(random.below(registers) as u32));
            let whole = PlanValueId::new(random.below(values.len()));
            values[value].home = Home::Part(Part { whole, offset, inner, step });
        }
        14 if !steps.is_empty() => {
            let region = steps[step].region().clone();
            steps[step].action = Action::Placed { region };
        }
        _ => {
            let id = PlanValueId::new(random.below(values.len()));
            let list = if random.below(2) == 0 { inputs } else { outputs };
            let position = random.below(list.len());
            if let Some(slot) = list.get_mut(position) {
                *slot = id;
            }
        }
    }
}

#[test]
fn confused_plans_never_panic() {
    let Some(plans) = corpus() else { return };
    let mut random = Random(13);
    let mut read = 0;
    for round in 0..STRUCTURE_MUTATIONS {
        let mut plan = plans[random.below(plans.len())].clone();
        (0..=random.below(2)).for_each(|_| confuse(&mut plan, &mut random));
        read += usize::from(survive(&format!("round {round}, '{}'", plan.name), to_bytes(&plan), read_plan));
    }
    println!("{read} of {STRUCTURE_MUTATIONS} confused plans were read from {} plans", plans.len());
    assert!(read * 10 >= STRUCTURE_MUTATIONS, "only {read} of {STRUCTURE_MUTATIONS} got past the reader");
}

#[test]
fn damaged_models_never_panic_in_a_build() {
    let Some(folders) = folders() else { return };
    let mut random = Random(17);
    let mut plans = 0;
    for round in 0..BUILDS {
        let folder = &folders[random.below(folders.len())];
        let mut bytes = std::fs::read(folder.join("model.onnx")).expect("a model");
        if bytes.len() < 20_000 {
            crate::hostile::mutate(&mut bytes, &mut random);
        }
        plans += usize::from(survive(&format!("round {round}, {}", folder.display()), bytes, build_onnx));
    }
    println!("{plans} of {BUILDS} damaged models became plans");
    assert!(plans > BUILDS / 10, "only {plans} of {BUILDS} got to the end");
}
