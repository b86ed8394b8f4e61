//! How far a build is.

use std::time::Duration;

/// What a build is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The judge runs the network as imported.
    Judge,
    /// Passes make the network better.
    Passes,
    /// Kernels are chosen.
    Choose,
    /// Kernels are timed.
    Tune,
    /// Weights are computed and packed.
    Weights,
    /// Kernels are held against the judge.
    Verify,
}

impl Stage {
    /// In a word or two.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Judge => "running the judge",
            Stage::Passes => "optimizing",
            Stage::Choose => "choosing kernels",
            Stage::Tune => "timing kernels",
            Stage::Weights => "packing weights",
            Stage::Verify => "verifying",
        }
    }
}

/// Told how far the build is: what it does, and (done, all) where that is known, in steps or milliseconds.
pub type Listener<'a> = dyn Fn(Stage, Option<(u64, u64)>) + 'a;

/// Whom a build tells, if anyone.
#[derive(Clone, Copy, Default)]
pub struct Progress<'a>(pub Option<&'a Listener<'a>>);

impl Progress<'_> {
    /// A stage begins whose end is not known.
    pub(crate) fn begin(self, stage: Stage) {
        if let Some(listener) = self.0 {
            listener(stage, None);
        }
    }

    /// A stage has come so far.
    pub(crate) fn step(self, stage: Stage, done: usize, all: usize) {
        if let Some(listener) = self.0 {
            listener(stage, Some((done as u64, all as u64)));
        }
    }

    /// A stage has used so much of its time.
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
