//! The device: it loads kernels and creates streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use sinter_backend::{Code, KernelError, Loaded, Machine, Recipe, Region};

use crate::back_end::Fake;
use crate::faults::{Call, Faults};
use crate::memory::{Account, Allocation};
use crate::stream::FakeStream;
use crate::tactics::{code_of, implements};

/// See the module documentation.
pub struct FakeMachine {
    pub(crate) faults: Arc<Faults>,
    pub(crate) account: Arc<Account>,
    loads: Arc<AtomicUsize>,
    pub(crate) captures: Arc<AtomicUsize>,
    pub(crate) replays: Arc<AtomicUsize>,
}

impl FakeMachine {
    pub(crate) fn new(fake: &Fake) -> Self {
        Self {
            faults: fake.faults.clone(),
            account: fake.account.clone(),
            loads: fake.loads.clone(),
            captures: fake.captures.clone(),
            replays: fake.replays.clone(),
        }
    }
}

/// A kernel: a region to evaluate.
pub struct FakeKernel {
    pub(crate) region: Region,
}

impl Machine for FakeMachine {
    type Kernel = FakeKernel;
    type Resident = Arc<Allocation>;
    type Stream = FakeStream;

    fn load(&self, recipe: &Recipe, region: &Region, code: Option<&Code>) -> Result<Loaded<FakeKernel>, KernelError> {
        self.faults.call(Call::Other)?;
        self.loads.fetch_add(1, Ordering::Relaxed);
        implements(recipe, region).map_err(|refusal| KernelError::Recipe(format!("{recipe}: {refusal}")))?;
        if code != Some(&code_of(recipe, region)) {
            return Err(KernelError::Recipe(format!(
                "the code of {recipe} was compiled for something else, or not at all"
            )));
        }
        Ok(Loaded::Kernel(FakeKernel { region: region.clone() }))
    }

    fn upload(&self, weight: &Bytes) -> Result<Arc<Allocation>, KernelError> {
        self.faults.call(Call::Memory)?;
        let mut memory = self.account.take(weight.len())?;
        memory.bytes.copy_from_slice(weight);
        Ok(Arc::new(memory))
    }

    fn stream(self: &Arc<Self>) -> Result<FakeStream, KernelError> {
        self.faults.call(Call::Other)?;
        Ok(FakeStream::new(self.clone()))
    }
}
