//! Why a network could not be built.

use sinter_base::Location;
use sinter_ops::EvalError;

/// A region that no tactic takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
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
    Unserved(Vec<Unserved>),
    /// A pass is unknown or made a mistake.
    #[error(transparent)]
    Pass(#[from] sinter_passes::PassError),
    /// Every step agrees with the judge, the plan as a whole does not.
    #[error("the plan does not agree with the network, though each of its steps does: {reason}; please report this")]
    Disagrees {
        /// The first difference.
        reason: String,
    },
    /// A weight could not be computed.
    #[error("weight '{name}': {source}")]
    Weight {
        /// Its name.
        name: String,
        /// Why.
        source: EvalError,
    },
}

fn list(unserved: &[Unserved]) -> String {
    let mut text = format!("no kernel for {} nodes:", unserved.len());
    for node in unserved {
        text.push_str(&format!("\n  {} ({})", node.location, node.operator));
        for (tactic, reason) in &node.refusals {
            text.push_str(&format!("\n    {tactic}: {reason}"));
        }
    }
    text
}
