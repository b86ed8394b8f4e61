//! What can be wrong with a plan file.

use std::path::PathBuf;

use sinter_base::one_line;

/// A plan that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file could not be opened, created or renamed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The bytes are no plan.
    #[error("this is no plan file: {}", one_line(.0))]
    NotAPlan(String),
    /// A plan of a format version that this program does not read.
    #[error(
        "the plan has format version {found}, this program reads up to {newest}; build it again or update the program"
    )]
    Version {
        /// Version of the file.
        found: u32,
        /// Newest version that is read.
        newest: u32,
    },
    /// A section whose bytes differ from what was written.
    #[error("the {section} section is damaged: its hash differs")]
    Hash {
        /// Which section.
        section: &'static str,
    },
    /// Contents that contradict each other.
    #[error("the plan is damaged: {}", one_line(.0))]
    Damaged(String),
    /// A plan whose file nobody could open, found out before it is written.
    #[error(
        "the plan is not written, since it could not be opened again ({0}): this is an error of the builder, please report it"
    )]
    Unreadable(Box<PlanError>),
}

impl PlanError {
    /// Contents that contradict each other.
    pub fn damaged(reason: impl Into<String>) -> Self {
        PlanError::Damaged(reason.into())
    }
}
