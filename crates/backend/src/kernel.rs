//! Kernels on the host: loaded once, launched often.

use sinter_base::view::element_bytes;
use sinter_base::{Buffer, DataType, Rows, Sizes, Value, View, ViewMut};

use crate::rooms::Rooms;

/// A kernel that cannot go on. Data that an operator refuses (an index out of range) is a legitimate case.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum KernelError {
    /// Values that the operator does not take.
    #[error("{0}")]
    Data(String),
    /// A result of a size that is known only now, and is larger than is allowed or than the system has memory for.
    #[error("{0} needs more memory than is allowed")]
    Memory(String),
    /// A recipe that does not belong to its region, or needs what the machine lacks.
    #[error("recipe: {0}")]
    Recipe(String),
    /// A kernel that panicked, by the name of its tactic: an error of the kernel, whatever the data.
    #[error("the kernel '{tactic}' panicked: {message}; please report this")]
    Panic {
        /// Name of the tactic.
        tactic: String,
        /// What the panic said.
        message: String,
    },
}

/// Threads that share the work of one kernel.
pub trait Workers: Send + Sync {
    /// Number of threads, the caller included.
    fn count(&self) -> usize;

    /// Calls `task(0)` to `task(tasks - 1)`, each once, in any order and on any thread, and waits for all.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// An operand of a launch.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// Left out.
    Absent,
    /// Memory to read.
    View(View<'a>),
    /// The contents that result number `0` already has: the pair was offered as in place.
    InPlace(usize),
}

impl<'a> Operand<'a> {
    /// The memory, when it is separate.
    pub fn view(&self) -> Option<View<'a>> {
        match self {
            Operand::View(view) => Some(*view),
            Operand::Absent | Operand::InPlace(_) => None,
        }
    }
}

/// A result whose sizes only the kernel can tell.
pub struct DynamicTarget {
    /// Element type.
    pub data_type: DataType,
    sizes: Sizes,
    memory: Buffer,
    limit: usize,
}

impl DynamicTarget {
    /// An empty result of this element type.
    pub fn new(data_type: DataType) -> Self {
        Self { data_type, sizes: Sizes::new(), memory: Buffer::default(), limit: usize::MAX }
    }

    /// An empty result that may take this many bytes.
    pub fn with_limit(data_type: DataType, limit: usize) -> Self {
        Self { limit, ..Self::new(data_type) }
    }

    /// Sets the sizes and gives memory for the elements, contents unspecified.
    ///
    /// # Errors
    /// When the sizes are beyond the limit, or the system has not so much memory.
    pub fn allocate(&mut self, sizes: &[usize]) -> Result<ViewMut<'_>, KernelError> {
        let count = sinter_base::shape::element_count(sizes);
        let bytes = count.and_then(|c| c.checked_mul(element_bytes(self.data_type)));
        let too_large = || {
            let ty = self.data_type;
            KernelError::Memory(format!("a result of type {ty} and sizes {sizes:?}"))
        };
        let bytes = bytes.filter(|bytes| *bytes <= self.limit).ok_or_else(too_large)?;
        if !self.memory.try_resize(bytes) {
            return Err(too_large());
        }
        self.sizes.clear();
        self.sizes.extend_from_slice(sizes);
        ViewMut::new(self.data_type, &self.sizes, self.memory.bytes_mut()).map_err(|e| KernelError::Data(e.to_string()))
    }

    /// The result.
    ///
    /// # Errors
    /// When the kernel never allocated it.
    pub fn view(&self) -> Result<View<'_>, KernelError> {
        View::new(self.data_type, &self.sizes, self.memory.bytes()).map_err(|e| KernelError::Data(e.to_string()))
    }
}

/// A result of a launch.
pub enum Target<'a> {
    /// Memory of known sizes.
    View(ViewMut<'a>),
    /// Sizes to be told by the kernel.
    Dynamic(&'a mut DynamicTarget),
}

impl<'a> Target<'a> {
    /// The memory of a result of known sizes.
    ///
    /// # Panics
    /// When the result is dynamic: an error of the caller, never of data.
    pub fn view(&mut self) -> &mut ViewMut<'a> {
        match self {
            Target::View(view) => view,
            Target::Dynamic(_) => panic!("the kernel offered a result of known sizes"),
        }
    }
}

/// Everything that one launch touches.
pub struct Launch<'a, 'b> {
    /// Threads to share the work with.
    pub workers: &'a dyn Workers,
    /// Operands in the region's order.
    pub inputs: &'a [Operand<'b>],
    /// Results in the region's order.
    pub outputs: &'a mut [Target<'b>],
    /// Scratch memory of at least the size that the candidate asked for.
    pub workspace: &'a mut [u8],
    /// Memory for what the kernel lists or copies on the way.
    pub rooms: &'a Rooms,
    /// Seed of the run and position of the step, for random operators.
    pub seed: (u64, u64),
}

impl<'b> Launch<'_, 'b> {
    /// An operand that must be there as separate memory.
    ///
    /// # Errors
    /// When it is left out.
    pub fn input(&self, index: usize) -> Result<View<'b>, KernelError> {
        self.optional(index).ok_or_else(|| KernelError::Data(format!("operand {index} is missing")))
    }

    /// An operand that may be left out.
    pub fn optional(&self, index: usize) -> Option<View<'b>> {
        self.inputs.get(index).and_then(Operand::view)
    }

    /// A result of known sizes.
    ///
    /// # Panics
    /// When there is no such result: an error of the caller, never of data.
    pub fn output(&mut self, index: usize) -> &mut ViewMut<'b> {
        self.outputs[index].view()
    }
}

/// The first `count` elements of a launch's scratch memory, contents unspecified.
///
/// # Errors
/// When there are fewer: whoever launched the kernel gave less than it asked for.
pub fn scratch<T: bytemuck::Pod>(workspace: &mut [u8], count: usize) -> Result<&mut [T], KernelError> {
    let (given, wanted) = (workspace.len(), count.checked_mul(size_of::<T>()));
    let bytes = wanted.and_then(|wanted| workspace.get_mut(..wanted));
    let elements = bytes.and_then(|bytes| bytemuck::try_cast_slice_mut(bytes).ok());
    elements
        .ok_or_else(|| KernelError::Recipe(format!("{given} bytes of scratch memory are too few for {count} elements")))
}

/// An operand or a result of a kernel, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// An operand.
    Operand(usize),
    /// A result.
    Result(usize),
}

/// Which parts of larger values a kernel takes for one of its ends. A part whose elements lie one after the other is none
/// of its business: it looks like a whole value, aligned for its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// None.
    Never,
    /// Those whose rows are the last axis: pixels with all their channels, rows of a matrix.
    LastAxis,
    /// Rows of any length.
    Always,
}

impl Stepped {
    /// Does a kernel take these rows of a value of these sizes?
    pub fn admits(self, rows: Rows, sizes: &[usize]) -> bool {
        match self {
            Self::Never => false,
            Self::LastAxis => sizes.last() == Some(&rows.inner),
            Self::Always => true,
        }
    }
}

/// A kernel on views.
pub trait Kernel: Send + Sync {
    /// Which stepped views the kernel takes for one of its ends. It never meets others.
    fn stepped(&self, _end: End) -> Stepped {
        Stepped::Never
    }

    /// Computes the results.
    ///
    /// # Errors
    /// When the operator does not take these values.
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError>;
}

/// A kernel on whole values: strings, sequences, optionals. Host only.
pub trait ValueKernel: Send + Sync {
    /// Computes the results.
    ///
    /// # Errors
    /// When the operator does not take these values.
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError>;
}

/// A loaded kernel of either kind.
pub enum Loaded {
    /// On views.
    Views(Box<dyn Kernel>),
    /// On whole values.
    Values(Box<dyn ValueKernel>),
}
