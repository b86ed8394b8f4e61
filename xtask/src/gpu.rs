//! `cargo xtask gpu`: the tests of the CUDA back end, here or on another machine that has a GPU and no toolchain.
//!
//! Without a GPU it writes a bundle to `scratch/gpu`: the stripped test programs, and a script that runs them and prints a
//! short table. The script needs the NVIDIA driver and NVRTC of CUDA 13.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use crate::command::{root, run as run_program};

/// The tests that compare, by program and filter; they run side by side, the longest first.
const CHECKS: &[(&str, &str)] = &[
    ("cuda", "channels_last::"),
    ("conformance", "kernels::kernels_of_the_gpu"),
    ("cuda", "products::"),
    ("cuda", "attentions::"),
    ("cuda", "convolutions::"),
    ("cuda", "normalizations::"),
    ("cuda", "device::"),
    ("conformance", "devices::networks_on_the_gpu"),
    ("conformance", "islands::every_network_runs_on_the_gpu_with_islands"),
    ("conformance", "confused_plans::plans_of_the_gpu"),
    ("conformance", "large_kernels::large_kernels_of_the_gpu"),
    ("conformance", "kernels::scalar_operations_of_the_gpu"),
    ("conformance", "devices::memory_of_the_caller_on_the_gpu"),
    ("conformance", "devices::the_steady_state_of_the_gpu"),
];

/// The test that watches the device's memory, which others would use at the same time.
const ALONE: &str = "device::memory_stays_flat_over_many_queues";

/// The tests of `cuda` that measure; each runs alone, after the others.
const FIGURES: &[&str] = &[
    "device::figures",
    "products::figures_of_products",
    "convolutions::figures_of_convolutions",
    "channels_last::figures_of_channels_last",
    "attentions::figures_of_attention",
];

/// Seconds that one test may take.
const LIMIT: u32 = 300;

/// Options of the task.
#[derive(Args)]
pub(crate) struct Options {
    /// Runs the bundle on this machine as well.
    #[arg(long)]
    run: bool,
}

/// Builds the test program of a package and returns its path.
fn test_program(package: &str) -> Result<PathBuf, String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--no-run", "--message-format=json", "--test", "suite", "--package"]);
    command.arg(format!("sinter-{package}")).current_dir(root()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("the tests of {package} do not compile"));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let programs = messages.filter(|message| message["target"]["name"] == "suite");
    let path = programs.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    path.ok_or_else(|| format!("cargo names no test program of {package}"))
}

/// The script: one line for each test, with its figures, its time and how it ended.
fn script() -> String {
    let mut text = String::from(
        "#!/bin/bash\n# Runs the tests of the CUDA back end, then, with `figures` or `peers`, its measurements, and with `peers` those of \
         PyTorch.\n# The logs go to $OUT, else to the folder of this script, in one file, and the figures in another.\n\
         cd \"$(dirname \"$0\")\" || exit 2\nOUT=${OUT:-$PWD}\nLOGS=$(mktemp -d)\nexport RUST_BACKTRACE=0\n\
         export LD_LIBRARY_PATH=\"${CUDA_HOME:-/usr/local/cuda}/lib64:$LD_LIBRARY_PATH\"\n\
         one() {\n  log=\"$LOGS/$(echo \"$2\" | tr ':' '_')\"\n  start=$(date +%s)\n",
    );
    text.push_str(&format!("  timeout {LIMIT} \"./$1\" \"${{@:2}}\" --nocapture --test-threads 1 > \"$log\" 2>&1\n"));
    text.push_str(
        "  code=$?\n  [ $code = 0 ] || touch \"$LOGS/failed\"\n  {\n    \
         printf '%4d s  code %-3d %s\\n' $(($(date +%s) - start)) $code \"$2\"\n    \
         grep -E 'launches$|networks$|plans with|changes of|skipped:|MiB free' \"$log\" | sed 's/^/            /' | cut -c1-120\n    \
         [ $code = 0 ] || grep -A3 -E 'panicked|differ' \"$log\" | cut -c1-160 | head -12\n  } > \"$log.table\"\n  \
         cat \"$log.table\"; rm \"$log.table\"\n}\n",
    );
    for (program, filter) in CHECKS {
        text.push_str(&format!("one {program} {filter} --skip figures --skip flat &\n"));
    }
    text.push_str(&format!("wait\none cuda {ALONE}\nif [ \"$1\" = figures ] || [ \"$1\" = peers ]; then\n"));
    for filter in FIGURES {
        text.push_str(&format!("  one cuda {filter}\n"));
    }
    text.push_str(
        "fi\n[ \"$1\" != peers ] || python3 gpu_peers.py 2> /dev/null\ntail -n +1 \"$LOGS\"/* > \"$OUT/logs.txt\"\n\
         grep -h -o 'figure: .*' \"$LOGS\"/* > \"$OUT/figures.txt\"\n[ ! -e \"$LOGS/failed\" ]\n",
    );
    text
}

fn write_script(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, script()).map_err(|error| format!("{}: {error}", path.display()))?;
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, executable).map_err(|error| format!("{}: {error}", path.display()))
}

/// Makes the bundle, and runs it if asked to.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let folder = root().join("scratch").join("gpu");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for package in ["cuda", "conformance"] {
        let program = test_program(package)?;
        run_program(Command::new("strip").arg("-o").arg(folder.join(package)).arg(program))?;
    }
    let peers = root().join("scripts").join("gpu_peers.py");
    std::fs::copy(&peers, folder.join("gpu_peers.py")).map_err(|error| format!("{}: {error}", peers.display()))?;
    let script = folder.join("run.sh");
    write_script(&script)?;
    println!("{} runs the tests on a machine with a GPU", script.display());
    if options.run { run_program(&mut Command::new(script)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_runs_every_test_with_a_limit() {
        let text = script();
        assert!(text.starts_with("#!/bin/bash\n") && text.contains("timeout 300"), "{text}");
        for (program, filter) in CHECKS {
            assert!(text.contains(&format!("one {program} {filter} --skip figures --skip flat &\n")), "{filter}");
        }
        assert!(FIGURES.iter().all(|filter| text.contains(&format!("  one cuda {filter}\n"))), "{text}");
    }
}
