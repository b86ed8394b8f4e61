//! Why a network could not be built.

use sinter_backend::KernelError;
use sinter_base::{Location, one_line};
use sinter_ops::EvalError;

use crate::choose::tune::MissingTiming;
use crate::memory_budget::MemoryError;

/// A region that no tactic takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The node in the model.
    pub location: Location,
    /// The operator.
    pub operator: &'static str,
    /// (tactic, its reason) of every tactic that came near.
    pub refusals: Vec<(String, String)>,
}

/// A failed build.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BuildError {
    /// Operators without a kernel; all of them at once.
    #[error("{}", list(.0))]
    Unsupported(Vec<Unsupported>),
    /// A pass is unknown or made a mistake.
    #[error(transparent)]
    Pass(#[from] sinter_passes::PassError),
    /// Every step agrees with the judge, the plan as a whole does not.
    #[error("the plan does not agree with the network, though each of its steps does: {reason}; please report this")]
    Disagrees {
        /// The first difference.
        reason: String,
    },
    /// A profile of sizes that bounds none.
    #[error("profile {number} says nothing of the sizes that it is for; give a range or an optimum")]
    Profile {
        /// Its number, counted from 0.
        number: usize,
    },
    /// Operators that would run on an island, where none may.
    #[error("{}", on_island(nodes))]
    Islands {
        /// Their nodes in the model.
        nodes: Vec<Location>,
    },
    /// The device cannot be used.
    #[error("the device: {0}")]
    Device(KernelError),
    /// More memory than allowed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A range is given for a size that no input has.
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
        /// What is missing.
        missing: Vec<MissingTiming>,
        /// The device as timings name it.
        device: String,
        /// Devices that there are timings of.
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

/// Missing timings that are shown one by one.
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
