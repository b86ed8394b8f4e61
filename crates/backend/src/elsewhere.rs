//! A device that is elsewhere: plans are made for its kind, and nothing runs.

use std::sync::Arc;

use bytes::Bytes;

use crate::code::Code;
use crate::device::{Device, Loaded};
use crate::kernel::KernelError;
use crate::queue::{KernelId, Queue, ResidentId};
use crate::region::Region;
use crate::tactic::Recipe;
use crate::target::Target;

/// A device of this target; all work on it is an error.
pub fn elsewhere(target: Target) -> Arc<dyn Device> {
    Arc::new(Elsewhere { target })
}

struct Elsewhere {
    target: Target,
}

impl Elsewhere {
    fn error(&self) -> KernelError {
        let Target { back_end, isa, .. } = &self.target;
        KernelError::Device(format!("{back_end}:{isa} stands for devices elsewhere: nothing runs on it here"))
    }
}

impl Device for Elsewhere {
    fn target(&self) -> &Target {
        &self.target
    }

    fn load(&self, _: &Recipe, _: &Region, _: Option<&Code>) -> Result<Loaded<KernelId>, KernelError> {
        Err(self.error())
    }

    fn upload(&self, _: &Bytes) -> Result<ResidentId, KernelError> {
        Err(self.error())
    }

    fn discard(&self, _: ResidentId) {}

    fn queue(&self) -> Result<Box<dyn Queue>, KernelError> {
        Err(self.error())
    }
}
