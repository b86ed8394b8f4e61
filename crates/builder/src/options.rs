//! Options of a build.

use sinter_backend::BackEnd;
use sinter_passes::PassOptions;
use sinter_runtime::default_memory;

use crate::choose::tune::Tuning;
use crate::error::BuildError;
use crate::known_verifications::VerificationCache;
use crate::precision::request::PrecisionOptions;
use crate::progress::Progress;
use crate::sizes::SizeHints;
use crate::verify::Verify;

/// Options of a build.
pub struct BuildOptions<'a> {
    /// Threads to choose kernels for; the plan runs with any number.
    pub threads: usize,
    /// The back end of islands, which run operators without a kernel of the plan's own back end; steps copy values
    /// between both. Default: none.
    pub island: Option<&'a dyn BackEnd>,
    /// Is it an error if an operator would run on an island?
    pub forbid_islands: bool,
    /// Options of the passes.
    pub passes: PassOptions<'a>,
    /// What the plan computes in.
    pub precision: PrecisionOptions,
    /// Hints for dynamic dimensions.
    pub sizes: SizeHints,
    /// Further profiles: for sizes within the range of a profile, each step launches the kernel that is best at its
    /// optimum. The plan accepts the smallest range that contains the ranges of all profiles. A size with an optimum
    /// alone has that value.
    pub profiles: Vec<SizeHints>,
    /// May a refit replace the weights of the plan? Then the build does not look at the elements of the model's named
    /// tensors, and the plan keeps the expressions of its weights.
    pub refittable: bool,
    /// May concatenations and slices be aliases of other buffers? Copies may need less memory, and more time.
    pub alias_buffers: bool,
    /// Limit on the bytes of weights and values; the build checks it before it allocates. Default: half of the memory
    /// of the machine, or of the control group when that is less.
    pub max_memory: u64,
    /// Inputs for verification.
    pub verify: Verify,
    /// Options of tuning; without it the build reads no clock, and the plan depends only on these options.
    pub tuning: Option<Tuning>,
    /// Verification results of earlier builds; `None` verifies in any case.
    pub verifications: Option<VerificationCache>,
    /// The listener for progress.
    pub progress: Progress<'a>,
}

impl Default for BuildOptions<'_> {
    fn default() -> Self {
        Self {
            threads: 1,
            island: None,
            forbid_islands: false,
            passes: PassOptions::default(),
            precision: PrecisionOptions::default(),
            sizes: SizeHints::default(),
            profiles: Vec::new(),
            refittable: false,
            alias_buffers: true,
            max_memory: u64::try_from(default_memory()).unwrap_or(u64::MAX),
            verify: Verify::default(),
            tuning: None,
            verifications: None,
            progress: Progress::default(),
        }
    }
}

/// The profiles of sizes, the first one included. Afterwards the options hold the hull of all ranges.
pub(crate) fn profiles(options: &mut BuildOptions<'_>) -> Result<Vec<SizeHints>, BuildError> {
    let mut all = vec![options.sizes.clone()];
    for (index, mut profile) in std::mem::take(&mut options.profiles).into_iter().enumerate() {
        for hint in profile.0.values_mut().filter(|hint| hint.min.is_none() && hint.max.is_none()) {
            (hint.min, hint.max) = (hint.opt, hint.opt);
        }
        if profile.guards().next().is_none() {
            return Err(BuildError::Profile { index: index + 1 });
        }
        all.push(profile);
    }
    options.sizes = SizeHints::hull(&all);
    Ok(all)
}
