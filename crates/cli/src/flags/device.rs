//! The device and the threads of an engine: `--device`, `--threads`.

use std::sync::Arc;

use clap::Args;
use sinter::internals::backend::BackEnd;
use sinter::internals::backends::{self, BACK_ENDS, split_device};

use crate::failure::{Exit, Failure};
use crate::output::warn;
use crate::report::count;

/// Where an engine runs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Device")]
pub struct DeviceFlags {
    /// Device to build for and run on: cpu, cuda, cuda:N, cuda:GPU-... or, to build only, cuda:sm_90a
    ///
    /// cuda is the first GPU that the driver offers (CUDA_VISIBLE_DEVICES counts), cuda:1 the second one, cuda:GPU-... and
    /// cuda:MIG-... those of `nvidia-smi -L`. cuda:sm_75, sm_80, sm_86, sm_89, sm_90a, sm_100a and sm_120a stand for GPUs of
    /// this kind elsewhere: `sinter build` makes plans for them on any machine that has NVRTC.
    #[arg(long, default_value = backends::default().name(), value_name = "DEVICE", value_parser = device)]
    device: String,

    /// Refuse a model of which some nodes would run on the CPU, for want of a kernel on the device
    ///
    /// Without this flag such nodes run on the CPU, the engine copies their values, and the report counts them.
    #[arg(long)]
    forbid_host_copies: bool,

    #[command(flatten)]
    threads: ThreadFlags,
}

/// How many threads an engine runs on.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Device")]
pub struct ThreadFlags {
    /// Threads of one inference [default: those that this process may use]
    ///
    /// A plan built for one number of threads runs with any other and gives the same bits.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// A device whose back end is known.
fn device(text: &str) -> Result<String, String> {
    let known = || BACK_ENDS.iter().map(|back_end| back_end.name()).collect::<Vec<_>>().join(", ");
    match backends::by_name(split_device(text).0) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("the back ends are {}", known())),
    }
}

/// A list of back ends, one of them for the device that the user names.
pub struct BackEnds {
    name: String,
    selected: Option<Arc<dyn BackEnd>>,
}

impl BackEnds {
    /// The back end of the device.
    pub fn main(&self) -> &dyn BackEnd {
        let by_name = backends::by_name(&self.name).unwrap_or(backends::default());
        self.selected.as_deref().unwrap_or(by_name)
    }

    /// The back end of nodes that the device has no kernel for.
    pub fn island(&self) -> Option<&'static dyn BackEnd> {
        Some(backends::default()).filter(|island| island.name() != self.name)
    }

    /// All back ends.
    pub fn all(&self) -> Vec<&dyn BackEnd> {
        let main = self.main();
        BACK_ENDS.iter().map(|back_end| if back_end.name() == main.name() { main } else { *back_end }).collect()
    }
}

impl DeviceFlags {
    /// The back ends.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn back_ends(&self) -> Result<BackEnds, Failure> {
        let (name, device) = split_device(&self.device);
        let back_end = backends::by_name(name).unwrap_or(backends::default());
        let selected = device.map(|device| back_end.selected(device)).transpose();
        let failure = |error: sinter::internals::backend::KernelError| {
            Failure::new(Exit::DeviceUnavailable, error.to_string()).help("`sinter doctor` lists the devices")
        };
        Ok(BackEnds { name: name.to_owned(), selected: selected.map_err(failure)? })
    }

    /// Must all nodes run on the device?
    pub fn forbid_host_copies(&self) -> bool {
        self.forbid_host_copies
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    /// Warns of more threads than can run at once.
    pub fn check(&self) {
        self.threads.check();
    }
}

impl ThreadFlags {
    /// Number of threads.
    pub fn count(&self) -> usize {
        self.threads.map_or_else(processors, usize::from)
    }

    /// Warns of more threads than can run at once: they wait for each other, and an inference takes many times as long.
    pub fn check(&self) {
        let (threads, processors) = (self.count(), processors());
        if threads > processors {
            let processors = count(processors, "processor");
            warn(&format!(
                "--threads {threads} on {processors}: threads that wait for each other make inferences slow"
            ));
        }
    }
}

/// Processors that this process may use.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
