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
    /// A pass made an invalid patch, which is a bug of the pass; `--disable` it to continue.
    #[error("pass '{pass}' made a wrong patch, please report and disable it meanwhile: {source}")]
    Patch {
        /// The pass.
        pass: &'static str,
        /// The error of the patch.
        source: PatchError,
    },
    /// The network is invalid after a pass, which is a bug of the pass.
    #[error("the network is wrong after pass '{pass}', please report and disable it meanwhile: {source}")]
    Verify {
        /// The pass; "import" for the network as given.
        pass: &'static str,
        /// The error of the verifier.
        source: VerifyError,
    },
}
