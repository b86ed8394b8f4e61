//! Devices: a back end opens them, loads kernels on them and creates their queues.
//!
//! A back end writes the typed [`Machine`] and its [`Stream`]; [`open`] wraps them as a [`Device`], which identifies
//! kernels and weights by index. This is the only place where types are erased, without a cast back.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use sinter_base::{BlockId, HostBlock, MemoryRef};

use crate::code::Code;
use crate::kernel::{KernelError, ValueKernel};
use crate::memory::Memory;
use crate::queue::{Argument, Arguments, CapturedId, Event, KernelId, Queue, ResidentId, Seed};
use crate::region::Region;
use crate::tactic::Recipe;
use crate::target::Target;

/// A loaded kernel.
pub enum Loaded<K> {
    /// A kernel on device memory.
    Kernel(K),
    /// A kernel on whole values of the host: strings, sequences, optionals.
    Values(Box<dyn ValueKernel>),
}

/// A device of one back end.
pub trait Machine: Send + Sync + 'static {
    /// A loaded kernel.
    type Kernel: Send + Sync + 'static;
    /// A weight in the device's memory.
    type Resident: Send + Sync + 'static;
    /// The ordered work of one context.
    type Stream: Stream<Kernel = Self::Kernel, Resident = Self::Resident> + 'static;

    /// Loads the kernel of a recipe for this region. The recipe may come from another machine; `code` is the output of
    /// its tactic's compiler.
    ///
    /// # Errors
    /// When recipe, region and code do not fit each other, or the machine lacks what the recipe needs.
    fn load(&self, recipe: &Recipe, region: &Region, code: Option<&Code>) -> Result<Loaded<Self::Kernel>, KernelError>;

    /// Copies a weight into device memory.
    ///
    /// # Errors
    /// When the device has too little memory.
    fn upload(&self, weight: &Bytes) -> Result<Self::Resident, KernelError>;

    /// Creates a stream with memory of its own.
    ///
    /// # Errors
    /// When the device supports no further stream.
    fn stream(self: &Arc<Self>) -> Result<Self::Stream, KernelError>;
}

/// The ordered work of one context, as a back end implements it; [`Queue`] documents each function.
pub trait Stream: Memory + Send {
    /// A loaded kernel.
    type Kernel;
    /// A weight in the device's memory.
    type Resident;

    /// See [`Queue::attach`].
    ///
    /// # Errors
    /// Errors of earlier work.
    fn attach(&mut self, resident: &Self::Resident) -> Result<BlockId, KernelError>;

    /// See [`Queue::launch`].
    ///
    /// # Errors
    /// See there.
    fn launch(&mut self, kernel: &Arc<Self::Kernel>, arguments: &Arguments, seed: Seed) -> Result<(), KernelError>;

    /// See [`Queue::dynamic_result`].
    ///
    /// # Errors
    /// See there.
    fn dynamic_result(&mut self, output: usize) -> Result<Argument, KernelError>;

    /// See [`Queue::copy`].
    ///
    /// # Errors
    /// See there.
    fn copy(&mut self, from: MemoryRef, to: MemoryRef) -> Result<(), KernelError>;

    /// See [`Queue::record`].
    ///
    /// # Errors
    /// See there.
    fn record(&mut self) -> Result<Event, KernelError>;

    /// See [`Queue::elapsed`].
    ///
    /// # Errors
    /// See there.
    fn elapsed(&mut self, from: Event, to: Event) -> Result<Duration, KernelError>;

    /// See [`Queue::finish`].
    ///
    /// # Errors
    /// See there.
    fn finish(&mut self) -> Result<(), KernelError>;

    /// See [`Queue::begin_capture`].
    ///
    /// # Errors
    /// See there.
    fn begin_capture(&mut self) -> Result<bool, KernelError> {
        Ok(false)
    }

    /// See [`Queue::end_capture`].
    ///
    /// # Errors
    /// See there.
    fn end_capture(&mut self) -> Result<CapturedId, KernelError> {
        Err(KernelError::Recipe("the device records no work".to_owned()))
    }

    /// See [`Queue::replay`].
    ///
    /// # Errors
    /// See there.
    fn replay(&mut self, _: CapturedId) -> Result<(), KernelError> {
        Err(KernelError::Recipe("the device records no work".to_owned()))
    }

    /// See [`Queue::discard_capture`].
    fn discard_capture(&mut self, _: CapturedId) {}

    /// See [`Queue::limit_scratch`].
    fn limit_scratch(&mut self, bytes: usize);
}

/// A device, which loads kernels.
pub trait Device: Send + Sync {
    /// The target of its kernels.
    fn target(&self) -> &Target;

    /// See [`Machine::load`].
    ///
    /// # Errors
    /// See there.
    fn load(&self, recipe: &Recipe, region: &Region, code: Option<&Code>) -> Result<Loaded<KernelId>, KernelError>;

    /// Copies a weight into device memory, where it stays until it is discarded.
    ///
    /// # Errors
    /// When the device has too little memory.
    fn upload(&self, weight: &Bytes) -> Result<ResidentId, KernelError>;

    /// Frees a weight. No queue may have it attached any more.
    fn discard(&self, resident: ResidentId);

    /// Creates a queue with memory of its own.
    ///
    /// # Errors
    /// When the device supports no further queue.
    fn queue(&self) -> Result<Box<dyn Queue>, KernelError>;
}

/// Wraps a machine as a device.
pub fn open<M: Machine>(machine: M, target: Target) -> Arc<dyn Device> {
    Arc::new(Opened { machine: Arc::new(machine), target, tables: Arc::default() })
}

struct Opened<M: Machine> {
    machine: Arc<M>,
    target: Target,
    tables: Arc<Tables<M>>,
}

/// Kernels and weights by index.
struct Tables<M: Machine> {
    kernels: RwLock<Vec<Arc<M::Kernel>>>,
    residents: RwLock<Vec<Option<M::Resident>>>,
}

impl<M: Machine> Default for Tables<M> {
    fn default() -> Self {
        Self { kernels: RwLock::default(), residents: RwLock::default() }
    }
}

/// The index of the next thing after `count` others.
fn next(count: usize) -> Result<u32, KernelError> {
    u32::try_from(count).map_err(|_| KernelError::Memory(format!("more than {count} kernels or weights")))
}

fn position(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

impl<M: Machine> Device for Opened<M> {
    fn target(&self) -> &Target {
        &self.target
    }

    fn load(&self, recipe: &Recipe, region: &Region, code: Option<&Code>) -> Result<Loaded<KernelId>, KernelError> {
        match self.machine.load(recipe, region, code)? {
            Loaded::Values(kernel) => Ok(Loaded::Values(kernel)),
            Loaded::Kernel(kernel) => {
                let mut kernels = self.tables.kernels.write().unwrap_or_else(PoisonError::into_inner);
                let id = KernelId(next(kernels.len())?);
                kernels.push(Arc::new(kernel));
                Ok(Loaded::Kernel(id))
            }
        }
    }

    fn upload(&self, weight: &Bytes) -> Result<ResidentId, KernelError> {
        let resident = self.machine.upload(weight)?;
        let mut residents = self.tables.residents.write().unwrap_or_else(PoisonError::into_inner);
        let free = residents.iter().position(Option::is_none).unwrap_or(residents.len());
        let id = ResidentId(next(free)?);
        match residents.get_mut(free) {
            Some(slot) => *slot = Some(resident),
            None => residents.push(Some(resident)),
        }
        Ok(id)
    }

    fn discard(&self, resident: ResidentId) {
        let mut residents = self.tables.residents.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = residents.get_mut(position(resident.0)) {
            *slot = None;
        }
    }

    fn queue(&self) -> Result<Box<dyn Queue>, KernelError> {
        let stream = self.machine.stream()?;
        Ok(Box::new(Erased::<M> { stream, tables: self.tables.clone(), kernels: Vec::new() }))
    }
}

/// A stream as a queue. It keeps its own copy of the table of kernels, so that a launch takes no lock.
struct Erased<M: Machine> {
    stream: M::Stream,
    tables: Arc<Tables<M>>,
    kernels: Vec<Arc<M::Kernel>>,
}

impl<M: Machine> Memory for Erased<M> {
    fn allocate(&mut self, bytes: usize) -> Result<BlockId, KernelError> {
        self.stream.allocate(bytes)
    }

    fn release(&mut self, block: BlockId) {
        self.stream.release(block);
    }

    fn write(&mut self, to: MemoryRef, from: &[u8]) -> Result<(), KernelError> {
        self.stream.write(to, from)
    }

    fn read(&mut self, from: MemoryRef, to: &mut [u8]) -> Result<(), KernelError> {
        self.stream.read(from, to)
    }

    fn adopt(&mut self, memory: HostBlock) -> Result<BlockId, HostBlock> {
        self.stream.adopt(memory)
    }

    fn reclaim(&mut self, block: BlockId) -> Option<HostBlock> {
        self.stream.reclaim(block)
    }

    fn host_bytes(&self, range: MemoryRef) -> Option<&[u8]> {
        self.stream.host_bytes(range)
    }
}

impl<M: Machine> Queue for Erased<M> {
    fn attach(&mut self, resident: ResidentId) -> Result<BlockId, KernelError> {
        let residents = self.tables.residents.read().unwrap_or_else(PoisonError::into_inner);
        let found = residents.get(position(resident.0)).and_then(Option::as_ref);
        let missing = || KernelError::Recipe(format!("the device has no weight {}", resident.0));
        self.stream.attach(found.ok_or_else(missing)?)
    }

    fn launch(&mut self, kernel: KernelId, arguments: &Arguments, seed: Seed) -> Result<(), KernelError> {
        let at = position(kernel.0);
        if at >= self.kernels.len() {
            let known = self.tables.kernels.read().unwrap_or_else(PoisonError::into_inner);
            self.kernels.extend(known.iter().skip(self.kernels.len()).cloned());
        }
        let missing = || KernelError::Recipe(format!("the device has no kernel {}", kernel.0));
        self.stream.launch(self.kernels.get(at).ok_or_else(missing)?, arguments, seed)
    }

    fn dynamic_result(&mut self, output: usize) -> Result<Argument, KernelError> {
        self.stream.dynamic_result(output)
    }

    fn copy(&mut self, from: MemoryRef, to: MemoryRef) -> Result<(), KernelError> {
        self.stream.copy(from, to)
    }

    fn record(&mut self) -> Result<Event, KernelError> {
        self.stream.record()
    }

    fn elapsed(&mut self, from: Event, to: Event) -> Result<Duration, KernelError> {
        self.stream.elapsed(from, to)
    }

    fn finish(&mut self) -> Result<(), KernelError> {
        self.stream.finish()
    }

    fn begin_capture(&mut self) -> Result<bool, KernelError> {
        self.stream.begin_capture()
    }

    fn end_capture(&mut self) -> Result<CapturedId, KernelError> {
        self.stream.end_capture()
    }

    fn replay(&mut self, captured: CapturedId) -> Result<(), KernelError> {
        self.stream.replay(captured)
    }

    fn discard_capture(&mut self, captured: CapturedId) {
        self.stream.discard_capture(captured);
    }

    fn limit_scratch(&mut self, bytes: usize) {
        self.stream.limit_scratch(bytes);
    }
}
