//! The progress of a build.

use std::time::Duration;

/// The stage of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The reference executor runs the network as imported.
    Reference,
    /// Passes optimize the network.
    Passes,
    /// The cover chooses kernels.
    Choose,
    /// Tuning times kernels.
    Tune,
    /// The build computes and packs weights.
    Weights,
    /// Verification compares kernels with the reference executor.
    Verify,
}

impl Stage {
    /// Its name in a word or two.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Reference => "running the reference",
            Stage::Passes => "optimizing",
            Stage::Choose => "choosing kernels",
            Stage::Tune => "timing kernels",
            Stage::Weights => "packing weights",
            Stage::Verify => "verifying",
        }
    }
}

/// A listener for progress: it receives the stage, and (done, all) where that is known, in steps or milliseconds.
pub type Listener<'a> = dyn Fn(Stage, Option<(u64, u64)>) + 'a;

/// The listener of a build, if any.
#[derive(Clone, Copy, Default)]
pub struct Progress<'a>(pub Option<&'a Listener<'a>>);

impl Progress<'_> {
    /// Reports the begin of a stage of unknown length.
    pub(crate) fn begin(self, stage: Stage) {
        if let Some(listener) = self.0 {
            listener(stage, None);
        }
    }

    /// Reports the steps of a stage that are done.
    pub(crate) fn step(self, stage: Stage, done: usize, all: usize) {
        if let Some(listener) = self.0 {
            listener(stage, Some((done as u64, all as u64)));
        }
    }

    /// Reports the time that a stage has used.
    pub(crate) fn at(self, stage: Stage, used: Duration, all: Duration) {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        if let Some(listener) = self.0 {
            listener(stage, Some((milliseconds(used.min(all)), milliseconds(all))));
        }
    }
}

impl std::fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(told)" } else { "Progress(silent)" })
    }
}
