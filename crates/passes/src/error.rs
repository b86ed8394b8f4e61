//! Errors of the passes.

use sinter_ir::{PatchError, VerifyError};

/// A failed run of the passes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PassError {
    /// A pass was named that does not exist.
    #[error("there is no pass '{name}'; the passes are {known}")]
    Unknown {
        /// The name given.
        name: String,
        /// All names, in order.
        known: String,
    },
    /// A pass made a patch that cannot be applied: a mistake in the pass; `--disable` it to go on.
    #[error("pass '{pass}' made a wrong patch, please report and disable it meanwhile: {source}")]
    Patch {
        /// The pass.
        pass: &'static str,
        /// The error of the patch.
        source: PatchError,
    },
    /// The network is wrong after a pass: a mistake in the pass.
    #[error("the network is wrong after pass '{pass}', please report and disable it meanwhile: {source}")]
    Verify {
        /// The pass; "import" for the network as given.
        pass: &'static str,
        /// The error of the verifier.
        source: VerifyError,
    },
}
