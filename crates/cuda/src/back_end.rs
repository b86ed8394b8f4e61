//! The back end: its tactic tables and its device.

use std::sync::Arc;

use sinter_backend::{BackEnd, Device, KernelError, Tactic, Target, open};

use crate::driver::context;
use crate::machine::CudaMachine;
use crate::tactic::CudaTactic;
use crate::{conv, index, matmul, movement, norm, pointwise, pool, reduce, target};

/// The back end of NVIDIA GPUs: the first device that the driver offers to this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cuda;

/// The device that is used; `CUDA_VISIBLE_DEVICES` tells the driver which one comes first.
const DEVICE: usize = 0;

/// Every family's table.
const FAMILIES: &[&[&dyn CudaTactic]] = &[
    pointwise::TACTICS,
    conv::TACTICS,
    matmul::TACTICS,
    pool::TACTICS,
    norm::TACTICS,
    movement::TACTICS,
    index::TACTICS,
    reduce::TACTICS,
];

impl Cuda {
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
        context::device_info(DEVICE).map_or_else(|_| target::none(), |info| target::of(&info))
    }

    fn machine(&self) -> String {
        context::device_info(DEVICE).map(|info| info.name).unwrap_or_default()
    }

    fn tactics(&self) -> Vec<&'static dyn Tactic> {
        Self::device_tactics().into_iter().map(|tactic| tactic as &dyn Tactic).collect()
    }

    fn copy_time(&self, bytes: u64) -> f64 {
        // A wait for the device, and pinned buffers that the host fills at the speed of its memory.
        10_000.0 + bytes as f64 / 12.0
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        Ok(open(CudaMachine::new(Self::device_tactics(), DEVICE)?, self.target(threads)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_device_gets_an_error_that_says_what_is_missing() {
        match (context::device_count(), Cuda.open(1)) {
            (Ok(_), Ok(device)) => assert!(device.target().units > 0),
            (Err(missing), Err(KernelError::Device(text))) => assert_eq!(text, missing.to_string()),
            (count, opened) => panic!("{count:?} devices, {:?}", opened.map(|device| device.target().clone())),
        }
    }
}
