//! Where an engine runs: `--device`, `--threads`.

use clap::Args;
use clap::builder::PossibleValuesParser;
use sinter::backend::BackEnd;
use sinter::backends::{self, BACK_ENDS};

/// Where an engine runs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Device")]
pub struct DeviceFlags {
    /// Back end to build for and run on
    #[arg(long, default_value = backends::default().name(),
          value_parser = PossibleValuesParser::new(BACK_ENDS.iter().map(|b| b.name())))]
    device: String,

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
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(all, usize::from)
    }
}
