//! Failures as the user sees them: the problem, its place, the remedy, and the exit code.

use std::fmt;
use std::io::{ErrorKind, IsTerminal};
use std::path::Path;

use sinter::internals::backend::KernelError;
use sinter::internals::base::one_line;
use sinter::internals::builder::{BuildError, PrecisionError, RefitError, TapError};
use sinter::internals::import_onnx::ImportError;
use sinter::internals::interp::run::RunError;
use sinter::internals::memory::MemoryError;
use sinter::internals::passes::PassError;
use sinter::internals::plan::PlanError;
use sinter::internals::runtime::RuntimeError;
use sinter::internals::source::SourceError;
use sinter::internals::tensor_io::NpzError;
use sinter::internals::values::ValuesError;

use crate::output::printable;

/// Why the program ends; the numbers are part of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Results outside their bounds, or no kernel for an operator.
    OutsideBounds = 1,
    /// Flags, names or types of inputs, files that are not there or cannot be written, memory that the system does not give.
    Usage = 2,
    /// A damaged or invalid model, plan or data file; also errors of this program.
    Damaged = 3,
    /// The device that the plan or the user asks for is not there.
    DeviceUnavailable = 4,
    /// Ctrl-C.
    Interrupted = 130,
}

/// A failed command.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// What went wrong, with names and numbers.
    pub what: String,
    /// Has it several lines? Else a line break in it is part of a name.
    pub is_list: bool,
    /// The file or value concerned.
    pub place: Option<String>,
    /// What the user can do.
    pub help: Option<String>,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), is_list: false, place: None, help: None }
    }

    /// Several problems, one a line; the caller makes sure that names contain no line break.
    pub fn list(exit: Exit, what: impl Into<String>) -> Self {
        Self { is_list: true, ..Self::new(exit, what) }
    }

    /// The user requested something impossible.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Names the file.
    #[must_use]
    pub fn at(mut self, path: &Path) -> Self {
        self.place = Some(path.display().to_string());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Writes it to standard error.
    pub fn show(&self) {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let (on, off) = if colour { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        eprintln!("{on}error{off}: {self}");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_list {
            true => f.write_str(&printable(&self.what))?,
            false => f.write_str(&one_line(&self.what))?,
        }
        if let Some(place) = &self.place {
            write!(f, "\n  where: {}", one_line(place))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  what to do: {}", one_line(help))?;
        }
        Ok(())
    }
}

/// What to do about memory that the system does not give.
pub const OUT_OF_MEMORY: &str = "give smaller inputs or fewer --threads, end other programs, or raise the limit of this one (ulimit -v, control group)";

/// What to do about a file that the system does not let us read or write.
pub fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "there is no room left: delete something there, or choose a place on another disk"
        }
        ErrorKind::ReadOnlyFilesystem => "nothing can be written there: choose another place",
        ErrorKind::NotFound => "check the path",
        _ => "check the path and its permissions",
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let failure = Self::new(Exit::Damaged, error.to_string());
        match error {
            ImportError::Open { source, .. } => Self { exit: Exit::Usage, ..failure }.help(advice(source.kind())),
            ImportError::Decode { .. } => failure.help("export the model again, or copy it again; it may be cut off"),
            ImportError::Model(_) => Self { is_list: true, ..failure }.help(
                "each line names a part of the model; change it in the program that made the model, and export again",
            ),
            ImportError::Shapes(_) => Self { exit: Exit::Usage, is_list: true, ..failure }
                .help("`sinter inspect MODEL` shows the inputs and their types"),
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let failure = Self::new(Exit::Damaged, error.to_string());
        match error {
            PlanError::Io { source, .. } => Self { exit: Exit::Usage, ..failure }.help(advice(source.kind())),
            PlanError::Version { .. } | PlanError::Unreadable(_) => failure,
            _ => failure.help("build the plan again from its model"),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Plan(error) => error.into(),
            SourceError::Model(error) => error.into(),
            SourceError::Foreign(foreign) => {
                Self::new(Exit::Damaged, SourceError::Foreign(foreign).to_string()).help(foreign.advice)
            }
        }
    }
}

impl From<PrecisionError> for Failure {
    fn from(error: PrecisionError) -> Self {
        let text = error.to_string();
        match error {
            PrecisionError::UnknownLayer { .. } => Self::usage(text).help("`sinter inspect MODEL` lists the nodes"),
            PrecisionError::NoForm { .. } => Self::usage(text).help("leave the name out of --layer-precision"),
            PrecisionError::Range { .. } => Self::list(Exit::OutsideBounds, text).help(
                "keep these nodes in f32 by --layer-precision NAME=fp32, choose --precision bf16, or leave --strict-precision out",
            ),
            PrecisionError::Inaccurate { .. } => Self::new(Exit::OutsideBounds, text)
                .help("--layer-precision NAME=fp32 keeps a node in f32; --precision fp16 has more digits than bf16"),
            PrecisionError::Rewrite(_) => Self::new(Exit::Damaged, text),
        }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        match &error {
            BuildError::Disagrees { .. } => Self::new(Exit::OutsideBounds, error.to_string())
                .help("--disable PASS may lead around it; --no-verify builds the plan as it is"),
            BuildError::Unsupported(_) => Self::list(Exit::OutsideBounds, error.to_string())
                .help("report the nodes named above; every valid operator should have a kernel"),
            BuildError::Pass(PassError::Unknown { .. }) => Self::usage(error.to_string()),
            BuildError::Pass(_) => Self::new(Exit::Damaged, error.to_string())
                .help("--disable PASS goes on without the pass; please report the model"),
            BuildError::Precision(error) => error.clone().into(),
            BuildError::Untimed { .. } => Self::list(Exit::Usage, error.to_string()).help(
                "build once with --tune-seconds S and the same --timing-cache on such a machine; a larger S leaves fewer out",
            ),
            BuildError::Device(_) => Self::new(Exit::DeviceUnavailable, error.to_string())
                .help("`sinter doctor` shows the devices of this machine"),
            BuildError::Islands { .. } => Self::list(Exit::OutsideBounds, error.to_string())
                .help("without --forbid-host-copies these nodes run on the CPU, and the engine copies their values"),
            BuildError::Profile { .. } | BuildError::Untimeable { .. } => Self::usage(error.to_string()),
            BuildError::Memory(error) => error.clone().into(),
            BuildError::UnknownSize { .. } => Self::usage(error.to_string()),
            BuildError::Weight { .. } => Self::new(Exit::Damaged, error.to_string()),
        }
    }
}

impl From<RefitError> for Failure {
    fn from(error: RefitError) -> Self {
        let what = error.to_string();
        match error {
            RefitError::NotRefittable => {
                Self::usage(what).help("`sinter build MODEL --refittable` makes a plan that can be")
            }
            RefitError::Tensors(_) => Self::list(Exit::Usage, what)
                .help("`sinter inspect PLAN` lists the tensors that the plan can be refitted with"),
            RefitError::Tactic(_) => {
                Self::new(Exit::DeviceUnavailable, what).help("refit with the program that built the plan")
            }
            RefitError::Weight { .. } => Self::new(Exit::Damaged, what),
            RefitError::Memory(error) => error.into(),
        }
    }
}

impl From<TapError> for Failure {
    fn from(error: TapError) -> Self {
        match error {
            TapError::Run(error) => error.into(),
            TapError::Device(_) => Self::new(Exit::DeviceUnavailable, error.to_string())
                .help("`sinter doctor` shows the devices of this machine"),
            TapError::Weight(_) | TapError::Node { .. } => Self::new(Exit::Damaged, error.to_string()),
        }
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        let what = error.to_string();
        let inputs = "`sinter inspect FILE` shows the inputs and their types";
        match error {
            RuntimeError::Plan(error) => error.into(),
            RuntimeError::BackEnd { .. } | RuntimeError::Load { .. } => Self::new(Exit::DeviceUnavailable, what)
                .help("build the plan again on this machine; `sinter doctor` shows what it has"),
            RuntimeError::Device { .. } => {
                Self::new(Exit::DeviceUnavailable, what).help("`sinter doctor` shows the devices of this machine")
            }
            RuntimeError::MissingInput { .. }
            | RuntimeError::UnknownInput { .. }
            | RuntimeError::InputType { .. }
            | RuntimeError::Contradiction { .. }
            | RuntimeError::Range { .. }
            | RuntimeError::LentMemory { .. }
            | RuntimeError::Sizes { .. } => Self::usage(what).help(inputs),
            RuntimeError::Memory { needed, limit } if needed > limit => {
                Self::new(Exit::Damaged, what).help("--max-memory sets the bound")
            }
            RuntimeError::Memory { .. } | RuntimeError::OutOfMemory { .. } => Self::usage(what).help(OUT_OF_MEMORY),
            RuntimeError::Step { source: KernelError::Data(_), .. } => {
                Self::new(Exit::Damaged, what).help("the values of the inputs do not suit the model")
            }
            RuntimeError::Step { source: KernelError::Memory(_), .. } => {
                Self::new(Exit::Damaged, what).help("--max-memory sets the bound")
            }
            RuntimeError::Shape(_) => {
                Self::new(Exit::Damaged, what).help("the sizes of the inputs do not suit the model")
            }
            RuntimeError::NoSelfTest => {
                Self::usage(what).help("`sinter build MODEL` without --no-verify makes such a plan")
            }
            RuntimeError::SelfTest { .. } => Self::new(Exit::OutsideBounds, what)
                .help("do not use the plan on this machine; build it here, and please report this"),
            // The message of a panic states the remedy itself.
            RuntimeError::Panic { .. } => Self::new(Exit::Damaged, what),
            _ => Self::new(Exit::Damaged, what).help("build the plan again from its model"),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match &error {
            RunError::Eval(_) => Self::new(Exit::Damaged, error.to_string()),
            _ => Self::usage(error.to_string()).help("`sinter inspect FILE` shows the inputs and their types"),
        }
    }
}

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Self {
        Self::new(Exit::Damaged, error.to_string())
            .help("--shapes pins smaller inputs, --max-shapes bounds dynamic ones")
    }
}

impl From<ValuesError> for Failure {
    fn from(error: ValuesError) -> Self {
        let what = error.to_string();
        match error {
            ValuesError::Io { source, .. } | ValuesError::Npz(NpzError::Io { source, .. }) => {
                Self::usage(what).help(advice(source.kind()))
            }
            ValuesError::Mismatch { .. } => {
                Self::usage(what).help("`sinter inspect FILE` shows the names and types of inputs and outputs")
            }
            ValuesError::Npz(NpzError::Single { .. }) => Self::usage(what)
                .help("write an archive: numpy.savez('x.npz', NAME=array), with the names of the inputs"),
            ValuesError::Npz(NpzError::Memory { .. }) => Self::usage(what).help(OUT_OF_MEMORY),
            ValuesError::Damaged { .. } | ValuesError::Npz(NpzError::Invalid { .. }) => {
                Self::new(Exit::Damaged, what).help("write the file again, or copy it again; it may be cut off")
            }
        }
    }
}
