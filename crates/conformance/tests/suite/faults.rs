//! A device that fails at any call: a typed error, no memory leak, and an engine that works afterwards or reports that
//! it cannot.

use std::collections::BTreeMap;

use sinter_backend::{BackEnd, KernelError};
use sinter_base::Value;
use sinter_builder::Verify;
use sinter_fake::{Fake, Fault};
use sinter_ir::Network;
use sinter_plan::Plan;
use sinter_runtime::{Engine, RuntimeError};
use sinter_testkit::Random;

use crate::devices::{inputs_at, plans};

/// Faults that happen.
const FAULTS: usize = 1_000;
/// Rounds at most: some runs end before the call that would fail.
const ROUNDS: usize = 3_000;
/// One fault in so many meets an engine that is being opened. A run in the steady state asks for little memory.
const AT_LOAD: [(Fault, usize); 3] = [(Fault::Launch, 8), (Fault::Memory, 2), (Fault::Lost, 8)];

/// Does the error report this failure of the device?
fn tells(error: &RuntimeError, fault: Fault) -> bool {
    let source = match error {
        RuntimeError::Device { source } | RuntimeError::Step { source, .. } | RuntimeError::Load { source, .. } => {
            source
        }
        RuntimeError::Memory { .. } | RuntimeError::OutOfMemory { .. } => return fault == Fault::Memory,
        _ => return false,
    };
    match fault {
        Fault::Launch => matches!(source, KernelError::Device(_)),
        Fault::Memory => matches!(source, KernelError::Memory(_)),
        Fault::Lost => matches!(source, KernelError::Lost(_)),
    }
}

/// An engine that is good, with what it gives.
struct Subject<'a> {
    network: &'a Network,
    plan: &'a Plan,
    engine: Engine,
    inputs: Vec<(String, Value)>,
    expected: Vec<Value>,
    /// Calls of a run in the steady state.
    calls: u64,
}

impl<'a> Subject<'a> {
    fn open(fake: &Fake, (network, plan): &'a (Network, Plan)) -> Self {
        let engine = Engine::from_plan(plan.clone(), &[fake as &dyn BackEnd], 1).expect("an engine");
        let inputs = inputs_at(network, 3);
        engine.run(inputs.clone()).expect("a run");
        let before = fake.faults().calls();
        let expected = engine.run(inputs.clone()).expect("a run");
        Self { network, plan, engine, inputs, expected, calls: fake.faults().calls() - before }
    }

    fn run(&self) -> Result<Vec<Value>, RuntimeError> {
        self.engine.run(self.inputs.clone())
    }
}

#[test]
fn a_thousand_faults_cost_a_run_each_and_nothing_else() {
    let fake = Fake::default();
    let plans = plans(&fake, &Verify::Off);
    let mut random = Random(29);
    let mut met: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..ROUNDS {
        if met.values().sum::<usize>() == FAULTS {
            break;
        }
        let (fault, at_load) = AT_LOAD[random.below(AT_LOAD.len())];
        let subject = Subject::open(&fake, &plans[random.below(plans.len())]);
        let name = &subject.network.name;
        let used = fake.account().used();
        let at = random.below(usize::try_from(subject.calls).expect("few calls").max(1)) as u64;
        fake.faults().inject(at, fault);
        let result = if random.below(at_load) == 0 {
            let opened = Engine::from_plan(subject.plan.clone(), &[&fake as &dyn BackEnd], 1);
            opened.and_then(|engine| engine.run(subject.inputs.clone()))
        } else {
            subject.run()
        };
        let has_met = !fake.faults().clear();
        match result {
            Ok(found) => {
                assert!(!has_met && found == subject.expected, "round {round}, '{name}': {fault:?} goes unseen")
            }
            Err(error) => {
                assert!(has_met && tells(&error, fault), "round {round}, '{name}': {fault:?} gives {error}");
                assert!(fake.account().used() <= used, "round {round}, '{name}': {fault:?} takes memory along");
            }
        }
        if fault == Fault::Lost && has_met {
            let lost = subject.run().expect_err("the device is gone");
            assert!(tells(&lost, Fault::Lost), "round {round}, '{name}': {lost}");
            fake.faults().revive();
        } else {
            let again =
                subject.run().unwrap_or_else(|error| panic!("round {round}, '{name}': after {fault:?} {error}"));
            assert!(again == subject.expected, "round {round}, '{name}': another result after {fault:?}");
        }
        drop(subject);
        assert_eq!(fake.account().used(), 0, "round {round}: memory is lost after {fault:?}");
        if has_met {
            *met.entry(format!("{fault:?}")).or_default() += 1;
        }
    }
    println!("faults that were met: {met:?}");
    assert_eq!((met.len(), met.values().sum::<usize>()), (3, FAULTS), "{met:?}");
}

#[test]
fn a_device_with_little_memory_says_so() {
    let large = Fake::default();
    let all = plans(&large, &Verify::Off);
    let of = |name: &str| all.iter().find(|(network, _)| network.name == name).expect("a network");
    let subject = of("product-batch");
    let small = Fake::with_memory(100_000);
    let engine = Engine::from_plan(subject.1.clone(), &[&small as &dyn BackEnd], 1).expect("the weights fit");
    let weights = small.account().used();
    let mut context = engine.context();
    let mut bindings = context.bindings();
    let mut run = |size| {
        for (name, value) in inputs_at(&subject.0, size) {
            bindings.set(&name, value).expect("an input");
        }
        context.run_into(&mut bindings)
    };
    run(3).expect("it fits");
    for _ in 0..2 {
        let error = run(3_000).expect_err("too much for the device");
        assert!(tells(&error, Fault::Memory), "{error}");
        assert_eq!(small.account().used(), weights, "a run that failed keeps memory");
    }
    run(3).expect("a smaller one fits again");
    let tiny = Fake::with_memory(1_000);
    let error = Engine::from_plan(subject.1.clone(), &[&tiny as &dyn BackEnd], 1).err().expect("no room for weights");
    assert!(tells(&error, Fault::Memory), "{error}");
    assert_eq!(tiny.account().used(), 0);
}
