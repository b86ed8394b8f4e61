//! `cargo xtask test`: compiles everything once, then runs suites in parallel as processes, and reports the time of
//! each.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value as Json;

use crate::command::{self, is_ci, root};
use crate::python::{cuda_compiler, onnx_data};
use crate::zoo;

/// Modules of the conformance suite that take longest, the longest first, so that short ones start last.
const LONGEST: &[&str] = &[
    "onnx_data",
    "parity",
    "unseen_shapes",
    "models",
    "kernels",
    "faults",
    "random_networks",
    "fused_kernels",
    "verified",
];

/// The selected tests.
#[derive(Args)]
pub(crate) struct Options {
    /// Graphs of the zoo to build beside the suites; none by default.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    zoo: Vec<String>,
}

/// One process.
struct Suite {
    name: String,
    command: Command,
}

/// How it went.
struct Ended {
    name: String,
    time: Duration,
    is_good: bool,
    output: String,
}

/// A compiled test program.
struct Program {
    package: String,
    target: String,
    executable: PathBuf,
    folder: PathBuf,
}

/// Runs every test of the workspace, with the ONNX test data where Python can provide it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let data = match onnx_data() {
        Ok(data) => Some(data),
        Err(reason) if is_ci() => return Err(reason),
        Err(reason) => {
            println!("no ONNX test data ({reason}); everything else runs");
            println!("to have it, install Python 3 with its venv module and run this again");
            None
        }
    };
    let compiler = match cuda_compiler() {
        Ok(folder) => Some(library_path(&folder)?),
        Err(reason) if is_ci() => return Err(reason),
        Err(reason) => {
            println!("no CUDA compiler ({reason}): CUDA kernels are not compiled");
            None
        }
    };
    let start = Instant::now();
    let Compiled { tests: programs, lean } = compiled()?;
    println!("{:7.1} s  compiling {} test programs", start.elapsed().as_secs_f64(), programs.len());
    let mut suites = zoo_graphs(&options.zoo)?;
    suites.extend(suites_of(&programs)?);
    for suite in &mut suites {
        suite.command.env("SINTER_LEAN", &lean);
        if let Some(data) = &data {
            suite.command.env("SINTER_ONNX_DATA", data);
        }
        if let Some(compiler) = &compiler {
            suite.command.env("LD_LIBRARY_PATH", compiler);
        }
    }
    let count = suites.len();
    let failed = side_by_side(suites);
    println!("{:7.1} s  all, {count} suites", start.elapsed().as_secs_f64());
    for ended in &failed {
        println!("\n==== {} ====\n{}", ended.name, ended.output);
    }
    match failed.len() {
        0 => Ok(()),
        many => {
            let names: Vec<&str> = failed.iter().map(|ended| ended.name.as_str()).collect();
            Err(format!("{many} of {count} suites failed: {}", names.join(", ")))
        }
    }
}

/// The path of shared libraries with this folder behind those of the machine: a machine with a GPU has its own compiler.
fn library_path(folder: &Path) -> Result<OsString, String> {
    let own = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = std::env::split_paths(&own).filter(|own| !own.as_os_str().is_empty()).chain([folder.to_owned()]);
    std::env::join_paths(folders).map_err(|error| error.to_string())
}

/// The compiled tests.
struct Compiled {
    tests: Vec<Program>,
    /// The lean program, which tests start: it is compiled with the others, as its own tests start it too.
    lean: PathBuf,
}

/// Compiles all test programs, and the programs that they start.
fn compiled() -> Result<Compiled, String> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root()).args(["test", "--workspace", "--no-run", "--quiet"]);
    cargo.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    let output = cargo.output().map_err(|e| format!("cargo could not be started: {e}"))?;
    if !output.status.success() {
        return Err(format!("compiling the tests ended with {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages: Vec<Json> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let is_lean = |message: &&Json| message["target"]["name"] == "sinter-lean" && message["profile"]["test"] == false;
    let lean = messages.iter().filter(is_lean).find_map(|message| message["executable"].as_str());
    let lean = lean.ok_or("the lean program was not compiled with the tests")?.into();
    Ok(Compiled { tests: messages.iter().filter_map(program).collect(), lean })
}

/// The test program that a message of cargo is about.
fn program(message: &Json) -> Option<Program> {
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    let executable = message["executable"].as_str().filter(|_| is_test)?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let package = folder.file_name()?.to_string_lossy().into_owned();
    let target = message["target"]["name"].as_str()?.to_owned();
    Some(Program { package, target, executable: executable.into(), folder })
}

/// One process for each program, one for each module of the conformance suite, and one for documentation tests.
fn suites_of(programs: &[Program]) -> Result<Vec<Suite>, String> {
    let mut long = Vec::new();
    let mut short = Vec::new();
    for program in programs {
        let one = |filters: &[String]| {
            let mut command = Command::new(&program.executable);
            command.current_dir(&program.folder).args(filters);
            command
        };
        if program.package != "conformance" || program.target != "suite" {
            short.push(Suite { name: format!("{} {}", program.package, program.target), command: one(&[]) });
            continue;
        }
        for module in modules(&program.executable)? {
            let suite = Suite { name: format!("conformance {module}"), command: one(&[format!("{module}::")]) };
            match LONGEST.iter().position(|long| *long == module) {
                Some(place) => long.push((place, suite)),
                None => short.push(suite),
            }
        }
    }
    long.sort_by_key(|(place, _)| *place);
    let mut documents = Command::new("cargo");
    documents.current_dir(root()).args(["test", "--workspace", "--doc", "--quiet"]);
    let documents = Suite { name: "documentation".to_owned(), command: documents };
    Ok(long.into_iter().map(|(_, suite)| suite).chain([documents]).chain(short).collect())
}

/// The modules of a test program, each test in exactly one. A filter `name::` takes no other module: it would have to
/// end in that name.
fn modules(executable: &Path) -> Result<Vec<String>, String> {
    let output = Command::new(executable).args(["--list", "--format", "terse"]).output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut modules: Vec<String> = Vec::new();
    for test in text.lines().filter_map(|line| line.strip_suffix(": test")) {
        let Some((module, _)) = test.split_once("::") else { return Err(format!("test {test} is in no module")) };
        if !modules.iter().any(|known| known == module) {
            modules.push(module.to_owned());
        }
    }
    Ok(modules)
}

fn zoo_graphs(names: &[String]) -> Result<Vec<Suite>, String> {
    let mut suites = Vec::new();
    for name in names {
        if let Some(command) = zoo::command(std::slice::from_ref(name), None)? {
            suites.push(Suite { name: format!("zoo {name}"), command });
        }
    }
    Ok(suites)
}

/// Runs all suites, as many at once as there are cores, and returns those that failed.
fn side_by_side(suites: Vec<Suite>) -> Vec<Ended> {
    let (waiting, failed) = (Mutex::new(VecDeque::from(suites)), Mutex::new(Vec::new()));
    let next = || waiting.lock().ok()?.pop_front();
    let work = || {
        while let Some(suite) = next() {
            let ended = ended(suite);
            let mark = if ended.is_good { "" } else { "  FAILED" };
            println!("{:7.1} s  {}{mark}", ended.time.as_secs_f64(), ended.name);
            if let (false, Ok(mut failed)) = (ended.is_good, failed.lock()) {
                failed.push(ended);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    failed.into_inner().unwrap_or_default()
}

fn ended(mut suite: Suite) -> Ended {
    let start = Instant::now();
    let output = suite.command.stdin(Stdio::null()).output();
    let (name, time) = (suite.name, start.elapsed());
    match output {
        Ok(output) => {
            let text = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
            Ended { name, time, is_good: output.status.success(), output: text }
        }
        Err(error) => Ended { name, time, is_good: false, output: command::not_started(&suite.command, &error) },
    }
}
