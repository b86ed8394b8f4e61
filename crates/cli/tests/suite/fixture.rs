//! What the tests share: a folder, small models in text form, values, and the program itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value as Json;
use sinter::internals::base::{Tensor, Value};
use sinter::internals::values::{Role, write};

use crate::schema;

/// A folder that vanishes with the test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// Names of everything in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// An archive of f32 tensors.
    pub(crate) fn archive(&self, name: &str, tensors: &[(&str, &[usize], &[f32])]) -> PathBuf {
        let value = |(name, sizes, elements): &(&str, &[usize], &[f32])| {
            ((*name).to_owned(), Value::Tensor(Tensor::from_vec(sizes, elements.to_vec()).unwrap()))
        };
        let values: Vec<_> = tensors.iter().map(value).collect();
        write(&self.path(name), Role::Input, &values).unwrap();
        self.path(name)
    }
}

/// y = relu(x) + x for x of f32[N, 3].
pub(crate) fn small_model(folder: &Folder) -> PathBuf {
    let nodes = concat!(
        r#"node { name: "relu" op_type: "Relu" input: "x" output: "positive" }"#,
        r#"node { name: "sum" op_type: "Add" input: "positive" input: "x" output: "y" }"#
    );
    folder.write("small.onnxtxt", model(nodes, &[r#"dim { dim_param: "N" }"#, "dim { dim_value: 3 }"]))
}

/// A text model with input x and output y of f32.
pub(crate) fn model(nodes: &str, dims: &[&str]) -> String {
    let value = |kind: &str, name: &str, shape: &str| {
        format!("{kind} {{ name: \"{name}\" type {{ tensor_type {{ elem_type: 1 {shape} }} }} }}")
    };
    let input = value("input", "x", &format!("shape {{ {} }}", dims.join(" ")));
    let output = value("output", "y", "");
    format!("ir_version: 8 opset_import {{ version: 17 }} graph {{ name: \"small\" {nodes} {input} {output} }}")
}

/// The committed network of the demo, and its digits.
pub(crate) fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/digits.onnx")
}

/// Runs the program.
pub(crate) fn sinter<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sinter")).args(arguments).output().unwrap()
}

/// Arguments of mixed kinds.
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => {
        [$(std::ffi::OsString::from(&$argument)),*]
    };
}
pub(crate) use arguments;

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().expect("the program was killed")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command with `--json -`; checks that it succeeds and that standard output holds one JSON value by its schema.
pub(crate) fn json<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Json {
    let (code, json) = json_and_code(arguments);
    assert_eq!(code, 0, "{json}");
    json
}

/// As [`json`], for commands that may also end with 1.
pub(crate) fn json_and_code<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> (i32, Json) {
    let mut all: Vec<&std::ffi::OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    all.extend(["--json", "-"].map(std::ffi::OsStr::new));
    let output = sinter(&all);
    let json: Json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {:?} {}", text(&output.stdout), text(&output.stderr)));
    schema::check(all[0].to_str().unwrap(), &json);
    (code(&output), json)
}

/// The folder of shared models; `None`, with the reason told, where it is not there.
pub(crate) fn shared_models() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let shared = std::env::var_os("SINTER_SHARED").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let models = shared.join("models");
    if models.is_dir() {
        return Some(models);
    }
    let reason = format!("skipped: {} holds no models; set SINTER_SHARED", shared.display());
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
    eprintln!("{reason}");
    None
}

/// The ONNX file of a model's folder.
pub(crate) fn onnx_in(folder: &Path) -> PathBuf {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.into_iter().find(|path| path.extension().is_some_and(|e| e == "onnx")).unwrap()
}
