//! Bad input: the exit code, a message that names the place, nothing on standard output, nothing on disk.

use std::ffi::OsString;

use crate::fixture::{Folder, arguments, code, digits, json, model, sinter, small_model, text};

/// Runs a command that must fail with this code and name all of these; the folder keeps its contents.
fn fails(folder: &Folder, arguments: &[OsString], wanted: i32, named: &[&str]) {
    let before = folder.names();
    let output = sinter(arguments);
    let errors = text(&output.stderr);
    assert_eq!(code(&output), wanted, "{arguments:?}: {errors}");
    for name in named {
        assert!(errors.contains(name), "{arguments:?} does not name '{name}': {errors}");
    }
    assert!(errors.starts_with("error: "), "{errors}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    assert_eq!(folder.names(), before, "{arguments:?}");
}

#[test]
fn wrong_usage_ends_with_2() {
    let folder = Folder::new();
    let small = small_model(&folder);
    let missing = folder.path("missing.onnx");
    for command in ["build", "run", "bench", "diff", "inspect"] {
        fails(&folder, &arguments![command, missing], 2, &["missing.onnx"]);
    }
    fails(&folder, &arguments!["build", small, "--frobnicate"], 2, &["--frobnicate"]);
    fails(&folder, &arguments!["build", small, "--shapes", "z:1x3"], 2, &["'z'", "it has x"]);
    fails(&folder, &arguments!["build", small, "--shapes", "x:1x4"], 2, &["[1, 4]", "f32[N, 3]"]);
    fails(&folder, &arguments!["build", small, "--shapes", "x:1x-3"], 2, &["-3"]);
    fails(&folder, &arguments!["build", small, "-o", folder.path("none/y.plan")], 2, &["none/y.plan"]);
    fails(&folder, &arguments!["build", small, "-o", folder.path(".")], 2, &["it is a folder"]);
    fails(&folder, &arguments!["build", small, "--json", folder.path("none/r.json")], 2, &["none/r.json"]);
    fails(&folder, &arguments!["build", small, "--threads", "0"], 2, &["--threads"]);
    fails(&folder, &arguments!["build", small, "--device", "abacus"], 2, &["the back ends are cpu"]);
    fails(&folder, &arguments!["build", small, "--max-memory", "much"], 2, &["2G"]);
    fails(&folder, &arguments!["build", small, "-o", small], 2, &["replace the model"]);
    fails(&folder, &arguments!["run", small], 2, &["--inputs with x (f32[N, 3])"]);
    fails(&folder, &arguments!["run", small, "--inputs", missing], 2, &["missing.onnx"]);
}

/// A minus is part of the number, so that the flag's own words say what it takes.
#[test]
fn negative_numbers_are_values_of_their_flags() {
    let folder = Folder::new();
    let small = small_model(&folder);
    for (command, flag, named) in [
        ("diff", "--atol", "'-1' is no bound"),
        ("diff", "--rtol", "'-1' is no bound"),
        ("bench", "--seconds", "must lie in 0"),
        ("bench", "--warmup", "must lie in 0"),
        ("build", "--tune-seconds", "'-1' is no time"),
        ("build", "--threads", "-1 is not in 1..=1024"),
        ("build", "--max-memory", "'-1' is no amount of memory"),
    ] {
        fails(&folder, &arguments![command, small, flag, "-1"], 2, &[flag, named]);
    }
    let output = sinter(&arguments!["diff", small, "--min-cosine", "-0.5"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
}

/// What a file calls things must not steer the terminal; programs get the name as it is.
#[test]
fn control_characters_of_names_are_escaped() {
    let folder = Folder::new();
    let named = |name: &str| {
        model(&format!(r#"node {{ op_type: "{name}" input: "x" output: "y" }}"#), &["dim { dim_value: 3 }"])
    };
    let red = r"\033[31m";
    let unknown = folder.write("unknown.onnxtxt", named(red));
    fails(&folder, &arguments!["build", unknown], 3, &["u{1b}[31m"]);
    let good = named("Relu")
        .replace("name: \"y\"", &format!("name: \"{red}\""))
        .replace("output: \"y\"", &format!("output: \"{red}\""));
    let good = folder.write("good.onnxtxt", good);
    let output = sinter(&arguments!["inspect", good]);
    let shown = text(&output.stdout);
    assert!(code(&output) == 0 && shown.contains("u{1b}[31m") && !shown.contains('\x1b'), "{shown}");
    assert_eq!(json(&arguments!["inspect", good])["outputs"][0]["name"], "\x1b[31m");
}

/// No name looks like a message, wherever it is shown: as a port, a node, a size, an array, a file.
#[test]
fn names_write_no_lines_of_their_own() {
    let folder = Folder::new();
    let evil = r"a\nerror: b";
    let node = |op: &str| {
        format!(
            r#"node {{ name: "{evil}" op_type: "{op}" input: "x" output: "t{evil}" }}
               node {{ name: "{evil}" op_type: "Exp" input: "t{evil}" output: "y" }}"#
        )
    };
    let dims = [format!(r#"dim {{ dim_param: "{evil}" }}"#), "dim { dim_value: 3 }".to_owned()];
    let text_of = |op: &str| {
        let ports = [("name: \"y\"", format!("name: \"y{evil}\"")), ("output: \"y\"", format!("output: \"y{evil}\""))];
        let plain = model(&node(op), &dims.each_ref().map(String::as_str));
        ports.iter().fold(plain, |text, (from, to)| text.replace(from, to))
    };
    let unknown = folder.write("unknown.onnxtxt", text_of("Frob"));
    let good = folder.write("good\nerror: b.onnxtxt", text_of("Softmax"));
    let plan = folder.path("plan\nerror: b");
    let wrong = folder.archive("wrong.npz", &[("x\nerror: b", &[1, 3], &[0.0; 3])]);
    let commands = [
        (arguments!["inspect", unknown].to_vec(), 3),
        (arguments!["inspect", good].to_vec(), 0),
        (arguments!["build", good, "-o", plan].to_vec(), 0),
        (arguments!["inspect", plan].to_vec(), 0),
        (arguments!["inspect", plan, "--explain", "a\nerror: b"].to_vec(), 0),
        (arguments!["inspect", plan, "--explain", "\nerror: b"].to_vec(), 2),
        (arguments!["inspect", good, "--explain", r"Softmax node 'a\nerror: b'"].to_vec(), 0),
        (arguments!["bench", plan, "--seconds", "0", "--profile"].to_vec(), 0),
        (arguments!["diff", good, "--trace"].to_vec(), 0),
        (arguments!["run", good, "--inputs", wrong].to_vec(), 2),
        (arguments!["run", plan, "--inputs", wrong].to_vec(), 2),
        (arguments!["build", good, "--max-shapes", "x:1x4"].to_vec(), 2),
    ];
    for (arguments, wanted) in commands {
        let output = sinter(&arguments);
        let (out, errors) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(code(&output), wanted, "{arguments:?}: {errors}");
        let shown = out + &errors;
        assert!(!shown.lines().any(|line| line.starts_with("error: b")), "{arguments:?}: {shown}");
        assert!(shown.contains(r"\n") || shown.contains(r"\u{a}"), "{arguments:?}: {shown}");
    }
    assert_eq!(json(&arguments!["inspect", plan])["outputs"][0]["name"], "ya\nerror: b");
}

#[test]
fn inputs_of_wrong_names_types_and_sizes_end_with_2() {
    let folder = Folder::new();
    let small = small_model(&folder);
    json(&arguments!["build", small]);
    let plan = folder.path("small.plan");
    let name = folder.archive("name.npz", &[("w", &[1, 3], &[0.0; 3])]);
    let sizes = folder.archive("sizes.npz", &[("x", &[1, 4], &[0.0; 4])]);
    let empty = folder.archive("empty.npz", &[]);
    let ints = [("x".to_owned(), sinter::internals::base::Tensor::of_i64(&[1, 2, 3]).reshaped(&[1, 3]).unwrap())];
    let types = folder.path("types.npz");
    sinter::internals::tensor_io::write_npz(&types, &ints).unwrap();
    for file in [&small, &plan] {
        let outputs = folder.path("y.npz");
        let run = |inputs| arguments!["run", *file, "--inputs", inputs, "--outputs", outputs];
        fails(&folder, &run(&name), 2, &["no input 'w'", "there is x"]);
        fails(&folder, &run(&sizes), 2, &["'x'", "4"]);
        fails(&folder, &run(&types), 2, &["'x'", "expected f32, found i64"]);
        fails(&folder, &run(&empty), 2, &["'x'", "not given"]);
    }
    let two = r#"input { name: "b" type { tensor_type { elem_type: 1 shape { dim { dim_param: "N" } } } } }"#;
    let sum = r#"node { op_type: "Add" input: "x" input: "b" output: "y" }"#;
    let shared = folder.write("shared.onnxtxt", model(&format!("{sum} {two}"), &[r#"dim { dim_param: "N" }"#]));
    json(&arguments!["build", shared]);
    let sizes = folder.archive("two.npz", &[("x", &[3], &[0.0; 3]), ("b", &[2], &[0.0; 2])]);
    for file in [&shared, &folder.path("shared.plan")] {
        fails(&folder, &arguments!["run", *file, "--inputs", sizes], 2, &["would be 2 and 3 at once"]);
    }
    let by = ["the size 'N'", "2 by input 'b'", "3 by input 'x'"];
    fails(&folder, &arguments!["run", folder.path("shared.plan"), "--inputs", sizes], 2, &by);
    fails(&folder, &arguments!["build", plan, "-o", folder.path("again.plan")], 2, &["a plan already"]);
    fails(&folder, &arguments!["build", plan], 2, &["a plan already", "sinter run"]);
    let array = folder.write("x.npy", b"\x93NUMPY\x01\x00\x02\x00{}");
    fails(&folder, &arguments!["run", small, "--inputs", array], 2, &["x.npy", "a single array", "numpy.savez"]);
    fails(&folder, &arguments!["run", plan, "--inputs", name, "--shapes", "x:1x3"], 2, &["--shapes applies to models"]);
    let good = folder.archive("good.npz", &[("x", &[2, 3], &[0.0; 6])]);
    let contradiction = arguments!["run", small, "--inputs", good, "--shapes", "x:1x3"];
    fails(&folder, &contradiction, 2, &["'x'", "[1, 3]", "[2, 3]"]);
    let unwritable = arguments!["run", small, "--inputs", good, "--outputs", folder.path("none/y.npz")];
    fails(&folder, &unwritable, 2, &["none/y.npz"]);
}

/// Nobody writes to the pipes: opening one to read would wait for ever.
#[cfg(unix)]
#[test]
fn pipes_in_place_of_files_are_errors_at_once() {
    let folder = Folder::new();
    let pipe = |name: &str| {
        let made = std::process::Command::new("mkfifo").arg(folder.path(name)).status().unwrap();
        assert!(made.success());
        folder.path(name)
    };
    let small = small_model(&folder);
    let (file, plan, archive) = (pipe("pipe.onnx"), pipe("a.plan"), pipe("pipe.npz"));
    for command in ["build", "run", "bench", "inspect"] {
        fails(&folder, &arguments![command, file], 2, &["pipe.onnx", "not a regular file"]);
    }
    for command in ["run", "bench", "inspect"] {
        fails(&folder, &arguments![command, plan], 2, &["a.plan", "not a regular file"]);
    }
    fails(&folder, &arguments!["run", small, "--inputs", archive], 2, &["pipe.npz", "not a regular file"]);
    let cache = arguments!["build", small, "-o", folder.path("y.plan"), "--timing-cache", plan, "--locked"];
    fails(&folder, &cache, 2, &["a.plan", "not a regular file"]);
    pipe("pipe.bin");
    let weight = r#"initializer { name: "w" data_type: 1 dims: 3 data_location: EXTERNAL
                    external_data { key: "location" value: "pipe.bin" } }"#;
    let node = r#"node { name: "sum" op_type: "Add" input: "x" input: "w" output: "y" }"#;
    let external = folder.write("external.onnxtxt", model(&format!("{node} {weight}"), &["dim { dim_value: 3 }"]));
    fails(&folder, &arguments!["build", external], 3, &["'w'", "pipe.bin", "not a regular file"]);
    pipe("input_0.pb");
    fails(&folder, &arguments!["run", small, "--inputs", folder.path(".")], 2, &["input_0.pb", "not a regular file"]);
}

/// A device that is always full stands for a disk that is.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_has_a_hint_of_its_own() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sinter"));
    let output = command.arg("doctor").stdout(full).output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!(code(&output), 2, "{errors}");
    assert!(errors.contains("there is no room left"), "{errors}");
}

#[test]
fn damaged_files_end_with_3() {
    let folder = Folder::new();
    let bytes = std::fs::read(digits()).unwrap();
    let truncated = folder.write("truncated.onnx", &bytes[..bytes.len() / 2]);
    let empty = folder.write("empty.onnx", "");
    let noise = folder.write("noise.onnx", [0xA5; 999]);
    for file in [truncated, empty, noise] {
        for command in ["build", "inspect", "bench"] {
            fails(&folder, &arguments![command, file], 3, &[".onnx"]);
        }
    }
    let unknown = folder.write(
        "unknown.onnxtxt",
        model(
            r#"node { name: "first" op_type: "Frob" input: "x" output: "t" }
               node { name: "second" op_type: "Nicate" input: "x" output: "y" }"#,
            &["dim { dim_value: 3 }"],
        ),
    );
    fails(&folder, &arguments!["build", unknown], 3, &["'first'", "Frob", "'second'", "Nicate", "unknown.onnxtxt"]);
    let small = small_model(&folder);
    let archive = folder.write("x.npz", "PK but no archive");
    fails(&folder, &arguments!["run", small, "--inputs", archive], 3, &["x.npz", "what to do"]);
    std::fs::create_dir(folder.path("data")).unwrap();
    folder.write("data/input_0.pb", [0xFF; 20]);
    fails(&folder, &arguments!["run", small, "--inputs", folder.path("data")], 3, &["input_0.pb"]);
}

/// Files of other programs are named for what they are.
#[test]
fn foreign_files_are_recognised() {
    let folder = Folder::new();
    let tensor: (&str, &[usize], &[f32]) = ("x", &[1], &[0.0]);
    let archive = folder.archive("x.npz", &[tensor]);
    let array = folder.write("x.npy", b"\x93NUMPY\x01\x00");
    let lite = folder.write("x.tflite", b"\x1c\0\0\0TFL3\0\0\0\0");
    let caffe = folder.write("x.prototxt", "name: \"net\"\nlayer {\n  name: \"conv1\"\n}\n");
    // A node of the name x and the operator Neg.
    let graph = folder.write("x.pb", b"\x0a\x08\x0a\x01x\x12\x03Neg");
    // The same graph, with a version before it; its fields read as those of a model.
    let saved = b"\x08\x01\x12\x0c\x12\x0a\x0a\x08\x0a\x01x\x12\x03Neg";
    std::fs::create_dir(folder.path("saved")).unwrap();
    let saved = folder.write("saved/saved_model.pb", saved);
    for (file, what) in [
        (archive, "an archive of NumPy arrays"),
        (array, "an array of NumPy"),
        (lite, "a TensorFlow Lite model"),
        (caffe, "a network of Caffe"),
        (graph, "a graph of TensorFlow (GraphDef)"),
        (saved, "a SavedModel of TensorFlow"),
        (folder.path("saved"), "a SavedModel of TensorFlow"),
    ] {
        fails(&folder, &arguments!["inspect", file], 3, &[what, "not an ONNX model", "what to do"]);
    }
    // What has a fault of its own is a model.
    let text = folder.write("wrong.onnxtxt", "ir_version: 8 opset_import { version: 17 } graph { frob: 1 }");
    fails(&folder, &arguments!["inspect", text], 3, &["frob"]);
}

#[test]
fn damaged_plans_end_with_3() {
    let folder = Folder::new();
    json(&arguments!["build", digits(), "-o", folder.path("good.plan")]);
    let good = std::fs::read(folder.path("good.plan")).unwrap();
    let plan = folder.path("bad.plan");
    for (position, what) in [(8, "version"), (60, "table"), (400, "metadata"), (good.len() - 9, "weights")] {
        let mut bad = good.clone();
        bad[position] ^= 0x55;
        std::fs::write(&plan, bad).unwrap();
        for command in ["run", "bench", "inspect"] {
            let output = sinter(&arguments![command, plan]);
            assert_eq!(code(&output), 3, "{command}, {what}: {}", text(&output.stderr));
        }
    }
    std::fs::write(&plan, &good[..good.len() - 100]).unwrap();
    fails(&folder, &arguments!["bench", plan], 3, &["bytes"]);
}

/// A model of a few hundred bytes that declares terabytes is refused before anything is allocated.
#[test]
fn memory_is_bounded_before_it_is_allocated() {
    let folder = Folder::new();
    let huge = "dim { dim_value: 1000000 }";
    let node = r#"node { name: "relu" op_type: "Relu" input: "x" output: "y" }"#;
    let model = folder.write("huge.onnxtxt", model(node, &[huge, huge]));
    for command in ["build", "bench", "diff", "inspect"] {
        fails(&folder, &arguments![command, model], 3, &["8000000000000 bytes", "--max-memory"]);
    }
    let small = small_model(&folder);
    let inputs = folder.archive("x.npz", &[("x", &[1000, 3], &[0.0; 3000])]);
    fails(&folder, &arguments!["run", small, "--inputs", inputs, "--max-memory", "20K"], 3, &["--max-memory"]);
    json(&arguments!["run", small, "--inputs", inputs, "--max-memory", "1M"]);
    json(&arguments!["build", small]);
    let plan = folder.path("small.plan");
    let free = arguments!["bench", plan, "--inputs", inputs, "--seconds", "0"];
    json(&free);
}

/// A loop that doubles its value sixty times: no declared size says so.
#[test]
fn what_grows_on_the_way_is_bounded() {
    let folder = Folder::new();
    let value = |name: &str, ty: u32, shape: &str| {
        format!("name: \"{name}\" type {{ tensor_type {{ elem_type: {ty} {shape} }} }}")
    };
    let (number, condition, grown) = (value("i", 7, "shape {}"), value("c", 9, "shape {}"), value("v", 1, ""));
    let (next, double) = (value("d", 9, "shape {}"), value("w", 1, ""));
    let nodes = format!(
        r#"node {{ op_type: "Constant" output: "m" attribute {{ name: "value_int" type: INT i: 60 }} }}
           node {{ name: "grow" op_type: "Loop" input: "m" input: "" input: "x" output: "y"
             attribute {{ name: "body" type: GRAPH g {{ name: "b"
               node {{ op_type: "Concat" input: "v" input: "v" output: "w" attribute {{ name: "axis" type: INT i: 0 }} }}
               node {{ op_type: "Identity" input: "c" output: "d" }}
               input {{ {number} }} input {{ {condition} }} input {{ {grown} }} output {{ {next} }} output {{ {double} }}
             }} }} }}"#
    );
    let file = folder.write("grow.onnxtxt", model(&nodes, &["dim { dim_value: 4 }"]));
    let named = ["--max-memory", "--verify-data", "--no-verify", "grow.onnxtxt"];
    fails(&folder, &arguments!["build", file, "--max-memory", "1M"], 2, &named);
    json(&arguments!["build", file, "--max-memory", "1M", "--no-verify"]);
    let inputs = folder.archive("x.npz", &[("x", &[4], &[0.0; 4])]);
    let plan = folder.path("grow.plan");
    fails(
        &folder,
        &arguments!["run", plan, "--inputs", inputs, "--max-memory", "1M"],
        3,
        &["'grow'", "more memory than is allowed", "--max-memory"],
    );
}

/// A loop of ten to the twelfth iterations: its kernels are verified, the rest is said to be unverified, and nobody waits.
#[test]
fn what_runs_for_ages_is_judged_in_part() {
    let folder = Folder::new();
    let value =
        |name: &str, ty: u32| format!("name: \"{name}\" type {{ tensor_type {{ elem_type: {ty} shape {{}} }} }}");
    let (number, condition, carried) =
        (value("i", 7), value("c", 9), "name: \"v\" type { tensor_type { elem_type: 1 } }");
    let (next, result) = (value("d", 9), "name: \"w\" type { tensor_type { elem_type: 1 } }");
    let nodes = format!(
        r#"node {{ op_type: "Constant" output: "m" attribute {{ name: "value_int" type: INT i: 1000000000000 }} }}
           node {{ name: "ages" op_type: "Loop" input: "m" input: "" input: "x" output: "y"
             attribute {{ name: "body" type: GRAPH g {{ name: "b"
               node {{ op_type: "Sin" input: "v" output: "w" }}
               node {{ op_type: "Identity" input: "c" output: "d" }}
               input {{ {number} }} input {{ {condition} }} input {{ {carried} }} output {{ {next} }} output {{ {result} }}
             }} }} }}"#
    );
    let file = folder.write("ages.onnxtxt", model(&nodes, &["dim { dim_value: 2 }"]));
    let verification = &json(&arguments!["build", file])["verification"];
    assert!(verification["skipped"].is_null() && verification["agreed"].as_u64() == Some(2), "{verification:#}");
    let unverified = verification["unverified"].as_array().unwrap();
    let origins: Vec<&str> = unverified.iter().map(|one| one["origin"].as_str().unwrap()).collect();
    assert_eq!(origins, ["Loop node 'ages'", "the whole plan"]);
    assert!(unverified.iter().all(|one| one["reason"].as_str().unwrap().contains("operators run")), "{unverified:#?}");
    let shown = sinter(&arguments!["build", file]);
    assert!(text(&shown.stdout).contains("2 could not be verified"), "{}", text(&shown.stdout));
}

/// No text can be synthesized: the user decides whether to go without the reference executor.
#[test]
fn what_cannot_be_verified_is_built_on_demand_only() {
    let folder = Folder::new();
    let node = r#"node { name: "same" op_type: "Identity" input: "x" output: "y" }"#;
    let text = model(node, &["dim { dim_value: 2 }"]).replace("elem_type: 1", "elem_type: 8");
    let file = folder.write("text.onnxtxt", text);
    fails(&folder, &arguments!["build", file], 2, &["'x'", "it holds text", "--verify-data", "--no-verify"]);
    json(&arguments!["build", file, "--no-verify"]);
}

#[test]
fn an_operator_without_any_kernel_or_type_is_named() {
    let folder = Folder::new();
    let node = r#"node { name: "odd" op_type: "MatMul" input: "x" input: "x" output: "y" }"#;
    let file = folder.write("odd.onnxtxt", model(node, &["dim { dim_value: 2 }", "dim { dim_value: 3 }"]));
    fails(&folder, &arguments!["build", file], 3, &["'odd'"]);
}
