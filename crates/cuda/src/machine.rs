//! The device: it loads kernels, holds weights and creates streams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use sinter_backend::{Code, KernelError, Loaded, Machine, Recipe, Region};

use crate::code;
use crate::driver::{Context, DeviceBuffer, Function, Module, Pool, Staging, Stream};
use crate::kernel::Kernel;
use crate::stream::CudaStream;
use crate::tactic::{CudaTactic, refused};

/// See the module documentation.
pub struct CudaMachine {
    tactics: Vec<&'static dyn CudaTactic>,
    context: Arc<Context>,
    pool: Arc<Pool>,
    /// The stream of weights: it allocates, copies and frees them.
    weights: Arc<Stream>,
    staging: Mutex<Staging>,
    /// Loaded modules by the hash of their image: kernels of one configuration share one.
    modules: Mutex<HashMap<blake3::Hash, Weak<Module>>>,
}

/// A loaded kernel.
pub struct CudaKernel {
    pub(crate) tactic: String,
    pub(crate) kernel: Box<dyn Kernel>,
    pub(crate) functions: Vec<Function>,
}

impl CudaMachine {
    /// The device of this number, for kernels of these tactics.
    ///
    /// # Errors
    /// When there is no such device, or it cannot be used.
    pub fn new(tactics: Vec<&'static dyn CudaTactic>, ordinal: usize) -> Result<Self, KernelError> {
        let context = Context::of(ordinal)?;
        Ok(Self {
            tactics,
            pool: Pool::new(&context)?,
            weights: Stream::new(&context)?,
            staging: Mutex::new(Staging::new(&context)),
            modules: Mutex::default(),
            context,
        })
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(crate) fn weights(&self) -> &Arc<Stream> {
        &self.weights
    }

    fn module(&self, image: &[u8]) -> Result<Arc<Module>, KernelError> {
        let key = blake3::hash(image);
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = modules.get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        modules.retain(|_, module| module.strong_count() > 0);
        let module = Module::load(&self.context, image)?;
        modules.insert(key, Arc::downgrade(&module));
        Ok(module)
    }
}

impl Machine for CudaMachine {
    type Kernel = CudaKernel;
    type Resident = Arc<DeviceBuffer>;
    type Stream = CudaStream;

    fn load(&self, recipe: &Recipe, region: &Region, code: Option<&Code>) -> Result<Loaded<CudaKernel>, KernelError> {
        let tactic = self.tactics.iter().find(|tactic| tactic.name() == recipe.tactic);
        let missing = || KernelError::Recipe(format!("there is no tactic '{}'", recipe.tactic));
        let kernel = tactic.ok_or_else(missing)?.kernel(recipe, region);
        let kernel = kernel.map_err(|refusal| refused(&recipe.tactic, &refusal))?;
        let missing = || KernelError::Recipe(format!("'{}' needs the code that its compiler made", recipe.tactic));
        let image = code::unpack(code.ok_or_else(missing)?, &kernel.configuration())?;
        let module = self.module(image).map_err(|error| error.at(&recipe.tactic))?;
        let functions = kernel.entries().iter().map(|name| module.function(name));
        let functions = functions.collect::<Result<Vec<_>, _>>().map_err(KernelError::from)?;
        Ok(Loaded::Kernel(CudaKernel { tactic: recipe.tactic.clone(), kernel, functions }))
    }

    fn upload(&self, weight: &Bytes) -> Result<Arc<DeviceBuffer>, KernelError> {
        let buffer = self.pool.allocate(weight.len(), &self.weights)?;
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        staging.write(&self.weights, buffer.pointer(), weight)?;
        // All streams may read the weight from now on.
        self.weights.synchronize()?;
        Ok(Arc::new(buffer))
    }

    fn stream(self: &Arc<Self>) -> Result<CudaStream, KernelError> {
        CudaStream::new(self.clone())
    }
}
