//! A build from beginning to end.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sinter_backend::{BackEnd, Device};
use sinter_base::{Dim, TensorType};
use sinter_interp::evaluate_weight;
use sinter_interp::inputs::generate_at;
use sinter_ir::{Network, WeightExpr};
use sinter_ops::{EvalError, ValueId};
use sinter_passes::{Optimized, PassOptions, PassReport, optimize};
use sinter_plan::{Graph, Home, Plan, PlanGuard, PlanValueId, PlanWeight, Port, ShapeCompiler, Slot, WeightId};
use sinter_runtime::default_memory;

use crate::bound::{self, WeightBudget};
use crate::cache::verdicts::{Verdict, VerdictCache, build_key, plan_hash};
use crate::error::BuildError;
use crate::evidence::Evidence;
use crate::lower::{Lowering, PACKED, Pack, Sizes};
use crate::memory::assign_buffers;
use crate::parity::whole::Mismatch;
use crate::parity::{self, Answers, Change, Draft, Dropped, Verification, Verify};
use crate::parts::{self, Known, Moved};
use crate::progress::{Progress, Stage};
use crate::regions::{ConsideredRegion, considered};
use crate::sizes::{SizeHints, input_symbols, sizes_of};
use crate::tune::point::PointSizes;
use crate::tune::{self, Tuning};

/// What the user decides about a build.
#[derive(Debug)]
pub struct BuildOptions<'a> {
    /// Threads to choose kernels for; the plan runs with any number.
    pub threads: usize,
    /// What becomes of the passes.
    pub passes: PassOptions<'a>,
    /// What is known beforehand of sizes that stay free.
    pub sizes: SizeHints,
    /// May concatenations and slices lie in the memory of other values? Copies may need less memory, and more time.
    pub place_parts: bool,
    /// Most bytes that the build may take for weights and values; checked before they are taken. Default: half of the
    /// memory of the machine, or of the control group when that is less.
    pub max_memory: u64,
    /// What the plan is verified with.
    pub verify: Verify,
    /// How kernels are timed; without it no clock is read, and the plan depends on nothing but what is given here.
    pub tuning: Option<Tuning>,
    /// Verdicts of earlier builds; `None` asks the judge in any case.
    pub verdicts: Option<VerdictCache>,
    /// Who is told how far the build is.
    pub progress: Progress<'a>,
}

/// A plan, and how it came about.
#[derive(Clone, Debug)]
pub struct Built {
    /// The plan.
    pub plan: Plan,
    /// What every pass did.
    pub passes: Vec<PassReport>,
    /// The network after the passes; values of the plan up to its last one have its numbers.
    pub network: Network,
    /// What the judge said.
    pub verification: Verification,
    /// Is that what it said in an earlier build, of the same plan?
    pub is_known_verdict: bool,
    /// Every region that was considered, and what was chosen.
    pub regions: Vec<ConsideredRegion>,
    /// Concatenations and slices that move elements, and why.
    pub moved: Vec<Moved>,
    /// How tuning went, where the build is tuned.
    pub tuned: Option<Tuned>,
    /// The verdicts that were given, with this one.
    pub verdicts: Option<VerdictCache>,
}

/// How tuning went.
#[derive(Clone, Debug, Default)]
pub struct Tuned {
    /// All timings: those that were given, and new ones.
    pub cache: crate::cache::timings::TimingCache,
    /// How long kernels were timed.
    pub spent: Duration,
    /// Candidates that there was no time for.
    pub untimed: usize,
}

impl Default for BuildOptions<'_> {
    fn default() -> Self {
        Self {
            threads: 1,
            passes: PassOptions::default(),
            sizes: SizeHints::default(),
            place_parts: true,
            max_memory: u64::try_from(default_memory()).unwrap_or(u64::MAX),
            verify: Verify::default(),
            tuning: None,
            verdicts: None,
            progress: Progress::default(),
        }
    }
}

/// A build under way.
struct Build<'a> {
    back_end: &'a dyn BackEnd,
    threads: usize,
    sizes: SizeHints,
    max_memory: u64,
    place_parts: bool,
    tuning: Option<Tuning>,
    /// Time for tuning that is left.
    left: Duration,
    untimed: usize,
    evidence: Evidence,
    progress: Progress<'a>,
}

/// Builds a plan for one back end.
///
/// # Errors
/// When a pass is unknown, operators have no kernel, all of them at once, a weight cannot be computed, more memory is needed
/// than allowed, or timings are missing that a locked build needs.
pub fn build(network: &Network, back_end: &dyn BackEnd, options: BuildOptions<'_>) -> Result<Built, BuildError> {
    let imported = network;
    let BuildOptions { threads, passes, sizes, place_parts, max_memory, verify, tuning, mut verdicts, progress } =
        options;
    let mut build = Build::new(imported, back_end, threads, max_memory, sizes, tuning, progress)?;
    build.place_parts = place_parts;
    if let Verify::Given(inputs) = &verify {
        build.evidence.set_usual_sizes(sizes_of(imported, inputs));
    }
    let disabled = passes.disabled.clone();
    progress.begin(Stage::Passes);
    let mut optimized = optimize(imported.clone(), passes)?;
    let key = verdicts.as_ref().and_then(|_| {
        let device = tune::device_name(back_end, &back_end.device(threads));
        build_key(imported, &device, disabled.iter(), &verify)
    });
    if let Some(verdict) = key.as_ref().zip(verdicts.as_ref()).and_then(|(key, verdicts)| verdicts.get(key)) {
        let optimized = match &verdict.without {
            None => optimized.clone(),
            Some(pass) => without(imported, &disabled, pass)?,
        };
        build.evidence.ban_all(&verdict.bans);
        let mut draft = build.draft(&optimized.network)?;
        if plan_hash(&draft.plan) == verdict.plan {
            draft.plan.sealed = verdict.sealed;
            let built = build.finish(draft, optimized, verdict.found);
            return Ok(Built { is_known_verdict: true, verdicts, ..built });
        }
        // The verdict was of another plan: its bans may not hold for this one. Timings do.
        build.evidence.forget_bans();
    }
    let mut verification = Verification::default();
    progress.begin(Stage::Judge);
    build.check_judge(imported, &verify)?;
    let answers = match parity::answers(imported, &verify, &build.sizes, build.max_memory) {
        Ok(answers) => answers,
        Err(reason) => {
            verification.skipped = Some(reason);
            let draft = build.draft(&optimized.network)?;
            return Ok(Built { verdicts, ..build.finish(draft, optimized, verification) });
        }
    };
    let mut left_out = None;
    match parity::keeps_meaning(imported, &optimized.network, &answers) {
        Ok(()) => {}
        // One rounding more or less may select something else: the steps are still verified one by one.
        Err(Change::Outputs(reason)) if parity::is_discrete(&imported.body) => {
            verification.unverified_passes = Some(reason);
        }
        Err(Change::Effects(reason) | Change::Outputs(reason)) => {
            let (name, again) = without_wrong_pass(imported, optimized, &disabled, &answers)?;
            let origin = "the whole network".to_owned();
            verification.dropped.push(Dropped { name: name.clone(), origin, reason });
            (left_out, optimized) = (Some(name), again);
        }
    }
    loop {
        let mut draft = build.draft(&optimized.network)?;
        let failures = parity::check_steps(
            &draft,
            &optimized.network,
            &answers,
            &build.sizes,
            back_end,
            &mut verification,
            progress,
        );
        if !parity::ban(failures, &mut build.evidence, &mut verification) {
            match parity::whole::check(&draft.plan, imported, &answers, back_end) {
                Ok(()) => {}
                Err(Mismatch::Unverifiable(reason)) => {
                    verification.unverified.push(("the whole plan".to_owned(), reason));
                }
                Err(Mismatch::Differs(reason)) if build.place_parts && has_parts(&draft.plan.graph) => {
                    build.place_parts = false;
                    let (name, origin) = ("parts of values".to_owned(), "the whole plan".to_owned());
                    verification.dropped.push(Dropped { name, origin, reason });
                    continue;
                }
                Err(Mismatch::Differs(reason)) => return Err(BuildError::Disagrees { reason }),
            }
            draft.plan.sealed = parity::seal(&draft.plan, imported, &answers);
            if let (Some(key), Some(verdicts), None) = (&key, &mut verdicts, &verification.skipped) {
                let verdict = Verdict {
                    plan: plan_hash(&draft.plan),
                    without: left_out,
                    bans: build.evidence.bans(),
                    found: verification.clone(),
                    sealed: draft.plan.sealed.clone(),
                };
                verdicts.insert(key, verdict);
            }
            return Ok(Built { verdicts, ..build.finish(draft, optimized, verification) });
        }
    }
}

impl<'a> Build<'a> {
    fn new(
        network: &Network,
        back_end: &'a dyn BackEnd,
        threads: usize,
        max_memory: u64,
        sizes: SizeHints,
        tuning: Option<Tuning>,
        progress: Progress<'a>,
    ) -> Result<Self, BuildError> {
        let known = input_symbols(network);
        if let Some(name) = sizes.0.keys().find(|name| !known.contains(*name)) {
            return Err(BuildError::UnknownSize { name: name.clone(), known: known.into_iter().collect() });
        }
        bound::check(network, &sizes, max_memory)?;
        let times = tuning.as_ref().map(|tuning| tune::begin(tuning, back_end, &back_end.device(threads)));
        let evidence = Evidence::new(PointSizes::of_network(network, &sizes, max_memory), times);
        let left = tuning.as_ref().and_then(|tuning| tuning.budget).unwrap_or_default();
        Ok(Self {
            back_end,
            threads,
            sizes,
            max_memory,
            place_parts: true,
            tuning,
            left,
            untimed: 0,
            evidence,
            progress,
        })
    }

    /// Is there room for the judge, at the sizes of the given inputs or at the smallest ones?
    fn check_judge(&self, network: &Network, verify: &Verify) -> Result<(), BuildError> {
        let smallest = |network| generate_at(network, &|name| self.sizes.near(name, 1));
        match verify {
            Verify::Off => {}
            Verify::Given(inputs) => bound::check_judge(network, inputs, self.max_memory)?,
            Verify::Generated => {
                // What cannot be made up is told by the judge.
                if let Ok(inputs) = smallest(network) {
                    bound::check_judge(network, &inputs, self.max_memory)?;
                }
            }
        }
        Ok(())
    }

    /// A plan by what is known so far; kernels that it asks about are timed first, where the build is tuned.
    fn draft(&mut self, network: &Network) -> Result<Draft, BuildError> {
        let Self { back_end, threads, progress, .. } = *self;
        let whole = self.tuning.as_ref().map(|tuning| tuning.budget);
        loop {
            progress.begin(Stage::Choose);
            let mut lowered = lower(network, back_end, threads, &self.evidence)?;
            if self.place_parts {
                lowered.place_parts(back_end, &self.evidence);
            }
            let missing = if whole.is_some() { tune::missing(&self.evidence) } else { Vec::new() };
            self.untimed = missing.len();
            match whole {
                Some(Some(whole)) if !missing.is_empty() && !self.left.is_zero() => {
                    // Times make other covers worth while, which ask about other regions.
                    let budget = (&mut self.left, whole);
                    let device = back_end.device(threads);
                    tune::tune(&mut self.evidence, back_end, &device, budget, progress);
                    if self.left.is_zero() {
                        let scale = tune::scale(&self.evidence);
                        self.evidence.set_scale(scale);
                    }
                }
                Some(None) if !missing.is_empty() => {
                    let device = tune::device_name(back_end, &back_end.device(threads));
                    let known = self.evidence.devices();
                    return Err(BuildError::Untimed { missing, device, known });
                }
                _ => {
                    progress.begin(Stage::Weights);
                    return finish(network, lowered, &self.sizes, back_end, self.max_memory);
                }
            }
        }
    }

    fn finish(self, draft: Draft, optimized: Optimized, verification: Verification) -> Built {
        let regions = considered(&self.evidence, &draft.plan.graph);
        let budget = self.tuning.and_then(|tuning| tuning.budget).unwrap_or_default();
        let spent = budget.saturating_sub(self.left);
        let untimed = self.untimed;
        let tuned = self.evidence.times.map(|times| Tuned { cache: times.cache, spent, untimed });
        Built {
            plan: draft.plan,
            passes: optimized.report,
            network: optimized.network,
            verification,
            is_known_verdict: false,
            regions,
            moved: draft.moved,
            tuned,
            verdicts: None,
        }
    }
}

fn has_parts(graph: &Graph) -> bool {
    graph.values.iter().any(|value| matches!(value.home, Home::Part(_)))
}

/// Stands for all passes where no single one is to blame.
const ALL_PASSES: &str = "all passes";

/// The network after all passes but one, or without any.
fn without(imported: &Network, disabled: &BTreeSet<String>, pass: &str) -> Result<Optimized, BuildError> {
    if pass == ALL_PASSES {
        return Ok(Optimized { network: imported.clone(), report: Vec::new() });
    }
    let disabled = disabled.iter().cloned().chain([pass.to_owned()]).collect();
    Ok(optimize(imported.clone(), PassOptions { disabled, ..PassOptions::default() })?)
}

/// The network after the passes without the one that changes its meaning, by name; without any when one alone is not to
/// blame.
fn without_wrong_pass(
    imported: &Network,
    optimized: Optimized,
    disabled: &BTreeSet<String>,
    answers: &Answers,
) -> Result<(String, Optimized), BuildError> {
    for report in optimized.report.iter().filter(|report| report.fired > 0) {
        let again = without(imported, disabled, report.pass)?;
        if parity::keeps_meaning(imported, &again.network, answers).is_ok() {
            return Ok((report.pass.to_owned(), again));
        }
    }
    Ok((ALL_PASSES.to_owned(), without(imported, disabled, ALL_PASSES)?))
}

/// A network with its kernels chosen, before weights are computed.
struct Lowered {
    device: Device,
    graph: Graph,
    sizes: Sizes,
    shapes: ShapeCompiler,
    known: BTreeSet<String>,
    expressions: Vec<Arc<WeightExpr>>,
    packs: Vec<(Pack, PlanValueId)>,
    guards: Vec<(Slot, Slot, String)>,
    moved: Vec<Moved>,
}

impl Lowered {
    fn place_parts(&mut self, back_end: &dyn BackEnd, evidence: &Evidence) {
        let known = Known { sizes: &self.known, back_end, device: &self.device, evidence };
        self.moved = parts::place(&known, &mut self.graph, &mut self.sizes, &mut self.shapes);
    }
}

/// Chooses the kernels of a network as it is.
fn lower(
    network: &Network,
    back_end: &dyn BackEnd,
    threads: usize,
    evidence: &Evidence,
) -> Result<Lowered, BuildError> {
    evidence.begin_cover();
    let device = back_end.device(threads);
    let known = input_symbols(network);
    let weight_ids: HashMap<ValueId, WeightId> =
        network.weights.iter().enumerate().map(|(i, w)| (w.value, WeightId::new(i))).collect();
    let mut shapes = ShapeCompiler::default();
    for name in &known {
        shapes.symbol(name);
    }
    let mut lowering = Lowering {
        back_end,
        device: &device,
        evidence,
        known: &known,
        weights: &weight_ids,
        expressions: network.weights.iter().map(|w| w.expr.clone()).collect(),
        packs: Vec::new(),
        is_inside: false,
        guards: Vec::new(),
        unserved: Vec::new(),
    };
    let (graph, sizes) = lowering.lower(&network.body, &network.locations, &mut shapes);
    if !lowering.unserved.is_empty() {
        return Err(BuildError::Unserved(lowering.unserved));
    }
    let Lowering { expressions, packs, guards, .. } = lowering;
    Ok(Lowered { device, graph, sizes, shapes, known, expressions, packs, guards, moved: Vec::new() })
}

/// The plan of a network whose kernels are chosen.
fn finish(
    network: &Network,
    lowered: Lowered,
    hints: &SizeHints,
    back_end: &dyn BackEnd,
    max_memory: u64,
) -> Result<Draft, BuildError> {
    let Lowered { device, mut graph, sizes, mut shapes, known, expressions, packs, guards, moved } = lowered;
    // Ranges come first: their messages name the input.
    let of_network = network.guards.iter().map(|g| (g.left.clone(), g.right.clone(), g.reason.clone()));
    let decidable = hints.guards().chain(of_network).filter(|(a, b, _)| is_over(a, &known) && is_over(b, &known));
    let mut all: Vec<(Slot, Slot, String)> = Vec::new();
    let slots: Vec<_> =
        decidable.map(|(left, right, reason)| (shapes.dim(&left), shapes.dim(&right), reason)).collect();
    for (left, right, reason) in slots.into_iter().chain(guards) {
        if !all.iter().any(|(a, b, _)| (*a, *b) == (left, right)) {
            all.push((left, right, reason));
        }
    }
    let (program, register) = shapes.finish();
    sizes.resolve(&mut graph, &register);
    assign_buffers(&mut graph);
    let port = |name: &str, value: ValueId| Port {
        name: name.to_owned(),
        value: PlanValueId::new(value.index()),
        default: None,
    };
    let mut plan = Plan {
        name: network.name.clone(),
        device,
        graph,
        inputs: network.inputs.iter().map(|i| port(&i.name, i.value)).collect(),
        outputs: network.outputs.iter().map(|o| port(&o.name, o.value)).collect(),
        weights: Vec::new(),
        shapes: program,
        guards: all
            .into_iter()
            .map(|(left, right, reason)| PlanGuard { left: register(left), right: register(right), reason })
            .collect(),
        sealed: None,
    };
    plan.weights = used_weights(&expressions, &packs, back_end, &mut plan.graph, WeightBudget::new(max_memory))?;
    for (port, input) in plan.inputs.iter_mut().zip(&network.inputs) {
        if let Some(tensor) = &input.default {
            port.default = Some(WeightId::new(plan.weights.len()));
            plan.weights.push(PlanWeight { name: input.name.clone(), tensor: tensor.clone() });
        }
    }
    let packs = packs.into_iter().map(|(pack, value)| (value, pack)).collect();
    Ok(Draft { plan, expressions, packs, moved })
}

fn is_over(dim: &Dim, known: &BTreeSet<String>) -> bool {
    let mut over = true;
    dim.visit_symbols(&mut |name| over &= known.contains(name));
    over
}

/// The weights that steps or results still use, evaluated, packed where a kernel wants that, and renumbered.
fn used_weights(
    expressions: &[Arc<WeightExpr>],
    packs: &[(Pack, PlanValueId)],
    back_end: &dyn BackEnd,
    graph: &mut Graph,
    mut budget: WeightBudget,
) -> Result<Vec<PlanWeight>, BuildError> {
    let mut used: BTreeSet<PlanValueId> = graph.outputs.iter().copied().collect();
    used.extend(graph.steps.iter().flat_map(|s| s.inputs.iter().flatten()).copied());
    let mut weights = Vec::new();
    let mut numbers: HashMap<WeightId, WeightId> = HashMap::new();
    for index in 0..graph.values.len() {
        let Home::Weight(old) = graph.values[index].home else { continue };
        if !used.contains(&PlanValueId::new(index)) {
            // Nothing refers to it; as an input of the graph it would be asked for.
            graph.values[index].home = Home::Dynamic;
            continue;
        }
        if let Some(known) = numbers.get(&old) {
            graph.values[index].home = Home::Weight(*known);
            continue;
        }
        let pack = old.index().checked_sub(PACKED).and_then(|index| packs.get(index)).map(|(pack, _)| pack);
        let source = pack.map_or(old, |pack| pack.weight);
        let expression = &expressions[source.index()];
        let name = name_of(expression).unwrap_or_else(|| format!("weight {}", source.index()));
        let failed = |source: EvalError| BuildError::Weight { name: name.clone(), source };
        budget.take(expression, pack.is_some())?;
        let mut tensor = evaluate_weight(expression).map_err(failed)?;
        if let Some(Pack { operand, recipe, region, .. }) = pack {
            let tactic = back_end.tactic(&recipe.tactic);
            let tactic = tactic.ok_or_else(|| failed(EvalError::Invalid(format!("{} is gone", recipe.tactic))))?;
            let packed = tactic.pack(recipe, region, *operand, &tensor);
            tensor = packed.map_err(|e| failed(EvalError::Invalid(e.to_string())))?;
            graph.values[index].ty = TensorType::new(tensor.data_type(), tensor.sizes().into()).into();
        }
        let new = WeightId::new(weights.len());
        numbers.insert(old, new);
        graph.values[index].home = Home::Weight(new);
        weights.push(PlanWeight { name, tensor });
    }
    Ok(weights)
}

/// The name of the first source that has one.
fn name_of(expression: &WeightExpr) -> Option<String> {
    match expression {
        WeightExpr::Source { name, .. } => Some(name.to_string()).filter(|name| !name.is_empty()),
        WeightExpr::Apply { inputs, .. } => inputs.iter().flatten().find_map(|input| name_of(input)),
    }
}
