//! Errors of builds.

use sinter_backend::KernelError;
use sinter_base::{Location, one_line};
use sinter_ops::EvalError;

use crate::choose::tune::MissingTiming;
use crate::memory_budget::MemoryError;
use crate::precision::error::PrecisionError;

/// A node whose region no tactic takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Its place in the model.
    pub location: Location,
    /// The operator.
    pub operator: &'static str,
    /// (tactic, reason) of every tactic for this kind of operator.
    pub refusals: Vec<(String, String)>,
}

/// A failed build.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BuildError {
    /// All operators without a kernel.
    #[error("{}", list(.0))]
    Unsupported(Vec<Unsupported>),
    /// A pass is unknown or made a mistake.
    #[error(transparent)]
    Pass(#[from] sinter_passes::PassError),
    /// The precision that was asked for cannot be had.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// Every step agrees with the reference executor, but the plan as a whole does not.
    #[error("the plan does not agree with the network, though each of its steps does: {reason}; please report this")]
    Disagrees {
        /// The first difference.
        reason: String,
    },
    /// A profile of sizes without a range or an optimum.
    #[error("profile {index} names no sizes; give a range or an optimum")]
    Profile {
        /// Its index, counted from 0.
        index: usize,
    },
    /// Operators that would run on an island, although islands are forbidden.
    #[error("{}", on_island(nodes))]
    Islands {
        /// Their nodes in the model.
        nodes: Vec<Location>,
    },
    /// The device cannot be used.
    #[error("{0}")]
    Device(KernelError),
    /// A tuned build for a device that is elsewhere.
    #[error(
        "{target} is elsewhere, and timing kernels needs the device: build where it is, or from a timing cache of it"
    )]
    Untimeable {
        /// The target.
        target: String,
    },
    /// More memory than allowed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A range names a size that no input has.
    #[error("no input has the size '{name}'; named sizes of inputs are: {}", one_line(&known.join(", ")))]
    UnknownSize {
        /// The name given.
        name: String,
        /// The names known.
        known: Vec<String>,
    },
    /// A weight could not be computed.
    #[error("weight '{}': {source}", one_line(name))]
    Weight {
        /// Its name.
        name: String,
        /// Why.
        source: EvalError,
    },
    /// A locked build lacks timings.
    #[error("{}", lacking(missing, device, known))]
    Untimed {
        /// The missing timings.
        missing: Vec<MissingTiming>,
        /// The name of the device in timings.
        device: String,
        /// Devices with timings in the cache.
        known: Vec<String>,
    },
}

fn list(unsupported: &[Unsupported]) -> String {
    let mut text = format!("no kernel for {} nodes:", unsupported.len());
    for node in unsupported {
        text.push_str(&format!("\n  {} ({})", node.location, node.operator));
        for (tactic, reason) in &node.refusals {
            text.push_str(&format!("\n    {tactic}: {}", one_line(reason)));
        }
    }
    text
}

fn on_island(nodes: &[Location]) -> String {
    let mut text = format!("{} nodes would run on another device, which is forbidden:", nodes.len());
    nodes.iter().for_each(|node| text.push_str(&format!("\n  {node}")));
    text
}

/// Number of missing timings that the message lists.
const SHOWN: usize = 4;

fn lacking(missing: &[MissingTiming], device: &str, known: &[String]) -> String {
    let mut text = format!("{} timings are missing for {device}", missing.len());
    let others = known.iter().filter(|other| *other != device);
    others.for_each(|other| text.push_str(&format!("\n  there are some for {}", one_line(other))));
    for MissingTiming { tactic, problem } in missing.iter().take(SHOWN) {
        text.push_str(&format!("\n  {tactic} of"));
        problem.lines().for_each(|line| text.push_str(&format!("\n    | {line}")));
    }
    if missing.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", missing.len() - SHOWN));
    }
    text
}
