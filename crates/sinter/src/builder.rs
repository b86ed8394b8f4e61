//! From a model to a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use sinter_backend::BackEnd;
use sinter_base::Value;
use sinter_builder::{
    BuildOptions, Built, Precision, PrecisionOptions, Progress, SizeHint, SizeHints, Stage, TapError, TapSource,
    TimingCache, Tuning, VerificationCache, Verify, build, run_tapped,
};
use sinter_passes::PassOptions;
use sinter_runtime::Engine;

use crate::backends::split_device;
use crate::error::Error;
use crate::model::Model;
use crate::plan::Plan;
use crate::registry::Registry;

/// Makes a [`Plan`] of a [`Model`].
///
/// A build optimizes the network, chooses a kernel for each fused region, packs the weights, and compares the plan with a
/// reference run of the model: a kernel that disagrees is replaced. Without [`Builder::tune`] it reads no clock, so that
/// one model and the same options give the same plan, byte by byte.
///
/// ```
/// # fn main() -> Result<(), sinter::Error> {
/// # let model = sinter::Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/residual.onnxtxt"))?;
/// let plan = sinter::Builder::new(&model).threads(2).min("N", 1).opt("N", 8).max("N", 64).build()?;
/// assert!(plan.summary().agreed > 0);
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing before `build`"]
pub struct Builder<'a> {
    model: &'a Model,
    registry: Registry,
    device: Option<String>,
    threads: usize,
    sizes: BTreeMap<String, SizeHint>,
    profiles: Vec<SizeHints>,
    island: Option<String>,
    disabled: BTreeSet<String>,
    precision: PrecisionOptions,
    max_memory: Option<u64>,
    is_refittable: bool,
    verify: Verify,
    budget: Option<Duration>,
    timing_cache: Option<PathBuf>,
    is_locked: bool,
    verification_cache: Option<PathBuf>,
    progress: Option<Box<Listener<'a>>>,
}

/// A callback for the progress of a build.
type Listener<'a> = dyn Fn(Stage, Option<(u64, u64)>) + 'a;

impl<'a> Builder<'a> {
    /// A build of this model for the default back end and one thread.
    pub fn new(model: &'a Model) -> Self {
        Self {
            model,
            registry: Registry::default(),
            device: None,
            threads: 1,
            sizes: BTreeMap::new(),
            profiles: Vec::new(),
            island: None,
            disabled: BTreeSet::new(),
            precision: PrecisionOptions::default(),
            max_memory: None,
            is_refittable: false,
            verify: Verify::Generated,
            budget: None,
            timing_cache: None,
            is_locked: false,
            verification_cache: None,
            progress: None,
        }
    }

    /// Takes the back ends of this registry.
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.registry = registry.clone();
        self
    }

    /// Builds for the back end of this name, and behind a colon for one of its devices. Default: the first back end of the
    /// registry, and its first device.
    ///
    /// `cuda:1` is the second GPU, `cuda:GPU-1234` the one with such an identifier. `cuda:sm_90a` stands for GPUs of this kind
    /// elsewhere: the builder verifies the passes, and the plan is verified where it runs, by its self-test vectors.
    pub fn device(mut self, name: impl Into<String>) -> Self {
        self.device = Some(name.into());
        self
    }

    /// The number of threads that kernels are chosen for. The plan runs with any number and gives the same bits.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Makes a dynamic dimension a constant: the engine takes no other size. Kernels for constant sizes may be faster. The
    /// builder imports the model again for it.
    pub fn pin(mut self, dimension: impl Into<String>, size: usize) -> Self {
        let size = Some(as_size(size));
        self.sizes.insert(dimension.into(), SizeHint { min: size, opt: size, max: size });
        self
    }

    /// The smallest size of a dynamic dimension: the engine refuses smaller ones.
    pub fn min(mut self, dimension: impl Into<String>, size: usize) -> Self {
        self.sizes.entry(dimension.into()).or_default().min = Some(as_size(size));
        self
    }

    /// The size of a dynamic dimension that the builder chooses and times kernels for. The engine takes other sizes too.
    pub fn opt(mut self, dimension: impl Into<String>, size: usize) -> Self {
        self.sizes.entry(dimension.into()).or_default().opt = Some(as_size(size));
        self
    }

    /// The largest size of a dynamic dimension: the engine refuses larger ones.
    pub fn max(mut self, dimension: impl Into<String>, size: usize) -> Self {
        self.sizes.entry(dimension.into()).or_default().max = Some(as_size(size));
        self
    }

    /// Adds a further profile of sizes: dimension, smallest, optimum and largest size. For sizes within a profile each step
    /// launches the kernel that is best at its optimum; the first profile is that of [`Builder::min`], [`Builder::opt`] and
    /// [`Builder::max`]. The engine takes all sizes within the least range that contains those of all profiles.
    pub fn profile<N: Into<String>>(mut self, sizes: impl IntoIterator<Item = (N, usize, usize, usize)>) -> Self {
        let hint = |(name, min, opt, max): (N, usize, usize, usize)| {
            let [min, opt, max] = [min, opt, max].map(|size| Some(as_size(size)));
            (name.into(), SizeHint { min, opt, max })
        };
        self.profiles.push(SizeHints(sizes.into_iter().map(hint).collect()));
        self
    }

    /// Lets operators that the device has no kernel for run on the device of this back end; the engine copies their values
    /// there and back. Default: such an operator is an error.
    pub fn island(mut self, name: impl Into<String>) -> Self {
        self.island = Some(name.into());
        self
    }

    /// Leaves a pass out; may be called several times. The error for an unknown name lists the passes.
    pub fn disable(mut self, pass: impl Into<String>) -> Self {
        self.disabled.insert(pass.into());
        self
    }

    /// Stores values that the model stores in f32 in another type, in which kernels take them; sums stay in f32, and inputs and
    /// outputs keep their types. [`Summary::precision`](crate::Summary) says what stays in f32 and why, and how far outputs are
    /// from those in f32: within the bound of the type ([`Precision::limit`]), or as far as rounding explains.
    ///
    /// ```
    /// # fn main() -> Result<(), sinter::Error> {
    /// # let model = sinter::Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/layer.onnxtxt"))?;
    /// let plan = sinter::Builder::new(&model).precision(sinter::Precision::Bf16).build()?;
    /// let precision = plan.summary().precision.unwrap();
    /// assert!(precision.narrow > 0 && precision.errors[0].1 < 0.13);
    /// # Ok(())
    /// # }
    /// ```
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision.network = precision;
        self
    }

    /// The precision of the nodes or outputs of the model with this name, in which `*` stands for any text; may be called several
    /// times, and the last call for a node wins. The build fails where the model has no such name, and where none of the
    /// operators can be computed so.
    pub fn layer_precision(mut self, name: impl Into<String>, precision: Precision) -> Self {
        self.precision.layers.push((name.into(), precision));
        self
    }

    /// Fails where a value exceeds the range of the precision, or an output its bound, instead of keeping such nodes in f32.
    pub fn strict_precision(mut self) -> Self {
        self.precision.is_strict = true;
        self
    }

    /// The most bytes that the build may take for weights and values; it checks the declared sizes before it allocates.
    /// Default: half of the memory of the machine, or of the control group.
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    /// Makes a plan that [`Plan::refit`] can give other weights. The builder then looks at types and sizes of the model's
    /// weights only, not at their elements.
    pub fn refittable(mut self) -> Self {
        self.is_refittable = true;
        self
    }

    /// Verifies with these inputs, by name. Default: synthetic inputs. A build that cannot verify returns no plan.
    pub fn verify_with<N: Into<String>, V: Into<Value>>(mut self, inputs: impl IntoIterator<Item = (N, V)>) -> Self {
        let inputs = inputs.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.verify = Verify::Given(inputs.collect());
        self
    }

    /// Does not compare the plan with the reference run. The build is faster, but it does not verify that the engine is right,
    /// and the plan has no self-test vectors.
    pub fn no_verify(mut self) -> Self {
        self.verify = Verify::Off;
        self
    }

    /// Times kernels on this machine for at most so long, and chooses by their times.
    pub fn tune(mut self, budget: Duration) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Reads the timings of earlier builds from this file, and adds those of this build to it. The file need not exist.
    pub fn timing_cache(mut self, path: impl Into<PathBuf>) -> Self {
        self.timing_cache = Some(path.into());
        self
    }

    /// Chooses by the times in the timing cache alone; the build fails when one is missing. With the cache of a tuned build
    /// this gives the same plan, byte by byte.
    pub fn locked(mut self) -> Self {
        self.is_locked = true;
        self
    }

    /// Keeps verification results in this file: a build that gives the same plan as an earlier one does not verify it
    /// again. The file need not exist.
    pub fn verification_cache(mut self, path: impl Into<PathBuf>) -> Self {
        self.verification_cache = Some(path.into());
        self
    }

    /// Calls `listener` with the stage of the build, and with (done, all) where the end of the stage is known: steps of
    /// the plan, or milliseconds of the tuning budget. The thread of the build calls it.
    pub fn progress(mut self, listener: impl Fn(Stage, Option<(u64, u64)>) + 'a) -> Self {
        self.progress = Some(Box::new(listener));
        self
    }

    /// Builds the plan.
    ///
    /// # Errors
    /// [`Error::Build`] when operators have no kernel (all of them at once), the memory budget is too small, or a pass or
    /// dimension has no such name; [`Error::Options`] when options contradict each other; [`Error::Unverified`] when the
    /// model does not take the verification inputs, or none can be synthesized; [`Error::Cache`] for a cache that cannot be used.
    pub fn build(mut self) -> Result<Plan, Error> {
        Ok(Plan::of(self.built()?.plan))
    }

    /// Builds the plan, runs it once with these inputs, and calls `see` with every value of the optimized network: the node of
    /// the model, how the value came about, the value. Returns the plan and the outputs.
    ///
    /// The engine runs as always. Values between its steps are the engine's own; a value inside a fused step exists nowhere, so
    /// kernels for single operators compute it from the engine's values. Bodies of control flow are not looked into.
    ///
    /// ```
    /// # fn main() -> Result<(), sinter::Error> {
    /// # let model = sinter::Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/residual.onnxtxt"))?;
    /// # let sizes: Vec<usize> = model.inputs()[0].dims().unwrap().iter().map(|dim| dim.as_constant().unwrap_or(2) as usize).collect();
    /// # let x = sinter::Tensor::from_vec(&sizes, vec![1f32; sizes.iter().product()])?;
    /// # let name = model.inputs()[0].name.clone();
    /// let (_, outputs) = sinter::Builder::new(&model).run_tapped([(name, x)], |node, source, value| {
    ///     println!("{node} {source:?}: {}", value.value_type());
    /// })?;
    /// assert_eq!(outputs.len(), model.outputs().len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Builder::build`]; [`Error::Run`] when the inference fails; [`Error::Tap`] when an operator inside a fused step
    /// cannot run by itself.
    pub fn run_tapped<N: Into<String>, V: Into<Value>>(
        mut self,
        inputs: impl IntoIterator<Item = (N, V)>,
        mut see: impl FnMut(&str, TapSource, &Value),
    ) -> Result<(Plan, Vec<Value>), Error> {
        let built = self.built()?;
        let (main, island) = self.ends()?;
        let back_ends: Vec<&dyn BackEnd> = self.registry.back_ends().collect();
        let engine = Engine::from_plan(built.plan.clone(), &back_ends, self.threads)?;
        let inputs: Vec<(String, Value)> =
            inputs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let outputs = run_tapped(&engine, &built.network, (main, island), &inputs, &mut |tap| {
            see(&tap.location.to_string(), tap.source, tap.value);
        });
        let outputs = outputs.map_err(|error| match error {
            TapError::Run(error) => Error::Run(error),
            other => Error::Tap(other),
        })?;
        Ok((Plan::of(built.plan), outputs))
    }

    /// The back end of the plan, and that of its islands.
    fn ends(&self) -> Result<(&dyn BackEnd, Option<&dyn BackEnd>), Error> {
        let main = match &self.device {
            Some(device) => self.registry.back_end(split_device(device).0)?,
            None => self.registry.back_ends().next().ok_or_else(|| {
                Error::options("the registry has no back end", "start from `Registry::default`, or add a back end")
            })?,
        };
        Ok((main, self.island.as_deref().map(|name| self.registry.back_end(name)).transpose()?))
    }

    fn built(&mut self) -> Result<Built, Error> {
        self.check_sizes()?;
        if let Some(device) = &self.device {
            self.registry.select(device)?;
        }
        let pinned = self.pinned_network()?;
        let network = pinned.as_ref().unwrap_or(self.model.network());
        let (passes, sizes) = (std::mem::take(&mut self.disabled), SizeHints(std::mem::take(&mut self.sizes)));
        let (profiles, verify) = (std::mem::take(&mut self.profiles), std::mem::take(&mut self.verify));
        let (back_end, island) = self.ends()?;
        let (must_verify, is_elsewhere) = (!matches!(verify, Verify::Off), back_end.is_elsewhere());
        let mut options = BuildOptions {
            threads: self.threads,
            passes: PassOptions { disabled: passes, ..PassOptions::default() },
            precision: self.precision.clone(),
            sizes,
            profiles,
            island,
            refittable: self.is_refittable,
            verify,
            tuning: self.tuning()?,
            verifications: self.verification_cache.as_deref().map(VerificationCache::load).transpose()?,
            progress: Progress(self.progress.as_deref()),
            ..BuildOptions::default()
        };
        if let Some(bytes) = self.max_memory {
            options.max_memory = bytes;
        }
        let built = build(network, back_end, options)?;
        self.save_caches(&built)?;
        if let (true, Some(reason)) = (must_verify && !is_elsewhere, &built.verification.skipped) {
            return Err(Error::Unverified { reason: reason.clone() });
        }
        Ok(built)
    }

    /// Checks names and order of the sizes.
    fn check_sizes(&self) -> Result<(), Error> {
        for (name, SizeHint { min, opt, max }) in self.profiles.iter().flat_map(|profile| &profile.0).chain(&self.sizes)
        {
            let given = [("min", min), ("opt", opt), ("max", max)];
            let given: Vec<(&str, i64)> =
                given.into_iter().filter_map(|(which, size)| Some((which, (*size)?))).collect();
            if let Some([(which, size), (above, bound)]) = given.array_windows().find(|[(_, a), (_, b)]| a > b) {
                let what = format!("dimension '{name}' has the {which} size {size} and the {above} size {bound}");
                return Err(Error::options(what, "give sizes with min <= opt <= max"));
            }
        }
        Ok(())
    }

    /// The network with pinned dimensions as constants, where the importer can make them constants. The other ones keep
    /// their name, with a range of one size.
    fn pinned_network(&mut self) -> Result<Option<sinter_ir::Network>, Error> {
        if !self.profiles.is_empty() {
            // A dimension that one profile pins may have another size in another profile.
            return Ok(None);
        }
        let pin = |(name, hint): (&String, &SizeHint)| {
            hint.min.filter(|size| Some(*size) == hint.max).map(|size| (name.clone(), size))
        };
        let pins: BTreeMap<String, i64> = self.sizes.iter().filter_map(pin).collect();
        let pinned = match pins.is_empty() {
            true => None,
            false => self.model.pinned(&pins)?,
        };
        if let Some(network) = &pinned {
            let names = |network: &sinter_ir::Network| {
                let ports = crate::internals::source::network_inputs(network);
                let dims = ports.iter().flat_map(|port| port.dims().unwrap_or_default());
                dims.filter_map(|dim| dim.as_symbol().map(str::to_owned)).collect::<BTreeSet<String>>()
            };
            let (before, after) = (names(self.model.network()), names(network));
            self.sizes.retain(|name, _| after.contains(name) || !before.contains(name));
        }
        Ok(pinned)
    }

    fn tuning(&self) -> Result<Option<Tuning>, Error> {
        match (self.budget, self.is_locked, &self.timing_cache) {
            (Some(_), true, _) => Err(Error::options(
                "`Builder::tune` times kernels and `Builder::locked` forbids it",
                "call one of the two",
            )),
            (None, true, None) => Err(Error::options(
                "`Builder::locked` needs timings",
                "name the cache of a tuned build with `Builder::timing_cache`",
            )),
            (None, false, Some(_)) => Err(Error::options(
                "`Builder::timing_cache` has no effect without `Builder::tune` or `Builder::locked`",
                "call one of the two, or leave the cache out",
            )),
            (None, false, None) => Ok(None),
            (budget, _, path) => {
                let cache = path.as_deref().map(TimingCache::load).transpose()?.unwrap_or_default();
                Ok(Some(Tuning { budget, cache }))
            }
        }
    }

    fn save_caches(&self, built: &Built) -> Result<(), Error> {
        if let (Some(path), Some(tuned), false) = (&self.timing_cache, &built.tuned, self.is_locked) {
            tuned.cache.save(path)?;
        }
        if let (Some(path), Some(results), false) =
            (&self.verification_cache, &built.verifications, built.is_known_verification)
        {
            results.save(path)?;
        }
        Ok(())
    }
}

/// An impossibly large size stands for an unbounded one.
fn as_size(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
