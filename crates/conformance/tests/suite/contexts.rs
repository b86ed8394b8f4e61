//! Many contexts of one engine, in threads, with different shapes: the bits are those of a single context.

use std::collections::HashMap;

use sinter_base::Value;
use sinter_conformance::engine::built;
use sinter_conformance::random::{Problem, grown};
use sinter_cpu::Cpu;
use sinter_interp::{Tolerance, compare};
use sinter_runtime::Engine;

use crate::devices::inputs_at;
use crate::profiles::products;

/// Random networks that are tried.
const NETWORKS: u64 = 60;
/// Threads with a context each, beside as many that share the engine's own contexts.
const CONTEXTS: usize = 3;
/// Runs of each.
const ROUNDS: usize = 6;

fn same_bits(found: &[Value], expected: &[Value]) -> Result<(), String> {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).try_for_each(|(a, b)| compare(a, b, Tolerance::EXACT).map_err(|e| e.to_string()))
}

fn named(set: &HashMap<String, Value>) -> Vec<(String, Value)> {
    set.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn check(problem: &Problem) -> Result<(), String> {
    let plan = built(&problem.network)?;
    let engine = Engine::from_plan(plan, &[&Cpu], 2).map_err(|e| e.to_string())?;
    let alone = |set| engine.run(named(set)).map_err(|e| e.to_string());
    let expected = [alone(&problem.sets[0])?, alone(&problem.sets[1])?];
    let in_its_own = |first: usize| -> Result<(), String> {
        let mut context = engine.context();
        let mut bindings = context.bindings();
        for round in 0..ROUNDS {
            let at = (first + round) % 2;
            for (name, value) in &problem.sets[at] {
                bindings.set(name, value.clone()).map_err(|e| e.to_string())?;
            }
            context.run_into(&mut bindings).map_err(|e| e.to_string())?;
            same_bits(&bindings.to_values().map_err(|e| e.to_string())?, &expected[at])?;
        }
        Ok(())
    };
    let in_a_shared_one = |first: usize| -> Result<(), String> {
        (0..ROUNDS).try_for_each(|round| {
            let at = (first + round) % 2;
            same_bits(&engine.run(named(&problem.sets[at])).map_err(|e| e.to_string())?, &expected[at])
        })
    };
    std::thread::scope(|scope| {
        let (own, shared) = (&in_its_own, &in_a_shared_one);
        let all: Vec<_> = (0..CONTEXTS)
            .flat_map(|first| [scope.spawn(move || own(first)), scope.spawn(move || shared(first + 1))])
            .collect();
        all.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a panic".to_owned())?)
    })
}

#[test]
fn contexts_in_threads_do_not_meet() {
    let wrong: Vec<String> = (0..NETWORKS)
        .filter_map(|seed| {
            let problem = grown(seed);
            check(&problem).err().map(|reason| format!("seed {seed}: {reason}\n{problem}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {NETWORKS}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Sizes of the batches that run beside each other.
const SIZES: i64 = 40;
/// Runs of each of eight threads; `SINTER_ROUNDS` sets another number, for a long run.
const EIGHT_ROUNDS: usize = 60;

/// Eight threads on one engine of two threads, each with other sizes at other times: the bits of an engine of one thread.
#[test]
fn eight_threads_with_different_shapes_give_the_bits_of_one() {
    let rounds = std::env::var("SINTER_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(EIGHT_ROUNDS);
    let network = products();
    let plan = built(&network).expect("a plan");
    let alone = Engine::from_plan(plan.clone(), &[&Cpu], 1).expect("an engine");
    let ran = |engine: &Engine, size: i64| engine.run(inputs_at(&network, size)).expect("a run");
    let expected: Vec<Vec<Value>> = (1..=SIZES).map(|size| ran(&alone, size)).collect();
    let engine = Engine::from_plan(plan, &[&Cpu], 2).expect("an engine");
    let work = |thread: i64| {
        for round in 0..i64::try_from(rounds).unwrap_or(i64::MAX) {
            let size = 1 + (thread * 7 + round * (thread + 3)) % SIZES;
            let expected = &expected[usize::try_from(size - 1).expect("a small size")];
            same_bits(&ran(&engine, size), expected).unwrap_or_else(|error| panic!("{size} rows: {error}"));
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..8).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("equal bits"));
    });
}
