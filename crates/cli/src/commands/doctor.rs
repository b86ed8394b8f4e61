//! `sinter doctor`: the resources of this machine, and those that Sinter would use.

use std::cmp::Ordering;
use std::io::Write;

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::backends::{self, BACK_ENDS};
use sinter::internals::cpu::Tier;
use sinter::internals::runtime::{available_memory, cpu_quota, default_memory};

use crate::failure::Failure;
use crate::files::Files;
use crate::flags::{JsonFlags, show_bytes};
use crate::output::deliver;

const EXAMPLES: &str = "\
Examples:
  sinter doctor
  sinter doctor --json -
  SINTER_CPU=avx2 sinter doctor                 what a lower instruction set tier would be";

/// Show what this machine has, and what would be used of it.
///
/// The environment variable SINTER_CPU (scalar, avx2, avx512) forces a lower tier of instructions in every command.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    #[command(flatten)]
    json: JsonFlags,
}

/// Result of `sinter doctor`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Version of this program.
    pub version: String,
    /// Name of the processor; absent when it does not tell.
    pub cpu: Option<String>,
    /// Instruction sets that it has, of those that kernels can use now or later.
    pub features: Vec<String>,
    /// Highest tier of instructions that the machine has.
    pub tier_detected: String,
    /// Tier that kernels use.
    pub tier_in_use: String,
    /// Processors of the machine.
    pub processors: usize,
    /// Threads that an inference uses by default: processors that this process may use, within its quota.
    pub threads: usize,
    /// Processors that the quotas of control groups allow; absent without one.
    pub cpu_quota: Option<f64>,
    /// Bytes of memory, within the limits of control groups and of the process.
    pub memory_bytes: Option<u64>,
    /// Default of `--max-memory`.
    pub max_memory_bytes: u64,
    /// Back ends with the number of their tactics.
    pub back_ends: Vec<BackEndReport>,
    /// What keeps this machine from being used well.
    pub warnings: Vec<String>,
}

/// One back end.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackEndReport {
    /// Its name, as `--device` takes it.
    pub name: String,
    /// Its devices, in the order of their numbers.
    pub devices: Vec<String>,
    /// Why there is none: what was looked for.
    pub missing: Option<String>,
    /// The target that a build would choose kernels for; none without a device.
    pub target: Option<String>,
    /// Number of algorithms.
    pub tactics: usize,
}

/// Runs the command.
///
/// # Errors
/// When the JSON file cannot be written.
pub fn run(arguments: &Flags) -> Result<(), Failure> {
    let mut files = Files::default();
    arguments.json.name_files(&mut files);
    files.check()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let report = Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cpu: cpu_name(),
        features: features(),
        tier_detected: Tier::detected().name().to_owned(),
        tier_in_use: Tier::in_use().name().to_owned(),
        processors: processors().unwrap_or(threads),
        threads,
        cpu_quota: cpu_quota(),
        memory_bytes: available_memory().map(|bytes| bytes as u64),
        max_memory_bytes: default_memory() as u64,
        back_ends: BACK_ENDS
            .iter()
            .map(|back_end| {
                let (devices, missing) = match back_end.devices() {
                    Ok(devices) => (devices, None),
                    Err(error) => (Vec::new(), Some(error.to_string())),
                };
                let target = missing.is_none().then(|| back_end.target(threads).to_string());
                let (name, tactics) = (back_end.name().to_owned(), back_end.tactics().len());
                BackEndReport { name, devices, missing, target, tactics }
            })
            .collect(),
        warnings: warnings(Tier::requested().ok().flatten(), Tier::detected()),
    };
    deliver(&report, &arguments.json, show)
}

fn warnings(forced: Option<Tier>, detected: Tier) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(forced) = forced {
        let (asked, has) = (forced.name(), detected.name());
        match forced.cmp(&detected) {
            Ordering::Greater => {
                warnings.push(format!("SINTER_CPU asks for {asked}, which this machine does not have; {has} is used"))
            }
            Ordering::Less => warnings.push(format!("SINTER_CPU forces {asked}; the machine has {has}")),
            Ordering::Equal => {}
        }
    }
    if detected == Tier::Scalar {
        warnings.push("this machine has neither AVX2 nor AVX-512; kernels run on the baseline instructions".to_owned());
    }
    warnings
}

#[cfg(target_arch = "x86_64")]
fn cpu_name() -> Option<String> {
    raw_cpuid::CpuId::new().get_processor_brand_string().map(|brand| brand.as_str().trim().to_owned())
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_name() -> Option<String> {
    None
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<String> {
    macro_rules! present {
        ($($name:tt),*) => {
            [$(($name, std::arch::is_x86_feature_detected!($name))),*]
        };
    }
    let known = present!(
        "sse4.2",
        "avx",
        "f16c",
        "fma",
        "avx2",
        "avxvnni",
        "avx512f",
        "avx512bw",
        "avx512dq",
        "avx512vl",
        "avx512vnni",
        "avx512bf16",
        "avx512fp16"
    );
    known.iter().filter(|(_, present)| *present).map(|(name, _)| (*name).to_owned()).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<String> {
    Vec::new()
}

fn processors() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    Some(text.lines().filter(|line| line.starts_with("processor")).count()).filter(|count| *count > 0)
}

fn show(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "sinter {}", report.version)?;
    writeln!(out, "  processor   {}", report.cpu.as_deref().unwrap_or("unknown"))?;
    writeln!(out, "  features    {}", report.features.join(" "))?;
    writeln!(out, "  tier        {} in use, {} detected", report.tier_in_use, report.tier_detected)?;
    let quota = report.cpu_quota.map_or("no quota".to_owned(), |q| format!("quota of {q:.1} processors"));
    writeln!(out, "  threads     {} of {} processors, {quota}", report.threads, report.processors)?;
    let memory = report.memory_bytes.map_or("unknown".to_owned(), show_bytes);
    writeln!(out, "  memory      {memory}, at most {} used (--max-memory)", show_bytes(report.max_memory_bytes))?;
    for back_end in &report.back_ends {
        let BackEndReport { name, devices, missing, target, tactics } = back_end;
        let target = target.as_deref().or(missing.as_deref()).unwrap_or("no device");
        writeln!(out, "  back end    {name}: {target}, {tactics} tactics")?;
        if devices.len() > 1 || name != backends::default().name() {
            for (number, device) in devices.iter().enumerate() {
                writeln!(out, "              {name}:{number} {device}")?;
            }
        }
    }
    report.warnings.iter().try_for_each(|warning| writeln!(out, "  warning     {warning}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forced_tier_is_reported() {
        assert!(warnings(None, Tier::Avx2).is_empty());
        assert!(warnings(Some(Tier::Avx2), Tier::Avx2).is_empty());
        assert!(warnings(Some(Tier::Avx2), Tier::Avx512)[0].contains("forces avx2"));
        assert!(warnings(Some(Tier::Avx512), Tier::Avx2)[0].contains("does not have"));
    }
}
