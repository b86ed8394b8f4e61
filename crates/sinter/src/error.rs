//! Errors of the public interface: the problem, its place, and the remedy.

use std::path::{Path, PathBuf};

use sinter_backend::KernelError;
use sinter_base::TensorError;
use sinter_builder::{BuildError, CacheError, PrecisionError, RefitError, TapError};
use sinter_import_onnx::ImportError;
use sinter_passes::PassError;
use sinter_plan::PlanError;
use sinter_runtime::RuntimeError;

use crate::internals::foreign::Foreign;

/// An error of any step from a model to its outputs.
///
/// `Display` says what went wrong, with names and numbers; [`Error::path`] names the file, [`Error::help`] says what to do.
/// The variants wrap the error types of the steps, which [`crate::errors`] lists.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file belongs to another program: no importer reads it.
    #[error("{}this is {what}, not a model that an importer reads", prefix(path.as_deref()))]
    Foreign {
        /// The file; `None` for bytes.
        path: Option<PathBuf>,
        /// The kind of file, with an article.
        what: &'static str,
        /// Advice for the user.
        help: &'static str,
    },
    /// The model cannot be read or imported.
    #[error("{}{source}", prefix(path.as_deref().filter(|_| !import_names_file(source))))]
    Import {
        /// The file; `None` for bytes.
        path: Option<PathBuf>,
        /// The importer's error: all problems of the model at once.
        source: ImportError,
    },
    /// The plan cannot be read or written.
    #[error("{}{source}", prefix(path.as_deref().filter(|_| !matches!(source, PlanError::Io { .. }))))]
    Plan {
        /// The file; `None` for bytes.
        path: Option<PathBuf>,
        /// The error of the reader or writer.
        source: PlanError,
    },
    /// The builder cannot make a plan of the model.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A cache of timings or of verification results cannot be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The engine cannot load the plan, or an inference failed.
    #[error(transparent)]
    Run(#[from] RuntimeError),
    /// The plan cannot be given these weights.
    #[error(transparent)]
    Refit(#[from] RefitError),
    /// An operator inside a fused step cannot run by itself.
    #[error(transparent)]
    Tap(TapError),
    /// A tensor cannot be made: sizes and elements do not fit.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Options contradict each other, or name something that does not exist.
    #[error("{what}")]
    Options {
        /// The options, with their values.
        what: String,
        /// The remedy.
        help: String,
    },
    /// The builder made a plan and could not verify it, so that it does not return the plan: the model does not take the
    /// verification inputs of the caller, or none could be synthesized.
    #[error("the plan could not be verified: {reason}")]
    Unverified {
        /// The error of the reference executor or of the input generator.
        reason: String,
    },
}

impl Error {
    /// The file that the error is about, where it is about one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Foreign { path, .. } | Self::Import { path, .. } | Self::Plan { path, .. } => path.as_deref(),
            Self::Cache(
                CacheError::Io { path, .. }
                | CacheError::Foreign { path, .. }
                | CacheError::Version { path, .. }
                | CacheError::Damaged { path, .. },
            ) => Some(path),
            _ => None,
        }
    }

    /// What the caller can do; `None` where the message says it, or where only a report to the project helps.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Foreign { help, .. } => Some(help),
            Self::Import { source, .. } => Some(help_for_import(source)),
            Self::Plan { source, .. } => help_for_plan(source),
            Self::Build(error) => help_for_build(error),
            Self::Cache(CacheError::Io { .. }) => Some("check the path and its permissions"),
            Self::Cache(CacheError::Foreign { .. }) => Some("name another file; this one stays as it is"),
            Self::Cache(CacheError::Version { .. } | CacheError::Damaged { .. }) => {
                Some("delete the file, or name another one")
            }
            Self::Run(error) => help_for_run(error),
            Self::Refit(RefitError::NotRefittable) => Some("build the plan with `Builder::refittable`"),
            Self::Refit(RefitError::Tensors(_)) => Some("`Plan::refittable_tensors` lists names and types"),
            Self::Refit(_) | Self::Tap(_) => None,
            Self::Tensor(_) => Some("the product of the sizes must be the number of elements"),
            Self::Options { help, .. } => Some(help),
            Self::Unverified { .. } => Some(
                "`Builder::verify_with` takes inputs that the model runs with; `Builder::no_verify` builds without the comparison",
            ),
        }
    }

    pub(crate) fn foreign(path: Option<&Path>, foreign: Foreign) -> Self {
        Self::Foreign { path: path.map(Path::to_owned), what: foreign.what, help: foreign.advice }
    }

    pub(crate) fn options(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Options { what: what.into(), help: help.into() }
    }
}

/// `model.onnx: `
fn prefix(path: Option<&Path>) -> String {
    path.map(|path| format!("{}: ", path.display())).unwrap_or_default()
}

/// Does the message of the importer begin with the file?
fn import_names_file(error: &ImportError) -> bool {
    matches!(error, ImportError::Open { .. } | ImportError::Decode { .. })
}

fn help_for_import(error: &ImportError) -> &'static str {
    match error {
        ImportError::Open { .. } => "check the path and its permissions",
        ImportError::Decode { .. } => "export the model again, or copy it again; it may be cut off",
        ImportError::Model(_) => {
            "each line names a part of the model; change it in the program that made the model, and export again"
        }
        ImportError::Shapes(_) => "`Model::inputs` lists names and types; change `ImportOptions::shapes`",
    }
}

fn help_for_plan(error: &PlanError) -> Option<&'static str> {
    match error {
        PlanError::Io { .. } => Some("check the path and its permissions"),
        PlanError::Version { .. } | PlanError::Unreadable(_) => None,
        _ => Some("build the plan again from its model"),
    }
}

fn help_for_build(error: &BuildError) -> Option<&'static str> {
    match error {
        BuildError::Disagrees { .. } => {
            Some("`Builder::disable` a pass; `Builder::no_verify` builds the plan without the comparison")
        }
        BuildError::Pass(PassError::Unknown { .. }) => None,
        BuildError::Pass(_) => Some("`Builder::disable` the pass, and report the model"),
        BuildError::Untimed { .. } => {
            Some("build once with `Builder::tune` and the same cache on such a machine, with a larger budget")
        }
        BuildError::Device(_) => Some("`Registry::back_ends` lists the back ends; name another one"),
        BuildError::Memory(_) => {
            Some("`Builder::pin` or `Builder::max` smaller sizes, or allow more with `Builder::max_memory`")
        }
        BuildError::Precision(PrecisionError::Rewrite(_)) => None,
        BuildError::Precision(_) => {
            Some("`Builder::layer_precision` keeps a node in fp32; `Builder::precision` chooses another precision")
        }
        BuildError::UnknownSize { .. } => Some("`Model::inputs` lists the dimensions"),
        BuildError::Unsupported(_) | BuildError::Islands { .. } => {
            Some("report the nodes named above: every valid operator should have a kernel")
        }
        _ => None,
    }
}

fn help_for_run(error: &RuntimeError) -> Option<&'static str> {
    match error {
        RuntimeError::Plan(error) => help_for_plan(error),
        RuntimeError::BackEnd { .. } | RuntimeError::Load { .. } | RuntimeError::Device { .. } => {
            Some("build the plan again on this machine, or load it with a registry that has its back end")
        }
        RuntimeError::MissingInput { .. }
        | RuntimeError::UnknownInput { .. }
        | RuntimeError::UnknownOutput { .. }
        | RuntimeError::InputType { .. }
        | RuntimeError::Contradiction { .. }
        | RuntimeError::Range { .. }
        | RuntimeError::Shape(_)
        | RuntimeError::Sizes { .. } => Some("`Engine::inputs` and `Engine::outputs` list names, types and dimensions"),
        RuntimeError::LentMemory { .. } => Some("bind larger memory, aligned for its elements"),
        RuntimeError::Memory { needed, limit } if needed > limit => {
            Some("give smaller inputs, or allow more with `EngineOptions::max_memory`")
        }
        RuntimeError::Memory { .. } | RuntimeError::OutOfMemory { .. } => {
            Some("give smaller inputs, or end other programs")
        }
        RuntimeError::Step { source: KernelError::Data(_), .. } => {
            Some("the values of the inputs do not suit the model; give others")
        }
        RuntimeError::NoSelfTest => Some("build the plan without `Builder::no_verify`"),
        RuntimeError::SelfTest { .. } => Some("do not use the plan on this machine; build it here, and report this"),
        _ => None,
    }
}
