//! A build from beginning to end.

use std::collections::BTreeSet;
use std::time::Duration;

use sinter_backend::BackEnd;
use sinter_base::Location;
use sinter_interp::inputs::{generate_at, sizes_of};
use sinter_ir::Network;
use sinter_passes::{Optimized, PassOptions, PassReport, optimize};
use sinter_plan::{Graph, Plan, Storage};
use sinter_runtime::default_memory;

use crate::assemble::aliasing::Moved;
use crate::assemble::compile::compile;
use crate::assemble::lowered::{LoweredGraph, LoweredPlan, finish, lower};
use crate::choose::cover::Costs;
use crate::choose::point::Optimum;
use crate::choose::tune::{self, Tuning};
use crate::choose::tuning_database::TuningDatabase;
use crate::devices::Devices;
use crate::engine_comparison::{EngineComparison, Engines, SHARE};
use crate::error::BuildError;
use crate::fallback::{ALL_PASSES, Fallback, least};
use crate::known_verifications::{KnownVerification, VerificationCache, build_key, plan_hash};
use crate::memory_budget;
use crate::progress::{Progress, Stage};
use crate::regions::{ConsideredRegion, considered};
use crate::report::report;
use crate::sizes::{SizeHints, input_symbols};
use crate::verify::steps::Subject;
use crate::verify::trace::Trace;
use crate::verify::whole::Mismatch;
use crate::verify::{self, Answers, Dropped, Failure, Unverified, Verification, Verify};

/// What the user decides about a build.
pub struct BuildOptions<'a> {
    /// Threads to choose kernels for; the plan runs with any number.
    pub threads: usize,
    /// The back end of islands: operators run there that the plan's own has no kernel for, and values are copied to and fro.
    /// Default: none.
    pub island: Option<&'a dyn BackEnd>,
    /// Is it an error when an operator would run on an island?
    pub forbid_islands: bool,
    /// What becomes of the passes.
    pub passes: PassOptions<'a>,
    /// What is known beforehand of sizes that stay free.
    pub sizes: SizeHints,
    /// Further profiles: for sizes within the range of one, each step launches the kernel that is best at its optimum. The
    /// plan takes all sizes within the least range that takes in those of all profiles. A size with an optimum alone is that
    /// size.
    pub profiles: Vec<SizeHints>,
    /// May concatenations and slices lie in the memory of other values? Copies may need less memory, and more time.
    pub alias_buffers: bool,
    /// Most bytes that the build may take for weights and values; checked before they are taken. Default: half of the
    /// memory of the machine, or of the control group when that is less.
    pub max_memory: u64,
    /// What the plan is verified with.
    pub verify: Verify,
    /// How kernels are timed; without it no clock is read, and the plan depends on nothing but what is given here.
    pub tuning: Option<Tuning>,
    /// Verdicts of earlier builds; `None` asks the judge in any case.
    pub verifications: Option<VerificationCache>,
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
    pub is_known_verification: bool,
    /// Every region that was considered, and what was chosen.
    pub regions: Vec<ConsideredRegion>,
    /// What the cover is expected to take, and what others would.
    pub costs: Costs,
    /// Concatenations and slices that move elements, and why.
    pub moved: Vec<Moved>,
    /// Where weights are dequantized in the model that the plan has dequantized: no kernel takes them as they are stored.
    pub dequantized: Vec<Location>,
    /// Nodes that run on the island: the plan's own back end has no kernel for them.
    pub on_island: Vec<Location>,
    /// How tuning went, where the build is tuned.
    pub tuned: Option<Tuned>,
    /// The verifications that were given, with this one.
    pub verifications: Option<VerificationCache>,
}

/// How tuning went.
#[derive(Clone, Debug, Default)]
pub struct Tuned {
    /// All timings: those that were given, and new ones.
    pub cache: crate::choose::timings::TimingCache,
    /// How long kernels and engines were timed.
    pub spent: Duration,
    /// Candidates that there was no time for.
    pub untimed: usize,
    /// The plan by times beside the one by estimates; `None` where they are the same.
    pub engines: Option<Engines>,
}

impl Default for BuildOptions<'_> {
    fn default() -> Self {
        Self {
            threads: 1,
            island: None,
            forbid_islands: false,
            passes: PassOptions::default(),
            sizes: SizeHints::default(),
            profiles: Vec::new(),
            alias_buffers: true,
            max_memory: u64::try_from(default_memory()).unwrap_or(u64::MAX),
            verify: Verify::default(),
            tuning: None,
            verifications: None,
            progress: Progress::default(),
        }
    }
}

/// The network as imported, and what the judge says to it.
#[derive(Clone, Copy)]
struct Judged<'a> {
    imported: &'a Network,
    answers: &'a Answers,
}

/// A build under way.
struct Build<'b, 'o> {
    back_end: &'b dyn BackEnd,
    /// Those that were loaded to be verified.
    devices: Devices<'b>,
    options: BuildOptions<'o>,
    fallbacks: Vec<Fallback>,
    /// Time for tuning that is left.
    left: Duration,
    untimed: usize,
    engines: Option<Engines>,
    database: TuningDatabase,
    /// Kernels that do not compile.
    uncompiled: Vec<Dropped>,
}

/// The profiles of sizes, the first one included; the options have their hull afterwards.
fn profiles(options: &mut BuildOptions<'_>) -> Result<Vec<SizeHints>, BuildError> {
    let mut all = vec![options.sizes.clone()];
    for (number, mut profile) in std::mem::take(&mut options.profiles).into_iter().enumerate() {
        for hint in profile.0.values_mut().filter(|hint| hint.min.is_none() && hint.max.is_none()) {
            (hint.min, hint.max) = (hint.opt, hint.opt);
        }
        if profile.guards().next().is_none() {
            return Err(BuildError::Profile { number: number + 1 });
        }
        all.push(profile);
    }
    options.sizes = SizeHints::hull(&all);
    Ok(all)
}

/// Builds a plan for one back end.
///
/// # Errors
/// When a pass is unknown, operators have no kernel, all of them at once, a weight cannot be computed, more memory is needed
/// than allowed, or timings are missing that a locked build needs.
pub fn build(network: &Network, back_end: &dyn BackEnd, mut options: BuildOptions<'_>) -> Result<Built, BuildError> {
    let imported = network;
    let (passes, mut verifications) = (std::mem::take(&mut options.passes), options.verifications.take());
    let progress = options.progress;
    let mut build = Build::new(imported, back_end, options)?;
    let disabled = passes.disabled.clone();
    progress.begin(Stage::Passes);
    let mut optimized = optimize(imported.clone(), passes)?;
    let key = verifications.as_ref().and_then(|_| {
        let device = tune::device_name(back_end, &back_end.target(build.options.threads));
        build_key(imported, &device, disabled.iter(), &build.options.verify)
    });
    if let Some(known) =
        key.as_ref().zip(verifications.as_ref()).and_then(|(key, verifications)| verifications.get(key))
    {
        let optimized = match &known.without {
            None => optimized.clone(),
            Some(pass) => without(imported, &disabled, pass)?,
        };
        build.database.ban_all(&known.bans);
        build.fallbacks = known.fallbacks;
        let mut draft = build.draft(&optimized.network)?;
        if plan_hash(&draft.plan) == known.plan {
            draft.plan.self_test = known.self_test;
            let built = build.finish(draft, optimized, known.found);
            return Ok(Built { is_known_verification: true, verifications, ..built });
        }
        // The known was of another plan: what it drops may serve this one. Timings hold.
        build.database.forget_bans();
        build.fallbacks.clear();
    }
    let mut verification = Verification::default();
    progress.begin(Stage::Judge);
    build.check_judge(imported)?;
    let BuildOptions { verify, sizes, max_memory, .. } = &build.options;
    let of_profile = |sizes: &Optimum| verify::answers(imported, &Verify::Generated, &sizes.hints, *max_memory);
    let answers = match verify::answers(imported, verify, sizes, *max_memory) {
        Ok(mut answers) => {
            answers.of_profiles = build.database.profiles().iter().skip(1).map(of_profile).collect();
            answers
        }
        Err(reason) => {
            verification.skipped = Some(reason);
            let draft = build.draft(&optimized.network)?;
            return Ok(Built { verifications, ..build.finish(draft, optimized, verification) });
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
    let judged = Judged { imported, answers: &answers };
    let (mut draft, mut whole) = build.attempt(&optimized.network, &trace, judged, &mut verification)?;
    if let Err(Mismatch::Differs(reason)) = whole {
        let possible_fallbacks = build.possible_fallbacks(&draft.plan.graph, &optimized);
        drop(draft);
        let found = least(&possible_fallbacks, |fallbacks| {
            build.fallbacks = fallbacks.to_vec();
            let (_, whole) = if fallbacks.contains(&Fallback::Passes) {
                build.attempt(imported, &Trace::of(imported, &answers), judged, &mut verification)?
            } else {
                build.attempt(&optimized.network, &trace, judged, &mut verification)?
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
        (draft, whole) = build.attempt(&optimized.network, &trace, judged, &mut verification)?;
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
        draft.plan.self_test = verify::self_test_of(&draft.plan, imported, &answers);
    }
    if let (Some(key), Some(verifications), None) = (&key, &mut verifications, &verification.skipped) {
        let known = KnownVerification {
            plan: plan_hash(&draft.plan),
            without: left_out,
            bans: build.database.bans(),
            fallbacks: build.fallbacks.clone(),
            found: verification.clone(),
            self_test: draft.plan.self_test.clone(),
        };
        verifications.insert(key, known);
    }
    Ok(Built { verifications, ..build.finish(draft, optimized, verification) })
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
        })
    }

    /// Is there room for the judge, at the sizes of the given inputs or at the smallest ones?
    fn check_judge(&self, network: &Network) -> Result<(), BuildError> {
        let BuildOptions { verify, sizes, max_memory, .. } = &self.options;
        match verify {
            Verify::Off => {}
            Verify::Given(inputs) => memory_budget::check_judge(network, inputs, *max_memory)?,
            Verify::Generated => {
                // What cannot be made up is told by the judge.
                if let Ok(inputs) = generate_at(network, &|name| sizes.near(name, 1)) {
                    memory_budget::check_judge(network, &inputs, *max_memory)?;
                }
            }
        }
        Ok(())
    }

    /// What there is to give up: what was done at all.
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

    /// A plan whose steps agree with the judge, as far as they can be verified, and whether the whole does.
    fn attempt(
        &mut self,
        network: &Network,
        trace: &Trace,
        judged: Judged<'_>,
        found: &mut Verification,
    ) -> Result<(LoweredPlan, Result<(), Mismatch>), BuildError> {
        let Judged { imported, answers } = judged;
        loop {
            let draft = self.draft(network)?;
            let BuildOptions { sizes, max_memory, progress, .. } = &self.options;
            let subject = Subject { draft: &draft, network, answers, trace, hints: sizes };
            let wrong = verify::steps::check(&subject, &self.devices, found, *progress);
            if verify::ban(wrong.failures, &mut self.database, found) {
                continue;
            }
            let whole = match wrong.together {
                Some(reason) => Err(Mismatch::Differs(reason)),
                None => verify::whole::check(&draft.plan, imported, answers, &self.devices, *max_memory),
            };
            return Ok((draft, whole));
        }
    }

    /// A plan by what is known so far. Where the build is tuned, kernels that it asks about are timed first, and the plan by
    /// their times takes the place of the one by estimates when the whole engine is faster.
    fn draft(&mut self, network: &Network) -> Result<LoweredPlan, BuildError> {
        if self.options.tuning.is_none() {
            return self.plan(network, self.options.max_memory);
        }
        self.database.go_by_times(true);
        self.time_kernels(network)?;
        let timed = self.plan(network, self.options.max_memory)?;
        let asked = self.database.take_queries();
        self.database.go_by_times(false);
        let weights: usize = timed.plan.weights.iter().map(|weight| weight.tensor().bytes().len()).sum();
        let estimated = self.plan(network, self.options.max_memory.saturating_sub(weights as u64))?;
        self.engines = self.comparison(network, &timed, &estimated)?;
        if self.engines.as_ref().is_none_or(Engines::is_won_by_times) {
            self.database.put_queries(asked);
            return Ok(timed);
        }
        Ok(estimated)
    }

    /// Times kernels until the cover by their times asks about no others, or the time is over.
    fn time_kernels(&mut self, network: &Network) -> Result<(), BuildError> {
        let device = self.back_end.target(self.options.threads);
        let budget = self.options.tuning.as_ref().and_then(|tuning| tuning.budget);
        // Whole engines need some of the time as well.
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
            // Times make other covers worth while, which ask about other regions.
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

    /// Chooses kernels by what is known so far.
    fn lower(&self, network: &Network) -> Result<LoweredGraph, BuildError> {
        self.options.progress.begin(Stage::Choose);
        let mut lowered = lower(network, &self.devices, &self.database, self.may(Fallback::Regions))?;
        if self.options.forbid_islands && !lowered.on_island.is_empty() {
            return Err(BuildError::Islands { nodes: lowered.on_island });
        }
        if self.options.alias_buffers && self.may(Fallback::Aliases) {
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
            let mut draft = finish(network, lowered, &self.options.sizes, &self.devices, max_memory, may_share)?;
            let Err(failures) = compile(&mut draft.plan, &self.devices) else { return Ok(draft) };
            // Another kernel takes the place of one that does not compile.
            for Failure { recipe, region, dropped } in failures {
                self.database.ban(&recipe, &region);
                self.uncompiled.push(dropped);
            }
        }
    }

    /// Both plans as whole engines; `None` where they are the same.
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

    fn finish(self, mut draft: LoweredPlan, optimized: Optimized, mut verification: Verification) -> Built {
        verification.dropped.extend(self.uncompiled);
        let regions = considered(&self.database, &draft.plan.graph);
        draft.plan.report = Some(report(&verification, &optimized.report, &regions, &draft.plan.graph));
        let budget = self.options.tuning.and_then(|tuning| tuning.budget).unwrap_or_default();
        let spent = budget.saturating_sub(self.left);
        let (untimed, engines) = (self.untimed, self.engines);
        let tuned = self.database.times.map(|times| Tuned { cache: times.cache, spent, untimed, engines });
        Built {
            plan: draft.plan,
            passes: optimized.report,
            network: optimized.network,
            verification,
            is_known_verification: false,
            regions,
            costs: draft.costs,
            moved: draft.moved,
            dequantized: draft.dequantized,
            on_island: draft.on_island,
            tuned,
            verifications: None,
        }
    }
}

fn has_aliases(graph: &Graph) -> bool {
    graph.values.iter().any(|value| matches!(value.storage, Storage::Alias(_)))
}

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
        let trace = Trace::of(&again.network, answers);
        if verify::keeps_meaning(imported, &again.network, answers, &trace).is_ok() {
            return Ok((report.pass.to_owned(), again));
        }
    }
    Ok((ALL_PASSES.to_owned(), without(imported, disabled, ALL_PASSES)?))
}
