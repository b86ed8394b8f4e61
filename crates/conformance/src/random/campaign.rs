//! Many seeds on all cores.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;

use crate::random::check::JUDGE;
use crate::random::{Found, Problem, check, grown, reduced};

/// A network that went wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its seed.
    pub seed: u64,
    /// The failure.
    pub reason: String,
    /// The smallest network that still fails, with its inputs.
    pub text: String,
}

/// The results of a campaign.
#[derive(Debug, Default)]
pub struct Summary {
    /// Networks that agree with the reference executor.
    pub agreed: usize,
    /// Networks that the build refuses, because the back end has no kernels for them.
    pub refused: usize,
    /// Those that went wrong.
    pub faults: Vec<Fault>,
    /// How many nodes of each operator there were.
    pub operators: BTreeMap<&'static str, usize>,
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    format!("a panic: {}", text.unwrap_or_default())
}

/// As [`check`]; a panic is a fault like any other.
fn checked(problem: &Problem, seed: u64) -> Result<Found, String> {
    catch_unwind(AssertUnwindSafe(|| check(problem, seed))).unwrap_or_else(|panic| Err(message(&*panic)))
}

/// One seed: its problem, if any, and the result.
fn tried(seed: u64) -> (Option<Problem>, Result<Found, Fault>) {
    let problem = match catch_unwind(|| grown(seed)) {
        Ok(problem) => problem,
        Err(panic) => return (None, Err(Fault { seed, reason: message(&*panic), text: "while it grew".to_owned() })),
    };
    let result = checked(&problem, seed).map_err(|reason| {
        let is_wrong = |reason: &String| reason.starts_with(JUDGE);
        let fails =
            |smaller: &Problem| checked(smaller, seed).is_err_and(|found| is_wrong(&found) == is_wrong(&reason));
        let smallest = reduced(&problem, &fails);
        let last = checked(&smallest, seed).err().unwrap_or_default();
        Fault { seed, reason, text: format!("{smallest}\n{last}") }
    });
    (Some(problem), result)
}

/// Runs seeds; `tell` gets each fault when it is found.
pub fn run(seeds: Range<u64>, tell: &(dyn Fn(&Fault) + Sync)) -> Summary {
    let (next, summary) = (AtomicU64::new(seeds.start), Mutex::new(Summary::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let (problem, result) = tried(seed);
            if let Err(fault) = &result {
                tell(fault);
            }
            let mut summary = summary.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            for node in problem.iter().flat_map(|problem| problem.network.body.nodes()) {
                *summary.operators.entry(node.op.name()).or_default() += 1;
            }
            match result {
                Ok(Found::Agrees) => summary.agreed += 1,
                Ok(Found::Refused) => summary.refused += 1,
                Err(fault) => summary.faults.push(fault),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    summary.faults.sort_by_key(|fault| fault.seed);
    summary
}
