//! The back end: its tactic tables and its threads.

use std::sync::Arc;

use sinter_backend::{BackEnd, Device, KernelError, Proposer, Tactic, Target};

use crate::launch::{self, HostTactic, Threads};
use crate::tier::Tier;
use crate::{
    attention, conv, detection, host, image, index, matmul, movement, norm, pointwise, pool, quantize, random,
    recurrent, reduce, sequence, signal,
};

/// The x86-64 back end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

/// Every family's table.
const FAMILIES: &[&[&dyn HostTactic]] = &[
    pointwise::TACTICS,
    conv::TACTICS,
    matmul::TACTICS,
    pool::TACTICS,
    norm::TACTICS,
    quantize::TACTICS,
    image::TACTICS,
    movement::TACTICS,
    index::TACTICS,
    reduce::TACTICS,
    recurrent::TACTICS,
    attention::TACTICS,
    detection::TACTICS,
    signal::TACTICS,
    random::TACTICS,
    sequence::TACTICS,
    host::TACTICS,
];

impl Cpu {
    /// Every tactic with its kernels, best first within a family.
    pub fn host_tactics() -> Vec<&'static dyn HostTactic> {
        FAMILIES.iter().flat_map(|family| family.iter().copied()).collect()
    }
}

/// Every family's proposers.
const PROPOSERS: &[&[&dyn Proposer]] = &[conv::PROPOSERS, matmul::PROPOSERS, norm::PROPOSERS, quantize::PROPOSERS];

impl BackEnd for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn target(&self, threads: usize) -> Target {
        Tier::in_use().target(threads)
    }

    fn machine(&self) -> String {
        let brand = raw_cpuid::CpuId::new().get_processor_brand_string();
        brand.map(|brand| brand.as_str().trim().to_owned()).unwrap_or_default()
    }

    fn tactics(&self) -> Vec<&'static dyn Tactic> {
        Self::host_tactics().into_iter().map(|tactic| tactic as &dyn Tactic).collect()
    }

    fn proposers(&self) -> Vec<&'static dyn Proposer> {
        PROPOSERS.iter().flat_map(|family| family.iter().copied()).collect()
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        Ok(launch::open(Self::host_tactics(), self.target(threads), Threads::Leased(threads)))
    }
}
