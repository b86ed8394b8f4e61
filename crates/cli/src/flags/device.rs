//! The device and the threads of an engine: `--device`, `--threads`.

use clap::Args;
use clap::builder::PossibleValuesParser;
use sinter::internals::backend::BackEnd;
use sinter::internals::backends::{self, BACK_ENDS};

use crate::output::warn;
use crate::report::count;

/// Where an engine runs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Device")]
pub struct DeviceFlags {
    /// Back end to build for and run on
    #[arg(long, default_value = backends::default().name(),
          value_parser = PossibleValuesParser::new(BACK_ENDS.iter().map(|b| b.name())))]
    device: String,

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

impl DeviceFlags {
    /// The back end.
    pub fn back_end(&self) -> &'static dyn BackEnd {
        backends::by_name(&self.device).unwrap_or(backends::default())
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
