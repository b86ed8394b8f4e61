//! The back end: its tactic tables and its device.

use std::sync::Arc;

use sinter_backend::{BackEnd, Device, KernelError, Proposer, Tactic, Target, elsewhere, open};

use crate::driver::context;
use crate::machine::CudaMachine;
use crate::selection::{Selection, describe};
use crate::tactic::CudaTactic;
use crate::{
    attention, conv, detection, image, index, matmul, movement, norm, pointwise, pool, quantize, random, recurrent,
    reduce, signal, target,
};

/// The back end of NVIDIA GPUs: one device that the driver offers to this process, or a kind of device elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Cuda {
    selection: Selection,
}

/// Every family's table.
const FAMILIES: &[&[&dyn CudaTactic]] = &[
    pointwise::TACTICS,
    conv::TACTICS,
    matmul::TACTICS,
    pool::TACTICS,
    norm::TACTICS,
    image::TACTICS,
    attention::TACTICS,
    detection::TACTICS,
    quantize::TACTICS,
    movement::TACTICS,
    index::TACTICS,
    reduce::TACTICS,
    recurrent::TACTICS,
    random::TACTICS,
    signal::TACTICS,
];

/// The proposers of the families that fuse operators.
const PROPOSERS: &[&[&dyn Proposer]] = &[matmul::PROPOSERS, conv::PROPOSERS, norm::PROPOSERS];

impl Cuda {
    /// The first device; `CUDA_VISIBLE_DEVICES` tells the driver which one comes first.
    pub const FIRST: Self = Self { selection: Selection::Number(0) };

    /// Every tactic with its kernels, best first within a family.
    pub fn device_tactics() -> Vec<&'static dyn CudaTactic> {
        FAMILIES.iter().flat_map(|family| family.iter().copied()).collect()
    }
}

impl BackEnd for Cuda {
    fn name(&self) -> &str {
        target::NAME
    }

    fn target(&self, _threads: usize) -> Target {
        match self.selection {
            Selection::Kind(chip) => chip.typical(),
            Selection::Number(ordinal) => {
                context::device_info(ordinal).map_or_else(|_| target::none(), |info| target::of(&info))
            }
        }
    }

    fn machine(&self) -> String {
        match self.selection {
            Selection::Kind(chip) => chip.board.name.to_owned(),
            Selection::Number(ordinal) => context::device_info(ordinal).map(|info| info.name).unwrap_or_default(),
        }
    }

    fn devices(&self) -> Result<Vec<String>, KernelError> {
        (0..context::device_count()?).map(|ordinal| Ok(describe(&context::device_info(ordinal)?))).collect()
    }

    fn selected(&self, device: &str) -> Result<Arc<dyn BackEnd>, KernelError> {
        Ok(Arc::new(Self { selection: Selection::of(device)? }))
    }

    fn is_elsewhere(&self) -> bool {
        matches!(self.selection, Selection::Kind(_))
    }

    fn tactics(&self) -> Vec<&'static dyn Tactic> {
        Self::device_tactics().into_iter().map(|tactic| tactic as &dyn Tactic).collect()
    }

    fn proposers(&self) -> Vec<&'static dyn Proposer> {
        PROPOSERS.iter().flat_map(|family| family.iter().copied()).collect()
    }

    fn copy_time(&self, bytes: u64) -> f64 {
        // A wait for the device, and pinned buffers that the host fills at the speed of its memory.
        10_000.0 + bytes as f64 / 12.0
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        match self.selection {
            Selection::Kind(_) => Ok(elsewhere(self.target(threads))),
            Selection::Number(ordinal) => {
                Ok(open(CudaMachine::new(Self::device_tactics(), ordinal)?, self.target(threads)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_device_gets_an_error_that_says_what_is_missing() {
        match (context::device_count(), Cuda::FIRST.open(1)) {
            (Ok(_), Ok(device)) => assert!(device.target().units > 0),
            (Err(missing), Err(KernelError::Device(text))) => assert_eq!(text, missing.to_string()),
            (count, opened) => panic!("{count:?} devices, {:?}", opened.map(|device| device.target().clone())),
        }
    }
}
