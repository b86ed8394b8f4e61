//! A build from beginning to end.

use std::collections::BTreeSet;
use std::time::Duration;

use sinter_backend::BackEnd;
use sinter_base::Location;
use sinter_interp::inputs::{generate_at, sizes_of};
use sinter_ir::Network;
use sinter_passes::{Optimized, PassOptions, PassReport, optimize};
use sinter_plan::report::PrecisionReport;
use sinter_plan::{Graph, Plan, Report, Storage};

use crate::assemble::aliasing::Moved;
use crate::assemble::compile::{Uncompiled, compile};
use crate::assemble::lowered::{LoweredGraph, LoweredPlan, finish, lower};
use crate::choose::cover::Costs;
use crate::choose::point::Optimum;
use crate::choose::tune::{self, Tuning};
use crate::choose::tuning_database::{Failure, TuningDatabase};
use crate::devices::Devices;
use crate::engine_comparison::{EngineComparison, Engines, SHARE};
use crate::error::BuildError;
use crate::fallback::{ALL_PASSES, Fallback, least};
use crate::known_verifications::{KnownVerification, VerificationCache, build_key, plan_hash};
use crate::memory_budget;
use crate::options::{BuildOptions, profiles};
use crate::precision::{self, Narrowed};
use crate::progress::Stage;
use crate::refittable::hide_contents;
use crate::regions::{ConsideredRegion, considered};
use crate::report::report;
use crate::sizes::input_symbols;
use crate::verify::steps::Subject;
use crate::verify::trace::Trace;
use crate::verify::whole::Mismatch;
use crate::verify::{self, Answers, Dropped, Unverified, Verification, Verify};

/// A plan with the report of its build.
#[derive(Clone, Debug)]
pub struct Built {
    /// The plan.
    pub plan: Plan,
    /// The report of every pass.
    pub passes: Vec<PassReport>,
    /// The network after the passes; the plan's values have the same indices.
    pub network: Network,
    /// The verification result.
    pub verification: Verification,
    /// Did the verification cache hold the result, for the same plan?
    pub is_known_verification: bool,
    /// Every region that the build considered, with its candidates.
    pub regions: Vec<ConsideredRegion>,
    /// The expected time of the cover, and of others.
    pub costs: Costs,
    /// Concatenations, slices and reshapes that move elements, with reasons.
    pub moved: Vec<Moved>,
    /// Dequantizations of weights that the plan computes in advance, since no kernel reads the quantized weight.
    pub dequantized: Vec<Location>,
    /// Nodes that run on the island, since the plan's own back end has no kernel for them.
    pub on_island: Vec<Location>,
    /// The result of tuning, if the build is tuned.
    pub tuned: Option<Tuned>,
    /// The given verification cache, with the result of this build.
    pub verifications: Option<VerificationCache>,
}

/// The result of tuning.
#[derive(Clone, Debug, Default)]
pub struct Tuned {
    /// All timings: the given ones and new ones.
    pub cache: crate::choose::timings::TimingCache,
    /// Time that the build spent on timing kernels and engines.
    pub spent: Duration,
    /// Number of candidates that the build had no time for.
    pub untimed: usize,
    /// The comparison of the plan by times with the plan by estimates; `None` where both are the same.
    pub engines: Option<Engines>,
}

/// The imported network, with the reference executor's results.
#[derive(Clone, Copy)]
struct Reference<'a> {
    imported: &'a Network,
    answers: &'a Answers,
}

/// State of a build.
struct Build<'b, 'o> {
    back_end: &'b dyn BackEnd,
    /// The devices, with the kernels loaded for verification.
    devices: Devices<'b>,
    options: BuildOptions<'o>,
    fallbacks: Vec<Fallback>,
    /// Remaining time for tuning.
    left: Duration,
    untimed: usize,
    engines: Option<Engines>,
    database: TuningDatabase,
    /// Kernels that failed to compile.
    uncompiled: Vec<Dropped>,
    /// What the network is stored in.
    precision: Option<PrecisionReport>,
    /// What the passes in front of a rewrite for low precision did.
    passes_before: Vec<PassReport>,
}

/// Why the plan of a device elsewhere is not verified.
const ELSEWHERE: &str = "the device is elsewhere: no kernel runs here; the passes are verified, and the self-test vectors of the \
                         plan verify the rest where it runs";

/// Builds a plan for one back end.
///
/// # Errors
/// When a pass is unknown, operators have no kernel (the error lists all of them), a weight cannot be computed, the
/// build needs more memory than is allowed, or a locked build lacks timings.
pub fn build(network: &Network, back_end: &dyn BackEnd, mut options: BuildOptions<'_>) -> Result<Built, BuildError> {
    let hidden = options.refittable.then(|| hide_contents(network));
    let imported = hidden.as_ref().unwrap_or(network);
    let (passes, mut verifications) = (std::mem::take(&mut options.passes), options.verifications.take());
    let progress = options.progress;
    let precision = options.precision.clone();
    let mut build = Build::new(imported, back_end, options)?;
    let disabled = passes.disabled.clone();
    progress.begin(Stage::Passes);
    let mut optimized = optimize(imported.clone(), passes)?;
    let key = verifications.as_ref().and_then(|_| {
        let device = tune::device_name(back_end, &back_end.target(build.options.threads));
        build_key(imported, &device, disabled.iter(), &precision, &build.options.verify)
    });
    if let Some(known) =
        key.as_ref().zip(verifications.as_ref()).and_then(|(key, verifications)| verifications.get(key))
    {
        let optimized = match &known.without {
            None => optimized.clone(),
            Some(pass) => without(imported, &disabled, pass)?,
        };
        let stage = precision::Stage { imported, network: &optimized.network, options: &precision };
        let narrowed = stage.repeated(&known.out_of_range, known.outputs)?;
        let optimized = build.with_precision(optimized, narrowed.as_ref(), &disabled)?;
        build.database.ban_all(&known.bans);
        build.fallbacks = known.fallbacks;
        let mut lowered_plan = build.make_plan(&optimized.network)?;
        if plan_hash(&lowered_plan.plan) == known.plan {
            lowered_plan.plan.self_test = known.self_test;
            let built = build.finish(lowered_plan, optimized, known.found);
            return Ok(Built { is_known_verification: true, verifications, ..built });
        }
        // The cached result is of another plan, for which its bans need not hold. Timings hold.
        build.database.forget_bans();
        build.fallbacks.clear();
        build.precision = None;
        build.passes_before.clear();
    }
    let mut verification = Verification::default();
    progress.begin(Stage::Reference);
    build.check_reference(imported)?;
    let BuildOptions { verify, sizes, max_memory, .. } = &build.options;
    let stage = |network| precision::Stage { imported, network, options: &precision };
    let of_profile = |sizes: &Optimum| verify::answers(imported, &Verify::Generated, &sizes.hints, *max_memory);
    let mut answers = match verify::answers(imported, verify, sizes, *max_memory) {
        Ok(mut answers) => {
            answers.of_profiles = build.database.profiles().iter().skip(1).map(of_profile).collect();
            answers
        }
        Err(reason) => {
            verification.skipped = Some(reason);
            let narrowed = stage(&optimized.network).narrowed(None)?;
            optimized = build.with_precision(optimized, narrowed.as_ref(), &disabled)?;
            let lowered_plan = build.make_plan(&optimized.network)?;
            return Ok(Built { verifications, ..build.finish(lowered_plan, optimized, verification) });
        }
    };
    let mut left_out = None;
    let mut trace = Trace::of(&optimized.network, &answers);
    if let Err(reason) = verify::keeps_meaning(imported, &optimized.network, &answers, &trace) {
        let (name, again) = without_wrong_pass(imported, optimized, &disabled, &answers)?;
        let origin = "the whole network".to_owned();
        verification.dropped.push(Dropped { name: name.clone(), origin, reason });
        (left_out, optimized) = (Some(name), again);
        trace = Trace::of(&optimized.network, &answers);
    }
    // From here on the narrow network is the one to build.
    let mut narrowed = stage(&optimized.network).narrowed(Some(&answers))?;
    let out_of_range = narrowed.as_ref().map(|narrowed| narrowed.out_of_range.clone()).unwrap_or_default();
    if let Some(narrowed) = &mut narrowed {
        answers = narrowed.answers(&answers)?;
        optimized = build.with_precision(optimized, Some(narrowed), &disabled)?;
        trace = Trace::of(&optimized.network, &answers);
        if let Err(reason) = verify::keeps_meaning(&narrowed.network, &optimized.network, &answers, &trace) {
            let origin = "the network in low precision".to_owned();
            verification.dropped.push(Dropped { name: ALL_PASSES.to_owned(), origin, reason });
            (left_out, optimized) = (Some(ALL_PASSES.to_owned()), without(&narrowed.network, &disabled, ALL_PASSES)?);
            trace = Trace::of(&optimized.network, &answers);
        }
    }
    let imported = narrowed.as_ref().map_or(imported, |narrowed| &narrowed.network);
    if back_end.is_elsewhere() {
        verification.skipped = Some(ELSEWHERE.to_owned());
        let mut lowered_plan = build.make_plan(&optimized.network)?;
        lowered_plan.plan.self_test = verify::self_test_of(&lowered_plan.plan, imported, &answers);
        return Ok(Built { verifications, ..build.finish(lowered_plan, optimized, verification) });
    }
    let reference = Reference { imported, answers: &answers };
    let (mut lowered_plan, mut whole) = build.attempt(&optimized.network, &trace, reference, &mut verification)?;
    if let Err(Mismatch::Differs(reason)) = whole {
        let possible_fallbacks = build.possible_fallbacks(&lowered_plan.plan.graph, &optimized);
        drop(lowered_plan);
        let found = least(&possible_fallbacks, |fallbacks| {
            build.fallbacks = fallbacks.to_vec();
            let (_, whole) = if fallbacks.contains(&Fallback::Passes) {
                build.attempt(imported, &Trace::of(imported, &answers), reference, &mut verification)?
            } else {
                build.attempt(&optimized.network, &trace, reference, &mut verification)?
            };
            Ok::<bool, BuildError>(!matches!(whole, Err(Mismatch::Differs(_))))
        })?;
        let Some(fallbacks) = found else { return Err(BuildError::Disagrees { reason }) };
        if fallbacks.contains(&Fallback::Passes) {
            optimized = without(imported, &disabled, ALL_PASSES)?;
            trace = Trace::of(imported, &answers);
            left_out = Some(ALL_PASSES.to_owned());
        }
        let origin = "the whole plan";
        let dropped = fallbacks.iter().map(|fallback| fallback.name());
        let dropped = dropped.map(|name| Dropped { name: name.into(), origin: origin.into(), reason: reason.clone() });
        verification.dropped.extend(dropped);
        build.fallbacks = fallbacks;
        (lowered_plan, whole) = build.attempt(&optimized.network, &trace, reference, &mut verification)?;
    }
    let whole_agrees = whole.is_ok();
    let is_changed = optimized.report.iter().any(|pass| pass.fired > 0);
    if let Some(reason) = answers.unfinished.clone().filter(|_| is_changed) {
        verification.unverified.push(Unverified { origin: "the passes".to_owned(), reason });
    }
    match whole {
        Ok(()) => {}
        Err(Mismatch::Unverifiable(reason)) => {
            verification.unverified.push(Unverified { origin: "the whole plan".to_owned(), reason });
        }
        Err(Mismatch::Differs(reason)) => return Err(BuildError::Disagrees { reason }),
    }
    if whole_agrees {
        lowered_plan.plan.self_test = verify::self_test_of(&lowered_plan.plan, imported, &answers);
    }
    // A network in low precision without a pass is not made again from the cache.
    let is_repeatable = left_out.is_none() || precision.is_plain();
    if let (Some(key), Some(verifications), None, true) =
        (&key, &mut verifications, &verification.skipped, is_repeatable)
    {
        let known = KnownVerification {
            plan: plan_hash(&lowered_plan.plan),
            without: left_out,
            bans: build.database.bans(),
            fallbacks: build.fallbacks.clone(),
            out_of_range,
            outputs: build.precision.as_ref().map(|report| report.outputs.clone()).unwrap_or_default(),
            found: verification.clone(),
            self_test: lowered_plan.plan.self_test.clone(),
        };
        verifications.insert(key, known);
    }
    Ok(Built { verifications, ..build.finish(lowered_plan, optimized, verification) })
}

impl<'b, 'o: 'b> Build<'b, 'o> {
    fn new(network: &Network, back_end: &'b dyn BackEnd, mut options: BuildOptions<'o>) -> Result<Self, BuildError> {
        let profiles = profiles(&mut options)?;
        let BuildOptions { threads, sizes, max_memory, verify, tuning, .. } = &options;
        let known = input_symbols(network);
        let named = profiles.iter().flat_map(|profile| profile.0.keys());
        if let Some(name) = named.into_iter().find(|name| !known.contains(*name)) {
            return Err(BuildError::UnknownSize { name: name.clone(), known: known.into_iter().collect() });
        }
        memory_budget::check(network, sizes, *max_memory)?;
        let times = tuning.as_ref().map(|tuning| tune::begin(tuning, back_end, &back_end.target(*threads)));
        let points = profiles.iter().map(|sizes| Optimum::of_network(network, sizes, *max_memory));
        let mut database = TuningDatabase::new(points.collect(), times);
        if let Verify::Given(inputs) = verify {
            database.set_optimum(sizes_of(network, inputs));
        }
        // Without a device there are only the timings of a cache.
        if back_end.is_elsewhere() && tuning.as_ref().is_some_and(|tuning| tuning.budget.is_some()) {
            return Err(BuildError::Untimeable { target: back_end.target(*threads).to_string() });
        }
        let left = tuning.as_ref().and_then(|tuning| tuning.budget).unwrap_or_default();
        let devices = Devices::open(back_end, options.island, options.threads).map_err(BuildError::Device)?;
        Ok(Self {
            back_end,
            devices,
            options,
            fallbacks: Vec::new(),
            left,
            untimed: 0,
            engines: None,
            database,
            uncompiled: Vec::new(),
            precision: None,
            passes_before: Vec::new(),
        })
    }

    /// Does the reference executor have enough memory, at the sizes of the given inputs or at the smallest ones?
    fn check_reference(&self, network: &Network) -> Result<(), BuildError> {
        let BuildOptions { verify, sizes, max_memory, .. } = &self.options;
        match verify {
            Verify::Off => {}
            Verify::Given(inputs) => memory_budget::check_reference(network, inputs, *max_memory)?,
            Verify::Generated => {
                // The reference executor reports why inputs cannot be generated.
                if let Ok(inputs) = generate_at(network, &|name| sizes.near(name, 1)) {
                    memory_budget::check_reference(network, &inputs, *max_memory)?;
                }
            }
        }
        Ok(())
    }

    /// The network to build: the given one, or the narrow one after the passes that clean up.
    fn with_precision(
        &mut self,
        optimized: Optimized,
        narrowed: Option<&Narrowed>,
        disabled: &BTreeSet<String>,
    ) -> Result<Optimized, BuildError> {
        let Some(narrowed) = narrowed else { return Ok(optimized) };
        self.precision = Some(narrowed.report.clone());
        self.passes_before = optimized.report;
        Ok(precision::cleaned(&narrowed.network, disabled)?)
    }

    /// The optimizations that this build can disable: those that it applied.
    fn possible_fallbacks(&self, graph: &Graph, optimized: &Optimized) -> Vec<Fallback> {
        let was_done = |fallback: &Fallback| match fallback {
            Fallback::Aliases => has_aliases(graph),
            Fallback::SharedMemory | Fallback::Regions => true,
            Fallback::Passes => optimized.report.iter().any(|pass| pass.fired > 0),
        };
        let all = [Fallback::Aliases, Fallback::SharedMemory, Fallback::Regions, Fallback::Passes];
        all.into_iter().filter(was_done).collect()
    }

    fn may(&self, fallback: Fallback) -> bool {
        !self.fallbacks.contains(&fallback)
    }

    /// A plan whose steps agree with the reference executor, as far as they can be verified, and the result of the
    /// check of the whole plan.
    fn attempt(
        &mut self,
        network: &Network,
        trace: &Trace,
        reference: Reference<'_>,
        found: &mut Verification,
    ) -> Result<(LoweredPlan, Result<(), Mismatch>), BuildError> {
        let Reference { imported, answers } = reference;
        loop {
            let lowered_plan = self.make_plan(network)?;
            let BuildOptions { sizes, max_memory, progress, .. } = &self.options;
            let subject = Subject { lowered_plan: &lowered_plan, network, answers, trace, hints: sizes };
            let wrong = verify::steps::check(&subject, &self.devices, found, *progress);
            if verify::ban(wrong.failures, &mut self.database, found) {
                continue;
            }
            let whole = match wrong.together {
                Some(reason) => Err(Mismatch::Differs(reason)),
                None => verify::whole::check(&lowered_plan.plan, imported, answers, &self.devices, *max_memory),
            };
            return Ok((lowered_plan, whole));
        }
    }

    /// Makes the plan by present knowledge. A tuned build first times the kernels that the cover queries; the plan by
    /// times replaces the plan by estimates where the whole engine is faster.
    fn make_plan(&mut self, network: &Network) -> Result<LoweredPlan, BuildError> {
        if self.options.tuning.is_none() {
            return self.plan(network, self.options.max_memory);
        }
        self.database.go_by_times(true);
        self.time_kernels(network)?;
        let timed = self.plan(network, self.options.max_memory)?;
        let queries = self.database.take_queries();
        self.database.go_by_times(false);
        let weights: usize = timed.plan.weights.iter().map(|weight| weight.tensor().bytes().len()).sum();
        let estimated = self.plan(network, self.options.max_memory.saturating_sub(weights as u64))?;
        self.engines = self.comparison(network, &timed, &estimated)?;
        if self.engines.as_ref().is_none_or(Engines::is_won_by_times) {
            self.database.put_queries(queries);
            return Ok(timed);
        }
        Ok(estimated)
    }

    /// Times kernels until the cover by times queries no others, or the time is over.
    fn time_kernels(&mut self, network: &Network) -> Result<(), BuildError> {
        let device = self.back_end.target(self.options.threads);
        let budget = self.options.tuning.as_ref().and_then(|tuning| tuning.budget);
        // The comparison of whole engines needs some of the time as well.
        let kept = budget.unwrap_or_default().mul_f64(SHARE);
        loop {
            self.lower(network)?;
            let missing = tune::missing(&self.database);
            self.untimed = missing.len();
            let Some(whole) = budget else {
                let (device, known) = (tune::device_name(self.back_end, &device), self.database.devices());
                return if missing.is_empty() { Ok(()) } else { Err(BuildError::Untimed { missing, device, known }) };
            };
            if missing.is_empty() || self.left <= kept {
                return Ok(());
            }
            // Times may make other covers cheaper, which query other regions.
            let mut left = self.left - kept;
            let on = (self.back_end, &**self.devices.main.device());
            tune::tune(&mut self.database, on, (&mut left, whole), self.options.progress);
            self.left = left + kept;
            if left.is_zero() {
                let scale = tune::scale(&self.database);
                self.database.set_scale(scale);
            }
        }
    }

    /// Chooses kernels by present knowledge.
    fn lower(&self, network: &Network) -> Result<LoweredGraph, BuildError> {
        self.options.progress.begin(Stage::Choose);
        let may_alias = self.options.alias_buffers && self.may(Fallback::Aliases);
        let mut lowered = lower(network, &self.devices, &self.database, self.may(Fallback::Regions), may_alias)?;
        if self.options.forbid_islands && !lowered.on_island.is_empty() {
            return Err(BuildError::Islands { nodes: lowered.on_island });
        }
        if may_alias {
            lowered.alias_buffers(self.back_end, &self.database);
        }
        Ok(lowered)
    }

    /// The plan with these kernels.
    fn plan(&mut self, network: &Network, max_memory: u64) -> Result<LoweredPlan, BuildError> {
        loop {
            let lowered = self.lower(network)?;
            self.options.progress.begin(Stage::Weights);
            let may_share = self.may(Fallback::SharedMemory);
            let mut lowered_plan = finish(network, lowered, &self.options.sizes, &self.devices, max_memory, may_share)?;
            let failures = match compile(&mut lowered_plan.plan, &self.devices) {
                Ok(()) => return Ok(lowered_plan),
                Err(Uncompiled::Device(error)) => return Err(BuildError::Device(error)),
                Err(Uncompiled::Kernels(failures)) => failures,
            };
            // The next lowering chooses other kernels in place of those that do not compile.
            for Failure { recipe, region, dropped } in failures {
                self.database.ban(&recipe, &region);
                self.uncompiled.push(dropped);
            }
        }
    }

    /// Compares both plans as whole engines; `None` where they are the same.
    fn comparison(
        &mut self,
        network: &Network,
        timed: &LoweredPlan,
        estimated: &LoweredPlan,
    ) -> Result<Option<Engines>, BuildError> {
        let Some(Tuning { budget, .. }) = self.options.tuning else { return Ok(None) };
        let comparison = EngineComparison::between(&timed.plan, &estimated.plan, self.database.sizes());
        let Some(comparison) = comparison else { return Ok(None) };
        let device = self.back_end.target(self.options.threads);
        if comparison.known(&self.database).is_none() {
            let Some(whole) = budget else {
                let (device, known) = (tune::device_name(self.back_end, &device), self.database.devices());
                return Err(BuildError::Untimed { missing: comparison.missing(), device, known });
            };
            self.options.progress.at(Stage::Tune, whole.saturating_sub(self.left), whole);
            let BuildOptions { verify, max_memory, .. } = &self.options;
            let back_ends: Vec<&dyn BackEnd> = [self.back_end].into_iter().chain(self.options.island).collect();
            comparison.run(network, verify, &mut self.database, &back_ends, *max_memory, &mut self.left);
        }
        Ok(comparison.known(&self.database))
    }

    fn finish(self, mut lowered_plan: LoweredPlan, optimized: Optimized, mut verification: Verification) -> Built {
        verification.dropped.extend(self.uncompiled);
        let regions = considered(&self.database, &lowered_plan.plan.graph);
        let passes = together(self.passes_before, optimized.report);
        let made = report(&verification, &passes, &regions, &lowered_plan.plan.graph);
        lowered_plan.plan.report = Some(Report { precision: self.precision, ..made });
        let budget = self.options.tuning.and_then(|tuning| tuning.budget).unwrap_or_default();
        let spent = budget.saturating_sub(self.left);
        let (untimed, engines) = (self.untimed, self.engines);
        let tuned = self.database.times.map(|times| Tuned { cache: times.cache, spent, untimed, engines });
        Built {
            plan: lowered_plan.plan,
            passes,
            network: optimized.network,
            verification,
            is_known_verification: false,
            regions,
            costs: lowered_plan.costs,
            moved: lowered_plan.moved,
            dequantized: lowered_plan.dequantized,
            on_island: lowered_plan.on_island,
            tuned,
            verifications: None,
        }
    }
}

/// What the passes did in two runs.
fn together(mut before: Vec<PassReport>, after: Vec<PassReport>) -> Vec<PassReport> {
    for report in after {
        match before.iter_mut().find(|known| known.pass == report.pass) {
            Some(known) => known.fired += report.fired,
            None => before.push(report),
        }
    }
    before
}

fn has_aliases(graph: &Graph) -> bool {
    graph.values.iter().any(|value| matches!(value.storage, Storage::Alias(_)))
}

/// The network after all passes but one, or after none.
fn without(imported: &Network, disabled: &BTreeSet<String>, pass: &str) -> Result<Optimized, BuildError> {
    if pass == ALL_PASSES {
        return Ok(Optimized { network: imported.clone(), report: Vec::new() });
    }
    let disabled = disabled.iter().cloned().chain([pass.to_owned()]).collect();
    Ok(optimize(imported.clone(), PassOptions { disabled, ..PassOptions::default() })?)
}

/// The network after the passes, without the one that changes its meaning, and the name of that pass; without any pass
/// where no single one is to blame.
fn without_wrong_pass(
    imported: &Network,
    optimized: Optimized,
    disabled: &BTreeSet<String>,
    answers: &Answers,
) -> Result<(String, Optimized), BuildError> {
    for report in optimized.report.iter().filter(|report| report.fired > 0) {
        let again = without(imported, disabled, report.pass)?;
        let trace = Trace::of(&again.network, answers);
        if verify::keeps_meaning(imported, &again.network, answers, &trace).is_ok() {
            return Ok((report.pass.to_owned(), again));
        }
    }
    Ok((ALL_PASSES.to_owned(), without(imported, disabled, ALL_PASSES)?))
}
