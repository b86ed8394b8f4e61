//! The cost of kernel selection, and the correctness of its reported cost: counted on every model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sinter_backend::{
    BackEnd, Candidate, Device, KernelError, Problem, Proposer, Recipe, Refusal, Region, RegionKey, Tactic, Target,
};
use sinter_base::Tensor;
use sinter_builder::{BuildOptions, Verify, build};
use sinter_cpu::Cpu;
use sinter_cpu::launch::{self, HostTactic, Loaded, Threads};
use sinter_ops::OpKind;
use sinter_runtime::layout::Layout;

use crate::models::{network_of, onnx_models};

/// Most tactics that may be queried about one region.
const MOST_ASKED: usize = 8;

#[derive(Default)]
struct Counts {
    asked: BTreeMap<RegionKey, BTreeSet<String>>,
    loads: usize,
    /// Recipe and region of each load.
    loaded: BTreeSet<(String, RegionKey)>,
}

static COUNTS: Mutex<Counts> = Mutex::new(Counts { asked: BTreeMap::new(), loads: 0, loaded: BTreeSet::new() });

/// The counts belong to one test at a time.
static TURN: Mutex<()> = Mutex::new(());

/// A tactic of the CPU, counted.
struct Counted(&'static dyn HostTactic);

impl Tactic for Counted {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn roots(&self) -> &[OpKind] {
        self.0.roots()
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        let mut counts = COUNTS.lock().expect("no test panics while it counts");
        counts.asked.entry(problem.region.key()).or_default().insert(self.name().to_owned());
        drop(counts);
        self.0.offer(problem, most)
    }

    fn pack(&self, recipe: &Recipe, region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
        self.0.pack(recipe, region, operand, weight)
    }
}

impl HostTactic for Counted {
    fn load(&self, recipe: &Recipe, region: &Region) -> Result<Loaded, KernelError> {
        let mut counts = COUNTS.lock().expect("no test panics while it counts");
        counts.loads += 1;
        counts.loaded.insert((recipe.to_string(), region.key()));
        drop(counts);
        self.0.load(recipe, region)
    }
}

fn counted() -> &'static [Counted] {
    static ALL: OnceLock<Vec<Counted>> = OnceLock::new();
    ALL.get_or_init(|| Cpu::host_tactics().into_iter().map(Counted).collect())
}

/// The CPU, counted.
struct CountedCpu;

impl BackEnd for CountedCpu {
    fn name(&self) -> &str {
        Cpu.name()
    }

    fn target(&self, threads: usize) -> Target {
        Cpu.target(threads)
    }

    fn tactics(&self) -> Vec<&'static dyn Tactic> {
        counted().iter().map(|tactic| tactic as &'static dyn Tactic).collect()
    }

    fn proposers(&self) -> Vec<&'static dyn Proposer> {
        Cpu.proposers()
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        let tactics = counted().iter().map(|tactic| tactic as &'static dyn HostTactic).collect();
        Ok(launch::open(tactics, self.target(threads), Threads::Leased(threads)))
    }
}

/// The builder queries few tactics about a region and loads none before verification, the cover's cost is that of the
/// plan, and the arena is close to the largest sum of live values.
#[test]
fn choices_are_cheap_and_cost_what_they_say() {
    let Some(folder) = crate::shared("models") else { return };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut wrong = Vec::new();
    for (name, path) in onnx_models(&folder) {
        let network = match network_of(&path) {
            Ok(network) => network,
            Err(reason) => {
                wrong.push(format!("{name}: {reason}"));
                continue;
            }
        };
        *COUNTS.lock().expect("no test panics while it counts") = Counts::default();
        let options = BuildOptions { verify: Verify::Off, ..BuildOptions::default() };
        let built = build(&network, &CountedCpu, options).expect("a plan");
        let Counts { asked, loads, .. } = std::mem::take(&mut *COUNTS.lock().expect("no test panics while it counts"));
        let most = asked.values().map(BTreeSet::len).max().unwrap_or(0);
        if loads > 0 || most > MOST_ASKED {
            wrong.push(format!("{name}: {loads} loads before verification, {most} tactics asked about one region"));
        }
        if built.costs.solved != built.costs.emitted {
            wrong.push(format!("{name}: the cover does not cost what its steps do: {:?}", built.costs));
        }
        let plan = &built.plan;
        let mut registers = vec![0; plan.shapes.register_count()];
        for (position, symbol) in plan.shapes.symbols().iter().enumerate() {
            let register = plan.shapes.symbol(symbol).expect("its own symbol");
            registers[register.0 as usize] = 512 + 128 * position as i64;
        }
        if plan.shapes.run(&mut registers).is_err() {
            continue;
        }
        let layout = Layout::of(&plan.graph);
        if let (Some(arena), Some(bound)) = (layout.arena_bytes(&registers), layout.liveness_bytes(&registers))
            && arena as f64 > 1.15 * bound as f64
        {
            wrong.push(format!("{name}: an arena of {arena} bytes where {bound} live at once"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Steps that are alike, trials with other numbers, the plan as a whole: all of it with the kernels that were loaded
/// once.
#[test]
fn a_verified_build_loads_each_kernel_once() {
    let Some(folder) = crate::shared("models") else { return };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for name in ["mnist8", "ultraface-slim-320", "bert-mini-dynamic", "silero-vad-v5-if"] {
        let network = network_of(&folder.join(name)).expect("a network");
        *COUNTS.lock().expect("no test panics while it counts") = Counts::default();
        let built = build(&network, &CountedCpu, BuildOptions::default()).expect("a plan");
        assert!(built.verification.skipped.is_none(), "{name}: {:?}", built.verification.skipped);
        let Counts { loads, loaded, .. } = std::mem::take(&mut *COUNTS.lock().expect("no test panics while it counts"));
        assert!(loads == loaded.len() && loads > 3, "{name}: {loads} loads of {} kernels", loaded.len());
    }
}
