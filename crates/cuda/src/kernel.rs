//! Kernels: a source to compile, and the geometry and parameters of launches. They know addresses and sizes, and no driver.

use sinter_backend::{End, KernelError, Seed, StrideSupport};
use sinter_base::{DataType, Dim, Rows, Sizes};
use smallvec::SmallVec;

/// May the compiler contract a product and a sum into one operation, which rounds once?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contraction {
    /// Every operation rounds: programs whose order is given.
    Off,
    /// Sums of products.
    On,
}

/// The text of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The header `generated.cuh`: types and operations of this configuration.
    pub generated: String,
    /// The text, which includes the header.
    pub text: &'static str,
    /// See there.
    pub contraction: Contraction,
}

/// An operand or a result of a launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tensor<'a> {
    /// Address of the first element on the device.
    pub address: u64,
    /// Element type.
    pub data_type: DataType,
    /// Sizes, outermost first.
    pub sizes: &'a [usize],
    /// The rows of a strided tensor.
    pub rows: Option<Rows>,
}

impl Tensor<'_> {
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.sizes.iter().product()
    }
}

/// Blocks along three axes, threads of a block, bytes of shared memory.
pub use crate::driver::{Cooperation, Geometry, TensorMap};

/// Takes the launches of a kernel: a stream, or a list in a test.
pub trait Sink {
    /// Launches the function of this position in [`Kernel::entries`] on one structure of these words.
    ///
    /// # Errors
    /// Errors of earlier work.
    fn run(&mut self, entry: usize, geometry: Geometry, words: &[u64]) -> Result<(), KernelError> {
        self.run_together(entry, geometry, Cooperation::default(), words)
    }

    /// The same for blocks that work together.
    ///
    /// # Errors
    /// Errors of earlier work.
    fn run_together(
        &mut self,
        entry: usize,
        geometry: Geometry,
        cooperation: Cooperation,
        words: &[u64],
    ) -> Result<(), KernelError>;

    /// Scratch memory for this launch, of a size that was unknown before.
    ///
    /// # Errors
    /// When the device has too little memory.
    fn scratch(&mut self, bytes: usize) -> Result<u64, KernelError>;

    /// The words of a tensor map among the parameters.
    ///
    /// # Errors
    /// When the driver refuses it.
    fn encode(&mut self, map: &TensorMap) -> Result<[u64; 16], KernelError> {
        Ok(map.encode()?)
    }
}

/// One launch of a kernel: its memory, and the sink of the work.
pub struct Launch<'a> {
    /// Operands in the region's order; `None` for one that is left out.
    pub inputs: SmallVec<[Option<Tensor<'a>>; 8]>,
    /// Results in the region's order.
    pub outputs: SmallVec<[Tensor<'a>; 4]>,
    /// Scratch memory: address and bytes; `None` where its size was unknown before the launch.
    pub workspace: Option<(u64, usize)>,
    /// Address of the word that kernels set for data that the operator refuses; see [`Fault`].
    pub fault: u64,
    /// Address of the word for the true size of counted axes, 0 where no result has one.
    pub total: u64,
    /// Multiprocessors.
    pub units: usize,
    /// The source of random numbers.
    pub seed: Seed,
    /// Takes the work.
    pub sink: &'a mut dyn Sink,
}

/// The memory of a result whose sizes the kernel determines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Its largest sizes.
    pub sizes: Sizes,
    /// The axis whose true size is the total that the kernel reports; `None` where all sizes are those.
    pub counted: Option<usize>,
}

/// Data that an operator refuses; the number is that in `types.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fault {
    /// An index lies outside of its axis.
    Index = 1,
}

impl Fault {
    /// The error of a word that a kernel set.
    pub fn error(word: u32) -> KernelError {
        KernelError::Data(match word {
            word if word == Self::Index as u32 => "an index lies outside of its axis".to_owned(),
            word => format!("a kernel reports the unknown fault {word}"),
        })
    }
}

/// The error of arguments that do not fit a kernel.
pub(crate) fn recipe(text: impl Into<String>) -> KernelError {
    KernelError::Recipe(text.into())
}

/// Threads of a block of most kernels.
pub const THREADS: u32 = 256;

impl<'a> Launch<'a> {
    /// An operand that cannot be left out.
    ///
    /// # Errors
    /// When it is.
    pub fn input(&self, index: usize) -> Result<Tensor<'a>, KernelError> {
        let found = self.inputs.get(index).copied().flatten();
        found.ok_or_else(|| KernelError::Recipe(format!("operand {index} is left out")))
    }

    /// A result.
    ///
    /// # Errors
    /// When there is none of this index.
    pub fn output(&self, index: usize) -> Result<Tensor<'a>, KernelError> {
        let found = self.outputs.get(index).copied();
        found.ok_or_else(|| KernelError::Recipe(format!("there is no result {index}")))
    }

    /// The geometry of a kernel whose threads take elements in turns: enough blocks to fill the device, and no more than
    /// there is work for.
    pub fn spread(&self, work: usize) -> Geometry {
        let blocks = work.div_ceil(THREADS as usize).clamp(1, self.units.max(1) * 32);
        Geometry { grid: [u32::try_from(blocks).unwrap_or(u32::MAX), 1, 1], threads: THREADS, shared: 0 }
    }

    /// Launches a function whose threads take this many elements in turns; nothing for none.
    ///
    /// # Errors
    /// Errors of earlier work.
    pub fn each(&mut self, entry: usize, work: usize, words: &[u64]) -> Result<(), KernelError> {
        let geometry = self.spread(work);
        if work == 0 { Ok(()) } else { self.sink.run(entry, geometry, words) }
    }

    /// The address of an optional operand, 0 where it is left out.
    pub fn address(&self, index: usize) -> u64 {
        self.inputs.get(index).copied().flatten().map_or(0, |tensor| tensor.address)
    }

    /// The address of scratch memory of at least this many bytes.
    ///
    /// # Errors
    /// When the launch has less, or the device has too little.
    pub fn scratch(&mut self, bytes: usize) -> Result<u64, KernelError> {
        match self.workspace {
            _ if bytes == 0 => Ok(0),
            None => self.sink.scratch(bytes),
            Some((address, found)) if found >= bytes => Ok(address),
            Some((_, found)) => Err(recipe(format!("{bytes} bytes of scratch memory are needed, {found} are there"))),
        }
    }
}

/// A kernel of one configuration.
pub trait Kernel: Send + Sync {
    /// Identifies the compiled code: the tactic, the number of its interface, and everything that the source depends on.
    /// It is part of plans, so a kernel whose parameters change gets another number.
    fn configuration(&self) -> String;

    /// The text.
    fn source(&self) -> Source;

    /// Names of the functions.
    fn entries(&self) -> &'static [&'static str];

    /// Launches the kernel.
    ///
    /// # Errors
    /// When arguments do not fit the kernel, and errors of earlier work.
    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError>;

    /// Which strided views the kernel takes for an operand or a result.
    fn stride_support(&self, _end: End) -> StrideSupport {
        StrideSupport::Contiguous
    }

    /// Bytes of scratch memory.
    fn workspace(&self) -> Dim {
        Dim::constant(0)
    }

    /// (operand, result) pairs that may share memory.
    fn in_place(&self) -> &'static [(usize, usize)] {
        &[]
    }

    /// The memory of the results, for operands of these sizes; `None` where the launch determines no sizes.
    fn bounds(&self, _inputs: &[Option<Tensor<'_>>]) -> Option<SmallVec<[Bound; 4]>> {
        None
    }

    /// Does a launch depend on the seed of the run?
    fn takes_seed(&self) -> bool {
        false
    }
}
