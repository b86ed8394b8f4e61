//! The Python environment of the tests: the ONNX package's test data, oracles, and the compiler of CUDA kernels. Never needed by the product.

use std::path::PathBuf;
use std::process::Command;

use crate::command::{root, run};

/// The versions that the tests were written against. Newer ONNX wheels no longer ship the node tests.
const PACKAGES: &[&str] =
    &["onnx==1.21.0", "onnxruntime==1.31.1", "numpy==2.2.6", "nvidia-cuda-nvrtc==13.0.88 ; sys_platform == 'linux'"];

/// Makes the environment if it is missing or was made for other packages, and returns its interpreter.
pub(crate) fn environment() -> Result<PathBuf, String> {
    let folder = root().join(".venv");
    let python = folder.join("bin").join("python");
    let stamp = folder.join("packages");
    let required = PACKAGES.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == required) {
        return Ok(python);
    }
    // Standard output may be for results.
    eprintln!("making the Python environment of the tests ({})", PACKAGES.join(", "));
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES))?;
    std::fs::write(&stamp, required).map_err(|e| format!("{}: {e}", stamp.display()))?;
    Ok(python)
}

/// The folder of the CUDA run-time compiler, for the tests that compile kernels; it needs no GPU.
pub(crate) fn cuda_compiler() -> Result<PathBuf, String> {
    let python = environment()?;
    let script = "import sysconfig; print(sysconfig.get_paths()['purelib'])";
    let output = Command::new(&python).args(["-c", script]).output().map_err(|e| e.to_string())?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join("nvidia").join("cu13").join("lib");
    if folder.is_dir() { Ok(folder) } else { Err(format!("{} does not exist", folder.display())) }
}

/// The folder of the ONNX backend test data.
pub(crate) fn onnx_data() -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os("SINTER_ONNX_DATA") {
        return Ok(given.into());
    }
    let python = environment()?;
    let script = "import onnx, os; print(os.path.join(os.path.dirname(onnx.__file__), 'backend', 'test', 'data'))";
    let output = Command::new(&python).args(["-c", script]).output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !text.is_empty() {
        Ok(text.into())
    } else {
        Err(format!("the ONNX package cannot be imported: {}", String::from_utf8_lossy(&output.stderr)))
    }
}
