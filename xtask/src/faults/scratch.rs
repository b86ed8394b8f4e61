//! The scratch copy of the repository, with all faults planted.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::faults::list::{Fault, planted};
use crate::faults::trial::Facts;

/// The environment variable that selects a fault.
const SELECTOR: &str = "SINTER_FAULT";

/// The additional module of `sinter-base` in the scratch copy: the index of the active fault. It is read once, because
/// faults are in hot loops.
const MODULE: &str = r#"//! Which planted fault is in force.

use std::sync::LazyLock;

static SELECTED: LazyLock<usize> =
    LazyLock::new(|| std::env::var("SINTER_FAULT").ok().and_then(|v| v.parse().ok()).unwrap_or(0));

/// Is it this one?
#[inline]
pub fn is(index: usize) -> bool {
    *SELECTED == index
}
"#;

/// A copy that can be built and run.
pub(crate) struct Scratch {
    copy: PathBuf,
    target: PathBuf,
    kept: PathBuf,
}

fn output(command: &mut Command) -> Result<Output, String> {
    let shown = format!("{command:?}");
    command.output().map_err(|error| format!("{shown} could not be started: {error}"))
}

/// Files of the repository: tracked ones, and new ones that are not ignored.
fn files(root: &Path) -> Result<Vec<String>, String> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = output(&mut git)?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names.split('\0').filter(|name| root.join(name).is_file()).map(str::to_owned).collect())
}

/// Writes only changed files, so that cargo rebuilds only these.
fn write(path: &Path, contents: &[u8]) -> Result<(), String> {
    if std::fs::read(path).is_ok_and(|old| old == contents) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path);
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    std::fs::write(path, contents).map_err(failed)
}

impl Scratch {
    /// Copies the repository and plants the faults.
    pub(crate) fn make(root: &Path, faults: &[Fault]) -> Result<Self, String> {
        let folder = root.join("target/faults");
        let scratch = Self { copy: folder.join("copy"), target: folder.join("target"), kept: folder.join("kept") };
        let mut by_file: BTreeMap<&str, Vec<(usize, &Fault)>> = BTreeMap::new();
        for (index, fault) in faults.iter().enumerate() {
            by_file.entry(&fault.file).or_default().push((index + 1, fault));
        }
        let names = files(root)?;
        if let Some(gone) = by_file.keys().find(|file| !names.iter().any(|name| name == *file)) {
            return Err(format!("fault {}: stale, there is no file {gone}", by_file[gone][0].1.name));
        }
        let mut written: HashSet<PathBuf> = HashSet::new();
        for name in &names {
            let path = root.join(name);
            let mut contents = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            if let Some(faults) = by_file.get(name.as_str()) {
                let text = String::from_utf8(contents).map_err(|e| format!("{name}: {e}"))?;
                contents = planted(&text, faults)?.into_bytes();
            }
            if name == "crates/base/src/lib.rs" {
                contents.extend_from_slice(b"\npub mod planted;\n");
            }
            let target = scratch.copy.join(name);
            write(&target, &contents)?;
            written.insert(target);
        }
        let module = scratch.copy.join("crates/base/src/planted.rs");
        write(&module, MODULE.as_bytes())?;
        written.insert(module);
        // Removes files that the repository no longer has; cargo would still build them.
        for entry in walkdir::WalkDir::new(&scratch.copy).into_iter().flatten() {
            let is_made = entry.file_name() == "Cargo.lock" || entry.path().starts_with(scratch.copy.join("target"));
            if entry.file_type().is_file() && !written.contains(entry.path()) && !is_made {
                std::fs::remove_file(entry.path()).map_err(|e| format!("{}: {e}", entry.path().display()))?;
            }
        }
        std::fs::create_dir_all(&scratch.kept).map_err(|e| format!("{}: {e}", scratch.kept.display()))?;
        Ok(scratch)
    }

    fn cargo(&self) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&self.copy).env("CARGO_TARGET_DIR", &self.target).env_remove(SELECTOR);
        cargo
    }

    /// Builds the program that builds networks.
    pub(crate) fn build(&self) -> Result<(), String> {
        let mut cargo = self.cargo();
        let output = output(cargo.args([
            "build",
            "--message-format",
            "short",
            "--package",
            "sinter-conformance",
            "--bin",
            "gate-trial",
        ]))?;
        if output.status.success() {
            return Ok(());
        }
        // The guards cause warnings, which do not matter here.
        let text = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = text.lines().filter(|line| line.contains("error")).collect();
        Err(format!("the scratch copy does not compile:\n{}", errors.join("\n")))
    }

    fn program(&self) -> Command {
        Command::new(self.target.join("debug/gate-trial"))
    }

    /// Builds networks with a fault, or without any, in which case outputs are kept for comparison.
    pub(crate) fn trial(&self, index: Option<usize>, networks: &[String]) -> Result<Facts, String> {
        let mut program = self.program();
        match index {
            Some(index) => program.env(SELECTOR, index.to_string()).arg("--expect"),
            None => program.env_remove(SELECTOR).arg("--keep"),
        };
        let output = output(program.arg(&self.kept).args(networks))?;
        Ok(Facts::read(&output))
    }

    /// Builds one model without any fault.
    pub(crate) fn gate_only(&self, model: &Path) -> Result<Facts, String> {
        output(self.program().env_remove(SELECTOR).arg(model)).map(|output| Facts::read(&output))
    }

    /// The tests that fail with a fault.
    pub(crate) fn tests(&self, index: usize, tests: &[String]) -> Result<Vec<String>, String> {
        let mut failing = Vec::new();
        for test in tests {
            let (package, filter) = test.split_once(' ').unwrap_or((test, ""));
            let mut cargo = self.cargo();
            cargo.args(["test", "--quiet", "--package", package, filter]).env(SELECTOR, index.to_string());
            let output = output(&mut cargo)?;
            let text = String::from_utf8_lossy(&output.stdout);
            let names = text.lines().filter_map(|line| line.strip_suffix(" --- FAILED").or(line.strip_prefix("    ")));
            let mut names: Vec<String> =
                names.filter(|n| n.contains("::") && !n.contains(' ')).map(str::to_owned).collect();
            names.sort();
            names.dedup();
            if !output.status.success() && names.is_empty() {
                names.push(format!("{package} ({})", output.status));
            }
            failing.extend(names);
        }
        Ok(failing)
    }
}
