//! Runs one plan of a whole language model with dynamic dimensions at sizes that the build did not see.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sinter_backend::{BackEnd, Device, KernelError, Proposer, Tactic, Target};
use sinter_base::{Tensor, Value};
use sinter_conformance::engine::built;
use sinter_cpu::Cpu;
use sinter_import_onnx::{ImportOptions, import_file};
use sinter_interp::{FastEvaluator, run_with};
use sinter_ir::Network;
use sinter_runtime::{Bindings, Engine, Observer, RuntimeError, StepValues};
use sinter_testkit::allocator::{allocated_so_far, allocations};

/// (batch, tokens): ones, primes, the longest that the table of positions has.
const SHAPES: [(usize, usize); 20] = [
    (1, 1),
    (1, 2),
    (1, 3),
    (1, 5),
    (1, 7),
    (1, 11),
    (1, 13),
    (1, 17),
    (1, 31),
    (1, 61),
    (1, 127),
    (1, 251),
    (1, 512),
    (2, 1),
    (2, 19),
    (2, 64),
    (3, 7),
    (3, 29),
    (5, 2),
    (7, 1),
];

/// Sizes that the reference executor computes too: one token, a batch, more than a tile.
const JUDGED: [(usize, usize); 3] = [(1, 1), (3, 7), (1, 31)];

/// Kernels of this network that may still take memory of their own; the runtime takes none.
const ALLOCATING: &[&str] = &["cpu.index.gather_elements", "cpu.index.range", "cpu.norm.normalize"];

/// The CPU, counting look-ups of tactics: choosing, packing and loading require a look-up.
struct Asked(AtomicUsize);

impl BackEnd for Asked {
    fn name(&self) -> &str {
        Cpu.name()
    }

    fn target(&self, threads: usize) -> Target {
        Cpu.target(threads)
    }

    fn tactics(&self) -> Vec<&'static dyn Tactic> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Cpu.tactics()
    }

    fn proposers(&self) -> Vec<&'static dyn Proposer> {
        Cpu.proposers()
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        Cpu.open(threads)
    }
}

/// Counts allocations by tactic.
struct Watch {
    tactics: Vec<String>,
    before: usize,
    counts: BTreeMap<String, usize>,
}

impl Observer for Watch {
    fn before(&mut self, _: usize) {
        self.before = allocated_so_far();
    }

    fn after(&mut self, position: usize, _: &mut StepValues<'_>) -> Result<(), RuntimeError> {
        let count = allocated_so_far() - self.before;
        if count > 0 {
            *self.counts.entry(self.tactics[position].clone()).or_default() += count;
        }
        Ok(())
    }
}

/// The graph of a name, its weights filled in; `None`, with the reason told, where something is missing for that.
fn zoo_network(name: &str) -> Option<Network> {
    let zoo = crate::shared("zoo")?;
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv");
    let python = crate::needed_folder("SINTER_VENV", Some(default), "the Python environment of the tests")?;
    let folder = tempfile::tempdir().expect("a folder");
    let filled = Command::new(python.join("bin/python"))
        .arg(zoo.join("materialize.py"))
        .args([folder.path(), Path::new(name)])
        .output()
        .expect("Python");
    assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    let model = folder.path().join(format!("{name}.onnx"));
    // The mapping keeps the file's contents when the folder goes.
    Some(import_file(&model, &ImportOptions::default()).expect("a model that imports"))
}

/// Token numbers, and a mask that hides the last token of every text of more than two.
fn texts(batch: usize, tokens: usize) -> HashMap<String, Value> {
    let count = i64::try_from(batch * tokens).expect("few tokens");
    let length = i64::try_from(tokens).expect("few tokens");
    let value = |numbers: Vec<i64>| Value::Tensor(Tensor::from_vec(&[batch, tokens], numbers).expect("tokens"));
    let ids = (0..count).map(|i| 100 + (i * 7919) % 20_000).collect();
    let mask = (0..count).map(|i| i64::from(length < 3 || i % length < length - 1)).collect();
    HashMap::from([("input_ids".to_owned(), value(ids)), ("attention_mask".to_owned(), value(mask))])
}

fn bind(bindings: &mut Bindings, batch: usize, tokens: usize) {
    for (name, value) in texts(batch, tokens) {
        bindings.set(&name, value).expect("an input");
    }
}

/// All checks of one plan, because building it takes long.
#[test]
fn bert_base_takes_any_batch_and_length() {
    let Some(network) = zoo_network("bert_base") else { return };
    let asked = Asked(AtomicUsize::new(0));
    let engine = Engine::from_plan(built(&network).expect("a plan"), &[&asked], 1).expect("an engine");
    let at_load = asked.0.load(Ordering::Relaxed);
    let mut context = engine.context();
    let mut bindings = context.bindings();

    // New sizes cost one layout and nothing else.
    let mut times: Vec<Duration> = Vec::new();
    for (batch, tokens) in SHAPES {
        bind(&mut bindings, batch, tokens);
        let start = Instant::now();
        context.prepare(&mut bindings).expect("sizes");
        times.push(start.elapsed());
        context.run_into(&mut bindings).expect("a run");
        assert_eq!(bindings.output("output").expect("an output").sizes(), [batch, tokens, 768]);
    }
    times.sort();
    let (steps, median) = (engine.plan().graph.steps.len(), times[times.len() / 2]);
    println!("{steps} steps laid out in {median:?} at the median, {:?} at most", times[times.len() - 1]);
    assert_eq!(context.counters().layouts, SHAPES.len());
    assert_eq!(context.counters().inferences, 0);
    assert_eq!(asked.0.load(Ordering::Relaxed), at_load, "a run asked for tactics");

    // Sizes that were seen before cost no memory.
    for (batch, tokens) in SHAPES.into_iter().rev() {
        bind(&mut bindings, batch, tokens);
        let observed = || {
            let tactics = engine.plan().tactics().into_iter().map(str::to_owned).collect();
            let mut watch = Watch { tactics, before: 0, counts: BTreeMap::new() };
            engine.run_observed(texts(batch, tokens).into_iter().collect(), &mut watch).expect("a run");
            watch
        };
        // The first of them in a context of the pool, which has not seen these sizes.
        let (_, watch) = (observed(), observed());
        let by_kernels: usize = watch.counts.values().sum();
        let all = allocations(|| context.run_into(&mut bindings).expect("a run"));
        assert_eq!(all, by_kernels, "{batch} x {tokens}: the runtime allocates beside {:?}", watch.counts);
        let unknown = watch.counts.keys().find(|tactic| !ALLOCATING.contains(&tactic.as_str()));
        assert_eq!(unknown, None, "{batch} x {tokens}: {:?}", watch.counts);
    }

    for (batch, tokens) in JUDGED {
        bind(&mut bindings, batch, tokens);
        context.run_into(&mut bindings).expect("a run");
        let expected = run_with(&network, &texts(batch, tokens), &FastEvaluator).expect("the judge's answer");
        let expected = expected[0].as_tensor().expect("a tensor").to_floats();
        let found = bindings.output("output").expect("an output").elements::<f32>();
        let largest = expected.iter().fold(0f64, |largest, v| largest.max(v.abs()));
        let worst = found.iter().zip(&expected).fold(0f64, |worst, (a, b)| worst.max((f64::from(*a) - b).abs()));
        println!("{batch} x {tokens}: differs by {worst:e} from the judge, whose largest element is {largest:.2}");
        // Scores of synthetic weights reach 5e3, where one rounding of f32 is 5e-4: the exponential makes it relative.
        assert!(worst <= 1e-2 * largest, "{batch} x {tokens}");
    }

    // No texts, no tokens: no results. More tokens than there are positions: an error that says so.
    for (batch, tokens) in [(0, 4), (2, 0), (0, 0)] {
        bind(&mut bindings, batch, tokens);
        context.run_into(&mut bindings).expect("a run on nothing");
        assert_eq!(bindings.output("output").expect("an output").sizes(), [batch, tokens, 768]);
    }
    bind(&mut bindings, 1, 513);
    let error = context.run_into(&mut bindings).expect_err("there are 512 positions");
    assert!(matches!(error, RuntimeError::Range { axis: 1, size: 513, .. }), "{error}");
    assert_eq!(error.to_string(), "input 'input_ids' has the size 513 along axis 1 ('S'), which may be at most 512");
    bind(&mut bindings, 1, 512);
    context.run_into(&mut bindings).expect("a run after an error");
}
