//! Memory that the system does not give: a message and a code, whatever was asking.
#![cfg(target_os = "linux")]

use std::ffi::OsString;
use std::process::{Command, Output};

use crate::fixture::{Folder, arguments, json, model, text};

/// Runs the program with an address space of so many KiB.
fn within(kib: usize, arguments: &[OsString]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {kib}; exec \"$0\" \"$@\"")]).arg(env!("CARGO_BIN_EXE_sinter"));
    command.args(arguments).output().unwrap()
}

/// Three of softmax, for activations as large as the batch; a product with a weight of 16 MiB, for packs.
fn models(folder: &Folder) -> [std::path::PathBuf; 2] {
    let dims = |width: usize| [r#"dim { dim_param: "N" }"#.to_owned(), format!("dim {{ dim_value: {width} }}")];
    let softmax = |from: &str, to: &str| format!(r#"node {{ op_type: "Softmax" input: "{from}" output: "{to}" }}"#);
    let nodes = softmax("x", "a") + &softmax("a", "b") + &softmax("b", "y");
    let chain = folder.write("chain.onnxtxt", model(&nodes, &dims(1024).each_ref().map(String::as_str)));
    folder.write("w.bin", vec![0; 2048 * 2048 * 4]);
    let nodes = r#"node { op_type: "MatMul" input: "x" input: "w" output: "y" }
        initializer { name: "w" data_type: 1 dims: 2048 dims: 2048 data_location: EXTERNAL
                      external_data { key: "location" value: "w.bin" } }"#;
    [chain, folder.write("product.onnxtxt", model(nodes, &dims(2048).each_ref().map(String::as_str)))]
}

/// From what a program of this size cannot start in to what is enough: at every limit it works, or says why not. The bound
/// on memory is lifted, so that it is the system that refuses.
#[test]
fn a_small_address_space_ends_with_a_code() {
    let folder = Folder::new();
    let [chain, product] = models(&folder);
    let (plan, packed) = (folder.path("chain.plan"), folder.path("product.plan"));
    json(&arguments!["build", chain, "-o", plan]);
    json(&arguments!["build", product, "-o", packed]);
    let inputs = folder.archive("x.npz", &[("x", &[8192, 1024], &vec![0.5; 8192 * 1024])]);
    let out = folder.path("out");
    let (bound, threads) = (["--max-memory", "1T"], ["--threads", "2"]);
    let commands = [
        arguments!["run", plan, "--inputs", inputs].to_vec(),
        arguments!["run", plan, "--random", "--shapes", "x:8192x1024", "--outputs", folder.path("y.npz")].to_vec(),
        arguments!["build", product, "-o", out].to_vec(),
        arguments!["bench", packed, "--iterations", "1", "--shapes", "x:64x2048"].to_vec(),
    ];
    let (mut refused, mut done) = (0, 0);
    for command in &commands {
        for kib in (60_000..700_000).step_by(40_000) {
            let all: Vec<OsString> =
                command.iter().cloned().chain(bound.iter().chain(&threads).map(OsString::from)).collect();
            let output = within(kib, &all);
            let (code, errors) = (output.status.code(), text(&output.stderr));
            match code {
                Some(0) => done += 1,
                Some(2 | 3) => {
                    refused += 1;
                    let is_told = ["memory", "bytes"].iter().any(|word| errors.contains(word));
                    assert!(errors.contains("error: ") && is_told, "{kib} KiB, {command:?}: {errors}");
                    assert!(!errors.contains("panicked"), "{kib} KiB, {command:?}: {errors}");
                }
                // Too little for the system to load the program.
                Some(126 | 127) => {}
                _ => panic!("{kib} KiB, {command:?}: {:?}: {errors}", output.status),
            }
        }
    }
    assert!(refused > commands.len() && done > commands.len(), "{refused} refused, {done} done");
}

/// What is asked for by size is refused before it is touched; the rest of the program has enough.
#[test]
fn memory_for_data_is_refused_with_its_size() {
    let folder = Folder::new();
    let [chain, _] = models(&folder);
    let plan = folder.path("chain.plan");
    json(&arguments!["build", chain, "-o", plan]);
    let arguments = arguments!["bench", plan, "--shapes", "x:1000000x1024", "--max-memory", "1T"];
    let output = within(700_000, &arguments);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("the system gives no") && errors.contains("what to do"), "{errors}");
}
