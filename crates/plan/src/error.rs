//! Errors of plan files.

use std::path::PathBuf;

use sinter_base::one_line;

/// Why a plan could not be written or read.
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
    /// The bytes are not a plan.
    #[error("this is no plan file: {}", one_line(.0))]
    NotAPlan(String),
    /// A plan of a format version that this program cannot read.
    #[error(
        "the plan has format version {found}, this program reads up to {newest}; build it again or update the program"
    )]
    Version {
        /// Version of the file.
        found: u32,
        /// Newest version that is read.
        newest: u32,
    },
    /// A section whose bytes do not match its hash.
    #[error("the {section} section is damaged: its hash differs")]
    Hash {
        /// Which section.
        section: &'static str,
    },
    /// Contents that contradict each other.
    #[error("the plan is damaged: {}", one_line(.0))]
    Damaged(String),
    /// A plan whose file no reader could open; the writer refuses it before it writes.
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
