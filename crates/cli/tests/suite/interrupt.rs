//! Ctrl-C.
#![cfg(unix)]

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::fixture::{Folder, model};

/// Enough nodes to keep a build busy for many seconds.
const NODES: usize = 100_000;

#[test]
fn an_interrupted_build_ends_with_130_and_leaves_nothing() {
    let folder = Folder::new();
    let value = |i: usize| {
        if i == 0 {
            "x".to_owned()
        } else if i == NODES {
            "y".to_owned()
        } else {
            format!("v{i}")
        }
    };
    let node = |i| format!("node {{ op_type: \"Softmax\" input: \"{}\" output: \"{}\" }}\n", value(i), value(i + 1));
    let nodes: String = (0..NODES).map(node).collect();
    let model = folder.write("long.onnxtxt", model(&nodes, &["dim { dim_value: 3 }"]));
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_sinter")).arg("build").arg(&model).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "the build is over before it can be interrupted");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(folder.names(), ["long.onnxtxt"]);
}
