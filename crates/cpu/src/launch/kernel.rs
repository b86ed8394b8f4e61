//! Kernels on the host: loaded once, launched often.

use sinter_backend::{End, KernelError, StrideSupport};
use sinter_base::view::element_bytes;
use sinter_base::{Buffer, DataType, Sizes, View, ViewMut};

use crate::launch::scratch::Scratch;

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
    /// The result with index `0` already holds the operand's contents: the candidate offered the pair as in place.
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

/// A result whose sizes only the kernel can compute.
pub struct DynamicOutput {
    /// Element type.
    pub data_type: DataType,
    sizes: Sizes,
    memory: Buffer,
    limit: usize,
}

impl DynamicOutput {
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

    /// Element type, sizes and memory of the result.
    ///
    /// # Errors
    /// When the kernel never allocated it.
    pub fn into_parts(self) -> Result<(DataType, Sizes, Buffer), KernelError> {
        self.view()?;
        Ok((self.data_type, self.sizes, self.memory))
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
pub enum Output<'a> {
    /// Memory of known sizes.
    View(ViewMut<'a>),
    /// Sizes to be told by the kernel.
    Dynamic(&'a mut DynamicOutput),
}

impl<'a> Output<'a> {
    /// The sizes of a result of known sizes.
    ///
    /// # Panics
    /// When the result is dynamic: an error of the caller, never of data.
    pub fn sizes(&self) -> &[usize] {
        match self {
            Output::View(view) => view.sizes(),
            Output::Dynamic(_) => panic!("the result has no sizes before the launch"),
        }
    }

    /// The memory of a result of known sizes.
    ///
    /// # Panics
    /// When the result is dynamic: an error of the caller, never of data.
    pub fn view(&mut self) -> &mut ViewMut<'a> {
        match self {
            Output::View(view) => view,
            Output::Dynamic(_) => panic!("the kernel offered a result of known sizes"),
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
    pub outputs: &'a mut [Output<'b>],
    /// Scratch memory of the size that the candidate asked for, where that was known before the run; to be
    /// read as a [`Workspace`].
    pub workspace: &'a mut [u8],
    /// Allocator of the lists and copies that the kernel makes.
    pub scratch: &'a Scratch,
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

/// A kernel on views.
pub trait Kernel: Send + Sync {
    /// The strided views that the kernel supports for an operand or a result. It never gets others.
    fn stride_support(&self, _end: End) -> StrideSupport {
        StrideSupport::Contiguous
    }

    /// Computes the results.
    ///
    /// # Errors
    /// When the operator does not take these values.
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError>;
}

/// A loaded kernel of either kind.
pub type Loaded = sinter_backend::Loaded<Box<dyn Kernel>>;
